"""Distances in a box are those on the whole grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from vertecast.measurement.ct.cement.distances import FAR_MM, box_around, depth_mm, distance_mm

SPACING = np.array([0.7, 0.9, 2.5])


def blobs(seed: int) -> np.ndarray:
    """Smooth random pieces, some of them at the border."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, (27, 22, 14)), 2.0)
    return np.asarray(field > np.quantile(field, 0.93))


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), reach=st.floats(0.1, 9.0))
def test_distances_within_reach_are_those_of_the_whole_grid(seed: int, reach: float) -> None:
    mask = blobs(seed)
    whole = ndimage.distance_transform_edt(~mask, sampling=SPACING)
    found = distance_mm(mask, SPACING, reach)
    np.testing.assert_array_equal(found[whole <= reach], whole[whole <= reach])
    assert (found[whole > reach] > reach).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_depths_are_those_of_the_whole_grid(seed: int) -> None:
    mask = blobs(seed)
    np.testing.assert_array_equal(depth_mm(mask, SPACING), ndimage.distance_transform_edt(mask, sampling=SPACING))


def test_an_empty_mask_is_far_from_everything() -> None:
    nothing = np.zeros((3, 4, 5), dtype=bool)
    assert (distance_mm(nothing, SPACING, 2.0) == FAR_MM).all()
    assert not depth_mm(nothing, SPACING).any()


def test_the_box_has_its_margin_along_each_axis() -> None:
    mask = np.zeros((30, 30, 30), dtype=bool)
    mask[10:12, 15, 3] = True
    assert box_around(mask, SPACING, 2.0) == (slice(7, 15), slice(12, 19), slice(2, 5))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_box_stays_on_the_grid(axis: int) -> None:
    mask = np.zeros((4, 5, 6), dtype=bool)
    mask[0, 0, 0] = True
    assert box_around(mask, SPACING, 50.0)[axis].start == 0
    assert mask[box_around(mask, SPACING, 50.0)].shape == mask.shape
