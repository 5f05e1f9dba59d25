"""The posterior wall of a body in its mid-sagittal plane, and how far it reaches behind those of its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation
from vertecast.core.results import Measured, NotMeasured, Quantity
from vertecast.measurement.ct.body.bone import Z95
from vertecast.measurement.ct.body.crossings import CEMENT_REACH_MM, half_crossing
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.fitting import robust_solve
from vertecast.measurement.ct.body.outline import CEMENT_PROBABILITY, OUTLINE_PROBABILITY, Layout, cut_out
from vertecast.measurement.ct.body.surfaces import GRID_SHARE_OF_ERROR
from vertecast.measurement.shared.counting import are_adjacent

STRIP_X_MM: Final = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
"""The midline strip of the canal (`bone.CANAL_STRIP_HALF_MM`): what narrows it there is what presses on the cord."""

ROW_MM: Final = 0.5
ENDPLATE_MARGIN_MM: Final = 1.0
"""Rows this near to an endplate run along its rounded rim."""

BEHIND_MM: Final = 15.0
"""How far behind its wall a body is looked for: fragments reach some 10 mm, the canal is 15 to 20 mm deep."""

WINDOW_MM: Final = 3.0
"""Height over which a bulge is averaged: as `bone.CANAL_SLAB_MM`, two voxels of the network's grid."""

LEAST_FREE_SHARE: Final = 0.7
"""Share of the wall that must be free of cement: a fragment hides behind the rest."""

MIN_ROWS: Final = 8

WALL_SD_MM: Final = 0.5
"""Error (1 SD) of a network's posterior wall, beside that of its outline's heights; an assumption. With it 95 % of the
intervals of 162 untreated bodies of grade 0 or 1 in 40 simulated studies held the truth."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PosteriorWall:
    """One posterior wall in the mid-sagittal plane.

    Attributes:
        points_lps_mm: (n, 3) points of the wall, from the inferior to the superior endplate, `ROW_MM` apart.
        upper_corner_lps_mm, lower_corner_lps_mm: Where the wall as a whole, without bulges and spurs, meets the
            superior and the inferior endplate (3,).
        sd_mm: Standard deviation of its place.
        beside_cement: Share of the wall that is not to be believed, since cement lies at it.
    """

    points_lps_mm: FloatArray
    upper_corner_lps_mm: FloatArray
    lower_corner_lps_mm: FloatArray
    sd_mm: float
    beside_cement: float


def trace_posterior_wall(
    segmentation: Segmentation, body: BodyGeometry, instance: int, layout: Layout
) -> PosteriorWall | NotMeasured:
    """Cross the posterior wall below voxel size, row by row; beside cement it is left out.

    Args:
        segmentation: What the network found.
        body: Fitted geometry of the body.
        instance: Its number in ``segmentation.instance``, from 1.
        layout: Result of `find_bodies`.
    """
    region = cut_out(segmentation, instance, layout)
    if isinstance(region, NotMeasured):
        return region
    rim = body.posterior_wall_y_mm - 0.1 * body.depth_mm
    low, high = float(body.inferior(0.0, rim)), float(body.superior(0.0, rim))
    z = np.arange(low + ENDPLATE_MARGIN_MM, high - ENDPLATE_MARGIN_MM, ROW_MM)
    y = np.arange(body.posterior_wall_y_mm - body.depth_mm / 2, body.posterior_wall_y_mm + BEHIND_MM, ROW_MM)
    x, z_rows, y_along = np.meshgrid(STRIP_X_MM, z, y, indexing="ij")
    values = region.sample(body.lps_from_local, np.stack([x, y_along, z_rows], axis=-1))
    inside = values >= OUTLINE_PROBABILITY
    last = len(y) - 1 - np.argmax(inside[..., ::-1], axis=-1)
    found = inside.any(axis=-1) & (last < len(y) - 1)
    crossing = np.where(found, half_crossing(values, y, last, last + 1), np.nan)
    rows = np.count_nonzero(found, axis=0) > len(STRIP_X_MM) / 2
    if np.count_nonzero(rows) < MIN_ROWS:
        return NotMeasured(reason="the posterior wall was not found")
    wall_y, wall_z = np.nanmedian(crossing[:, rows], axis=0), z[rows]
    points = geometry.apply(body.lps_from_local, np.stack([np.zeros_like(wall_y), wall_y, wall_z], axis=1))
    free = ~_near_cement(segmentation, points)
    if np.count_nonzero(free) < MIN_ROWS:
        return NotMeasured(reason="cement lies at the posterior wall")
    share = (2 * wall_z - low - high) / (high - low)
    design = np.stack([np.ones_like(share), share, share**2], axis=1)
    coefficients, _ = robust_solve(design[free], wall_y[free])
    upper, lower = (float(np.array([1.0, end, 1.0]) @ coefficients) for end in (1.0, -1.0))
    outline_sd_mm = segmentation.height_sd_mm[instance - 1] / np.sqrt(2) if segmentation.height_sd_mm else 0.0
    fit_sd_mm = WALL_SD_MM if outline_sd_mm else GRID_SHARE_OF_ERROR * segmentation.spacing_mm
    return PosteriorWall(
        points_lps_mm=points[free],
        upper_corner_lps_mm=geometry.apply(body.lps_from_local, [0.0, upper, high]),
        lower_corner_lps_mm=geometry.apply(body.lps_from_local, [0.0, lower, low]),
        sd_mm=float(np.hypot(fit_sd_mm, outline_sd_mm)),
        beside_cement=1 - np.count_nonzero(free) / len(free),
    )


def _near_cement(segmentation: Segmentation, points_lps_mm: FloatArray) -> npt.NDArray[np.bool_]:
    """Which points (n, 3) lie beside cement, where the outline of a body goes wrong."""
    index = geometry.apply(geometry.inverse(segmentation.lps_from_index), points_lps_mm)
    reach = int(np.ceil(CEMENT_REACH_MM / segmentation.spacing_mm)) + 1
    low = np.clip(np.floor(index.min(axis=0)).astype(int) - reach, 0, None)
    high = np.ceil(index.max(axis=0)).astype(int) + reach + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    cement = segmentation.cement_probability[box] >= CEMENT_PROBABILITY
    if not cement.any():
        return np.zeros(len(points_lps_mm), dtype=bool)
    away_mm = ndimage.distance_transform_edt(~cement) * segmentation.spacing_mm
    return np.asarray(ndimage.map_coordinates(away_mm, (index - low).T, order=1, mode="nearest") <= CEMENT_REACH_MM)


def retropulsion(
    walls: Sequence[PosteriorWall | NotMeasured],
    bodies: Sequence[BodyGeometry | NotMeasured],
    names: Sequence[str],
    at: int,
) -> Measured:
    """How far a posterior wall reaches behind the line of its neighbours' walls (mm); negative where it stays before.

    The line runs in the mid-sagittal plane of the body, from the lower posterior corner of the body above to the upper
    posterior corner of the body below. The value is that of the `WINDOW_MM` of the wall that reach farthest back.

    Args:
        walls: `trace_posterior_wall` of every body, cranial to caudal.
        bodies: Their geometry.
        names: Their levels.
        at: Index of the body in question.
    """
    own, body = walls[at], bodies[at]
    if isinstance(own, NotMeasured):
        return own
    assert isinstance(body, BodyGeometry)
    if own.beside_cement > 1 - LEAST_FREE_SHARE:
        return NotMeasured(reason="cement lies at the posterior wall")
    neighbours = []
    for side, word in ((-1, "above"), (1, "below")):
        n = at + side
        if not 0 <= n < len(walls):
            return NotMeasured(reason=f"no body {word} in view")
        wall = walls[n]
        if not are_adjacent(*(names[k] for k in sorted((at, n)))):
            return NotMeasured(reason="a neighbouring body was not found")
        if isinstance(wall, NotMeasured):
            return NotMeasured(reason=f"{names[n]}: {wall.reason}")
        neighbours.append(wall)
    above, below = neighbours
    top, bottom = body.local_mm([above.lower_corner_lps_mm, below.upper_corner_lps_mm])[:, 1:]
    along = geometry.unit(top - bottom)
    from_bottom = body.local_mm(own.points_lps_mm)[:, 1:] - bottom
    behind = from_bottom @ np.array([along[1], -along[0]])
    value, share = _farthest(behind, from_bottom @ along / float(np.linalg.norm(top - bottom)))
    sd = float(np.sqrt(own.sd_mm**2 + (share * above.sd_mm) ** 2 + ((1 - share) * below.sd_mm) ** 2))
    return Quantity.around(value, Z95 * sd, "mm")


def _farthest(behind_mm: FloatArray, share: FloatArray) -> tuple[float, float]:
    """Largest mean over a window, and where it lies as a share of the line from the lower corner."""
    rows = min(round(WINDOW_MM / ROW_MM), len(behind_mm))
    window = np.ones(rows) / rows
    means, places = (np.convolve(values, window, mode="valid") for values in (behind_mm, share))
    best = int(np.argmax(means))
    return float(means[best]), float(np.clip(places[best], 0.0, 1.0))
