"""Studies of one patient: worked through by date, compared, and made again when an earlier one changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes import DEADLY_SLICES, HERE, SECRET_NAME, load_blocks, load_deadly, write_dicom, write_spine
from vertecast.core.errors import ConfigurationError
from vertecast.io.discover import StudyFiles, find_studies
from vertecast.run.batch import BatchResult, run_batch
from vertecast.run.engine import Engine
from vertecast.run.jobs import OTHER_PATIENT
from vertecast.run.plan import NAMES_NOBODY, NO_DATE
from vertecast.run.schedule import WORKER_DIED

BLOCKS = Engine(load=load_blocks, weights="blocks")
CONFIG = HERE.with_overrides({"analysis": {"lowest": "L3"}})
FIRST, SECOND, THIRD = (f"1.2.826.0.2.{n}" for n in (1, 2, 3))


def run(paths: list[Path], out: Path, **options: Any) -> BatchResult:
    return run_batch(paths, out, options.pop("config", CONFIG), BLOCKS, **options)


def report(out: Path, uid: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / uid / "report.json").read_text())
    return found


def test_the_later_study_is_compared_with_the_earlier_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "a", study=2, date="20260312")
    write_dicom(tmp_path / "in" / "b", study=1, date="20260301")
    write_dicom(tmp_path / "in" / "c", study=3, date="20260301", patient="P2")
    result = run([tmp_path / "in"], tmp_path / "out")
    assert result.count("analyzed") == 3
    change = report(tmp_path / "out", SECOND)["change"]
    assert (change["pre_study"], change["days"], change["modality"]) == (FIRST, 11, "ct")
    assert [level["level"] for level in change["levels"]] == ["L1", "L2", "L3"]
    gains = [gain for level in change["levels"] for gain in level["height_gain"].values()]
    assert [gain["value"] for gain in gains] == [0.0] * 9
    assert all(gain["interval95"][0] < 0 < gain["interval95"][1] for gain in gains)
    assert change["levels"][0]["registration_error"] == {
        "not_measured": "too little of the posterior elements in the earlier study"
    }
    for uid in (FIRST, THIRD):
        assert "change" not in report(tmp_path / "out", uid)
    page = (tmp_path / "out" / SECOND / "report.html").read_text()
    assert "Since the study 11 days before (CT" in page
    assert "20260301" not in page
    assert SECRET_NAME not in page


def test_three_studies_make_a_course(tmp_path: Path) -> None:
    for study, date in ((1, "20260301"), (2, "20260312"), (3, "20270312")):
        write_dicom(tmp_path / "in" / str(study), study=study, date=date)
    run([tmp_path / "in"], tmp_path / "out")
    last = report(tmp_path / "out", THIRD)
    assert (last["change"]["pre_study"], last["change"]["days"]) == (SECOND, 365)
    assert [(change["pre_study"], change["days"]) for change in last["further_changes"]] == [(FIRST, 376)]
    assert [(study["study_instance_uid"], study["days"]) for study in last["timeline"]] == [
        (FIRST, 0), (SECOND, 11), (THIRD, 376),
    ]  # fmt: skip
    assert "timeline" not in report(tmp_path / "out", SECOND)


@pytest.mark.parametrize(("first", "second", "days"), [("20261105", "20261231", 56), ("20261031", "20261101", 1)])
def test_late_months_are_read_rightly(tmp_path: Path, first: str, second: str, days: int) -> None:
    write_dicom(tmp_path / "in" / "1", study=1, date=first)
    write_dicom(tmp_path / "in" / "2", study=2, date=second)
    run([tmp_path / "in"], tmp_path / "out")
    change = report(tmp_path / "out", SECOND)["change"]
    assert (change["pre_study"], change["days"]) == (FIRST, days)


@pytest.mark.parametrize("dates", [(None, None), ("20260301", None), ("20260301", "20260301")])
def test_without_a_known_order_nothing_is_compared(tmp_path: Path, dates: tuple[str | None, str | None]) -> None:
    for study, date in enumerate(dates, start=1):
        write_dicom(tmp_path / "in" / str(study), study=study, date=date)
    run([tmp_path / "in"], tmp_path / "out")
    for uid in (FIRST, SECOND):
        assert "change" not in report(tmp_path / "out", uid)


def test_a_study_is_made_again_once_an_earlier_one_turns_up(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "2", study=2, date="20260312")
    run([tmp_path / "in"], tmp_path / "out")
    write_dicom(tmp_path / "in" / "1", study=1, date="20260301")
    made = {
        study.study_instance_uid: bool(study.timing_s) for study in run([tmp_path / "in"], tmp_path / "out").studies
    }
    assert made == {FIRST: True, SECOND: True}
    assert report(tmp_path / "out", SECOND)["change"]["pre_study"] == FIRST
    again = run([tmp_path / "in"], tmp_path / "out")
    assert [bool(study.timing_s) for study in again.studies] == [False, False]


@pytest.mark.parametrize("patient", ["ANONYMOUS", "", "0", "0000", "unknown", "De-Identified", "xxx", "N/A"])
def test_an_id_that_stands_for_anybody_is_known(tmp_path: Path, patient: str) -> None:
    write_dicom(tmp_path, study=1, patient=patient)
    [study] = find_studies([tmp_path])
    assert isinstance(study, StudyFiles)
    assert study.names_nobody


@pytest.mark.parametrize("patient", ["ANON7", "100", "TEST12", "XX1"])
def test_an_id_that_looks_like_a_placeholder_is_none(tmp_path: Path, patient: str) -> None:
    write_dicom(tmp_path, study=1, patient=patient)
    [study] = find_studies([tmp_path])
    assert isinstance(study, StudyFiles)
    assert not study.names_nobody
    assert study.patient_key


@pytest.mark.parametrize("patient", ["ANONYMOUS", ""])
def test_an_id_that_stands_for_anybody_makes_no_patient(tmp_path: Path, patient: str) -> None:
    write_dicom(tmp_path / "in" / "1", study=1, date="20260301", patient=patient)
    write_dicom(tmp_path / "in" / "2", study=2, date="20260312", patient=patient)
    result = run([tmp_path / "in"], tmp_path / "out")
    assert [study.not_compared for study in result.studies] == [NAMES_NOBODY] * 2
    written = json.loads((tmp_path / "out" / "run.json").read_text())["studies"]
    assert [study["not_compared"] for study in written] == [NAMES_NOBODY] * 2
    assert "Not compared with other studies: its patient ID" in (tmp_path / "out" / "index.html").read_text()
    assert "change" not in report(tmp_path / "out", SECOND)
    again = run([tmp_path / "in"], tmp_path / "out")
    assert [(study.timing_s, study.not_compared) for study in again.studies] == [({}, NAMES_NOBODY)] * 2
    by_hand = run([tmp_path / "in" / "1", tmp_path / "in" / "2"], tmp_path / "hand", compare=True)
    assert [study.not_compared for study in by_hand.studies] == ["", ""]
    assert report(tmp_path / "hand", SECOND)["change"]["pre_study"] == FIRST
    assert OTHER_PATIENT not in report(tmp_path / "hand", SECOND)["warnings"]


def test_a_lone_study_is_not_told_why_it_is_alone(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "1", study=1, date="20260301", patient="ANONYMOUS")
    write_dicom(tmp_path / "in" / "2", study=2, patient="P1")
    assert [study.not_compared for study in run([tmp_path / "in"], tmp_path / "out").studies] == ["", ""]


def test_a_study_without_a_date_is_told_so(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "1", study=1, date="20260301")
    write_dicom(tmp_path / "in" / "2", study=2)
    told = {study.study_instance_uid: study.not_compared for study in run([tmp_path / "in"], tmp_path / "out").studies}
    assert told == {FIRST: "", SECOND: NO_DATE}


def test_an_earlier_study_that_fails_leaves_the_later_one_alone(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "1", study=1, date="20260301", slices=1)
    write_dicom(tmp_path / "in" / "2", study=2, date="20260312")
    result = run([tmp_path / "in"], tmp_path / "out")
    assert [study.status for study in result.studies] == ["skipped", "analyzed"]
    assert "change" not in report(tmp_path / "out", SECOND)


def test_two_workers_keep_the_studies_of_a_patient_together(tmp_path: Path) -> None:
    for study, (patient, date) in enumerate([("P1", "20260301"), ("P1", "20260312"), ("P2", "20260312")], start=1):
        write_dicom(tmp_path / "in" / str(study), study=study, patient=patient, date=date)
    result = run([tmp_path / "in"], tmp_path / "out", config=CONFIG.with_overrides({"batch": {"workers": 2}}))
    assert result.count("analyzed") == 3
    assert report(tmp_path / "out", SECOND)["change"]["pre_study"] == FIRST


def test_a_study_that_kills_its_process_costs_the_patient_no_other(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "1", study=1, date="20260301", slices=DEADLY_SLICES)
    write_dicom(tmp_path / "in" / "2", study=2, date="20260312")
    write_dicom(tmp_path / "in" / "3", study=3, date="20260312", patient="P2")
    config = CONFIG.with_overrides({"batch": {"workers": 2}})
    result = run_batch([tmp_path / "in"], tmp_path / "out", config, Engine(load=load_deadly, weights="deadly"))
    ended = {study.study_instance_uid: (study.status, study.reason) for study in result.studies}
    assert ended == {FIRST: ("failed", WORKER_DIED), SECOND: ("analyzed", ""), THIRD: ("analyzed", "")}
    assert "change" not in report(tmp_path / "out", SECOND)


def test_by_hand_the_order_given_counts(tmp_path: Path) -> None:
    write_dicom(tmp_path / "later", study=1, date="20260312", patient="P1")
    write_dicom(tmp_path / "earlier", study=2, date="20260301", patient="P2")
    run([tmp_path / "later", tmp_path / "earlier"], tmp_path / "out", compare=True)
    found = report(tmp_path / "out", SECOND)
    assert (found["change"]["pre_study"], found["change"]["days"]) == (FIRST, -11)
    assert OTHER_PATIENT in found["warnings"]


def test_files_without_a_date_are_compared_by_hand(tmp_path: Path) -> None:
    pre, post = write_spine(tmp_path / "pre.nii.gz"), write_spine(tmp_path / "post.nii.gz")
    run([pre, post], tmp_path / "out", compare=True)
    change = report(tmp_path / "out", "post")["change"]
    assert (change["pre_study"], change["days"]) == ("pre", {"not_measured": "a study without a date"})


def test_files_of_one_name_in_two_folders_are_compared(tmp_path: Path) -> None:
    for folder in ("z_pre", "a_post"):
        (tmp_path / folder).mkdir()
    pre, post = write_spine(tmp_path / "z_pre" / "ct.nii.gz"), write_spine(tmp_path / "a_post" / "ct.nii.gz")
    result = run([pre, post], tmp_path / "out", compare=True)
    assert [study.status for study in result.studies] == ["analyzed", "analyzed"]
    assert report(tmp_path / "out", "a_post_ct")["change"]["pre_study"] == "z_pre_ct"


def test_one_study_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least two studies"):
        run([write_spine(tmp_path / "pre.nii.gz")], tmp_path / "out", compare=True)
