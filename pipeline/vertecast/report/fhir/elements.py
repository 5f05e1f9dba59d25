"""Data types of FHIR R4 as plain dictionaries, and the code systems that are FHIR's own."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

from vertecast.core.results import Quantity
from vertecast.report.dicom import codes
from vertecast.report.dicom.codes import Concept

Element: TypeAlias = dict[str, Any]
Resource: TypeAlias = dict[str, Any]

SYSTEMS: Final = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    codes.PRIVATE_SCHEME: f"urn:oid:{codes.PRIVATE_SCHEME_UID}",
}
"""FHIR's name of each scheme in the table of codes."""

DICOM_UID: Final = "urn:dicom:uid"
_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
_SHOWN_DIGITS: Final = 4
"""The digits of a decimal in FHIR say how exact it is; ``report.json`` keeps every bit."""


def present(**fields: Any) -> Element:
    """The fields that hold something: FHIR knows neither null nor empty lists and texts."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}


def foreign_code(system: str, code: str, display: str = "") -> Element:
    """Coding of a system that is FHIR's own, by the last part of its name."""
    return present(system=f"http://terminology.hl7.org/CodeSystem/{system}", code=code, display=display)


def coding(concept: Concept) -> Element:
    """Coding of a concept of the table."""
    return {"system": SYSTEMS[concept.scheme], "code": concept.value, "display": concept.meaning}


def codeable(*concepts: Concept, text: str = "") -> Element:
    """CodeableConcept: the codes of one concept, and what a reader calls it."""
    return present(coding=[coding(concept) for concept in concepts], text=text)


def quantity(value: float, unit: str) -> Element:
    """Quantity with its UCUM unit."""
    return {"value": float(f"{value:.{_SHOWN_DIGITS}g}"), "unit": unit, "system": SYSTEMS["UCUM"], "code": unit}


def absent_reason(reason: str) -> Element:
    """``dataAbsentReason``: that nothing was measured, and why."""
    return present(coding=[foreign_code("data-absent-reason", "not-performed", "Not Performed")], text=reason)


def interval_components(measured: object) -> list[Element]:
    """The 95 % interval of a quantity that has one, as a component: R4 has no element for it beside a value."""
    if not isinstance(measured, Quantity) or measured.interval95 is None:
        return []
    low, high = (quantity(end, measured.unit) for end in measured.interval95)
    name = foreign_code("precision-estimate-type", "CI", "confidence interval")
    return [{"code": {"coding": [name], "text": "95 % confidence interval"}, "valueRange": {"low": low, "high": high}}]


def dicom_identifier(uid: str) -> Element:
    """Identifier of what DICOM names by a UID; a file that is no DICOM has a name instead."""
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"} if _OID.fullmatch(uid) else {"value": uid}


def reference(resource: Resource) -> Element:
    """Reference to a resource of the same bundle."""
    return {"reference": full_url(resource), "type": resource["resourceType"]}


def full_url(resource: Resource) -> str:
    """The name of a resource inside its bundle."""
    return f"urn:uuid:{resource['id']}"
