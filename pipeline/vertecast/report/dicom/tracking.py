"""Which finding of a report a segment shows: they share a tracking UID, and the finding's group names the segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydicom import Dataset

from vertecast.core import geometry
from vertecast.core.anatomy import Compartment
from vertecast.core.images import MeasuredImage
from vertecast.core.results import Evidence, ImageReference, StudyReport
from vertecast.report.dicom import records
from vertecast.report.dicom.group_shapes import Groups
from vertecast.report.dicom.identity import result_uid
from vertecast.report.dicom.source import SegmentReference, SourceStudy
from vertecast.report.dicom.structures import BODY, CEMENT, LEAK, METAL, Segment

_FIELDS: Final = {"vertebrae": BODY, "cement": CEMENT, "leaks": LEAK, "hardware": METAL}
"""Fields of a report whose results are places in an image, and the kind of their segments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A finding that a segment may show.

    Attributes:
        kind, level, compartment: As of a `Segment`.
        series_instance_uid: That it was measured in.
        place: Where to look, of a leak; the film or frame, of what was found on a projection; else None.
        identifier, uid: Of its measurement group.
    """

    kind: str
    level: str
    compartment: Compartment | None
    series_instance_uid: str
    place: Evidence | ImageReference | None
    identifier: str
    uid: str


def tracked_findings(report: StudyReport) -> Iterator[Tracked]:
    """The findings of a report that are places in an image."""
    for name, kind in _FIELDS.items():
        groups = records.FINDINGS[name]
        assert isinstance(groups, Groups)
        for number, finding in groups.numbered(getattr(report, name)):
            place = finding.evidence if kind == LEAK else finding.image
            yield Tracked(
                kind=kind,
                level=getattr(finding, "level", ""),
                compartment=getattr(finding, "compartment", None),
                series_instance_uid=(place if kind == LEAK else finding).series_instance_uid,
                place=place,
                identifier=groups.label(finding),
                uid=result_uid(report.study_instance_uid, *groups.tracking_parts(finding, number, report)),
            )


def findings_shown(
    findings: Sequence[Tracked], segments: Sequence[Segment], image: MeasuredImage, sop_instance_uid: str
) -> dict[int, Tracked]:
    """The finding of each segment that shows one, by the segment's index.

    Args:
        findings: Of the whole report.
        segments: Of the image.
        image: What was measured.
        sop_instance_uid: Of its (first) DICOM image.
    """
    shown: dict[int, Tracked] = {}
    for finding in findings:
        if finding.series_instance_uid != image.series_instance_uid or not _is_on(finding, image, sop_instance_uid):
            continue
        name = (finding.kind, finding.level, finding.compartment)
        own = [
            n
            for n, segment in enumerate(segments)
            if n not in shown and (segment.kind, segment.level, segment.compartment) == name
        ]
        if own:
            # Of several leaks of one vertebra into one compartment, that which holds the finding's point.
            shown[min(own, key=lambda n: _distance(finding.place, segments[n], image))] = finding
    return shown


def _is_on(finding: Tracked, image: MeasuredImage, sop_instance_uid: str) -> bool:
    """Whether a finding of the image's series lies on this film or frame; all of a CT do."""
    if image.lps_from_index is not None or finding.place is None:
        return True
    frame = image.source.frame_number or 1
    return (finding.place.sop_instance_uid, finding.place.frame_number or 1) == (sop_instance_uid, frame)


def _distance(place: Any, segment: Segment, image: MeasuredImage) -> float:
    """From the point of a finding to the segment, in voxels; 0 without a point."""
    if not isinstance(place, Evidence):
        return 0.0
    if image.lps_from_index is None:
        at = None if place.point_px is None else np.array([*place.point_px, 0.0])
    elif place.point_lps_mm is None:
        at = None
    else:
        at = geometry.apply(geometry.inverse(image.lps_from_index), np.array(place.point_lps_mm))
    if at is None:
        return 0.0
    return float(np.linalg.norm(np.argwhere(segment.voxels) + segment.first - at, axis=1).min())


def segment_references(
    segmentation: Dataset, findings: Sequence[Tracked], source: SourceStudy, film: tuple[str, int] | None
) -> Mapping[str, SegmentReference]:
    """The segments of an object that show a finding, by the finding's tracking UID.

    Args:
        segmentation: As `build_segmentation` makes it.
        findings: Of the report.
        source: Images of the study.
        film: SOP Instance UID and frame (from 1) of the projection that was segmented; None for a CT.
    """
    series = {finding.uid: finding.series_instance_uid for finding in findings}
    image = None if film is None else source.image(film[0])
    return {
        str(item.TrackingUID): SegmentReference(
            sop_class_uid=str(segmentation.SOPClassUID),
            sop_instance_uid=str(segmentation.SOPInstanceUID),
            series_instance_uid=str(segmentation.SeriesInstanceUID),
            number=int(item.SegmentNumber),
            source_series_instance_uid=series[str(item.TrackingUID)],
            source_image=image,
            source_frame=film[1] if film is not None and image is not None and image.is_multi_frame else None,
        )
        for item in segmentation.SegmentSequence
        if str(item.get("TrackingUID", "")) in series
    }
