r"""
# A GPT language model

A language model gives every text a probability, one symbol after another; that is exact, by the chain rule:

$$\log p_\theta(x_1, \dots, x_T) = \sum_{t} \log p_\theta(x_t \mid x_{<t}), \qquad
\mathcal L = -\frac1T \sum_t \log p_\theta(x_t \mid x_{<t})$$

GPT-2 computes all $T$ conditionals in one pass: token plus learned position embeddings, then $L$ blocks whose causal
attention keeps position $t$ from seeing what comes after it, then a read-out that shares its matrix with the token embedding
(**weight tying**). A block is *pre-norm*,

$$h \leftarrow h + \operatorname{Attention}(\operatorname{LN}(h)), \qquad
h \leftarrow h + \operatorname{MLP}(\operatorname{LN}(h)),$$

so that a clear path of identities runs from the loss to the embeddings. Here a token is a byte, and $\mathcal L / \log 2$,
counted per character instead of per byte, is **bits per character**: the size to which an ideal coder would compress the text.

Writing is sampling from $p_\theta(x_t \mid x_{<t})$ again and again. Sharpen it ($z / \tau$ with temperature $\tau < 1$), cut
its unreliable tail (**top-k**: the $k$ likeliest; **top-p**: the smallest set with mass at least $p$), and make what was said
already less likely (**repetition penalty** $\theta$: $z_i / \theta$ if $z_i > 0$, else $z_i \theta$).

**Asked in interviews.** Why pre-norm, and why are residual projections initialised smaller by $1/\sqrt{2L}$? What does weight
tying save? In which order do penalty, temperature, top-k and top-p act, and which of them commute? Why may a negative logit
not be divided by the penalty? What breaks in the KV cache when the window slides over *learned* positions? Why can
models with different tokenizers be compared by bits per character, but not by perplexity?

**Sources.** Radford et al., *Language Models are Unsupervised Multitask Learners* (GPT-2, 2019), section 2.3; Press and Wolf,
*Using the Output Embedding to Improve Language Models* (2017); Hendrycks and Gimpel, *Gaussian Error Linear Units* (2016),
section 2; Fan et al., *Hierarchical Neural Story Generation* (2018), section 5.4 (top-k); Holtzman et al., *The Curious Case
of Neural Text Degeneration* (2020), eq. 2 and 3 (top-p); Keskar et al., *CTRL* (2019), section 4.1 (repetition penalty).

**In this course.** [Question](../../questions/text/gpt.md) · [exercise](../../notebooks/text/gpt.ipynb) ·
[solution](../../solutions/text/gpt.ipynb)
"""

import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.data import python_docs
from reference_impl.experiments import Ablation, Leak
from reference_impl.hugging_face import gpt2_weights
from reference_impl.ngram import KneserNey, NGram, even_mixture
from reference_impl.runtime import Gate, autocast, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.text.attention import KVCache, MultiHeadAttention
from reference_impl.verbs import Verb

LINE_END = ord("\n")


def language_model_loss(
    logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"], ignore_index: int = -100
) -> Float[Tensor, ""]:
    """Mean of -log p(target), in nats, over the targets that are not `ignore_index`; what the logits of the others are has no effect.

    `targets[b, t]` is the token that follows position t: the shift is the caller's. Raises ValueError if the shapes differ.
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(f"each target needs a row of logits, got {tuple(logits.shape)} for {tuple(targets.shape)}")
    kept = targets != ignore_index
    logits = logits.where(kept[..., None], 0.0)  # before anything is computed of them: 0 · ∞ is no number, in a gradient neither
    index = targets.where(kept, 0)[..., None]  # (B, T, 1)
    nll = logits.logsumexp(dim=-1) - logits.gather(-1, index)[..., 0]  # (B, T)
    return nll.where(kept, 0.0).sum() / kept.sum()


@dataclass(frozen=True)
class Config:
    """symbols, context, width, layers and heads shape the model; the rest drives `train`.

    positions: whether the model is told where each token stands.
    """

    symbols: int = python_docs.SYMBOLS
    context: int = 64
    width: int = 64
    layers: int = 2
    heads: int = 4
    positions: bool = True
    steps: int = 1500
    batch_size: int = 32
    learning_rate: float = 1e-2
    weight_decay: float = 0.1


class Block(nn.Module):
    """A pre-norm transformer block with causal self-attention and a GELU network of four times the width."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        C = config.width
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.attention = MultiHeadAttention(C, config.heads, causal=True)
        self.mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(approximate="tanh"), nn.Linear(4 * C, C))

    def forward(self, x: Float[Tensor, "B T C"], cache: KVCache | None = None) -> Float[Tensor, "B T C"]:
        """Attention (over `cache` too, if given), then the network; each reads a normalised copy and adds to the stream."""
        x = x + self.attention(self.norm1(x), cache=cache)
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """GPT-2 without dropout, which a model that sees its data few times does not need."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.symbols, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.initialise()

    def initialise(self) -> None:
        r"""Weights from $\mathcal N(0, 0.02^2)$, biases 0; the maps that add to the stream smaller by $1/\sqrt{2L}$.

        There are 2L of those, so the variance of their sum does not grow with the depth. The scale by depth is in section 2.3 of
        Radford et al. (2019); 0.02 stands in section 4.1 of Radford et al. (2018), the first GPT, and in the code of GPT-2.
        """
        for name, parameter in self.named_parameters():
            if "norm" in name:
                continue  # starts as the identity
            if parameter.dim() == 1:
                nn.init.zeros_(parameter)
            else:
                residual = name.endswith(("attention.out.weight", "mlp.2.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.layers) if residual else 0.02)

    def new_caches(self) -> list[KVCache]:
        """An empty cache for each block."""
        return [KVCache(self.config.context) for _ in self.blocks]

    def forward(self, ids: Int[Tensor, "B T"], caches: list[KVCache] | None = None) -> Float[Tensor, "B T V"]:
        """Logits of the token after each position. With `caches`, `ids` are only the tokens that those have not seen.

        Raises ValueError if positions run past the context.
        """
        start = caches[0].length if caches else 0
        end = start + ids.shape[1]
        if end > self.config.context:
            raise ValueError(f"the context has {self.config.context} positions, got {end}")
        x = self.tokens(ids)  # (B, T, C)
        if self.config.positions:
            x = x + self.positions(torch.arange(start, end, device=ids.device))
        for i, block in enumerate(self.blocks):
            x = block(x, cache=caches[i] if caches else None)
        return F.linear(self.norm(x), self.tokens.weight)  # the tied read-out


def from_huggingface(state_dict: Mapping[str, Tensor], heads: int) -> GPT:
    """A GPT with the weights of a Hugging Face `GPT2LMHeadModel`; the number of heads cannot be read from them."""
    weights = gpt2_weights(state_dict)
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    (V, C), T = weights["tokens.weight"].shape, len(weights["positions.weight"])
    model = GPT(Config(symbols=V, context=T, width=C, layers=layers, heads=heads)).to(weights["tokens.weight"])
    model.load_state_dict(weights)
    return model.eval()


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
    losses: list[float] | None = None,
) -> GPT:
    """Train on random windows of the training topics; return the model in evaluation mode, on `device`.

    precision: `float32` or `bfloat16` (autocast; the loss stays in float32). compile: use `torch.compile`.
    losses: a list to which the loss of each step, in nats per byte, is appended.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    ids = python_docs.load("train").ids
    model = maybe_compile(GPT(config).to(device).train(), compile)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]  # gains and biases are not decayed
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95))
    schedule = one_cycle(optimizer, config.learning_rate, config.steps, 0.1)
    window = torch.arange(config.context + 1)
    for _ in track(range(config.steps), total=config.steps, description="GPT", show=progress):
        starts = torch.randint(len(ids) - config.context, (config.batch_size, 1), generator=generator)
        batch = ids[starts + window].to(device)  # (B, T + 1)
        with autocast(device, precision):
            logits = model(batch[:, :-1])
        loss = language_model_loss(logits.float(), batch[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if losses is not None:
            losses.append(loss.item())
    return model.eval()


def apply_repetition_penalty(logits: Float[Tensor, "B V"], ids: Int[Tensor, "B T"], penalty: float) -> Float[Tensor, "B V"]:
    """Make every token that occurs in `ids`, once or often, less likely: divide its logit if positive, multiply it if not.

    1 changes nothing. Keskar et al. (2019), section 4.1, divide always, which would *raise* a negative logit. Raises ValueError
    unless the penalty is positive.
    """
    if penalty <= 0:
        raise ValueError(f"the penalty must be positive (1 for none), got {penalty}")
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter(1, ids, True)
    penalised = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, penalised, logits)


def top_k_top_p_filter(
    logits: Float[Tensor, "B V"], top_k: int | None = None, top_p: float | None = None
) -> Float[Tensor, "B V"]:
    """Set logits to -inf outside of the k largest, then outside of the smallest set of largest with probability at least p.

    The token that crosses p stays, so no row is emptied. p refers to the distribution that top-k has left. Tokens tied with
    the last one kept stay too. Raises ValueError unless k >= 1 and 0 < p <= 1. Fan et al. (2018), section 5.4; Holtzman et
    al. (2020), eq. 2.
    """
    if top_k is not None:
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        smallest = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < smallest, -math.inf)
    if top_p is not None:
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {top_p}")
        ranked = logits.sort(descending=True).values
        p = ranked.softmax(dim=-1)
        kept = (p.cumsum(dim=-1) - p < top_p) if top_p < 1 else p >= 0  # is less than p before this token?
        smallest = ranked.masked_fill(~kept, math.inf).amin(dim=-1, keepdim=True)  # (B, 1)
        logits = logits.masked_fill(logits < smallest, -math.inf)
    return logits


def sample(logits: Float[Tensor, "B V"], uniforms: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
    """The first token, in the order of ids, at which the cumulated softmax exceeds the uniform number of its row, in [0, 1)."""
    cdf = logits.softmax(dim=-1).cumsum(dim=-1)
    token = (cdf <= uniforms[:, None]).sum(dim=-1)  # (B,): how many shares end at or before the number
    return torch.minimum(token, cdf.argmax(dim=-1))  # rounding must not lead beyond the last token with a probability


@torch.no_grad()
def generate(
    model: GPT,
    ids: Int[Tensor, "B T"],
    new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    uniforms: Float[Tensor, "B N"] | None = None,
    seed: int = 0,
) -> Int[Tensor, "B T+N"]:
    """Continue `ids` by `new_tokens`: penalty, temperature, top-k, top-p, then `sample`; temperature 0 takes the likeliest.

    uniforms: the random number in [0, 1) of each new token; drawn from `seed` if not given. The model sees the last
    `model.config.context` tokens; the penalty covers all of `ids`, also what has left that window. Logits are taken in float32
    whatever the precision of the model: in bfloat16, the cumulated probabilities of neighbouring tokens round to the same number.
    Raises ValueError if the prompt is empty or the temperature is negative.
    """
    if ids.shape[1] == 0 or temperature < 0:
        raise ValueError(f"need a prompt and a temperature of at least 0, got {ids.shape[1]} tokens and {temperature}")
    if uniforms is None:
        uniforms = torch.rand(len(ids), new_tokens, generator=torch.Generator().manual_seed(seed))
    uniforms, caches, context = uniforms.to(ids.device), model.new_caches(), model.config.context
    for n in range(new_tokens):
        # Learned positions: once the window slides, every token moves to another position and the cache is void.
        fits = ids.shape[1] <= context
        logits = model(ids[:, caches[0].length :], caches) if fits else model(ids[:, -context:])
        logits = apply_repetition_penalty(logits[:, -1].float(), ids, repetition_penalty)  # (B, V)
        if temperature == 0:
            token = logits.argmax(dim=-1)
        else:
            token = sample(top_k_top_p_filter(logits / temperature, top_k, top_p), uniforms[:, n])
        ids = torch.cat([ids, token[:, None]], dim=1)
    return ids


@torch.no_grad()
def log_probabilities(model: GPT, ids: Int[Tensor, " N"]) -> Float[Tensor, "N V"]:
    """Of every byte that could stand at each place of a text, from at least half a context; empty lines stand before it. On the CPU."""
    device, T = next(model.parameters()).device, model.config.context
    stride = T - T // 2
    start = torch.full((T - stride + 1,), LINE_END)
    end = torch.full((-len(ids) % stride,), LINE_END)
    windows = torch.cat([start, ids, end])[:-1].unfold(0, T, stride)  # (W, T)
    logits = [model(part)[:, -stride:].float().cpu() for part in windows.to(device).split(64)]  # the first half is context only
    return torch.cat(logits).flatten(0, 1)[: len(ids)].log_softmax(dim=-1)


def bits_per_character(nats: Float[Tensor, " N"], data: python_docs.Documentation) -> float:
    """What an ideal coder needs for `data`, of which each byte costs that many nats."""
    return nats.sum().item() / math.log(2) / len(data)


def bits_per_line_end(p: Float[Tensor, " N"], ids: Int[Tensor, " N"]) -> float:
    """Bits for whether a line ends here, at all places together, for each that does. p: its probability at each place."""
    ends, p = ids == LINE_END, p.double()
    return -torch.where(ends, p.log(), (-p).log1p()).sum().item() / math.log(2) / int(ends.sum())


def evaluate(model: GPT, *, seed: int = 0) -> dict[str, float]:
    """Bits per character on the held-out topics, beside n-grams; nothing is drawn, so `seed` has no effect.

    ngram_5: smoothed as by Witten and Bell, whose best order that is. kneser_ney: modified, of order 10, the strongest of its kind
    here; on half a megabyte it is ahead of a network trained for a minute. Does the network know what counts do not? gain: by
    how much their even mixture is better than kneser_ney alone; gain_of_counts: the same with kneser_ney of order 6 in the
    network's place. line_ends: bits for where lines end, which hangs on a line's length, far beyond nine bytes.
    """
    real, held_out = python_docs.load("train"), python_docs.load("test")
    ids, log_p = held_out.ids, log_probabilities(model, held_out.ids)
    counts, fewer, plain = (kind(n, python_docs.SYMBOLS, real.ids) for kind, n in ((KneserNey, 10), (KneserNey, 6), (NGram, 5)))
    network, counted = -log_p.gather(1, ids[:, None])[:, 0].double(), counts.nll(ids)  # nats of each byte
    nats = {
        "bits_per_character": network,
        "ngram_5": plain.nll(ids),
        "kneser_ney": counted,
        "mixture": even_mixture(network, counted),
        "mixture_of_counts": even_mixture(fewer.nll(ids), counted),
    }
    figures = {name: bits_per_character(value, held_out) for name, value in nats.items()}
    figures["gain"] = figures["kneser_ney"] - figures["mixture"]
    figures["gain_of_counts"] = figures["kneser_ney"] - figures["mixture_of_counts"]
    figures["line_ends"] = bits_per_line_end(log_p[:, LINE_END].exp(), ids)
    figures["line_ends_counts"] = bits_per_line_end(counts.probabilities(LINE_END, ids), ids)
    return figures


GATES = (
    Gate("bits_per_character", below="ngram_5", baseline="kneser_ney"),
    Gate("gain", at_least=0.05, above="gain_of_counts", baseline="gain_of_counts"),
    Gate("line_ends", below="line_ends_counts", baseline="line_ends_counts"),
)
# What the unit is about: the past, and the order in it. Every step sees as many bytes as with the default settings.
ABLATIONS = {
    "only the last byte": Ablation(Config(context=1, batch_size=64 * 32), "bits_per_character", lower_by=1.0),
    "no positions": Ablation(Config(positions=False), "bits_per_character", lower_by=0.6),
}
LEAKS = {"held-out text in training": Leak(lambda seed, device: python_docs.shared(), chance=0.0, at_most=0.02)}


def continued(
    model: GPT,
    prompt: str,
    *,
    length: int = 200,
    temperature: float = 0.7,
    top_p: float = 1.0,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> str:
    """A prompt and the `length` bytes that the model puts behind it. Raises ValueError for a negative length."""
    ids = python_docs.encode(prompt)[None].to(next(model.parameters()).device)
    if length < 0:
        raise ValueError(f"length must be at least 0, got {length}")
    if ids.shape[1] > model.config.context:
        say(f"the model reads the last {model.config.context} of {ids.shape[1]} bytes")
    return python_docs.decode(generate(model, ids, length, temperature=temperature, top_p=top_p, seed=seed)[0])


VERB = Verb("text", "text", continued, example="The value of")


def demo(config: Config = Config(context=32, batch_size=16, steps=540), *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; show the loss, a prompt continued at four temperatures, and what top-k and top-p leave."""
    losses: list[float] = []
    model = train(config, device=device, progress=False, losses=losses)
    device = next(model.parameters()).device
    figure, axes = plt.subplot_mosaic([["loss", "text"], ["tokens", "text"]], figsize=(12, 7), layout="constrained")
    axes["loss"].plot([nats / math.log(2) for nats in losses])
    axes["loss"].set(title="Training loss", xlabel="step", ylabel="bits per byte")
    with torch.no_grad():
        logits = model(python_docs.encode("The value of ")[None].to(device))[:, -1].float()  # (1, V)
    order = logits[0].argsort(descending=True)[:16]
    cuts = {"all": (None, None), "top-k, k = 6": (6, None), "top-p, p = 0.8": (None, 0.8)}
    for i, (label, (top_k, top_p)) in enumerate(cuts.items()):
        p = top_k_top_p_filter(logits, top_k, top_p).softmax(dim=-1)[0, order]
        axes["tokens"].bar(torch.arange(len(order)) + 0.3 * (i - 1), p.cpu(), width=0.3, label=label)
    names = [repr(chr(token))[1:-1].replace(" ", "\u2423") for token in order.tolist()]
    axes["tokens"].set_xticks(range(len(order)), names, family="monospace")
    axes["tokens"].set(title='The byte after "The value of "', ylabel="probability")
    axes["tokens"].legend()
    prompt, lines = python_docs.encode("The value of")[None].to(device), []
    for temperature in (0.0, 0.7, 1.0, 1.5):
        text = python_docs.decode(generate(model, prompt, 150, temperature=temperature, seed=1)[0])
        shown = "".join(c if c.isascii() and c.isprintable() else " " for c in text).replace("$", r"\$")
        lines += [f"temperature {temperature:g}", *textwrap.wrap(shown, 66), ""]
    axes["text"].text(0, 1, "\n".join(lines), family="monospace", fontsize=9, verticalalignment="top")
    axes["text"].set_title("One prompt and one row of random numbers")
    axes["text"].axis("off")
    return figure
