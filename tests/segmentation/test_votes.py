"""Bodies and points are read below pixel size from votes whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import draw

from vertecast.segmentation.projection.votes import find_bodies, sacral_endplate

SHAPE = (200, 150)


def _column(tilt: float = 0.2, depth: float = 34.3, height: float = 21.7, count: int = 4) -> np.ndarray:
    """Six points (n, 6, 2) of boxes one below the other, with thin gaps."""
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    places = np.array([[x, y] for y in (-height / 2, height / 2) for x in (-depth / 2, 0, depth / 2)])
    down = turn @ np.array([0.0, height + 4.0])
    first = np.array([82.4, 52.9])
    return np.stack([places @ turn.T + first + n * down for n in range(count)])


def _answer(points: np.ndarray, noise_px: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body and rib probabilities and votes as a perfect network would give them, with noise."""
    rng = np.random.default_rng(4)
    body, ribs = np.zeros(SHAPE, dtype=np.float32), np.zeros(SHAPE, dtype=np.float32)
    offset = np.zeros((12, *SHAPE), dtype=np.float32)
    rows, columns = np.indices(SHAPE)
    for n, own in enumerate(points):
        inside = draw.polygon2mask(SHAPE, own[[0, 2, 5, 3]][:, ::-1])
        body[inside], ribs[inside] = 0.95, float(n < 2)
        for k, (x, y) in enumerate(own):
            offset[2 * k][inside] = x - columns[inside]
            offset[2 * k + 1][inside] = y - rows[inside]
    return body, ribs, offset + noise_px * rng.standard_normal(offset.shape).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(tilt=st.floats(-0.5, 0.5), height=st.floats(11, 26), noise=st.floats(0, 1.5))
def test_points_lie_where_they_were_drawn(tilt: float, height: float, noise: float) -> None:
    truth = _column(tilt=tilt, height=height)
    found = find_bodies(*_answer(truth, noise), np.ones(SHAPE, dtype=bool))
    assert len(found) == len(truth)
    for body, own in zip(found, truth, strict=True):
        assert np.abs(body.points_px - own).max() < 0.02 + 0.4 * noise


def test_bodies_are_sorted_and_their_ribs_kept() -> None:
    found = find_bodies(*_answer(_column()), np.ones(SHAPE, dtype=bool))
    assert [round(body.rib_score) for body in found] == [1, 1, 0, 0]
    upside_down = _column()[:, [5, 4, 3, 2, 1, 0]]
    found = find_bodies(*_answer(upside_down), np.ones(SHAPE, dtype=bool))
    assert [round(body.rib_score) for body in found] == [0, 0, 1, 1], "the lowest body comes last, wherever it lies"


def test_noise_widens_the_spread_and_lowers_the_confidence() -> None:
    everywhere = np.ones(SHAPE, dtype=bool)
    sure, unsure = (find_bodies(*_answer(_column(), noise), everywhere)[1] for noise in (0.2, 2.0))
    assert unsure.sd_px.mean() > 4 * sure.sd_px.mean()
    assert unsure.confidence < sure.confidence


def test_a_body_cut_by_the_collimator_touches_the_border() -> None:
    valid = np.ones(SHAPE, dtype=bool)
    valid[:50] = False
    body, ribs, offset = _answer(_column())
    found = find_bodies(body * valid, ribs, offset, valid)
    assert [one.touches_border for one in found] == [True, False, False, False]


def test_nothing_is_found_in_an_empty_picture() -> None:
    nothing = np.zeros(SHAPE, dtype=np.float32)
    assert find_bodies(nothing, nothing, np.zeros((12, *SHAPE), dtype=np.float32), nothing == 0) == []
    assert sacral_endplate(nothing, np.zeros((4, *SHAPE), dtype=np.float32)) is None


def test_the_sacral_endplate_is_where_its_pixels_say() -> None:
    sacrum = np.zeros(SHAPE, dtype=np.float32)
    sacrum[120:170, 60:110] = 0.9
    rows, columns = np.indices(SHAPE)
    ends = np.array([[61.3, 118.2], [95.8, 127.4]])
    plate = np.concatenate([np.stack([x - columns, y - rows]) for x, y in ends]).astype(np.float32)
    plate[:, 120:130] += 40  # some pixels are wrong
    assert sacral_endplate(sacrum, plate) == pytest.approx(ends, abs=0.5)
