"""A killed run goes on as if nothing had happened, and several processes train one network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from tiny_training import TERMS, TINY, assert_same, curves, last_state


def _schedule(folder: Path, **changes: Any) -> Path:
    path = folder / "schedule.yaml"
    values = {key: list(v) if isinstance(v, tuple) else v for key, v in {**TINY, **changes}.items()}
    path.write_text(yaml.safe_dump(values))
    return path


def _train(config: Path, run: Path) -> subprocess.Popen[bytes]:
    """Start the script in a process of its own, as a user does: other tests leave settings of torch behind."""
    script = Path(__file__).parents[3] / "scripts" / "train.py"
    return subprocess.Popen(
        [sys.executable, str(script), str(config), "--out", str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    # Workers draw ahead of the step, and the kill comes after a checkpoint, at a step that no one chose.
    config = _schedule(tmp_path, steps=24, workers=2, save_every=4, prefetch=2, pool=2, uses=6)
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    process = _train(config, killed)
    deadline = time.monotonic() + 120
    while not (killed / "last.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 4 <= last_state(killed)["step"] < 24
    for run in (killed, straight):
        assert _train(config, run).wait(timeout=240) == 0
        assert last_state(run)["step"] == 24
    for part in ("net", "average"):
        assert_same(last_state(killed)[part], last_state(straight)[part])
    assert _without_times(killed) == _without_times(straight)


def _without_times(run: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if "second" not in key} for row in curves(run)]


PROCESS = """
import sys, torch
from pathlib import Path
from vertecast.lab.training import Trainer, joined, load_task
with joined() as place:
    trainer = Trainer(load_task(Path(sys.argv[1])), Path(sys.argv[2]), place)
    seen = []
    loader = trainer._batches
    trainer._batches = lambda: (seen.append(float(b["hu"].sum())) or b for b in loader())
    trainer.run()
    torch.save({"net": trainer.net.state_dict(), "seen": seen}, Path(sys.argv[2]) / f"rank{place.rank}.pt")
"""


def test_two_processes_train_one_network(tmp_path: Path) -> None:
    config = _schedule(tmp_path, steps=12, validate_every=6)
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    run = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, str(script), str(config), str(run)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(run / f"rank{n}.pt", weights_only=True) for n in (0, 1))
    assert_same(first["net"], second["net"])
    assert not set(first["seen"]) & set(second["seen"]), "each process has examples of its own"
    rows = curves(run)
    assert [int(row["step"]) for row in rows] == [6, 12]
    assert len(curves(run, "validation")) == 2
    assert sum(float(rows[1][k]) for k in TERMS) < sum(float(rows[0][k]) for k in TERMS)
