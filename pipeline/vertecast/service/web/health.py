"""Whether the service can do its work: what an operator, a load balancer and the status page ask."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from vertecast.run.environment import check_bundles
from vertecast.service.options import PacsOptions
from vertecast.service.queue import StudyQueue

AGAIN_S: Final = 2.0
"""Looking writes to the disk, and anyone who reaches /health may ask: no more often than this."""

MODELS_S: Final = 600.0
"""Weights are compared with their checksums no more often than this; it reads all of them."""

GB: Final = 1e9
Clock: TypeAlias = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One thing that was looked at: its name, what is wrong with it ("" for nothing)."""

    name: str
    problem: str


class Health:
    """Looks at the service's queue, node, disk and models whenever it is asked."""

    def __init__(
        self,
        options: PacsOptions,
        queue: StudyQueue,
        *,
        node_listens: Callable[[], bool] = lambda: False,
        clock: Clock = time.monotonic,
    ) -> None:
        """Look at nothing yet.

        Args:
            options: Of the service.
            queue: Its queue.
            node_listens: Whether the node takes callers. It is asked here and not called by its port: each call would
                be a sender to the node.
            clock: Seconds.
        """
        self._options = options
        self._queue = queue
        self._node_listens = node_listens
        self._clock = clock
        self._models: tuple[float, str] | None = None
        self._seen: tuple[float, tuple[HealthCheck, ...]] | None = None

    def look(self) -> tuple[HealthCheck, ...]:
        """All checks, in a fixed order; a failed one never hides the others. What was seen just now is told again."""
        now = self._clock()
        if self._seen is None or now - self._seen[0] > AGAIN_S:
            self._seen = now, tuple(HealthCheck(name=name, problem=problem) for name, problem in self._problems())
        return self._seen[1]

    def _problems(self) -> Iterator[tuple[str, str]]:
        yield "queue", self._of_queue()
        if self._options.node.enabled:
            node = self._options.node
            yield "node", "" if self._node_listens() else f"the DICOM node does not listen on {node.host}:{node.port}"
        yield "disk", self._of_disk()
        yield "models", self._of_models()

    def _of_queue(self) -> str:
        try:
            self._queue.archives.set_mark("", "health", "written")
        except Exception as error:  # noqa: BLE001  whatever keeps it from being written is what is asked for
            return f"the queue cannot be written ({error})"
        return ""

    def _of_disk(self) -> str:
        try:
            free_gb = shutil.disk_usage(self._options.root).free / GB
        except OSError as error:
            return f"the folder cannot be read ({error.strerror})"
        reserve_gb = self._options.disk.reserve_gb
        return "" if free_gb >= reserve_gb else f"{free_gb:.1f} GB free, less than the reserve of {reserve_gb:g} GB"

    def _of_models(self) -> str:
        now = self._clock()
        if self._models is None or now - self._models[0] > MODELS_S:
            failed = [f"{check.name}: {check.found}" for check in check_bundles() if not check.passed]
            self._models = now, "; ".join(failed)
        return self._models[1]
