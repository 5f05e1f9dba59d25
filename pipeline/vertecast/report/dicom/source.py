"""The study that results go back into: its header, and the images that were measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydicom import Dataset

from vertecast.core.images import MeasuredImage, Piece
from vertecast.report.dicom.identity import result_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceImage:
    """One image that was measured.

    Attributes:
        frame_of_reference_uid: "" where the image has none.
        is_multi_frame: Whether its frames have numbers.
    """

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    frame_of_reference_uid: str = ""
    is_multi_frame: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentReference:
    """A segment that shows a finding.

    Attributes:
        sop_class_uid, sop_instance_uid, series_instance_uid: Of the segmentation.
        number: Of the segment in it.
        source_series_instance_uid: Of the image that was segmented.
        source_image, source_frame: That image, where it is a projection.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    number: int
    source_series_instance_uid: str
    source_image: SourceImage | None = None
    source_frame: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceStudy:
    """The study that the results go back into.

    Attributes:
        header: Data set of one of its images, without pixels: patient and study modules are copied from it.
        images: The images of the series that were analysed.
        pieces: What was found on each frame of the projections, by SOP Instance UID and frame number (from 1).
        segments: The segments of the study's segmentations that show a finding, by its tracking UID.
    """

    header: Dataset
    images: tuple[SourceImage, ...]
    pieces: Mapping[tuple[str, int], tuple[Piece, ...]] = field(default_factory=dict)
    segments: Mapping[str, SegmentReference] = field(default_factory=dict)

    def image(self, sop_instance_uid: str) -> SourceImage | None:
        """The image of that UID."""
        return next((one for one in self.images if one.sop_instance_uid == sop_instance_uid), None)

    def frame_of_reference_uid(self, series_instance_uid: str) -> str:
        """Frame of reference of a series; a stable one of its own where an anonymiser emptied it."""
        for one in self.images:
            if one.series_instance_uid == series_instance_uid and one.frame_of_reference_uid:
                return one.frame_of_reference_uid
        return result_uid(str(self.header.StudyInstanceUID), "frame of reference", series_instance_uid)


def source_study(measured: Iterable[tuple[MeasuredImage, Sequence[Dataset]]]) -> SourceStudy:
    """The study of what was measured.

    Args:
        measured: Each image with the data sets, without pixels, of its DICOM images; the first of all stands for the
            patient and the study.
    """
    parts = list(measured)
    headers = [header for _, found in parts for header in found]
    images = dict.fromkeys(
        SourceImage(
            series_instance_uid=str(header.SeriesInstanceUID),
            sop_instance_uid=str(header.SOPInstanceUID),
            sop_class_uid=str(header.SOPClassUID),
            frame_of_reference_uid=str(header.get("FrameOfReferenceUID") or ""),
            is_multi_frame=int(header.get("NumberOfFrames") or 1) > 1,
        )
        for header in headers
    )
    pieces = {
        (str(found[0].SOPInstanceUID), image.source.frame_number or 1): image.pieces
        for image, found in parts
        if image.lps_from_index is None
    }
    return SourceStudy(header=headers[0], images=tuple(images), pieces=pieces)
