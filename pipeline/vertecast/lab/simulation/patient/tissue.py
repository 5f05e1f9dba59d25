"""Drawing a patient: from the parametric spine to tissue labels and Hounsfield units on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import Level, Structure
from vertecast.lab.simulation.patient.bone import BoneLook
from vertecast.lab.simulation.patient.canvas import Canvas
from vertecast.lab.simulation.patient.neck import draw_head
from vertecast.lab.simulation.patient.pelvis import draw_pelvis
from vertecast.lab.simulation.patient.shoulders import draw_shoulders
from vertecast.lab.simulation.patient.skeleton import draw_spine
from vertecast.lab.simulation.patient.spine import Spine, Vertebra
from vertecast.lab.simulation.patient.thorax import Thorax, draw_breast_bone
from vertecast.lab.simulation.patient.trunk import Trunk

WHOLE_SHARE: Final = 0.75
"""A body of which so much lies in the picture is treated like one that lies in it whole."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phantom:
    """A simulated patient on an LPS-aligned isotropic grid, before any acquisition.

    Attributes:
        lps_from_index: (4, 4) affine; axis 0 to the left, 1 to posterior, 2 to superior.
        hu: Noise-free Hounsfield units, float32, antialiased at tissue borders, without cement and metal.
        structure: `Structure` per voxel, uint8.
        instance: 1 + index into ``spine.vertebrae`` over bodies, posterior elements and ribs, uint8; 0 elsewhere.
        spine: The truth behind the picture.
    """

    lps_from_index: geometry.FloatArray
    hu: npt.NDArray[np.float32]
    structure: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.uint8]
    spine: Spine

    @property
    def spacing_mm(self) -> float:
        """Spacing of the grid in mm."""
        return float(geometry.spacing_mm(self.lps_from_index)[0])

    def whole_bodies(self, least_voxels: int) -> npt.NDArray[np.intp]:
        """Indices from 0 of the vertebrae whose bodies lie mostly inside the picture and have this many voxels.

        Those of the neck, where cement is seldom injected, are left out. A body's own size decides, not that of its
        neighbours: a crushed body is small, and is what is treated.
        """
        vertebrae = self.spine.vertebrae
        counts = np.bincount(self.instance[self.structure == Structure.BODY], minlength=len(vertebrae) + 1)[1:]
        inside = [self._share_inside(vertebra) >= WHOLE_SHARE for vertebra in vertebrae]
        below_neck = [vertebra.level >= Level.T1 for vertebra in vertebrae]
        return np.flatnonzero((counts >= least_voxels) & inside & below_neck)

    def _share_inside(self, vertebra: Vertebra) -> float:
        """Share of 27 points of a body's box that lie in the picture."""
        shape, halves = vertebra.shape, np.array([-0.5, 0.0, 0.5])
        box = np.stack(np.meshgrid(*(halves * size for size in (shape.width_mm, shape.depth_mm, shape.middle_mm))), -1)
        lps = geometry.apply(vertebra.lps_from_local, box.reshape(-1, 3))
        index = geometry.apply(geometry.inverse(self.lps_from_index), lps)
        return float(((index > -0.5) & (index < np.array(self.hu.shape) - 0.5)).all(axis=1).mean())


def draw(
    spine: Spine,
    lps_from_index: geometry.FloatArray,
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    *,
    steady: bool = False,
) -> Phantom:
    """Draw a patient on an LPS-aligned isotropic grid (any part of the trunk).

    Args:
        spine: The bones' truth.
        lps_from_index: (4, 4) affine of the grid.
        shape: Voxel counts.
        rng: Draws soft tissue, bone texture and lesions.
        steady: On the same grid and from the same seed, a patient whose spine has changed looks the same but for that.
    """
    canvas = Canvas.empty(lps_from_index, shape)
    look = BoneLook.sample(rng, spine.age_years)
    cage, bones, head = rng.spawn(3)
    thorax = Thorax.sample(spine, cage)
    Trunk.around(thorax, canvas).draw(rng, look)
    draw_pelvis(canvas, spine, look, rng)
    draw_head(canvas, spine, look, head)
    draw_shoulders(canvas, thorax, look, bones)
    draw_breast_bone(canvas, thorax, look, bones)
    draw_spine(canvas, spine, thorax, look, rng, steady=steady)
    return Phantom(
        lps_from_index=lps_from_index, hu=canvas.hu, structure=canvas.structure, instance=canvas.instance, spine=spine
    )
