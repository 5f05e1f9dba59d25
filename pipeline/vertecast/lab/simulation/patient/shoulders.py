"""Shoulder blades, collar bones and upper arms, with the flesh round them; arms beside the trunk or above the head."""

from __future__ import annotations

from typing import Final

import numpy as np

from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.patient.bone import BoneLook, paint_bone
from vertecast.lab.simulation.patient.canvas import Canvas, paint_soft, smooth_curve
from vertecast.lab.simulation.patient.thorax import Points, Thorax

ARM_MM: Final = 300.0
"""From the shoulder to the elbow."""


def draw_shoulder_flesh(
    canvas: Canvas, thorax: Thorax, fat_hu: float, muscle_hu: float, rng: np.random.Generator
) -> None:
    """The slope from neck to shoulder and the upper arm, before anything that lies inside the chest."""
    thick = rng.uniform(36, 52)
    fat = rng.uniform(2, 12)
    for radius, value in ((thick, fat_hu), (thick - fat, muscle_hu)):
        for side in (-1, 1):
            shoulder = np.multiply(thorax.shoulder_mm, [side, 1, 1])
            slope = np.linspace([side * 35, 10, thorax.t1_z_mm + 5], shoulder - [side * 10, -8, 6], 16)
            paint_soft(canvas, thorax.lps(slope), (radius * 0.9, radius * 0.8, radius * 0.7), value)
            paint_soft(canvas, _arm(thorax, side, 30), (radius, radius, radius), value)
            for course in _over_cage(thorax, side):
                paint_soft(canvas, course, (0.65 * radius,) * 3, value)


def _over_cage(thorax: Thorax, side: int) -> list[Points]:
    """Courses (LPS) of the flesh from the shoulder over the cage: round the collar bone, in front and behind."""
    shoulder = np.multiply(thorax.shoulder_mm, [side, 1, 1])
    breast = thorax.on_cage([side * 135], [thorax.height_mm(0.3)], 8.0)[0]
    turn = 0.0 if thorax.arms_down else 14.0  # raised arms pull the blades round the cage
    blade = [
        thorax.on_cage([side * (angle + turn)], [thorax.height_mm(share)], outside)[0]
        for angle, share, outside in ((50, 0.18, 12.0), (58, 0.42, 12.0), (74, 0.36, 26.0))
    ]
    collar = _collar_course(thorax, shoulder + np.array([side * 6, 8, 24]))
    return [collar[::6], *(thorax.lps(np.linspace(shoulder, end, 16)) for end in (breast, *blade))]


def _collar_course(thorax: Thorax, roof: Points) -> Points:
    """From the breast bone to the acromion, in LPS."""
    side, z = np.sign(roof[0]), thorax.height_mm(0.11)
    front, rise = -float(thorax.front_mm(z)), roof[2] - z
    knots = [
        [side * 20, front + 4, z],
        [side * 52, front - 4, z + 0.25 * rise + 4],
        [side * 100, 0.62 * front, z + 0.75 * rise],
        [roof[0] - side * 16, roof[1] - 20, roof[2] - 3],
    ]
    return smooth_curve(thorax.lps(knots), 90)


def _arm(thorax: Thorax, side: int, count: int) -> Points:
    """From the humeral head (LPS) to the elbow."""
    start = thorax.lps(np.multiply(thorax.shoulder_mm, [side, 1, 1]))
    way = np.array([0.2, 0.05, -1.0]) if thorax.arms_down else np.array([0.42, -0.3, 0.86])
    return np.asarray(start + np.linspace(0, ARM_MM, count)[:, None] * way * [side, 1, 1])


def draw_shoulders(canvas: Canvas, thorax: Thorax, look: BoneLook, rng: np.random.Generator) -> None:
    """Collar bones, shoulder blades and humeri on both sides."""
    size = thorax.width
    thin, lean = rng.uniform(1.6, 2.6), rng.uniform(-6, 6)
    for side in (-1, 1):
        shoulder = np.multiply(thorax.shoulder_mm, [side, 1, 1])
        roof = shoulder + np.array([side * 6, 8, 34]) * size  # the acromion
        _shoulder_blade(canvas, thorax, look, (shoulder, roof, lean, thin))
        _collar_bone(canvas, thorax, look, roof, rng)
        arm = _arm(thorax, side, 60)
        paint_bone(canvas, arm[:1], (24 * size,) * 3, look)
        paint_bone(canvas, arm[2:6], (17 * size,) * 3, look)
        paint_bone(canvas, arm[4:], (11 * size,) * 3, look, spongy_share=0.2)


def _collar_bone(canvas: Canvas, thorax: Thorax, look: BoneLook, roof: Points, rng: np.random.Generator) -> None:
    points = _collar_course(thorax, roof) + rng.normal(0, 1.5, 3)
    thick = rng.uniform(5.0, 6.5)
    paint_bone(canvas, points, (thick, thick, thick * 0.95), look, spongy_share=0.5)
    paint_bone(canvas, points[:10], (9.0, 9.0, 9.0), look, spongy_share=0.6)


def _shoulder_blade(canvas: Canvas, thorax: Thorax, look: BoneLook, place: tuple[Points, Points, float, float]) -> None:
    """A thin plate over the ribs with its spine, acromion, coracoid and socket."""
    shoulder, roof, lean, thin = place
    side, size = np.sign(shoulder[0]), thorax.width
    socket = shoulder - [side * 29 * size, -2, 2]
    upper, lower = (44.0, thorax.height_mm(0.1)), ((54.0 if thorax.arms_down else 76.0) + lean, thorax.height_mm(0.62))
    u, v = (one.ravel() for one in np.meshgrid(np.linspace(0, 1, 56), np.linspace(0, 1, 44), indexing="ij"))
    angle, z = (upper[n] + u * (lower[n] - upper[n]) for n in (0, 1))
    medial = thorax.on_cage(side * angle, z, np.full(len(z), 12.0))
    reach = 0.97 * (1 - u**1.5)  # to the lateral border, which runs from the socket to the lower angle
    to_socket = socket - thorax.on_cage([side * upper[0]], [upper[1]], 12.0)[0]
    plate = medial + (v * reach)[:, None] * to_socket
    plate += (np.sin(np.pi * v) * reach * 9)[:, None] * [side * 0.5, 0.8, 0]  # it lies on the round of the cage
    cortex = 0.25 * look.spongy_hu + 0.75 * look.cortex_hu
    canvas.paint_beads(thorax.lps(plate), thin, cortex, Structure.OTHER_BONE)
    border = np.concatenate([plate[v == 0], plate[v == 1]])
    canvas.paint_beads(thorax.lps(border), 3.2 * size, cortex, Structure.OTHER_BONE)
    root = medial[v == 0][13]
    s, t = (one.ravel()[:, None] for one in np.meshgrid(np.linspace(0, 1, 44), np.linspace(0, 1, 10), indexing="ij"))
    crest = root + s * (roof - root)
    ridge = crest + (t - 0.7) * s * np.array([0, 20, 12.0]) * size
    canvas.paint_beads(thorax.lps(ridge), 2.6, cortex, Structure.OTHER_BONE)
    tip = smooth_curve([root + 0.8 * (roof - root), roof, roof + np.array([-side * 6, -22, -1])], 30)
    paint_bone(canvas, thorax.lps(tip), (9 * size, 9 * size, 5 * size), look)
    beak = smooth_curve(
        [np.add(socket, [-side * 4, 0, 12]), np.add(socket, [-side * 6, -14, 22]), np.add(socket, [side * 8, -34, 16])],
        24,
    )
    paint_bone(canvas, thorax.lps(beak), (6 * size, 6 * size, 6 * size), look)
    paint_bone(
        canvas, thorax.lps(socket[None] + [[-side * 8, 1, 0], [0, 0, 0]]), (6 * size, 12 * size, 17 * size), look
    )
