r"""
# Word vectors

A word is known by the company it keeps: a vector for each word is learned from which words stand near which. **Skip-gram with
negative sampling** (SGNS, the word2vec of 2013) has two vectors for each word, $w$ where it stands in the middle and $c$ where it
is context, and tells a pair that was seen from $k$ pairs of which the context was drawn from a noise distribution $q$:

$$\ell(w, c) = -\log\sigma(w \cdot c) - \sum_{i=1}^{k} \log\sigma(-w \cdot n_i), \qquad n_i \sim q(c) \propto \#(c)^{3/4}.$$

That is logistic regression between two distributions, so at the optimum the logit is the log of their ratio (Levy and Goldberg):

$$w \cdot c = \log\frac{P(w, c)}{k\, P(w)\, q(c)} = \operatorname{PMI}(w, c) - \log k \quad\text{for } q = P,
\qquad\text{hence}\qquad P(c \mid w) \propto q(c)\, e^{w \cdot c} .$$

So the rival needs no training: count, take the **positive PMI**, $\max(0, \log\frac{P(w, c)}{P(w)\,q(c)} - \log k)$, and cut its
**singular value decomposition** $U \Sigma V^\top$ down to $d$ columns: words $U_d \Sigma_d^p$, contexts $V_d \Sigma_d^{1-p}$.

Two habits of word2vec shape the pairs. A frequent word is kept with probability $\min(1, \sqrt{t / f(w)})$ only, and
what is dropped is gone *before* windows are laid, so windows reach further; and each place draws its window from 1 to $R$ anew, so
that near words count more.

**Asked in interviews.** What does SGNS factorise? Why two vectors for each word? What goes wrong without negatives? Why the power
¾? Why does an analogy leave out its own three words? When does counting win?

**Sources.** Mikolov et al., *Efficient Estimation of Word Representations in Vector Space* (2013); Mikolov et al., *Distributed
Representations of Words and Phrases and their Compositionality* (2013), eq. 4 and 5; Levy and Goldberg, *Neural Word Embedding as
Implicit Matrix Factorization* (2014a), eq. 7 to 12; Levy and Goldberg, *Linguistic Regularities in Sparse and Explicit Word
Representations* (2014b), eq. 3; Levy, Goldberg and Dagan, *Improving Distributional Similarity with Lessons
Learned from Word Embeddings* (2015), sections 2 and 3.

**In this course.** [Question](../../questions/text/embeddings.md) · [exercise](../../notebooks/text/embeddings.ipynb) ·
[solution](../../solutions/text/embeddings.ipynb)
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.data import python_docs
from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate, autocast, maybe_compile, one_cycle, resolve_device, seed_everything, track

WORD = re.compile(r"[a-z_]+")  # of the text in small letters
RAREST = 5  # a word that stands less often in the training text has no vector


def subsample_keep(counts: Float[Tensor, " V"], threshold: float) -> Float[Tensor, " V"]:
    r"""With which probability a place of each word is kept: $\min(1, \sqrt{t / f(w)})$, where f is the word's share of all places.

    A word that does not occur is kept. Raises ValueError unless the threshold is positive. Mikolov et al. (2013b), eq. 5.
    """
    if threshold <= 0:
        raise ValueError(f"the threshold must be positive, got {threshold}")
    share = counts / counts.sum()
    return (threshold / share).sqrt().clamp(max=1)  # a share of 0 makes infinity, which the clamp makes 1


def negative_table(counts: Float[Tensor, " V"], size: int, power: float = 0.75) -> Int[Tensor, " size"]:
    """Words from which negatives are drawn evenly: each as often as its share of counts^power says, rounded up or down.

    int64, `size` entries in any order. A word that does not occur is never drawn, whatever the power. Raises ValueError unless
    some count is positive. Mikolov et al. (2013b), section 2.2.
    """
    if not bool((counts > 0).any()):
        raise ValueError("expected at least one word that occurs")
    weights = torch.where(counts > 0, counts.double() ** power, 0.0)
    ends = (size * weights.cumsum(0) / weights.sum()).round().long()  # where the entries of each word end
    return torch.repeat_interleave(ends.diff(prepend=ends.new_zeros(1)))


def skipgram_pairs(ids: Int[Tensor, " N"], radii: Int[Tensor, " N"]) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"]]:
    """Centres and contexts: each word with every other place at most `radii` of its own place away, in any order.

    Windows end with the text. The pair (i, j) hangs on the radius of i alone. Raises ValueError unless each place has its radius.
    """
    if ids.shape != radii.shape:
        raise ValueError(f"expected a radius for each place, got {tuple(radii.shape)} for {tuple(ids.shape)}")
    places = torch.arange(len(ids), device=ids.device)
    first, behind = (places - radii).clamp(min=0), (places + radii + 1).clamp(max=len(ids))  # (N,): where windows begin and end
    widths = behind - first
    i = places.repeat_interleave(widths)  # a place once for each place of its window
    j = torch.arange(len(i), device=ids.device) - (widths.cumsum(0) - widths - first)[i]
    return ids[i[i != j]], ids[j[i != j]]


def sgns_loss(
    centres: Float[Tensor, "B D"], contexts: Float[Tensor, "B D"], negatives: Float[Tensor, "B K D"]
) -> Float[Tensor, ""]:
    """Mean over pairs of -log σ(w·c) - Σ log σ(-w·n), the sum over the K negatives of the pair (none is allowed), in nats.

    Mikolov et al. (2013b), eq. 4.
    """
    signed = torch.cat([contexts[:, None], -negatives], dim=1)  # (B, 1 + K, D)
    return -F.logsigmoid(signed @ centres[:, :, None]).sum() / len(centres)


def ppmi(counts: Float[Tensor, "V C"], negatives: float = 1.0, power: float = 1.0) -> Float[Tensor, "V C"]:
    r"""Positive PMI, $\max(0, \log\frac{P(w, c)}{P(w)\, q(c)} - \log k)$ in nats, of how often word w (row) has context c (column).

    q: shares of the contexts' counts to `power`, above 0 (1: PMI; ¾ makes rare contexts less surprising). negatives: k. What was
    never seen is 0, also where a word or a context never occurs. Raises ValueError unless k > 0. Levy et al. (2015), section 3.
    """
    if negatives <= 0:
        raise ValueError(f"the number of negatives must be positive, got {negatives}")
    q = F.normalize(counts.sum(dim=0) ** power, p=1, dim=0)
    expected = counts.sum(dim=1, keepdim=True) * q  # (V, C): how often, if the context did not depend on the word
    return torch.where(counts > 0, (counts / (negatives * expected)).log(), 0.0).clamp(min=0)


def svd_embedding(
    matrix: Float[Tensor, "V C"], width: int, power: float = 0.5
) -> tuple[Float[Tensor, "V D"], Float[Tensor, "C D"]]:
    """Words U Σ^power and contexts V Σ^(1 - power) of the largest `width` singular values: their product is the best of that rank.

    Raises ValueError unless 1 <= width <= the shorter side. Levy et al. (2015), sections 2 and 3; Eckart and Young (1936).
    """
    if not 1 <= width <= min(matrix.shape):
        raise ValueError(f"the width must lie in 1 to {min(matrix.shape)}, got {width}")
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    U, S, V = U[:, :width], S[:width], Vh[:width].mT
    return U * S**power, V * S ** (1 - power)


def neighbours(
    vectors: Float[Tensor, "V D"], queries: Int[Tensor, " Q"], count: int
) -> tuple[Float[Tensor, "Q N"], Int[Tensor, "Q N"]]:
    """Cosines and ids of the `count` words nearest to each query, nearest first, the query itself left out.

    A vector of zeros has cosine 0 with all others. Raises ValueError unless 1 <= count < V.
    """
    if not 1 <= count < len(vectors):
        raise ValueError(f"count must lie in 1 to {len(vectors) - 1}, got {count}")
    unit = F.normalize(vectors)
    cosines = (unit[queries] @ unit.T).scatter(1, queries[:, None], -math.inf)  # (Q, V)
    cosine, ids = cosines.topk(count)
    return cosine, ids


def analogy(vectors: Float[Tensor, "V D"], questions: Int[Tensor, "Q 3"]) -> Int[Tensor, " Q"]:
    """The word x for "a is to b as c is to x", for each row (a, b, c); a, b and c themselves are left out.

    3CosAdd: the largest cos(x, b) - cos(x, a) + cos(x, c), where a vector of zeros has cosine 0 with all. Raises ValueError for
    fewer than four words. Mikolov et al. (2013a), section 4; Levy and Goldberg (2014b), eq. 3.
    """
    if len(vectors) < 4:
        raise ValueError(f"expected at least 4 words, got {len(vectors)}")
    unit = F.normalize(vectors)
    a, b, c = unit[questions].unbind(dim=1)  # (Q, D) each
    scores = (b - a + c) @ unit.T  # (Q, V)
    return scores.scatter(1, questions, -math.inf).argmax(dim=-1)


@dataclass(frozen=True)
class Corpus:
    """words: the vocabulary, most frequent first; train and test: topics as ids, unknown words left out; counts: in training."""

    words: tuple[str, ...]
    train: tuple[Tensor, ...]
    test: tuple[Tensor, ...]
    counts: Tensor


@lru_cache(maxsize=1)
def corpus() -> Corpus:
    """Python's documentation in words; what stands fewer than `RAREST` times in the training topics is left out."""
    train, test = ([WORD.findall(text.lower()) for text in python_docs.load(split).texts] for split in ("train", "test"))
    ranked = Counter(word for topic in train for word in topic).most_common()
    words = tuple(word for word, often in ranked if often >= RAREST)
    index = {word: i for i, word in enumerate(words)}
    known, held_out = (
        tuple(torch.tensor([index[w] for w in topic if w in index], dtype=torch.int64) for topic in part)
        for part in (train, test)
    )
    return Corpus(words, known, held_out, torch.bincount(torch.cat(known), minlength=len(words)).double())


def cooccurrences(topics: Sequence[Tensor], size: int, radii: Sequence[int]) -> Float[Tensor, "V V"]:
    """How often each word has each context, as a mean over windows of these radii."""
    pairs = [skipgram_pairs(ids, torch.full_like(ids, radius)) for radius in radii for ids in topics]
    places = torch.cat([centres * size + contexts for centres, contexts in pairs])
    return torch.bincount(places, minlength=size * size).double().view(size, size) / len(radii)


@dataclass(frozen=True)
class Config:
    """width: of a vector; window: largest radius; negatives: k; power: of the noise; threshold: of subsampling, None for none.

    tied: whether a word is its own context, with one vector. The rest drives `train`.
    """

    width: int = 32
    window: int = 5
    negatives: int = 5
    power: float = 0.75
    threshold: float | None = 1e-3
    tied: bool = False
    steps: int = 600
    batch_size: int = 2048
    learning_rate: float = 0.02
    weight_decay: float = 0.4


class SGNS(nn.Module):
    """The two tables of vectors, of the words of `corpus`: words begin small and random, contexts at 0, as in word2vec."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config, size = config, len(corpus().words)
        self.words = nn.Embedding(size, config.width)
        self.contexts = self.words if config.tied else nn.Embedding(size, config.width)
        nn.init.zeros_(self.contexts.weight)
        nn.init.uniform_(self.words.weight, -0.5 / config.width, 0.5 / config.width)

    def forward(
        self, centres: Int[Tensor, " B"], contexts: Int[Tensor, " B"], negatives: Int[Tensor, "B K"]
    ) -> Float[Tensor, ""]:
        """The loss of pairs and their negatives."""
        return sgns_loss(self.words(centres), self.contexts(contexts), self.contexts(negatives))


def epoch(topics: Sequence[Tensor], keep: Float[Tensor, " V"], window: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """All pairs of one pass in random order: places dropped by `keep`, then a radius from 1 to `window` for each that is left."""
    pairs = []
    for ids in topics:
        ids = ids[torch.rand(len(ids), generator=generator, dtype=keep.dtype) < keep[ids]]
        pairs.append(skipgram_pairs(ids, torch.randint(1, window + 1, ids.shape, generator=generator)))
    centres, contexts = (torch.cat(part) for part in zip(*pairs, strict=True))
    order = torch.randperm(len(centres), generator=generator)
    return centres[order], contexts[order]


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
    losses: list[float] | None = None,
) -> SGNS:
    """Train on the training topics, passes drawn anew; return the model in evaluation mode, on `device`.

    precision: `float32` or `bfloat16` (autocast). compile: use `torch.compile`. losses: gets the loss of each step, in nats.
    """
    device, generator, data = resolve_device(device), seed_everything(seed), corpus()
    model = maybe_compile(SGNS(config).to(device).train(), compile)
    keep = torch.ones_like(data.counts) if config.threshold is None else subsample_keep(data.counts, config.threshold)
    table = negative_table(data.counts, 1_000_000, config.power)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule, (centres, contexts) = one_cycle(optimizer, config.learning_rate, config.steps, 0.1), (table[:0], table[:0])
    for _ in track(range(config.steps), total=config.steps, description="word vectors", show=progress):
        while len(centres) < config.batch_size:
            more = epoch(data.train, keep, config.window, generator)
            centres, contexts = torch.cat([centres, more[0]]), torch.cat([contexts, more[1]])
        batch, centres, contexts = (
            (centres[: config.batch_size], contexts[: config.batch_size]),
            *(part[config.batch_size :] for part in (centres, contexts)),
        )
        drawn = torch.randint(len(table), (config.batch_size, config.negatives), generator=generator)
        with autocast(device, precision):
            loss = model(*(part.to(device) for part in (*batch, table[drawn])))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if losses is not None:
            losses.append(loss.item())
    return model.eval()


def log_conditional(products: Float[Tensor, "V V"], noise: Float[Tensor, " V"]) -> Float[Tensor, "V V"]:
    """log P(context | word) of words (rows) whose products w·c say how much likelier than by `noise` (any scale) a context is."""
    return (products.double() + noise.double().log()).log_softmax(dim=-1)


@torch.no_grad()
def predict(model: SGNS) -> Float[Tensor, "V V"]:
    """log P(context | word) of an SGNS. Contexts that subsampling made rarer among the pairs are given their weight back."""
    data, config = corpus(), model.config
    noise = data.counts**config.power
    if config.threshold is not None:
        noise = noise / subsample_keep(data.counts, config.threshold)
    return log_conditional((model.words.weight @ model.contexts.weight.T).cpu(), noise)


def bits(log_p: Float[Tensor, "V V"], pairs: Float[Tensor, "V V"]) -> float:
    """Bits that a context costs, given the word: mean over `pairs`, each as often as it says."""
    return -(pairs * log_p).sum().item() / pairs.sum().item() / math.log(2)


def told_apart(scores: Float[Tensor, "V V"], pairs: Float[Tensor, "V V"], noise: Float[Tensor, "V V"]) -> float:
    """Area under the ROC curve: how often the context of a pair scores above one that `noise` (rows, any scale) draws for its word.

    A tie counts half; the mean over `pairs`, each as often as it says. 0.5 is chance.
    """
    ranked, order = scores.sort(dim=-1)
    mass = F.pad(noise.gather(1, order).cumsum(dim=-1), (1, 0))  # (V, V + 1): of the contexts below each rank
    below, upto = (mass.gather(1, torch.searchsorted(ranked, scores.contiguous(), right=right)) for right in (False, True))
    return (pairs * (below + upto) / 2 / mass[:, -1:].clamp(min=1e-300)).sum().item() / pairs.sum().item()


def plurals(words: Sequence[str]) -> tuple[Int[Tensor, "Q 3"], Int[Tensor, " Q"]]:
    """Questions "a is to as as c is to ?" of all words that stand with and without a last s, and their answers."""
    index = {word: i for i, word in enumerate(words)}
    pairs = [(i, index[f"{word}s"]) for word, i in index.items() if len(word) > 2 and f"{word}s" in index]
    asked = [(a, b, c, x) for a, b in pairs for c, x in pairs if a != c]
    return torch.tensor(asked)[:, :3], torch.tensor(asked)[:, 3]


def optimum_error(counts: Int[Tensor, "V V"], negatives: int) -> float:
    """Largest distance of w·c from PMI - log k where the loss of a toy corpus is least: all its pairs, each with all its noise.

    counts: how often each pair stands there, 1 or more. Vectors are as wide as there are words, so any product can be reached.
    """
    V, pairs = len(counts), counts.nonzero().repeat_interleave(counts.flatten(), dim=0)  # (N, 2)
    N = len(pairs)
    turned = (torch.arange(N)[:, None] + torch.arange(negatives)) % N  # (N, K): over all rows each context as often as it occurs
    words, contexts = pairs.repeat_interleave(N, dim=0).unbind(dim=1)
    drawn = pairs[turned.repeat(N, 1), 1]  # (N², K)
    w, c = (torch.randn(V, V, dtype=torch.float64).mul(0.1).requires_grad_() for _ in range(2))
    optimizer = torch.optim.LBFGS([w, c], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = sgns_loss(w[words], c[contexts], c[drawn])
        loss.backward()
        return loss

    optimizer.step(closure)
    pmi = (counts * N / (counts.sum(dim=1, keepdim=True) * counts.sum(dim=0))).log()
    return (w @ c.T - pmi + math.log(negatives)).abs().max().item()


@lru_cache(maxsize=1)
def counting() -> tuple[dict[str, float], Tensor]:
    """What counting reaches, by the names of `evaluate`, and word vectors from it: PPMI cut to 32 columns, power ½.

    Each rival has the setting that is best for it *on the held-out pairs*, so none is too weak; `steps` has none to set.
    """
    data = corpus()
    V, share = len(data.words), data.counts / data.counts.sum()
    train, held_out = cooccurrences(data.train, V, range(1, 6)), cooccurrences(data.test, V, [5])
    unseen = (train == 0).double()
    given = train / train.sum(dim=1, keepdim=True)
    mixed = [((1 - part) * share + part * given).log() for part in (0.1, 0.2, 0.3, 0.4, 0.5)]
    twice = given @ given  # contexts of contexts
    U, C = svd_embedding(ppmi(train), 64, 1.0)
    cut = [log_conditional(U[:, :width] @ C[:, :width].T, train.sum(dim=0)) for width in (4, 8, 16, 32, 64)]
    figures = {
        "bits_frequency": bits(share.log().expand(V, V), held_out),
        "bits_counts": min(bits(log_p, held_out) for log_p in mixed),
        "bits_svd": min(bits(log_p, held_out) for log_p in cut),
        "bits_steps": bits((0.3 * given + 0.35 * twice + 0.35 * share).log(), held_out),
        "auc_frequency": told_apart(share.expand(V, V), held_out * unseen, share * unseen),
        "auc_svd": max(told_apart(log_p - share.log(), held_out * unseen, share * unseen) for log_p in cut),
        "auc_steps": told_apart(twice @ given / share, held_out * unseen, share * unseen),
    }
    return figures, svd_embedding(ppmi(train), 32)[0]


def evaluate(model: SGNS, *, seed: int = 0) -> dict[str, float]:
    """How well pairs of held-out topics are foreseen; all windows have radius 5, and only words of the vocabulary count.

    bits: of a context, given the word. auc: how often a pair that training *never saw* ranks above one of the same word and a
    context drawn by frequency that was never seen with it either (`told_apart`); counts alone know nothing there. *_frequency,
    *_counts (relative counts mixed with frequencies), *_svd, *_steps (words reached over one or two words between, by relative
    counts; for bits mixed with the counts): `counting`. plural: share of the analogies "a is to as as c is to ?"
    that 3CosAdd answers; *_nearest: by the nearest neighbour of c, without a and as; *_in_ten: how often the answer is among the
    ten nearest of c. optimum_error: of `optimum_error` for random counts.
    """
    data, (rivals, counted) = corpus(), counting()
    V, share = len(data.words), data.counts / data.counts.sum()
    held_out, unseen = cooccurrences(data.test, V, [5]), (cooccurrences(data.train, V, [5]) == 0).double()
    log_p, words = predict(model), model.words.weight.detach().cpu()
    questions, answers = plurals(data.words)
    found, found_counted = (neighbours(way, questions[:, 2], 10)[1] == answers[:, None] for way in (words, counted))  # (Q, 10)
    toy = torch.randint(1, 5, (3, 3), generator=torch.Generator().manual_seed(seed))
    return {
        "bits": bits(log_p, held_out),
        "auc": told_apart(log_p - share.log(), held_out * unseen, share * unseen),
        **rivals,
        "plural": (analogy(words, questions) == answers).double().mean().item(),
        "plural_svd": (analogy(counted, questions) == answers).double().mean().item(),
        "plural_nearest": found[:, 0].double().mean().item(),
        "plural_in_ten": found.any(dim=1).double().mean().item(),
        "plural_in_ten_svd": found_counted.any(dim=1).double().mean().item(),
        "optimum_error": optimum_error(toy, 2),
    }


GATES = (
    Gate("bits", below="bits_svd", baseline="bits_frequency"),
    Gate("auc", at_least=0.59, above="auc_svd", baseline="auc_steps"),
    Gate("optimum_error", at_most=0.01),
)
# What the unit is about: something to be told apart from, a word's two roles, and windows that reach over frequent words.
ABLATIONS = {
    "no negatives": Ablation(Config(negatives=0), "auc", higher_by=0.04),
    "one vector a word": Ablation(Config(tied=True), "auc", higher_by=0.03),
    "no subsampling": Ablation(Config(threshold=None), "plural_in_ten", higher_by=0.1),
}
LEAKS = {
    "held-out text in training": Leak(lambda seed, device: python_docs.shared(), chance=0.0, at_most=0.02),
    "frequency of the context": Leak(lambda seed, device: counting()[0]["auc_frequency"], chance=0.5, at_most=0.53),
}


def demo(config: Config = Config(steps=400), *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; show the loss, log ratios learned and counted, and the neighbours of some words by both ways."""
    losses: list[float] = []
    model, data = train(config, device=device, progress=False, losses=losses), corpus()
    figure, axes = plt.subplot_mosaic(
        [["loss", "ratio"], ["words", "words"]], figsize=(11, 5.5), height_ratios=(2, 1), layout="constrained"
    )
    axes["loss"].plot(losses)
    axes["loss"].set(title="Training loss", xlabel="step", ylabel="nats per pair and its negatives")
    counts, share = cooccurrences(data.train, len(data.words), [config.window]), data.counts / data.counts.sum()
    often = counts >= 20
    counted, learned = (
        (log_p - share.log())[often] for log_p in ((counts / counts.sum(dim=1, keepdim=True)).log(), predict(model))
    )
    axes["ratio"].plot(counted, learned, ".", markersize=2)
    axes["ratio"].axline((0, 0), slope=1, color="gray", linewidth=1)
    axes["ratio"].set(title="Pairs seen 20 times or more: log P(c | w) / P(c)", xlabel="counted", ylabel="learned")
    asked = [word for word in ("class", "list", "integer", "exception", "returns", "string") if word in data.words]
    queries = torch.tensor([data.words.index(word) for word in asked])
    lines = [f"{'word':<12}{'neighbours of SGNS':<52}neighbours of PPMI + SVD", ""]
    ways = (model.words.weight.detach().cpu(), svd_embedding(ppmi(counts), config.width)[0])
    for word, *found in zip(asked, *(neighbours(vectors, queries, 4)[1].tolist() for vectors in ways), strict=True):
        learned_ones, counted_ones = (", ".join(data.words[i] for i in ids) for ids in found)
        lines.append(f"{word:<12}{learned_ones:<52}{counted_ones}")
    axes["words"].text(0, 1, "\n".join(lines), family="monospace", fontsize=9, verticalalignment="top")
    axes["words"].axis("off")
    return figure
