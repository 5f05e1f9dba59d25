"""Bringing a CT onto the network's grid, and running over it in tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertecast.core import geometry
from vertecast.core.images import Volume
from vertecast.segmentation.ct.grid import block_mean, inside_image, resampled, run_tiled, tiles


def _oblique_volume() -> Volume:
    """A linear ramp of HU in LPS on an oblique grid of unequal spacing, with an axis that runs backwards."""
    turn = geometry.rotation([0.3, 1.0, 0.2], 0.3)
    affine = geometry.affine(turn @ np.diag([0.7, -0.8, 2.0]), [-31.0, 40.0, 12.0])
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (90, 80, 40)), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(geometry.apply(affine, index), -1, 0)
    return Volume(hu=(2.0 * x - 3.0 * y + 1.5 * z).astype(np.float32), lps_from_index=affine)


@pytest.mark.parametrize("spacing_mm", [1.5, 4.0])
def test_a_ramp_keeps_its_place(spacing_mm: float) -> None:
    volume = _oblique_volume()
    grid, shape = geometry.aligned_grid(volume.lps_from_index, volume.shape, spacing_mm)
    found = resampled(volume, grid, shape)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(geometry.apply(grid, index), -1, 0)
    interior = inside_image(volume, grid, shape)
    for _ in range(2):
        interior[1:-1, 1:-1, 1:-1] &= interior[2:, 1:-1, 1:-1] & interior[:-2, 1:-1, 1:-1]
        interior[1:-1, 1:-1, 1:-1] &= interior[1:-1, 2:, 1:-1] & interior[1:-1, :-2, 1:-1]
        interior[1:-1, 1:-1, 1:-1] &= interior[1:-1, 1:-1, 2:] & interior[1:-1, 1:-1, :-2]
    interior[[0, -1]] = interior[:, [0, -1]] = interior[:, :, [0, -1]] = False
    assert interior.sum() > 100
    np.testing.assert_allclose(found[interior], (2.0 * x - 3.0 * y + 1.5 * z)[interior], atol=0.05)


@pytest.mark.parametrize("margin_mm", [0.5, 3.0])
def test_the_margin_is_a_voxel_of_the_image_and_so_many_millimetres(margin_mm: float) -> None:
    volume = _oblique_volume()
    grid, shape = geometry.aligned_grid(volume.lps_from_index, volume.shape, 1.5)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    place = geometry.apply(geometry.inverse(volume.lps_from_index) @ grid, index)
    spacing_mm = geometry.spacing_mm(volume.lps_from_index)
    from_face_mm = np.minimum(place, np.array(volume.shape) - 1 - place) * spacing_mm
    far = (from_face_mm >= spacing_mm + margin_mm).all(axis=-1)
    found = inside_image(volume, grid, shape, margin_mm=margin_mm)
    undecided = (np.abs(from_face_mm - spacing_mm - margin_mm) < 0.05).any(axis=-1)
    assert far.any()
    np.testing.assert_array_equal(found[~undecided], far[~undecided])


@given(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)), st.tuples(*[st.integers(1, 3)] * 3))
@settings(max_examples=40, deadline=None)
def test_block_means_are_means_of_blocks(shape: tuple[int, int, int], factor: tuple[int, int, int]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    found = block_mean(array, factor)
    for index in np.ndindex(found.shape):
        block = array[tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factor, strict=True))]
        assert found[index] == pytest.approx(block.mean(), rel=1e-5)


@given(st.tuples(*[st.integers(5, 70)] * 3))
@settings(max_examples=40, deadline=None)
def test_tiles_cover_everything(shape: tuple[int, int, int]) -> None:
    size = (min(shape[0], 32), min(shape[1], 24), min(shape[2], 16))
    seen = np.zeros(shape, dtype=bool)
    for box in tiles(shape, size, 8):
        assert all(s.stop <= n for s, n in zip(box, shape, strict=True))
        seen[box] = True
    assert seen.all()


def test_blended_tiles_give_what_a_local_network_says() -> None:
    rng = np.random.default_rng(3)
    hu = rng.normal(0, 100, (50, 37, 61)).astype(np.float32)

    def network(tile: np.ndarray) -> np.ndarray:
        return np.stack([tile * 2, tile + 1])

    found = run_tiled(network, hu, channels=2, largest=32, overlap=8, stride=16)
    assert found.shape == (2, *hu.shape)
    np.testing.assert_allclose(found, np.stack([hu * 2, hu + 1]), rtol=1e-3, atol=1e-2)


def test_tiles_share_the_grid_evenly() -> None:
    """A grid a little longer than a tile is cut into two halves, not into two tiles that overlap nearly wholly."""
    shapes = []

    def network(tile: np.ndarray) -> np.ndarray:
        shapes.append(tile.shape)
        return tile[None]

    run_tiled(network, np.zeros((36, 20, 70), dtype=np.float32), channels=1, largest=32, overlap=4, stride=8)
    assert set(shapes) == {(24, 24, 32)}
    assert len(shapes) == 2 * 1 * 3


def test_unwanted_tiles_stay_zero() -> None:
    wanted = np.zeros((64, 32, 32), dtype=bool)
    wanted[:10] = True
    found = run_tiled(
        lambda tile: np.ones((1, *tile.shape), dtype=np.float32),
        np.zeros(wanted.shape, dtype=np.float32),
        channels=1,
        largest=32,
        overlap=8,
        stride=16,
        wanted=wanted,
    )
    assert found[0, :10].min() == pytest.approx(1.0, abs=1e-3)
    assert found[0, -10:].max() == 0
