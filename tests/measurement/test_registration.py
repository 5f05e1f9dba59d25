"""Vertebrae laid over each other by their posterior elements, and their cement followed."""

from __future__ import annotations

import numpy as np
import pytest

from vertecast.core import geometry
from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, POSTERIOR_LABEL_OFFSET, Level, Structure
from vertecast.core.images import Mask
from vertecast.core.results import NotMeasured, Quantity
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.tissue import draw
from vertecast.measurement.change.cement import follow_cement
from vertecast.measurement.change.registration import Alignment, align_vertebra

L1, L2 = int(Level.L1), int(Level.L2)
MOTION = geometry.affine(geometry.rotation([0.4, 1.0, -0.3], np.radians(14)), [35.0, -22.0, 310.0])


@pytest.fixture(scope="module")
def earlier() -> Mask:
    """L1 and L2 of a simulated patient: bodies and posterior elements."""
    rng = np.random.default_rng(8)
    spine = sample_spine(rng, fracture_rate=0.0)
    upper = next(v for v in spine.vertebrae if v.level is Level.L1)
    shape = (96, 100, 90)
    center = upper.lps_from_local[:3, 3] + [0, 15, -15]
    phantom = draw(spine, geometry.scaling_affine([1.0] * 3, center - (np.array(shape) - 1) / 2), shape, rng)
    numbers = np.array([0, *(int(v.level) for v in spine.vertebrae)])[phantom.instance]
    labels = np.where(np.isin(phantom.structure, (Structure.BODY, Structure.POSTERIOR)), numbers, 0)
    labels[(labels > 0) & (phantom.structure == Structure.POSTERIOR)] += POSTERIOR_LABEL_OFFSET
    labels[~np.isin(labels % POSTERIOR_LABEL_OFFSET, (L1, L2))] = 0
    return Mask(labels=labels.astype(np.uint8), lps_from_index=phantom.lps_from_index)


def moved(mask: Mask) -> Mask:
    """The same after `MOTION`, on a grid of unequal spacing along LPS."""
    source = MOTION @ mask.lps_from_index
    corners = geometry.corner_points_lps_mm(source, mask.labels.shape)
    spacing, low = np.array([0.9, 0.8, 1.5]), corners.min(axis=0)
    i, j, k = (np.ceil((corners.max(axis=0) - low) / spacing).astype(int) + 1).tolist()
    grid = geometry.scaling_affine(spacing, low)
    labels = geometry.resample(mask.labels, source, grid, (i, j, k), order=0)
    return Mask(labels=labels.astype(np.uint8), lps_from_index=grid)


def guess(degrees: float = 7.0) -> geometry.FloatArray:
    """The right rotation, but for some degrees; where it lies is not told."""
    off = geometry.rotation([1.0, -0.5, 0.7], np.radians(degrees))
    return geometry.affine(off @ MOTION[:3, :3], [0.0, 0.0, 0.0])


def errors_mm(mask: Mask, number: int, alignment: Alignment) -> geometry.FloatArray:
    """How far every voxel of a body comes to lie from where it belongs."""
    points = geometry.apply(mask.lps_from_index, np.argwhere(mask.labels == number))
    wrong = geometry.apply(alignment.later_from_earlier, points) - geometry.apply(MOTION, points)
    return np.asarray(np.linalg.norm(wrong, axis=1))


@pytest.mark.parametrize("number", [L1, L2])
def test_a_vertebra_is_found_where_it_went(earlier: Mask, number: int) -> None:
    alignment = align_vertebra(earlier, moved(earlier), (number, number), guess())
    assert isinstance(alignment, Alignment)
    assert errors_mm(earlier, number, alignment).max() < 0.5
    assert alignment.error_mm < 0.5
    turn = alignment.later_from_earlier[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)


def test_a_body_that_collapsed_does_not_pull(earlier: Mask) -> None:
    later = moved(earlier)
    labels = np.array(later.labels)
    upper = np.argwhere(labels == L1)
    labels[..., int(np.percentile(upper[:, 2], 50)) :][labels[..., int(np.percentile(upper[:, 2], 50)) :] == L1] = 0
    alignment = align_vertebra(earlier, Mask(labels=labels, lps_from_index=later.lps_from_index), (L1, L1), guess())
    assert isinstance(alignment, Alignment)
    assert errors_mm(earlier, L1, alignment).max() < 0.5


def test_half_an_arch_is_refused(earlier: Mask) -> None:
    labels = np.array(earlier.labels)
    arch = np.argwhere(labels == L1 + POSTERIOR_LABEL_OFFSET)
    back = int(np.percentile(arch[:, 1], 40))
    labels[:, back:][labels[:, back:] == L1 + POSTERIOR_LABEL_OFFSET] = 0
    cut = Mask(labels=labels, lps_from_index=earlier.lps_from_index)
    assert isinstance(align_vertebra(cut, moved(earlier), (L1, L1), guess()), NotMeasured)
    labels[labels == L1 + POSTERIOR_LABEL_OFFSET] = 0
    gone = Mask(labels=labels, lps_from_index=earlier.lps_from_index)
    found = align_vertebra(gone, moved(earlier), (L1, L1), guess())
    assert found == NotMeasured(reason="too little of the posterior elements in the earlier study")


def with_cement(mask: Mask, shift: tuple[int, int, int] = (0, 0, 0)) -> Mask:
    """A block of cement of 10 x 12 x 8 mm in L1, off its middle."""
    labels = np.array(mask.labels)
    start = np.argwhere(labels == L1).mean(axis=0).astype(int) + np.array([3, -8, -4]) + shift
    labels[tuple(slice(a, a + n) for a, n in zip(start, (10, 12, 8), strict=True))] = CEMENT_INSIDE_LABEL
    return Mask(labels=labels, lps_from_index=mask.lps_from_index)


def test_cement_that_moved_is_followed(earlier: Mask) -> None:
    alignment = Alignment(later_from_earlier=MOTION, error_mm=0.2)
    first = with_cement(earlier)
    still = follow_cement(first, moved(first), (L1, L1), alignment, was_treated=True).shift
    assert isinstance(still, Quantity)
    assert still.value < 0.3
    gone = follow_cement(first, moved(with_cement(earlier, (2, -3, 0))), (L1, L1), alignment, was_treated=True).shift
    assert isinstance(gone, Quantity)
    assert gone.value == pytest.approx(np.sqrt(13), abs=0.3)
    assert follow_cement(earlier, moved(earlier), (L1, L1), alignment, was_treated=True).shift is None


def test_cement_outside_the_body_as_it_was(earlier: Mask) -> None:
    alignment = Alignment(later_from_earlier=MOTION, error_mm=0.2)
    inside = follow_cement(earlier, moved(with_cement(earlier)), (L1, L1), alignment, was_treated=False).beyond_earlier
    assert isinstance(inside, Quantity)
    assert inside.value == pytest.approx(0.0, abs=0.01)
    collapsed = np.array(earlier.labels)
    cement = np.argwhere(with_cement(earlier).labels == CEMENT_INSIDE_LABEL)
    middle = int(cement[:, 2].min()) + 4
    collapsed[:, :, middle:][collapsed[:, :, middle:] == L1] = 0
    lower = Mask(labels=collapsed, lps_from_index=earlier.lps_from_index)
    beyond = follow_cement(lower, moved(with_cement(earlier)), (L1, L1), alignment, was_treated=False).beyond_earlier
    assert isinstance(beyond, Quantity)
    assert beyond.interval95 is not None
    assert beyond.value == pytest.approx(10 * 12 * 4 / 1000, rel=0.15)
    assert beyond.interval95[0] <= beyond.value <= beyond.interval95[1]


def test_cement_of_a_neighbour_is_not_this_bodys_earlier_cement(earlier: Mask) -> None:
    alignment = Alignment(later_from_earlier=MOTION, error_mm=0.2)
    motion = follow_cement(with_cement(earlier), moved(with_cement(earlier)), (L1, L1), alignment, was_treated=False)
    assert motion.shift is None
    assert isinstance(motion.beyond_earlier, Quantity)
