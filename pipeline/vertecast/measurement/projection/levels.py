"""Naming the bodies of one projection image: by the operator, the sacrum or the last rib; else V1, V2, ..."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.geometry import FloatArray
from vertecast.core.images import ProjectionSegmentation
from vertecast.core.results import LevelAssignment
from vertecast.measurement.projection.bodies import MeasuredPlane, centers_px
from vertecast.measurement.shared.counting import (
    SACRUM_GAP_PITCH,
    THIRTEEN_RIBS,
    combine,
    find_slots,
    named,
    operator_levels,
    unknown_level,
)

RIB_SCORE: Final = 0.6
RIB_NOISE_SCORE: Final = 0.35
"""A body with a score above the first bears a rib, one below the second none; in between nothing is concluded."""

USUAL_LUMBAR: Final = 5

SACRUM_PROBABILITY: Final = 0.5
SACRUM_MIN_SHARE: Final = 0.2
"""A sacrum in view without its endplate: pixels worth this share of a body's area. Smaller pieces are stray."""

PITCH_HEIGHTS: Final = 1.35
"""Distance between lumbar bodies in heights of a body, where only one body is in view: a disc is about a third."""


def assign_projection_levels(
    segmentation: ProjectionSegmentation, plane: MeasuredPlane, *, lowest: str | None = None, highest: str | None = None
) -> tuple[LevelAssignment, ...]:
    """Name every body.

    Args:
        segmentation: What the network found; bodies cranial first.
        plane: Shape of a pixel.
        lowest: Level of the lowest body found, given by the operator ("L5"); it overrides what is seen.
        highest: The same of the highest body, instead.

    Returns:
        One assignment per body.

    Raises:
        ConfigurationError: both ends are given, or a level that is none of a vertebra with a body of its own.
    """
    centers = centers_px(segmentation) * plane.scale
    slots = find_slots(centers)
    given = operator_levels(slots, lowest, highest)
    if given is not None:
        return given
    if segmentation.count == 0:
        return ()
    rib = _last_rib(segmentation)
    below_rib = None if rib is None else int(slots[-1] - slots[rib])
    missed = _missed_above_sacrum(segmentation, centers, plane)
    if below_rib is not None and missed is not None and below_rib + missed != USUAL_LUMBAR:
        # A short last rib is easily missed, and a transverse process easily taken for one, far more often than there
        # are four or six lumbar vertebrae: where a film's landmarks disagree, the sacrum is right.
        rib = below_rib = None
    count = combine(
        below_last_rib=below_rib,
        missed_above_sacrum=missed,
        thirteen_ribs=rib is not None and _run(segmentation, slots, rib) >= THIRTEEN_RIBS,
    )
    return tuple(unknown_level(n) for n in range(len(slots))) if count is None else named(slots, count)


def _missed_above_sacrum(segmentation: ProjectionSegmentation, centers: FloatArray, plane: MeasuredPlane) -> int | None:
    """Number of bodies (0 or 1) missed between the lowest one and the sacrum; None without a sacrum below it."""
    top = _top_of_sacrum(segmentation, centers[-1], plane)
    if top is None:
        return None
    if len(centers) > 1:
        pitch = float(np.linalg.norm(centers[-1] - centers[-2]))
        if (top - centers[-1]) @ (centers[-1] - centers[-2]) <= 0:
            return None
    else:
        points = np.asarray(segmentation.points_px[-1], dtype=np.float64).reshape(2, 3, 2) * plane.scale
        pitch = PITCH_HEIGHTS * float(np.linalg.norm(points[0] - points[1], axis=1).mean())
    if not pitch > 0:
        return None
    missed = round((float(np.linalg.norm(top - centers[-1])) - SACRUM_GAP_PITCH * pitch) / pitch)
    return max(missed, 0) if missed <= 1 else None


def _top_of_sacrum(segmentation: ProjectionSegmentation, lowest: FloatArray, plane: MeasuredPlane) -> FloatArray | None:
    """(2,) middle of the endplate of S1, or the sacrum's nearest pixel to the lowest body; None without a sacrum."""
    if segmentation.sacral_endplate_px is not None and np.isfinite(segmentation.sacral_endplate_px).all():
        return np.asarray(segmentation.sacral_endplate_px.mean(axis=0) * plane.scale)
    rows, columns = np.nonzero(segmentation.sacrum_probability >= SACRUM_PROBABILITY)
    body = np.count_nonzero(segmentation.instance) / max(segmentation.count, 1)
    if len(rows) == 0 or len(rows) < SACRUM_MIN_SHARE * body:
        return None
    points = np.stack([columns, rows], axis=1) * plane.scale
    return np.asarray(points[int(np.argmin(np.linalg.norm(points - lowest, axis=1)))])


def _last_rib(segmentation: ProjectionSegmentation) -> int | None:
    """Index of the lowest body that bears a rib, where a whole body below it clearly bears none."""
    scores = np.asarray(segmentation.rib_score)
    bearing = np.flatnonzero(scores >= RIB_SCORE)
    if not len(bearing):
        return None
    last = int(bearing[-1])
    below = range(last + 1, segmentation.count)
    clear = [n for n in below if scores[n] < RIB_NOISE_SCORE and not segmentation.touches_border[n]]
    doubtful = [n for n in below if scores[n] >= RIB_NOISE_SCORE]
    supported = last == 0 or scores[last - 1] >= RIB_SCORE
    return last if clear and not doubtful and supported else None


def _run(segmentation: ProjectionSegmentation, slots: npt.NDArray[np.intp], last: int) -> int:
    """Number of places with ribs in one run upwards from the last rib."""
    top = last
    while top > 0 and segmentation.rib_score[top - 1] >= RIB_SCORE:
        top -= 1
    return int(slots[last] - slots[top]) + 1
