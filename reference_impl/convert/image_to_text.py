r"""
# Image to text

A picture in, a caption out, in English or Chinese. The **encoder** is a vision transformer: the picture is cut into patches, each patch
is one token, and attention mixes them. The **decoder** writes one word after another; its causal self-attention reads what is written, its
**cross-attention** reads the picture,

$$\operatorname{CrossAttention}(X, M) = \operatorname{softmax}\!\Big(\frac{(X W_Q)(M W_K)^\top}{\sqrt D}\Big) (M W_V)$$

with queries from the text $X$ and keys and values from the picture's memory $M$. Which language to write is said by the first token.

Attention takes the patches for a set, so each gets a code of its row and column. Whether the codes are *needed* is up to the pictures: where
places are no whole number of patches apart, a digit is cut at other lines at each of them, and the cut tells the place. So training and test
have pictures without this shortcut (`displace`), and the ablation takes the codes away.

In training every position gets the true words before it, the caption shifted by one (**teacher forcing**), and all of them are learned at once.
Writing is a search for the likeliest caption. **Beam search** keeps the W best beginnings. A sum of log-probabilities falls with every word, so
short captions win; the search divides it by a **length penalty**,

$$\operatorname{score}(Y) = \frac{\log p(Y \mid M)}{lp(Y)}, \qquad lp(Y) = \frac{(5 + |Y|)^\alpha}{(5 + 1)^\alpha}$$

**Asked in interviews.** Where do queries, keys and values of cross-attention come from? Why does a transformer need to be told where a patch was?
What does teacher forcing shift, and what must not be learned? When is beam search exact? Why does it prefer short outputs? Why is a sum of
errors over a sum of lengths not the mean of the rates?

**Sources.** Dosovitskiy et al., *An Image is Worth 16x16 Words* (ViT, 2021), section 3.1; Vaswani et al., *Attention Is All You Need* (2017), section 3.2.3;
Wu et al., *Google's Neural Machine Translation System* (2016), eq. 14; Beyer et al., *Better plain ViT baselines for ImageNet-1k* (2022).

**In this course.** [Question](../../questions/convert/image_to_text.md) · [exercise](../../notebooks/convert/image_to_text.ipynb) ·
[solution](../../solutions/convert/image_to_text.ipynb)
"""

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.data import digits_in_motion as motion
from reference_impl.experiments import Ablation
from reference_impl.judges import motion_digit_judge, place_judge
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.shortcuts import SEEN
from reference_impl.text.attention import (
    MultiHeadAttention,
    attention_weights,
    merge_heads,
    sinusoidal_positions,
    split_heads,
)

# --- the picture as a sequence ---


def patchify(images: Float[Tensor, "B C H W"], size: int) -> Float[Tensor, "B N D"]:
    """Cut each image into squares of `size` pixels, row by row from the top left: N = (H / size) (W / size) patches.

    A patch is flattened to D = C · size² numbers, channel by channel, each row by row. Dosovitskiy et al. (2021), section 3.1.
    Raises ValueError unless H and W are multiples of `size`.
    """
    H, W = images.shape[2:]
    if H % size or W % size:
        raise ValueError(f"an image of {H}×{W} pixels cannot be cut into patches of {size}×{size}")
    patches = images.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # (B, C, rows, size, columns, size)
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def positions_2d(rows: int, columns: int, width: int) -> Float[Tensor, "N C"]:
    """Where each of rows × columns patches is, in the order of `patchify`: C = `width` channels of sines and cosines.

    The first half of the channels is `sinusoidal_positions` of the row, the second half that of the column.
    Raises ValueError unless `width` is a multiple of 4. Beyer et al. (2022).
    """
    if width % 4:
        raise ValueError(f"the width must be a multiple of 4 (sine and cosine, row and column), got {width}")
    down, across = sinusoidal_positions(rows, width // 2), sinusoidal_positions(columns, width // 2)
    return torch.cat([down.repeat_interleave(columns, dim=0), across.repeat(rows, 1)], dim=1)


# --- the network ---


class CrossAttention(nn.Module):
    """Attention from one sequence to another, with H heads: `q` projects the one, `kv` the other, `out` mixes the heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "B T C"], memory: Float[Tensor, "B S C"]
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B H T S"]]:
        """What the T positions of `x` read from the S positions of `memory`, and how much of each, head by head.

        `kv` is packed: keys first, then values. Vaswani et al. (2017), section 3.2.3.
        """
        q = split_heads(self.q(x), self.heads)  # (B, H, T, D)
        k, v = (split_heads(part, self.heads) for part in self.kv(memory).chunk(2, dim=-1))  # (B, H, S, D) each
        weights = attention_weights(q, k)
        return self.out(merge_heads(weights @ v)), weights


def feed_forward(width: int) -> nn.Sequential:
    """The position-wise network of a transformer block, four times as wide inside."""
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class EncoderBlock(nn.Module):
    """A pre-norm transformer block: every patch reads every patch."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = MultiHeadAttention(width, heads), feed_forward(width)

    def forward(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B N C"]:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """A pre-norm transformer block that reads what is written so far, then the memory."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.cross = MultiHeadAttention(width, heads, causal=True), CrossAttention(width, heads)
        self.mlp = feed_forward(width)

    def forward(
        self, x: Float[Tensor, "B T C"], memory: Float[Tensor, "B S C"]
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B H T S"]]:
        """Causal self-attention, cross-attention, network: each reads a normalised copy of the stream and adds to it.

        The memory comes normalised. Also returns the weights of the cross-attention.
        """
        x = x + self.attention(self.norm1(x))
        read, weights = self.cross(self.norm2(x), memory)
        x = x + read
        return x + self.mlp(self.norm3(x)), weights


# --- the caption as a sequence ---

LANGUAGES: tuple[motion.Language, ...] = ("en", "zh")
WORDS = len(motion.VOCABULARY)  # what can be written; the tokens after that begin a caption in each of the languages


def start_tokens(languages: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """The token that begins a caption in each language (index into `LANGUAGES`). It takes the place of <bos>."""
    return WORDS + languages


IGNORED = -100  # a target that `F.cross_entropy` leaves out


def teacher_forcing(tokens: Int[Tensor, "B L"], starts: Int[Tensor, " B"]) -> tuple[Int[Tensor, "B L-1"], Int[Tensor, "B L-1"]]:
    """Inputs and targets of a decoder, from captions as `motion.encode` gives them: <bos>, words, <eos>, then <pad>.

    Position t of the inputs holds what comes before position t of the targets, the first the caption's start token in place of <bos>.
    Targets begin with the first word and include <eos>; where they would be <pad> they are IGNORED.
    """
    inputs = torch.cat([starts[:, None], tokens[:, 1:-1]], dim=1)
    return inputs, tokens[:, 1:].masked_fill(tokens[:, 1:] == motion.PAD, IGNORED)


class CaptionDecoder(nn.Module):
    """Writes captions from a memory (B, S, C): what image to text and video to text share. Returns logits of the next word."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS + len(LANGUAGES), width)
        self.blocks = nn.ModuleList(DecoderBlock(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, WORDS)

    def forward(
        self, ids: Int[Tensor, "B T"], memory: Float[Tensor, "B S C"]
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, "B H T S"]]:
        """Logits of the word after each position, and where the last block looked to write it."""
        x = self.words(ids)
        x = x + sinusoidal_positions(x.shape[1], x.shape[2], device=x.device)
        for block in self.blocks:
            x, weights = block(x, memory)
        return self.head(self.norm(x)), weights


# --- search ---


def length_penalty(length: int, alpha: float) -> float:
    r"""$lp(Y) = (5 + |Y|)^\alpha / (5 + 1)^\alpha$, by which log-probabilities are divided. Wu et al. (2016), eq. 14.

    `length` counts the end token. 1 for alpha = 0 (no penalty) and for a length of 1.
    """
    return ((5 + length) / (5 + 1)) ** alpha


class Toy(nn.Module):
    """A language model to search by hand: its logits depend on position and sum of all tokens so far, from a table (T, S, V)."""

    table: Tensor

    def __init__(self, table: Float[Tensor, "T S V"]) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, ids: Int[Tensor, "*B T"]) -> Float[Tensor, "*B V"]:
        return self.table[ids.shape[-1] - 1, ids.sum(-1) % self.table.shape[1]]


def beam_search(
    score: Callable[[Int[Tensor, "B W T"]], Float[Tensor, "B W V"]],
    starts: Int[Tensor, " B"],
    *,
    width: int,
    alpha: float,
    length: int,
) -> tuple[Int[Tensor, "B W L"], Float[Tensor, "B W"]]:
    r"""The `width` best sentences found for each item, best first, and their $\log p(Y) / lp(Y)$.

    score: logits of the next token, given beginnings (B, W, T) that start with `starts`. A sentence ends with <eos>, which counts,
    has at most L = `length` tokens, and is followed by <pad>; the start token is not part of it. At each step every beginning
    may end, which makes it a sentence for good, or go on: the `width` likeliest of all that go on are kept. Where fewer than
    `width` sentences are found, the value is -inf.
    """
    beams = starts[:, None, None].expand(-1, width, 1)  # (B, W, T): beginnings
    total = torch.zeros(len(starts), width, device=starts.device)
    total[:, 1:] = -torch.inf  # at first all are alike: only one counts
    sentences = starts.new_full((len(starts), width, length), motion.PAD)
    best = torch.full_like(total, -torch.inf)
    for t in range(1, length + 1):
        log_p = total[:, :, None] + score(beams).float().log_softmax(dim=-1)  # (B, W, V)
        ended = F.pad(beams[:, :, 1:], (0, 1), value=motion.EOS)  # (B, W, t)
        ended = F.pad(ended, (0, length - t))  # (B, W, L), since <pad> is 0
        ranked = torch.cat([best, log_p[:, :, motion.EOS] / length_penalty(t, alpha)], dim=1)  # (B, 2W)
        best, kept = ranked.topk(width)
        sentences = torch.cat([sentences, ended], dim=1).gather(1, kept[:, :, None].expand(-1, -1, length))
        log_p[:, :, motion.EOS] = -torch.inf
        total, index = log_p.flatten(1).topk(width)  # over all continuations of all beginnings
        origin, token = index[:, :, None] // log_p.shape[2], index[:, :, None] % log_p.shape[2]  # (B, W, 1)
        beams = torch.cat([beams.gather(1, origin.expand(-1, -1, t)), token], dim=2)
    return sentences, best


# --- what a caption is worth ---


def character_error_rate(texts: Sequence[str], references: Sequence[str]) -> float:
    """Edits (inserted, deleted or replaced characters) that turn each text into its reference, over all characters of all references.

    Spaces count. The rate can exceed 1. Raises ValueError if there is not one reference for each text, or no character in them.
    """
    characters = len("".join(references))
    if len(texts) != len(references) or not characters:
        raise ValueError(f"expected a reference for each of {len(texts)} texts, got {len(references)}, or all are empty")
    edits = 0
    for text, reference in zip(texts, references, strict=True):
        row = list(range(len(text) + 1))  # edits from each beginning of the text to the empty beginning of the reference
        for i, wanted in enumerate(reference, start=1):
            above, row = row, [i]
            for j, written in enumerate(text, start=1):
                row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (written != wanted)))
        edits += row[-1]
    return edits / characters


def nearest_captions(texts: Sequence[str], split: motion.Split, language: motion.Language) -> list[str]:
    """Of the captions that are right for each item, by any template of the language, the one that is nearest to its text."""
    nearest = []
    for text, digit, place in zip(texts, split.digits.tolist(), split.places.tolist(), strict=True):
        templates = range(len(motion.TEMPLATES[language]))
        right = [motion.caption(digit, motion.PLACES[place], i, language) for i in templates]
        nearest.append(text if text in right else min(right, key=lambda caption: character_error_rate([text], [caption])))
    return nearest


def score_captions(texts: Sequence[str], split: motion.Split, language: motion.Language) -> dict[str, float]:
    """`exact`: the share that is a caption of its item, by any template of the language; `cer`: the character error rate.

    Several captions are right, so each text is measured against the one that is nearest to it.
    """
    nearest = nearest_captions(texts, split, language)
    exact = sum(text == caption for text, caption in zip(texts, nearest, strict=True)) / len(texts)
    return {"exact": exact, "cer": character_error_rate(texts, nearest)}


def commonest_caption(language: motion.Language) -> str:
    """A caption of the pair that is commonest in training: what a model says that looks at nothing."""
    known = motion.load("train")
    (digit, place), _ = Counter(zip(known.digits.tolist(), known.places.tolist(), strict=True)).most_common(1)[0]
    return motion.caption(digit, motion.PLACES[place], language=language)


# --- pictures whose cut says nothing ---

# Pixels from the middle to a place: a whole patch, while the 5.25 of Digits in Motion cut a digit otherwise at each place.
APART = 6


def displace(handwriting: Float[Tensor, "N 1 8 8"], places: Int[Tensor, " N"]) -> Float[Tensor, "N 1 24 24"]:
    """Each handwriting APART pixels from the middle, in the direction of its place: the same patches at every place.

    A digit is two patches wide and high. It is drawn once, in the middle, and moved by whole patches. The blur around it, less than a
    pixel, is left out: at the edge of the picture it would be cut off, and tell the place. Ink in [0, 1], on the CPU.
    """
    drawn = motion.draw(handwriting, places, 0.0)[..., APART:-APART, APART:-APART]  # (N, 1, 12, 12)
    images = torch.zeros(len(handwriting), 1, motion.SIZE, motion.SIZE)
    for index, place in enumerate(motion.PLACES):
        top, left = (round(APART * (1 + step)) for step in motion.DIRECTIONS[place])
        chosen = places == index
        images[chosen, :, top : top + 2 * APART, left : left + 2 * APART] = drawn[chosen]
    return images


# --- the system ---


@dataclass(frozen=True)
class Config:
    """patch (pixels), width, heads, layers (of the encoder and of the decoder) shape the model; the rest drives `train`.

    positions: whether the encoder is told where each patch stands. weight_decay: of AdamW; a strong one, for pairs that training never
    shows.
    """

    patch: int = 6
    width: int = 64
    heads: int = 4
    layers: int = 2
    positions: bool = True
    steps: int = 1200
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.5


class ImageToText(nn.Module):
    """A vision transformer and a caption decoder."""

    positions: Tensor

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, patches = config.width, motion.SIZE // config.patch
        self.config = config
        self.embed = nn.Linear(config.patch**2, C)
        self.register_buffer("positions", positions_2d(patches, patches, C), persistent=False)
        self.encoder = nn.ModuleList(EncoderBlock(C, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(C)
        self.decoder = CaptionDecoder(C, config.heads, config.layers)

    def encode(self, images: Float[Tensor, "B 1 24 24"]) -> Float[Tensor, "B N C"]:
        """The memory: a vector for each patch, in its context. Ink in [0, 1]."""
        x = self.embed(2 * patchify(images, self.config.patch) - 1)
        if self.config.positions:
            x = x + self.positions
        for block in self.encoder:
            x = block(x)
        return self.norm(x)

    def forward(self, images: Float[Tensor, "B 1 24 24"], ids: Int[Tensor, "K B T"]) -> Float[Tensor, "K B T V"]:
        """Logits of the word after each of `ids`, K captions of each image, which begin with a start token."""
        memory = self.encode(images).repeat(len(ids), 1, 1)  # encoded once, read K times
        return self.decoder(ids.flatten(0, 1), memory)[0].unflatten(0, ids.shape[:2])


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> ImageToText:
    """Train on the training split, every other image of a batch displaced, each with its captions in both languages.

    Returns the model in evaluation mode.

    precision: `float32` or `bfloat16` (autocast; the loss stays in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    data = motion.load("train")
    tokens = torch.stack([data.tokens, data.tokens_zh])  # (2, N, L)
    starts = start_tokens(torch.arange(len(LANGUAGES)))
    model = maybe_compile(ImageToText(config).to(device).train(), compile)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    schedule = one_cycle(optimizer, config.learning_rate, config.steps, warm=0.2)
    steps = batches(len(data), config.batch_size, config.steps, generator)
    for batch in track(steps, total=config.steps, description="Image to text", show=progress):
        images = data.images[batch]
        images[::2] = displace(data.handwriting[batch[::2]], data.places[batch[::2]])
        captions = tokens[:, batch].flatten(0, 1)  # (2 B, L)
        inputs, targets = teacher_forcing(captions, starts.repeat_interleave(len(batch)))
        images, inputs, targets = images.to(device), inputs.to(device), targets.to(device)
        with autocast(device, precision):
            logits = model(images, inputs.unflatten(0, (len(LANGUAGES), -1)))
        loss = F.cross_entropy(logits.float().flatten(0, 2), targets.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def write(
    decoder: CaptionDecoder,
    memory: Float[Tensor, "B S C"],
    language: motion.Language = "en",
    *,
    width: int = 4,
    alpha: float = 0.6,
) -> list[str]:
    """The best caption of each memory that `beam_search` finds. Raises ValueError for a language that is not in `LANGUAGES`."""
    if language not in LANGUAGES:
        raise ValueError(f"language must be one of {', '.join(LANGUAGES)}, got {language!r}")

    def score(beams: Int[Tensor, "B W T"]) -> Float[Tensor, "B W V"]:
        logits, _ = decoder(beams.flatten(0, 1), memory.repeat_interleave(beams.shape[1], dim=0))
        return logits[:, -1].unflatten(0, beams.shape[:2])

    starts = start_tokens(torch.full((len(memory),), LANGUAGES.index(language), device=memory.device))
    sentences, _ = beam_search(score, starts, width=width, alpha=alpha, length=motion.TOKENS - 1)
    return motion.decode(sentences[:, 0])


@torch.no_grad()
def convert(
    model: ImageToText,
    images: Float[Tensor, "N 1 24 24"],
    language: motion.Language = "en",
    *,
    width: int = 4,
    alpha: float = 0.6,
) -> list[str]:
    """A caption of each image (ink in [0, 1]). width: of the beam, 1 is nearly greedy; alpha: of the length penalty.

    Raises ValueError for what `motion.check_images` refuses, or another language.
    """
    memory = model.encode(motion.check_images(images).to(model.embed.weight))
    return write(model.decoder, memory, language, width=width, alpha=alpha)


def baselines(
    images: Float[Tensor, "N 1 24 24"], shown: Float[Tensor, "M 1 24 24"], split: motion.Split, language: motion.Language
) -> dict[str, float]:
    """What says the `commonest_caption` of everything, what copies the caption of the nearest training image, and the judges.

    images: those of the split; shown: those of training, drawn in the same way.

    `exact_judges` is the share of images in which the judges of digit and place are both right.
    """
    known = motion.load("train")
    captions = known.captions if language == "en" else known.captions_zh
    nearest = torch.cdist(images.flatten(1), shown.flatten(1)).argmin(1).tolist()
    judged = (motion_digit_judge().classify(images) == split.digits) & (place_judge().classify(images) == split.places)
    return {
        **{
            f"{key}_constant": value
            for key, value in score_captions([commonest_caption(language)] * len(split), split, language).items()
        },
        "exact_nearest": score_captions([captions[i] for i in nearest], split, language)["exact"],
        "exact_judges": judged.float().mean().item(),
    }


def evaluate(model: ImageToText, *, seed: int = 0) -> dict[str, float]:
    """`score_captions` of held-out handwriting, the mean of both languages, and each; greedy; the `baselines`.

    On the images of Digits in Motion, and on those that `displace` draws (`..._displaced`). All again for pairs of digit and place that
    training never shows (`..._compositional`). `seed` is not needed: nothing is drawn.
    """
    figures: dict[str, float] = {}
    views: dict[str, Callable[[motion.Split], Tensor]] = {
        "": lambda split: split.images,
        "_displaced": lambda split: displace(split.handwriting, split.places),
    }
    for split, suffix in ((motion.load("test"), ""), (motion.load("compositional"), "_compositional")):
        for view, draw in views.items():
            images, shown, rows = draw(split), draw(motion.load("train")), []
            for language in LANGUAGES:
                found = score_captions(convert(model, images, language), split, language)
                greedy = score_captions(convert(model, images, language, width=1, alpha=0.0), split, language)
                rows.append({**found, "exact_greedy": greedy["exact"], **baselines(images, shown, split, language)})
                figures[f"exact_{language}{view}{suffix}"] = found["exact"]
            figures |= {key + view + suffix: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    return figures


GATES = (
    Gate("exact", at_least=0.95, above="exact_constant", baseline="exact_constant", ceiling="exact_judges"),
    Gate("cer", at_most=0.01, below="cer_constant", baseline="cer_constant"),
    Gate(
        "exact_displaced",
        at_least=0.95,
        above="exact_constant_displaced",
        baseline="exact_constant_displaced",
        ceiling="exact_judges_displaced",
    ),
    Gate(
        "exact_displaced_compositional",
        at_least=0.8,
        above="exact_nearest_displaced_compositional",
        baseline="exact_nearest_displaced_compositional",
        ceiling="exact_judges_displaced_compositional",
    ),
)
ABLATIONS = {"no position codes": Ablation(Config(positions=False), "exact_displaced", higher_by=0.3)}
LEAKS = SEEN


BRIEF = Config(steps=185, learning_rate=3e-3, weight_decay=0.05)


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; captions of held-out images in two languages, and where the decoder looks as it writes each word of one."""
    model = train(config, device=device, progress=False)
    split = motion.load("test").select(torch.arange(0, 18, 3))
    images = displace(split.handwriting, split.places)
    english, chinese = (convert(model, images, language) for language in LANGUAGES)
    print("\n".join(f"{a}  |  {b}" for a, b in zip(english, chinese, strict=True)))
    ids = motion.encode(english[:1])
    words = motion.split_words(english[0])
    inputs, _ = teacher_forcing(ids, start_tokens(torch.zeros(1, dtype=torch.int64)))
    with torch.no_grad():
        memory = model.encode(images[:1].to(model.embed.weight.device))
        weights = model.decoder(inputs.to(memory.device), memory)[1][0].mean(0).cpu()  # (T, N), mean over heads
    side = motion.SIZE // config.patch
    figure, axes = plt.subplots(2, max(len(split), len(words)), figsize=(13, 4.8), layout="constrained")
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, caption in zip(axes[0], images, english, strict=False):
        ax.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
        ax.set_title("\n".join(textwrap.wrap(caption, 16)), fontsize=10)
    for ax, word, looked in zip(axes[1], words, weights, strict=False):
        ax.imshow(images[0, 0], cmap="gray_r", vmin=0, vmax=1)
        ax.imshow(looked.view(side, side), cmap="magma", alpha=0.6, extent=(-0.5, motion.SIZE - 0.5, motion.SIZE - 0.5, -0.5))
        ax.set_title(f"“{word}”", fontsize=10)
    return figure
