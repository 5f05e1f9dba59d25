"""Fields that are results themselves: inline, under a heading, or in a measurement group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from highdicom.sr import (
    AlgorithmIdentification,
    ContentItem,
    MeasurementsAndQualitativeEvaluations,
    TrackingIdentifier,
)
from pydicom import Dataset

from vertecast import __version__
from vertecast.core.results import GrowthPoint
from vertecast.report.dicom import codes, items
from vertecast.report.dicom.codes import Concept
from vertecast.report.dicom.contours import OutlineKind, outline_items
from vertecast.report.dicom.identity import MANUFACTURER, result_uid
from vertecast.report.dicom.items import Items
from vertecast.report.dicom.shapes import Context, Record, Shape

_ALGORITHM: Final = AlgorithmIdentification(name=MANUFACTURER, version=__version__)
"""What measured; the models that took part stand in a section of their own."""


def measurement_group(
    finding: Concept, tracking: TrackingIdentifier, content: list[ContentItem]
) -> MeasurementsAndQualitativeEvaluations:
    """A measurement group (PS3.16 TID 1501) about a finding."""
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking, finding_type=items.coded(finding), algorithm_id=_ALGORITHM
    )
    group[0].ContentSequence.extend(content)
    group[0].ContinuityOfContent = items.SEPARATE
    return group


@dataclass(frozen=True, slots=True)
class Inline(Shape):
    """A result inside another, its items in the same group."""

    record: Record[Any]

    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        return self.record.encode(value, context)

    def decode(self, group: Items) -> Any:
        return self.record.decode(group)


@dataclass(frozen=True, slots=True)
class Sections(Shape):
    """Results under a heading each; with ``many`` off the field is one result or None."""

    concept: Concept
    record: Record[Any]
    many: bool = True

    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        return [self.section(part, number, context) for number, part in self.numbered(value)]

    def numbered(self, value: Any) -> Iterator[tuple[int, Any]]:
        """Each result with its number from 1."""
        return enumerate(value if self.many else [value] if value is not None else [], start=1)

    def decode(self, group: Items) -> Any:
        found = [self.record.decode(items.children_of(item)) for item in self.found(group)]
        return tuple(found) if self.many else (found[0] if found else None)

    def section(self, value: Any, number: int, context: Context) -> ContentItem:
        """One result."""
        return items.container_item(self.concept, self.record.encode(value, context))

    def found(self, group: Items) -> list[Dataset]:
        """The containers of the results."""
        return items.named(group, self.concept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups(Sections):
    """Results in a measurement group each (PS3.16 TID 1501), told apart by their finding."""

    label: Callable[[Any], str]
    outline: OutlineKind | None = None
    """What is outlined on a film, where the results are places in it."""

    def section(self, value: Any, number: int, context: Context) -> ContentItem:
        uid = result_uid(context.study_instance_uid, *self.tracking_parts(value, number, context.owner))
        tracking = TrackingIdentifier(identifier=self.label(value), uid=uid)
        content = self.record.encode(value, context)
        if self.outline is not None:
            content += outline_items(self.outline, value, context.source)
        if uid in context.source.segments:
            content += items.segment_items(context.source.segments[uid])
        [group] = measurement_group(self.concept, tracking, content)
        return cast(ContentItem, group)

    def numbered(self, value: Any) -> Iterator[tuple[int, Any]]:
        """Each result with its number from 1 among those of its label: one result more does not rename the others."""
        counts: Counter[str] = Counter()
        for _, result in Sections.numbered(self, value):
            counts[self.label(result)] += 1
            yield counts[self.label(result)], result

    def tracking_parts(self, value: Any, number: int, owner: Any) -> tuple[str, ...]:
        """What names the ``number``-th result of its label for `result_uid`, the same in every run and every format."""
        return (self.concept.value, *_parents(owner), self.label(value), str(number))

    def found(self, group: Items) -> list[Dataset]:
        groups = items.named(group, codes.MEASUREMENT_GROUP)
        return [one for one in groups if items.finding_of(one) == self.concept.key]


def _parents(owner: Any) -> tuple[str, ...]:
    """What tells groups of the same label apart that lie in different sections."""
    return tuple(str(getattr(owner, name)) for name in ("pre_study", "study_instance_uid") if hasattr(owner, name))


class Growth(Shape):
    """Cement frame by frame: an area each, its frame number below it."""

    def encode(self, value: Any, context: Context) -> list[ContentItem]:
        return [
            items.measured_item(
                codes.GROWTH,
                point.area,
                [items.number_item(codes.FRAME_NUMBER, int(point.frame_number), "1", items.PROPERTY)],
            )
            for point in value
        ]

    def decode(self, group: Items) -> Any:
        points = []
        for item in items.named(group, codes.GROWTH):
            number = items.first(items.children_of(item), codes.FRAME_NUMBER)
            assert number is not None
            points.append(GrowthPoint(frame_number=int(items.number_of(number)), area=items.measured_of(item)))
        return tuple(points)
