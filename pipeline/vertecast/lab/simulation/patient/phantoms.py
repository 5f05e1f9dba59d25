"""Analytic spines drawn straight onto grids: known heights, known cement, no acquisition model.

Bodies are `BodyShape`s on a curved line, with box arches, a canal, ribs and a sacrum; the CT grid is oblique and has
three different spacings, so that a swapped axis or a mirrored side cannot pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from vertecast.core import geometry
from vertecast.core.anatomy import POSTERIOR_LABEL_OFFSET, Structure
from vertecast.core.images import Mask, Segmentation, Volume
from vertecast.lab.simulation.patient.spine import BodyShape

Array = npt.NDArray[np.floating]

MARROW_HU: Final = 140.0
DISC_HU: Final = 90.0
CORTEX_HU: Final = 700.0
TISSUE_HU: Final = 40.0
CORTEX_MM: Final = 0.7
"""What the phantoms are made of; the bony endplate is as thick as `measurement.ct.body.edges` takes it to be."""

TOP_LABEL: Final = 22
"""Number of the first body in a label map: L3, then L4 and so on (numbers of ``labels_<n>.nii.gz``)."""

SUB_VOXEL_MM: Final = 0.5
"""Voxels are divided into parts no longer than this where their filled share is counted."""


def normal_shape(
    height_mm: float = 25.0, *, anterior: float = 0.95, middle: float = 0.92, **changes: float
) -> BodyShape:
    """A sound lumbar body; ``anterior`` and ``middle`` are shares of the posterior height."""
    shape = BodyShape(
        width_mm=44.0,
        depth_mm=33.0,
        anterior_mm=height_mm * anterior,
        middle_mm=height_mm * middle,
        posterior_mm=height_mm,
    )
    return replace(shape, **changes)


def fractured_shape() -> BodyShape:
    """A wedge fracture with a sunken superior endplate: 32 % lower in front and 34 % in the middle."""
    return normal_shape(26.0, anterior=0.68, middle=0.66, superior_share=0.8, bump_exponent=4.0)


def blurred_ball(distance_mm: Array, radius_mm: float, sigma_mm: float) -> Array:
    """A ball of value 1 convolved with a Gaussian in three dimensions: its volume is kept."""
    r = np.maximum(distance_mm, 1e-3)
    near, far = (radius_mm - r) / sigma_mm, (radius_mm + r) / sigma_mm
    step = special.ndtr(near) + special.ndtr(far) - 1
    tails = np.exp(-(near**2) / 2) - np.exp(-(far**2) / 2)
    return np.asarray(step - sigma_mm / (r * np.sqrt(2 * np.pi)) * tails)


@dataclass(frozen=True)
class _Grid:
    """A voxel grid of which only small boxes are computed, so that phantoms stay fast."""

    lps_from_index: geometry.FloatArray
    shape: tuple[int, ...]

    def near(self, center: npt.ArrayLike | None, reach_mm: tuple[float, ...] | None) -> tuple[tuple[slice, ...], Array]:
        """Box of the grid round a cuboid (the whole grid for None), and its voxel centres in LPS mm (i, j, k, 3)."""
        box = tuple(slice(0, n) for n in self.shape)
        if center is not None and reach_mm is not None:
            signs = np.stack(np.meshgrid(*[(-1, 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
            corners = geometry.apply(geometry.inverse(self.lps_from_index), np.asarray(center) + signs * reach_mm)
            low, high = np.floor(corners.min(axis=0)).astype(int), np.ceil(corners.max(axis=0)).astype(int) + 1
            box = tuple(slice(max(a, 0), max(min(b, n), 0)) for a, b, n in zip(low, high, self.shape, strict=True))
        index = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), axis=-1)
        return box, geometry.apply(self.lps_from_index, index)


@dataclass(kw_only=True)
class SpinePhantom:
    """Bodies on a line, cranial first.

    Attributes:
        shapes: The bodies.
        tilt_deg: Turns the whole column in the sagittal and in the coronal plane.
        turn_deg: Turns it about its own axis.
        curve_deg: Sagittal angle from body to body.
        disc_mm: Height of the discs.
        grid_mm: Spacing of the working grid of `segmentation`.
        spacing_mm, oblique_deg: Voxels of the CT, and how far its axes are turned against the patient.
        blur_mm: SD of the kernel; that of the voxel comes on top.
        noise_hu: SD of the white noise.
        sacrum: Whether there is one below.
        ribs: Bodies that bear ribs.
        balls: Cement spheres: (centre in the local frame of a body in mm, radius in mm, index of that body).
        cement_hu: Their value.
        margin_mm: Image round the bodies.
        frames: ``lps_from_local`` of every body, set from the others.
    """

    shapes: Sequence[BodyShape]
    tilt_deg: tuple[float, float] = (8.0, -5.0)
    turn_deg: float = 4.0
    curve_deg: float = 4.0
    disc_mm: float = 8.0
    grid_mm: float = 1.5
    spacing_mm: tuple[float, float, float] = (0.7, 0.8, 1.2)
    oblique_deg: float = 7.0
    blur_mm: float = 0.5
    noise_hu: float = 15.0
    sacrum: bool = False
    ribs: frozenset[int] = frozenset()
    balls: Sequence[tuple[tuple[float, float, float], float, int]] = ()
    cement_hu: float = 2200.0
    margin_mm: float = 14.0
    frames: list[geometry.FloatArray] = field(default_factory=list)

    def __post_init__(self) -> None:
        sagittal, coronal = np.radians(self.tilt_deg)
        pose = geometry.rotation([1, 0, 0], sagittal) @ geometry.rotation([0, 1, 0], coronal)
        pose = pose @ geometry.rotation([0, 0, 1], np.radians(self.turn_deg))
        at = np.array([11.0, -37.0, 812.0])
        for n, shape in enumerate(self.shapes):
            if n:
                step = (self.shapes[n - 1].middle_mm + shape.middle_mm) / 2 + self.disc_mm
                at = at - pose[:, 2] * step / 2
                pose = pose @ geometry.rotation([1, 0, 0], np.radians(self.curve_deg))
                at = at - pose[:, 2] * step / 2
            self.frames.append(geometry.affine(pose, at))

    def _box(self) -> tuple[Array, Array]:
        centers = np.array([f[:3, 3] for f in self.frames])
        reach = np.array([30.0, 26.0, 16.0]) + self.margin_mm
        low, high = centers.min(axis=0) - reach, centers.max(axis=0) + reach
        return low, high + np.array([0.0, 20.0, 0.0])

    def local(self, n: int, points: Array) -> Array:
        """Points in LPS mm in the frame of body n."""
        return geometry.apply(geometry.inverse(self.frames[n]), points)

    def _draw_body(self, n: int, grid: _Grid, hu: Array, sigma_mm: float) -> None:
        """Disc, cortex and marrow of one body, every surface blurred by the same Gaussian along its normal."""
        shape = self.shapes[n]
        box, points = grid.near(self.frames[n][:3, 3], (27.0, 23.0, 21.0))
        x, y, z = np.moveaxis(self.local(n, points), -1, 0)
        distance = shape.signed_distance_mm(x, y, z)
        before = hu[box]
        in_disc = (np.abs(x) < 20) & (np.abs(y) < 14) & (np.abs(z) < shape.posterior_mm / 2 + 5)
        around = np.where(in_disc & (before <= DISC_HU), DISC_HU, before)
        inside, core = special.ndtr(distance / sigma_mm), special.ndtr((distance - CORTEX_MM) / sigma_mm)
        hu[box] = around + (CORTEX_HU - around) * inside - (CORTEX_HU - MARROW_HU) * core

    def _draw_balls(self, grid: _Grid, target: Array, value: float, sigma_mm: float) -> None:
        """Cement spheres over what is there."""
        for center, radius, n in self.balls:
            at = geometry.apply(self.frames[n], center)
            box, points = grid.near(at, (radius + 5.0,) * 3)
            share = blurred_ball(np.linalg.norm(points - at, axis=-1), radius, sigma_mm)
            target[box] += (value - target[box]) * share

    @staticmethod
    def arch(x: Array, y: Array, z: Array, shape: BodyShape) -> npt.NDArray[np.bool_]:
        """Pedicles, laminae and spinous process as boxes."""
        back = shape.posterior_wall_y_mm
        pedicle = (np.abs(np.abs(x) - 15) < 4) & (y > back) & (y < back + 20) & (np.abs(z - 4) < 6)
        lamina = (np.abs(x) < 19) & (np.abs(y - back - 20) < 3) & (np.abs(z) < 9)
        spinous = (np.abs(x) < 3) & (y > back + 20) & (y < back + 36) & (np.abs(z + 4) < 7)
        return np.asarray(pedicle | lamina | spinous)

    def _ct_grid(self) -> _Grid:
        """The oblique grid of the CT."""
        low, high = self._box()
        axes = geometry.rotation([1.0, 0.4, 0.2], np.radians(self.oblique_deg))
        spacing = np.array(self.spacing_mm)
        shape = tuple(int(s) for s in np.ceil((high - low) / spacing))
        columns = axes * spacing
        origin = (low + high) / 2 - columns @ ((np.array(shape) - 1) / 2)
        return _Grid(geometry.affine(columns, origin), shape)

    def label_map(self) -> Mask:
        """What an expert would paint on the CT: every voxel whose centre lies in a body or in its arch, whole."""
        grid = self._ct_grid()
        labels = np.zeros(grid.shape, dtype=np.uint8)
        for n, body in enumerate(self.shapes):
            box, points = grid.near(self.frames[n][:3, 3], (27.0, 60.0, 24.0))
            x, y, z = np.moveaxis(self.local(n, points), -1, 0)
            labels[box][self.arch(x, y, z, body)] = POSTERIOR_LABEL_OFFSET + TOP_LABEL + n
            labels[box][body.signed_distance_mm(x, y, z) > 0] = TOP_LABEL + n
        return Mask(labels=labels, lps_from_index=grid.lps_from_index)

    def volume(self, seed: int = 0) -> Volume:
        """The CT on an oblique grid of unequal spacing: blur of kernel and voxel, white noise, 12-bit clip."""
        grid = self._ct_grid()
        shape, lps_from_index = grid.shape, grid.lps_from_index
        sigma = float(np.sqrt(self.blur_mm**2 + np.mean(np.array(self.spacing_mm) ** 2) / 12))
        hu = np.random.default_rng(seed).normal(0.0, self.noise_hu, shape)
        clean = np.full(shape, TISSUE_HU)
        for n in range(len(self.shapes)):
            self._draw_body(n, grid, clean, sigma)
        self._draw_balls(grid, clean, self.cement_hu, sigma)
        hu += clean
        clipped = np.clip(np.round(hu), -1024, 3071).astype(np.int16)
        return Volume(hu=clipped, lps_from_index=lps_from_index, frame_of_reference_uid="1.2.3")

    def _filled(self, n: int, lps_from_index: geometry.FloatArray, shape: tuple[int, ...]) -> Array:
        """Share of every voxel of the CT that body n fills, interpolated on another grid (counted in sub-voxels)."""
        ct = self._ct_grid()
        box, points = ct.near(self.frames[n][:3, 3], (27.0, 23.0, 21.0))
        steps = [(np.arange(parts) + 0.5) / parts - 0.5 for parts in np.ceil(np.array(self.spacing_mm) / SUB_VOXEL_MM)]
        columns = ct.lps_from_index[:3, :3]
        filled = np.zeros(points.shape[:3])
        for step in np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3):
            local = np.moveaxis(self.local(n, points + columns @ step), -1, 0)
            filled += self.shapes[n].signed_distance_mm(*local) > 0
        share = (filled / np.prod([len(s) for s in steps])).astype(np.float32)
        part = geometry.shifted(ct.lps_from_index, [s.start for s in box])
        return geometry.resample(share, part, lps_from_index, (shape[0], shape[1], shape[2]))

    def segmentation(
        self, *, smooth_mm: float = 0.6, touches: Sequence[int] = (), through_ct: bool = False
    ) -> Segmentation:
        """A faultless network's answer on the isotropic working grid.

        Args:
            smooth_mm: How softly its probability falls at the outline.
            touches: Bodies cut by the border.
            through_ct: Give the share of each voxel of the CT that a body fills: thick slices blur it.
        """
        low, high = self._box()
        shape = tuple(int(s) for s in np.ceil((high - low) / self.grid_mm))
        lps_from_index = geometry.scaling_affine([self.grid_mm] * 3, low)
        grid = _Grid(lps_from_index, shape)
        structure, instance = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        probability, cement = np.zeros(shape), np.zeros(shape)
        for n in range(len(self.shapes)):
            self._draw_around(n, grid, structure, instance)
        for n, body in enumerate(self.shapes):
            box, points = grid.near(self.frames[n][:3, 3], (27.0, 23.0, 21.0))
            if through_ct:
                part = geometry.shifted(lps_from_index, [s.start for s in box])
                p = self._filled(n, part, points.shape[:3])
            else:
                p = special.expit(body.signed_distance_mm(*np.moveaxis(self.local(n, points), -1, 0)) / smooth_mm)
            structure[box][p >= 0.5] = Structure.BODY
            instance[box][p >= 0.5] = n + 1
            probability[box] = np.maximum(probability[box], p)
        if self.sacrum:
            x, y, z = np.moveaxis(self.local(len(self.shapes) - 1, grid.near(None, None)[1]), -1, 0)
            below = z < -self.shapes[-1].posterior_mm / 2 - self.disc_mm
            structure[below & (np.abs(x) < 28) & (np.abs(y) < 18)] = Structure.SACRUM
        self._draw_balls(grid, cement, 1.0, smooth_mm)
        count = len(self.shapes)
        return Segmentation(
            lps_from_index=lps_from_index,
            structure=structure,
            instance=instance,
            body_probability=probability.astype(np.float16),
            cement_probability=cement.astype(np.float16),
            metal_probability=np.zeros(shape, np.float16),
            instance_confidence=(0.98,) * count,
            touches_border=tuple(n in touches for n in range(count)),
        )

    def _draw_around(
        self, n: int, grid: _Grid, structure: npt.NDArray[np.uint8], instance: npt.NDArray[np.uint8]
    ) -> None:
        """Arch, canal and ribs of one vertebra."""
        body = self.shapes[n]
        back = body.posterior_wall_y_mm
        box, points = grid.near(self.frames[n][:3, 3], (46.0, 56.0, 30.0))
        x, y, z = np.moveaxis(self.local(n, points), -1, 0)
        reach = np.abs(z) < (body.posterior_mm + self.disc_mm) / 2 + 2
        structure[box][reach & (np.abs(x) < 11) & (y > back) & (y < back + 16)] = Structure.CANAL
        parts = [(self.arch(x, y, z, body), Structure.POSTERIOR)]
        if n in self.ribs:
            rib = (np.abs(x) > 20) & (np.abs(x) < 44) & (np.abs(y - back) < 4) & (np.abs(z - 2) < 4)
            parts.append((rib, Structure.RIB))
        for part, kind in parts:
            structure[box][part], instance[box][part] = kind, n + 1
