"""Real archives on the loopback, which others wrote: Orthanc and dcmqrscp. `make test` installs them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PATIENCE_S = 60
"""Longest wait for an archive to come up on a busy machine."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(is_so: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, "it has not come to pass"
        time.sleep(0.1)


@contextmanager
def running(
    command: Sequence[str], is_up: Callable[[], bool], log: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a child process."""
    with log.open("ab") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment})
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not is_up():
                assert server.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < deadline, log.read_text(errors="replace")
                time.sleep(0.1)
            yield server
        finally:
            server.terminate()
            server.wait(timeout=PATIENCE_S)


def answers(port: int, title: str) -> Callable[[], bool]:
    command = ["echoscu", "-aec", title, "127.0.0.1", str(port)]
    return lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0


def store(paths: Sequence[Path], port: int, title: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Send files with storescu, each class as its file is encoded."""
    command = ["storescu", "-R", *options, "-aec", title, "127.0.0.1", str(port), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class Rest:
    """Orthanc by its REST interface."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        # No proxy of the environment stands between the test and its own archive.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __call__(self, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data=data, headers=dict(headers or {}))
        with self.opener.open(request, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    def json(self, path: str, data: bytes | None = None) -> Any:
        return json.loads(self(path, data))

    def is_up(self) -> bool:
        try:
            return bool(self("/system"))
        except (urllib.error.URLError, OSError):
            return False

    def clear(self) -> None:
        """Delete everything in it."""
        for identifier in self.json("/instances"):
            self.opener.open(urllib.request.Request(f"{self.url}/instances/{identifier}", method="DELETE"))

    def instances(self) -> list[str]:
        """SOPInstanceUIDs of everything in it, sorted."""
        return sorted(item["MainDicomTags"]["SOPInstanceUID"] for item in self.json("/instances?expand"))


@contextmanager
def orthanc(folder: Path, *, http: int = 0, dicom: int = 0, **settings: Any) -> Iterator[tuple[Rest, int]]:
    """An Orthanc with what its folder holds: its REST interface and its DICOM port."""
    http, dicom = http or free_port(), dicom or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    everything = {
        "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "HttpPort": http,
        "DicomPort": dicom, "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "Plugins": [str(DICOMWEB)],
        "DicomAlwaysAllowEcho": True, "DicomAlwaysAllowStore": True, "Name": "test", **settings,
    }  # fmt: skip
    config = folder / "orthanc.json"
    config.write_text(json.dumps(everything))
    program = shutil.which("Orthanc", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None, "scripts/install_system.sh test installs it"
    rest = Rest(http)
    with running([program, str(config)], rest.is_up, folder / "log"):
        yield rest, dicom


@contextmanager
def dcmqrscp(folder: Path, *, port: int = 0, title: str = "DCMQR") -> Iterator[tuple[Path, int]]:
    """A dcmqrscp: the folder of its files and its port."""
    port = port or free_port()
    (folder / "db").mkdir(parents=True, exist_ok=True)
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 8\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{title} {folder / 'db'} RW (99, 1024mb) ANY\nAETable END\n"
    )
    with running(["dcmqrscp", "-c", str(config)], answers(port, title), folder / "log"):
        yield folder / "db", port
