"""What the tests of the service share: free ports, an HTTP client of the standard library, a service of a folder."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vertecast.service.options import PacsOptions
from vertecast.service.queue import StudyQueue
from vertecast.service.web.app import WebServer
from vertecast.service.web.health import Health
from vertecast.service.web.metrics import MeteredQueue, Metrics

UID = "1.2.826.0.1.3680043.10.1"
TIMEOUT_S = 30


def free_port() -> int:
    """A port of the loopback that no one uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Answer:
    """Of an HTTP server."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost and its key, as PEM files."""
    paths = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*command, "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any) -> None:
        return None


class Client:
    """Asks one server; follows no redirection and no proxy."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    def ask(
        self, path: str, body: Any = None, headers: Mapping[str, str] | None = None, method: str | None = None
    ) -> Answer:
        """A POST of JSON, or of bytes as they are, where there is a body; else a GET."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kinds = {} if data is body else {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, {**kinds, **(headers or {})}, method=method)
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return Answer(answer.status, answer.read(), dict(answer.headers.items()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(), dict(error.headers.items()))


@dataclass(frozen=True)
class Face:
    """The web interface of a service that does nothing by itself."""

    client: Client
    queue: StudyQueue
    options: PacsOptions


@contextmanager
def face(folder: Path, node_listens: bool = True, **options: Any) -> Iterator[Face]:
    """Serve the queue of a folder, beside a node that is said to listen or not."""
    port = free_port()
    document = {
        "folder": str(folder),
        "node": {"enabled": False},
        "disk": {"reserve_gb": 0},
        "retry": {"first_s": 1e-6},
        "archives": [
            {"name": "orthanc", "kind": "orthanc", "url": "http://127.0.0.1:1"},
            {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": 1, "ae_title": "PACS"},
        ],
        **options,
    }
    document["web"] = {"port": port, **options.get("web", {})}
    read = PacsOptions.model_validate(document)
    metrics = Metrics()
    queue = MeteredQueue(read.queue_path, metrics, retry=read.retry)
    health = Health(read, queue, node_listens=lambda: node_listens)
    server = WebServer(read, queue, metrics, health)
    server.start()
    try:
        yield Face(Client(port), queue, read)
    finally:
        server.stop()
        queue.close()
