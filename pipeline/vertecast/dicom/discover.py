"""Studies and their series found in files, folders, trees, DICOMDIR and zip archives."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from vertecast.dicom.headers import Header, Plane, read_header
from vertecast.dicom.sources import (
    FileRef,
    UnreadablePath,
    cause,
    is_own_picture,
    is_picture_file,
    is_volume_file,
    list_files,
    stem,
)
from vertecast.errors import UnreadableError
from vertecast.results import SeriesResult

__all__ = ["SeriesFiles", "StudyFiles", "UnreadablePath", "find_studies", "series_kind"]

RADIOGRAPH_MODALITIES = ("DX", "CR", "XA", "RF", "RG")
"""Modalities of projection images; RG is film."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesFiles:
    """One series as its headers describe it; no pixel has been read.

    Attributes:
        modality: DICOM modality; "CT" for a volume file, whose values are checked when it is read.
        frames: Largest number of frames in a file.
        planes: Every image plane in the order found; empty for a volume file and for objects without an image.
        files_without_image: Files of the series that hold no image although others do: they are damaged.
        volume_file: Path of a NIfTI, MetaImage or NRRD volume, None for DICOM.
        picture_file: PNG or JPEG file, None for anything else.
        contrast: Contrast medium; None where the header says nothing.
        body_part: BodyPartExamined, a hint only.
        conversion_type: How a secondary capture was made (PS3.3 C.8.6.1).
        for_processing: Raw detector values that are not meant to be looked at.
        is_own_result: Written by Vertecast, for instance fetched from an archive with the study.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    description: str = ""
    sop_class_uid: str = ""
    kernel: str = ""
    kvp: float | None = None
    contrast: bool | None = None
    rescale_type: str = ""
    samples_per_pixel: int = 1
    bits_stored: int = 0
    conversion_type: str = ""
    for_processing: bool = False
    is_own_result: bool = False
    frames: int = 1
    body_part: str = ""
    planes: tuple[Plane, ...] = ()
    files_without_image: int = 0
    volume_file: Path | None = None
    picture_file: FileRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFiles:
    """One study.

    Attributes:
        rejected: Series that are refused before any is chosen, with the reason. `series` does not repeat them.
        patient_key: Hash of the patient, to find other studies of the same one; "" where unknown. Never printed.
        names_nobody: Its PatientID is empty, or one that stands for anybody.
        taken: Date and time of the study, earliest of its files; None where unknown. Never printed.
        source: The path, given by the user, where the first file of the study was found.
    """

    study_instance_uid: str
    series: tuple[SeriesFiles, ...]
    rejected: tuple[SeriesResult, ...]
    patient_key: str
    source: str
    taken: datetime | None = None
    names_nobody: bool = False


def find_studies(paths: Sequence[Path], *, scratch: Path | None = None) -> Iterator[StudyFiles | UnreadablePath]:
    """Find every study under the given paths.

    All headers are read first, because the files of one study may lie in several folders or be given as several
    paths. Unreadable files come first, then the studies in the order in which they were found.

    A PNG or JPEG file is a radiograph where it is given itself, or where the folder or archive given holds no DICOM
    and no volume anywhere: beside such images it is a thumbnail, a screen shot or a page of a report. Pictures in our
    own results are never taken.

    Args:
        paths: Study folders, trees, files, DICOMDIR files, zip archives, NIfTI, MetaImage or NRRD volumes, PNG or JPEG
            files.
        scratch: Folder into which volume files inside zip archives are unpacked; a temporary one by default.
            DICOM inside archives is read in place.

    Yields:
        Studies, and one record for each file or folder that cannot be read. Nothing is raised for bad input.
    """
    headers: dict[str, list[Header]] = defaultdict(list)
    volumes: list[FileRef] = []
    pictures: list[FileRef] = []
    sources: dict[str, str] = {}
    seen: set[FileRef | UnreadablePath] = set()
    for path in paths:
        found = False
        beside: list[FileRef] = []
        for item in list_files(path):
            if item in seen:
                found = True
                continue
            seen.add(item)
            header = _read(item)
            if isinstance(header, UnreadablePath):
                yield header
                found = True
            elif isinstance(header, FileRef):
                volumes.append(header)
                found = True
            elif header is not None:
                headers[header.study_instance_uid].append(header)
                sources.setdefault(header.study_instance_uid, str(path))
                found = True
            elif isinstance(item, FileRef) and is_picture_file(item):
                seen.discard(item)  # passed over here, it may still be given itself
                beside.append(item)
        if not found:
            taken = [ref for ref in beside if ref == FileRef(path) or not is_own_picture(ref)]
            pictures += taken
            if not taken:
                yield UnreadablePath(path=path, reason="holds no DICOM, NIfTI, MetaImage, NRRD, PNG or JPEG image")
    for uid in list(headers):
        yield _study(uid, headers.pop(uid), sources[uid])
    yield from _file_studies([*volumes, *pictures], scratch)


def series_kind(series: SeriesFiles) -> Literal["ct", "radiograph", "cine", "other"]:
    """Kind of a series as reports name it."""
    if series.modality == "CT":
        return "ct"
    if series.picture_file is not None:
        return "radiograph"
    if series.modality in RADIOGRAPH_MODALITIES:
        return "cine" if series.frames > 1 else "radiograph"
    return "other"


def _read(item: FileRef | UnreadablePath) -> Header | FileRef | UnreadablePath | None:
    """The header of a DICOM file, the reference itself for a volume file, None for any other file."""
    if isinstance(item, UnreadablePath) or is_volume_file(item):
        return item
    try:
        return read_header(item)
    except UnreadableError as error:
        reason = str(error).removeprefix(f"{item.path}: ").removeprefix(f"{item}: ")
        return UnreadablePath(path=item.path, reason=f"{item.member}: {reason}" if item.member else reason)


def _study(uid: str, headers: list[Header], source: str) -> StudyFiles:
    """Group the files of one study into series; refuse it whole where two patients share its UID."""
    by_series: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        by_series[header.series_instance_uid].append(header)
    series = tuple(_series(series_headers) for series_headers in by_series.values())
    patients = {header.patient_key for header in headers} - {""}
    rejected: tuple[SeriesResult, ...] = ()
    if len(patients) > 1:
        reason = f"{len(patients)} patient IDs share this StudyInstanceUID; correct the IDs or separate the files"
        rejected = tuple(refusal(one, reason, failed=True) for one in series)
        series = ()
    key = patients.pop() if len(patients) == 1 else ""
    taken = min((header.taken for header in headers if header.taken is not None), default=None)
    return StudyFiles(
        study_instance_uid=uid,
        series=series,
        rejected=rejected,
        patient_key=key,
        source=source,
        taken=taken,
        names_nobody=any(header.names_nobody for header in headers) and not key,
    )


def refusal(series: SeriesFiles, reason: str, *, failed: bool = False) -> SeriesResult:
    """The record of a series that is not analysed: skipped on purpose, or failed."""
    return SeriesResult(
        series_instance_uid=series.series_instance_uid,
        kind=series_kind(series),
        view=None,
        status="failed" if failed else "skipped",
        reason=reason,
    )


def _series(headers: list[Header]) -> SeriesFiles:
    """One series; what holds for all of it is taken from the file with the most planes."""
    first = max(headers, key=lambda header: len(header.planes))
    return SeriesFiles(
        study_instance_uid=first.study_instance_uid,
        series_instance_uid=first.series_instance_uid,
        modality=first.modality,
        description=first.description,
        sop_class_uid=first.sop_class_uid,
        kernel=first.kernel,
        kvp=first.kvp,
        contrast=next((header.contrast for header in headers if header.contrast is not None), None),
        rescale_type=first.rescale_type,
        samples_per_pixel=first.samples_per_pixel,
        bits_stored=first.bits_stored,
        conversion_type=first.conversion_type,
        for_processing=first.for_processing,
        is_own_result=first.is_own_result,
        frames=max(header.frames for header in headers),
        body_part=first.body_part,
        planes=tuple(plane for header in headers for plane in header.planes),
        files_without_image=sum(not header.planes for header in headers),
    )


def _file_studies(files: list[FileRef], scratch: Path | None) -> Iterator[StudyFiles | UnreadablePath]:
    """One study per volume or picture, named by its stem; files of the same name get their folder's name in front."""
    files = sorted(set(files), key=str)
    counts = Counter(stem(ref) for ref in files)
    used: Counter[str] = Counter()
    for ref in files:
        name = stem(ref)
        if counts[name] > 1:
            name = f"{ref.folder}_{name}"
        used[name] += 1
        uid = name if used[name] == 1 else f"{name}_{used[name]}"
        if is_picture_file(ref):
            series = SeriesFiles(study_instance_uid=uid, series_instance_uid=uid, modality="", picture_file=ref)
        else:
            try:
                path = _unpacked(ref, scratch)
            except UnreadableError as error:
                yield UnreadablePath(path=ref.path, reason=str(error))
                continue
            series = SeriesFiles(study_instance_uid=uid, series_instance_uid=uid, modality="CT", volume_file=path)
        yield StudyFiles(study_instance_uid=uid, series=(series,), rejected=(), patient_key="", source=str(ref.path))


def _unpacked(ref: FileRef, scratch: Path | None) -> Path:
    """A volume file as a file on disk; those readers take no streams."""
    if not ref.member:
        return ref.path
    if ref.name.lower().endswith((".mhd", ".nhdr")):
        raise UnreadableError(f"{ref.member}: a volume in two files cannot be read inside a zip archive; unpack it")
    if scratch is None:
        scratch = Path(tempfile.mkdtemp(prefix="vertecast-"))
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    try:
        folder = Path(tempfile.mkdtemp(dir=scratch))
        with ref.open() as packed, (folder / ref.name).open("wb") as target:
            shutil.copyfileobj(packed, target)
    except OSError as error:
        raise UnreadableError(f"{ref.member}: cannot be unpacked ({cause(error)}); free some disk space") from error
    return folder / ref.name
