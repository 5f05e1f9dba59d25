"""``scripts/ablation_scores.py``: perfect answers score best, and the table compares like with like."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from skimage.draw import polygon

from vertecast.core.errors import ConfigurationError
from vertecast.core.images import Radiograph

SHAPE = (220, 130)
DEPTH_PX = 36.0
"""As the segmenter wants it: the film is not scaled."""

ALONG = DEPTH_PX * np.array([np.cos(0.2), np.sin(0.2)])
LEFT = np.array([[40.0, 30.0], [38.0, 58.0]])
UPPER = np.stack([LEFT[0], LEFT[0] + ALONG, LEFT[1], LEFT[1] + ALONG])
CORNERS = np.stack([UPPER + shift for shift in ([0.0, 0.0], [3.0, 45.0], [2.0, 92.0])])


@pytest.fixture(scope="module")
def scripts(repository: Path) -> Iterator[SimpleNamespace]:
    sys.path.insert(0, str(repository / "scripts"))
    try:
        yield SimpleNamespace(scores=importlib.import_module("ablation_scores"), main=importlib.import_module("ablate"))
    finally:
        sys.path.remove(str(repository / "scripts"))


class Sees:
    """Answers of a network that knows the bodies and votes wrongly by a shift (column, row)."""

    def __init__(self, shift_px: tuple[float, float] = (0.0, 0.0), *, doubt: float = 0.0) -> None:
        self.body = np.zeros(SHAPE, dtype=np.float32)
        self.offset = np.zeros((12, *SHAPE), dtype=np.float32)
        for corners in CORNERS:
            rows, columns = polygon(corners[[0, 1, 3, 2], 1], corners[[0, 1, 3, 2], 0], SHAPE)
            middles = corners.reshape(2, 2, 2).mean(axis=1)
            points = np.stack([corners[0], middles[0], corners[1], corners[2], middles[1], corners[3]]) + shift_px
            self.body[rows, columns] = 1
            self.offset[:, rows, columns] = (points[:, :, None] - np.stack([columns, rows])).reshape(12, -1)
        noise = np.random.default_rng(1).random(SHAPE).astype(np.float32)
        self.body = (1 - doubt) * self.body + doubt * noise

    def _look(
        self, radiograph: Radiograph, scale: tuple[float, float], *, mirrored: bool
    ) -> tuple[SimpleNamespace, list[object]]:
        assert radiograph.shape == SHAPE
        assert scale == pytest.approx((1.0, 1.0))
        return SimpleNamespace(maps={"body": self.body, "cement": self.body}, offset=self.offset), []


def _film(scores: ModuleType, sees: Sees, corners: np.ndarray = CORNERS, cement: np.ndarray | None = None) -> object:
    radiograph = Radiograph(intensity=np.zeros(SHAPE, dtype=np.float32), valid=np.ones(SHAPE, dtype=bool), spacing=None)
    return scores._seen(sees, radiograph, corners, ("thoracolumbar_ap_corners", "a"), cement)


def test_perfect_answers(scripts: SimpleNamespace) -> None:
    film = _film(scripts.scores, Sees())
    assert film.area == pytest.approx(1)
    assert film.errors == pytest.approx([0.0, 0.0, 0.0], abs=0.01)
    assert film.cement_area is None


def test_wrong_votes_and_doubtful_bodies_are_seen(scripts: SimpleNamespace) -> None:
    film = _film(scripts.scores, Sees((3.0, 4.0), doubt=0.8))
    assert film.errors == pytest.approx([5 / DEPTH_PX] * 3, rel=0.03)
    assert 0.6 < film.area < 0.95


@pytest.mark.parametrize("order", [[1, 0, 3, 2], [2, 3, 0, 1]])
def test_the_front_on_the_right_or_the_head_below_is_no_error(scripts: SimpleNamespace, order: list[int]) -> None:
    assert _film(scripts.scores, Sees(), CORNERS[:, order]).errors == pytest.approx([0.0] * 3, abs=0.01)


def test_cement_is_scored_where_there_is_some(scripts: SimpleNamespace) -> None:
    sees = Sees()
    there = sees.body > 0.5
    assert _film(scripts.scores, sees, cement=there).cement_area == pytest.approx(1)
    assert _film(scripts.scores, sees, cement=~there).cement_area == pytest.approx(0)
    assert _film(scripts.scores, sees, cement=there & False).cement_area is None


def test_the_table_gives_the_difference_on_the_same_films(scripts: SimpleNamespace) -> None:
    whole = [
        scripts.scores.Film(
            group="thoracolumbar_ap_corners", patient=str(n), area=0.5 + 0.04 * n, errors=(0.1, 0.3), cement_area=None
        )
        for n in range(5)
    ]
    worse = [replace(film, area=film.area - 0.1, errors=(0.2, 0.4)) for film in whole]
    head, _, first, second = scripts.scores.table({"whole": whole, "looks": worse}).splitlines()
    assert head.count("|") == first.count("|") == second.count("|") == 9
    assert first.startswith("| nothing | 58 | 20 | – |")
    assert "| 48, -10.0 (-10.0 to -10.0) | 30, +10.0 (+10.0 to +10.0) | – |" in second


def test_the_table_goes_between_the_marks(scripts: SimpleNamespace, tmp_path: Path) -> None:
    page, (begin, end) = tmp_path / "page.md", scripts.main.MARKS
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    scripts.main.write_between_marks(page, "| new |")
    assert page.read_text() == f"before\n{begin}\n| new |\n{end}\nafter\n"
    page.write_text("no marks\n")
    with pytest.raises(ConfigurationError, match="lacks the lines"):
        scripts.main.write_between_marks(page, "| new |")
    assert page.read_text() == "no marks\n"
