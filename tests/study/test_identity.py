"""Whom outputs name: nobody, the patient where the operator asks for it, or a pseudonym."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from dicom_judges import complaints, entity_complaints
from fakes import HERE, BlockFilmSegmenter, load_blocks, write_dicom, write_film
from phantoms.xray import projection, save_one
from vertecast.core.config import SegmentationOptions
from vertecast.run.batch import BatchResult, run_batch
from vertecast.run.engine import Engine
from vertecast.study.deidentify import PIXELS_LEFT_OUT


def load_films(_options: SegmentationOptions) -> BlockFilmSegmenter:
    return BlockFilmSegmenter()


ENGINE = Engine(load=load_blocks, weights="blocks", load_projection=load_films)
IDENTIFYING = {
    "PatientName": "Doerfler^Joanna", "PatientID": "PID-4711", "PatientBirthDate": "19430217", "PatientSex": "F",
    "IssuerOfPatientID": "Clinic-North", "OtherPatientNames": "Miller^Joanna", "PatientAddress": "12 Some Lane",
    "AccessionNumber": "ACC-9988", "StudyID": "STID-77", "StudyDescription": "Spine of Doerfler",
    "SeriesDescription": "Doerfler axial", "ReferringPhysicianName": "Doktorowski^Nemo", "InstitutionName": "Elsewhere",
    "StationName": "CT-ROOM-5", "OperatorsName": "Opfermann^Anneliese", "PatientComments": "knows the mayor",
    "PatientAge": "081Y", "PatientBirthDateInAlternativeCalendar": "Showa18", "PositionReferenceIndicator": "DoerflerX",
    "PerformedProcedureStepID": "PPS-31", "RequestingService": "Ward Seven", "BodyPartExamined": "DOERFLERSPINE",
}  # fmt: skip


def run(paths: list[Path], out: Path, *, compare: bool = False, **output: Any) -> BatchResult:
    return run_batch(paths, out, HERE.with_overrides({"output": output}), ENGINE, compare=compare)


def write_study(folder: Path, study: int, date: str) -> set[str]:
    """A CT whose headers identify the patient everywhere; every text that does."""
    texts = {*IDENTIFYING.values(), date}
    for path in write_dicom(folder, study=study, date=date):
        image = dcmread(path)
        for keyword, value in IDENTIFYING.items():
            setattr(image, keyword, value)
        image.StudyTime = "101500"
        texts |= {str(image[f"{name}UID"].value) for name in ("StudyInstance", "SOPInstance", "FrameOfReference")}
        texts.add(str(image.SeriesInstanceUID))
        image.save_as(path)
    names = {part for text in texts for part in text.split("^")}
    # A few letters stand in any compressed picture by chance.
    return {text for text in texts | names if len(text) > 5}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, with what is compressed in it, and the names of all."""
    found = {}
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        unpacked = gzip.decompress(data) if path.suffix == ".gz" else b""
        if path.suffix == ".pdf":
            unpacked = b"".join(map(inflated, re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL)))
        found[str(path.relative_to(folder))] = str(path.relative_to(folder)).encode() + data + unpacked
    return found


def inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(stream)
    except zlib.error:
        return stream


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """Two CTs of one patient, 11 days apart, in a folder of the patient's name, and all that tells who it is."""
    folder = tmp_path_factory.mktemp("in") / "Doerfler_Joanna"
    texts = write_study(folder / "pre", 1, "20260301") | write_study(folder / "post", 2, "20260312")
    (folder / "Doerfler_report.dcm").write_bytes(b"damaged")
    return folder, texts | {"Doerfler_Joanna", "Doerfler_report"}


@pytest.fixture(scope="module")
def exported(studies: tuple[Path, set[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without identity."""
    out = tmp_path_factory.mktemp("export") / "out"
    run([studies[0]], out, deidentify=True)
    return out


def test_nothing_that_tells_who_the_patient_is_is_in_any_byte(studies: tuple[Path, set[str]], exported: Path) -> None:
    _, texts = studies
    for name, content in contents(exported).items():
        assert [text for text in texts if text.encode() in content] == [], name
    assert len([name for name in contents(exported) if name.endswith(".dcm")]) == 10


def test_the_test_would_find_it(studies: tuple[Path, set[str]], tmp_path: Path) -> None:
    folder, texts = studies
    run([folder / "pre"], tmp_path / "out")
    found = b"".join(contents(tmp_path / "out").values())
    assert {"Doerfler^Joanna", "PID-4711", "19430217", "ACC-9988", "1.2.826.0.2.1"} <= {
        text for text in texts if text.encode() in found
    }


def test_objects_are_sound_and_say_what_was_done(exported: Path) -> None:
    objects = [sorted(folder.glob("*.dcm")) for folder in exported.iterdir() if folder.is_dir()]
    for path in (path for paths in objects for path in paths):
        item = dcmread(path)
        assert complaints(path) == [], path.name
        assert item.PatientIdentityRemoved == "YES"
        assert [code.CodeValue for code in item.DeidentificationMethodCodeSequence] == ["113100", "113107"]
        assert item.LongitudinalTemporalInformationModified == "MODIFIED"
        assert item.StudyInstanceUID == path.parent.name
        assert {item.get(keyword, item.StudyDate) for keyword in ("ContentDate", "InstanceCreationDate")} == {
            item.StudyDate
        }
        assert item.PatientName == f"Anonymous^{item.PatientID}"
        assert (item.PatientSex, item.PatientBirthDate, "PatientAge" in item) == ("", "", False)
    assert [entity_complaints(paths) for paths in objects] == [[], []]
    assert len({dcmread(path).PatientID for paths in objects for path in paths}) == 1


def test_the_change_between_studies_is_kept(exported: Path) -> None:
    documents = [json.loads(path.read_text()) for path in exported.glob("*/report.json")]
    [later] = [one for one in documents if "change" in one]
    [earlier] = [one for one in documents if "change" not in one]
    assert later["change"]["pre_study"] == earlier["study"]["study_instance_uid"]
    assert later["change"]["days"] == 11
    days = sorted(dcmread(path).StudyDate for path in exported.glob("*/sr.dcm"))
    assert np.diff(np.array([f"{day[:4]}-{day[4:6]}-{day[6:]}" for day in days], "datetime64[D]")).astype(int) == [11]
    run_document = json.loads((exported / "run.json").read_text())
    uids = {one["study_instance_uid"] for one in run_document["studies"] if one["directory"]}
    assert uids == {one["study"]["study_instance_uid"] for one in documents}
    assert run_document["started"] == ""


def test_the_same_key_gives_the_same_uids_and_another_others(studies: tuple[Path, set[str]], exported: Path) -> None:
    folder, _ = studies
    kept = exported.parent / "vertecast.key"
    again, other = exported.parent / "again", exported.parent / "other"
    run([folder / "pre"], again, deidentify=True)
    run([folder / "pre"], other, deidentify=True, key=str(exported.parent / "other.key"))

    def uids(out: Path) -> set[str]:
        return {str(dcmread(path).SOPInstanceUID) for path in out.glob("*/*.dcm")}

    assert kept.stat().st_mode & 0o077 == 0
    assert uids(again) < uids(exported)
    assert not uids(other) & uids(exported)


@pytest.mark.parametrize("told", ["NO", "YES", None])
def test_pixels_that_may_carry_a_name_are_left_out(told: str | None, tmp_path: Path) -> None:
    picture = write_film(tmp_path / "film.png")
    values = np.asarray(Image.open(picture)).astype(int)
    image = projection(values, "DX", PatientOrientation=["A", "F"], **({"BurnedInAnnotation": told} if told else {}))
    image.PixelIntensityRelationshipSign = -1
    save_one(image, tmp_path / "film")
    run([tmp_path / "film"], tmp_path / "out", deidentify=True)
    [folder] = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    warned = PIXELS_LEFT_OUT in json.loads((folder / "report.json").read_text())["warnings"]
    with Image.open(folder / "images" / "film_1.png") as drawn:
        inside_a_body = np.asarray(drawn.convert("L"))[173, 277]
    assert (warned, bool(inside_a_body > 200)) == ((False, True) if told == "NO" else (True, False))
    assert dcmread(folder / "capture_1.dcm").BurnedInAnnotation == "NO"
    assert [complaints(path) for path in folder.glob("*.dcm")] == [[]] * 4


def test_a_file_without_dicom_loses_its_name(tmp_path: Path) -> None:
    write_film(tmp_path / "Doerfler_Joanna.png")
    run([tmp_path / "Doerfler_Joanna.png"], tmp_path / "out", deidentify=True)
    for name, content in contents(tmp_path / "out").items():
        assert b"Doerfler" not in content, name


def test_pages_name_the_patient_only_where_asked(studies: tuple[Path, set[str]], tmp_path: Path) -> None:
    folder, _ = studies
    plain, named = tmp_path / "plain", tmp_path / "named"
    run([folder / "pre"], plain)
    run([folder / "pre"], named, identify=True)
    line = "Patient: Doerfler, Joanna · ID: PID-4711 · born: 1943-02-17"
    uid = "1.2.826.0.2.1"
    for page in (f"{uid}/report.html", "index.html"):
        assert line in (named / page).read_text(encoding="utf-8")
        assert "Doerfler" not in (plain / page).read_text(encoding="utf-8")
    for data in (f"{uid}/report.json", "summary.csv"):
        assert (named / data).read_text() == (plain / data).read_text()
    assert "Doerfler" not in (named / "run.json").read_text()
    assert dcmread(named / uid / "report_pdf.dcm").BurnedInAnnotation == "YES"
    assert dcmread(plain / uid / "report_pdf.dcm").BurnedInAnnotation == "NO"
    run([folder / "pre"], named, identify=True)
    assert line in (named / "index.html").read_text(encoding="utf-8"), "taken over from the earlier run"
    run([folder / "pre"], named)
    assert "Doerfler" not in (named / "index.html").read_text() + (named / uid / "report.html").read_text()
