from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from phantoms.spine import vertebra_without_numbers
from vertecast.core.errors import UnreadableError
from vertecast.core.results import NotMeasured, Quantity
from vertecast.lab.evaluation.datasets import read_found, read_labels, read_truth


def test_labels_come_back_with_their_frame(study, tmp_path: Path) -> None:
    study.write_truth(tmp_path)
    mask = read_labels(tmp_path / f"{study.uid}.nii.gz")
    assert np.array_equal(mask.labels, study.true_labels)
    np.testing.assert_allclose(mask.lps_from_index, study.found_affine, atol=1e-3)


def test_whole_numbers_stored_as_floats_are_labels_and_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(path)
    assert np.array_equal(read_labels(path).labels, values)
    for wrong in (values + 0.5, values + 250, values - 1, values[..., None]):
        nibabel.Nifti1Image(wrong, np.eye(4)).to_filename(path)
        with pytest.raises(UnreadableError, match="is no label map"):
            read_labels(path)


@pytest.mark.parametrize("damage", [b"", b"no image", None])
def test_a_damaged_label_map_is_said_with_its_name(study, tmp_path: Path, damage: bytes | None) -> None:
    path = study.write_truth(tmp_path) / f"{study.uid}.nii.gz"
    path.write_bytes(path.read_bytes()[:400] if damage is None else damage)
    with pytest.raises(UnreadableError, match=r"nii\.gz: cannot be read as NIfTI"):
        read_labels(path)


def test_truth_is_found_among_other_files(make: Callable, tmp_path: Path) -> None:
    for n in (2, 1):
        make(uid=f"1.2.{n}").write_truth(tmp_path / f"case_{n}" / "truth")
    make(uid="1.2.1").write_found(tmp_path / "out")
    (tmp_path / "list.json").write_text("[1, 2]")
    assert [truth.study_instance_uid for truth in read_truth(tmp_path)] == ["1.2.1", "1.2.2"]
    assert read_truth(tmp_path / "out") == ()


def remove_heights(document: dict[str, Any]) -> None:
    del document["vertebrae"][1]["heights"]


def level_unknown(document: dict[str, Any]) -> None:
    document["vertebrae"][0]["level"] = "X9"


def no_point(document: dict[str, Any]) -> None:
    document["leaks"][0]["center_lps_mm"] = [1.0, 2.0]


def no_list(document: dict[str, Any]) -> None:
    document["vertebrae"] = 3


@pytest.mark.parametrize("damage", [remove_heights, level_unknown, no_point, no_list])
def test_a_truth_that_lacks_something_is_said_with_its_name(study, tmp_path: Path, damage: Callable) -> None:
    damage(study.truth)
    study.write_truth(tmp_path)
    with pytest.raises(UnreadableError, match=r"1\.2\.3\.1\.json: lacks what is to be scored"):
        read_truth(tmp_path)


def test_truth_without_label_map_is_refused(study, tmp_path: Path) -> None:
    (study.write_truth(tmp_path) / f"{study.uid}.nii.gz").unlink()
    with pytest.raises(UnreadableError, match=r"nii\.gz: is missing"):
        read_truth(tmp_path)


def test_no_json_is_said_with_its_name(study, tmp_path: Path) -> None:
    (study.write_found(tmp_path) / study.uid / "report.json").write_text("{")
    with pytest.raises(UnreadableError, match=r"report\.json: is not valid JSON"):
        read_found(tmp_path)


def test_quantities_and_reasons_come_back(study, tmp_path: Path) -> None:
    study.body("L3")["heights"]["middle"] = {"not_measured": "covered by metal"}
    study.body("L3")["genant_grade"] = {"not_measured": "no reference"}
    study.body("L3")["wedge_angle"] = {"value": 3.0, "unit": "deg", "interval95": None}
    body = read_found(study.write_found(tmp_path))[study.uid].bodies[1]
    assert body.heights["middle"] == NotMeasured(reason="covered by metal")
    assert body.heights["anterior"] == Quantity(value=24.0, unit="mm", interval95=(23.0, 25.0))
    assert body.wedge_angle == Quantity(value=3.0, unit="deg")
    assert body.genant_grade == NotMeasured(reason="no reference")


def test_studies_without_report_keep_their_reason(study, tmp_path: Path) -> None:
    study.write_found(tmp_path)
    runs = [
        {"study_instance_uid": study.uid, "status": "analyzed", "reason": ""},
        {"study_instance_uid": "1.2.9", "status": "failed", "reason": "one slice"},
    ]
    (tmp_path / "run.json").write_text(json.dumps({"studies": runs}))
    found = read_found(tmp_path)
    assert found[study.uid].labels is not None
    assert (found["1.2.9"].labels, found["1.2.9"].reason) == (None, "one slice")
    (tmp_path / "run.json").write_text(json.dumps({"studies": [{}]}))
    with pytest.raises(UnreadableError, match=r"run\.json: lacks"):
        read_found(tmp_path)


def test_two_reports_of_one_study_are_refused(study, tmp_path: Path) -> None:
    study.write_found(tmp_path / "a")
    study.write_found(tmp_path / "b")
    with pytest.raises(UnreadableError, match="second report of the same study"):
        read_found(tmp_path)


def test_what_the_reports_room_writes_can_be_read(tmp_path: Path) -> None:
    # The two rooms never import each other; this is where they must agree.
    from vertecast.core.anatomy import Compartment
    from vertecast.core.report_json import to_document, validate
    from vertecast.core.results import (
        CementFinding,
        Evidence,
        LeakFinding,
        StudyReport,
    )

    missing = NotMeasured(reason="cut by the edge of the image")
    height = Quantity(value=24.0, unit="mm", interval95=(23.0, 25.0))
    vertebra = replace(
        vertebra_without_numbers("V1"),
        treated=True,
        heights={"anterior": height, "middle": missing, "posterior": height},
    )
    cement = CementFinding(
        id="C1", series_instance_uid="1.2", level="V1", volume=Quantity(value=2.0, unit="mL"), volume_inside=missing,
        fill_fraction=missing, pattern=missing, endplate_contact=missing, crosses_midline=missing, confidence=0.5,
    )  # fmt: skip
    evidence = Evidence(series_instance_uid="1.2", slice_number=1, sop_instance_uid=None, point_lps_mm=(4.0, 5.0, 6.0))
    leak = LeakFinding(
        cement_id="C1", level="V1", compartment=Compartment.VEIN, yeom_type=missing,
        volume=Quantity(value=0.3, unit="mL"), farthest=missing, canal_distance=missing, evidence=evidence,
        confidence=0.5,
    )  # fmt: skip
    report = StudyReport(
        study_instance_uid="1.2.3", phase="post", phase_source="cement seen", series=(), vertebrae=(vertebra,),
        cement=(cement,), leaks=(leak,),
    )  # fmt: skip
    document = to_document(report)
    validate(document)
    (tmp_path / "report.json").write_text(json.dumps(document))
    nibabel.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.eye(4)).to_filename(tmp_path / "labels_1.nii.gz")
    study = read_found(tmp_path)["1.2.3"]
    assert study.bodies[0].heights == vertebra.heights
    assert study.cement == {"V1": Quantity(value=2.0, unit="mL")}
    assert (study.leaks[0].compartment, study.leaks[0].point_lps_mm) == ("vein", (4.0, 5.0, 6.0))


def test_what_the_simulation_writes_can_be_read(tmp_path: Path) -> None:
    from phantoms.simulation import make_spine
    from vertecast.lab.simulation.ct.acquisition import ScannerSettings
    from vertecast.lab.simulation.ct.studies import ScanPlan, TreatmentPlan, make_case, write_study

    settings = ScannerSettings(
        pixel_mm=3.0, matrix=64, slice_thickness_mm=3.0, slice_spacing_mm=3.0, beam_hardening=0.0
    )
    plan = ScanPlan(phase="post", settings=settings, treatments=(TreatmentPlan(vertebra_index=1, volume_ml=2.0),))
    case = make_case(3, "ct", make_spine(3), (0, 2), [plan])
    write_study(case, tmp_path)
    (truth,) = read_truth(tmp_path)
    assert [body.level for body in truth.bodies] == ["T12", "L1", "L2"]
    assert (truth.patient, truth.simulated, set(truth.cement_ml)) == ("3", True, {"L1"})
    assert truth.groups == {"sex": case.scans[0].phantom.spine.sex, "age": "65 to <80", "kernel": "standard"}
    assert {19, 20, 21, 200} <= set(np.unique(read_labels(truth.labels).labels))
