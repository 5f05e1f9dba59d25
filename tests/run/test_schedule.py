"""Which study is begun when: patients side by side, their studies in order, and never more than the memory holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from fakes import load_blocks
from vertecast.core.config import BatchOptions, Config
from vertecast.core.results import StudyReport
from vertecast.io.discover import SeriesFiles, StudyFiles
from vertecast.io.headers import ImagePlane
from vertecast.io.sources import FileRef
from vertecast.report.summary import StudyRun
from vertecast.run.engine import Engine
from vertecast.run.jobs import Job, Step, StepOutcome
from vertecast.run.memory import BYTES_PER_VOXEL, WORKER_BYTES, needed_bytes
from vertecast.run.schedule import GB, WORKER_DIED, run_patients
from vertecast.run.workers import Finished, Lost

ENGINE = Engine(load=load_blocks, weights="blocks")


class ScriptedPool:
    """A pool whose items end in the order in which they were begun; some are lost."""

    def __init__(self, slots: int, lost: dict[str, Lost] | None = None) -> None:
        self.slots, self.lost = slots, lost or {}
        self.running: list[Step] = []
        self.together: list[list[str]] = []
        self.known: dict[str, list[str]] = {}

    @property
    def has_room(self) -> bool:
        return len(self.running) < self.slots

    @property
    def busy(self) -> bool:
        return bool(self.running)

    def submit(self, item: Step) -> None:
        self.running.append(item)
        self.together.append([step.job.uid for step in self.running])
        self.known[item.job.uid] = [done.job.uid for done in item.done]

    def next_finished(self) -> Finished[Step, StepOutcome]:
        step = self.running.pop(0)
        uid = step.job.uid
        if uid in self.lost:
            return step, self.lost[uid]
        report = StudyReport(study_instance_uid=uid, phase="unknown", phase_source="unknown", series=())
        study = StudyRun(study_instance_uid=uid, directory=uid, status="analyzed", report=report)
        return step, StepOutcome(study=study, fingerprint=uid)

    def close(self) -> None:
        self.running.clear()


def job(uid: str, slices: int = 1) -> Job:
    """A CT of so many slices of 512 × 512."""
    source = FileRef(Path(f"/nowhere/{uid}"))
    plane = ImagePlane(
        source=source, frame=0, sop_instance_uid="1", frame_of_reference_uid="", image_type=(), rows=512, columns=512,
        position_mm=None, orientation=None, pixel_spacing_mm=None, thickness_mm=None, between_mm=None, slope=1.0,
        intercept=0.0, acquisition="", temporal="", acquired="",
    )  # fmt: skip
    series = SeriesFiles(study_instance_uid=uid, series_instance_uid=uid, modality="CT", planes=(plane,) * slices)
    taken = datetime(2026, 3, 1)
    study = StudyFiles(
        study_instance_uid=uid, series=(series,), rejected=(), patient_key="p", source="/nowhere", taken=taken
    )
    return Job(study=study, out=Path("/nowhere"), config=Config(), engine=ENGINE)


def run(patients: Sequence[Sequence[Job]], pool: ScriptedPool, **options: float) -> dict[str, str]:
    """What became of each study: its reason, "" where it was analysed."""
    chains = (iter(jobs) for jobs in patients)
    ends = list(run_patients(chains, pool, BatchOptions(**options)))
    assert len({study.study_instance_uid for study in ends}) == len(ends)
    return {study.study_instance_uid: study.reason for study in ends}


def test_patients_side_by_side_and_their_studies_one_after_the_other() -> None:
    pool = ScriptedPool(slots=2)
    ends = run([[job("a1"), job("a2"), job("a3")], [job("b1")], [job("c1"), job("c2")]], pool)
    assert set(ends.values()) == {""}
    assert all(len({uid[0] for uid in running}) == len(running) for running in pool.together)
    assert max(map(len, pool.together)) == 2
    assert pool.known == {"a1": [], "a2": ["a1"], "a3": ["a1", "a2"], "b1": [], "c1": [], "c2": ["c1"]}


def test_a_lost_study_costs_the_later_ones_only_the_comparison() -> None:
    pool = ScriptedPool(slots=2, lost={"a1": Lost.WORKER_DIED, "b1": Lost.OUT_OF_TIME})
    ends = run([[job("a1"), job("a2")], [job("b1")]], pool, time_limit_s=60.0)
    assert ends["a1"] == WORKER_DIED
    assert ends["b1"].startswith("took longer than 60 s and was ended")
    assert (ends["a2"], pool.known["a2"]) == ("", [])


def test_what_runs_together_fits_into_the_memory() -> None:
    pool = ScriptedPool(slots=4)
    allowed = needed_bytes(job("x", 1000).study) + WORKER_BYTES
    sizes = {"a": 1000, "b": 1000, "c": 10, "d": 1000, "e": 10, "f": 4000}
    ends = run([[job(uid, slices)] for uid, slices in sizes.items()], pool, memory_gb=allowed / GB)
    needed = {uid: needed_bytes(job(uid, slices).study) for uid, slices in sizes.items()}
    assert needed["a"] == WORKER_BYTES + 1000 * 512 * 512 * BYTES_PER_VOXEL
    assert all(sum(needed[uid] for uid in running) <= allowed for running in pool.together)
    assert ends.pop("f").startswith("needs about 7.4 GB of memory, and --memory allows")
    assert ends == dict.fromkeys("abcde", "")


def test_a_study_that_cannot_be_read_stands_in_its_place() -> None:
    unread = StudyRun(study_instance_uid="broken", directory="", status="failed", reason="cannot be unpacked")
    pool = ScriptedPool(slots=1)
    ends = [study.reason for study in run_patients([iter([unread, job("a")])], pool, BatchOptions())]
    assert ends == ["cannot be unpacked", ""]
