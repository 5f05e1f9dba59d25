"""A small patient drawn by hand: the truth of a `Phantom` without the drawing code of `simulation.patient.tissue`."""

from __future__ import annotations

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import Level, Structure
from vertecast.lab.simulation.patient.spine import BodyShape, Spine, Vertebra
from vertecast.lab.simulation.patient.tissue import Phantom

PITCH_MM = 36.0


def make_spine(count: int = 3, tilt_deg: float = 6.0, *, wedge_index: int | None = None) -> Spine:
    """Vertebrae one above the other, each tilted a little, cranial first."""
    levels = (Level.T12, Level.L1, Level.L2, Level.L3, Level.L4)[:count]
    vertebrae = []
    for index, level in enumerate(levels):
        rotation = geometry.rotation([1.0, 0.2, 0.1], np.radians(tilt_deg * (index - (count - 1) / 2)))
        pose = geometry.affine(rotation, [3.0 * index, 20.0, PITCH_MM * ((count - 1) / 2 - index)])
        intact = BodyShape(width_mm=42, depth_mm=32, anterior_mm=27, middle_mm=25.5, posterior_mm=28)
        broken = BodyShape(width_mm=42, depth_mm=32, anterior_mm=18, middle_mm=20, posterior_mm=27)
        is_broken = index == wedge_index
        vertebrae.append(
            Vertebra(
                level=level,
                lps_from_local=pose,
                shape=broken if is_broken else intact,
                intact=intact,
                grade=2 if is_broken else 0,
                deformity="wedge" if is_broken else "none",
            )
        )
    return Spine(
        vertebrae=tuple(vertebrae),
        lps_from_sacrum=geometry.scaling_affine([1, 1, 1], [0, 20, -PITCH_MM * count]),
        sex="F",
        age_years=74.0,
        size=1.0,
    )


def make_phantom(
    spacing_mm: float = 1.5, count: int = 3, *, wedge_index: int | None = None, cleft_index: int | None = None
) -> Phantom:
    """Draw bodies with a cortex, pedicles, canal and discs in an ellipse of soft tissue with a lung on the left."""
    spine = make_spine(count, wedge_index=wedge_index)
    half = np.array([80.0, 72.0, PITCH_MM * count / 2 + 14.0])
    affine, shape = geometry.aligned_grid(
        geometry.scaling_affine([2.0, 2.0, 2.0], -half), tuple(half.astype(int)), spacing_mm
    )
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    lps = geometry.apply(affine, index)
    hu = np.full(shape, -1000.0, dtype=np.float32)
    structure, instance = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    hu[(lps[..., 0] / 76) ** 2 + (lps[..., 1] / 68) ** 2 < 1] = 45.0
    hu[np.linalg.norm(lps - [50, -30, 0], axis=-1) < 14] = -850.0
    for number, vertebra in enumerate(spine.vertebrae, start=1):
        x, y, z = np.moveaxis(geometry.apply(geometry.inverse(vertebra.lps_from_local), lps), -1, 0)
        body = vertebra.shape
        wall = body.posterior_wall_y_mm
        canal = ((x / 11.5) ** 2 + ((y - wall - 8.5) / 8.5) ** 2 < 1) & (np.abs(z) < 18.5) & (structure == 0)
        structure[canal], hu[canal] = Structure.CANAL, 20.0
        pedicle = (np.abs(np.abs(x) - 15.5) < 4) & (y > wall - 2) & (y < wall + 16) & (np.abs(z - 5) < 6)
        arch = (np.abs(x) < 19) & (np.abs(y - wall - 20) < 4) & (np.abs(z - 3) < 9)
        posterior = (pedicle | arch) & ~np.isin(structure, (Structure.BODY, Structure.DISC))
        structure[posterior], instance[posterior], hu[posterior] = Structure.POSTERIOR, number, 350.0
        disc = (body.wall_distance_mm(x, y, z) > 1) & (np.abs(z) < 18) & (structure == 0)
        structure[disc], hu[disc] = Structure.DISC, 80.0
        distance = body.signed_distance_mm(x, y, z)
        structure[distance > 0], instance[distance > 0] = Structure.BODY, number
        hu[distance > 0] = np.where(distance > 1.5, 110.0, 500.0)[distance > 0]
        if cleft_index == number - 1:
            hu[(np.abs(x) < 12) & (np.abs(y + 4) < 8) & (np.abs(z - 2) < 2)] = -700.0
    return Phantom(lps_from_index=affine, hu=hu, structure=structure, instance=instance, spine=spine)
