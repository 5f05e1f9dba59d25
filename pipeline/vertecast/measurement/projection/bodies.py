"""Vertebral bodies of one projection image: six points in the plane of the picture, axes, outline, and what hides them.

The plane has (column, row) axes like the picture, but its pixels are square: a point times the size of a pixel. Where
the size holds in the patient a length is in mm; elsewhere only ratios and angles mean something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.geometry import FloatArray
from vertecast.core.images import ProjectionSegmentation, ProjectionSpacing, Radiograph
from vertecast.core.results import NotMeasured, Quantity
from vertecast.measurement.ct.body.endplates import CUT
from vertecast.measurement.shared.comparison import Z95

BoolImage = npt.NDArray[np.bool_]

NO_BODY: Final = NotMeasured(reason="the points found are not those of a body")
OBLIQUE: Final = NotMeasured(reason="an oblique view does not show endplates and walls in profile")
COVERED: Final = NotMeasured(reason="covered by metal")

METAL_PROBABILITY: Final = 0.5
BODY_PROBABILITY: Final = 0.5

METAL_COVER_SHARE: Final = 0.15
"""A body with metal over a larger share of it is not measured: its endplates cannot be seen throughout."""

INVALID_SHARE: Final = 0.02
"""Share of a body behind the collimator from which it counts as cut."""

SMALLEST_HEIGHT_SHARE: Final = 0.03
"""A body lower than this share of its depth is none: vertebra plana keeps about a tenth."""

POINT_SD_SHARE: Final = 0.005
"""Least standard deviation of a point, as share of the body's depth: what a network says of itself is too sure."""

CURVE_POINTS: Final = 9
"""Points along each endplate of an outline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPlane:
    """The plane of a picture.

    Attributes:
        column, row: Length of a pixel along each axis.
        no_mm: None where lengths are mm in the patient, else why they are not.
    """

    column: float
    row: float
    no_mm: NotMeasured | None

    @property
    def scale(self) -> FloatArray:
        """(2,) lengths of a pixel, (column, row)."""
        return np.array([self.column, self.row])

    @property
    def pixel_area(self) -> float:
        """Area of a pixel in squared lengths."""
        return self.column * self.row

    def length(self, value: float, sd: float) -> Quantity | NotMeasured:
        """A length in mm with its interval, or why there is none."""
        if self.no_mm is not None:
            return self.no_mm
        return Quantity.around(value, Z95 * sd, "mm", least=0.0)

    def area(self, value: float, half_width: float) -> Quantity | NotMeasured:
        """An area in mm2 with its interval, or why there is none."""
        if self.no_mm is not None:
            return self.no_mm
        return Quantity.around(value, half_width, "mm2", least=0.0)


def plane_of(spacing: ProjectionSpacing | None) -> MeasuredPlane:
    """The plane that a spacing makes. Without a usable one, pixels are taken as square and there are no mm."""
    sizes = (0.0, 0.0) if spacing is None else (spacing.column_mm, spacing.row_mm)
    if spacing is None or not all(np.isfinite(size) and size > 0 for size in sizes):
        found = "no size" if spacing is None else "no usable size"
        return MeasuredPlane(
            column=1.0, row=1.0, no_mm=NotMeasured(reason=f"the image gives {found} of a pixel: no mm")
        )
    reasons = {
        "detector": "the size of a pixel holds in the detector's plane, where the patient is magnified: no mm",
        "unknown": "the plane where the size of a pixel holds is unknown: no mm",
    }
    reason = reasons.get(spacing.plane)
    return MeasuredPlane(
        column=spacing.column_mm, row=spacing.row_mm, no_mm=None if reason is None else NotMeasured(reason=reason)
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlaneBody:
    """One body in the plane. Its own axes: ``across`` from anterior to posterior (AP: from left to right), ``up``.

    Attributes:
        points: (2, 3, 2) superior, then inferior endplate; anterior, middle, posterior, or left, middle, right.
        sd: (2, 3) standard deviation of each point along one axis.
        up: (2,) unit vector to superior, the mean direction of the two walls: a fracture tilts an endplate, not them.
        across: (2,) unit vector square to it.
        refusal: Why heights and angles are not measured, or None.
    """

    points: FloatArray
    sd: FloatArray
    up: FloatArray
    across: FloatArray
    refusal: NotMeasured | None

    @property
    def center(self) -> FloatArray:
        """(2,) mean of the four corners."""
        return np.asarray(self.points[:, [0, 2]].mean(axis=(0, 1)))

    @property
    def depth(self) -> float:
        """Mean length of the endplates."""
        return float(np.linalg.norm(self.points[:, 2] - self.points[:, 0], axis=1).mean())

    @property
    def heights(self) -> FloatArray:
        """(3,) distances of the endplates along the vertebral axis."""
        return np.asarray((self.points[0] - self.points[1]) @ self.up)

    @property
    def height_sd(self) -> FloatArray:
        """(3,) standard deviations of the heights."""
        return np.asarray(np.hypot(self.sd[0], self.sd[1]))

    def local(self, points: FloatArray) -> FloatArray:
        """Points (..., 2) along ``across`` and ``up`` from the centre."""
        moved = points - self.center
        return np.stack([moved @ self.across, moved @ self.up], axis=-1)

    def slope_deg(self, plate: int, other: PlaneBody | None = None) -> float:
        """Slope of an endplate (0 superior) in the axes of this body, or of another one; rising is positive."""
        frame = other or self
        line = self.points[plate, 2] - self.points[plate, 0]
        # On a film that lies on its side, left and right of two bodies may be taken differently.
        line = line if line @ frame.across >= 0 else -line
        return float(np.degrees(np.arctan2(line @ frame.up, line @ frame.across)))

    def slope_sd_deg(self, plate: int) -> float:
        """Standard deviation of an endplate's slope."""
        span = float(np.linalg.norm(self.points[plate, 2] - self.points[plate, 0]))
        return float(np.degrees(np.hypot(self.sd[plate, 0], self.sd[plate, 2]) / span))

    def endplate(self, plate: int, across: FloatArray) -> FloatArray:
        """Local height (...) of an endplate at places along ``across``, a parabola held still beyond its ends."""
        x, z = self.local(self.points[plate]).T
        at = np.clip(across, x[0], x[2])
        mid = (x[1] - x[0]) / (x[2] - x[0])
        t = (at - x[0]) / (x[2] - x[0])
        line = z[0] + t * (z[2] - z[0])
        sag = (z[1] - z[0] - mid * (z[2] - z[0])) / (mid * (1 - mid))
        return np.asarray(line + sag * t * (1 - t))

    def walls(self, height: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Places along ``across`` of the first and the last wall at local heights (...), held still beyond them."""
        corners = self.local(self.points[:, [0, 2]])
        top, bottom = corners[0, :, 1], corners[1, :, 1]
        ends = []
        for n in (0, 1):
            share = np.clip((height - bottom[n]) / (top[n] - bottom[n]), 0.0, 1.0)
            ends.append(corners[1, n, 0] + share * (corners[0, n, 0] - corners[1, n, 0]))
        return ends[0], ends[1]

    def outline(self) -> FloatArray:
        """(n, 2) closed polygon through the six points: parabolas along the endplates, straight walls."""
        sides = []
        for plate in (0, 1):
            x = self.local(self.points[plate])[:, 0]
            at = np.linspace(x[0], x[2], CURVE_POINTS)
            z = self.endplate(plate, at)
            sides.append(self.center + at[:, None] * self.across + z[:, None] * self.up)
        return np.vstack([sides[0], sides[1][::-1]])


def plane_body(
    points_px: FloatArray, sd_px: FloatArray, plane: MeasuredPlane, refusal: NotMeasured | None = None
) -> PlaneBody | NotMeasured:
    """A body from its six points (6, 2) in pixels; a reason where they make none."""
    points = np.asarray(points_px, dtype=np.float64).reshape(2, 3, 2) * plane.scale
    spread = np.asarray(sd_px, dtype=np.float64).reshape(2, 3) * float(np.sqrt(plane.pixel_area))
    if not np.isfinite(points).all():
        return NO_BODY
    walls, plates = points[0, [0, 2]] - points[1, [0, 2]], points[:, 2] - points[:, 0]
    lengths = [np.linalg.norm(lines, axis=1) for lines in (walls, plates)]
    if min(lengths[0].min(), lengths[1].min()) <= 0:
        return NO_BODY
    up = (walls / lengths[0][:, None]).sum(axis=0)
    if np.linalg.norm(up) <= 0:
        return NO_BODY
    up /= np.linalg.norm(up)
    side = np.array([-up[1], up[0]])
    across = side * np.sign(side @ plates.sum(axis=0))
    depth = float(lengths[1].mean())
    heights, steps = (points[0] - points[1]) @ up, np.diff(points @ across, axis=1)
    if heights.min() < SMALLEST_HEIGHT_SHARE * depth or steps.min() <= 0:
        return NO_BODY
    sd = np.maximum(np.nan_to_num(spread, nan=depth, posinf=depth), POINT_SD_SHARE * depth)
    return PlaneBody(points=points, sd=sd, up=up, across=across, refusal=refusal)


def fit_plane_bodies(
    radiograph: Radiograph, segmentation: ProjectionSegmentation, plane: MeasuredPlane
) -> tuple[PlaneBody | NotMeasured, ...]:
    """Every body of an image, cranial first, with the reason why it is not measured where there is one."""
    bodies = []
    for n in range(segmentation.count):
        body = plane_body(segmentation.points_px[n], segmentation.points_sd_px[n], plane)
        if not isinstance(body, NotMeasured):
            refusal = _refusal(radiograph, segmentation, n, body, plane)
            body = body if refusal is None else plane_body(
                segmentation.points_px[n], segmentation.points_sd_px[n], plane, refusal
            )  # fmt: skip
        elif segmentation.touches_border[n]:
            body = CUT
        bodies.append(body)
    return tuple(bodies)


def centers_px(segmentation: ProjectionSegmentation) -> FloatArray:
    """(n, 2) centre of every body, (column, row): of its corners, or of its pixels where a point is missing."""
    points = np.asarray(segmentation.points_px, dtype=np.float64).reshape(-1, 6, 2)
    centers: FloatArray = points[:, [0, 2, 3, 5]].mean(axis=1)
    for n in np.flatnonzero(~np.isfinite(centers).all(axis=1)):
        rows, columns = np.nonzero(segmentation.instance == n + 1)
        centers[n] = (columns.mean(), rows.mean()) if len(rows) else (0.0, 0.0)
    return centers


def pixels_inside(
    body: PlaneBody, plane: MeasuredPlane, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the pixels inside a body's outline, as far as they lie in the picture."""
    outline = body.outline() / plane.scale
    low = np.clip(np.floor(outline.min(axis=0)), 0, shape[::-1]).astype(int)
    high = np.clip(np.ceil(outline.max(axis=0)) + 1, 0, shape[::-1]).astype(int)
    columns, rows = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    local = body.local(np.stack([columns, rows], axis=-1) * plane.scale)
    x, z = local[..., 0], local[..., 1]
    first, last = body.walls(z)
    inside = (x >= first) & (x <= last) & (z <= body.endplate(0, x)) & (z >= body.endplate(1, x))
    return rows[inside], columns[inside]


def at_least(probability: npt.NDArray[np.float16], threshold: float) -> BoolImage:
    """Where a probability reaches a threshold. Comparing the bits of float16 numbers that are not negative gives the
    same, ten times as fast as NumPy's own comparison, which a cine would feel."""
    if probability.dtype != np.float16:
        return np.asarray(probability >= threshold)
    bits = np.ascontiguousarray(probability).view(np.int16)
    return np.asarray(bits >= np.array(threshold, dtype=np.float16).view(np.int16))


def _refusal(
    radiograph: Radiograph, segmentation: ProjectionSegmentation, n: int, body: PlaneBody, plane: MeasuredPlane
) -> NotMeasured | None:
    """Why a body is found but not measured: cut, covered, or seen from an angle."""
    outline_px = body.outline() / plane.scale
    limits = np.array(radiograph.shape)[::-1] - 0.5
    outside = (outline_px < -0.5).any() or (outline_px > limits).any()
    inside = pixels_inside(body, plane, radiograph.shape)
    valid = float(radiograph.valid[inside].mean()) if len(inside[0]) else 0.0
    if segmentation.touches_border[n] or outside or valid < 1 - INVALID_SHARE:
        return CUT
    if float((segmentation.metal_probability[inside] >= METAL_PROBABILITY).mean()) > METAL_COVER_SHARE:
        return COVERED
    if _on_metal(segmentation, n):
        return COVERED
    return OBLIQUE if segmentation.view == "oblique" else None


def _on_metal(segmentation: ProjectionSegmentation, n: int) -> bool:
    """True where one of the six points lies on metal."""
    rows, columns = segmentation.metal_probability.shape
    at = np.rint(segmentation.points_px[n]).astype(int)
    column, row = np.clip(at[:, 0], 0, columns - 1), np.clip(at[:, 1], 0, rows - 1)
    return bool((segmentation.metal_probability[row, column] >= METAL_PROBABILITY).any())
