"""Things of metal and plastic on and in a chest that are no part of the column's treatment: no bone, no cement."""

from __future__ import annotations

from typing import Final

import numpy as np

from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.patient.canvas import Canvas, smooth_curve
from vertecast.lab.simulation.patient.heart import Chest
from vertecast.lab.simulation.patient.thorax import Points

DEVICE_RATE: Final = 0.13
"""Share of the patients with each kind: leads on the skin, wires in the breast bone; half as many carry a pacemaker or
a port."""


def draw_devices(chest: Chest, skin_front_mm: float, rng: np.random.Generator) -> None:
    """Seldom: leads of an electrocardiogram, wires round the breast bone, a pacemaker, a port."""
    canvas, thorax = chest.canvas, chest.thorax
    leads, wires, implants = rng.spawn(3)
    if leads.random() < DEVICE_RATE:
        for _ in range(int(leads.integers(2, 5))):
            x, z = leads.uniform(-110, 110), chest.z(leads.uniform(0.1, 1.0))
            ends = [[x, 0, z], [0.6 * x, 0, z - 60], [x * 0.2, 0, z - leads.uniform(100, 260)]]
            lead = thorax.lps(smooth_curve(ends, 220))
            _on_skin(canvas, lead, skin_front_mm, leads.uniform(500, 2800))
    if wires.random() < DEVICE_RATE:
        angle = np.linspace(0, 2 * np.pi, 70)
        for share in np.linspace(0.08, 0.9, int(wires.integers(4, 8))):
            middle = thorax.breast_bone([share])[0]
            ring = middle + np.stack([17 * np.sin(angle), 10 * np.cos(angle), 5 * np.sin(angle)], -1)
            canvas.paint_beads(ring, 0.6, wires.uniform(2000, 6000))
    draw = implants.random()
    if draw < DEVICE_RATE:
        _implant(chest, implants, pacemaker=draw < 0.5 * DEVICE_RATE)


def _on_skin(canvas: Canvas, course: Points, reach_mm: float, value_hu: float) -> None:
    """Lay a wire on the front of the skin: each of its points goes back from the air to the first tissue."""
    index = np.round((course - canvas.lps_from_index[:3, 3]) / canvas.spacing_mm).astype(int)
    inside = ((index[:, [0, 2]] >= 0) & (index[:, [0, 2]] < np.array(canvas.hu.shape)[[0, 2]])).all(axis=1)
    course, index = course[inside], index[inside]
    first = (
        max(int((course[:, 1].min() - reach_mm - canvas.lps_from_index[1, 3]) / canvas.spacing_mm), 0)
        if len(course)
        else 0
    )
    tissue = canvas.hu[index[:, 0], first:, index[:, 2]] > -300
    found = tissue.any(axis=1) & ~tissue[:, 0] if tissue.shape[1] else np.zeros(len(course), dtype=bool)
    if not found.any():
        return
    depth = first + tissue[found].argmax(axis=1)
    course = course[found]
    course[:, 1] = canvas.lps_from_index[1, 3] + canvas.spacing_mm * depth - 2.0
    canvas.paint_beads(course, 0.9, value_hu)


def _implant(chest: Chest, rng: np.random.Generator, *, pacemaker: bool) -> None:
    """A box under the collar bone with a lead or a tube through the upper cava."""
    canvas, z, heart = chest.canvas, chest.z, chest.heart_mm
    side = 1 if pacemaker else -1
    at = np.array([side * rng.uniform(70, 95), -float(chest.thorax.front_mm(z(0.22))) * 0.75 - 22, z(0.2)])
    metal = rng.uniform(2500, 8000) if pacemaker else rng.uniform(800, 3000)
    region = canvas.local(np.eye(4), chest.thorax.lps(at) - 32, chest.thorax.lps(at) + 32)
    if region is not None:
        middle = chest.thorax.lps(at)
        box = region.capsule(middle - [0, 0, 5], np.add(middle, [0, 0, 5]), [22, 5, 20] if pacemaker else [12, 6, 8])
        canvas.paint_free(region.box, box, metal, Structure.BACKGROUND)
    front = -float(chest.thorax.front_mm(z(0.13)))
    into = [[-24, 0.8 * front, z(0.17)], [-26, -46, z(0.34)], np.add(heart, [-34, -4, 18])]
    over = [np.add(at, [0, 4, 18]), [side * 50, 0.8 * front, z(0.06)], [side * 20, 0.78 * front, z(0.12)]]
    tip = [np.add(heart, [-20, -14, -22]), np.add(heart, [14, -30, -34])] if pacemaker else []
    lead = chest.thorax.lps(smooth_curve(np.array([*over, *into, *tip]), 400))
    canvas.paint_beads(lead, 1.0, metal if pacemaker else rng.uniform(200, 900))
