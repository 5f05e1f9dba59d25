"""Corners found on films are scored in shares of the body's depth, whatever the film's size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vertecast.core.errors import UnreadableError
from vertecast.lab.evaluation.projections.films import (
    FOLDERS,
    film_lines,
    films_in,
    largest_cobb_deg,
    read_corners,
    score_film,
    summary,
    untreated_lines,
)


def _corners(count: int = 3, depth: float = 40.0, height: float = 26.0, step: float = 33.0) -> np.ndarray:
    box = np.array([[0, 0], [depth, 0], [0, height], [depth, height]], dtype=float)
    return np.stack([box + np.array([100.0, 50.0 + n * step]) for n in range(count)])


def _six(corners: np.ndarray) -> np.ndarray:
    return np.stack(
        [corners[:, 0], corners[:, :2].mean(1), corners[:, 1], corners[:, 2], corners[:, 2:].mean(1), corners[:, 3]], 1
    )


def test_corner_files_of_both_orders_are_read(tmp_path: Path) -> None:
    lateral = {"corners_xy_AS_PS_PI_AI": [[0, 0], [40, 1], [41, 27], [2, 26]]}
    ap = {"corners_xy_TL_TR_BL_BR": [[0, 0], [40, 1], [2, 26], [41, 27]]}
    for name, body in (("a", lateral), ("b", ap)):
        (tmp_path / name).write_text(json.dumps({"vertebrae": [body]}))
    np.testing.assert_array_equal(read_corners(tmp_path / "a"), read_corners(tmp_path / "b"))
    (tmp_path / "c").write_text("{}")
    with pytest.raises(UnreadableError, match="corners"):
        read_corners(tmp_path / "c")


def test_a_shift_of_every_corner_is_its_share_of_the_depth() -> None:
    corners = _corners()
    score = score_film("a", "lateral", _six(corners) + np.array([3.0, 4.0]), corners)
    assert (score.marked, score.found, score.beyond) == (3, 3, 0)
    assert score.corner_shares == pytest.approx([5 / 40] * 12)


def test_missed_and_invented_bodies_are_counted() -> None:
    corners = _corners()
    found = np.concatenate([_six(corners)[:1], _six(corners)[:1] + np.array([400.0, 0.0])])
    score = score_film("a", "lateral", found, corners)
    assert (score.found, score.beyond) == (1, 1)
    nothing = score_film("a", None, np.zeros((0, 6, 2)), corners)
    assert (nothing.found, nothing.beyond, nothing.corner_shares) == (0, 0, ())
    totals = summary(FOLDERS[0], [score, nothing])
    assert (totals["marked"], totals["found"], totals["views_right"]) == (6, 1, 1)
    assert "1 of 6 bodies, 1 beyond" in next(film_lines(FOLDERS[0], [score, nothing]))


def test_cement_claimed_on_untreated_films_is_counted_with_and_without_corners() -> None:
    corners, (unmarked,) = _corners(), [folder for folder in FOLDERS if not folder.has_corners]
    bare = score_film("b", unmarked.view, _six(corners), None, (2, 1))
    scores = [score_film("a", "lateral", _six(corners), corners, (1, 0)), bare, replace(bare, cement=0, leaks=0)]
    assert summary(unmarked, scores[1:]) == {"films": 2, "views_right": 2, "cement": 1, "leaks": 1}
    assert list(film_lines(unmarked, scores[1:])) == [
        "lumbar_lateral: 2 films, views right 2",
        "  cement claimed on 1 films, leaks on 1 (there are none)",
    ]
    assert list(untreated_lines(scores)) == ["untreated films: cement claimed on 2 of 3, leaks on 1"]


def test_films_are_the_pictures_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png", "a.json", "README.md"):
        (tmp_path / name).touch()
    assert [path.name for path in films_in(tmp_path)] == ["a.png", "b.jpg"]
    assert films_in(tmp_path / "absent") == []


def test_the_largest_cobb_angle_is_between_the_steepest_endplates() -> None:
    corners = _corners()
    corners[0, 1, 1] += 40 * np.tan(np.radians(20))
    corners[2, 3, 1] -= 40 * np.tan(np.radians(15))
    assert largest_cobb_deg(corners) == pytest.approx(35)
    assert largest_cobb_deg(corners * [1, 1]) == pytest.approx(largest_cobb_deg(corners * 7.3))
