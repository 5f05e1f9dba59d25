"""Content items of a structured report (PS3.3 C.17.3): made through highdicom, and read back from any data set."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    ReferencedSegment,
    Scoord3DContentItem,
    ScoordContentItem,
    SourceImageForSegmentation,
    SourceSeriesForSegmentation,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom import Dataset

from vertecast.core.errors import UnsupportedError
from vertecast.core.geometry import FloatArray
from vertecast.core.results import Measured, NotMeasured, PixelPoint, Point, Quantity
from vertecast.report.dicom import codes
from vertecast.report.dicom.codes import Concept
from vertecast.report.dicom.identity import is_uid
from vertecast.report.dicom.source import SegmentReference, SourceImage

Items: TypeAlias = Sequence[Dataset]

CONTAINS, PROPERTY, MODIFIER = "CONTAINS", "HAS PROPERTIES", "HAS CONCEPT MOD"
SEPARATE = "SEPARATE"
"""ContinuityOfContent of containers whose items are shown each with its name (PS3.3 C.18.8)."""
_PIXEL_CENTER = 0.5
"""SCOORD counts from the corner of the upper left pixel (PS3.3 C.18.6.1.1), our points from its centre."""
_SHOWN_DIGITS = 4
_LIMITS = (codes.LOWER_LIMIT, codes.UPPER_LIMIT)


@functools.cache
def coded(concept: Concept) -> CodedConcept:
    """A code as highdicom takes it. The items of a report share it: nothing changes a code once it is made."""
    return CodedConcept(value=concept.value, scheme_designator=concept.scheme, meaning=concept.meaning)


def with_children(item: ContentItem, children: Sequence[ContentItem]) -> ContentItem:
    """The item with what stands below it."""
    if children:
        item.ContentSequence = ContentSequence(children)
    return item


def text_item(concept: Concept, text: str, relationship: str = CONTAINS) -> ContentItem:
    """Free text, not empty."""
    return TextContentItem(coded(concept), text, relationship)


def uid_item(concept: Concept, uid: str) -> ContentItem:
    """A UID; as text where it is a name instead (an anonymiser emptied it, or a file that was no DICOM)."""
    return UIDRefContentItem(coded(concept), uid, CONTAINS) if is_uid(uid) else text_item(concept, uid)


def code_item(concept: Concept, value: Concept, relationship: str = CONTAINS) -> ContentItem:
    """A qualitative evaluation."""
    return CodeContentItem(coded(concept), coded(value), relationship)


def segment_items(segment: SegmentReference) -> list[ContentItem]:
    """The segment that shows a finding and what was segmented (PS3.16 TID 1411)."""
    image = segment.source_image
    source: dict[str, Any] = {"source_series": SourceSeriesForSegmentation(segment.source_series_instance_uid)}
    if image is not None:
        frames = [segment.source_frame] if segment.source_frame is not None else None
        source = {"source_images": [SourceImageForSegmentation(image.sop_class_uid, image.sop_instance_uid, frames)]}
    reference = ReferencedSegment(segment.sop_class_uid, segment.sop_instance_uid, segment.number, **source)
    return [item for item in reference]  # noqa: C416 - a sequence of its own type


def number_item(concept: Concept, value: float, unit: str, relationship: str = CONTAINS) -> ContentItem:
    """A number; the decimal text of a float is for the reader, its last bit is kept beside it."""
    known = codes.UNITS.get(unit, Concept(unit, "UCUM", unit))
    item = NumContentItem(coded(concept), value, coded(known), relationship_type=relationship)
    shown = f"{value:.{_SHOWN_DIGITS}g}" if isinstance(value, float) else str(value)
    item.MeasuredValueSequence[0].NumericValue = shown
    return item


def not_measured_item(concept: Concept, reason: str) -> ContentItem:
    """What takes the place of a measurement: a qualitative evaluation, its reason below it."""
    children = [text_item(codes.REASON, reason, PROPERTY)] if reason else []
    return with_children(code_item(concept, codes.NOT_MEASURED), children)


def measured_item(concept: Concept, measured: Measured, children: Sequence[ContentItem] = ()) -> ContentItem:
    """A quantity with its interval, or why there is none; ``children`` come first below it."""
    if isinstance(measured, NotMeasured):
        item = not_measured_item(concept, measured.reason)
        return with_children(item, [*children, *item.get("ContentSequence", [])])
    limits = [] if measured.interval95 is None else list(zip(_LIMITS, measured.interval95, strict=True))
    return with_children(
        number_item(concept, float(measured.value), measured.unit),
        [*children, *(number_item(limit, float(end), measured.unit, PROPERTY) for limit, end in limits)],
    )


def container_item(concept: Concept, children: Sequence[ContentItem]) -> ContentItem:
    """A heading with what stands under it, item by item with its name."""
    item = ContainerContentItem(coded(concept), is_content_continuous=False, relationship_type=CONTAINS)
    item.ContentSequence = ContentSequence(children)
    return item


def image_item(concept: Concept, image: SourceImage, frame_number: int | None, relationship: str) -> ContentItem:
    """A reference to an image, to one frame of it where its frames have numbers."""
    frames = [frame_number] if image.is_multi_frame and frame_number is not None else None
    return ImageContentItem(
        coded(concept),
        referenced_sop_class_uid=image.sop_class_uid,
        referenced_sop_instance_uid=image.sop_instance_uid,
        referenced_frame_numbers=frames,
        relationship_type=relationship,
    )


def point_item(concept: Concept, point_lps_mm: Point, frame_of_reference_uid: str) -> ContentItem:
    """A point of the patient. The format holds 32 bits: 0.1 µm at a metre."""
    return Scoord3DContentItem(
        coded(concept), "POINT", np.array([point_lps_mm], dtype=np.float64), frame_of_reference_uid,
        relationship_type=CONTAINS,
    )  # fmt: skip


def pixel_item(concept: Concept, point_px: PixelPoint, image: SourceImage, frame_number: int | None) -> ContentItem:
    """A point of an image, (column, row)."""
    point = np.array([point_px], dtype=np.float64) + _PIXEL_CENTER
    selected = image_item(codes.SOURCE_IMAGE, image, frame_number, "SELECTED FROM")
    return with_children(ScoordContentItem(coded(concept), "POINT", point, relationship_type=CONTAINS), [selected])


def polygon_item(concept: Concept, points_px: FloatArray, image: SourceImage, frame_number: int | None) -> ContentItem:
    """A closed polygon on an image: points (n, 2) as (column, row), the last one the first again."""
    selected = image_item(codes.SOURCE_IMAGE, image, frame_number, "SELECTED FROM")
    item = ScoordContentItem(coded(concept), "POLYLINE", points_px + _PIXEL_CENTER, relationship_type=CONTAINS)
    return with_children(item, [selected])


def children_of(item: Dataset) -> Items:
    """What stands below an item."""
    found: Items = item.get("ContentSequence") or []
    return found


def named(items: Items, concept: Concept) -> list[Dataset]:
    """The items of a concept, in their order."""
    return [item for item in items if "ConceptNameCodeSequence" in item and _key(_name(item)) == concept.key]


def first(items: Items, concept: Concept) -> Dataset | None:
    """The first item of a concept."""
    return next(iter(named(items, concept)), None)


def text_of(item: Dataset) -> str:
    """Its text or UID."""
    return str(item.UID if item.ValueType == "UIDREF" else item.TextValue)


def number_of(item: Dataset) -> float:
    """Its number, from the exact value where there is one."""
    value = item.MeasuredValueSequence[0]
    return float(value.get("FloatingPointValue", value.NumericValue))


def value_of(item: Dataset, vocabulary: Mapping[Any, Concept]) -> Any:
    """The word of a vocabulary that its code stands for.

    Raises:
        UnsupportedError: the code is not in the vocabulary.
    """
    key = _key(item.ConceptCodeSequence[0])
    for word, concept in vocabulary.items():
        if concept.key == key:
            return word
    raise UnsupportedError(f"unknown code {key} for '{_name(item).CodeMeaning}'; read it with a newer version")


def reason_of(item: Dataset) -> NotMeasured | None:
    """Why there is no measurement; None for an item that holds one."""
    if item.ValueType != "CODE" or _key(item.ConceptCodeSequence[0]) != codes.NOT_MEASURED.key:
        return None
    reason = first(children_of(item), codes.REASON)
    return NotMeasured(reason="" if reason is None else text_of(reason))


def measured_of(item: Dataset) -> Measured:
    """The inverse of `measured_item`."""
    reason = reason_of(item)
    if reason is not None:
        return reason
    lower, upper = (first(children_of(item), limit) for limit in _LIMITS)
    return Quantity(
        value=number_of(item),
        unit=str(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue),
        interval95=None if lower is None or upper is None else (number_of(lower), number_of(upper)),
    )


def coordinates_of(item: Dataset) -> tuple[float, ...]:
    """The inverse of `point_item` and `pixel_item`."""
    shift = _PIXEL_CENTER if item.ValueType == "SCOORD" else 0.0
    return tuple(float(number) - shift for number in item.GraphicData)


def image_of(item: Dataset) -> tuple[str, int | None]:
    """SOP Instance UID and frame number of an image reference; of a bare UID its text."""
    if item.ValueType != "IMAGE":
        return text_of(item), None
    reference = item.ReferencedSOPSequence[0]
    number = reference.get("ReferencedFrameNumber")
    return str(reference.ReferencedSOPInstanceUID), None if number is None else int(number)


def finding_of(group: Dataset) -> tuple[str, str] | None:
    """Value and scheme of what a measurement group is about."""
    finding = first(children_of(group), codes.FINDING)
    return None if finding is None else _key(finding.ConceptCodeSequence[0])


def has_patient_points(item: Dataset) -> bool:
    """Whether points of the patient stand anywhere below an item."""
    return item.ValueType == "SCOORD3D" or any(map(has_patient_points, children_of(item)))


def _name(item: Dataset) -> Dataset:
    name: Dataset = item.ConceptNameCodeSequence[0]
    return name


def _key(code: Dataset) -> tuple[str, str]:
    return str(code.CodeValue), str(code.CodingSchemeDesignator)
