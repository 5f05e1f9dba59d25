"""One study of the inbox analysed in a process of its own, beside the patient's earlier studies that are still here."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from pydicom import dcmread

from vertecast.core.errors import VertecastError
from vertecast.io.headers import read_header
from vertecast.io.sources import FileRef
from vertecast.run.workers import Lost, ProcessPool

if TYPE_CHECKING:
    from vertecast.core.config import Config
    from vertecast.io.discover import StudyFiles
    from vertecast.run.engine import Engine
    from vertecast.run.jobs import Job

MOST_COMPARED: Final = 5
"""So many earlier studies are looked at; reading the headers of each takes a second."""

KEEP_BELOW_BYTES: Final = 2 << 30
"""A process that holds more after a study is replaced: the models and a usual study take 1.5 GiB."""

NO_IMAGES: Final = "holds no images"
MIXED: Final = "its images name more than one study; send it anew"
WORKER_DIED: Final = "its process ended without a word, most likely for want of memory; use fewer workers"
OUT_OF_TIME: Final = "it took longer than {limit:g} s; raise time_limit_s or look at its images"
DEFECT: Final = "a defect of the program ({name}); please report it"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisTask:
    """A study to be analysed.

    Attributes:
        images: Folder of its images.
        earlier: Folders of other studies of the patient, which may be earlier.
        out: Folder of all results.
    """

    images: Path
    earlier: tuple[Path, ...]
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisOutcome:
    """What became of it; ``own``: SOPInstanceUIDs of its DICOM results."""

    status: Literal["analyzed", "failed", "skipped"]
    reason: str = ""
    own: tuple[str, ...] = ()


NOTHING: Final = AnalysisTask(images=Path(os.devnull), earlier=(), out=Path(os.devnull))
"""The task without a study, for which a process gets ready."""

Work: TypeAlias = Callable[[AnalysisTask], AnalysisOutcome]
"""What is done with a study in a worker process: `analyze` with its options; can be pickled."""


class Analyst:
    """A process that loads the models once and analyses one study after the other; to be used from one thread."""

    def __init__(self, work: Work, time_limit_s: float, *, threads_of: int = 1) -> None:
        """Prepare; the process starts with the first study.

        Args:
            work: What is done with a study.
            time_limit_s: For one study.
            threads_of: How many such processes share the cores.
        """
        self._time_limit_s = time_limit_s
        threads = max(1, (os.cpu_count() or 1) // threads_of)
        # A study whose process died is tried again by the queue, after a pause.
        self._pool: ProcessPool[AnalysisTask, AnalysisOutcome] = ProcessPool(
            work, 1, time_limit_s=time_limit_s, keep_below_bytes=KEEP_BELOW_BYTES, tries=1, threads=threads
        )

    def run(self, task: AnalysisTask) -> AnalysisOutcome:
        """Analyse a study; whatever goes wrong is the reason of its outcome."""
        try:
            self._pool.submit(task)
            _, outcome = self._pool.next_finished()
        except VertecastError as error:
            return AnalysisOutcome(status="failed", reason=str(error))
        except Exception as error:  # noqa: BLE001  its text may quote the header of an image
            return AnalysisOutcome(status="failed", reason=DEFECT.format(name=type(error).__name__))
        if outcome is Lost.OUT_OF_TIME:
            return AnalysisOutcome(status="failed", reason=OUT_OF_TIME.format(limit=self._time_limit_s))
        return AnalysisOutcome(status="failed", reason=WORKER_DIED) if isinstance(outcome, Lost) else outcome

    def warm_up(self) -> None:
        """Start the process and let it load what it needs, before the first study waits for that."""
        self.run(NOTHING)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._pool.close()


def end_workers(users: Sequence[threading.Thread], grace_s: float = 10.0) -> None:
    """End the worker processes, those too that are just being started, until the threads that use them have ended."""
    until = time.monotonic() + grace_s
    asked: set[int | None] = set()
    while any(user.is_alive() for user in users):
        for worker in multiprocessing.active_children():
            # Its own thread may be done with it at the same moment.
            with contextlib.suppress(ValueError):
                if time.monotonic() > until:
                    worker.kill()
                elif worker.pid not in asked:
                    asked.add(worker.pid)
                    worker.terminate()
        time.sleep(0.05)


def patient_of(images: Path) -> str:
    """Hash of the patient of a study; "" where no image tells."""
    for path in sorted(images.glob("*.dcm"))[:1]:
        try:
            header = read_header(FileRef(path))
        except VertecastError:
            return ""
        return "" if header is None else header.patient_key
    return ""


def analyze(task: AnalysisTask, *, config: Config, engine: Engine) -> AnalysisOutcome:
    """Analyse a study and write its results; runs in the worker process.

    Args:
        task: The study.
        config: Options of the analysis.
        engine: Makes the segmenters.
    """
    # The process of the service itself never needs what measures.
    from vertecast.io.discover import StudyFiles, find_studies
    from vertecast.run.jobs import Job, run_patient

    if task == NOTHING:
        _get_ready(config, engine)
    if not task.images.is_dir():
        return AnalysisOutcome(status="skipped", reason=NO_IMAGES)
    found = list(find_studies([task.images]))
    for one in found:
        if not isinstance(one, StudyFiles):
            return AnalysisOutcome(status="failed", reason=f"{one.path.name}: {one.reason}")
    studies = [one for one in found if isinstance(one, StudyFiles)]
    if len(studies) != 1:
        return AnalysisOutcome(status="failed", reason=MIXED)

    def job_of(study: StudyFiles) -> Job:
        return Job(study=study, out=task.out, config=config, engine=engine)

    job = job_of(studies[0])
    run = run_patient([*_earlier(job, task.earlier, job_of), job])[-1]
    own = [_instance_uid(path) for path in sorted(job.folder.glob("*.dcm"))] if run.status == "analyzed" else []
    return AnalysisOutcome(status=run.status, reason=run.reason, own=tuple(own))


def _get_ready(config: Config, engine: Engine) -> None:
    """Load the models and what writes: the first sample CT is then delivered after 19 s in place of 29 s.

    Raises:
        BundleError: the weights cannot be loaded.
    """
    from vertecast.report.html.printing import can_print
    from vertecast.run.jobs import load_models

    load_models(engine, config.segmentation)
    can_print()


def _earlier(job: Job, folders: Sequence[Path], job_of: Callable[[StudyFiles], Job]) -> Sequence[Job]:
    """Earlier studies of the patient, oldest first, whose results stand as they were written: none is made again."""
    from vertecast.io.discover import StudyFiles, find_studies
    from vertecast.run.jobs import written_before

    present = [folder for folder in folders[:MOST_COMPARED] if folder.is_dir()]
    others = [job_of(one) for one in find_studies(present) if isinstance(one, StudyFiles)]
    others.sort(key=lambda other: other.study.taken or datetime.min)
    standing: list[Job] = []
    for other in others:
        if job.follows(other) and written_before([*standing, other]):
            standing.append(other)
    return standing


def _instance_uid(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
