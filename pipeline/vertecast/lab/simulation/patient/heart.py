"""What lies between the lungs: heart, great vessels, airway and gullet, and the vessels in the lungs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.patient.canvas import Canvas, paint_soft, smooth_curve
from vertecast.lab.simulation.patient.thorax import Points, Thorax

ANGIOGRAM_RATE: Final = 0.28
"""Share of the patients seen while the medium passes the heart; a choice, for what is seldom is learnt badly."""
ENHANCED_FROM_HU: Final = 90.0
"""Blood above this holds contrast medium."""
CARINA: Final = 0.36
"""Share of the way from T1 to T12 at which the airway parts (T4 to T5)."""
LUNG_HU: Final = (-1100.0, -450.0)
"""Where vessels of the lung are painted."""
HEART_AXIS: Final = (0.72, -0.5, -0.48)
"""From the base to the tip of the heart: left, to the front, down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blood:
    """HU of the blood on its way, and of the muscle of the heart."""

    left: float
    right: float
    vein: float
    muscle: float

    @classmethod
    def sample(cls, aorta_hu: float, rng: np.random.Generator) -> Blood:
        """The phase of a patient whose aorta shows like this in the abdomen; an angiogram has its own."""
        draw, level = rng.random(), rng.uniform(280, 650)
        if draw < 0.7 * ANGIOGRAM_RATE:
            left, right = level, level * rng.uniform(0.25, 1.1)
        elif draw < ANGIOGRAM_RATE:
            left, right = level * rng.uniform(0.2, 0.9), level
        else:
            left, right = aorta_hu, aorta_hu * rng.uniform(0.8, 1.05)
        enhanced = max(left, right) > ENHANCED_FROM_HU
        dense = draw < ANGIOGRAM_RATE and rng.random() < 0.6
        return cls(
            left=float(left),
            right=float(right),
            vein=float(rng.uniform(500, 1500) if dense else right),
            muscle=float(rng.uniform(65, 130) if enhanced else rng.uniform(35, 60)),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chest:
    """What the parts of the chest need of each other.

    Attributes:
        canvas, thorax: Picture and cage.
        blood: Its HU.
        heart_mm: Centre of the heart beside the column.
        dome_z_mm: Height of the diaphragm.
        aorta_mm: x, y and radius of the aorta at T12, beside the column.
    """

    canvas: Canvas
    thorax: Thorax
    blood: Blood
    heart_mm: Points
    dome_z_mm: float
    aorta_mm: tuple[float, float, float]

    def tube(self, knots: Sequence[npt.ArrayLike], radius_mm: float, value_hu: float) -> Points:
        """A soft round tube through knots (n, 3) beside the column; the points (LPS) of its centre line."""
        at = self.thorax.lps([np.asarray(knot, dtype=np.float64) for knot in knots])
        length = float(np.linalg.norm(np.diff(at, axis=0), axis=1).sum())
        points = smooth_curve(at, max(int(length / max(radius_mm * 0.5, 1.0)), 4))
        paint_soft(self.canvas, points, (radius_mm,) * 3, value_hu)
        return points

    def z(self, share: float) -> float:
        """Height by the share of the way from T1 to T12."""
        return self.thorax.height_mm(share)

    def solid(self, start: npt.ArrayLike, end: npt.ArrayLike, radii: npt.ArrayLike, value_hu: float) -> None:
        """An ellipsoid swept from one point beside the heart's centre to another."""
        ends = self.thorax.lps(self.heart_mm + np.array([start, end], dtype=np.float64))
        reach = np.asarray(radii, dtype=np.float64) + 2
        region = self.canvas.local(np.eye(4), ends.min(axis=0) - reach, ends.max(axis=0) + reach)
        if region is not None:
            self.canvas.paint_free(region.box, region.capsule(ends[0], ends[1], radii), value_hu, Structure.BACKGROUND)


def draw_chest(chest: Chest, rng: np.random.Generator) -> None:
    """Everything between the lungs and the vessels in them, from soft to dense."""
    heart, vessels, lungs, tubes, calcium = rng.spawn(5)
    _lung_vessels(chest, lungs)
    _gullet(chest, tubes)
    _heart(chest, heart)
    walls = _arteries(chest, vessels)
    _veins(chest, vessels)
    _airway(chest, tubes)
    _calcium(chest, walls, calcium)


def _heart(chest: Chest, rng: np.random.Generator) -> None:
    """Four chambers and the muscle of the left one, in a sac of fat."""
    s, blood = chest.thorax.width * rng.uniform(0.85, 1.2), chest.blood
    axis = s * np.array(HEART_AXIS)
    fat = rng.uniform(-110, -20)
    left = s * np.array([14, 0, -6])
    chest.solid(-10 * axis, 32 * axis, np.multiply([50, 42, 42], s), fat)
    right = s * np.array([-6, -20, -12])
    wall = rng.uniform(2, 5)
    chest.solid(right - 18 * axis, right + 34 * axis, np.multiply([21 + wall, 17 + wall, 21 + wall], s), blood.muscle)
    chest.solid(right - 18 * axis, right + 32 * axis, np.multiply([21, 17, 21], s), blood.right)
    atrium = s * np.array([-36, -2, 6])
    chest.solid(atrium - [0, 0, 12], np.add(atrium, [0, 0, 10]), np.multiply([20, 24, 20], s), blood.right)
    back = s * np.array([-4, 24, 16])
    chest.solid(back - [12, 0, 0], np.add(back, [12, 0, 2]), np.multiply([20, 17, 20], s), blood.left)
    muscle = rng.uniform(8, 14)
    chest.solid(left - 14 * axis, left + 34 * axis, np.multiply([30, 27, 30], s), blood.muscle)
    chamber = 30 - muscle
    radii = np.multiply([chamber, chamber - 2, chamber], s)
    chest.solid(left - 22 * axis, left + 30 * axis, radii, blood.left * rng.uniform(0.92, 1.02))
    for side in (-1, 1):  # veins of the lung
        for lift in (0, 22):
            end = np.add(back, [side * 45, 8, lift - 10])
            start = chest.heart_mm + back + [side * 14, 2, lift / 3]
            chest.tube(
                [start, chest.heart_mm + (back + end) / 2 + [side * 8, 4, 0], chest.heart_mm + end], 6, blood.left
            )


def _arteries(chest: Chest, rng: np.random.Generator) -> list[tuple[Points, float]]:
    """Aorta with its branches to the neck, and the pulmonary arteries; the aorta's course and radii."""
    blood, z, heart = chest.blood, chest.z, chest.heart_mm
    cx, cy, radius = chest.aorta_mm
    top = rng.uniform(0.24, 0.3)
    low, beside = radius + rng.uniform(0, 2), 15 * chest.thorax.width + radius
    high = low + rng.uniform(1, 6)
    front = -0.6 * float(chest.thorax.front_mm(z(0.42)))
    trunk = z(CARINA) - 22
    lung = rng.uniform(10, 14)
    left = [[20, -48, trunk], [40, -34, trunk - 4], [54, -22, trunk - 26]]
    right = [[18, -50, trunk], [-8, -45, trunk - 8], [-34, -42, trunk - 14], [-54, -34, trunk - 30]]
    chest.tube([np.add(heart, [14, -26, 18]), [20, front, trunk - 14], [19, -50, trunk]], lung + 2, blood.right)
    for course in (left, right):
        chest.tube(course, lung * 0.8, blood.right)
    rise: list[npt.ArrayLike] = [
        np.add(heart, [0, -4, 16]),
        [-14, front, z(0.46)],
        [-12, front + 4, z(top + 0.08)],
        [4, -44, z(top)],
    ]
    arch = [[4, -44, z(top)], [17, -32, z(top) + 1], [beside - 2, -18, z(top + 0.05)], [beside, -10, z(top + 0.13)]]
    fall = [arch[-1], [beside, -11, z(0.55)], [beside - 1, -16, z(0.75)], [(cx + beside) / 2, cy + 5, z(0.93)]]
    walls = [(chest.tube(rise, high, blood.left), high), (chest.tube(arch, (low + high) / 2, blood.left), high)]
    walls.append((chest.tube([*fall, [cx, cy, z(1.04)]], low, blood.left), low))
    for x, y, side in ((-6, -46, -1), (6, -42, 1)):
        chest.tube(
            [[x, y, z(top)], [side * 15, -30, z(0.1)], [side * 22, -24, z(-0.12)]], rng.uniform(3.5, 6), blood.left
        )
    for side, x in ((1, 18), (-1, -12)):
        course = [[x, -32, z(top - 0.02 if side > 0 else 0.14)], [side * 28, -16, z(0.04)], [side * 75, -22, z(0.0)]]
        chest.tube(course, 4.5, blood.left)
    return walls


def _veins(chest: Chest, rng: np.random.Generator) -> None:
    """Upper and lower cava, the veins from neck and arms, the azygos before the column."""
    blood, z, heart, thorax = chest.blood, chest.z, chest.heart_mm, chest.thorax
    front = -float(thorax.front_mm(z(0.13)))
    radius = rng.uniform(7, 11)
    upper: list[npt.ArrayLike] = [[-23, 0.8 * front, z(0.17)], [-26, -46, z(0.34)], np.add(heart, [-34, 2, 18])]
    dense = chest.tube(upper, radius, blood.vein)
    chest.tube(
        [[-22, -34, chest.dome_z_mm - 30], [-24, -38, chest.dome_z_mm], np.add(heart, [-34, 8, -16])], 11, blood.right
    )
    arm = int(rng.choice([-1, 1]))
    for side in (-1, 1):
        value = blood.vein if side == arm else blood.right
        bend = [8, front + 17, z(0.13)] if side > 0 else [-26, 0.75 * front, z(0.12)]
        course = [[-23, 0.8 * front, z(0.17)], bend, [side * 32, 0.7 * front, z(0.05)]]
        chest.tube(course, rng.uniform(5, 7), value)
        if value > ENHANCED_FROM_HU:
            shoulder = np.multiply(thorax.shoulder_mm, [side, 1, 1])
            chest.tube([course[-1], [side * 75, -48, z(0.04)], shoulder - [side * 40, 30, 12]], 5, value)
    azygos, at = rng.uniform(2.5, 5), -rng.uniform(18, 22)
    value = blood.right if rng.random() < 0.7 else blood.vein
    up = [[-7, at - 6, z(1.1)], [-9, at - 3, z(0.8)], [-11, at, z(0.5)], [-12, at - 3, z(0.34)]]
    chest.tube([*up, [-19, -33, z(0.3)], [-24, -44, z(0.32)]], azygos, value)
    if blood.vein > 600:
        _streak(chest.canvas, dense, blood.vein, rng)


def _streak(canvas: Canvas, vein: Points, hu: float, rng: np.random.Generator) -> None:
    """Dark and bright rays round very dense medium."""
    reach = 70.0
    region = canvas.local(np.eye(4), vein.min(axis=0) - [reach, reach, 0], np.add(vein.max(axis=0), [reach, reach, 0]))
    if region is None:
        return
    x, y = region.xyz[0] - vein[:, 0].mean(), region.xyz[1] - vein[:, 1].mean()
    rays, phase = int(rng.integers(3, 9)), rng.uniform(0, 2 * np.pi)
    strength = rng.uniform(0.02, 0.12) * hu
    radius = np.sqrt(x * x + y * y)
    fading = strength * np.exp(-radius / 25) * np.clip(radius / 12, 0, 1)
    canvas.hu[region.box] += (fading * np.sin(rays * np.arctan2(y, x) + phase)).astype(np.float32)


def _airway(chest: Chest, rng: np.random.Generator) -> None:
    """Windpipe and main bronchi."""
    z, radius = chest.z, rng.uniform(7, 10)
    carina = z(CARINA + rng.uniform(-0.03, 0.03))
    shift = rng.uniform(-5, 5)
    down = [[0, -34, z(-0.3)], [0, -31, z(-0.1)], [shift, -29, z(0.1)], [2, -31, carina]]
    ways = [(down, radius)]
    ways += [([down[-1], [side * 16, -33, carina - 14], [side * 42, -31, carina - far]], radius * 0.65)
             for side, far in ((-1, 30.0), (1, 36.0))]  # fmt: skip
    for wall, value in ((rng.uniform(1.2, 2.2), rng.uniform(20, 80)), (0.0, rng.uniform(-1000, -940))):
        for course, wide in ways:
            chest.tube(course, wide + wall, value)


def _gullet(chest: Chest, rng: np.random.Generator) -> None:
    """The oesophagus, empty or with air or medium, sometimes with a hernia at its end."""
    z, radius = chest.z, rng.uniform(5, 8)
    low = chest.dome_z_mm
    course = [
        [2, -20, z(-0.25)],
        [4, -19, z(0.05)],
        [3, -22, z(0.36)],
        [3, -26, z(0.6)],
        [14, -38, low],
        [24, -48, low - 25],
    ]
    line = chest.tube(course, radius, rng.uniform(20, 60))
    if rng.random() < 0.35:
        start = int(rng.integers(0, max(len(line) - 20, 1)))
        value = rng.uniform(150, 700) if rng.random() < 0.2 else rng.uniform(-900, -200)
        paint_soft(chest.canvas, line[start : start + int(rng.integers(5, 40))], (radius * 0.5,) * 3, value)
    if rng.random() < 0.08:
        size = rng.uniform(14, 32)
        at = np.array([rng.uniform(-5, 18), -24 - size, low + size * 0.6])
        chest.tube([at, np.add(at, [2, 0, 6])], size, rng.uniform(10, 60))
        chest.tube([np.add(at, [0, -4, 4]), np.add(at, [1, -4, 8])], size * 0.6, rng.choice([-850.0, 20.0, 400.0]))


def _lung_vessels(chest: Chest, rng: np.random.Generator) -> None:
    """Trees of vessels from the roots of the lungs towards the cage, sometimes a solid patch."""
    canvas, thorax = chest.canvas, chest.thorax
    root_z, value = chest.z(CARINA) - 45, max(chest.blood.right, 30.0)
    courses: dict[float, list[Points]] = {3.4: [], 2.2: [], 1.2: []}
    for side in (-1, 1):
        root = np.array([side * 46, -32, root_z])
        for _ in range(int(rng.integers(9, 16))):
            height = rng.uniform(chest.dome_z_mm - 10, chest.z(0.06))
            end = thorax.on_cage([side * rng.uniform(25, 150)], [height], -rng.uniform(14, 30))[0]
            _branch(root, end, courses, canvas.spacing_mm, rng)
    for radius, parts in courses.items():
        points = thorax.lps(np.concatenate(parts))
        canvas.paint_beads(points, radius, value, within_hu=LUNG_HU)
    if rng.random() < 0.15:
        side = int(rng.choice([-1, 1]))
        at = thorax.on_cage([side * rng.uniform(20, 100)], [rng.uniform(chest.dome_z_mm, chest.z(0.2))], -20.0)
        size = rng.uniform(10, 30)
        canvas_points = thorax.lps(at + rng.normal(0, size / 2, (6, 3)))
        for point in canvas_points:
            paint_patch(canvas, point, size * rng.uniform(0.4, 0.9), rng.uniform(-150, 60))


def _branch(
    start: Points, end: Points, courses: dict[float, list[Points]], spacing_mm: float, rng: np.random.Generator
) -> None:
    """One vessel with twigs; it thins on its way."""
    bend = (start + end) / 2 + rng.normal(0, 9, 3)
    t = np.linspace(0, 1, max(int(np.linalg.norm(end - start) / max(0.9, 0.5 * spacing_mm)), 6))[:, None]
    line = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    first, second = int(len(t) * rng.uniform(0.25, 0.45)), int(len(t) * rng.uniform(0.6, 0.75))
    for radius, part in zip(courses, (line[:first], line[first:second], line[second:]), strict=True):
        courses[radius].append(part)
    for at in (first, second):
        tip = line[at] + 0.5 * (end - line[at]) + rng.normal(0, 16, 3)
        courses[1.2].append(line[at] + np.linspace(0, 1, len(t) // 3 + 2)[:, None] * (tip - line[at]))


def paint_patch(canvas: Canvas, at_lps_mm: npt.ArrayLike, radius_mm: float, value_hu: float) -> None:
    """A ball of solid lung."""
    at = np.asarray(at_lps_mm, dtype=np.float64)
    region = canvas.local(np.eye(4), at - radius_mm - 2, at + radius_mm + 2)
    if region is not None:
        ball = region.capsule(at, at, [radius_mm] * 3)
        hu = canvas.hu[region.box]
        solid = (ball > 0) & (hu > LUNG_HU[0]) & (hu < LUNG_HU[1])
        hu[solid] = value_hu


def _calcium(chest: Chest, walls: list[tuple[Points, float]], rng: np.random.Generator) -> None:
    """Plaques in the wall of the aorta, calcium in coronary arteries and valves."""
    for line, radius in walls:
        for _ in range(int(rng.poisson(1.5))):
            n = int(rng.integers(0, len(line)))
            angle = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(0.2, 1.0), 10)
            ring = np.stack([np.cos(angle), np.sin(angle), np.linspace(0, rng.uniform(0, 0.8), 10)], -1)
            chest.canvas.paint_beads(line[n] + radius * ring, rng.uniform(0.8, 1.8), rng.uniform(300, 1300))
    for _ in range(int(rng.poisson(1.2))):
        at = chest.heart_mm + rng.uniform([-25, -40, 0], [35, -10, 35])
        way = rng.normal(0, 10, 3) * [1, 1, 0.6]
        course = chest.thorax.lps(at + np.linspace(0, 1, 16)[:, None] * way)
        chest.canvas.paint_beads(course, rng.uniform(0.8, 1.8), rng.uniform(300, 1200))
