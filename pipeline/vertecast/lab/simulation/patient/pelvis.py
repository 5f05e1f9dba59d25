"""Drawing what lies below the column: sacrum, iliac wings, hips and pubis."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.patient.bone import BoneLook
from vertecast.lab.simulation.patient.canvas import Array, Canvas, DrawnRegion, bone_hu, stamp_tube, texture
from vertecast.lab.simulation.patient.spine import Spine


def draw_sacrum(canvas: Canvas, spine: Spine, look: BoneLook, rng: np.random.Generator) -> None:
    """Sacrum with alae and coccyx, in the frame of the S1 endplate."""
    s = spine.size * rng.uniform(0.92, 1.08)
    region = canvas.local(spine.lps_from_sacrum, [-70 * s, -45 * s, -135 * s], [70 * s, 60 * s, 14])
    if region is None:
        return
    bend = rng.uniform(0.7, 1.3)
    solid = _sacral_solid(region, s, bend, rng)
    x, y, z = region.xyz
    canal = region.capsule([0, 23 * s, 12], np.multiply([0, 26, -58], s), np.multiply([11, 7, 8], s))
    solid = np.minimum(solid, -canal)
    foramina = region.nothing()
    for side in (-1, 1):
        for yy, zz in ((10, -30), (16, -54), (20, -76)):
            front, back = [side * 17, yy - 14, zz], [side * 17, yy + 20, zz]
            region.add(foramina, np.multiply(front, s), np.multiply(back, s), [4.5 * s] * 3)
    solid = np.minimum(solid, -foramina)
    solid = np.where((y < 18 * s) & (np.abs(x) < 30 * s), np.minimum(solid, -z - rng.uniform(0, 0.5)), solid)
    spongy = look.spongy_hu * rng.uniform(0.4, 1.0) + look.texture_hu * texture(rng, solid.shape)
    for zz in (-28, -53, -76):  # remnants of the sacral discs
        if rng.random() < 0.6:
            radii = [10, 9, rng.uniform(0.8, 3.0)]
            slit = region.capsule(np.multiply([-8, 0, zz], s), np.multiply([8, 12 * bend, zz], s), radii)
            spongy = np.where((slit > 0) & (y < 16 * s), rng.uniform(30, 600), spongy)
    canvas.paint(region.box, np.minimum(canal, 4 - z), 10.0, Structure.CANAL)
    hu = bone_hu(solid, spongy, look.cortex_hu, look.other_cortex_mm, canvas.spacing_mm)
    canvas.paint(region.box, solid, hu, Structure.SACRUM)


def _sacral_solid(region: DrawnRegion, s: float, bend: float, rng: np.random.Generator) -> Array:
    """Distance map of the solid sacrum and coccyx, before canal and foramina are cut out; ``s`` scales it."""
    solid = region.nothing()
    nodes = [
        (0, 0, -13, 25, 17, 14),
        (0, 5 * bend, -40, 17, 12, 14),
        (0, 14 * bend, -65, 14, 9, 12),
        (0, 18 * bend, -88, 12, 7, 11),
        (0, 12 * bend, -106, 7, 5, 9),
        (0, 2 * bend, -122, 5, 4, 8),
    ]
    for a, b in pairwise(nodes):
        region.add(solid, np.multiply(a[:3], s), np.multiply(b[:3], s), np.add(a[3:], b[3:]) / 2 * s)
    region.add(solid, np.multiply([-9, 0, -12], s), np.multiply([9, 0, -12], s), np.multiply([18, 17.5, 16], s))
    crest = [4, rng.uniform(5, 9), 9]
    region.add(solid, np.multiply([0, 35, -14], s), np.multiply([0, 32, -75], s), np.multiply(crest, s))
    for side in (-1, 1):
        for start, end, radii in (
            ((16, 4, -14), (46, 12, -30), (13, 13, 17)),  # ala
            ((42, 16, -28), (22, 20, -75), (11, 10, 12)),  # lateral mass
            ((17, 22, 2), (15, 30, -20), (6, 5, 8)),  # superior facet
            ((16, 26, -10), (0, 33, -14), (4, 4, 10)),  # lamina
        ):
            mirror = np.array([side, 1, 1]) * s
            region.add(solid, mirror * start, mirror * end, np.multiply(radii, s))
    return solid


def draw_pelvis(canvas: Canvas, spine: Spine, look: BoneLook, rng: np.random.Generator) -> None:
    """Iliac wings, hips and pubis, in LPS from the sacrum's origin; the pelvis leans less than the sacrum."""
    s = spine.size * rng.uniform(0.92, 1.08)
    origin = spine.lps_from_sacrum[:3, 3]
    u, v = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 46), indexing="ij")
    flare = rng.uniform(0.85, 1.15)
    for side in (-1, 1):
        crest = np.stack([46 + 82 * flare * np.sin(u * np.pi / 2), 62 - 132 * u, -18 + 42 * np.sin(np.pi * u**0.8)], -1)
        floor = np.stack([52 + 30 * u, 32 - 45 * u, -62 - 55 * u], -1)
        wing = (1 - v[..., None]) * crest + v[..., None] * floor
        wing[..., 0] -= 14 * np.sin(np.pi * v) * np.sin(np.pi * u)
        pieces = [(wing.reshape(-1, 3), rng.uniform(3.5, 7))]
        head = np.array([88, -18, -132.0])
        neck = np.linspace(head, np.add(head, [42, 14, -28]), 12)
        shaft = np.linspace(np.add(head, [44, 16, -30]), np.add(head, [36, 10, -150]), 30)
        pubis = np.linspace([72, -42, -130.0], [10, -82, -158.0], 18)
        ischium = np.linspace([80, 8, -120.0], [58, 28, -190.0], 18)
        pieces += [(head[None], 23.5), (neck, 14.0), (shaft, 15.0), (pubis, 9.0), (ischium, 12.0)]
        for points, radius in pieces:
            placed = origin + s * points * [side, 1, 1]
            tube = stamp_tube(canvas, placed, (radius * s,) * 3)
            if tube is not None:
                box, distance = tube
                spongy = look.spongy_hu * 0.8 + look.texture_hu * texture(rng, distance.shape)
                hu = bone_hu(distance, spongy, look.cortex_hu, look.other_cortex_mm * 1.5, canvas.spacing_mm)
                free = np.isin(canvas.structure[box], (Structure.BACKGROUND, Structure.OTHER_BONE))
                canvas.paint(box, np.where(free, distance, -9).astype(np.float32), hu, Structure.OTHER_BONE)
