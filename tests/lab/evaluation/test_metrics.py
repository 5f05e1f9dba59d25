from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vertecast.lab.evaluation import metrics

LABELS = hnp.arrays(np.uint8, (4, 5, 6), elements=st.sampled_from([0, 20, 21, 22, 26, 41, 120, 200, 201, 210]))
TABLES = hnp.arrays(np.int64, (4, 4), elements=st.integers(0, 30))


@given(LABELS, LABELS)
def test_counts_give_the_same_dice_as_the_masks(truth: np.ndarray, found: np.ndarray) -> None:
    counts = metrics.overlap_counts(truth, found)
    for a, b in ((20, 21), (200, 200)):
        size = (truth == a).sum() + (found == b).sum()
        expected = 2 * ((truth == a) & (found == b)).sum() / size if size else np.nan
        np.testing.assert_allclose(metrics.dice(counts, a, b), expected)
    cement = np.isin(truth, metrics.CEMENT), np.isin(found, metrics.CEMENT)
    size = cement[0].sum() + cement[1].sum()
    expected = 2 * (cement[0] & cement[1]).sum() / size if size else np.nan
    np.testing.assert_allclose(metrics.dice(counts, metrics.CEMENT, metrics.CEMENT), expected)


def test_maps_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="no voxels in common"):
        metrics.overlap_counts(np.zeros((2, 3, 4), np.uint8), np.zeros((2, 4, 3), np.uint8))


@given(LABELS)
def test_a_map_matches_itself_and_body_dice_is_one(labels: np.ndarray) -> None:
    counts = metrics.overlap_counts(labels, labels)
    bodies = set(np.unique(labels)) & {20, 21, 22, 41}
    assert metrics.match_bodies(counts) == {number: number for number in bodies}
    assert metrics.body_dice(counts) == 1 if bodies else np.isnan(metrics.body_dice(counts))


def test_matching_goes_by_place_and_not_by_number() -> None:
    truth, found = np.zeros((6, 7, 40), np.uint8), np.zeros((6, 7, 40), np.uint8)
    for n, number in enumerate((24, 23, 22)):
        truth[1:5, 1:6, 12 * n : 12 * n + 10] = number
        found[1:5, 1:6, 12 * n + 1 : 12 * n + 10] = number - 1
    assert metrics.match_bodies(metrics.overlap_counts(truth, found)) == {24: 23, 23: 22, 22: 21}


def test_one_found_body_over_two_true_ones_matches_the_one_it_covers_better() -> None:
    truth, found = np.zeros((6, 7, 24), np.uint8), np.zeros((6, 7, 24), np.uint8)
    truth[:, :, :10], truth[:, :, 12:] = 24, 23
    found[:, :, 4:] = 23
    assert metrics.match_bodies(metrics.overlap_counts(truth, found)) == {23: 23}


def test_a_brush_with_the_neighbour_is_no_match() -> None:
    truth, found = np.zeros((6, 7, 24), np.uint8), np.zeros((6, 7, 24), np.uint8)
    truth[:, :, :12], found[:, :, 11:] = 24, 24
    assert metrics.match_bodies(metrics.overlap_counts(truth, found)) == {}


def test_the_sliver_of_a_cut_body_is_a_match() -> None:
    truth, found = np.zeros((6, 7, 24), np.uint8), np.zeros((6, 7, 24), np.uint8)
    truth[:, :, :1], found[:, :, :3] = 24, 24
    assert metrics.match_bodies(metrics.overlap_counts(truth, found)) == {24: 24}


def test_cement_inside_goes_to_the_nearest_body_in_millimetres() -> None:
    labels = np.zeros((3, 9, 12), np.uint8)
    labels[1, 4, 5], labels[1, 3, 5] = 200, 201
    assert not metrics.body_map(labels, (1, 1, 1)).any()  # no body near: nobody's cement
    labels[1, 2, 5], labels[1, 4, 8] = 21, 22
    assert metrics.body_map(labels, (9.0, 2.0, 1.0))[1, 4, 5] == 22
    assert metrics.body_map(labels, (9.0, 1.0, 2.0))[1, 4, 5] == 21
    assert metrics.body_map(labels, (9.0, 1.0, 2.0))[1, 3, 5] == 0


def test_sacrum_posterior_elements_and_metal_are_no_body() -> None:
    labels = np.array([26, 120, 210, 27, 141, 28, 41]).reshape(7, 1, 1).astype(np.uint8)
    assert metrics.body_map(labels, (1, 2, 3)).ravel().tolist() == [0, 0, 0, 0, 0, 28, 41]


@given(TABLES)
def test_kappa_follows_its_definition(table: np.ndarray) -> None:
    pairs = [(i, j) for i in range(4) for j in range(4) for _ in range(table[i, j])]
    assert np.array_equal(metrics.confusion(*zip(*pairs, strict=True), 4) if pairs else table, table)
    value = metrics.weighted_kappa(table)
    truth, found = (np.array([pair[n] for pair in pairs], dtype=float) for n in (0, 1))
    by_chance = ((truth[:, None] - found[None, :]) ** 2).mean() if pairs else 0.0
    if by_chance == 0:
        assert np.isnan(value)
    else:
        np.testing.assert_allclose(value, 1 - ((truth - found) ** 2).mean() / by_chance, atol=1e-12)


def test_kappa_of_a_published_table() -> None:
    # Cohen 1968 by hand: a 3 x 3 table with one neighbouring and one far error.
    table = np.array([[4, 1, 0], [0, 3, 0], [1, 0, 3]])
    observed = (1 + 4) / 12
    expected = sum((i - j) ** 2 * table.sum(axis=1)[i] * table.sum(axis=0)[j] for i in range(3) for j in range(3)) / 144
    assert metrics.weighted_kappa(table) == pytest.approx(1 - observed / expected)
    assert metrics.weighted_kappa(np.diag([3, 2, 1])) == 1
    assert np.isnan(metrics.weighted_kappa(np.diag([5, 0, 0])))


def test_distances_pair_as_many_as_possible_before_as_near_as_possible() -> None:
    # The nearest partner of both rows is the first column; taking it for row 0 would leave row 1 alone.
    assert metrics.match_distances(np.array([[1.0, 4.0], [2.0, 9.0]]), 5.0) == [(0, 1), (1, 0)]
    assert metrics.match_distances(np.array([[1.0, 4.0], [6.0, np.inf]]), 5.0) == [(0, 0)]
    assert metrics.match_distances(np.empty((0, 3)), 5.0) == []
    assert metrics.match_distances(np.empty((2, 0)), 5.0) == []


@given(hnp.arrays(bool, (4, 5, 6)), st.integers(0, 2))
def test_the_box_holds_every_voxel_and_no_empty_border(occupied: np.ndarray, margin: int) -> None:
    box = metrics.bounding_box(occupied, margin=margin)
    if box is None:
        assert not occupied.any()
        return
    assert occupied[box].sum() == occupied.sum()
    tight = metrics.bounding_box(occupied)
    assert tight is not None
    assert all(np.moveaxis(occupied[tight], axis, 0)[end].any() for axis in range(3) for end in (0, -1))
