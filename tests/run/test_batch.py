from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes import (
    HERE,
    SECRET_NAME,
    equal_but_for_rounding,
    load_blocks,
    load_broken,
    load_interrupted,
    write_dicom,
    write_spine,
)
from vertecast.core.config import Config, SegmentationOptions
from vertecast.core.errors import OutputError
from vertecast.io.discover import StudyFiles, find_studies
from vertecast.run.batch import BatchResult, run_batch
from vertecast.run.engine import Engine
from vertecast.run.jobs import Job
from vertecast.run.plan import NAME_TAKEN, NOT_REACHED
from vertecast.run.resume import FINGERPRINT_NAME
from vertecast.study import Segmenter

BLOCKS = Engine(load=load_blocks, weights="blocks")


def load_never(_options: SegmentationOptions) -> Segmenter:
    raise AssertionError("nothing was to be analysed")


NEVER = Engine(load=load_never, weights="blocks")
"""The same weights as `BLOCKS`, and a segmenter that must not be needed."""


def run(paths: Sequence[Path], out: Path, engine: Engine = BLOCKS, **options: Any) -> BatchResult:
    return run_batch(paths, out, options.pop("config", HERE), engine, **options)


def states(out: Path) -> dict[str, str]:
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return {study["study_instance_uid"]: study["status"] for study in document["studies"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run over two good files and a damaged one: the inputs and the results. Not to be changed."""
    inputs, out = tmp_path_factory.mktemp("in"), tmp_path_factory.mktemp("out") / "new" / "run"
    for name in ("a", "c"):
        write_spine(inputs / f"{name}.nii.gz")
    (inputs / "b.nii.gz").write_bytes(b"no image at all")
    run([inputs], out)
    return inputs, out


def test_one_bad_study_never_stops_the_others(finished: tuple[Path, Path]) -> None:
    _, out = finished
    assert states(out) == {"a": "analyzed", "b": "failed", "c": "analyzed"}
    assert not (out / "b").exists()
    for name in ("a", "c"):
        assert json.loads((out / name / "report.json").read_text())["study"]["study_instance_uid"] == name
        assert (out / name / "report.html").is_file()
        assert (out / name / "labels_1.nii.gz").is_file()


def test_the_run_is_summed_up(finished: tuple[Path, Path]) -> None:
    _, out = finished
    document = json.loads((out / "run.json").read_text())
    [failed] = [study for study in document["studies"] if study["status"] == "failed"]
    assert failed["study_instance_uid"] == "b"
    assert "damaged" in failed["reason"]
    assert document["config"] == HERE.model_dump(exclude={"segmentation": {"label_map"}, "output": {"key"}})
    with (out / "summary.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["level"] for row in rows] == ["V1", "V2", "V3"] * 2
    assert "a/report.html" in (out / "index.html").read_text()
    assert not list(out.rglob("*.partial"))


def test_two_runs_never_write_into_one_folder(finished: tuple[Path, Path], tmp_path: Path) -> None:
    inputs, out = finished
    copy = copied(out, tmp_path)
    refused: list[str] = []

    def start_another(*_: object) -> None:
        with pytest.raises(OutputError, match="another run is writing") as caught:
            run([inputs / "a.nii.gz"], copy, NEVER)
        refused.append(str(caught.value))

    run([inputs / "a.nii.gz"], copy, NEVER, listener=start_another)
    assert len(refused) == 1
    run([inputs / "a.nii.gz"], copy, NEVER)
    assert not (copy / ".run.lock").exists()


def test_a_folder_that_cannot_be_locked_is_a_reason(finished: tuple[Path, Path], tmp_path: Path) -> None:
    inputs, _ = finished
    (tmp_path / "out" / ".run.lock").mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot be written"):
        run([inputs / "a.nii.gz"], tmp_path / "out", NEVER)


def test_a_second_run_takes_over_what_is_done(finished: tuple[Path, Path], tmp_path: Path) -> None:
    inputs, out = finished
    copy = copied(out, tmp_path)
    result = run([inputs / "a.nii.gz", inputs / "c.nii.gz"], copy, NEVER)
    assert [study.timing_s for study in result.studies] == [{}, {}]
    assert states(copy) == {"a": "analyzed", "c": "analyzed"}
    assert len((copy / "summary.csv").read_text().splitlines()) == 7
    assert "a/report.html" in (copy / "index.html").read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"force": True},
        {"engine": replace(BLOCKS, weights="retrained")},
        {"config": HERE.with_overrides({"analysis": {"lowest": "L5"}})},
    ],
)
def test_a_changed_run_is_made_again(finished: tuple[Path, Path], tmp_path: Path, change: dict[str, Any]) -> None:
    inputs, out = finished
    [study] = run([inputs / "a.nii.gz"], copied(out, tmp_path), **change).studies
    assert study.timing_s


def test_changed_files_are_read_again(finished: tuple[Path, Path], tmp_path: Path) -> None:
    _, out = finished
    write_spine(tmp_path / "a.nii.gz", blocks=2)
    [study] = run([tmp_path / "a.nii.gz"], copied(out, tmp_path)).studies
    assert study.timing_s
    assert study.report is not None
    assert len(study.report.vertebrae) == 2


@pytest.mark.parametrize("damage", ["missing fingerprint", "half a report"])
def test_an_incomplete_folder_is_made_again(finished: tuple[Path, Path], tmp_path: Path, damage: str) -> None:
    inputs, out = finished
    copy = copied(out, tmp_path)
    if damage == "missing fingerprint":
        (copy / "a" / FINGERPRINT_NAME).unlink()
    else:
        report = copy / "a" / "report.json"
        report.write_bytes(report.read_bytes()[:200])
    [study] = run([inputs / "a.nii.gz"], copy).studies
    assert study.status == "analyzed"
    assert study.timing_s


def test_more_workers_do_not_change_the_options_of_a_report(finished: tuple[Path, Path], tmp_path: Path) -> None:
    inputs, out = finished
    config = Config().with_overrides({"batch": {"workers": 4}})
    assert run([inputs / "a.nii.gz"], copied(out, tmp_path), NEVER, config=config).count("analyzed") == 1


def test_worker_processes_give_the_same(finished: tuple[Path, Path], tmp_path: Path) -> None:
    inputs, out = finished
    run([inputs], tmp_path, config=Config().with_overrides({"batch": {"workers": 2}}))
    assert states(tmp_path) == states(out)
    for name in ("a", "c"):
        alone, beside = (json.loads((folder / name / "report.json").read_text()) for folder in (out, tmp_path))
        assert equal_but_for_rounding(alone, beside)


def test_an_interrupted_run_keeps_what_is_done_and_goes_on(finished: tuple[Path, Path], tmp_path: Path) -> None:
    inputs, _ = finished
    result = run([inputs / "a.nii.gz", inputs / "c.nii.gz"], tmp_path, Engine(load=load_interrupted, weights="blocks"))
    assert result.interrupted
    assert [(study.status, study.reason) for study in result.studies] == [("analyzed", ""), ("skipped", NOT_REACHED)]
    assert states(tmp_path) == {"a": "analyzed", "c": "skipped"}
    assert not (tmp_path / "c").exists()
    again = run([inputs / "a.nii.gz", inputs / "c.nii.gz"], tmp_path)
    assert [bool(study.timing_s) for study in again.studies] == [False, True]


def test_a_defect_of_the_program_is_a_reason_without_its_text(finished: tuple[Path, Path], tmp_path: Path) -> None:
    inputs, _ = finished
    [study] = run([inputs / "a.nii.gz"], tmp_path, Engine(load=load_broken, weights="broken")).studies
    assert study.status == "failed"
    assert "KeyError at fakes.py" in study.reason
    assert SECRET_NAME not in (tmp_path / "run.json").read_text()


def test_no_name_of_a_patient_comes_out(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in")
    [study] = run([tmp_path / "in"], tmp_path / "out").studies
    assert study.status == "analyzed"
    for path in (tmp_path / "out").rglob("*"):
        # Objects that go back into the study name its patient as its images do.
        assert not path.is_file() or path.suffix == ".dcm" or SECRET_NAME.encode() not in path.read_bytes(), path


def test_the_name_of_a_label_file_stays_out_of_the_run(finished: tuple[Path, Path], tmp_path: Path) -> None:
    inputs, _ = finished
    config = HERE.with_overrides({"segmentation": {"labels": f"{SECRET_NAME}.yaml"}})
    run([inputs / "a.nii.gz"], tmp_path, config=config)
    assert SECRET_NAME not in (tmp_path / "run.json").read_text(encoding="utf-8")


def test_a_full_disk_is_a_reason_and_leaves_no_half_report(
    finished: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, _ = finished
    write_text = Path.write_text

    def full(path: Path, *arguments: Any, **options: Any) -> int:
        if path.name == "report.html":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    [study] = run([inputs / "a.nii.gz"], tmp_path / "out").studies
    assert study.status == "failed"
    assert "No space left on device" in study.reason
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.html", "run.json", "summary.csv"]


def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be made"):
        run([tmp_path], tmp_path / "file" / "out", NEVER)


def test_a_path_without_images_stands_among_the_studies(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    result = run([tmp_path / "in"], tmp_path / "out", NEVER)
    assert [(study.study_instance_uid, study.status) for study in result.studies] == [(str(tmp_path / "in"), "failed")]
    assert not result.found_work


@pytest.mark.parametrize("uid", ["../../etc", "/etc", "..", ".hidden", "a/b", "1.2.840", ""])
def test_no_uid_leads_out_of_the_folder(finished: tuple[Path, Path], tmp_path: Path, uid: str) -> None:
    [study] = find_studies([finished[0] / "a.nii.gz"])
    assert isinstance(study, StudyFiles)
    study = replace(study, study_instance_uid=uid)
    job = Job(study=study, out=tmp_path, config=Config(), engine=BLOCKS)
    assert job.folder.resolve().parent == tmp_path.resolve()
    assert not job.directory.startswith(".")


def test_two_studies_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for folder, name in (("one", "a b"), ("two", "a_b")):
        (tmp_path / folder).mkdir()
        write_spine(tmp_path / folder / f"{name}.nii.gz")
    result = run([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert {study.study_instance_uid: (study.status, study.reason) for study in result.studies} == {
        "a b": ("analyzed", ""), "a_b": ("failed", NAME_TAKEN),
    }  # fmt: skip


def copied(run_folder: Path, target: Path) -> Path:
    """The results of a run in a place where they may be changed."""
    import shutil

    return Path(shutil.copytree(run_folder, target / "copy"))
