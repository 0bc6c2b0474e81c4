r"""
# Video to image

Seven frames in, the eighth out: **next-frame prediction**. A digit slides from the centre to its place, and the network is shown how
it set out, never how it arrived. To say where it will be it has to remember more than one frame, since a single one does not move.

The memory is a **ConvLSTM**: an LSTM whose states are feature maps, and whose matrix products are convolutions. One cell, one step:

$$i, f, g, o = W_x * x_t + W_h * h_{t-1} + b, \qquad
c_t = \sigma(f) \odot c_{t-1} + \sigma(i) \odot \tanh(g), \qquad h_t = \sigma(o) \odot \tanh(c_t)$$

A kernel of 1×1 on an image of 1×1 makes it `nn.LSTM` again. With 3×3 each place looks at its neighbours, and the same weights serve
all places: what has been learned about motion to the left holds everywhere. (The paper's peepholes are left out, as is usual today.)

The network predicts a change, not a picture, $\hat x_{t+1} = x_t + r(h_t)$: it starts as the baseline that copies the last frame. In training
each step sees the true frame (**teacher forcing**); a **free rollout** feeds predictions back, so mistakes become inputs.
**Scheduled sampling** mixes both. A prediction is measured by **PSNR** and by **SSIM**, which compares local means, contrasts and structure:

$$\text{SSIM}(x, y) = \frac{(2 \mu_x \mu_y + C_1)(2 \sigma_{xy} + C_2)}{(\mu_x^2 + \mu_y^2 + C_1)(\sigma_x^2 + \sigma_y^2 + C_2)}$$

**Asked in interviews.** What does a ConvLSTM keep that an LSTM on flattened frames loses? How do you make sure that the target does not
leak? Why does a good one-step model fail when it is rolled out? What does PSNR not see? Which baseline must be beaten?

**Sources.** Shi et al., *Convolutional LSTM Network* (2015), eq. 3; Bengio et al., *Scheduled Sampling for Sequence Prediction with
Recurrent Neural Networks* (2015); Wang et al., *Image Quality Assessment: From Error Visibility to Structural Similarity* (2004), eq. 13.

**In this course.** [Question](../../questions/convert/video_to_image.md) · [exercise](../../notebooks/convert/video_to_image.ipynb) ·
[solution](../../solutions/convert/video_to_image.ipynb)
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.data import digits_in_motion as motion
from reference_impl.experiments import Ablation, Leak
from reference_impl.judges import centre_of_ink, motion_digit_judge, place_judge
from reference_impl.plotting import show_grid
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.shortcuts import SEEN

GIVEN = motion.FRAMES - 1  # frames that a prediction may look at
FEW = 3  # frames that a rollout starts from, in `evaluate` and `demo`


def psnr(predicted: Float[Tensor, "B *rest"], target: Float[Tensor, "B *rest"], peak: float = 1.0) -> Float[Tensor, " B"]:
    r"""Peak signal-to-noise ratio of each item in dB: $10 \log_{10} (\text{peak}^2 / \text{MSE})$, infinite if they are equal.

    `peak` is the largest value that a pixel can have: 1 for ink in [0, 1], 255 for bytes.
    """
    mse = F.mse_loss(predicted, target, reduction="none").flatten(1).mean(dim=1)
    return 10 * torch.log10(peak**2 / mse)


def gaussian_window(size: int, sigma: float) -> Float[Tensor, "size size"]:
    """Weights of a Gaussian around the middle of a square of `size` pixels; they add up to 1."""
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    line = torch.exp(-0.5 * (x / sigma) ** 2)
    return torch.outer(line, line) / line.sum() ** 2


def ssim(
    x: Float[Tensor, "B C H W"], y: Float[Tensor, "B C H W"], *, size: int = 11, sigma: float = 1.5, peak: float = 1.0
) -> Float[Tensor, " B"]:
    r"""Structural similarity of each item, 1 if they are equal: the mean over its channels and over all windows that lie within the picture.

    Means, variances and the covariance of a window are weighted by `gaussian_window(size, sigma)`, with
    $\sigma_x^2 = E[x^2] - \mu_x^2$; $C_1 = (0.01 \cdot \text{peak})^2$ and $C_2 = (0.03 \cdot \text{peak})^2$.
    Wang et al. (2004), eq. 13 to 17. Raises ValueError for a picture smaller than the window.
    """
    if min(x.shape[-2:]) < size:
        raise ValueError(f"a picture of {tuple(x.shape[-2:])} pixels has no window of {size}×{size}: choose a smaller size")
    window = gaussian_window(size, sigma).to(x.device, x.dtype)[None, None]

    def mean(z: Tensor) -> Tensor:  # (B, C, H, W) to (B C, 1, windows down, windows across)
        return F.conv2d(z.flatten(0, 1).unsqueeze(1), window)  # every channel on its own, no padding

    mx, my = mean(x), mean(y)
    vx, vy, covariance = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    local = (2 * mx * my + c1) * (2 * covariance + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return local.unflatten(0, x.shape[:2]).flatten(1).mean(dim=1)


class ConvLSTMCell(nn.Module):
    """An LSTM cell whose states are feature maps. One convolution over [x, h] makes all gates, in the order i, f, g, o."""

    def __init__(self, inputs: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, kernel, padding=kernel // 2)

    def forward(
        self, x: Float[Tensor, "B I H W"], h: Float[Tensor, "B C H W"], c: Float[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B C H W"]]:
        """The next output and memory, (h, c), after the input `x`. Shi et al. (2015), eq. 3, without peepholes."""
        i, f, g, o = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


@dataclass(frozen=True)
class Config:
    """channels, layers, kernel and patch (a frame is cut into patch × patch pixels) shape the network; the rest drives `train`.

    teacher: the share of true frames among the inputs, after the first, at the end of training; it falls to it from 1.
    """

    channels: int = 16
    layers: int = 2
    kernel: int = 3
    patch: int = 2
    steps: int = 700
    batch_size: int = 16
    learning_rate: float = 1e-2
    teacher: float = 1.0


class NextFrame(nn.Module):
    """A stack of ConvLSTM cells on patches of a frame; a convolution makes the change to the next frame of the topmost h."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, pixels = config.channels, config.patch**2
        self.config = config
        self.cells = nn.ModuleList(ConvLSTMCell(pixels if k == 0 else C, C, config.kernel) for k in range(config.layers))
        self.head = nn.Conv2d(C, pixels, config.kernel, padding=config.kernel // 2)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)  # so that training starts from a picture that stands still

    def start(self, frame: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "L 2 B C h w"]:
        """The states before the first frame, zeros: h and c of each of the L cells."""
        h, w = (length // self.config.patch for length in frame.shape[-2:])
        return frame.new_zeros(self.config.layers, 2, len(frame), self.config.channels, h, w)

    def step(
        self, frame: Float[Tensor, "B 1 H W"], states: Float[Tensor, "L 2 B C h w"]
    ) -> tuple[Float[Tensor, "B 1 H W"], Float[Tensor, "L 2 B C h w"]]:
        """The frame that should follow `frame`, and the states after it.

        The first cell sees the frame cut into patches (`F.pixel_unshuffle`), each other cell the h of the one below. `head` makes
        of the last h, patch by patch, the change that is added to `frame`.
        """
        x, after = F.pixel_unshuffle(frame, self.config.patch), []  # (B, patch², h, w)
        for cell, (h, c) in zip(self.cells, states, strict=True):
            after.append(torch.stack(cell(x, h, c)))
            x = after[-1][0]
        return frame + F.pixel_shuffle(self.head(x), self.config.patch), torch.stack(after)

    def forward(self, frames: Float[Tensor, "B T 1 H W"], truth: Bool[Tensor, "B T"] | None = None) -> Float[Tensor, "B T 1 H W"]:
        """Prediction t is the frame that should follow frame t.

        Step t sees `frames[:, t]` for items where `truth[:, t]`, and for others the prediction of the step before. The first step
        always sees the first frame; without `truth` every step sees the true one (teacher forcing).
        """
        states = self.start(frames[:, 0])
        predictions: list[Tensor] = []
        for t in range(frames.shape[1]):
            frame = frames[:, t]
            if t > 0 and truth is not None:
                frame = torch.where(truth[:, t, None, None, None], frame, predictions[-1])
            prediction, states = self.step(frame, states)
            predictions.append(prediction)
        return torch.stack(predictions, dim=1)


def rollout(model: NextFrame, frames: Float[Tensor, "B K 1 H W"], steps: int) -> Float[Tensor, "B S 1 H W"]:
    """The `steps` (at least 1) frames that follow the K given ones: each prediction is the input of the next step."""
    states = model.start(frames[:, 0])
    for frame in frames.unbind(1):
        prediction, states = model.step(frame, states)
    made = [prediction]
    for _ in range(steps - 1):
        prediction, states = model.step(made[-1], states)
        made.append(prediction)
    return torch.stack(made, dim=1)


def next_frame_loss(predictions: Float[Tensor, "B T *rest"], frames: Float[Tensor, "B T+1 *rest"]) -> Float[Tensor, ""]:
    """Mean squared error of predictions 0 … T − 1, made at frames 0 … T − 1, against the frames that follow them."""
    return F.mse_loss(predictions, frames[:, 1:])


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> NextFrame:
    """Train on the training split; return the model in evaluation mode, on `device`.

    precision: `float32` or `bfloat16` (autocast; the loss stays in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    videos = motion.load("train").videos
    model = maybe_compile(NextFrame(config).to(device).train(), compile)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps)
    steps = batches(len(videos), config.batch_size, config.steps, generator)
    for step, batch in enumerate(track(steps, total=config.steps, description="Video to image", show=progress)):
        frames = videos[batch].to(device)
        share = 1 - (1 - config.teacher) * step / config.steps  # of true frames
        truth = torch.rand(len(batch), GIVEN, generator=generator).to(device) < share
        with autocast(device, precision):
            predictions = model(frames[:, :GIVEN], truth)
        loss = next_frame_loss(predictions.float(), frames)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def convert(model: NextFrame, videos: Float[Tensor, "B T 1 24 24"]) -> Float[Tensor, "B 1 24 24"]:
    """The frame that follows the first seven of each video (ink in [0, 1]); what comes after the seventh is not looked at.

    Raises ValueError for fewer than seven frames, and for what `motion.check_videos` refuses.
    """
    given = videos[:, :GIVEN] if videos.ndim == 5 else videos  # nor is what follows checked
    given = motion.check_videos(given, GIVEN, most=None).to(next(model.parameters()))
    return model(given)[:, -1].clamp(0, 1)


def extrapolate(videos: Float[Tensor, "B T 1 H W"]) -> Float[Tensor, "B 1 H W"]:
    """A baseline that learns nothing: the seventh frame, moved on by as much as its centre of ink has moved since the sixth."""
    centres, _ = centre_of_ink(videos[:, GIVEN - 2 : GIVEN])
    down, right = (centres[:, 1] - centres[:, 0]).unbind(1)
    H, W = videos.shape[-2:]
    theta = torch.zeros(len(videos), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1
    theta[:, 0, 2], theta[:, 1, 2] = -2 * right / W, -2 * down / H
    grid = F.affine_grid(theta, [len(videos), 1, H, W], align_corners=False)
    return F.grid_sample(videos[:, GIVEN - 1].cpu(), grid, align_corners=False)


@torch.no_grad()
def _figures(model: NextFrame, split: str) -> dict[str, float]:
    real = motion.load(split)
    last, target = real.videos[:, GIVEN - 1], real.images
    few = real.videos[:, :FEW]
    rolled = rollout(model, few.to(next(model.parameters())), motion.FRAMES - FEW)[:, -1]
    pictures = {
        "": convert(model, real.videos).cpu(),
        "_copy": last,
        "_linear": (2 * last - real.videos[:, GIVEN - 2]).clamp(0, 1),
        "_moved": extrapolate(real.videos),
        "_rollout": rolled.clamp(0, 1).cpu(),
        "_rollout_copy": few[:, -1],
    }
    figures = {
        "digit_ceiling": motion_digit_judge().accuracy(target, real.digits),
        "place_ceiling": place_judge().accuracy(target, real.places),
    }
    for name, picture in pictures.items():
        figures["psnr" + name] = psnr(picture, target).mean().item()
        figures["ssim" + name] = ssim(picture, target).mean().item()
        figures["digit" + name] = motion_digit_judge().accuracy(picture, real.digits)
        figures["place" + name] = place_judge().accuracy(picture, real.places)
    return figures


def evaluate(model: NextFrame, *, seed: int = 0) -> dict[str, float]:
    """Figures of the eighth frame on the `test` split, and the same of pairs never seen in training (`..._compositional`).

    Without a suffix: from the first seven frames. `_rollout`: from the first three, with predictions in place of the other four.
    Baselines: the last frame given (`_copy`, `_rollout_copy`), each pixel continued by a straight line (`_linear`), and the seventh frame
    moved on by `extrapolate` (`_moved`), which is told that a rigid thing moves. Nothing is drawn at random: `seed` changes nothing.
    """
    unseen = {f"{name}_compositional": value for name, value in _figures(model, "compositional").items()}
    return _figures(model, "test") | unseen


GATES = (
    Gate("psnr", at_least=36.0, above="psnr_linear", baseline="psnr_copy", ceiling="psnr_moved"),
    Gate("ssim", at_least=0.95, above="ssim_linear", baseline="ssim_copy", ceiling="ssim_moved"),
    Gate("digit", at_least=0.95, baseline="digit_copy", ceiling="digit_ceiling"),
    Gate("place", at_least=0.95, baseline="place_copy", ceiling="place_ceiling"),
    Gate("digit_rollout", at_least=0.92, baseline="digit_rollout_copy", ceiling="digit_ceiling"),
    Gate("place_rollout", at_least=0.95, baseline="place_rollout_copy", ceiling="place_ceiling"),
)


def looks_ahead(seed: int, device: str) -> float:
    """The largest change of a prediction, in ink, when all that comes after the frame it is made from becomes noise."""
    videos = motion.load("test").videos[:64].to(resolve_device(device))
    model = train(Config(steps=20), device=device, seed=seed, progress=False)
    spoiled, seen = videos.clone(), GIVEN // 2
    spoiled[:, seen:] = torch.rand(spoiled[:, seen:].shape, generator=torch.Generator().manual_seed(seed)).to(videos)
    with torch.no_grad():
        return (model(videos)[:, :seen] - model(spoiled)[:, :seen]).abs().max().item()


# Convolution in the recurrence is what the unit is about: without neighbours a pixel cannot learn that ink comes from beside it.
ABLATIONS = {"each patch by itself": Ablation(Config(kernel=1), "psnr", higher_by=6.0)}
LEAKS = {"the frame to come": Leak(looks_ahead, chance=0.0, at_most=0.0)} | SEEN


BRIEF = Config(steps=120)  # for the demo


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; real videos and what is predicted of each next frame (left), and the eighth frame with its error (right).

    A row per place, of pairs never seen in training. Predictions are rolled out freely after the third frame.
    """
    model = train(config, device=device, progress=False)
    device = next(model.parameters()).device
    real = motion.load("compositional")
    items = real.select(torch.stack([(real.places == place).nonzero()[0, 0] for place in range(len(motion.PLACES))]))
    videos = items.videos.to(device)
    with torch.no_grad():
        rolled = torch.cat([videos[:, :FEW], rollout(model, videos[:, :FEW], motion.FRAMES - FEW)], dim=1)
    predicted = convert(model, videos)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.4), width_ratios=[2, 1], layout="constrained")
    strips = torch.stack([videos, rolled.clamp(0, 1)], dim=1)  # (4, 2, 8, 1, H, W)
    show_grid(
        left, strips.flatten(0, 2), columns=motion.FRAMES, title=f"Real, and below: {FEW} frames given, then a free rollout"
    )
    errors = torch.stack([abs(picture - items.images.to(device)) for picture in (videos[:, GIVEN - 1], predicted)], dim=1)
    sheet = torch.cat([items.images.to(device)[:, None], predicted[:, None], errors], dim=1)  # (4, 4, 1, H, W)
    show_grid(right, sheet.flatten(0, 1), columns=4, title="Frame 8, as predicted from 7; error of the copy, and ours")
    return figure
