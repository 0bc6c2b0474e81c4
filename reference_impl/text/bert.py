r"""
# BERT and text classification

A **masked language model** learns from text without labels: hide some tokens $m$ of a sentence, and guess them from what stands on
both sides,

$$\mathcal L_\text{MLM} = -\frac1{|m|} \sum_{t \in m} \log p_\theta(x_t \mid \tilde x), \qquad
p_\theta(\cdot \mid \tilde x) = \operatorname{softmax}\bigl(E\, g(h_t) + b\bigr),$$

where $\tilde x$ has at the places $m$, 15 % of all, a `[MASK]` (80 %), a random token (10 %) or the token itself (10 %), $h = \operatorname{BERT}(\tilde x)$,
and $E$ is the matrix of the token embeddings. No mask is causal, so $h_t$ knows the whole sentence. A block is *post-norm*:

$$h \leftarrow \operatorname{LN}\bigl(h + \operatorname{Attention}(h)\bigr), \qquad h \leftarrow \operatorname{LN}\bigl(h + \operatorname{MLP}(h)\bigr).$$

**Fine-tuning** puts a linear map on one vector of the sentence and trains everything a little on few labelled examples. Layers
near the input hold what all tasks share, so they learn more slowly: layer $l$ of $L$ at the rate $\eta\, \xi^{L + 1 - l}$,
with $l = 0$ for the embeddings, $l = L + 1$ for the new head.

Sentences of a batch differ in length. What fills up the shorter ones must not be attended to, pooled or predicted.

A classifier is judged by **macro F1**, the mean of the classes' F1, to which a rare class counts as much as a frequent one, and by whether its
probabilities can be believed: the **expected calibration error** sorts predictions into bins $B_m$ by confidence,

$$\mathrm{ECE} = \sum_m \frac{|B_m|}{N} \bigl| \operatorname{acc}(B_m) - \operatorname{conf}(B_m) \bigr|.$$

**Asked in interviews.** Why 80/10/10? Why not mask half of the text? What does `[CLS]` know after pretraining? Why do padded
places change results if only the loss is masked? Why a smaller rate for lower layers? When does TF-IDF beat all of this?

**Sources.** Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding* (2019), sections
3.1, 3.2, A.1; Howard and Ruder, *Universal Language Model Fine-tuning for Text Classification* (2018), section 3.2; Guo et al., *On
Calibration of Modern Neural Networks* (2017), eq. 2, 3.

**In this course.** [Question](../../questions/text/bert.md) · [exercise](../../notebooks/text/bert.ipynb) ·
[solution](../../solutions/text/bert.ipynb)
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

from reference_impl.data import sentiment
from reference_impl.experiments import Ablation, Leak
from reference_impl.hugging_face import bert_weights
from reference_impl.runtime import Gate, autocast, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.text.attention import MultiHeadAttention, padding_mask
from reference_impl.text.tokenizer import Tokenizer, learn_merges, spelled_words, split_words

IGNORED = -100  # the target of a place that is not asked for
SPECIALS = ("[PAD]", "[CLS]", "[MASK]")
HAN = re.compile("([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")


def cut(text: str) -> list[str]:
    """Words of small letters, and each Chinese character by itself, as BERT cuts before it looks for pieces."""
    return [word for part in HAN.split(text.lower()) for word in split_words(part)]


@lru_cache(maxsize=2)
def tokenizer(merges: int = 2000) -> Tokenizer:
    """Byte-level BPE, learned from the training sentences of both languages; no label is looked at."""
    texts = [text for language in sentiment.LANGUAGES for text in sentiment.load("train", language).texts]
    words = Counter(word for text in texts for word in cut(text))
    return Tokenizer(learn_merges(*spelled_words(words), merges), SPECIALS)


def encode(text: str, length: int) -> list[int]:
    """`[CLS]` and the tokens of a sentence, at most `length` together."""
    tokens = tokenizer()
    return [tokens.specials["[CLS]"], *chain.from_iterable(map(tokens.words, cut(text)))][:length]


def pad(sentences: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> tuple[Int[Tensor, "B T"], Int[Tensor, " B"]]:
    """Sentences as rows of one length, filled up with `[PAD]`, and how long each of them is."""
    lengths = torch.tensor([len(sentence) for sentence in sentences])
    ids = torch.full((len(sentences), int(lengths.max())), tokenizer().specials["[PAD]"])
    for row, sentence in zip(ids, sentences, strict=True):
        row[: len(sentence)] = torch.tensor(sentence)
    return ids.to(device), lengths.to(device)


def mask_tokens(
    ids: Int[Tensor, "B T"],
    maskable: Bool[Tensor, "B T"],
    uniforms: Float[Tensor, "3 B T"],
    *,
    mask: int,
    symbols: int,
    rate: float = 0.15,
    masked: float = 0.8,
    random: float = 0.1,
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """What the model reads, and what it is asked for: the token where it is asked, -100 elsewhere. Devlin et al. (2019), section 3.1, A.1.

    A maskable place is asked for if its first number, in [0, 1), is below `rate`. Of those, one whose second number is below `masked` gets
    the id `mask`; below `masked + random`, a token of 0 to `symbols` - 1, all equally likely, by the third number; others stay as
    they are. Raises ValueError unless rate is in (0, 1] and masked and random are shares of at most 1 together.
    """
    if not 0 < rate <= 1 or masked < 0 or random < 0 or masked + random > 1 + 1e-9:
        raise ValueError(f"expected a rate in (0, 1] and shares of at most 1 together, got {rate}, {masked} and {random}")
    asked = maskable & (uniforms[0] < rate)
    hidden = asked & (uniforms[1] < masked)
    swapped = asked & ~hidden & (uniforms[1] < masked + random)
    others = (uniforms[2] * symbols).long().clamp(max=symbols - 1)  # rounding must not lead beyond the last token
    inputs = ids.where(~hidden, mask).where(~swapped, others)
    return inputs, ids.where(asked, IGNORED)


@dataclass(frozen=True)
class Config:
    """symbols, context, width, layers and heads shape the model; the rest drives `train`.

    labels: how many labelled sentences of each language there are. pretrained: whether the rest is used, without labels. asked, masked,
    random: see `mask_tokens`. decay: how much slower a layer learns than the one above. pooling: `first` or `mean`.
    attend_padding: whether padded places are attended to like others, which is wrong.
    """

    symbols: int = 2259
    context: int = 96
    width: int = 64
    layers: int = 1
    heads: int = 4
    dropout: float = 0.1
    labels: int = 200
    pretrained: bool = True
    asked: float = 0.2
    masked: float = 0.8
    random: float = 0.1
    steps: int = 1100
    batch_size: int = 64
    learning_rate: float = 5e-3
    tuning_steps: int = 200
    tuning_batch_size: int = 32
    tuning_rate: float = 3e-3
    decay: float = 0.6
    pooling: str = "mean"
    attend_padding: bool = False


class Block(nn.Module):
    """A post-norm transformer block that attends to both sides, and a GELU network of four times the width."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        C = config.width
        self.attention = MultiHeadAttention(C, config.heads)
        self.mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C))
        self.norm1, self.norm2 = nn.LayerNorm(C, eps=1e-12), nn.LayerNorm(C, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Float[Tensor, "B T C"], lengths: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B T C"]:
        """Attention to the first `lengths[b]` places (None: to all), then the network; each adds to the stream, which is normalised after.

        Whatever the other places hold, NaN too, has no effect on the first ones; what comes out there means nothing, but is a number.
        `dropout` acts on what is added. Devlin et al. (2019), section 3, after Vaswani et al. (2017), section 3.1.
        """
        mask = None
        if lengths is not None:
            mask = padding_mask(lengths, x.shape[1])  # (B, 1, 1, T)
            x = x.where(mask[:, 0, 0, :, None], 0.0)  # a weight of 0 times NaN would still be NaN
        x = self.norm1(x + self.dropout(self.attention(x, mask)))
        return self.norm2(x + self.dropout(self.mlp(x)))


def pool(hidden: Float[Tensor, "B T C"], lengths: Int[Tensor, " B"], kind: str = "first") -> Float[Tensor, "B C"]:
    """One vector for a sentence: that of its first place, which is `[CLS]`, or the `mean` of the first `lengths[b]`.

    What other places hold has no effect, NaN neither. Raises ValueError for another kind, and if a sentence is empty.
    """
    if kind not in ("first", "mean") or not bool((lengths > 0).all()):
        raise ValueError(f"expected 'first' or 'mean' and at least one token each, got {kind!r} and {lengths.tolist()}")
    if kind == "first":
        return hidden[:, 0]
    real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]  # (B, T)
    return hidden.where(real[..., None], 0.0).sum(dim=1) / lengths[:, None].to(hidden.dtype)


class BERT(nn.Module):
    """The encoder with its two heads, one that guesses tokens and one that tells blame (0) from praise (1)."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C = config.width
        self.config = config
        self.tokens, self.positions = nn.Embedding(config.symbols, C), nn.Embedding(config.context, C)
        self.norm, self.dropout = nn.LayerNorm(C, eps=1e-12), nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.guess = nn.Sequential(nn.Linear(C, C), nn.GELU(), nn.LayerNorm(C, eps=1e-12))
        self.bias = nn.Parameter(torch.zeros(config.symbols))
        self.pooler, self.head = nn.Linear(C, C), nn.Linear(C, 2)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Int[Tensor, "B T"], lengths: Int[Tensor, " B"] | None = None) -> Float[Tensor, "B T C"]:
        """A vector for each token, which knows the tokens on both sides. Raises ValueError beyond the context."""
        if ids.shape[1] > self.config.context:
            raise ValueError(f"the context has {self.config.context} positions, got {ids.shape[1]}")
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))  # (B, T, C)
        x = self.dropout(self.norm(x))
        for block in self.blocks:
            x = block(x, None if self.config.attend_padding else lengths)
        return x

    def mlm_loss(self, hidden: Float[Tensor, "B T C"], targets: Int[Tensor, "B T"]) -> Float[Tensor, ""]:
        """Mean cross-entropy, in nats, over the places whose target is not -100; 0 if there is none.

        `guess`, then the token embeddings as read-out, plus `bias`: computed for these places alone, a sixth of the cost. Devlin et al.
        (2019), section 3.1.
        """
        asked = targets != IGNORED
        logits = F.linear(self.guess(hidden[asked]), self.tokens.weight, self.bias)  # (M, V)
        nll = logits.logsumexp(dim=-1) - logits.gather(-1, targets[asked][:, None])[:, 0]
        return nll.sum() / max(1, int(asked.sum()))

    def classify(self, ids: Int[Tensor, "B T"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B 2"]:
        """Logits of blame and praise. What is pooled from `[CLS]` goes through the pooler first, as in BERT."""
        pooled = pool(self(ids, lengths), lengths, self.config.pooling)  # (B, C)
        if self.config.pooling == "first":
            pooled = self.pooler(pooled).tanh()
        return self.head(self.dropout(pooled))


def from_huggingface(state_dict: Mapping[str, Tensor], heads: int) -> BERT:
    """A BERT with the weights of a Hugging Face `BertModel` or `BertForMaskedLM`; the number of heads cannot be read from them.

    There is one sentence here, so the embedding of segment 0 is added to the positions. What the weights lack keeps its start.
    """
    weights = bert_weights(state_dict)
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    (V, C), T = weights["tokens.weight"].shape, len(weights["positions.weight"])
    model = BERT(Config(symbols=V, context=T, width=C, layers=layers, heads=heads, pooling="first")).to(weights["tokens.weight"])
    model.load_state_dict(weights, strict=False)
    return model.eval()


def learning_rates(names: Sequence[str], layers: int, rate: float, decay: float) -> list[float]:
    r"""The rate of each parameter by its name: $\eta\, \xi^{L + 1 - l}$ in layer l. Howard and Ruder (2018), section 3.2.

    "blocks.0." to "blocks.{layers - 1}." begin the names of layers 1 to L; "tokens.", "positions." and "norm." those of layer 0; all
    other parameters sit above the blocks and learn at `rate`. Raises ValueError for a block that is not there, and unless decay is in (0, 1].
    """
    if not 0 < decay <= 1:
        raise ValueError(f"decay must lie in (0, 1], got {decay}")
    rates = []
    for name in names:
        first, *rest = name.split(".")
        layer = {"tokens": 0, "positions": 0, "norm": 0}.get(first, layers + 1)
        if first == "blocks":
            layer = 1 + int(rest[0])
            if layer > layers:
                raise ValueError(f"expected blocks 0 to {layers - 1}, got {name!r}")
        rates.append(rate * decay ** (layers + 1 - layer))
    return rates


def macro_f1(predicted: Int[Tensor, " N"], targets: Int[Tensor, " N"], classes: int) -> float:
    """The mean over all classes of 2 TP / (2 TP + FP + FN); 0 for a class that is neither there nor predicted.

    Raises ValueError unless there is a prediction for each target, and for a class that is not 0 to `classes` - 1.
    """
    if predicted.shape != targets.shape:
        raise ValueError(f"expected a prediction for each target, got {tuple(predicted.shape)} for {tuple(targets.shape)}")
    both = torch.cat([predicted, targets])
    if both.numel() and not (both.min() >= 0 and both.max() < classes):
        raise ValueError(f"classes must lie in 0 to {classes - 1}, got {both.min()} to {both.max()}")
    scores = []
    for k in range(classes):
        hits = int(((predicted == k) & (targets == k)).sum())
        named = int((predicted == k).sum() + (targets == k).sum())  # 2 TP + FP + FN
        scores.append(2 * hits / named if named else 0.0)
    return sum(scores) / classes


def expected_calibration_error(probabilities: Float[Tensor, "N K"], targets: Int[Tensor, " N"], bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over `bins` bins of equal width, weighted by how many predictions are in them.

    Confidence is the largest probability, the prediction its class, the first of equals; bin m holds confidences in ((m - 1) / M, m / M]. Guo et
    al. (2017), eq. 2 and 3. Raises ValueError without any prediction, and for less than one bin.
    """
    if len(targets) == 0 or bins < 1:
        raise ValueError(f"need predictions and at least one bin, got {len(targets)} and {bins}")
    confidence, predicted = probabilities.double().max(dim=1)  # (N,) each
    right = (predicted == targets).double()
    bin = (confidence * bins).ceil().long().clamp(1, bins) - 1  # (N,)
    gaps = torch.zeros(bins, dtype=torch.float64, device=confidence.device).index_add(0, bin, right - confidence)
    return gaps.abs().sum().item() / len(targets)


def labelled(language: str, count: int, seed: int) -> tuple[list[str], list[int]]:
    """`count` training sentences of a language with their labels, by lot; of the others the labels are not looked at."""
    data = sentiment.load("train", language)
    some = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    return [data.texts[i] for i in some], [data.labels[i] for i in some]


def pretrain(
    model: BERT, device: torch.device, generator: torch.Generator, progress: bool, precision: str, losses: list[float]
) -> None:
    """Masked language modelling on all training sentences of both languages."""
    config, specials = model.config, tokenizer().specials
    texts = chain.from_iterable(sentiment.load("train", language).texts for language in sentiment.LANGUAGES)
    sentences = sorted((encode(text, config.context) for text in texts), key=len)
    counts = torch.tensor([*chain.from_iterable(sentences)]).bincount(minlength=config.symbols) + 0.5
    with torch.no_grad():  # how frequent tokens are need not be learned
        model.bias.copy_((counts / counts.sum()).log())
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps, 0.1)
    model.eval()  # no dropout, which a model that sees a sentence a few times does not need
    for _ in track(range(config.steps), total=config.steps, description="MLM", show=progress):
        start = int(torch.randint(len(sentences) - config.batch_size + 1, (), generator=generator))
        ids, lengths = pad(sentences[start : start + config.batch_size])  # about equally long, so that little is padded
        maskable = (ids != specials["[PAD]"]) & (ids != specials["[CLS]"])
        uniforms = torch.rand(3, *ids.shape, generator=generator)
        inputs, targets = mask_tokens(
            ids, maskable, uniforms, mask=specials["[MASK]"], symbols=config.symbols - len(SPECIALS),
            rate=config.asked, masked=config.masked, random=config.random,
        )  # fmt: skip
        with autocast(device, precision):
            loss = model.mlm_loss(model(inputs.to(device), lengths.to(device)), targets.to(device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())


def finetune(model: BERT, device: torch.device, seed: int, generator: torch.Generator, precision: str) -> None:
    """Train all layers on the labelled sentences of both languages, lower layers more slowly if they have been trained before."""
    config = model.config
    parts = [labelled(language, config.labels, seed) for language in sentiment.LANGUAGES]
    sentences = [encode(text, config.context) for texts, _ in parts for text in texts]
    targets = torch.tensor([label for _, labels in parts for label in labels])
    names, parameters = zip(*model.named_parameters(), strict=True)
    rates = learning_rates(names, config.layers, config.tuning_rate, config.decay if config.pretrained else 1.0)
    optimizer = torch.optim.AdamW([{"params": [p], "lr": r} for p, r in zip(parameters, rates, strict=True)], weight_decay=0.01)
    planned = max(config.tuning_steps, 20)  # as `one_cycle`, which knows one rate for all
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=planned, pct_start=0.1, cycle_momentum=False)
    model.train()
    for _ in range(config.tuning_steps):
        some = torch.randint(len(sentences), (config.tuning_batch_size,), generator=generator)
        ids, lengths = pad([sentences[i] for i in some.tolist()], device)
        with autocast(device, precision):
            logits = model.classify(ids, lengths)
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), targets[some].to(device)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
    losses: list[float] | None = None,
) -> BERT:
    """Pretrain on all training sentences, fine-tune on the labelled ones that `seed` draws; return the model in evaluation mode.

    precision: `float32` or `bfloat16` (autocast). compile: use `torch.compile`. losses: a list to which the loss of each
    step of pretraining, in nats per masked token, is appended.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    model = maybe_compile(BERT(config).to(device), compile)
    if config.pretrained:
        pretrain(model, device, generator, progress, precision, losses if losses is not None else [])
    finetune(model, device, seed, generator, precision)
    return model.eval()


@torch.no_grad()
def classify(model: BERT, texts: Sequence[str]) -> Float[Tensor, "N 2"]:
    """The probabilities of blame and praise of each sentence; on the CPU."""
    device, sentences = next(model.parameters()).device, [encode(text, model.config.context) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: len(sentences[i]))
    probabilities = torch.zeros(len(texts), 2)
    for i in range(0, len(order), 128):
        some = order[i : i + 128]
        logits = model.classify(*pad([sentences[k] for k in some], device))
        probabilities[some] = logits.float().softmax(dim=-1).cpu()
    return probabilities


@lru_cache(maxsize=16)
def counted_words(language: str, count: int, seed: int) -> Float[np.ndarray, "N 2"]:
    """What TF-IDF and logistic regression, learned from the same labelled sentences, say of the held-out ones; chosen on folds of five."""
    texts, labels = labelled(language, count, seed)
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(max_iter=1000))
    ways = {"word": [(1, 1), (1, 2)], "char": [(1, 2), (1, 3), (2, 4)]}
    grid = [
        {"tfidfvectorizer__analyzer": [kind], "tfidfvectorizer__ngram_range": n, "logisticregression__C": [1, 10, 100]}
        for kind, n in ways.items()
    ]
    search = GridSearchCV(model, grid, cv=5).fit(texts, labels)
    return search.predict_proba(sentiment.load("test", language).texts)


def evaluate(model: BERT, *, seed: int = 0) -> dict[str, float]:
    """On the held-out sentences; `seed` says which training sentences had labels, and must be that of `train`.

    accuracy: the mean of both languages. macro_f1, ece: likewise. *_tfidf: of `counted_words`, with the same labels. *_majority: of
    the class that is more frequent in the training part.
    """
    config, figures = model.config, dict[str, float]()
    for language in sentiment.LANGUAGES:
        train, test = (sentiment.load(split, language) for split in ("train", "test"))
        targets = torch.tensor(test.labels)
        often = Counter(train.labels).most_common(1)[0][0]
        ways = {"": classify(model, test.texts), "_tfidf": torch.from_numpy(counted_words(language, config.labels, seed))}
        for way, probabilities in ways.items():
            predicted = probabilities.argmax(dim=1)
            figures[f"{language}_accuracy{way}"] = (predicted == targets).double().mean().item()
            figures[f"{language}_macro_f1{way}"] = macro_f1(predicted, targets, 2)
            figures[f"{language}_ece{way}"] = expected_calibration_error(probabilities, targets)
        figures[f"{language}_majority"] = (targets == often).double().mean().item()
    for name in ("accuracy", "macro_f1", "ece", "accuracy_tfidf", "macro_f1_tfidf", "ece_tfidf", "majority"):
        figures[name] = (figures[f"en_{name}"] + figures[f"zh_{name}"]) / 2
    return figures


def by_length(seed: int, device: str) -> float:
    """Accuracy on held-out sentences, the mean of both languages, of a logistic regression on their length and number of words."""
    scores = []
    for language in sentiment.LANGUAGES:
        splits = [sentiment.load(split, language) for split in ("train", "test")]
        (x, y), (u, v) = ((np.array([[len(t), len(t.split())] for t in split.texts]), split.labels) for split in splits)
        scores.append(LogisticRegression(class_weight="balanced").fit(x / 100, y).score(u / 100, v))
    return float(np.mean(scores))


GATES = (
    Gate("zh_accuracy", at_least=0.65, above="zh_majority", baseline="zh_accuracy_tfidf"),
    Gate("zh_macro_f1", at_least=0.6, baseline="zh_macro_f1_tfidf"),
)
ABLATIONS = {"no pretraining": Ablation(Config(pretrained=False), "zh_accuracy", higher_by=0.03)}
LEAKS = {
    "length alone": Leak(by_length, chance=0.5, at_most=0.56),
    "near copies in training": Leak(
        lambda seed, device: max(map(sentiment.copies, sentiment.LANGUAGES)), chance=0.0, at_most=0.0
    ),
}


def demo(config: Config = Config(steps=90, batch_size=32, tuning_steps=60), *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; show the loss, and how far the probabilities can be believed."""
    losses: list[float] = []
    model = train(config, device=device, progress=False, losses=losses)
    figure, (curve, bins) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    curve.plot(losses)
    curve.set(title="Masked language model, both languages", xlabel="step", ylabel="nats per masked token")
    bins.plot([0.5, 1], [0.5, 1], "k:", label="perfectly calibrated")
    for language in sentiment.LANGUAGES:
        data = sentiment.load("test", language)
        confidence, predicted = classify(model, data.texts[::4]).max(dim=1)
        right = (predicted == torch.tensor(data.labels[::4])).double()
        place = ((confidence - 0.5) * 10).long().clamp(max=4)
        points = [(confidence[place == m].mean(), right[place == m].mean()) for m in range(5) if (place == m).sum() > 5]
        bins.plot(*zip(*points, strict=True), "o-", label=f"{language}: {right.mean():.0%} right")
    bins.set(title="Held-out sentences", xlabel="confidence", ylabel="accuracy")
    bins.legend()
    return figure
