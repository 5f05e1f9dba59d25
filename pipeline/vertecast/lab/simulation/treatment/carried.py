"""Cement in a later scan: it is hard, and goes with its vertebra; a body that sinks lets it through its endplates."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Compartment, Structure, YeomType
from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.patient.tissue import Phantom
from vertecast.lab.simulation.treatment.cement import Treatment
from vertecast.lab.simulation.treatment.growth import SMALLEST_SHARE, Deposit
from vertecast.lab.simulation.treatment.leaks import LeakTruth

LEAST_LEAK_ML: Final = 0.03
"""Less cement than this beyond an endplate is still counted as in the body: no image would tell it apart."""


def carried(treatment: Treatment, earlier: Phantom, later: Phantom) -> Treatment:
    """The cement of one vertebra once the spine has changed.

    Args:
        treatment: As it was made.
        earlier, later: The patient then and now, on the same grid.
    """
    index = treatment.vertebra_index
    old, new = (phantom.spine.vertebrae[index].lps_from_local for phantom in (earlier, later))
    later_from_earlier = new @ geometry.inverse(old)
    inside = _moved(treatment.inside, later, later_from_earlier)
    kept, through = _divided(inside, later, index)
    leaks = [
        replace(leak, deposit=deposit, volume_ml=deposit.volume_ml(later.lps_from_index))
        for leak in treatment.leaks
        if len((deposit := _moved(leak.deposit, later, later_from_earlier)).voxels)
    ]
    return replace(
        treatment,
        inside=kept,
        leaks=(*leaks, *through),
        needle_tips_lps_mm=geometry.apply(later_from_earlier, treatment.needle_tips_lps_mm),
        volume_inside_ml=kept.volume_ml(later.lps_from_index),
    )


def _moved(deposit: Deposit, phantom: Phantom, later_from_earlier: FloatArray) -> Deposit:
    """A deposit after a rigid motion, on the same grid."""
    low = deposit.voxels.min(axis=0) - 2
    grid = np.zeros(tuple(np.ptp(deposit.voxels, axis=0) + 5), dtype=np.float32)
    grid[tuple((deposit.voxels - low).T)] = deposit.fraction
    index_from_lps = geometry.inverse(phantom.lps_from_index)
    index_motion = index_from_lps @ later_from_earlier @ phantom.lps_from_index
    corners = np.stack(np.meshgrid(*([0, n - 1] for n in grid.shape), indexing="ij"), axis=-1).reshape(-1, 3) + low
    reached = geometry.apply(index_motion, corners)
    start = np.maximum(np.floor(reached.min(axis=0)), 0).astype(int)
    stop = np.minimum(np.ceil(reached.max(axis=0)) + 1, phantom.hu.shape).astype(int)
    targets = np.argwhere(np.ones(np.maximum(stop - start, 0), dtype=bool)) + start
    sources = geometry.apply(geometry.inverse(index_motion), targets) - low
    fraction = ndimage.map_coordinates(grid, sources.T, order=1, mode="constant")
    held = fraction >= SMALLEST_SHARE
    return Deposit(voxels=targets[held].astype(np.int32), fraction=fraction[held].astype(np.float32))


def _divided(inside: Deposit, phantom: Phantom, index: int) -> tuple[Deposit, tuple[LeakTruth, ...]]:
    """The cement that is still in the body, and what has come through its endplates."""
    at = tuple(inside.voxels.T)
    own = phantom.instance[at] == index + 1
    in_bone = own & np.isin(phantom.structure[at], (Structure.BODY, Structure.POSTERIOR))
    vertebra = phantom.spine.vertebrae[index]
    local_from_index = geometry.inverse(vertebra.lps_from_local) @ phantom.lps_from_index
    x, y, z = geometry.apply(local_from_index, inside.voxels).T
    sides = {
        Compartment.DISC_SUPERIOR: ~in_bone & (z > vertebra.shape.superior_mm(x, y)),
        Compartment.DISC_INFERIOR: ~in_bone & (z < vertebra.shape.inferior_mm(x, y)),
    }
    kept, leaks = np.ones(len(inside.voxels), dtype=bool), []
    for compartment, beyond in sides.items():
        deposit = Deposit(voxels=inside.voxels[beyond], fraction=inside.fraction[beyond])
        volume_ml = deposit.volume_ml(phantom.lps_from_index)
        if volume_ml >= LEAST_LEAK_ML:
            leaks.append(
                LeakTruth(compartment=compartment, yeom_type=YeomType.DISC, deposit=deposit, volume_ml=volume_ml)
            )
            kept &= ~beyond
    return Deposit(voxels=inside.voxels[kept], fraction=inside.fraction[kept]), tuple(leaks)
