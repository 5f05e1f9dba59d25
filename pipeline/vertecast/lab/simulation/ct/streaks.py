"""Beam hardening and metal streaks: slices are projected with a polychromatic beam and reconstructed again.

Only the *error* of the measured sinogram against an ideal monochromatic one is reconstructed and added, so that the
image keeps its sharpness where nothing is wrong. Parallel beam, filtered back projection with a Hann window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage, sparse

if TYPE_CHECKING:
    from collections.abc import Mapping

FloatArray32: TypeAlias = npt.NDArray[np.float32]
Material: TypeAlias = Literal["titanium", "steel"]

SPECTRUM: Final = np.array([0.2, 0.3, 0.3, 0.2])
"""Share of photons at 50, 60, 80 and 100 keV: a coarse 120 kVp spectrum behind its filter."""

WATER_PER_MM: Final = np.array([0.02269, 0.02059, 0.01837, 0.01707])
BONE_PER_MM: Final = np.array([0.4242, 0.3148, 0.2229, 0.1855]) * 0.192
METAL_PER_MM: Final[Mapping[Material, npt.NDArray[np.float64]]] = {
    "titanium": np.array([1.213, 0.7661, 0.4052, 0.2721]) * 0.451,
    "steel": np.array([1.958, 1.205, 0.5952, 0.3717]) * 0.787,
}
"""Linear attenuation at the energies of `SPECTRUM`; NIST Standard Reference Database 126 (water, cortical bone of
1.92 g/cm3, titanium 4.51, iron 7.87 g/cm3 for steel)."""

WATER_MEAN: Final = float(SPECTRUM @ WATER_PER_MM)
BONE_HU: Final = 1000 * (float(SPECTRUM @ BONE_PER_MM) / WATER_MEAN - 1)
"""Hounsfield units of compact bone under the mean attenuation of the spectrum."""

SOFT_TISSUE_LIMIT_HU: Final = 120.0
"""Above this a voxel counts as a mix of soft tissue and bone."""

LARGEST_MATRIX: Final = 176
ANGLES: Final = 200
SMALLEST_COUNT: Final = 2.0
"""Photons below which the detector reads its own noise: the floor that makes starvation streaks finite."""


@dataclass(frozen=True, slots=True, eq=False)
class Scanner:
    """Parallel-beam geometry for square slices: a sparse projector, shared by all slices."""

    project: sparse.csr_matrix
    angles: int
    detectors: int
    pixel_mm: float

    @classmethod
    def for_slices(cls, matrix: int, pixel_mm: float) -> Scanner:
        """Geometry for slices of ``matrix`` by ``matrix`` pixels."""
        detectors = int(np.ceil(matrix * np.sqrt(2))) + 3
        theta = np.arange(ANGLES) * np.pi / ANGLES
        at = np.arange(matrix) - (matrix - 1) / 2
        i, j = np.meshgrid(at, at, indexing="ij")
        t = np.outer(np.cos(theta), i.ravel()) + np.outer(np.sin(theta), j.ravel()) + (detectors - 1) / 2
        low = np.floor(t).astype(np.int32)
        upper_share = (t - low).astype(np.float32)
        pixel = np.broadcast_to(np.arange(matrix * matrix, dtype=np.int32), low.shape)
        row = low + np.arange(ANGLES, dtype=np.int32)[:, None] * detectors
        values = np.concatenate([(1 - upper_share).ravel(), upper_share.ravel()]) * pixel_mm
        rows = np.concatenate([row.ravel(), (row + 1).ravel()])
        matrix_shape = (ANGLES * detectors, matrix * matrix)
        project = sparse.csr_matrix((values, (rows, np.concatenate([pixel.ravel()] * 2))), shape=matrix_shape)
        return cls(project, ANGLES, detectors, pixel_mm)

    def reconstruct(self, sinograms: FloatArray32) -> FloatArray32:
        """Filtered back projection of sinograms (angles * detectors, slices) to pixels (matrix², slices), per mm.

        The ramp is sampled in space (Kak and Slaney 1988, eq. 3.61): sampled in frequency it loses the mean.
        """
        size = fft.next_fast_len(2 * self.detectors, real=True)
        n = np.minimum(np.arange(size), size - np.arange(size))
        ramp = np.where(n % 2 == 1, -1.0 / (np.pi * np.maximum(n, 1)) ** 2, 0.0)
        ramp[0] = 0.25
        hann = 0.5 * (1 + np.cos(2 * np.pi * fft.rfftfreq(size)))
        window = fft.rfft(ramp).real * hann / self.pixel_mm
        rows = sinograms.reshape(self.angles, self.detectors, -1)
        spectrum = fft.rfft(rows, size, axis=1) * window[None, :, None].astype(np.float32)
        filtered = fft.irfft(spectrum, size, axis=1)[:, : self.detectors]
        pixels = self.project.T @ filtered.reshape(self.angles * self.detectors, -1)
        return np.asarray(pixels * (np.pi / self.angles / self.pixel_mm), dtype=np.float32)


def metal_hu(material: Material) -> float:
    """Hounsfield units of solid metal under the mean attenuation of the spectrum, before any clipping."""
    return 1000 * (float(SPECTRUM @ METAL_PER_MM[material]) / WATER_MEAN - 1)


def metal_streaks(
    hu: FloatArray32,
    metal: npt.NDArray[np.generic],
    rng: np.random.Generator,
    *,
    spacing_mm: float,
    material: Material = "titanium",
    photons: float = 2e5,
) -> FloatArray32:
    """Put metal into a volume and add the streaks that it makes.

    Args:
        hu: Volume (i, j, k) with square pixels in the planes of axes 0 and 1, HU.
        metal: Coverage of each voxel by metal, bool or 0 to 1, same shape.
        rng: Source of the photon noise.
        spacing_mm: Pixel size in the planes of axes 0 and 1.
        material: What the metal is.
        photons: Photons per ray in air; fewer starve sooner.

    Returns:
        New volume, float32; slices without metal are unchanged. Metal stands at its full value: clipping is the
        scanner's part.
    """
    coverage = np.asarray(metal, dtype=np.float32)
    result = hu + coverage * (metal_hu(material) - hu)
    slices = np.flatnonzero(coverage.any(axis=(0, 1)))
    for first in range(0, len(slices), 16):
        chunk = slices[first : first + 16]
        error = polychromatic_error_hu(
            hu[:, :, chunk], coverage[:, :, chunk], rng, spacing_mm=spacing_mm, material=material, photons=photons
        )
        result[:, :, chunk] += error
    return np.asarray(result, dtype=np.float32)


def beam_hardening(hu: FloatArray32, *, spacing_mm: float, slice_step: int) -> FloatArray32:
    """The error (i, j, k) in HU that bone and cement leave in a polychromatic beam: dark bands and cupping.

    It is smooth, so every ``slice_step``-th slice is projected and the ones between are interpolated.
    """
    at = np.unique(np.append(np.arange(0, hu.shape[2], slice_step), hu.shape[2] - 1))
    no_metal = np.zeros((*hu.shape[:2], len(at)), dtype=np.float32)
    rng = np.random.default_rng(0)
    error = polychromatic_error_hu(hu[:, :, at], no_metal, rng, spacing_mm=spacing_mm, matrix_limit=96)
    place = np.interp(np.arange(hu.shape[2]), at, np.arange(len(at)))
    low = np.minimum(place.astype(int), len(at) - 1)
    high = np.minimum(low + 1, len(at) - 1)
    share = (place - low).astype(np.float32)
    return np.asarray((1 - share) * error[:, :, low] + share * error[:, :, high], dtype=np.float32)


def polychromatic_error_hu(
    hu: FloatArray32,
    metal: FloatArray32,
    rng: np.random.Generator,
    *,
    spacing_mm: float,
    material: Material = "titanium",
    photons: float = 2e5,
    matrix_limit: int = LARGEST_MATRIX,
) -> FloatArray32:
    """What a polychromatic, photon-limited beam adds to slices (i, j, k), in HU.

    The scanner corrects for water, as every scanner does; photon noise is kept on the rays that meet metal.
    """
    side = max(hu.shape[:2])
    matrix = min(side, matrix_limit)
    scanner = Scanner.for_slices(matrix, spacing_mm * side / matrix)
    water, bone = _materials(_to_square(hu, side, matrix, fill=-1000.0))
    flat = [part.reshape(matrix * matrix, -1) for part in (water, bone, _to_square(metal, side, matrix, fill=0.0))]
    paths_mm = [np.asarray(scanner.project @ part, dtype=np.float32) for part in flat]
    measured = _measure(paths_mm, material, photons, rng)
    means = [float(SPECTRUM @ table) for table in (WATER_PER_MM, BONE_PER_MM, METAL_PER_MM[material])]
    ideal = sum(mean * path for mean, path in zip(means, paths_mm, strict=True))
    error_hu = scanner.reconstruct((measured - ideal).astype(np.float32)) * (1000 / WATER_MEAN)
    return _from_square(error_hu.reshape(matrix, matrix, -1), hu.shape, side)


def _materials(hu: FloatArray32) -> tuple[FloatArray32, FloatArray32]:
    """Split slices into water and compact bone, each as a share of its full density."""
    bone = np.clip((hu - SOFT_TISSUE_LIMIT_HU) / (BONE_HU - SOFT_TISSUE_LIMIT_HU), 0.0, 2.5)
    water = np.clip(1 + np.minimum(hu, SOFT_TISSUE_LIMIT_HU) / 1000, 0.0, None) * np.clip(1 - bone, 0.0, 1.0)
    return water.astype(np.float32), bone.astype(np.float32)


def _measure(
    paths_mm: list[FloatArray32], material: Material, photons: float, rng: np.random.Generator
) -> FloatArray32:
    """Water-corrected line integrals that the detector reads, per mm of mean water attenuation."""
    tables = (WATER_PER_MM, BONE_PER_MM, METAL_PER_MM[material])
    counts = np.zeros_like(paths_mm[0])
    for n, share in enumerate(SPECTRUM):
        exponent = sum(np.float32(table[n]) * path for table, path in zip(tables, paths_mm, strict=True))
        counts += np.float32(share) * np.exp(-exponent)
    counts *= photons
    through_metal = paths_mm[2] > 0
    counts[through_metal] = rng.poisson(counts[through_metal]) + rng.normal(0, 1, int(through_metal.sum()))
    measured = -np.log(np.maximum(counts, SMALLEST_COUNT) / photons)
    water_mm = np.linspace(0, 1500, 600)
    reading = -np.log(np.exp(-np.outer(water_mm, WATER_PER_MM)) @ SPECTRUM)
    return np.asarray(np.interp(measured, reading, water_mm * WATER_MEAN), dtype=np.float32)


def _to_square(slices: FloatArray32, side: int, matrix: int, *, fill: float) -> FloatArray32:
    """Centre slices in a square and scale it to ``matrix`` pixels."""
    pad = [((side - n) // 2, side - n - (side - n) // 2) for n in slices.shape[:2]]
    square = np.pad(slices, [*pad, (0, 0)], constant_values=fill)
    if matrix == side:
        return square
    zoomed = ndimage.zoom(square, (matrix / side, matrix / side, 1), order=1, grid_mode=True, mode="nearest")
    return np.asarray(zoomed, dtype=np.float32)


def _from_square(square: FloatArray32, shape: tuple[int, ...], side: int) -> FloatArray32:
    """The inverse of `_to_square`."""
    matrix = square.shape[0]
    if matrix != side:
        square = ndimage.zoom(square, (side / matrix, side / matrix, 1), order=1, grid_mode=True, mode="nearest")
    starts = [(side - n) // 2 for n in shape[:2]]
    i, j = (slice(a, a + n) for a, n in zip(starts, shape[:2], strict=True))
    return np.asarray(square[i, j], dtype=np.float32)
