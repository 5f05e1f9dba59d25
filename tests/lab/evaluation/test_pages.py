"""The two pages and the questions behind them, on studies whose answers are known."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vertecast.lab.evaluation.assessment import assess, document
from vertecast.lab.evaluation.cases import case_of_study, with_groups, within
from vertecast.lab.evaluation.checklist import TO_AUTHORS, checklist
from vertecast.lab.evaluation.datasets import read_found, read_truth
from vertecast.lab.evaluation.studies.report import evaluate_folders
from vertecast.lab.evaluation.studies.scoring import score_study


@pytest.fixture(scope="module")
def three(make: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good study, one with a missed body and errors, one without a report; all three scored."""
    tmp_path = tmp_path_factory.mktemp("three")
    good, bad, absent = (make(uid=f"1.2.3.{n}") for n in range(3))
    for n, study in enumerate((good, bad, absent)):
        study.truth["seed"] = n
        study.truth["groups"] = {"scanner": "<A & B>"}
        study.write_truth(tmp_path / "truth")
    bad.remove("L4")
    bad.body("L2")["heights"]["middle"] = {"not_measured": "covered by metal"}
    bad.body("L5")["heights"]["anterior"] = {"value": 27.0, "unit": "mm", "interval95": [26.0, 28.0]}
    for body in (*good.report["vertebrae"], *bad.report["vertebrae"]):
        body |= {
            "confidence": 0.9,
            "level_confidence": 0.8,
            "ratios": {"wedge": {"value": 0.9, "unit": "1", "interval95": None}},
        }
    for study in (good, bad):
        for n, leak in enumerate(study.report["leaks"]):
            leak["confidence"] = 0.9 - 0.2 * n
        study.report["angles"] = [
            {"name": "local kyphosis L3", "angle": {"value": 12.0, "unit": "deg", "interval95": None}}
        ]
        study.write_found(tmp_path / "found")
    evaluate_folders(tmp_path / "truth", tmp_path / "found", tmp_path / "out")
    return tmp_path


def test_the_pages_hold_every_section_and_load_nothing(three: Path) -> None:
    page, claim = ((three / "out" / name).read_text() for name in ("index.html", "checklist.html"))
    for text in (page, claim):
        assert text.count("SIMULATED DATA") >= 2
        assert not re.search(r"(?:src|href)=\"https?:", text)
        assert "default-src 'none'" in text
        assert "<A & B>" not in text  # escaped where it stands
    for section in (
        "Outlines",
        "Vertebrae as things",
        "Measures",
        "Grades and fractures",
        "Cement and leaks",
        "Confidence",
    ):
        assert f"<h2>{section}</h2>" in page
    for plot in ("Bland–Altman: anterior height", "FROC: reported leaks", "Reliability: the level", "Dice by level"):
        assert f'alt="{plot}' in page
    assert page.count("data:image/png;base64,") == 3  # the worst cases
    assert "1.2.3.2: no report of this study" in page
    assert "covered by metal (1)" in page
    structures = list(csv.DictReader((three / "out" / "structures.csv").open()))
    assert {row["verdict"] for row in structures if row["case"] == "1.2.3.2"} == {"missed"}
    assert {row["group: scanner"] for row in structures} == {"<A & B>"}


def test_answers_of_studies_worked_by_hand(three: Path) -> None:
    scored = json.loads((three / "out" / "scores.json").read_text())
    sections = scored["assessment"]["sections"]

    def value(section: str, question: str, statistic: str) -> float:
        return sections[section][question]["statistics"][statistic]["value"]

    # Seven bodies of twelve were found; one of their anterior heights is 3 mm too large.
    assert value("Outlines", "body", "found") == pytest.approx(7 / 12)
    assert value("Outlines", "body", "dice_of_found") == 1.0
    assert value("Vertebrae as things", "panoptic", "quality") == pytest.approx(7 / (7 + 5 / 2))
    assert value("Measures", "anterior_height_mm", "bias") == pytest.approx(3 / 7)
    assert value("Measures", "anterior_height_mm", "coverage") == pytest.approx(6 / 7)
    assert sections["Measures"]["middle_height_mm"]["statistics"]["mae"]["count"] == 6
    assert value("Measures", "wedge_ratio", "mae") == pytest.approx(abs(0.9 - 24 / 26))
    # Grades are 0, 1, 2, 0: six of the twelve are fractured, one of them was missed and two are in no report.
    assert value("Grades and fractures", "fracture", "sensitivity") == pytest.approx(3 / 6)
    assert value("Grades and fractures", "fracture", "specificity") == 1.0
    assert value("Cement and leaks", "leaks", "found") == pytest.approx(4 / 6)
    assert value("Cement and leaks", "leak_froc", "at_half") == pytest.approx(4 / 6)
    assert value("Cement and leaks", "leaking_bodies", "sensitivity") == pytest.approx(2 / 3)
    assert value("Confidence", "level_confidence", "calibration_error") == pytest.approx(0.2)
    assert scored["abstentions"]["middle height"]["not_measured"] == 1
    assert scored["assessment"]["without_score"]["metal"] == 3
    groups = sections["Outlines"]["body"]["groups"]["level"]
    assert groups["L4"]["dice"]["value"] == pytest.approx(1 / 3)


def test_kyphosis_is_taken_from_the_level_that_the_report_gave_it(make: Callable, tmp_path: Path) -> None:
    study = make()
    study.truth["angles"] = [{"name": "local kyphosis L3", "angle": 10.0}]
    study.report["angles"] = [
        {"name": "local kyphosis L3", "angle": {"value": 12.5, "unit": "deg", "interval95": None}}
    ]
    (truth,) = read_truth(study.write_truth(tmp_path / "t"))
    scored = score_study(truth, read_found(study.write_found(tmp_path / "f"))[study.uid])
    values = document(assess([case_of_study(scored)]))["sections"]["Measures"]["local_kyphosis_deg"]["statistics"]
    assert (values["bias"]["value"], values["bias"]["interval95"]) == (2.5, None)


def test_the_checklist_fills_in_what_is_known_and_no_more(make: Callable, tmp_path: Path) -> None:
    study = make()
    (truth,) = read_truth(study.write_truth(tmp_path / "t"))
    scored = score_study(truth, read_found(study.write_found(tmp_path / "f"))[study.uid])
    items = checklist(assess([case_of_study(scored)]), {})
    assert [item.number for item in items] == list(range(1, 43))
    answers = {item.number: item.answer for item in items}
    assert "1 images of 1 patients" in answers[19]
    assert answers[14] == "The geometry that the images were simulated from."
    assert all(answers[n] == TO_AUTHORS for n in (1, 2, 5, 8, 22, 25, 39, 40, 41, 42))


def test_nothing_is_called_simulated_that_is_not(make: Callable, tmp_path: Path) -> None:
    study = make()
    study.truth["simulated"] = False
    (truth,) = read_truth(study.write_truth(tmp_path / "t"))
    real = assess([case_of_study(score_study(truth, None))])
    assert real.data == "The images are not marked as simulated."
    assert checklist(real, {})[13].answer == TO_AUTHORS


def test_a_table_moves_cases_to_their_patient(make: Callable, tmp_path: Path) -> None:
    study = make()
    (truth,) = read_truth(study.write_truth(tmp_path / "t"))
    case = case_of_study(score_study(truth, None))
    moved = with_groups(case, {case.name: {"patient": "p9", "sex": "f"}})
    assert (moved.patient, moved.groups["sex"]) == ("p9", "f")
    assert moved.groups["longest voxel side"] == ">1 to 2 mm"


@pytest.mark.parametrize(("value", "group"), [(0.7, "≤1 mm"), (1.0001, "≤1 mm"), (1.5, ">1 to 2 mm"), (5.0, ">3 mm")])
def test_groups_of_voxel_sizes(value: float, group: str) -> None:
    assert within(value, (1.0, 2.0, 3.0), "mm") == group
