from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phantoms.spine import vertebra_without_numbers
from vertecast.core import geometry
from vertecast.core.anatomy import label_name
from vertecast.core.errors import GeometryError
from vertecast.core.images import Mask
from vertecast.core.results import HardwareFinding, NotMeasured, Quantity, StudyReport, VertebraFinding
from vertecast.lab.evaluation.real.images import (
    IMAGES,
    Claims,
    RealImage,
    claims_of,
    read_real_truth,
    read_whole_truth,
    score_real,
)
from vertecast.lab.evaluation.real.report import document, table_lines, text_lines

AFFINE = geometry.affine(geometry.rotation([1, 0.2, 0], 0.2) * np.array([3.0, 2.5, 2.0]), [5.0, 6.0, 7.0])
KNOWN = RealImage(name="known", path="ct.nii.gz", bodies="b.nii.gz", target_dice=0.86, levels="known")


def write(path: Path, labels: np.ndarray, lps_from_index: np.ndarray = AFFINE) -> None:
    import nibabel

    nibabel.Nifti1Image(labels, geometry.LPS_FROM_RAS @ lps_from_index).to_filename(path)


def bodies(*numbers: int) -> Mask:
    labels = np.zeros((8, 9, 12 * len(numbers)), np.uint8)
    for n, number in enumerate(numbers):
        labels[1:7, 1:8, 12 * n + 1 : 12 * n + 11] = number
    return Mask(labels=labels, lps_from_index=AFFINE)


def claims(*names: str, cement: int = 0) -> Claims:
    return Claims(bodies=[(name, True) for name in names], cement=cement, leaks=0, metal=0)


def test_the_truth_itself_reaches_the_target() -> None:
    score = score_real(KNOWN, claims("L4", "L3"), bodies(23, 22), bodies(23, 22))
    assert (score.scored_dice, score.levels_right, score.missed, score.beyond_truth) == (1.0, True, (), ())
    text = "\n".join(text_lines(score))
    assert "target: all bodies ≥0.86: reached (1.000)" in text
    assert "all named rightly" in text
    assert "right: there is none" in text


def test_shifted_levels_missed_and_added_bodies_are_told() -> None:
    score = score_real(KNOWN, claims("L3", "T11", cement=1), bodies(22, 0, 18), bodies(23, 22, 0))
    assert score.dice_by_level == {"L3": 0.0, "L4": 1.0}
    assert (score.missed, score.beyond_truth, score.levels_right) == (("L3",), ("T11",), False)
    assert score.dice == pytest.approx(0.5)
    text = "\n".join(text_lines(score))
    assert "levels: wrong" in text
    assert "1 cement, 0 leaks, 0 metal\n" in text + "\n"
    assert "there is none" not in text


def test_heights_are_compared_by_the_body_and_not_by_its_name() -> None:
    def body(level: str, middle_mm: float) -> VertebraFinding:
        heights = {"middle": Quantity(value=middle_mm, unit="mm"), "anterior": NotMeasured(reason="not seen")}
        return replace(vertebra_without_numbers(level), heights=heights)

    found, truth = [body("V1", 24.0), body("V2", 25.0)], [body("L2", 26.0), body("L3", 24.0), body("L4", 30.0)]
    image = RealImage(name="crop", path="ct", bodies="b", levels="unknown")
    score = score_real(image, claims("V1", "V2"), bodies(41, 42, 0), bodies(21, 22, 23), found, truth)
    assert score.height_differences_mm == {"L2": {"middle": -2.0}, "L3": {"middle": 1.0}}
    assert "middle -0.5, absolute 1.5; 2 bodies" in "\n".join(text_lines(score))


def test_unknown_levels_are_right_where_nothing_to_count_from_is_in_view() -> None:
    image = RealImage(name="crop", path="ct", bodies="b", scored="L3", target_dice=0.9, levels="unknown")
    score = score_real(image, claims("V1", "V2"), bodies(41, 42), bodies(21, 22))
    assert (score.levels_right, score.scored_dice, score.missed) == (True, 1.0, ())
    named = score_real(image, claims("L2", "L3"), bodies(21, 22), bodies(21, 22))
    assert named.levels_right is False


def test_an_image_without_truth_has_claims_alone() -> None:
    score = score_real(RealImage(name="x", path="x"), claims("L1", "L2"), bodies(20, 21), None)
    assert (score.dice, score.scored_dice, score.levels_right, score.beyond_truth) == (None, None, None, ())
    assert document([score])["x"]["bodies"] == [{"level": "L1", "complete": True}, {"level": "L2", "complete": True}]


def test_subregions_cut_the_body_out_of_the_vertebra(tmp_path: Path) -> None:
    vertebra, parts = np.zeros((4, 5, 6), np.uint8), np.zeros((4, 5, 6), np.uint8)
    vertebra[:, :, :4], vertebra[:, :, 4:] = 21, 22
    parts[0], parts[1], parts[2] = 49, 50, 41
    write(tmp_path / "v.nii.gz", vertebra)
    write(tmp_path / "s.nii.gz", parts)
    image = RealImage(name="crop", path="ct", bodies="v.nii.gz", subregions="s.nii.gz")
    truth = read_real_truth(image, tmp_path)
    assert truth is not None
    assert (truth.labels[:2] == vertebra[:2]).all()
    assert not truth.labels[2:].any()
    write(tmp_path / "s.nii.gz", parts, AFFINE + np.eye(4))
    with pytest.raises(GeometryError, match="another grid"):
        read_real_truth(image, tmp_path)


def test_claims_count_grades_of_complete_bodies_alone() -> None:
    def body(level: str, grade: int | None, span: tuple[int, int] | None, *, complete: bool = True) -> VertebraFinding:
        missing = NotMeasured(reason="not seen")
        return replace(
            vertebra_without_numbers(level),
            complete=complete,
            genant_grade=missing if grade is None else grade,
            genant_grade_range=span or missing,
        )

    metal = HardwareFinding(series_instance_uid="1.2", kind="metal", volume=Quantity(value=0.5, unit="mL"))
    vertebrae = (
        body("T12", 3, (3, 3)), body("L1", 2, (1, 2)), body("L2", None, (1, 2)), body("L3", 0, (0, 1)),
        body("L4", None, None), body("L5", 3, (2, 3), complete=False),
    )  # fmt: skip
    report = StudyReport(
        study_instance_uid="1", phase="pre", phase_source="unknown", series=(), vertebrae=vertebrae,
        hardware=(metal, replace(metal, volume=NotMeasured(reason="streaks"))),
    )  # fmt: skip
    said = claims_of(report)
    assert list(said.fractured) == [("T12", 3), ("L1", 2)]
    assert (said.undecided, said.ungraded) == (["L2"], ["L4"])
    assert (said.complete, len(said.bodies), said.metal, said.metal_ml) == (5, 6, 2, 0.5)
    score = score_real(RealImage(name="x", path="x"), said, bodies(20, 21), None)
    text = "\n".join(text_lines(score))
    assert "graded ≥2: T12 (3) L1 (2); undecided: L2; no grade: L4" in text
    assert "0 cement, 0 leaks, 2 metal (0.50 mL)" in text
    values = document([score])["x"]
    assert (values["bodies_complete"], values["bodies_cut"], values["graded_2_or_more"]) == (5, 1, {"T12": 3, "L1": 2})


def test_whole_vertebrae_are_scored_told_and_tabled() -> None:
    image = RealImage(name="whole", path="ct", whole="v", whole_levels=("L3", "L4"), whole_target=0.9, each_target=0.99)
    score = score_real(image, claims("L3", "L4"), bodies(22, 23), None, whole=bodies(22, 23))
    text = "\n".join(text_lines(score))
    assert "whole vertebrae L3–L4: Dice 1.000 merged; L3 1.000, L4 1.000" in text
    assert "target: merged ≥0.9: reached; each ≥0.99: reached" in text
    assert "names of whole vertebrae: right" in text
    shifted = score_real(image, claims("L4"), bodies(23, 0), None, whole=bodies(22, 23))
    text = "\n".join(text_lines(shifted))
    assert "names of whole vertebrae: +1: L3; missed: L4" in text
    assert "merged ≥0.9: missed; each ≥0.99: missed" in text
    values = document([shifted])["whole"]["whole_vertebrae"]
    assert (values["dice_minimum"], values["levels_off_by"], values["levels_right"]) == (0.0, {"L3": 1}, False)
    absent = RealImage(name="not_analysed", path="y")
    head, row, empty = list(table_lines([image, absent], [shifted]))
    assert head.split()[0] == "image"
    assert row.split()[:7] == ["whole", "1", "0", "–", "0.667", "0.000", "0.500"]
    assert "1× +1, 1× missed" in row
    assert empty.split()[:2] == ["not_analysed", "none"]


def test_numbers_of_whole_vertebrae_become_ours(tmp_path: Path) -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[:2], labels[2:] = 27, 28
    write(tmp_path / "v.nii.gz", labels)
    image = RealImage(name="x", path="ct", whole="v.nii.gz")
    whole = read_whole_truth(image, tmp_path, {27: 24, 28: 23})
    assert whole is not None
    assert (np.unique(whole.labels[:2]).tolist(), np.unique(whole.labels[2:]).tolist()) == ([24], [23])
    assert read_whole_truth(RealImage(name="x", path="ct"), tmp_path, {}) is None


@pytest.mark.realdata
def test_the_real_truths_hold_the_bodies_they_should(real_data: Path) -> None:
    truths = {image.name: read_real_truth(image, real_data) for image in IMAGES}
    names = {
        name: [label_name(n) for n in np.unique(truth.labels).tolist() if n]
        for name, truth in truths.items()
        if truth is not None
    }
    assert names == {"lumbar_3mm": ["T12", "L1", "L2", "L3", "L4", "L5"], "lumbar_crop_1p5mm": ["L2", "L3", "L4"]}
    assert all((real_data / image.path).exists() for image in IMAGES)


@pytest.mark.realdata
def test_the_real_maps_of_whole_vertebrae_hold_the_levels_that_are_scored(real_data: Path) -> None:
    from vertecast.lab.evaluation.datasets.schemes import numbers_of_scheme
    from vertecast.segmentation.label_map.schemes import label_scheme

    for image in IMAGES:
        whole = read_whole_truth(image, real_data, numbers_of_scheme(label_scheme(image.whole_scheme)))
        if whole is not None:
            names = {label_name(n) for n in np.unique(whole.labels).tolist() if n}
            assert set(image.whole_levels) <= names, image.name
