"""Many studies: found, resumed, analysed, summed up. One bad study never stops the others.

A study that was written before from the same files, options and weights is taken over from its folder, so that an
interrupted run goes on where it stopped. Studies of one patient are worked through together, oldest first.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from vertecast.config import Config
from vertecast.dicom.discover import StudyFiles, UnreadablePath, find_studies
from vertecast.dicom.pseudonyms import KEY_NAME, load_pseudonyms
from vertecast.engine import Engine
from vertecast.errors import ConfigurationError, OutputError
from vertecast.jobs import Job, run_in_order, run_patient, written_before
from vertecast.reports.outputs import write_run
from vertecast.reports.summary import RunSummary, StudyRun
from vertecast.segmentation.label_schemes import BUILT_IN
from vertecast.workers import Lost, run_in_processes
from vertecast.workflow import is_label_map
from vertecast.workflow.deidentify import Deidentification

NAMES_A_FILE: Final[Any] = {"segmentation": {"label_map", "labels"}, "output": {"key"}}
"""Options that are left out of run.json where they name a file: its name may be a patient's."""

NOT_REACHED: Final = "not reached: the run was interrupted"
UNREAD_PATH: Final = "a path that could not be read"
"""In run.json of a de-identified run, where the name of a file may be a patient's."""

NAME_TAKEN: Final = "another study of this run has the same name; analyse it into a folder of its own"
NAMES_NOBODY: Final = (
    "its patient ID is empty or stands for anybody, as in other studies of this run; for studies of one patient use "
    "'vertecast compare'"
)
NO_DATE: Final = "it has no date, so that its place among the patient's studies is unknown; use 'vertecast compare'"
WORKER_DIED: Final = "its process ended without a word, most likely for want of memory; use fewer workers"

Listener: TypeAlias = Callable[[StudyRun, int, int], None]
"""Told of each study or unreadable path, how many are done, how many there are."""

Patient: TypeAlias = tuple[Job, ...]
"""The studies of one patient, oldest first; a study whose patient or date is unknown stands alone."""


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


def run_batch(
    paths: Sequence[Path],
    out: Path,
    config: Config,
    engine: Engine,
    *,
    force: bool = False,
    compare: bool = False,
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
        compare: All studies are one patient's, given in their order; of several in one path the dates decide.
        listener: Told of the progress.

    Raises:
        ConfigurationError: a label map was given for more than one study, fewer than two are to be compared, or the key
            of a de-identified run cannot be read or made.
        OutputError: the folder cannot be made, or the summary cannot be written.
        BundleError: the weights cannot be loaded.
    """
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    studies = _in_order(paths) if compare else list(find_studies(paths))
    if config.segmentation.label_map is not None:
        studies = _study_of_label_map(studies, config)
    if compare and sum(isinstance(study, StudyFiles) for study in studies) < 2:
        unread = "".join(f"; {one.path}: {one.reason}" for one in studies if isinstance(one, UnreadablePath))
        raise ConfigurationError(f"nothing to compare: give at least two studies, the earliest first{unread}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made ({error.strerror}); choose another --out") from error
    identities = _identities(studies, out, config, one_patient=compare)
    job_of = functools.partial(Job, out=out, config=config, engine=engine, force=force, by_hand=compare)
    jobs, done = _plan(studies, lambda study: job_of(study=study, deidentification=identities(study)))
    total = len(jobs) + len(done)
    for number, study in enumerate(done, start=1):
        listener(study, number, total)
    interrupted = False
    try:
        for study in _run([tuple(jobs)] if compare else _patients(_told_why(jobs)), config.batch.workers):
            done.append(study)
            listener(study, len(done), total)
    except KeyboardInterrupt:
        interrupted = True
        reached = {study.directory for study in done}
        done += [job.ended("skipped", NOT_REACHED) for job in jobs if job.directory not in reached]
    kept = map(_without_path, done) if config.output.deidentify else done
    # A study's day would be known if it was analysed on it.
    when = "" if config.output.deidentify else started
    write_run(out, RunSummary(studies=tuple(kept), started=when, config=_without_file_names(config)))
    return BatchResult(studies=tuple(done), interrupted=interrupted)


def _identities(
    studies: Sequence[StudyFiles | UnreadablePath], out: Path, config: Config, *, one_patient: bool
) -> Callable[[StudyFiles], Deidentification | None]:
    """How each study is de-identified. Studies of one patient are moved by the same number of days.

    Raises:
        ConfigurationError: the key cannot be read or made.
    """
    if not config.output.deidentify:
        return lambda _study: None
    key = out.absolute().parent / KEY_NAME if config.output.key is None else Path(config.output.key)
    pseudonyms = load_pseudonyms(key)
    patients = {
        one.study_instance_uid: one.patient_key or one.study_instance_uid
        for one in studies
        if isinstance(one, StudyFiles)
    }
    first = next(iter(patients.values()), "")
    return lambda study: Deidentification(
        pseudonyms=pseudonyms, patient=first if one_patient else patients[study.study_instance_uid]
    )


def _without_path(study: StudyRun) -> StudyRun:
    """The record of a path that could not be read, without its name."""
    if study.directory:
        return study
    # What stands before the last colon is the name of a file in an archive.
    return replace(study, study_instance_uid=UNREAD_PATH, reason=study.reason.rpartition(": ")[2])


def _without_file_names(config: Config) -> dict[str, Any]:
    """The options as run.json keeps them."""
    options = config.model_dump(exclude=NAMES_A_FILE)
    if config.segmentation.labels in BUILT_IN:
        options["segmentation"]["labels"] = config.segmentation.labels
    return options


def _in_order(paths: Sequence[Path]) -> list[StudyFiles | UnreadablePath]:
    """Studies in the order of their paths, those of one path by date."""
    found = list(find_studies(paths))
    studies = [one for one in found if isinstance(one, StudyFiles)]
    places = {study.study_instance_uid: _place(study, paths) for study in studies}
    studies.sort(key=lambda study: (places[study.study_instance_uid], study.taken or datetime.min))
    return [*(one for one in found if isinstance(one, UnreadablePath)), *studies]


def _place(study: StudyFiles, paths: Sequence[Path]) -> int:
    """Which of the given paths a study was found under."""
    source = Path(study.source)
    return next((n for n, path in enumerate(paths) if path == source or path in source.parents), len(paths))


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
    studies: Sequence[StudyFiles | UnreadablePath], job_of: Callable[[StudyFiles], Job]
) -> tuple[list[Job], list[StudyRun]]:
    """What is to be done, and what cannot be: unreadable paths, and studies whose name is taken."""
    jobs: list[Job] = []
    refused: list[StudyRun] = []
    taken: set[str] = set()
    for found in studies:
        if isinstance(found, UnreadablePath):
            name = str(found.path)
            refused.append(StudyRun(study_instance_uid=name, directory="", status="failed", reason=found.reason))
            continue
        job = job_of(found)
        if job.directory in taken:
            refused.append(job.ended("failed", NAME_TAKEN))
        else:
            jobs.append(job)
        taken.add(job.directory)
    return jobs, refused


def _told_why(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs; those that are not compared although they may share their patient with another know why."""
    shared = Counter(job.study.patient_key for job in jobs)
    nobody = sum(job.study.names_nobody for job in jobs)

    def reason(job: Job) -> str:
        if job.study.names_nobody and nobody > 1:
            return NAMES_NOBODY
        undated = job.study.taken is None and job.study.patient_key != ""
        return NO_DATE if undated and shared[job.study.patient_key] > 1 else ""

    return [replace(job, not_compared=reason(job)) for job in jobs]


def _patients(jobs: Sequence[Job]) -> list[Patient]:
    """Jobs by patient, each patient's in the order in which they were taken."""
    together: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        alone = not job.study.patient_key or job.study.taken is None
        together[job.directory if alone else job.study.patient_key].append(job)
    return [tuple(sorted(own, key=lambda job: job.study.taken or datetime.min)) for own in together.values()]


def _run(patients: Sequence[Patient], workers: int) -> Iterator[StudyRun]:
    """Work through the patients, those that an earlier run has done first, in this process or in several."""
    waiting = []
    for jobs in patients:
        if done := written_before(jobs):
            yield from done
        else:
            waiting.append(jobs)
    if min(workers, len(waiting)) <= 1:
        for jobs in waiting:
            yield from run_in_order(jobs)
        return
    for jobs, studies in run_in_processes(run_patient, waiting, min(workers, len(waiting))):
        yield from _one_by_one(jobs) if isinstance(studies, Lost) else studies


def _one_by_one(jobs: Patient) -> Iterator[StudyRun]:
    """The studies of a patient that brought a worker down, each in a process of its own: one of them is at fault."""
    survivors: list[Job] = []
    for job in jobs:
        ((_, studies),) = run_in_processes(run_patient, [(*survivors, job)], 1)
        if isinstance(studies, Lost):
            yield job.ended("failed", WORKER_DIED)
        else:
            yield studies[-1]
            if studies[-1].status == "analyzed":
                survivors.append(replace(job, force=False))
