"""Dense bone inside bodies: whole sclerotic bodies, rims beside discs, islands; and bites of discs into endplates."""

from __future__ import annotations

from typing import Final

import numpy as np

from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.patient.canvas import Array, Canvas, DrawnRegion, coarse_texture, texture
from vertecast.lab.simulation.patient.spine import Vertebra

SCHMORL_LATERAL_MM: Final = 6.5
"""A deep Schmorl's node lies at least this far from the mid-sagittal plane: the six points stay on bone."""

SHALLOW_MM: Final = 1.5
"""How deep a Schmorl's node may be anywhere."""

GAS_HU: Final = -200.0
"""What is darker in a body is gas of a cleft."""


def body_region(canvas: Canvas, vertebra: Vertebra) -> DrawnRegion | None:
    """The part of the picture that holds a body."""
    shape = vertebra.shape
    height = max(shape.anterior_mm, shape.posterior_mm, shape.middle_mm) / 2 + 3
    extent = np.array([shape.width_mm / 2 + 3, shape.depth_mm / 2 + 3, height])
    return canvas.local(vertebra.lps_from_local, -extent, extent)


def _share(canvas: Canvas, region: DrawnRegion, instance: int, plate_mm: Array | None = None) -> Array:
    """Share of each voxel that the drawn body covers; exact at the endplates where ``plate_mm`` gives the depth."""
    own = (canvas.structure[region.box] == Structure.BODY) & (canvas.instance[region.box] == instance)
    share = own.astype(np.float32)
    cover = 1 if plate_mm is None else np.clip(plate_mm / canvas.spacing_mm + 0.5, 0, 1)
    return np.asarray(share * cover, dtype=np.float32)


def _raise_to(canvas: Canvas, region: DrawnRegion, target_hu: Array, share: Array) -> None:
    """Make bone at least as dense as ``target_hu`` where ``share`` is 1; gas stays."""
    view = canvas.hu[region.box]
    view += share * (view > GAS_HU) * np.maximum(target_hu - view, 0)


def draw_dense_body(
    canvas: Canvas, vertebra: Vertebra, instance: int, peak_hu: float, patchy: bool, rng: np.random.Generator
) -> None:
    """Make a drawn body sclerotic throughout (ivory) or in patches (osteoblastic), up to ``peak_hu``."""
    region = body_region(canvas, vertebra)
    if region is None:
        return
    grain = texture(rng, region.shape)
    share = _share(canvas, region, instance)
    if patchy:
        share *= np.clip(0.5 + rng.uniform(-0.5, 0.6) + coarse_texture(rng, region.shape), 0, 1)
    target = np.asarray(peak_hu * (1 + rng.uniform(0.03, 0.15) * grain), dtype=np.float32)
    _raise_to(canvas, region, target, share)


def draw_rim(
    canvas: Canvas, vertebra: Vertebra, instance: int, *, superior: bool, peak_hu: float, rng: np.random.Generator
) -> None:
    """Draw a sclerotic band under one endplate of a drawn body, along all of it or in a part."""
    region = body_region(canvas, vertebra)
    if region is None:
        return
    x, y, z = region.xyz
    shape = vertebra.shape
    depth = shape.superior_mm(x, y) - z if superior else z - shape.inferior_mm(x, y)
    thick = rng.uniform(1, 6)
    band = np.clip((thick * (1 + 0.25 * texture(rng, region.shape)) - depth) / 1.5 + 0.5, 0, 1)
    if rng.random() < 0.5:
        at = [rng.uniform(-0.35, 0.35) * shape.width_mm, rng.uniform(-0.5, 0.2) * shape.depth_mm]
        reach = [rng.uniform(0.2, 0.5) * shape.width_mm, rng.uniform(0.2, 0.6) * shape.depth_mm]
        band = band * np.exp(-((((x - at[0]) / reach[0]) ** 2 + ((y - at[1]) / reach[1]) ** 2) ** 2))
    share = _share(canvas, region, instance, np.asarray(depth, dtype=np.float32))
    target = np.asarray(peak_hu * (1 + rng.uniform(0, 0.2) * texture(rng, region.shape)), dtype=np.float32)
    _raise_to(canvas, region, target, np.asarray(share * band, dtype=np.float32))


def draw_islands(canvas: Canvas, vertebra: Vertebra, instance: int, rng: np.random.Generator) -> None:
    """Draw one to three dense bone islands of 3 to 14 mm in a drawn body."""
    region = body_region(canvas, vertebra)
    if region is None:
        return
    shape = vertebra.shape
    for _ in range(int(rng.integers(1, 4))):
        radius = rng.uniform(1.5, 7)
        at = rng.uniform(-0.42, 0.42, 3) * [shape.width_mm, shape.depth_mm, shape.middle_mm]
        ball = region.capsule(at, at, radius * rng.uniform(0.7, 1.3, 3))
        share = np.clip(ball / canvas.spacing_mm + 0.5, 0, 1) * _share(canvas, region, instance)
        _raise_to(canvas, region, np.full(region.shape, rng.uniform(450, 1200), dtype=np.float32), share)


def draw_schmorl(
    canvas: Canvas, vertebra: Vertebra, instance: int, *, superior: bool, rng: np.random.Generator
) -> None:
    """Let the disc bite 3 to 8 mm into an endplate, beside the middle; on the middle no more than a dent.

    The bite is disc, with a dense rim as a rule: what is left of the body is what a reader would outline, while the
    six points and the heights stay those of the endplate round it.
    """
    region = body_region(canvas, vertebra)
    if region is None:
        return
    shape = vertebra.shape
    wide = rng.uniform(2.5, 6)
    aside, deep = rng.choice([-1.0, 1.0]) * (SCHMORL_LATERAL_MM + wide + rng.uniform(0, 3)), rng.uniform(3, 8)
    if rng.random() < 0.4 or abs(aside) > 0.42 * shape.width_mm:
        aside, deep = rng.uniform(-0.3, 0.3) * shape.width_mm, rng.uniform(0.8, SHALLOW_MM)
    y = rng.uniform(-0.25, 0.25) * shape.depth_mm
    plate = shape.superior_mm if superior else shape.inferior_mm
    z = float(plate(np.array([aside]), np.array([y]))[0])
    bite = region.capsule([aside, y, z], [aside, y, z], [wide, wide * rng.uniform(0.8, 1.4), deep])
    share = _share(canvas, region, instance)
    if rng.random() < 0.75:
        rim = np.clip((bite + rng.uniform(1, 2.5)) / canvas.spacing_mm + 0.5, 0, 1) * share
        _raise_to(canvas, region, np.full(region.shape, rng.uniform(300, 1000), dtype=np.float32), rim)
    hu = rng.uniform(40, 140) if rng.random() < 0.85 else rng.uniform(-700, -100)
    canvas.paint(region.box, np.where(share > 0, bite, -9.0).astype(np.float32), hu, Structure.DISC)
