"""Objects of a study stored into real archives: found, fetched back as they were, and never twice."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

import archives
from archives import Rest, store
from phantoms.dicom import ct_slices, grid, save
from phantoms.seg import OBLIQUE, segmented
from vertecast.report.dicom.capture import build_capture
from vertecast.report.dicom.pdf import build_pdf
from vertecast.report.figures.drawing import png_bytes
from vertecast.report.figures.pictures import Picture
from vertecast.report.html.printing import PrintedReport

DICOM_JSON = {"Accept": "application/dicom+json"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A segmentation, a picture and a PDF of one study."""
    from matplotlib.figure import Figure

    folder = tmp_path_factory.mktemp("objects")
    slices = ct_slices(grid(OBLIQUE))
    path, _, _ = segmented(save(slices, folder / "ct"))
    picture = Picture(png=png_bytes(Figure(figsize=(1.3, 0.7))), alt="nothing")
    made = [
        build_capture(picture, slices[0], 1, burned_in="NO"),
        build_pdf(PrintedReport(pdf=b"%PDF-1.7 ", html="<p>"), slices[0]),
    ]
    for number, item in enumerate(made):
        item.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return [path, folder / "0.dcm", folder / "1.dcm"]


def put(paths: list[Path], port: int, title: str) -> None:
    result = store(paths, port, title)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[tuple[Rest, int]]:
    """An empty Orthanc on the loopback."""
    with archives.orthanc(tmp_path / "orthanc") as running:
        yield running


def test_orthanc_takes_the_files_and_gives_them_back_bit_for_bit(
    orthanc: tuple[Rest, int], objects: list[Path]
) -> None:
    rest, _ = orthanc
    for path in (*objects, *objects):
        answer = rest.json("/instances", path.read_bytes())
        assert rest(f"/instances/{answer['ID']}/file") == path.read_bytes()
    assert len(rest.json("/instances")) == len(objects)
    assert len(rest.json("/studies")) == 1
    assert len(rest.json("/series")) == len(objects)


def test_orthanc_takes_the_objects_from_the_network(
    orthanc: tuple[Rest, int], objects: list[Path], tmp_path: Path
) -> None:
    rest, port = orthanc
    put(objects, port, "ORTHANC")
    put(objects, port, "ORTHANC")
    assert len(rest.json("/instances")) == len(objects)
    for path in objects:
        sent = dcmread(path)
        query = json.dumps({"Level": "Instance", "Query": {"SOPInstanceUID": sent.SOPInstanceUID}}).encode()
        (found,) = rest.json("/tools/find", query)
        (tmp_path / "back.dcm").write_bytes(rest(f"/instances/{found}/file"))
        assert dcmread(tmp_path / "back.dcm") == sent


def multipart(paths: list[Path], boundary: str) -> bytes:
    """The body of a STOW-RS request (PS3.18 10.5): each object as it lies in its file."""
    parts = [
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + path.read_bytes() + b"\r\n"
        for path in paths
    ]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def test_orthanc_takes_every_object_by_stow_and_finds_and_returns_it_by_dicomweb(
    orthanc: tuple[Rest, int], objects: list[Path], tmp_path: Path
) -> None:
    rest, _ = orthanc
    (tmp_path / "ct").mkdir()
    label_map, _, _ = segmented(save(ct_slices(grid(OBLIQUE)), tmp_path / "ct" / "slices"), "labelmap")
    paths = [*objects, label_map]
    kind = 'multipart/related; type="application/dicom"; boundary=border'
    answer = json.loads(rest("/dicom-web/studies", multipart(paths, "border"), {**DICOM_JSON, "Content-Type": kind}))
    assert "Value" not in answer.get("00081198", {}), "no object failed"
    assert len(answer["00081199"]["Value"]) == len(paths)
    for path in paths:
        sent = dcmread(path)
        (found,) = json.loads(rest(f"/dicom-web/instances?SOPInstanceUID={sent.SOPInstanceUID}", headers=DICOM_JSON))
        assert found["0020000D"]["Value"] == [sent.StudyInstanceUID]
        assert found["00080060"]["Value"] == [sent.Modality]
        place = f"studies/{sent.StudyInstanceUID}/series/{sent.SeriesInstanceUID}/instances/{sent.SOPInstanceUID}"
        wanted = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
        body = rest(f"/dicom-web/{place}", headers=wanted)
        header, content = body.split(b"\r\n\r\n", 1)
        boundary = header.split(b"\r\n")[0]
        (tmp_path / "back.dcm").write_bytes(content[: content.rindex(b"\r\n" + boundary)])
        assert dcmread(tmp_path / "back.dcm") == sent, path


def test_a_second_archive_finds_and_returns_them(objects: list[Path], tmp_path: Path) -> None:
    title = "DCMQR"
    (tmp_path / "back").mkdir()
    study = str(dcmread(objects[0]).StudyInstanceUID)
    with archives.dcmqrscp(tmp_path / "dcmqr", title=title) as (_, port):
        put(objects, port, title)
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
        place = ["-aec", title, "127.0.0.1", str(port)]
        query = subprocess.run(["findscu", "-S", *keys, *place], capture_output=True, text=True, check=True)
        assert study in query.stdout + query.stderr
        subprocess.run(["getscu", "-S", *keys, "-od", str(tmp_path / "back"), *place], check=True, capture_output=True)
    back = {str(item.SOPInstanceUID): item for item in map(dcmread, (tmp_path / "back").iterdir())}
    assert len(back) == len(objects)
    for path in objects:
        sent = dcmread(path)
        assert back[str(sent.SOPInstanceUID)] == sent
