"""The rib cage: its outline at every height, the ribs' course, breast bone and costal cartilage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import Level, Structure, normal_gap_mm
from vertecast.lab.simulation.patient.bone import BoneLook, paint_bone
from vertecast.lab.simulation.patient.canvas import Canvas, smooth_curve
from vertecast.lab.simulation.patient.population import DIMENSIONS
from vertecast.lab.simulation.patient.spine import Spine, Vertebra

Points: TypeAlias = npt.NDArray[np.float64]
Knots: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]

WIDTH_MM: Final[Knots] = ((-0.12, 0.0, 0.12, 0.3, 0.55, 0.9, 1.3), (25, 48, 78, 106, 122, 128, 118))
"""Half width of the cage by the share of the way down from T1 to T12; round figures of adults, like the next two."""
BACK_MM: Final[Knots] = ((-0.1, 0.0, 0.15, 0.4, 0.8, 1.2), (8, 15, 28, 39, 38, 32))
"""How far the cage reaches behind the centres of the bodies."""
FRONT_MM: Final[Knots] = ((-0.12, 0.0, 0.13, 0.35, 0.65, 1.0, 1.4), (12, 32, 60, 96, 124, 136, 128))
"""How far it reaches in front of them."""
DROP_MM: Final = (32, 48, 64, 78, 90, 100, 108, 112, 112, 106, 90, 70, 50)
"""How much lower the front end of a rib lies than its tubercle, T1 to T13."""
BREAST_BONE: Final = (0.13, 0.74)
"""Shares of the way from T1 to T12 at which the breast bone begins (T2 to T3) and its body ends (T9 to T10)."""
JOINTS: Final = (0.04, 0.28, 0.42, 0.55, 0.68, 0.8, 0.9)
"""Where along the breast bone the cartilages of ribs 1 to 7 join it."""
ARMS_DOWN_RATE: Final = 0.4
"""Share of the patients whose arms lie beside the trunk; on most CT of the trunk they lie above the head."""
LAST_CARTILAGE: Final = 9
"""Rib 10, counted from 0, is the last that is held in front."""


def rib_number(level: Level) -> int:
    """Ribs counted from 0; T13 has the thirteenth."""
    return 12 if level is Level.T13 else int(level) - int(Level.T1)


def _height_mm(spine: Spine, level: Level) -> float:
    """LPS z of a level's body; of one that the spine does not hold as far from the nearest one as levels mostly lie."""
    names = list(DIMENSIONS)
    at = {v.level: float(v.lps_from_local[2, 3]) for v in spine.vertebrae}
    if level in at:
        return at[level]
    wanted = names.index(level)
    nearest = min((one for one in at if one in names), key=lambda one: abs(names.index(one) - wanted))
    first, last = sorted((names.index(nearest), wanted))
    away_mm = spine.size * sum(normal_gap_mm(one) for one in names[first:last])
    return at[nearest] + (away_mm if names.index(nearest) > wanted else -away_mm)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Thorax:
    """Where the cage of one patient lies.

    Positions "beside the column" are (x, y) from the centre of the column at their height, and LPS z.

    Attributes:
        column_lps_mm: Centres (n, 3) of the bodies, caudal first.
        t1_z_mm, t12_z_mm: Heights of the centres of T1 and T12.
        width, depth, drop: Scales of the cage and of the slope of its ribs.
        calcified: Share of the costal cartilage that holds calcium.
        arms_down: The arms lie beside the trunk, else above the head.
        shoulder_mm: Centre of the left humeral head, beside the column.
    """

    column_lps_mm: Points
    t1_z_mm: float
    t12_z_mm: float
    width: float
    depth: float
    drop: float
    calcified: float
    arms_down: bool
    shoulder_mm: tuple[float, float, float]

    @classmethod
    def sample(cls, spine: Spine, rng: np.random.Generator) -> Thorax:
        """Draw the cage of a patient."""
        centers = np.array(
            [v.lps_from_local[:3, 3] for v in spine.vertebrae] + [spine.lps_from_sacrum[:3, 3] + [0, 5, -20]]
        )
        t1_z_mm, t12_z_mm = _height_mm(spine, Level.T1), _height_mm(spine, Level.T12)
        old = spine.age_years > 50
        width = spine.size * float(rng.uniform(0.9, 1.1))
        arms_down = bool(rng.random() < ARMS_DOWN_RATE)
        lift = rng.uniform(-30, 0) if arms_down else rng.uniform(-10, 25)
        return cls(
            column_lps_mm=centers[np.argsort(centers[:, 2])],
            t1_z_mm=t1_z_mm,
            t12_z_mm=t12_z_mm,
            width=width,
            depth=spine.size * float(rng.uniform(0.85, 1.2)),
            drop=float(rng.uniform(0.75, 1.2)),
            calcified=float(rng.uniform(0.05, 0.9)) if rng.random() < (0.6 if old else 0.15) else 0.0,
            arms_down=arms_down,
            shoulder_mm=(width * rng.uniform(146, 166), rng.uniform(-25, 10), t1_z_mm + lift),
        )

    def share(self, z_mm: npt.ArrayLike) -> Points:
        """Share of the way down from T1 (0) to T12 (1)."""
        return np.asarray((self.t1_z_mm - np.asarray(z_mm, dtype=np.float64)) / (self.t1_z_mm - self.t12_z_mm))

    def height_mm(self, share: float) -> float:
        """LPS z of a `share`."""
        return self.t1_z_mm - share * (self.t1_z_mm - self.t12_z_mm)

    def half_width_mm(self, z_mm: npt.ArrayLike) -> Points:
        """Half of the cage's width at these heights."""
        return self.width * np.interp(self.share(z_mm), *WIDTH_MM)

    def back_mm(self, z_mm: npt.ArrayLike) -> Points:
        """How far the cage reaches behind the column's centre."""
        return self.width * np.interp(self.share(z_mm), *BACK_MM)

    def front_mm(self, z_mm: npt.ArrayLike) -> Points:
        """How far the cage reaches in front of the column's centre."""
        return self.depth * np.interp(self.share(z_mm), *FRONT_MM)

    def lps(self, beside_column_mm: npt.ArrayLike) -> Points:
        """LPS of points (n, 3) beside the column."""
        points = np.array(beside_column_mm, dtype=np.float64)
        for axis in (0, 1):
            points[..., axis] += np.interp(points[..., 2], self.column_lps_mm[:, 2], self.column_lps_mm[:, axis])
        return points

    def on_cage(self, angle_deg: npt.ArrayLike, z_mm: npt.ArrayLike, outside_mm: float | Points = 0.0) -> Points:
        """Points (n, 3) beside the column on the cage; 0 degrees is behind, 90 at the left side, 180 in front."""
        angle, z = np.radians(angle_deg), np.asarray(z_mm, dtype=np.float64)
        back, front = self.back_mm(z) + outside_mm, self.front_mm(z) + outside_mm
        x = (self.half_width_mm(z) + outside_mm) * np.sin(angle)
        return np.stack([x, (back - front) / 2 + (back + front) / 2 * np.cos(angle), z + 0 * x], -1)

    def rib(self, vertebra: Vertebra, head_local_mm: Points, side: int, drop: float) -> Points:
        """Knots (n, 3) in LPS of a rib: head to tubercle in the vertebra's frame, then along the cage."""
        near = geometry.apply(vertebra.lps_from_local, head_local_mm * [side, 1, 1])
        angle = np.array([48, 66, 90, 114, 134, 150.0])
        way = (angle - 25) / (angle[-1] - 25)
        fall = DROP_MM[rib_number(vertebra.level)] * self.drop * drop * self.width
        along = self.lps(self.on_cage(side * angle, near[-1, 2] - fall * way**1.15, -3.0))
        return np.concatenate([near, along])

    def breast_bone(self, share: npt.ArrayLike) -> Points:
        """Points (n, 3) in LPS along the breast bone: 0 its upper end, 1 the end of its body."""
        z = self.height_mm(BREAST_BONE[0]) + np.asarray(share) * (
            self.height_mm(BREAST_BONE[1]) - self.height_mm(BREAST_BONE[0])
        )
        front = self.front_mm(z)
        return self.lps(np.stack([0 * z, 2.0 - front, z], -1))


def draw_breast_bone(canvas: Canvas, thorax: Thorax, look: BoneLook, rng: np.random.Generator) -> None:
    """Manubrium, body and xiphoid."""
    size = thorax.width
    thick = rng.uniform(4.5, 7)
    for (start, end), width in (
        ((0.03, 0.12), rng.uniform(24, 32)),
        ((0.1, 0.26), rng.uniform(17, 22)),
        ((0.33, 0.7), rng.uniform(13, 18)),
        ((0.6, 0.97), rng.uniform(16, 22)),
        ((1.03, rng.uniform(1.1, 1.3)), rng.uniform(4, 9)),
    ):
        points = thorax.breast_bone(np.linspace(start, end, 20))
        paint_bone(canvas, points, (width * size, thick * size, 6.0), look, spongy_share=0.6)


def draw_cartilage(canvas: Canvas, thorax: Thorax, number: int, rib_end: Points, rng: np.random.Generator) -> None:
    """The cartilage between a rib (counted from 0) and the breast bone: soft tissue, bone where it holds calcium."""
    if number > LAST_CARTILAGE:
        return
    below = max(number - len(JOINTS) + 1, 0)
    middle = thorax.breast_bone([JOINTS[min(number, len(JOINTS) - 1)]])[0]
    side = 1 if rib_end[0] > middle[0] else -1
    joint = np.add(middle, [side * (16 + 13 * below), 3 + 3 * below, -13 * below])
    half_way = (joint + rib_end) / 2 + [0, -3, -rng.uniform(0, 8) if number else 0]
    points = smooth_curve([rib_end, half_way, joint], 60)
    canvas.paint_beads(points, rng.uniform(4.5, 6.5), rng.uniform(70, 140))
    hard = rng.random(len(points)) < thorax.calcified * rng.uniform(0.2, 1)
    if hard.any():
        calcium = points[hard] + rng.normal(0, 2.0, (int(hard.sum()), 3))
        canvas.paint_beads(calcium, rng.uniform(1.5, 2.6), rng.uniform(250, 800), Structure.OTHER_BONE)
