from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vertecast.core.errors import OutputError, UnreadableError
from vertecast.lab.evaluation.score import Score
from vertecast.lab.evaluation.studies.report import evaluate_folders
from vertecast.lab.evaluation.studies.scores import SCORES
from vertecast.lab.evaluation.studies.summary import text_table


def folders(study: object, folder: Path) -> tuple[Path, Path]:
    return study.write_truth(folder / "truth"), study.write_found(folder / "found")


def test_all_files_are_written_and_agree(make: Callable, tmp_path: Path) -> None:
    good, bad, absent = (make(uid=f"1.2.3.{n}") for n in range(3))
    for n, study in enumerate((good, bad, absent)):
        study.truth["seed"] = n
        study.write_truth(tmp_path / "truth")
    bad.remove("L4")
    good.write_found(tmp_path / "found")
    bad.write_found(tmp_path / "found")
    told: list[int] = []
    out = tmp_path / "deep" / "out"
    results = evaluate_folders(
        tmp_path / "truth", tmp_path / "found", out, listener=lambda _study, done, total: told.append(done * 10 + total)
    )
    assert told == [13, 23, 33]
    scores = json.loads((out / "scores.json").read_text())
    assert scores["scores"]["body_dice"]["value"] == pytest.approx(7 / 12)
    assert scores["scores"]["body_dice"]["reached"] is False
    assert scores["scores"]["body_dice"]["patients"] == 3
    assert scores["without_report"] == {"1.2.3.2": "no report of this study"}
    assert scores["simulated"] is True
    assert (out / "scores.txt").read_text() == text_table(results)
    rows = {name: list(csv.DictReader((out / f"{name}.csv").open())) for name in ("studies", "vertebrae", "leaks")}
    assert [row["bodies_found"] for row in rows["studies"]] == ["4", "3", "0"]
    assert [row["leaks_missed"] for row in rows["studies"]] == ["0", "0", "2"]
    missed = [row for row in rows["vertebrae"] if not row["found_level"]]
    assert [(row["level"], row["dice"], row["found_genant_grade"]) for row in missed[:1]] == [("L4", "0", "")]
    assert len(rows["vertebrae"]) == 12
    assert [row["verdict"] for row in rows["leaks"]] == ["found"] * 4 + ["missed"] * 2


def test_leaks_are_counted_by_their_compartment(make: Callable, tmp_path: Path) -> None:
    right, wrong, missed = (make(uid=f"1.2.3.{n}") for n in range(3))
    wrong.report["leaks"][0] |= {"compartment": "prevertebral", "yeom_type": "C"}
    del missed.report["leaks"][0]
    for study in (right, wrong, missed):
        study.truth["leaks"][1]["volume_ml"] = 0.3
        study.write_truth(tmp_path / "truth")
        study.write_found(tmp_path / "found")
    text = text_table(evaluate_folders(tmp_path / "truth", tmp_path / "found", tmp_path / "out"))
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["leaks_by_compartment"] == {
        "canal": {"in view": 3, "found": 3, "compartment right": 3, "Yeom type right": 3},
        "disc_superior": {"in view": 3, "found": 2, "compartment right": 1, "Yeom type right": 1},
    }
    line = next(line for line in text.splitlines() if line.startswith("  disc_superior"))
    assert line.split() == ["disc_superior", "3", "2", "1", "1"]
    rows = list(csv.DictReader((tmp_path / "out" / "leaks.csv").open()))
    assert [(row["yeom_type"], row["found_yeom_type"]) for row in rows[:2]] == [("D", "D"), ("B", "B")]


def test_the_table_says_what_it_is_of_and_what_was_reached(study, tmp_path: Path) -> None:
    text = text_table(evaluate_folders(*folders(study, tmp_path), tmp_path / "out"))
    assert text.startswith("1 studies (simulated) of 1 patients, 0 without a report")
    dice = next(line for line in text.splitlines() if line.startswith("body Dice, complete bodies"))
    assert dice.split()[-2:] == ["≥0.95", "reached"]
    assert "1.000" in dice


def test_targets_are_for_simulated_images_only(study, tmp_path: Path) -> None:
    study.truth["simulated"] = False
    text = text_table(evaluate_folders(*folders(study, tmp_path), tmp_path / "out"))
    assert text.startswith("1 studies (not all of them simulated)")
    assert "reached" not in text
    assert "target" not in text


def test_a_study_without_cement_has_nothing_to_score_there(study, tmp_path: Path) -> None:
    for labels in (study.true_labels, study.found_labels):
        labels[labels >= 200] = 0
    for document in (study.truth, study.report):
        document["cement"], document["leaks"] = [], []
    evaluate_folders(*folders(study, tmp_path), tmp_path / "out")
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["scores"]
    for key in ("cement_dice", "cement_volume_error", "leaks_found", "false_leaks"):
        assert (scores[key]["value"], scores[key]["reached"]) == (None, None), key
    assert (tmp_path / "out" / "leaks.csv").read_text() == ""


def test_folders_without_truth_or_reports_are_refused(study, tmp_path: Path) -> None:
    truth, found = folders(study, tmp_path)
    with pytest.raises(UnreadableError, match="holds no truth"):
        evaluate_folders(found, found, tmp_path / "out")
    with pytest.raises(UnreadableError, match="holds no report"):
        evaluate_folders(truth, truth, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_said(study, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="choose another --out"):
        evaluate_folders(*folders(study, tmp_path), tmp_path / "out")


def test_every_score_has_a_key_of_its_own() -> None:
    assert len({score.key for score in SCORES}) == len(SCORES)


@pytest.mark.parametrize(
    ("sign", "value", "expected"), [("≥", 0.9, True), ("≥", 0.89, False), ("≤", 0.9, True), ("≤", 0.91, False)]
)
def test_the_limit_itself_is_reached(sign: str, value: float, expected: bool) -> None:
    score = Score(key="x", label="x", rows=lambda _: (), target=(sign, 0.9))
    assert score.reached(value) is expected
    assert score.reached(None) is None
