"""What the table of the structured report (`vertecast.report.dicom.records`) says of a result, apart from any format.

A field that is added there appears here by itself. Points and outlines are left to DICOM, the growth of cement frame by
frame to ``report.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from vertecast.core.results import NotMeasured, Quantity
from vertecast.report.dicom import codes
from vertecast.report.dicom.codes import Concept
from vertecast.report.dicom.group_shapes import Inline
from vertecast.report.dicom.point_shapes import EvidenceImage, ImageShape
from vertecast.report.dicom.shapes import ByName, ByPlace, Choice, Many, Number, Plain, Rows, Several, Shape, Text


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a vocabulary, as ``report.json`` has it, with its code."""

    word: Any
    concept: Concept


Value: TypeAlias = Quantity | NotMeasured | Word | int | str


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is said of a result.

    Attributes:
        concept: What is said.
        value: How much, which, or why not.
        place: Where on the body, of a height.
        is_measurement: It was measured in the image; others describe the finding or how it was made.
    """

    concept: Concept
    value: Value
    place: Concept | None = None
    is_measurement: bool = False


def facts_of(rows: Rows, result: Any) -> Iterator[Fact]:
    """Everything said of a result, field by field; results below it that have a heading of their own are left out."""
    for name, shape in rows.items():
        value = getattr(result, name)
        if value is not None and value != "":
            yield from _facts(shape, value)


def site_of(rows: Rows, result: Any) -> Concept | None:
    """The vertebra that a result is about, where it is about one."""
    site = rows.get("level")
    return site.vocabulary[result.level] if isinstance(site, Choice) else None


def _facts(shape: Shape, value: Any) -> Iterator[Fact]:
    match shape:
        case Choice(concept=codes.FINDING_SITE):
            return
        case Inline():
            yield from facts_of(shape.record.rows, value)
        case Many():
            for part in value:
                yield from _facts(shape.one, part)
        case Several() if isinstance(value, NotMeasured):
            yield from _facts(shape.parts[0], value)
        case Several():
            for part, one in zip(shape.parts, value, strict=True):
                yield from _facts(part, one)
        case ByPlace() if isinstance(value, NotMeasured):
            yield Fact(shape.concept, value, is_measurement=True)
        case ByPlace():
            for place, measured in value.items():
                yield Fact(shape.concept, measured, codes.PLACES[place], is_measurement=True)
        case ByName():
            for name, measured in value.items():
                yield Fact(shape.concepts[name], measured, is_measurement=True)
        case Number():
            yield Fact(shape.concept, value, is_measurement=True)
        case Choice() | Plain() if isinstance(value, NotMeasured):
            yield Fact(shape.concept, value)
        case Choice():
            yield Fact(shape.concept, Word(value, shape.vocabulary[value]))
        case Plain():
            is_count = shape.kind is int and shape.unit == "1"
            yield Fact(shape.concept, int(value) if is_count else Quantity(value=value, unit=shape.unit))
        case ImageShape():
            yield Fact(shape.concept, value.sop_instance_uid)
        case Text() | EvidenceImage():
            yield Fact(shape.concept, value)
