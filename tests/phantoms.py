"""Analytic spines drawn straight onto grids: known heights, known cement, no acquisition model.

Bodies are `BodyShape`s on a curved line, with box arches, a canal, ribs and a sacrum; the CT grid is oblique and has
three different spacings, so that a swapped axis or a mirrored side cannot pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from vertecast import geometry
from vertecast.anatomy import Structure
from vertecast.images import Segmentation, Volume
from vertecast.results import HeightReference, NotMeasured, VertebraFinding
from vertecast.simulation.spine import BodyShape

Array = npt.NDArray[np.floating]

MARROW_HU, DISC_HU, CORTEX_HU, TISSUE_HU = 140.0, 90.0, 700.0, 40.0
CORTEX_MM = 0.7


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
    """Bodies on a line, cranial first. ``tilt_deg`` turns the whole column in the sagittal and coronal plane.

    ``axial_deg`` turns it about its own axis, ``curve_deg`` adds a sagittal angle from body to body. ``balls`` are
    cement spheres: (centre in the local frame of a body in mm, radius in mm, index of that body).
    """

    shapes: Sequence[BodyShape]
    tilt_deg: tuple[float, float] = (8.0, -5.0)
    axial_deg: float = 4.0
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
        pose = pose @ geometry.rotation([0, 0, 1], np.radians(self.axial_deg))
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

    def volume(self, seed: int = 0) -> Volume:
        """The CT on an oblique grid of unequal spacing: blur of kernel and voxel, white noise, 12-bit clip."""
        low, high = self._box()
        axes = geometry.rotation([1.0, 0.4, 0.2], np.radians(self.oblique_deg))
        spacing = np.array(self.spacing_mm)
        shape = tuple(int(s) for s in np.ceil((high - low) / spacing))
        columns = axes * spacing
        origin = (low + high) / 2 - columns @ ((np.array(shape) - 1) / 2)
        lps_from_index = geometry.affine(columns, origin)
        sigma = float(np.sqrt(self.blur_mm**2 + np.mean(spacing**2) / 12))
        grid = _Grid(lps_from_index, shape)
        hu = np.random.default_rng(seed).normal(0.0, self.noise_hu, shape)
        clean = np.full(shape, TISSUE_HU)
        for n in range(len(self.shapes)):
            self._draw_body(n, grid, clean, sigma)
        self._draw_balls(grid, clean, self.cement_hu, sigma)
        hu += clean
        clipped = np.clip(np.round(hu), -1024, 3071).astype(np.int16)
        return Volume(hu=clipped, lps_from_index=lps_from_index, frame_of_reference_uid="1.2.3")

    def segmentation(self, *, smooth_mm: float = 0.6, touches: Sequence[int] = ()) -> Segmentation:
        """A faultless network's answer on the isotropic working grid; ``touches`` lists bodies cut by the border."""
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


def vertebra_without_numbers(level: str) -> VertebraFinding:
    """A vertebra of a CT of which nothing could be measured."""
    missing = NotMeasured(reason="cut by the edge of the image")
    return VertebraFinding(
        series_instance_uid="1.2", level=level, level_confidence=0.0, level_source="unknown", complete=False,
        treated=False, center_lps_mm=(1.0, 2.0, 3.0), six_points_lps_mm=missing,
        heights={"anterior": missing, "middle": missing, "posterior": missing},
        ratios={"wedge": missing, "biconcave": missing, "crush": missing}, height_loss=missing,
        reference=HeightReference(method="none"), wedge_angle=missing, deformity=missing, genant_grade=missing,
        genant_grade_range=missing, volume=missing, density=missing, cleft=missing, canal_compromise=missing,
        retropulsion=missing, confidence=0.5,
    )  # fmt: skip
