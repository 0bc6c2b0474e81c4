r"""
# Speech to video

Say "three left", and a handwritten three slides to the left. An encoder of speech and an encoder of video are taught to put what
belongs together at the same place of a **shared space**, and a decoder is taught to come back from there to video. The decoder never hears
a word: it learns from the embeddings of videos, and is then given those of speech.

**Align.** In a batch of $B$ pairs each utterance has to pick its video among all $B$, and each video its utterance. With unit
vectors $a_i$, $b_j$, a temperature $\tau$ and logits $s_{ij} = \langle a_i, b_j \rangle / \tau$ that is cross-entropy both ways (InfoNCE):

$$\mathcal L = -\frac{1}{2B} \sum_i \left[ \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}} + \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ji}}} \right]$$

The numerators pull pairs together, the sums push all others apart. Without the sums, one point for everything would already be perfect.

**Two streams.** Four of the 40 pairs of a digit and a place are never shown, and a network that has the digit and its motion in one
picture learns the pair. So the embedding has two halves, and each half has a loss of its own. For *what* there is to see, the video
encoder has the first frame only, in which every digit still stands in the middle. For *which way* it goes, it has only what changed, the last
frame minus the first. The speech encoder reads both out of one sentence, by two attention poolings. The decoder draws the picture from
*what* and takes the motion from *which way*.

**False negatives.** All other items are taken for negatives, and here that is wrong: of ten digits or four places, a batch of 64 has many
that say the same. They are left out of the sums. To know them takes labels; the pairs alone do not say it.

**Decode.** The speech does not say whose handwriting it is. So the decoder has a second input, a **style** that a VAE infers from the picture
in training and that is drawn at random afterwards. And speech never lies exactly where video does (the **modality gap**). So the decoder is
trained on embeddings of video that were moved by noise: it learns to forgive what the gap will do to it.

**Asked in interviews.** Why both directions? What would happen without negatives? What does the temperature do, and why is it learned as a
logarithm? What is a false negative? What is the modality gap, and how does one decode across it? Why may a retrieval of 100 % say nothing
about generation, and what makes an embedding fit for combinations that it has never seen?

**Sources.** van den Oord et al., *Representation Learning with Contrastive Predictive Coding* (2018), eq. 4; Radford et al., *CLIP* (2021),
figure 3; Khosla et al., *Supervised Contrastive Learning* (2020); Liang et al., *Mind the Gap* (2022); Ramesh et al., *unCLIP* (2022); Zhou et al., *LAFITE* (2022);
Simonyan and Zisserman, *Two-Stream Convolutional Networks for Action Recognition in Videos* (2014).

**In this course.** [Question](../../questions/convert/speech_to_video.md) · [exercise](../../notebooks/convert/speech_to_video.ipynb) ·
[solution](../../solutions/convert/speech_to_video.ipynb)
"""

import math
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.convert.image_to_video import warp
from reference_impl.convert.text_to_speech import DEVIATION, FLOOR, HOP, MEAN, MELS, log_mel, play
from reference_impl.data import digits_in_motion as motion
from reference_impl.experiments import Ablation
from reference_impl.image.vae import kl_divergence, reparameterize
from reference_impl.judges import direction_judge, diversity_ratio, motion_digit_judge
from reference_impl.plotting import show_grid
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.shortcuts import LENGTH, SEEN

# --- the shared space ---


def attention_pool(
    states: Float[Tensor, "B T C"], scores: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B C"]:
    """One vector for a sequence: the mean of its states, weighted by the softmax of `scores` over the moments in `mask`.

    What the mask leaves out has weight 0, whatever its score. A sequence of which nothing is left gives zeros.
    """
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=1)
    weights = weights.masked_fill(~mask, 0.0)  # the softmax of nothing but -inf is NaN
    return torch.einsum("bt,btc->bc", weights, states)


def contrastive_logits(
    first: Float[Tensor, "N D"], second: Float[Tensor, "M D"], logit_scale: Float[Tensor, ""]
) -> Float[Tensor, "N M"]:
    r"""The cosine of every pair, over the temperature. `logit_scale` is $\log (1/\tau)$, a parameter: so 1/τ stays positive.

    Radford et al. (2021), figure 3.
    """
    return logit_scale.exp() * F.normalize(first) @ F.normalize(second).T  # each row of length 1


def false_negatives(contents: Int[Tensor, " B"]) -> Bool[Tensor, "B B"]:
    """Which pairs of a batch must not be pushed apart: different items of the same content. An item and itself are no such pair."""
    same = contents[:, None] == contents
    return same & ~torch.eye(len(contents), dtype=torch.bool, device=contents.device)


def contrastive_loss(logits: Float[Tensor, "B B"], ignored: Bool[Tensor, "B B"]) -> Float[Tensor, ""]:
    """InfoNCE both ways, in nats: mean cross-entropy of the rows and of the columns, over two. Item i belongs to item i.

    A logit that is `ignored` (i, j) is left out of the sums of row i and of column j. The diagonal never is.
    van den Oord et al. (2018), eq. 4; Radford et al. (2021), figure 3.
    """
    logits = logits.masked_fill(ignored, -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def retrieval_at_k(
    queries: Float[Tensor, "Q D"], gallery: Float[Tensor, "G D"], relevant: Bool[Tensor, "Q G"], k: int = 1
) -> Float[Tensor, ""]:
    """The share of queries with something `relevant` among the k things of the gallery that have the largest cosine with them.

    Raises ValueError unless 1 ≤ k ≤ G.
    """
    if not 1 <= k <= len(gallery):
        raise ValueError(f"k must lie in 1 to {len(gallery)} (the size of the gallery), got {k}")
    similarity = queries @ F.normalize(gallery).T  # (Q, G): the length of a query changes nothing in its order
    nearest = similarity.topk(k).indices  # (Q, k)
    return relevant.gather(1, nearest).any(dim=1).to(queries.dtype).mean()


def modality_gap(first: Float[Tensor, "N D"], second: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
    """The distance between the mean of the unit vectors of one modality and that of the other, from 0 to 2.

    Liang et al. (2022), section 4.2.
    """
    return (F.normalize(first).mean(dim=0) - F.normalize(second).mean(dim=0)).norm()


def perturb(embeddings: Float[Tensor, "B D"], noise: Float[Tensor, "B D"], level: float) -> Float[Tensor, "B D"]:
    r"""The embeddings, each moved by `level` times its own length in the direction of its noise, then of unit length:
    $h + \lambda \lVert h \rVert \, \epsilon / \lVert \epsilon \rVert$, normalised.

    Zhou et al., *LAFITE* (2022), section 3.1 (fixed perturbations).
    """
    length = embeddings.norm(dim=1, keepdim=True)
    return F.normalize(embeddings + level * length * F.normalize(noise))


def animate(pictures: Float[Tensor, "B C H W"], step: Float[Tensor, "B 2"], frames: int) -> Float[Tensor, "B T C H W"]:
    """The video of T = `frames` that begins with each picture, and in which all moves by `step` pixels a frame, right and down.

    Frame k is the picture moved by k steps (`warp` of convert/image_to_video: it looks backward; zeros come in from outside).
    """
    flow = -step[:, :, None, None].expand(-1, -1, *pictures.shape[2:])  # (B, 2, H, W): where to look is where it came from
    return torch.stack([warp(pictures, k * flow) for k in range(frames)], dim=1)


# --- the networks ---


@dataclass(frozen=True)
class Config:
    """embedding and style are sizes of vectors; noise is the level of `perturb`; ink_error the deviation of a pixel in the VAE.

    streams: 2 for an embedding of two halves, what there is to see and which way it moves; 1 for a single one of the same size, made
    of all frames at once. negatives: whether other items of a batch are pushed apart, or pairs are only pulled together. masked:
    whether items that say the same are left out of the contrast, rather than pushed apart. steps, batch_size and learning_rate
    drive either stage of `train`.
    """

    embedding: int = 32
    style: int = 8
    speech_channels: int = 64
    video_channels: int = 16
    decoder_channels: int = 24
    noise: float = 0.3
    ink_error: float = 0.1
    streams: int = 2
    negatives: bool = True
    masked: bool = True
    steps: int = 400
    batch_size: int = 64
    learning_rate: float = 2e-3


STRIDE = 4  # frames of sound in one state of the encoder
SOUND = math.log(FLOOR) + 0.1  # a frame sounds if some band of its log-mel lies above


def joined(parts: list[Float[Tensor, "B P"]]) -> Float[Tensor, "B D"]:
    """An embedding of S streams, D = S · P: the parts side by side, equally long, as one unit vector.

    So the cosine of two embeddings is the mean of the cosines of their parts.
    """
    return torch.cat([F.normalize(part.float(), dim=1) for part in parts], dim=1) / len(parts) ** 0.5


class SpeechEncoder(nn.Module):
    """Convolutions over the time of a log-mel, then for each stream attention pooling over what sounds: a unit vector."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        C = config.speech_channels
        self.body = nn.Sequential(
            nn.Conv1d(MELS, C, 5, stride=2, padding=2), nn.GroupNorm(4, C), nn.GELU(), nn.Dropout(0.1),
            nn.Conv1d(C, C, 5, padding=2), nn.GroupNorm(4, C), nn.GELU(), nn.Dropout(0.1),
            nn.Conv1d(C, 2 * C, 5, stride=2, padding=2), nn.GroupNorm(4, 2 * C), nn.GELU(), nn.Dropout(0.1),
        )  # fmt: skip
        self.score = nn.Linear(2 * C, config.streams)
        self.outputs = nn.ModuleList(nn.Linear(2 * C, config.embedding // config.streams) for _ in range(config.streams))

    def forward(self, mels: Float[Tensor, "B M T"]) -> Float[Tensor, "B D"]:
        """The embedding of each log-mel; T must be a multiple of STRIDE."""
        sounding = (mels.amax(dim=1) > SOUND).unflatten(1, (-1, STRIDE)).any(dim=2)  # (B, T / STRIDE)
        states = self.body((mels - MEAN) / DEVIATION).transpose(1, 2)  # (B, T / STRIDE, 2C)
        scores = self.score(states).float().unbind(2)  # for each stream (B, T / STRIDE)
        pooled = [attention_pool(states.float(), score, sounding) for score in scores]
        return joined([output(part) for output, part in zip(self.outputs, pooled, strict=True)])


class VideoEncoder(nn.Module):
    """Convolutions over pictures, for each stream its own: a unit vector."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        C = config.video_channels
        seen = {1: [motion.FRAMES], 2: [1, 1]}[config.streams]  # channels of what each stream sees
        self.bodies = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(frames, C, 3, stride=2, padding=1), nn.GroupNorm(4, C), nn.GELU(),  # (B, C, 12, 12)
                nn.Conv2d(C, 2 * C, 3, stride=2, padding=1), nn.GroupNorm(4, 2 * C), nn.GELU(),  # (B, 2C, 6, 6)
                nn.Conv2d(2 * C, 4 * C, 3, stride=2, padding=1), nn.GroupNorm(4, 4 * C), nn.GELU(),  # (B, 4C, 3, 3)
                nn.Flatten(), nn.Linear(36 * C, config.embedding // config.streams),
            )
            for frames in seen
        )  # fmt: skip

    def forward(self, videos: Float[Tensor, "B T 1 H W"]) -> Float[Tensor, "B D"]:
        """The embedding of each video (ink in [0, 1])."""
        frames = 2 * videos.squeeze(2) - 1  # (B, T, H, W): time as channels
        first, last = frames[:, :1], frames[:, -1:]
        views = [frames] if len(self.bodies) == 1 else [first, last - first]  # no motion in the one, and all of it in the other
        return joined([body(view) for body, view in zip(self.bodies, views, strict=True)])


class Decoder(nn.Module):
    """A conditional VAE of first frames, and their motion: from an embedding and a style to a video."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        C, S, P = config.decoder_channels, config.style, config.embedding // config.streams
        self.streams = config.streams
        self.posterior = nn.Sequential(
            nn.Conv2d(1, C, 3, stride=2, padding=1), nn.GELU(),  # (B, C, 12, 12)
            nn.Conv2d(C, 2 * C, 3, stride=2, padding=1), nn.GELU(),  # (B, 2C, 6, 6)
            nn.Conv2d(2 * C, 2 * C, 3, stride=2, padding=1), nn.GELU(),  # (B, 2C, 3, 3)
            nn.Flatten(), nn.Linear(18 * C, 2 * S),
        )  # fmt: skip
        self.motion = nn.Sequential(nn.Linear(P, 2 * C), nn.GELU(), nn.Linear(2 * C, 2))
        self.input = nn.Linear(P + S, 36 * C)
        self.body = nn.Sequential(
            nn.Unflatten(1, (-1, 3, 3)), nn.GELU(),  # (B, 4C, 3, 3)
            nn.ConvTranspose2d(4 * C, 2 * C, 4, stride=2, padding=1), nn.GroupNorm(4, 2 * C), nn.GELU(),  # (B, 2C, 6, 6)
            nn.ConvTranspose2d(2 * C, C, 4, stride=2, padding=1), nn.GroupNorm(4, C), nn.GELU(),  # (B, C, 12, 12)
            nn.ConvTranspose2d(C, C, 4, stride=2, padding=1), nn.GELU(),  # (B, C, 24, 24)
            nn.Conv2d(C, 1, 3, padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def decode(self, embeddings: Float[Tensor, "B D"], style: Float[Tensor, "B S"]) -> Float[Tensor, "B T 1 H W"]:
        """A video (ink in [0, 1]) of what the embedding means, in that style."""
        scaled = embeddings * embeddings.shape[1] ** 0.5  # entries of about unit size, like those of the style
        parts = scaled.chunk(self.streams, dim=1)
        what, way = parts[0], parts[-1]  # (B, P) each; of one stream both are all of it
        pictures = self.body(self.input(torch.cat([what, style], dim=1)))  # (B, 1, H, W)
        return animate(pictures.float(), self.motion(way).float(), motion.FRAMES)

    def forward(
        self, embeddings: Float[Tensor, "B D"], videos: Float[Tensor, "B T 1 H W"], noise: Float[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B T 1 H W"], Float[Tensor, "B S"], Float[Tensor, "B S"]]:
        """For training: the video from its embedding and from a style seen in its first frame; mean and log-variance of the style."""
        mu, logvar = self.posterior(2 * videos[:, 0] - 1).float().chunk(2, dim=1)
        return self.decode(embeddings, reparameterize(mu, logvar, noise)), mu, logvar


class SpeechToVideo(nn.Module):
    """Two encoders into the shared space with the scale of its logits, and a decoder out of it."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.speech, self.video, self.decoder = SpeechEncoder(config), VideoEncoder(config), Decoder(config)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))


# --- training ---


def contents(things: motion.Split | motion.Speech) -> Int[Tensor, " N"]:
    """What is said or shown, 0 to 39: the same number for the same phrase."""
    return things.digits * len(motion.PLACES) + things.places


def alignment(
    model: SpeechToVideo, first: Float[Tensor, "B D"], second: Float[Tensor, "B D"], kinds: list[Int[Tensor, " B"]]
) -> Float[Tensor, ""]:
    """The loss of the first stage, the mean over the streams; `kinds` holds for each stream what the items say in it.

    Without negatives it is the mean of 1 - cosine over the pairs.
    """
    config = model.config
    losses = []
    parts = (embeddings.float().chunk(config.streams, dim=1) for embeddings in (first, second))
    for one, other, kind in zip(*parts, kinds, strict=True):
        if config.negatives:
            logits = contrastive_logits(one, other, model.logit_scale)
            losses.append(contrastive_loss(logits, false_negatives(kind) & config.masked))
        else:
            losses.append(1 - F.cosine_similarity(one, other).mean())
    return torch.stack(losses).mean()


def align(model: SpeechToVideo, device: torch.device, generator: torch.Generator, *, progress: bool, precision: str) -> None:
    """The first stage, in place: the two encoders and the scale of the logits, by the contrastive loss."""
    config, data = model.config, motion.load("train")
    mels, kinds = log_mel(data.speech.waveforms), [contents(data)] if config.streams == 1 else [data.digits, data.places]
    encoders = [*model.speech.parameters(), *model.video.parameters()]
    groups = [{"params": encoders, "weight_decay": 1e-2}, {"params": [model.logit_scale], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps)
    steps = batches(len(data), config.batch_size, config.steps, generator)
    for batch in track(steps, total=config.steps, description="Speech to video: align", show=progress):
        spoken, seen = mels[data.utterances[batch]].to(device), data.videos[batch].to(device)
        with autocast(device, precision):
            first, second = model.speech(spoken), model.video(seen)
        loss = alignment(model, first, second, [kind[batch].to(device) for kind in kinds])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():  # a clamp in the forward pass would have no gradient beyond it, so the scale could not come back
            model.logit_scale.clamp_(max=math.log(100))


def learn_to_decode(
    model: SpeechToVideo, device: torch.device, generator: torch.Generator, *, progress: bool, precision: str
) -> None:
    """The second stage, in place: the decoder, from embeddings of video alone. No sound is heard, and the encoders rest."""
    config, videos = model.config, motion.load("train").videos
    optimizer = torch.optim.AdamW(model.decoder.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps)
    steps = batches(len(videos), config.batch_size, config.steps, generator)
    for batch in track(steps, total=config.steps, description="Speech to video: decode", show=progress):
        target = videos[batch].to(device)
        noise = torch.randn(len(batch), config.embedding, generator=generator).to(device)
        style_noise = torch.randn(len(batch), config.style, generator=generator).to(device)
        with autocast(device, precision):
            with torch.no_grad():
                embeddings = model.video(target)
            made, mu, logvar = model.decoder(perturb(embeddings.float(), noise, config.noise), target, style_noise)
        error = (made - target).square().flatten(2).sum(dim=2).mean(dim=1)  # per frame: all frames show the same handwriting
        loss = (error / (2 * config.ink_error**2) + kl_divergence(mu, logvar)).mean()
        optimizer.zero_grad()
        loss.backward()
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
) -> SpeechToVideo:
    """Align, then learn to decode, on the training split; return the model in evaluation mode, on `device`.

    precision: `float32` or `bfloat16` (autocast; embeddings, losses and coordinates stay in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    model = SpeechToVideo(config).to(device).train()
    for part in (model.speech, model.video, model.decoder):
        maybe_compile(part, compile)
    align(model, device, generator, progress=progress, precision=precision)
    learn_to_decode(model, device, generator, progress=progress, precision=precision)
    return model.eval()


# --- the verb ---


@torch.no_grad()
def embed_speech(model: SpeechToVideo, waveforms: Float[Tensor, "B S"]) -> Float[Tensor, "B D"]:
    """Unit vectors, on the model's device. Raises ValueError for what `motion.check_waveforms` refuses, and for a waveform that is silent."""
    mels = log_mel(F.pad(motion.check_waveforms(waveforms), (0, -waveforms.shape[1] % (STRIDE * HOP))).to(model.logit_scale))
    silent = (mels.amax(dim=(1, 2)) <= SOUND).nonzero().flatten().tolist()
    if silent:
        raise ValueError(f"nothing is to be heard in the waveforms {silent}: expected speech such as 'three left'")
    return model.speech(mels)


@torch.no_grad()
def convert(model: SpeechToVideo, waveforms: Float[Tensor, "B S"], *, seed: int = 0) -> Float[Tensor, "B 8 1 24 24"]:
    """A video (ink in [0, 1]) of what each waveform at 8 kHz says, in a handwriting drawn from `seed`; on the model's device."""
    embeddings = embed_speech(model, waveforms)
    style = torch.randn(len(embeddings), model.config.style, generator=torch.Generator().manual_seed(seed))
    return model.decoder.decode(embeddings, style.to(embeddings)).clamp(0, 1)


@torch.no_grad()
def held_out(
    model: SpeechToVideo,
) -> tuple[Float[Tensor, "Q D"], Int[Tensor, " Q"], Float[Tensor, "G D"], Int[Tensor, " G"]]:
    """The embeddings of all 80 utterances of `test` and `compositional` with what they say; those of all 629 videos likewise."""
    splits = ("test", "compositional")
    banks, videos = [motion.speech(name) for name in splits], [motion.load(name) for name in splits]
    spoken = torch.cat([embed_speech(model, bank.waveforms) for bank in banks]).cpu()
    seen = torch.cat([model.video(part.videos.to(model.logit_scale.device)) for part in videos]).cpu()
    return spoken, torch.cat([contents(bank) for bank in banks]), seen, torch.cat([contents(part) for part in videos])


# --- without a shared space ---


def _next_ones(data: motion.Split, groups: list[Bool[Tensor, " N"]]) -> Int[Tensor, " Q"]:
    """An item of `data` from each group; the i-th group gives its i-th item, from the start again past its last, so that handwritings vary."""
    rows = [group.nonzero().flatten() for group in groups]
    return torch.stack([row[i % len(row)] for i, row in enumerate(rows)])


def copied(waveforms: Float[Tensor, "Q S"], data: motion.Split) -> Float[Tensor, "Q 8 1 24 24"]:
    """What a sceptic would do: a video of `data` that belongs to the utterance whose log-mel is nearest to that of the waveform."""
    heard, known = (log_mel(sounds).flatten(1) for sounds in (waveforms, data.speech.waveforms))
    nearest = torch.cdist(heard, known).argmin(dim=1)
    return data.videos[_next_ones(data, [data.utterances == utterance for utterance in nearest])]


def _spans(mels: Float[Tensor, "U M T"]) -> Float[Tensor, "U X"]:
    """The frames of each log-mel that sound, stretched to 48."""
    spans = [mel[:, (mel.amax(dim=0) > SOUND).nonzero().flatten()] for mel in mels]
    return torch.cat([F.interpolate(span[None], 48, mode="linear", align_corners=False) for span in spans]).flatten(1)


def _linear_reading(known: Float[Tensor, "U X"], labels: Int[Tensor, " U"], heard: Float[Tensor, "Q X"]) -> Int[Tensor, " Q"]:
    """The label that ridge regression to one-hot rows reads off: a linear map and no more."""
    targets, mean = F.one_hot(labels).to(known), known.mean(dim=0)
    x = known - mean
    weight = torch.linalg.solve(x.T @ x + 100 * torch.eye(x.shape[1]), x.T @ (targets - targets.mean(dim=0)))
    return ((heard - mean) @ weight + targets.mean(dim=0)).argmax(dim=1)


def spliced(waveforms: Float[Tensor, "Q S"], data: motion.Split) -> Float[Tensor, "Q 8 1 24 24"]:
    """What a sceptic would do who has a label for each part: read digit and place off the sound, linearly, each by itself. Then take the
    first frame of a video of that digit, and move it as the ink moves in a video of that place."""
    bank, videos = data.speech, data.videos
    known, heard = _spans(log_mel(bank.waveforms)), _spans(log_mel(waveforms))
    digits, places = (_linear_reading(known, labels, heard) for labels in (bank.digits, bank.places))
    pictures = videos[_next_ones(data, [data.digits == digit for digit in digits]), 0]
    ink = videos[_next_ones(data, [data.places == place for place in places])][:, [0, -1]].squeeze(2)  # (Q, 2, H, W)
    axis, mass = torch.arange(float(motion.SIZE)), ink.sum(dim=(2, 3))
    centres = torch.stack([ink.sum(dim=2) @ axis / mass, ink.sum(dim=3) @ axis / mass], dim=2)  # (Q, 2, right and down)
    return animate(pictures, centres.diff(dim=1).squeeze(1) / (motion.FRAMES - 1), motion.FRAMES)


@torch.no_grad()
def _figures(model: SpeechToVideo, split: str, seed: int) -> dict[str, float]:
    real = motion.load(split)
    spoken, said, seen, shown = held_out(model)
    relevant, own_speech, own_videos = said[:, None] == shown, *(torch.isin(x, contents(real)) for x in (said, shown))
    cosines = contrastive_logits(spoken[own_speech], seen, torch.tensor(0.0))  # of every utterance with every video
    made = convert(model, real.waveforms, seed=seed).cpu()
    style = torch.randn(len(real), model.config.style, generator=torch.Generator().manual_seed(seed))
    rebuilt = model.decoder.decode(seen[own_videos].to(model.logit_scale), style.to(model.logit_scale)).cpu()
    known = motion.load("train")
    copies, splices = copied(real.waveforms, known), spliced(real.waveforms, known)
    digit, direction = motion_digit_judge(), direction_judge()

    def worst_frame(things: Float[Tensor, "B 8 1 24 24"]) -> float:
        return min(digit.accuracy(frame, real.digits) for frame in things.unbind(1))

    def both(things: Float[Tensor, "B 8 1 24 24"]) -> float:
        read = (digit.classify(things) == real.digits[:, None]).all(dim=1)
        return (read & (direction.classify(things) == real.places)).double().mean().item()

    return {
        "retrieval_at_1": retrieval_at_k(spoken[own_speech], seen, relevant[own_speech]).item(),
        "retrieval_at_1_video_to_speech": retrieval_at_k(seen[own_videos], spoken, relevant.T[own_videos]).item(),
        "retrieval_chance": relevant[own_speech].double().mean().item(),
        "cosine_matching": cosines[relevant[own_speech]].mean().item(),
        "cosine_others": cosines[~relevant[own_speech]].mean().item(),
        "digit": worst_frame(made),
        "digit_from_video": worst_frame(rebuilt),
        "digit_chance": 1 / motion.DIGITS,
        "digit_ceiling": worst_frame(real.videos),
        "digit_copied": worst_frame(copies),
        "digit_spliced": worst_frame(splices),
        "direction": direction.accuracy(made, real.places),
        "direction_copied": direction.accuracy(copies, real.places),
        "direction_spliced": direction.accuracy(splices, real.places),
        "both": both(made),
        "both_copied": both(copies),
        "both_spliced": both(splices),
        "both_ceiling": both(real.videos),
        "direction_from_video": direction.accuracy(rebuilt, real.places),
        "direction_chance": 1 / len(motion.PLACES),
        "direction_ceiling": direction.accuracy(real.videos, real.places),
        "diversity": diversity_ratio(made[:, -1], contents(real), real.images, contents(real)),
        "modality_gap": modality_gap(spoken[own_speech], seen[own_videos]).item(),
    }


def evaluate(model: SpeechToVideo, *, seed: int = 0) -> dict[str, float]:
    """Figures of the two unseen voices and of unseen handwriting; those of phrases never heard in training end in `_compositional`.

    Retrieval looks for an utterance's videos among all 629 of `test` and `compositional`, and for a video's utterances among all 80:
    a hit says the same digit and place. cosine_matching is the mean over all such hits, cosine_others that over the misses. digit is that
    of the worst frame: for every frame the share of videos in which the judge reads it, then the least of the eight; both is the share of
    videos with the digit right in all frames and the direction right. `_from_video` is the decoder given the embeddings of the real videos,
    to tell its own mistakes from those of speech; `_copied` and `_spliced` are what the functions of these names make of the training
    split, without a network. diversity is that of last frames within a phrase, over that of real ones.
    """
    unseen = {f"{name}_compositional": value for name, value in _figures(model, "compositional", seed).items()}
    return _figures(model, "test", seed) | unseen


GATES = (
    Gate("retrieval_at_1", at_least=0.95, baseline="retrieval_chance"),
    Gate("digit", at_least=0.9, baseline="digit_copied", ceiling="digit_ceiling"),  # a copy is better here, a splice below
    Gate("direction", at_least=0.95, baseline="direction_copied", ceiling="direction_ceiling"),
    Gate("digit_compositional", at_least=0.8, above="digit_copied_compositional", baseline="digit_spliced_compositional"),
    Gate("both_compositional", at_least=0.75, above="both_copied_compositional", baseline="both_spliced_compositional"),
)
ABLATIONS = {
    "no negatives": Ablation(Config(negatives=False), "retrieval_at_1", higher_by=0.5),
    "one stream": Ablation(Config(streams=1), "digit_from_video_compositional", higher_by=0.2),
}
LEAKS = LENGTH | SEEN


BRIEF = Config(steps=105, batch_size=48, learning_rate=5e-3)  # for the demo


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; phrases to hear in unseen voices, each as two videos (left), and how near each phrase is to each video (right).

    The last two phrases are pairs that training never has.
    """
    model = train(config, device=device, progress=False)
    phrases = ["three left", "six top", "nine right", "four right", "seven bottom"]
    sounds = []
    for phrase in phrases:
        bank = motion.speech("compositional" if motion.meaning(phrase) in motion.HELD_OUT else "test")
        sounds.append(bank.waveforms[bank.phrases.index(phrase)])
        play(sounds[-1], phrase)
    videos = convert(model, torch.stack(sounds).repeat_interleave(2, dim=0))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.5))
    show_grid(left, videos.flatten(0, 1), columns=motion.FRAMES, title=", ".join(phrases) + ": two videos of each")
    spoken, said, seen, shown = held_out(model)
    pairs = range(motion.DIGITS * len(motion.PLACES))
    rows, columns = (torch.stack([x[c == pair].mean(0) for pair in pairs]) for x, c in ((spoken, said), (seen, shown)))
    right.imshow(contrastive_logits(rows, columns, torch.tensor(0.0)), cmap="RdBu_r", vmin=-1, vmax=1)
    ticks = range(0, len(pairs), len(motion.PLACES))
    right.set_xticks(ticks, motion.WORDS, rotation=90)
    right.set_yticks(ticks, motion.WORDS)
    right.set_title("Cosine of speech (rows) and video (columns): 10 digits × 4 places", fontsize=10)
    return figure
