"""The X-ray network: a residual U-Net in two dimensions that says of every pixel what it shows and where its body lies.

Each pixel of a body points at the six points of that body. The mean of many such votes is a point below pixel size, it
belongs to its body by construction, and the spread of the votes says how sure it is (voting for landmarks: Peng et al.,
PVNet, CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from vertecast.segmentation.ct.network import Block, Down

MAPS: Final = ("body", "sacrum", "cement", "metal", "ribs")
"""Channels with a logit each; they may overlap, as shadows do. ``ribs``: a body that bears ribs."""

OFFSET_CHANNELS: Final = slice(len(MAPS), len(MAPS) + 12)
"""From a pixel of a body to its six points, column and row of each in turn: the picture's upper endplate first, each
from left to right. Where the front and the head are is asked of the whole picture."""

PLATE_CHANNELS: Final = slice(len(MAPS) + 12, len(MAPS) + 16)
"""From a pixel of the sacrum to the left and the right end of the endplate of S1."""

OUTPUT_CHANNELS: Final = len(MAPS) + 16
OFFSET_SCALE_PX: Final = 16.0
"""One unit of the offset channels."""

VIEWS: Final = ("none", "lateral", "ap", "oblique")
ANTERIOR_LEFT: Final = len(VIEWS)
UPRIGHT: Final = len(VIEWS) + 1
"""Logits beside those of the views: the front is on the left, the head is up."""

STRIDE: Final = 32
"""Edges of the input must be a multiple of this many pixels."""

LOCAL_PX: Final = 25
"""Edge of the square over which local contrast is evened out, about the depth of a body."""


def to_input(image: Tensor, valid: Tensor) -> Tensor:
    """Picture and valid pixels (b, 1, r, c) → (b, 3, r, c): evened contrast, large structure, valid pixels."""
    count = valid.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (image * valid).sum((2, 3), keepdim=True) / count
    centered = (image - mean) * valid
    scale = ((centered**2).sum((2, 3), keepdim=True) / count).sqrt().clamp(min=1e-4)
    whole = centered / scale

    def blurred(x: Tensor) -> Tensor:
        return box_mean(box_mean(x, LOCAL_PX), LOCAL_PX)

    weight = blurred(valid).clamp(min=1e-3)
    detail = (whole - blurred(whole) / weight) * valid
    spread = (blurred(detail**2) / weight).sqrt() + 0.02
    return torch.cat([(detail / spread).clamp(-4, 4), whole.clamp(-3, 3), valid], dim=1)


def box_mean(x: Tensor, size: int) -> Tensor:
    """Mean over a square of ``size`` (odd) pixels round every pixel (b, c, r, c), of those inside the picture.

    By running sums: its cost does not grow with the square, as that of pooling does.
    """
    half = size // 2
    for axis in (2, 3):
        length = x.shape[axis]
        sums = x.cumsum(axis)
        before = torch.zeros_like(sums.narrow(axis, 0, 1)).expand(*_with(sums.shape, axis, half + 1))
        after = sums.narrow(axis, length - 1, 1).expand(*_with(sums.shape, axis, half))
        sums = torch.cat([before, sums, after], dim=axis)
        at = torch.arange(length, device=x.device)
        count = ((at + half + 1).clamp(max=length) - (at - half).clamp(min=0)).to(x.dtype)
        total = sums.narrow(axis, size, length) - sums.narrow(axis, 0, length)
        x = total / (count[:, None] if axis == 2 else count)
    return x


def _with(shape: Sequence[int], axis: int, length: int) -> list[int]:
    """A shape with another length along an axis."""
    return [length if n == axis else int(size) for n, size in enumerate(shape)]


class ProjectionNet(nn.Module):
    """Picture and valid pixels (b, 1, r, c) → maps (b, OUTPUT_CHANNELS, r, c) and logits of views and pose (b, 6).

    Args:
        widths: Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's resolution.
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 160, 224)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        first, last = self.widths[0], self.widths[-1]
        pairs = list(zip(self.widths, self.widths[1:], strict=False))
        self.stem = Down(12, first, stride=1, dimensions=2)
        self.encoders = nn.ModuleList([Block(n, 1 if n == first else 2, dimensions=2) for n in self.widths])
        self.downs = nn.ModuleList([Down(a, b, dimensions=2) for a, b in pairs])
        self.laterals = nn.ModuleList([nn.Conv2d(b, a, 1) for a, b in reversed(pairs)])
        self.decoders = nn.ModuleList([Block(a, dimensions=2) for a, _ in reversed(pairs)])
        self.head = nn.Sequential(
            nn.Conv2d(first, 2 * first, 1), nn.ReLU(inplace=True), nn.Conv2d(2 * first, OUTPUT_CHANNELS * 4, 1)
        )
        self.view = nn.Linear(2 * last, len(VIEWS) + 2)

    def forward(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and offsets at the resolution of the input, and the logits of the whole picture."""
        x = self.stem(nn.functional.pixel_unshuffle(to_input(image, valid), 2))
        skips = []
        for n, encoder in enumerate(self.encoders):
            x = encoder(x)
            if n < len(self.downs):
                skips.append(x)
                x = self.downs[n](x)
        view = self.view(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))
        for lateral, decoder in zip(self.laterals, self.decoders, strict=True):
            x = nn.functional.interpolate(lateral(x), scale_factor=2, mode="nearest")
            x = decoder(x + skips.pop())
        return nn.functional.pixel_shuffle(self.head(x), 2), view
