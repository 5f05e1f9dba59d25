"""The whole service in a process of its own, between a sender and real archives; the analysis is light."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom import dcmread

from archives import Rest, answers, dcmqrscp, free_port, orthanc, running, store, until
from fakes import SECRET_NAME
from pacs_light import DAMAGED, SLOW_STUDY, light_analysis, study_uid, write_image
from vertecast.core.errors import ConfigurationError
from vertecast.service.options import PacsOptions
from vertecast.service.queue import State, StudyQueue, StudyRecord
from vertecast.service.service import UNKNOWN_SOURCE, Service

TITLE = "VERTECAST"
TESTS = Path(__file__).parents[1]
FAST = {"first_s": 0.2, "longest_s": 1.0, "attempts": 2}


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service under way."""

    port: int
    folder: Path
    queue: StudyQueue
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def study(self, number: int) -> StudyRecord:
        study = self.queue.study(study_uid(number))
        assert study is not None, self.log
        return study

    def becomes(self, number: int, state: State) -> StudyRecord:
        """Wait until a study is in a state."""
        until(lambda: (one := self.queue.study(study_uid(number))) is not None and one.state is state)
        return self.study(number)


def configure(folder: Path, *archives: dict[str, Any], port: int, **options: Any) -> Path:
    document = {
        "folder": "service", "settle_s": 1.0, "retry": FAST, "disk": {"reserve_gb": 0.0}, "web": {"enabled": False},
        "node": {"port": port, "timeout_s": 10.0}, "archives": [{"timeout_s": 10.0, **one} for one in archives],
        **options,
    }  # fmt: skip
    path = folder / "pacs.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@contextmanager
def serving(folder: Path, *archives: dict[str, Any], port: int = 0, **options: Any) -> Iterator[Running]:
    """The light service with these archives."""
    port = port or free_port()
    path = configure(folder, *archives, port=port, **options)
    sources = f"{TESTS}:{TESTS.parent / 'pipeline'}"
    command = [sys.executable, "-m", "pacs_light", str(path)]
    with running(command, answers(port, TITLE), folder / "log", PYTHONPATH=sources) as process:
        queue = StudyQueue(folder / "service" / "queue.sqlite")
        yield Running(port=port, folder=folder, queue=queue, process=process)
        queue.close()


def send(service: Running, *paths: Path) -> None:
    result = store(paths, service.port, TITLE)
    assert result.returncode == 0, result.stderr


def by_dicom(port: int, title: str = "ORTHANC", name: str = "pacs") -> dict[str, Any]:
    return {"name": name, "kind": "dicom", "host": "127.0.0.1", "port": port, "ae_title": title}


def result_uid(study: int, images: int) -> str:
    return f"{study_uid(study)}.9.{images}"


def test_from_a_sender_to_two_archives_and_again_with_a_late_image(tmp_path: Path) -> None:
    with (
        orthanc(tmp_path / "o") as (rest, dicom),
        dcmqrscp(tmp_path / "q") as (folder, other),
        serving(tmp_path, by_dicom(dicom), by_dicom(other, "DCMQR", "second"), {"name": "web", "kind": "dicomweb",
                "url": f"{rest.url}/dicom-web"}) as service,
    ):  # fmt: skip
        send(service, *(write_image(tmp_path / f"{n}.dcm", image=n) for n in range(3)))
        study = service.becomes(1, State.DELIVERED)
        assert (study.images, study.deliveries) == (3, dict.fromkeys(["pacs", "second", "web"], "delivered"))
        assert rest.instances() == [result_uid(1, 3)]
        send(service, write_image(tmp_path / "late.dcm", image=7))
        until(lambda: rest.instances() == [result_uid(1, 3), result_uid(1, 4)])
        service.becomes(1, State.DELIVERED)
        held = {str(dcmread(path).SOPInstanceUID) for path in folder.iterdir() if path.name != "index.dat"}
        assert held == {result_uid(1, 3), result_uid(1, 4)}
        # The archive forwards what it got: our own results start nothing.
        before = service.study(1)
        send(service, tmp_path / "service" / "results" / study_uid(1) / "sr.dcm")
        send(service, tmp_path / "1.dcm")
        time.sleep(2)
        assert service.study(1) == before
        assert SECRET_NAME not in service.log


def test_a_damaged_study_is_given_up_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    with orthanc(tmp_path / "o") as (rest, dicom), serving(tmp_path, by_dicom(dicom)) as service:
        send(service, write_image(tmp_path / "1.dcm", study=1, damaged=True), write_image(tmp_path / "2.dcm", study=2))
        service.becomes(2, State.DELIVERED)
        study = service.becomes(1, State.FAILED)
        assert (study.reason, study.attempts) == (DAMAGED, 2)
        assert rest.instances() == [result_uid(2, 1)]
        send(service, write_image(tmp_path / "1.dcm", study=1))
        service.becomes(1, State.DELIVERED)


def test_an_archive_that_is_away_loses_nothing_and_holds_up_no_other(tmp_path: Path) -> None:
    port, title = free_port(), "DCMQR"
    with (
        orthanc(tmp_path / "o") as (rest, dicom),
        serving(tmp_path, by_dicom(dicom), by_dicom(port, title, "away")) as service,
    ):
        send(service, *(write_image(tmp_path / f"{n}.dcm", study=n) for n in (1, 2)))
        until(lambda: rest.instances() == [result_uid(1, 1), result_uid(2, 1)])
        until(lambda: "does not answer" in service.study(1).deliveries["away"])
        assert service.study(1).state is State.ANALYZED
        with dcmqrscp(tmp_path / "q", port=port) as (folder, _):
            service.becomes(1, State.DELIVERED)
            service.becomes(2, State.DELIVERED)
            assert len([path for path in folder.iterdir() if path.name != "index.dat"]) == 2


def _times_stable(rest: Rest) -> int:
    return sum(one["ChangeType"] == "StableStudy" for one in rest.json("/changes?limit=1000")["Changes"])


def test_orthanc_is_watched_without_a_plugin(tmp_path: Path) -> None:
    with orthanc(tmp_path / "o", StableAge=1) as (rest, _):
        rest("/instances", write_image(tmp_path / "0.dcm", study=5).read_bytes())
        until(lambda: _times_stable(rest) == 1)
        archive = {"name": "orthanc", "kind": "orthanc", "url": rest.url, "poll": {"every_s": 0.5}}
        with serving(tmp_path, archive) as service:
            until(lambda: service.queue.archives.mark("orthanc", "seen") is not None)
            for image in range(3):
                rest("/instances", write_image(tmp_path / "1.dcm", image=image).read_bytes())
            service.becomes(1, State.DELIVERED)
            study = service.study(1)
            assert (study.source, study.images) == ("orthanc", 3)
            # The study is stable again with our result in it, which is not new to us.
            times = _times_stable(rest)
            until(lambda: _times_stable(rest) > times)
            time.sleep(1.5)
            assert service.study(1) == study
            assert service.queue.study(study_uid(5)) is None
            service.queue.request(study_uid(5), "orthanc")
            service.becomes(5, State.DELIVERED)
            service.queue.request(study_uid(6), "orthanc")
            until(lambda: service.study(6).reason == "orthanc: the archive holds no such study")
            until(lambda: len(rest.instances()) == 6)


def test_dicomweb_is_watched(tmp_path: Path) -> None:
    with orthanc(tmp_path / "o") as (rest, _):
        archive = {"name": "web", "kind": "dicomweb", "url": f"{rest.url}/dicom-web", "poll": {"every_s": 0.7}}
        with serving(tmp_path, archive) as service:
            for study in (1, 2):
                rest("/instances", write_image(tmp_path / "1.dcm", study=study).read_bytes())
            first = service.becomes(1, State.DELIVERED)
            service.becomes(2, State.DELIVERED)
            time.sleep(2.5)
            assert service.study(1) == first
            rest("/instances", write_image(tmp_path / "1.dcm", image=2).read_bytes())
            until(lambda: result_uid(1, 2) in rest.instances())
            assert service.becomes(1, State.DELIVERED).images == 2


def test_a_worker_that_is_killed_or_takes_too_long_costs_its_study_alone(tmp_path: Path) -> None:
    slow = int(SLOW_STUDY.rpartition(".")[2])
    with serving(tmp_path, time_limit_s=5.0, retry={**FAST, "attempts": 1}) as service:
        send(service, write_image(tmp_path / "1.dcm", study=slow))
        service.becomes(slow, State.ANALYZING)
        for pid in _children(service.process.pid):
            os.kill(pid, signal.SIGKILL)
        assert "ended without a word" in service.becomes(slow, State.FAILED).reason
        assert service.queue.retry(study_uid(slow))
        until(lambda: "longer than 5 s" in service.study(slow).reason)
        send(service, write_image(tmp_path / "2.dcm", study=2))
        service.becomes(2, State.ANALYZED)


def _children(pid: int) -> list[int]:
    """Worker processes of a service."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(child) for path in children for child in path.read_text().split()]
    return [child for child in pids if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_an_end_by_signal_is_clean_and_what_was_under_way_goes_on(tmp_path: Path) -> None:
    slow = int(SLOW_STUDY.rpartition(".")[2])
    with serving(tmp_path) as service:
        send(service, write_image(tmp_path / "1.dcm", study=slow))
        service.becomes(slow, State.ANALYZING)
        workers = _children(service.process.pid)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
        study = service.study(slow)
        assert (study.state, study.attempts) == (State.READY, 0)
        assert "the service has ended" in service.log
        assert "Traceback" not in service.log
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_killed_at_random_moments_it_delivers_every_good_study_once(tmp_path: Path) -> None:
    """20 studies of four senders, one in five damaged; five times SIGKILL. See scripts/soak.py for more of both."""
    chance = random.Random(6)
    numbers = range(1, 21)
    bad = {number for number in numbers if number % 5 == 0}
    paths = {number: [write_image(tmp_path / "in" / f"{number}_{image}.dcm", study=number, image=image,
                                  damaged=number in bad) for image in range(3)] for number in numbers}  # fmt: skip
    port = free_port()
    with orthanc(tmp_path / "o") as (rest, dicom):

        def sender(mine: Sequence[int]) -> None:
            for number in mine:
                # As an archive does: again until it is taken.
                while store(paths[number], port, TITLE).returncode != 0:
                    time.sleep(0.2)

        senders = [threading.Thread(target=sender, args=(list(numbers)[first::4],)) for first in range(4)]
        for thread in senders:
            thread.start()
        configure(tmp_path, by_dicom(dicom), port=port)
        for _ in range(5):
            _serve_and_kill(tmp_path, port, chance.uniform(0.3, 2.5))
        with serving(tmp_path, by_dicom(dicom), port=port) as service:
            for thread in senders:
                thread.join(60)
            until(lambda: {one.state for one in service.queue.studies()} <= {State.DELIVERED, State.FAILED}
                  and len(service.queue.studies()) == len(numbers))  # fmt: skip
            ended = {int(one.study_instance_uid.rpartition(".")[2]): one for one in service.queue.studies()}
        assert {number for number, one in ended.items() if one.state is State.FAILED} == bad
        assert {ended[number].reason for number in bad} == {DAMAGED}
        assert {one.images for one in ended.values()} == {3}
        complete = [result_uid(number, 3) for number in numbers if number not in bad]
        assert [uid for uid in rest.instances() if uid.endswith(".9.3")] == sorted(complete)


def _serve_and_kill(folder: Path, port: int, after_s: float) -> None:
    """Start the service of a folder and kill it some time after it came up."""
    sources = f"{TESTS}:{TESTS.parent / 'pipeline'}"
    command = [sys.executable, "-m", "pacs_light", str(folder / "pacs.yaml")]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": sources})
    until(answers(port, TITLE))
    time.sleep(after_s)
    process.kill()
    process.wait()


def options_for(folder: Path, **more: Any) -> PacsOptions:
    return PacsOptions.model_validate(
        {"folder": str(folder), "web": {"enabled": False}, "node": {"port": free_port()}, **more}
    )


def test_a_wrong_configuration_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "pacs.yaml").write_text("folder: x\nnode: {host: 0.0.0.0}")
    command = [sys.executable, "-m", "vertecast", "serve", "--config", str(tmp_path / "pacs.yaml")]
    sources = {**os.environ, "PYTHONPATH": str(TESTS.parent / "pipeline")}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=sources)
    assert result.returncode == 2
    assert "node: the node listens on 0.0.0.0 and knows no peers" in result.stderr
    assert not (tmp_path / "x").exists()


def test_what_the_service_writes_is_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    (tmp_path / "pacs.yaml").write_text(f"folder: {folder}\nnode: {{port: {free_port()}}}\nweb: {{enabled: false}}")
    command = [sys.executable, "-m", "vertecast", "serve", "--config", str(tmp_path / "pacs.yaml")]
    sources = {**os.environ, "PYTHONPATH": str(TESTS.parent / "pipeline")}
    process = subprocess.Popen(command, env=sources, stderr=subprocess.DEVNULL, umask=0o022)
    until(lambda: (folder / "queue.sqlite").is_file())
    process.terminate()
    process.wait(timeout=60)
    assert folder.stat().st_mode & 0o077 == 0
    assert [path for path in folder.rglob("*") if path.stat().st_mode & 0o077] == []


def test_two_services_never_share_a_folder(tmp_path: Path) -> None:
    service = Service(options_for(tmp_path), light_analysis)
    with pytest.raises(ConfigurationError, match="another service uses it"):
        Service(options_for(tmp_path), light_analysis)
    service.start()
    service.stop()
    Service(options_for(tmp_path), light_analysis).stop()


def test_a_port_that_is_taken_is_told_and_the_folder_is_free_again(tmp_path: Path) -> None:
    options = options_for(tmp_path / "a")
    service = Service(options, light_analysis)
    service.start()
    other = Service(options_for(tmp_path / "b", node=options.node.model_dump()), light_analysis)
    with pytest.raises(ConfigurationError, match=r"cannot listen on 127\.0\.0\.1"):
        other.start()
    service.stop()
    Service(options_for(tmp_path / "b"), light_analysis).stop()


def test_a_study_of_an_archive_that_is_gone_does_not_wait_for_ever(tmp_path: Path) -> None:
    queue = StudyQueue(tmp_path / "queue.sqlite")
    queue.request("1.2.3", "gone")
    service = Service(options_for(tmp_path), light_analysis)
    service.start()
    study = queue.study("1.2.3")
    assert study is not None
    assert (study.state, study.reason) == (State.FAILED, UNKNOWN_SOURCE)
    service.stop()
    queue.close()
