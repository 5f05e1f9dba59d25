"""Corners of bodies on films lie on the edge of the mask, whatever the votes say of a broken body."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import draw

from vertecast.core.geometry import FloatArray
from vertecast.segmentation.projection.endplates import onto_edges
from vertecast.segmentation.projection.votes import VotedBody

SHAPE = (96, 110)
SOUND = np.array([[-18.0, -12], [0, -12], [18, -12], [-18, 12], [0, 12], [18, 12]])


def placed(points: FloatArray, *, turn_deg: float = 0.0, at: tuple[float, float] = (55.0, 48.0)) -> FloatArray:
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(points @ turn.T + at)


def shown(points: FloatArray) -> npt.NDArray[np.float32]:
    """The share (rows, columns) of each pixel that a body's outline covers."""
    fine = 8
    corners = (points[[0, 1, 2, 5, 4, 3]][:, ::-1] + 0.5) * fine - 0.5
    mask = draw.polygon2mask((SHAPE[0] * fine, SHAPE[1] * fine), corners)
    return mask.reshape(SHAPE[0], fine, SHAPE[1], fine).mean(axis=(1, 3)).astype(np.float32)


def body(points: FloatArray, probability: npt.NDArray[np.float32]) -> VotedBody:
    rows, columns = np.nonzero(probability >= 0.35)
    return VotedBody(
        points_px=points,
        sd_px=np.ones(6),
        pixels=(rows, columns),
        confidence=0.9,
        rib_score=0.1,
        touches_border=False,
    )


@settings(deadline=None, max_examples=30)
@given(
    front=st.floats(0.72, 1.0),
    back=st.floats(0.72, 1.0),
    turn_deg=st.floats(-40, 40),
    is_front_left=st.booleans(),
)
def test_a_broken_body_is_as_low_as_its_mask(front: float, back: float, turn_deg: float, is_front_left: bool) -> None:
    low = SOUND.copy()
    heights = np.array([front, (front + back) / 2, back])
    low[:3, 1] = low[3:, 1] - 24 * (heights if is_front_left else heights[::-1])
    true, votes = placed(low, turn_deg=turn_deg), placed(SOUND, turn_deg=turn_deg)
    mask = shown(true)
    (found,) = onto_edges([body(votes, mask)], mask)
    before, after = (np.linalg.norm(p - true, axis=1)[[0, 2, 3, 5]] for p in (votes, found.points_px))
    # Votes that agree with the edge keep half of the say.
    assert (after <= np.maximum(0.55 * before, 0.7)).all()
    assert (after[before > 5] < 1.0).all()


def test_the_middle_keeps_its_depression() -> None:
    sunken, lowered = SOUND.copy(), np.zeros((6, 2))
    sunken[1, 1] += 5
    lowered[:3, 1] = 6
    mask = shown(placed(SOUND + lowered))
    (found,) = onto_edges([body(placed(sunken), mask)], mask)
    assert found.points_px == pytest.approx(placed(sunken + lowered), abs=0.6)


def test_a_neighbour_that_touches_is_another_body() -> None:
    upper, lower = placed(SOUND, at=(55.0, 30.0)), placed(SOUND, at=(55.0, 54.0))
    masks = shown(upper), shown(lower)
    bodies = [body(points, mask) for points, mask in zip((upper, lower), masks, strict=True)]
    for moved, points in zip(onto_edges(bodies, np.maximum(*masks)), (upper, lower), strict=True):
        assert moved.points_px == pytest.approx(points, abs=0.8)


@pytest.mark.parametrize("fault", ["far", "ragged"])
def test_a_mask_that_follows_no_endplate_moves_nothing(fault: str) -> None:
    other = SOUND.copy()
    other[:3, 1] += 9 if fault == "far" else 5
    mask = shown(placed(other))
    if fault == "ragged":
        mask[30:50, ::4] = mask[30:50, 1::4] = 0
    (found,) = onto_edges([body(placed(SOUND), mask)], mask)
    assert found.points_px[:3] == pytest.approx(placed(SOUND)[:3])


def test_without_an_edge_the_votes_stay() -> None:
    votes = placed(SOUND, at=(2.0, 48.0))
    nothing = np.zeros(SHAPE, dtype=np.float32)
    (found,) = onto_edges([body(votes, shown(votes))], nothing)
    assert found.points_px == pytest.approx(votes)
    everywhere = np.ones(SHAPE, dtype=np.float32)
    (found,) = onto_edges([body(placed(SOUND), everywhere)], everywhere)
    assert found.points_px == pytest.approx(placed(SOUND))
