"""Pictures that the demos share."""

import math

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor


def show_grid(axes: Axes, images: Float[Tensor, "N 1 H W"], *, columns: int, title: str = "") -> None:
    """Draw `images` (ink in [0, 1]) on one pair of axes, `columns` to a row, dark ink on white paper."""
    N, _, H, W = images.shape
    rows = math.ceil(N / columns)
    sheet = torch.zeros(rows * columns, H, W)
    sheet[:N] = images.detach().float().cpu().squeeze(1)
    sheet = torch.nn.functional.pad(sheet, (1, 1, 1, 1))  # (rows * columns, H + 2, W + 2)
    sheet = sheet.unflatten(0, (rows, columns)).permute(0, 2, 1, 3).flatten(2).flatten(0, 1)  # (rows (H+2), columns (W+2))
    axes.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, interpolation="bicubic")
    axes.set_title(title, fontsize=10)
    axes.axis("off")
