"""Long service and sudden deaths of it: many tiny studies through the whole service, with a light analysis.

``python scripts/soak.py --studies 2000`` prints memory, open files and threads before and after;
``python scripts/soak.py --studies 100 --kills 20`` ends it by SIGKILL at random moments and counts what arrived.
It needs pynetdicom as sender and archive alone, both in this process, on the loopback.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from pydicom import Dataset, dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, SecondaryCaptureImageStorage  # type: ignore[attr-defined]

TESTS: Final = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

from archives import free_port, until  # type: ignore[import-not-found]  # noqa: E402
from pacs_light import study_uid, write_image  # type: ignore[import-not-found]  # noqa: E402
from vertecast.service.queue import State, StudyQueue  # noqa: E402

SENDERS: Final = 4
IMAGES: Final = 3
BAD_EVERY: Final = 10
WARM_UP: Final = 100
"""So many studies go through before the first look: caches fill, modules load."""

GROWTH: Final = 1.05


def main() -> None:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vertecast-soak-") as folder, archive() as (port, arrived):
        good = run(Path(folder), port, asked.studies, asked.kills, random.Random(asked.seed))
    check(f"{len(good)} good studies delivered, each object once or known as the same", set(arrived) >= good)
    strangers = {uid for uid in arrived if uid.rpartition(".9.")[0] not in {one.rpartition(".9.")[0] for one in good}}
    check("nothing of the damaged studies arrived", not strangers)
    print(f"objects sent more than once (the archive knows them by their UID): {sum(n > 1 for n in arrived.values())}")


def run(folder: Path, archive_port: int, studies: int, kills: int, chance: random.Random) -> set[str]:
    """Send everything through the service; returns the UIDs of the results that must have arrived."""
    port, damage = free_port(), bool(kills)
    archive_options = {
        "name": "pacs",
        "kind": "dicom",
        "host": "127.0.0.1",
        "port": archive_port,
        "ae_title": "ARCHIVE",
    }
    document = {
        "folder": "service", "settle_s": 1.0, "workers": 2, "web": {"enabled": False}, "node": {"port": port},
        "disk": {"reserve_gb": 0.1}, "retry": {"first_s": 0.2, "attempts": 2}, "archives": [archive_options],
    }  # fmt: skip
    (folder / "pacs.yaml").write_text(yaml.safe_dump(document))
    numbers = range(1, studies + 1)
    bad = {number for number in numbers if damage and number % BAD_EVERY == 0}
    services = [start(folder)]
    threads = [
        threading.Thread(target=send_all, args=(folder, port, numbers[first::SENDERS], bad)) for first in range(SENDERS)
    ]
    queue = StudyQueue(folder / "service" / "queue.sqlite")

    def done() -> int:
        counts = queue.counts()
        return counts[State.DELIVERED] + counts[State.FAILED]

    started = time.monotonic()
    for thread in threads:
        thread.start()
    for _ in range(kills):
        time.sleep(chance.uniform(0.2, 4.0))
        services[-1].kill()
        services[-1].wait()
        services.append(start(folder))
    before = watch(services[-1], done, min(WARM_UP, studies // 2))
    after = watch(services[-1], done, studies)
    print(f"{studies} studies of {IMAGES} images in {time.monotonic() - started:.0f} s, {kills} kills")
    compare(before, after, strict=not kills)
    listed = {one.study_instance_uid: one for one in queue.studies(limit=-1)}
    failed = {uid for uid, one in listed.items() if one.state is State.FAILED and one.reason}
    check(f"{len(bad)} damaged studies listed with their reason", failed == {study_uid(number) for number in bad})
    check(f"{IMAGES} images of every study", {one.images for one in listed.values()} == {IMAGES})
    services[-1].send_signal(signal.SIGTERM)
    check("a clean end", services[-1].wait(60) == 0)
    queue.close()
    return {f"{study_uid(number)}.9.{IMAGES}" for number in numbers if number not in bad}


def start(folder: Path) -> subprocess.Popen[bytes]:
    """The light service."""
    sources = os.pathsep.join((str(TESTS), str(TESTS.parent / "pipeline")))
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-m", "pacs_light", str(folder / "pacs.yaml")]
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": sources})


def send_all(folder: Path, port: int, numbers: Sequence[int], bad: set[int]) -> None:
    """Send studies one after the other, each again until all of it is taken."""
    entity = AE()
    entity.add_requested_context(CTImageStorage)
    for number in numbers:
        images = [
            dcmread(write_image(folder / f"{number}_{image}.dcm", study=number, image=image, damaged=number in bad))
            for image in range(IMAGES)
        ]
        while not send(entity, port, images):
            time.sleep(0.2)
        for image in range(IMAGES):
            (folder / f"{number}_{image}.dcm").unlink()


def send(entity: AE, port: int, images: Sequence[Dataset]) -> bool:
    """Whether all images were taken."""
    association = entity.associate("127.0.0.1", port, ae_title="VERTECAST")
    if not association.is_established:
        return False
    try:
        return all(association.send_c_store(image).get("Status") == 0 for image in images)
    except (RuntimeError, ValueError):  # killed while it was sent
        return False
    finally:
        association.release()


@contextmanager
def archive() -> Iterator[tuple[int, Counter[str]]]:
    """An archive that counts what it gets."""
    arrived: Counter[str] = Counter()

    def on_store(event: Any) -> int:
        arrived[str(event.request.AffectedSOPInstanceUID)] += 1
        return 0

    entity = AE(ae_title="ARCHIVE")
    entity.add_supported_context(SecondaryCaptureImageStorage)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    assert server is not None
    try:
        yield server.server_address[1], arrived
    finally:
        server.shutdown()


def watch(service: subprocess.Popen[bytes], done: Any, count: int) -> dict[str, float]:
    """Wait until so many studies are done, then look at the service."""
    until(lambda: done() >= count or service.poll() is not None, patience_s=6 * 3600)
    check("the service lives", service.poll() is None)
    time.sleep(2)
    process = Path(f"/proc/{service.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
    return {
        "memory, MB": int(status["VmRSS"].split()[0]) / 1024,
        "open files": len(list((process / "fd").iterdir())),
        "threads": int(status["Threads"]),
    }


def compare(before: dict[str, float], after: dict[str, float], *, strict: bool) -> None:
    """Print what the service takes, and say whether it grew."""
    for name, value in before.items():
        print(f"{name}: {value:.1f} → {after[name]:.1f} ({100 * (after[name] / value - 1):+.1f} %)")
        if strict:
            check(f"{name} grew by 5 % at most", after[name] <= GROWTH * value)


def check(what: str, is_so: bool) -> None:
    """Say whether something holds; the exit status is 1 when one did not."""
    print(f"{'ok  ' if is_so else 'FAIL'} {what}", flush=True)
    if not is_so:
        sys.exit(1)


if __name__ == "__main__":
    main()
