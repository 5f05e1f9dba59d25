"""Cement outside the outline of its vertebra: pieces, compartments, reach and distance to the canal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import ndtr

from vertecast.core import geometry
from vertecast.core.anatomy import Compartment
from vertecast.core.images import Segmentation
from vertecast.core.results import CementFinding, LeakFinding, LevelAssignment, NotMeasured
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.cement.compartments import compartments, yeom_type
from vertecast.measurement.ct.cement.leak_relations import (
    ImageSource,
    across_disc,
    canal_contact,
    canal_distance,
    canal_fill,
    canal_near,
    evidence_at,
    farthest,
)
from vertecast.measurement.ct.cement.map import MIN_PIECE_ML, CementMap

__all__ = ["ImageSource", "Leak", "find_leaks"]

PLACED_BY_BODY: Final = 0.9
PLACED_WITHOUT_BODY: Final = 0.6
"""Confidence in a compartment, on top of that of the vertebra: with the body's own frame, and without it."""

JOIN_MM: Final = 6.0
"""Gap over which pieces in one compartment count as one leak: a vein narrows and widens between its branches."""

SPLIT_SHARE: Final = 0.3
"""A second compartment is reported apart when it holds this share of a connected leak."""

NO_NEIGHBOUR: Final = NotMeasured(reason="no body was found across the disc")
_DISC_SIDES: Final = {Compartment.DISC_SUPERIOR: 1.0, Compartment.DISC_INFERIOR: -1.0}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leak:
    """One piece in one compartment: voxels of the cement map (n, 3) that are visible, and all that are counted."""

    instance: int
    compartment: Compartment
    visible: npt.NDArray[np.intp]
    counted: npt.NDArray[np.bool_]


def find_leaks(
    found: CementMap,
    segmentation: Segmentation,
    bodies: Sequence[BodyGeometry | NotMeasured],
    levels: Sequence[LevelAssignment],
    cement: Sequence[CementFinding],
    source: ImageSource,
) -> tuple[LeakFinding, ...]:
    """Describe every leak of at least `MIN_PIECE_ML`.

    Args:
        found: Cement on the native grid.
        segmentation: What the network found.
        bodies: Geometry of every vertebra, or why there is none.
        levels: One per vertebra.
        cement: Findings that the leaks belong to, in the order of the treated instances.
        source: Series and slices of the native volume.
    """
    canal = canal_near(segmentation, found)
    ids = dict(zip(sorted(found.treated), cement, strict=True))
    findings = []
    for leak in leak_pieces(found, segmentation, bodies):
        body = bodies[leak.instance - 1]
        placed = PLACED_WITHOUT_BODY if isinstance(body, NotMeasured) else PLACED_BY_BODY
        distance = canal_distance(found, leak.compartment, leak.visible, canal)
        side = _DISC_SIDES.get(leak.compartment)
        crossed, touched = (
            (None, None) if side is None else across_disc(found, leak.visible, side, *_pair(bodies, leak))
        )
        in_canal = leak.compartment is Compartment.CANAL
        findings.append(
            LeakFinding(
                cement_id=ids[leak.instance].id,
                level=levels[leak.instance - 1].name,
                compartment=leak.compartment,
                yeom_type=yeom_type(found, leak.compartment, leak.visible, body),
                volume=found.volume_ml(leak.counted),
                farthest=farthest(found, leak.visible),
                canal_distance=distance,
                canal_contact=canal_contact(distance),
                canal_fill=canal_fill(found, leak.counted, canal, body) if in_canal else None,
                disc_crossed=crossed,
                neighbour_contact=touched,
                evidence=evidence_at(found.lps_from_index, leak.visible, source, found.first_index[2]),
                confidence=segmentation.instance_confidence[leak.instance - 1] * placed * _outside(found, leak, body),
            )
        )
    return tuple(findings)


def leak_pieces(
    found: CementMap, segmentation: Segmentation, bodies: Sequence[BodyGeometry | NotMeasured]
) -> list[Leak]:
    """Every leak, in the order of `find_leaks`."""
    return _joined(found, _pieces(found, segmentation, bodies))


def _outside(found: CementMap, leak: Leak, body: BodyGeometry | NotMeasured) -> float:
    """How sure it is that a leak lies outside, by its reach against the error of the body's own endplates."""
    if isinstance(body, NotMeasured):
        return 1.0
    error_mm = max(body.height_sd_mm.values()) / np.sqrt(2)
    return float(ndtr(farthest(found, leak.visible).value / max(error_mm, 1e-3)))


def _pair(
    bodies: Sequence[BodyGeometry | NotMeasured], leak: Leak
) -> tuple[BodyGeometry | NotMeasured, BodyGeometry | NotMeasured]:
    """The body that a disc leak comes from, and the one across the disc."""
    at = leak.instance - 1
    other = at - 1 if leak.compartment is Compartment.DISC_SUPERIOR else at + 1
    return bodies[at], bodies[other] if 0 <= other < len(bodies) else NO_NEIGHBOUR


def _pieces(found: CementMap, segmentation: Segmentation, bodies: Sequence[BodyGeometry | NotMeasured]) -> list[Leak]:
    """Every connected leak, divided where it clearly fills two compartments."""
    leaks: list[Leak] = []
    voxel_ml = geometry.voxel_volume_mm3(found.lps_from_index) / 1000
    for number, box in enumerate(ndimage.find_objects(found.piece), start=1):
        if box is None:
            continue
        start = np.array([s.start for s in box])
        own = found.piece[box] == number
        visible = np.argwhere(own & found.mask[box]) + start
        if not len(visible):
            continue
        instance = int(np.bincount(found.vertebra[tuple(visible.T)]).argmax())
        names = compartments(found, segmentation, bodies, instance, visible)
        kept = _kept(names, found.fraction[tuple(visible.T)] * voxel_ml)
        for name in kept:
            mine = visible[[_owner(n, kept) == name for n in names]]
            leaks.append(_leak(found, (box, own), instance, name, (mine, visible)))
    return leaks


def _joined(found: CementMap, leaks: Sequence[Leak]) -> list[Leak]:
    """Pieces of one vertebra in one compartment with a small gap between them are one leak whose neck was too thin."""
    result: list[Leak] = []
    for leak in leaks:
        points = geometry.apply(found.lps_from_index, leak.visible)
        for n, other in enumerate(result):
            if (other.instance, other.compartment) != (leak.instance, leak.compartment):
                continue
            tree = cKDTree(geometry.apply(found.lps_from_index, other.visible))
            if tree.query(points)[0].min() <= JOIN_MM:
                result[n] = Leak(
                    instance=leak.instance,
                    compartment=leak.compartment,
                    visible=np.concatenate([other.visible, leak.visible]),
                    counted=other.counted | leak.counted,
                )
                break
        else:
            result.append(leak)
    return result


def _kept(names: Sequence[Compartment], volumes_ml: npt.NDArray[np.float32]) -> list[Compartment]:
    """Compartments of one connected leak worth a line of their own, largest first; at least one."""
    totals = {c: float(volumes_ml[[n == c for n in names]].sum()) for c in dict.fromkeys(names)}
    order = sorted(totals, key=lambda c: -totals[c])
    whole = sum(totals.values())
    return [c for n, c in enumerate(order) if n == 0 or totals[c] >= max(MIN_PIECE_ML, SPLIT_SHARE * whole)]


def _owner(name: Compartment, kept: Sequence[Compartment]) -> Compartment:
    return name if name in kept else kept[0]


def _leak(
    found: CementMap,
    place: tuple[tuple[slice, ...], npt.NDArray[np.bool_]],
    instance: int,
    compartment: Compartment,
    voxels: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
) -> Leak:
    """Counted voxels go with the nearest visible one, so that the parts of a divided leak add up."""
    (box, own), (mine, every) = place, voxels
    start = np.array([s.start for s in box])
    is_mine = np.zeros(own.shape, dtype=bool)
    is_mine[tuple((mine - start).T)] = True
    counted = np.zeros(found.piece.shape, dtype=bool)
    if len(mine) == len(every):
        counted[box] = own
    else:
        is_visible = np.zeros(own.shape, dtype=bool)
        is_visible[tuple((every - start).T)] = True
        spacing = geometry.spacing_mm(found.lps_from_index)
        index = ndimage.distance_transform_edt(
            ~is_visible, sampling=spacing, return_distances=False, return_indices=True
        )  # fmt: skip
        counted[box] = own & is_mine[tuple(index)]
    return Leak(
        instance=instance, compartment=compartment, visible=mine, counted=counted
    )  # fmt: skip
