"""Studies analysed by the workers of a dask cluster, which see the same folders under the same paths."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, Final, Generic

from distributed import Client, Future, Worker, WorkerPlugin

from vertecast import __version__
from vertecast.core.config import SegmentationOptions
from vertecast.core.errors import ConfigurationError, VertecastError
from vertecast.run.engine import Engine
from vertecast.run.jobs import load_models
from vertecast.run.workers import Finished, Item, Lost, Result

CONNECT_S: Final = 10.0
"""So long a scheduler may take to answer."""

POLL_S: Final = 1.0
"""How often is looked for workers that came or went."""

WITHOUT_WORKERS_S: Final = 3600.0
"""So long a cluster may be without any worker: those of a queueing system take their time."""


UNFIT: Final = "a worker of the cluster cannot run Vertecast ({}); install the same version on all of them"


class LoadModels(WorkerPlugin):
    """Makes every worker load the models when it joins, once."""

    name = "vertecast"

    def __init__(self, engine: Engine, options: SegmentationOptions) -> None:
        self._engine = engine
        self._options = options
        self._version = __version__

    def setup(self, worker: Worker) -> None:
        """Called by the worker.

        Raises:
            ConfigurationError: the worker has another version of the program.
            BundleError: the weights cannot be loaded.
        """
        if self._version != __version__:
            raise ConfigurationError(
                f"a worker has Vertecast {__version__}, and this is {self._version}; install the same on all"
            )
        load_models(self._engine, self._options)


@dataclass(slots=True, kw_only=True, eq=False)
class _Task:
    """An item on its worker."""

    item: Any
    future: Any
    deadline: float | None
    tried: int


class DaskPool(Generic[Item, Result]):
    """One item at a time on each worker of a cluster, however many threads it has.

    What is lost with a worker, and what takes too long, is treated as by `vertecast.run.workers.ProcessPool`.
    """

    def __init__(
        self,
        function: Callable[[Item], Result],
        address: str,
        *,
        plugin: WorkerPlugin,
        time_limit_s: float | None = None,
        tries: int = 2,
    ) -> None:
        """Connect to the cluster.

        Args:
            function: A plain function of a module that the workers can import too.
            address: Of the scheduler, for example ``tcp://10.0.0.5:8786``.
            plugin: Prepares each worker.
            time_limit_s: For one item; its worker is then started anew. None: no limit.
            tries: How often an item is begun whose worker dies.

        Raises:
            ConfigurationError: nobody answers at the address, or a worker lacks the program.
        """
        try:
            self._client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"--scheduler {address}: no dask scheduler answers ({type(error).__name__}); start one with "
                "'dask scheduler' (docs/cluster.md)"
            ) from error
        try:
            self._client.register_plugin(plugin)
        except VertecastError:
            raise
        except Exception as error:  # whatever an unfit installation raises
            raise ConfigurationError(UNFIT.format(type(error).__name__)) from error
        self._function = function
        self._time_limit_s = time_limit_s
        self._retries = tries - 1
        self._running: dict[str, _Task] = {}
        self._suspects: deque[tuple[Item, int]] = deque()
        self._alone = False
        self._news = threading.Event()
        self._known: frozenset[str] = frozenset()
        self._looked = -POLL_S

    @property
    def has_room(self) -> bool:
        return not self._alone and bool(self._free_workers(wait_for_one=not self._running))

    @property
    def busy(self) -> bool:
        return bool(self._running or self._suspects)

    def submit(self, item: Item) -> None:
        self._submit(item, tried=0)

    def next_finished(self) -> Finished[Item, Result]:
        while True:
            if not self._running:
                item, tried = self._suspects.popleft()
                self._submit(item, tried=tried)
                self._alone = True
            self._news.wait(POLL_S)
            self._news.clear()
            for address, task in list(self._running.items()):
                if (finished := self._looked_after(address, task)) is not None:
                    return finished

    def close(self) -> None:
        for task in self._running.values():
            task.future.cancel(force=True)
        self._running.clear()
        self._suspects.clear()
        self._client.close()

    def _submit(self, item: Item, *, tried: int) -> None:
        """Give an item to a worker that has none."""
        address = min(self._free_workers(wait_for_one=True))
        future = self._client.submit(self._function, item, workers=[address], pure=False, retries=0)
        future.add_done_callback(lambda _future: self._news.set())
        deadline = None if self._time_limit_s is None else monotonic() + self._time_limit_s
        self._running[address] = _Task(item=item, future=future, deadline=deadline, tried=tried)

    def _free_workers(self, *, wait_for_one: bool) -> frozenset[str]:
        """Addresses of the workers that have nothing to do.

        Raises:
            ConfigurationError: there is none at all for a long time.
        """
        until = monotonic() + WITHOUT_WORKERS_S
        while True:
            free = self._workers() - self._running.keys()
            if free or not wait_for_one:
                return free
            if monotonic() > until:
                raise ConfigurationError("the dask cluster has no workers; start some with 'dask worker'")
            sleep(POLL_S)

    def _workers(self) -> frozenset[str]:
        """Addresses of all workers, asked for now and then."""
        if monotonic() - self._looked >= POLL_S:
            self._known = frozenset(self._client.scheduler_info(n_workers=-1)["workers"])
            self._looked = monotonic()
        return self._known

    def _looked_after(self, address: str, task: _Task) -> Finished[Item, Result] | None:
        """What became of a task; None where it goes on, or comes again."""
        future = task.future
        if future.done():
            self._dismiss(address)
            if future.status == "finished":
                return task.item, future.result()
            if future.status == "error":
                self._refuse(future)
            return self._died(task)
        if address not in self._workers():
            self._dismiss(address)
            future.cancel(force=True)
            return self._died(task)
        if task.deadline is not None and task.deadline < monotonic():
            self._dismiss(address)
            future.cancel(force=True)
            # A thread cannot be ended, so its process is.
            self._client.restart_workers([address], raise_for_error=False)
            self._looked = -POLL_S
            return task.item, Lost.OUT_OF_TIME
        return None

    def _dismiss(self, address: str) -> None:
        del self._running[address]
        self._alone = False

    def _died(self, task: _Task) -> Finished[Item, Result] | None:
        if task.tried < self._retries:
            self._suspects.append((task.item, task.tried + 1))
            return None
        return task.item, Lost.WORKER_DIED

    def _refuse(self, future: Future[Any]) -> None:
        """Raise what the function raised; nothing where dask gave the task up because its workers died."""
        error = future.exception()
        if isinstance(error, VertecastError):
            raise error
        if type(error).__name__ != "KilledWorker":
            raise ConfigurationError(UNFIT.format(type(error).__name__)) from error
