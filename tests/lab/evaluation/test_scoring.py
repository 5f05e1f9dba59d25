from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vertecast.core import geometry
from vertecast.core.images import Mask
from vertecast.lab.evaluation.datasets import read_found, read_truth
from vertecast.lab.evaluation.studies import scores
from vertecast.lab.evaluation.studies.scoring import NO_REPORT, StudyScore, label_pair, score_study


def score(study: object, folder: Path) -> StudyScore:
    (truth,) = read_truth(study.write_truth(folder / "truth"))
    return score_study(truth, read_found(study.write_found(folder / "found"))[truth.study_instance_uid])


def value(key: str, *studies: StudyScore) -> float | None:
    return scores.summarize(studies).estimates[key].value


def verdicts(result: StudyScore) -> list[str]:
    return [leak.verdict for leak in result.leaks]


def test_the_truth_itself_scores_full_marks(study, tmp_path: Path) -> None:
    result = score(study, tmp_path)
    estimates = scores.summarize([result]).estimates
    missed = [s.key for s in scores.SCORES if s.reached(estimates[s.key].value) is False]
    assert missed == []
    assert (result.body_dice, result.cement_dice, result.reason) == (1.0, 1.0, "")
    assert [body.dice for body in result.bodies] == [1.0] * 4
    assert verdicts(result) == ["found", "found"]
    assert (result.false_bodies, result.false_cement) == ((), ())
    assert estimates["leaks_found"].count == 1  # the leak into the canal holds less than 0.1 mL
    assert estimates["grade_kappa"].value == estimates["height_coverage"].value == 1


def test_a_wrong_or_missing_yeom_type_counts_and_one_that_does_not_exist_is_left_out(make, tmp_path: Path) -> None:
    studies = []
    for n, (true, found) in enumerate([("D", "D"), ("D", "C"), ("D", {"not_measured": "no route"}), (None, "S")]):
        study = make(uid=f"1.2.3.{n}")
        study.truth["leaks"][0]["yeom_type"], study.report["leaks"][0]["yeom_type"] = true, found
        studies.append(score(study, tmp_path / str(n)))
    estimate = scores.summarize(studies).estimates["yeom_right"]
    assert (estimate.value, estimate.count) == (pytest.approx(1 / 3), 3)
    assert [leak.yeom_right for result in studies for leak in result.leaks[:1]] == [True, False, False, None]


def test_small_leaks_are_scored_apart(study, tmp_path: Path) -> None:
    # The leak into the canal holds 0.09 mL, that into the disc 0.18.
    del study.report["leaks"][1]
    result = score(study, tmp_path)
    assert (value("leaks_found", result), value("small_leaks_found", result)) == (1.0, 0.0)
    study.truth["leaks"][1]["volume_ml"] = 0.04
    assert value("small_leaks_found", score(study, tmp_path / "smaller")) is None


def test_other_grids_of_the_same_labels_score_the_same(study, tmp_path: Path) -> None:
    # Columns the other way round, axes in another order, padding: the grid of another reader.
    flipped = study.found_labels[::-1].transpose(2, 0, 1)
    new_from_old = np.array([[0, 0, 1, 0], [-1, 0, 0, study.found_labels.shape[0] - 1], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    study.found_affine = study.found_affine @ geometry.inverse(new_from_old)
    study.found_labels = np.pad(flipped, ((2, 0), (0, 3), (1, 1)))
    study.found_affine = study.found_affine @ geometry.affine(np.eye(3), [-2, 0, -1])
    result = score(study, tmp_path)
    assert (result.body_dice, result.cement_dice) == (1.0, 1.0)
    assert all(body.level_right for body in result.bodies)


def test_a_missed_body_counts_0_and_spoils_the_levels(study, tmp_path: Path) -> None:
    study.remove("L4")
    result = score(study, tmp_path)
    assert value("body_dice", result) == pytest.approx(0.75)
    assert value("bodies_found", result) == 0.75
    assert value("all_levels_right", result) == 0
    assert value("levels_right", result) == 0.75
    assert value("anterior_height_mae_mm", result) == 0  # of those that were found


def test_a_shift_by_one_level_is_seen_but_heights_are_still_compared(study, tmp_path: Path) -> None:
    for level, name, number in (("L2", "L1", 20), ("L3", "L2", 21), ("L4", "L3", 22), ("L5", "L4", 23)):
        study.rename(level, name, number)
    study.body("L1")["heights"]["posterior"]["value"] += 2.0
    study.report["cement"][0]["level"] = "L2"
    result = score(study, tmp_path)
    assert value("levels_right", result) == 0
    assert value("body_dice", result) == 1
    assert value("posterior_height_mae_fine_mm", result) == pytest.approx(0.5)
    assert value("height_bias_mm", result) == pytest.approx(2 / 12)
    assert value("cement_volume_error", result) == 0
    assert result.false_cement == ()


def test_a_body_that_is_none_is_counted_with_its_name(study, tmp_path: Path) -> None:
    study.report["vertebrae"].append({**study.body("L2"), "level": "L1"})
    study.found_labels[20:24, 22:30, 40:50] = 20
    result = score(study, tmp_path)
    assert result.false_bodies == ("L1",)
    assert value("false_bodies", result) == 1
    assert result.body_dice is not None
    assert result.body_dice < 1


def test_cut_bodies_are_outlined_but_not_measured(study, tmp_path: Path) -> None:
    study.truth["vertebrae"][0]["complete"] = False
    study.body("L2")["heights"]["anterior"]["value"] = 99.0
    result = score(study, tmp_path)
    assert len(result.complete) == 3
    assert value("anterior_height_mae_mm", result) == 0
    study.remove("L2")
    assert value("body_dice", score(study, tmp_path)) == 1


def test_what_was_not_measured_is_no_error_but_is_counted(study, tmp_path: Path) -> None:
    from vertecast.lab.evaluation.studies.summary import abstentions, genant_confusion

    missing = {"not_measured": "covered by metal"}
    study.body("L5")["heights"]["middle"] = study.body("L5")["genant_grade"] = missing
    study.body("L4")["genant_grade"] = 3
    study.remove("L2")
    result = score(study, tmp_path)
    counts = abstentions([result])
    assert counts["middle height"] == {"measured": 2, "not_measured": 1, "reasons": {"covered by metal": 1}}
    assert counts["wedge angle"] == {"measured": 3, "not_measured": 0, "reasons": {}}
    # true grades L2 0, L3 1, L4 2, L5 0
    assert genant_confusion([result]) == [[0, 0, 0, 0, 1, 1], [0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0] * 6]
    assert value("grade_right", result) == 0.5


def test_a_study_without_report_counts_as_all_missed(study, tmp_path: Path) -> None:
    (truth,) = read_truth(study.write_truth(tmp_path))
    result = score_study(truth, None)
    assert result.reason == NO_REPORT
    assert (result.body_dice, result.cement_dice) == (0.0, 0.0)
    for key in ("body_dice", "bodies_found", "all_levels_right", "treated_found", "leaks_found"):
        assert value(key, result) == 0, key
    assert value("cement_volume_error", result) == 1
    assert value("anterior_height_mae_mm", result) is None


def test_levels_are_scored_only_where_they_can_be_counted(study, tmp_path: Path) -> None:
    study.true_labels[study.true_labels == 26] = 0
    result = score(study, tmp_path)
    assert not result.anchored
    assert value("all_levels_right", result) is None
    assert value("levels_claimed", result) == 1
    for n, level in enumerate(("L2", "L3", "L4", "L5"), start=1):
        study.rename(level, f"V{n}", 40 + n)
    study.report["cement"][0]["level"] = "V2"
    result = score(study, tmp_path)
    assert value("levels_claimed", result) == 0
    assert (value("body_dice", result), value("cement_volume_error", result)) == (1, 0)


def test_the_last_rib_with_a_whole_body_below_is_something_to_count_from(study, tmp_path: Path) -> None:
    study.true_labels[study.true_labels == 26] = 0
    upper, lower = study.truth["vertebrae"][:2]
    upper["level"], lower["level"] = "T12", "L1"
    for old, new in ((21, 19), (22, 20)):
        study.true_labels[study.true_labels == old] = new
    assert score(study, tmp_path).anchored
    lower["complete"] = False
    assert not score(study, tmp_path).anchored


def test_a_body_filled_with_cement_has_no_hole(study, tmp_path: Path) -> None:
    study.found_labels[study.found_labels == 200] = 22
    study.report["cement"] = []
    result = score(study, tmp_path)
    assert result.body_dice == 1
    assert result.cement_dice is not None
    assert result.cement_dice < 0.6
    assert value("treated_found", result) == 0


def test_bone_under_true_metal_is_not_scored(study, tmp_path: Path) -> None:
    study.true_labels[6:9, 6:9, 24:30] = 210
    assert score(study, tmp_path).body_dice == 1
    study.found_labels[12:14, 6:9, 24:30] = 210  # metal claimed where there is none costs its bone
    assert 0.9 < score(study, tmp_path).body_dice < 1


def test_cement_of_the_wrong_amount_and_in_the_wrong_body(study, tmp_path: Path) -> None:
    study.report["cement"] = [
        {"level": "L3", "volume": {"value": 3.0, "unit": "mL", "interval95": None}},
        {"level": "L5", "volume": {"not_measured": "streaks"}},
    ]
    result = score(study, tmp_path)
    assert value("cement_volume_error", result) == pytest.approx(0.25)
    assert result.false_cement == ("L5",)
    assert value("false_cement", result) == 1


def test_patients_are_drawn_again_and_not_their_studies(make: Callable, tmp_path: Path) -> None:
    results = []
    for n, seed in enumerate((1, 1, 2)):
        study = make(uid=f"1.2.3.{n}")
        study.truth["seed"] = seed
        results.append(score(study, tmp_path / str(n)))
    assert scores.summarize(results).estimates["body_dice"].patients == 2


def test_heights_of_thick_slices_are_not_among_the_fine_ones(study, tmp_path: Path) -> None:
    result = score(study, tmp_path)
    assert result.voxel_mm == pytest.approx(1.5)
    assert scores.summarize([result]).estimates["anterior_height_mae_fine_mm"].count == 4
    from dataclasses import replace

    thick = scores.summarize([replace(result, voxel_mm=1.6)]).estimates
    assert (thick["anterior_height_mae_fine_mm"].count, thick["anterior_height_mae_mm"].count) == (0, 4)


def test_empty_maps_make_a_pair() -> None:
    empty = Mask(labels=np.zeros((3, 4, 5), np.uint8), lps_from_index=np.eye(4))
    assert label_pair(empty, empty).truth.shape == label_pair(empty, None).found.shape == (0, 0, 0)
