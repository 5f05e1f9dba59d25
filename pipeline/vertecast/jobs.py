"""The studies of one patient, oldest first: each taken over from an earlier run or analysed, and compared with those
before it. Whatever goes wrong with one becomes its reason."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import time
from pathlib import Path
from time import monotonic
from typing import Final, Literal

from vertecast import __version__
from vertecast.config import Config, SegmentationOptions
from vertecast.dicom.discover import StudyFiles
from vertecast.dicom.files import read_label_map
from vertecast.dicom.study_header import read_patient
from vertecast.engine import Engine, Loader, ProjectionLoader
from vertecast.errors import BundleError, VertecastError
from vertecast.images import Mask
from vertecast.patient import Patient
from vertecast.reports.document import from_document
from vertecast.reports.outputs import LABELS_NAME, REPORT_NAME, MeasuredStudy, write_study
from vertecast.reports.summary import StudyRun
from vertecast.results import StudyReport
from vertecast.workflow import (
    EarlierStudy,
    ProjectionSegmenter,
    Segmenter,
    StudyResult,
    analyze_study,
    with_changes,
)
from vertecast.workflow.deidentify import Deidentification

FINGERPRINT_NAME: Final = ".inputs.sha256"
"""Written last into a study's folder: the folder is complete, and from these files, options, weights and earlier
studies."""

OTHER_PATIENT: Final = "the compared studies carry different patient IDs; they were taken for one patient as asked"


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
        """Folder of the outputs: the study's UID with nothing in it that a file system could take for a path."""
        return re.sub(r"[^\w.-]", "_", self.uid).strip(".") or "study"

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
class _Done:
    """A study of the patient that was analysed."""

    job: Job
    report: StudyReport
    fingerprint: str

    def labels(self) -> Mask | None:
        """Its label map; None where it has none that can be read."""
        try:
            return read_label_map(self.job.folder / LABELS_NAME)
        except VertecastError:
            return None


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
    done: list[_Done] = []
    for job in jobs:
        earlier, fingerprint = _inputs(job, done)
        study = _taken_over(job, fingerprint) or _run_job(job, fingerprint, earlier)
        if study.status == "analyzed" and study.report is not None:
            done.append(_Done(job=job, report=study.report, fingerprint=fingerprint))
        yield study


def written_before(jobs: Sequence[Job]) -> list[StudyRun]:
    """The studies of one patient as an earlier run has written them; none unless all are there."""
    done: list[_Done] = []
    studies: list[StudyRun] = []
    for job in jobs:
        _, fingerprint = _inputs(job, done)
        study = _taken_over(job, fingerprint)
        if study is None or study.report is None:
            return []
        done.append(_Done(job=job, report=study.report, fingerprint=fingerprint))
        studies.append(study)
    return studies


def _inputs(job: Job, done: Sequence[_Done]) -> tuple[list[_Done], str]:
    """The earlier studies that a study is compared with, and the fingerprint of all that goes into its report."""
    earlier = [one for one in done if job.follows(one.job)]
    return earlier, _fingerprint(job, earlier)


def _fingerprint(job: Job, earlier: Sequence[_Done]) -> str:
    """Changes with the files (name, size, time of change), the options that shape a report, weights, version, and the
    studies that it is compared with."""
    digest = hashlib.sha256()
    parts = (__version__, job.config.model_dump_json(exclude={"batch"}), job.engine.weights)
    for part in (*parts, *(one.fingerprint for one in earlier)):
        digest.update(part.encode() + b"\0")
    if job.deidentification is not None:
        # With the key in it nobody else can try whose files these were.
        digest.update(job.deidentification.pseudonyms.key)
    for line in sorted(set(_file_states(job.study))):
        digest.update(line.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def _file_states(study: StudyFiles) -> Iterator[str]:
    """One line for each file of a study; a file that has gone meanwhile shows when it is read. Our own results, which
    may have come back with the study, are no inputs."""
    members: Iterable[tuple[Path, str]] = {
        (plane.source.path, plane.source.member)
        for series in study.series
        if not series.is_own_result
        for plane in series.planes
    }
    for path, member in (*members, (Path(study.source), "")):
        if path.is_file():
            state = path.stat()
            yield f"{path.name}|{member}|{state.st_size}|{state.st_mtime_ns}"


def _taken_over(job: Job, fingerprint: str) -> StudyRun | None:
    """The same study from an earlier run, if its folder is complete and from the same inputs."""
    if job.force:
        return None
    try:
        if (job.folder / FINGERPRINT_NAME).read_text(encoding="ascii").strip() != fingerprint:
            return None
        report = from_document(json.loads((job.folder / REPORT_NAME).read_text(encoding="utf-8")))
        patient = job.patient()
    except (OSError, ValueError, VertecastError):
        return None
    files = (path for path in sorted(job.folder.rglob("*")) if path.is_file() and path.name != FINGERPRINT_NAME)
    return StudyRun(
        study_instance_uid=job.uid,
        directory=job.directory,
        status="analyzed",
        not_compared=job.not_compared,
        outputs=tuple(path.relative_to(job.out).as_posix() for path in files),
        report=report,
        patient=patient,
    )


def _run_job(job: Job, fingerprint: str, earlier: Sequence[_Done]) -> StudyRun:
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
            outputs = write_study(
                MeasuredStudy(
                    report=result.report,
                    volume=result.volume,
                    labels=result.labels,
                    height_maps=result.height_maps,
                    canal=result.canal,
                    films=result.films,
                    strips=[film.strip for film in result.films if film.strip is not None],
                    dicom_images=result.dicom_images,
                ),
                job.folder,
                dicom=job.config.dicom,
                patient=patient,
            )
            (job.folder / FINGERPRINT_NAME).write_text(fingerprint + "\n", encoding="ascii")
    except BundleError:
        raise
    except VertecastError as error:
        return job.ended("failed", str(error))
    except OSError as error:
        return job.ended("failed", f"{job.folder}: {error.strerror}; free some space or choose another --out")
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


def _compared(result: StudyResult, job: Job, earlier: Sequence[_Done]) -> StudyResult:
    """The study with what changed since the earlier ones."""
    if result.status != "analyzed" or not earlier:
        return result
    studies = [EarlierStudy(report=one.report, day=one.job.day, labels=one.labels) for one in earlier]
    result = with_changes(result, job.day, studies)
    patients = {one.study.patient_key for one in (job, *(done.job for done in earlier))} - {""}
    if result.report.change is not None and len(patients) > 1:
        result = replace(result, report=replace(result.report, warnings=(*result.report.warnings, OTHER_PATIENT)))
    return result


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
