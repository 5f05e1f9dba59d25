from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertecast.core import geometry
from vertecast.lab.simulation.ct.acquisition import ScannerSettings, acquire, metal_hu, metal_streaks, sample_settings
from vertecast.lab.simulation.ct.streaks import WATER_MEAN, Scanner, polychromatic_error_hu

QUIET = ScannerSettings(
    pixel_mm=1.3, matrix=80, slice_thickness_mm=2.0, slice_spacing_mm=1.6, noise_hu=0, beam_hardening=0
)
GRID = geometry.scaling_affine([1.5, 1.5, 1.5], [-40.0, -60.0, 100.0])
SHAPE = (56, 64, 40)


def lps_of(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return geometry.apply(affine, np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1))


def ball(center_mm: tuple[float, float, float], radius_mm: float = 8.0, hu: float = 900.0) -> np.ndarray:
    distance = np.linalg.norm(lps_of(GRID, SHAPE) - center_mm, axis=-1)
    return (-1000 + (hu + 1000) * np.clip(0.5 + (radius_mm - distance) / 1.5, 0, 1)).astype(np.float32)


def cylinder(shape: tuple[int, int, int], radius_mm: float, spacing_mm: float, hu: float = 0.0) -> np.ndarray:
    i, j = (np.arange(n) - (n - 1) / 2 for n in shape[:2])
    inside = np.hypot(i[:, None], j[None, :]) * spacing_mm < radius_mm
    return np.repeat(np.where(inside, hu, -1000.0)[:, :, None], shape[2], axis=2).astype(np.float32)


@settings(max_examples=8, deadline=None)
@given(
    center=st.tuples(st.floats(-12, 15), st.floats(-25, 0), st.floats(120, 138)),
    tilt_deg=st.sampled_from([0.0, 0.0, -15.0, 20.0]),
    thickness_mm=st.floats(0.7, 4.0),
    offset=st.tuples(st.floats(-6, 6), st.floats(-6, 6)),
)
def test_an_object_keeps_its_place_and_its_mass(
    center: tuple[float, float, float], tilt_deg: float, thickness_mm: float, offset: tuple[float, float]
) -> None:
    scan_settings = replace(QUIET, tilt_deg=tilt_deg, slice_thickness_mm=thickness_mm, center_offset_mm=offset)
    hu = ball(center)
    volume = acquire(hu, GRID, np.random.default_rng(0), settings=scan_settings)
    assert volume.hu.dtype == np.int16
    mass = volume.hu.astype(np.float64) + 1000
    where = lps_of(volume.lps_from_index, volume.shape)
    found = (where * mass[..., None]).sum(axis=(0, 1, 2)) / mass.sum()
    assert found == pytest.approx(center, abs=0.3)
    total = mass.sum() * geometry.voxel_volume_mm3(volume.lps_from_index)
    assert total == pytest.approx((hu.astype(np.float64) + 1000).sum() * 1.5**3, rel=0.02)


def test_the_grid_follows_the_settings() -> None:
    scan_settings = replace(QUIET, z_range_mm=(110.0, 130.0), tilt_deg=10.0)
    volume = acquire(ball((0, -20, 120)), GRID, np.random.default_rng(0), settings=scan_settings)
    assert volume.shape == (80, 80, 13)
    assert volume.spacing_mm == pytest.approx([1.3, 1.3, 1.6])
    assert not geometry.is_orthogonal(volume.lps_from_index)
    assert geometry.angle_deg(volume.lps_from_index[:3, 1], [0, 1, 0]) == pytest.approx(10.0)


def test_twelve_bit_clipping_and_padding() -> None:
    hu = ball((0, -15, 130), hu=9000.0)
    clipped = acquire(hu, GRID, np.random.default_rng(0), settings=replace(QUIET, round_field=True))
    free = acquire(hu, GRID, np.random.default_rng(0), settings=replace(QUIET, clip_12_bit=False))
    assert clipped.hu.max() == 3071
    assert free.hu.max() > 8000
    assert clipped.outside_hu == -2000
    assert (clipped.hu[0, 0] == -2000).all()
    assert free.outside_hu is None
    assert free.hu.min() >= -1024


def noise_of(scan_settings: ScannerSettings, radius_mm: float = 100.0) -> np.ndarray:
    grid = geometry.scaling_affine([2.0, 2.0, 2.0], [0, 0, 0])
    hu = cylinder((120, 110, 8), radius_mm, 2.0, hu=40.0)
    volume = acquire(hu, grid, np.random.default_rng(1), settings=scan_settings)
    return volume.hu[44:76, 44:76] - 40.0


def test_noise_has_the_level_asked_for_and_grows_with_thinner_slices_sharper_kernels_and_bigger_bodies() -> None:
    base = ScannerSettings(
        pixel_mm=1.9, matrix=120, slice_thickness_mm=3.0, slice_spacing_mm=3.0, noise_hu=20.0, beam_hardening=0
    )
    normal = noise_of(base).std()
    expected = 20.0 * np.exp(0.0095 * (200 - 300))
    assert normal == pytest.approx(expected, rel=0.25)
    assert noise_of(replace(base, slice_thickness_mm=1.0)).std() == pytest.approx(np.sqrt(3) * normal, rel=0.1)
    assert noise_of(replace(base, kernel="sharp")).std() > 1.8 * normal
    assert noise_of(base, radius_mm=70.0).std() < 0.8 * normal


def test_noise_is_correlated_as_back_projection_makes_it() -> None:
    base = ScannerSettings(pixel_mm=0.5, matrix=128, slice_thickness_mm=3.0, slice_spacing_mm=3.0, beam_hardening=0)
    noise = noise_of(base)[:, :, 1].astype(np.float64)
    neighbours = np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]
    assert 0.2 < neighbours < 0.95


def test_a_sharp_kernel_overshoots_at_an_edge_and_a_smooth_one_does_not() -> None:
    hu = ball((0, -15, 130), radius_mm=14.0, hu=500.0)
    fine = replace(QUIET, pixel_mm=0.6, matrix=160)
    peak = {
        kernel: acquire(hu, GRID, np.random.default_rng(0), settings=replace(fine, kernel=kernel)).hu.max()
        for kernel in ("smooth", "sharp")
    }
    edge_hu = 1500
    assert peak["smooth"] < 500 + 0.05 * edge_hu
    assert peak["sharp"] > 500 + 0.1 * edge_hu


def test_the_first_and_the_last_slice_are_as_bright_as_the_others() -> None:
    hu = cylinder(SHAPE, 30.0, 1.5, hu=300.0)
    middle = acquire(hu, GRID, np.random.default_rng(0), settings=QUIET).hu[38:42, 38:42]
    assert np.abs(middle.astype(int) - 300).max() <= 2


def test_motion_blurs_some_slices_only() -> None:
    hu = cylinder(SHAPE, 20.0, 1.5, hu=300.0)
    still = acquire(hu, GRID, np.random.default_rng(0), settings=QUIET).hu.astype(int)
    moved = acquire(hu, GRID, np.random.default_rng(0), settings=replace(QUIET, motion_mm=4.0)).hu.astype(int)
    changed = np.abs(moved - still).max(axis=(0, 1)) > 20
    assert changed.any()
    assert not changed.all()


def test_the_same_seed_gives_the_same_scan() -> None:
    noisy = replace(QUIET, noise_hu=20.0)
    first, second = (acquire(ball((0, -15, 130)), GRID, np.random.default_rng(4), settings=noisy).hu for _ in range(2))
    assert np.array_equal(first, second)


@given(seed=st.integers(0, 10**6))
def test_drawn_settings_are_within_what_hospitals_send(seed: int) -> None:
    drawn = sample_settings(np.random.default_rng(seed))
    assert 0.3 <= drawn.pixel_mm <= 1.0
    assert 0.5 <= drawn.slice_spacing_mm <= drawn.slice_thickness_mm <= 5.0
    assert abs(drawn.tilt_deg) <= 20


def test_projection_and_reconstruction_give_the_object_back() -> None:
    water = cylinder((90, 90, 1), 60.0, 2.0, hu=0.0)[:, :, 0] / 1000 + 1
    scanner = Scanner.for_slices(90, 2.0)
    sinogram = np.asarray(scanner.project @ (water.reshape(-1, 1) * WATER_MEAN), dtype=np.float32)
    image = scanner.reconstruct(sinogram).reshape(90, 90) / WATER_MEAN
    assert image[30:60, 30:60].mean() == pytest.approx(1.0, abs=0.02)
    assert abs(image[2:8, 2:8].mean()) < 0.05


def test_water_is_corrected_but_bone_hardens_the_beam() -> None:
    water = cylinder((80, 72, 2), 75.0, 2.0)
    rng = np.random.default_rng(0)
    nothing = np.zeros_like(water)
    assert np.abs(polychromatic_error_hu(water, nothing, rng, spacing_mm=2.0)).max() < 3
    bones = water.copy()
    bones[18:26, 32:40] = bones[54:62, 32:40] = 1500.0
    error = polychromatic_error_hu(bones, nothing, rng, spacing_mm=2.0)
    assert error[38:42, 34:38].mean() < -8


def test_metal_darkens_what_lies_between_and_leaves_other_slices_alone() -> None:
    water = cylinder((80, 72, 5), 75.0, 2.0)
    metal = np.zeros_like(water)
    metal[24:28, 34:38, 2] = metal[52:56, 34:38, 2] = 1.0
    result = metal_streaks(water, metal, np.random.default_rng(0), spacing_mm=2.0, material="steel", photons=5e4)
    assert np.array_equal(result[:, :, [0, 1, 3, 4]], water[:, :, [0, 1, 3, 4]])
    assert result[36:44, 35:37, 2].mean() < -100
    assert result[24:28, 34:38, 2].mean() > 0.3 * metal_hu("steel")
    assert metal_hu("steel") > metal_hu("titanium") > 3071
    fewer = metal_streaks(water, metal, np.random.default_rng(0), spacing_mm=2.0, material="steel", photons=2e3)
    soft = (water[:, :, 2] > -500) & (metal[:, :, 2] == 0)
    assert fewer[:, :, 2][soft].std() > result[:, :, 2][soft].std()
