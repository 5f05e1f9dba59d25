"""Naming vertebrae from sacrum, ribs, gaps and the operator's word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertecast import geometry
from vertecast.anatomy import Structure
from vertecast.errors import ConfigurationError
from vertecast.images import Segmentation
from vertecast.measurement.levels import assign_levels, number_vertebrae

GRID_MM = 3.0
PITCH = 10
"""Voxels from body to body: 30 mm."""


def column(
    count: int,
    *,
    ribs: range = range(0),
    sacrum: bool = False,
    missing: tuple[int, ...] = (),
    cut: tuple[int, ...] = (),
) -> Segmentation:
    """Bodies as boxes one below the other; ``missing`` places stay empty."""
    places = count + len(missing)
    shape = (40, 30, PITCH * places + 30)
    structure, instance = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    number = 0
    for place in range(places):
        if place in missing:
            continue
        number += 1
        low = shape[2] - PITCH * (place + 1) + 2
        body = (slice(13, 27), slice(8, 18), slice(low, low + 7))
        structure[body], instance[body] = Structure.BODY, number
        if place in ribs:
            for side in (slice(9, 13), slice(27, 31)):
                rib = (side, slice(15, 18), slice(low + 2, low + 5))
                structure[rib], instance[rib] = Structure.RIB, number
    if sacrum:
        bottom = shape[2] - PITCH * places - 2
        structure[12:28, 8:20, bottom - 18 : bottom] = Structure.SACRUM
    empty = np.zeros(shape, np.float16)
    return Segmentation(
        lps_from_index=geometry.scaling_affine([GRID_MM] * 3, [-60.0, -40.0, 500.0]),
        structure=structure,
        instance=instance,
        body_probability=(structure == Structure.BODY).astype(np.float16),
        cement_probability=empty,
        metal_probability=empty,
        instance_confidence=(0.9,) * count,
        touches_border=tuple(n in cut for n in range(count)),
    )


def names(segmentation: Segmentation, lowest: str | None = None) -> list[str]:
    return [level.name for level in assign_levels(segmentation, lowest=lowest)]


@settings(max_examples=12, deadline=None)
@given(count=st.integers(2, 17))
def test_count_up_from_the_sacrum(count: int) -> None:
    order = [f"T{n}" for n in range(1, 13)] + [f"L{n}" for n in range(1, 6)]
    levels = assign_levels(column(count, sacrum=True))
    assert [level.name for level in levels] == order[-count:]
    assert {level.source for level in levels} == {"sacrum"}


def test_both_landmarks_agree_and_raise_confidence() -> None:
    both = assign_levels(column(8, ribs=range(3), sacrum=True))
    assert [level.name for level in both] == ["T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5"]
    assert both[0].source == "sacrum+ribs"
    assert both[0].confidence > assign_levels(column(8, sacrum=True))[0].confidence


def test_ribs_alone() -> None:
    levels = assign_levels(column(6, ribs=range(4)))
    assert [level.name for level in levels] == ["T9", "T10", "T11", "T12", "L1", "L2"]
    assert levels[0].source == "ribs"


@pytest.mark.parametrize(("lumbar", "lowest"), [(4, "L4"), (6, "L6")])
def test_variants_are_named_with_less_confidence(lumbar: int, lowest: str) -> None:
    levels = assign_levels(column(2 + lumbar, ribs=range(2), sacrum=True))
    assert levels[-1].name == lowest
    assert levels[1].name == "T12"
    assert levels[-1].confidence < 0.7


def test_thirteen_rib_bearing_bodies_give_t13() -> None:
    assert names(column(18, ribs=range(13), sacrum=True))[11:14] == ["T12", "T13", "L1"]


@pytest.mark.parametrize(
    ("ribs", "lumbar", "said"),
    [(2, 6, "six lumbar bodies"), (2, 4, "four lumbar bodies"), (13, 5, "thirteen bodies with ribs"), (2, 5, "")],
)
def test_variants_are_told(ribs: int, lumbar: int, said: str) -> None:
    notes = number_vertebrae(column(ribs + lumbar, ribs=range(ribs), sacrum=True)).notes
    assert len(notes) == bool(said)
    assert all(note.startswith(said) for note in notes)


def test_a_missed_l5_is_no_variant_and_the_operators_l6_needs_no_note() -> None:
    missed = number_vertebrae(column(6, ribs=range(2), sacrum=True, missing=(6,)))
    assert (missed.levels[-1].name, missed.notes) == ("L4", ())
    assert number_vertebrae(column(8, ribs=range(2), sacrum=True), lowest="L6").notes == ()


def test_landmarks_that_do_not_fit_are_told() -> None:
    found = number_vertebrae(column(9, ribs=range(2), sacrum=True))
    assert found.notes == ("7 bodies between the last rib and the sacrum: levels are counted from the sacrum alone",)
    assert found.levels[-1].name == "L5"


def test_six_bodies_below_the_last_rib_without_a_sacrum() -> None:
    found = number_vertebrae(column(8, ribs=range(2)))
    assert found.levels[-1].name == "L6"
    assert found.notes[0].startswith("six lumbar bodies")


def test_ribs_down_to_the_last_body_say_nothing() -> None:
    assert names(column(5, ribs=range(5))) == ["V1", "V2", "V3", "V4", "V5"]
    assert names(column(4, ribs=range(3), cut=(3,))) == ["V1", "V2", "V3", "V4"]


@pytest.mark.parametrize(("stray_voxels", "lowest"), [(2, "L2"), (3, "V6")])
def test_specks_far_smaller_than_the_ribs_are_none(stray_voxels: int, lowest: str) -> None:
    segmentation = column(6, ribs=range(4))
    low = segmentation.structure.shape[2] - PITCH * 5 + 2  # body 5, whose ribs would hold 972 mm3 on either side
    structure = np.array(segmentation.structure)
    structure[9 : 9 + stray_voxels, 15, low + 2] = Structure.RIB
    instance = np.array(segmentation.instance)
    instance[9 : 9 + stray_voxels, 15, low + 2] = 5
    assert names(replace(segmentation, structure=structure, instance=instance))[-1] == lowest


def test_no_landmark_means_unknown() -> None:
    levels = assign_levels(column(3))
    assert [(level.name, level.source, level.confidence) for level in levels] == [
        (f"V{n}", "unknown", 0.0) for n in (1, 2, 3)
    ]


def test_pieces_of_bodies_alone_are_not_named() -> None:
    assert names(column(2, sacrum=True, cut=(0,))) == ["L4", "L5"]
    assert names(column(2, sacrum=True, cut=(0, 1))) == ["V1", "V2"]


def test_a_missed_vertebra_is_counted_over() -> None:
    levels = assign_levels(column(6, sacrum=True, missing=(3,)))
    assert [level.name for level in levels] == ["T11", "T12", "L1", "L3", "L4", "L5"]
    assert levels[0].confidence < levels[-1].confidence


def test_a_missed_l5_is_counted_over() -> None:
    assert names(column(4, sacrum=True, missing=(4,))) == ["L1", "L2", "L3", "L4"]


@pytest.mark.parametrize(
    ("lowest", "expected"), [("L5", ["L3", "L4", "L5"]), ("T12", ["T10", "T11", "T12"]), ("L6", ["L4", "L5", "L6"])]
)
def test_operator_overrides(lowest: str, expected: list[str]) -> None:
    levels = assign_levels(column(3, sacrum=True), lowest=lowest)
    assert [level.name for level in levels] == expected
    assert {(level.source, level.confidence) for level in levels} == {("operator", 1.0)}


@pytest.mark.parametrize("lowest", ["S1", "L9", "l5", ""])
def test_operator_level_must_exist(lowest: str) -> None:
    with pytest.raises(ConfigurationError, match="no such level"):
        assign_levels(column(2), lowest=lowest)


def test_above_c1_there_is_no_level() -> None:
    assert names(column(3), lowest="C2") == ["V1", "C1", "C2"]


def test_empty_segmentation_has_no_levels() -> None:
    assert assign_levels(column(0)) == ()
