"""Segmentation objects (PS3.3 A.51): BINARY, one segment per structure, on the grid of the image that was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentDescription
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import SegmentationStorage
from pydicom.valuerep import DSfloat

from vertecast import __version__, geometry
from vertecast.images import MeasuredImage
from vertecast.reports.dicom.identity import (
    MANUFACTURER,
    ResultObject,
    copy_elements,
    digest,
    private_scheme,
    result_uid,
)
from vertecast.reports.dicom.structures import COLOURS, Segment, find_segments

LOSSY_KEYWORDS: Final = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
FAR_SLICE: Final = 0.51
"""A slice refers to a source image that lies within so many slices of it: interpolated ones to the nearest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Frame:
    """One frame: segment (from 1), slice of the image, the box round it (rows, columns), its first row and column."""

    segment: int
    slice_index: int
    pixels: npt.NDArray[np.bool_]
    corner: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourcePlane:
    """An image, or a frame of one, and its place along the normal of the slices."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None
    along_mm: float


def build_segmentation(image: MeasuredImage, headers: Sequence[Dataset], number: int) -> Dataset | None:
    """One object with all structures of an image.

    A segment keeps its `tracking_uid` from run to run. Bodies hold the cement that lies in them, so segments overlap.

    Args:
        image: What was measured, with its structures.
        headers: Data sets of its DICOM images.
        number: Of the object in its series, from 1.

    Returns:
        The object, or None where nothing was found.
    """
    segments = find_segments(image)
    if not segments:
        return None
    shape = image.labels.shape if image.labels.ndim == 3 else (*image.labels.shape[::-1], 1)
    frames = list(_frames(segments))
    pixels = _packed(frames, rows=shape[1], columns=shape[0])
    source = str(headers[0].SOPInstanceUID) if image.lps_from_index is None else ""
    result = ResultObject(
        headers[0],
        SegmentationStorage,
        "SEG",
        "segmentation",
        of=image.series_instance_uid,
        instance=(number, digest(source, *(segment.label for segment in segments), pixels)),
    )
    _describe(result, segments, headers[0])
    _add_pixels(result, frames, pixels, rows=shape[1], columns=shape[0])
    if image.lps_from_index is None:
        _place_in_picture(result, frames, headers[0], image.source.frame_number)
    else:
        _place_in_patient(result, frames, headers, image.lps_from_index)
    return result


def tracking_uid(study_instance_uid: str, series_instance_uid: str, segment: Segment) -> str:
    """Names a structure of an image, the same in every result and every run."""
    return result_uid(study_instance_uid, "tracking", series_instance_uid, segment.label)


def _frames(segments: Sequence[Segment]) -> Iterator[_Frame]:
    """The frames that are not empty, segment by segment, slice by slice."""
    for number, segment in enumerate(segments, start=1):
        for k in range(segment.voxels.shape[2]):
            pixels = segment.voxels[:, :, k].T
            if pixels.any():
                yield _Frame(
                    segment=number,
                    slice_index=segment.first[2] + k,
                    pixels=pixels,
                    corner=(segment.first[1], segment.first[0]),
                )


def _packed(frames: Sequence[_Frame], *, rows: int, columns: int) -> bytes:
    """All frames as one stream of bits, the first in the lowest bit of a byte (PS3.5 8.1.1), of even length."""
    whole = np.zeros((rows, columns), dtype=bool)
    rest = np.zeros(0, dtype=bool)
    parts: list[bytes] = []
    for frame in frames:
        whole[:] = False
        (top, left), (height, width) = frame.corner, frame.pixels.shape
        whole[top : top + height, left : left + width] = frame.pixels
        # A frame whose size is no multiple of eight shares its last byte with the next one.
        bits = np.concatenate([rest, whole.ravel()]) if len(rest) else whole.ravel()
        full = len(bits) // 8 * 8
        parts.append(np.packbits(bits[:full], bitorder="little").tobytes())
        rest = bits[full:].copy()
    parts.append(np.packbits(rest, bitorder="little").tobytes())
    stream = b"".join(parts)
    return stream + b"\0" * (len(stream) % 2)


def _describe(result: Dataset, segments: Sequence[Segment], header: Dataset) -> None:
    """Segmentation Image and General Image module, and what the segments are."""
    result.ImageType = ["DERIVED", "PRIMARY"]
    result.ContentLabel = "VERTEBRAE"
    result.ContentDescription = "Vertebral bodies, cement, leaks and metal"
    result.ContentCreatorName = ""
    result.SegmentationType = "BINARY"
    result.SegmentsOverlap = "YES"
    result.BurnedInAnnotation = "NO"
    result.LossyImageCompression = "00"
    copy_elements(result, header, LOSSY_KEYWORDS)
    algorithm = AlgorithmIdentificationSequence(
        name=MANUFACTURER, family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    result.SegmentSequence = [
        SegmentDescription(
            segment_number=number,
            segment_label=segment.label,
            segmented_property_category=segment.category,
            segmented_property_type=segment.property_type,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            tracking_uid=tracking_uid(str(header.StudyInstanceUID), str(header.SeriesInstanceUID), segment),
            tracking_id=segment.label,
            display_color=CIELabColor.from_string(COLOURS[segment.kind]),
        )
        for number, segment in enumerate(segments, start=1)
    ]
    result.CodingSchemeIdentificationSequence = [private_scheme()]


def _add_pixels(result: Dataset, frames: Sequence[_Frame], pixels: bytes, *, rows: int, columns: int) -> None:
    """Image Pixel module of one bit per pixel."""
    result.SamplesPerPixel, result.PhotometricInterpretation = 1, "MONOCHROME2"
    result.BitsAllocated, result.BitsStored, result.HighBit, result.PixelRepresentation = 1, 1, 0, 0
    result.Rows, result.Columns, result.NumberOfFrames = rows, columns, len(frames)
    result.PixelData = pixels
    result["PixelData"].VR = "OB"


def _place_in_patient(
    result: Dataset, frames: Sequence[_Frame], headers: Sequence[Dataset], lps_from_index: geometry.FloatArray
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
    _add_dimensions(result, "ImagePositionPatient")
    sources = _nearest_sources(headers, lps_from_index, {frame.slice_index for frame in frames})
    ranks = {k: rank for rank, k in enumerate(sorted(sources), start=1)}
    derivations = {k: [] if plane is None else [_derivation(plane)] for k, plane in sources.items()}
    groups = []
    for frame in frames:
        k = frame.slice_index
        group = _frame_group(frame.segment, [frame.segment, ranks[k]])
        position = geometry.apply(lps_from_index, [0, 0, k])
        group.PlanePositionSequence = [_item(ImagePositionPatient=_decimals(position))]
        group.DerivationImageSequence = derivations[k]
        groups.append(group)
    result.PerFrameFunctionalGroupsSequence = groups
    _refer_to_series(result, series, [plane for plane in sources.values() if plane is not None])


def _place_in_picture(result: Dataset, frames: Sequence[_Frame], header: Dataset, frame_number: int | None) -> None:
    """Every frame on the pixels of a projection, which has no place in the patient."""
    result.PatientOrientation = header.get("PatientOrientation") or ""
    plane = _SourcePlane(
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        frame_number=frame_number,
        along_mm=0.0,
    )
    result.SharedFunctionalGroupsSequence = [_item(DerivationImageSequence=[_derivation(plane)])]
    _add_dimensions(result)
    result.PerFrameFunctionalGroupsSequence = [_frame_group(frame.segment, [frame.segment]) for frame in frames]
    _refer_to_series(result, str(header.SeriesInstanceUID), [plane])


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
                sop_class_uid=str(header.SOPClassUID),
                sop_instance_uid=str(header.SOPInstanceUID),
                frame_number=None if group is None else number,
                along_mm=float(np.array(position, dtype=np.float64) @ normal),
            )


def _add_dimensions(result: Dataset, *position: str) -> None:
    """How frames are ordered: by segment, then by place (PS3.3 C.7.6.17)."""
    organization = result_uid(result.SOPInstanceUID, "dimensions")
    result.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=organization)]
    pointers = [("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment")]
    pointers += [(keyword, "PlanePositionSequence", "Position") for keyword in position]
    result.DimensionIndexSequence = [
        _item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=Tag(keyword),
            FunctionalGroupPointer=Tag(group),
            DimensionDescriptionLabel=name,
        )
        for keyword, group, name in pointers
    ]


def _frame_group(segment: int, dimensions: list[int]) -> Dataset:
    return _item(
        FrameContentSequence=[_item(DimensionIndexValues=dimensions)],
        SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=segment)],
    )


def _derivation(plane: _SourcePlane) -> Dataset:
    """That a frame was segmented on a source image."""
    source = _reference(plane)
    if plane.frame_number is not None:
        source.ReferencedFrameNumber = plane.frame_number
    source.PurposeOfReferenceCodeSequence = [_code(codes.DCM.SourceImageForImageProcessingOperation)]
    return _item(SourceImageSequence=[source], DerivationCodeSequence=[_code(Code("113076", "DCM", "Segmentation"))])


def _refer_to_series(result: Dataset, series_instance_uid: str, planes: Sequence[_SourcePlane]) -> None:
    """Common Instance Reference module."""
    instances = {plane.sop_instance_uid: _reference(plane) for plane in planes}
    if instances:
        result.ReferencedSeriesSequence = [
            _item(SeriesInstanceUID=series_instance_uid, ReferencedInstanceSequence=list(instances.values()))
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
