"""The service beside a real Orthanc: seconds from a study that has settled to its results in the archive.

Copies of the sample CT, each of another patient, are sent by storescu to ``vertecast serve`` one after the other, and
its results go to Orthanc by C-STORE. A study has settled ``settle_s`` after its last image; it is delivered when the
archive has said of every object that it has it. *Cold* is the first study after the start of the service, which may
still be loading; *warm* each later one. The memory is that of the service and its worker at once, without Orthanc.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.ct import program
from benchmarks.figures import Aim, Figure, Section
from benchmarks.processes import TreeMemory, alone
from benchmarks.samples import REPOSITORY, STUDIES, copy_study

SAMPLE: Final = STUDIES / "000101_post"
DELIVERED_LIMIT_S: Final = 20.0
"""From settled to delivered, for the sample CT."""

SETTLE_S: Final = 5.0
TITLE: Final = "VERTECAST"
LONGEST_S: Final = 1800.0
LOOK_S: Final = 0.05
WANTED: Final = {"SR", "SEG", "OT", "DOC"}
"""Modalities of the results: report, segmentation, pictures, PDF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One study: seconds from settled until its results were written, and until the archive had them."""

    written_s: float
    delivered_s: float


def measure_service(runs: int) -> list[Section]:
    """Times from settled to delivered.

    Args:
        runs: Warm ones, after the first.

    Raises:
        RuntimeError: A study failed, or its results are not in the archive.
    """
    # The archives of the tests; Orthanc and dcmtk come with scripts/install_system.sh test.
    sys.path.insert(0, str(REPOSITORY / "tests"))
    from archives import orthanc, store  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory(prefix="vertecast-benchmark-") as name:
        folder = Path(name)
        found = []
        with orthanc(folder / "orthanc") as (rest, dicom), _serving(folder, dicom) as (process, port):
            with TreeMemory(process.pid) as memory:
                for number in range(1, runs + 2):
                    copies = folder / f"study_{number}"
                    uid = alone(copy_study, SAMPLE, copies, number)
                    sent = store(sorted(copies.iterdir()), port, TITLE, "-xt")
                    if sent.returncode:
                        raise RuntimeError(f"storescu: exit status {sent.returncode}\n{sent.stderr}")
                    found.append(_wait(folder / "service" / "queue.sqlite", uid))
            _check(rest, runs + 1)
    return [_section(found, memory.peak_gib, sum(path.is_file() for path in SAMPLE.iterdir()))]


@contextmanager
def _serving(folder: Path, archive_port: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """``vertecast serve``, its own port; it listens when this begins."""
    import yaml

    from archives import answers, free_port, running

    port = free_port()
    archive = {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": archive_port, "ae_title": "ORTHANC"}
    document = {
        "folder": "service", "settle_s": SETTLE_S, "node": {"port": port}, "web": {"enabled": False},
        "disk": {"reserve_gb": 0.1}, "archives": [archive],
    }  # fmt: skip
    path = folder / "pacs.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [*program(), "serve", "--config", str(path)]
    with running(command, answers(port, TITLE), folder / "service.log") as process:
        yield process, port


def _wait(database: Path, uid: str) -> Delivery:
    """Look at a study until it is delivered; its queue writes down the moment of each change.

    The results are taken as written when they are delivered where both fall between two looks.
    """
    from vertecast.service.queue import State, StudyQueue

    queue, deadline = StudyQueue(database), time.monotonic() + LONGEST_S
    changed: dict[State, float] = {}
    try:
        while State.DELIVERED not in changed:
            study = queue.study(uid)
            if study is not None:
                changed[study.state] = study.changed_at
                if study.state in (State.FAILED, State.SKIPPED):
                    raise RuntimeError(f"the study was {study.state}: {study.reason}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the study was not delivered within {LONGEST_S:g} s")
            time.sleep(LOOK_S)
    finally:
        queue.close()
    settled, delivered = changed[State.RECEIVING] + SETTLE_S, changed[State.DELIVERED]
    return Delivery(written_s=changed.get(State.ANALYZED, delivered) - settled, delivered_s=delivered - settled)


def _check(rest: Any, studies: int) -> None:
    """Raises `RuntimeError` unless every study has its results in the archive."""
    held = rest.json("/studies?expand")
    kinds = [{rest.json(f"/series/{series}")["MainDicomTags"]["Modality"] for series in one["Series"]} for one in held]
    if len(kinds) != studies or any(WANTED - found for found in kinds):
        raise RuntimeError(f"{studies} studies were said to be delivered; the archive holds {kinds}")


def _section(found: list[Delivery], memory_gib: float, images: int) -> Section:
    delivered = tuple(one.delivered_s for one in found)
    written = tuple(one.written_s for one in found)
    figures = (
        Figure(
            name="settled to delivered",
            unit="s",
            cold=delivered[:1],
            warm=delivered[1:],
            memory_gib=(memory_gib,),
            aims=(Aim(value=DELIVERED_LIMIT_S, column="cold"), Aim(value=DELIVERED_LIMIT_S, column="warm")),
        ),
        Figure(name="of it until the results are written", unit="s", cold=written[:1], warm=written[1:]),
    )
    return Section(title=f"Service beside Orthanc, CT of {images} slices (`data_samples`)", figures=figures)
