"""What a reader marks of a vertebra in a projection: the six points and the outline of its body, from the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.patient.spine import BodyShape, Spine, Vertebra
from vertecast.lab.simulation.projection.rays import Camera

CURVE_POINTS: Final = 9
"""Points along each endplate of an outline."""

WALL_POINTS: Final = (-0.6, -0.25, 0.0, 0.25, 0.6)
"""Places along each wall of an outline, from the inferior (-1) to the superior (1) endplate."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Silhouette:
    """One body in a picture; points are (column, row).

    Attributes:
        vertebra_index: Index from 0 into ``spine.vertebrae``.
        points_px: (6, 2) superior endplate first; anterior, middle, posterior, or on an AP view left, middle, right.
        outline_px: (n, 2) closed polygon.
        has_ribs: A rib is attached.
    """

    vertebra_index: int
    points_px: FloatArray
    outline_px: FloatArray
    has_ribs: bool


def wall_reach_mm(shape: BodyShape, direction: npt.ArrayLike) -> float:
    """How far the body's section at its endplates reaches along a horizontal direction (2,) of its own frame."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    x, y = np.cos(angle), np.sin(angle)
    reach = np.ones_like(angle)
    for _ in range(3):  # the notch depends on the place on the wall, so that a few steps are needed
        xn, yn = 2 * np.abs(x) / shape.width_mm, 2 * y / shape.depth_mm
        yn = np.where(yn > 0, yn * (1 + shape.notch * np.exp(-((reach * xn / 0.5) ** 2))), yn)
        reach = (xn**shape.exponent + np.abs(yn) ** shape.exponent) ** (-1 / shape.exponent)
    along = np.asarray(direction, dtype=np.float64)
    return float((reach * (x * along[0] + y * along[1])).max())


def silhouettes(spine: Spine, view: Camera) -> tuple[Silhouette, ...]:
    """Every body of a spine as a camera sees it, cranial first."""
    return tuple(_silhouette(vertebra, n, view) for n, vertebra in enumerate(spine.vertebrae))


def _silhouette(vertebra: Vertebra, index: int, view: Camera) -> Silhouette:
    """The section of the body along the picture's columns; its first end is anterior, or left on an AP picture."""
    across = vertebra.lps_from_local[:3, :2].T @ view.picture_from_lps[0]
    across = geometry.unit(across)
    if view.view != "ap" and across[1] < 0:  # towards the back of the body
        across = -across
    shape = vertebra.shape
    first, last = -wall_reach_mm(shape, -across), wall_reach_mm(shape, across)
    middle = (first + last) / 2
    superior = _endplate(shape, across, np.linspace(first, last, CURVE_POINTS), superior=True)
    inferior = _endplate(shape, across, np.linspace(first, last, CURVE_POINTS), superior=False)
    walls = [_wall(shape, superior[end], inferior[end], across * middle) for end in (0, -1)]
    outline = np.vstack([superior, walls[1][::-1], inferior[::-1], walls[0]])
    points = np.vstack([plate[[0, CURVE_POINTS // 2, -1]] for plate in (superior, inferior)])
    return Silhouette(
        vertebra_index=index,
        points_px=view.project(geometry.apply(vertebra.lps_from_local, points)),
        outline_px=view.project(geometry.apply(vertebra.lps_from_local, outline)),
        has_ribs=vertebra.has_ribs,
    )


def _endplate(shape: BodyShape, across: FloatArray, at_mm: FloatArray, *, superior: bool) -> FloatArray:
    """Points (n, 3) of an endplate in the vertebra's frame."""
    x, y = across[0] * at_mm, across[1] * at_mm
    return np.column_stack([x, y, shape.superior_mm(x, y) if superior else shape.inferior_mm(x, y)])


def _wall(shape: BodyShape, top: FloatArray, bottom: FloatArray, middle: FloatArray) -> FloatArray:
    """Points (n, 3) between two corners, from the inferior one up, drawn in by the waist."""
    share = np.array(WALL_POINTS)[:, None]
    points = (top + bottom) / 2 + share * (top - bottom) / 2
    waist = shape.waist * (1 - share**2)
    points[:, :2] += waist * (middle - points[:, :2])
    return np.asarray(points)


def sacral_endplate_px(spine: Spine, view: Camera) -> FloatArray:
    """Ends (2, 2) of the endplate of S1: anterior and posterior, or left and right on an AP picture."""
    half = SACRAL_ENDPLATE_MM[0 if view.view == "ap" else 1] * spine.size / 2
    axis = 0 if view.view == "ap" else 1
    ends = np.zeros((2, 3))
    ends[:, axis] = -half, half
    points = view.project(geometry.apply(spine.lps_from_sacrum, ends))
    return points if view.view != "ap" or points[0, 0] <= points[1, 0] else points[::-1]


SACRAL_ENDPLATE_MM: Final = (48.0, 33.0)
"""Width and depth of the endplate of S1 as `pelvis` draws it."""
