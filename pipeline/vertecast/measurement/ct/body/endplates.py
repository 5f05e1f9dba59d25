"""Endplates and walls of one vertebral body, fitted below voxel size.

The outline of the segmentation gives a first surface; the native CT moves it to the outer edge of the bony endplate
where that edge is clear. All six points, heights and angles are read from the smooth surfaces in the body's own frame:
x to the left, y to posterior, z to superior, origin in the middle of the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import RIM_INSET_FRACTION
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Grid, Segmentation, Volume
from vertecast.core.results import Endplate, NotMeasured, Place, SixPoints
from vertecast.measurement.ct.body.crossings import LINE_SPACING_MM, MIN_LINES, Lines, beside_cement, trace
from vertecast.measurement.ct.body.edges import move_to_ct_edge
from vertecast.measurement.ct.body.fitting import robust_solve
from vertecast.measurement.ct.body.outline import BodyRegion, Layout, axes, cut_out, find_bodies, first_frame
from vertecast.measurement.ct.body.spurs import on_spurs
from vertecast.measurement.ct.body.surfaces import Surface, fit_surface
from vertecast.measurement.ct.body.walls import Walls, find_walls

CUT: Final = NotMeasured(reason="cut by the edge of the image")
BORDER_MARGIN_MM: Final = 1.0
"""An endplate nearer to the edge of the image than this may be the edge itself."""

FRAME_ROUNDS: Final = 2
WALL_CLEARANCE_MM: Final = 1.0

LARGEST_LEAN: Final = 0.18
"""Lean (dy/dz, 10 deg) of the walls against the normal of the endplates beyond which the walls are not believed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BodyGeometry:
    """The measured shape of one vertebral body.

    Attributes:
        center_lps_mm: Middle of the body (3,).
        lps_from_local: (4, 4); local x to the left, y to posterior, z to superior.
        superior, inferior: Fitted endplates, ``z(x, y)`` in the local frame.
        anterior_wall_y_mm, posterior_wall_y_mm: Walls at the endplates in the mid-sagittal plane, local y.
        six_points_lps_mm: The six points.
        heights_mm, height_sd_mm: Height and its standard deviation at each place.
        depth_mm, width_mm: Mid-sagittal depth and largest width of the endplates.
        wedge_angle_deg: Angle between the endplate lines, positive when the front is lower.
        wedge_sd_deg: Its standard deviation.
        residual_mm: Scatter of the crossings about the surfaces.
    """

    center_lps_mm: FloatArray
    lps_from_local: FloatArray
    superior: Surface
    inferior: Surface
    anterior_wall_y_mm: float
    posterior_wall_y_mm: float
    six_points_lps_mm: SixPoints
    heights_mm: Mapping[Place, float]
    height_sd_mm: Mapping[Place, float]
    depth_mm: float
    width_mm: float
    wedge_angle_deg: float
    wedge_sd_deg: float
    residual_mm: float

    def local_mm(self, points_lps_mm: npt.ArrayLike) -> FloatArray:
        """Points (..., 3) of LPS mm in the body's own frame."""
        return geometry.apply(geometry.inverse(self.lps_from_local), points_lps_mm)


def fit_body(
    volume: Volume | Grid, segmentation: Segmentation, instance: int, *, layout: Layout | None = None
) -> BodyGeometry | NotMeasured:
    """Fit endplates, walls and six points of one vertebral body.

    Args:
        volume: Native CT, or its grid alone: then the outline decides, without the edge in the picture.
        segmentation: What the network found.
        instance: Number of the vertebra in ``segmentation.instance``, from 1.
        layout: Result of `find_bodies`, when already known.

    Returns:
        The geometry, or why there is none.
    """
    if segmentation.touches_border[instance - 1]:
        return CUT
    layout = layout or find_bodies(segmentation)
    region = cut_out(segmentation, instance, layout)
    if isinstance(region, NotMeasured):
        return region
    lps_from_local = first_frame(segmentation, instance, region, layout.centers_lps_mm)
    lines = trace(region, lps_from_local)
    for turn in range(FRAME_ROUNDS):
        if lines is None:
            return NotMeasured(reason="endplates not found")
        lps_from_local = _turn_to_endplates(lps_from_local, lines)
        lines = trace(region, lps_from_local)
        if lines is not None and turn == FRAME_ROUNDS - 1:
            lps_from_local = _turned_to_walls(region, lps_from_local, lines)
            lines = trace(region, lps_from_local)
    if lines is None:
        return NotMeasured(reason="endplates not found")
    lines = _between_walls(region, lps_from_local, lines)
    extent = _extent_along_axis(volume, segmentation, lps_from_local)
    covered = beside_cement(segmentation, lps_from_local, lines)
    sides = [(1.0, lines.top), (-1.0, lines.bottom)]
    if isinstance(volume, Volume):
        sides = [
            (side, move_to_ct_edge(volume, lps_from_local, np.stack([lines.x, lines.y, z], axis=1), side))
            for side, z in sides
        ]
    superior, inferior = (
        fit_surface(lines, z, extent, without | on_spurs(lines.x, lines.y, side * z, lines.half_extent_mm))
        for (side, z), without in zip(sides, covered, strict=True)
    )
    walls = find_walls(region, lps_from_local, superior, inferior, lines)
    if walls is None:
        return NotMeasured(reason="anterior or posterior wall not found")
    body = _assemble(lps_from_local, superior, inferior, walls, lines.width_mm)
    if isinstance(body, NotMeasured):
        return body
    outline_sd_mm = segmentation.height_sd_mm[instance - 1] if segmentation.height_sd_mm else 0.0
    return _doubted(body, outline_sd_mm) if _inside(volume, body) else CUT


def _doubted(body: BodyGeometry, outline_sd_mm: float) -> BodyGeometry:
    """The same body with the error of the outline that it was fitted to beside that of the fit."""
    fit_sd_mm = next(iter(body.height_sd_mm.values()))
    sd = float(np.hypot(fit_sd_mm, outline_sd_mm))
    return replace(
        body, height_sd_mm=dict.fromkeys(body.height_sd_mm, sd), wedge_sd_deg=body.wedge_sd_deg * sd / fit_sd_mm
    )


def _inside(volume: Volume | Grid, body: BodyGeometry) -> bool:
    """Whether voxels of the CT are centred beyond both endplates."""
    outward = body.lps_from_local[:3, 2] * BORDER_MARGIN_MM
    points = [
        np.asarray(point) + (outward if plate == "superior" else -outward)
        for plate, places in body.six_points_lps_mm.items()
        for point in places.values()
    ]
    index = geometry.apply(geometry.inverse(volume.lps_from_index), points)
    return bool(np.all((index >= 0) & (index <= np.array(volume.shape) - 1)))


def _turn_to_endplates(lps_from_local: FloatArray, lines: Lines) -> FloatArray:
    """Turn z to the mean normal of the endplates and move the origin to the middle of the body."""
    normals = []
    for z in (lines.top, lines.bottom):
        design = np.stack([lines.x, lines.y, np.ones_like(lines.x)], axis=1)
        slope_x, slope_y, _ = robust_solve(design, z)[0]
        normals.append(geometry.unit([-slope_x, -slope_y, 1.0]))
    z_local = geometry.unit(np.sum(normals, axis=0))
    rotated = lps_from_local[:3, :3] @ axes(z_local, np.array([0.0, 1.0, 0.0]))
    middle = [lines.x.mean(), (lines.y.min() + lines.y.max()) / 2, float(np.median(lines.top + lines.bottom)) / 2]
    return geometry.affine(rotated, geometry.apply(lps_from_local, middle))


def _turned_to_walls(region: BodyRegion, lps_from_local: FloatArray, lines: Lines) -> FloatArray:
    """Lean z in the sagittal plane to the mean direction of the anterior and posterior wall.

    A fracture tilts one endplate and with it the mean normal; the walls keep the body's own axis.
    """
    superior, inferior = (fit_surface(lines, z, LINE_SPACING_MM) for z in (lines.top, lines.bottom))
    walls = find_walls(region, lps_from_local, superior, inferior, lines)
    if walls is None or abs(walls.lean) > LARGEST_LEAN:
        return lps_from_local
    z_local = geometry.unit([0.0, walls.lean, 1.0])
    rotated = lps_from_local[:3, :3] @ axes(z_local, np.array([0.0, 1.0, 0.0]))
    return geometry.affine(rotated, lps_from_local[:3, 3])


def _between_walls(region: BodyRegion, lps_from_local: FloatArray, lines: Lines) -> Lines:
    """The lines behind the front wall and before the back wall: what lies beyond is a spur of the rim."""
    superior, inferior = (fit_surface(lines, z, LINE_SPACING_MM) for z in (lines.top, lines.bottom))
    walls = find_walls(region, lps_from_local, superior, inferior, lines)
    if walls is None:
        return lines
    inside = (lines.y > walls.front_mm + WALL_CLEARANCE_MM) & (lines.y < walls.back_mm - WALL_CLEARANCE_MM)
    if np.count_nonzero(inside) < MIN_LINES:
        return lines
    return replace(lines, x=lines.x[inside], y=lines.y[inside], top=lines.top[inside], bottom=lines.bottom[inside])


def _extent_along_axis(volume: Volume | Grid, segmentation: Segmentation, lps_from_local: FloatArray) -> float:
    """Extent of a voxel along the body's axis (mm): of the CT or of the working grid, whichever is coarser."""
    native = np.abs(lps_from_local[:3, 2] @ volume.lps_from_index[:3, :3]).max()
    return float(max(native, segmentation.spacing_mm))


def _assemble(
    lps_from_local: FloatArray, superior: Surface, inferior: Surface, walls: Walls, width_mm: float
) -> BodyGeometry | NotMeasured:
    front, back = walls.front_mm, walls.back_mm
    depth = back - front
    if depth < 8.0:
        return NotMeasured(reason="anterior or posterior wall not found")
    places: dict[Place, float] = {
        "anterior": front + RIM_INSET_FRACTION * depth,
        "middle": (front + back) / 2,
        "posterior": back - RIM_INSET_FRACTION * depth,
    }
    z: dict[Endplate, dict[Place, float]] = {
        "superior": {p: float(superior(0.0, y)) for p, y in places.items()},
        "inferior": {p: float(inferior(0.0, y)) for p, y in places.items()},
    }
    points: SixPoints = {
        plate: {p: _point(geometry.apply(lps_from_local, [0.0, places[p], z[plate][p]])) for p in places} for plate in z
    }
    span = places["posterior"] - places["anterior"]
    slopes = [np.arctan2(z[plate]["posterior"] - z[plate]["anterior"], span) for plate in z]
    sd = float(np.hypot(superior.sd_mm, inferior.sd_mm))
    heights = {p: z["superior"][p] - z["inferior"][p] for p in places}
    if min(heights.values()) <= 0:
        return NotMeasured(reason="the endplates could not be told apart")
    return BodyGeometry(
        center_lps_mm=lps_from_local[:3, 3].copy(),
        lps_from_local=lps_from_local,
        superior=superior,
        inferior=inferior,
        anterior_wall_y_mm=front,
        posterior_wall_y_mm=back,
        six_points_lps_mm=points,
        heights_mm=heights,
        height_sd_mm=dict.fromkeys(places, sd),
        depth_mm=depth,
        width_mm=width_mm,
        wedge_angle_deg=float(np.degrees(slopes[0] - slopes[1])),
        wedge_sd_deg=float(np.degrees(sd * np.sqrt(2) / span)),
        residual_mm=float(np.hypot(superior.residual_mm, inferior.residual_mm) / np.sqrt(2)),
    )


def _point(xyz: FloatArray) -> tuple[float, float, float]:
    return float(xyz[0]), float(xyz[1]), float(xyz[2])
