"""Cement that grows through a cine: the finished deposit of a treatment, in the order in which it was filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.lab.simulation.patient.tissue import Phantom
from vertecast.lab.simulation.projection.integrals import deposit_integrals
from vertecast.lab.simulation.projection.rays import Camera, FloatImage
from vertecast.lab.simulation.treatment.cement import Treatment
from vertecast.lab.simulation.treatment.growth import Deposit

SHELLS: Final = 24
"""Steps of growth that are projected; between them the cement of a shell thickens evenly."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CementGrowth:
    """A treatment's cement by the share of its volume that has been injected.

    Attributes:
        treatment: The finished cement.
        shells_mm: Length of ray (k, rows, columns) in each shell, the first one round the needle's tip.
        shell_ml: Volume of each shell (k,).
        leaked_ml: Volume of each shell that lies in leaks (k,).
        inside_mm: Length of ray (rows, columns) in the finished cement inside the body.
        leaks_mm: Length of ray (rows, columns) in each finished leak.
    """

    treatment: Treatment
    shells_mm: npt.NDArray[np.float32]
    shell_ml: npt.NDArray[np.float64]
    leaked_ml: npt.NDArray[np.float64]
    inside_mm: FloatImage
    leaks_mm: tuple[FloatImage, ...]

    def filled(self, share: float) -> npt.NDArray[np.float64]:
        """How far each shell (k,) is filled, 0 to 1, when a share of the volume has been injected."""
        before = np.cumsum(self.shell_ml) - self.shell_ml
        return np.asarray(np.clip((share * self.shell_ml.sum() - before) / self.shell_ml, 0.0, 1.0))

    def cement_mm(self, share: float) -> FloatImage:
        """Length of ray (rows, columns) in cement when a share of the volume has been injected."""
        return np.asarray(np.tensordot(self.filled(share).astype(np.float32), self.shells_mm, axes=1))


def grow(phantom: Phantom, treatment: Treatment, view: Camera) -> CementGrowth:
    """Order the cement of a treatment by its way from the needles' tips, and project it shell by shell."""
    deposits = (treatment.inside, *(leak.deposit for leak in treatment.leaks))
    voxels = np.concatenate([deposit.voxels for deposit in deposits])
    fraction = np.concatenate([deposit.fraction for deposit in deposits])
    is_leak = np.arange(len(voxels)) >= len(treatment.inside.voxels)
    tips = geometry.apply(geometry.inverse(phantom.lps_from_index), treatment.needle_tips_lps_mm)
    order = np.argsort(way_from(voxels, tips), kind="stable")
    filled = np.cumsum(fraction[order], dtype=np.float64)
    shell = np.empty(len(order), dtype=np.intp)
    shell[order] = np.minimum(SHELLS * (filled - fraction[order] / 2) / filled[-1], SHELLS - 1).astype(np.intp)
    members = [shell == number for number in np.unique(shell)]
    voxel_ml = geometry.voxel_volume_mm3(phantom.lps_from_index) / 1000
    shells = [Deposit(voxels=voxels[own], fraction=fraction[own]) for own in members]
    lengths = deposit_integrals(phantom, [*shells, *deposits], view)
    return CementGrowth(
        treatment=treatment,
        shells_mm=lengths[: len(shells)],
        shell_ml=np.array([fraction[own].sum(dtype=np.float64) for own in members]) * voxel_ml,
        leaked_ml=np.array([fraction[own & is_leak].sum(dtype=np.float64) for own in members]) * voxel_ml,
        inside_mm=lengths[len(shells)],
        leaks_mm=tuple(lengths[len(shells) + 1 :]),
    )


def way_from(voxels: npt.NDArray[np.integer], seeds: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Length of the way (n,), in voxels, within a set of voxels from the seeds; pieces apart count the straight line.

    Args:
        voxels: Indices (n, 3), each voxel once.
        seeds: Fractional indices (m, 3); each stands for the voxel nearest to it.
    """
    from skimage.graph import MCP_Geometric

    straight = np.linalg.norm(voxels[:, None, :] - seeds, axis=-1)
    low = voxels.min(axis=0)
    cost = np.full(voxels.max(axis=0) - low + 1, -1.0)
    cost[tuple((voxels - low).T)] = 1.0
    starts = voxels[straight.argmin(axis=0)] - low
    way, _ = MCP_Geometric(cost, fully_connected=True).find_costs([tuple(int(v) for v in start) for start in starts])
    found = way[tuple((voxels - low).T)]
    return np.asarray(np.where(np.isfinite(found), found, straight.min(axis=1)))
