"""Cement in one projection image: its pixels, the bodies it belongs to, its area, and what of it lies outside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core.images import ProjectionSegmentation, Radiograph, View
from vertecast.core.results import CementFinding, LevelAssignment, Measured, NotMeasured, Quantity
from vertecast.measurement.projection.bodies import (
    BODY_PROBABILITY,
    METAL_PROBABILITY,
    BoolImage,
    MeasuredPlane,
    PlaneBody,
    at_least,
    pixels_inside,
)
from vertecast.measurement.projection.heights import NO_VOLUME, pixel

CEMENT_PROBABILITY: Final = 0.5

EDGE_REACH_PX: Final = 2
"""The network's edge of cement moves by at most this much to where the picture falls to half."""

RING_PX: Final = (3, 9)
"""The surroundings of cement lie between these distances from it."""

MIN_CONTRAST: Final = 2.0
"""Cement that is not this many noise levels brighter than its surroundings keeps the network's edge."""

TREATED_SHARE: Final = 0.01
"""A body is treated when cement covers this share of it: about 10 mm2; less is a speck or an error."""

JOINED_SHARE: Final = 0.1
"""Cement that joins bodies belongs to each body that holds this share of it, as on CT."""

REACH_DEPTHS: Final = 1.5
"""Cement farther from every treated body than this many depths of it is not taken for its leak."""

CONTACT_SHARE: Final = 0.05
"""Cement within this share of the body's height from an endplate touches it."""

MIN_CONTACT_PX: Final = 3
MIDLINE_SHARE: Final = 0.1
EDGE_ERROR_PX: Final = 0.5
"""Shift (half width of the 95 % interval) of the whole edge of an area."""

CLAIMED: Final = ((0.985, 0.15), (0.6, 0.35))
"""On a radiograph a body is called treated where the network is so sure of the surest twentieth of its cement, and the
cement outshines its body and the next ones by so much of what their pixels differ by (5th to 95th centile): either
pair. Bone that crosses bone is called cement less surely, or shines less. Fitted on 59 real films without cement,
with the weights 0.4.0 (claimed on 11, with this rule on 2), and on 32 simulated ones of 8 patients."""

SURE_PERCENTILE: Final = 95.0
LEAST_NEAR_PX: Final = 20
SMOOTHING_SHARE: Final = 1 / 36
"""Share of a body's width, along its endplates, by which the picture is smoothed before brightness is compared."""

NO_PATTERN: Final = NotMeasured(reason="a projection lays the parts of the cement over each other")
NO_MIDLINE: Final = NotMeasured(reason="a view from the side does not show the midline")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProjectedCement:
    """Cement pixels and where they belong.

    Attributes:
        owner: Body (from 1) that a pixel of cement belongs to, 0 for none (rows, columns), uint8.
        outline: Body that a pixel lies in (rows, columns), uint8.
        treated: Bodies that hold cement.
        stray: Cement far from every treated body (rows, columns), bool.
    """

    owner: npt.NDArray[np.uint8]
    outline: npt.NDArray[np.uint8]
    treated: frozenset[int]
    stray: BoolImage


def cement_pixels(radiograph: Radiograph, segmentation: ProjectionSegmentation) -> BoolImage:
    """Pixels of cement (rows, columns): what the network marks, its edge moved to where the picture falls to half.

    Metal is no cement, whatever the network says of it besides.
    """
    metal = at_least(segmentation.metal_probability, METAL_PROBABILITY)
    marked = at_least(segmentation.cement_probability, CEMENT_PROBABILITY) & radiograph.valid
    both = metal & marked
    metal[both] = segmentation.metal_probability[both] >= segmentation.cement_probability[both]
    marked &= ~metal
    refined = np.zeros_like(marked)
    pieces, count = ndimage.label(marked, structure=np.ones((3, 3)))
    for number, box in enumerate(ndimage.find_objects(pieces, max_label=count), start=1):
        if box is None:
            continue
        wide = tuple(slice(max(s.start - RING_PX[1] - 1, 0), s.stop + RING_PX[1] + 1) for s in box)
        own = pieces[wide] == number
        free = radiograph.valid[wide] & ~metal[wide] & (own | ~marked[wide])
        refined[wide] |= _refine(radiograph.intensity[wide], own, free)
    return refined


def body_outlines(
    bodies: Sequence[PlaneBody | NotMeasured],
    segmentation: ProjectionSegmentation | None,
    plane: MeasuredPlane,
    shape: tuple[int, int],
) -> npt.NDArray[np.uint8]:
    """The body that every pixel lies in: polygon through the six points, and the network's pixels of the body."""
    outlines = np.zeros(shape, dtype=np.uint8)
    if segmentation is not None:
        body = at_least(segmentation.body_probability, BODY_PROBABILITY)
        outlines[body] = segmentation.instance[body]
    for n, found in enumerate(bodies, start=1):
        if not isinstance(found, NotMeasured):
            outlines[pixels_inside(found, plane, shape)] = n
    return outlines


def assign_cement(
    cement: BoolImage, outlines: npt.NDArray[np.uint8], bodies: Sequence[PlaneBody | NotMeasured], plane: MeasuredPlane
) -> ProjectedCement:
    """Give every pixel of cement to a treated body: where it lies, else the nearest one that its piece touches."""
    owner = np.zeros(cement.shape, dtype=np.uint8)
    stray = np.zeros(cement.shape, dtype=bool)
    areas = np.bincount(outlines.ravel(), minlength=len(bodies) + 1)
    pieces, count = ndimage.label(cement, structure=np.ones((3, 3)))
    boxes = ndimage.find_objects(pieces, max_label=count)
    held = [_held(pieces[b] == k, outlines[b], areas) for k, b in enumerate(boxes, start=1) if b is not None]
    treated = sorted(set().union(*held)) if held else []
    for number, box in enumerate(boxes, start=1):
        if box is None:
            continue
        rows, columns = np.nonzero(pieces[box] == number)
        rows, columns = rows + box[0].start, columns + box[1].start
        points = np.stack([columns, rows], axis=1) * plane.scale
        nearest, is_near = _nearest(points, held[number - 1] or treated, bodies)
        inside = outlines[rows, columns]
        own = np.where(np.isin(inside, held[number - 1]), inside, nearest)
        speck = not held[number - 1] and (np.isin(inside, treated, invert=True) & (inside > 0)).mean() > 0.5
        owner[rows, columns] = np.where(is_near & (not speck), own, 0)
        stray[rows, columns] = ~is_near & (not speck)
    return ProjectedCement(owner=owner, outline=outlines, treated=frozenset(treated), stray=stray)


def without_doubtful(
    found: ProjectedCement, radiograph: Radiograph, segmentation: ProjectionSegmentation
) -> tuple[ProjectedCement, tuple[int, ...]]:
    """Cement without that of bodies where it may be bone, and the numbers (from 1) of these bodies.

    For radiographs: in a cine cement is known by its appearing.
    """
    if not found.treated:
        return found, ()
    points = segmentation.points_px
    width_px = float(np.median(np.linalg.norm(points[:, 2] - points[:, 0], axis=1)))
    valid = radiograph.valid.astype(np.float32)
    sigma = max(SMOOTHING_SHARE * width_px, 0.5)
    seen = ndimage.gaussian_filter(radiograph.intensity * valid, sigma)
    picture = seen / np.maximum(ndimage.gaussian_filter(valid, sigma), 1e-3)
    away = ~ndimage.binary_dilation(found.owner > 0, iterations=max(round(2 * sigma), 1))
    doubtful = tuple(n for n in sorted(found.treated) if not _is_claimed(found, n, picture, away, segmentation))
    if not doubtful:
        return found, ()
    owner = np.where(np.isin(found.owner, doubtful), 0, found.owner).astype(np.uint8)
    return replace(found, owner=owner, treated=found.treated - set(doubtful)), doubtful


def _is_claimed(
    found: ProjectedCement,
    n: int,
    picture: npt.NDArray[np.floating[Any]],
    away: BoolImage,
    segmentation: ProjectionSegmentation,
) -> bool:
    """Whether the cement of a body passes one of `CLAIMED`; ``away``: pixels that no cement is near."""
    own = (found.owner == n) & (found.outline == n)
    near = np.isin(found.outline, (n - 1, n, n + 1)) & (found.outline > 0) & away
    if not own.any():
        return False
    if near.sum() < LEAST_NEAR_PX:  # nothing to compare with: the network's word stands
        return True
    sure = float(np.percentile(segmentation.cement_probability[own].astype(np.float32), SURE_PERCENTILE))
    low, high = np.percentile(picture[near], (5, 95))
    contrast = float(np.median(picture[own]) - np.median(picture[near])) / max(float(high - low), 1e-6)
    return any(sure >= probability and contrast >= least for probability, least in CLAIMED)


def measure_projection_cement(
    found: ProjectedCement,
    bodies: Sequence[PlaneBody | NotMeasured],
    levels: Sequence[LevelAssignment],
    plane: MeasuredPlane,
    *,
    view: View,
    series_instance_uid: str,
    confidences: Sequence[float],
) -> tuple[CementFinding, ...]:
    """Measure the cement of every treated body; ids are C1, C2, ... from cranial to caudal."""
    findings = []
    for number, n in enumerate(sorted(found.treated), start=1):
        own, body = found.owner == n, bodies[n - 1]
        rows, columns = np.nonzero(own)
        if not len(rows):
            continue
        in_body = int(np.count_nonzero(found.outline == n))
        outside = float((found.outline[own] != n).mean())
        contact, midline = _in_body(np.stack([columns, rows], axis=1)[found.outline[own] == n], body, plane, view)
        findings.append(
            CementFinding(
                id=f"C{number}",
                series_instance_uid=series_instance_uid,
                level=levels[n - 1].name,
                volume=NO_VOLUME,
                area=area_of(own, plane),
                area_fraction=share_of(own, in_body),
                share_outside=_outside(outside, own),
                center_px=pixel(np.array([columns.mean(), rows.mean()])),
                volume_inside=NO_VOLUME,
                fill_fraction=NO_VOLUME,
                pattern=NO_PATTERN,
                endplate_contact=contact,
                crosses_midline=midline,
                confidence=confidences[n - 1],
            )
        )
    return tuple(findings)


def area_of(mask: BoolImage, plane: MeasuredPlane) -> Measured:
    """Area of a mask in mm2, where mm hold."""
    count, error = int(np.count_nonzero(mask)), EDGE_ERROR_PX * edge_px(mask)
    return plane.area(count * plane.pixel_area, error * plane.pixel_area)


def share_of(mask: BoolImage, body_px: int) -> Measured:
    """Area of a mask over that of a body's outline, both counted in pixels."""
    if body_px <= 0:
        return NotMeasured(reason="no outline of the body")
    count, error = int(np.count_nonzero(mask)), EDGE_ERROR_PX * edge_px(mask)
    return Quantity(
        value=count / body_px, unit="1", interval95=(max(count - error, 0.0) / body_px, (count + error) / body_px)
    )  # fmt: skip


def edge_px(mask: BoolImage) -> int:
    """Number of pixels at the edge of a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return int(np.count_nonzero(part & ~ndimage.binary_erosion(part)))


def _outside(share: float, own: BoolImage) -> Quantity:
    error = EDGE_ERROR_PX * edge_px(own) / np.count_nonzero(own) * np.sqrt(share * (1 - share)) * 2
    return Quantity.around(share, float(error), "1", least=0.0, most=1.0)


def _refine(intensity: npt.NDArray[np.float32], own: BoolImage, free: BoolImage) -> BoolImage:
    """Move the edge of one piece to half of its height over its surroundings."""
    near = ndimage.distance_transform_edt(~own)
    ring = free & (near >= RING_PX[0]) & (near <= RING_PX[1])
    if np.count_nonzero(ring) < 8 or not own.any():
        return own
    ground = float(np.median(intensity[ring]))
    noise = 1.4826 * float(np.median(np.abs(intensity[ring] - ground)))
    plateau = float(np.percentile(intensity[own], 75))
    if plateau - ground < MIN_CONTRAST * max(noise, 1e-9):
        return own
    deep = ndimage.distance_transform_edt(own)
    bright = intensity >= (plateau + ground) / 2
    moved = (own & (bright | (deep > EDGE_REACH_PX))) | (~own & free & bright & (near <= EDGE_REACH_PX))
    return np.asarray(moved)


def _held(piece: BoolImage, outlines: npt.NDArray[np.uint8], areas: npt.NDArray[np.intp]) -> list[int]:
    """Bodies that hold enough of one piece to be treated by it."""
    inside = np.bincount(outlines[piece], minlength=len(areas))
    inside[0] = 0
    enough = (inside >= TREATED_SHARE * areas) & (inside >= JOINED_SHARE * max(inside.sum(), 1)) & (inside > 0)
    return [int(n) for n in np.flatnonzero(enough)]


def _nearest(
    points: npt.NDArray[np.float64], candidates: Sequence[int], bodies: Sequence[PlaneBody | NotMeasured]
) -> tuple[npt.NDArray[np.intp], BoolImage]:
    """The nearest of some bodies for every point, by the distance from the body's box, and whether it is in reach."""
    best = np.zeros(len(points), dtype=np.intp)
    near = np.full(len(points), np.inf)
    for n in candidates:
        body = bodies[n - 1]
        if isinstance(body, NotMeasured):
            distance = np.zeros(len(points)) if len(candidates) == 1 else np.full(len(points), REACH_DEPTHS)
        else:
            half = np.array([body.depth, float(body.heights.mean())]) / 2
            distance = np.linalg.norm(np.maximum(np.abs(body.local(points)) - half, 0.0), axis=1) / body.depth
        best = np.where(distance < near, n, best)
        near = np.minimum(near, distance)
    return best, near <= REACH_DEPTHS


def _in_body(
    points_px: npt.NDArray[np.intp], body: PlaneBody | NotMeasured, plane: MeasuredPlane, view: View
) -> tuple[Literal["none", "superior", "inferior", "both"] | NotMeasured, bool | NotMeasured]:
    """Contact of the cement inside a body with its endplates, and whether it crosses the midline (AP alone)."""
    if isinstance(body, NotMeasured):
        return body, body
    x, z = body.local(points_px * plane.scale).T
    slack = CONTACT_SHARE * float(body.heights.mean()) + 0.5 * float(np.sqrt(plane.pixel_area))
    top = bool(np.count_nonzero(z >= body.endplate(0, x) - slack) >= MIN_CONTACT_PX)
    bottom = bool(np.count_nonzero(z <= body.endplate(1, x) + slack) >= MIN_CONTACT_PX)
    contact: Literal["none", "superior", "inferior", "both"] = "none"
    if top or bottom:
        contact = "both" if top and bottom else "superior" if top else "inferior"
    if view != "ap":
        return contact, NO_MIDLINE
    share = float((x > 0).mean()) if len(x) else 0.0
    return contact, MIDLINE_SHARE <= share <= 1 - MIDLINE_SHARE
