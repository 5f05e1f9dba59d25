"""report.json: the round trip, the schema, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertecast.anatomy import Compartment, Level, YeomType
from vertecast.errors import OutputError, UnsupportedError
from vertecast.reports import document
from vertecast.results import (
    AngleFinding,
    CementFinding,
    DeformityIndex,
    Evidence,
    HardwareFinding,
    HeightReference,
    LeakFinding,
    ModelUsed,
    NotMeasured,
    Quantity,
    SeriesResult,
    StudyReport,
    VertebraFinding,
)

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
texts = st.text(min_size=1, max_size=8)
reasons = st.builds(NotMeasured, reason=texts)
units = st.sampled_from(["mm", "deg", "mL", "mm2", "[hnsf'U]", "1"])
measured = reasons | st.builds(Quantity, value=numbers, unit=units, interval95=st.none() | st.tuples(numbers, numbers))
shares = st.floats(0, 1)
points = st.tuples(numbers, numbers, numbers)
levels = st.sampled_from([level.name for level in Level]) | st.integers(1, 30).map("V{}".format)
three = st.fixed_dictionaries(dict.fromkeys(("anterior", "middle", "posterior"), points))
places = st.fixed_dictionaries(dict.fromkeys(("anterior", "middle", "posterior"), measured))
grades = st.integers(0, 3)
vertebrae = st.builds(
    VertebraFinding,
    series_instance_uid=texts,
    level=levels,
    level_confidence=shares,
    level_source=st.sampled_from(["sacrum", "ribs", "sacrum+ribs", "operator", "unknown"]),
    center_lps_mm=points,
    six_points_lps_mm=reasons | st.fixed_dictionaries({"superior": three, "inferior": three}),
    heights=places,
    ratios=st.fixed_dictionaries(dict.fromkeys(("wedge", "biconcave", "crush"), measured)),
    height_loss=measured,
    reference=st.builds(HeightReference, levels=st.lists(levels, max_size=2).map(tuple)),
    wedge_angle=measured,
    deformity=reasons | st.sampled_from(["none", "wedge", "biconcave", "crush"]),
    genant_grade=reasons | grades,
    genant_grade_range=reasons | st.tuples(grades, grades),
    volume=measured,
    density=measured,
    cleft=measured,
    canal_compromise=measured,
    retropulsion=measured,
    confidence=shares,
)
cement = st.builds(
    CementFinding,
    id=texts,
    series_instance_uid=texts,
    level=levels,
    volume=measured,
    volume_inside=measured,
    fill_fraction=measured,
    pattern=reasons | st.sampled_from(["compact", "interdigitated"]),
    endplate_contact=reasons | st.sampled_from(["none", "superior", "inferior", "both"]),
    crosses_midline=reasons | st.booleans(),
    thirds_filled=reasons | st.none() | places,
    thirds_of_cement=reasons | st.none() | places,
    gas_beside=st.none() | measured,
    confidence=shares,
)
leaks = st.builds(
    LeakFinding,
    cement_id=texts,
    level=levels,
    compartment=st.sampled_from(Compartment),
    yeom_type=reasons | st.sampled_from(YeomType),
    volume=measured,
    farthest=measured,
    canal_distance=measured,
    canal_contact=st.none() | reasons | st.booleans(),
    canal_fill=st.none() | measured,
    disc_crossed=st.none() | measured,
    neighbour_contact=st.none() | reasons | st.booleans(),
    evidence=st.builds(Evidence, series_instance_uid=texts, slice_number=st.integers(1, 999), point_lps_mm=points),
    confidence=shares,
)


def some(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=2).map(tuple)


reports = st.builds(
    StudyReport,
    study_instance_uid=texts,
    series=some(st.builds(SeriesResult, series_instance_uid=texts)),
    models=some(st.builds(ModelUsed)),
    vertebrae=some(vertebrae),
    angles=some(st.builds(AngleFinding, series_instance_uid=texts, angle=measured)),
    deformity_indices=some(
        st.builds(
            DeformityIndex,
            series_instance_uid=texts,
            index=reasons | st.integers(0, 39),
            index_range=reasons | st.tuples(st.integers(0, 39), st.integers(0, 39)),
            graded=st.integers(0, 13),
            levels=st.just(13),
        )
    ),
    cement=some(cement),
    leaks=some(leaks),
    hardware=some(st.builds(HardwareFinding, series_instance_uid=texts, volume=measured, center_lps_mm=points)),
    limits=some(texts),
    warnings=some(texts),
)


@given(reports)
def test_a_report_survives_the_way_through_json(report: StudyReport) -> None:
    written = document.to_document(report)
    document.validate(written)
    assert document.from_document(json.loads(json.dumps(written))) == report


def test_keys_and_disclaimer(case) -> None:
    written = document.to_document(case.report)
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
    written = document.to_document(replace(case.report, angles=(angle,)))
    document.validate(written)
    assert written["angles"][0]["angle"]["value"] == 17.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(case, value: float) -> None:
    angle = replace(case.report.angles[0], angle=Quantity(value=value, unit="deg"))
    with pytest.raises(OutputError, match="JSON"):
        document.validate(document.to_document(replace(case.report, angles=(angle,))))


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
    written = json.loads(json.dumps(document.to_document(case.report)))
    *parents, last = path
    target = written
    for key in parents:
        target = target[key]
    target[last] = value
    with pytest.raises(OutputError, match=str(last)) as caught:
        document.validate(written)
    assert f"'{value}'" not in str(caught.value)
    with pytest.raises(UnsupportedError, match=str(last)):
        document.from_document(written)


def test_an_unknown_key_is_refused(case) -> None:
    written = {**document.to_document(case.report), "patient_name": "x"}
    with pytest.raises(OutputError, match="additionalProperties"):
        document.validate(written)
    with pytest.raises(UnsupportedError):
        document.from_document({})
