"""Cement outside the outline of its vertebra: pieces, compartments, reach and distance to the canal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from vertecast import geometry
from vertecast.anatomy import Compartment, Structure, YeomType
from vertecast.geometry import FloatArray
from vertecast.images import Segmentation
from vertecast.measurement.bone import Z95
from vertecast.measurement.cement_map import MIN_PIECE_ML, CementMap
from vertecast.measurement.endplates import BodyGeometry
from vertecast.results import (
    CementFinding,
    Evidence,
    LeakFinding,
    LevelAssignment,
    Measured,
    NotMeasured,
    Quantity,
)

CANAL_HALF_WIDTH_MM: Final = 11.5
"""Half the interpedicular width where no canal was segmented: 22 to 24 mm from T12 to L4 (Panjabi 1991, 1992)."""

CANAL_DEPTH_MM: Final = 17.0
"""Mid-sagittal depth of the canal, 15 to 19 mm from T1 to L5 (Panjabi 1991, 1992)."""

FORAMEN_DEPTH_MM: Final = 15.0
FORAMEN_WIDTH_MM: Final = 12.0
DISC_REACH_MM: Final = 14.0
"""Where no neighbour was measured, a disc ends at this distance: the tallest lumbar discs are about 12 mm high."""

DISTANT_MM: Final = 40.0
"""Farther than any vein or muscle beside the spine: an embolus or a spill on the way there."""

FRONT_SECTOR: Final = 1.0
"""In front of the body is prevertebral while y, in half depths, exceeds x, in half widths, times this."""

VEIN_MIN_LENGTH_MM: Final = 10.0
VEIN_MAX_SECTION_MM2: Final = 16.0
"""A tube: longer than a blob and with the section of a lumbar vein, up to about 4.5 mm across."""

MIDLINE_SHARE_OF_WIDTH: Final = 0.22
MID_HEIGHT_SHARE: Final = 0.3
"""The basivertebral foramen lies in the midline at mid-height: leaks that leave the bone there are of type B."""

PLACED_BY_BODY: Final = 0.9
PLACED_WITHOUT_BODY: Final = 0.6
"""Confidence in a compartment, on top of that of the vertebra: with the body's own frame, and without it."""

JOIN_MM: Final = 6.0
"""Gap over which pieces in one compartment count as one leak: a vein narrows and widens between its branches."""

SPLIT_SHARE: Final = 0.3
"""A second compartment is reported apart when it holds this share of a connected leak."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leak:
    """One piece in one compartment: voxels of the cement map (n, 3) that are visible, and all that are counted."""

    instance: int
    compartment: Compartment
    visible: npt.NDArray[np.intp]
    counted: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the image comes from: the series and the UID of each slice along the last array axis (may be empty)."""

    series_instance_uid: str
    slice_sop_instance_uids: Sequence[str] = ()


def find_leaks(
    found: CementMap,
    segmentation: Segmentation,
    bodies: Sequence[BodyGeometry | NotMeasured],
    levels: Sequence[LevelAssignment],
    cement: Sequence[CementFinding],
    source: Source,
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
    canal = _canal_points(segmentation, found)
    ids = dict(zip(sorted(found.treated), cement, strict=True))
    findings = []
    for leak in leak_pieces(found, segmentation, bodies):
        body = bodies[leak.instance - 1]
        placed = PLACED_WITHOUT_BODY if isinstance(body, NotMeasured) else PLACED_BY_BODY
        findings.append(
            LeakFinding(
                cement_id=ids[leak.instance].id,
                level=levels[leak.instance - 1].name,
                compartment=leak.compartment,
                yeom_type=_yeom_type(found, leak, body),
                volume=found.volume_ml(leak.counted),
                farthest=_farthest(found, leak),
                canal_distance=_canal_distance(found, leak, canal, segmentation.spacing_mm),
                evidence=_evidence(found, leak, source),
                confidence=segmentation.instance_confidence[leak.instance - 1] * placed,
            )
        )
    return tuple(findings)


def leak_pieces(
    found: CementMap, segmentation: Segmentation, bodies: Sequence[BodyGeometry | NotMeasured]
) -> list[Leak]:
    """Every leak, in the order of `find_leaks`."""
    return _joined(found, _pieces(found, segmentation, bodies))


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
        names = _compartments(found, segmentation, bodies, instance, visible)
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
        instance=instance, compartment=_tube_is_vein(found, mine, compartment), visible=mine, counted=counted
    )  # fmt: skip


def _compartments(
    found: CementMap,
    segmentation: Segmentation,
    bodies: Sequence[BodyGeometry | NotMeasured],
    instance: int,
    visible: npt.NDArray[np.intp],
) -> list[Compartment]:
    """Compartment of every voxel, from labels of the segmentation and the place in the body's own frame."""
    points = geometry.apply(found.lps_from_index, visible)
    structure = _structure_at(segmentation, points)
    body = bodies[instance - 1]
    if isinstance(body, NotMeasured):
        return [Compartment.CANAL if s == Structure.CANAL else Compartment.PREVERTEBRAL for s in structure]
    above = bodies[instance - 2] if instance >= 2 else body
    below = bodies[instance] if instance < len(bodies) else body
    x, y, z = body.local_mm(points).T
    held = np.clip(y, body.anterior_wall_y_mm, body.posterior_wall_y_mm)
    top, bottom = body.superior(x * 0.9, held), body.inferior(x * 0.9, held)
    middle = (body.anterior_wall_y_mm + body.posterior_wall_y_mm) / 2
    xn, yn = np.abs(x) / (body.width_mm / 2), (y - middle) / (body.depth_mm / 2)
    behind = y - body.posterior_wall_y_mm
    footprint = (xn**2.4 + np.abs(yn) ** 2.4) <= 1.1
    canal_side = np.abs(x) <= CANAL_HALF_WIDTH_MM
    canal = (structure == Structure.CANAL) | (
        canal_side & (behind > -0.5) & (behind <= CANAL_DEPTH_MM) & (structure != Structure.POSTERIOR)
    )
    far = found.outside_mm[tuple(visible.T)] > DISTANT_MM
    reach_up, reach_down = _disc_reach(above, body, points, 1.0), _disc_reach(below, body, points, -1.0)
    foramen = (behind > -4) & (behind <= FORAMEN_DEPTH_MM) & ~canal_side
    foramen &= (np.abs(x) <= CANAL_HALF_WIDTH_MM + FORAMEN_WIDTH_MM) & (z < 0) & (structure != Structure.POSTERIOR)
    tract = (behind > 0) & ((structure == Structure.POSTERIOR) | (behind > FORAMEN_DEPTH_MM) | (z >= 0))
    front = (yn < 0) & (-yn >= FRONT_SECTOR * xn)
    rules: list[tuple[npt.NDArray[np.bool_], Compartment]] = [
        (far, Compartment.DISTANT),
        (canal, Compartment.CANAL),
        (footprint & (z > (top + bottom) / 2) & reach_up, Compartment.DISC_SUPERIOR),
        (footprint & (z <= (top + bottom) / 2) & reach_down, Compartment.DISC_INFERIOR),
        (foramen, Compartment.FORAMEN),
        (tract, Compartment.NEEDLE_TRACT),
        (front, Compartment.PREVERTEBRAL),
        (x > 0, Compartment.PARAVERTEBRAL_LEFT),
    ]
    result = np.full(len(visible), len(rules))
    for n in reversed(range(len(rules))):
        result[rules[n][0]] = n
    names = [*(c for _, c in rules), Compartment.PARAVERTEBRAL_RIGHT]
    return [names[n] for n in result]


def _disc_reach(
    other: BodyGeometry | NotMeasured, body: BodyGeometry, points: FloatArray, side: float
) -> npt.NDArray[np.bool_]:
    """Points beyond the endplate on one side (+1 superior) and before the facing endplate of the next body."""
    x, y, z = body.local_mm(points).T
    held = np.clip(y, body.anterior_wall_y_mm, body.posterior_wall_y_mm)
    own = body.superior(x * 0.9, held) if side > 0 else body.inferior(x * 0.9, held)
    beyond = side * (z - own)
    if isinstance(other, NotMeasured) or other is body:
        return np.asarray((beyond > -1.0) & (beyond <= DISC_REACH_MM))
    xo, yo, zo = other.local_mm(points).T
    yo = np.clip(yo, other.anterior_wall_y_mm, other.posterior_wall_y_mm)
    facing = other.inferior(xo * 0.9, yo) if side > 0 else other.superior(xo * 0.9, yo)
    return np.asarray((beyond > -1.0) & (side * (zo - facing) < 1.0))


def _structure_at(segmentation: Segmentation, points: FloatArray) -> npt.NDArray[np.uint8]:
    index = np.rint(geometry.apply(geometry.inverse(segmentation.lps_from_index), points)).astype(int)
    index = np.clip(index, 0, np.array(segmentation.structure.shape) - 1)
    return np.asarray(segmentation.structure[tuple(index.T)])


def _tube_is_vein(found: CementMap, visible: npt.NDArray[np.intp], compartment: Compartment) -> Compartment:
    """Long thin cement beside or in front of the body runs in a vein."""
    beside = (Compartment.PREVERTEBRAL, Compartment.PARAVERTEBRAL_LEFT, Compartment.PARAVERTEBRAL_RIGHT)
    if compartment not in beside or len(visible) < 4:
        return compartment
    points = geometry.apply(found.lps_from_index, visible)
    axis = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
    length = float(np.ptp(points @ axis))
    section = float(found.fraction[tuple(visible.T)].sum()) * geometry.voxel_volume_mm3(found.lps_from_index)
    tube = length >= VEIN_MIN_LENGTH_MM and section / length <= VEIN_MAX_SECTION_MM2
    return Compartment.VEIN if tube else compartment


def _yeom_type(found: CementMap, leak: Leak, body: BodyGeometry | NotMeasured) -> YeomType | NotMeasured:
    """Route of a leak, judged where it lies nearest to the bone."""
    compartment = leak.compartment
    if compartment in (Compartment.DISC_SUPERIOR, Compartment.DISC_INFERIOR):
        return YeomType.DISC
    if compartment is Compartment.VEIN:
        return YeomType.SEGMENTAL
    if compartment in (Compartment.NEEDLE_TRACT, Compartment.DISTANT):
        return NotMeasured(reason="the types describe how cement leaves the body, not this compartment")
    if compartment is not Compartment.CANAL:
        return YeomType.CORTICAL
    if isinstance(body, NotMeasured):
        return body
    distance = found.outside_mm[tuple(leak.visible.T)]
    exit_voxels = leak.visible[distance <= distance.min() + 1.5]
    x, _, z = body.local_mm(geometry.apply(found.lps_from_index, exit_voxels)).mean(axis=0)
    midline = abs(x) <= MIDLINE_SHARE_OF_WIDTH * body.width_mm
    mid_height = abs(z) <= MID_HEIGHT_SHARE * body.heights_mm["posterior"]
    return YeomType.BASIVERTEBRAL if midline and mid_height else YeomType.CORTICAL


def _farthest(found: CementMap, leak: Leak) -> Quantity:
    """Largest distance from the bony outline (mm)."""
    value = float(max(found.outside_mm[tuple(leak.visible.T)].max(), 0.0))
    error = Z95 * 0.3 * float(geometry.spacing_mm(found.lps_from_index).max())
    return Quantity(value=value, unit="mm", interval95=(max(value - error, 0.0), value + error))


def _canal_points(segmentation: Segmentation, found: CementMap) -> FloatArray:
    """Canal voxels (n, 3) in LPS mm near the cement map."""
    corners = geometry.corner_points_lps_mm(found.lps_from_index, found.piece.shape)
    low = geometry.apply(geometry.inverse(segmentation.lps_from_index), corners.min(axis=0) - 40.0)
    high = geometry.apply(geometry.inverse(segmentation.lps_from_index), corners.max(axis=0) + 40.0)
    first = np.maximum(np.floor(low), 0).astype(int)
    last = np.maximum(np.ceil(high), 0).astype(int)
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
    index = np.argwhere(segmentation.structure[box] == Structure.CANAL) + first
    return geometry.apply(segmentation.lps_from_index, index)


def _canal_distance(found: CementMap, leak: Leak, canal: FloatArray, step_mm: float) -> Measured:
    """Smallest distance to the canal (mm), 0 within it."""
    if leak.compartment is Compartment.CANAL:
        return Quantity(value=0.0, unit="mm")
    if not len(canal):
        return NotMeasured(reason="the canal was not segmented here")
    points = geometry.apply(found.lps_from_index, leak.visible)
    value = max(float(cKDTree(canal).query(points)[0].min()) - step_mm / 2, 0.0)
    return Quantity(value=value, unit="mm", interval95=(max(value - step_mm, 0.0), value + step_mm))


def _evidence(found: CementMap, leak: Leak, source: Source) -> Evidence:
    """The visible voxel nearest to the middle of the piece, and its slice."""
    center = leak.visible.mean(axis=0)
    voxel = leak.visible[int(np.argmin(((leak.visible - center) ** 2).sum(axis=1)))]
    point = geometry.apply(found.lps_from_index, voxel)
    at = int(voxel[2]) + found.first_index[2]
    uids = source.slice_sop_instance_uids
    return Evidence(
        series_instance_uid=source.series_instance_uid,
        slice_number=at + 1,
        sop_instance_uid=uids[at] if at < len(uids) else None,
        point_lps_mm=(float(point[0]), float(point[1]), float(point[2])),
    )
