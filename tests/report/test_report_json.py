"""report.json: the round trip, the schema, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from strategies import study_reports
from vertecast.core import report_json
from vertecast.core.errors import OutputError, UnsupportedError
from vertecast.core.results import Quantity, StudyReport


@given(study_reports)
def test_a_report_survives_the_way_through_json(report: StudyReport) -> None:
    written = report_json.to_document(report)
    report_json.validate(written)
    assert report_json.from_document(json.loads(json.dumps(written))) == report


def test_keys_and_disclaimer(case) -> None:
    written = report_json.to_document(case.report)
    assert written["limits"][0] == "Research use only. Not a medical device."
    assert written["study"] == {
        "study_instance_uid": case.report.study_instance_uid,
        "phase": "post",
        "phase_source": "cement seen",
    }
    fractured = written["vertebrae"][2]
    assert fractured["height_loss"] == {"value": 0.34, "unit": "1", "interval95": pytest.approx([0.31, 0.37])}
    assert fractured["density"] == {"not_measured": "cement in the body"}
    assert len(fractured["six_points_lps_mm"]["superior"]["anterior"]) == 3
    assert set(written["leaks"][0]["evidence"]) == {"series_instance_uid", "slice", "sop_instance_uid", "point"}


def test_numpy_numbers_are_written_as_numbers(case) -> None:
    angle = replace(case.report.angles[0], angle=Quantity(value=np.float32(17.5), unit="deg"))
    written = report_json.to_document(replace(case.report, angles=(angle,)))
    report_json.validate(written)
    assert written["angles"][0]["angle"]["value"] == 17.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(case, value: float) -> None:
    angle = replace(case.report.angles[0], angle=Quantity(value=value, unit="deg"))
    with pytest.raises(OutputError, match="JSON"):
        report_json.validate(report_json.to_document(replace(case.report, angles=(angle,))))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), "0.9"),
        (("vertebrae", 0, "level"), "L7"),
        (("vertebrae", 0, "genant_grade"), 4),
        (("vertebrae", 1, "heights", "middle"), {"value": 1.0, "unit": "cm", "interval95": None}),
        (("leaks", 0, "compartment"), "elsewhere"),
        (("leaks", 0, "evidence", "slice"), 0),
    ],
)
def test_what_breaks_the_schema_is_named_but_not_quoted(case, path: tuple, value: object) -> None:
    written = json.loads(json.dumps(report_json.to_document(case.report)))
    *parents, last = path
    target = written
    for key in parents:
        target = target[key]
    target[last] = value
    with pytest.raises(OutputError, match=str(last)) as caught:
        report_json.validate(written)
    assert f"'{value}'" not in str(caught.value)
    with pytest.raises(UnsupportedError, match=str(last)):
        report_json.from_document(written)


def test_an_unknown_key_is_refused(case) -> None:
    written = {**report_json.to_document(case.report), "patient_name": "x"}
    with pytest.raises(OutputError, match="additionalProperties"):
        report_json.validate(written)
    with pytest.raises(UnsupportedError):
        report_json.from_document({})
