"""What the headers of one study say: its series, each with its files; no pixel has been read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from vertecast.core.results import SeriesResult
from vertecast.io.ct.stack import has_even_steps
from vertecast.io.headers import Header, ImagePlane
from vertecast.io.sources import FileRef

LEAST_JOINED: Final = 8
"""So many slices that are alike in all but their place and their series make one scan."""

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
        notes: What a reader must know of how the files were put together.
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
    planes: tuple[ImagePlane, ...] = ()
    files_without_image: int = 0
    volume_file: Path | None = None
    picture_file: FileRef | None = None
    notes: tuple[str, ...] = ()


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


def series_kind(series: SeriesFiles) -> Literal["ct", "radiograph", "cine", "other"]:
    """Kind of a series as reports name it."""
    if series.modality == "CT":
        return "ct"
    if series.picture_file is not None:
        return "radiograph"
    if series.modality in RADIOGRAPH_MODALITIES:
        return "cine" if series.frames > 1 else "radiograph"
    return "other"


def is_projection(series: SeriesFiles) -> bool:
    """True for radiographs and cines, and for picture files, which are taken for radiographs."""
    return series.picture_file is not None or series_kind(series) in ("radiograph", "cine")


def study_of_headers(uid: str, headers: Sequence[Header], source: str) -> StudyFiles:
    """Group the files of one study into series; refuse it whole where two patients share its UID."""
    by_series: dict[tuple[str, str], list[Header]] = defaultdict(list)
    for header in headers:
        # A dose page or a report that carries the UID of the CT is a series of its own.
        by_series[header.series_instance_uid, header.sop_class_uid].append(header)
    series = _joined([_series(series_headers) for series_headers in by_series.values()])
    patients = patients_of(headers)
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


def patients_of(headers: Sequence[Header]) -> set[str]:
    """Hashes of the patients; an archive that adds the ID's issuer to some of the objects makes no second one."""
    keys = {header.patient_key for header in headers} - {""}
    with_issuer = {header.patient_key for header in headers if header.has_issuer} - {""}
    one_id = len({header.patient_id_key for header in headers} - {""}) == 1
    return with_issuer if one_id and len(with_issuer) == 1 else keys


def _joined(series: Sequence[SeriesFiles]) -> tuple[SeriesFiles, ...]:
    """The series, where every slice of a scan has a UID of its own joined to one scan, under the UID of the first."""
    alike: dict[object, list[SeriesFiles]] = defaultdict(list)
    for number, one in enumerate(series):
        plane = one.planes[0] if len(one.planes) == 1 and one.modality == "CT" else None
        is_slice = plane is not None and plane.position_mm is not None and bool(plane.frame_of_reference_uid)
        alike[_kind_of_slice(one) if is_slice else number].append(one)
    joined = []
    for group in alike.values():
        if len(group) < LEAST_JOINED or not has_even_steps([one.planes[0] for one in group]):
            joined += group
            continue
        note = f"each of {len(group)} slices is a series of its own; they were read as one scan"
        joined.append(replace(group[0], planes=tuple(plane for one in group for plane in one.planes), notes=(note,)))
    return tuple(joined)


def _kind_of_slice(series: SeriesFiles) -> tuple[object, ...]:
    """What all slices of one scan have in common."""
    plane = series.planes[0]
    return (
        series.sop_class_uid, series.description, series.kernel, series.is_own_result, plane.frame_of_reference_uid,
        plane.orientation, plane.pixel_spacing_mm, plane.rows, plane.columns, plane.acquisition, plane.image_type,
    )  # fmt: skip


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
