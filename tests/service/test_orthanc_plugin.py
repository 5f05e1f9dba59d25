"""The plugin in a real Orthanc beside the real web interface: announces studies, knows our results, shows reports."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright
from pydicom import dcmread

from fakes import SECRET_NAME, write_dicom
from services import Client, Face, certificate, face, free_port
from vertecast.service.queue import State

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancPython.so")
SCRIPT = Path(__file__).parents[2] / "pipeline" / "vertecast" / "service" / "orthanc" / "vertecast_plugin.py"
TOKEN = "a token that no one guesses"
PATIENCE_S = 60
OWN_TAGS = {"Manufacturer": "Vertecast", "ManufacturerModelName": "Vertecast"}


@dataclass
class Orthanc:
    """A real Orthanc with the plugin."""

    client: Client
    config: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        path = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([path, str(self.config)], stdout=log, stderr=subprocess.STDOUT)
        wait_for(self.is_up, self.log)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(timeout=PATIENCE_S) == 0

    def is_up(self) -> bool:
        try:
            return self.client.ask("/system").status == 200
        except OSError:
            return False

    def store(self, paths: list[Path]) -> str:
        """Store images; returns Orthanc's name of their study."""
        for path in paths:
            answer = self.client.ask("/instances", path.read_bytes(), BINARY)
        return str(answer.json["ParentStudy"])


BINARY = {"Content-Type": "application/dicom"}


def wait_for(condition: Callable[[], Any], log: Path | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "" if log is None else log.read_text(errors="replace")[-3000:]
        time.sleep(0.1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Face]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLUGIN_TEST_TOKEN", TOKEN)
        with face(tmp_path_factory.mktemp("service"), web={"token_env": "PLUGIN_TEST_TOKEN"}) as served:
            yield served


def orthanc_beside(folder: Path, port: int, **settings: object) -> Orthanc:
    """An Orthanc whose service answers at a port; not started. Settings are those of the plugin."""
    http = free_port()
    config = {
        "Name": "Test",
        "HttpPort": http,
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "DicomServerEnabled": False,
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "StableAge": 1,
        "Plugins": [str(PLUGIN)],
        "PythonScript": str(SCRIPT),
        "Vertecast": {"Url": f"http://127.0.0.1:{port}", "Token": TOKEN, **settings},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    return Orthanc(Client(http), folder / "orthanc.json", folder / "log")


@pytest.fixture(scope="module")
def orthanc(service: Face, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    found = orthanc_beside(tmp_path_factory.mktemp("orthanc"), service.options.web.port)
    found.start()
    yield found
    found.stop()
    assert SECRET_NAME not in found.log.read_text(errors="replace")


def images(folder: Path, study: int, series: int = 0, **tags: str) -> list[Path]:
    """Two CT images of a study, in one of its series."""
    paths = write_dicom(folder, study=study, slices=2)
    for path in paths if series else []:
        image = dcmread(path)
        for name, value in tags.items():
            setattr(image, name, value)
        image.SeriesInstanceUID += f".{series}"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{image.SOPInstanceUID}.{series}"
        image.save_as(path, enforce_file_format=True)
    return paths


def uid_of(study: int) -> str:
    return f"1.2.826.0.2.{study}"


def test_a_stable_study_is_announced_once_and_again_for_new_images_but_not_for_results(
    service: Face, orthanc: Orthanc, tmp_path: Path
) -> None:
    orthanc.store(images(tmp_path / "a", 1))
    wait_for(lambda: service.queue.study(uid_of(1)), orthanc.log)
    study = service.queue.study(uid_of(1))
    assert study is not None
    assert (study.state, study.source, study.revision) == (State.REQUESTED, "orthanc", 1)
    orthanc.store(images(tmp_path / "b", 1, 1, **OWN_TAGS))
    wait_for(lambda: stable_events(orthanc) == 2, orthanc.log)
    orthanc.store(images(tmp_path / "c", 2))
    wait_for(lambda: service.queue.study(uid_of(2)), orthanc.log)
    study = service.queue.study(uid_of(1))
    assert study is not None
    assert study.revision == 1
    orthanc.store(images(tmp_path / "d", 1, 2, Manufacturer="Other", ManufacturerModelName="Vertecast 2000"))
    wait_for(lambda: (study := service.queue.study(uid_of(1))) and study.revision == 2, orthanc.log)


def stable_events(orthanc: Orthanc) -> int:
    changes = orthanc.client.ask("/changes?limit=1000").json["Changes"]
    return sum(change["ChangeType"] == "StableStudy" for change in changes)


def test_a_study_is_started_watched_and_its_report_opened(service: Face, orthanc: Orthanc, tmp_path: Path) -> None:
    name = orthanc.store(images(tmp_path, 3))
    wait_for(lambda: service.queue.study(uid_of(3)), orthanc.log)
    claimed = service.queue.claim(State.REQUESTED)
    while claimed is not None and claimed.study_instance_uid != uid_of(3):
        claimed = service.queue.claim(State.REQUESTED)
    assert claimed is not None
    service.queue.fetched(claimed)
    place = f"/vertecast/studies/{name}"
    assert orthanc.client.ask(place).json["state"] == "ready"
    assert orthanc.client.ask(f"/vertecast/studies/{uid_of(3)}").json == orthanc.client.ask(place).json
    assert orthanc.client.ask(place, {}).json["state"] == "requested"
    assert orthanc.client.ask(f"{place}/report").status == 404
    folder = service.options.results / uid_of(3)
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<!DOCTYPE html><title>L1</title>")
    (folder / "report.pdf").write_bytes(b"%PDF-1.7 \xff")
    report = orthanc.client.ask(f"{place}/report")
    assert (report.text, report.headers["Content-Type"]) == (
        "<!DOCTYPE html><title>L1</title>",
        "text/html; charset=utf-8",
    )
    assert report.headers["Content-Security-Policy"] == "sandbox allow-scripts"
    assert orthanc.client.ask(f"{place}/pdf").body == b"%PDF-1.7 \xff"
    assert orthanc.client.ask(place, method="DELETE").status == 405
    assert orthanc.client.ask("/vertecast/studies/1.2.3").status == 404
    assert orthanc.client.ask("/vertecast/studies/no-such-study").status == 404
    assert orthanc.client.ask(f"{place}/other").status == 404


def test_orthanc_explorer_has_a_button(service: Face, orthanc: Orthanc, tmp_path: Path) -> None:
    name = orthanc.store(images(tmp_path, 4))
    wait_for(lambda: service.queue.study(uid_of(4)), orthanc.log)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{orthanc.client.url}/app/explorer.html#study?uuid={name}")
        page.get_by_text("Vertecast: requested").wait_for()
        revision = service.queue.study(uid_of(4)).revision  # type: ignore[union-attr]
        page.locator("#vertecast-start").click()
        wait_for(lambda: service.queue.study(uid_of(4)).revision == revision + 1)  # type: ignore[union-attr]
        assert not page.locator("#vertecast-report").is_visible()
        folder = service.options.results / uid_of(4)
        folder.mkdir(parents=True)
        (folder / "report.html").write_text("<!DOCTYPE html><title>L1</title>")
        with page.expect_popup() as opened:
            page.locator("#vertecast-report").click()
        assert opened.value.title() == "L1"
        assert wrong == []
        browser.close()


def test_what_came_while_the_service_or_orthanc_was_down_is_announced(tmp_path: Path) -> None:
    port, (pem, key) = free_port(), certificate(tmp_path)
    archive = orthanc_beside(tmp_path, port, Url=f"https://localhost:{port}/", CaFile=str(pem))
    archive.start()
    archive.stop()
    archive.start()
    try:
        archive.store(images(tmp_path / "a", 5))
        wait_for(lambda: "cannot be told of new studies" in archive.log.read_text(errors="replace"))
        down = archive.client.ask(f"/vertecast/studies/{uid_of(5)}")
        assert (down.status, "is it running?" in down.text) == (502, True)
        archive.stop()
        archive.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PLUGIN_TEST_TOKEN", TOKEN)
            web = {"token_env": "PLUGIN_TEST_TOKEN", "port": port, "tls_certificate": str(pem), "tls_key": str(key)}
            with face(tmp_path / "service", web=web) as late:
                wait_for(lambda: late.queue.study(uid_of(5)), archive.log)
    finally:
        archive.stop()


def test_without_automatic_only_the_button_starts_a_study(service: Face, tmp_path: Path) -> None:
    archive = orthanc_beside(tmp_path, service.options.web.port, Automatic=False)
    archive.start()
    try:
        name = archive.store(images(tmp_path / "a", 6))
        wait_for(lambda: stable_events(archive) == 1, archive.log)
        time.sleep(1)  # the announcer tells the service in a few milliseconds where it runs
        assert service.queue.study(uid_of(6)) is None
        assert archive.client.ask(f"/vertecast/studies/{name}", {}).json["state"] == "requested"
        assert service.queue.study(uid_of(6)) is not None
    finally:
        archive.stop()
