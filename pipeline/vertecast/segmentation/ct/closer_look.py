"""A closer look: one network more sees every vertebra alone on a finer grid, and what it says goes into the maps.

Its voxels have half the edge of those of the maps. A voxel of the maps takes the mean of the eight within it, so that
it holds the share that a structure covers: the 0.5 surface between voxels then lies where the finer outline does.
Bodies are laid in one by one, so that two with a thin disc or none between them keep their surfaces. Cement and metal
stay as the first look saw them: on six simulated studies the closer one drew cement no better (Dice 0.87 against 0.89)
and saw it in a sclerotic body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.images import Volume
from vertecast.segmentation.bundle import FINER
from vertecast.segmentation.ct.grid import block_mean, resampled
from vertecast.segmentation.ct.instances import BODY_REACH_MM, POSTERIOR_REACH_MM, nearest_center
from vertecast.segmentation.ct.maps import Maps

Array: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.uint8]

LOOK_VOXELS: Final = (96, 80, 80)
"""Of the finer grid: at 0.75 mm 72 x 60 x 60 mm, which holds the widest lumbar body, its neighbours' rims and discs."""

BEHIND_MM: Final = 6.0
"""The middle of a look lies so far behind that of the body: a canal and the arch's root belong to a vertebra."""

RIM_MM: Final = 9.0
"""From the faces of a look inwards its weight rises to 1 over this way: at the faces the network sees one side only."""

LEAST_SHARE: Final = 0.25
"""A voxel of bone belongs to the vertebra whose own look gives it the largest share, if it is at least this."""


LEAST_LIKELY: Final = 0.05
"""Of a voxel that is less likely bone than this the vote is not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CloserLook:
    """The network of the closer look.

    Attributes:
        network: HU (i, j, k) → channels (c, i, j, k), as `network.SpineNet`.
    """

    network: Callable[[Array], Array]

    def refine(
        self,
        volume: Volume,
        lps_from_index: geometry.FloatArray,
        maps: Maps,
        labels: Labels,
        centers_index: npt.NDArray[np.float64],
    ) -> Labels:
        """Look at every vertebra, change the maps in place and tell anew which bone belongs to which vertebra.

        Args:
            volume: The CT.
            lps_from_index: (4, 4) affine of the maps, LPS-aligned and isotropic.
            maps: Structures are changed near the vertebrae; cement, metal and offsets are not.
            labels: Vertebra per voxel, 1, 2, ...; 0 none.
            centers_index: (n, 3) centres of these vertebrae in voxels of the maps.

        Returns:
            The new labels.
        """
        shape = labels.shape
        total = np.zeros((len(Structure), *shape), dtype=np.float32)
        weight = np.zeros(shape, dtype=np.float32)
        own = {structure: _Own.nobody(shape) for structure in (Structure.BODY, Structure.POSTERIOR)}
        whole_blend = _blend(float(geometry.spacing_mm(lps_from_index)[0]))
        for number in range(1, len(centers_index) + 1):
            part, (where, inside), shares = self._look(volume, lps_from_index, shape, centers_index, number)
            blend = whole_blend[inside]
            total[(slice(None), *where)] += part[(slice(None), *inside)] * blend
            weight[where] += blend
            for structure, share in shares.items():
                own[structure].take(share[inside], number, where)
        seen = weight > 0
        total[:, seen] /= weight[seen]
        trust = np.minimum(weight[seen], 1.0)
        body = own[Structure.BODY].share[seen]
        for n, (target, channel) in enumerate(zip(maps.structure, total, strict=True)):
            found = body if n == Structure.BODY else channel[seen]
            target[seen] += trust * (found - target[seen])
        return _relabelled(maps.structure.argmax(axis=0), labels, own)

    def _look(
        self,
        volume: Volume,
        lps_from_index: geometry.FloatArray,
        shape: tuple[int, ...],
        centers_index: npt.NDArray[np.float64],
        number: int,
    ) -> tuple[Array, tuple[tuple[slice, ...], tuple[slice, ...]], dict[Structure, Array]]:
        """One look, on the grid of the maps: channels, where it lies in them and which part of it, its own bone."""
        spacing = float(geometry.spacing_mm(lps_from_index)[0])
        size = np.array(LOOK_VOXELS) // FINER
        middle = centers_index[number - 1] + [0.0, BEHIND_MM / spacing, 0.0]
        start = np.round(middle - (size - 1) / 2).astype(int)
        step = spacing / FINER
        first = geometry.apply(lps_from_index, start - 0.5 + 0.5 / FINER)
        fine = geometry.scaling_affine([step] * 3, first)
        said = Maps.of(self.network(resampled(volume, fine, LOOK_VOXELS)))
        part = np.stack([block_mean(channel, (FINER,) * 3) for channel in said.structure])
        centers = (centers_index - start + 0.5) * FINER - 0.5
        shares = {}
        for structure, reach_mm in ((Structure.BODY, BODY_REACH_MM), (Structure.POSTERIOR, POSTERIOR_REACH_MM)):
            likely = said.structure[structure]
            voxels = np.nonzero(likely > LEAST_LIKELY)
            votes = np.transpose(voxels) + said.offset_mm[:, likely > LEAST_LIKELY].T.astype(np.float64) / step
            mine = np.zeros(likely.shape, dtype=np.float32)
            mine[voxels] = np.where(nearest_center(votes, centers, reach_mm / step) == number, likely[voxels], 0.0)
            shares[structure] = block_mean(mine, (FINER,) * 3)
        low, high = np.maximum(start, 0), np.minimum(start + size, shape)
        where = tuple(slice(int(a), int(max(a, b))) for a, b in zip(low, high, strict=True))
        inside = tuple(slice(int(a), int(max(a, b))) for a, b in zip(low - start, high - start, strict=True))
        return part, (where, inside), shares


@dataclass(slots=True, kw_only=True, eq=False)
class _Own:
    """The largest share that a vertebra's own look gives to each voxel, and the vertebra."""

    share: Array
    number: Labels

    @classmethod
    def nobody(cls, shape: tuple[int, ...]) -> _Own:
        return cls(share=np.zeros(shape, dtype=np.float32), number=np.zeros(shape, dtype=np.uint8))

    def take(self, share: Array, number: int, where: tuple[slice, ...]) -> None:
        larger = share > self.share[where]
        self.share[where][larger] = share[larger]
        self.number[where][larger] = number


def _blend(spacing_mm: float) -> Array:
    """Weight of each of the maps' voxels in a look: 1 in its middle, next to nothing at its faces."""
    edges = [np.arange(n // FINER) for n in LOOK_VOXELS]
    ramps = [np.clip((np.minimum(edge, edge[::-1]) + 0.5) * spacing_mm / RIM_MM, 0, 1) for edge in edges]
    return np.asarray(ramps[0][:, None, None] * ramps[1][None, :, None] * ramps[2][None, None, :], dtype=np.float32)


def _relabelled(structure: npt.NDArray[np.intp], labels: Labels, own: dict[Structure, _Own]) -> Labels:
    """Vertebra per voxel: by the own looks, else as before, else (a body's voxel) as the nearest that has one."""
    new = np.where(structure == Structure.RIB, labels, 0).astype(np.uint8)
    for kind, one in own.items():
        here = structure == kind
        new[here] = np.where(one.share[here] >= LEAST_SHARE, one.number[here], labels[here])
    lost = (structure == Structure.BODY) & (new == 0) & (own[Structure.BODY].share > 0)
    if lost.any():
        nearest = ndimage.distance_transform_edt(new == 0, return_distances=False, return_indices=True)
        new[lost] = new[tuple(nearest[:, lost])]
    return new
