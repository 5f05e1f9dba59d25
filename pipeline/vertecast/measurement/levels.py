"""Naming the vertebrae: by the operator, the sacrum or the last rib; else V1, V2, ... from the top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast import geometry
from vertecast.anatomy import CERVICAL, LUMBAR, THORACIC, Level, Structure
from vertecast.errors import ConfigurationError
from vertecast.geometry import FloatArray
from vertecast.images import Segmentation
from vertecast.measurement.outline import find_bodies
from vertecast.results import LevelAssignment, LevelSource

SACRUM_MIN_VOLUME_ML: Final = 10.0
"""A sacrum in view: S1 alone holds more than this (an adult sacrum about 200 mL). Smaller pieces are stray voxels."""

SACRUM_GAP_PITCH: Final = 0.65
"""Distance from the centre of L5 to the sacrum, in units of the distance between bodies: half a body and a disc."""

RIB_REACH_MM: Final = 36.0
"""A rib's head and neck lie within this distance of its body's centre; the shaft of the rib above does not."""

RIB_MIN_VOLUME_MM3: Final = 100.0
"""Head and neck of a small twelfth rib on one side: about 4 mm thick and 8 mm long inside the reach."""

RIB_NOISE_VOLUME_MM3: Final = 40.0
"""Less than this is no sign of a rib; between the two volumes nothing is concluded."""

GAP_RATIO: Final = 1.6
"""A distance between neighbours beyond this share of the local pitch means that a vertebra was missed."""

CONFIDENCE: Final = {"sacrum+ribs": 0.97, "sacrum": 0.88, "ribs": 0.82}
VARIANT_CONFIDENCE: Final = 0.65
"""4 or 6 lumbar-type bodies: a true variant (about 1 in 10 people), or one error of the segmentation."""
CONFLICT_CONFIDENCE: Final = 0.4
GAP_FACTOR: Final = 0.75
"""Every vertebra that is counted over lowers the confidence of all levels beyond it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    """``lowest``: name of the lowest body found; ``names``: the order of levels that was used, cranial first."""

    names: tuple[str, ...]
    lowest: str
    source: LevelSource
    confidence: float


def assign_levels(segmentation: Segmentation, *, lowest: str | None = None) -> tuple[LevelAssignment, ...]:
    """Name every vertebra.

    Args:
        segmentation: What the network found; instances from cranial to caudal.
        lowest: Level of the lowest body found, given by the operator ("L5"); it overrides what is seen.

    Returns:
        One assignment per instance, cranial to caudal.

    Raises:
        ConfigurationError: ``lowest`` is no level of a vertebra with a body of its own.
    """
    if lowest is not None:
        _check_operator_level(lowest)
    if segmentation.count == 0:
        return ()
    centers = find_bodies(segmentation).centers_lps_mm
    slots = _slots(centers)
    count = _operator_count(lowest) if lowest is not None else _count(segmentation, centers, slots)
    if count is None:
        return tuple(_unknown(n) for n in range(len(slots)))
    return _named(slots, count)


def _check_operator_level(lowest: str) -> None:
    if lowest not in Level.__members__ or Level[lowest] is Level.S1:
        raise ConfigurationError(f"--lowest {lowest}: no such level; name the lowest body in view, such as L5")


def _unknown(n: int) -> LevelAssignment:
    return LevelAssignment(name=f"V{n + 1}", source="unknown", confidence=0.0)


def _slots(centers: FloatArray) -> npt.NDArray[np.intp]:
    """Place of every body in the column, 0 for the top; a missed vertebra leaves its place empty."""
    if len(centers) < 2:
        return np.zeros(len(centers), dtype=np.intp)
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    missed = np.zeros(len(steps), dtype=np.intp)
    for n, step in enumerate(steps):
        others = np.concatenate([steps[max(n - 3, 0) : n], steps[n + 1 : n + 4]])
        others = others[np.isfinite(others)]
        if len(others) and np.isfinite(step) and step > GAP_RATIO * np.median(others):
            missed[n] = round(step / float(np.median(others))) - 1
    return np.concatenate([[0], np.cumsum(1 + missed)])


def _operator_count(lowest: str) -> _Count:
    return _Count(names=_order(lumbar=6 if lowest == "L6" else 5), lowest=lowest, source="operator", confidence=1.0)


def _order(*, lumbar: int = 5, t13: bool = False) -> tuple[str, ...]:
    """Level names from C1 down with the given number of lumbar bodies and, where asked, T13."""
    thoracic = [*THORACIC, *([Level.T13] if t13 else [])]
    return tuple(level.name for level in (*CERVICAL, *thoracic, *(*LUMBAR, Level.L6)[:lumbar]))


def _count(segmentation: Segmentation, centers: FloatArray, slots: npt.NDArray[np.intp]) -> _Count | None:
    """Combine sacrum and ribs. None where neither is in view."""
    missed_below = _missed_above_sacrum(segmentation, centers)
    rib = _last_rib(segmentation, centers)
    if missed_below is None and rib is None:
        return None
    if rib is None:
        assert missed_below is not None
        names = _order()
        return _Count(
            names=names, lowest=names[-1 - missed_below], source="sacrum",
            confidence=CONFIDENCE["sacrum"] * GAP_FACTOR**missed_below,
        )  # fmt: skip
    below = int(slots[-1] - slots[rib])
    thirteen = _rib_bearing_run(segmentation, centers, slots, rib) >= 13
    if missed_below is None:
        names = _order(lumbar=6 if below == 6 else 5, t13=thirteen)
        at = names.index("T13" if thirteen else "T12") + below
        if at >= len(names):
            return None
        return _Count(names=names, lowest=names[at], source="ribs", confidence=CONFIDENCE["ribs"])
    return _agree(below + missed_below, missed_below, thirteen=thirteen)


def _agree(lumbar: int, missed_below: int, *, thirteen: bool) -> _Count:
    """Both landmarks in view with ``lumbar`` bodies between the last rib and the sacrum."""
    if lumbar in (4, 5, 6):
        names = _order(lumbar=lumbar, t13=thirteen)
        variant = lumbar != 5 or thirteen
        confidence = VARIANT_CONFIDENCE if variant else CONFIDENCE["sacrum+ribs"]
        confidence *= GAP_FACTOR**missed_below
        return _Count(names=names, lowest=names[-1 - missed_below], source="sacrum+ribs", confidence=confidence)
    names = _order()
    return _Count(names=names, lowest=names[-1 - missed_below], source="sacrum", confidence=CONFLICT_CONFIDENCE)


def _named(slots: npt.NDArray[np.intp], count: _Count) -> tuple[LevelAssignment, ...]:
    """Count up from the lowest body. Above C1 there is no level: the number from the top stays."""
    result: list[LevelAssignment] = []
    at = count.names.index(count.lowest)
    for n, slot in enumerate(slots):
        place = at - int(slots[-1] - slot)
        gaps = int(slots[-1] - slot) - (len(slots) - 1 - n)
        if place < 0:
            result.append(_unknown(n))
        else:
            confidence = count.confidence * GAP_FACTOR**gaps
            result.append(LevelAssignment(name=count.names[place], source=count.source, confidence=confidence))
    return tuple(result)


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
    clear = [n for n in below if volumes[n] < RIB_NOISE_VOLUME_MM3 and not segmentation.touches_border[n]]
    doubtful = [n for n in below if volumes[n] >= RIB_NOISE_VOLUME_MM3]
    supported = last == 0 or volumes[last - 1] >= RIB_MIN_VOLUME_MM3
    return last if clear and not doubtful and supported else None


def _rib_bearing_run(segmentation: Segmentation, centers: FloatArray, slots: npt.NDArray[np.intp], last: int) -> int:
    """Number of places with ribs in one run upwards from the last rib."""
    volumes = _rib_volumes_mm3(segmentation, centers)
    top = last
    while top > 0 and volumes[top - 1] >= RIB_MIN_VOLUME_MM3:
        top -= 1
    return int(slots[last] - slots[top]) + 1
