"""fhir.json: valid by another's models, whole in itself, the same for the same report, and true to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import HealthCheck, Phase, given, settings

from strategies import study_reports
from vertecast.core import results
from vertecast.core.report_json import DISCLAIMER
from vertecast.core.results import NotMeasured, Quantity, StudyReport
from vertecast.report.dicom import records
from vertecast.report.dicom.group_shapes import Growth, Inline, Sections
from vertecast.report.dicom.point_shapes import EndplatePoints, PatientPoint, PicturePoint
from vertecast.report.dicom.shapes import ByName, Many, Record
from vertecast.report.fhir.bundle import study_bundle
from vertecast.report.fhir.facts import facts_of

LEFT_TO_OTHERS = (Growth, EndplatePoints, PatientPoint, PicturePoint)
"""Kinds of fields that fhir.json leaves to the DICOM objects and to report.json."""


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def references(value: Any) -> Iterator[str]:
    """Every reference below a value."""
    if isinstance(value, dict):
        yield from [value["reference"]] if "reference" in value else []
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from references(part)


def observation(bundle: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [one for one in resources(bundle, "Observation") if one["code"]["text"] == name]
    return found


def component(one: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [part for part in one["component"] if name in json.dumps(part["code"])]
    return found


@pytest.fixture(scope="module")
def bundle(case) -> dict[str, Any]:
    return study_bundle(case.report)


@settings(
    max_examples=25, phases=(Phase.explicit, Phase.reuse, Phase.generate), suppress_health_check=list(HealthCheck)
)
@given(report=study_reports)
def test_every_report_gives_a_bundle_that_is_valid_and_whole(report: StudyReport) -> None:
    made = study_bundle(report)
    Bundle.model_validate_json(json.dumps(made, allow_nan=False))
    names = [entry["fullUrl"] for entry in made["entry"]]
    assert names == [f"urn:uuid:{entry['resource']['id']}" for entry in made["entry"]]
    assert len(set(names)) == len(names)
    assert set(references(made)) <= set(names)
    (diagnostic,) = resources(made, "DiagnosticReport")
    reached = {*references(diagnostic), *(to for one in resources(made, "Observation") for to in references(one))}
    assert reached == set(names[1:]), "a resource that nothing leads to is lost in the system that imports it"
    assert study_bundle(report) == made


def test_a_measurement_has_value_unit_interval_and_place(bundle: dict[str, Any]) -> None:
    height = observation(bundle, "L1 vertebral body: Height, anterior")
    millimetres = {"unit": "mm", "system": "http://unitsofmeasure.org", "code": "mm"}
    assert height["valueQuantity"] == {"value": 15.5, **millimetres}
    interval = component(height, "95 % confidence interval")["valueRange"]
    assert interval == {"low": {"value": 14.9, **millimetres}, "high": {"value": 16.1, **millimetres}}
    assert height["bodySite"]["coding"][0]["code"] == "66794005"
    assert component(height, "Topographical modifier")["valueCodeableConcept"]["coding"][0]["display"] == "Anterior"
    vertebra = observation(bundle, "L1 vertebral body")
    assert {"reference": f"urn:uuid:{height['id']}", "type": "Observation"} in vertebra["hasMember"]
    grade = component(vertebra, '"Genant grade"')["valueCodeableConcept"]
    assert (grade["text"], grade["coding"][0]["display"]) == ("2", "Moderate")


def test_what_was_not_measured_says_why(bundle: dict[str, Any]) -> None:
    density = observation(bundle, "L1 vertebral body: Mean Attenuation Coefficient")
    assert density["dataAbsentReason"]["text"] == "cement in the body"
    assert density["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
    grade = component(observation(bundle, "T11 vertebral body"), '"Genant grade"')
    assert grade["dataAbsentReason"]["text"] == "cut by the edge of the image"
    for one in resources(bundle, "Observation"):
        assert not ("dataAbsentReason" in one and any(key.startswith("value") for key in one))


def test_cement_leaks_and_angles_are_there(bundle: dict[str, Any]) -> None:
    assert observation(bundle, "Cement c1 of L1: Volume")["valueQuantity"]["value"] == 4.1
    leaks = [one for one in resources(bundle, "Observation") if one["code"]["text"] == "Leak of cement c1, L1"]
    compartments = [component(leak, "Compartment")["valueCodeableConcept"]["text"] for leak in leaks]
    assert compartments == ["disc_superior", "paravertebral_right"]
    kyphosis = observation(bundle, "local kyphosis, T12 superior to L2 inferior: Angle")
    assert (kyphosis["valueQuantity"]["value"], kyphosis["valueQuantity"]["code"]) == (17.2, "deg")
    (diagnostic,) = resources(bundle, "DiagnosticReport")
    assert "34 % anterior loss (31–37)" in diagnostic["conclusion"]
    assert diagnostic["conclusion"].endswith(DISCLAIMER)


def test_nothing_is_final_and_nobody_is_named(bundle: dict[str, Any]) -> None:
    (diagnostic,), (imaging,), (device,) = (
        resources(bundle, kind) for kind in ("DiagnosticReport", "ImagingStudy", "Device")
    )
    assert diagnostic["status"] == "partial"
    assert {one["status"] for one in resources(bundle, "Observation")} == {"preliminary"}
    for entry in bundle["entry"]:
        assert "AIAST" in json.dumps(entry["resource"]["meta"])
        assert set(entry["resource"].get("subject", {})) <= {"type", "display"}
    assert imaging["identifier"] == [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.826.0.1.3680043.8.498.1"}]
    assert [version["value"] for version in device["version"]][1] == f"0.1.0 ({'ab' * 32})"
    assert device["note"] == [{"text": DISCLAIMER}]


def test_a_study_that_is_no_dicom_has_its_name(case) -> None:
    made = study_bundle(replace(case.report, study_instance_uid="patient_a"))
    assert resources(made, "ImagingStudy")[0]["identifier"] == [{"value": "patient_a"}]
    Bundle.model_validate(made)


def test_the_device_is_one_for_all_studies_and_another_with_other_weights(case, bundle: dict[str, Any]) -> None:
    (here,) = resources(bundle, "Device")
    (elsewhere,) = resources(study_bundle(replace(case.report, study_instance_uid="1.2")), "Device")
    (older,) = resources(study_bundle(replace(case.report, models=())), "Device")
    assert here == elsewhere
    assert here["id"] != older["id"]


def test_text_of_the_report_cannot_break_the_narrative(case) -> None:
    (diagnostic,) = resources(study_bundle(replace(case.report, warnings=("a < b & c",))), "DiagnosticReport")
    assert "<li>a &lt; b &amp; c</li>" in diagnostic["text"]["div"]


def test_changes_stand_below_the_study_they_are_measured_from(case) -> None:
    gain = results.LevelChange(
        level="L1",
        registration_error=Quantity(value=0.4, unit="mm"),
        height_gain={"anterior": Quantity(value=3.5, unit="mm")},
        height_change=NotMeasured(reason="none fell"),
        height_loss_change=NotMeasured(reason="no reference"),
        wedge_change=Quantity(value=-4.0, unit="deg"),
        kyphosis_change=Quantity(value=-3.0, unit="deg"),
        grade_before=2,
        grade_after=1,
    )
    change = results.ChangeFinding(
        pre_study="1.2.3", days=4, modality="ct", registration_error=Quantity(value=0.4, unit="mm"), levels=(gain,),
        new_fractures=(),
    )  # fmt: skip
    made = study_bundle(replace(case.report, change=change))
    whole = observation(made, "Change since the study before")
    assert component(whole, "Study Instance UID")["valueString"] == "1.2.3"
    assert component(whole, "Days between")["valueQuantity"] == {
        "value": 4.0, "unit": "d", "system": "http://unitsofmeasure.org", "code": "d",
    }  # fmt: skip
    level = observation(made, "Change of L1")
    assert f"urn:uuid:{level['id']}" in references(whole["hasMember"])
    assert observation(made, "Change of L1: Height gained, anterior")["valueQuantity"]["value"] == 3.5


@pytest.mark.parametrize("record", [one for one in vars(records).values() if isinstance(one, Record)])
def test_no_field_is_forgotten(record: Record[Any]) -> None:
    """A reason can stand in every field; only the kinds that are left to others may stay without a word of it."""
    for name, shape in record.rows.items():
        if isinstance(shape, (*LEFT_TO_OTHERS, Inline, Sections, Many)) or name in ("level", "image"):
            continue

        missing = NotMeasured(reason="why")
        value = dict.fromkeys(shape.concepts, missing) if isinstance(shape, ByName) else missing
        assert list(facts_of({name: shape}, SimpleNamespace(**{name: value}))), f"{record.kind.__name__}.{name}"


def test_decimals_carry_no_more_digits_than_were_measured(case) -> None:
    angle = replace(case.report.angles[0], angle=Quantity(value=17.123456789, unit="deg"))
    made = study_bundle(replace(case.report, angles=(angle,)))
    (found,) = [one for one in resources(made, "Observation") if re.search(": Angle$", one["code"]["text"])]
    assert found["valueQuantity"]["value"] == 17.12
