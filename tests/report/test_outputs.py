"""Files of a study and of a run: complete or not there, and nothing of others lost."""

from __future__ import annotations

import csv
import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from vertecast.core.errors import OutputError
from vertecast.core.report_json import from_document
from vertecast.core.results import NotMeasured
from vertecast.core.study_result import StudyResult
from vertecast.report import labels, outputs
from vertecast.report.summary import COLUMNS, RunSummary, StudyRun

DISK_FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_study_is_written_whole(case, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "1.2.3"
    written = outputs.write_study(StudyResult(report=case.report, volume=case.volume, labels=case.labels), folder)
    assert written == (
        "fhir.json",
        "images/coronal.png",
        "images/level_L1.png",
        "images/sagittal.png",
        "labels_1.ctbl",
        "labels_1.nii.gz",
        "labels_1_itksnap.txt",
        "report.html",
        "report.json",
        "report.pdf",
    )
    assert entries(folder.parent) == {"1.2.3"}
    assert all((folder / name).stat().st_size > 100 for name in written)
    assert from_document(json.loads((folder / "report.json").read_text())) == case.report
    assert "data:image/png" in (folder / "report.html").read_text()


def test_without_image_and_labels_there_is_still_a_report(case, tmp_path: Path) -> None:
    assert outputs.write_study(StudyResult(report=case.report), tmp_path / "x") == (
        "fhir.json",
        "report.html",
        "report.json",
        "report.pdf",
    )


def test_an_earlier_report_is_replaced_and_notes_beside_it_are_kept(case, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    outputs.write_study(StudyResult(report=case.report, labels=case.labels), folder)
    (folder / "notes.txt").write_text("mine")
    outputs.write_study(StudyResult(report=replace(case.report, warnings=("again",))), folder)
    assert entries(folder) == {"notes.txt", "fhir.json", "report.html", "report.json", "report.pdf"}
    assert json.loads((folder / "report.json").read_text())["warnings"] == ["again"]
    assert entries(tmp_path) == {"x"}


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_report_is_never_replaced(case, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "patient"
    if kind == "folder":
        target.mkdir()
        (target / "seg_1.dcm").write_text("input")
    else:
        target.write_text("input")
    with pytest.raises(OutputError, match="--out"):
        outputs.write_study(StudyResult(report=case.report), target)
    assert (target / "seg_1.dcm" if kind == "folder" else target).read_text() == "input"
    assert entries(tmp_path) == {"patient"}


def test_a_full_disk_leaves_the_earlier_report(case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "x"
    outputs.write_study(StudyResult(report=case.report), folder)

    def full(*_: object) -> None:
        raise DISK_FULL

    monkeypatch.setattr(labels, "write_nifti", full)
    monkeypatch.setattr(outputs.pictures, "render_pictures", lambda *_, **__: {})
    changed = replace(case.report, warnings=("new",))
    with pytest.raises(OutputError, match=r"No space left.*--out"):
        outputs.write_study(StudyResult(report=changed, labels=case.labels), folder)
    assert entries(tmp_path) == {"x"}
    assert json.loads((folder / "report.json").read_text())["warnings"] == list(case.report.warnings)


def test_a_swap_that_fails_brings_the_earlier_report_back(
    case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rename = tmp_path / "x", os.rename
    outputs.write_study(StudyResult(report=case.report), folder)

    def fail_once(source: Path, target: Path) -> None:
        if source.name.endswith(".partial"):
            raise DISK_FULL
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(OutputError):
        outputs.write_study(StudyResult(report=case.report), folder)
    assert entries(tmp_path) == {"x"}
    assert (folder / "report.json").is_file()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_kill_between_the_two_renames_loses_nothing(case, tmp_path: Path, is_replaced: bool) -> None:
    folder, old = tmp_path / "x", tmp_path / ".x.01234567.old"
    outputs.write_study(StudyResult(report=case.report), old)
    (old / "notes.txt").write_text("mine")
    if is_replaced:
        outputs.write_study(StudyResult(report=replace(case.report, warnings=("new",))), folder)
    outputs.remove_half_written(folder)
    assert entries(tmp_path) == {"x"}
    assert (folder / "notes.txt").read_text() == "mine"
    warnings = json.loads((folder / "report.json").read_text())["warnings"]
    assert warnings == (["new"] if is_replaced else list(case.report.warnings))


def test_a_folder_that_cannot_be_made_is_an_output_error(case, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        outputs.write_study(StudyResult(report=case.report), tmp_path / "file" / "x")
    with pytest.raises(OutputError):
        outputs.write_run(tmp_path / "file", RunSummary(studies=(), started=""))


def test_a_report_that_breaks_the_schema_is_not_written(case, tmp_path: Path) -> None:
    wrong = replace(case.report.vertebrae[0], level="L9")
    with pytest.raises(OutputError, match="schema"):
        outputs.write_study(StudyResult(report=replace(case.report, vertebrae=(wrong,))), tmp_path / "x")
    assert entries(tmp_path) == set()


def test_a_run_and_its_table(case, tmp_path: Path) -> None:
    good = StudyRun(
        study_instance_uid=case.report.study_instance_uid,
        directory="a",
        status="analyzed",
        outputs=("a/report.json",),
        timing_s={"read": 1.25},
        report=case.report,
    )
    bad = StudyRun(study_instance_uid="9.9", directory="b", status="failed", reason="no pixel data, see docs")
    for _ in range(2):
        outputs.write_run(tmp_path, RunSummary(studies=(good, bad), started="2020-01-01", config={"passes": 2}))
    assert entries(tmp_path) == {"run.json", "summary.csv", "index.html"}
    run = json.loads((tmp_path / "run.json").read_text())
    assert [study["status"] for study in run["studies"]] == ["analyzed", "failed"]
    assert run["studies"][1]["reason"] == "no pixel data, see docs"
    assert run["studies"][0]["series"][1]["reason"] == "localizer, no volume"
    assert run["config"] == {"passes": 2}
    with (tmp_path / "summary.csv").open(newline="") as file:
        rows = {row["level"]: row for row in csv.DictReader(file)}
    assert list(rows["L1"]) == list(COLUMNS)
    fractured = rows["L1"]
    assert (fractured["height_loss"], fractured["genant_grade"], fractured["treated"]) == ("0.34", "2", "1")
    assert (fractured["cement_volume_ml"], fractured["leak_volume_ml"], fractured["leak_count"]) == ("4.1", "0.36", "2")
    thirds = [fractured[f"{third}_third_filled"] for third in ("anterior", "middle", "posterior")]
    assert (thirds, fractured["gas_beside_cement_ml"]) == (["0.31", "0.2", "0.04"], "0")
    assert (fractured["disc_crossed"], fractured["canal_fill"]) == ("0.6", "")
    assert fractured["density_hu"] == ""
    assert fractured["not_measured"] == "density_hu: cement in the body"
    assert rows["T11"]["not_measured"].startswith("anterior_height_mm, middle_height_mm")
    assert rows["T11"]["genant_grade"] == rows["T11"]["height_loss"] == rows["T12"]["cement_volume_ml"] == ""


def test_a_sum_with_an_unmeasured_part_is_unmeasured(case, tmp_path: Path) -> None:
    part = replace(case.report.leaks[0], volume=NotMeasured(reason="streaks"))
    report = replace(case.report, leaks=(part, case.report.leaks[1]))
    study = StudyRun(study_instance_uid="1", directory="a", status="analyzed", report=report)
    outputs.write_run(tmp_path, RunSummary(studies=(study,), started=""))
    with (tmp_path / "summary.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["level"] == "L1")
    assert row["leak_volume_ml"] == ""
    assert "leak_volume_ml: streaks" in row["not_measured"]


UNITS = {"_mm": "mm", "_mm2": "mm2", "_ml": "mL", "_deg": "deg", "_hu": "HU"}
WORDS = {
    "study_instance_uid", "series_instance_uid", "phase", "level", "level_source", "reference_method",
    "reference_levels", "deformity", "leak_compartments", "not_measured",
}  # fmt: skip


def test_the_documented_columns_are_those_written(case, tmp_path: Path, repository: Path) -> None:
    text = (repository / "docs" / "outputs.md").read_text(encoding="utf-8")
    section = text.split("## summary.csv")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "| `" in line]
    documented = {name.strip("`"): (unit, meaning) for name, unit, meaning in rows}
    study = StudyRun(study_instance_uid="1", directory="a", status="analyzed", report=case.report)
    outputs.write_run(tmp_path, RunSummary(studies=(study,), started=""))
    with (tmp_path / "summary.csv").open(newline="") as file:
        written = next(csv.reader(file))
    assert list(documented) == written
    for name, (unit, meaning) in documented.items():
        assert meaning == COLUMNS[name]
        suffix = next((end for end in UNITS if name.endswith(end)), None)
        assert unit == (UNITS[suffix] if suffix else "–" if name in WORDS else "1"), name


def test_every_file_of_a_study_is_documented(case, tmp_path: Path, repository: Path) -> None:
    text = (repository / "docs" / "outputs.md").read_text(encoding="utf-8")
    for name in outputs.write_study(
        StudyResult(report=case.report, volume=case.volume, labels=case.labels), tmp_path / "x"
    ):
        assert f"`{name}`" in text or name.startswith("images/"), name
