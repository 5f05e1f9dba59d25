"""Many studies: found, resumed, analysed, summed up. One bad study never stops the others.

A study that was written before from the same files, options and weights is taken over from its folder, so that an
interrupted run goes on where it stopped.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from vertecast import __version__
from vertecast.config import Config, SegmentationOptions
from vertecast.dicom.discover import StudyFiles, UnreadablePath, find_studies
from vertecast.engine import Engine, Loader, ProjectionLoader
from vertecast.errors import BundleError, ConfigurationError, OutputError, VertecastError
from vertecast.reports.document import from_document
from vertecast.reports.outputs import REPORT_NAME, write_run, write_study
from vertecast.reports.summary import RunSummary, StudyRun
from vertecast.workers import Lost, run_in_processes
from vertecast.workflow import ProjectionSegmenter, Segmenter, analyze_study, is_label_map

FINGERPRINT_NAME: Final = ".inputs.sha256"
"""Written last into a study's folder: the folder is complete, and from these files, options and weights."""

NAMES_A_FILE: Final[Any] = {"segmentation": {"label_map"}}
"""Options that are left out of run.json: the name of a file may be a patient's."""

NOT_REACHED: Final = "not reached: the run was interrupted"
NAME_TAKEN: Final = "another study of this run has the same name; analyse it into a folder of its own"
WORKER_DIED: Final = "its process ended without a word, most likely for want of memory; use fewer workers"

Listener: TypeAlias = Callable[[StudyRun, int, int], None]
"""Told of each study or unreadable path, how many are done, how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What became of a run. A path that could not be read stands among the studies, with no directory."""

    studies: tuple[StudyRun, ...]
    interrupted: bool

    def count(self, status: Literal["analyzed", "failed", "skipped"]) -> int:
        """How many studies and paths ended so."""
        return sum(study.status == status for study in self.studies)

    @property
    def found_work(self) -> bool:
        """True when there was at least one study that held something to analyse."""
        return any(study.directory and study.status != "skipped" for study in self.studies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One study with all that a worker needs for it."""

    study: StudyFiles
    out: Path
    config: Config
    engine: Engine
    fingerprint: str

    @property
    def directory(self) -> str:
        """Folder of the outputs: the study's UID with nothing in it that a file system could take for a path."""
        return re.sub(r"[^\w.-]", "_", self.study.study_instance_uid).strip(".") or "study"

    @property
    def folder(self) -> Path:
        """The same as a path."""
        return self.out / self.directory

    def ended(self, status: Literal["failed", "skipped"], reason: str) -> StudyRun:
        """The record of a study without outputs."""
        uid = self.study.study_instance_uid
        return StudyRun(study_instance_uid=uid, directory=self.directory, status=status, reason=reason)


def run_batch(
    paths: Sequence[Path],
    out: Path,
    config: Config,
    engine: Engine,
    *,
    force: bool = False,
    listener: Listener = lambda _study, _done, _total: None,
) -> BatchResult:
    """Analyse every study under the given paths and write the run's summary.

    Ctrl-C ends the run early: what is done is kept and summed up, and the result says so.

    Args:
        paths: Folders, files, archives.
        out: Folder of the run; made if absent.
        config: All options.
        engine: Makes the segmenter in each process.
        force: Analyse again what an earlier run has written.
        listener: Told of the progress.

    Raises:
        ConfigurationError: a label map was given for more than one study.
        OutputError: the folder cannot be made, or the summary cannot be written.
        BundleError: the weights cannot be loaded.
    """
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made ({error.strerror}); choose another --out") from error
    studies = list(find_studies(paths))
    if config.segmentation.label_map is not None:
        studies = _study_of_label_map(studies, config)
    jobs, done = _plan(studies, out, config, engine, force=force)
    total = len(jobs) + len(done)
    for number, study in enumerate(done, start=1):
        listener(study, number, total)
    interrupted = False
    try:
        for study in _run(jobs, config.batch.workers):
            done.append(study)
            listener(study, len(done), total)
    except KeyboardInterrupt:
        interrupted = True
        reached = {study.directory for study in done}
        done += [job.ended("skipped", NOT_REACHED) for job in jobs if job.directory not in reached]
    write_run(out, RunSummary(studies=tuple(done), started=started, config=config.model_dump(exclude=NAMES_A_FILE)))
    return BatchResult(studies=tuple(done), interrupted=interrupted)


def _study_of_label_map(
    studies: list[StudyFiles | UnreadablePath], config: Config
) -> list[StudyFiles | UnreadablePath]:
    """The one study that a label map belongs to; the map itself where no other was given.

    Raises:
        ConfigurationError: there are several studies.
    """
    maps = [one for one in studies if isinstance(one, StudyFiles) and is_label_map(one, config)]
    others = [one for one in studies if one not in maps]
    count = sum(isinstance(one, StudyFiles) for one in others)
    if count > 1:
        raise ConfigurationError(f"a label map belongs to one study, and {count} were found; give that one alone")
    return others if count else [*maps, *others]


def _plan(
    studies: Sequence[StudyFiles | UnreadablePath], out: Path, config: Config, engine: Engine, *, force: bool
) -> tuple[list[Job], list[StudyRun]]:
    """What is to be done, and what needs nothing done: unreadable paths and studies of an earlier run."""
    jobs: list[Job] = []
    done: list[StudyRun] = []
    taken: set[str] = set()
    for found in studies:
        if isinstance(found, UnreadablePath):
            name = str(found.path)
            done.append(StudyRun(study_instance_uid=name, directory="", status="failed", reason=found.reason))
            continue
        fingerprint = _fingerprint(found, config, engine)
        job = Job(study=found, out=out, config=config, engine=engine, fingerprint=fingerprint)
        earlier = None if force else _earlier(job)
        if job.directory in taken:
            done.append(job.ended("failed", NAME_TAKEN))
        elif earlier is not None:
            done.append(earlier)
        else:
            jobs.append(job)
        taken.add(job.directory)
    return jobs, done


def _fingerprint(study: StudyFiles, config: Config, engine: Engine) -> str:
    """Changes with the files (name, size, time of change), the options that shape a report, weights and version."""
    digest = hashlib.sha256()
    for part in (__version__, config.model_dump_json(exclude={"batch"}), engine.weights):
        digest.update(part.encode() + b"\0")
    for line in sorted(set(_file_states(study))):
        digest.update(line.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def _file_states(study: StudyFiles) -> Iterator[str]:
    """One line for each file of a study; a file that has gone meanwhile shows when it is read."""
    members: Iterable[tuple[Path, str]] = {
        (plane.source.path, plane.source.member) for series in study.series for plane in series.planes
    }
    for path, member in (*members, (Path(study.source), "")):
        if path.is_file():
            state = path.stat()
            yield f"{path.name}|{member}|{state.st_size}|{state.st_mtime_ns}"


def _earlier(job: Job) -> StudyRun | None:
    """The same study from an earlier run, if its folder is complete and from the same inputs."""
    try:
        if (job.folder / FINGERPRINT_NAME).read_text(encoding="ascii").strip() != job.fingerprint:
            return None
        report = from_document(json.loads((job.folder / REPORT_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, VertecastError):
        return None
    files = (path for path in sorted(job.folder.rglob("*")) if path.is_file() and path.name != FINGERPRINT_NAME)
    return StudyRun(
        study_instance_uid=job.study.study_instance_uid,
        directory=job.directory,
        status="analyzed",
        outputs=tuple(path.relative_to(job.out).as_posix() for path in files),
        report=report,
    )


def _run(jobs: Sequence[Job], workers: int) -> Iterator[StudyRun]:
    """Work through the jobs in this process, or in several."""
    if min(workers, len(jobs)) <= 1:
        yield from map(run_job, jobs)
        return
    for job, study in run_in_processes(run_job, jobs, min(workers, len(jobs))):
        yield job.ended("failed", WORKER_DIED) if isinstance(study, Lost) else study


def run_job(job: Job) -> StudyRun:
    """Analyse one study and write its folder; whatever goes wrong with it becomes its reason.

    Raises:
        BundleError: the weights cannot be loaded, which no other study would survive either.
    """
    started = time.monotonic()
    try:
        options, load_projection = job.config.segmentation, job.engine.load_projection
        result = analyze_study(
            job.study,
            job.config,
            _segmenter(job.engine.load, options),
            None if load_projection is None else functools.partial(_projection_segmenter, load_projection, options),
        )
        analyzed = time.monotonic()
        outputs: tuple[str, ...] = ()
        if result.status == "analyzed":
            (job.folder / FINGERPRINT_NAME).unlink(missing_ok=True)
            outputs = write_study(
                result.report,
                result.volume,
                result.labels,
                job.folder,
                films=[(film.series_instance_uid, film.radiograph, film.labels) for film in result.films],
                strips=[film.strip for film in result.films if film.strip is not None],
            )
            (job.folder / FINGERPRINT_NAME).write_text(job.fingerprint + "\n", encoding="ascii")
    except BundleError:
        raise
    except VertecastError as error:
        return job.ended("failed", str(error))
    except OSError as error:
        return job.ended("failed", f"{job.folder}: {error.strerror}; free some space or choose another --out")
    except Exception as error:  # noqa: BLE001  one defect must not cost the other studies their reports
        return job.ended("failed", _defect(error))
    return StudyRun(
        study_instance_uid=job.study.study_instance_uid,
        directory=job.directory,
        status=result.status,
        reason=result.reason,
        outputs=tuple(f"{job.directory}/{name}" for name in outputs),
        timing_s={"analysis": round(analyzed - started, 3), "output": round(time.monotonic() - analyzed, 3)},
        report=result.report,
    )


@functools.lru_cache(maxsize=1)
def _projection_segmenter(load: ProjectionLoader, options: SegmentationOptions) -> ProjectionSegmenter:
    """The same for projections, when the first one comes."""
    return load(options)


@functools.lru_cache(maxsize=1)
def _segmenter(load: Loader, options: SegmentationOptions) -> Segmenter:
    """Models are loaded once in each process."""
    return load(options)


def _defect(error: Exception) -> str:
    """Where the program failed; never the error's own text, which may quote the header of an image."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return f"a defect of the program ({type(error).__name__} at {where}); please report it"
