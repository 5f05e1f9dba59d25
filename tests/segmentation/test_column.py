"""The column is kept, what lies beside it is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertecast.segmentation.projection.column import column_of
from vertecast.segmentation.projection.votes import VotedBody


def _body(
    x: float, y: float, *, depth: float = 30.0, height: float = 20.0, tilt: float = 0.0, sure: float = 0.9
) -> VotedBody:
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    places = np.array([[u, v] for v in (-height / 2, height / 2) for u in (-depth / 2, 0, depth / 2)])
    nothing = np.zeros(0, dtype=np.intp)
    return VotedBody(
        points_px=places @ turn.T + [x, y],
        sd_px=np.ones(6),
        pixels=(nothing, nothing),
        confidence=sure,
        rib_score=0.0,
        touches_border=False,
    )


def _curved(count: int, bend: float) -> list[VotedBody]:
    """A column that turns by ``bend`` (rad) from body to body."""
    found, x, y = [], 100.0, 20.0
    for n in range(count):
        tilt = bend * (n - count / 2)
        found.append(_body(x, y, tilt=tilt))
        x, y = x - 27 * np.sin(tilt + bend / 2), y + 27 * np.cos(tilt + bend / 2)
    return found


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 12), bend=st.floats(-0.2, 0.2), missed=st.integers(1, 10))
def test_a_column_stays_whole_also_with_one_body_missed(count: int, bend: float, missed: int) -> None:
    column = _curved(count, bend)
    assert column_of(column) == column
    without = column[:missed] + column[missed + 1 :]
    assert column_of(without) == without


@pytest.mark.parametrize(
    "intruder",
    [
        _body(30, 60),  # a side marker level with the column
        _body(100, 250),  # a femur's head below a gap
        _body(100, 155, depth=12, height=8),  # a letter right below
        _body(100, 155, tilt=1.3),  # a rib that crosses
    ],
    ids=["beside", "far below", "small", "turned"],
)
def test_what_does_not_continue_the_column_is_left_out(intruder: VotedBody) -> None:
    column = _curved(5, 0.0)
    assert column_of([*column, intruder]) == column
    assert column_of([intruder, *column]) == column


def test_the_surer_chain_is_the_column() -> None:
    column = _curved(4, 0.05)
    hips = [_body(20, 20 + 27 * n, sure=0.5) for n in range(4)]
    assert column_of([*hips, *column]) == column


def test_nothing_is_no_column() -> None:
    assert column_of([]) == []
