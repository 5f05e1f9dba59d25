"""Processes that die, hang or find the disk full: the rest is done, and no study is analysed twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fakes import HERE, load_blocks, write_spine
from vertecast.run.batch import run_batch
from vertecast.run.engine import Engine
from vertecast.run.resume import FINGERPRINT_NAME

DRIVER = Path(__file__).parents[1] / "batch_driver.py"
NAMES = [f"study{number}" for number in range(8)]


class Run:
    """Runs of the driver over the same inputs into the same folder."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.inputs, self.out, self.log = folder / "in", folder / "out", folder / "begun"
        for path in (self.inputs, self.log):
            path.mkdir()
        for name in names:
            (self.inputs / f"{name}.nii.gz").write_bytes(b"never read")

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Begin a run, in a group of processes of its own as a terminal makes one."""
        path = os.pathsep.join([str(DRIVER.parent), *sys.path])
        command = [sys.executable, str(DRIVER), str(self.inputs), str(self.out), *options]
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def finish(self, *options: str) -> dict[str, Any]:
        """A whole run; what became of each study."""
        return ended(self.start(*options))

    def begun(self) -> dict[str, int]:
        """How often each study was begun."""
        return {path.name: len(path.read_text().split()) for path in self.log.iterdir()}

    def done(self) -> set[str]:
        """The studies that are complete."""
        return {path.parent.name for path in self.out.glob(f"*/{FINGERPRINT_NAME}")}

    def workers(self) -> list[int]:
        """Processes that ever began a study, the latest last."""
        logs = sorted(self.log.iterdir(), key=lambda path: path.stat().st_mtime)
        return [int(path.read_text().split()[-1]) for path in logs if path.read_text()]


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    stdout, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return found


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def wait_until(reached: Any, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_main_process_killed_at_any_moment_loses_and_repeats_nothing(tmp_path: Path) -> None:
    run, moments = Run(tmp_path, NAMES), random.Random(5)
    for kill in range(1, 4):
        process = run.start()
        wait_until(lambda goal=2 * kill: len(run.done()) >= goal)
        time.sleep(moments.uniform(0, 0.6))
        process.kill()
        process.communicate()
        wait_until(lambda: not any(map(alive, run.workers())))
    done, before = run.done(), run.begun()
    assert 0 < len(done) <= len(NAMES)
    assert run.finish() == {name: ["analyzed", ""] for name in NAMES}
    after = run.begun()
    assert {name: after[name] for name in done} == {name: before[name] for name in done}
    assert sum(after.values()) <= len(NAMES) + 3 * 2  # each kill costs what was under way
    assert not list(run.out.glob(".*.partial"))


def test_workers_killed_at_any_moment_cost_their_study_one_more_beginning(tmp_path: Path) -> None:
    run, moments = Run(tmp_path, NAMES), random.Random(6)
    process = run.start()
    for kill in range(1, 3):
        wait_until(lambda goal=kill: len(run.done()) >= goal)
        time.sleep(moments.uniform(0, 0.4))
        os.kill(next(worker for worker in reversed(run.workers()) if alive(worker)), signal.SIGKILL)
    assert ended(process) == {name: ["analyzed", ""] for name in NAMES}
    assert sum(run.begun().values()) <= len(NAMES) + 2
    assert max(run.begun().values()) <= 2


def test_a_study_that_hangs_and_one_that_fills_the_disk_stop_no_other(tmp_path: Path) -> None:
    run = Run(tmp_path, ["a", "full", "hang", "z"])
    ends = run.finish("4")
    assert {name: status for name, (status, _) in ends.items()} == {
        "a": "analyzed", "full": "failed", "hang": "failed", "z": "analyzed",
    }  # fmt: skip
    assert "File too large; free some space" in ends["full"][1]
    assert ends["hang"][1].startswith("took longer than 4 s and was ended")
    assert run.begun() == {"a": 1, "full": 1, "hang": 1, "z": 1}
    kept = sorted(path.name for path in run.out.iterdir())
    assert kept == ["a", "index.html", "run.json", "summary.csv", "z"]


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    run = Run(tmp_path, NAMES)
    process = run.start()
    wait_until(lambda: len(run.done()) >= 3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
    ends = ended(process)
    done = run.done()
    assert {name for name, (status, _) in ends.items() if status == "analyzed"} <= done
    assert len([status for status, _ in ends.values() if status == "skipped"]) >= len(NAMES) - len(done)
    assert not any(map(alive, run.workers()))
    assert not list(run.out.glob(".*.partial"))
    assert run.finish() == {name: ["analyzed", ""] for name in NAMES}
    assert {run.begun()[name] for name in done} == {1}


def test_a_file_that_vanishes_after_it_was_found_is_a_reason(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_spine(tmp_path / f"{name}.nii.gz")

    def remove(*_: object) -> None:
        (tmp_path / "b.nii.gz").unlink(missing_ok=True)

    engine = Engine(load=load_blocks, weights="blocks")
    result = run_batch([tmp_path], tmp_path.with_name("vanished"), HERE, engine, listener=remove)
    assert [study.status for study in result.studies] == ["analyzed", "failed"]
    assert "vanished since it was found" in result.studies[1].reason


@pytest.mark.parametrize("leftover", [".a.0123abcd.partial"])
def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path, leftover: str) -> None:
    run = Run(tmp_path, ["a"])
    (run.out / leftover).mkdir(parents=True)
    assert run.finish() == {"a": ["analyzed", ""]}
    assert not (run.out / leftover).exists()
