"""The bony outline of each body as it was without its cement.

Where cement fills a corner of a body the network often leaves that corner out. The endplates are then known from the
part of the body without cement (`fit_body`), and the walls from the other end of the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation
from vertecast.core.results import NotMeasured
from vertecast.measurement.ct.body.crossings import CEMENT_REACH_MM, LEAST_FREE_SHARE
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.fitting import robust_solve
from vertecast.measurement.ct.body.outline import CEMENT_PROBABILITY, OUTLINE_PROBABILITY

REACH_MM: Final = 9.0
"""Voxels this near to a body learn their distance from its endplates and walls; farther ones from the outline."""

LARGEST_RADIUS: Final = 0.95
"""Share of the half extents beyond which an endplate is carried on level: no line was traced there."""

FAR_MM: Final = 1e3

WALL_ANGLES_RAD: Final = np.linspace(-np.pi, np.pi, 72, endpoint=False)
WALL_SHARES: Final = np.linspace(-0.85, 0.85, 9)
RAY_STEP_MM: Final = 0.5
WALL_WAVES: Final = 6
"""Waves round the body: enough for its kidney shape."""

MIDLINE_X_MM: Final = (-2.0, 0.0, 2.0)
"""As `walls.WALL_OFFSETS_MM`: where the fit of a body crosses its posterior wall."""

WALL_STIFFNESS: Final = 1e-3
"""Penalty of a wave of 1 mm in units of a residual of 1 mm, times the fourth power of its number."""


def bony_outlines(
    segmentation: Segmentation, box: tuple[slice, ...], bodies: Sequence[BodyGeometry | NotMeasured] = ()
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Signed distance (mm) to the outlines of the bodies, positive outside, and the nearest body.

    Args:
        segmentation: What the network found.
        box: Part of the working grid.
        bodies: Fitted geometry of each vertebra; where there is none the network's outline decides alone.

    Returns:
        Two arrays of the box's shape.
    """
    probability = segmentation.body_probability[box].astype(np.float32)
    number = _closed(segmentation, box, probability)
    if not number.any():
        return np.full(number.shape, FAR_MM, dtype=np.float32), number
    step = segmentation.spacing_mm
    signed, nearest = _signed_mm(number, probability, step)
    lps_from_box = geometry.shifted(segmentation.lps_from_index, [s.start for s in box])
    cement = segmentation.cement_probability[box] >= CEMENT_PROBABILITY
    if not cement.any():
        return signed, nearest
    cement_mm = (ndimage.distance_transform_edt(~cement) * step).astype(np.float32)
    result = signed.copy()
    for n, part in enumerate(ndimage.find_objects(number), start=1):
        body = bodies[n - 1] if part is not None and n <= len(bodies) else None
        if part is None or not isinstance(body, BodyGeometry) or cement_mm[part].min() > CEMENT_REACH_MM:
            continue
        reach = int(np.ceil(REACH_MM / step))
        near = tuple(slice(max(s.start - reach, 0), s.stop + reach) for s in part)
        index_from_local = (
            geometry.inverse(geometry.shifted(lps_from_box, [s.start for s in near])) @ body.lps_from_local
        )
        own = np.where(nearest[near] == n, signed[near], REACH_MM).astype(np.float32)
        distance = _to_body(body, index_from_local, own, cement_mm[near])
        if distance is not None:
            result[near] = np.where((nearest[near] == n) & (signed[near] <= REACH_MM), distance, result[near])
    return result, nearest


def _closed(
    segmentation: Segmentation, box: tuple[slice, ...], probability: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Number of the body of each voxel; bodies are closed, since cement at the cortex dents their outline."""
    is_body = (segmentation.structure[box] == Structure.BODY) & (probability >= OUTLINE_PROBABILITY)
    number = np.where(is_body, segmentation.instance[box], 0).astype(np.uint8)
    for n in np.unique(number[number > 0]):
        closed = ndimage.binary_closing(np.pad(number == n, 3), iterations=2)[3:-3, 3:-3, 3:-3]
        number[closed & (number == 0) & (segmentation.structure[box] != Structure.CANAL)] = n
    return number


def _signed_mm(
    number: npt.NDArray[np.uint8], probability: npt.NDArray[np.float32], step: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Signed distance to the network's outlines, below voxel size next to them, and the nearest body."""
    away, index = ndimage.distance_transform_edt(number == 0, return_indices=True)
    deep = ndimage.distance_transform_edt(number > 0)
    signed = np.where(number > 0, 0.5 - deep, away - 0.5) * step
    edge = (np.abs(signed) < step) & (probability > 0.02) & (probability < 0.98)
    signed = np.where(edge, np.clip((0.5 - probability) * step, -step, step), signed)
    return signed.astype(np.float32), number[tuple(index)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Wall:
    """Radius (mm) of a body about its own axis, as a smooth function of the angle and the share of the height."""

    coefficients: FloatArray

    def __call__(self, angle_rad: FloatArray, share: FloatArray) -> FloatArray:
        return np.asarray(_wall_terms(angle_rad, share) @ self.coefficients)


def _wall_terms(angle_rad: FloatArray, share: FloatArray) -> FloatArray:
    """Fourier series in the angle times a parabola in the height, along a new last axis."""
    waves = [np.ones_like(angle_rad)]
    for k in range(1, WALL_WAVES + 1):
        waves += [np.cos(k * angle_rad), np.sin(k * angle_rad)]
    return np.stack([wave * share**power for wave in waves for power in range(3)], axis=-1)


def _wall_penalty() -> FloatArray:
    """Second derivatives along the angle, so that the wall is carried on smoothly where cement covers it."""
    waves = [0, *(k for k in range(1, WALL_WAVES + 1) for _ in range(2))]
    return np.diag([WALL_STIFFNESS * float(k) ** 4 for k in waves for _ in range(3)])


def _fit_wall(
    body: BodyGeometry,
    index_from_local: FloatArray,
    signed: npt.NDArray[np.float32],
    cement_mm: npt.NDArray[np.float32],
) -> _Wall | None:
    """Fit the wall to where the outline crosses rays from the axis and no cement is near."""
    angle, share = (grid.ravel() for grid in np.meshgrid(WALL_ANGLES_RAD, WALL_SHARES, indexing="ij"))
    farthest = 1.4 * max(body.width_mm, body.depth_mm) / 2
    radius = np.arange(0.0, farthest, RAY_STEP_MM)
    x, y = radius * np.cos(angle)[:, None], radius * np.sin(angle)[:, None]
    top, bottom = endplate_heights_mm(body, x, y)
    z = (top + bottom) / 2 + share[:, None] * (top - bottom) / 2
    place = geometry.apply(index_from_local, np.stack([x, y, z], axis=-1))
    values = ndimage.map_coordinates(signed, np.moveaxis(place, -1, 0), order=1, mode="nearest")
    inside = values < 0
    last = values.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
    rows = np.arange(len(last))
    crossed = inside.any(axis=1) & (last < values.shape[1] - 1)
    a, b = values[rows, last], values[rows, np.minimum(last + 1, values.shape[1] - 1)]
    edge = radius[last] + RAY_STEP_MM * np.clip(-a / np.maximum(b - a, 1e-6), 0.0, 1.0)
    at = np.moveaxis(place, -1, 0)[:, rows, last]
    free = ndimage.map_coordinates(cement_mm, at, order=1, mode="nearest") > CEMENT_REACH_MM
    use = crossed & free
    if np.count_nonzero(use) < LEAST_FREE_SHARE * len(use):
        return None
    known_angle, known_share, known_radius = _posterior_wall(body)
    terms = _wall_terms(np.append(angle[use], known_angle), np.append(share[use], known_share))
    radii = np.append(edge[use], known_radius)
    return _Wall(coefficients=robust_solve(terms, radii, _wall_penalty())[0])


def _posterior_wall(body: BodyGeometry) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Angles, shares and radii (mm) of the posterior wall in the midline, as the fit of the body has carried it on.

    Without it the wall, which is hollow there, is carried on straight from pedicle to pedicle where cement lies at it,
    and the outline takes in what has leaked into the canal.
    """
    x_mm, share = (grid.ravel() for grid in np.meshgrid(MIDLINE_X_MM, WALL_SHARES, indexing="ij"))
    y_mm = body.posterior_wall_y_mm
    return np.arctan2(y_mm, x_mm), share, np.hypot(x_mm, y_mm)


def endplate_heights_mm(body: BodyGeometry, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Local z of both endplates, level beyond the rim."""
    scale = body.superior.scale_mm
    pull = np.minimum(1.0, LARGEST_RADIUS / np.maximum(np.hypot(x / scale[0], y / scale[1]), 1e-6))
    return body.superior(x * pull, y * pull), body.inferior(x * pull, y * pull)


def _to_body(
    body: BodyGeometry,
    index_from_local: FloatArray,
    signed: npt.NDArray[np.float32],
    cement_mm: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32] | None:
    """Signed distance to a body of smooth shape: the farther out of endplate and wall; None without a wall."""
    wall = _fit_wall(body, index_from_local, signed, cement_mm)
    if wall is None:
        return None
    index = np.stack(np.meshgrid(*map(np.arange, signed.shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(geometry.apply(geometry.inverse(index_from_local), index), -1, 0)
    top, bottom = endplate_heights_mm(body, x, y)
    plate = np.maximum(z - top, bottom - z)
    half = np.maximum((top - bottom) / 2, 1.0)
    share = np.clip((z - (top + bottom) / 2) / half, WALL_SHARES[0], WALL_SHARES[-1])
    beside = np.hypot(x, y) - wall(np.arctan2(y, x), share)
    return np.asarray(np.maximum(plate, beside), dtype=np.float32)
