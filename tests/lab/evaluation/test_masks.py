from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vertecast.core import geometry
from vertecast.core.images import Mask
from vertecast.lab.evaluation import metrics, statistics
from vertecast.lab.evaluation.maps.instances import centroids_lps_mm, score_instances
from vertecast.lab.evaluation.maps.masks import MapScore, score_maps


def of(labels: np.ndarray, affine: np.ndarray) -> Mask:
    return Mask(labels=labels, lps_from_index=affine)


def rows(score: MapScore, structure: str) -> dict[str, str]:
    return {one.level or one.found_level: one.verdict for one in score.structures if one.structure == structure}


def test_a_map_against_itself_is_perfect(study) -> None:
    score = score_maps(of(study.true_labels, study.found_affine), of(study.true_labels, study.found_affine))
    assert rows(score, "body") == dict.fromkeys(("L2", "L3", "L4", "L5"), "found")
    assert {one.structure for one in score.structures} == {
        "body", "sacrum", "cement inside", "cement leaked", "all cement"
    }  # fmt: skip
    for one in score.structures:
        overlap = one.overlap
        assert (overlap.dice, overlap.nsd, overlap.assd_mm, overlap.hd95_mm) == (1.0, 1.0, 0.0, 0.0)
        assert one.true_ml == one.found_ml > 0
    assert all(score.instances.identified.values())
    assert max(score.instances.localisation_mm.values()) == 0.0
    assert statistics.panoptic_quality(np.array([score.instances.panoptic_terms])) == 1.0


def test_missed_false_and_renamed_bodies(study) -> None:
    truth = of(study.true_labels, study.found_affine)
    study.remove("L4")
    study.found_labels[study.found_labels == 24] = 25  # L5 called L6
    study.found_labels[20:24, 22:30, 40:50] = 20  # a body that is none, called L1
    score = score_maps(truth, of(study.found_labels, study.found_affine))
    assert rows(score, "body") == {"L2": "found", "L3": "found", "L4": "missed", "L5": "found", "L1": "false"}
    missed = next(one for one in score.structures if one.level == "L4")
    assert (missed.overlap.dice, missed.overlap.hd95_mm) == (0.0, score.worst_mm)
    renamed = next(one for one in score.structures if one.level == "L5")
    assert (renamed.found_level, renamed.overlap.dice) == ("L6", 1.0)
    assert score.instances.identified == {21: True, 22: True, 23: False, 24: False}
    # Three of four found, one false: 3 / (3 + (1 + 1) / 2)
    assert statistics.panoptic_quality(np.array([score.instances.panoptic_terms])) == pytest.approx(0.75)


def test_nothing_found_costs_everything(study) -> None:
    score = score_maps(of(study.true_labels, study.found_affine), None)
    assert {one.verdict for one in score.structures} == {"missed"}
    assert {one.overlap.assd_mm for one in score.structures} == {score.worst_mm}
    assert score.worst_mm == pytest.approx(float(np.linalg.norm(np.array(study.true_labels.shape) * score.spacing_mm)))


def test_structures_that_one_of_the_maps_cannot_hold_are_not_judged(study) -> None:
    truth = of(study.true_labels, study.found_affine)
    score = score_maps(truth, None, scored=frozenset(range(1, 26)))
    assert {one.structure for one in score.structures} == {"body"}


def test_a_body_at_the_edge_of_the_image_is_known_as_cut(study) -> None:
    part = study.true_labels[:, :, :52]
    score = score_maps(of(part, study.found_affine), of(part, study.found_affine))
    assert {one.level: one.cut for one in score.structures if one.level} == {
        "L2": True, "L3": False, "L4": False, "L5": False
    }  # fmt: skip


def test_another_grid_of_the_same_labels_scores_the_same(study) -> None:
    truth = of(study.true_labels, study.found_affine)
    flipped = study.true_labels[::-1].transpose(2, 0, 1)
    new_from_old = np.array([[0, 0, 1, 0], [-1, 0, 0, study.true_labels.shape[0] - 1], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    score = score_maps(truth, of(flipped, study.found_affine @ geometry.inverse(new_from_old)))
    assert {one.overlap.dice for one in score.structures} == {1.0}


def test_panoptic_quality_of_a_case_worked_by_hand() -> None:
    # One body with 8 of 12 voxels in common (IoU 2/3), one with 4 of 12 (1/3, no match), each 10 voxels long.
    truth, found = np.zeros((1, 1, 40), np.uint8), np.zeros((1, 1, 40), np.uint8)
    truth[..., 0:10], found[..., 2:12] = 20, 20
    truth[..., 20:30], found[..., 25:35] = 21, 21
    counts = metrics.overlap_counts(truth, found)
    centers = [centroids_lps_mm(labels, np.diag([1, 1, 5.0, 1])) for labels in (truth, found)]
    score = score_instances(counts, *centers)
    assert score.matched_iou == pytest.approx({20: 8 / 12})
    assert (score.missed, score.false) == ((21,), (21,))
    assert score.localisation_mm == pytest.approx({20: 10.0, 21: 25.0})
    assert score.identified == {20: True, 21: False}  # 25 mm off, beyond the 20 mm of VerSe
    assert statistics.panoptic_quality(np.array([score.panoptic_terms])) == pytest.approx((2 / 3) / 2)


def test_a_shift_of_all_names_by_one_identifies_nothing() -> None:
    centers = {n: np.array([0.0, 0.0, -15.0 * n]) for n in (20, 21, 22)}
    shifted = {n + 1: center for n, center in centers.items()}
    counts = np.zeros((256, 256), np.int64)
    for n in centers:
        counts[n, n + 1] = 10
    score = score_instances(counts, centers, shifted)
    assert not any(score.identified.values())
    assert len(score.matched_iou) == 3  # outlines are all right


def test_labels_are_read_and_scored_from_files(study, tmp_path: Path) -> None:
    from vertecast.lab.evaluation.datasets import read_labels

    study.write_truth(tmp_path / "t")
    study.write_found(tmp_path / "f")
    score = score_maps(
        read_labels(tmp_path / "t" / f"{study.uid}.nii.gz"), read_labels(tmp_path / "f" / study.uid / "labels_1.nii.gz")
    )
    assert {one.overlap.dice for one in score.structures} == {1.0}
