"""Naming the vertebrae: by the operator, the label map, or what the column shows; else V1, V2, ... from the top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation
from vertecast.core.results import LevelAssignment, LevelSource
from vertecast.measurement.ct.body.outline import find_bodies
from vertecast.measurement.ct.column_levels import COLUMNS, ColumnEvidence, Naming, Rib, level_probabilities, namings
from vertecast.measurement.shared.counting import (
    SACRUM_GAP_PITCH,
    find_slots,
    operator_levels,
    unknown_level,
)

SACRUM_MIN_VOLUME_ML: Final = 10.0
"""A sacrum in view: S1 alone holds more than this (an adult sacrum about 200 mL). Smaller pieces are stray voxels."""

RIB_REACH_MM: Final = 36.0
"""A rib's head and neck lie within this distance of its body's centre; the shaft of the rib above does not."""

RIB_MIN_VOLUME_MM3: Final = 100.0
"""Head and neck of a small twelfth rib on one side: about 4 mm thick and 8 mm long inside the reach."""

RIB_NOISE_VOLUME_MM3: Final = 40.0
LARGEST_NOISE_VOLUME_MM3: Final = 120.0
RIB_NOISE_SHARE: Final = 0.1
"""Less than this share of the median rib, held between the two volumes, is no sign of a rib. On 40 simulated studies
lumbar bodies had up to 0.10 of the median rib, those of T12 from 0.10."""

SMALL_RIB_SHARE: Final = 0.3
"""Less than this share of the median rib is a small one: the first rib is broad; a lumbar or a cervical one, the
twelfth, or a piece of the first that lies beside C7, is small. A choice."""

LEAST_PROBABILITY: Final = 0.9
"""A level that is less likely is not named."""

MISSED_SURE: Final = 0.97
"""Every vertebra that is counted over lowers the probability of all levels beyond it by this factor. A choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbering:
    """The level of every vertebra, cranial to caudal, and what is unusual about the count, for the reader."""

    levels: tuple[LevelAssignment, ...]
    notes: tuple[str, ...] = ()


def assign_levels(
    segmentation: Segmentation, *, lowest: str | None = None, highest: str | None = None
) -> tuple[LevelAssignment, ...]:
    """The levels of `number_vertebrae`."""
    return number_vertebrae(segmentation, lowest=lowest, highest=highest).levels


def number_vertebrae(segmentation: Segmentation, *, lowest: str | None = None, highest: str | None = None) -> Numbering:
    """Name every vertebra: as the label map does that was given, or by counting.

    Args:
        segmentation: What the network found; instances from cranial to caudal.
        lowest: Level of the lowest body found, given by the operator ("L5"); it overrides what is seen.
        highest: The same of the highest body, instead.

    Returns:
        One assignment per instance; notes on a column of another kind than the usual one, or on why none is named.

    Raises:
        ConfigurationError: both ends are given, or a level that is none of a vertebra with a body of its own.
    """
    centers = find_bodies(segmentation).centers_lps_mm
    slots = find_slots(centers)
    given = operator_levels(slots, lowest, highest)
    if given is not None:
        return Numbering(levels=given)
    if segmentation.count == 0:
        return Numbering(levels=())
    if segmentation.levels:
        return Numbering(
            levels=tuple(LevelAssignment(name=name, source="label map", confidence=1.0) for name in segmentation.levels)
        )
    evidence = _evidence(segmentation, centers, slots)
    seen = any(rib != Rib.NONE for rib in evidence.ribs), evidence.missed_above_sacrum is not None
    found = namings(evidence) if any(seen) and any(evidence.whole) else ()
    if not found:  # sizes alone, or pieces of bodies alone, name nothing
        return Numbering(levels=tuple(unknown_level(n) for n in range(len(slots))))
    return _named(found, slots, SOURCES[seen])


SOURCES: Final[dict[tuple[bool, bool], LevelSource]] = {
    (True, True): "sacrum+ribs",
    (True, False): "ribs",
    (False, True): "sacrum",
}
"""What the levels rest on, by whether ribs and a sacrum are in view."""


def _evidence(segmentation: Segmentation, centers: FloatArray, slots: npt.NDArray[np.intp]) -> ColumnEvidence:
    return ColumnEvidence(
        places=slots.tolist(),
        gaps_mm=np.linalg.norm(np.diff(centers, axis=0), axis=1).tolist(),
        ribs=_ribs(_rib_volumes_mm3(segmentation, centers)),
        whole=[not cut for cut in segmentation.touches_border],
        missed_above_sacrum=_missed_above_sacrum(segmentation, centers),
    )


def _named(found: tuple[Naming, ...], slots: npt.NDArray[np.intp], source: LevelSource) -> Numbering:
    """The likeliest naming, but for levels that are not likely enough."""
    best, probabilities = found[0], level_probabilities(found)
    # What anchors the column may lie at either end; a wrong count of missed bodies shifts one side of it.
    missed = (slots - slots[0]) - np.arange(len(slots))
    sure = MISSED_SURE ** np.minimum(missed, missed[-1] - missed)
    levels = []
    for n, level in enumerate(best.levels):
        probability = float(probabilities[n][level] * sure[n])
        known = LevelAssignment(name=level.name, source=source, confidence=probability)
        levels.append(known if probability >= LEAST_PROBABILITY else unknown_level(n))
    unknown = next((n for n, level in enumerate(levels) if level.source == "unknown"), None)
    if unknown is None:
        return Numbering(levels=tuple(levels), notes=_variant(best))
    likely = sorted(probabilities[unknown].items(), key=lambda pair: -pair[1])[:2]
    told = " or ".join(f"{level.name} ({share:.0%})" for level, share in likely)
    note = f"levels cannot be told for certain: {levels[unknown].name} is {told}; --lowest or --highest names them all"
    return Numbering(levels=tuple(levels), notes=(note,))


def _variant(best: Naming) -> tuple[str, ...]:
    """What is said of a column of another kind than the usual one."""
    if best.column == COLUMNS[0][0]:
        return ()
    lumbar = sum(level.is_lumbar for level in best.column)
    thoracic = sum(level.is_thoracic for level in best.column)
    return (f"an unusual column: {thoracic} thoracic and {lumbar} lumbar bodies",)


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


def _ribs(volumes_mm3: FloatArray) -> list[Rib]:
    """What is seen at every body, by the volumes of the larger side."""
    bearing = volumes_mm3[volumes_mm3 >= RIB_MIN_VOLUME_MM3]
    usual = float(np.median(bearing)) if len(bearing) else 0.0
    noise = float(np.clip(RIB_NOISE_SHARE * usual, RIB_NOISE_VOLUME_MM3, LARGEST_NOISE_VOLUME_MM3))
    rib = max(RIB_MIN_VOLUME_MM3, SMALL_RIB_SHARE * usual)
    return [Rib.NONE if one < noise else Rib.SMALL if one < rib else Rib.RIB for one in volumes_mm3]
