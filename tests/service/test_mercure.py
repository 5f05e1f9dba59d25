"""The folder contract of mercure: images and a task in, DICOM results and result.json out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from fakes import SECRET_NAME, load_blocks, write_dicom
from vertecast.core.errors import ConfigurationError
from vertecast.run.engine import Engine
from vertecast.service.mercure import FOLDERS, main, process_folder, read_settings

BLOCKS = Engine(load=load_blocks, weights="blocks")
SETTINGS = {"analysis": {"lowest": "L3"}}


def write_task(folder: Path, process: Any) -> Path:
    """A task.json with the keys that mercure writes; only ``process`` is ours."""
    info = {"action": "process", "uid": "1.2.826.0.3.1", "uid_type": "series", "patient_name": SECRET_NAME, "mrn": "P1"}
    path = folder / "task.json"
    path.write_text(json.dumps({"info": info, "id": "7", "dispatch": {}, "process": process, "study": {}}))
    return path


def processing(settings: Any) -> dict[str, Any]:
    return {"module_name": "vertecast", "module_config": {}, "settings": settings, "retain_input_images": False}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """Folders of a task of one CT series, named as mercure names its files, with the tags that lie beside them."""
    images, out = tmp_path / "in", tmp_path / "out"
    out.mkdir()
    for path in write_dicom(images):
        uid = dcmread(path, stop_before_pixels=True)
        path.rename(images / f"{uid.SeriesInstanceUID}#{uid.SOPInstanceUID}.dcm")
        (images / f"{uid.SeriesInstanceUID}#{uid.SOPInstanceUID}.tags").write_text(
            f'{{"PatientName": "{SECRET_NAME}"}}'
        )
    write_task(images, processing(SETTINGS))
    return dict(zip(FOLDERS, (str(images), str(out)), strict=True))


def test_results_lie_where_mercure_takes_them(folders, capsys) -> None:
    assert main(folders, BLOCKS) == 0
    out = Path(folders["MERCURE_OUT_DIR"])
    objects = sorted(out.glob("*.dcm"))
    headers = [dcmread(path, stop_before_pixels=True) for path in objects]
    assert {"SR", "SEG", "OT", "DOC"} <= {header.Modality for header in headers}
    assert [path.name for path in objects] == [f"{one.SeriesInstanceUID}#{one.SOPInstanceUID}.dcm" for one in headers]
    assert {header.StudyInstanceUID for header in headers} == {"1.2.826.0.2.1"}
    assert {path.name for path in out.iterdir()} == {*(path.name for path in objects), "result.json"}
    result = json.loads((out / "result.json").read_text())
    (study,) = result["studies"]
    assert (study["status"], study["dicom_objects"]) == ("analyzed", len(objects))
    assert study["findings"]
    assert "Research use only" in result["__mercure_notification"]["text"]
    printed = capsys.readouterr()
    assert printed.out == "1.2.826.0.2.1: analyzed\n"
    assert SECRET_NAME not in (out / "result.json").read_text() + printed.out + printed.err


def test_settings_of_the_module_are_options_of_the_analysis(folders, tmp_path: Path) -> None:
    task = Path(folders["MERCURE_IN_DIR"]) / "task.json"
    assert read_settings(task).analysis.lowest == "L3"
    assert read_settings(write_task(tmp_path, [processing({"cement": {"minimum_hu": 500}})])).cement.minimum_hu == 500
    assert read_settings(write_task(tmp_path, {})).analysis.lowest is None


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (processing({"analysis": {"lowest": "X9"}}), "analysis.lowest: 'X9' is no vertebral level"),
        (processing({"threshold": 1}), "threshold: unknown key"),
        (processing(["lowest"]), "write groups of options"),
        (processing({"output": {"deidentify": True}}), "leave them out"),
        (processing({"segmentation": {"label_map": "/x.nii"}}), "leave them out"),
        ([processing({}), processing({})], "holds no process"),
        ("vertecast", "holds no process"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, process: Any, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        read_settings(write_task(tmp_path, process))


def test_a_task_without_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"task.json: cannot be read"):
        process_folder(tmp_path, tmp_path, BLOCKS)


def test_a_series_that_is_not_measured_is_no_error(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in", modality="MR")
    write_task(tmp_path / "in", processing({}))
    (tmp_path / "out").mkdir()
    folders = {"MERCURE_IN_DIR": str(tmp_path / "in"), "MERCURE_OUT_DIR": str(tmp_path / "out")}
    assert main(folders, BLOCKS) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [(study["status"], bool(study["reason"])) for study in result["studies"]] == [("skipped", True)]
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_damaged_images_fail_the_task_with_their_reason(tmp_path: Path, capsys) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.2#3.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    write_task(tmp_path / "in", processing({}))
    (tmp_path / "out").mkdir()
    folders = {"MERCURE_IN_DIR": str(tmp_path / "in"), "MERCURE_OUT_DIR": str(tmp_path / "out")}
    assert main(folders, BLOCKS) == 1
    unread = json.loads((tmp_path / "out" / "result.json").read_text())["unreadable"]
    assert [item["file"] for item in unread] == ["1.2#3.dcm"]
    assert f"1.2#3.dcm: {unread[0]['reason']}" in capsys.readouterr().out


def test_the_module_says_what_it_misses() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in FOLDERS}
    command = [sys.executable, "-m", "vertecast.service.mercure"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 2
    assert (
        run.stderr
        == "vertecast: MERCURE_IN_DIR, MERCURE_OUT_DIR: name existing folders in these variables, as mercure does\n"
    )
