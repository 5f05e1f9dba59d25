"""Anterior and posterior wall of a vertebral body in its mid-sagittal plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from vertecast.core.geometry import FloatArray
from vertecast.measurement.ct.body.crossings import Lines, half_crossing
from vertecast.measurement.ct.body.fitting import solve_from_below
from vertecast.measurement.ct.body.outline import OUTLINE_PROBABILITY, BodyRegion
from vertecast.measurement.ct.body.surfaces import Surface

WALL_OFFSETS_MM: Final = np.array([-2.0, 0.0, 2.0])
"""Local x of the paths that cross the walls: beside the midline too, where the basivertebral foramen is narrow."""

WALL_SPUR_MM: Final = 1.0
"""What juts out of a wall by more than this is no part of it, but a spur or a bulge."""

USUAL_WAIST: Final = 0.12
"""The middle of a wall lies behind the rims by this share of half the depth: the mean of the
simulated bodies (`simulation.spine.BodyShape.waist`)."""

WALL_STIFFNESS: Final = np.diag([0.0, 0.005, 0.005])
"""Pulls lean and waist to the usual ones where spurs leave too little of a wall to tell. A choice:
with all crossings good the waist gives way by an eighth of what is unusual in it."""

WALL_SHARES: Final = np.linspace(-0.8, 0.8, 9)
"""Where the walls are read, as a share of the half height: between the rims, where spurs begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """Local y of both walls at the endplates (mm), and their mean lean dy/dz."""

    front_mm: float
    back_mm: float
    lean: float


def find_walls(
    region: BodyRegion, lps_from_local: FloatArray, superior: Surface, inferior: Surface, lines: Lines
) -> Walls | None:
    """Anterior and posterior wall in the mid-sagittal plane.

    The walls are crossed between the rims, on paths that keep their share of the height, and carried on to the
    endplates by a parabola: the waist is seen, spurs at the rim are not.
    """
    y = np.arange(lines.y.min() - 8.0, lines.y.max() + 8.0, 0.5)
    held = np.clip(y, lines.y.min(), lines.y.max())
    top, bottom = superior(np.zeros_like(y), held), inferior(np.zeros_like(y), held)
    share, offset = np.repeat(WALL_SHARES, len(WALL_OFFSETS_MM)), np.tile(WALL_OFFSETS_MM, len(WALL_SHARES))
    z = (top + bottom) / 2 + share[:, None] * (top - bottom) / 2
    points = np.stack([np.broadcast_to(offset[:, None], z.shape), np.broadcast_to(y, z.shape), z], axis=-1)
    values = region.sample(lps_from_local, points)[:, None, :]
    inside = values >= OUTLINE_PROBABILITY
    first, last = np.argmax(inside, axis=2), len(y) - 1 - np.argmax(inside[:, :, ::-1], axis=2)
    good = np.asarray(np.any(inside, axis=2)[:, 0] & (first[:, 0] > 0) & (last[:, 0] < len(y) - 1))
    if np.count_nonzero(good) < 9:
        return None
    design = np.stack([np.ones_like(share), share, share**2], axis=1)[good]
    sides = ((first, first - 1, -1.0), (last, last + 1, 1.0))
    crossings = [outward * half_crossing(values, y, inner, outer)[:, 0][good] for inner, outer, outward in sides]
    waist_mm = np.array([0.0, 0.0, USUAL_WAIST * sum(float(np.median(crossing)) for crossing in crossings) / 2])
    fits = []
    for crossing, (*_, outward) in zip(crossings, sides, strict=True):
        unusual = solve_from_below(design, crossing - design @ waist_mm, WALL_SPUR_MM, WALL_STIFFNESS)
        fits.append(outward * (unusual + waist_mm))
    (front, front_lean, front_waist), (back, back_lean, back_waist) = fits
    half_height = float(np.median(lines.top - lines.bottom)) / 2
    return Walls(
        front_mm=float(front + front_waist),
        back_mm=float(back + back_waist),
        lean=float(front_lean + back_lean) / 2 / half_height,
    )
