"""Naming the vertebrae: by the operator, the sacrum or the last rib; else V1, V2, ... from the top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast import geometry
from vertecast.anatomy import Structure
from vertecast.geometry import FloatArray
from vertecast.images import Segmentation
from vertecast.measurement.counting import (
    SACRUM_GAP_PITCH,
    THIRTEEN_RIBS,
    Count,
    check_operator_level,
    combine,
    find_slots,
    named,
    operator_count,
    unknown_level,
)
from vertecast.measurement.outline import find_bodies
from vertecast.results import LevelAssignment

SACRUM_MIN_VOLUME_ML: Final = 10.0
"""A sacrum in view: S1 alone holds more than this (an adult sacrum about 200 mL). Smaller pieces are stray voxels."""

RIB_REACH_MM: Final = 36.0
"""A rib's head and neck lie within this distance of its body's centre; the shaft of the rib above does not."""

RIB_MIN_VOLUME_MM3: Final = 100.0
"""Head and neck of a small twelfth rib on one side: about 4 mm thick and 8 mm long inside the reach."""

RIB_NOISE_VOLUME_MM3: Final = 40.0
LARGEST_NOISE_VOLUME_MM3: Final = 80.0
RIB_NOISE_SHARE: Final = 0.08
"""Less than this share of the median rib, held between the two volumes, is no sign of a rib; from there to the least
volume of a rib nothing is concluded. On 40 simulated studies lumbar bodies had up to 0.10 of the median rib, those of
T12 from 0.10."""


FIRST_RIB_SHARE: Final = 0.3
"""Less than this share of the median rib is no first rib. A choice: the first rib is broad, a lumbar or a cervical one
small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbering:
    """The level of every vertebra, cranial to caudal, and what is unusual about the count, for the reader."""

    levels: tuple[LevelAssignment, ...]
    notes: tuple[str, ...] = ()


def assign_levels(segmentation: Segmentation, *, lowest: str | None = None) -> tuple[LevelAssignment, ...]:
    """The levels of `number_vertebrae`."""
    return number_vertebrae(segmentation, lowest=lowest).levels


def number_vertebrae(segmentation: Segmentation, *, lowest: str | None = None) -> Numbering:
    """Name every vertebra: as the label map does that was given, or by counting.

    Args:
        segmentation: What the network found; instances from cranial to caudal.
        lowest: Level of the lowest body found, given by the operator ("L5"); it overrides what is seen.

    Returns:
        One assignment per instance, with notes on six or four lumbar bodies and a thirteenth rib.

    Raises:
        ConfigurationError: ``lowest`` is no level of a vertebra with a body of its own.
    """
    if lowest is not None:
        check_operator_level(lowest)
    if segmentation.count == 0:
        return Numbering(levels=())
    if segmentation.levels and lowest is None:
        given = (LevelAssignment(name=name, source="label map", confidence=1.0) for name in segmentation.levels)
        return Numbering(levels=tuple(given))
    centers = find_bodies(segmentation).centers_lps_mm
    slots = find_slots(centers)
    count = operator_count(lowest) if lowest is not None else _count(segmentation, centers, slots)
    if count is None:
        return Numbering(levels=tuple(unknown_level(n) for n in range(len(slots))))
    return Numbering(levels=named(slots, count), notes=count.notes)


def _count(segmentation: Segmentation, centers: FloatArray, slots: npt.NDArray[np.intp]) -> Count | None:
    """Combine sacrum and ribs. None where neither is in view, or where no body is whole: such pieces are unsure."""
    if all(segmentation.touches_border):
        return None
    missed_below = _missed_above_sacrum(segmentation, centers)
    rib = _last_rib(segmentation, centers)
    return combine(
        below_last_rib=None if rib is None else int(slots[-1] - slots[rib]),
        missed_above_sacrum=missed_below,
        thirteen_ribs=rib is not None and _rib_bearing_run(segmentation, centers, slots, rib) >= THIRTEEN_RIBS,
    )


def _missed_above_sacrum(segmentation: Segmentation, centers: FloatArray) -> int | None:
    """Number of vertebrae (0 or 1) missed between the lowest body and the sacrum; None without a sacrum below it."""
    index = np.argwhere(segmentation.structure == Structure.SACRUM)
    if len(index) * segmentation.spacing_mm**3 < SACRUM_MIN_VOLUME_ML * 1000 or not np.isfinite(centers[-1]).all():
        return None
    points = geometry.apply(segmentation.lps_from_index, index)
    down = _down(centers)
    ahead = points[(points - centers[-1]) @ down > 0]
    if not len(ahead):
        return None
    distance = float(np.linalg.norm(ahead - centers[-1], axis=1).min())
    pitch = float(np.linalg.norm(centers[-1] - centers[-2])) if len(centers) > 1 else 36.0
    pitch = float(np.clip(pitch, 26.0, 45.0))
    missed = round((distance - SACRUM_GAP_PITCH * pitch) / pitch)
    return max(missed, 0) if missed <= 1 else None


def _down(centers: FloatArray) -> FloatArray:
    """Direction of the spine at its lower end."""
    if len(centers) < 2 or not np.isfinite(centers[-2:]).all():
        return np.array([0.0, 0.0, -1.0])
    return geometry.unit(centers[-1] - centers[-2])


def _rib_volumes_mm3(segmentation: Segmentation, centers: FloatArray) -> FloatArray:
    """Larger rib volume of the two sides near every body (mm3). A voxel counts for its own vertebra, or the nearest."""
    index = np.argwhere(segmentation.structure == Structure.RIB)
    volumes = np.zeros(len(centers))
    if not len(index):
        return volumes
    points = geometry.apply(segmentation.lps_from_index, index)
    distance = np.linalg.norm(points[:, None, :] - np.nan_to_num(centers, nan=1e6)[None, :, :], axis=2)
    own = segmentation.instance[tuple(index.T)].astype(np.intp)
    own = np.where(own > 0, own - 1, np.argmin(distance, axis=1))
    near = distance[np.arange(len(own)), own] <= RIB_REACH_MM
    left = points[:, 0] > centers[own, 0]
    for n in range(len(centers)):
        sides = [np.count_nonzero(near & (own == n) & side) for side in (left, ~left)]
        volumes[n] = max(sides) * segmentation.spacing_mm**3
    return volumes


def _last_rib(segmentation: Segmentation, centers: FloatArray) -> int | None:
    """Index of the lowest body that bears a rib, where a whole body below it clearly bears none."""
    volumes = _rib_volumes_mm3(segmentation, centers)
    bearing = np.flatnonzero(volumes >= RIB_MIN_VOLUME_MM3)
    if not len(bearing):
        return None
    last = int(bearing[-1])
    below = range(last + 1, len(centers))
    share = RIB_NOISE_SHARE * float(np.median(volumes[bearing]))
    noise = float(np.clip(share, RIB_NOISE_VOLUME_MM3, LARGEST_NOISE_VOLUME_MM3))
    clear = [n for n in below if volumes[n] < noise and not segmentation.touches_border[n]]
    doubtful = [n for n in below if volumes[n] >= noise]
    supported = last == 0 or volumes[last - 1] >= RIB_MIN_VOLUME_MM3
    return last if clear and not doubtful and supported else None


def _rib_bearing_run(segmentation: Segmentation, centers: FloatArray, slots: npt.NDArray[np.intp], last: int) -> int:
    """Number of places with ribs in one run upwards from the last rib.

    Bodies at its upper end are whole and their ribs of ordinary size: a rib seen at C7 is a piece of the first one.
    """
    volumes = _rib_volumes_mm3(segmentation, centers)
    least = max(RIB_MIN_VOLUME_MM3, FIRST_RIB_SHARE * float(np.median(volumes[volumes >= RIB_MIN_VOLUME_MM3])))
    top = last
    while top > 0 and volumes[top - 1] >= least and not segmentation.touches_border[top - 1]:
        top -= 1
    return int(slots[last] - slots[top]) + 1
