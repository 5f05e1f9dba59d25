"""How the spine moves through a cine: the shift of every frame against the first, below the size of a pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core.geometry import FloatArray
from vertecast.core.images import Radiograph

SMALL_PX: Final = 192
"""Motion is looked for in a picture of at most this many rows or columns."""

CONTRAST_PX: Final = 13
"""Width of the neighbourhood that local contrast is taken in, in pixels of the small picture."""

EDGE_PX: Final = 5
"""The window's edge is softened over this width."""

UPSAMPLING: Final = 20
"""Shifts are found to this part of a pixel of the small picture."""

SURE_QUALITY: Final = 0.6
"""Correlation with the key frame below which the frame before is tried, and becomes the key where it fits better."""

LOST_QUALITY: Final = 0.25
"""Correlation below which the motion is lost: the frame shows something else."""

MIN_OVERLAP: Final = 0.2
EDGE_SHARE: Final = 0.08
"""The picture fades out towards its edges over this share of its width, so that the edges themselves do not match."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Motion:
    """Shift (2,) of a frame against the first, (column, row) in pixels, and its correlation from 0 to 1."""

    shift_px: FloatArray
    quality: float

    @property
    def is_lost(self) -> bool:
        """True where the frame does not fit to what was seen before."""
        return self.quality < LOST_QUALITY


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Key:
    """A frame that others are compared with: its local contrast and its own shift in pixels of the small picture."""

    contrast: npt.NDArray[np.float32]
    shift: FloatArray


class MotionFollower:
    """Follows the picture from frame to frame; keeps two small pictures, however long the cine is."""

    def __init__(self) -> None:
        self._key: _Key | None = None
        self._last: _Key | None = None

    def follow(self, frame: Radiograph, *, window: npt.NDArray[np.bool_] | None = None) -> Motion:
        """Find the shift of the next frame.

        Args:
            frame: The frame; all frames have the same shape.
            window: Part of the picture (rows, columns) that moves as the spine does; without it, all of it.
        """
        factor = max(int(np.ceil(max(frame.shape) / SMALL_PX)), 1)
        contrast = local_contrast(frame, factor, window)
        if self._key is None or self._last is None:
            self._key = self._last = _Key(contrast=contrast, shift=np.zeros(2))
            return Motion(shift_px=np.zeros(2), quality=1.0)
        key = self._key
        shift, quality = _register(key, contrast, self._last.shift)
        if quality < SURE_QUALITY:
            nearer, fits = _register(self._last, contrast, self._last.shift)
            if fits > quality:
                shift, quality, key = nearer, fits, self._last
        if quality >= LOST_QUALITY:
            self._key, self._last = key, _Key(contrast=contrast, shift=shift)
        return Motion(shift_px=shift * factor, quality=max(quality, 0.0))


def spine_window(points_px: FloatArray, shape: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
    """The part of a picture that bodies (n, 6, 2) lie in, wide enough for a shift; None where there is no body."""
    if not len(points_px):
        return None
    size = float(np.median(np.linalg.norm(points_px[:, 2] - points_px[:, 0], axis=1)))
    (left, top), (right, bottom) = points_px.min(axis=(0, 1)) - size, points_px.max(axis=(0, 1)) + size
    window = np.zeros(shape, dtype=bool)
    window[max(int(top), 0) : max(int(bottom), 0) + 1, max(int(left), 0) : max(int(right), 0) + 1] = True
    return window


def local_contrast(
    frame: Radiograph, factor: int, window: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float32]:
    """The frame made small, freed of slow changes and of gain, and faded out where it shows nothing of the spine."""
    image = reduced(frame.intensity, factor)
    seen = frame.valid if window is None else frame.valid & window
    weight = _smoothed(_whole(seen, factor).astype(np.float32), EDGE_PX)
    valid = _whole(frame.valid, factor)
    share = np.maximum(_smoothed(valid.astype(np.float32), CONTRAST_PX), 1e-3)
    image = np.where(valid, image, 0.0).astype(np.float32)
    flat = np.where(valid, image - _smoothed(image, CONTRAST_PX) / share, 0.0).astype(np.float32)
    spread = np.sqrt(np.maximum(_smoothed(flat**2, 2 * CONTRAST_PX), 0.0))
    typical = float(np.median(spread[valid][::3])) if valid.any() else 0.0
    result = flat / np.maximum(spread, max(0.5 * typical, 1e-9)) * weight * _fading(image.shape)
    return np.asarray(result, dtype=np.float32)


def reduced(image: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """Means of blocks of ``factor`` by ``factor`` pixels; a remainder at the edge is left out."""
    total = sum(part.astype(np.float32) for part in _corners(image, factor))
    return np.asarray(total / np.float32(factor**2), dtype=np.float32)


def _whole(mask: npt.NDArray[np.bool_], factor: int) -> npt.NDArray[np.bool_]:
    """Blocks of a mask without a gap."""
    return np.asarray(np.logical_and.reduce(list(_corners(mask, factor))))


def _corners(image: npt.NDArray[Any], factor: int) -> Iterator[npt.NDArray[Any]]:
    """Pixels at the same place in all whole blocks: far quicker to sum than the blocks are one by one."""
    rows, columns = (n // factor * factor for n in image.shape)
    for row in range(factor):
        for column in range(factor):
            yield image[row:rows:factor, column:columns:factor]


def _smoothed(image: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
    """Two running means of ``width`` pixels: close to a Gaussian of 0.4 times the width, at a cost without it."""
    return np.asarray(ndimage.uniform_filter(ndimage.uniform_filter(image, width), width))


def _register(key: _Key, contrast: npt.NDArray[np.float32], guess: FloatArray) -> tuple[FloatArray, float]:
    """Shift (column, row) of a picture against the first frame, through a key, and its correlation."""
    from skimage.registration import phase_cross_correlation

    back, _, _ = phase_cross_correlation(key.contrast, contrast, upsample_factor=UPSAMPLING, normalization=None)
    shift = key.shift - np.asarray(back, dtype=np.float64)[::-1]
    quality = _correlation(key.contrast, contrast, shift - key.shift)
    if quality < SURE_QUALITY:
        guessed = _correlation(key.contrast, contrast, guess - key.shift)
        if guessed > quality:
            return guess, guessed
    return shift, quality


def _correlation(key: npt.NDArray[np.float32], contrast: npt.NDArray[np.float32], shift: FloatArray) -> float:
    """Correlation of two pictures where they overlap once the key is shifted by (column, row)."""
    rows, columns = key.shape
    if abs(shift[0]) > (1 - MIN_OVERLAP) * columns or abs(shift[1]) > (1 - MIN_OVERLAP) * rows:
        return 0.0
    moved = _moved(key, shift)
    shown = (np.abs(moved) > 1e-6) & (np.abs(contrast) > 1e-6)
    if np.count_nonzero(shown) < MIN_OVERLAP**2 * key.size:
        return 0.0
    a, b = moved[shown], contrast[shown]
    norm = float(np.sqrt(np.dot(a, a) * np.dot(b, b)))
    return float(np.dot(a, b)) / norm if norm > 0 else 0.0


def _moved(image: npt.NDArray[np.float32], shift: FloatArray) -> npt.NDArray[np.float32]:
    """An image moved by (column, row), linear between pixels and zero beyond its edges.

    A sum of four moves by whole pixels takes a tenth of the time of `scipy.ndimage.shift`.
    """
    whole = np.floor(shift).astype(int)
    right, down = (np.float32(share) for share in shift - whole)
    rows, columns = image.shape
    before, after = np.maximum(whole, 0) + 1, np.maximum(-whole, 0)
    padded = np.pad(image, ((before[1], after[1]), (before[0], after[0])))
    part = padded[after[1] :, after[0] :]
    across = (1 - right) * part[:, 1 : columns + 1] + right * part[:, :columns]
    return np.asarray((1 - down) * across[1 : rows + 1] + down * across[:rows])


def _fading(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """1 inside, falling to 0 at the edges."""
    sides = []
    for count in shape:
        ramp = (np.arange(count) + 0.5) / max(EDGE_SHARE * count, 1.0)
        sides.append(np.clip(np.minimum(ramp, ramp[::-1]), 0.0, 1.0))
    return np.asarray(np.outer(sides[0], sides[1]), dtype=np.float32)
