from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertecast.core import geometry
from vertecast.lab.evaluation.maps.surfaces import compare, diagonal_mm

SPACING_MM = (0.8, 1.7, 2.5)
STRAIGHT = geometry.scaling_affine(SPACING_MM, [3.0, -40.0, 7.0])
OBLIQUE = geometry.affine(geometry.rotation([1, 0.3, 0.2], 0.4) * np.array(SPACING_MM), [120.0, -31.0, 900.0])


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two ragged solids with unequal sides that overlap in part."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        mask = np.zeros((14, 17, 11), bool)
        first = rng.integers(0, 5, 3)
        last = first + rng.integers(3, 9, 3)
        mask[tuple(slice(a, b) for a, b in zip(first, last, strict=True))] = True
        masks.append(mask & (rng.random(mask.shape) > 0.1))
    return masks[0], masks[1]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 2.5, 4.0]))
def test_surface_scores_agree_with_monai(seed: int, tolerance_mm: float) -> None:
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    truth, found = blobs(seed)
    ours = compare(truth, found, OBLIQUE, tolerance_mm=tolerance_mm)
    assert ours is not None
    theirs = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (found, truth)]
    options = {"include_background": True, "spacing": SPACING_MM}
    expected = (
        compute_dice(*theirs, include_background=True),
        compute_surface_dice(*theirs, class_thresholds=[tolerance_mm + 1e-5], **options),
        compute_average_surface_distance(*theirs, symmetric=True, **options),
        compute_hausdorff_distance(*theirs, percentile=95, **options),
    )
    for own, other in zip((ours.dice, ours.nsd, ours.assd_mm, ours.hd95_mm), expected, strict=True):
        assert own == pytest.approx(float(other), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_distances_and_dice_agree_with_simpleitk(seed: int) -> None:
    import SimpleITK
    from scipy import ndimage

    truth, found = blobs(seed)
    ours = compare(truth, found, STRAIGHT)
    assert ours is not None
    images, surfaces = [], []
    for mask in (truth, found):
        for values, into in ((mask, images), (mask & ~ndimage.binary_erosion(mask), surfaces)):
            image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0).astype(np.uint8))
            image.SetSpacing(SPACING_MM)
            into.append(image)
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    assert ours.dice == pytest.approx(overlap.GetDiceCoefficient(), abs=1e-6)
    maps = [
        SimpleITK.SignedMaurerDistanceMap(s, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
        for s in surfaces
    ]
    between = [
        np.abs(SimpleITK.GetArrayFromImage(distance))[SimpleITK.GetArrayFromImage(surface) > 0]
        for distance, surface in ((maps[1], surfaces[0]), (maps[0], surfaces[1]))
    ]
    assert ours.assd_mm == pytest.approx(float(np.concatenate(between).mean()), rel=1e-5)
    assert ours.hd95_mm == pytest.approx(max(float(np.percentile(d, 95)) for d in between), rel=1e-5)


def test_a_shift_by_one_slice_worked_by_hand() -> None:
    # Slabs one voxel thick, two slices of 2.5 mm apart: every distance is 5 mm, nothing overlaps.
    truth, found = np.zeros((4, 5, 6), bool), np.zeros((4, 5, 6), bool)
    truth[:, :, 1], found[:, :, 3] = True, True
    ours = compare(truth, found, OBLIQUE, tolerance_mm=4.9)
    assert ours is not None
    assert (ours.dice, ours.nsd) == (0.0, 0.0)
    assert (ours.assd_mm, ours.hd95_mm) == pytest.approx((5.0, 5.0))
    within = compare(truth, found, OBLIQUE, tolerance_mm=5.0)
    assert within is not None
    assert within.nsd == 1.0


def test_spacing_is_in_the_distance_whatever_the_axis() -> None:
    # MONAI issue 6137: distances that fall back to voxels of 1 mm are all 2 here.
    for axis, expected in enumerate(SPACING_MM):
        truth, found = np.zeros((5, 6, 7), bool), np.zeros((5, 6, 7), bool)
        truth[1, 1, 1] = True
        found[tuple(1 + 2 * (axis == a) for a in range(3))] = True
        ours = compare(truth, found, STRAIGHT)
        assert ours is not None
        assert ours.hd95_mm == pytest.approx(2 * expected)


def test_a_miss_costs_the_worst_and_never_drops_out_of_a_mean() -> None:
    # MONAI issue 9095: a missed structure is NaN there, and the mean over the rest rises with every miss.
    import torch
    from monai.metrics import compute_hausdorff_distance

    truth, nothing = np.zeros((5, 6, 7), bool), np.zeros((5, 6, 7), bool)
    truth[1:3, 2:4, 3:5] = True
    theirs = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (nothing, truth)]
    assert not np.isfinite(float(compute_hausdorff_distance(*theirs, include_background=True, percentile=95)))
    diagonal = diagonal_mm(OBLIQUE, truth.shape)
    assert diagonal == pytest.approx(np.linalg.norm(np.array(truth.shape) * SPACING_MM))
    for pair in ((truth, nothing), (nothing, truth)):
        ours = compare(*pair, OBLIQUE)
        assert ours is not None
        assert (ours.dice, ours.nsd, ours.assd_mm, ours.hd95_mm) == (0.0, 0.0, diagonal, diagonal)
    ours = compare(truth, nothing, OBLIQUE, worst_mm=77.0)
    assert ours is not None
    assert ours.hd95_mm == 77.0


def test_empty_against_empty_is_no_number() -> None:
    nothing = np.zeros((3, 4, 5), bool)
    assert compare(nothing, nothing, STRAIGHT) is None


def test_masks_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="no voxels in common"):
        compare(np.zeros((2, 3, 4), bool), np.zeros((2, 4, 3), bool), STRAIGHT)


def test_an_outline_that_is_right_but_for_one_far_speck() -> None:
    # HD95 and Dice hardly see it; the average distance does.
    truth = np.zeros((40, 6, 6), bool)
    truth[1:5, 1:5, 1:5] = True
    found = truth.copy()
    found[30, 2, 2] = True
    ours = compare(truth, found, geometry.scaling_affine([0.8, 0.8, 0.8], [0, 0, 0]))
    assert ours is not None
    surface = 4**3 - 2**3
    assert ours.hd95_mm == 0.0
    assert ours.dice == pytest.approx(2 * 64 / 129)
    assert ours.assd_mm == pytest.approx(0.8 * 26 / (2 * surface + 1))
    assert ours.nsd == pytest.approx(1 - 1 / (2 * surface + 1))
