"""Votes to vertebrae: touching, crushed, unequal bodies are told apart, what stands beside the column is dropped."""

from __future__ import annotations

import numpy as np
import pytest

from vertecast.core.anatomy import Structure
from vertecast.segmentation.ct.instances import column, enclosed, separate

SPACING_MM = 1.5


def _spine(heights: list[int], gap: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bodies of unequal size stacked along axis 2, with votes that miss by ``noise`` voxels."""
    rng = np.random.default_rng(seed)
    structure = np.zeros((40, 36, sum(heights) + gap * len(heights) + 8), dtype=np.uint8)
    offset = np.zeros((3, *structure.shape), dtype=np.float32)
    top = structure.shape[2] - 4
    for height in heights:
        box = (slice(9, 33), slice(8, 26), slice(top - height, top))
        structure[box] = Structure.BODY
        center = np.array([20.5, 16.5, top - height / 2 - 0.5])
        index = np.indices(structure.shape)[(slice(None), *box)]
        error = rng.normal(0, noise, index.shape)
        offset[(slice(None), *box)] = (center[:, None, None, None] - index + error) * SPACING_MM
        top -= height + gap
    return structure, offset


@pytest.mark.parametrize("gap", [0, 2])
def test_touching_and_crushed_bodies_are_told_apart(gap: int) -> None:
    heights = [14, 7, 16, 18]
    structure, offset = _spine(heights, gap, noise=1.2)
    found = separate(structure, offset, SPACING_MM)
    assert len(found.centers_index) == len(heights)
    sizes = np.bincount(found.labels.ravel())[1:]
    np.testing.assert_allclose(sizes, np.array(heights) * 24 * 18, rtol=0.06)
    assert np.all(np.diff(found.centers_index[:, 2]) < 0), "numbered from cranial to caudal"


def test_posterior_elements_follow_their_votes() -> None:
    structure, offset = _spine([16, 16], 2, noise=0.5)
    structure[18:23, 28:34, 10:14] = Structure.POSTERIOR
    index = np.indices(structure.shape)[:, 18:23, 28:34, 10:14]
    upper = np.array([20.5, 16.5, structure.shape[2] - 4 - 8.5])
    offset[:, 18:23, 28:34, 10:14] = (upper[:, None, None, None] - index) * SPACING_MM
    found = separate(structure, offset, SPACING_MM)
    assert set(np.unique(found.labels[18:23, 28:34, 10:14])) == {1}, "the vote counts, not the nearest body"


def test_what_stands_beside_the_column_is_no_vertebra() -> None:
    centers = np.array([[0, 0, 160], [2, 0, 125], [88, -30, 95], [0, 4, 90], [-85, -30, 88], [3, 10, 58]], dtype=float)
    sizes = np.array([900, 950, 1200, 1000, 1100, 1050], dtype=float)
    assert column(centers, sizes) == [0, 1, 3, 5]


def test_an_empty_image_has_no_vertebra() -> None:
    structure = np.zeros((20, 20, 20), dtype=np.uint8)
    found = separate(structure, np.zeros((3, 20, 20, 20), dtype=np.float32), SPACING_MM)
    assert len(found.centers_index) == 0
    assert not found.labels.any()


def test_a_cavity_belongs_to_the_body_round_it_and_a_notch_does_not() -> None:
    structure = np.zeros((12, 14, 16), np.uint8)
    structure[2:10, 2:11, 3:12] = Structure.BODY
    structure[4:6, 5:8, 6:9] = Structure.BACKGROUND
    structure[6, 5, 7] = Structure.DISC
    structure[7:9, 8:, 6:8] = Structure.CANAL
    expected = np.zeros(structure.shape, bool)
    expected[4:6, 5:8, 6:9] = True
    expected[6, 5, 7] = True
    assert np.array_equal(enclosed(structure), expected)


@pytest.mark.parametrize("margin", [0, 3])
def test_a_hole_that_opens_at_the_edge_of_the_image_is_enclosed_where_the_body_goes_round_it(margin: int) -> None:
    """A body cut by the upper edge, hollow up to it; beside it a body with a notch in front, which is no hole."""
    structure = np.zeros((40, 30, 20 + margin), dtype=np.uint8)
    outside = np.zeros(structure.shape, dtype=bool)
    outside[:, :, 20:] = True
    structure[4:16, 5:20, 8:20] = Structure.BODY
    structure[8:12, 9:15, 11:20] = Structure.DISC
    structure[24:36, 5:20, 8:20] = Structure.BODY
    structure[28:32, 5:15, 11:20] = Structure.DISC
    expected = np.zeros(structure.shape, dtype=bool)
    expected[8:12, 9:15, 11:20] = True
    assert np.array_equal(enclosed(structure, outside), expected)
    assert not enclosed(structure).any()
