"""What an earlier run has written: taken over where it is complete and from the same inputs."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vertecast import __version__
from vertecast.core.errors import VertecastError
from vertecast.core.report_json import from_document
from vertecast.io.discover import StudyFiles
from vertecast.report.outputs import REPORT_NAME
from vertecast.report.summary import StudyRun

if TYPE_CHECKING:
    from vertecast.run.jobs import Job

FINGERPRINT_NAME: Final = ".inputs.sha256"
"""Written last into a study's folder: the folder is complete, and from these files, options, weights and earlier
studies."""


def fingerprint_of(job: Job, earlier: Sequence[str]) -> str:
    """Changes with the files (name, size, time of change), the options that shape a report, weights, version, and the
    studies that it is compared with, given by their own fingerprints."""
    digest = hashlib.sha256()
    parts = (__version__, job.config.model_dump_json(exclude={"batch"}), job.engine.weights)
    for part in (*parts, *earlier):
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
        try:
            state = path.stat()
        except OSError:
            continue
        if stat.S_ISREG(state.st_mode):
            yield f"{path.name}|{member}|{state.st_size}|{state.st_mtime_ns}"


def taken_over(job: Job, fingerprint: str) -> StudyRun | None:
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
