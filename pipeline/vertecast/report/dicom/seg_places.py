"""Where the frames of a segmentation lie, and what they were made from: functional groups and references."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.valuerep import DSfloat

from vertecast.core import geometry
from vertecast.report.dicom.identity import result_uid

FAR_SLICE: Final = 0.51
"""A slice refers to a source image that lies within so many slices of it: interpolated ones to the nearest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One frame.

    Attributes:
        segment: Its segment, from 1; None where the pixels say of each which segment it is.
        slice_index: Slice of the image.
        pixels: The box round what the frame shows (rows, columns): True, or the number of the segment, where it is.
        corner: First row and column of the box.
    """

    segment: int | None
    slice_index: int
    pixels: npt.NDArray[np.generic]
    corner: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourcePlane:
    """An image, or a frame of one, and its place along the normal of the slices."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None
    along_mm: float


def place_in_patient(
    result: Dataset, frames: Sequence[Frame], headers: Sequence[Dataset], lps_from_index: geometry.FloatArray
) -> None:
    """Every frame at its slice of the CT (PS3.3 C.7.6.16.2)."""
    header = headers[0]
    study, series = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
    result.FrameOfReferenceUID = header.get("FrameOfReferenceUID") or result_uid(study, "frame of reference", series)
    result.PositionReferenceIndicator = header.get("PositionReferenceIndicator") or ""
    directions = geometry.unit(lps_from_index[:3, :3].T)
    spacing = geometry.spacing_mm(lps_from_index)
    shared = Dataset()
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=_decimals(directions[:2].ravel()))]
    shared.PixelMeasuresSequence = [
        _item(
            PixelSpacing=_decimals(spacing[[1, 0]]),
            SpacingBetweenSlices=_decimals(spacing[2:])[0],
            SliceThickness=_decimals(spacing[2:])[0],
        )
    ]
    result.SharedFunctionalGroupsSequence = [shared]
    _add_dimensions(result, frames, ("ImagePositionPatient", "PlanePositionSequence", "Position"))
    sources = _nearest_sources(headers, lps_from_index, {frame.slice_index for frame in frames})
    ranks = {k: rank for rank, k in enumerate(sorted(sources), start=1)}
    derivations = {k: [] if plane is None else [_derivation(plane)] for k, plane in sources.items()}
    groups = []
    for frame in frames:
        k = frame.slice_index
        group = _frame_group(frame, ranks[k])
        position = geometry.apply(lps_from_index, [0, 0, k])
        group.PlanePositionSequence = [_item(ImagePositionPatient=_decimals(position))]
        group.DerivationImageSequence = derivations[k]
        groups.append(group)
    result.PerFrameFunctionalGroupsSequence = groups
    _refer_to_series(result, [plane for plane in sources.values() if plane is not None])


def place_in_picture(result: Dataset, frames: Sequence[Frame], header: Dataset, frame_number: int | None) -> None:
    """Every frame on the pixels of a projection, which has no place in the patient."""
    result.PatientOrientation = header.get("PatientOrientation") or ""
    plane = _SourcePlane(
        series_instance_uid=str(header.SeriesInstanceUID),
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        frame_number=frame_number,
        along_mm=0.0,
    )
    result.SharedFunctionalGroupsSequence = [_item(DerivationImageSequence=[_derivation(plane)])]
    if frames[0].segment is None:
        # A frame of its own has to be counted by something.
        _add_dimensions(result, frames, ("FrameLabel", "FrameContentSequence", "Frame"))
        groups = [_frame_group(frame, 1) for frame in frames]
        groups[0].FrameContentSequence[0].FrameLabel = "1"
    else:
        _add_dimensions(result, frames)
        groups = [_frame_group(frame) for frame in frames]
    result.PerFrameFunctionalGroupsSequence = groups
    _refer_to_series(result, [plane])


def _nearest_sources(
    headers: Sequence[Dataset], lps_from_index: geometry.FloatArray, slices: set[int]
) -> dict[int, _SourcePlane | None]:
    """For each slice the source image nearest to it; None where none lies at it."""
    normal = geometry.unit(np.cross(lps_from_index[:3, 0], lps_from_index[:3, 1]))
    planes = [plane for header in headers for plane in _source_planes(header, normal)]
    along_mm = np.array([plane.along_mm for plane in planes])
    reach_mm = FAR_SLICE * abs(float(lps_from_index[:3, 2] @ normal))
    found: dict[int, _SourcePlane | None] = {}
    for k in sorted(slices):
        away_mm = np.abs(along_mm - float(geometry.apply(lps_from_index, [0, 0, k]) @ normal))
        nearest = int(away_mm.argmin()) if len(planes) else 0
        found[k] = planes[nearest] if len(planes) and away_mm[nearest] <= reach_mm else None
    return found


def _source_planes(header: Dataset, normal: geometry.FloatArray) -> Iterator[_SourcePlane]:
    """The image, or the frames of a multi-frame one, that say where they lie."""
    groups = header.get("PerFrameFunctionalGroupsSequence")
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for number, group in enumerate(groups or [None], start=1):
        place = header
        if group is not None:
            place = (group.get("PlanePositionSequence") or shared[0].get("PlanePositionSequence") or [Dataset()])[0]
        position = place.get("ImagePositionPatient")
        if position is not None:
            yield _SourcePlane(
                series_instance_uid=str(header.SeriesInstanceUID),
                sop_class_uid=str(header.SOPClassUID),
                sop_instance_uid=str(header.SOPInstanceUID),
                frame_number=None if group is None else number,
                along_mm=float(np.array(position, dtype=np.float64) @ normal),
            )


def _add_dimensions(result: Dataset, frames: Sequence[Frame], *further: tuple[str, str, str]) -> None:
    """How frames are ordered: by segment, where each has one, then by what is given (PS3.3 C.7.6.17)."""
    organization = result_uid(result.SOPInstanceUID, "dimensions")
    result.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    by_segment = [("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment")]
    result.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=Tag(keyword),
            FunctionalGroupPointer=Tag(group),
            DimensionDescriptionLabel=name,
        )
        for keyword, group, name in [*([] if frames[0].segment is None else by_segment), *further]
    ]


def _frame_group(frame: Frame, *ranks: int) -> Dataset:
    """Functional groups of a frame: its place in each dimension, and its segment."""
    if frame.segment is None:
        return _item(FrameContentSequence=[_item(DimensionIndexValues=list(ranks))])
    return _item(
        FrameContentSequence=[_item(DimensionIndexValues=[frame.segment, *ranks])],
        SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=frame.segment)],
    )


def _derivation(plane: _SourcePlane) -> Dataset:
    """That a frame was segmented on a source image."""
    source = _reference(plane)
    if plane.frame_number is not None:
        source.ReferencedFrameNumber = plane.frame_number
    source.PurposeOfReferenceCodeSequence = [_code(codes.DCM.SourceImageForImageProcessingOperation)]
    return _item(SourceImageSequence=[source], DerivationCodeSequence=[_code(Code("113076", "DCM", "Segmentation"))])


def _refer_to_series(result: Dataset, planes: Sequence[_SourcePlane]) -> None:
    """Common Instance Reference module; slices may have come as series of their own."""
    by_series: dict[str, dict[str, Dataset]] = defaultdict(dict)
    for plane in planes:
        by_series[plane.series_instance_uid][plane.sop_instance_uid] = _reference(plane)
    if by_series:
        result.ReferencedSeriesSequence = [
            _item(SeriesInstanceUID=uid, ReferencedInstanceSequence=list(instances.values()))
            for uid, instances in by_series.items()
        ]


def _reference(plane: _SourcePlane) -> Dataset:
    return _item(ReferencedSOPClassUID=plane.sop_class_uid, ReferencedSOPInstanceUID=plane.sop_instance_uid)


def _code(code: Code) -> Dataset:
    return _item(CodeValue=code.value, CodingSchemeDesignator=code.scheme_designator, CodeMeaning=code.meaning)


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _decimals(values: geometry.FloatArray) -> list[DSfloat]:
    """Decimal strings with as many digits as 16 characters hold."""
    return [DSfloat(float(value), auto_format=True) for value in values]
