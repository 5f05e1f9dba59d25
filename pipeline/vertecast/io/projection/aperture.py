"""The edge of the collimated field, found in the picture where the header says nothing of it.

Two kinds are looked for: a flat surrounding at one end of the grey scale that leaves a convex field with sharp edges
(round image intensifier, octagon, square shutter), and straight collimator blades whose shadow is not quite flat.
The outline of a patient is neither convex nor sharp, so air beside the body stays valid: cutting it off would say that
the picture ends there.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
Valid = npt.NDArray[np.bool_]

WORKING_PX: Final = 256
"""Longest side of the reduced picture on which edges are looked for."""

FLAT: Final = 0.04
"""A surrounding lies within this share of the grey scale of its end."""

MIN_OUTSIDE: Final = 0.05
"""A flat surrounding smaller than this share of the picture may be air over both shoulders."""

MIN_CUT: Final = 0.005
"""A field that leaves out less than this share of the picture is the whole picture."""

MIN_FIELD: Final = 0.15
"""A field smaller than this share of the picture is taken for a mistake of the search."""

MIN_CONVEXITY: Final = 0.975
"""Area of the field over that of its convex hull. Blades and shutters are convex; a body with arms is not."""

MIN_STEP: Final = 0.07
"""Median step over the edge of the field, as a share of the grey scale, within `EDGE_PX`."""

EDGE_PX: Final = 3
"""Width of a sharp edge in the reduced picture."""

BLADE_SLOPES: Final = np.linspace(-0.12, 0.12, 25)
"""Tilts of a blade against the border of the picture that are tried, as slopes (up to 7 degrees)."""

BLADE_LENGTH: Final = 0.75
"""Share of its length on which a blade must be seen."""

BLADE_REACH: Final = 0.42
"""A blade reaches into the picture by this share at most."""

BLADE_STEP: Final = 0.05
"""Step over a blade within `EDGE_PX`, as a share of the grey scale."""

BLADE_TEXTURE: Final = 0.35
"""The shadow of a blade has at most this share of the texture of the field."""

BLADE_SPREAD: Final = 0.12
"""The shadow of a blade spans at most this share of the grey scale (5th to 95th percentile). Air beside a patient, cut
off by a straight line along the skin, holds skin too and spans more."""


def find_field(picture: Plane) -> Valid | None:
    """The collimated field of a picture.

    Args:
        picture: Grey values (rows, columns) of any polarity.

    Returns:
        True within the field (rows, columns), or None where the picture shows no collimator.
    """
    factor = max(1, -(-max(picture.shape) // WORKING_PX))
    small = _reduced(picture, factor)
    if min(small.shape) < 16:
        return None
    low, high = (float(value) for value in np.percentile(small, [0.5, 99.5]))
    if not high > low:
        return None
    scaled = np.clip((small - low) / (high - low), 0.0, 1.0)
    field = _within_flat_surrounding(scaled)
    blades = _between_blades(scaled, field)
    if blades is not None:
        field = blades if field is None else field & blades
    if field is None or field.mean() < MIN_FIELD or 1.0 - field.mean() < MIN_CUT:
        return None
    return _enlarged(field, factor, picture.shape)


def _reduced(picture: Plane, factor: int) -> Any:
    """Means of square blocks; the last block of an axis repeats the border."""
    if factor == 1:
        return picture.astype(np.float32)
    padding = [(0, -size % factor) for size in picture.shape]
    padded = np.pad(picture, padding, mode="edge").astype(np.float32)
    rows, columns = (size // factor for size in padded.shape)
    return padded.reshape(rows, factor, columns, factor).mean(axis=(1, 3))


def _enlarged(field: Valid, factor: int, shape: tuple[int, ...]) -> Valid:
    """The field on the full grid, one reduced pixel narrower: blocks on the edge hold both sides."""
    from scipy import ndimage

    inner = ndimage.binary_erosion(field, np.ones((3, 3)), border_value=1)
    return np.asarray(np.repeat(np.repeat(inner, factor, 0), factor, 1)[: shape[0], : shape[1]])


def _within_flat_surrounding(scaled: Plane) -> Valid | None:
    """The convex field inside a flat dark or bright surrounding that touches the border."""
    fields = [
        field for flat in (scaled <= FLAT, scaled >= 1 - FLAT) if (field := _convex_field(scaled, flat)) is not None
    ]
    if not fields:
        return None
    return fields[0] if len(fields) == 1 else fields[0] & fields[1]


def _convex_field(scaled: Plane, flat: Valid) -> Valid | None:
    from scipy import ndimage
    from skimage.morphology import convex_hull_image

    # Seen from outside: a frame of the same kind joins the four corners.
    framed = np.pad(flat, 1, constant_values=True)
    labels, _ = ndimage.label(framed)
    outside = (labels == labels[0, 0])[1:-1, 1:-1]
    if outside.mean() < MIN_OUTSIDE:
        return None
    inside = ndimage.binary_opening(np.pad(~outside, 2), np.ones((3, 3)))[2:-2, 2:-2]
    parts, count = ndimage.label(inside)
    if not count:
        return None
    field = parts == 1 + int(np.argmax(ndimage.sum_labels(inside, parts, np.arange(1, count + 1))))
    field = ndimage.binary_fill_holes(field)
    hull = np.asarray(convex_hull_image(field))
    if field.sum() < MIN_CONVEXITY * hull.sum() or _median_step(scaled, hull) < MIN_STEP:
        return None
    return hull


def _median_step(scaled: Plane, field: Valid) -> float:
    """Median difference between both sides of the edge of a field, without the border of the picture."""
    from scipy import ndimage

    edge = field & ~ndimage.binary_erosion(field, border_value=1)
    if not edge.any():
        return 0.0
    size = 2 * EDGE_PX + 1
    step = ndimage.maximum_filter(scaled, size) - ndimage.minimum_filter(scaled, size)
    return float(np.median(step[edge]))


def _between_blades(scaled: Plane, field: Valid | None) -> Valid | None:
    """The field left by straight blades at each of the four borders."""
    valid = np.ones(scaled.shape, bool)
    for turns in range(4):
        # The blade is looked for at the left border of the turned picture.
        cut = _left_blade(np.rot90(scaled, turns), None if field is None else np.rot90(field, turns))
        if cut is not None:
            valid &= np.rot90(cut, -turns)
    return None if valid.all() else valid


def _left_blade(scaled: Plane, field: Valid | None) -> Valid | None:
    """Pixels right of a blade at the left border, None where there is none."""
    from scipy import ndimage

    rows, columns = scaled.shape
    reach = int(BLADE_REACH * columns)
    step = np.zeros_like(scaled)
    step[:, EDGE_PX:-EDGE_PX] = scaled[:, 2 * EDGE_PX :] - scaled[:, : -2 * EDGE_PX]
    steepness = np.zeros_like(scaled)
    steepness[:, 1:-1] = scaled[:, 2:] - scaled[:, :-2]
    usable = (
        np.ones(scaled.shape, bool) if field is None else ndimage.binary_erosion(field, iterations=4, border_value=1)
    )
    best: tuple[float, Valid] | None = None
    y = np.arange(rows)
    for slope in BLADE_SLOPES:
        x = np.rint(np.arange(EDGE_PX, reach)[None, :] + slope * (y[:, None] - rows / 2)).astype(int)
        inside = (x >= EDGE_PX) & (x < columns - EDGE_PX)
        x = np.clip(x, 0, columns - 1)
        on_field = inside & usable[y[:, None], x]
        values = step[y[:, None], x]
        for sign in (1.0, -1.0):
            seen = ((sign * values > BLADE_STEP) & on_field).sum(axis=0)
            share = seen / np.maximum(on_field.sum(axis=0), rows // 2)
            # Of all lines that are long enough, the steepest one lies on the edge and not beside it.
            steep = (sign * steepness[y[:, None], x] * on_field).sum(axis=0) * (share >= BLADE_LENGTH)
            at = int(np.argmax(steep))
            if steep[at] > 0 and (best is None or steep[at] > best[0]):
                right = np.arange(columns)[None, :] > x[:, at][:, None]
                best = float(steep[at]), right
    if best is None or not _is_shadow(scaled, usable, best[1]):
        return None
    return best[1]


def _is_shadow(scaled: Plane, usable: Valid, right: Valid) -> bool:
    """True where what lies left of a line shows next to nothing of a patient."""
    from scipy import ndimage

    detail = np.abs(scaled - ndimage.gaussian_filter(scaled, 2.0))
    shadow = ndimage.binary_erosion(~right, iterations=EDGE_PX, border_value=1) & usable
    rest = ndimage.binary_erosion(right, iterations=EDGE_PX, border_value=1) & usable
    if not rest.any():
        return False
    if not shadow.any():
        return True
    low, high = np.percentile(scaled[shadow], [5, 95])
    return bool(high - low <= BLADE_SPREAD and np.median(detail[shadow]) <= BLADE_TEXTURE * np.median(detail[rest]))
