r"""
# Attention

Every position looks at the others and takes a weighted mean of what they hold. A **query** is compared with all **keys**; the
softmax of the scores says how much of each **value** to take:

$$\operatorname{Attention}(Q, K, V) = \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt D} + M\right) V$$

$M$ is 0 where a query may look and $-\infty$ where it may not. If the entries of $q$ and $k$ are independent, with mean 0 and
variance 1, then $q^\top k$ has variance $D$; dividing by $\sqrt D$ brings it back to 1 and keeps the softmax out of the flat
region where gradients vanish. **Multi-head** attention does this $H$ times in parallel, each head on its own $D = C / H$
channels, and mixes the results with one linear map.

Attention is blind to order: permute the keys with their values and nothing changes. Two remedies are here. **Sinusoids** are
added to the input; **rotary** positions turn each pair of channels of $q$ and $k$ by an angle that grows with the position,

$$R_t \begin{pmatrix} x_{2i} \\ x_{2i+1} \end{pmatrix}
= \begin{pmatrix} \cos t\theta_i & -\sin t\theta_i \\ \sin t\theta_i & \cos t\theta_i \end{pmatrix}
\begin{pmatrix} x_{2i} \\ x_{2i+1} \end{pmatrix}, \qquad \theta_i = 10000^{-2i/D},
\qquad (R_s q)^\top (R_t k) = q^\top R_{t-s}\, k,$$

so that scores depend on the distance $t - s$ alone. A decoder that writes one token at a time never changes the keys and values
of the past; a **KV cache** keeps them. The $t$-th token then costs $4C^2 + 2tC$ multiply-adds a layer; computing all $t$
positions afresh costs $4tC^2 + 2t^2C$.

Conventions here: a mask is boolean, **True means "may attend"** (as in `F.scaled_dot_product_attention`; in
`nn.MultiheadAttention` True means the opposite), and a query that may attend to nothing returns **zeros**, not NaN.

**Asked in interviews.** Why $\sqrt D$? What do time and memory cost in $T$? How do a causal and a padding mask combine, and
what happens to a row that is masked out altogether? Why cache keys and values but not queries, and how many bytes is that?
Why does rotary touch $q$ and $k$ but not $v$, and why may keys be cached after the rotation?

**Sources.** Vaswani et al., *Attention Is All You Need* (2017), eq. 1, sections 3.2 and 3.5; Su et al., *RoFormer: Enhanced
Transformer with Rotary Position Embedding* (2021), eq. 15, 16 and 34; Shazeer, *Fast Transformer Decoding: One Write-Head is
All You Need* (2019), section 2.4.

**In this course.** [Question](../../questions/text/attention.md) · [exercise](../../notebooks/text/attention.ipynb) ·
[solution](../../solutions/text/attention.ipynb)
"""

import math
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl import recall
from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate, autocast, maybe_compile, milliseconds, one_cycle, resolve_device, seed_everything, track


def causal_mask(T: int, S: int, *, device: str | torch.device | None = None) -> Bool[Tensor, "T S"]:
    """True where query t may attend to key s, which is every key up to its own. Raises ValueError if S < T.

    The queries are the *last* T of the S positions, as when a cache holds the first S - T.
    """
    if T > S:
        raise ValueError(f"each query needs its own key: got {T} queries but {S} keys")
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(diagonal=S - T)


def padding_mask(lengths: Int[Tensor, " B"], S: int) -> Bool[Tensor, "B 1 1 S"]:
    """True for the first `lengths[b]` of S keys of item b, for all its heads and queries. Combine with a causal mask by `&`.

    Raises ValueError if a length lies outside 0 to S; an empty batch is legal.
    """
    if lengths.numel() and not (lengths.min() >= 0 and lengths.max() <= S):
        raise ValueError(f"lengths must lie in 0 to {S}, got {lengths.min()} to {lengths.max()}")
    keys = torch.arange(S, device=lengths.device)
    return (keys < lengths[:, None])[:, None, None, :]  # (B, 1, 1, S)


def attention_weights(
    q: Float[Tensor, "*batch T D"], k: Float[Tensor, "*batch S D"], mask: Bool[Tensor, "*#batch #T #S"] | None = None
) -> Float[Tensor, "*batch T S"]:
    r"""$\operatorname{softmax}(q k^\top / \sqrt D)$ over the keys that `mask` allows (True: may attend; it broadcasts).

    A row sums to 1, or is all 0 if its query may attend to nothing. Vaswani et al. (2017), eq. 1.
    """
    scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)  # (..., T, S)
    if mask is None:
        return scores.softmax(dim=-1)
    # The lowest finite number, not -inf: a row without any key would be 0/0. The last factor empties such rows.
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1) * mask.any(dim=-1, keepdim=True)


def scaled_dot_product_attention(
    q: Float[Tensor, "*batch T D"],
    k: Float[Tensor, "*batch S D"],
    v: Float[Tensor, "*batch S E"],
    mask: Bool[Tensor, "*#batch #T #S"] | None = None,
) -> Float[Tensor, "*batch T E"]:
    """For each query the mean of the values, weighted by `attention_weights`. Vaswani et al. (2017), eq. 1."""
    return attention_weights(q, k, mask) @ v


def sinusoidal_positions(T: int, D: int, *, device: str | torch.device | None = None) -> Float[Tensor, "T D"]:
    r"""Sines in even and cosines in odd channels, of the angles $t / 10000^{2i/D}$ at channels 2i and 2i + 1; float32.

    Exact to float32 at late positions too. Vaswani et al. (2017), section 3.5. Raises ValueError if D is odd.
    """
    if D % 2:
        raise ValueError(f"D must be even, since sines and cosines come in pairs; got {D}")
    # In float64 on the CPU: in float32 the angles of late positions would lose digits, and not every device has float64.
    theta = 10000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)  # (D/2,)
    angles = torch.arange(T, dtype=torch.float64)[:, None] * theta  # (T, D/2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).float().to(device)  # (T, D)


def apply_rotary(x: Float[Tensor, "*batch T D"], positions: Int[Tensor, "*#batch T"]) -> Float[Tensor, "*batch T D"]:
    r"""Turn channels (2i, 2i + 1) of the vector at position t by the angle $t \cdot 10000^{-2i/D}$. Su et al. (2021), eq. 34.

    positions: one row for all, or of a shape that broadcasts, (B, 1, T) for x of (B, H, T, D), as a batch padded on the left needs.

    Adjacent channels are paired, as in the paper, so that each pair is a complex number times $e^{\mathrm i t \theta_i}$.
    GPT-NeoX and the Hugging Face Llama pair channel i with i + D/2: the same map, after a fixed permutation of the outputs of
    the query and key projections. The result has the dtype of `x`; angles are never rounded to half precision. Raises ValueError if D
    is odd.
    """
    D = x.shape[-1]
    if D % 2:
        raise ValueError(f"the head width must be even, since channels turn in pairs; got {D}")
    dtype = torch.promote_types(x.dtype, torch.float32)  # half-precision angles would be off by whole turns
    theta = 10000.0 ** (-torch.arange(0, D, 2, device=x.device, dtype=dtype) / D)  # (D/2,)
    angles = positions[..., None] * theta  # (..., T, D/2)
    cos, sin = angles.cos(), angles.sin()
    even, odd = x[..., 0::2], x[..., 1::2]  # (..., T, D/2)
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)  # (..., T, D/2, 2)
    return turned.flatten(-2).to(x.dtype)  # (..., T, D)


def split_heads(x: Float[Tensor, "B T C"], heads: int) -> Float[Tensor, "B H T D"]:
    """Cut the channels into `heads` contiguous parts of D = C / H, and put the heads beside the batch."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, H, T, D)


def merge_heads(x: Float[Tensor, "B H T D"]) -> Float[Tensor, "B T C"]:
    """The inverse of `split_heads`."""
    return x.transpose(1, 2).flatten(-2)  # (B, T, C)


class KVCache:
    """Keys and values of the positions that one layer has seen. For inference: it writes in place and is not differentiable."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.length = capacity, 0
        self.keys: Tensor  # (B, H, capacity, D), made by the first `append`, which knows their shape, dtype and device
        self.values: Tensor

    def append(
        self, k: Float[Tensor, "B H T D"], v: Float[Tensor, "B H T D"]
    ) -> tuple[Float[Tensor, "B H S D"], Float[Tensor, "B H S D"]]:
        """Store T more positions, which moves `length` on by T; return the keys and values of all S seen so far.

        Raises ValueError beyond the capacity, and for another B, H or D than before; nothing is stored then.

        The room is taken once, at the first call: concatenating would copy the whole past for every token.
        """
        start, end = self.length, self.length + k.shape[-2]
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} positions, got position {end}")
        if start == 0:
            self.keys = k.new_empty(*k.shape[:-2], self.capacity, k.shape[-1])  # (B, H, capacity, D)
            self.values = v.new_empty(*v.shape[:-2], self.capacity, v.shape[-1])
        keys, values = self.keys[..., start:end, :], self.values[..., start:end, :]  # the room for the new ones
        if keys.shape != k.shape or values.shape != v.shape:  # copying would broadcast a batch of 1 to all items
            raise ValueError(
                f"expected keys and values of shapes {tuple(keys.shape)} and {tuple(values.shape)}, as those before, "
                f"got {tuple(k.shape)} and {tuple(v.shape)}"
            )
        keys.copy_(k)
        values.copy_(v)
        self.length = end
        return self.keys[..., :end, :], self.values[..., :end, :]


class MultiHeadAttention(nn.Module):
    """Self-attention with H heads; `qkv` is packed like `nn.MultiheadAttention.in_proj_weight`, `out` mixes the heads."""

    def __init__(self, width: int, heads: int, *, causal: bool = False, rotary: bool = False, bias: bool = True) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"the width must be a multiple of the number of heads, got {width} and {heads}")
        self.heads, self.causal, self.rotary = heads, causal, rotary
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def project(self, x: Float[Tensor, "B T C"], start: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, H, T, D). `start` is the position of the first; rotary turns q and k, never v."""
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))  # (B, H, T, D) each
        if self.rotary:
            positions = torch.arange(start, start + x.shape[1], device=x.device)
            q, k = apply_rotary(q, positions), apply_rotary(k, positions)
        return q, k, v

    def forward(
        self, x: Float[Tensor, "B T C"], mask: Bool[Tensor, "*#batch #T #S"] | None = None, cache: KVCache | None = None
    ) -> Float[Tensor, "B T C"]:
        """Attend from the T positions of `x` to themselves, and to what `cache` holds of earlier ones; `x` is then added to it.

        mask: True where attention is allowed, broadcast to (B, H, T, S); a causal layer allows no more than the past besides.
        """
        q, k, v = self.project(x, start=0 if cache is None else cache.length)
        if cache is not None:
            k, v = cache.append(k, v)  # (B, H, S, D)
        if self.causal:
            past = causal_mask(x.shape[1], k.shape[-2], device=x.device)  # (T, S)
            mask = past if mask is None else mask & past
        return self.out(merge_heads(scaled_dot_product_attention(q, k, v, mask)))


@torch.no_grad()
def decode(attention: MultiHeadAttention, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
    """What a causal layer makes of `x` when fed one position at a time through a cache: the same as all at once."""
    cache = KVCache(capacity=x.shape[1])
    return torch.cat([attention(step, cache=cache) for step in x.split(1, dim=1)], dim=1)  # (B, T, C)


def decoding_cost(t: int, width: int, *, cached: bool) -> int:
    """Multiply-adds of one layer for the t-th token: four projections, then scores and mixture, of 1 position or of all t."""
    rows = 1 if cached else t
    return rows * (4 * width**2 + 2 * t * width)


@dataclass(frozen=True)
class Config:
    """The task: name the token seen `delay` steps ago. `length` is the training length; tests are twice as long.

    positions: `rotary`, `sinusoidal` or `none`.
    """

    positions: str = "rotary"
    vocabulary: int = 16
    delay: int = 8
    length: int = 32
    width: int = 64
    heads: int = 1  # there is one place to look, and one wide head finds it exactly
    steps: int = 400
    batch_size: int = 64
    learning_rate: float = 3e-3


class Recaller(nn.Module):
    """Embedding, one causal attention layer, and a linear read-out of logits."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        if config.positions not in ("rotary", "sinusoidal", "none"):
            raise ValueError(f"positions must be rotary, sinusoidal or none, got {config.positions!r}")
        C, V = config.width, config.vocabulary
        self.config = config
        self.embedding = nn.Embedding(V, C)
        self.attention = MultiHeadAttention(C, config.heads, causal=True, rotary=config.positions == "rotary")
        self.head = nn.Linear(C, V)

    def embed(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T C"]:
        """What enters the attention layer."""
        x = self.embedding(ids)
        if self.config.positions == "sinusoidal":
            x = x + sinusoidal_positions(ids.shape[1], x.shape[-1], device=x.device)
        return x

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the token seen `delay` steps before each position."""
        return self.head(self.attention(self.embed(ids)))


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> Recaller:
    """Train on fresh random sequences; return the model in evaluation mode, on `device`.

    precision: `float32` or `bfloat16` (autocast; the loss stays in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    model = maybe_compile(Recaller(config).to(device).train(), compile)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps, 0.3)
    shape = (config.batch_size, config.length)
    for _ in track(range(config.steps), total=config.steps, description="Attention", show=progress):
        ids = torch.randint(config.vocabulary, shape, generator=generator).to(device)
        with autocast(device, precision):
            logits = model(ids)
        answers = logits[:, config.delay :].float().flatten(0, 1)  # (B (T - delay), V)
        loss = F.cross_entropy(answers, ids[:, : -config.delay].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def evaluate(model: Recaller, *, seed: int = 0) -> dict[str, float]:
    """Accuracy at twice the training length, beside the best guess without order; largest deviations in float64.

    deviation_torch: from `F.scaled_dot_product_attention` under a random mask; deviation_cache: of `decode` from one pass.
    """
    config, device = model.config, model.head.weight.device
    task = (config.vocabulary, config.delay, 2 * config.length)
    figures = {
        "accuracy": recall.accuracy(lambda ids: model(ids.to(device)).argmax(dim=-1).cpu(), *task, seed=seed),
        "chance": 1 / config.vocabulary,
        "most_frequent": recall.accuracy(recall.most_frequent, *task, seed=seed),
    }
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, 2, 4, 37, 16, generator=generator, dtype=torch.float64)
    mask = causal_mask(37, 37) & padding_mask(torch.tensor([37, 11]), 37)
    mask = mask & (torch.rand(2, 1, 37, 37, generator=generator) < 0.5)  # (2, 1, 37, 37)
    mask[0, :, 5] = False  # a query that may attend to nothing
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).nan_to_num()  # older torch: NaN there
    layer = MultiHeadAttention(32, 4, causal=True, rotary=True).double()
    x = torch.randn(2, 37, 32, generator=generator, dtype=torch.float64)
    figures["deviation_torch"] = (scaled_dot_product_attention(q, k, v, mask) - expected).abs().max().item()
    figures["deviation_cache"] = (decode(layer, x) - layer(x)).abs().max().item()
    return figures


GATES = (
    Gate("accuracy", at_least=0.99, above="most_frequent", baseline="most_frequent"),
    Gate("deviation_torch", at_most=1e-10),
    Gate("deviation_cache", at_most=1e-10),
)


def from_the_current_token(seed: int, device: str) -> float:
    """Accuracy of the likeliest answer to the current token, counted in as much as training sees."""
    config = Config()
    seen = recall.sequences(config.vocabulary, config.steps * config.batch_size, config.length, seed=seed)
    likeliest = recall.likeliest_answers(seen, config.vocabulary, config.delay)  # (V,)
    return recall.accuracy(lambda ids: likeliest[ids], config.vocabulary, config.delay, 2 * config.length, seed=seed)


# Order is what the task asks for; sinusoids carry it too, but not past the length that they were trained at.
ABLATIONS = {
    "no positions": Ablation(Config(positions="none"), "accuracy", higher_by=0.7),
    "sinusoidal positions": Ablation(Config(positions="sinusoidal"), "accuracy", higher_by=0.2),
}
LEAKS = {"the current token alone": Leak(from_the_current_token, chance=1 / Config().vocabulary, at_most=0.08)}


@torch.no_grad()
def step_milliseconds(layer: MultiHeadAttention, t: int, *, cached: bool) -> float:
    """What the t-th token takes in `layer`: with `cached` what the t - 1 before it left in a cache is not counted."""
    x = torch.randn(1, t, layer.out.in_features, device=layer.out.weight.device)

    def prefilled() -> KVCache | None:
        cache = KVCache(capacity=t) if cached else None
        if cache is not None:
            layer(x[:, :-1], cache=cache)
        return cache

    return milliseconds(lambda cache: layer(x[:, -1:] if cached else x, cache=cache), x.device, prepare=prefilled)


def demo(config: Config = Config(steps=250), *, device: str | torch.device = "auto") -> Figure:
    """The map that the task teaches, what positions look like, and what a token costs with and without a cache."""
    model = train(config, device=device, progress=False)
    device = next(model.parameters()).device
    figure, ((top_left, top_right), (low_left, low_right)) = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    T = 2 * config.length
    ids = torch.randint(config.vocabulary, (1, T), generator=torch.Generator().manual_seed(1)).to(device)
    with torch.no_grad():
        q, k, _ = model.attention.project(model.embed(ids))
        weights = attention_weights(q, k, causal_mask(T, T, device=device))[0].mean(0)  # (T, T), mean over heads
    top_left.imshow(weights.float().cpu(), cmap="magma", vmin=0)
    top_left.set(title=f"Learned: look {config.delay} back, beyond {config.length} too", xlabel="key", ylabel="query")
    top_right.imshow(sinusoidal_positions(T, 64).T, cmap="RdBu", aspect="auto")
    top_right.set(title="Sinusoidal positions", xlabel="position", ylabel="channel")
    for D in (16, 64, 256):
        same = torch.full((128, D), D**-0.5)  # one unit vector at every position
        low_left.plot(apply_rotary(same, torch.arange(128)) @ same[0], label=f"D = {D}")
    low_left.set(title="Rotary: score of a vector with itself", xlabel="distance", ylabel="$q^T R_t q$")
    low_left.legend()
    layer, lengths = MultiHeadAttention(256, 4, causal=True).to(device), [2, 64, 128, 256, 384, 512, 768]
    clock = low_right.twinx()
    for cached, colour, label in ((False, "tab:red", "no cache"), (True, "tab:blue", "cache")):
        low_right.plot(lengths, [decoding_cost(t, 256, cached=cached) for t in lengths], "--", color=colour)
        clock.plot(lengths, [step_milliseconds(layer, t, cached=cached) for t in lengths], "o-", color=colour, label=label)
    low_right.set(title="The t-th token, one layer of width 256", xlabel="t", ylabel="multiply-adds (dashed)", yscale="log")
    clock.set(ylabel="milliseconds (solid)", yscale="log")
    clock.legend()
    return figure
