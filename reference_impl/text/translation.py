r"""
# Translation

An **encoder** reads the whole source, both ways; a **decoder** writes the target token by token. It reads what it has written by
causal self-attention, and the source by **cross-attention**, whose queries come from the target $X$, whose keys and values come
from what the encoder made of the source, the memory $M$:

$$\operatorname{CrossAttention}(X, M) = \operatorname{softmax}\!\Big(\frac{(X W_Q)(M W_K)^\top}{\sqrt D} + P\Big) (M W_V),$$

where $P$ is $-\infty$ at the padding of a shorter source and 0 elsewhere. So there are two masks: causal for the target, padding
for the source. (Padding at the end of a target needs none: the causal mask hides it from all that counts.)

In training the decoder is given the right target, shifted by one (**teacher forcing**), and learns all positions at once. The
loss is cross-entropy against **smoothed labels**, $1 - \epsilon$ on the right token and $\epsilon$ spread over all $V$,

$$\mathcal L = -(1 - \epsilon) \log p(y) - \frac{\epsilon}{V} \sum_{v} \log p(v),$$

and the rate rises linearly, then falls with the root of the step:

$$\eta(s) = C^{-1/2} \min\bigl(s^{-1/2},\; s \, w^{-3/2}\bigr).$$

Translations are judged by **BLEU**, how many of the n-grams written stand in the reference, with a penalty for brevity, and
**chrF**, an F-score of characters' n-grams that weighs recall double:

$$\mathrm{BLEU} = \min\bigl(1, e^{1 - r/c}\bigr) \Bigl(\prod_{n=1}^{4} p_n\Bigr)^{1/4}, \qquad
\mathrm{chrF} = \frac{(1 + \beta^2)\, P R}{\beta^2 P + R}.$$

The experiment: dates, times, amounts and measures between English and Chinese, where the truth is known, so that *exact* matches
can be counted, and what lies outside of training can be asked for: longer numbers, formats with values that they never had.

**Asked in interviews.** Where do queries, keys and values come from? Which mask is needed where? What is fed to the decoder in
training, and what at test time? Why does training run in parallel, and decoding not? What does label smoothing do to
perplexity, and to BLEU? Why warm up? Why is BLEU a figure of a corpus, and what does it not see?

**Sources.** Vaswani et al., *Attention Is All You Need* (2017), sections 3.1 to 3.4, 5.3, 5.4, 6.1; Bahdanau et al., *Neural
Machine Translation by Jointly Learning to Align and Translate* (2015); Szegedy et al., *Rethinking the Inception Architecture*
(2016), section 7; Papineni et al., *BLEU* (2002), section 2.3; Popović, *chrF* (2015), eq. 1; Post, *A Call for Clarity in
Reporting BLEU Scores* (2018).

**In this course.** [Question](../../questions/text/translation.md) · [exercise](../../notebooks/text/translation.ipynb) ·
[solution](../../solutions/text/translation.ipynb)
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.data import dates_and_amounts as data
from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, resolve_device, seed_everything, track
from reference_impl.templates import Templates
from reference_impl.text.attention import (
    MultiHeadAttention,
    attention_weights,
    causal_mask,
    merge_heads,
    sinusoidal_positions,
    split_heads,
)
from reference_impl.verbs import Verb

IGNORED = -100  # a target that is not asked for: it stands behind the end of a shorter row
PAD, END = data.PAD, data.END
STARTS = {"en": 2, "zh": 3}  # the first token that the decoder reads says into which language
LONGEST = 24  # tokens of a translation, the end included
Corpus = tuple[Tensor, Tensor, Tensor, Tensor]  # sources (N, S), their lengths (N,), targets (N, T), start tokens (N,)


def shift_right(targets: Int[Tensor, "B T"], starts: Int[Tensor, " B"]) -> Int[Tensor, "B T"]:
    """What the decoder reads where it is asked for `targets`: first `starts`, then each target but the last; -100 becomes `PAD`.

    So at each place it has the targets before that place, and no more. Vaswani et al. (2017), section 3.1.
    """
    shifted = torch.cat([starts[:, None], targets[:, :-1]], dim=1)  # (B, T)
    return shifted.masked_fill(shifted == IGNORED, PAD)


def label_smoothing(logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"], smoothing: float = 0.1) -> Float[Tensor, ""]:
    r"""Mean cross-entropy, in nats, against $1 - \epsilon$ on the target and $\epsilon / V$ on each of all V tokens.

    Over the places whose target is not -100, in the dtype of `logits`; 0 if there is none. What logits stand at other places, NaN too, has no effect, on
    gradients neither. Szegedy et al. (2016), section 7. Raises ValueError unless 0 ≤ smoothing < 1.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must lie in 0 to 1, got {smoothing}")
    kept = targets != IGNORED
    log_p = logits.where(kept[..., None], 0.0).log_softmax(dim=-1)
    nll = -log_p.gather(-1, targets.where(kept, 0)[..., None])[..., 0]  # (B, T)
    loss = (1 - smoothing) * nll - smoothing * log_p.mean(dim=-1)
    return loss.where(kept, 0.0).sum() / kept.sum().clamp(min=1)


def noam_schedule(step: int, width: int, warmup: int) -> float:
    """The learning rate of a step, counted from 1: it rises linearly for `warmup` steps, then falls as 1 / √step.

    Vaswani et al. (2017), eq. 3. Raises ValueError unless step and warmup are at least 1.
    """
    if step < 1 or warmup < 1:
        raise ValueError(f"step and warmup count from 1, got {step} and {warmup}")
    return width**-0.5 * min(step**-0.5, step * warmup**-1.5)


class CrossAttention(nn.Module):
    """Attention from one sequence to another, with H heads: `q` projects the one, `kv` the other, `out` mixes the heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "B T C"], memory: Float[Tensor, "B S C"], mask: Bool[Tensor, "*#batch #T #S"] | None = None
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B H T S"]]:
        """What the T positions of `x` read from the S positions of `memory`, and how much of each, head by head.

        `kv` is packed: keys first, then values. mask: True where a position may be read, of which each query has at
        least one; it broadcasts to (B, H, T, S). Heads are cut and put together as by `split_heads` and `merge_heads`. Vaswani et al. (2017), section 3.2.3.
        """
        q = split_heads(self.q(x), self.heads)  # (B, H, T, D)
        k, v = (split_heads(part, self.heads) for part in self.kv(memory).chunk(2, dim=-1))  # (B, H, S, D) each
        weights = attention_weights(q, k, mask)
        return self.out(merge_heads(weights @ v)), weights


def feed_forward(width: int, inner: int) -> nn.Sequential:
    """The position-wise network of a block. Vaswani et al. (2017), eq. 2."""
    return nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))


class EncoderBlock(nn.Module):
    """A pre-norm transformer block: every position of the source reads every other."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = MultiHeadAttention(width, heads), feed_forward(width, inner)

    def forward(self, x: Float[Tensor, "B S C"], mask: Bool[Tensor, "*#batch #S #S"] | None = None) -> Float[Tensor, "B S C"]:
        """Attention, then the network: each reads a normalised copy of the stream and adds to it. mask: True may be read."""
        x = x + self.attention(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """A pre-norm transformer block that reads what is written so far, then the memory."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.cross = MultiHeadAttention(width, heads), CrossAttention(width, heads)
        self.mlp = feed_forward(width, inner)

    def forward(
        self, x: Float[Tensor, "B T C"], memory: Float[Tensor, "B S C"], mask: Bool[Tensor, "*#batch #T #S"] | None = None
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B H T S"]]:
        """Self-attention to the past, cross-attention, network: each reads a normalised copy of the stream and adds to it.

        A position reads itself and those before it: `attention` takes a mask that is True where it may be read, as `causal_mask`
        is. mask: the same for the memory, which comes normalised. `norm1` to `norm3` belong to the three in this order. Also
        returns the weights of the cross-attention. Vaswani et al. (2017), section 3.1, with the norm before each part.
        """
        T = x.shape[1]
        x = x + self.attention(self.norm1(x), causal_mask(T, T, device=x.device))
        read, weights = self.cross(self.norm2(x), memory, mask)
        x = x + read
        return x + self.mlp(self.norm3(x)), weights


def count_ngrams(symbols: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of n symbols stands in a sequence."""
    return Counter(tuple(symbols[i : i + n]) for i in range(len(symbols) - n + 1))


def corpus_bleu(
    texts: Sequence[Sequence[str]], references: Sequence[Sequence[str]], *, order: int = 4, smooth: bool = False
) -> float:
    r"""BLEU, 0 to 100: the geometric mean of the precisions of 1-grams to n-grams, n = `order`, times the brevity penalty.

    texts, references: lists of tokens, one reference for each text. Of the n-grams of all texts together, the precision is the
    share that stands in the reference of their text, each counted at most as often as it stands there. The penalty is
    $\min(1, e^{1 - r/c})$ with r tokens in all references, c in all texts. Papineni et al. (2002), section 2.3.
    smooth: where there are n-grams of an order but none is right, 1/2 counts as right in the first such order, 1/4 in the
    second, and so on (`exp` of sacrebleu). 0 where no token is right, where a precision is 0 or of no n-grams at all, and of no texts.
    Raises ValueError unless there is one reference for each text.
    """
    if len(texts) != len(references):
        raise ValueError(f"expected a reference for each text, got {len(references)} for {len(texts)}")
    logs, credit = [], 1.0
    for n in range(1, order + 1):
        counted = [(count_ngrams(text, n), count_ngrams(right, n)) for text, right in zip(texts, references, strict=False)]
        matches = sum((mine & right).total() for mine, right in counted)
        total = sum(mine.total() for mine, _ in counted)
        if total == 0 or (matches == 0 and (n == 1 or not smooth)):
            return 0.0
        credit = credit / 2 if matches == 0 else credit
        logs.append(math.log((matches or credit) / total))
    c, r = sum(map(len, texts)), sum(map(len, references))
    return 100 * math.exp(min(0.0, 1 - r / c) + sum(logs) / order)


def chrf(texts: Sequence[str], references: Sequence[str], *, order: int = 6, beta: float = 2.0) -> float:
    r"""chrF, 0 to 100: $(1 + \beta^2) P R / (\beta^2 P + R)$ of precision and recall of characters' n-grams, without whitespace.

    For each n up to `order`, n-grams of all texts that stand in their reference, each counted at most as often as there, over
    all of the texts (precision) or of the references (recall). P and R are means over those n of which texts and references
    have any. A text whose reference is too short for an n-gram does not count for this n; a text that is too short itself leaves
    its reference in the recall. 0 if P and R are, and of no texts.
    One reference for each text. Popović (2015), eq. 1, as sacrebleu has it. Raises ValueError unless there is one.
    """
    if len(texts) != len(references):
        raise ValueError(f"expected a reference for each text, got {len(references)} for {len(texts)}")
    pairs = [("".join(text.split()), "".join(right.split())) for text, right in zip(texts, references, strict=False)]
    precisions, recalls = [], []
    for n in range(1, order + 1):
        counted = [(count_ngrams(text, n), count_ngrams(right, n)) for text, right in pairs if len(right) >= n]
        mine, wanted = sum(text.total() for text, _ in counted), sum(right.total() for _, right in counted)
        if mine and wanted:
            matches = sum((text & right).total() for text, right in counted)
            precisions.append(matches / mine)
            recalls.append(matches / wanted)
    if not any(precisions):
        return 0.0
    P, R = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return 100 * (1 + beta**2) * P * R / (beta**2 * P + R)


@dataclass(frozen=True)
class Config:
    """symbols, width, inner (of the networks), layers (of each side) and heads shape the model; the rest drives `train`.

    memory: what the decoder reads of the source, a vector for each token (`tokens`), or one for all: their mean (`mean`), or that of
    the end (`end`). smoothing: of the labels. scale: a factor of `noam_schedule`. averaged: share of the steps, the last ones, whose weights are averaged. kinds: of
    the pairs that are trained on.
    """

    symbols: int = 215
    width: int = 64
    inner: int = 128
    layers: int = 2
    heads: int = 4
    memory: str = "tokens"
    smoothing: float = 0.1
    steps: int = 3000
    batch_size: int = 32
    warmup: int = 600
    scale: float = 1.0
    averaged: float = 0.2
    kinds: tuple[str, ...] = tuple(data.KINDS)


class Translator(nn.Module):
    """Encoder and decoder. One matrix embeds the tokens of both languages and reads the logits out (section 3.4)."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        if config.memory not in ("tokens", "mean", "end"):
            raise ValueError(f"memory must be tokens, mean or end, got {config.memory!r}")
        C, self.config = config.width, config
        self.tokens = nn.Embedding(config.symbols, C)
        self.encoder = nn.ModuleList(EncoderBlock(C, config.heads, config.inner) for _ in range(config.layers))
        self.decoder = nn.ModuleList(DecoderBlock(C, config.heads, config.inner) for _ in range(config.layers))
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)  # at the end of the encoder, and of the decoder
        nn.init.normal_(self.tokens.weight, std=C**-0.5)

    def embed(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T C"]:
        """What enters the first block: embeddings times √C, so that they are of the size of the sinusoids that are added."""
        x = self.tokens(ids) * math.sqrt(self.config.width)
        return x + sinusoidal_positions(x.shape[1], x.shape[2], device=x.device)

    def encode(
        self, source: Int[Tensor, "B S"], lengths: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B M C"], Bool[Tensor, "B 1 1 M"]]:
        """The memory, and which of its positions may be read: the first `lengths[b]` > 0 of row b. Or one vector (`Config.memory`)."""
        mask = (torch.arange(source.shape[1], device=source.device) < lengths[:, None])[:, None, None]  # (B, 1, 1, S)
        x = self.embed(source)
        for block in self.encoder:
            x = block(x, mask)
        x = self.norm1(x)
        if self.config.memory == "mean":
            real = mask.flatten(1)[..., None]  # (B, S, 1)
            return (x * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True), mask[..., :1]
        if self.config.memory == "end":
            return x[torch.arange(len(x), device=x.device), lengths - 1][:, None], mask[..., :1]
        return x, mask

    def decode(
        self, inputs: Int[Tensor, "B T"], memory: Float[Tensor, "B M C"], mask: Bool[Tensor, "B 1 1 M"]
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, "B H T M"]]:
        """Logits of the token behind each of `inputs`, and where the last block looked to find it."""
        x = self.embed(inputs)
        for block in self.decoder:
            x, weights = block(x, memory, mask)
        return F.linear(self.norm2(x), self.tokens.weight), weights

    def forward(
        self, source: Int[Tensor, "B S"], lengths: Int[Tensor, " B"], inputs: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T V"]:
        """Logits of the token behind each of `inputs`, the shifted targets. lengths: of the sources."""
        return self.decode(inputs, *self.encode(source, lengths))[0]


@torch.no_grad()
def greedy(
    model: Translator, source: Int[Tensor, "B S"], lengths: Int[Tensor, " B"], starts: Int[Tensor, " B"], limit: int = LONGEST
) -> Int[Tensor, "B T"]:
    """The likeliest token after `starts`, again and again, for each row until `END`, which is kept; `PAD` follows. Nothing else ends a row.

    It stops as soon as every row has ended: T is the length of the longest one, at most `limit` > 0. A source need be encoded but once.
    """
    memory, mask = model.encode(source, lengths)
    ids, going = starts[:, None], torch.ones_like(starts, dtype=torch.bool)  # (B, 1 + T), (B,)
    for _ in range(limit):
        logits, _ = model.decode(ids, memory, mask)
        new = logits[:, -1].argmax(dim=-1).where(going, PAD)
        ids = torch.cat([ids, new[:, None]], dim=1)
        going = going & (new != END)
        if not bool(going.any()):
            break
    return ids[:, 1:]


# --- texts ---


@lru_cache(maxsize=2)
def training_corpus(kinds: tuple[str, ...] = tuple(data.KINDS)) -> Corpus:
    """The training pairs of these kinds in both directions, first into Chinese; targets are -100 behind their end."""
    pairs = data.load("train")
    chosen = [i for i, kind in enumerate(pairs.kinds) if kind in kinds]
    ids, lengths = data.encode([texts[i] for texts in (pairs.en, pairs.zh) for i in chosen])
    N = len(chosen)
    targets = ids.roll(N, 0).where(torch.arange(ids.shape[1]) < lengths.roll(N)[:, None], IGNORED)
    return ids, lengths, targets, torch.tensor([STARTS["zh"], STARTS["en"]]).repeat_interleave(N)


def by_length(corpus: Corpus, batch_size: int, steps: int, generator: torch.Generator) -> Iterator[Corpus]:
    """Batches of pairs that are about equally long, cut behind the longest: half of the positions would be padding otherwise."""
    source, lengths, targets, starts = corpus
    wanted, made = (targets != IGNORED).sum(dim=1), 0
    for pool in batches(len(source), 16 * batch_size, -(-steps // 16), generator):
        pool = pool[(lengths + wanted)[pool].argsort()]
        for i in torch.randperm(16, generator=generator).tolist()[: steps - made]:
            rows = pool[i * batch_size : (i + 1) * batch_size]
            yield source[rows, : lengths[rows].max()], lengths[rows], targets[rows, : wanted[rows].max()], starts[rows]
            made += 1


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
    losses: list[float] | None = None,
) -> Translator:
    """Train on the training pairs in both directions; return the model in evaluation mode, on `device`.

    Its weights are the mean of those of the last steps, as in the paper (section 6.1). precision: `float32` or `bfloat16`
    (autocast; the loss stays in float32). compile: use `torch.compile`. losses: a list to which each step's loss is appended.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    model = maybe_compile(Translator(config).to(device).train(), compile)
    optimizer = torch.optim.Adam(model.parameters(), config.scale, betas=(0.9, 0.98), eps=1e-9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: noam_schedule(done + 1, config.width, config.warmup))
    last = max(1, round(config.averaged * config.steps))
    means, found = [torch.zeros_like(parameter) for parameter in model.parameters()], []
    steps = by_length(training_corpus(config.kinds), config.batch_size, config.steps, generator)
    for step, batch in enumerate(track(steps, total=config.steps, description="Translation", show=progress)):
        source, lengths, targets, starts = (part.to(device) for part in batch)
        with autocast(device, precision):
            logits = model(source, lengths, shift_right(targets, starts))
        loss = label_smoothing(logits.float(), targets, config.smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        found.append(loss.detach())
        if step >= config.steps - last:
            for mean, parameter in zip(means, model.parameters(), strict=True):
                mean.add_(parameter.detach(), alpha=1 / last)
    with torch.no_grad():
        for mean, parameter in zip(means, model.parameters(), strict=True):
            parameter.copy_(mean)
    if losses is not None:
        losses += torch.stack(found).tolist()
    return model.eval()


def translate(model: Translator, texts: Sequence[str], language: str) -> list[str]:
    """Each text in a language, `en` or `zh`. Raises ValueError for another one, and for a token that training does not have."""
    if language not in STARTS:
        raise ValueError(f"language must be one of {', '.join(STARTS)}, got {language!r}")
    device, order = model.tokens.weight.device, sorted(range(len(texts)), key=lambda i: len(texts[i]))
    written = [""] * len(texts)
    for start in range(0, len(order), 100):  # of about equal length
        some = order[start : start + 100]
        ids, lengths = (part.to(device) for part in data.encode([texts[i] for i in some]))
        rows = greedy(model, ids, lengths, torch.full_like(lengths, STARTS[language])).tolist()
        for i, row in zip(some, rows, strict=True):
            written[i] = data.decode(row)
    return written


# --- what it is worth ---


@lru_cache(maxsize=2)
def templates(language: str) -> Templates:
    """`Templates` that translate into a language, learned from all training pairs."""
    train = data.load("train")
    return Templates(train.zh, train.en) if language == "en" else Templates(train.en, train.zh)


@lru_cache(maxsize=4)
def rivals(split: str) -> dict[str, float]:
    """Share of exact matches of `templates`, and of copying the source, in both directions."""
    pairs, right = data.load(split), Counter[str]()
    for language, sources, targets in (("en", pairs.zh, pairs.en), ("zh", pairs.en, pairs.zh)):
        known = templates(language)
        right["templates"] += sum(known.translate(source) == target for source, target in zip(sources, targets, strict=True))
        right["copy"] += sum(source == target for source, target in zip(sources, targets, strict=True))
    return {name: right[name] / (2 * len(pairs)) for name in ("templates", "copy")}


def evaluate(model: Translator, *, seed: int = 0) -> dict[str, float]:
    """Exact matches, BLEU (of tokens) and chrF of held-out pairs, both directions together, beside the `rivals`.

    exact_to_en, exact_to_zh: of each direction. …_combinations, …_magnitudes: of the two splits that lie outside of training.
    `seed` is not needed: nothing is drawn.
    """
    figures: dict[str, float] = {}
    for split, suffix in (("test", ""), ("combinations", "_combinations"), ("magnitudes", "_magnitudes")):
        pairs = data.load(split)
        texts = translate(model, pairs.zh, "en") + translate(model, pairs.en, "zh")
        references = [*pairs.en, *pairs.zh]
        right = [text == reference for text, reference in zip(texts, references, strict=True)]
        figures["exact" + suffix] = sum(right) / len(right)
        if not suffix:
            figures["exact_to_en"], figures["exact_to_zh"] = (
                sum(half) / len(pairs) for half in (right[: len(pairs)], right[len(pairs) :])
            )
        figures["bleu" + suffix] = corpus_bleu(*([data.tokenize(text) for text in some] for some in (texts, references)))
        figures["chrf" + suffix] = chrf(texts, references)
        figures |= {f"exact_{name}{suffix}": value for name, value in rivals(split).items()}
    return figures


# Templates are better, and the pages say so: where the numbers are told apart by hand, nothing is left that a network would be needed for.
GATES = (
    Gate("exact", at_least=0.95, baseline="exact_templates"),
    Gate("exact_combinations", at_least=0.8, baseline="exact_templates_combinations"),
)
# What the unit is about: a look at each token of the source. One vector in its place, that of the end as Sutskever et al. (2014) did.
ABLATIONS = {
    "one vector for the sentence": Ablation(Config(memory="end"), "exact", higher_by=0.2),
    "the mean of the vectors": Ablation(Config(memory="mean"), "exact", higher_by=0.2),
}
LEAKS = {
    "texts of training in other splits": Leak(lambda seed, device: data.shared(), chance=0.0, at_most=0.0),
    "all but the digits": Leak(lambda seed, device: data.formats_alone(), chance=0.0, at_most=0.02),
}


def translated(model: Translator, text: str, *, to: str = "auto") -> str:
    """A text in the language `to`, `en` or `zh`; `auto` is English where there are Chinese characters in it.

    Raises ValueError for another language, and for a text with what training does not have.
    """
    if to == "auto":
        to = "en" if re.search(r"[\u4e00-\u9fff]", text) else "zh"
    try:
        return translate(model, [" ".join(text.split())], to)[0]
    except ValueError as error:
        raise ValueError(f"{error}; what it knows are {data.ABOUT}") from None


VERB = Verb("text", "text", translated, example="Sun, May 1, 1955")

BRIEF = Config(steps=320, warmup=100, kinds=("time",))


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly, on times of day alone; show the loss, the schedule, and where the decoder looks."""
    losses: list[float] = []
    model = train(config, device=device, progress=False, losses=losses)
    figure, (curve, rates, look) = plt.subplots(1, 3, figsize=(14, 4.5), layout="constrained")
    curve.plot(losses)
    curve.set(title="Training loss, with smoothed labels", xlabel="step", ylabel="nats per token")
    for warmup in (300, 600, 1200):
        rates.plot([noam_schedule(step, config.width, warmup) for step in range(1, 3001)], label=f"warm-up of {warmup} steps")
    rates.set(title="Learning rate", xlabel="step", ylim=0)
    rates.legend()
    text = "6:47 PM"
    source, lengths = (part.to(model.tokens.weight.device) for part in data.encode([text]))
    starts = torch.full_like(lengths, STARTS["zh"])
    written = greedy(model, source, lengths, starts)
    with torch.no_grad():
        _, weights = model.decode(shift_right(written, starts), *model.encode(source, lengths))
    look.imshow(weights[0].mean(0).float().cpu(), cmap="magma", vmin=0)
    tokens = [[*data.tokenize(data.decode(row)), "end"] for row in (source[0].tolist(), written[0].tolist())]
    look.set_xticks(range(len(tokens[0])), tokens[0])
    look.set_yticks(range(len(written[0])), (tokens[1] + [""] * LONGEST)[: len(written[0])])
    look.set(title=f"{text} → {data.decode(written[0].tolist())}: cross-attention", xlabel="read", ylabel="written")
    return figure
