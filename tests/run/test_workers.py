from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fakes import (
    Errand,
    divide_by,
    own_process,
    run_errand,
    square,
    square_or_sealed,
    square_unless_unlucky,
    threads_seen,
)
from vertecast.run.workers import Lost, run_in_processes


def test_every_item_comes_back_with_its_result() -> None:
    assert sorted(run_in_processes(square, [3, 1, 2], workers=2)) == [(1, 1), (2, 4), (3, 9)]


def test_a_dead_worker_loses_only_the_item_at_fault() -> None:
    results = dict(run_in_processes(square_unless_unlucky, [2, 13, 4, 5], workers=2))
    assert results == {2: 4, 13: Lost.WORKER_DIED, 4: 16, 5: 25}


def test_an_answer_that_cannot_be_read_loses_only_its_item() -> None:
    results = dict(run_in_processes(square_or_sealed, [2, 13, 14, 5], workers=2))
    assert results == {2: 4, 13: Lost.WORKER_DIED, 14: Lost.WORKER_DIED, 5: 25}


def test_a_worker_that_is_killed_costs_its_item_one_retry_and_the_others_nothing(tmp_path: Path) -> None:
    errands = [Errand(name=name, log=tmp_path, seconds=seconds) for name, seconds in (("a", 3600.0), ("b", 4.0))]
    killer = threading.Thread(target=lambda: os.kill(_process_of(errands[0]), signal.SIGKILL))
    killer.start()
    results = list(run_in_processes(run_errand, errands, workers=2, time_limit_s=60))
    killer.join()
    assert results == [(errands[1], "b"), (errands[0], "a")]
    assert [errand.begun() for errand in errands] == [2, 1]


def _process_of(errand: Errand) -> int:
    """The process that began an errand."""
    until = time.monotonic() + 60
    while time.monotonic() < until and not errand.begun():
        time.sleep(0.05)
    return int(errand.file.read_text())


def test_an_item_that_hangs_is_ended_and_not_tried_again(tmp_path: Path) -> None:
    errands = [Errand(name=name, log=tmp_path, seconds=seconds) for name, seconds in (("a", 3600.0), ("b", 0.1))]
    started = time.monotonic()
    results = dict(run_in_processes(run_errand, errands, workers=1, time_limit_s=1.0))
    assert results == {errands[0]: Lost.OUT_OF_TIME, errands[1]: "b"}
    assert [errand.begun() for errand in errands] == [1, 1]
    assert time.monotonic() - started < 60


def test_what_the_function_raises_ends_the_run() -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_in_processes(divide_by, [0], workers=1))


def test_workers_share_the_cores() -> None:
    [(_, threads)] = run_in_processes(threads_seen, [0], workers=64)
    assert int(threads) == max(1, (os.cpu_count() or 1) // 64)


def test_a_worker_is_kept_for_the_next_item() -> None:
    processes = {process for _, process in run_in_processes(own_process, range(4), workers=1)}
    assert len(processes) == 1


def test_closing_early_ends_the_workers() -> None:
    before = set(multiprocessing.active_children())
    results = run_in_processes(time.sleep, [0.0, 60.0], workers=2)
    assert next(iter(results)) == (0.0, None)
    started = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 20
    assert set(multiprocessing.active_children()) <= before


def test_workers_end_with_a_main_process_that_is_killed(tmp_path: Path) -> None:
    errand = Errand(name="a", log=tmp_path, seconds=3600.0)
    code = (
        "from pathlib import Path; from fakes import Errand, run_errand; "
        "from vertecast.run.workers import run_in_processes\n"
        f"list(run_in_processes(run_errand, [Errand(name='a', log=Path({str(tmp_path)!r}), seconds=3600.0)], 1))"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", ""), *sys.path])
    main = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path})
    worker = _process_of(errand)
    main.kill()
    main.wait()
    for _ in range(200):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.05)
    pytest.fail("the worker outlived its main process")
