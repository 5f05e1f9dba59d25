"""Structured reports: nothing is lost on the way back, other people's readers read them, points lie where they lay."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
import typing
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from pydicom import Dataset, dcmread

from strategies import CT_IMAGES, CT_SERIES, FILM_IMAGES, STUDY, study_reports
from vertecast.core import report_json, results
from vertecast.core.errors import OutputError, UnreadableError, UnsupportedError
from vertecast.core.results import ImageReference, NotMeasured, SeriesResult, StudyReport
from vertecast.report.dicom import codes, items, records
from vertecast.report.dicom.identity import result_uid
from vertecast.report.dicom.read_sr import read_document, report_of
from vertecast.report.dicom.shapes import Choice, Record
from vertecast.report.dicom.source import SourceStudy
from vertecast.report.dicom.sr import structured_report

POINT_TOLERANCE_MM = 2e-4
"""Points are kept in 32 bits: half a step at 4,000."""

needs_validators = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("dciodvfy", "dcentvfy", "dsrdump", "dsr2html", "dcm2json")),
    reason="dicom3tools and dcmtk are not installed; scripts/install_system.sh test installs them",
)


def written(report: StudyReport, source: SourceStudy) -> Dataset:
    """The structured report as a file holds it."""
    file = io.BytesIO()
    structured_report(report, source).save_as(file, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


POINT_FIELDS = ("center_lps_mm", "center_px", "six_points_lps_mm", "six_points_px", "point_lps_mm", "point_px")


def differences(wanted: Any, found: Any, path: str = "report", *, is_point: bool = False) -> list[str]:
    """Where two reports differ; coordinates may do so by what their format cannot hold."""
    if type(wanted) is not type(found):
        return [f"{path}: {wanted!r} became {found!r}"]
    if dataclasses.is_dataclass(wanted):
        names = [field.name for field in dataclasses.fields(wanted)]
        parts = [(name, getattr(wanted, name), getattr(found, name)) for name in names]
    elif isinstance(wanted, dict) and wanted.keys() == found.keys():
        parts = [(str(key), wanted[key], found[key]) for key in wanted]
    elif isinstance(wanted, tuple) and len(wanted) == len(found):
        parts = [(str(n), *pair) for n, pair in enumerate(zip(wanted, found, strict=True))]
    else:
        close = is_point and isinstance(wanted, float) and abs(wanted - found) <= POINT_TOLERANCE_MM
        return [] if close or wanted == found else [f"{path}: {wanted!r} became {found!r}"]
    return [
        line
        for name, *pair in parts
        for line in differences(*pair, f"{path}.{name}", is_point=is_point or name in POINT_FIELDS)
    ]


@pytest.fixture(scope="session")
def report(case, source: SourceStudy) -> StudyReport:
    """The simulated patient, its series and images those of the source."""

    def moved(finding: Any) -> Any:
        return replace(finding, series_instance_uid=CT_SERIES)

    return replace(
        case.report,
        study_instance_uid=STUDY,
        series=(replace(case.report.series[0], series_instance_uid=CT_SERIES), *case.report.series[1:]),
        vertebrae=tuple(map(moved, case.report.vertebrae)),
        angles=tuple(map(moved, case.report.angles)),
        cement=tuple(map(moved, case.report.cement)),
        leaks=tuple(
            replace(leak, evidence=replace(moved(leak.evidence), sop_instance_uid=CT_IMAGES[1]))
            for leak in case.report.leaks
        ),
    )


@pytest.fixture(scope="session")
def dataset(report: StudyReport, source: SourceStudy) -> Dataset:
    """Its structured report; not to be changed."""
    return written(report, source)


# Shrinking a report takes minutes; the differing part is printed anyway.
@settings(
    deadline=None,
    max_examples=12,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(report=study_reports)
def test_nothing_is_lost_on_the_way_there_and_back(source: SourceStudy, report: StudyReport) -> None:
    assert differences(report, report_of(written(report, source))) == []


def _records() -> list[Record[Any]]:
    return [value for value in vars(records).values() if isinstance(value, Record)]


def test_every_field_of_every_result_has_a_row() -> None:
    rows = {record.kind: set(record.rows) for record in _records()}
    own = {*records.OVERVIEW, *records.FINDINGS, *records.SECTIONS, "study_instance_uid"}
    rows[StudyReport] = own
    # Quantities, images and points of growth are values of a field and have a shape of their own.
    values = (results.Quantity, NotMeasured, ImageReference, results.GrowthPoint, results.LevelAssignment)
    for name, kind in _dataclasses(results).items():
        if kind not in values:
            assert kind in rows, f"{name} has no record"
            assert rows[kind] == {field.name for field in dataclasses.fields(kind)}, name


def _dataclasses(module: ModuleType) -> dict[str, type]:
    return {name: kind for name, kind in vars(module).items() if dataclasses.is_dataclass(kind)}


def test_every_word_of_a_field_has_a_code() -> None:
    for record in _records():
        types = typing.get_type_hints(record.kind, vars(results))
        for name, shape in record.rows.items():
            words = set(_words(types[name]))
            if isinstance(shape, Choice) and words:
                assert words <= set(shape.vocabulary), (record.kind, name)


def _words(hint: Any) -> list[Any]:
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    return [word for part in typing.get_args(hint) for word in _words(part)]


def test_codes_fit_their_elements_and_each_means_one_thing() -> None:
    concepts = [value for value in vars(codes).values() if isinstance(value, codes.Concept)]
    for table in vars(codes).values():
        if isinstance(table, dict):
            concepts += [value for value in table.values() if isinstance(value, codes.Concept)]
    meanings: dict[tuple[str, str], str] = {}
    for concept in concepts:
        assert len(concept.value) <= 16, concept
        assert len(concept.meaning) <= 64, concept
        assert meanings.setdefault(concept.key, concept.meaning) == concept.meaning, concept
    fields = [shape.concept.key for record in _records() for shape in record.rows.values() if hasattr(shape, "concept")]
    assert fields


def test_concepts_of_a_group_are_told_apart() -> None:
    for record in _records():
        keys = [
            (shape.concept.key, getattr(shape, "value_type", ""))
            for shape in record.rows.values()
            if hasattr(shape, "concept")
        ]
        assert len(keys) == len(set(keys)), record.kind


@needs_validators
def test_validators_find_no_error_and_readers_read_it(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    dataset.save_as(path, enforce_file_format=True)
    for tool in ("dciodvfy", "dcentvfy"):
        said = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
        lines = (said.stdout + said.stderr).splitlines()
        wrong = [line for line in lines if line.startswith(("Error", "Warning")) and codes.PRIVATE_SCHEME not in line]
        assert not wrong
    page = tmp_path / "sr.html"
    subprocess.run(["dsr2html", "+U8", str(path), str(page)], check=True, capture_output=True)
    text = page.read_text(encoding="utf-8")
    for expected in (
        "wedge fracture, 34 % anterior loss",
        "Genant grade",
        "Moderate",
        "Disc above",
        "cut by the edge",
        report_json.DISCLAIMER,
        "Müller",
    ):
        assert expected in text
    for tool in ("dsrdump", "dcm2json"):
        subprocess.run([tool, str(path)], check=True, capture_output=True)


def test_points_lie_in_the_frame_of_reference_of_the_ct(report: StudyReport, dataset: Dataset) -> None:
    """Read with pydicom alone: the anterior point of the superior endplate of L1."""
    fractured = next(vertebra for vertebra in report.vertebrae if vertebra.level == "L1")
    group = _group(dataset, "L1 vertebral body")
    [point] = [
        item
        for item in group.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Superior endplate, anterior"
    ]
    assert (point.ValueType, point.GraphicType) == ("SCOORD3D", "POINT")
    assert point.ReferencedFrameOfReferenceUID == f"{STUDY}.99"
    assert isinstance(fractured.six_points_lps_mm, dict)
    expected = fractured.six_points_lps_mm["superior"]["anterior"]
    np.testing.assert_allclose(point.GraphicData, expected, atol=POINT_TOLERANCE_MM)


def test_a_point_in_a_picture_counts_from_the_corner_of_its_frame(report: StudyReport, source: SourceStudy) -> None:
    film = replace(
        report.vertebrae[1],
        center_lps_mm=None,
        six_points_lps_mm=None,
        center_px=(100.0, 30.0),
        six_points_px=NotMeasured(reason="oblique"),
        image=ImageReference(sop_instance_uid=FILM_IMAGES[1], frame_number=4),
    )
    series = SeriesResult(series_instance_uid=CT_SERIES, kind="cine", view="lateral", status="analyzed", reason="")
    films = StudyReport(
        study_instance_uid=STUDY, phase="pre", phase_source="no cement seen", series=(series,), vertebrae=(film,)
    )
    dataset = written(films, source)
    assert dataset.SOPClassUID.name == "Comprehensive SR Storage"
    [point] = [item for item in _group(dataset, "T12 vertebral body").ContentSequence if item.ValueType == "SCOORD"]
    assert list(point.GraphicData) == [100.5, 30.5]
    reference = point.ContentSequence[0].ReferencedSOPSequence[0]
    assert (reference.ReferencedSOPInstanceUID, reference.ReferencedFrameNumber) == (FILM_IMAGES[1], 4)
    nowhere = replace(film, image=ImageReference(sop_instance_uid="1.2.3", frame_number=1))
    with pytest.raises(OutputError, match="names no image"):
        structured_report(replace(films, vertebrae=(nowhere,)), source)


def test_patient_study_and_evidence_are_those_of_the_source(dataset: Dataset, source: SourceStudy) -> None:
    for keyword in ("PatientName", "PatientID", "PatientAge", "StudyDate", "StudyDescription", "AccessionNumber"):
        assert dataset[keyword].value == source.header[keyword].value, keyword
    assert (dataset.Modality, dataset.CompletionFlag, dataset.PreliminaryFlag) == ("SR", "COMPLETE", "PRELIMINARY")
    referenced = [
        instance.ReferencedSOPInstanceUID
        for study in dataset.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]
    assert sorted(referenced) == sorted((*CT_IMAGES, *FILM_IMAGES))


def test_the_same_results_have_the_same_uids_and_others_have_others(
    report: StudyReport, source: SourceStudy, dataset: Dataset
) -> None:
    first, again = dataset, written(report, source)
    other = written(replace(report, warnings=("streaks",)), source)
    assert first.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert first.SeriesInstanceUID == other.SeriesInstanceUID
    tracking = [group.ContentSequence[1].UID for group in _groups(first)]
    assert len(set(tracking)) == len(tracking)
    assert tracking == [group.ContentSequence[1].UID for group in _groups(other)]
    assert result_uid(STUDY, "ab", "c") != result_uid(STUDY, "a", "bc")
    assert len(result_uid(STUDY, "sr")) <= 64


def test_a_number_is_short_for_the_reader_and_exact_for_the_machine() -> None:
    item = items.number_item(codes.HEIGHT, 1 / 3, "mm").MeasuredValueSequence[0]
    assert str(item.NumericValue) == "0.3333"
    assert item.FloatingPointValue == 1 / 3
    assert str(items.number_item(codes.FRAME_NUMBER, 90, "1").MeasuredValueSequence[0].NumericValue) == "90"


def test_read_back_as_the_document_that_was_written(report: StudyReport, source: SourceStudy, tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    exact = replace(report, vertebrae=(), leaks=())
    structured_report(exact, source).save_as(path, enforce_file_format=True)
    content = read_document(path)
    report_json.validate(content)
    assert json.loads(json.dumps(content)) == json.loads(json.dumps(report_json.to_document(exact)))


def test_other_files_are_refused_with_a_reason(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    with pytest.raises(UnreadableError, match="check the path"):
        read_document(path)
    path.write_text("no DICOM")
    with pytest.raises(UnreadableError, match="no DICOM file"):
        read_document(path)
    other = deepcopy(dataset)
    other.ManufacturerModelName = "Other"
    other.save_as(path)
    with pytest.raises(UnsupportedError, match=r"no structured report of Vertecast; give the sr\.dcm"):
        read_document(path)
    damaged = deepcopy(dataset)
    del _groups(damaged)[0].ContentSequence
    damaged.save_as(path)
    with pytest.raises(UnreadableError, match="damaged"):
        read_document(path)


def _groups(dataset: Dataset) -> list[Dataset]:
    [measurements] = items.named(dataset.ContentSequence, codes.IMAGING_MEASUREMENTS)
    return items.named(measurements.ContentSequence, codes.MEASUREMENT_GROUP)


def _group(dataset: Dataset, label: str) -> Dataset:
    return next(group for group in _groups(dataset) if group.ContentSequence[0].TextValue == label)
