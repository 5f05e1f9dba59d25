"""The DICOM images behind a measured image, read again without pixels when its results are written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydicom import Dataset

from vertecast.core.images import DicomSource
from vertecast.io.ct.series import CtSeries
from vertecast.io.discover import SeriesFiles
from vertecast.io.headers import read_attributes
from vertecast.io.projection.files import ProjectionFile
from vertecast.io.sources import FileRef
from vertecast.io.study_header import read_study_header


def ct_source(series: SeriesFiles, ct: CtSeries) -> DicomSource | None:
    """The images of a CT series that its volume is made of; None for a file that is no DICOM."""
    used = set(ct.slice_sop_instance_uids)
    files = dict.fromkeys(plane.source for plane in series.planes if plane.sop_instance_uid in used)
    return DicomSource(read=partial(_headers, tuple(files))) if files else None


def projection_source(file: ProjectionFile, frame_number: int) -> DicomSource | None:
    """The file of a projection; None for a picture file.

    Args:
        file: What was read.
        frame_number: Frame that was measured, from 1 as the frames of ``file`` count.
    """
    if file.is_picture:
        return None
    frame = file.frames[frame_number - 1] if file.kind == "cine" else None
    return DicomSource(read=partial(_headers, (file.source,)), frame_number=frame)


def _headers(files: Sequence[FileRef]) -> tuple[Dataset, ...]:
    """The first one is complete and in Unicode: results copy the patient and the study from it."""
    first, *others = files
    return (read_study_header(first), *map(read_attributes, others))
