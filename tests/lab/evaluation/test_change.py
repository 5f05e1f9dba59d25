"""What reports say of change between studies, scored on a patient scanned three times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vertecast.lab.evaluation.studies.report import evaluate_folders
from vertecast.lab.evaluation.studies.scores import Results
from vertecast.lab.evaluation.studies.summary import text_table

PLACES = ("anterior", "middle", "posterior")
GAIN_MM, FALL_MM = 3.0, 6.0
"""What L3 regains in front by the treatment, and L4 loses later."""


def quantity(value: float, unit: str, half: float = 0.5) -> dict[str, Any]:
    return {"value": value, "unit": unit, "interval95": [value - half, value + half]}


def truth_of(study: Any, level: str) -> dict[str, Any]:
    found: dict[str, Any] = next(body for body in study.truth["vertebrae"] if body["level"] == level)
    return found


def raise_front(study: Any, level: str, by_mm: float) -> None:
    truth_of(study, level)["heights"]["anterior"] += by_mm
    study.body(level)["heights"]["anterior"] = quantity(truth_of(study, level)["heights"]["anterior"], "mm")


def change_of(later: Any, earlier: Any) -> dict[str, Any]:
    """A report's change that is true."""
    cement = {item["level"]: item["volume_ml"] for item in later.truth["cement"]}
    for item in earlier.truth["cement"]:
        cement[item["level"]] -= item["volume_ml"]
    kyphoses = [{a["name"][-2:]: a["angle"] for a in study.truth["angles"]} for study in (later, earlier)]
    levels = []
    for new, old in zip(later.truth["vertebrae"], earlier.truth["vertebrae"], strict=True):
        name = new["level"]
        between = name in kyphoses[0]
        level: dict[str, Any] = {
            "level": name,
            "height_gain": {p: quantity(new["heights"][p] - old["heights"][p], "mm") for p in PLACES},
            "wedge_change": quantity(new["wedge_angle"] - old["wedge_angle"], "deg"),
            "kyphosis_change": quantity(kyphoses[0][name] - kyphoses[1][name], "deg")
            if between
            else {"not_measured": "no body above in view"},
        }
        if old["treated"]:
            level["recollapse"] = new["heights"]["anterior"] / old["heights"]["anterior"] < 0.85
        if name in cement:
            level["cement_change"] = quantity(cement[name], "mL", 0.2)
        levels.append(level)
    return {"pre_study": earlier.uid, "modality": "ct", "levels": levels, "new_fractures": []}


def level_of(change: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(level for level in change["levels"] if level["level"] == name)
    return found


@pytest.fixture
def course(make: Callable[..., Any]) -> list[Any]:
    """Before, after and weeks after the treatment of L3, which regains height; later L4 breaks and L3 falls again."""
    studies = [make(uid=f"1.2.3.{n}") for n in (1, 2, 3)]
    for study, phase in zip(studies, ("pre", "post", "follow-up"), strict=True):
        study.truth["phase"] = phase
        study.truth["angles"] = [{"name": f"local kyphosis {level}", "angle": 8.0} for level in ("L3", "L4")]
        for level, grade in {"L2": 0, "L3": 2, "L4": 0, "L5": 0}.items():
            truth_of(study, level)["genant_grade"] = study.body(level)["genant_grade"] = grade
    pre, post, later = studies
    for old in (truth_of(pre, "L3"), pre.body("L3")):
        old["treated"] = False
    for part in (pre.truth, pre.report):
        part["cement"], part["leaks"] = [], []
    for labels in (pre.true_labels, pre.found_labels):
        labels[labels >= 200] = 0
    raise_front(post, "L3", GAIN_MM)
    truth_of(post, "L3")["wedge_angle"] -= 5.0
    post.truth["angles"][0]["angle"] -= 3.0
    raise_front(later, "L4", -FALL_MM)
    raise_front(later, "L3", -FALL_MM)
    truth_of(later, "L4")["genant_grade"] = later.body("L4")["genant_grade"] = 2
    post.report["change"] = change_of(post, pre)
    later.report["change"], later.report["further_changes"] = change_of(later, post), [change_of(later, pre)]
    fracture = {"level": "L4", "grade": 2, "height_change": quantity(-0.25, "1"), "adjacent": True}
    later.report["change"]["new_fractures"] = [fracture]
    later.report["further_changes"][0]["new_fractures"] = [fracture]
    later.report["timeline"] = [
        {"study_instance_uid": study.uid, "levels": [{"level": "L3"}, {"level": "L4"}]} for study in studies
    ]
    return studies


def evaluated(studies: list[Any], folder: Path) -> Results:
    for study in studies:
        study.write_truth(folder / "truth")
        study.write_found(folder / "found")
    return evaluate_folders(folder / "truth", folder / "found", folder / "scores")


def value(results: Results, key: str) -> tuple[float | None, int]:
    estimate = results.estimates[key]
    return (None if estimate.value is None else round(estimate.value, 6)), estimate.count


def test_a_right_report_reaches_every_aim(course: list[Any], tmp_path: Path) -> None:
    results = evaluated(course, tmp_path)
    assert value(results, "change_levels_matched") == (1.0, 12)
    assert value(results, "height_gain_mae_treated_mm") == (0.0, 9)
    assert value(results, "height_gain_median_untreated_mm") == (0.0, 27)
    assert value(results, "height_gain_coverage_treated") == (1.0, 9)
    assert value(results, "wedge_change_mae_deg") == (0.0, 12)
    assert value(results, "kyphosis_change_mae_deg") == (0.0, 6)
    assert value(results, "recollapse_sensitivity") == (1.0, 1)
    assert value(results, "recollapse_specificity") == (None, 0)
    assert value(results, "new_fractures_found") == (1.0, 2)
    assert value(results, "false_new_fractures") == (0.0, 3)
    assert value(results, "cement_change_mae_ml") == (0.0, 3)
    assert value(results, "timeline_complete") == (1.0, 1)
    printed = text_table(results)
    assert "change: height gained, treated bodies, median absolute error (mm)" in printed
    rows = (tmp_path / "scores" / "changes.csv").read_text().splitlines()
    assert len(rows) == 1 + 12
    assert ",3,0,0,3,0,0,-5,-5,-3,-3,4,4," in rows[2]


def test_errors_are_those_of_the_differences(course: list[Any], tmp_path: Path) -> None:
    change = course[1].report["change"]
    # Both heights 2 mm too large: no error of the gain. The gain itself is what is scored.
    for study in course[:2]:
        study.body("L3")["heights"]["anterior"]["value"] += 2.0
    level_of(change, "L3")["height_gain"]["anterior"] = quantity(GAIN_MM + 1.2, "mm")
    level_of(change, "L2")["height_gain"]["posterior"] = quantity(-0.4, "mm")
    level_of(change, "L3")["wedge_change"] = quantity(-3.0, "deg")
    level_of(change, "L3")["kyphosis_change"] = {"not_measured": "cut"}
    level_of(change, "L3")["cement_change"] = quantity(3.5, "mL", 0.2)
    results = evaluated(course, tmp_path)
    assert value(results, "height_gain_mae_treated_mm") == (pytest.approx(1.2 / 9, abs=1e-5), 9)
    assert value(results, "height_gain_median_treated_mm") == (0.0, 9)
    assert value(results, "height_gain_bias_treated_mm") == (pytest.approx(1.2 / 9, abs=1e-5), 9)
    assert value(results, "height_gain_mae_untreated_mm") == (pytest.approx(0.4 / 27, abs=1e-5), 27)
    assert value(results, "height_gain_coverage_treated") == (pytest.approx(8 / 9, abs=1e-5), 9)
    assert value(results, "height_gain_coverage_untreated") == (1.0, 27)
    assert value(results, "wedge_change_mae_deg") == (pytest.approx(2.0 / 12, abs=1e-5), 12)
    assert value(results, "wedge_change_coverage") == (pytest.approx(11 / 12, abs=1e-5), 12)
    assert value(results, "kyphosis_change_mae_deg") == (0.0, 5)
    assert value(results, "cement_change_mae_ml") == (pytest.approx(0.5 / 3, abs=1e-5), 3)


def test_a_report_without_a_change_matches_nothing(course: list[Any], tmp_path: Path) -> None:
    del course[1].report["change"]
    results = evaluated(course, tmp_path)
    assert value(results, "change_levels_matched") == (pytest.approx(8 / 12, abs=1e-5), 12)
    assert value(results, "height_gain_mae_treated_mm") == (0.0, 6)
    # Nothing said of the cement that came is an error of all of it.
    assert value(results, "cement_change_mae_ml") == (pytest.approx(4.0 / 3, abs=1e-5), 3)


def test_a_study_without_a_report_is_compared_with_none(course: list[Any], tmp_path: Path) -> None:
    pre, post, later = course
    for study in course:
        study.write_truth(tmp_path / "truth")
    later.report["further_changes"] = []
    for study in (pre, later):
        study.write_found(tmp_path / "found")
    later.report["change"] = change_of(later, pre)
    later.write_found(tmp_path / "found")
    results = evaluate_folders(tmp_path / "truth", tmp_path / "found", tmp_path / "scores")
    assert value(results, "change_levels_matched") == (1.0, 4)
    assert value(results, "timeline_complete") == (None, 0)
    assert post.uid in {study.truth.study_instance_uid for study in results.studies}


def test_a_body_with_two_names_is_not_matched_and_one_without_a_name_not_expected(
    course: list[Any], tmp_path: Path
) -> None:
    pre, post, _ = course
    # The change at "L2" is that of two different bodies: it must not be scored as that of one.
    post.rename("L2", "L1", 20)
    del post.report["change"]["levels"][0]
    pre.rename("L5", "V4", 7)
    del post.report["change"]["levels"][-1]
    results = evaluated([pre, post], tmp_path)
    assert value(results, "change_levels_matched") == (pytest.approx(2 / 3, abs=1e-5), 3)


@pytest.mark.parametrize("said", [True, False, {"not_measured": "cut"}])
def test_recollapse_that_is_left_open_counts_as_denied(course: list[Any], tmp_path: Path, said: Any) -> None:
    level_of(course[2].report["change"], "L3")["recollapse"] = said
    results = evaluated(course, tmp_path)
    assert value(results, "recollapse_sensitivity") == (float(said is True), 1)


def test_a_recollapse_that_was_none_costs_specificity(course: list[Any], tmp_path: Path) -> None:
    raise_front(course[2], "L3", FALL_MM)
    results = evaluated(course, tmp_path)
    assert value(results, "recollapse_specificity") == (0.0, 1)
    assert value(results, "recollapse_sensitivity") == (None, 0)


def test_missed_and_false_fractures_are_counted(course: list[Any], tmp_path: Path) -> None:
    fractures = course[2].report["change"]["new_fractures"]
    fractures[0] = {**fractures[0], "level": "L5"}
    results = evaluated(course, tmp_path)
    assert value(results, "new_fractures_found") == (0.5, 2)
    assert value(results, "false_new_fractures") == (pytest.approx(1 / 3, abs=1e-5), 3)


def test_a_treated_body_that_falls_is_no_new_fracture(course: list[Any], tmp_path: Path) -> None:
    truth_of(course[2], "L3")["genant_grade"] = 3
    truth_of(course[1], "L3")["genant_grade"] = 0
    results = evaluated(course, tmp_path)
    assert value(results, "new_fractures_found") == (1.0, 2)


def test_lines_missing_from_the_timeline_are_counted(course: list[Any], tmp_path: Path) -> None:
    del course[2].report["timeline"][0]["levels"][1]
    results = evaluated(course, tmp_path)
    assert value(results, "timeline_complete") == (pytest.approx(5 / 6, abs=1e-5), 1)


def test_a_damaged_change_names_the_file(course: list[Any], tmp_path: Path) -> None:
    from vertecast.core.errors import UnreadableError

    del course[1].report["change"]["levels"][0]["wedge_change"]
    with pytest.raises(UnreadableError, match=r"report\.json: lacks what is to be scored"):
        evaluated(course, tmp_path)
