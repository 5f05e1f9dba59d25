"""All DICOM objects of a study: valid, of one study, the same in a second run, and no input to a third."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread

from dicom_judges import complaints, entity_complaints
from fakes import SECRET_NAME, BlockFilmSegmenter, BlockSegmenter, write_dicom, write_film
from phantoms.xray import projection, save_one
from vertecast.core.config import Config, DicomOptions
from vertecast.core.images import OWN_RESULT
from vertecast.core.study_result import StudyResult
from vertecast.io.discover import StudyFiles, find_studies
from vertecast.report import outputs
from vertecast.report.dicom.identity import digest, result_uid
from vertecast.report.html import printing
from vertecast.study import analyze_study

DATES = ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime", "ContributionDateTime")


STUDY = {
    "PatientBirthDate": "19500203", "PatientSex": "F", "PatientAge": "073Y", "PatientWeight": "61",
    "StudyDate": "20240108", "StudyTime": "101500", "StudyID": "7", "AccessionNumber": "A77",
    "ReferringPhysicianName": "Doctor^No", "StudyDescription": "Spine", "BodyPartExamined": "LSPINE",
    "PositionReferenceIndicator": "",
}  # fmt: skip
"""What the modules of patient and study hold in a sound image."""


def completed(path: Path) -> Path:
    """The same image with the patient and study modules of a sound one."""
    image = dcmread(path)
    for keyword, value in STUDY.items():
        setattr(image, keyword, value)
    image.save_as(path)
    return path


def analyzed(folder: Path) -> StudyResult:
    [study] = find_studies([folder])
    assert isinstance(study, StudyFiles)
    return analyze_study(study, Config(), BlockSegmenter(), BlockFilmSegmenter)


def written(result: StudyResult, folder: Path, options: DicomOptions | None = None) -> list[Path]:
    """The DICOM objects of a study."""
    names = outputs.write_study(replace(result, height_maps=(), canal=None), folder, dicom=options or DicomOptions())
    return [folder / name for name in names if name.endswith(".dcm")]


def write_block_film(folder: Path, **attributes: str) -> Path:
    """The picture of three boxes as a digital radiograph."""
    picture = write_film(folder / "film.png")
    values = np.asarray(Image.open(picture)).astype(int)
    picture.unlink()
    image = projection(values, "DX", PatientOrientation=["A", "F"], **attributes)
    image.PixelIntensityRelationshipSign = -1
    return completed(save_one(image, folder / "film"))


@pytest.fixture(scope="module")
def ct_study(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], StudyResult, list[Path]]:
    folder = tmp_path_factory.mktemp("study")
    sources = [completed(path) for path in write_dicom(folder / "ct")]
    result = analyzed(folder / "ct")
    return sources, result, written(result, folder / "out")


def test_a_ct_gives_a_segmentation_its_pictures_and_the_report(ct_study) -> None:
    sources, _, objects = ct_study
    assert [path.name for path in objects] == [
        "capture_1.dcm",
        "capture_2.dcm",
        "report_pdf.dcm",
        "seg_1.dcm",
        "sr.dcm",
    ]
    source = dcmread(sources[0])
    for path in objects:
        item = dcmread(path)
        assert complaints(path) == [], path
        assert item.StudyInstanceUID == source.StudyInstanceUID
        assert item.SeriesInstanceUID != source.SeriesInstanceUID
        assert (item.PatientName, item.PatientID) == (SECRET_NAME, source.PatientID)
        assert (item.AccessionNumber, item.PatientAge, item.StudyDescription) == ("A77", "073Y", "Spine")
        assert item.ManufacturerModelName == "Vertecast"
        assert item.get("BurnedInAnnotation", "NO") == "NO"
    assert entity_complaints([*sources, *objects]) == []


def _findings_and_segments(folder: Path) -> tuple[dict[str, Dataset], dict[str, tuple[str, Dataset]]]:
    """Measurement groups by their tracking UID, and segments with their object by theirs."""
    [measurements] = [item for item in dcmread(folder / "sr.dcm").ContentSequence if _name(item) == "126010"]
    groups = {
        next(str(item.UID) for item in group.ContentSequence if _name(item) == "112040"): group
        for group in measurements.ContentSequence
    }
    segments = {}
    for path in sorted(folder.glob("seg_*.dcm")):
        segmentation = dcmread(path)
        segments |= {str(one.TrackingUID): (segmentation.SOPInstanceUID, one) for one in segmentation.SegmentSequence}
    return groups, segments


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def _named_segments(group: Dataset) -> list[tuple[str, int]]:
    references = [item.ReferencedSOPSequence[0] for item in group.ContentSequence if _name(item) == "121191"]
    return [(reference.ReferencedSOPInstanceUID, reference.ReferencedSegmentNumber) for reference in references]


def test_a_finding_and_its_segment_share_their_tracking_uid(ct_study) -> None:
    _, result, objects = ct_study
    groups, segments = _findings_and_segments(objects[0].parent)
    assert len(result.report.vertebrae) >= 2
    for uid, (sop_instance_uid, segment) in segments.items():
        assert _named_segments(groups[uid]) == [(sop_instance_uid, segment.SegmentNumber)]
        [source] = [item for item in groups[uid].ContentSequence if _name(item) == "121232"]
        assert result.report.series[0].series_instance_uid == source.UID
        assert segment.TrackingID == groups[uid].ContentSequence[0].TextValue
    assert {segment.TrackingID for _, segment in segments.values()} >= {
        f"{vertebra.level} vertebral body" for vertebra in result.report.vertebrae
    }
    for uid in groups.keys() - segments.keys():
        assert _named_segments(groups[uid]) == [], "what is shown by no segment names none"
    evidence = dcmread(objects[0].parent / "sr.dcm").CurrentRequestedProcedureEvidenceSequence[0]
    named = {
        one.ReferencedSOPInstanceUID
        for series in evidence.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert {sop_instance_uid for sop_instance_uid, _ in segments.values()} <= named


def test_a_report_names_the_one_that_it_replaces(ct_study, tmp_path: Path) -> None:
    _, result, _ = ct_study
    read = []
    for warning in ("", "", "late slices", "more of them", "more of them"):
        report = replace(result.report, warnings=(warning,) if warning else ())
        written(replace(result, report=report), tmp_path / "x")
        read.append(dcmread(tmp_path / "x" / "sr.dcm"))
    first, same, second, third, again = read
    assert same.SOPInstanceUID == first.SOPInstanceUID
    assert third.SOPInstanceUID == again.SOPInstanceUID != second.SOPInstanceUID
    assert [int(one.InstanceNumber) for one in read] == [1, 1, 2, 3, 3]
    assert "PredecessorDocumentsSequence" not in first
    for one, before in ((second, first), (third, second), (again, second)):
        [study] = one.PredecessorDocumentsSequence
        [series] = study.ReferencedSeriesSequence
        [reference] = series.ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == before.SOPInstanceUID
        assert series.SeriesInstanceUID == one.SeriesInstanceUID == before.SeriesInstanceUID
    assert complaints(tmp_path / "x" / "sr.dcm") == []
    (tmp_path / "x" / "sr.dcm").write_bytes(b"damaged")
    written(result, tmp_path / "x")
    assert dcmread(tmp_path / "x" / "sr.dcm").InstanceNumber == 1


def test_pictures_and_report_come_back_as_they_were(ct_study) -> None:
    _, _, objects = ct_study
    folder = objects[0].parent
    capture = dcmread(folder / "capture_2.dcm")
    with Image.open(folder / "images" / "coronal.png") as picture:
        assert {np.array_equal(capture.pixel_array, np.asarray(picture.convert("RGB")))} == {True}
    wrapped, pdf = dcmread(folder / "report_pdf.dcm"), (folder / "report.pdf").read_bytes()
    assert wrapped.EncapsulatedDocument[: wrapped.EncapsulatedDocumentLength] == pdf
    assert wrapped.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert pdf.startswith(b"%PDF")
    assert SECRET_NAME.encode() not in pdf


def test_a_second_run_gives_the_same_objects_apart_from_their_dates(ct_study, tmp_path: Path) -> None:
    sources, _, first = ct_study
    second = written(analyzed(sources[0].parent), tmp_path / "again")

    def content(path: Path) -> Dataset:
        item = dcmread(path)
        for owner in (item, *item.get("ContributingEquipmentSequence", ())):
            for keyword in DATES:
                if keyword in owner:
                    delattr(owner, keyword)
        return item

    for old, new in zip(first, second, strict=True):
        assert content(old) == content(new), old.name
        assert content(old).file_meta == content(new).file_meta


def test_our_own_results_are_no_input_and_change_nothing(ct_study, tmp_path: Path) -> None:
    sources, result, objects = ct_study
    folder = tmp_path / "pulled"
    folder.mkdir()
    for path in (*sources, *objects):
        (folder / f"{hashlib.sha256(str(path).encode()).hexdigest()}.dcm").write_bytes(path.read_bytes())
    again = analyzed(folder)
    skipped = [one for one in again.report.series if one.status == "skipped"]
    assert {one.reason for one in skipped} == {OWN_RESULT}
    assert len(skipped) == 4
    assert again.report.vertebrae == result.report.vertebrae
    uids = [{dcmread(path).SOPInstanceUID for path in paths} for paths in (objects, written(again, tmp_path / "out"))]
    assert uids[0] == uids[1], "a study that came back with its results would grow in the archive from run to run"


@pytest.mark.parametrize(("told", "said"), [("YES", "YES"), ("NO", "NO"), (None, None)])
def test_what_is_burned_into_a_film_is_told_of_its_picture(told: str | None, said: str | None, tmp_path: Path) -> None:
    source = write_block_film(tmp_path, **({"BurnedInAnnotation": told} if told else {}))
    result = analyzed(tmp_path / "film")
    assert result.status == "analyzed"
    objects = {path.name: path for path in written(result, tmp_path / "out")}
    assert set(objects) == {"capture_1.dcm", "report_pdf.dcm", "seg_1.dcm", "sr.dcm"}
    assert dcmread(objects["capture_1.dcm"]).get("BurnedInAnnotation") == said
    segmentation = dcmread(objects["seg_1.dcm"])
    assert [item.SegmentLabel for item in segmentation.SegmentSequence] == [f"V{n} vertebral body" for n in (1, 2, 3)]
    assert str(dcmread(objects["sr.dcm"])).count("'POLYLINE'") == 3, "each body is outlined"
    groups, segments = _findings_and_segments(tmp_path / "out")
    assert len(segments) == 3
    for uid, (sop_instance_uid, segment) in segments.items():
        assert _named_segments(groups[uid]) == [(sop_instance_uid, segment.SegmentNumber)]
        [image] = [item for item in groups[uid].ContentSequence if _name(item) == "121233"]
        assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == dcmread(source).SOPInstanceUID
    assert all(complaints(path) == [] for path in objects.values())
    assert entity_complaints([source, *objects.values()]) == []


def test_a_film_of_a_hip_protocol_without_orientation_gives_sound_objects(tmp_path: Path) -> None:
    source = write_block_film(tmp_path)
    image = dcmread(source)
    image.BodyPartExamined = "HIP"
    del image.PatientOrientation
    image.save_as(source)
    objects = written(analyzed(tmp_path / "film"), tmp_path / "out")
    assert len(objects) == 4
    assert [complaint for path in objects for complaint in complaints(path)] == []
    assert dcmread(tmp_path / "out" / "capture_1.dcm").BodyPartExamined == "SPINE"


def test_no_warning_of_a_library_quotes_the_name(tmp_path: Path) -> None:
    source = write_block_film(tmp_path)
    image = dcmread(source)
    image.PatientName = "Onlyname"  # highdicom warns of names without a given name, and quotes them
    image.save_as(source)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert written(analyzed(tmp_path / "film"), tmp_path / "out")
    assert not [one for one in said if "Onlyname" in str(one.message)]


def test_segmentations_are_label_maps_where_the_configuration_says_so(tmp_path: Path) -> None:
    write_block_film(tmp_path)
    result = analyzed(tmp_path / "film")
    written(result, tmp_path / "out", DicomOptions(segmentation="labelmap"))
    segmentation = dcmread(tmp_path / "out" / "seg_1.dcm")
    assert (segmentation.SegmentationType, segmentation.NumberOfFrames) == ("LABELMAP", 1)
    assert [item.SegmentNumber for item in segmentation.SegmentSequence] == [0, 1, 2, 3]


def test_a_study_without_uids_of_its_own_gives_no_objects(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path / "ct"):
        image = dcmread(path)
        image.StudyInstanceUID = ""
        image.save_as(path)
    result = analyzed(tmp_path / "ct")
    assert result.status == "analyzed"
    assert written(result, tmp_path / "out") == []


def test_without_pango_there_is_a_warning_in_place_of_the_pdf(ct_study, monkeypatch, tmp_path: Path) -> None:
    _, result, _ = ct_study
    monkeypatch.setattr(printing, "can_print", lambda: False)
    objects = written(replace(result, volume=None), tmp_path / "out")
    assert [path.name for path in objects if "report" in path.name] == []
    assert "Pango" in (tmp_path / "out" / "report.json").read_text()


def test_uids_depend_on_every_part_and_on_nothing_else() -> None:
    assert result_uid("1.2", "a", "b") == result_uid("1.2", "a", "b")
    assert len({result_uid("1.2", *parts) for parts in (("a", "b"), ("ab",), ("b", "a"), ("a", "b", ""))}) == 4
    assert len(result_uid("1.2", "a")) <= 64
    assert digest("a", b"b") != digest("ab")
