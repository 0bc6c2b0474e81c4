r"""
# Text to speech

Letters in, a waveform out, all frames at once. A network that is asked for a whole sound has to know *when* each letter is heard, and
here that is predicted openly: the **encoder** reads the letters, a **duration predictor** says for how many frames each one lasts, the
**length regulator** repeats its state that often, and the **decoder** turns the frames into a log-mel spectrogram. A **vocoder** makes the
waveform. Nothing is generated step by step, so nothing can be skipped, repeated or babbled on for ever, and speed is a number one sets.

Nobody has marked in the recordings when a letter begins. As in Glow-TTS, the durations to learn from are found in training, by a dynamic
program over the scores $s_{i,t}$ of frame t under letter i, the **monotonic alignment search**:

$$Q_{i,t} = s_{i,t} + \max(Q_{i-1,t-1},\; Q_{i,t-1})$$

The predictor learns their logarithms, $\hat\ell_i \approx \log d_i$, and a light second loss keeps the errors of letters from adding up over a
phrase, $\lvert \sum_i e^{\hat\ell_i} - \sum_i d_i \rvert$. What that is worth is measured in frames by which an utterance is too long or too short: against one
length for all letters, and against tables of lengths, a number for each phrase and one for each voice; the larger table, with some numbers
more, is better than the network.

The ear hears frequency in **mel**, nearly linear below 1 kHz and logarithmic above. A log-mel throws the phase away, and most of the
resolution in frequency. **Griffin-Lim** finds a phase that fits: a spectrum whose frames overlap is redundant, so few phases are consistent with a
magnitude, and going to the waveform and back again and again moves towards one.

The audio front end of this module (`log_mel`, `stft`, `istft`, `griffin_lim`, `vocode`) serves the other units of speech as well.

**Asked in interviews.** Why predict durations when attention could align? Where do the targets come from? Why is the loss of durations in
logarithms, and what is wrong with rounding each by itself? What does a mel spectrogram lose, and how is a waveform made from one? What
makes two thirds of overlap better than none?

**Sources.** Ren et al., *FastSpeech* (2019), section 3; Kim et al., *Glow-TTS* (2020), algorithm 1; Popov et al., *Grad-TTS* (2021), section 3;
Griffin and Lim, *Signal Estimation from Modified Short-Time Fourier Transform* (1984), eq. 6; Perraudin et al., *A Fast Griffin-Lim Algorithm* (2013).

**In this course.** [Question](../../questions/convert/text_to_speech.md) · [exercise](../../notebooks/convert/text_to_speech.ipynb) ·
[solution](../../solutions/convert/text_to_speech.ipynb)
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Complex, Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.data import digits_in_motion as motion
from reference_impl.experiments import Ablation
from reference_impl.judges import sphinx_judge, spoken_digit_judge, spoken_place_judge
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.shortcuts import HEARD

# --- the audio front end, which the other units of speech import ---

RATE = motion.RATE  # samples a second
HOP = 128  # samples from one frame to the next, 16 ms: the 8192 samples of a waveform make 64 frames
WINDOW = 384  # samples in a frame, 48 ms: three hops, so that a frame shares two thirds of itself with the next
MELS = 48  # bands
FLOOR = 0.05  # the least magnitude of a band, well below speech: `log_mel` lies between -3.0 (silence) and about 4


def mel_filterbank(
    bands: int = MELS, window: int = WINDOW, rate: int = RATE, low: float = 0.0, high: float | None = None
) -> Float[Tensor, "M F"]:
    r"""Triangles that add up the bins of a spectrum (F = window / 2 + 1, from 0 to rate / 2) to `bands` mel bands.

    Corners lie at `bands + 2` frequencies evenly spaced in mel from `low` to `high` (Hz; rate / 2 by default), on the scale
    of HTK, $m = 2595 \log_{10}(1 + f / 700)$. Band i rises from corner i to 1 at corner i + 1 and falls to 0 at corner i + 2.
    """
    lowest, highest = (2595 * math.log10(1 + f / 700) for f in (low, rate / 2 if high is None else high))
    mels = torch.linspace(lowest, highest, bands + 2)
    corners = 700 * (10 ** (mels / 2595) - 1)  # in Hz
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]  # (M, 1) each
    bins = torch.linspace(0, rate / 2, window // 2 + 1)  # (F,)
    triangles = torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    return triangles.clamp(min=0)


def stft(waveforms: Float[Tensor, "N S"], *, window: int = WINDOW, hop: int = HOP) -> Complex[Tensor, "N F T"]:
    """The spectrum of each frame under a periodic Hann window: F = window / 2 + 1 bins, T = ⌈S / hop⌉ frames.

    Zeros are added, (window − hop) / 2 before and at least as many after: so frame t is centred on the middle of hop t, and S
    samples make S / hop frames exactly. Raises ValueError unless window and hop are even, and hop at most window / 2.
    """
    if window % 2 or hop % 2 or not 0 < hop <= window // 2:
        raise ValueError(f"window and hop must be even and hop at most window / 2, got window {window} and hop {hop}")
    side, rest = (window - hop) // 2, -waveforms.shape[1] % hop
    frames = F.pad(waveforms, (side, side + rest)).unfold(1, window, hop)  # (N, T, window)
    taper = torch.hann_window(window, dtype=waveforms.dtype, device=waveforms.device)
    return torch.fft.rfft(frames * taper).transpose(1, 2)


def log_mel(
    waveforms: Float[Tensor, "N S"], *, bands: int = MELS, window: int = WINDOW, hop: int = HOP, floor: float = FLOOR
) -> Float[Tensor, "N M T"]:
    """The natural logarithm of the magnitude in each mel band, T = ⌈S / hop⌉; magnitudes below `floor` count as `floor`.

    So they have no gradient either: that of silence is 0.
    It lies between log(floor) = -3.0 and about 4. Over the padded waveforms of `train` its mean is -1.4, its deviation 1.7.
    """
    magnitude = stft(waveforms, window=window, hop=hop).abs()
    filters = mel_filterbank(bands, window).to(waveforms.device, waveforms.dtype)
    return torch.log((filters @ magnitude).clamp(min=floor))


def istft(spectrum: Complex[Tensor, "N F T"], *, hop: int = HOP) -> Float[Tensor, "N S"]:
    r"""The waveform, of S = T · hop samples, whose `stft` is nearest to `spectrum`; its exact inverse where there is one.

    Each frame x_t goes back to where it came from under the same window w once more, and each sample is divided by the weight it
    has gathered: $\sum_t w(n - t H)\, x_t(n - t H) / \sum_t w^2(n - t H)$. Griffin and Lim (1984), eq. 6.
    """
    T, window = spectrum.shape[2], 2 * (spectrum.shape[1] - 1)
    frames = torch.fft.irfft(spectrum.transpose(1, 2))  # (N, T, window)
    taper = torch.hann_window(window, dtype=frames.dtype, device=frames.device)
    length, side = (T - 1) * hop + window, (window - hop) // 2
    both = torch.cat([frames * taper, taper.square().expand(1, T, window)])  # one overlap-add for the signal and its weight
    added = F.fold(both.transpose(1, 2), (1, length), (1, window), stride=(1, hop)).flatten(1)[:, side : length - side]
    return added[:-1] / added[-1:]


def mel_to_linear(mel: Float[Tensor, "N M T"], *, window: int = WINDOW) -> Float[Tensor, "N F T"]:
    """A magnitude spectrum for the magnitudes of mel bands (no logarithms): the pseudo-inverse of the filterbank, cut off at 0."""
    inverse = torch.linalg.pinv(mel_filterbank(mel.shape[1], window).double())  # (F, M)
    return (inverse.to(mel) @ mel).clamp(min=0)


def griffin_lim(
    magnitude: Float[Tensor, "N F T"],
    phase: Float[Tensor, "N F T"],
    *,
    iterations: int = 32,
    momentum: float = 0.99,
    hop: int = HOP,
) -> Float[Tensor, "N S"]:
    r"""A waveform of T · hop samples whose spectrum has nearly this magnitude, from a first guess of the phase in radians.

    Each iteration goes to the waveform and back, $c_i$ = stft(istft(magnitude · e^{i·phase})), and takes the phase of
    $c_i + \alpha (c_i - c_{i-1})$, with $c_0 = 0$ and momentum α. A magnitude of 0 gives silence. Griffin and Lim (1984); Perraudin
    et al. (2013), algorithm 2.
    """
    window = 2 * (magnitude.shape[1] - 1)
    previous = torch.zeros_like(phase)
    for _ in range(iterations):
        rebuilt = stft(istft(torch.polar(magnitude, phase), hop=hop), window=window, hop=hop)
        phase = torch.angle(rebuilt + momentum * (rebuilt - previous))
        previous = rebuilt
    return istft(torch.polar(magnitude, phase), hop=hop)


@torch.no_grad()
def vocode(log_mels: Float[Tensor, "N M T"], *, seed: int = 0, iterations: int = 32) -> Float[Tensor, "N S"]:
    """The waveform, of T · HOP samples in [-1, 1], that a `log_mel` describes: `mel_to_linear`, then `griffin_lim` from random phases."""
    magnitude = mel_to_linear(log_mels.float().exp())
    turns = torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(seed)).to(magnitude.device)
    return griffin_lim(magnitude, 2 * math.pi * turns, iterations=iterations).clamp(-1, 1)


# --- the text ---

PAD = 0
ALPHABET = "\0" + "".join(sorted({letter for d in range(motion.DIGITS) for p in motion.PLACES for letter in motion.phrase(d, p)}))
SYMBOLS = max(len(motion.phrase(d, p)) for d in range(motion.DIGITS) for p in motion.PLACES)  # in the longest phrase


def encode(phrases: Sequence[str]) -> Int[Tensor, "N L"]:
    """Letters and the space as int64 ids, PAD after the end. Raises ValueError for an empty phrase or another letter."""
    if isinstance(phrases, str) or not phrases:
        raise ValueError(f"expected a list of phrases such as ['three left'], got {phrases!r}")
    for phrase in phrases:
        strange = sorted(set(phrase) - set(ALPHABET[1:]))
        if not phrase.strip() or strange:
            raise ValueError(f"cannot speak {phrase!r}: expected letters of {ALPHABET[1:].strip()!r}, as in 'three left'")
    longest = max(len(phrase) for phrase in phrases)
    return torch.tensor([[ALPHABET.index(letter) for letter in phrase.ljust(longest, ALPHABET[PAD])] for phrase in phrases])


# --- durations ---


def monotonic_alignment(
    scores: Float[Tensor, "B L T"], symbols: Int[Tensor, " B"], frames: Int[Tensor, " B"]
) -> Int[Tensor, "B L"]:
    r"""The durations, in frames, of the best path of each item through `scores` (log-likelihood of frame t under symbol i).

    A path gives its first `frames` frames to its first `symbols` symbols, in order, each symbol at least one frame and none
    left out (so symbols ≤ frames). The best value of a path that reaches symbol i at frame t is
    $Q_{i,t} = s_{i,t} + \max(Q_{i-1,t-1},\, Q_{i,t-1})$; the path is read backwards from the last symbol at the last frame.
    Durations past `symbols` are 0. Kim et al., *Glow-TTS* (2020), algorithm 1.
    """
    B, L, T = scores.shape
    rows, index = torch.arange(B, device=scores.device), torch.arange(L, device=scores.device)
    best = torch.where(index == 0, scores[:, :, 0], -torch.inf)  # (B, L), at the first frame only the first symbol
    stepped = []  # [t - 1]: whether the best path that is at symbol i at frame t came from i - 1
    for t in range(1, T):
        before = F.pad(best, (1, 0), value=-torch.inf)[:, :-1]
        stepped.append(before > best)
        best = torch.maximum(before, best) + scores[:, :, t]
    durations = torch.zeros(B, L, dtype=torch.int64, device=scores.device)
    durations[:, 0] = 1  # the first frame
    symbol = symbols - 1
    for t in range(T - 1, 0, -1):
        inside = t < frames
        durations[rows, symbol] += inside
        symbol = symbol - (inside & stepped[t - 1][rows, symbol]).long()
    return durations


def length_regulator(states: Float[Tensor, "B L C"], durations: Int[Tensor, "B L"], frames: int) -> Float[Tensor, "B T C"]:
    """Each symbol's state as often as it lasts, one after another: T = `frames`; zeros after the end, cut off beyond T.

    Ren et al., *FastSpeech* (2019), eq. 1.
    """
    ends = durations.cumsum(1).unsqueeze(1)  # (B, 1, L)
    t = torch.arange(frames, device=states.device)[:, None]  # (T, 1)
    path = (t < ends) & (t >= ends - durations.unsqueeze(1))  # (B, T, L)
    return path.to(states.dtype) @ states


def duration_loss(
    log_durations: Float[Tensor, "B L"], durations: Int[Tensor, "B L"], mask: Bool[Tensor, "B L"]
) -> Float[Tensor, ""]:
    """Mean squared error of predicted log-durations, over the symbols in `mask` of all items; padding does not count.

    In logarithms a frame too many is worse for a short symbol than for a long one. Ren et al. (2019), section 3.3.
    """
    target = torch.log(durations.clamp(min=1).to(log_durations.dtype))
    errors = F.mse_loss(log_durations, target, reduction="none")
    return (errors * mask).sum() / mask.sum()


def length_loss(
    log_durations: Float[Tensor, "B L"], durations: Int[Tensor, "B L"], mask: Bool[Tensor, "B L"]
) -> Float[Tensor, ""]:
    """By how many frames the predicted lengths of whole phrases are off, on average; padding does not count.

    `duration_loss` does not see whether the errors of letters cancel or add up over a phrase, and a mean of logarithms is too
    short. Here it is the sum that counts, in frames.
    """
    predicted = torch.where(mask, log_durations.exp(), 0.0).sum(1)  # (B,)
    return (predicted - durations.sum(1)).abs().mean()


def round_durations(log_durations: Float[Tensor, "B L"], mask: Bool[Tensor, "B L"], speed: float = 1.0) -> Int[Tensor, "B L"]:
    """Whole frames to speak by: exp(log-duration) / speed, at least 1 a letter; 0 where `mask` is False.

    What is rounded is where a letter ends, the sum of the durations so far: rounded one by one, their errors would add up over a
    phrase. It ends a frame at least after the letter before, and those that follow are shorter until that is made up for.
    Raises ValueError unless `speed` is positive.
    """
    if not speed > 0:
        raise ValueError(f"speed must be positive (2 is twice as fast), got {speed}")
    frames = torch.where(mask, log_durations.exp() / speed, 0.0)
    earliest = mask.cumsum(1)  # (B, L): the ends, if every letter had one frame
    later = (frames.cumsum(1).round().long() - earliest).cummax(1).values.clamp(min=0)  # by how many frames; it never gets less
    return (earliest + later).diff(dim=1, prepend=torch.zeros_like(earliest[:, :1]))


# --- the model ---

MEAN, DEVIATION = -1.5, 1.7  # about those of `log_mel` over the training bank: the network works on numbers of about unit size


@dataclass(frozen=True)
class Config:
    """channels, layers (of the decoder) and dropout shape the network; steps, batch_size and learning_rate drive `train`.

    search: whether the durations to learn from are those of the best alignment; without, all letters of a phrase last equally long.
    predictor: whether durations are predicted; without, every letter of every phrase lasts as long as one does in training on average.
    length_weight: the weight of `length_loss` beside that of `duration_loss`.
    """

    channels: int = 96
    layers: int = 4
    dropout: float = 0.1
    search: bool = True
    predictor: bool = True
    length_weight: float = 0.02
    steps: int = 800
    batch_size: int = 16
    learning_rate: float = 2e-3


class Block(nn.Module):
    """A residual convolution over time, blind to what `mask` leaves out."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.conv = nn.Conv1d(channels, channels, 5, padding=2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T C"]:
        hidden = self.norm(x) * mask.unsqueeze(2)
        return x + self.dropout(F.gelu(self.conv(hidden.transpose(1, 2)).transpose(1, 2)))


def even_durations(mask: Bool[Tensor, "B L"], frames: Int[Tensor, " B"]) -> Int[Tensor, "B L"]:
    """Without a search: the frames of each letter, if all of a phrase last equally long; what is left over goes to the later ones."""
    ends = torch.cat([torch.zeros_like(frames)[:, None], mask.cumsum(1)], dim=1) * frames[:, None] // mask.sum(1, keepdim=True)
    return ends.diff(dim=1)


class TextToSpeech(nn.Module):
    """Letters and a voice to a log-mel, all frames at once: encoder, durations, length regulator, decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C = config.channels
        self.config = config
        self.letters = nn.Embedding(len(ALPHABET), C)
        self.voices = nn.Embedding(len(motion.VOICES), C)
        self.encoder = nn.ModuleList(Block(C, config.dropout) for _ in range(3))
        self.prior = nn.Linear(C, MELS)
        self.timing = nn.ModuleList(Block(C, config.dropout) for _ in range(2))
        self.log_duration = nn.Linear(C, 1)
        self.position = nn.Linear(3, C)
        self.decoder = nn.ModuleList(Block(C, config.dropout) for _ in range(config.layers))
        self.mel = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, MELS))

    def encode(self, ids: Int[Tensor, "B L"], voices: Float[Tensor, "B C"]) -> Float[Tensor, "B L C"]:
        """The state of each letter in its neighbourhood, in a voice (its embedding)."""
        states, mask = self.letters(ids) + voices.unsqueeze(1), ids != PAD
        for block in self.encoder:
            states = block(states, mask)
        return states

    def log_durations(self, states: Float[Tensor, "B L C"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """The predicted logarithm of each letter's frames. It learns from the states, but does not shape them."""
        if not self.config.predictor:
            return self.log_duration.bias.detach().expand(mask.shape)  # as `train` has set it
        states = states.detach()
        for block in self.timing:
            states = block(states, mask)
        return self.log_duration(states).squeeze(2)

    def decode(
        self, states: Float[Tensor, "B L C"], durations: Int[Tensor, "B L"], voices: Float[Tensor, "B C"], frames: int
    ) -> Float[Tensor, "B M T"]:
        """The log-mel, on the network's scale. A frame also knows how far into its letter it is and how long that lasts."""
        begins = durations.cumsum(1) - durations
        spans = length_regulator(torch.stack([begins, durations], dim=2).to(states), durations, frames)  # (B, T, 2)
        begin, duration = spans.unbind(2)
        mask = duration > 0
        into = torch.arange(frames, device=states.device) - begin + 0.5
        place = torch.stack([into / duration.clamp(min=1), into / 8, duration / 8], dim=2)
        x = length_regulator(states, durations, frames) + self.position(place) + voices.unsqueeze(1)
        for block in self.decoder:
            x = block(x, mask)
        return self.mel(x).transpose(1, 2)

    def forward(
        self, ids: Int[Tensor, "B L"], voices: Int[Tensor, " B"], mels: Float[Tensor, "B M T"], frames: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B M T"], Float[Tensor, "B M T"], Float[Tensor, "B L"], Int[Tensor, "B L"]]:
        """For training: the log-mel by the durations of the best alignment, what the encoder alone says of it, log-durations, durations."""
        voice, mask = self.voices(voices), ids != PAD
        states = self.encode(ids, voice)
        guess = self.prior(states)  # (B, L, M): the mean of a Gaussian of unit variance over the frames of a letter
        with torch.no_grad():
            scores = -0.5 * torch.cdist(guess.float(), mels.transpose(1, 2)).square()  # (B, L, T)
            if self.config.search:
                durations = torch.compiler.disable(monotonic_alignment)(scores, mask.sum(1), frames)
            else:
                durations = even_durations(mask, frames)
        T = mels.shape[2]
        decoded = self.decode(states, durations, voice, T)
        return decoded, length_regulator(guess, durations, T).transpose(1, 2), self.log_durations(states, mask), durations


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> TextToSpeech:
    """Train on the training voices, without the utterances `motion.withheld`; return the model in evaluation mode, on `device`.

    precision: `float32` or `bfloat16` (autocast; the losses stay in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    bank = motion.speech("train")
    kept = (~motion.withheld(bank)).nonzero().squeeze(1)
    phrases = bank.phrases
    ids, voices = encode([phrases[i] for i in kept.tolist()]), bank.voices[kept]
    mels = (log_mel(bank.waveforms[kept]) - MEAN) / DEVIATION
    frames = (bank.lengths[kept] + HOP - 1) // HOP
    model = TextToSpeech(config).to(device).train()
    nn.init.constant_(model.log_duration.bias, math.log(frames.sum() / (ids != PAD).sum()))  # start at the mean letter
    model = maybe_compile(model, compile)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps)
    steps = batches(len(kept), config.batch_size, config.steps, generator)
    for batch in track(steps, total=config.steps, description="Text to speech", show=progress):
        x, voice, mel, length = (tensor[batch].to(device) for tensor in (ids, voices, mels, frames))
        with autocast(device, precision):
            decoded, guess, log_durations, durations = model(x, voice, mel, length)
        sounding = (torch.arange(mel.shape[2], device=device) < length[:, None]).unsqueeze(1).expand_as(mel)  # (B, M, T)
        weight = sounding / sounding.sum()
        mel_loss = ((decoded.float() - mel).abs() * weight).sum()
        prior_loss = (0.5 * (guess.float() - mel).square() * weight).sum()
        timing_loss = duration_loss(log_durations.float(), durations, x != PAD)
        timing_loss = timing_loss + config.length_weight * length_loss(log_durations.float(), durations, x != PAD)
        loss = mel_loss + prior_loss + timing_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def predict(
    model: TextToSpeech, phrases: Sequence[str], voices: Sequence[str] | None = None, *, speed: float = 1.0
) -> tuple[Float[Tensor, "N M T"], Int[Tensor, "N L"]]:
    """The log-mel of each phrase, at least 64 frames with silence after the end, and the frames that each letter lasts.

    voices: a name of `SEEN_VOICES` for each phrase; without any, all speak with the average of their embeddings.
    Raises ValueError for another voice, a phrase that cannot be spoken, or a speed that is not positive.
    """
    device = model.letters.weight.device
    ids = encode(phrases).to(device)
    known = {name: list(motion.VOICES).index(name) for name in motion.SEEN_VOICES}
    if voices is None:
        voice = model.voices.weight[list(known.values())].mean(0).expand(len(ids), -1)
    elif len(voices) != len(phrases) or not set(voices) <= known.keys():
        raise ValueError(f"expected for each of {len(phrases)} phrases one of the voices {', '.join(known)}, got {list(voices)}")
    else:
        voice = model.voices(torch.tensor([known[name] for name in voices], device=device))
    mask = ids != PAD
    states = model.encode(ids, voice)
    durations = round_durations(model.log_durations(states, mask), mask, speed)
    total = durations.sum(1)
    frames = max(motion.SAMPLES // HOP, int(total.max()))
    mels = model.decode(states, durations, voice, frames) * DEVIATION + MEAN
    silent = torch.arange(frames, device=device) >= total[:, None]
    return mels.clamp(min=math.log(FLOOR)).masked_fill(silent.unsqueeze(1), math.log(FLOOR)), durations


def convert(
    model: TextToSpeech, phrases: Sequence[str], voices: Sequence[str] | None = None, *, speed: float = 1.0, seed: int = 0
) -> Float[Tensor, "N S"]:
    """Say each phrase: waveforms in [-1, 1] at 8 kHz, 8192 samples or more. See `predict`; `seed` draws the first phases."""
    mels, _ = predict(model, phrases, voices, speed=speed)
    return vocode(mels, seed=seed)


def table_of_lengths(bank: motion.Speech, known: Bool[Tensor, " U"], *, drawl: bool = False) -> Float[Tensor, " U"]:
    """For a sceptic: the whole frames of each utterance, if a phrase and a voice each add a number of their own to its length.

    With `drawl`, a voice has four, one for each place: some draw a word out more than others do.
    The numbers are the least squares over the utterances in `known`. No network, no letters: a phrase that none of them says has none.
    """
    P = len(motion.PLACES)
    phrases = bank.digits * P + bank.places
    speakers = bank.voices * P + bank.places if drawl else bank.voices
    design = torch.cat([F.one_hot(phrases), F.one_hot(speakers)], dim=1).double()  # (U, phrases + speakers)
    frames = ((bank.lengths + HOP - 1) // HOP).double()[:, None]
    added = torch.linalg.lstsq(
        design[known], frames[known], driver="gelsd"
    ).solution  # of least norm: columns depend on each other
    return (design @ added).squeeze(1).round()


def judged(spoken: Float[Tensor, "N S"], phrases: Sequence[str], suffix: str = "") -> dict[str, float]:
    """In how many waveforms the judges hear the digit and the place of the phrase, and pocketsphinx, if it is installed, both."""
    meant = [motion.meaning(phrase) for phrase in phrases]
    digits, places = torch.tensor([d for d, _ in meant]), torch.tensor([motion.PLACES.index(p) for _, p in meant])
    figures = {
        "digit_accuracy" + suffix: spoken_digit_judge().accuracy(spoken, digits),
        "place_accuracy" + suffix: spoken_place_judge().accuracy(spoken, places),
    }
    with contextlib.suppress(ImportError):
        figures["sphinx_accuracy" + suffix] = sphinx_judge().accuracy(spoken, digits, places)["both"]
    return figures


@torch.no_grad()
def evaluate(model: TextToSpeech, *, seed: int = 0) -> dict[str, float]:
    """What the judges hear in phrases never heard in that voice, and in pairs never heard in any (`..._compositional`).

    Beside it: the average voice, which nobody has; the same phrases, real (`sphinx_accuracy_real` is its ceiling); by how many
    frames the length is off, and that of `table_of_lengths` (`table_drawl_...`: the larger one) and of the mean of training; how often, among real voices that say the
    phrase, the mean spectrum is nearest to the right one.
    """
    bank, names = motion.speech("train"), list(motion.VOICES)
    chosen = motion.withheld(bank)
    rows = chosen.nonzero().squeeze(1).tolist()
    phrases, speakers = [bank.phrases[i] for i in rows], [names[i] for i in bank.voices[chosen].tolist()]
    mels, durations = predict(model, phrases, speakers)
    lengths = ((bank.lengths + HOP - 1) // HOP).double()
    said = {
        "frames_error": durations.sum(1).cpu(),
        "table_length_error": table_of_lengths(bank, ~chosen)[chosen],
        "table_drawl_length_error": table_of_lengths(bank, ~chosen, drawl=True)[chosen],
        "mean_length_error": lengths[~chosen].mean(),
    }
    other = (bank.digits != bank.digits[chosen, None]) | (bank.places != bank.places[chosen, None])  # (N, U)
    distance = torch.cdist(mels.mean(2).cpu(), log_mel(bank.waveforms).mean(2))  # (N, U)
    nearest = bank.voices[distance.masked_fill(other, torch.inf).argmin(1)]
    everything = [motion.phrase(d, p) for d in range(motion.DIGITS) for p in motion.PLACES]
    unseen = [motion.phrase(d, p) for d, p in motion.HELD_OUT for _ in motion.SEEN_VOICES]
    voices = list(motion.SEEN_VOICES) * len(motion.HELD_OUT)
    return {
        **judged(vocode(mels, seed=seed), phrases),
        **judged(convert(model, unseen, voices, seed=seed), unseen, "_compositional"),
        **judged(convert(model, everything, seed=seed), everything, "_average_voice"),
        **judged(bank.waveforms[chosen], phrases, "_real"),
        **{name: (length - lengths[chosen]).abs().mean().item() for name, length in said.items()},
        "voice_accuracy": (nearest == bank.voices[chosen]).double().mean().item(),
        "voice_chance": 1 / len(motion.SEEN_VOICES),
        "digit_chance": 1 / motion.DIGITS,
        "place_chance": 1 / len(motion.PLACES),
        "digit_ceiling": spoken_digit_judge().ceiling(),
        "place_ceiling": spoken_place_judge().ceiling(),
    }


GATES = (
    Gate("digit_accuracy", at_least=0.9, baseline="digit_chance", ceiling="digit_ceiling"),
    Gate("place_accuracy", at_least=0.9, baseline="place_chance", ceiling="place_ceiling"),
    Gate("digit_accuracy_compositional", at_least=0.8, baseline="digit_chance", ceiling="digit_ceiling"),
    # The larger table is better than the network, and stands beside it; what no table can do is the gate above.
    Gate("frames_error", at_most=1.1, below="table_length_error", baseline="table_drawl_length_error"),
)
ABLATIONS = {"one length for all letters": Ablation(Config(predictor=False), "frames_error", lower_by=2.0)}
LEAKS = HEARD


def play(waveform: Float[Tensor, " S"], title: str = "", *, rate: int = RATE) -> None:
    """A player under the cell of a notebook; nothing elsewhere."""
    from IPython import get_ipython
    from IPython.display import Audio, Markdown, display

    if get_ipython() is not None:
        display(Markdown(title), Audio(waveform.detach().float().cpu().numpy(), rate=rate))


BRIEF = Config(channels=64, layers=3, steps=250, learning_rate=4e-3)


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; three phrases to hear, with the frames each letter was given (above), and real ones in another voice (below).

    The third pair is one that training never has.
    """
    model = train(config, device=device, progress=False)
    phrases, voices = ["three left", "eight right", "seven bottom"], ["us_m1", "gb_f3", "us_adam"]
    mels, durations = predict(model, phrases, voices)
    waveforms = vocode(mels)
    figure, axes = plt.subplots(2, 3, figsize=(12, 5), sharex=True, sharey=True, layout="constrained")
    for column, (phrase, voice) in enumerate(zip(phrases, voices, strict=True)):
        above, below = axes[:, column]
        above.imshow(mels[column].cpu(), origin="lower", aspect="auto", cmap="magma", vmin=math.log(FLOOR), vmax=4)
        begin = 0
        for letter, frames in zip(phrase, durations[column].tolist(), strict=False):
            above.axvline(begin - 0.5, color="white", linewidth=0.5)
            above.text(begin + frames / 2 - 0.5, MELS - 2, letter, color="white", ha="center", va="top", fontsize=9)
            begin += frames
        above.axvline(begin - 0.5, color="white", linewidth=0.5)
        above.set_title(f"“{phrase}” in the voice {voice}", fontsize=10)
        bank = motion.speech("compositional" if motion.meaning(phrase) in motion.HELD_OUT else "test")
        real = log_mel(bank.waveforms[bank.phrases.index(phrase)][None])[0]
        below.imshow(real, origin="lower", aspect="auto", cmap="magma", vmin=math.log(FLOOR), vmax=4)
        below.set_title("real, in a voice it never heard", fontsize=10)
        below.set_xlabel("frame (16 ms)")
        play(waveforms[column], phrase)
    axes[0, 0].set_ylabel("mel band")
    return figure
