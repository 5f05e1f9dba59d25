"""The grid that a patient is drawn on, and the few solids that every bone is built from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import Structure

Array: TypeAlias = npt.NDArray[np.float32]
Coordinates: TypeAlias = tuple[Array, Array, Array]
Box: TypeAlias = tuple[slice, slice, slice]

TEXTURE_SIZE: Final = 96
COARSE_GRAIN: Final = 4
OUTSIDE_MM: Final = -9.0
"""Signed distance of empty space: any value far enough from a surface serves."""
CAPSULE_MARGIN_MM: Final = 2.5
"""A capsule is worked out this far beyond its surface, enough for antialiasing on grids up to 4 mm."""
THINNEST_BEAD: Final = 0.55
"""Beads are drawn with at least this share of a voxel as their radius, so that a wire has no holes on a coarse grid."""
FREE: Final = (Structure.BACKGROUND, Structure.OTHER_BONE)
"""What other bones and soft tissue may be painted over."""
_texture_cache: dict[int, Array] = {}


def texture(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Coloured noise, zero mean and unit deviation, cut at random from a periodic block (two octaves)."""
    from scipy import ndimage

    key = int(rng.integers(0, 4))
    if key not in _texture_cache:
        own = np.random.default_rng(key)
        noise = np.zeros((TEXTURE_SIZE,) * 3, dtype=np.float32)
        for sigma, weight in ((0.7, 0.7), (1.6, 0.5), (4.0, 0.35)):
            octave = ndimage.gaussian_filter(own.standard_normal(noise.shape, dtype=np.float32), sigma, mode="wrap")
            noise += weight * octave / octave.std()
        _texture_cache[key] = noise / noise.std()
    start = rng.integers(0, TEXTURE_SIZE, 3)
    index = [(np.arange(n) + s) % TEXTURE_SIZE for n, s in zip(shape, start, strict=True)]
    return _texture_cache[key][np.ix_(*index)]


def coarse_texture(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Texture whose grains are `COARSE_GRAIN` times as large: for lumps and patches."""
    from scipy import ndimage

    small = texture(rng, tuple(n // COARSE_GRAIN + 2 for n in shape))
    large = ndimage.zoom(small, COARSE_GRAIN, order=1)
    return np.asarray(large[tuple(slice(0, n) for n in shape)], dtype=np.float32)


@dataclass(slots=True, kw_only=True, eq=False)
class Canvas:
    """A growing picture: HU, structure and instance on one LPS-aligned isotropic grid."""

    lps_from_index: geometry.FloatArray
    hu: Array
    structure: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.uint8]
    spacing_mm: float = field(init=False)

    def __post_init__(self) -> None:
        self.spacing_mm = float(self.lps_from_index[0, 0])

    @classmethod
    def empty(cls, lps_from_index: geometry.FloatArray, shape: tuple[int, int, int]) -> Canvas:
        """A canvas of air."""
        return cls(
            lps_from_index=lps_from_index,
            hu=np.full(shape, -1000, dtype=np.float32),
            structure=np.zeros(shape, dtype=np.uint8),
            instance=np.zeros(shape, dtype=np.uint8),
        )

    def axes_lps_mm(self) -> Coordinates:
        """Broadcastable LPS coordinates of the whole grid: shapes (i,1,1), (1,j,1), (1,1,k)."""
        x, y, z = (
            (self.lps_from_index[a, 3] + self.spacing_mm * np.arange(n)).astype(np.float32)
            for a, n in enumerate(self.hu.shape)
        )
        return x[:, None, None], y[None, :, None], z[None, None, :]

    def local(self, lps_from_local: geometry.FloatArray, low: npt.ArrayLike, high: npt.ArrayLike) -> DrawnRegion | None:
        """The part of the grid that holds a local box; None when it lies outside."""
        index_from_local = geometry.inverse(self.lps_from_index) @ lps_from_local
        ends = np.array([low, high], dtype=np.float64)
        corners = np.array([[ends[a, 0], ends[b, 1], ends[c, 2]] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
        index = geometry.apply(index_from_local, corners)
        start = np.maximum(np.floor(index.min(axis=0)).astype(int), 0)
        stop = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 1, self.hu.shape)
        if np.any(stop <= start):
            return None
        local_from_index = (geometry.inverse(lps_from_local) @ self.lps_from_index).astype(np.float32)
        i, j, k = (np.arange(a, b, dtype=np.float32) for a, b in zip(start, stop, strict=True))
        coordinates = tuple(
            row[0] * i[:, None, None] + row[1] * j[None, :, None] + row[2] * k[None, None, :] + row[3]
            for row in local_from_index[:3]
        )
        region_from_local = index_from_local.copy()
        region_from_local[:3, 3] -= start
        return DrawnRegion(
            box=(slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2])),
            xyz=(coordinates[0], coordinates[1], coordinates[2]),
            region_from_local=region_from_local,
        )

    def paint(self, box: Box, distance_mm: Array, value_hu: Array | float, label: Structure, instance: int = 0) -> None:
        """Paint a solid given by its signed distance (positive inside), antialiased over one voxel."""
        alpha = np.clip(distance_mm / self.spacing_mm + 0.5, 0, 1)
        view = self.hu[box]
        view += alpha * (value_hu - view)
        inside = distance_mm > 0
        self.structure[box][inside] = label
        self.instance[box][inside] = instance

    def paint_free(self, box: Box, distance_mm: Array, value_hu: Array | float, label: Structure) -> None:
        """As `paint`, where there is no bone of the column or of the ribs, no disc and no canal."""
        free = np.isin(self.structure[box], FREE)
        self.paint(box, np.where(free, distance_mm, OUTSIDE_MM).astype(np.float32), value_hu, label)

    def paint_beads(
        self,
        points_lps_mm: npt.ArrayLike,
        radius_mm: float,
        value_hu: float,
        label: Structure = Structure.BACKGROUND,
        *,
        within_hu: tuple[float, float] = (-np.inf, np.inf),
    ) -> None:
        """Paint equal balls (n, 3) in LPS, where `paint_free` would and where HU lie in a range: wires, thin plates.

        Thin tubes are worked out voxel by voxel, not on the box that holds them; they must be sampled densely.
        """
        reach_mm = max(radius_mm, THINNEST_BEAD * self.spacing_mm)
        at = (np.reshape(points_lps_mm, (-1, 3)) - self.lps_from_index[:3, 3]) / self.spacing_mm
        reach = int(np.ceil(reach_mm / self.spacing_mm + 0.5))
        at = at[((at > -reach) & (at < np.array(self.hu.shape) - 1 + reach)).all(axis=1)]
        if not len(at):
            return
        steps = np.arange(-reach, reach + 1)
        offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
        nearest = np.round(at)
        away = offsets.astype(np.float32) - (at - nearest).astype(np.float32)[:, None]
        distance = reach_mm - self.spacing_mm * np.sqrt(np.einsum("nmc,nmc->nm", away, away))
        bead, offset = np.nonzero(distance > -0.5 * self.spacing_mm)
        voxels, distance = nearest.astype(int)[bead] + offsets[offset], distance[bead, offset]
        kept = ((voxels >= 0) & (voxels < self.hu.shape)).all(axis=-1)
        voxels, distance = voxels[kept], distance[kept]
        flat = np.ravel_multi_index(tuple(voxels.T), self.hu.shape)
        deepest = np.lexsort((-distance, flat))
        flat, first = np.unique(flat[deepest], return_index=True)
        distance = distance[deepest][first]
        hu, structure = self.hu.reshape(-1), self.structure.reshape(-1)
        free = np.isin(structure[flat], FREE) & (hu[flat] > within_hu[0]) & (hu[flat] < within_hu[1])
        flat, distance = flat[free], distance[free]
        share = np.clip(distance / self.spacing_mm + 0.5, 0, 1) * min(1.0, (radius_mm / reach_mm) ** 1.5)
        hu[flat] += (share * (value_hu - hu[flat])).astype(np.float32)
        structure[flat[distance > 0]] = label


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnRegion:
    """The part of the canvas round a bone, with the bone's local coordinates of each voxel (mm)."""

    box: Box
    xyz: Coordinates
    region_from_local: geometry.FloatArray

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxel counts of the region."""
        return self.xyz[0].shape

    def nothing(self) -> Array:
        """A distance map of empty space, to add solids to."""
        return np.full(self.shape, OUTSIDE_MM, dtype=np.float32)

    def part(self, low: npt.ArrayLike, high: npt.ArrayLike) -> Box | None:
        """The slices of this region that hold a local box; None when it lies outside."""
        ends = np.array([low, high], dtype=np.float64)
        corners = np.array([[ends[a, 0], ends[b, 1], ends[c, 2]] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
        index = geometry.apply(self.region_from_local, corners)
        start = np.maximum(np.floor(index.min(axis=0)).astype(int), 0)
        stop = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 1, self.shape)
        if np.any(stop <= start):
            return None
        return (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))

    def add(self, solid: Array, start: npt.ArrayLike, end: npt.ArrayLike, radii: npt.ArrayLike) -> None:
        """Unite a solid with a `capsule`, working only where the capsule is."""
        ends = np.array([start, end], dtype=np.float64)
        reach = np.asarray(radii, dtype=np.float64) + CAPSULE_MARGIN_MM
        part = self.part(ends.min(axis=0) - reach, ends.max(axis=0) + reach)
        if part is not None:
            x, y, z = (c[part] for c in self.xyz)
            np.maximum(solid[part], capsule((x, y, z), start, end, radii), out=solid[part])

    def capsule(self, start: npt.ArrayLike, end: npt.ArrayLike, radii: npt.ArrayLike) -> Array:
        """A `capsule` alone on the region."""
        solid = self.nothing()
        self.add(solid, start, end, radii)
        return solid


def capsule(xyz: Coordinates, start: npt.ArrayLike, end: npt.ArrayLike, radii: npt.ArrayLike) -> Array:
    """Signed distance (mm, positive inside, approximate) of an ellipsoid swept along a segment."""
    a, b = np.asarray(start, dtype=np.float32), np.asarray(end, dtype=np.float32)
    r = np.asarray(radii, dtype=np.float32)
    d = b - a
    length2 = float(d @ d)
    px, py, pz = xyz[0] - a[0], xyz[1] - a[1], xyz[2] - a[2]
    if length2 > 0:
        t = np.clip((px * d[0] + py * d[1] + pz * d[2]) / length2, 0, 1)
        px, py, pz = px - t * d[0], py - t * d[1], pz - t * d[2]
    rho = np.sqrt((px / r[0]) ** 2 + (py / r[1]) ** 2 + (pz / r[2]) ** 2)
    return np.asarray((1 - rho) * r.min(), dtype=np.float32)


def bone_hu(
    distance_mm: Array, spongy_hu: Array | float, cortex_hu: Array | float, cortex_mm: float, spacing_mm: float
) -> Array:
    """HU of a bone from the depth under its surface: cortex over spongiosa, mixed over one voxel."""
    share = np.clip((cortex_mm - distance_mm) / spacing_mm + 0.5, 0, 1) * min(1.0, 0.35 + cortex_mm / spacing_mm)
    return np.asarray(spongy_hu + share * (cortex_hu - spongy_hu), dtype=np.float32)


def stamp_tube(
    canvas: Canvas, points_lps_mm: npt.ArrayLike, radii_mm: tuple[float, float, float]
) -> tuple[Box, Array] | None:
    """Signed distance of a tube along a polyline (n, 3) in LPS, with ellipsoidal section, on the box that holds it."""
    points = np.asarray(points_lps_mm, dtype=np.float64)
    r = np.asarray(radii_mm)
    index = (points - canvas.lps_from_index[:3, 3]) / canvas.spacing_mm
    margin = (r + 2) / canvas.spacing_mm
    start = np.maximum(np.floor(index.min(axis=0) - margin).astype(int), 0)
    stop = np.minimum(np.ceil(index.max(axis=0) + margin).astype(int) + 1, canvas.hu.shape)
    if np.any(stop <= start):
        return None
    box = (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))
    distance = np.full(stop - start, OUTSIDE_MM, dtype=np.float32)
    index -= start
    reach = np.ceil(r / canvas.spacing_mm).astype(int) + 1
    for p in index:
        low = np.maximum(np.round(p).astype(int) - reach, 0)
        high = np.minimum(np.round(p).astype(int) + reach + 1, distance.shape)
        if np.any(high <= low):
            continue
        offsets = [
            ((np.arange(a, b) - c) * canvas.spacing_mm / q) ** 2 for a, b, c, q in zip(low, high, p, r, strict=True)
        ]
        rho = np.sqrt(offsets[0][:, None, None] + offsets[1][None, :, None] + offsets[2][None, None, :])
        part = distance[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        np.maximum(part, (1 - rho) * r.min(), out=part)
    return box, distance


def paint_soft(
    canvas: Canvas, points_lps_mm: npt.ArrayLike, radii_mm: tuple[float, float, float], value_hu: float
) -> None:
    """A tube of soft tissue, contrast medium or air along points (n, 3) in LPS, painted where it is free."""
    tube = stamp_tube(canvas, points_lps_mm, radii_mm)
    if tube is not None:
        canvas.paint_free(*tube, value_hu, Structure.BACKGROUND)


def smooth_curve(knots: npt.ArrayLike, count: int) -> npt.NDArray[np.float64]:
    """A smooth curve (count, 3) through knots (n, 3), cubic between them, evenly sampled along the chords."""
    at = np.asarray(knots, dtype=np.float64)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(at, axis=0), axis=1))])
    slope = np.gradient(at, length, axis=0)
    where = np.linspace(0, length[-1], count)
    n = np.clip(np.searchsorted(length, where, side="right") - 1, 0, len(at) - 2)
    step = (length[n + 1] - length[n])[:, None]
    t = (where - length[n])[:, None] / step
    near = (1 + 2 * t) * (1 - t) ** 2 * at[n] + t * (1 - t) ** 2 * step * slope[n]
    return np.asarray(near + t**2 * (3 - 2 * t) * at[n + 1] + t**2 * (t - 1) * step * slope[n + 1])
