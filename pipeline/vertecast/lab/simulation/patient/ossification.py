"""Bone and gas where none belongs: bridges over discs, ossified ligaments, calcified and gas-filled discs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.patient.canvas import (
    OUTSIDE_MM,
    Array,
    Box,
    Canvas,
    DrawnRegion,
    bone_hu,
    coarse_texture,
    texture,
)
from vertecast.lab.simulation.patient.spine import BodyShape, Spine, Vertebra

FRONT_RAD: Final = -np.pi / 2
"""Direction of the front in a vertebra's frame, whose x runs to the left and whose y runs to the back."""

LEAST_SHARE: Final = 0.15
"""New bone thinner than this share of its thickest part is left out: it ends there."""

LUMPS: Final = 0.25
"""Standard deviation of the thickness of new bone, as a share of it."""

SEAM_MM: Final = 0.75
"""Bridges of neighbouring discs overlap by this much at the middle of the body between them."""

SACRUM_DEPTH_MM: Final = 8.0
"""How far a bridge over the last disc runs down in front of the sacrum."""

OUTGROWTH_MM: Final = 13.0
"""More than any new bone stands out from the outline of the bodies."""


class Form(Enum):
    """How new bone in front of a column runs from body to body."""

    LIGAMENT = "along the whole front of both bodies"
    BRIDGE = "from rim to rim"
    BEAKS = "from each rim towards the other, with a gap between"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBone:
    """New bone outside the outline of two bodies and the disc between them.

    Attributes:
        form: How it runs from body to body.
        direction_rad: Where round the body it is thickest; `FRONT_RAD` is the front.
        half_angle_rad: How far it reaches to each side of that.
        thick_mm: Its thickest part, outwards.
        rooted_mm: How far it reaches into the disc and the hollow of the wall.
        reach_mm: How far from the endplate it runs along the wall, for bridges and beaks.
        tongue_mm: How far each beak stands over the disc.
        cortex_hu: Of its surface.
        core_hu: Of what lies within.
    """

    form: Form
    direction_rad: float
    half_angle_rad: float
    thick_mm: float
    rooted_mm: float
    reach_mm: float
    tongue_mm: float
    cortex_hu: float
    core_hu: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiscSpace:
    """A disc and the halves of the bodies beside it, in the frame of the upper one.

    Attributes:
        region: The part of the canvas.
        above_mm: Height over the lower endplate of the upper body, negative in the disc.
        below_mm: Depth under the upper endplate of the lower body or of the sacrum, negative in the disc.
        outside_mm: Distance outwards from the outline of the rims, negative within.
        lower_z_mm: Height in the lower body's frame.
        shape: The upper body.
    """

    region: DrawnRegion
    above_mm: Array
    below_mm: Array
    outside_mm: Array
    lower_z_mm: Array
    shape: BodyShape

    @classmethod
    def below(cls, canvas: Canvas, spine: Spine, n: int, *, front: bool = False) -> DiscSpace | None:
        """The disc under vertebra ``n``; None where it lies outside the picture. ``front`` leaves out its back half."""
        upper = spine.vertebrae[n]
        lower = spine.vertebrae[n + 1] if n + 1 < len(spine.vertebrae) else None
        lps_from_lower = spine.lps_from_sacrum if lower is None else lower.lps_from_local
        shape, reach = upper.shape, float(np.linalg.norm(lps_from_lower[:3, 3] - upper.lps_from_local[:3, 3]))
        side, depth = shape.width_mm / 2 + OUTGROWTH_MM, shape.depth_mm / 2 + OUTGROWTH_MM
        deepest = -reach - (SACRUM_DEPTH_MM if lower is None else SEAM_MM)
        region = canvas.local(upper.lps_from_local, [-side, -depth, deepest], [side, 2 if front else depth, SEAM_MM])
        if region is None:
            return None
        x, y, z = region.xyz
        lower_from_local = (geometry.inverse(lps_from_lower) @ upper.lps_from_local).astype(np.float32)
        lx, ly, lz = (row[0] * x + row[1] * y + row[2] * z + row[3] for row in lower_from_local[:3])
        share = np.clip(-z / reach, 0, 1)
        other = shape if lower is None else lower.shape
        outside = (1 - share) * _outside_mm(shape, x, y) + share * _outside_mm(other, lx, ly)
        return cls(
            region=region,
            above_mm=np.asarray(z - shape.inferior_mm(x, y), dtype=np.float32),
            below_mm=np.asarray((0 if lower is None else lower.shape.superior_mm(lx, ly)) - lz, dtype=np.float32),
            outside_mm=np.asarray(outside, dtype=np.float32),
            lower_z_mm=lz + (0 if lower is not None else SACRUM_DEPTH_MM),
            shape=shape,
        )

    def new_bone(self, bone: NewBone, rng: np.random.Generator) -> Array:
        """Signed distance (mm, positive inside) of new bone; what lies in a body is left to whoever draws the body."""
        x, y, z = self.region.xyz
        shape = self.shape
        ahead, aside = np.cos(bone.direction_rad), np.sin(bone.direction_rad)
        right, back = x / shape.width_mm, y / shape.depth_mm
        away = np.arctan2(np.abs(ahead * back - aside * right), ahead * right + aside * back)
        into = np.maximum(self.above_mm, self.below_mm)
        if bone.form is Form.LIGAMENT:
            along = 0.5 + 0.5 * np.exp(-((np.clip(into, 0, None) / bone.reach_mm) ** 2))
        else:
            along = np.exp(-((np.clip(into, 0, None) / bone.reach_mm) ** 2))
        if bone.form is Form.BEAKS:
            along = along * np.sqrt(np.clip(1 + into / bone.tongue_mm, 0, 1))
        share = along * np.exp(-((away / bone.half_angle_rad) ** 4))
        thick = bone.thick_mm * share * (1 + LUMPS * np.clip(coarse_texture(rng, x.shape), -2, 2))
        solid = np.minimum(thick - self.outside_mm, self.outside_mm + bone.rooted_mm * share)
        solid = np.minimum(solid, np.minimum(SEAM_MM - z, self.lower_z_mm + SEAM_MM))
        free_of_canal = (share > LEAST_SHARE) & (y < shape.posterior_wall_y_mm - 2)
        return np.where(free_of_canal, solid, OUTSIDE_MM).astype(np.float32)

    def cleft(self, rng: np.random.Generator) -> Array:
        """Signed distance (mm) of a thin layer that spreads between the endplates."""
        x, y, _ = self.region.xyz
        shape = self.shape
        reach = [shape.width_mm * rng.uniform(0.12, 0.42), shape.depth_mm * rng.uniform(0.12, 0.42)]
        at = [shape.width_mm * rng.uniform(-0.2, 0.2), shape.depth_mm * rng.uniform(-0.25, 0.2)]
        wide = (1 - np.hypot((x - at[0]) / reach[0], (y - at[1]) / reach[1])) * min(reach)
        middle = (self.above_mm - self.below_mm) / 2
        off, half = rng.uniform(-1.5, 1.5), rng.uniform(0.5, 1.8)
        waves = rng.uniform(0, 1) * coarse_texture(rng, x.shape)
        return np.asarray(np.minimum(wide, half - np.abs(middle - off - waves)), dtype=np.float32)

    def flecks(self, rng: np.random.Generator, *, annulus: bool) -> Array:
        """Signed distance (mm, coarse) of irregular patches in the disc: anywhere, or in front, in its annulus."""
        fine, lumps = texture(rng, self.region.shape), coarse_texture(rng, self.region.shape)
        patch = 2 * (0.4 * fine + lumps - rng.uniform(-0.5, 1.2))
        inner = self.outside_mm + (rng.uniform(2, 5) if annulus else 60)
        if annulus:
            inner = np.minimum(inner, -self.region.xyz[1] - 0.2 * self.shape.depth_mm)
        return np.asarray(np.minimum(patch, np.minimum(inner, -self.outside_mm)), dtype=np.float32)


def _outside_mm(shape: BodyShape, x: Array, y: Array) -> Array:
    """Distance outwards (mm, approximate) from the outline of a body's rims, as a cylinder of any height."""
    xn, yn = np.abs(x) * (2 / shape.width_mm), np.abs(y) * (2 / shape.depth_mm)
    rho = np.maximum((xn**shape.exponent + yn**shape.exponent) ** (1 / shape.exponent), 0.05)
    return np.asarray((1 - 1 / rho) * np.hypot(x, y), dtype=np.float32)


def paint_only(
    canvas: Canvas, box: Box, solid: Array, hu: Array | float, label: Structure, over: Collection[Structure]
) -> None:
    """Paint a solid where the picture holds one of some structures, leaving the rest as it is."""
    allowed = np.isin(canvas.structure[box], tuple(over))
    canvas.paint(box, np.where(allowed, solid, OUTSIDE_MM).astype(np.float32), hu, label)


def draw_new_bone(canvas: Canvas, space: DiscSpace, bone: NewBone, rng: np.random.Generator) -> None:
    """Draw new bone outside the bodies, before the bodies are drawn."""
    solid = space.new_bone(bone, rng)
    core = bone.core_hu * (1 + 0.25 * np.clip(texture(rng, solid.shape), -2, 2))
    hu = bone_hu(solid, core, bone.cortex_hu, rng.uniform(0.6, 1.6), canvas.spacing_mm)
    canvas.paint(space.region.box, solid, hu, Structure.OTHER_BONE)


def draw_canal_ligament(
    canvas: Canvas, vertebra: Vertebra, *, yellow: bool, whole: bool, rng: np.random.Generator
) -> None:
    """Draw an ossified ligament in the edge of the canal, before arches and bodies: the posterior or the yellow one.

    Args:
        canvas: The picture.
        vertebra: The level.
        yellow: The yellow ligament, in pairs at the back; else the posterior longitudinal one.
        whole: It goes on across the disc.
        rng: Draws form and density.
    """
    shape, half = vertebra.shape, vertebra.intact.posterior_mm / 2
    wall, depth = shape.posterior_wall_y_mm, vertebra.canal_depth_mm
    width = vertebra.canal_width_mm
    region = canvas.local(
        vertebra.lps_from_local, [-width / 2 - 4, wall - 4, -half - 16], [width / 2 + 4, wall + depth + 4, half + 6]
    )
    if region is None:
        return
    solid = region.nothing()
    if yellow:
        for side in (-1, 1):
            at = [side * width * rng.uniform(0.2, 0.36), wall + depth * rng.uniform(0.8, 0.95), -half - 2]
            region.add(solid, at, np.add(at, [0, 0, 5]), [rng.uniform(2, 4), rng.uniform(1.5, 4), rng.uniform(3, 6)])
    else:
        x, low = rng.uniform(-2, 2), -half - (12 if whole else 0)
        radii = [rng.uniform(3, 7), rng.uniform(1.2, 0.3 * depth), 3]
        region.add(solid, [x, wall + 0.5, half], [x + rng.uniform(-1, 1), wall + 0.5, low], radii)
    hu = bone_hu(solid, rng.uniform(250, 700), rng.uniform(400, 1300), rng.uniform(0.6, 1.6), canvas.spacing_mm)
    canvas.paint(region.box, solid, hu, Structure.OTHER_BONE)
