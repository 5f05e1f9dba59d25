"""Results handed to real archives, and to one that answers as it is told."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, evt

from archives import Rest, dcmqrscp, free_port, orthanc
from pacs_light import study_uid, write_own
from vertecast.core.errors import ArchiveError, ConfigurationError
from vertecast.service.archives.dicomweb import DicomWebArchive, first_part
from vertecast.service.archives.orthanc_client import OrthancArchive
from vertecast.service.delivery import DicomArchive, result_files
from vertecast.service.options import ArchiveOptions

UIDS = [f"{study_uid(1)}.9.{content}" for content in (1, 2)]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rest, int]]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write_own(tmp_path / "results" / f"capture_{content}.dcm", content=content) for content in (1, 2)]


def over_dicom(port: int, title: str = "ORTHANC", **options: Any) -> DicomArchive:
    return DicomArchive(
        ArchiveOptions(
            name="a", kind="dicom", host="127.0.0.1", port=port, ae_title=title, **{"timeout_s": 10.0, **options}
        )
    )


def over_web(kind: Any, url: str, **options: Any) -> ArchiveOptions:
    return ArchiveOptions(name="a", kind=kind, url=url, **{"timeout_s": 10.0, **options})


@pytest.mark.parametrize("kind", ["dicom", "dicomweb", "orthanc"])
def test_orthanc_has_each_result_once_however_often_it_gets_it(
    archive: tuple[Rest, int], files: list[Path], kind: str
) -> None:
    rest, port = archive
    rest.clear()
    to = {
        "dicom": lambda: over_dicom(port),
        "dicomweb": lambda: DicomWebArchive(over_web("dicomweb", f"{rest.url}/dicom-web")),
        "orthanc": lambda: OrthancArchive(over_web("orthanc", rest.url)),
    }[kind]()
    to.store(files)
    to.store(files)
    to.close()
    assert rest.instances() == UIDS


def test_dcmqrscp_has_them_too(files: list[Path], tmp_path: Path) -> None:
    with dcmqrscp(tmp_path / "q") as (folder, port):
        over_dicom(port, "DCMQR").store(files)
        stored = {
            str(dcmread(path).SOPInstanceUID): dcmread(path) for path in folder.iterdir() if path.name != "index.dat"
        }
    assert stored == {str(dcmread(path).SOPInstanceUID): dcmread(path) for path in files}


@contextmanager
def answering(status: int | None, *, pause_s: float = 0.0, **accepted: Any) -> Iterator[tuple[int, list[str]]]:
    """An archive that answers each object with a status, or ends the association (None); and what it was sent."""
    seen: list[str] = []

    def on_store(event: evt.Event) -> int:
        seen.append(str(event.request.AffectedSOPInstanceUID))
        time.sleep(pause_s)
        if status is None:
            event.assoc.abort()
            return 0
        return status

    entity = AE(ae_title="ARCHIVE")
    entity.require_called_aet = True
    entity.add_supported_context(accepted.get("sop_class", SecondaryCaptureImageStorage), ImplicitVRLittleEndian)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    assert server is not None
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007, 0x0111])
def test_what_an_archive_calls_stored_is_stored(files: list[Path], status: int) -> None:
    with answering(status) as (port, seen):
        over_dicom(port, "ARCHIVE").store(files)
    assert seen == UIDS


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0xA700, r"capture_1.dcm \(Secondary Capture Image Storage\): .*0xA700 \(out of resources\)"),
        (0xA900, "does not match its class"),
        (0xC001, "0xC001"),
        (0x0110, "0x0110"),
        (0x0124, "0x0124"),
        (None, "ended the association|no answer"),
    ],
)
def test_what_an_archive_refuses_is_not_stored(files: list[Path], status: int | None, expected: str) -> None:
    with answering(status) as (port, seen), pytest.raises(ArchiveError, match=expected):
        over_dicom(port, "ARCHIVE").store(files)
    assert seen == UIDS[:1]


def test_a_slow_archive_is_waited_for_only_so_long(files: list[Path]) -> None:
    with answering(0, pause_s=0.4) as (port, _):
        over_dicom(port, "ARCHIVE").store(files)
    with answering(0, pause_s=3.0) as (port, _), pytest.raises(ArchiveError, match="no answer in 1 s"):
        over_dicom(port, "ARCHIVE", timeout_s=1.0).store(files)


def test_why_there_is_no_association(files: list[Path]) -> None:
    with answering(0) as (port, _), pytest.raises(ArchiveError, match="another AE title; correct ae_title"):
        over_dicom(port, "OTHER").store(files)
    with pytest.raises(ArchiveError, match="does not answer; check host, port"):
        over_dicom(free_port()).store(files)
    with (
        answering(0, sop_class="1.2.840.10008.5.1.4.1.1.2") as (port, _),
        pytest.raises(ArchiveError, match="takes none of these objects"),
    ):
        over_dicom(port, "ARCHIVE").store(files)


@contextmanager
def web_server(answer: Callable[[bytes], tuple[int, bytes]]) -> Iterator[str]:
    """A server on the web that answers as it is told."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def stow(stored: list[str], failed: dict[str, int]) -> bytes:
    """An answer of STOW-RS."""

    def item(uid: str, **more: Any) -> dict[str, Any]:
        return {"00081155": {"vr": "UI", "Value": [uid]}, **more}

    return json.dumps({
        "00081199": {"vr": "SQ", "Value": [item(uid) for uid in stored]},
        "00081198": {"vr": "SQ", "Value": [
            item(uid, **{"00081197": {"vr": "US", "Value": [reason]}}) for uid, reason in failed.items()
        ]},
    }).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, stow(UIDS, {}), None),
        (202, stow(UIDS[:1], {UIDS[1]: 0x0111}), None),
        (409, stow([], dict.fromkeys(UIDS, 0x0111)), None),
        (202, stow(UIDS[:1], {UIDS[1]: 0xA700}), "capture_2.dcm: the archive refused it .0xA700"),
        (409, stow([], dict.fromkeys(UIDS, 0x0110)), "capture_1.dcm: the archive refused it .0x0110"),
        (200, stow(UIDS[:1], {}), "capture_2.dcm: the archive does not say"),
        (200, b"{}", "capture_1.dcm: the archive does not say"),
        (200, b"", "does not say which"),
        (200, b"[]", "does not say which"),
        (200, b"<html>", "no JSON"),
        (401, b"", "HTTP 401 .it wants other credentials"),
        (503, b"", "HTTP 503"),
        (507, b"Doe^Joanna", "HTTP 507 .refused"),
    ],
)
def test_stow_counts_what_its_answer_names(files: list[Path], status: int, body: bytes, expected: str | None) -> None:
    with web_server(lambda _content: (status, body)) as url:
        to = DicomWebArchive(over_web("dicomweb", url))
        if expected is None:
            to.store(files)
        else:
            with pytest.raises(ArchiveError, match=expected):
                to.store(files)
        to.close()


@pytest.mark.parametrize("body", [b"{}", b'{"Status": "FilteredOut"}', b"[]", b""])
def test_orthanc_must_say_that_it_stored(files: list[Path], body: bytes) -> None:
    with web_server(lambda _content: (200, body)) as url, pytest.raises(ArchiveError, match="does not say"):
        OrthancArchive(over_web("orthanc", url)).store(files)


def test_a_web_archive_that_is_away_or_slow(files: list[Path]) -> None:
    with pytest.raises(ArchiveError, match="cannot be reached"):
        OrthancArchive(over_web("orthanc", f"http://127.0.0.1:{free_port()}")).store(files)

    def late(_content: bytes) -> tuple[int, bytes]:
        time.sleep(2)
        return 200, b""

    with web_server(late) as url, pytest.raises(ArchiveError, match=r"no answer in 0\.5 s"):
        DicomWebArchive(over_web("dicomweb", url, timeout_s=0.5)).store(files)


def test_credentials_come_from_the_environment(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="PACS_PASSWORD"):
        OrthancArchive(over_web("orthanc", "http://h", user="u", password_env="PACS_PASSWORD"))
    with pytest.raises(ConfigurationError, match="holds no certificates"):
        OrthancArchive(over_web("orthanc", "https://h", ca_file=str(tmp_path / "none.pem")))
    monkeypatch.setenv("PACS_PASSWORD", "secret")
    users = {"RemoteAccessAllowed": True, "AuthenticationEnabled": True, "RegisteredUsers": {"u": "secret"}}
    port = free_port()
    monkeypatch.setattr(Rest, "is_up", lambda _rest: _is_open(port))
    with orthanc(tmp_path / "o", http=port, **users) as (rest, _):
        OrthancArchive(over_web("orthanc", rest.url, user="u", password_env="PACS_PASSWORD")).store(files)
        with pytest.raises(ArchiveError, match="HTTP 401"):
            OrthancArchive(over_web("orthanc", rest.url)).store(files)


def _is_open(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_archive_may_want_a_part_of_the_results(tmp_path: Path) -> None:
    for name in ("sr.dcm", "seg_1.dcm", "capture_1.dcm", "capture_2.dcm", "report_pdf.dcm", "report.json"):
        (tmp_path / name).touch()
    names = [path.name for path in result_files(tmp_path, ("report", "segmentation", "pictures", "pdf"))]
    assert names == ["sr.dcm", "seg_1.dcm", "capture_1.dcm", "capture_2.dcm", "report_pdf.dcm"]
    assert [path.name for path in result_files(tmp_path, ("pdf", "report"))] == ["report_pdf.dcm", "sr.dcm"]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
@pytest.mark.parametrize("preamble", [b"", b"to be ignored\r\n"])
def test_a_part_is_cut_out_whatever_the_pieces_it_comes_in(size: int, preamble: bytes) -> None:
    content = b"\r\n--bord\r\nx\r\n\r\n" + bytes(range(256))
    body = preamble + b"--border\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--border--\r\n"
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert b"".join(first_part(pieces, b"border")) == content
    with pytest.raises(ArchiveError, match="cut off"):
        b"".join(first_part([body[:-14]], b"border"))
