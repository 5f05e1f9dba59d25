"""Fields that point at a place: in the patient, in a picture, at an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from highdicom.sr import ContentItem
from pydicom import Dataset

from vertecast.core.results import ImageReference, NotMeasured
from vertecast.report.dicom import codes, items
from vertecast.report.dicom.codes import Concept
from vertecast.report.dicom.items import Items
from vertecast.report.dicom.shapes import Context, Shape, Single


class _Coordinates(Single):
    """A point. One field of a result is in the patient, its twin in a picture: the value type tells them apart."""

    value_type: ClassVar[str]

    def decode(self, group: Items) -> Any:
        item = next((one for one in items.named(group, self.concept) if one.ValueType == self.value_type), None)
        return None if item is None else self.value(item)

    def value(self, item: Dataset) -> Any:
        return items.coordinates_of(item)


class PatientPoint(_Coordinates):
    """A point in LPS mm."""

    value_type = "SCOORD3D"

    def item(self, value: Any, context: Context) -> ContentItem:
        return items.point_item(self.concept, value, context.frame_of_reference_uid())


class PicturePoint(_Coordinates):
    """A point (column, row) of the image that the result names."""

    value_type = "SCOORD"

    def item(self, value: Any, context: Context) -> ContentItem:
        return items.pixel_item(self.concept, value, *context.image())


class ImageShape(Single):
    """The image, and its frame, that was measured."""

    def item(self, value: Any, context: Context) -> ContentItem:
        image, frame_number = context.image()
        return items.image_item(self.concept, image, frame_number, items.CONTAINS)

    def value(self, item: Dataset) -> Any:
        sop_instance_uid, frame_number = items.image_of(item)
        return ImageReference(sop_instance_uid=sop_instance_uid, frame_number=frame_number or 1)


class EvidenceImage(Single):
    """SOP Instance UID of the image that shows a finding."""

    def item(self, value: Any, context: Context) -> ContentItem:
        image = context.source.image(value)
        if image is None:
            return items.uid_item(self.concept, value)
        return items.image_item(self.concept, image, context.owner.frame_number, items.CONTAINS)

    def value(self, item: Dataset) -> Any:
        return items.image_of(item)[0]


@dataclass(frozen=True, slots=True)
class EndplatePoints(Shape):
    """Six points of two endplates; ``missing`` is the concept of the reason why there are none."""

    missing: Concept
    point: type[PatientPoint] | type[PicturePoint]

    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        if value is None:
            return []
        if isinstance(value, NotMeasured):
            return [items.not_measured_item(self.missing, value.reason)]
        return [
            self.point(codes.ENDPLATE_POINTS[plate, place]).item(point, context)
            for plate, points in value.items()
            for place, point in points.items()
        ]

    def decode(self, group: Items) -> Any:
        missing = items.first(group, self.missing)
        if missing is not None:
            return items.reason_of(missing)
        found: dict[str, dict[str, Any]] = {}
        for (plate, place), concept in codes.ENDPLATE_POINTS.items():
            point = self.point(concept).decode(group)
            if point is not None:
                found.setdefault(plate, {})[place] = point
        return found or None
