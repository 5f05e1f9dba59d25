"""Segmentation objects (PS3.3 A.51), one segment per structure, on the grid of the image that was measured.

BINARY holds a frame for every segment and slice, so that a body keeps what cement covers of it. LABELMAP holds one
frame for every slice, whose pixels are numbers of segments: quicker to read, one structure for each pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentDescription
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, SegmentationStorage

from vertecast import __version__
from vertecast.core.config import SegmentationType
from vertecast.core.images import MeasuredImage
from vertecast.report.dicom.identity import (
    MANUFACTURER,
    ResultObject,
    copy_elements,
    digest,
    private_scheme,
    result_uid,
)
from vertecast.report.dicom.seg_places import Frame, place_in_patient, place_in_picture
from vertecast.report.dicom.structures import COLOURS, Segment, find_segments
from vertecast.report.dicom.tracking import Tracked, findings_shown

LABEL_MAP_SEGMENTATION_STORAGE: Final = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Of DICOM 2024c (supplement 243); pydicom has no name for it yet."""
BACKGROUND: Final = 0
"""Number of the pixels of a label map that belong to no segment."""
LOSSY_KEYWORDS: Final = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def build_segmentation(
    image: MeasuredImage,
    headers: Sequence[Dataset],
    number: int,
    kind: SegmentationType = "binary",
    findings: Sequence[Tracked] = (),
) -> Dataset | None:
    """One object with all structures of an image.

    A segment carries the tracking UID of its finding, and keeps it from run to run. In a BINARY one bodies hold the
    cement that lies in them, so segments overlap; in a LABELMAP metal lies over leaks, leaks over cement, cement over
    bodies.

    Args:
        image: What was measured, with its structures.
        headers: Data sets of its DICOM images.
        number: Of the object in its series, from 1.
        kind: "binary" or "labelmap".
        findings: What the report says, for the tracking UIDs; those of other images are passed over.

    Returns:
        The object, or None where nothing was found.
    """
    segments = find_segments(image)
    if not segments:
        return None
    is_label_map = kind == "labelmap"
    shape = image.labels.shape if image.labels.ndim == 3 else (*image.labels.shape[::-1], 1)
    if is_label_map:
        frames = list(_label_frames(segments, rows=shape[1], columns=shape[0]))
        pixels = _bytes(frames)
    else:
        frames = list(_frames(segments))
        pixels = _packed(frames, rows=shape[1], columns=shape[0])
    source = str(headers[0].SOPInstanceUID) if image.lps_from_index is None else ""
    result = ResultObject(
        headers[0],
        LABEL_MAP_SEGMENTATION_STORAGE if is_label_map else SegmentationStorage,
        "SEG",
        "segmentation",
        of=image.series_instance_uid,
        instance=(number, digest(source, *(segment.label for segment in segments), pixels)),
    )
    shown = findings_shown(findings, segments, image, str(headers[0].SOPInstanceUID))
    trackings = [_tracking(segment, shown.get(n), headers[0]) for n, segment in enumerate(segments)]
    _describe(result, segments, trackings, headers[0], is_label_map=is_label_map)
    _add_pixels(result, pixels, bits=frames[0].pixels.itemsize * 8 if is_label_map else 1)
    result.Rows, result.Columns, result.NumberOfFrames = shape[1], shape[0], len(frames)
    if image.lps_from_index is None:
        place_in_picture(result, frames, headers[0], image.source.frame_number)
    else:
        place_in_patient(result, frames, headers, image.lps_from_index)
    return result


def _tracking(segment: Segment, finding: Tracked | None, header: Dataset) -> tuple[str, str]:
    """Identifier and UID of the finding that a segment shows; of what no finding speaks, those of its own."""
    if finding is not None:
        return finding.identifier, finding.uid
    series = str(header.SeriesInstanceUID)
    return segment.label, result_uid(str(header.StudyInstanceUID), "tracking", series, segment.label)


def _frames(segments: Sequence[Segment]) -> Iterator[Frame]:
    """The frames that are not empty, segment by segment, slice by slice."""
    for number, segment in enumerate(segments, start=1):
        for k in range(segment.voxels.shape[2]):
            pixels = segment.voxels[:, :, k].T
            if pixels.any():
                corner = (segment.first[1], segment.first[0])
                yield Frame(segment=number, slice_index=segment.first[2] + k, pixels=pixels, corner=corner)


def _label_frames(segments: Sequence[Segment], *, rows: int, columns: int) -> Iterator[Frame]:
    """A frame of segment numbers for each slice that shows one; later segments lie over earlier ones."""
    kind = np.uint8 if len(segments) <= np.iinfo(np.uint8).max else np.uint16
    slices: dict[int, npt.NDArray[np.unsignedinteger[Any]]] = {}
    for number, segment in enumerate(segments, start=1):
        left, top, first = segment.first
        width, height, depth = segment.voxels.shape
        for k in range(depth):
            shown = segment.voxels[:, :, k].T
            if shown.any():
                labels = slices.setdefault(first + k, np.zeros((rows, columns), dtype=kind))
                labels[top : top + height, left : left + width][shown] = number
    for k in sorted(slices):
        yield Frame(segment=None, slice_index=k, pixels=slices[k], corner=(0, 0))


def _bytes(frames: Sequence[Frame]) -> bytes:
    """All frames of a label map one after the other, lowest byte first, of even length."""
    stream = b"".join(frame.pixels.astype(frame.pixels.dtype.newbyteorder("<")).tobytes() for frame in frames)
    return stream + b"\0" * (len(stream) % 2)


def _packed(frames: Sequence[Frame], *, rows: int, columns: int) -> bytes:
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


def _describe(
    result: Dataset,
    segments: Sequence[Segment],
    trackings: Sequence[tuple[str, str]],
    header: Dataset,
    *,
    is_label_map: bool,
) -> None:
    """Segmentation Image and General Image module, and what the segments are."""
    result.ImageType = ["DERIVED", "PRIMARY"]
    result.ContentLabel = "VERTEBRAE"
    result.ContentDescription = "Vertebral bodies, cement, leaks and metal"
    result.ContentCreatorName = ""
    result.SegmentationType = "LABELMAP" if is_label_map else "BINARY"
    result.SegmentsOverlap = "NO" if is_label_map else "YES"
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
            tracking_uid=uid,
            tracking_id=identifier,
            display_color=CIELabColor.from_string(COLOURS[segment.kind]),
        )
        for number, (segment, (identifier, uid)) in enumerate(zip(segments, trackings, strict=True), start=1)
    ]
    if is_label_map:
        result.PixelPaddingValue = BACKGROUND
        result.SegmentSequence.insert(0, _background())
    result.CodingSchemeIdentificationSequence = [private_scheme()]


def _background() -> Dataset:
    """What the pixels are that belong to no segment."""
    item = SegmentDescription(
        segment_number=1,
        segment_label="Background",
        segmented_property_category=codes.DCM.Background,
        segmented_property_type=codes.DCM.Background,
        algorithm_type="MANUAL",
    )
    item.SegmentNumber, item.SegmentAlgorithmType = BACKGROUND, "AUTOMATIC"
    return item


def _add_pixels(result: Dataset, pixels: bytes, *, bits: int) -> None:
    """Image Pixel module."""
    result.SamplesPerPixel, result.PhotometricInterpretation, result.PixelRepresentation = 1, "MONOCHROME2", 0
    result.BitsAllocated, result.BitsStored, result.HighBit = bits, bits, bits - 1
    result.PixelData = pixels
    result["PixelData"].VR = "OW" if bits == 16 else "OB"
