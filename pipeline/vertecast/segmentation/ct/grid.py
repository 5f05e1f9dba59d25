"""Bringing a CT onto a network's grid, and running a network over a grid larger than it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.images import Volume

Array: TypeAlias = npt.NDArray[np.float32]
Box: TypeAlias = tuple[slice, slice, slice]

AIR_HU: Final = -1000.0


def resampled(volume: Volume, lps_from_index: geometry.FloatArray, shape: tuple[int, int, int]) -> Array:
    """The CT on an LPS-aligned grid (linear); averaged first where the grid is coarser than the voxels.

    Returns:
        HU, float32, `AIR_HU` outside the image.
    """
    spacing = float(geometry.spacing_mm(lps_from_index)[0])
    corners = geometry.corner_points_lps_mm(lps_from_index, shape)
    index = geometry.apply(geometry.inverse(volume.lps_from_index), corners)
    factor = np.maximum(np.floor(spacing / volume.spacing_mm + 0.01), 1).astype(int)
    low = np.clip(np.floor(index.min(axis=0)).astype(int) - factor, 0, np.array(volume.shape) - 1)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1 + factor, low + 1, volume.shape)
    part = volume.hu[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    reduced = block_mean(part, (int(factor[0]), int(factor[1]), int(factor[2])))
    # A block's centre lies (factor - 1) / 2 voxels behind its first voxel.
    native_from_reduced = geometry.affine(np.diag(factor.astype(float)), low + (factor - 1) / 2)
    return geometry.resample(
        reduced, volume.lps_from_index @ native_from_reduced, lps_from_index, shape, order=1, fill=AIR_HU
    )


def block_mean(array: npt.NDArray[np.generic], factor: tuple[int, int, int]) -> Array:
    """Mean over blocks of voxels; a rest at the end makes a block of its own from the last voxels."""
    result: Array = np.asarray(array)
    for axis, n in enumerate(factor):
        if n == 1:
            continue
        count = result.shape[axis]
        starts = np.arange(0, count, n)
        totals = np.add.reduceat(result, starts, axis=axis, dtype=np.float32)
        sizes = np.minimum(starts + n, count) - starts
        totals /= sizes.reshape([-1 if a == axis else 1 for a in range(3)]).astype(np.float32)
        result = totals
    return np.asarray(result, dtype=np.float32)


def inside_image(
    volume: Volume, lps_from_index: geometry.FloatArray, shape: tuple[int, int, int], *, margin_mm: float = 0.0
) -> npt.NDArray[np.bool_]:
    """Which voxels of a grid lie within the outer voxel centres of the image.

    Args:
        volume: The image.
        lps_from_index: 4x4 affine of the grid.
        shape: Of the grid.
        margin_mm: With a margin, only what lies farther from each face than one voxel of the image and this.
    """
    index_from_grid = geometry.inverse(volume.lps_from_index) @ lps_from_index
    inside = np.ones(shape, dtype=bool)
    axes = [np.arange(n, dtype=np.float32) for n in shape]
    spacing_mm = geometry.spacing_mm(volume.lps_from_index)
    margin = 1 + margin_mm / spacing_mm if margin_mm else np.zeros(3)
    for row, count, far in zip(index_from_grid[:3], volume.shape, margin, strict=True):
        position = (
            row[0] * axes[0][:, None, None] + row[1] * axes[1][None, :, None] + row[2] * axes[2][None, None, :] + row[3]
        )
        inside &= (position >= far - 0.01) & (position <= count - 0.99 - far)
    return inside


def tiles(shape: tuple[int, int, int], size: tuple[int, int, int], overlap: int) -> Iterator[Box]:
    """Boxes of the given size that cover a grid, overlapping by at least ``overlap`` voxels."""
    starts = []
    for n, edge in zip(shape, size, strict=True):
        count = 1 if n <= edge else int(np.ceil((n - overlap) / (edge - overlap)))
        starts.append([0] if count == 1 else [round(i * (n - edge) / (count - 1)) for i in range(count)])
    for i in starts[0]:
        for j in starts[1]:
            for k in starts[2]:
                yield (slice(i, i + size[0]), slice(j, j + size[1]), slice(k, k + size[2]))


def _fitting_edge(count: int, largest: int, overlap: int, stride: int) -> int:
    """Edge of the smallest tiles that cover ``count`` voxels with as few tiles as the largest ones would need."""
    number = 1 if count <= largest else -(-(count - overlap) // (largest - overlap))
    return -(-(count + (number - 1) * overlap) // (number * stride)) * stride


def run_tiled(
    network: Callable[[Array], Array],
    hu: Array,
    *,
    channels: int,
    largest: int,
    overlap: int,
    stride: int,
    wanted: npt.NDArray[np.bool_] | None = None,
) -> Array:
    """Run a network over a grid tile by tile and blend the overlaps.

    Args:
        network: HU (i, j, k) → (channels, i, j, k).
        hu: The grid; mirrored at its end up to a multiple of ``stride``.
        channels: Output channels.
        largest: Largest edge of a tile in voxels; tiles are no larger than an even share of the grid.
        overlap: Overlap of neighbouring tiles in voxels.
        stride: Edges of a tile are multiples of this.
        wanted: Tiles without a wanted voxel are skipped and stay 0.
    """
    size = [_fitting_edge(n, largest, overlap, stride) for n in hu.shape]
    padded_shape = [max(n, edge) for n, edge in zip(hu.shape, size, strict=True)]
    pad = [(0, p - n) for n, p in zip(hu.shape, padded_shape, strict=True)]
    padded = np.pad(hu, pad, mode="reflect")  # air instead would shift the network's instance norm
    total = np.zeros((channels, *padded.shape), dtype=np.float32)
    weight = np.full(padded.shape, 1e-6, dtype=np.float32)
    ramp = [np.minimum(np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) / overlap, 1.0) for n in size]
    blend = (ramp[0][:, None, None] * ramp[1][None, :, None] * ramp[2][None, None, :]).astype(np.float32)
    for box in tiles((padded.shape[0], padded.shape[1], padded.shape[2]), (size[0], size[1], size[2]), overlap):
        if wanted is not None and not wanted[box].any():
            continue
        total[(slice(None), *box)] += network(padded[box]) * blend
        weight[box] += blend
    total /= weight
    return total[:, : hu.shape[0], : hu.shape[1], : hu.shape[2]]
