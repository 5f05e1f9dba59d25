"""The study that results go back into: its header, and the images that were measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from vertecast.reports.dicom.identity import result_uid


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceStudy:
    """The study that the results go back into.

    Attributes:
        header: Data set of one of its images, without pixels: patient and study modules are copied from it.
        images: The images of the series that were analysed.
    """

    header: Dataset
    images: tuple[SourceImage, ...]

    def image(self, sop_instance_uid: str) -> SourceImage | None:
        """The image of that UID."""
        return next((one for one in self.images if one.sop_instance_uid == sop_instance_uid), None)

    def frame_of_reference_uid(self, series_instance_uid: str) -> str:
        """Frame of reference of a series; a stable one of its own where an anonymiser emptied it."""
        for one in self.images:
            if one.series_instance_uid == series_instance_uid and one.frame_of_reference_uid:
                return one.frame_of_reference_uid
        return result_uid(str(self.header.StudyInstanceUID), "frame of reference", series_instance_uid)


def source_study(headers: Sequence[Dataset]) -> SourceStudy:
    """The study of some images.

    Args:
        headers: Their data sets without pixels, one at least; the first stands for the patient and the study.
    """
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
    return SourceStudy(header=headers[0], images=tuple(images))
