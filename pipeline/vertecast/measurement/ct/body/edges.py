"""The outer edge of a bony endplate in the native CT.

An endplate is a thin bright shell, thinner than the blur of most scans. The steepest fall of its blurred image lies
outside the bone, by up to the width of the blur; so the edge is read from a model of the profile instead: a shell of
known thickness on a step from marrow to disc, both blurred (after Treece et al., Med Image Anal 2010;14:276-290).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize, special

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Volume
from vertecast.measurement.ct.body.fitting import monomials, robust_solve

PROFILE_MM: Final = np.arange(-4.0, 3.01, 0.25)
"""Samples along the outward direction; no farther out, so that the next body stays out of view."""

SHELL_THICKNESS_MM: Final = 0.7
"""Bony endplate: 0.6 to 0.8 mm by micro-CT and histology (Edwards et al., J Bone Joint Surg Am 2001;83:1732-1737
give 0.6 to 0.7 mm for endplate cortex)."""

OUTLINE_TRUST_MM: Final = 0.4
"""A shift of this size is followed by half, a smaller one less, a larger one more. The shell's true thickness
(0.5 to 1.5 mm) makes the edge of the model uncertain by some 0.3 mm; a good outline is as sure as that."""

LARGEST_SHIFT_MM: Final = 1.5
"""A larger distance between outline and edge means that another structure was caught."""

MIN_EDGE_HU: Final = 60.0
"""Smallest height of the blurred edge that stands out from bone texture and noise."""

CEMENT_LIKE_HU: Final = 700.0
GAS_LIKE_HU: Final = -100.0
"""Lines through cement or disc gas keep the outline: neither edge is that of bone."""

COARSEST_VOXEL_MM: Final = 2.6
"""Beyond this extent along the body's axis the profile holds too few samples, and the outline stays."""

MIN_LINES: Final = 30


def move_to_ct_edge(volume: Volume, lps_from_local: FloatArray, points_local_mm: FloatArray, side: float) -> FloatArray:
    """Move the points of an endplate to the outer edge of its bone, where the CT shows one.

    Args:
        volume: Native CT.
        lps_from_local: Frame of the body.
        points_local_mm: Crossings of the outline (n, 3).
        side: +1 for the superior endplate, -1 for the inferior.

    Returns:
        The new local z (n,) in mm; those of the outline where no clear edge is found.
    """
    z = points_local_mm[:, 2].copy()
    if np.abs(lps_from_local[:3, 2] @ volume.lps_from_index[:3, :3]).max() > COARSEST_VOXEL_MM:
        return z
    profiles = _profiles(volume, lps_from_local, points_local_mm, side)
    plain = (profiles.max(axis=1) < CEMENT_LIKE_HU) & (profiles.min(axis=1) > GAS_LIKE_HU)
    if plain.sum() < MIN_LINES:
        return z
    parameters = _fit_shell(profiles[plain].mean(axis=0))
    if parameters is None:
        return z
    shift = _smooth_field(points_local_mm, plain, parameters[0] + _line_shifts(profiles[plain], parameters))
    shift *= shift**2 / (shift**2 + OUTLINE_TRUST_MM**2)
    shift[~plain] = 0.0
    return np.asarray(z + side * np.clip(shift, -LARGEST_SHIFT_MM, LARGEST_SHIFT_MM))


def _smooth_field(points: FloatArray, plain: npt.NDArray[np.bool_], shifts: FloatArray) -> FloatArray:
    """A robust paraboloid through the shifts of the plain lines, at every line: outlines err smoothly, spurs do not."""
    x, y = points[:, 0] / np.ptp(points[:, 0]), points[:, 1] / np.ptp(points[:, 1])
    design = monomials(x, y, 2)
    return np.asarray(design @ robust_solve(design[plain], shifts)[0])


def _profiles(volume: Volume, lps_from_local: FloatArray, points: FloatArray, side: float) -> FloatArray:
    """HU along the outward axis of every point, shape (n, samples)."""
    along = np.repeat(points[:, None, :], len(PROFILE_MM), axis=1)
    along[:, :, 2] += side * PROFILE_MM
    index = geometry.apply(geometry.inverse(volume.lps_from_index) @ lps_from_local, along)
    values = ndimage.map_coordinates(
        volume.hu, np.moveaxis(index, -1, 0), output=np.float64, order=1, mode="nearest", prefilter=False
    )
    return np.asarray(values)


def _shell(parameters: FloatArray, t: FloatArray) -> FloatArray:
    """Profile of a blurred shell on a blurred step: edge (mm), disc, marrow (HU), shell mass (HU mm), blur (mm)."""
    edge, disc, marrow, mass, blur = parameters
    step = 0.5 * special.erfc((t - edge) / (np.sqrt(2) * blur))
    width = np.sqrt(blur**2 + SHELL_THICKNESS_MM**2 / 12)
    bump = np.exp(-0.5 * ((t - edge + SHELL_THICKNESS_MM / 2) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    return np.asarray(disc + (marrow - disc) * step + mass * bump)


def _fit_shell(profile: FloatArray) -> FloatArray | None:
    """Parameters of the shell model for the mean profile of an endplate, or None where it is no such edge."""
    start = np.array([0.0, profile[-1], profile[:3].mean(), 300.0, 0.8])
    bounds = ([-2.0, -200.0, -200.0, 0.0, 0.3], [2.0, 800.0, 1200.0, 4000.0, 2.5])
    fit = optimize.least_squares(
        lambda p: _shell(p, PROFILE_MM) - profile, np.clip(start, bounds[0], bounds[1]), bounds=bounds, x_scale="jac"
    )
    parameters = np.asarray(fit.x)
    height = float(np.ptp(_shell(parameters, PROFILE_MM)))
    error = float(np.sqrt(np.mean(fit.fun**2)))
    clear = height >= MIN_EDGE_HU and error <= 0.15 * height and abs(parameters[0]) <= LARGEST_SHIFT_MM
    falls = _shell(parameters, PROFILE_MM)[-1] < _shell(parameters, PROFILE_MM).max() - MIN_EDGE_HU / 2
    return parameters if clear and falls else None


def _line_shifts(profiles: FloatArray, parameters: FloatArray) -> FloatArray:
    """Departure of each line from the mean edge (mm), by correlation with the fitted profile; 0 where it is weak."""
    steps = np.arange(-1.0, 1.01, 0.25)
    from_edge = PROFILE_MM - parameters[0]
    window = (from_edge >= -2.5) & (from_edge <= 2.0)
    lines = _standardised(profiles[:, window])
    shifted = [_shell(parameters + np.array([s, 0, 0, 0, 0]), PROFILE_MM[window]) for s in steps]
    score = lines @ _standardised(np.stack(shifted)).T
    best = np.clip(np.argmax(score, axis=1), 1, len(steps) - 2)
    rows = np.arange(len(lines))
    before, peak, after = score[rows, best - 1], score[rows, best], score[rows, best + 1]
    curve = before - 2 * peak + after
    fine = np.where(curve < -1e-9, 0.5 * (before - after) / np.where(curve < -1e-9, curve, 1.0), 0.0)
    shift = steps[best] + 0.25 * np.clip(fine, -1.0, 1.0)
    return np.where(peak >= 0.8, shift, 0.0)


def _standardised(rows: npt.NDArray[np.float64]) -> FloatArray:
    """Rows with mean 0 and length 1."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9))
