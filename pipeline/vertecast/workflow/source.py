"""Where the results of a study go back to: the header and the images that its DICOM outputs refer to."""

from __future__ import annotations

from vertecast.dicom.discover import StudyFiles
from vertecast.dicom.study_header import read_study_header
from vertecast.reports.dicom.source import SourceImage, SourceStudy, is_uid
from vertecast.results import StudyReport


def source_study(study: StudyFiles, report: StudyReport) -> SourceStudy | None:
    """The images that a study was measured on; None where no archive could take results back into it.

    That is so for files that are no DICOM, and where an anonymiser emptied the UIDs of the study or its images.

    Raises:
        UnreadableError: the header of the first image has become unreadable.
    """
    analyzed = {series.series_instance_uid for series in report.series if series.status == "analyzed"}
    files = [series for series in study.series if series.series_instance_uid in analyzed]
    planes = [(series, plane) for series in files for plane in series.planes]
    images = tuple(
        dict.fromkeys(
            SourceImage(
                series_instance_uid=series.series_instance_uid,
                sop_instance_uid=plane.sop_instance_uid,
                sop_class_uid=series.sop_class_uid,
                frame_of_reference_uid=plane.frame_of_reference_uid,
                is_multi_frame=series.frames > 1,
            )
            for series, plane in planes
        )
    )
    uids = {
        study.study_instance_uid,
        *(uid for one in images for uid in (one.series_instance_uid, one.sop_instance_uid)),
    }
    if not images or not all(map(is_uid, uids)):
        return None
    return SourceStudy(header=read_study_header(planes[0][1].source), images=images)
