"""The neck round the column, and head and jaw where the column reaches up to them."""

from __future__ import annotations

from typing import Final

import numpy as np

from vertecast.core.anatomy import Level, Structure
from vertecast.lab.simulation.patient.bone import BoneLook, paint_bone
from vertecast.lab.simulation.patient.canvas import Canvas, paint_soft, smooth_curve
from vertecast.lab.simulation.patient.heart import Blood
from vertecast.lab.simulation.patient.spine import Spine, Vertebra
from vertecast.lab.simulation.patient.thorax import Points, Thorax

ABOVE_T1_MM: Final = 145.0
"""From T1 to the chin, where the neck ends."""


def draw_neck(
    canvas: Canvas, thorax: Thorax, blood: Blood, tissue_hu: tuple[float, float], rng: np.random.Generator
) -> None:
    """Muscles, windpipe, thyroid with its cartilages, hyoid, carotids and jugulars; the skin is drawn.

    Args:
        canvas: The picture.
        thorax: Where the column runs.
        blood: HU of the blood.
        tissue_hu: Of fat and of muscle.
        rng: Draws everything.
    """
    low, high = thorax.t1_z_mm - 25, thorax.t1_z_mm + ABOVE_T1_MM
    middle = thorax.t1_z_mm + rng.uniform(45, 70)  # height of the cricoid

    def tube(knots: list[list[float]], radii: tuple[float, float, float], value: float) -> None:
        paint_soft(canvas, smooth_curve(thorax.lps(knots), 50), radii, value)

    fat, muscle = tissue_hu
    for side in (-1, 1):  # planes of fat, then muscles and vessels in them
        tube([[side * 30, -22, low], [side * 33, -18, middle], [side * 36, -10, high]], (13, 15, 8), fat)
    for side in (-1, 1):
        sterno = [[side * 14, -52, low + 10], [side * 34, -30, middle], [side * 52, 6, high]]
        tube(sterno, (9, rng.uniform(7, 12), 6), muscle)
        tube([[side * 20, 34, low], [side * 19, 30, middle], [side * 22, 30, high]], (15, 11, 8), muscle)
        tube([[side * 26, -18, low], [side * 24, -16, middle], [side * 26, -10, high]], (3.5, 3.5, 3.5), blood.left)
        jugular = rng.uniform(3, 8)
        value = blood.vein if rng.random() < 0.3 else blood.right
        tube([[side * 33, -26, low], [side * 34, -20, middle], [side * 35, -10, high]], (jugular, 6, 4), value)
    gland, size = rng.uniform(60, 220), rng.uniform(6, 13)
    for side in (-1, 1):
        tube([[side * 15, -36, middle - 38], [side * 16, -36, middle - 8]], (size, size * 1.2, size), gland)
    tube([[-8, -45, middle - 22], [8, -45, middle - 22]], (5, 4, 6), gland)
    airway = rng.uniform(6.5, 9)
    course = [[0.0, -33, low - 20], [0, -34, middle], [0, -32, high]]
    tube(course, (airway + 2, airway + 2, 5), muscle)
    tube(course, (airway, airway, 4), -980)
    _cartilages(canvas, thorax, middle, airway, rng)


def _cartilages(canvas: Canvas, thorax: Thorax, middle: float, airway: float, rng: np.random.Generator) -> None:
    """Cricoid and thyroid cartilage, hard in part, and the hyoid, which is bone."""
    hard = rng.uniform(0, 1) if rng.random() < 0.6 else 0.0
    angle = np.radians(np.linspace(-180, 180, 70))
    for height in np.arange(0, 9, 1.5):
        ring = np.stack(
            [(airway + 2) * np.sin(angle), -34 - (airway + 2) * np.cos(angle), 0 * angle + middle + height], -1
        )
        _hard_beads(canvas, thorax.lps(ring), hard, rng)
    along, up = (one.ravel() for one in np.meshgrid(np.linspace(0, 1, 24), np.linspace(0, 22, 12), indexing="ij"))
    for side in (-1, 1):
        plate = np.stack([side * (2 + 16 * along), -50 + 22 * along, middle + 13 + up], -1)
        _hard_beads(canvas, thorax.lps(plate), hard, rng)
    bow = np.radians(np.linspace(-105, 105, 70))
    hyoid = np.stack([20 * np.sin(bow), -34 - 17 * np.cos(bow), 0 * bow + middle + 48], -1)
    canvas.paint_beads(thorax.lps(hyoid), rng.uniform(1.8, 3), rng.uniform(250, 700), Structure.OTHER_BONE)


def _hard_beads(canvas: Canvas, points: Points, share: float, rng: np.random.Generator) -> None:
    kept = points[rng.random(len(points)) < share]
    if len(kept):
        canvas.paint_beads(kept, 1.3, rng.uniform(250, 700), Structure.OTHER_BONE)


def draw_head(canvas: Canvas, spine: Spine, look: BoneLook, rng: np.random.Generator) -> None:
    """Skull, jaw and what is missing of C1 and C2 above a column that reaches into the neck; else nothing."""
    top = min(spine.vertebrae, key=lambda v: int(v.level) if v.level is not Level.T13 else int(Level.T12))
    if top.level > Level.C7:
        return
    missing = int(top.level) - 1
    above = 13.0 * missing + top.shape.posterior_mm / 2
    base = top.lps_from_local[:3, 3] + above * top.lps_from_local[:3, 2]
    head, size = np.add(base, [0, -12, 0]), spine.size * rng.uniform(0.93, 1.05)
    _flesh(canvas, head, size, rng)
    _skull(canvas, head, size, look, rng)
    if missing:
        _upper_two(canvas, top, base, look)
    _jaw(canvas, head, size, look, rng)


def _flesh(canvas: Canvas, head: Points, size: float, rng: np.random.Generator) -> None:
    """Scalp and face, with air in nose and throat."""
    fat, muscle = rng.uniform(-110, -70), rng.uniform(30, 65)
    vault = head + np.multiply([[0, -22, 62], [0, 12, 66]], size)
    face = head + np.multiply([[0, -66, 30], [0, -62, -12]], size)
    for thick, value in ((6, fat), (2, muscle)):
        paint_soft(
            canvas,
            np.linspace(vault[0], vault[1], 12),
            (78 * size + thick, 80 * size + thick, 76 * size + thick),
            value,
        )
        paint_soft(
            canvas, np.linspace(face[0], face[1], 12), (54 * size + thick, 34 * size + thick, 30 * size + thick), value
        )
    paint_soft(canvas, np.linspace(np.add(head, [0, -28, -40]), np.add(head, [0, -26, 6]), 12), (10, 6, 6), -950)
    for side in (-1, 0, 1):
        paint_soft(canvas, np.add(head, [[side * 24 * size, -62 * size, 26]]), (11, 15, 14), rng.choice([-950.0, 20.0]))


def _skull(canvas: Canvas, head: Points, size: float, look: BoneLook, rng: np.random.Generator) -> None:
    """A shell of bone with a brain in it, open where the column joins; mastoids full of air."""
    middle, radii = head + np.multiply([0, -6, 66], size), np.multiply([72, 90, 68], size)
    region = canvas.local(np.eye(4), middle - radii - 3, middle + radii + 3)
    if region is not None:
        shell = region.capsule(middle, middle, radii)
        hard = 0.5 * (look.cortex_hu + look.arch_hu)
        canvas.paint_free(region.box, shell, hard, Structure.OTHER_BONE)
        canvas.paint_free(region.box, shell - rng.uniform(4, 8), rng.uniform(25, 45), Structure.BACKGROUND)
    paint_soft(canvas, np.linspace(np.add(head, [0, 18, -4]), np.add(head, [0, 18, 12]), 8), (15, 17, 6), 25.0)
    for side in (-1, 1):
        petrous = head + np.multiply([[side * 20, -14, 10], [side * 52, 6, 10], [side * 54, 10, -10]], size)
        paint_bone(canvas, smooth_curve(petrous, 30), (12, 12, 10), look)
        cells = petrous[2] + rng.normal(0, 4, (25, 3)) + [0, 0, 6]
        canvas.paint_beads(cells, 1.6, -700.0, Structure.OTHER_BONE)
        condyle = head + np.multiply([[side * 14, 2, 2], [side * 16, 12, 2]], size)
        paint_bone(canvas, np.linspace(condyle[0], condyle[1], 8), (6, 8, 6), look)


def _upper_two(canvas: Canvas, top: Vertebra, base: Points, look: BoneLook) -> None:
    """Atlas and axis, where they are no vertebrae of the column, as bones without a name."""
    up = top.lps_from_local[:3, 2]
    low, angle = base - 26 * up, np.linspace(0, 2 * np.pi, 80)
    dens = np.linspace(low + 2 * up, base - 4 * up, 20)
    if top.level > Level.C2:
        paint_bone(canvas, dens[:8], (10, 8, 8), look)
        paint_bone(canvas, dens, (5.5, 5.5, 6), look)
    for lift, tall, wide in ((-7.0, 4.5, 20.0), (-22.0, 5.5, 19.0)):
        if lift < -10 and top.level <= Level.C2:
            continue
        ring = base + lift * up + np.stack([wide * np.sin(angle), 13 - 20 * np.cos(angle), 0 * angle], -1)
        ring = ring if lift > -10 else ring[20:60]
        paint_bone(canvas, ring, (3.2, 3.2, tall), look)
        for side in (-1, 1):
            paint_bone(canvas, base + lift * up + [[side * 17, 0, 0], [side * 19, 4, 0]], (8, 8, 7), look)


def _jaw(canvas: Canvas, head: Points, size: float, look: BoneLook, rng: np.random.Generator) -> None:
    """Upper and lower jaw with teeth, which may hold metal."""
    drop = rng.uniform(-4, 8)
    half = np.array([[0, -92, -42 - drop], [22, -84, -42 - drop], [42, -44, -36], [50, -22, -22], [50, -16, 8]])
    teeth, dense = rng.random() < 0.85, rng.uniform(1300, 2400)
    for side in (-1, 1):
        lower = smooth_curve(head + half * size * [side, 1, 1], 70)
        paint_bone(canvas, lower, (5, 5, 11), look)
        upper = smooth_curve(
            head + np.multiply([[0, -88, -10], [20, -80, -10], [30, -44, -8]], size) * [side, 1, 1], 30
        )
        paint_bone(canvas, upper, (6, 6, 8), look)
        if teeth:
            for row in (upper[::4] - [0, 0, 9], np.add(lower[:34:5], [0, 0, 12])):
                for tooth in row[rng.random(len(row)) < 0.8]:
                    paint_bone(canvas, np.add(tooth, [[0, 0, -3], [0, 0, 3]]), (3, 3, 5), look)
                canvas.paint_beads(row, 2.5, dense, Structure.OTHER_BONE)
