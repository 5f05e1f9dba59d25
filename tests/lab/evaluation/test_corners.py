from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vertecast.core.errors import InputError, UnreadableError
from vertecast.lab.evaluation.datasets.corners import find_corners
from vertecast.lab.evaluation.projections.questions import FILM_QUESTIONS, height_ratio, pair_films, wedge_deg
from vertecast.lab.evaluation.questions import answer

BODY = np.array([[0.0, 0.0], [40.0, 0.0], [0.0, 24.0], [40.0, 30.0]])
"""Corners of a wedged body 40 px deep: 24 px high in front, 30 behind."""


def bodies(count: int = 3) -> np.ndarray:
    return np.stack([BODY + np.array([100 + 3 * n, 50 + 45 * n]) for n in range(count)])


def write_own(folder: Path, name: str, corners: np.ndarray, levels: list[str] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"vertebrae": [{"corners_xy_AS_PS_PI_AI": body[[0, 1, 3, 2]].tolist()} for body in corners]}
    for body, level in zip(document["vertebrae"], levels or [], strict=False):
        body["level"] = level
    (folder / f"{name}.json").write_text(json.dumps(document))


def coco(corners: np.ndarray, levels: list[str], names: list[str] | None = None) -> dict:
    names = names or ["anterior_superior", "posterior_superior", "posterior_inferior", "anterior_inferior"]
    categories = [{"id": n, "name": level, "keypoints": names} for n, level in enumerate(dict.fromkeys(levels))]
    number = {one["name"]: one["id"] for one in categories}
    annotations = [
        {
            "id": n,
            "image_id": 7,
            "category_id": number[level],
            "keypoints": np.column_stack([body[[0, 1, 3, 2]], np.full(4, 2)]).ravel().tolist(),
        }
        for n, (body, level) in enumerate(zip(corners, levels, strict=True))
    ]
    return {"images": [{"id": 7, "file_name": "films/a.png"}], "annotations": annotations, "categories": categories}


def values(truth: Path, found: Path) -> dict[tuple[str, str], float | None]:
    films = pair_films(truth, found)
    answers = [one for question in FILM_QUESTIONS if (one := answer(question, films)) is not None]
    return {(one.question.key, key): e.value for one in answers for key, e in one.estimates.items()}


def test_coco_and_own_corners_are_the_same(tmp_path: Path) -> None:
    write_own(tmp_path / "t", "a", bodies(), ["L1", "L2", "L3"])
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "all.json").write_text(json.dumps(coco(bodies(), ["L1", "L2", "L3"])))
    (own,), (other,) = (find_corners(tmp_path / side).values() for side in "tp")
    assert np.array_equal(own.corners_px, other.corners_px)
    assert own.levels == other.levels == ("L1", "L2", "L3")
    scores = values(tmp_path / "t", tmp_path / "p")
    assert scores["film_bodies", "found"] == scores["film_bodies", "level_right"] == 1
    assert scores["film_corners", "mean"] == scores["film_cobb_deg", "mae"] == 0


def test_reports_of_films_give_corners(tmp_path: Path) -> None:
    def plate(points: np.ndarray) -> dict[str, list[float]]:
        return {"anterior": points[0].tolist(), "middle": points.mean(axis=0).tolist(), "posterior": points[1].tolist()}

    (tmp_path / "a").mkdir()
    vertebrae = [
        {"level": "L1", "six_points_px": {"superior": plate(body[:2]), "inferior": plate(body[2:])}}
        for body in bodies(2)
    ]
    (tmp_path / "a" / "report.json").write_text(json.dumps({"vertebrae": vertebrae}))
    film = find_corners(tmp_path)["a"]
    assert np.array_equal(film.corners_px, bodies(2))


def test_missed_false_and_shifted_bodies_worked_by_hand(tmp_path: Path) -> None:
    write_own(tmp_path / "t", "a", bodies(), ["L1", "L2", "L3"])
    found = np.stack([bodies()[0] + [4.0, 0.0], bodies()[1], BODY + 900])
    write_own(tmp_path / "p", "a", found, ["L1", "L3", "L4"])
    scores = values(tmp_path / "t", tmp_path / "p")
    assert scores["film_bodies", "found"] == pytest.approx(2 / 3)
    assert scores["film_bodies", "level_right"] == 0.5
    assert scores["film_false", "a_film"] == 1
    depth = (40.0 + np.hypot(40, 6)) / 2
    assert scores["film_corners", "mean"] == pytest.approx(4 / depth / 2)
    assert scores["film_height_ratio", "mae"] == pytest.approx(0)


def test_a_film_without_prediction_counts_as_missed(tmp_path: Path) -> None:
    for name in "ab":
        write_own(tmp_path / "t", name, bodies())
    write_own(tmp_path / "p", "a", bodies())
    assert values(tmp_path / "t", tmp_path / "p")["film_bodies", "found"] == 0.5
    write_own(tmp_path / "q", "z", bodies())
    with pytest.raises(InputError, match="corners of no film of the truth, such as a"):
        pair_films(tmp_path / "t", tmp_path / "q")


def test_ratio_and_angle_worked_by_hand() -> None:
    assert height_ratio(BODY) == pytest.approx(0.8)
    assert wedge_deg(BODY) == pytest.approx(np.degrees(np.arctan2(6, 40)))
    assert wedge_deg(BODY[[1, 0, 3, 2]]) == pytest.approx(-np.degrees(np.arctan2(6, 40)))


def test_what_is_no_corner_is_said_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text(json.dumps(coco(bodies(1), ["L1"], names=["a", "b", "c", "d"])))
    with pytest.raises(UnreadableError, match=r"all\.json: its key points are not four corners with known names"):
        find_corners(tmp_path)
    broken = coco(bodies(1), ["L1"])
    del broken["annotations"][0]["category_id"]
    path.write_text(json.dumps(broken))
    with pytest.raises(UnreadableError, match="is no COCO file"):
        find_corners(tmp_path)
    path.write_text("{")
    with pytest.raises(UnreadableError, match="is not valid JSON"):
        find_corners(tmp_path)
    path.write_text("[]")
    assert find_corners(tmp_path) == {}
