"""What a cine showed before the cement: a mean of its first frames that moves with the spine."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core.geometry import FloatArray
from vertecast.core.images import Radiograph
from vertecast.measurement.projection.bodies import BoolImage

BASELINE_FRAMES: Final = 5
"""Frames that every part of the baseline is the mean of. A part that the table brings in later starts then."""

MARGIN_SHARE: Final = 0.6
"""The baseline reaches this share of the picture beyond it on every side; farther shifts are outside."""

NEW_NOISES: Final = 4.0
"""Newly bright: this many noise levels above the baseline, once both are smoothed over 3 by 3 pixels."""

SLOW_SHARE: Final = 1 / 6
"""Changes wider than this share of the picture are gain or breathing, not cement."""

HELD_SHARE: Final = 0.5
"""Cement that was there in this share of the baseline's frames was there from the start."""

MIN_PIXELS: Final = 200


class Baseline:
    """Keeps three arrays of (1 + 2 * margin) times the picture, however long the cine is."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._margin = tuple(round(MARGIN_SHARE * n) for n in shape)
        full = tuple(n + 2 * m for n, m in zip(shape, self._margin, strict=True))
        self._mean = np.zeros(full, dtype=np.float32)
        self._weight = np.zeros(full, dtype=np.float32)
        self._cement = np.zeros(full, dtype=np.float32)

    def present_cement(self, frame: Radiograph, cement: BoolImage, shift_px: FloatArray) -> BoolImage:
        """Keep what of the network's cement is newly bright, or was there from the start; then learn from the frame.

        Args:
            frame: The frame.
            cement: Cement of the network in it (rows, columns).
            shift_px: (2,) shift of the frame against the first one, (column, row).
        """
        box = self._box(shift_px)
        if box is None:
            return np.zeros_like(cement)
        mean, weight, held = self._mean[box], self._weight[box], self._cement[box]
        known = (weight > 0) & frame.valid
        scaled = self._scaled(frame, mean, known & ~cement)
        if scaled is None:
            self._learn(box, frame.intensity, frame.valid, cement)
            return cement
        initial = known & (held >= HELD_SHARE * weight)
        new = _newly_bright(scaled - mean, known, cement)
        # Where nothing is known of the time before, the network's word stands until enough is learnt.
        kept = cement & (new | _grown(initial, 1) | ~known)
        self._learn(box, scaled, frame.valid, cement)
        return np.asarray(kept)

    def _learn(
        self, box: tuple[slice, slice], values: npt.NDArray[np.float32], valid: BoolImage, cement: BoolImage
    ) -> None:
        """Add a frame to those parts of the baseline that are not finished."""
        weight = self._weight[box]
        learn = valid & (weight < BASELINE_FRAMES)
        if not learn.any():
            return
        mean = self._mean[box]
        mean[learn] += (values[learn] - mean[learn]) / (weight[learn] + 1)
        self._cement[box][learn & cement] += 1
        weight[learn] += 1

    def _box(self, shift_px: FloatArray) -> tuple[slice, slice] | None:
        """The part of the baseline that a frame covers; None where it lies outside."""
        slices = []
        for size, margin, shift in zip(self._shape, self._margin, shift_px[::-1], strict=True):
            start = margin - round(float(shift))
            if start < 0 or start > 2 * margin:
                return None
            slices.append(slice(start, start + size))
        return slices[0], slices[1]

    def _scaled(
        self, frame: Radiograph, mean: npt.NDArray[np.float32], known: BoolImage
    ) -> npt.NDArray[np.float32] | None:
        """The frame in the baseline's gain; None where there is nothing to compare it with."""
        if np.count_nonzero(known) < MIN_PIXELS:
            return None
        values, before = frame.intensity[known][::7], mean[known][::7]
        centers = float(np.median(values)), float(np.median(before))
        spreads = float(np.median(np.abs(values - centers[0]))), float(np.median(np.abs(before - centers[1])))
        gain = spreads[1] / spreads[0] if min(spreads) > 0 else 1.0
        return np.asarray((frame.intensity - centers[0]) * gain + centers[1], dtype=np.float32)


def _grown(mask: BoolImage, pixels: int) -> BoolImage:
    """A mask and what lies within some pixels of it; only the part of the picture that holds it is looked at."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return mask
    box = tuple(slice(max(int(n[0]) - pixels, 0), int(n[-1]) + pixels + 1) for n in (rows, columns))
    grown = mask.copy()
    grown[box] = ndimage.binary_dilation(mask[box], iterations=pixels)
    return grown


def _newly_bright(difference: npt.NDArray[np.float32], known: BoolImage, cement: BoolImage) -> BoolImage:
    """Where a frame is brighter than the baseline by more than noise and slow changes explain."""
    sure = known & ~_grown(cement, 2)
    if np.count_nonzero(sure) < MIN_PIXELS:
        return np.asarray(cement & known)
    wide = max(round(SLOW_SHARE * max(difference.shape)), 3)
    weight = ndimage.uniform_filter(sure.astype(np.float32), wide)
    slow = ndimage.uniform_filter(np.where(sure, difference, 0.0).astype(np.float32), wide) / np.maximum(weight, 1e-3)
    smooth = ndimage.uniform_filter(difference - slow, 3)
    noise = 1.4826 * float(np.median(np.abs(smooth[sure][::7])))
    return np.asarray(known & (smooth > NEW_NOISES * max(noise, 1e-9)))
