"""Growing cement: a deposit spreads from seed voxels, cheapest way first, until its volume is reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.patient.spine import Vertebra
from vertecast.lab.simulation.patient.tissue import Phantom

FloatGrid: TypeAlias = npt.NDArray[np.float32]
BoolGrid: TypeAlias = npt.NDArray[np.bool_]
IndexArray: TypeAlias = npt.NDArray[np.int32]

SITE_HALF_MM: Final = 60.0
"""Half the side of the box round a treated body in which cement is grown: holds both neighbours and the tracts."""

BONE: Final = (Structure.BODY, Structure.POSTERIOR, Structure.SACRUM, Structure.RIB, Structure.OTHER_BONE)
MM3_PER_ML: Final = 1000.0
SMALLEST_SHARE: Final = 0.05
"""A voxel with less cement than this holds none: no image would show it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deposit:
    """Cement on the phantom's grid.

    Attributes:
        voxels: Indices (n, 3), int32, each voxel once.
        fraction: Share of each voxel that the cement region covers (n,), float32, above 0 to 1.
    """

    voxels: IndexArray
    fraction: npt.NDArray[np.float32]

    def volume_ml(self, lps_from_index: npt.ArrayLike) -> float:
        """Volume in mL on the grid with the given affine."""
        return float(self.fraction.sum()) * geometry.voxel_volume_mm3(lps_from_index) / MM3_PER_ML


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Site:
    """The surroundings of one vertebra, cut from the phantom; every array has the shape of the cut.

    Attributes:
        start: Index (3,) of the cut's first voxel in the phantom.
        hu, structure, instance: As in `Phantom`.
        x, y, z: Position in the vertebra's own frame, mm.
        body: The vertebra's own body.
        bone: Bone of any kind.
        spacing_mm: Spacing of the grid.
    """

    vertebra: Vertebra
    start: IndexArray
    lps_from_index: geometry.FloatArray
    hu: FloatGrid
    structure: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.uint8]
    x: FloatGrid
    y: FloatGrid
    z: FloatGrid
    body: BoolGrid
    bone: BoolGrid
    spacing_mm: float

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in mL."""
        return self.spacing_mm**3 / MM3_PER_ML

    def index_of(self, local_mm: npt.ArrayLike) -> geometry.FloatArray:
        """Fractional index (..., 3) in the cut of points (..., 3) of the vertebra's frame."""
        index_from_lps = geometry.inverse(self.lps_from_index)
        return geometry.apply(index_from_lps @ self.vertebra.lps_from_local, local_mm) - self.start

    def deposit(self, fraction: FloatGrid) -> Deposit:
        """The cement of a coverage array of the cut, in indices of the phantom."""
        inside = np.argwhere(fraction > 0)
        return Deposit(voxels=(inside + self.start).astype(np.int32), fraction=fraction[tuple(inside.T)])


def site_of(phantom: Phantom, vertebra_index: int) -> Site:
    """Cut the surroundings of one vertebra (index from 0) out of a phantom.

    Raises:
        ValueError: The vertebra's body is not drawn on the phantom's grid.
    """
    vertebra = phantom.spine.vertebrae[vertebra_index]
    center = geometry.apply(geometry.inverse(phantom.lps_from_index), vertebra.lps_from_local[:3, 3])
    half = SITE_HALF_MM / phantom.spacing_mm
    start = np.clip(np.floor(center - half), 0, phantom.hu.shape).astype(np.int32)
    stop = np.clip(np.ceil(center + half) + 1, 0, phantom.hu.shape).astype(np.int32)
    box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    structure, instance = phantom.structure[box], phantom.instance[box]
    body = (structure == Structure.BODY) & (instance == vertebra_index + 1)
    if not body.any():
        raise ValueError(f"vertebra {vertebra_index} has no body on the phantom's grid")
    local_from_index = geometry.inverse(vertebra.lps_from_local) @ phantom.lps_from_index
    axes = np.ogrid[box]
    x, y, z = (
        (sum(local_from_index[row, n] * axes[n] for n in range(3)) + local_from_index[row, 3]).astype(np.float32)
        for row in range(3)
    )
    return Site(
        vertebra=vertebra,
        start=start,
        lps_from_index=phantom.lps_from_index,
        hu=phantom.hu[box],
        structure=structure,
        instance=instance,
        x=x,
        y=y,
        z=z,
        body=body,
        bone=np.isin(structure, BONE),
        spacing_mm=phantom.spacing_mm,
    )


def bounding_box(mask: BoolGrid, margin: int = 0) -> tuple[slice, slice, slice]:
    """Slices of the smallest box that holds a mask with at least one voxel, widened by a margin in voxels."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    i, j, k = (slice(max(s.start - margin, 0), min(s.stop + margin, n)) for s, n in zip(found, mask.shape, strict=True))
    return i, j, k


def smooth_noise(shape: tuple[int, ...], scale_voxels: float, rng: np.random.Generator) -> FloatGrid:
    """Gaussian random field with mean 0 and standard deviation 1, correlated over ``scale_voxels``."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), scale_voxels, mode="wrap")
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), dtype=np.float32)


def tube_voxels(
    points_index: npt.ArrayLike, radius_voxels: float, shape: tuple[int, ...]
) -> tuple[IndexArray, npt.NDArray[np.float32]]:
    """Voxels (n, 3) of a grid that a round tube along a polyline covers, and their coverage (n,); voxels may repeat.

    Args:
        points_index: Corners (m, 3) of the polyline in fractional indices of an isotropic grid.
        radius_voxels: Radius in voxels.
        shape: Shape of the grid; what lies outside is left out.
    """
    points = np.asarray(points_index, dtype=np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = np.linspace(0, along[-1], max(int(2 * along[-1]), 1) + 1)
    centers = np.column_stack([np.interp(at, along, points[:, n]) for n in range(3)])
    reach = int(np.ceil(radius_voxels)) + 1
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = np.rint(centers).astype(np.int32)[:, None, :] + offsets.astype(np.int32)
    distance = np.linalg.norm(voxels - centers[:, None, :], axis=-1)
    share = np.clip(0.5 + radius_voxels - distance, 0.0, 1.0)
    keep = np.all((voxels >= 0) & (voxels < np.array(shape)), axis=-1) & (share >= SMALLEST_SHARE)
    return voxels[keep], share[keep].astype(np.float32)


def tube(site: Site, points_local_mm: npt.ArrayLike, radius_mm: float) -> FloatGrid:
    """Coverage (0 to 1) of a round tube along a polyline (n, 3) in the vertebra's frame."""
    coverage = np.zeros(site.body.shape, dtype=np.float32)
    voxels, share = tube_voxels(site.index_of(points_local_mm), radius_mm / site.spacing_mm, coverage.shape)
    np.maximum.at(coverage, tuple(voxels.T), share)
    return coverage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """How late a front reaches each voxel of a box of the cut; inf where it never does."""

    box: tuple[slice, slice, slice]
    time: FloatGrid
    traceback: Callable[[tuple[int, ...]], list[tuple[int, ...]]]

    def path_to(self, voxel: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Voxels (n, 3) of the cut from the nearest seed to a reached voxel of the cut."""
        low = np.array([s.start for s in self.box])
        return np.asarray(np.array(self.traceback(tuple(int(v) for v in voxel - low))) + low, dtype=np.int64)


def arrival(cost: FloatGrid, allowed: BoolGrid, seeds: npt.NDArray[np.integer]) -> Arrival:
    """Arrival time of a front at each allowed voxel: the cost of the cheapest way from a seed (fast marching).

    Args:
        cost: Resistance per voxel length (i, j, k), above 0.
        allowed: Voxels that the front may enter; each seed must be one of them.
        seeds: Seed voxels (n, 3).
    """
    from skimage.graph import MCP_Geometric

    box = bounding_box(allowed)
    low = np.array([s.start for s in box])
    front = MCP_Geometric(np.where(allowed[box], cost[box], -1.0), fully_connected=True)
    time, _ = front.find_costs([tuple(int(v) for v in seed - low) for seed in seeds])
    return Arrival(box=box, time=np.asarray(time, dtype=np.float32), traceback=front.traceback)


def fill(front: Arrival, cost: FloatGrid, capacity: FloatGrid, voxel_count: float) -> FloatGrid:
    """Coverage (i, j, k) when the front has filled ``voxel_count`` voxels' worth, or all it can reach.

    The last voxels are filled in part, by how far the front has come in them.

    Args:
        front: Arrival times.
        cost: The resistance that they come from: one voxel's worth of time.
        capacity: Largest coverage of each voxel.
        voxel_count: Volume to reach, in voxels.
    """
    room = capacity[front.box]
    reached = np.flatnonzero(np.isfinite(front.time) & (room > 0))
    order = reached[np.argsort(front.time.ravel()[reached])]
    filled = np.cumsum(room.ravel()[order])
    result = np.zeros(cost.shape, dtype=np.float32)
    if len(order) == 0:
        return result
    last = min(int(np.searchsorted(filled, voxel_count)), len(order) - 1)
    limit = front.time.ravel()[order[last]]
    if filled[last] < voxel_count:
        soft = np.isfinite(front.time).astype(np.float32)
    else:
        soft = np.clip(0.5 + (limit - front.time) / cost[front.box], 0.0, 1.0).astype(np.float32)
    share = np.where(np.isfinite(front.time), soft * room, 0.0)
    result[front.box] = np.where(share >= SMALLEST_SHARE, share, 0.0)
    return result
