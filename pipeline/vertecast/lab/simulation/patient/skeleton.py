"""Drawing the column: vertebrae with their arches, discs and canal, and the ribs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import Level, Structure
from vertecast.lab.simulation.patient.bone import BoneLook
from vertecast.lab.simulation.patient.canvas import (
    Array,
    Canvas,
    Coordinates,
    DrawnRegion,
    bone_hu,
    capsule,
    smooth_curve,
    stamp_tube,
    texture,
)
from vertecast.lab.simulation.patient.degeneration import Degeneration
from vertecast.lab.simulation.patient.pelvis import draw_sacrum
from vertecast.lab.simulation.patient.population import dimensions
from vertecast.lab.simulation.patient.spine import Spine, Vertebra
from vertecast.lab.simulation.patient.thorax import Thorax, draw_cartilage, rib_number

FACETS_FACE_SIDEWAYS_FROM: Final = Level.T12
"""There facets turn from the coronal to the sagittal plane."""


def draw_spine(
    canvas: Canvas,
    spine: Spine,
    thorax: Thorax,
    look: BoneLook,
    rng: np.random.Generator,
    *,
    steady: bool = False,
) -> None:
    """Draw discs, canal, arches, bodies, ribs and sacrum; later ones cover earlier ones.

    Args:
        canvas: The picture.
        spine: The bones' truth.
        thorax: Where its ribs run.
        look: How the bone shows.
        rng: Draws textures, spurs, lesions and the forms of arches and ribs.
        steady: Each part draws from a stream of its own, so that it looks the same whatever became of other parts:
            for patients who are drawn several times. Else all draw from ``rng`` in turn.
    """
    streams = _streams(rng, own=steady)
    disease, between, within = rng.spawn(3)
    degeneration = Degeneration.sample(spine, look, disease)
    general = next(streams)
    disc_hu = general.uniform(40, 140)
    canal_hu = general.uniform(0, 50) if general.random() < 0.9 else general.uniform(100, 600)
    lower_frames = [*(v.lps_from_local for v in spine.vertebrae[1:]), spine.lps_from_sacrum]
    for n, vertebra in enumerate(spine.vertebrae):
        below = spine.vertebrae[n + 1] if n + 1 < len(spine.vertebrae) else None
        _draw_disc_and_canal(canvas, vertebra, below, lower_frames[n], (disc_hu, canal_hu), next(streams))
    degeneration.draw_between(canvas, spine, between)
    draw_sacrum(canvas, spine, look, next(streams))
    cartilage = rng.spawn(1)[0]
    for n, vertebra in enumerate(spine.vertebrae):
        if vertebra.has_ribs:
            _draw_ribs(canvas, vertebra, n + 1, thorax, look, (next(streams), cartilage))
    for n, vertebra in enumerate(spine.vertebrae):
        draw_arch = _draw_arch if vertebra.level >= Level.T1 else _draw_cervical_arch
        draw_arch(canvas, vertebra, n + 1, look, next(streams))
    for n, vertebra in enumerate(spine.vertebrae):
        _draw_body(canvas, vertebra, n + 1, look, streams)
    degeneration.draw_within(canvas, spine, within)


def _streams(rng: np.random.Generator, *, own: bool) -> Iterator[np.random.Generator]:
    """The same generator again and again, or a new one each time that no other draw moves."""
    while True:
        yield rng.spawn(1)[0] if own else rng


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
    reach = float(np.linalg.norm(lps_from_lower[:3, 3] - vertebra.lps_from_local[:3, 3])) + 5
    region = canvas.local(
        vertebra.lps_from_local,
        [-shape.width_mm, -shape.depth_mm, -reach],
        [shape.width_mm, shape.depth_mm + 15, half + 5],
    )
    if region is None:
        return
    box, (x, y, z) = region.box, region.xyz
    lower_from_local = (geometry.inverse(lps_from_lower) @ vertebra.lps_from_local).astype(np.float32)
    lx, ly, lz = (row[0] * x + row[1] * y + row[2] * z + row[3] for row in lower_from_local[:3])
    floor = below.shape.superior_mm(lx, ly) if below is not None else 0.0
    between = np.minimum(shape.inferior_mm(x, y) - z, lz - floor)
    bulge = rng.uniform(-1.5, 2.5)
    rho = np.sqrt((2 * x / (shape.width_mm + bulge)) ** 2 + (2 * (y + 1) / (shape.depth_mm + bulge)) ** 2)
    disc = np.minimum(between + 0.5, (1 - rho) * shape.depth_mm / 2).astype(np.float32)
    value = hu[0] + rng.uniform(3, 22) * texture(rng, disc.shape)
    if rng.random() < 0.12:
        gas = region.capsule([-6, 0, -half - 3], [6, rng.uniform(-5, 5), -half - 3], [8, 8, 1.5])
        value = np.where(gas > 0, rng.uniform(-700, -100), value)
    canvas.paint(box, disc, value, Structure.DISC)
    depth, width = vertebra.canal_depth_mm / 2, vertebra.canal_width_mm / 2
    center_y = shape.posterior_wall_y_mm + depth
    canal_rho = np.sqrt((x / width) ** 2 + ((y - center_y) / depth) ** 2)
    extent = np.minimum(half + 4 - z, np.minimum(z + reach, lz + 4))
    tube = np.minimum((1 - canal_rho) * depth, extent).astype(np.float32)
    sac = np.where(canal_rho < 0.8, hu[1], -50.0).astype(np.float32)
    canvas.paint(box, tube, sac, Structure.CANAL)


def _draw_body(
    canvas: Canvas, vertebra: Vertebra, instance: int, look: BoneLook, streams: Iterator[np.random.Generator]
) -> None:
    rng, bulging, inner = next(streams), next(streams), next(streams)
    shape = vertebra.shape
    margin = 7.0
    height = max(shape.anterior_mm, shape.posterior_mm, shape.middle_mm) / 2 + 6
    extent = np.array([shape.width_mm / 2 + margin, shape.depth_mm / 2 + margin, height])
    region = canvas.local(vertebra.lps_from_local, -extent, extent)
    if region is None:
        return
    box, (x, y, z) = region.box, region.xyz
    top, bottom = shape.superior_mm(x, y), shape.inferior_mm(x, y)
    distance = shape.signed_distance_mm(x, y, z).astype(np.float32)
    distance = np.maximum(distance, _osteophytes(shape.width_mm, shape.depth_mm, (x, y, z), top, bottom, look, rng))
    if vertebra.worst_grade >= 2 and bulging.random() < 0.5:
        corner = [0, shape.posterior_wall_y_mm - 1, shape.posterior_mm / 2 - bulging.uniform(3, 6)]
        bulge = region.capsule(np.add(corner, [-7, 0, 0]), np.add(corner, [7, 0, 0]), [6, bulging.uniform(2, 6), 4])
        distance = np.maximum(distance, np.minimum(bulge, np.minimum(top - z, z - bottom).astype(np.float32)))
    spongy = _spongiosa(vertebra, region, top, bottom, look, inner)
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
    vertebra: Vertebra, region: DrawnRegion, top: Array, bottom: Array, look: BoneLook, rng: np.random.Generator
) -> Array:
    x, y, _ = region.xyz
    grain = texture(rng, x.shape)
    value = look.spongy_hu + rng.normal(0, 12) + look.texture_hu * grain
    if look.striation > 0.3:
        columns = np.sin(2.1 * x + grain) * np.sin(2.3 * y + 0.7 * grain)
        value = value + 45 * look.striation * columns
    shape = vertebra.shape
    vein = region.capsule(
        [0, shape.posterior_wall_y_mm, 0], [0, rng.uniform(0, 8), 0], [rng.uniform(2, 6), 3, rng.uniform(2, 4)]
    )
    value = np.where(vein > 0, value * 0.4 + rng.uniform(-40, 40), value)
    draw = rng.random()
    if draw < 0.16:
        r = rng.uniform(4, 11)
        at = rng.uniform(-0.3, 0.3, 3) * [shape.width_mm, shape.depth_mm, shape.posterior_mm]
        ball = region.capsule(at, at, [r, r * rng.uniform(0.7, 1.2), r * rng.uniform(0.7, 1.2)])
        edge = np.clip(ball + 0.5, 0, 1)
        if draw < 0.06:  # haemangioma: fat with coarse vertical trabeculae
            value = value + edge * (-90 + 160 * (np.sin(1.6 * x) * np.sin(1.7 * y) > 0.35) - 0.4 * value)
        else:  # lytic or sclerotic lesion
            value = value + edge * (rng.uniform(-150, -40) if draw < 0.11 else rng.uniform(150, 700))
    if vertebra.worst_grade:
        value = value + _fracture_look(vertebra, region, top, value, rng)
    return np.asarray(value, dtype=np.float32)


def _fracture_look(
    vertebra: Vertebra, region: DrawnRegion, top: Array, value: Array, rng: np.random.Generator
) -> Array:
    """Impaction band of a fresh fracture, cleft with gas or fluid; an old one looks like the rest."""
    x, _, z = region.xyz
    shape = vertebra.shape
    change = np.zeros(x.shape, dtype=np.float32)
    if rng.random() < 0.6:
        below = rng.uniform(2, 7)
        band = np.exp(-(((top - z - below) / rng.uniform(1.5, 3.5)) ** 2))
        change += rng.uniform(60, 320) * band * (1 + 0.4 * texture(rng, x.shape))
    if rng.random() < 0.25:
        at = [rng.uniform(-4, 4), -rng.uniform(0, 0.25) * shape.depth_mm, shape.middle_mm / 2 - rng.uniform(2.5, 5)]
        cleft = region.capsule(np.add(at, [-5, 0, 0]), np.add(at, [5, 0, 0]), [7, 6, rng.uniform(1.2, 3)])
        target = rng.uniform(-900, -200) if rng.random() < 0.6 else rng.uniform(0, 30)
        change = np.where(cleft > 0, target - value, change)
    return change


def _draw_arch(canvas: Canvas, vertebra: Vertebra, instance: int, look: BoneLook, rng: np.random.Generator) -> None:
    """Pedicles, laminae, facets, spinous and transverse processes, in one solid."""
    mean = dimensions(vertebra.level)
    region = canvas.local(vertebra.lps_from_local, [-58, -5, -50], [58, 100, 40])
    if region is None:
        return
    shape, lumbar = vertebra.shape, vertebra.level.is_lumbar
    wall, half = shape.posterior_wall_y_mm, vertebra.intact.posterior_mm / 2
    height = 2 * half
    px = vertebra.canal_width_mm / 2 + vertebra.pedicle_width_mm / 2
    pz = min((vertebra.arch_posterior_mm or shape.posterior_mm) / 2, half) - vertebra.pedicle_height_mm / 2 - 0.5
    back = wall + vertebra.canal_depth_mm
    pr = [vertebra.pedicle_width_mm / 2, 5.0, vertebra.pedicle_height_mm / 2]
    droop = rng.uniform(0.1, 0.35) if lumbar else rng.uniform(0.5, 1.3)
    length = max(mean.spinous_length - vertebra.canal_depth_mm - 12, 15) * rng.uniform(0.8, 1.15)
    length *= 1.0 if lumbar else 0.8
    solid = region.nothing()
    region.add(
        solid,
        [0, back + 3, -height * 0.25],
        [0, back + 3 + length, -height * 0.25 - droop * length],
        [rng.uniform(2.5, 4), 6, rng.uniform(8, 11) if lumbar else rng.uniform(4, 7)],
    )
    span = mean.transverse_span / 2 * rng.uniform(0.88, 1.1)
    thick = rng.uniform(3.0, 4.5)
    sideways = vertebra.level >= FACETS_FACE_SIDEWAYS_FROM
    facet, out = ([5, 6.5, 8], px + 2) if sideways else ([5.5, 4.5, 7.5], px - 1)
    lamina = [thick, thick, height * (0.30 if lumbar else 0.38)]
    for side in (-1, 1):
        join = [side * px, back - 2, pz - 1]
        tip = [side * span, back + (4 if lumbar else 14), pz + rng.uniform(-4, 5)]
        region.add(solid, [side * (px + 1), wall - 5, pz], join, pr)
        region.add(solid, [side * (px - 1), back - 2, pz - 4], [0, back + 3, -height * 0.3], lamina)
        region.add(solid, join, tip, [4, rng.uniform(3, 4.5), rng.uniform(3.5, 6.5)])
        region.add(solid, join, [side * (out + 1), back - 1, half + rng.uniform(2, 5)], facet)
        low = [side * (out - 2.5), back + 3.5, -half - rng.uniform(5, 9)]
        region.add(solid, [side * (px - 2), back + 1, pz - 6], low, facet)
    _paint_arch(canvas, vertebra, instance, region, solid, look, rng)


def _draw_cervical_arch(
    canvas: Canvas, vertebra: Vertebra, instance: int, look: BoneLook, rng: np.random.Generator
) -> None:
    """An arch of C3 to C7: pillars of facets beside the canal, processes with their foramen, a short forked spine."""
    region = canvas.local(vertebra.lps_from_local, [-42, -18, -24], [42, 75, 24])
    if region is None:
        return
    shape, mean = vertebra.shape, dimensions(vertebra.level)
    wall, half = shape.posterior_wall_y_mm, vertebra.intact.posterior_mm / 2
    back = wall + vertebra.canal_depth_mm
    inner = vertebra.canal_width_mm / 2
    span = mean.transverse_span / 2 * rng.uniform(0.9, 1.1)
    length = max(mean.spinous_length - vertebra.canal_depth_mm, 12) * rng.uniform(0.85, 1.15)
    fork = rng.uniform(0, 5) if vertebra.level < Level.C7 else 0.0
    solid, foramen = region.nothing(), region.nothing()
    for side in (-1, 1):
        pillar = [side * (inner + 5), wall + 5, 0]
        region.add(solid, np.add(pillar, [0, -2, half + 2]), np.add(pillar, [0, 4, -half - 3]), [5.5, 5, 4])
        region.add(
            solid, [side * (shape.width_mm / 2 - 2), wall - 4, 1], pillar, [2.8, 3, vertebra.pedicle_height_mm / 2]
        )
        region.add(solid, pillar, [0, back + 2, -2], [2.6, 2.6, half * 0.75])
        region.add(solid, [side * (shape.width_mm / 2), wall - 9, -2], [side * span, wall - 5, -4], [3, 2.5, 2.5])
        region.add(solid, pillar, [side * span, wall - 2, -4], [3, 2.5, 2.5])
        region.add(solid, [0, back + 2, -3], [side * fork, back + length, -4 - 0.35 * length], [2.4, 4, 4.5])
        hole = [side * (shape.width_mm / 2 + 4.5), wall - 5, 0]
        region.add(foramen, np.add(hole, [0, 0, -half]), np.add(hole, [0, 0, half]), [3, 3, 3])
    solid = np.minimum(solid, -foramen)
    _paint_arch(canvas, vertebra, instance, region, solid, look, rng)


def _paint_arch(
    canvas: Canvas,
    vertebra: Vertebra,
    instance: int,
    region: DrawnRegion,
    solid: Array,
    look: BoneLook,
    rng: np.random.Generator,
) -> None:
    """Paint an arch without the canal that it surrounds."""
    depth, width = vertebra.canal_depth_mm / 2, vertebra.canal_width_mm / 2
    x, y, _ = region.xyz
    center_y = vertebra.shape.posterior_wall_y_mm + depth
    canal = (1 - np.sqrt((x / width) ** 2 + ((y - center_y) / depth) ** 2)) * depth
    solid = np.minimum(solid, -canal)
    spongy = look.arch_hu + look.texture_hu * texture(rng, solid.shape)
    hu = bone_hu(solid, spongy, look.arch_cortex_hu, look.other_cortex_mm * 1.4, canvas.spacing_mm)
    canvas.paint(region.box, solid, hu, Structure.POSTERIOR, instance)


def _draw_ribs(
    canvas: Canvas,
    vertebra: Vertebra,
    instance: int,
    thorax: Thorax,
    look: BoneLook,
    streams: tuple[np.random.Generator, np.random.Generator],
) -> None:
    """Both ribs of a vertebra, and what joins them to the breast bone, which draws from the second stream."""
    rng, cartilage = streams
    shape, number = vertebra.shape, rib_number(vertebra.level)
    w, d, h = shape.width_mm / 2, shape.depth_mm / 2, shape.posterior_mm / 2
    short = {10: rng.uniform(0.45, 0.8), 11: rng.uniform(0.12, 0.55), 12: rng.uniform(0.06, 0.2)}.get(number, 1.0)
    head_z = h * (0.8 if 0 < number < 10 else 0.2)
    drop = rng.uniform(0.92, 1.08)
    section = (rng.uniform(2.6, 3.6), rng.uniform(2.6, 3.6), rng.uniform(4.5, 6.5))
    head = np.array([[0.8 * w, 0.75 * d, head_z], [w + 8, d + 12, head_z - 2], [w + 20, d + 19, head_z - 5]])
    for side in (-1, 1):
        points = smooth_curve(thorax.rib(vertebra, head, side, drop), 160)
        points = points[: max(int(len(points) * short), 10)]
        draw_cartilage(canvas, thorax, number, points[-1], cartilage)
        tube = stamp_tube(canvas, points, section)
        if tube is None:
            continue
        box, distance = tube
        hu = bone_hu(distance, look.arch_hu * 0.6, look.cortex_hu, look.other_cortex_mm * 1.2, canvas.spacing_mm)
        canvas.paint(box, distance, hu, Structure.RIB, instance)
