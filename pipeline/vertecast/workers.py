"""A pool of processes that outlives a dead worker: who brought it down fails alone, the others go on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from enum import Enum
from types import FrameType
from typing import Final, TypeAlias, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Lost(Enum):
    """Stands for the result of an item whose worker process ended without a word."""

    WORKER_DIED = "worker died"


Finished: TypeAlias = tuple[Item, Result | Lost]


def run_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Finished[Item, Result]]:
    """Apply a function to items in worker processes, yielding each as it is done, in no fixed order.

    When a worker dies (killed for memory, or by a crash in compiled code), the items that were under way run again one
    at a time, each in a process of its own, so that only the one at fault is lost. Closing the iterator early ends the
    workers.

    Args:
        function: A plain function of a module. What it raises is raised here and ends the run.
        items: What it is applied to; must be picklable.
        workers: Processes at the same time, 1 or more.
    """
    waiting = deque(items)
    while waiting:
        suspects = yield from _until_a_worker_dies(function, waiting, workers)
        for item in suspects:
            if (yield from _until_a_worker_dies(function, deque([item]), 1)):
                yield item, Lost.WORKER_DIED


def _until_a_worker_dies(
    function: Callable[[Item], Result], waiting: deque[Item], workers: int
) -> Generator[Finished[Item, Result], None, list[Item]]:
    """Take items from the left until none waits or a worker dies; returns those under way at that moment."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (threads,))
    running: dict[Future[Result], Item] = {}
    lost: list[Item] = []
    others = set(multiprocessing.active_children())
    try:
        while running or (waiting and not lost):
            while waiting and not lost and len(running) < workers:
                running[pool.submit(function, waiting[0])] = waiting[0]
                waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    lost.append(item)
                else:
                    yield item, result
    except BrokenProcessPool:
        lost += running.values()
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return lost


def _start_worker(threads: int) -> None:
    """Prepare a worker: its share of the cores, and an end that lets open files be tidied up.

    Ctrl-C reaches every process of the terminal; only the main one answers it, by terminating its workers.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)


def _leave(signal_number: int, _frame: FrameType | None) -> None:
    """Raise `SystemExit`, so that every ``finally`` on the way out is honoured."""
    sys.exit(128 + signal_number)
