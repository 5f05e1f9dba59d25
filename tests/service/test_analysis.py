"""One study of the inbox, analysed as the service does it, with blocks for vertebrae."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from pydicom import dcmread

from fakes import SECRET_NAME, load_blocks, load_broken, write_dicom
from vertecast.core.config import Config
from vertecast.core.errors import BundleError
from vertecast.run.engine import Engine
from vertecast.service.analysis import (
    MIXED,
    NO_IMAGES,
    WORKER_DIED,
    AnalysisOutcome,
    AnalysisTask,
    Analyst,
    Work,
    analyze,
    patient_of,
)

BLOCKS = Engine(load=load_blocks, weights="blocks")
CONFIG = Config().with_overrides({"analysis": {"lowest": "L3"}})
work = partial(analyze, config=CONFIG, engine=BLOCKS)


def task(images: Path, *earlier: Path) -> AnalysisTask:
    return AnalysisTask(images=images, earlier=earlier, out=images.parent / "results")


def study(folder: Path, number: int, date: str) -> Path:
    write_dicom(folder / str(number), study=number, date=date)
    return folder / str(number)


def test_results_are_written_and_known_as_our_own(tmp_path: Path) -> None:
    images = study(tmp_path, 1, "20260301")
    outcome = work(task(images))
    folder = tmp_path / "results" / "1.2.826.0.2.1"
    written = {str(dcmread(path).SOPInstanceUID) for path in folder.glob("*.dcm")}
    assert (outcome.status, outcome.reason, set(outcome.own)) == ("analyzed", "", written)
    assert (folder / "sr.dcm").is_file()
    assert work(task(images)) == outcome


def test_the_patients_earlier_studies_are_compared_and_left_as_they_are(tmp_path: Path) -> None:
    first, second, third = (study(tmp_path, n, f"2026030{n}") for n in (1, 2, 3))
    work(task(first))
    report = tmp_path / "results" / "1.2.826.0.2.1" / "report.json"
    before = (report.stat().st_mtime_ns, report.stat().st_ino)
    work(task(third, first, second))
    change = json.loads((tmp_path / "results" / "1.2.826.0.2.3" / "report.json").read_text())
    assert change["change"]["pre_study"] == "1.2.826.0.2.1"
    assert "further_changes" not in change
    assert (report.stat().st_mtime_ns, report.stat().st_ino) == before
    assert not (tmp_path / "results" / "1.2.826.0.2.2").exists()
    # A later study and one that has gone are none that it could be compared with.
    work(task(second, third, tmp_path / "gone"))
    assert "change" not in json.loads((tmp_path / "results" / "1.2.826.0.2.2" / "report.json").read_text())


def test_what_cannot_be_analysed_has_its_reason(tmp_path: Path) -> None:
    assert work(task(tmp_path / "none")) == AnalysisOutcome(status="skipped", reason=NO_IMAGES)
    images = study(tmp_path, 1, "20260301")
    write_dicom(tmp_path / "mr", modality="MR", study=2, slices=2)
    assert "modality MR" in work(task(tmp_path / "mr")).reason
    (images / "000.dcm").write_bytes((images / "000.dcm").read_bytes()[:400])
    damaged = work(task(images))
    assert damaged.status == "failed"
    assert damaged.reason.startswith("000.dcm: ")
    (images / "000.dcm").unlink()
    (tmp_path / "mr" / "000.dcm").rename(images / "mr.dcm")
    assert work(task(images)) == AnalysisOutcome(status="failed", reason=MIXED)
    broken = analyze(task(study(tmp_path, 3, "20260301")), config=CONFIG, engine=Engine(load=load_broken, weights="b"))
    assert "a defect of the program (KeyError" in broken.reason
    assert SECRET_NAME not in broken.reason


def test_studies_of_a_patient_are_known_by_a_hash(tmp_path: Path) -> None:
    for number, patient in ((1, "P1"), (2, "P1"), (3, "P2"), (4, "ANONYMOUS")):
        write_dicom(tmp_path / str(number), study=number, patient=patient, slices=1)
    one, again, other, nobody = (patient_of(tmp_path / str(number)) for number in range(1, 5))
    assert one == again != other
    assert (nobody, patient_of(tmp_path / "none")) == ("", "")
    assert "P1" not in one


@contextmanager
def analyst(function: Work, time_limit_s: float = 60.0) -> Iterator[Analyst]:
    one = Analyst(function, time_limit_s)
    yield one
    one.close()


def process_of(task: AnalysisTask) -> AnalysisOutcome:
    return AnalysisOutcome(status="analyzed", reason=f"{os.getpid()} {os.environ['OMP_NUM_THREADS']}")


def fail_as_told(task: AnalysisTask) -> AnalysisOutcome:
    """Does what the name of the folder says."""
    match task.images.name:
        case "die":
            os._exit(137)
        case "hang":
            time.sleep(60)
        case "weights":
            raise BundleError("ct_spine: altered")
        case "defect":
            raise ValueError(SECRET_NAME)
    return AnalysisOutcome(status="analyzed")


def test_one_process_analyses_one_study_after_the_other(tmp_path: Path) -> None:
    with analyst(process_of) as one:
        answers = {one.run(task(tmp_path / "a")).reason for _ in range(3)}
    assert len(answers) == 1
    assert answers.pop().split()[1] == str(os.cpu_count())


def test_a_process_that_fails_costs_its_study_alone(tmp_path: Path) -> None:
    with analyst(fail_as_told, time_limit_s=1.0) as one:
        reasons = {name: one.run(task(tmp_path / name)).reason for name in ("die", "hang", "weights", "defect")}
        assert one.run(task(tmp_path / "good")).status == "analyzed"
    assert (reasons["die"], reasons["weights"]) == (WORKER_DIED, "ct_spine: altered")
    assert "longer than 1 s" in reasons["hang"]
    assert "ValueError" in reasons["defect"]
    assert SECRET_NAME not in str(reasons)


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_study_is_the_same_whatever_lies_in_the_results(tmp_path: Path, earlier: int) -> None:
    """The outputs of an earlier run over other images are replaced, not mixed with those of this one."""
    images = study(tmp_path, 1, "20260301")
    if earlier:
        last = sorted(images.iterdir())[-1]
        content = last.read_bytes()
        last.unlink()
        first = set(work(task(images)).own)
        last.write_bytes(content)
        assert first.isdisjoint(work(task(images)).own)
    own = work(task(images)).own
    assert len(own) == len(list((tmp_path / "results" / "1.2.826.0.2.1").glob("*.dcm")))
