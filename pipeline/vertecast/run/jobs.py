"""The studies of one patient, oldest first: each taken over from an earlier run or analysed, and compared with those
before it. Whatever goes wrong with one becomes its reason."""

from __future__ import annotations

import functools
import re
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import time
from pathlib import Path
from time import monotonic
from typing import Final, Literal

from vertecast.core.config import Config, SegmentationOptions
from vertecast.core.errors import BundleError, VertecastError
from vertecast.core.images import Mask
from vertecast.core.patient import Patient
from vertecast.core.results import NotMeasured, StudyReport
from vertecast.core.study_result import StudyResult
from vertecast.io.discover import StudyFiles
from vertecast.io.study_header import read_patient
from vertecast.io.volumes import read_label_map
from vertecast.report.outputs import LABELS_NAME, remove_half_written, write_study
from vertecast.report.summary import StudyRun
from vertecast.run.engine import Engine, Loader, ProjectionLoader
from vertecast.run.resume import FINGERPRINT_NAME, fingerprint_of, taken_over
from vertecast.study import EarlierStudy, ProjectionSegmenter, Segmenter, analyze_study, with_changes
from vertecast.study.deidentify import Deidentification

NO_MEMORY: Final = "the memory did not suffice; use fewer workers or a machine with more of it"
NO_LABELS: Final = NotMeasured(
    reason=f"the earlier study's {LABELS_NAME} is missing or damaged; analyse that study again with --force"
)
OTHER_PATIENT: Final = "the compared studies carry different patient IDs; they were taken for one patient as asked"


def directory_of(uid: str) -> str:
    """Name of the folder of a study: nothing in it can be taken for a path."""
    return re.sub(r"[^\w.-]", "_", uid).strip(".") or "study"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One study with all that a worker needs for it.

    Attributes:
        study: Its files.
        out: Folder of the run.
        config: All options.
        engine: Makes the segmenters.
        force: Analyse again what an earlier run has written.
        by_hand: The operator gave the patient's studies in their order; their dates do not matter.
        not_compared: Why it stands alone although other studies of the run may be of the same patient.
        deidentification: What takes the patient's identity out of everything; None: results belong to the patient.
    """

    study: StudyFiles
    out: Path
    config: Config
    engine: Engine
    force: bool = False
    by_hand: bool = False
    not_compared: str = ""
    deidentification: Deidentification | None = None

    @property
    def uid(self) -> str:
        """The study's UID in everything that is written."""
        uid = self.study.study_instance_uid
        return uid if self.deidentification is None else self.deidentification.pseudonyms.uid(uid)

    @property
    def directory(self) -> str:
        """Folder of the outputs, made of the study's UID."""
        return directory_of(self.uid)

    @property
    def folder(self) -> Path:
        """The same as a path."""
        return self.out / self.directory

    @property
    def day(self) -> int | None:
        """Number of the day on which the study was taken."""
        return None if self.study.taken is None else self.study.taken.toordinal()

    def follows(self, other: Job) -> bool:
        """Whether another study of the patient is known to be earlier."""
        if self.by_hand:
            return True
        mine, theirs = self.study.taken, other.study.taken
        if mine is None or theirs is None:
            return False
        # Midnight stands for a time that the header does not give: of two studies of one day it tells no order.
        if mine.date() == theirs.date() and time(0) in (mine.time(), theirs.time()):
            return False
        return theirs < mine

    def ended(self, status: Literal["failed", "skipped"], reason: str) -> StudyRun:
        """The record of a study without outputs."""
        if self.deidentification is not None:
            reason = self.deidentification.text(reason, self.study)
        return StudyRun(study_instance_uid=self.uid, directory=self.directory, status=status, reason=reason)

    def patient(self) -> Patient | None:
        """Whom pages name: nobody unless asked, and nobody for a file that is no DICOM.

        Raises:
            UnreadableError: the header cannot be read again.
        """
        sources = (plane.source for series in self.study.series for plane in series.planes if not series.picture_file)
        source = next(sources, None) if self.config.output.identify else None
        return None if source is None else read_patient(source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A study of the patient that was analysed."""

    job: Job
    report: StudyReport
    fingerprint: str

    def labels(self) -> Mask | NotMeasured:
        """Its label map, or why there is none."""
        try:
            return read_label_map(self.job.folder / LABELS_NAME)
        except VertecastError:
            return NO_LABELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One study to be analysed, after those of the patient that were analysed before it. Travels to workers."""

    job: Job
    done: tuple[Done, ...] = ()

    @property
    def earlier(self) -> list[Done]:
        """The studies that this one is compared with."""
        return [one for one in self.done if self.job.follows(one.job)]

    @property
    def fingerprint(self) -> str:
        """What goes into the report of the study."""
        return fingerprint_of(self.job, [one.fingerprint for one in self.earlier])


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What became of a study, and what went into it."""

    study: StudyRun
    fingerprint: str

    def done(self, step: Step) -> tuple[Done, ...]:
        """The studies of the patient that were analysed up to this one."""
        if self.study.status != "analyzed" or self.study.report is None:
            return step.done
        # Its files are not asked for again, and headers are large.
        job = replace(step.job, study=replace(step.job.study, series=()))
        return (*step.done, Done(job=job, report=self.study.report, fingerprint=self.fingerprint))


def run_patient(jobs: Sequence[Job]) -> list[StudyRun]:
    """All studies of one patient; see `run_in_order`."""
    return list(run_in_order(jobs))


def run_in_order(jobs: Sequence[Job]) -> Iterator[StudyRun]:
    """Analyse the studies of one patient.

    Args:
        jobs: Oldest first.

    Yields:
        What became of each, in the same order.

    Raises:
        BundleError: the weights cannot be loaded, which no other study would survive either.
    """
    done: tuple[Done, ...] = ()
    for job in jobs:
        step = Step(job=job, done=done)
        outcome = run_step(step)
        done = outcome.done(step)
        yield outcome.study


def run_step(step: Step) -> StepOutcome:
    """Analyse one study, or take it over from an earlier run.

    Raises:
        BundleError: the weights cannot be loaded.
    """
    fingerprint = step.fingerprint
    study = taken_over(step.job, fingerprint) or _run_job(step.job, fingerprint, step.earlier)
    return StepOutcome(study=study, fingerprint=fingerprint)


def written_before(jobs: Sequence[Job]) -> list[StudyRun]:
    """The studies of one patient as an earlier run has written them; none unless all are there."""
    done: tuple[Done, ...] = ()
    studies: list[StudyRun] = []
    for job in jobs:
        step = Step(job=job, done=done)
        fingerprint = step.fingerprint
        study = taken_over(job, fingerprint)
        if study is None:
            return []
        done = StepOutcome(study=study, fingerprint=fingerprint).done(step)
        studies.append(study)
    return studies


def _run_job(job: Job, fingerprint: str, earlier: Sequence[Done]) -> StudyRun:
    """Analyse one study and write its folder."""
    started = monotonic()
    try:
        options, load_projection = job.config.segmentation, job.engine.load_projection
        result = analyze_study(
            job.study,
            job.config,
            _segmenter(job.engine.load, options),
            None if load_projection is None else functools.partial(_projection_segmenter, load_projection, options),
        )
        # Before the comparison, which names earlier studies by the UIDs that they were written with.
        if job.deidentification is not None:
            result = job.deidentification.result(result, job.study)
        result = _compared(result, job, earlier)
        patient = job.patient()
        analyzed = monotonic()
        outputs: tuple[str, ...] = ()
        if result.status == "analyzed":
            (job.folder / FINGERPRINT_NAME).unlink(missing_ok=True)
            remove_half_written(job.folder)
            outputs = write_study(result, job.folder, dicom=job.config.dicom, patient=patient)
            (job.folder / FINGERPRINT_NAME).write_text(fingerprint + "\n", encoding="ascii")
    except BundleError:
        raise
    except VertecastError as error:
        return job.ended("failed", str(error))
    except OSError as error:
        return job.ended("failed", f"{job.folder}: {error.strerror}; free some space or choose another --out")
    except MemoryError:
        return job.ended("failed", NO_MEMORY)
    except Exception as error:  # noqa: BLE001  one defect must not cost the other studies their reports
        return job.ended("failed", _defect(error))
    return StudyRun(
        study_instance_uid=job.uid,
        directory=job.directory,
        status=result.status,
        reason=result.reason,
        not_compared=job.not_compared,
        outputs=tuple(f"{job.directory}/{name}" for name in outputs),
        timing_s={"analysis": round(analyzed - started, 3), "output": round(monotonic() - analyzed, 3)},
        report=result.report,
        patient=patient,
    )


def _compared(result: StudyResult, job: Job, earlier: Sequence[Done]) -> StudyResult:
    """The study with what changed since the earlier ones."""
    if result.status != "analyzed" or not earlier:
        return result
    studies = [EarlierStudy(report=one.report, day=one.job.day, labels=one.labels) for one in earlier]
    result = with_changes(result, job.day, studies)
    patients = {one.study.patient_key for one in (job, *(done.job for done in earlier))} - {""}
    if result.report.change is not None and len(patients) > 1:
        result = replace(result, report=replace(result.report, warnings=(*result.report.warnings, OTHER_PATIENT)))
    return result


def load_models(engine: Engine, options: SegmentationOptions) -> None:
    """Load the models of CT now, as the first study of a process would.

    Raises:
        BundleError: the weights cannot be loaded.
    """
    _segmenter(engine.load, options)


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
