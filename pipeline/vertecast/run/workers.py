"""Work in processes of their own: one that hangs is ended, one that dies costs its item one retry, the others go on."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
ResultOut = TypeVar("ResultOut", covariant=True)

THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

LEAVING_S: Final = 5.0
"""So long idle processes may take to leave by themselves."""

GRACE_S: Final = 10.0
"""So long a process that is to end may tidy up before it is killed."""


class Lost(Enum):
    """Stands for the result of an item that gave none."""

    WORKER_DIED = "worker died"
    OUT_OF_TIME = "out of time"


Finished: TypeAlias = tuple[Item, Result | Lost]


class Pool(Protocol[Item, ResultOut]):
    """What works through items, in this process, in several, or on several machines."""

    @property
    def has_room(self) -> bool:
        """Whether a further item would be begun at once."""

    @property
    def busy(self) -> bool:
        """Whether a result is still to come."""

    def submit(self, item: Item) -> None:
        """Take an item."""

    def next_finished(self) -> Finished[Item, ResultOut]:
        """Wait for the next result. To be called while `busy`; raises what the function raised."""

    def close(self) -> None:
        """End whatever is under way."""


class InProcess(Generic[Item, Result]):
    """The pool without a process: nothing is begun before the result is asked for, and nothing can be ended."""

    def __init__(self, function: Callable[[Item], Result]) -> None:
        self._function = function
        self._waiting: deque[Item] = deque()

    @property
    def has_room(self) -> bool:
        return not self._waiting

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def submit(self, item: Item) -> None:
        self._waiting.append(item)

    def next_finished(self) -> Finished[Item, Result]:
        item = self._waiting.popleft()
        return item, self._function(item)

    def close(self) -> None:
        self._waiting.clear()


@dataclass(slots=True, kw_only=True, eq=False)
class _Worker:
    """A process with a pipe of its own, so that its end leaves the others alone."""

    process: SpawnProcess
    pipe: Connection
    item: Any = None
    is_ready: bool = False
    deadline: float | None = None


class ProcessPool(Generic[Item, Result]):
    """Processes that are started when needed and kept, so that what they load is loaded once.

    An item whose process dies (killed for want of memory, or by a crash in compiled code) is tried once more when
    nothing else is to be done, alone, and is lost when it happens again. An item that takes too long is lost at once.
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        workers: int,
        *,
        time_limit_s: float | None = None,
        keep_below_bytes: int | None = None,
        tries: int = 2,
        threads: int | None = None,
    ) -> None:
        """Prepare a pool; no process is started yet.

        Args:
            function: A plain function of a module.
            workers: Processes at the same time, 1 or more.
            time_limit_s: For one item, without the start of the process; None: no limit.
            keep_below_bytes: A process that holds more memory than this after an item is replaced, because compiled
                libraries give little of it back; None: none is.
            tries: How often an item is begun whose process dies.
            threads: For each process; None: its share of the cores.
        """
        self._threads = threads or max(1, (os.cpu_count() or 1) // workers)
        self._function = function
        self._keep_below_bytes = keep_below_bytes
        self._workers = workers
        self._time_limit_s = time_limit_s
        self._retries = tries - 1
        self._running: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._suspects: deque[tuple[Item, int]] = deque()
        self._tried: dict[int, int] = {}

    @property
    def has_room(self) -> bool:
        return len(self._running) < self._workers and not self._tried

    @property
    def busy(self) -> bool:
        return bool(self._running or self._suspects)

    def submit(self, item: Item) -> None:
        """Give an item to a process; to be called while there `has_room`."""
        worker = self._idle.pop() if self._idle else self._start()
        worker.item = item
        self._running.append(worker)
        if worker.is_ready:
            self._send(worker)

    def next_finished(self) -> Finished[Item, Result]:
        while True:
            if not self._running:
                # Whoever may have taken all the memory now has it alone.
                item, tried = self._suspects.popleft()
                self.submit(item)
                self._tried[id(self._running[0])] = tried
            for worker in self._heard():
                if (finished := self._answer(worker)) is not None:
                    return finished
            for worker in [one for one in self._running if one.deadline is not None and one.deadline < monotonic()]:
                self._dismiss(worker)
                _end([worker])
                return worker.item, Lost.OUT_OF_TIME

    def close(self) -> None:
        """End every process."""
        _end(self._running)
        _end(self._idle, leaving_s=LEAVING_S)
        self._running.clear()
        self._idle.clear()
        self._suspects.clear()

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        pipe, far_end = context.Pipe()
        process = context.Process(target=_serve, args=(far_end, self._threads), daemon=False)
        # Ctrl-C reaches every process of the terminal; only the main one answers it, by ending its workers. The
        # signals that are blocked now stay so in the new process, from its first moment.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        far_end.close()
        with contextlib.suppress(OSError):  # dead already: it is noticed when it does not answer
            pipe.send(self._function)
        return _Worker(process=process, pipe=pipe)

    def _send(self, worker: _Worker) -> None:
        with contextlib.suppress(OSError):  # as above
            worker.pipe.send(worker.item)
        worker.deadline = None if self._time_limit_s is None else monotonic() + self._time_limit_s

    def _heard(self) -> list[_Worker]:
        """The workers that have something to say, or have died, at the latest when the next one is out of time."""
        deadlines = [worker.deadline for worker in self._running if worker.deadline is not None]
        timeout = max(0.0, min(deadlines) - monotonic()) + 0.01 if deadlines else None
        ready = set(wait([worker.pipe for worker in self._running], timeout))
        return [worker for worker in self._running if worker.pipe in ready]

    def _answer(self, worker: _Worker) -> Finished[Item, Result] | None:
        """What a worker says: that it has started, or what became of its item."""
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError):
            return self._buried(worker)
        except Exception:  # noqa: BLE001  whatever a result raises that cannot be put together again
            return self._buried(worker)
        if kind == "ready":
            worker.is_ready = True
            self._send(worker)
            return None
        self._dismiss(worker)
        if self._keep_below_bytes is not None and _held_bytes(worker.process.pid) > self._keep_below_bytes:
            _end([worker])
        else:
            self._idle.append(worker)
        if kind == "error":
            raise value
        return worker.item, value

    def _buried(self, worker: _Worker) -> Finished[Item, Result] | None:
        """A worker that died: its item comes again later, or is lost."""
        tried = self._dismiss(worker)
        _end([worker])
        if tried < self._retries:
            self._suspects.append((worker.item, tried + 1))
            return None
        return worker.item, Lost.WORKER_DIED

    def _dismiss(self, worker: _Worker) -> int:
        """Take a worker from its item; how often the item had been tried before."""
        self._running.remove(worker)
        worker.deadline = None
        return self._tried.pop(id(worker), 0)


def run_in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, *, time_limit_s: float | None = None
) -> Iterator[Finished[Item, Result]]:
    """Apply a function to items in worker processes, yielding each as it is done, in no fixed order.

    Closing the iterator early ends the workers.

    Args:
        function: A plain function of a module. What it raises is raised here and ends the run.
        items: What it is applied to, taken one by one; must be picklable.
        workers: Processes at the same time, 1 or more.
        time_limit_s: For one item; None: no limit.
    """
    pool = ProcessPool(function, workers, time_limit_s=time_limit_s)
    try:
        for item in items:
            while not pool.has_room:
                yield pool.next_finished()
            pool.submit(item)
        while pool.busy:
            yield pool.next_finished()
    finally:
        pool.close()


def _end(workers: Iterable[_Worker], *, leaving_s: float = 0.0) -> None:
    """End processes, with a moment to remove what they had begun to write.

    Idle ones leave by themselves within ``leaving_s``; a signal in their last moments would be printed.
    """
    workers = list(workers)
    for worker in workers:
        worker.pipe.close()
    until = monotonic() + leaving_s
    for worker in workers:
        worker.process.join(max(0.0, until - monotonic()))
        if worker.process.is_alive():
            worker.process.terminate()
    until = monotonic() + GRACE_S
    for worker in workers:
        worker.process.join(max(0.0, until - monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.process.close()


def _held_bytes(process: int | None) -> int:
    """Memory that a process holds; 0 where the system does not tell."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _serve(pipe: Connection, threads: int) -> None:
    """The life of a worker: learn the function, then answer every item until nobody asks any more."""
    # Before anything is imported that reads them.
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        function = pipe.recv()
        pipe.send(("ready", None))
        while True:
            item = pipe.recv()
            try:
                answer = ("result", function(item))
            except Exception as error:  # noqa: BLE001  raised again in the main process
                answer = ("error", error)
            pipe.send(answer)


def _leave(signal_number: int, _frame: FrameType | None) -> None:
    """Raise `SystemExit`, so that every ``finally`` on the way out is honoured."""
    sys.exit(128 + signal_number)


def _leave_with_parent() -> None:
    """End this process when the main one was killed: nobody would hear of what it does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
