"""Leaks suspected in one projection image: cement beyond the outline of its body, by the compartment it lies over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core.anatomy import Compartment
from vertecast.core.geometry import FloatArray
from vertecast.core.images import View
from vertecast.core.results import CementFinding, Evidence, LeakFinding, LevelAssignment, Measured, NotMeasured
from vertecast.measurement.projection.bodies import BoolImage, MeasuredPlane, PlaneBody
from vertecast.measurement.projection.cement import ProjectedCement, area_of, share_of
from vertecast.measurement.projection.heights import NO_VOLUME, pixel

TOLERANCE_SHARE: Final = 0.06
"""Cement counts as outside from this share of the body's depth beyond its outline, about 2 mm: twice the corner error
that outlines reach on films (2.9 to 4.0 % of the depth, ziaf017), so that an outline that is off is no leak."""

MIN_AREA_SHARE: Final = 0.01
"""Smallest leak, as share of the body's area: about 10 mm2, a ball of 0.02 mL. A smaller one is an edge's error."""

CANAL_SHARE: Final = 0.55
"""Depth of the canal over that of a lumbar body: 17 mm (Panjabi 1991, 1992) over 31 mm. Farther behind lie the arches
and muscles, where needles pass."""

SUSPECTED_CONFIDENCE: Final = 0.7
"""Confidence in a compartment that is seen along one direction alone."""

NO_ROUTE: Final = NotMeasured(reason="a projection does not show the way that cement took")
NO_CANAL_DISTANCE: Final = NotMeasured(reason="a projection does not show the walls of the canal")

VISIBLE: Final[dict[View, tuple[Compartment, ...]]] = {
    "lateral": (
        Compartment.DISC_SUPERIOR, Compartment.DISC_INFERIOR, Compartment.CANAL, Compartment.PREVERTEBRAL,
        Compartment.NEEDLE_TRACT,
    ),
    "ap": (
        Compartment.DISC_SUPERIOR, Compartment.DISC_INFERIOR, Compartment.PARAVERTEBRAL_LEFT,
        Compartment.PARAVERTEBRAL_RIGHT,
    ),
    "oblique": (Compartment.DISC_SUPERIOR, Compartment.DISC_INFERIOR),
}  # fmt: skip
"""Compartments that a view can tell apart. What lies over the body, or beside it on a lateral view, it cannot show."""


def find_projection_leaks(
    found: ProjectedCement,
    bodies: Sequence[PlaneBody | NotMeasured],
    levels: Sequence[LevelAssignment],
    cement: Sequence[CementFinding],
    plane: MeasuredPlane,
    *,
    view: View,
    series_instance_uid: str,
    frame_number: int = 1,
    confidences: Sequence[float],
) -> tuple[LeakFinding, ...]:
    """Every leak that the view makes one suspect: one per body and compartment, largest first in each body.

    Args:
        found: Cement with the bodies it belongs to.
        bodies: Geometry of every body; cement of a body without it has no leak.
        levels: One per body.
        cement: Findings that the leaks belong to, in the order of the treated bodies.
        plane: Of the picture.
        view: Decides which compartments can be told.
        series_instance_uid: Of the image.
        frame_number: Of the image in its cine, from 1.
        confidences: Of the network, one per body.
    """
    ids = {finding.level: finding.id for finding in cement}
    findings = []
    for n in sorted(found.treated):
        body = bodies[n - 1]
        if isinstance(body, NotMeasured):
            continue
        body_px = int(np.count_nonzero(found.outline == n))
        for compartment, mask, farthest in leak_masks(found, n, body, plane, view):
            rows, columns = np.nonzero(mask)
            findings.append(
                LeakFinding(
                    cement_id=ids.get(levels[n - 1].name, f"C{n}"),
                    level=levels[n - 1].name,
                    compartment=compartment,
                    suspected=True,
                    yeom_type=NO_ROUTE,
                    volume=NO_VOLUME,
                    area=area_of(mask, plane),
                    area_fraction=share_of(mask, body_px),
                    farthest=_farthest(farthest, plane),
                    canal_distance=NO_CANAL_DISTANCE,
                    evidence=Evidence(
                        series_instance_uid=series_instance_uid,
                        frame_number=frame_number,
                        point_px=pixel(_middle(columns, rows)),
                    ),
                    confidence=confidences[n - 1] * SUSPECTED_CONFIDENCE,
                )
            )
    return tuple(findings)


def leak_masks(
    found: ProjectedCement, n: int, body: PlaneBody, plane: MeasuredPlane, view: View
) -> list[tuple[Compartment, BoolImage, float]]:
    """Leaked cement of body ``n`` by compartment, largest first: its pixels, and their reach from the outline."""
    own = (found.owner == n) & (found.outline != n)
    if not own.any():
        return []
    box = _box(found.owner == n, found.outline == n)
    distance = ndimage.distance_transform_edt(found.outline[box] != n, sampling=(plane.row, plane.column))
    tolerance, area = TOLERANCE_SHARE * body.depth, int(np.count_nonzero(found.outline == n))
    beyond = own[box] & (distance > tolerance / 2)
    rows, columns = np.nonzero(beyond)
    points = np.stack([columns + box[1].start, rows + box[0].start], axis=1) * plane.scale
    names = compartments(body, points, view)
    result = []
    for compartment in VISIBLE[view]:
        mine = np.array([name is compartment for name in names], dtype=bool)
        if not mine.any():
            continue
        reach = float(distance[rows[mine], columns[mine]].max())
        if reach <= tolerance or np.count_nonzero(mine) < MIN_AREA_SHARE * area:
            continue
        mask = np.zeros(own.shape, dtype=bool)
        mask[rows[mine] + box[0].start, columns[mine] + box[1].start] = True
        result.append((compartment, mask, reach))
    return sorted(result, key=lambda leak: -int(np.count_nonzero(leak[1])))


def compartments(body: PlaneBody, points: FloatArray, view: View) -> list[Compartment | None]:
    """Compartment of every point (n, 2) of the plane outside a body; None where the view cannot tell it."""
    x, z = body.local(points).T
    first, last = body.walls(z)
    over = (x >= first) & (x <= last)
    above = z > (body.endplate(0, x) + body.endplate(1, x)) / 2
    disc = np.where(above, 0, 1)
    names: tuple[Compartment | None, ...] = (Compartment.DISC_SUPERIOR, Compartment.DISC_INFERIOR, *_sides(body, view))
    far = x - last > CANAL_SHARE * body.depth
    beside = np.where(x < first, 2, np.where(far, 4, 3))
    return [names[k] for k in np.where(over, disc, beside)]


def _sides(body: PlaneBody, view: View) -> tuple[Compartment | None, Compartment | None, Compartment | None]:
    """What lies before the first end of a body, behind its last end, and far behind it."""
    if view == "lateral":
        return Compartment.PREVERTEBRAL, Compartment.CANAL, Compartment.NEEDLE_TRACT
    if view != "ap":
        return None, None, None
    # The usual display: the reader faces the patient, whose left is at the right when the cranial end is up.
    patient_left = np.array([-body.up[1], body.up[0]])
    sides = (Compartment.PARAVERTEBRAL_RIGHT, Compartment.PARAVERTEBRAL_LEFT)
    first, last = sides if body.across @ patient_left > 0 else sides[::-1]
    return first, last, last


def _box(*masks: BoolImage) -> tuple[slice, slice]:
    """The smallest part of the picture that holds some masks."""
    whole = np.logical_or.reduce(masks)
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _farthest(distance: float, plane: MeasuredPlane) -> Measured:
    return plane.length(distance, 0.5 * float(np.sqrt(plane.pixel_area)))


def _middle(columns: npt.NDArray[np.intp], rows: npt.NDArray[np.intp]) -> FloatArray:
    """The pixel of a leak nearest to its middle."""
    away = (columns - columns.mean()) ** 2 + (rows - rows.mean()) ** 2
    at = int(np.argmin(away))
    return np.array([columns[at], rows[at]], dtype=np.float64)
