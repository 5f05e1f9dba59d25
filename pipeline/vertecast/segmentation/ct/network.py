"""The CT network: a residual U-Net that works at half resolution and answers at full resolution.

Space-to-depth in front and pixel shuffle behind (Shi et al., CVPR 2016) keep every convolution away from the full
grid, where a CPU spends most of its time in an ordinary U-Net, while no voxel of the input is thrown away.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor, nn

from vertecast.core.anatomy import Structure

STRUCTURE_CHANNELS: Final = len(Structure)
CEMENT_CHANNEL: Final = STRUCTURE_CHANNELS
METAL_CHANNEL: Final = STRUCTURE_CHANNELS + 1
OFFSET_CHANNELS: Final = slice(STRUCTURE_CHANNELS + 2, STRUCTURE_CHANNELS + 5)
OUTPUT_CHANNELS: Final = STRUCTURE_CHANNELS + 5
"""Structure logits, cement logit, metal logit, then the offset to the own body's centre."""

OFFSET_SCALE_MM: Final = 20.0
"""One unit of the offset channels."""

Dimensions: TypeAlias = Literal[2, 3]
CONVOLUTION: Final = {2: nn.Conv2d, 3: nn.Conv3d}
NORM: Final = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}

STRIDE: Final = 16
"""Edges of the input must be a multiple of this many voxels."""


def to_input(hu: Tensor) -> Tensor:
    """Two views of the same HU (b, 1, i, j, k) → (b, 2, i, j, k): marrow, and up to cement and metal."""
    return torch.cat([(hu / 300.0).clamp(-1.5, 2.0), (hu / 1500.0).clamp(-0.7, 2.0)], dim=1)


def space_to_depth(x: Tensor) -> Tensor:
    """(b, c, 2i, 2j, 2k) → (b, 8c, i, j, k)."""
    b, c, i, j, k = x.shape
    x = x.reshape(b, c, i // 2, 2, j // 2, 2, k // 2, 2)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * 8, i // 2, j // 2, k // 2)


def depth_to_space(x: Tensor) -> Tensor:
    """(b, 8c, i, j, k) → (b, c, 2i, 2j, 2k), the inverse of `space_to_depth`."""
    b, c, i, j, k = x.shape
    x = x.reshape(b, c // 8, 2, 2, 2, i, j, k)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // 8, i * 2, j * 2, k * 2)


class Block(nn.Module):
    """Two convolutions with instance norm and a residual path, in two or three dimensions."""

    def __init__(self, channels: int, convolutions: int = 2, *, dimensions: Dimensions = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n in range(convolutions):
            layers += [
                CONVOLUTION[dimensions](channels, channels, 3, padding=1, bias=False),
                NORM[dimensions](channels, affine=True),
            ]
            if n + 1 < convolutions:
                layers.append(nn.ReLU(inplace=True))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, ...) → same shape."""
        return torch.relu(x + self.body(x))


class Down(nn.Sequential):
    """Halve the grid and change the number of channels."""

    def __init__(self, inputs: int, outputs: int, stride: int = 2, *, dimensions: Dimensions = 3) -> None:
        super().__init__(
            CONVOLUTION[dimensions](inputs, outputs, 3, stride=stride, padding=1, bias=False),
            NORM[dimensions](outputs, affine=True),
            nn.ReLU(inplace=True),
        )


class SpineNet(nn.Module):
    """(b, 1, i, j, k) HU → (b, OUTPUT_CHANNELS, i, j, k); edges are multiples of `STRIDE`.

    Args:
        widths: Channels at 1/2, 1/4, 1/8 and 1/16 of the input's resolution.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (32, 64, 128, 192)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        a, b, c, d = self.widths
        self.stem = Down(16, a, stride=1)
        self.encoders = nn.ModuleList([Block(a, 1), Block(b), Block(c), Block(d)])
        self.downs = nn.ModuleList([Down(a, b), Down(b, c), Down(c, d)])
        self.laterals = nn.ModuleList([nn.Conv3d(d, c, 1), nn.Conv3d(c, b, 1), nn.Conv3d(b, a, 1)])
        self.decoders = nn.ModuleList([Block(c), Block(b, 1), Block(a, 1)])
        self.head = nn.Sequential(
            nn.Conv3d(a, 2 * a, 1), nn.ReLU(inplace=True), nn.Conv3d(2 * a, OUTPUT_CHANNELS * 8, 1)
        )

    def forward(self, hu: Tensor) -> Tensor:
        """Logits and offsets at the resolution of the input."""
        x = self.stem(space_to_depth(to_input(hu)).contiguous(memory_format=torch.channels_last_3d))
        skips = []
        for n, encoder in enumerate(self.encoders):
            x = encoder(x)
            if n < len(self.downs):
                skips.append(x)
                x = self.downs[n](x)
        for lateral, decoder in zip(self.laterals, self.decoders, strict=True):
            x = nn.functional.interpolate(lateral(x), scale_factor=2, mode="nearest")
            x = decoder(x + skips.pop())
        return depth_to_space(self.head(x))
