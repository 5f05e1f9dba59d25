"""What the X-ray path says of simulated studies against what is true of them: every figure from counted cases."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phantoms.scored import TRUE_MASK, Film, quantity, score, value, write
from vertecast.core.errors import OutputError, UnreadableError
from vertecast.lab.evaluation.projections import evaluate_projections, text_table
from vertecast.lab.evaluation.projections.scores import SCORES


def test_what_is_found_as_it_is_has_no_error(tmp_path: Path) -> None:
    write(tmp_path, Film(), Film(series="1.2.2", view="ap"))
    results = score(tmp_path)
    perfect = {
        "view_right": 2, "turned_right": 2, "bodies_found": 8, "levels_right": 8, "all_levels_right": 2,
        "ratio_coverage": 8, "height_coverage": 12, "graded": 4, "grade_kappa": 4, "grade_right": 4,
        "cement_dice_pooled": 2, "cement_dice": 2, "treated_found": 2, "untreated_right": 6, "leaks_found": 1,
        "compartments_right": 1,
    }  # fmt: skip
    for key, count in perfect.items():
        assert value(results, key) == (1.0, count), key
    for key, count in {
        "bodies_invented": 2, "corner_error_p90": 32, "point_error_median": 48, "anterior_ratio_mae": 4,
        "wedge_angle_mae_deg": 4, "posterior_height_mae_mm": 4, "stray_leaks": 2,
    }.items():  # fmt: skip
        assert value(results, key) == (0.0, count), key
    assert value(results, "levels_claimed") == (None, 0)
    assert value(results, "bodies_found", "ap") == (1.0, 4)
    assert value(results, "bodies_found", "oblique") == (None, 0)
    assert value(results, "leaks_found", "ap") == (1.0, 1)


def test_missed_and_invented_bodies_and_wrong_levels_are_counted(tmp_path: Path) -> None:
    film = Film()
    del film.vertebrae[3]
    film.truth["bodies"][0]["complete"] = False
    film.vertebrae[1]["level"] = "L2"
    film.vertebrae[2]["level"] = "L3"
    twice = copy.deepcopy(film.vertebrae[2])
    film.vertebrae += [twice, {**twice, "center_px": [130.0, 180.0]}]
    write(tmp_path, film)
    results = score(tmp_path)
    assert value(results, "bodies_found") == (round(2 / 3, 6), 3)
    assert value(results, "bodies_invented") == (2.0, 1)
    assert value(results, "levels_right") == (None, 0)  # the rib is at a body that is cut: nothing to count from
    assert value(results, "levels_claimed") == (1.0, 2)
    film.truth["sacrum_visible"] = True
    write(tmp_path, film)
    assert value(score(tmp_path), "levels_right") == (0.0, 3)


@pytest.mark.parametrize(("by", "found"), [((19.0, 0.0), True), ((0.0, -21.0), False)])
def test_a_body_is_found_within_half_its_depth(tmp_path: Path, by: tuple[float, float], found: bool) -> None:
    film = Film()
    film.move(0, by)
    write(tmp_path, film)
    assert value(score(tmp_path), "bodies_found") == (1.0 if found else 0.75, 4)


def test_point_errors_are_shares_of_the_depth(tmp_path: Path) -> None:
    film = Film()
    film.move(1, (3.0, 4.0))
    film.vertebrae[2]["six_points_px"]["superior"]["middle"] = [70.0, 98.0]  # 2 pixels below its place
    film.vertebrae[3]["six_points_px"] = {"not_measured": "cut"}
    write(tmp_path, film)
    results = score(tmp_path)
    shares = [0.0] * 8 + [5 / 40] * 4
    assert value(results, "corner_error_median") == (0.0, 12)
    assert value(results, "corner_error_p90") == (round(float(np.percentile(shares, 90)), 6), 12)
    points = [0.0] * 11 + [2 / 40] + [5 / 40] * 6
    assert value(results, "point_error_p90") == (round(float(np.percentile(points, 90)), 6), 18)


def test_a_mirrored_film_is_told(tmp_path: Path) -> None:
    film = Film()
    for body in film.vertebrae:
        for plate in body["six_points_px"].values():
            plate["anterior"], plate["posterior"] = plate["posterior"], plate["anterior"]
    write(tmp_path, film, Film(series="1.2.2"))
    results = score(tmp_path)
    assert value(results, "turned_right") == (0.5, 2)
    assert value(results, "corner_error_p90") == (1.0, 32)
    for body in film.truth["bodies"]:  # the film itself is mirrored, and was read so
        points = body["points_px"]
        body["points_px"] = [points[n] for n in (2, 1, 0, 5, 4, 3)]
    write(tmp_path, film, Film(series="1.2.2"))
    results = score(tmp_path)
    assert value(results, "turned_right") == (1.0, 2)
    assert value(results, "corner_error_p90") == (0.0, 32)


def test_measures_are_compared_and_abstentions_counted(tmp_path: Path) -> None:
    film = Film()
    film.vertebrae[0]["genant_grade"] = 3
    film.vertebrae[1]["genant_grade"] = {"not_measured": "covered by metal"}
    film.vertebrae[1]["ratios"]["wedge"] = {"not_measured": "covered by metal"}
    film.vertebrae[2]["ratios"]["wedge"] = quantity(24 / 26 - 0.06, "1", 0.02)
    film.vertebrae[2]["wedge_angle"] = quantity(1.0, "deg", 1.0)
    film.vertebrae[3]["heights"]["middle"] = quantity(24.0, "mm", 1.0)
    other = Film(series="1.2.2", view="ap")
    for body in other.vertebrae:
        body["genant_grade"] = {"not_measured": "an AP view shows no anterior and posterior wall"}
    write(tmp_path, film, other)
    results = score(tmp_path)
    assert value(results, "anterior_ratio_mae") == (0.02, 3)
    assert value(results, "middle_ratio_mae") == (0.0, 4)
    assert value(results, "ratio_coverage") == (round(6 / 7, 6), 7)
    assert value(results, "wedge_angle_mae_deg") == (0.75, 4)
    assert value(results, "middle_height_mae_mm") == (0.5, 4)
    assert value(results, "height_bias_mm") == (round(2 / 12, 6), 12)
    assert value(results, "height_coverage") == (round(11 / 12, 6), 12)
    assert value(results, "graded") == (0.75, 4)
    assert value(results, "grade_right") == (round(2 / 3, 6), 3)
    document = json.loads((tmp_path / "scores" / "projection_scores.json").read_text())
    assert document["abstentions"]["Genant grade"] == {
        "measured": 3, "not_measured": 1, "reasons": {"covered by metal": 1},
    }  # fmt: skip
    assert document["genant_confusion"]["counts"][0] == [0, 0, 0, 1, 0, 0]
    assert document["genant_confusion"]["counts"][1] == [0, 0, 0, 0, 1, 0]


def test_cement_is_compared_by_pixels_and_by_bodies(tmp_path: Path) -> None:
    film, missed = Film(), Film(series="1.2.2", view="ap")
    film.found_mask[TRUE_MASK] = 0
    film.found_mask[56:66, 70:80], film.found_mask[100:105, 70:80] = 1, 2  # half of it, and a quarter elsewhere
    film.found_mask[:10, :10] = 3
    film.vertebrae[2]["treated"] = True
    missed.found_mask[:] = 0
    missed.vertebrae[1]["treated"] = False
    clean = Film(series="1.2.3")
    clean.truth["cement"], clean.leaks = [], []
    clean.vertebrae[1]["treated"] = False
    write(tmp_path, film, missed, clean)
    results = score(tmp_path)
    one = 200 / (200 + 150)
    assert value(results, "cement_dice", "lateral") == (round(one, 6), 1)
    assert value(results, "cement_dice") == (round(one / 2, 6), 2)
    assert value(results, "cement_dice_pooled") == (round(200 / (400 + 150), 6), 2)
    assert value(results, "treated_found") == (0.5, 2)
    assert value(results, "untreated_right") == (0.9, 10)


def test_empty_against_empty_has_nothing_to_score(tmp_path: Path) -> None:
    film = Film()
    film.truth["bodies"], film.truth["cement"], film.vertebrae, film.leaks = [], [], [], []
    film.found_mask[:] = 0
    write(tmp_path, film)
    results = score(tmp_path)
    counted = {score.key for score in SCORES if value(results, score.key)[1]}
    assert counted == {"view_right", "bodies_invented", "stray_leaks"}


def test_an_image_that_could_not_be_measured_counts_as_missed(tmp_path: Path) -> None:
    film = Film(status="failed")
    film.found_view, film.vertebrae, film.leaks = None, [], []
    write(tmp_path, film)
    results = score(tmp_path)
    for key, count in {
        "view_right": 1,
        "bodies_found": 4,
        "levels_right": 4,
        "cement_dice": 1,
        "leaks_found": 1,
    }.items():
        assert value(results, key) == (0.0, count), key
    assert value(results, "quiet_without_such_leak") == (None, 0)
    assert "1.2 lateral: why" in text_table(results)
    (tmp_path / "analyzed" / "1.2" / "report.json").unlink()
    run = {"studies": [{"study_instance_uid": "1.2", "status": "failed", "reason": "no pixel data"}]}
    (tmp_path / "analyzed" / "run.json").write_text(json.dumps(run))
    assert "1.2 lateral: no pixel data" in text_table(score(tmp_path))


def test_every_line_and_the_document_say_that_they_are_simulated(tmp_path: Path) -> None:
    write(tmp_path, Film(), seed=1, uid="1.1")
    write(tmp_path, Film(), Film(series="1.2.2", view="ap"), seed=2)
    results = score(tmp_path)
    text = (tmp_path / "scores" / "projection_scores.txt").read_text()
    assert text == text_table(results)
    assert all(line.startswith("simulated") for line in text.splitlines())
    found = next(line for line in text.splitlines() if "complete bodies found  " in line).split()
    assert found[4:] == ["1.000", "1.000", "to", "1.000", "12", "1.000", "(8)", "1.000", "(4)", "-", "(0)"]
    document = json.loads((tmp_path / "scores" / "projection_scores.json").read_text())
    assert document["simulated"] is True
    assert all(line["label"].endswith("(simulated)") for line in document["scores"].values())
    assert document["scores"]["bodies_found"]["lateral"]["count"] == 8
    assert [image["bodies_found"] for image in document["per_image"]] == [4, 4, 4]
    assert len({line.key for line in SCORES}) == len(SCORES) == len(document["scores"])


def test_what_cannot_be_scored_is_refused(tmp_path: Path) -> None:
    write(tmp_path, Film())
    truth, found = tmp_path / "truth", tmp_path / "analyzed"
    with pytest.raises(UnreadableError, match="holds no truth of projections"):
        evaluate_projections(found, found, tmp_path / "scores")
    with pytest.raises(UnreadableError, match="holds no report"):
        evaluate_projections(truth, truth, tmp_path / "scores")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another --out"):
        evaluate_projections(truth, found, tmp_path / "file")
    labels = found / "1.2" / "labels_1.png"
    labels.unlink()
    with pytest.raises(UnreadableError, match=r"no labels_<n>\.png of series 1\.2\.1"):
        score(tmp_path)
    Image.new("L", (9, 8)).save(labels)
    with pytest.raises(UnreadableError, match="does not say what it is of"):
        score(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"simulated": False}, "simulated"), ({"seed": None}, "seed"), ({"images": [{}]}, r"images\.0\.")],
)
def test_a_truth_that_is_damaged_or_not_simulated_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    write(tmp_path, Film())
    path = tmp_path / "truth" / "1.2.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UnreadableError, match=message):
        score(tmp_path)


def test_two_images_of_one_series_cannot_be_told_apart(tmp_path: Path) -> None:
    write(tmp_path, Film(), Film())
    with pytest.raises(UnreadableError, match="two images in one series"):
        score(tmp_path)
