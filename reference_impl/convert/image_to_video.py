r"""
# Image to video

One image, and the video that led to it: a digit slides from the centre to its place in eight frames, and the image is the
**last** of them. Where the digit stands tells which way it came, so an image has only one true video. Instead of painting the
other seven frames, the network says where each of their pixels is to be found in the image: a **flow**. The look of the
handwriting is then copied, not invented.

Frame $k$ steps before the image is the image, warped backward by a flow $F_k$ (in pixels), where a mask $m_k$ trusts it:

$$\hat x_k(p) = m_k(p)\, I\big(p + F_k(p)\big) + \big(1 - m_k(p)\big)\, r_k(p)$$

All flows come from a single **motion field** $M$ that stands still in time, by composing one step with the next:

$$F_0 = 0, \qquad F_{k+1}(p) = F_k(p) + M\big(p + F_k(p)\big)$$

A pixel is trusted where the way there and back ends where it began, $F_k(p) + R_k(p + F_k(p)) \approx 0$ ($R_k$ is composed of $-M$), and where
the network is confident; elsewhere it paints a residual $r_k$. No flow is ever shown in training: it is found because it explains the
frames. Where nothing is drawn any flow explains them, so its total variation is kept small.

**Asked in interviews.** Why backward and not forward warping? What is `align_corners`, and what does it cost to get it wrong? Why
compose flows rather than warp seven times? Where does a flow tell nothing, and how does one know? How do you show that it is the warping,
and not the network, that does the work?

**Sources.** Holynski et al., *Animating Pictures with Eulerian Motion Fields* (2021); Jaderberg et al., *Spatial Transformer
Networks* (2015), eq. 5; Sundaram et al., *Dense Point Trajectories by GPU-Accelerated Large Displacement Optical Flow* (2010), eq. 5;
Meister et al., *UnFlow* (2018); Rudin, Osher and Fatemi (1992).

**In this course.** [Question](../../questions/convert/image_to_video.md) · [exercise](../../notebooks/convert/image_to_video.ipynb) ·
[solution](../../solutions/convert/image_to_video.ipynb)
"""

from dataclasses import dataclass
from functools import lru_cache

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.data import digits_in_motion
from reference_impl.experiments import Ablation
from reference_impl.judges import direction_judge, motion_digit_judge
from reference_impl.plotting import show_grid
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.shortcuts import SEEN


def base_grid(flow: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "2 H W"]:
    """Where each pixel of a picture of that size is: its column x (plane 0), then its row y (plane 1), counted from 0.

    A flow has the same planes: pixels to the right, then pixels down. The dtype and the device are those of `flow`.
    """
    H, W = flow.shape[-2:]
    rows, columns = (torch.arange(n, dtype=flow.dtype, device=flow.device) for n in (H, W))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y])


def warp(images: Float[Tensor, "B C H W"], flow: Float[Tensor, "B 2 H W"], padding: str = "zeros") -> Float[Tensor, "B C H W"]:
    """Backward warping: the result at p is `images` at p + flow(p), bilinear between four pixels; `flow` is in pixels.

    padding: what lies outside of the picture, `zeros` or the nearest pixel of its `border`.
    `F.grid_sample` wants (x, y) last, and counts from -1 at the left edge of the first pixel to 1 at the right edge of the
    last (`align_corners=False`), so the centre of pixel i of n is at (2 i + 1) / n - 1.
    Jaderberg et al. (2015), eq. 5.
    """
    H, W = images.shape[-2:]
    x, y = (base_grid(flow) + flow).unbind(1)  # (B, H, W) each, in pixels
    grid = torch.stack([(2 * x + 1) / W - 1, (2 * y + 1) / H - 1], dim=-1)  # (B, H, W, 2)
    return F.grid_sample(images, grid, padding_mode=padding, align_corners=False)


def compose_flows(first: Float[Tensor, "B 2 H W"], second: Float[Tensor, "B 2 H W"]) -> Float[Tensor, "B 2 H W"]:
    """The flow that leads as far as `first` and then `second`: first(p) + second(p + first(p)).

    Outside of the picture `second` goes on as at its nearest border: zeros there would bring the motion to a halt.
    """
    return first + warp(second, first, padding="border")


def integrate(motion: Float[Tensor, "B 2 H W"], steps: int) -> Float[Tensor, "B S 2 H W"]:
    r"""The flows $F_1, \dots, F_S$ that lead 1 to `steps` (at least 1) steps along a motion field that stands still in time:
    $F_1 = M$, and $F_{k+1}(p) = F_k(p) + M(p + F_k(p))$.

    Euler's method with a step a frame, as in Holynski et al. (2021).
    """
    flows = [motion]
    for _ in range(steps - 1):
        flows.append(compose_flows(flows[-1], motion))
    return torch.stack(flows, dim=1)


def occlusion_mask(
    flow: Float[Tensor, "B 2 H W"], reverse: Float[Tensor, "B 2 H W"], alpha: float = 0.01, beta: float = 0.5
) -> Float[Tensor, "B 1 H W"]:
    r"""1 where the picture can be trusted to show what `flow` asks of it, 0 where it can't.

    At q = p + flow(p), `reverse` must lead back to p. It does where
    $$|F(p) + R(q)|^2 < \alpha \big( |F(p)|^2 + |R(q)|^2 \big) + \beta$$
    and q lies in the picture, on the centre of an outermost pixel at most. The mask has the dtype of `flow`.
    Sundaram et al. (2010), eq. 5.
    """
    H, W = flow.shape[-2:]
    back = warp(reverse, flow)  # R(q)
    error = (flow + back).square().sum(dim=1, keepdim=True)
    length = (flow.square() + back.square()).sum(dim=1, keepdim=True)
    x, y = (base_grid(flow) + flow).split(1, dim=1)  # q, (B, 1, H, W) each
    inside = (x >= 0) & (x <= W - 1) & (y >= 0) & (y <= H - 1)
    return (inside & (error < alpha * length + beta)).to(flow.dtype)


def smoothness(flow: Float[Tensor, "B 2 H W"]) -> Float[Tensor, " B"]:
    """Total variation of each flow, per pixel: absolute differences to the right and to the lower neighbour, summed over
    both planes and all pixels, over H W. The last column has no neighbour to its right, the last row none below.

    Rudin, Osher and Fatemi (1992), in its anisotropic form.
    """
    H, W = flow.shape[-2:]
    across = flow.diff(dim=-1).abs().flatten(1).sum(dim=1)
    down = flow.diff(dim=-2).abs().flatten(1).sum(dim=1)
    return (across + down) / (H * W)


def synthesise(
    images: Float[Tensor, "B C H W"],
    flows: Float[Tensor, "B T 2 H W"],
    masks: Float[Tensor, "B T 1 H W"],
    residuals: Float[Tensor, "B T C H W"],
) -> Float[Tensor, "B T C H W"]:
    """A frame per flow: the image of the same item, warped, where the mask is 1; the residual where it is 0; between, a mix."""
    T = flows.shape[1]
    repeated = images[:, None].expand(-1, T, -1, -1, -1)  # (B, T, C, H, W)
    warped = warp(repeated.flatten(0, 1), flows.flatten(0, 1)).unflatten(0, (-1, T))
    return masks * warped + (1 - masks) * residuals


def psnr(predicted: Float[Tensor, "B *rest"], target: Float[Tensor, "B *rest"]) -> Float[Tensor, " B"]:
    r"""Peak signal-to-noise ratio of each item in dB, for values in [0, 1]: $10 \log_{10} (1 / \text{MSE})$; infinite if equal."""
    return -10 * torch.log10((predicted - target).square().flatten(1).mean(dim=1))


@dataclass(frozen=True)
class Config:
    """channels is a width; warping: whether pixels are fetched from the image, or, for an ablation, all frames painted outright;
    smoothness weighs the total variation of the motion; the rest drives `train`."""

    channels: int = 16
    warping: bool = True
    steps: int = 300
    batch_size: int = 32
    learning_rate: float = 4e-3
    smoothness: float = 3e-3


class Block(nn.Sequential):
    """A convolution, a normalisation, an activation; with a stride of 2 it halves the picture."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.GroupNorm(4, outputs), nn.SiLU())


class FlowNet(nn.Module):
    """A small U-Net: from the last frame to the motion field, and a confidence and a residual for each frame before it."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, self.frames = config.channels, digits_in_motion.FRAMES - 1
        self.config = config
        self.down = nn.ModuleList([Block(1, C), Block(C, 2 * C, 2), Block(2 * C, 4 * C, 2), Block(4 * C, 4 * C, 2)])
        self.up = nn.ModuleList([Block(8 * C, 2 * C), Block(4 * C, C), Block(2 * C, C)])
        self.output = nn.Conv2d(C, 2 + 2 * self.frames, 3, padding=1)
        for parameter in self.output.parameters():
            nn.init.zeros_(parameter)  # so that training starts from a picture that stands still

    def predict(
        self, images: Float[Tensor, "B 1 H W"]
    ) -> tuple[Float[Tensor, "B 2 H W"], Float[Tensor, "B T 1 H W"], Float[Tensor, "B T 1 H W"]]:
        """The motion in pixels a frame; confidence in the warped image, and what to paint elsewhere: T = 7, the first frame first."""
        hidden, skips = 2 * images - 1, []
        for block in self.down:
            hidden = block(hidden)
            skips.append(hidden)
        skips.pop()
        for block in self.up:
            hidden = F.interpolate(hidden, scale_factor=2.0)
            hidden = block(torch.cat([hidden, skips.pop()], dim=1))
        made = self.output(hidden).to(images.dtype)  # under autocast, coordinates stay as precise as the image
        motion, confidence, residual = made.split([2, self.frames, self.frames], dim=1)
        return motion, torch.sigmoid(confidence + 3).unsqueeze(2), residual.unsqueeze(2)

    def forward(
        self, images: Float[Tensor, "B 1 H W"]
    ) -> tuple[Float[Tensor, "B T 1 H W"], Float[Tensor, "B 2 H W"], Float[Tensor, "B T 1 H W"]]:
        """The frames before the image, the motion field, and the masks; without warping the last two are zeros."""
        motion, confidence, residuals = self.predict(images)
        if not self.config.warping:
            return residuals, torch.zeros_like(motion), torch.zeros_like(confidence)
        flows = integrate(motion, self.frames).flip(1)  # the first frame is the furthest from the image
        with torch.no_grad():
            reverses = integrate(-motion, self.frames).flip(1)
            visible = occlusion_mask(flows.flatten(0, 1), reverses.flatten(0, 1)).unflatten(0, (-1, self.frames))
        masks = visible * confidence
        return synthesise(images, flows, masks, residuals), motion, masks


def make_optimizer(model: nn.Module, learning_rate: float, *, adaptive: bool = True) -> torch.optim.Optimizer:
    """AdamW for training; if not `adaptive`, plain gradient descent, whose step shows the gradient as it is: the tests look at it."""
    if adaptive:
        return torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=1e-4)
    return torch.optim.SGD(model.parameters(), lr=learning_rate)


def train_step(
    model: FlowNet,
    optimizer: torch.optim.Optimizer,
    videos: Float[Tensor, "B 8 1 H W"],
    weight: float = 3e-3,
    precision: str = "float32",
) -> Float[Tensor, ""]:
    """One update of the model, in place. It is given the last frame of each video; its frames are held against the other seven.

    The loss: the mean squared error of these seven (the given frame is right for free and does not count), plus `weight` times the
    `smoothness` of the motion, averaged over the batch. No flow is ever shown. Gradients of an earlier step count for nothing, and the
    model stays in the mode it is in. The forward pass runs under `autocast(videos.device, precision)`.
    Returns the loss before the update, detached.
    """
    with autocast(videos.device, precision):
        frames, motion, _ = model(videos[:, -1])
    loss = F.mse_loss(frames, videos[:, :-1]) + weight * smoothness(motion).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()  # .item() would wait for the GPU


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> FlowNet:
    """Train on the training split; return the model in evaluation mode, on `device`.

    precision: `float32` or `bfloat16` (autocast of the convolutions; coordinates stay in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    videos = digits_in_motion.load("train").videos
    model = maybe_compile(FlowNet(config).to(device).train(), compile)
    optimizer = make_optimizer(model, config.learning_rate)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps)
    steps = batches(len(videos), config.batch_size, config.steps, generator)
    for batch in track(steps, total=config.steps, description="Image to video", show=progress):
        train_step(model, optimizer, videos[batch].to(device), config.smoothness, precision)
        schedule.step()
    return model.eval()


@torch.no_grad()
def convert(model: FlowNet, images: Float[Tensor, "B 1 24 24"]) -> Float[Tensor, "B 8 1 24 24"]:
    """The video that ends in each image (ink in [0, 1]); its last frame is the image itself. On the model's device.

    Raises ValueError for what `digits_in_motion.check_images` refuses.
    """
    images = digits_in_motion.check_images(images).to(next(model.parameters()))
    frames, _, _ = model(images)
    return torch.cat([frames.clamp(0, 1), images[:, None]], dim=1)


def true_motion(places: Int[Tensor, " B"]) -> Float[Tensor, "B 2 1 1"]:
    """The motion of the data, in pixels a frame. No part of training: only `evaluate` and `demo` compare with it."""
    down_right = torch.tensor([digits_in_motion.DIRECTIONS[place] for place in digits_in_motion.PLACES])[places]
    return down_right.flip(1)[:, :, None, None] * digits_in_motion.REACH / (digits_in_motion.FRAMES - 1)


def nearest_videos(images: Float[Tensor, "B 1 24 24"]) -> Float[Tensor, "B 8 1 24 24"]:
    """What a sceptic would do without a network: for each image the video of the training item whose last frame is nearest to it."""
    known = digits_in_motion.load("train")
    distances = torch.cdist(images.flatten(1), known.images.flatten(1))  # (B, N)
    return known.videos[distances.argmin(dim=1)]


def moved_aside(videos: Float[Tensor, "B T 1 24 24"], places: Int[Tensor, " B"], pixels: int = 1) -> Float[Tensor, "B T 1 24 24"]:
    """The same scenes further down, or to the right where the motion is up or down: across it, so they still tell which way it goes.

    `pixels` lies in -5 to 5. The margin there is blank, so nothing of a digit leaves the picture.
    """
    sideways = true_motion(places)[:, None, :1] != 0  # (B, 1, 1, 1, 1), True to the left and to the right
    return torch.where(sideways, videos.roll(pixels, dims=-2), videos.roll(pixels, dims=-1))


@lru_cache(maxsize=2)
def _linear_map(moved: tuple[int, ...]) -> Float[Tensor, "577 4608"]:
    """Ridge regression from the training images, with a 1 at the end, to their videos; of each scene, `moved_aside` by each of these."""
    known = digits_in_motion.load("train")
    gram, product = torch.zeros(577, 577, dtype=torch.float64), torch.zeros(577, 4608, dtype=torch.float64)
    for pixels in moved:
        videos = moved_aside(known.videos, known.places, pixels)
        given = F.pad(videos[:, -1].flatten(1), (0, 1), value=1.0)
        gram, product = gram + given.T.double() @ given.double(), product + given.T @ videos.flatten(1)
    return torch.linalg.solve(gram + 0.01 * torch.eye(577), product).float()


def linear_videos(images: Float[Tensor, "B 1 24 24"], moved: tuple[int, ...] = (0,)) -> Float[Tensor, "B 8 1 24 24"]:
    """What another sceptic would do: each pixel of each frame is a weighted sum of those of the image. `moved`: see `_linear_map`."""
    made = F.pad(images.flatten(1), (0, 1), value=1.0) @ _linear_map(moved)
    return made.unflatten(1, (digits_in_motion.FRAMES, 1, *images.shape[2:])).clamp(0, 1)


@torch.no_grad()
def _figures(model: FlowNet, split: str) -> dict[str, float]:
    real = digits_in_motion.load(split)
    images, videos = real.images, real.videos
    made, copies = convert(model, images).cpu(), images[:, None].expand_as(videos)
    _, motion, _ = model(images.to(next(model.parameters())))
    truth = true_motion(real.places)
    flows = integrate(truth.expand(-1, -1, *images.shape[-2:]), digits_in_motion.FRAMES - 1).flip(1)
    blank = torch.zeros_like(videos[:, :-1])
    moved = synthesise(images, flows, torch.ones_like(blank), blank)
    aside = moved_aside(videos, real.places)
    inked = images > 0.3
    digit, direction = motion_digit_judge(), direction_judge()

    def worst_frame(things: Float[Tensor, "B 8 1 24 24"]) -> float:
        return min(digit.accuracy(frame, real.digits) for frame in things.unbind(1))

    return {
        "psnr": psnr(made[:, :-1], videos[:, :-1]).mean().item(),
        "psnr_copy": psnr(copies[:, :-1], videos[:, :-1]).mean().item(),
        "psnr_retrieval": psnr(nearest_videos(images)[:, :-1], videos[:, :-1]).mean().item(),
        "psnr_linear": psnr(linear_videos(images)[:, :-1], videos[:, :-1]).mean().item(),
        "psnr_true_motion": psnr(moved, videos[:, :-1]).mean().item(),
        "psnr_moved": psnr(convert(model, aside[:, -1]).cpu()[:, :-1], aside[:, :-1]).mean().item(),
        "psnr_moved_retrieval": psnr(nearest_videos(aside[:, -1])[:, :-1], aside[:, :-1]).mean().item(),
        "psnr_moved_linear": psnr(linear_videos(aside[:, -1])[:, :-1], aside[:, :-1]).mean().item(),
        "psnr_moved_linear_told": psnr(linear_videos(aside[:, -1], (-1, 0, 1))[:, :-1], aside[:, :-1]).mean().item(),
        "psnr_all_frames": psnr(made, videos).mean().item(),
        "psnr_all_frames_copy": psnr(copies, videos).mean().item(),
        "digit": worst_frame(made),
        "digit_copy": worst_frame(copies),
        "digit_ceiling": worst_frame(videos),
        "direction": direction.accuracy(made, real.places),
        "direction_copy": direction.accuracy(copies, real.places),
        "direction_ceiling": direction.accuracy(videos, real.places),
        "motion_error": (motion.cpu() - truth).norm(dim=1, keepdim=True)[inked].mean().item(),
        "motion_error_copy": truth.norm(dim=1).mean().item(),
    }


def evaluate(model: FlowNet, *, seed: int = 0) -> dict[str, float]:
    """Figures of the `test` split, and the same of the pairs never seen in training, under keys that end in `_compositional`.

    psnr is that of the seven frames the network makes; psnr_all_frames counts the given one too, which is free. The baselines: `_copy`
    is the image repeated, `_retrieval` the training video that `nearest_videos` finds, `_linear` the ridge regression of `linear_videos`,
    and `_true_motion` the image warped by the motion of the data, which is no ceiling: bilinear sampling blurs, and a residual could beat
    it. psnr_moved is that of scenes `moved_aside` by a pixel, which training never has: what has learned where things are drawn, and not
    how they move, fails there; `_told` is a regression that was shown moved scenes as well, to either side. digit is that of the worst
    frame; motion_error is in pixels a frame, where the image has ink. Nothing is drawn at random, so `seed` changes nothing.
    """
    unseen = {f"{name}_compositional": value for name, value in _figures(model, "compositional").items()}
    return _figures(model, "test") | unseen


GATES = (
    Gate("psnr", at_least=35.0, above="psnr_retrieval", baseline="psnr_linear"),  # a matrix is better here, and below it is not
    Gate("psnr_compositional", at_least=35.0, above="psnr_retrieval_compositional", baseline="psnr_linear_compositional"),
    Gate("psnr_moved", at_least=35.0, above="psnr_moved_linear_told", baseline="psnr_moved_linear_told"),
    Gate("digit", at_least=0.95, baseline="digit_copy", ceiling="digit_ceiling"),
    Gate("direction", at_least=0.98, baseline="direction_copy", ceiling="direction_ceiling"),
)
ABLATIONS = {"painting in place of warping": Ablation(Config(warping=False), "psnr", higher_by=4.0)}
LEAKS = SEEN


BRIEF = Config(steps=100)  # for the demo


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; show real and made videos of a pair per place (left), and motion and mask behind them (right)."""
    model = train(config, device=device, progress=False)
    real = digits_in_motion.load("compositional")
    chosen = torch.stack([(real.places == place).nonzero()[0, 0] for place in range(len(digits_in_motion.PLACES))])
    items = real.select(chosen)
    made = convert(model, items.images)
    with torch.no_grad():
        _, motion, masks = model(items.images.to(made.device))
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.4))
    strips = torch.stack([items.videos.to(made.device), made], dim=1)  # (4, 2, 8, 1, H, W)
    show_grid(left, strips.flatten(0, 2), columns=digits_in_motion.FRAMES, title="Pairs never seen: real video, then ours")
    shown = torch.cat([items.images.to(made.device)[:, None], masks[:, :4]], dim=1)
    show_grid(right, shown.flatten(0, 1), columns=5, title="The image with its motion, and the masks of the first frames")
    side, every = digits_in_motion.SIZE, slice(1, None, 4)  # an arrow for every fourth pixel
    for row, field in enumerate(motion.cpu()):
        x, y = base_grid(field[None])[:, every, every]
        u, v = field[:, every, every]
        right.quiver(x + 1, y + 1 + row * (side + 2), u, v, color="tab:red", angles="xy", scale_units="xy", scale=0.2)
    return figure
