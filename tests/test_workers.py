from __future__ import annotations

import multiprocessing
import os
import time

import pytest

from fakes import divide_by, square, square_unless_unlucky, threads_seen
from vertecast.workers import Lost, run_in_processes


def test_every_item_comes_back_with_its_result() -> None:
    assert sorted(run_in_processes(square, [3, 1, 2], workers=2)) == [(1, 1), (2, 4), (3, 9)]


def test_a_dead_worker_loses_only_the_item_at_fault() -> None:
    results = dict(run_in_processes(square_unless_unlucky, [2, 13, 4, 5], workers=2))
    assert results == {2: 4, 13: Lost.WORKER_DIED, 4: 16, 5: 25}


def test_what_the_function_raises_ends_the_run() -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_in_processes(divide_by, [0], workers=1))


def test_workers_share_the_cores() -> None:
    [(_, threads)] = run_in_processes(threads_seen, [0], workers=64)
    assert int(threads) == max(1, (os.cpu_count() or 1) // 64)


def test_closing_early_ends_the_workers() -> None:
    before = set(multiprocessing.active_children())
    results = run_in_processes(time.sleep, [0.0, 60.0], workers=2)
    assert next(iter(results)) == (0.0, None)
    started = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 20
    assert set(multiprocessing.active_children()) <= before
