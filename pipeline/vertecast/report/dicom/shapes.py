"""How a field of a result becomes content items and is read from them: one small class for every kind of field."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar

from highdicom.sr import (
    ContentItem,
)
from pydicom import Dataset

from vertecast.core.errors import OutputError
from vertecast.core.results import NotMeasured
from vertecast.report.dicom import codes, items
from vertecast.report.dicom.codes import Concept
from vertecast.report.dicom.items import Items
from vertecast.report.dicom.source import SourceImage, SourceStudy

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Context:
    """What an item needs beside its value: the study, its images, and the result whose field is written."""

    study_instance_uid: str
    source: SourceStudy
    owner: Any = None

    def frame_of_reference_uid(self) -> str:
        """Of the series that the result was measured in."""
        return self.source.frame_of_reference_uid(self.owner.series_instance_uid)

    def image(self) -> tuple[SourceImage, int | None]:
        """Image and frame that the result's points in pixels lie in. Raises `OutputError` where it has none."""
        place = getattr(self.owner, "image", self.owner)
        image = None if place is None else self.source.image(place.sop_instance_uid or "")
        if place is None or image is None:
            raise OutputError("a point in pixels names no image of the study; please report this defect")
        return image, place.frame_number


class Shape(ABC):
    """One field of a result: its items, and its value from the items of a group."""

    @abstractmethod
    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        """Items for a value; none for None."""

    @abstractmethod
    def decode(self, group: Items) -> Any:
        """The value; what an absent field stands for where no item has its concept."""


Rows: TypeAlias = Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """A type of results with a shape for each of its fields."""

    kind: type[T]
    rows: Rows

    def encode(self, value: T, context: Context) -> list[ContentItem]:
        """Items of all fields."""
        own = replace(context, owner=value)
        return [item for name, shape in self.rows.items() for item in shape.encode(getattr(value, name), own)]

    def decode(self, group: Items) -> T:
        """The result, from the items of its group."""
        return self.kind(**{name: shape.decode(group) for name, shape in self.rows.items()})


@dataclass(frozen=True, slots=True)
class Single(Shape):
    """A field of one item, or the reason why there is no value."""

    concept: Concept

    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        if value is None:
            return []
        if isinstance(value, NotMeasured):
            return [items.not_measured_item(self.concept, value.reason)]
        return [self.item(value, context)]

    def decode(self, group: Items) -> Any:
        item = items.first(group, self.concept)
        return None if item is None else items.reason_of(item) or self.value(item)

    @abstractmethod
    def item(self, value: Any, context: Context) -> ContentItem:
        """The item of a value."""

    @abstractmethod
    def value(self, item: Dataset) -> Any:
        """The value of an item."""


class Number(Single):
    """A quantity with its unit and interval."""

    def item(self, value: Any, context: Context) -> ContentItem:
        return items.measured_item(self.concept, value)

    def value(self, item: Dataset) -> Any:
        return items.measured_of(item)


@dataclass(frozen=True, slots=True)
class Plain(Single):
    """A number that always has the same unit: a share, a count, a frame."""

    kind: type[int] | type[float]
    unit: str = "1"

    def item(self, value: Any, context: Context) -> ContentItem:
        return items.number_item(self.concept, self.kind(value), self.unit)

    def value(self, item: Dataset) -> Any:
        return self.kind(items.number_of(item))


@dataclass(frozen=True, slots=True)
class Choice(Single):
    """A word of a vocabulary."""

    vocabulary: Mapping[Any, Concept]
    relationship: str = items.CONTAINS

    def item(self, value: Any, context: Context) -> ContentItem:
        return items.code_item(self.concept, self.vocabulary[value], self.relationship)

    def value(self, item: Dataset) -> Any:
        return items.value_of(item, self.vocabulary)


class Text(Single):
    """Free text; an empty one has no item."""

    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        return [self.item(value, context)] if value else []

    def decode(self, group: Items) -> Any:
        item = items.first(group, self.concept)
        return "" if item is None else self.value(item)

    def item(self, value: Any, context: Context) -> ContentItem:
        return items.text_item(self.concept, value)

    def value(self, item: Dataset) -> Any:
        return items.text_of(item)


class Uid(Text):
    """A UID of DICOM, or the name that stands for one."""

    def item(self, value: Any, context: Context) -> ContentItem:
        return items.uid_item(self.concept, value)


@dataclass(frozen=True, slots=True)
class Many(Shape):
    """Several values, an item each."""

    one: Single

    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        return [self.one.item(part, context) for part in value]

    def decode(self, group: Items) -> Any:
        return tuple(self.one.value(item) for item in items.named(group, self.one.concept))


@dataclass(frozen=True, slots=True)
class Several(Shape):
    """A fixed number of values, such as the two ends of a range, or the reason why there is none (below the first)."""

    parts: tuple[Single, ...]

    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        if isinstance(value, NotMeasured):
            return self.parts[0].encode(value, context)
        return [part.item(one, context) for part, one in zip(self.parts, value, strict=True)]

    def decode(self, group: Items) -> Any:
        values = tuple(part.decode(group) for part in self.parts)
        return values[0] if isinstance(values[0], NotMeasured) else values


@dataclass(frozen=True, slots=True)
class ByPlace(Shape):
    """A quantity at several places, told apart by a topographical modifier."""

    concept: Concept

    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        return [
            items.measured_item(
                self.concept,
                measured,
                [items.code_item(codes.TOPOGRAPHICAL_MODIFIER, codes.PLACES[place], items.MODIFIER)],
            )
            for place, measured in value.items()
        ]

    def decode(self, group: Items) -> Any:
        found = {}
        for item in items.named(group, self.concept):
            modifier = items.first(items.children_of(item), codes.TOPOGRAPHICAL_MODIFIER)
            assert modifier is not None
            found[items.value_of(modifier, codes.PLACES)] = items.measured_of(item)
        return found


class ThirdsOrReason(ByPlace):
    """Quantities of the thirds of a body; one reason for all of them; or nothing."""

    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        if value is None:
            return []
        if isinstance(value, NotMeasured):
            return [items.not_measured_item(self.concept, value.reason)]
        return super().encode(value, context)

    def decode(self, group: Items) -> Any:
        item = items.first(group, self.concept)
        if item is None:
            return None
        has_place = items.first(items.children_of(item), codes.TOPOGRAPHICAL_MODIFIER) is not None
        return super().decode(group) if has_place else items.reason_of(item)


@dataclass(frozen=True, slots=True)
class ByName(Shape):
    """Quantities of a mapping, a concept for each key."""

    concepts: Mapping[str, Concept]

    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        return [items.measured_item(self.concepts[key], measured) for key, measured in value.items()]

    def decode(self, group: Items) -> Any:
        found = {key: items.first(group, concept) for key, concept in self.concepts.items()}
        return {key: items.measured_of(item) for key, item in found.items() if item is not None}
