"""The scanner: from a noise-free patient to the CT volume that a hospital would send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from vertecast.core import geometry
from vertecast.core.images import Volume
from vertecast.lab.simulation.ct.streaks import beam_hardening, metal_hu, metal_streaks

__all__ = ["Kernel", "ScannerSettings", "acquire", "metal_hu", "metal_streaks", "sample_settings"]

FloatGrid: TypeAlias = npt.NDArray[np.float32]
Kernel: TypeAlias = Literal["smooth", "standard", "sharp"]

KERNEL_SIGMA_MM: Final[dict[Kernel, float]] = {"smooth": 0.65, "standard": 0.45, "sharp": 0.28}
"""In-plane blur; full widths at half maximum of about 1.5, 1.05 and 0.65 mm, as body and bone kernels have them."""

KERNEL_OVERSHOOT: Final[dict[Kernel, float]] = {"smooth": 0.0, "standard": 0.1, "sharp": 0.45}
"""Weight of the edge enhancement: the image minus its 1.2 mm blur is added with this factor."""

OVERSHOOT_SIGMA_MM: Final = 1.2
KERNEL_NOISE: Final[dict[Kernel, float]] = {"smooth": 0.6, "standard": 1.0, "sharp": 2.4}
"""Noise of each kernel against the standard one at the same dose."""

REFERENCE_DIAMETER_MM: Final = 300.0
REFERENCE_THICKNESS_MM: Final = 3.0
HALF_WATER_PER_MM: Final = 0.0095
"""Half the attenuation of water near 70 keV: noise grows with the square root of what the body absorbs."""

LOW_FREQUENCY_PER_MM: Final = 0.02
"""Keeps some noise at frequency 0, where a pure ramp has none: interpolation and scatter put it there."""

SURFACE_MM: Final = 40.0
"""Depth over which noise grows from the skin inwards."""

AIR_HU: Final = -1000.0
LOWEST_HU: Final = -1024
HIGHEST_12_BIT_HU: Final = 3071
HIGHEST_HU: Final = 30000
BODY_HU: Final = -300.0
BAND_STEP_MM: Final = 8.0
"""Distance between slices in which beam hardening is computed; it is smooth along the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannerSettings:
    """One acquisition.

    Attributes:
        pixel_mm: Pixel size.
        matrix: Rows and columns.
        slice_thickness_mm: Width of the slab that a slice averages.
        slice_spacing_mm: Distance between slices along the table.
        kernel: Reconstruction kernel.
        noise_hu: Noise in the centre of a 300 mm body, standard kernel, 3 mm slices.
        kvp: Tube voltage in kV, for the header.
        tilt_deg: Gantry tilt about the left-right axis.
        center_offset_mm: Centre of the field of view against the centre of the patient, left and posterior.
        z_range_mm: Lowest and highest slice centre in LPS z, or None for all of the patient.
        round_field: The reconstruction circle is cut out; what lies outside holds the padding value.
        outside_hu: Padding value.
        clip_12_bit: Values end at 3071 HU.
        beam_hardening: Factor on the computed beam-hardening error; 0 switches it off.
        motion_mm: Shift of the body during part of the slices.
    """

    pixel_mm: float = 0.75
    matrix: int = 512
    slice_thickness_mm: float = 1.5
    slice_spacing_mm: float = 1.5
    kernel: Kernel = "standard"
    noise_hu: float = 14.0
    kvp: float = 120.0
    tilt_deg: float = 0.0
    center_offset_mm: tuple[float, float] = (0.0, 0.0)
    z_range_mm: tuple[float, float] | None = None
    round_field: bool = False
    outside_hu: int = -2000
    clip_12_bit: bool = True
    beam_hardening: float = 1.0
    motion_mm: float = 0.0


def sample_settings(rng: np.random.Generator, *, matrix: int = 512) -> ScannerSettings:
    """Draw an acquisition from what hospitals send: thin and thick, sharp and smooth, tilted, small field of view."""
    thickness = float(rng.choice([0.625, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0]))
    overlap = float(rng.choice([1.0, 0.8, 0.5], p=[0.65, 0.2, 0.15]))
    small = rng.random() < 0.3
    field_mm = rng.uniform(160, 240) if small else rng.uniform(300, 480)
    kernels: tuple[Kernel, ...] = ("smooth", "standard", "sharp")
    return ScannerSettings(
        pixel_mm=float(np.clip(field_mm / matrix, 0.3, 1.2)),
        matrix=matrix,
        slice_thickness_mm=thickness,
        slice_spacing_mm=max(round(thickness * overlap, 3), 0.5),
        kernel=kernels[rng.choice(3, p=[0.25, 0.4, 0.35])],
        noise_hu=float(np.exp(rng.uniform(np.log(5), np.log(35)))),
        kvp=float(rng.choice([100, 120, 140], p=[0.25, 0.6, 0.15])),
        tilt_deg=float(rng.uniform(-20, 20)) if rng.random() < 0.06 else 0.0,
        center_offset_mm=(float(rng.uniform(-15, 15)), float(rng.uniform(0, 45) if small else rng.uniform(-10, 10))),
        round_field=bool(rng.random() < 0.35),
        outside_hu=int(rng.choice([-1024, -2000, -3024])),
        clip_12_bit=bool(rng.random() < 0.8),
        beam_hardening=float(rng.uniform(0.3, 1.2)),
        motion_mm=float(rng.uniform(0.5, 3.0)) if rng.random() < 0.08 else 0.0,
    )


def acquire(
    hu: FloatGrid, lps_from_index: npt.ArrayLike, rng: np.random.Generator, *, settings: ScannerSettings
) -> Volume:
    """Scan a patient.

    Args:
        hu: Noise-free HU (i, j, k) on an LPS-aligned grid, cement and metal included.
        lps_from_index: (4, 4) affine of that grid.
        rng: Source of noise and motion.
        settings: The acquisition.

    Returns:
        int16 volume; axis 0 runs to the left, axis 1 to posterior (tilted with the gantry), axis 2 to superior.
    """
    source = np.asarray(lps_from_index, dtype=np.float64)
    spacing = geometry.spacing_mm(source)
    if settings.beam_hardening > 0:
        step = max(round(BAND_STEP_MM / float(spacing[2])), 1)
        hu = hu + settings.beam_hardening * beam_hardening(hu, spacing_mm=float(spacing[0]), slice_step=step)
    grid, shape = scanner_grid(source, hu.shape, settings)
    slices = _sample(hu, source, grid, shape, settings)
    if settings.motion_mm > 0:
        _move(slices, settings, rng)
    level = _noise_level(slices, settings)
    noise = _CorrelatedNoise.for_settings(settings)
    lowest, highest = LOWEST_HU, HIGHEST_12_BIT_HU if settings.clip_12_bit else HIGHEST_HU
    stack = np.empty(slices.shape, dtype=np.int16)
    for k, plane in enumerate(slices):
        image = _apply_kernel(plane, settings, float(spacing[0])) + level.at(k) * noise.next_slice(rng)
        stack[k] = np.clip(np.rint(image), lowest, highest)
    if settings.round_field:
        at = np.arange(settings.matrix) - (settings.matrix - 1) / 2
        stack[:, np.hypot(at[:, None], at[None, :]) > settings.matrix / 2] = settings.outside_hu
    outside = float(settings.outside_hu) if settings.round_field else None
    return Volume(hu=stack.transpose(1, 2, 0), lps_from_index=grid, outside_hu=outside)


def scanner_grid(
    lps_from_index: npt.NDArray[np.float64], shape: tuple[int, ...], settings: ScannerSettings
) -> tuple[geometry.FloatArray, tuple[int, int, int]]:
    """Affine and shape of the acquired volume; sheared when the gantry is tilted."""
    corners = geometry.corner_points_lps_mm(lps_from_index, shape)
    low, high = corners.min(axis=0), corners.max(axis=0)
    z_low, z_high = settings.z_range_mm or (
        low[2] + settings.slice_thickness_mm / 2,
        high[2] - settings.slice_thickness_mm / 2,
    )
    count = max(int(np.floor((z_high - z_low) / settings.slice_spacing_mm + 1e-6)) + 1, 1)
    tilt = np.radians(settings.tilt_deg)
    columns = np.column_stack(
        [
            [settings.pixel_mm, 0.0, 0.0],
            [0.0, settings.pixel_mm * np.cos(tilt), settings.pixel_mm * np.sin(tilt)],
            [0.0, 0.0, settings.slice_spacing_mm],
        ]
    )
    center = (low + high) / 2 + [*settings.center_offset_mm, 0.0]
    half = (settings.matrix - 1) / 2
    origin = np.array([center[0], center[1], z_low]) - half * (columns[:, 0] + columns[:, 1])
    return geometry.affine(columns, origin), (settings.matrix, settings.matrix, count)


def _sample(
    hu: FloatGrid,
    source: geometry.FloatArray,
    grid: geometry.FloatArray,
    shape: tuple[int, int, int],
    settings: ScannerSettings,
) -> FloatGrid:
    """Slices (k, i, j), interpolated in the planes and averaged over their thickness.

    The source is LPS-aligned, so that each axis is one product with a matrix of weights; a tilt shifts each row in z.
    """
    spacing = geometry.spacing_mm(source)
    origin = source[:3, 3]
    x = (grid[0, 3] + grid[0, 0] * np.arange(shape[0]) - origin[0]) / spacing[0]
    y = (grid[1, 3] + grid[1, 1] * np.arange(shape[1]) - origin[1]) / spacing[1]
    z = (grid[2, 3] + grid[2, 2] * np.arange(shape[2]) - origin[2]) / spacing[2]
    relative = hu - np.float32(AIR_HU)
    planes = np.tensordot(_weights(x, hu.shape[0]), relative, (1, 0))
    planes = np.tensordot(_weights(y, hu.shape[1]), planes, (1, 1))
    slab = settings.slice_thickness_mm / spacing[2]
    scan = np.empty((shape[2], shape[0], shape[1]), dtype=np.float32)
    for row in range(shape[1]):
        lift = row * grid[2, 1] / spacing[2]
        if row == 0 or lift != 0:
            across = _slab_weights(z + lift, hu.shape[2], slab)
        scan[:, :, row] = across @ planes[row].T
    scan += np.float32(AIR_HU)
    return scan


def _weights(at: npt.NDArray[np.float64], count: int) -> FloatGrid:
    """Weights (len(at), count) of cubic convolution (Keys 1981, a = -0.5) at fractional indices.

    The outer voxels go on to the edge of the grid; beyond it all weights are 0.
    """
    weights = np.zeros((len(at), count))
    inside = np.flatnonzero((at >= -0.5) & (at <= count - 0.5))
    low = np.floor(at[inside]).astype(int)
    for tap in (-1, 0, 1, 2):
        d = np.abs(at[inside] - low - tap)
        near, far = (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
        np.add.at(weights, (inside, np.clip(low + tap, 0, count - 1)), np.where(d < 1, near, far))
    return weights.astype(np.float32)


def _slab_weights(at: npt.NDArray[np.float64], count: int, thickness: float) -> FloatGrid:
    """Weights of the mean over a slab, thickness in source voxels."""
    parts = max(int(np.ceil(2 * thickness)), 1)
    offsets = ((np.arange(parts) + 0.5) / parts - 0.5) * thickness
    return np.asarray(np.mean([_weights(at + offset, count) for offset in offsets], axis=0), dtype=np.float32)


def _apply_kernel(plane: FloatGrid, settings: ScannerSettings, source_mm: float) -> FloatGrid:
    """Blur and edge enhancement of one slice; the source's own voxels count as blur that has already happened."""
    own = 0.29 * source_mm
    sigma = np.sqrt(max(KERNEL_SIGMA_MM[settings.kernel] ** 2 - own**2, 0.0)) / settings.pixel_mm
    if sigma > 0.2:
        plane = ndimage.gaussian_filter(plane, sigma)
    overshoot = np.float32(KERNEL_OVERSHOOT[settings.kernel])
    if overshoot > 0:
        plane = plane + overshoot * (plane - ndimage.gaussian_filter(plane, OVERSHOOT_SIGMA_MM / settings.pixel_mm))
    return np.asarray(plane, dtype=np.float32)


def _move(slices: FloatGrid, settings: ScannerSettings, rng: np.random.Generator) -> None:
    """The body moves during a run of slices (k, i, j): each of them shows two positions at once."""
    count = len(slices)
    first = int(rng.integers(0, max(count - 1, 1)))
    last = min(first + max(int(rng.uniform(15, 50) / settings.slice_spacing_mm), 2), count)
    direction = rng.uniform(0, 2 * np.pi)
    shift = settings.motion_mm / settings.pixel_mm * np.array([0.5 * np.cos(direction), np.sin(direction)])
    bump = np.sin(np.pi * (np.arange(first, last) - first + 0.5) / (last - first))
    for k, size in zip(range(first, last), bump, strict=True):
        moved = ndimage.shift(slices[k], size * shift, order=1, mode="nearest")
        slices[k] = 0.5 * (slices[k] + moved)


@dataclass(slots=True, eq=False)
class _CorrelatedNoise:
    """Noise of filtered back projection, deviation 1: a ramp times the kernel's transfer function.

    ``overlap`` is what a slice shares with the one before, because their slabs overlap.
    """

    transfer: FloatGrid
    overlap: float
    previous: FloatGrid | None = None

    @classmethod
    def for_settings(cls, settings: ScannerSettings) -> _CorrelatedNoise:
        n = settings.matrix
        frequency = np.hypot(fft.fftfreq(n)[:, None], fft.rfftfreq(n)[None, :]) / settings.pixel_mm
        sigma = KERNEL_SIGMA_MM[settings.kernel]
        transfer = (frequency + LOW_FREQUENCY_PER_MM) * np.exp(-2 * (np.pi * sigma * frequency) ** 2)
        transfer = transfer / np.sqrt(np.mean(transfer**2))
        overlap = float(np.clip(1 - settings.slice_spacing_mm / settings.slice_thickness_mm, 0.0, 0.7)) + 0.1
        return cls(transfer.astype(np.float32), overlap)

    def next_slice(self, rng: np.random.Generator) -> FloatGrid:
        """Noise (i, j) of the next slice."""
        n = self.transfer.shape[0]
        spectrum = fft.rfft2(rng.standard_normal((n, n), dtype=np.float32)) * self.transfer
        current = fft.irfft2(spectrum, s=(n, n), overwrite_x=True)
        if self.previous is not None:
            current = self.overlap * self.previous + np.sqrt(1 - self.overlap**2) * current
        self.previous = np.asarray(current, dtype=np.float32)
        return self.previous


@dataclass(frozen=True, slots=True, eq=False)
class _NoiseLevel:
    """Standard deviation of the noise in HU: a coarse map (k, a, b) and the weights that bring it to the pixels."""

    coarse: FloatGrid
    to_pixels: FloatGrid

    def at(self, k: int) -> FloatGrid:
        """Noise level (i, j) of slice k in HU."""
        return np.asarray(self.to_pixels @ self.coarse[k] @ self.to_pixels.T)


def _noise_level(slices: FloatGrid, settings: ScannerSettings) -> _NoiseLevel:
    """From dose, kernel and slice thickness; more in a thick body, less towards its surface and in the air around."""
    step = max(round(4.0 / settings.pixel_mm), 1)
    coarse = (slices[:, step // 2 :: step, step // 2 :: step] > BODY_HU).astype(np.float32)
    area_mm2 = coarse.sum(axis=(1, 2)) * (step * settings.pixel_mm) ** 2
    diameter = ndimage.gaussian_filter1d(2 * np.sqrt(area_mm2 / np.pi), 5.0, mode="nearest")
    size = np.clip(np.exp(HALF_WATER_PER_MM * (diameter - REFERENCE_DIAMETER_MM)), 0.35, 3.0)
    width = SURFACE_MM / (step * settings.pixel_mm)
    depth = ndimage.gaussian_filter(coarse, (0, width, width), mode="nearest")
    level = settings.noise_hu * KERNEL_NOISE[settings.kernel]
    level *= float(np.sqrt(REFERENCE_THICKNESS_MM / settings.slice_thickness_mm))
    place = np.clip((np.arange(settings.matrix) - step // 2) / step, 0, coarse.shape[1] - 1)
    to_pixels = np.clip(1 - np.abs(place[:, None] - np.arange(coarse.shape[1])[None, :]), 0, 1).astype(np.float32)
    return _NoiseLevel(((0.3 + 0.7 * depth) * (level * size)[:, None, None]).astype(np.float32), to_pixels)
