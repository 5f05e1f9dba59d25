from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vertecast.core import geometry
from vertecast.core.images import Mask
from vertecast.core.results import Quantity
from vertecast.lab.evaluation.datasets import FoundLeak, TrueLeak
from vertecast.lab.evaluation.studies.leaks import LeakScore, leak_points_lps_mm, score_leaks

AFFINE = geometry.affine(geometry.rotation([0.2, 1, 0.1], 0.3) * np.array([1.0, 1.3, 1.6]), [40.0, -80.0, 300.0])


def at(index: list[float]) -> tuple[float, float, float]:
    x, y, z = geometry.apply(AFFINE, index)
    return float(x), float(y), float(z)


def true(index: list[float], compartment: str = "vein") -> TrueLeak:
    return TrueLeak(level="L1", compartment=compartment, volume_ml=0.5, center_lps_mm=at(index))


def found(index: list[float], compartment: str = "vein") -> FoundLeak:
    volume = Quantity(value=0.4, unit="mL")
    return FoundLeak(level="L1", compartment=compartment, volume=volume, point_lps_mm=at(index))


def mask(*parts: tuple[slice, slice, slice]) -> Mask:
    labels = np.zeros((40, 44, 48), np.uint8)
    for part in parts:
        labels[part] = 201
    return Mask(labels=labels, lps_from_index=AFFINE)


def verdicts(scores: tuple[LeakScore, ...]) -> list[str]:
    return [score.verdict for score in scores]


VEIN = (slice(4, 36), slice(20, 22), slice(20, 22))
"""32 mm long: its end is far from its centre."""


def test_a_long_leak_is_found_by_a_point_anywhere_on_it() -> None:
    scores = score_leaks([true([20, 21, 21])], [found([5, 21, 21])], mask(VEIN))
    assert verdicts(scores) == ["found"]
    assert scores[0].compartment_right
    wrong = score_leaks([true([20, 21, 21])], [found([5, 21, 21], "canal")], mask(VEIN))
    assert (wrong[0].verdict, wrong[0].compartment_right) == ("found", False)


def test_a_point_beside_all_cement_is_false_and_a_leak_without_point_is_missed() -> None:
    scores = score_leaks([true([20, 21, 21])], [found([20, 30, 21])], mask(VEIN))
    assert verdicts(scores) == ["missed", "false"]


def test_a_second_report_of_the_same_leak_is_a_fragment() -> None:
    scores = score_leaks([true([20, 21, 21])], [found([6, 21, 21]), found([30, 21, 21])], mask(VEIN))
    assert sorted(verdicts(scores)) == ["found", "fragment"]


def test_scattered_emboli_are_one_leak() -> None:
    fragments = mask(*[(slice(n, n + 2), slice(3, 5), slice(4, 6)) for n in (2, 14, 34)])
    scores = score_leaks([true([17, 4, 5], "distant")], [found([34, 4, 5]), found([2, 4, 5])], fragments)
    assert sorted(verdicts(scores)) == ["found", "fragment"]


def test_two_leaks_that_touch_are_told_apart_by_distance() -> None:
    scores = score_leaks(
        [true([10, 21, 21], "foramen"), true([30, 21, 21], "vein")],
        [found([32, 21, 21], "vein"), found([8, 21, 21], "foramen")],
        mask(VEIN),
    )
    assert verdicts(scores) == ["found", "found"]
    assert all(score.compartment_right for score in scores)


def test_a_leak_too_thin_for_the_label_map_is_its_centre() -> None:
    scores = score_leaks([true([20, 21, 21]), true([10, 10, 40])], [found([10, 11, 40])], mask(VEIN))
    assert verdicts(scores) == ["missed", "found"]


def test_a_leak_outside_the_image_is_neither_found_nor_missed() -> None:
    assert verdicts(score_leaks([true([20, 21, 90])], [], mask())) == ["out of view"]
    assert verdicts(score_leaks([], [found([20, 21, 21])], mask())) == ["false"]
    assert score_leaks([], [], mask()) == ()


@pytest.mark.parametrize("count", [1, 3])
def test_every_voxel_of_leaked_cement_belongs_to_one_leak(count: int, tmp_path: Path) -> None:
    labels = mask(VEIN, (slice(2, 5), slice(2, 5), slice(40, 46)))
    clouds = leak_points_lps_mm([true([5 + 12 * n, 21, 21]) for n in range(count)], labels)
    points = np.vstack(clouds)
    assert len(points) == np.count_nonzero(labels.labels)
    assert len(np.unique(points.round(6), axis=0)) == len(points)
