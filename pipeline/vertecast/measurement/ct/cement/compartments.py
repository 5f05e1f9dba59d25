"""In which compartment cement outside the bone lies, and by which route it got there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import Compartment, Structure, YeomType
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation
from vertecast.core.results import NotMeasured
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.cement.map import CementMap

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

DETACHED_MM: Final = 20.0
"""A piece that begins farther from the bone than this has travelled: the caval and segmental veins and spilled cement
lie against the spine."""

FRONT_SECTOR: Final = 1.0
"""In front of the body is prevertebral while y, in half depths, exceeds x, in half widths, times this."""

VEIN_SLENDERNESS: Final = 3.0
VEIN_MAX_SECTION_MM2: Final = 16.0
"""A tube: this many times longer than wide, with the section of a lumbar vein, up to about 4.5 mm across."""

BESIDE: Final = (Compartment.PREVERTEBRAL, Compartment.PARAVERTEBRAL_LEFT, Compartment.PARAVERTEBRAL_RIGHT)

MIDLINE_SHARE_OF_WIDTH: Final = 0.22
MID_HEIGHT_SHARE: Final = 0.3
"""The basivertebral foramen lies in the midline at mid-height: leaks that leave the bone there are of type B."""

NO_ROUTE: Final = NotMeasured(reason="the types do not name the way along the needle")


def compartments(
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
    is_disc = structure == Structure.DISC
    canal_side = np.abs(x) <= CANAL_HALF_WIDTH_MM
    canal = (structure == Structure.CANAL) | (
        canal_side & (behind > -0.5) & (behind <= CANAL_DEPTH_MM) & (structure != Structure.POSTERIOR)
    )
    away = found.outside_mm[tuple(visible.T)]
    far = (away > DISTANT_MM) | ((behind < 0) & bool(away.min() > DETACHED_MM))
    disc_above = _disc_reach(above, body, points, 1.0) & (is_disc | _faces_plates(body, above, points))
    disc_below = _disc_reach(below, body, points, -1.0) & (is_disc | _faces_plates(body, below, points))
    foramen = (behind > -4) & (behind <= FORAMEN_DEPTH_MM) & ~canal_side
    foramen &= (np.abs(x) <= CANAL_HALF_WIDTH_MM + FORAMEN_WIDTH_MM) & (z < 0) & (structure != Structure.POSTERIOR)
    tract = (behind > 0) & ((structure == Structure.POSTERIOR) | (behind > FORAMEN_DEPTH_MM) | (z >= 0))
    front = (yn < 0) & (-yn >= FRONT_SECTOR * xn)
    rules: list[tuple[npt.NDArray[np.bool_], Compartment]] = [
        (far, Compartment.DISTANT),
        (canal, Compartment.CANAL),
        (disc_above & (z > (top + bottom) / 2), Compartment.DISC_SUPERIOR),
        (disc_below & (z <= (top + bottom) / 2), Compartment.DISC_INFERIOR),
        (foramen, Compartment.FORAMEN),
        (tract, Compartment.NEEDLE_TRACT),
        (front, Compartment.PREVERTEBRAL),
        (x > 0, Compartment.PARAVERTEBRAL_LEFT),
    ]
    result = np.full(len(visible), len(rules))
    for n in reversed(range(len(rules))):
        result[rules[n][0]] = n
    names = [*(c for _, c in rules), Compartment.PARAVERTEBRAL_RIGHT]
    return _with_vein(found, visible, [names[n] for n in result])


def own_endplate_mm(body: BodyGeometry, points_lps_mm: FloatArray, side: float) -> FloatArray:
    """Height (mm) of points (n, 3) beyond an endplate of the body, along its axis.

    Args:
        body: Geometry of the body.
        points_lps_mm: Points.
        side: +1 for the superior endplate, -1 for the inferior one.
    """
    x, y, z = body.local_mm(points_lps_mm).T
    held = np.clip(y, body.anterior_wall_y_mm, body.posterior_wall_y_mm)
    # Surfaces are held a little inside the rim: beyond it no line was traced.
    plate = body.superior(x * 0.9, held) if side > 0 else body.inferior(x * 0.9, held)
    return np.asarray(side * (z - plate))


def facing_endplate_mm(neighbour: BodyGeometry, points_lps_mm: FloatArray, side: float) -> FloatArray:
    """Distance (mm) of points (n, 3) before the facing endplate of the next body on that side, along its axis."""
    return own_endplate_mm(neighbour, points_lps_mm, -side)


def _disc_reach(
    other: BodyGeometry | NotMeasured, body: BodyGeometry, points: FloatArray, side: float
) -> npt.NDArray[np.bool_]:
    """Points beyond the endplate on one side (+1 superior) and before the facing endplate of the next body."""
    beyond = own_endplate_mm(body, points, side)
    if isinstance(other, NotMeasured) or other is body:
        return np.asarray((beyond > -1.0) & (beyond <= DISC_REACH_MM))
    return np.asarray((beyond > -1.0) & (facing_endplate_mm(other, points, side) > -1.0))


def _faces_plates(body: BodyGeometry, other: BodyGeometry | NotMeasured, points: FloatArray) -> npt.NDArray[np.bool_]:
    """Points over the endplates of the body or of the next one: the front of a wedged body lies behind its disc's."""
    own = _in_footprint(body, points)
    return own if isinstance(other, NotMeasured) else own | _in_footprint(other, points)


def _in_footprint(body: BodyGeometry, points: FloatArray) -> npt.NDArray[np.bool_]:
    """Points within the body's outline as it is seen from above."""
    x, y, _ = body.local_mm(points).T
    middle = (body.anterior_wall_y_mm + body.posterior_wall_y_mm) / 2
    return np.asarray(np.abs(x / (body.width_mm / 2)) ** 2.4 + np.abs((y - middle) / (body.depth_mm / 2)) ** 2.4 <= 1.1)


def _structure_at(segmentation: Segmentation, points: FloatArray) -> npt.NDArray[np.uint8]:
    index = np.rint(geometry.apply(geometry.inverse(segmentation.lps_from_index), points)).astype(int)
    index = np.clip(index, 0, np.array(segmentation.structure.shape) - 1)
    return np.asarray(segmentation.structure[tuple(index.T)])


def _with_vein(found: CementMap, visible: npt.NDArray[np.intp], names: list[Compartment]) -> list[Compartment]:
    """Long thin cement beside or in front of the body runs in a vein, and so does its end in the foramen.

    The shape is that of all of it together: a vein round the waist passes from one side to the front.
    """
    beside = np.array([name in BESIDE for name in names])
    if np.count_nonzero(beside) < 4:
        return names
    points = geometry.apply(found.lps_from_index, visible[beside])
    axis = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
    length = max(float(np.ptp(points @ axis)), 1e-3)
    volume = float(found.fraction[tuple(visible[beside].T)].sum()) * geometry.voxel_volume_mm3(found.lps_from_index)
    section = max(volume, 0.0) / length
    if section > VEIN_MAX_SECTION_MM2 or length < VEIN_SLENDERNESS * 2 * np.sqrt(section / np.pi):
        return names
    return [Compartment.VEIN if name in (*BESIDE, Compartment.FORAMEN) else name for name in names]


def yeom_type(
    found: CementMap, compartment: Compartment, visible: npt.NDArray[np.intp], body: BodyGeometry | NotMeasured
) -> YeomType | NotMeasured:
    """Route of a leak, judged where it lies nearest to the bone.

    Args:
        found: Cement on the native grid.
        compartment: Where the leak lies.
        visible: Its voxels (n, 3).
        body: Geometry of its vertebra.
    """
    if compartment in (Compartment.DISC_SUPERIOR, Compartment.DISC_INFERIOR):
        return YeomType.DISC
    if compartment in (Compartment.VEIN, Compartment.DISTANT):
        # Cement gets far from the spine by its veins alone.
        return YeomType.SEGMENTAL
    if compartment is Compartment.NEEDLE_TRACT:
        return NO_ROUTE
    if compartment is not Compartment.CANAL:
        return YeomType.CORTICAL
    if isinstance(body, NotMeasured):
        return body
    distance = found.outside_mm[tuple(visible.T)]
    exit_voxels = visible[distance <= distance.min() + 1.5]
    x, _, z = body.local_mm(geometry.apply(found.lps_from_index, exit_voxels)).mean(axis=0)
    midline = abs(x) <= MIDLINE_SHARE_OF_WIDTH * body.width_mm
    mid_height = abs(z) <= MID_HEIGHT_SHARE * body.heights_mm["posterior"]
    return YeomType.BASIVERTEBRAL if midline and mid_height else YeomType.CORTICAL
