"""Levels told from ribs, sacrum and distances, on columns of the table and on real ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertecast.core.anatomy import CERVICAL, LUMBAR, THORACIC, Level, normal_gap_mm
from vertecast.measurement.ct.column_levels import ColumnEvidence, Rib, level_probabilities, namings

USUAL = (*CERVICAL[2:], *THORACIC, *LUMBAR)


def evidence(levels: Sequence[Level], gaps_mm: Sequence[float], *, sacrum: bool = False) -> ColumnEvidence:
    """What is seen of whole bodies of these levels when nothing goes wrong."""
    return ColumnEvidence(
        places=range(len(levels)),
        gaps_mm=gaps_mm,
        ribs=[Rib.RIB if level.is_thoracic else Rib.NONE for level in levels],
        whole=[True] * len(levels),
        missed_above_sacrum=0 if sacrum else None,
    )


@settings(deadline=None)
@given(
    first=st.integers(0, len(USUAL) - 2),
    count=st.integers(2, len(USUAL)),
    size=st.floats(0.88, 1.13),
    sacrum=st.booleans(),
)
def test_what_is_named_is_right_and_probabilities_are_ones(first: int, count: int, size: float, sacrum: bool) -> None:
    levels = USUAL[first : first + count]
    gaps = [size * normal_gap_mm(level) for level in levels[:-1]]
    found = namings(evidence(levels, gaps, sacrum=sacrum and levels[-1] is Level.L5))
    assert 0 < sum(one.probability for one in found) <= 1
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)
    for level, probabilities in zip(levels, level_probabilities(found), strict=True):
        likeliest = max(probabilities, key=probabilities.__getitem__)
        assert probabilities[likeliest] < 0.9 or likeliest is level
    ends = {Level.C7, Level.T1} <= set(levels) or {Level.T12, Level.L1} <= set(levels)
    if ends and count >= 8:
        assert found[0].levels == levels


def test_more_bodies_than_a_column_has_cannot_be_named() -> None:
    assert namings(evidence([Level.L3] * 30, [30.0] * 29)) == ()


@pytest.mark.realdata
def test_distances_of_real_columns_do_not_mislead(real_data: Path) -> None:
    """Of the columns whose ribs (and sacrum, where it follows) are seen as they are, hardly a body is named wrongly."""
    cases = json.loads(gzip.decompress((real_data / "spine_keypoints.json.gz").read_bytes()))
    right = wrong = total = 0
    for case in cases[::6]:
        centers = {Level[name]: center for name, center in case["bodies"].items() if name not in ("C1", "C2")}
        levels = tuple(centers)
        if len(levels) < 5:
            continue
        gaps = np.linalg.norm(np.diff(np.array(list(centers.values())), axis=0), axis=1)
        found = namings(evidence(levels, gaps.tolist(), sacrum=levels[-1] in (Level.L5, Level.L6)))
        for level, named, probabilities in zip(levels, found[0].levels, level_probabilities(found), strict=True):
            is_named = probabilities[named] >= 0.9
            right, wrong, total = (
                right + (is_named and named is level),
                wrong + (is_named and named is not level),
                total + 1,
            )
    assert total > 1500
    assert wrong <= 0.005 * total
    assert right >= 0.9 * total
