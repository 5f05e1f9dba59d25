"""Every DICOM object of a study, one after the other, so that only one is held at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from pydicom import Dataset

from vertecast.core.config import DicomOptions
from vertecast.core.images import MeasuredImage
from vertecast.core.results import StudyReport
from vertecast.report.dicom.capture import build_capture
from vertecast.report.dicom.identity import can_take_results
from vertecast.report.dicom.pdf import build_pdf
from vertecast.report.dicom.seg import build_segmentation
from vertecast.report.dicom.source import SegmentReference, source_study
from vertecast.report.dicom.sr import structured_report
from vertecast.report.dicom.tracking import segment_references, tracked_findings
from vertecast.report.figures.pictures import Pictures
from vertecast.report.html.printing import PrintedReport

FILM_PICTURES: Final = ("film_", "cine_")
"""Names of pictures that show the pixels of a film or a cine begin so."""

DAYS_OF_THE_RUN: Final = ("InstanceCreationDate", "ContentDate")
TIMES_OF_THE_RUN: Final = ("InstanceCreationTime", "ContentTime")
NO_DAY: Final = "19000101"
"""Where a day must be named and there is none."""

_Headers: TypeAlias = Sequence[tuple[MeasuredImage, Sequence[Dataset]]]
"""Each measured image with the data sets of its DICOM images."""


def build_objects(
    report: StudyReport,
    images: Sequence[MeasuredImage],
    shown: Pictures,
    printed: PrintedReport | None,
    options: DicomOptions,
    previous: Dataset | None = None,
) -> Iterator[tuple[str, Dataset]]:
    """The structured report, the segmentations, the pictures and the PDF of a study that came from DICOM.

    Each comes with the name of its file.

    Args:
        report: The study.
        images: What was measured, the CT first. Images without valid UIDs of their own give no object, and a
            study with one such image no structured report, which has to name all of its images.
        shown: Pictures of the report.
        printed: The report as PDF; None where it could not be printed.
        options: What the objects look like.
        previous: The structured report of an earlier run, which this one may replace.

    Raises:
        UnreadableError: a source image cannot be read again.
        OutputError: a point in pixels names no image that was read.
    """
    read = [(image, image.source.read()) for image in images]
    headers = [(image, found) for image, found in read if found and all(map(can_take_results, found))]
    whole = len(headers) == len(read)
    for name, item in _objects(report, headers, shown, printed, options, is_whole=whole, previous=previous):
        _keep_to_its_time(item, headers[0][1][0])
        yield name, item


def _objects(
    report: StudyReport,
    headers: _Headers,
    shown: Pictures,
    printed: PrintedReport | None,
    options: DicomOptions,
    *,
    is_whole: bool,
    previous: Dataset | None,
) -> Iterator[tuple[str, Dataset]]:
    """The objects as they are made now."""
    if not headers:
        return
    findings = list(tracked_findings(report))
    source = source_study(headers)
    segments: dict[str, SegmentReference] = {}
    for number, (image, found) in enumerate(headers, start=1):
        segmentation = build_segmentation(image, found, number, options.segmentation, findings)
        if segmentation is not None:
            is_film = image.lps_from_index is None
            film = (str(found[0].SOPInstanceUID), image.source.frame_number or 1) if is_film else None
            segments |= segment_references(segmentation, findings, source, film)
            yield f"seg_{number}.dcm", segmentation
    if is_whole:
        yield "sr.dcm", structured_report(report, replace(source, segments=segments), previous)
    first = headers[0][1][0]
    for number, (name, picture) in enumerate(shown.items(), start=1):
        burned_in = _burned_in(headers) if name.startswith(FILM_PICTURES) else "NO"
        yield f"capture_{number}.dcm", build_capture(picture, first, number, burned_in=burned_in)
    if printed is not None:
        yield "report_pdf.dcm", build_pdf(printed, first)


def _keep_to_its_time(item: Dataset, header: Dataset) -> None:
    """Say of an object, as the source does, that its dates were moved (PS3.3 C.12.1).

    Today is no day of such a time: beside the moved date of the study it would tell how far that was moved.
    """
    if "LongitudinalTemporalInformationModified" not in header:
        return
    item.LongitudinalTemporalInformationModified = header.LongitudinalTemporalInformationModified
    if header.LongitudinalTemporalInformationModified != "MODIFIED":
        return
    for keyword in DAYS_OF_THE_RUN:
        if keyword in item:
            setattr(item, keyword, str(header.get("StudyDate") or NO_DAY))
    for keyword in TIMES_OF_THE_RUN:
        if keyword in item:
            setattr(item, keyword, "000000")
    for equipment in item.get("ContributingEquipmentSequence", ()):
        equipment.pop("ContributionDateTime", None)


def _burned_in(headers: _Headers) -> str:
    """What the films of a study say of text in their pixels, which their pictures show too; "" where one says nothing.

    The pictures of a CT carry levels and grades, and never who the patient is.
    """
    told = {str(found[0].get("BurnedInAnnotation") or "") for image, found in headers if image.lps_from_index is None}
    return "YES" if "YES" in told else "NO" if told == {"NO"} else ""
