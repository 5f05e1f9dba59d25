"""Naming vertebrae from sacrum, ribs, gaps and the operator's word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertecast.core import geometry
from vertecast.core.anatomy import CERVICAL, LUMBAR, THORACIC, Level, Structure, normal_gap_mm
from vertecast.core.errors import ConfigurationError
from vertecast.core.images import Segmentation
from vertecast.measurement.ct.levels import LEAST_PROBABILITY, assign_levels, number_vertebrae

GRID_MM = 2.0

ORDER = [level.name for level in (*CERVICAL, *THORACIC, *LUMBAR)]


def usual(count: int, lowest: str) -> list[str]:
    """Levels of a usual column down to a lowest one."""
    end = ORDER.index(lowest) + 1
    return ORDER[end - count : end]


def column(
    levels: Sequence[str],
    *,
    ribs: range | None = None,
    sacrum: bool = False,
    missing: tuple[int, ...] = (),
    cut: tuple[int, ...] = (),
) -> Segmentation:
    """Bodies as boxes, as far apart as those of these levels are.

    Args:
        levels: Of every place from the top.
        ribs: Places with ribs; None: the thoracic ones.
        sacrum: Whether it is in view.
        missing: Places that stay empty.
        cut: Which of the bodies found the edge cuts.
    """
    names = [Level[name] for name in levels]
    gaps = [normal_gap_mm(one, below) / GRID_MM for one, below in pairwise(names)]
    depth = np.concatenate([[0.0], np.cumsum(gaps)])
    shape = (60, 45, round(depth[-1]) + 60)
    structure, instance = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    number = 0
    for place, below in enumerate(depth):
        if place in missing:
            continue
        number += 1
        height = round(0.7 * normal_gap_mm(Level.L4 if names[place] is Level.L5 else names[place]) / GRID_MM)
        low = shape[2] - 20 - round(below) - height // 2
        body = (slice(20, 40), slice(12, 27), slice(low, low + height))
        structure[body], instance[body] = Structure.BODY, number
        if names[place].is_thoracic if ribs is None else place in ribs:
            for side in (slice(14, 20), slice(40, 46)):
                rib = (side, slice(22, 27), slice(low + 3, low + 7))
                structure[rib], instance[rib] = Structure.RIB, number
    if sacrum:
        bottom = shape[2] - 20 - round(depth[-1]) - 11
        structure[18:42, 12:30, bottom - 27 : bottom] = Structure.SACRUM
    empty = np.zeros(shape, np.float16)
    return Segmentation(
        lps_from_index=geometry.scaling_affine([GRID_MM] * 3, [-60.0, -40.0, 500.0]),
        structure=structure,
        instance=instance,
        body_probability=(structure == Structure.BODY).astype(np.float16),
        cement_probability=empty,
        metal_probability=empty,
        instance_confidence=(0.9,) * number,
        touches_border=tuple(n in cut for n in range(number)),
    )


def names(segmentation: Segmentation, lowest: str | None = None) -> list[str]:
    return [level.name for level in assign_levels(segmentation, lowest=lowest)]


@settings(max_examples=12, deadline=None)
@given(count=st.integers(2, 20))
def test_count_up_from_the_sacrum(count: int) -> None:
    levels = assign_levels(column(usual(count, "L5"), sacrum=True))
    assert [level.name for level in levels] == usual(count, "L5")
    assert {level.source for level in levels} == {"sacrum+ribs" if count > 5 else "sacrum"}
    assert min(level.confidence for level in levels) >= LEAST_PROBABILITY


def test_both_landmarks_agree_and_raise_confidence() -> None:
    both = assign_levels(column(usual(8, "L5"), sacrum=True))
    assert [level.name for level in both] == ["T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5"]
    assert both[-1].confidence > assign_levels(column(usual(4, "L5"), sacrum=True))[-1].confidence


@pytest.mark.parametrize(
    ("count", "lowest"), [(8, "L3"), (7, "L2"), (11, "T10"), (8, "T6"), (16, "L3"), (14, "T12"), (17, "L5")]
)
def test_ribs_alone_count_from_the_last_one_or_from_the_first(count: int, lowest: str) -> None:
    levels = assign_levels(column(usual(count, lowest)))
    assert [level.name for level in levels] == usual(count, lowest)
    assert {level.source for level in levels} == {"ribs"}


def test_a_column_of_another_kind_is_named_where_it_is_whole_and_else_left_open() -> None:
    six = ["C6", "C7", *ORDER[7:19], "L1", "L2", "L3", "L4", "L5", "L6"]
    found = number_vertebrae(column(six, sacrum=True))
    assert [level.name for level in found.levels] == six
    assert found.notes == ("an unusual column: 12 thoracic and 6 lumbar bodies",)
    open_ = number_vertebrae(column([*usual(2, "T12"), *six[-6:]], sacrum=True))  # or T12 without a rib
    assert open_.levels[-1].name == "V8"
    (note,) = open_.notes
    assert note.startswith("levels cannot be told for certain: V1 is T1")
    assert note.endswith("--lowest or --highest names them all")


def test_a_piece_of_the_first_rib_beside_c7_makes_no_thirteen() -> None:
    segmentation = column(usual(16, "L3"))
    structure, instance = np.array(segmentation.structure), np.array(segmentation.instance)
    low = int(np.argwhere(instance == 1)[:, 2].min())
    structure[14:18, 22:24, low + 3 : low + 6] = Structure.RIB
    instance[14:18, 22:24, low + 3 : low + 6] = 1
    assert names(replace(segmentation, structure=structure, instance=instance)) == usual(16, "L3")


def test_landmarks_that_do_not_fit_name_nothing() -> None:
    found = number_vertebrae(column([*usual(2, "T12"), *["L3"] * 7], sacrum=True))
    assert {level.source for level in found.levels} == {"unknown"}
    assert len(found.notes) == 1


def test_ribs_down_to_the_last_body_say_too_little() -> None:
    assert names(column(usual(5, "T9"))) == ["V1", "V2", "V3", "V4", "V5"]
    assert names(column(usual(4, "L1"), cut=(3,))) == ["V1", "V2", "V3", "V4"]


@pytest.mark.parametrize(("stray_voxels", "lowest"), [(2, "L3"), (30, "V8")])
def test_specks_far_smaller_than_the_ribs_are_none(stray_voxels: int, lowest: str) -> None:
    segmentation = column(usual(8, "L3"))
    structure, instance = np.array(segmentation.structure), np.array(segmentation.instance)
    low = int(np.argwhere(instance == 6)[:, 2].min())  # L1
    spot = np.zeros(structure.shape, dtype=bool)
    spot[14:19, 22:25, low + 3 : low + 7] = True
    chosen = np.flatnonzero(spot)[:stray_voxels]
    structure.flat[chosen], instance.flat[chosen] = Structure.RIB, 6
    assert names(replace(segmentation, structure=structure, instance=instance))[-1] == lowest


def test_no_landmark_means_unknown() -> None:
    levels = assign_levels(column(usual(3, "L4")))
    assert [(level.name, level.source, level.confidence) for level in levels] == [
        (f"V{n}", "unknown", 0.0) for n in (1, 2, 3)
    ]


def test_pieces_of_bodies_alone_are_not_named() -> None:
    assert names(column(["L4", "L5"], sacrum=True, cut=(0,))) == ["L4", "L5"]
    assert names(column(["L4", "L5"], sacrum=True, cut=(0, 1))) == ["V1", "V2"]


def test_a_missed_vertebra_is_counted_over() -> None:
    levels = assign_levels(column(usual(9, "L5"), sacrum=True, missing=(5,)))
    assert [level.name for level in levels] == ["T9", "T10", "T11", "T12", "L1", "L3", "L4", "L5"]


def test_a_missed_l5_is_counted_over() -> None:
    assert names(column(usual(8, "L5"), sacrum=True, missing=(7,))) == usual(7, "L4")


@pytest.mark.parametrize(
    ("lowest", "expected"), [("L5", ["L3", "L4", "L5"]), ("T12", ["T10", "T11", "T12"]), ("L6", ["L4", "L5", "L6"])]
)
def test_operator_overrides(lowest: str, expected: list[str]) -> None:
    levels = assign_levels(column(usual(3, "L5"), sacrum=True), lowest=lowest)
    assert [level.name for level in levels] == expected
    assert {(level.source, level.confidence) for level in levels} == {("operator", 1.0)}


@pytest.mark.parametrize(
    ("highest", "expected"), [("C7", ["C7", "T1", "T2"]), ("T12", ["T12", "L1", "L2"]), ("T13", ["T13", "L1", "L2"])]
)
def test_the_operator_may_name_the_highest(highest: str, expected: list[str]) -> None:
    levels = assign_levels(column(usual(3, "L5"), sacrum=True), highest=highest)
    assert [level.name for level in levels] == expected
    assert {(level.source, level.confidence) for level in levels} == {("operator", 1.0)}


def test_below_the_last_level_there_is_none() -> None:
    levels = assign_levels(column(["L1", "L2", "L3"]), highest="L4")
    assert [level.name for level in levels] == ["L4", "L5", "V3"]


def test_a_missed_body_makes_the_names_beyond_it_less_sure() -> None:
    spine = column(usual(6, "L5"), missing=(3,))
    for end in ({"highest": "T12"}, {"lowest": "L5"}):
        levels = assign_levels(spine, **end)
        assert [level.name for level in levels] == ["T12", "L1", "L2", "L4", "L5"]
        sure = [level.confidence == 1.0 for level in levels]
        assert sure == [True, True, True, False, False] if "highest" in end else [False, False, False, True, True]


def test_the_operator_names_one_end() -> None:
    with pytest.raises(ConfigurationError, match="one of them"):
        assign_levels(column(["L1", "L2"]), lowest="L2", highest="L1")


@pytest.mark.parametrize("lowest", ["S1", "L9", "l5", ""])
def test_operator_level_must_exist(lowest: str) -> None:
    with pytest.raises(ConfigurationError, match="no such level"):
        assign_levels(column(["L1", "L2"]), lowest=lowest)


def test_above_c1_there_is_no_level() -> None:
    assert names(column(["C3", "C4", "C5"]), lowest="C2") == ["V1", "C1", "C2"]


def test_empty_segmentation_has_no_levels() -> None:
    assert assign_levels(replace(column(["L1"]), instance_confidence=(), touches_border=())) == ()
