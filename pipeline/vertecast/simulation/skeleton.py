"""Drawing bones: vertebrae with their arches, discs and canal, ribs, sacrum, pelvis and hips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from vertecast import geometry
from vertecast.anatomy import Structure
from vertecast.simulation.canvas import Array, Canvas, Coordinates, bone_hu, capsule, stamp_tube, texture
from vertecast.simulation.spine import Spine, Vertebra

FACETS_FACE_SIDEWAYS_BELOW: Final = 11
"""Index of T12 among the vertebrae: facets turn from the coronal to the sagittal plane at the thoracolumbar junction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoneLook:
    """How one patient's bone shows on CT.

    Trabecular HU fall from about 250 at 20 years to below 80 in osteoporosis (Pickhardt et al., Ann Intern Med
    2013;158:588-595); contrast medium adds some 10-50 HU.
    """

    spongy_hu: float
    cortex_hu: float
    cortex_mm: float
    texture_hu: float
    arch_hu: float
    striation: float
    degeneration: float

    @classmethod
    def sample(cls, rng: np.random.Generator, age_years: float) -> BoneLook:
        """Draw a look far wider than the norm, since real scanners, contrast and disease go far."""
        return cls(
            spongy_hu=float(np.clip(rng.normal(270 - 2.4 * age_years, 60), -20, 420)),
            cortex_hu=float(rng.uniform(250, 1300)),
            cortex_mm=float(rng.uniform(0.3, 1.6)),
            texture_hu=float(rng.uniform(8, 75)),
            arch_hu=float(rng.uniform(80, 500)),
            striation=float(rng.uniform(0, 1) ** 3),
            degeneration=float(np.clip(rng.normal((age_years - 30) / 60, 0.25), 0, 1)),
        )


def draw_spine(canvas: Canvas, spine: Spine, look: BoneLook, rng: np.random.Generator) -> None:
    """Draw discs, canal, arches, bodies, ribs and sacrum; later ones cover earlier ones."""
    disc_hu = rng.uniform(40, 130)
    canal_hu = rng.uniform(0, 50) if rng.random() < 0.9 else rng.uniform(100, 600)
    lower_frames = [*(v.lps_from_local for v in spine.vertebrae[1:]), spine.lps_from_sacrum]
    for n, vertebra in enumerate(spine.vertebrae):
        below = spine.vertebrae[n + 1] if n + 1 < len(spine.vertebrae) else None
        _draw_disc_and_canal(canvas, vertebra, below, lower_frames[n], (disc_hu, canal_hu), rng)
    draw_sacrum(canvas, spine, look, rng)
    for n, vertebra in enumerate(spine.vertebrae):
        if vertebra.has_ribs:
            _draw_ribs(canvas, vertebra, n, len(spine.vertebrae), look, rng)
    for n, vertebra in enumerate(spine.vertebrae):
        _draw_arch(canvas, vertebra, n, look, rng)
    for n, vertebra in enumerate(spine.vertebrae):
        _draw_body(canvas, vertebra, n + 1, look, rng)


def _draw_disc_and_canal(
    canvas: Canvas,
    vertebra: Vertebra,
    below: Vertebra | None,
    lps_from_lower: geometry.FloatArray,
    hu: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    shape = vertebra.shape
    half = shape.posterior_mm / 2
    reach = np.linalg.norm(lps_from_lower[:3, 3] - vertebra.lps_from_local[:3, 3]) + 5
    found = canvas.local(
        vertebra.lps_from_local,
        [-shape.width_mm, -shape.depth_mm, -reach],
        [shape.width_mm, shape.depth_mm + 15, half + 5],
    )
    if found is None:
        return
    box, (x, y, z) = found
    lower_from_local = (geometry.inverse(lps_from_lower) @ vertebra.lps_from_local).astype(np.float32)
    lx, ly, lz = (row[0] * x + row[1] * y + row[2] * z + row[3] for row in lower_from_local[:3])
    floor = below.shape.superior_mm(lx, ly) if below is not None else 0.0
    between = np.minimum(shape.inferior_mm(x, y) - z, lz - floor)
    bulge = rng.uniform(-1.5, 2.5)
    rho = np.sqrt((2 * x / (shape.width_mm + bulge)) ** 2 + (2 * (y + 1) / (shape.depth_mm + bulge)) ** 2)
    disc = np.minimum(between + 0.5, (1 - rho) * shape.depth_mm / 2).astype(np.float32)
    value = hu[0] + 12 * texture(rng, disc.shape)
    if rng.random() < 0.12:
        gas = capsule((x, y, z), [-6, 0, -half - 3], [6, rng.uniform(-5, 5), -half - 3], [8, 8, 1.5])
        value = np.where(gas > 0, rng.uniform(-700, -100), value)
    canvas.paint(box, disc, value, Structure.DISC)
    depth, width = vertebra.canal_depth_mm / 2, vertebra.canal_width_mm / 2
    center_y = shape.posterior_wall_y_mm + depth
    canal_rho = np.sqrt((x / width) ** 2 + ((y - center_y) / depth) ** 2)
    extent = np.minimum(half + 4 - z, np.minimum(z + reach, lz + 4))
    tube = np.minimum((1 - canal_rho) * depth, extent).astype(np.float32)
    sac = np.where(canal_rho < 0.8, hu[1], -50.0).astype(np.float32)
    canvas.paint(box, tube, sac, Structure.CANAL)


def _draw_body(canvas: Canvas, vertebra: Vertebra, instance: int, look: BoneLook, rng: np.random.Generator) -> None:
    shape = vertebra.shape
    margin = 7.0
    height = max(shape.anterior_mm, shape.posterior_mm, shape.middle_mm) / 2 + 6
    extent = np.array([shape.width_mm / 2 + margin, shape.depth_mm / 2 + margin, height])
    found = canvas.local(vertebra.lps_from_local, -extent, extent)
    if found is None:
        return
    box, (x, y, z) = found
    top, bottom = shape.superior_mm(x, y), shape.inferior_mm(x, y)
    distance = shape.signed_distance_mm(x, y, z).astype(np.float32)
    distance = np.maximum(distance, _osteophytes(shape.width_mm, shape.depth_mm, (x, y, z), top, bottom, look, rng))
    if vertebra.grade >= 2 and rng.random() < 0.5:
        corner = [0, shape.posterior_wall_y_mm - 1, shape.posterior_mm / 2 - rng.uniform(3, 6)]
        bulge = capsule((x, y, z), np.add(corner, [-7, 0, 0]), np.add(corner, [7, 0, 0]), [6, rng.uniform(2, 6), 4])
        distance = np.maximum(distance, np.minimum(bulge, np.minimum(top - z, z - bottom).astype(np.float32)))
    spongy = _spongiosa(vertebra, (x, y, z), top, bottom, look, rng)
    plate = np.minimum(top - z, z - bottom)
    sclerosis = rng.uniform(0, 250) * look.degeneration * np.exp(-np.clip(plate, 0, None) / rng.uniform(1.5, 5))
    cortex = look.cortex_hu * (1 + 0.25 * np.clip(texture(rng, distance.shape), -2, 2))
    hu = bone_hu(distance, spongy + sclerosis, cortex, look.cortex_mm * rng.uniform(0.8, 1.2), canvas.spacing_mm)
    canvas.paint(box, distance, hu, Structure.BODY, instance)


def _osteophytes(
    width: float, depth: float, xyz: Coordinates, top: Array, bottom: Array, look: BoneLook, rng: np.random.Generator
) -> Array:
    """Spurs that widen the rims at random directions; they stay between the endplates."""
    x, y, z = xyz
    result = np.full(x.shape, -9.0, dtype=np.float32)
    for _ in range(rng.poisson(2.5 * look.degeneration)):
        angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.4 else rng.normal(-np.pi / 2, 0.9)
        upper = rng.random() < 0.5
        cx, cy = width / 2 * np.cos(angle) * 0.97, depth / 2 * np.sin(angle) * 0.97
        edge = top if upper else bottom
        tip_z = (z - edge) * (1 if upper else -1)
        spur = capsule((x, y, tip_z), [cx, cy, -2.5], [cx * 1.1, cy * 1.12, rng.uniform(-1, 2.5)], [5, 4, 2.5])
        result = np.maximum(result, spur)
    return result


def _spongiosa(
    vertebra: Vertebra, xyz: Coordinates, top: Array, bottom: Array, look: BoneLook, rng: np.random.Generator
) -> Array:
    x, y, z = xyz
    grain = texture(rng, x.shape)
    value = look.spongy_hu + rng.normal(0, 12) + look.texture_hu * grain
    if look.striation > 0.3:
        columns = np.sin(2.1 * x + grain) * np.sin(2.3 * y + 0.7 * grain)
        value = value + 45 * look.striation * columns
    shape = vertebra.shape
    vein = capsule(
        xyz, [0, shape.posterior_wall_y_mm, 0], [0, rng.uniform(0, 8), 0], [rng.uniform(2, 6), 3, rng.uniform(2, 4)]
    )
    value = np.where(vein > 0, value * 0.4 + rng.uniform(-40, 40), value)
    draw = rng.random()
    if draw < 0.16:
        r = rng.uniform(4, 11)
        at = rng.uniform(-0.3, 0.3, 3) * [shape.width_mm, shape.depth_mm, shape.posterior_mm]
        ball = capsule(xyz, at, at, [r, r * rng.uniform(0.7, 1.2), r * rng.uniform(0.7, 1.2)])
        edge = np.clip(ball + 0.5, 0, 1)
        if draw < 0.06:  # haemangioma: fat with coarse vertical trabeculae
            value = value + edge * (-90 + 160 * (np.sin(1.6 * x) * np.sin(1.7 * y) > 0.35) - 0.4 * value)
        else:  # lytic or sclerotic lesion
            value = value + edge * (rng.uniform(-150, -40) if draw < 0.11 else rng.uniform(150, 700))
    if vertebra.grade:
        value = value + _fracture_look(vertebra, xyz, top, value, rng)
    return np.asarray(value, dtype=np.float32)


def _fracture_look(vertebra: Vertebra, xyz: Coordinates, top: Array, value: Array, rng: np.random.Generator) -> Array:
    """Impaction band of a fresh fracture, cleft with gas or fluid; an old one looks like the rest."""
    x, y, z = xyz
    shape = vertebra.shape
    change = np.zeros(x.shape, dtype=np.float32)
    if rng.random() < 0.6:
        below = rng.uniform(2, 7)
        band = np.exp(-(((top - z - below) / rng.uniform(1.5, 3.5)) ** 2))
        change += rng.uniform(60, 320) * band * (1 + 0.4 * texture(rng, x.shape))
    if rng.random() < 0.25:
        at = [rng.uniform(-4, 4), -rng.uniform(0, 0.25) * shape.depth_mm, shape.middle_mm / 2 - rng.uniform(2.5, 5)]
        cleft = capsule(xyz, np.add(at, [-5, 0, 0]), np.add(at, [5, 0, 0]), [7, 6, rng.uniform(1.2, 3)])
        target = rng.uniform(-900, -200) if rng.random() < 0.6 else rng.uniform(0, 30)
        change = np.where(cleft > 0, target - value, change)
    return change


def _draw_arch(canvas: Canvas, vertebra: Vertebra, n: int, look: BoneLook, rng: np.random.Generator) -> None:
    """Pedicles, laminae, facets, spinous and transverse processes, in one solid."""
    from vertecast.simulation.population import dimensions

    mean = dimensions(vertebra.level)
    found = canvas.local(vertebra.lps_from_local, [-58, -5, -50], [58, 100, 40])
    if found is None:
        return
    box, xyz = found
    shape, lumbar = vertebra.shape, vertebra.level.is_lumbar
    wall, half = shape.posterior_wall_y_mm, vertebra.intact.posterior_mm / 2
    height = 2 * half
    px = vertebra.canal_width_mm / 2 + vertebra.pedicle_width_mm / 2
    pz = min(shape.posterior_mm / 2, half) - vertebra.pedicle_height_mm / 2 - 0.5
    back = wall + vertebra.canal_depth_mm
    pr = [vertebra.pedicle_width_mm / 2, 5.0, vertebra.pedicle_height_mm / 2]
    droop = rng.uniform(0.1, 0.35) if lumbar else rng.uniform(0.5, 1.3)
    length = max(mean.spinous_length - vertebra.canal_depth_mm - 12, 15) * rng.uniform(0.8, 1.15)
    length *= 1.0 if lumbar else 0.8
    solid = capsule(
        xyz,
        [0, back + 3, -height * 0.25],
        [0, back + 3 + length, -height * 0.25 - droop * length],
        [rng.uniform(2.5, 4), 6, rng.uniform(8, 11) if lumbar else rng.uniform(4, 7)],
    )
    span = mean.transverse_span / 2 * rng.uniform(0.88, 1.1)
    thick = rng.uniform(3.0, 4.5)
    for side in (-1, 1):
        join = [side * px, back - 2, pz - 1]
        parts = [
            capsule(xyz, [side * (px + 1), wall - 5, pz], join, pr),
            capsule(
                xyz,
                [side * (px - 1), back - 2, pz - 4],
                [0, back + 3, -height * 0.3],
                [thick, thick, height * (0.30 if lumbar else 0.38)],
            ),
        ]
        tip = [side * span, back + (4 if lumbar else 14), pz + rng.uniform(-4, 5)]
        parts.append(capsule(xyz, join, tip, [4, rng.uniform(3, 4.5), rng.uniform(3.5, 6.5)]))
        facet = [5.5, 4.5, 7.5] if n < FACETS_FACE_SIDEWAYS_BELOW else [5, 6.5, 8]
        out = px - 1 if n < FACETS_FACE_SIDEWAYS_BELOW else px + 2
        parts.append(capsule(xyz, join, [side * (out + 1), back - 1, half + rng.uniform(2, 5)], facet))
        parts.append(
            capsule(
                xyz,
                [side * (px - 2), back + 1, pz - 6],
                [side * (out - 2.5), back + 3.5, -half - rng.uniform(5, 9)],
                facet,
            )
        )
        for part in parts:
            solid = np.maximum(solid, part)
    depth, width = vertebra.canal_depth_mm / 2, vertebra.canal_width_mm / 2
    x, y, _ = xyz
    canal = (1 - np.sqrt((x / width) ** 2 + ((y - wall - depth) / depth) ** 2)) * depth
    solid = np.minimum(solid, -canal)
    spongy = look.arch_hu + look.texture_hu * texture(rng, solid.shape)
    hu = bone_hu(solid, spongy, look.cortex_hu * 1.1, look.cortex_mm * 1.4, canvas.spacing_mm)
    canvas.paint(box, solid.astype(np.float32), hu, Structure.POSTERIOR, n + 1)


def _draw_ribs(
    canvas: Canvas, vertebra: Vertebra, n: int, count: int, look: BoneLook, rng: np.random.Generator
) -> None:
    shape = vertebra.shape
    w, d, h = shape.width_mm / 2, shape.depth_mm / 2, shape.posterior_mm / 2
    short = {10: rng.uniform(0.45, 0.8), 11: rng.uniform(0.12, 0.55), 12: rng.uniform(0.06, 0.2)}.get(n, 1.0)
    chest = min(0.55 + 0.09 * n, 1.0) * rng.uniform(0.92, 1.08)
    head_z = h * (0.8 if 0 < n < 10 else 0.2)
    drop = rng.uniform(0.7, 1.3)
    section = (rng.uniform(2.6, 3.6), rng.uniform(2.6, 3.6), rng.uniform(4.5, 6.5))
    for side in (-1, 1):
        knots = np.array(
            [
                [0.8 * w, 0.75 * d, head_z],
                [w + 8, d + 12, head_z - 2],
                [w + 22, d + 20, head_z - 6],
                [70 * chest, d + 24, -12 * drop],
                [125 * chest, -10, -45 * drop],
                [122 * chest, -70, -75 * drop],
                [70 * chest, -125, -85 * drop],
            ]
        )
        knots[:, 0] *= side
        points = _smooth_curve(knots, 160)
        points = points[: max(int(len(points) * short), 10)]
        tube = stamp_tube(canvas, geometry.apply(vertebra.lps_from_local, points), section)
        if tube is None:
            continue
        box, distance = tube
        hu = bone_hu(distance, look.arch_hu * 0.6, look.cortex_hu, look.cortex_mm * 1.2, canvas.spacing_mm)
        canvas.paint(box, distance, hu, Structure.RIB, n + 1)


def _smooth_curve(knots: np.ndarray, count: int) -> np.ndarray:
    from scipy.interpolate import CubicSpline

    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    return np.asarray(CubicSpline(length, knots)(np.linspace(0, length[-1], count)))


def draw_sacrum(canvas: Canvas, spine: Spine, look: BoneLook, rng: np.random.Generator) -> None:
    """Sacrum with alae and coccyx, in the frame of the S1 endplate."""
    s = spine.size * rng.uniform(0.92, 1.08)
    found = canvas.local(spine.lps_from_sacrum, [-70 * s, -45 * s, -135 * s], [70 * s, 60 * s, 14])
    if found is None:
        return
    box, xyz = found
    x, y, z = xyz
    bend = rng.uniform(0.7, 1.3)
    nodes = [
        (0, 0, -13, 25, 17, 14),
        (0, 5 * bend, -40, 17, 12, 14),
        (0, 14 * bend, -65, 14, 9, 12),
        (0, 18 * bend, -88, 12, 7, 11),
        (0, 12 * bend, -106, 7, 5, 9),
        (0, 2 * bend, -122, 5, 4, 8),
    ]
    solid = np.full(x.shape, -9.0, dtype=np.float32)
    for a, b in zip(nodes, nodes[1:], strict=False):
        radii = (np.array(a[3:]) + np.array(b[3:])) / 2 * s
        solid = np.maximum(solid, capsule(xyz, np.array(a[:3]) * s, np.array(b[:3]) * s, radii))
    solid = np.maximum(solid, capsule(xyz, [-9 * s, 0, -12 * s], [9 * s, 0, -12 * s], np.array([18, 17.5, 16]) * s))
    for side in (-1, 1):
        solid = np.maximum(
            solid,
            capsule(xyz, [side * 16 * s, 4 * s, -14 * s], [side * 46 * s, 12 * s, -30 * s], np.array([13, 13, 17]) * s),
        )
        solid = np.maximum(
            solid,
            capsule(
                xyz, [side * 42 * s, 16 * s, -28 * s], [side * 22 * s, 20 * s, -75 * s], np.array([11, 10, 12]) * s
            ),
        )
        solid = np.maximum(
            solid, capsule(xyz, [side * 17 * s, 22 * s, 2], [side * 15 * s, 30 * s, -20 * s], np.array([6, 5, 8]) * s)
        )
        solid = np.maximum(
            solid, capsule(xyz, [side * 16 * s, 26 * s, -10 * s], [0, 33 * s, -14 * s], np.array([4, 4, 10]) * s)
        )
    solid = np.maximum(
        solid, capsule(xyz, [0, 35 * s, -14 * s], [0, 32 * s, -75 * s], np.array([4, rng.uniform(5, 9), 9]) * s)
    )
    canal = capsule(xyz, [0, 23 * s, 12], [0, 26 * s, -58 * s], np.array([11, 7, 8]) * s)
    solid = np.minimum(solid, -canal)
    for side in (-1, 1):
        for yy, zz in ((10, -30), (16, -54), (20, -76)):
            solid = np.minimum(
                solid,
                -capsule(
                    xyz, [side * 17 * s, (yy - 14) * s, zz * s], [side * 17 * s, (yy + 20) * s, zz * s], [4.5 * s] * 3
                ),
            )
    solid = np.where((y < 18 * s) & (np.abs(x) < 30 * s), np.minimum(solid, -z - rng.uniform(0, 0.5)), solid)
    spongy = look.spongy_hu * rng.uniform(0.4, 1.0) + look.texture_hu * texture(rng, solid.shape)
    for zz in (-28, -53, -76):  # remnants of the sacral discs
        if rng.random() < 0.6:
            slit = capsule(xyz, [-8 * s, 0, zz * s], [8 * s, 12 * s * bend, zz * s], [10, 9, rng.uniform(0.8, 3.0)])
            spongy = np.where((slit > 0) & (y < 16 * s), rng.uniform(30, 600), spongy)
    tube = np.minimum(canal, 4 - z + np.zeros_like(x))
    canvas.paint(box, tube.astype(np.float32), 10.0, Structure.CANAL)
    hu = bone_hu(solid, spongy, look.cortex_hu, look.cortex_mm, canvas.spacing_mm)
    canvas.paint(box, solid.astype(np.float32), hu, Structure.SACRUM)


def draw_pelvis(canvas: Canvas, spine: Spine, look: BoneLook, rng: np.random.Generator) -> None:
    """Iliac wings, hips and pubis, in LPS from the sacrum's origin; the pelvis leans less than the sacrum."""
    s = spine.size * rng.uniform(0.92, 1.08)
    origin = spine.lps_from_sacrum[:3, 3]
    u, v = np.meshgrid(np.linspace(0, 1, 36), np.linspace(0, 1, 26), indexing="ij")
    flare = rng.uniform(0.85, 1.15)
    for side in (-1, 1):
        crest = np.stack([46 + 82 * flare * np.sin(u * np.pi / 2), 62 - 132 * u, -18 + 42 * np.sin(np.pi * u**0.8)], -1)
        floor = np.stack([52 + 30 * u, 32 - 45 * u, -62 - 55 * u], -1)
        wing = (1 - v[..., None]) * crest + v[..., None] * floor
        wing[..., 0] -= 14 * np.sin(np.pi * v) * np.sin(np.pi * u)
        pieces = [(wing.reshape(-1, 3), rng.uniform(3.5, 7))]
        head = np.array([88, -18, -132.0])
        neck = np.linspace(head, head + [42, 14, -28], 12)
        shaft = np.linspace(head + [44, 16, -30], head + [36, 10, -150], 30)
        pubis = np.linspace([72, -42, -130.0], [10, -82, -158.0], 18)
        ischium = np.linspace([80, 8, -120.0], [58, 28, -190.0], 18)
        pieces += [(head[None], 23.5), (neck, 14.0), (shaft, 15.0), (pubis, 9.0), (ischium, 12.0)]
        for points, radius in pieces:
            placed = origin + s * points * [side, 1, 1]
            tube = stamp_tube(canvas, placed, (radius * s,) * 3)
            if tube is not None:
                box, distance = tube
                spongy = look.spongy_hu * 0.8 + look.texture_hu * texture(rng, distance.shape)
                hu = bone_hu(distance, spongy, look.cortex_hu, look.cortex_mm * 1.5, canvas.spacing_mm)
                free = np.isin(canvas.structure[box], (Structure.BACKGROUND, Structure.OTHER_BONE))
                canvas.paint(box, np.where(free, distance, -9).astype(np.float32), hu, Structure.OTHER_BONE)
