"""Observations: one for every finding, one for every measurement of it.

A finding (a vertebra, a piece of cement, a leak, an angle, ...) is an Observation as a measurement group of the
structured report is a group, and has its tracking UID. What was measured are its members, each with its unit and 95 %
interval or the reason for its absence; what is merely said of it (grade, compartment, confidence, ...) are its
components. This follows HL7's mapping of DICOM structured reports to FHIR as far as R4 can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vertecast.core.results import NotMeasured, Quantity, StudyReport
from vertecast.report.dicom import codes, records
from vertecast.report.dicom.codes import Concept
from vertecast.report.dicom.group_shapes import Groups, Sections
from vertecast.report.dicom.identity import result_uid, result_uuid
from vertecast.report.dicom.shapes import Rows, Shape
from vertecast.report.fhir.elements import (
    Element,
    Resource,
    absent_reason,
    codeable,
    coding,
    dicom_identifier,
    foreign_code,
    interval_components,
    present,
    quantity,
    reference,
)
from vertecast.report.fhir.facts import Fact, Value, Word, facts_of, site_of

_FINDINGS: Final[Mapping[str, Shape]] = {
    **records.FINDINGS,
    **{name: records.SECTIONS[name] for name in ("change", "further_changes")},
}
"""What has Observations. Other studies of the timeline have bundles of their own."""
_IMAGING: Final = {"coding": [foreign_code("observation-category", "imaging", "Imaging")]}
_GROUP: Final = {"coding": [coding(codes.MEASUREMENT_GROUP)]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a finding's Observation starts from: its name for UIDs, its code, words for it, the fields of its result."""

    parts: tuple[str, ...]
    concept: Concept
    label: str
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The Observation of a finding, and everything that hangs from it in the order to be read."""

    group: Resource
    below: tuple[Resource, ...]


def study_findings(report: StudyReport, common: Element) -> Iterator[Written]:
    """All findings of a study.

    Args:
        report: The study.
        common: Fields that all Observations share: status, subject, device, image study.
    """
    whole = Finding(parts=("overview",), concept=codes.SPINE, label="Whole study", rows=records.OVERVIEW)
    yield _written(whole, report, report.study_instance_uid, common)
    for name, shape in _FINDINGS.items():
        assert isinstance(shape, Sections)
        yield from _sections(shape, getattr(report, name), report, report.study_instance_uid, common)


def _sections(shape: Sections, value: Any, owner: Any, study: str, common: Element) -> Iterator[Written]:
    for number, result in shape.numbered(value):
        if isinstance(shape, Groups):
            parts, label = shape.tracking_parts(result, number, owner), shape.label(result)
        else:
            parts, label = (shape.concept.value, str(number)), shape.concept.meaning
        finding = Finding(parts=parts, concept=shape.concept, label=label, rows=shape.record.rows)
        yield _written(finding, result, study, common)


def _written(finding: Finding, result: Any, study: str, common: Element) -> Written:
    site = site_of(finding.rows, result)
    facts = list(facts_of(finding.rows, result))
    measured = [
        _measurement(fact, finding, site, {"id": str(result_uuid(study, *finding.parts, str(number))), **common})
        for number, fact in enumerate(facts)
        if fact.is_measurement
    ]
    nested = [
        one
        for name, shape in finding.rows.items()
        if isinstance(shape, Sections)
        for one in _sections(shape, getattr(result, name), result, study, common)
    ]
    group = present(
        resourceType="Observation",
        id=str(result_uuid(study, *finding.parts)),
        **common,
        identifier=[dicom_identifier(result_uid(study, *finding.parts))],
        category=[_IMAGING, _GROUP],
        code=codeable(finding.concept, text=finding.label),
        bodySite=site and codeable(site),
        component=[_component(fact) for fact in facts if not fact.is_measurement],
        hasMember=[reference(one) for one in (*measured, *(written.group for written in nested))],
    )
    below = [one for written in nested for one in (written.group, *written.below)]
    return Written(group=group, below=(*measured, *below))


def _measurement(fact: Fact, finding: Finding, site: Concept | None, common: Element) -> Resource:
    """One measurement. It names its finding, for whoever meets it alone: volumes of bone and of cement share a code."""
    place = f", {fact.place.meaning.lower()}" if fact.place else ""
    return present(
        resourceType="Observation",
        **common,
        category=[_IMAGING],
        code=codeable(fact.concept, text=f"{finding.label}: {fact.concept.meaning}{place}"),
        bodySite=site and codeable(site),
        **_value(fact.value),
        component=[
            _coded_component(codes.FINDING, finding.concept),
            *([_coded_component(codes.TOPOGRAPHICAL_MODIFIER, fact.place)] if fact.place else []),
            *interval_components(fact.value),
        ],
    )


def _component(fact: Fact) -> Element:
    return {"code": codeable(fact.concept, text=fact.concept.meaning), **_value(fact.value)}


def _coded_component(name: Concept, value: Concept) -> Element:
    return {"code": codeable(name), "valueCodeableConcept": codeable(value)}


def _value(value: Value) -> Element:
    """``value[x]``, or why there is none."""
    match value:
        case NotMeasured():
            return {"dataAbsentReason": absent_reason(value.reason)}
        case Quantity():
            return {"valueQuantity": quantity(value.value, value.unit)}
        case Word():
            return {"valueCodeableConcept": codeable(value.concept, text=str(value.word))}
        case int():
            return {"valueInteger": value}
        case _:
            return {"valueString": value}
