"""One study as a DICOM structured report: TID 1500 "Measurement Report" (PS3.16), for archives, viewers and people.

A CT study becomes a Comprehensive 3D SR with points of the patient (SCOORD3D), a study of projections alone a
Comprehensive SR with points on the frame (SCOORD). Everything that ``report.json`` holds stands in coded content items;
`vertecast.report.dicom.read_sr` reads it back. ``records`` says which item a field becomes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import Final

from highdicom.sr import (
    CodedConcept,
    Comprehensive3DSR,
    ComprehensiveSR,
    ContentItem,
    DeviceObserverIdentifyingAttributes,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes as standard

from vertecast import __version__
from vertecast.core.images import OWN_MODEL_NAME, OWN_RESULT, Piece
from vertecast.core.report_json import DISCLAIMER, to_document
from vertecast.core.results import StudyReport
from vertecast.report import wording
from vertecast.report.dicom import codes, items, records
from vertecast.report.dicom.group_shapes import measurement_group
from vertecast.report.dicom.identity import MANUFACTURER, SERIES, digest, private_scheme, result_uid
from vertecast.report.dicom.shapes import Context, Shape
from vertecast.report.dicom.source import SegmentReference, SourceStudy

UNICODE: Final = "ISO_IR 192"
_PROCEDURES: Final = ("ct", "radiograph", "cine")


def structured_report(report: StudyReport, source: SourceStudy, previous: Dataset | None = None) -> Dataset:
    """The report of a study as a DICOM object, ready to be saved.

    The series has the same UID in every run; the instance has it for the same results, so that an archive neither
    holds a report twice nor keeps an outdated one in place of a new one. Results of an earlier run, listed as skipped
    where they came back with the study, are left out: they would make another report of the same images.

    Args:
        report: The study; its points in pixels name images of ``source``.
        source: The study's header and images.
        previous: The study's structured report of an earlier run: where this one says something else it names it as its
            predecessor, and has the next number in the series.

    Raises:
        OutputError: a point in pixels names no image of ``source``.
    """
    report = replace(report, series=tuple(series for series in report.series if series.reason != OWN_RESULT))
    uid = report.study_instance_uid
    context = Context(study_instance_uid=uid, source=source, owner=report)
    content = MeasurementReport(
        observation_context=_observer(uid),
        procedure_reported=_procedures(report),
        imaging_measurements=[_overview(report, context)],
    )
    root = content[0]
    measurements = root.ContentSequence.pop()
    root.ContinuityOfContent = measurements.ContinuityOfContent = items.SEPARATE
    measurements.ContentSequence.extend(_encode(records.FINDINGS, report, context))
    limits = (DISCLAIMER, *(limit for limit in report.limits if limit != DISCLAIMER))
    findings = [
        *(items.text_item(codes.SUMMARY, text) for text in wording.first_sentences(report)),
        measurements,
        *_encode(records.SECTIONS, replace(report, limits=limits), context),
    ]
    number, description = SERIES["measurements"]
    instance_uid = result_uid(uid, "sr", _digest(report), *_outlined(source), *sorted(_segmentations(source)))
    if previous is not None and previous.get("StudyInstanceUID") != uid:
        previous = None
    replaced = [] if previous is None or previous.SOPInstanceUID == instance_uid else [previous]
    kind = Comprehensive3DSR if any(map(items.has_patient_points, findings)) else ComprehensiveSR
    document = kind(
        evidence=_evidence(source),
        content=content,
        series_instance_uid=result_uid(uid, "sr"),
        series_number=number,
        sop_instance_uid=instance_uid,
        instance_number=1 if previous is None else int(previous.InstanceNumber) + len(replaced),
        previous_versions=replaced or None,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=OWN_MODEL_NAME,
        software_versions=__version__,
        series_description=description,
        specific_character_set=UNICODE,
        coding_schemes=[private_scheme()],
        is_complete=True,
        is_final=False,
    )
    # highdicom copies the tree twice and walks it three times, which takes seconds: it sees the root with its context,
    # and the findings, whose references `source` has checked, are hung in after it.
    document.ContentSequence.extend(findings)
    if previous is not None and not replaced and "PredecessorDocumentsSequence" in previous:
        document.PredecessorDocumentsSequence = previous.PredecessorDocumentsSequence
    return document


def _encode(rows: Mapping[str, Shape], report: StudyReport, context: Context) -> list[ContentItem]:
    return [item for name, shape in rows.items() for item in shape.encode(getattr(report, name), context)]


def _digest(report: StudyReport) -> str:
    return hashlib.sha256(json.dumps(to_document(report), sort_keys=True).encode()).hexdigest()


def _outlined(source: SourceStudy) -> Iterator[str]:
    """What the outlines are drawn round; nothing for a CT."""
    for (sop_instance_uid, frame_number), pieces in source.pieces.items():
        names = [f"{piece.kind} {piece.level} {piece.compartment}" for piece in pieces]
        yield digest(sop_instance_uid, str(frame_number), *names, *(_bytes(piece) for piece in pieces))


def _bytes(piece: Piece) -> bytes:
    return piece.index.astype("<i4").tobytes()


def _observer(study_instance_uid: str) -> ObservationContext:
    """The program, as the device that observed (PS3.16 TID 1004)."""
    device = DeviceObserverIdentifyingAttributes(
        uid=result_uid(study_instance_uid, "device"),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=f"{MANUFACTURER} {__version__}",
    )
    context = ObserverContext(observer_type=standard.DCM.Device, observer_identifying_attributes=device)
    return ObservationContext(observer_device_context=context)


def _procedures(report: StudyReport) -> list[CodedConcept]:
    """What kinds of images were measured."""
    kinds = [series.kind for series in report.series if series.status == "analyzed"]
    found = [items.coded(codes.SERIES_KINDS[kind]) for kind in dict.fromkeys(kinds) if kind in _PROCEDURES]
    return found or [items.coded(codes.RADIOGRAPHY)]


def _overview(report: StudyReport, context: Context) -> MeasurementsAndQualitativeEvaluations:
    """The group of what is said of the whole spine."""
    tracking = TrackingIdentifier(identifier="Whole study", uid=result_uid(context.study_instance_uid, "overview"))
    return measurement_group(codes.SPINE, tracking, _encode(records.OVERVIEW, report, context))


def _evidence(source: SourceStudy) -> list[Dataset]:
    """Every image that was measured, and every segmentation that is named; the first image carries the header."""
    evidence: list[Dataset] = []
    for image in source.images:
        instance = Dataset() if evidence else copy(source.header)
        instance.StudyInstanceUID = source.header.StudyInstanceUID
        instance.SeriesInstanceUID = image.series_instance_uid
        instance.SOPInstanceUID = image.sop_instance_uid
        instance.SOPClassUID = image.sop_class_uid
        evidence.append(instance)
    for segment in _segmentations(source).values():
        instance = Dataset()
        instance.StudyInstanceUID = source.header.StudyInstanceUID
        instance.SeriesInstanceUID = segment.series_instance_uid
        instance.SOPInstanceUID = segment.sop_instance_uid
        instance.SOPClassUID = segment.sop_class_uid
        evidence.append(instance)
    return evidence


def _segmentations(source: SourceStudy) -> dict[str, SegmentReference]:
    """A segment of each segmentation, by its SOP Instance UID."""
    return {segment.sop_instance_uid: segment for segment in source.segments.values()}
