r"""
# Speech to text

A waveform in, letters out, and nobody says which letter is heard when. A network gives each frame t a distribution $p_t(k)$ over the
letters and a **blank**, "nothing new here". A sequence of one symbol per frame is an *alignment*; **collapsing** it, first each run
of equal symbols to one, then the blanks away, gives a text: `tt-oo-p` and `-top--` both say "top". **Connectionist temporal
classification** (CTC) takes the probability of a text to be that of all its alignments together,

$$p(y \mid x) = \sum_{a \,:\, \mathrm{collapse}(a) = y} \; \prod_t p_t(a_t)$$

There are exponentially many, and the **forward algorithm** adds them up in $O(T L)$. Put a blank before, between and after the letters,
$z = (-, y_1, -, y_2, \dots, y_L, -)$; all the alignments that are at $z_s$ at frame t share what comes next, so only their sum is kept:

$$\alpha_{t,s} = p_t(z_s)\,\big(\alpha_{t-1,s} + \alpha_{t-1,s-1} + [\,z_s \ne -,\; z_s \ne z_{s-2}\,]\;\alpha_{t-1,s-2}\big)$$

The last term leaves a blank out, which is not allowed between two equal letters: they would become one. With a maximum for the sum
it is **Viterbi**, the best alignment. With a new text at every step it is the **prefix beam search**, which adds up the alignments of
each beginning of a text, and so finds texts that are likely although none of their alignments is.

**Asked in interviews.** What is the blank for? Why must equal letters have one between them, and how many frames does a text need? What
does CTC assume of the frames? Why is the best alignment not the best text? Why in logarithms, and what happens to gradients at $-\infty$?
Why are CTC's outputs spikes? What is WER, and can it exceed 1? What does all this do that copying the nearest recording does not?

**Sources.** Graves et al., *Connectionist Temporal Classification* (2006), section 4 and eq. 5 to 8; Hannun et al., *First-Pass Large
Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs* (2014), algorithm 1.

**In this course.** [Question](../../questions/convert/speech_to_text.md) · [exercise](../../notebooks/convert/speech_to_text.ipynb) ·
[solution](../../solutions/convert/speech_to_text.ipynb)
"""

import contextlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from reference_impl.convert.text_to_speech import ALPHABET, HOP, MELS, Block, encode, log_mel, play
from reference_impl.data import digits_in_motion as motion
from reference_impl.data import free_spoken_digits as human
from reference_impl.experiments import Ablation
from reference_impl.judges import spoken_digit_judge, spoken_place_judge
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.shortcuts import LENGTH

BLANK = 0  # the first of ALPHABET; behind the end of a text it is the padding
NEVER = -1e30  # the logarithm of 0 for sums: minus infinity minus itself is NaN, and so would be the gradient


def spell(ids: Sequence[int]) -> str:
    """The text of symbols, such as `encode` makes of one: "three left"."""
    return "".join(ALPHABET[k] for k in ids)


# --- the loss ---


def collapse(path: Int[Tensor, " T"]) -> list[int]:
    """The symbols that an alignment says: each run of equal ones counts once, then blanks fall out. Graves et al. (2006), section 3.1."""
    runs = torch.unique_consecutive(path)
    return runs[runs != BLANK].tolist()


def with_blanks(labels: Int[Tensor, "*B L"]) -> Int[Tensor, "*B S"]:
    """The states of a text: a blank, a letter, a blank, …, a blank; S = 2L + 1."""
    pairs = torch.stack([torch.full_like(labels, BLANK), labels], dim=-1).flatten(-2)
    return F.pad(pairs, (0, 1), value=BLANK)


def ctc_loss(
    log_probs: Float[Tensor, "B T K"], labels: Int[Tensor, "B L"], frames: Int[Tensor, " B"], symbols: Int[Tensor, " B"]
) -> Float[Tensor, " B"]:
    r"""$-\log p(y \mid x)$ of each item, in nats: its text is the first `symbols` of `labels`, its sound the first `frames` of T.

    `log_probs` are logarithms of probabilities over K symbols, BLANK among them. $\log\alpha_{t,s}$ is kept, of s = 2L + 1 states;
    an alignment starts in either of the first two and ends in either of the last two. Where no alignment fits (too few frames
    for the letters, and a blank between equal ones) the loss is infinite, and its gradient zero. Graves et al. (2006), eq. 5 to 8.
    """
    B, T, _ = log_probs.shape
    states = with_blanks(labels)  # (B, S)
    scores = log_probs.gather(2, states.unsqueeze(1).expand(B, T, -1))  # (B, T, S)
    no_skip = states == F.pad(states, (2, 0))[:, :-2]  # two states back is the same symbol: a blank, or an equal letter
    index = torch.arange(states.shape[1], device=labels.device)  # (S,)
    alpha = scores[:, 0].masked_fill(index > 1, NEVER)
    for t in range(1, T):
        one = F.pad(alpha, (1, 0), value=NEVER)[:, :-1]
        two = F.pad(alpha, (2, 0), value=NEVER)[:, :-2].masked_fill(no_skip, NEVER)
        moved = torch.stack([alpha, one, two]).logsumexp(0) + scores[:, t]
        alpha = torch.where(t < frames[:, None], moved, alpha)
    last = (index == 2 * symbols[:, None]) | (index == 2 * symbols[:, None] - 1)
    total = alpha.masked_fill(~last, NEVER).logsumexp(1)
    return -total.masked_fill(total < NEVER / 2, -torch.inf)


def best_alignment(log_probs: Float[Tensor, "T K"], labels: Int[Tensor, " L"]) -> Int[Tensor, " T"]:
    """The symbol at each frame of the likeliest alignment that collapses to `labels` (Viterbi). One item, without padding.

    Raises ValueError if no alignment fits: T must be at least L, and one more for each two equal labels side by side.
    """
    T, L = len(log_probs), len(labels)
    needed = L + int((labels[1:] == labels[:-1]).sum())
    if needed > T:
        raise ValueError(f"{L} labels need at least {needed} frames, got {T}")
    states = with_blanks(labels)  # (S,)
    no_skip = states == F.pad(states, (2, 0))[:-2]
    best = log_probs[0, states].masked_fill(torch.arange(len(states), device=labels.device) > 1, -torch.inf)
    steps = []  # [t - 1]: how many states the best alignment went on, to be in each state at frame t
    for t in range(1, T):
        two = F.pad(best, (2, 0), value=-torch.inf)
        best, step = torch.stack([best, two[1:-1], two[:-2].masked_fill(no_skip, -torch.inf)]).max(0)
        best = best + log_probs[t, states]
        steps.append(step)
    state = 2 * L - int(best[2 * L - 1] > best[2 * L])
    path = [state]
    for step in reversed(steps):
        state -= int(step[state])
        path.append(state)
    return states[path[::-1]]


# --- decoding ---


def greedy_decode(log_probs: Float[Tensor, "B T K"], frames: Int[Tensor, " B"]) -> list[list[int]]:
    """The text of each item's likeliest alignment: the likeliest symbol of each of its first `frames` frames, collapsed."""
    paths = log_probs.argmax(2)  # (B, T)
    return [collapse(path[:count]) for path, count in zip(paths, frames.tolist(), strict=True)]


def log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b)), also where both are minus infinity."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def prefix_beam_search(log_probs: Float[Tensor, "T K"], width: int = 8) -> list[tuple[list[int], float]]:
    r"""The likeliest texts of one item, best first, each with $\log p(y \mid x)$ as far as the beam has seen its alignments.

    After each frame only the `width` likeliest prefixes stay. A prefix keeps two sums of alignments apart: those that end
    in a blank, and those that end in its last letter, which that letter only prolongs. Hannun et al. (2014), algorithm 1,
    without a language model. Raises ValueError unless `width` is positive.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    # of each prefix: the sum that ends in a blank, the sum that ends in its last letter
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for frame in log_probs.tolist():
        grown: dict[tuple[int, ...], tuple[float, float]] = {}
        for prefix, (blank, letter) in beam.items():
            either, last = log_add(blank, letter), prefix[-1] if prefix else BLANK
            moves = [(prefix, either + frame[BLANK], letter + frame[last])]
            for k in range(BLANK + 1, len(frame)):  # after the same letter only a blank makes it a new one
                moves.append(((*prefix, k), -math.inf, (blank if k == last else either) + frame[k]))
            for text, ends_blank, ends_letter in moves:
                before = grown.get(text, (-math.inf, -math.inf))
                grown[text] = log_add(before[0], ends_blank), log_add(before[1], ends_letter)
        scored = [(log_add(blank, letter), text) for text, (blank, letter) in grown.items()]
        beam = {text: grown[text] for score, text in sorted(scored, reverse=True)[:width] if score > -math.inf}
    return [(list(text), log_add(blank, letter)) for text, (blank, letter) in beam.items()]


def word_error_rate(heard: Sequence[str], said: Sequence[str]) -> float:
    """Words to substitute, insert or delete to get from what was heard to what was said, over the words said: 0 is right.

    The least such number of each pair of texts (Levenshtein), summed over all; it may exceed 1. Words are set apart by spaces, and equal
    only in every letter, its case as well.
    Raises ValueError if the two lists differ in length, or nothing was said.
    """
    words = sum(len(text.split()) for text in said)
    if len(heard) != len(said) or not words:
        raise ValueError(
            f"expected as many texts heard as said and at least one word, got {len(heard)}, {len(said)}, {words} words"
        )
    errors = 0
    for hypothesis, reference in zip(heard, said, strict=True):
        row = list(range(len(reference.split()) + 1))  # the distances of nothing heard to each beginning of what was said
        for i, word in enumerate(hypothesis.split(), start=1):
            above, row = row, [i]
            for j, other in enumerate(reference.split(), start=1):
                row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other)))
        errors += row[-1]
    return errors / words


# --- the front end ---


def audible(waveforms: Float[Tensor, "N S"]) -> Int[Tensor, " N"]:
    """The frames up to the last sample that is not silence (10⁻⁴ of full scale); 0 for silence."""
    heard = (waveforms.abs() > 1e-4).long()
    samples = torch.where(heard.any(1), waveforms.shape[1] - heard.flip(1).argmax(1), 0)
    return (samples + HOP - 1) // HOP


def normalise(mels: Float[Tensor, "B M T"], frames: Int[Tensor, " B"]) -> Float[Tensor, "B M T"]:
    """Each band of each utterance with mean 0 and variance 1 over its first `frames` frames, 0 after them.

    It takes off what microphone and voice add to every frame alike. The variance (over `frames`, not `frames` − 1) counts
    1e-5 more than it is, so that a constant band becomes 0.
    """
    inside = (torch.arange(mels.shape[2], device=mels.device) < frames[:, None]).unsqueeze(1)  # (B, 1, T)
    count = frames[:, None, None]
    mean = (mels * inside).sum(2, keepdim=True) / count
    centred = (mels - mean) * inside
    return centred / (centred.square().sum(2, keepdim=True) / count + 1e-5).sqrt()


# --- harder tests, and what a sceptic asks first ---


def disturb(
    waveforms: Float[Tensor, "N S"],
    lengths: Int[Tensor, " N"],
    speed: float,
    decibels: Float[Tensor, " N"],
    generator: torch.Generator,
) -> tuple[Float[Tensor, "N Z"], Int[Tensor, " N"]]:
    """Utterances played `speed` times as fast, which moves their pitch too, under white noise so many `decibels` weaker than each, as
    long as each lasts; and their new lengths. Z = S / speed, filled up to an even number of frames."""
    played = F.interpolate(waveforms[:, None], scale_factor=1 / speed, mode="linear")[:, 0]
    played = F.pad(played, (0, -played.shape[1] % (2 * HOP)))
    lengths = (lengths / speed).long()
    inside = torch.arange(played.shape[1]) < lengths[:, None]
    power = played.square().sum(1) / lengths
    deviation = (power / 10 ** (decibels / 10)).sqrt()[:, None]
    return played + deviation * inside * torch.randn(played.shape, generator=generator), lengths


def noisy(bank: motion.Speech, speeds: Sequence[float] = (0.85, 1.15)) -> motion.Speech:
    """Every utterance at each of the speeds, under noise 10 dB weaker than it; always the same noise."""
    generator, decibels = torch.Generator().manual_seed(0), torch.full((len(bank),), 10.0)
    waveforms, lengths = zip(
        *(disturb(bank.waveforms, bank.lengths, speed, decibels, generator) for speed in speeds), strict=True
    )
    columns = (column.repeat(len(speeds)) for column in (bank.digits, bank.places, bank.voices))
    return motion.Speech(
        pad_sequence([row for rows in waveforms for row in rows], batch_first=True), torch.cat(lengths), *columns
    )


def seams(bank: motion.Speech) -> Int[Tensor, " U"]:
    """The sample at which each utterance goes on from its digit to its place.

    Before it, the utterance is like the others of its voice that say the digit; after it, when all end together, like those that
    say the place. The seam is where both differences (of log-mels: mean over bands, median over the others) add up to the least.
    """
    mels, frames = log_mel(bank.waveforms), audible(bank.waveforms).tolist()
    T = mels.shape[2]
    late = torch.stack([mel.roll(T - count, 1) for mel, count in zip(mels, frames, strict=True)])
    found = []
    for i, count in enumerate(frames):
        voice, digit, place = (column == column[i] for column in (bank.voices, bank.digits, bank.places))
        before = (mels[voice & digit & ~place] - mels[i]).abs().mean(1).median(0).values[:count]
        after = (late[voice & place & ~digit] - late[i]).abs().mean(1).median(0).values[T - count :]
        cost = F.pad(before.cumsum(0), (1, 0)) + F.pad(after.flip(0).cumsum(0).flip(0), (0, 1))  # of a seam before each frame
        found.append(int(cost.argmin()) * HOP)
    return torch.tensor(found)


def spliced(bank: motion.Speech) -> motion.Speech:
    """The held-out pairs of words in each voice of `bank`, which has none of them: the digit cut from each utterance that says it, the
    place from each that says that. Of `test` it makes 216 utterances, where `compositional` has 8."""
    cuts, pieces = seams(bank), []
    for digit, name in motion.HELD_OUT:
        place = motion.PLACES.index(name)
        for voice in bank.voices.unique().tolist():
            firsts, seconds = ((bank.voices == voice) & said for said in (bank.digits == digit, bank.places == place))
            for i, j in itertools.product(firsts.nonzero()[:, 0].tolist(), seconds.nonzero()[:, 0].tolist()):
                sound = torch.cat([bank.waveforms[i, : cuts[i]], bank.waveforms[j, cuts[j] : bank.lengths[j]]])
                pieces.append((sound, len(sound), digit, place, voice))
    sounds, *columns = zip(*pieces, strict=True)
    waveforms = pad_sequence(list(sounds), batch_first=True)
    waveforms = F.pad(waveforms, (0, -waveforms.shape[1] % (2 * HOP)))
    return motion.Speech(waveforms, *(torch.tensor(column) for column in columns))


def cepstra(waveforms: Float[Tensor, "N S"], *, points: int = 32, coefficients: int = 12) -> Float[Tensor, "N C P"]:
    """What old recognisers compared: the first coefficients of a cosine transform over the mel bands, without the energy.

    From the first frame that is not 20 times weaker than the strongest to the last that is `audible`, at `points` moments; each
    coefficient with mean 0 and variance 1 over them.
    """
    mels = log_mel(waveforms.float())  # (N, M, T)
    loud = mels.exp().sum(1)
    first, end = (loud > 0.05 * loud.amax(1, keepdim=True)).long().argmax(1), audible(waveforms)
    spectra = torch.from_numpy(dct(mels.numpy(), axis=1, norm="ortho")[:, 1 : coefficients + 1])  # (N, C, T)
    rows = zip(spectra, first.tolist(), end.tolist(), strict=True)
    moments = [F.interpolate(row[None, :, a:b], size=points, mode="linear", align_corners=True) for row, a, b in rows]
    x = torch.cat(moments)  # (N, C, P)
    return (x - x.mean(2, keepdim=True)) / (x.std(2, keepdim=True) + 1e-3)


@lru_cache(maxsize=1)
def templates() -> Float[Tensor, "K C P"]:
    """The `cepstra` of the training utterances at three speeds, with noise 10 dB weaker and next to none: six times the whole bank."""
    bank, generator = motion.speech("train"), torch.Generator().manual_seed(1)
    return torch.cat(
        [
            cepstra(disturb(bank.waveforms, bank.lengths, speed, torch.full((len(bank),), decibels), generator)[0])
            for speed in (1.0, 0.85, 1.15)
            for decibels in (10.0, 100.0)
        ]
    )


def nearest_phrases(waveforms: Float[Tensor, "N S"], *, halves: bool = False) -> list[str]:
    """A recogniser that only copies: what is said in the training utterance whose `cepstra` are nearest, for each waveform.

    halves: told that the first word is a digit and the second a place, it takes the digit of the utterance that is nearest in the first
    20 of 32 moments, and the place of that in the last 20.
    """
    bank, heard, known = motion.speech("train"), cepstra(waveforms), templates()
    parts = (slice(0, 20), slice(12, 32)) if halves else (slice(0, 32),) * 2
    rows = (torch.cdist(heard[:, :, part].flatten(1), known[:, :, part].flatten(1)).argmin(1) % len(bank) for part in parts)
    digits, places = (column[row].tolist() for column, row in zip((bank.digits, bank.places), rows, strict=True))
    return [motion.phrase(digit, motion.PLACES[place]) for digit, place in zip(digits, places, strict=True)]


# --- the model ---


@dataclass(frozen=True)
class Config:
    """channels, layers and dropout shape the network; steps, batch_size and learning_rate drive `train`.

    alignment: `ctc` sums over all of them; `even` takes one for the truth, in which all letters last equally long.
    disturbed: whether each batch is heard at another speed, and each utterance under noise.
    """

    channels: int = 96
    layers: int = 5
    dropout: float = 0.1
    alignment: str = "ctc"
    disturbed: bool = True
    steps: int = 600
    batch_size: int = 16
    learning_rate: float = 3e-3


DISTURBED = 0.8, 1.2, 5.0, 40.0  # the speeds, and by how many decibels noise is weaker than speech, that training draws from


class SpeechToText(nn.Module):
    """Convolutions over time, at half of the frames: log-mels to log-probabilities of symbols."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C = config.channels
        self.config = config
        self.input = nn.Conv1d(MELS, C, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(C, config.dropout) for _ in range(config.layers))
        self.output = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, len(ALPHABET)))

    def forward(
        self, mels: Float[Tensor, "B M T"], frames: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B H K"], Int[Tensor, " B"]]:
        """Log-probabilities at H = T / 2 moments, and how many of them belong to each item; `mels` is `normalise`d, T even."""
        moments = (frames + 1) // 2
        x = self.input(mels).transpose(1, 2)  # (B, H, C)
        mask = torch.arange(x.shape[1], device=x.device) < moments[:, None]
        for block in self.blocks:
            x = block(x, mask)
        return self.output(x).float().log_softmax(2), moments


def even_loss(
    log_probs: Float[Tensor, "B H K"], labels: Int[Tensor, "B L"], moments: Int[Tensor, " B"], letters: Int[Tensor, " B"]
) -> Float[Tensor, ""]:
    """For an ablation: mean of -log p(symbol) if each letter lasts as long as the others, and a blank follows it, which ends its share."""
    step = torch.arange(log_probs.shape[1], device=labels.device)
    shares = (letters / moments)[:, None]  # of a letter that pass at each moment
    letter, following = (step * shares).floor().long(), ((step + 1) * shares).floor().long()  # (B, H)
    symbols = labels.gather(1, letter.clamp(max=labels.shape[1] - 1)).where(following == letter, BLANK)
    nll = -log_probs.gather(2, symbols[..., None])[..., 0]
    return nll[step < moments[:, None]].mean()


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> SpeechToText:
    """Train on the training voices; return the model in evaluation mode, on `device`.

    precision: `float32` or `bfloat16` (autocast; the loss stays in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    bank = motion.speech("train")
    labels, frames = encode(bank.phrases), audible(bank.waveforms)
    symbols = (labels != BLANK).sum(1)
    slowest, fastest, loudest, faintest = DISTURBED
    model = maybe_compile(SpeechToText(config).to(device).train(), compile)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps)
    steps = batches(len(bank), config.batch_size, config.steps, generator)
    for batch in track(steps, total=config.steps, description="Speech to text", show=progress):
        sound, length = bank.waveforms[batch], frames[batch]
        if config.disturbed:
            speed = slowest + (fastest - slowest) * torch.rand((), generator=generator).item()
            decibels = loudest + (faintest - loudest) * torch.rand(len(batch), generator=generator)
            sound, _ = disturb(sound, bank.lengths[batch], speed, decibels, generator)
            length = audible(sound)
        x = normalise(log_mel(sound), length)
        x, length, y, letters = (tensor.to(device) for tensor in (x, length, labels[batch], symbols[batch]))
        with autocast(device, precision):
            log_probs, moments = model(x, length)
        if config.alignment == "ctc":
            loss = (ctc_loss(log_probs, y, moments, letters) / letters).mean()
        else:
            loss = even_loss(log_probs, y, moments, letters)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def predict(model: SpeechToText, waveforms: Float[Tensor, "N S"]) -> tuple[Float[Tensor, "N H K"], Int[Tensor, " N"]]:
    """Log-probabilities at H moments of 32 ms, and how many of them belong to each waveform (8 kHz).

    Raises ValueError for a waveform in which nothing is heard, and for what `motion.check_waveforms` refuses.
    """
    frames = audible(motion.check_waveforms(waveforms))
    if not frames.all():
        raise ValueError(f"waveform {int((frames == 0).nonzero()[0])} is silent: expected speech at {motion.RATE} Hz in [-1, 1]")
    waveforms = F.pad(waveforms, (0, -waveforms.shape[1] % (2 * HOP)))  # an even number of frames
    device = model.input.weight.device
    mels = normalise(log_mel(waveforms.float()), frames)
    return model(mels.to(device), frames.to(device))


def convert(model: SpeechToText, waveforms: Float[Tensor, "N S"], *, width: int = 8) -> list[str]:
    """What is said in each waveform (8 kHz, in [-1, 1]), such as "three left": `predict`, then `prefix_beam_search`, or, with a
    width of 0, `greedy_decode`. Raises ValueError for a silent waveform."""
    log_probs, moments = predict(model, waveforms)
    log_probs, moments = log_probs.cpu(), moments.cpu()
    if width == 0:
        return [spell(ids) for ids in greedy_decode(log_probs, moments)]
    rows = zip(log_probs, moments.tolist(), strict=True)
    return [spell(prefix_beam_search(row[:count], width)[0][0]) for row, count in rows]


@torch.no_grad()
def choose(model: SpeechToText, waveforms: Float[Tensor, "N S"], texts: Sequence[str]) -> Int[Tensor, " N"]:
    """Which of `texts` is likeliest in each waveform, as an index: the least `ctc_loss`. So one decodes where few texts are possible."""
    log_probs, moments = predict(model, waveforms)
    labels = encode(texts).to(log_probs.device)
    N = len(log_probs)
    losses = [ctc_loss(log_probs, row.expand(N, -1), moments, (row != BLANK).sum().expand(N)) for row in labels]
    return torch.stack(losses).argmin(0).cpu()


def evaluate(model: SpeechToText, *, seed: int = 0) -> dict[str, float]:
    """The word error rate on voices never heard (`test`), and there on pairs of words never heard together: as they were recorded
    (`compositional`, 8 utterances), and put together from two recordings (`spliced`, 216); then at other speeds under noise (`noisy`).

    Letters are free in `wer`; `wer_choose` has the model `choose` among the 40 phrases. Beside it: the best that one phrase for
    everything could do, `nearest_phrases` by the whole and by halves, and the judges: the last two choose among ten digits and four
    places. With the folder of the Free Spoken Digit Dataset in AIGC_FSDD, people as well. They say a digit and no place, so a second
    word is an error; `digit_accuracy_human` is that of `choose` among the ten. `seed` has no effect: what is drawn is always the same.
    """
    phrases = [motion.phrase(digit, place) for digit in range(motion.DIGITS) for place in motion.PLACES]
    test, unseen = motion.speech("test"), motion.speech("compositional")
    banks = {"": test, "_compositional": unseen, "_spliced": spliced(test)}
    banks |= {"_noisy": noisy(test), "_noisy_spliced": noisy(banks["_spliced"])}
    figures: dict[str, float] = {}
    for suffix, bank in banks.items():
        said = bank.phrases
        judged = (
            spoken_digit_judge().accuracy(bank.waveforms, bank.digits),
            spoken_place_judge().accuracy(bank.waveforms, bank.places),
        )
        figures |= {
            "wer" + suffix: word_error_rate(convert(model, bank.waveforms), said),
            "wer_greedy" + suffix: word_error_rate(convert(model, bank.waveforms, width=0), said),
            "wer_choose" + suffix: word_error_rate([phrases[i] for i in choose(model, bank.waveforms, phrases).tolist()], said),
            "wer_constant" + suffix: min(word_error_rate([phrase] * len(bank), said) for phrase in sorted(set(said))),
            "wer_nearest" + suffix: word_error_rate(nearest_phrases(bank.waveforms), said),
            "wer_halves" + suffix: word_error_rate(nearest_phrases(bank.waveforms, halves=True), said),
            "wer_judges" + suffix: 1 - sum(judged) / 2,
        }
    with contextlib.suppress(ValueError):
        people = human.load("test")
        heard, said = convert(model, people.waveforms), [motion.WORDS[d] for d in people.digits.tolist()]
        chosen = choose(model, people.waveforms, motion.WORDS)
        right = (chosen == people.digits).double().mean().item()
        figures |= {"wer_human": word_error_rate(heard, said), "digit_accuracy_human": right, "digit_chance": 1 / motion.DIGITS}
    return figures


GATES = (
    Gate("wer", at_most=0.05, baseline="wer_nearest", ceiling="wer_judges"),
    Gate("wer_compositional", at_most=0.15, below="wer_nearest_compositional", baseline="wer_nearest_compositional"),
    Gate("wer_spliced", at_most=0.1, below="wer_halves_spliced", baseline="wer_halves_spliced", ceiling="wer_judges_spliced"),
    Gate("wer_choose_noisy_spliced", at_most=0.08, below="wer_halves_noisy_spliced", baseline="wer_halves_noisy_spliced"),
)
ABLATIONS = {
    "one alignment for the truth": Ablation(Config(alignment="even"), "wer", lower_by=0.1),
    "clean sound only": Ablation(Config(disturbed=False), "wer_noisy", lower_by=0.2),
}
LEAKS = LENGTH


BRIEF = Config(channels=64, layers=4, disturbed=False, steps=250, learning_rate=5e-3)


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; three phrases in voices never heard: the frames that Viterbi gives each letter (above), and the spikes of CTC.

    The third pair of words is one that training never has.
    """
    model = train(config, device=device, progress=False)
    figure, axes = plt.subplots(2, 3, figsize=(12, 5), sharex=True, sharey="row", layout="constrained")
    for column, phrase in enumerate(("three top", "six right", "seven bottom")):
        bank = motion.speech("compositional" if motion.meaning(phrase) in motion.HELD_OUT else "test")
        waveform = bank.waveforms[bank.phrases.index(phrase)][None]
        log_probs, moments = predict(model, waveform)
        log_probs = log_probs[0, : int(moments)].cpu()
        heard = convert(model, waveform)[0]
        path = best_alignment(log_probs, encode([phrase])[0])
        above, below = axes[:, column]
        above.imshow(log_mel(waveform)[0], origin="lower", aspect="auto", cmap="magma")
        for moment, symbol in enumerate(path.tolist()):
            if symbol != BLANK:
                above.text(2 * moment + 0.5, MELS - 2, ALPHABET[symbol].replace(" ", "␣"), color="white", ha="center", va="top")
        above.set_title(f"said “{phrase}”, heard “{heard}”", fontsize=10)
        time = 2 * torch.arange(len(path)) + 0.5  # in frames
        below.fill_between(time, log_probs[:, BLANK].exp(), color="0.9")
        for symbol in set(path.tolist()) - {BLANK}:
            below.plot(time, log_probs[:, symbol].exp(), linewidth=1)
        below.set_xlabel("frame (16 ms); blank in grey, a line per letter")
        play(waveform[0], heard)
    axes[0, 0].set_ylabel("mel band")
    axes[1, 0].set_ylabel("probability")
    return figure
