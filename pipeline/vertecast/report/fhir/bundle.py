"""``fhir.json``: one study as a Bundle of HL7 FHIR R4 (4.0.1), for systems that read reports rather than images.

It holds a DiagnosticReport with the sentences of the page, the ImagingStudy by its DICOM UID, the program as a Device,
and Observations. Who the patient is, is left to the system that imports it: ``subject`` is a display text, the same in
every resource.
"""

from __future__ import annotations

from html import escape
from typing import Final

from vertecast import __version__
from vertecast.core.report_json import DISCLAIMER
from vertecast.core.results import StudyReport
from vertecast.report import wording
from vertecast.report.dicom import codes
from vertecast.report.dicom.identity import MANUFACTURER, result_uuid
from vertecast.report.fhir.elements import (
    Element,
    Resource,
    codeable,
    dicom_identifier,
    foreign_code,
    full_url,
    present,
    reference,
)
from vertecast.report.fhir.observations import study_findings

_META: Final = {
    "security": [
        foreign_code("v3-ObservationValue", "AIAST", "Artificial Intelligence asserted"),
        foreign_code("v3-ActReason", "HRESCH", "healthcare research"),
    ]
}
"""On every resource, as an importing system takes the bundle apart: what a program found, for research alone."""
_SUBJECT: Final = {"type": "Patient", "display": "Patient of the imaging study, not named by the program"}
_CATEGORY: Final = {"coding": [foreign_code("v2-0074", "RAD", "Radiology")]}


def study_bundle(report: StudyReport) -> Resource:
    """The report as a Bundle of type ``collection``; the same report gives the same bundle, UUIDs included.

    Args:
        report: The study.

    Returns:
        JSON values. Nothing in it was reviewed by a person: the report is ``partial`` ("data in the report may be
        incomplete or unverified"), Observations are ``preliminary``.
    """
    study = report.study_instance_uid
    device = _device(report)
    imaging = present(
        resourceType="ImagingStudy",
        id=_id(study, "imaging study"),
        meta=_META,
        identifier=[dicom_identifier(study)],
        status="available",
        subject=_SUBJECT,
    )
    common = {
        "meta": _META,
        "status": "preliminary",
        "subject": _SUBJECT,
        "device": reference(device),
        "derivedFrom": [reference(imaging)],
    }
    findings = list(study_findings(report, common))
    diagnostic = present(
        resourceType="DiagnosticReport",
        id=_id(study, "diagnostic report"),
        meta=_META,
        text=_narrative(report),
        status="partial",
        category=[_CATEGORY],
        code=codeable(codes.IMAGING_REPORT),
        subject=_SUBJECT,
        imagingStudy=[reference(imaging)],
        result=[reference(finding.group) for finding in findings],
        conclusion=" ".join((*wording.first_sentences(report), DISCLAIMER)),
    )
    observations = [one for finding in findings for one in (finding.group, *finding.below)]
    return {
        "resourceType": "Bundle",
        "id": _id(study, "bundle"),
        "meta": _META,
        "type": "collection",
        "entry": [{"fullUrl": full_url(one), "resource": one} for one in (diagnostic, imaging, device, *observations)],
    }


def _id(owner: str, *what: str) -> str:
    return str(result_uuid(owner, "fhir", *what))


def _device(report: StudyReport) -> Resource:
    """The program with the weights that took part: one resource, with one ``id``, in the bundles of all studies."""
    names = [f"{model.name} {model.version} {model.sha256}" for model in report.models]
    weights = [
        {"type": {"text": "weights"}, "component": {"value": model.name}, "value": f"{model.version} ({model.sha256})"}
        for model in report.models
    ]
    return present(
        resourceType="Device",
        id=_id(MANUFACTURER, "device", __version__, *names),
        meta=_META,
        manufacturer=MANUFACTURER,
        deviceName=[{"name": MANUFACTURER, "type": "model-name"}],
        type=codeable(codes.SOFTWARE),
        version=[{"type": {"text": "program"}, "value": __version__}, *weights],
        note=[{"text": DISCLAIMER}],
    )


def _narrative(report: StudyReport) -> Element:
    """Sentences, warnings and limits for a person who sees the report in a FHIR browser."""
    limits = (DISCLAIMER, *(limit for limit in report.limits if limit != DISCLAIMER))
    parts = (("Findings", wording.first_sentences(report)), ("Warnings", report.warnings), ("Limits", limits))
    lists = "".join(
        f"<p><b>{title}</b></p><ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"
        for title, lines in parts
        if lines
    )
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{lists}</div>'}
