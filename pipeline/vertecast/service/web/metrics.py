"""What Prometheus is told: counts and times, no study and no patient."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from vertecast.service.archives.archives import ArchiveBook
from vertecast.service.database import Database
from vertecast.service.options import RetryOptions
from vertecast.service.queue import State, StudyQueue, StudyRecord

if TYPE_CHECKING:
    from prometheus_client import Metric

    from vertecast.service.web.health import Health

STEPS: Final = ("fetch", "analysis", "delivery")
ANALYSIS_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
DELIVERY_S: Final = (10, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600)


class Metrics:
    """The numbers of one service.

    Counters start from zero with the service; what the queue holds is read from it when it is asked for.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.images = self._counter("images_received", "Images that were stored.")
        self.analyzed = self._counter("studies_analyzed", "Studies whose results were written.")
        self.skipped = self._counter("studies_skipped", "Studies that hold nothing that is measured.")
        self.delivered = self._counter("deliveries", "Studies whose results an archive said it has.", "archive")
        self.failures = self._counter("failures", f"Failed attempts by step: {', '.join(STEPS)}.", "step")
        for step in STEPS:  # an alarm wants to see the zero before the first failure
            self.failures.labels(step)
        self.analysis_s = self._histogram(
            "analysis_seconds", "From the start of an analysis to its results.", ANALYSIS_S
        )
        self.delivery_s = self._histogram(
            "delivery_seconds", "From the results of a study to the word of an archive that it has them.", DELIVERY_S
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"vertecast_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"vertecast_{name}", meaning, registry=self.registry, buckets=buckets)

    def watch(self, queue: StudyQueue, health: Health) -> None:
        """Add what the queue holds and how the service is, looked at anew for each answer."""
        self.registry.register(_Present(queue, health))

    def text(self) -> bytes:
        """Everything in the text format of Prometheus."""
        return generate_latest(self.registry)


class _Present(Collector):
    """Numbers of this moment."""

    def __init__(self, queue: StudyQueue, health: Health) -> None:
        self._queue, self._health = queue, health

    def collect(self) -> Iterable[Metric]:
        """As prometheus_client wants it."""
        return self._gauges()

    def describe(self) -> Iterable[Metric]:
        """Nothing: else the registry would collect once when it is registered."""
        return ()

    def _gauges(self) -> Iterator[Metric]:
        studies = GaugeMetricFamily("vertecast_studies", "Studies in each state.", labels=["state"])
        for state, count in self._queue.counts().items():
            studies.add_metric([str(state)], count)
        yield studies
        healthy = GaugeMetricFamily("vertecast_healthy", "1 where a part of the service is well.", labels=["part"])
        for check in self._health.look():
            healthy.add_metric([check.name], not check.problem)
        yield healthy


class MeteredQueue(StudyQueue):
    """The queue of a service that counts what passes through it."""

    def __init__(self, path: Path, metrics: Metrics, **options: Any) -> None:
        """Open or make the queue; options as of `StudyQueue`."""
        super().__init__(path, **options)
        self.archives = _MeteredBook(self._database, self._retry, self._clock, metrics)
        self._metrics = metrics
        self._started: dict[str, float] = {}
        self._started_lock = threading.Lock()

    def received(self, uid: str, sop_instance_uid: str, *, size_bytes: int, modified_ns: int) -> bool:
        """As `StudyQueue.received`."""
        is_new = super().received(uid, sop_instance_uid, size_bytes=size_bytes, modified_ns=modified_ns)
        self._metrics.images.inc(is_new)
        return is_new

    def claim(self, state: State = State.READY, *, source: str | None = None) -> StudyRecord | None:
        """As `StudyQueue.claim`."""
        study = super().claim(state, source=source)
        if study is not None and state is State.READY:
            with self._started_lock:
                self._started[study.study_instance_uid] = time.monotonic()
        return study

    def analyzed(self, study: StudyRecord, archives: Iterable[str], own: Iterable[str]) -> bool:
        """As `StudyQueue.analyzed`."""
        counts = super().analyzed(study, archives, own)
        seconds = self._seconds(study)
        if counts:
            self._metrics.analyzed.inc()
            if seconds is not None:
                self._metrics.analysis_s.observe(seconds)
        return counts

    def skipped(self, study: StudyRecord, reason: str) -> bool:
        """As `StudyQueue.skipped`."""
        counts = super().skipped(study, reason)
        self._seconds(study)
        self._metrics.skipped.inc(counts)
        return counts

    def failed(self, study: StudyRecord, reason: str) -> bool:
        """As `StudyQueue.failed`."""
        counts = super().failed(study, reason)
        self._seconds(study)
        self._metrics.failures.labels("fetch" if study.state is State.REQUESTED else "analysis").inc(counts)
        return counts

    def _seconds(self, study: StudyRecord) -> float | None:
        """How long the analysis of a study took; None where it was not begun here."""
        with self._started_lock:
            started = self._started.pop(study.study_instance_uid, None)
        return None if started is None else time.monotonic() - started


class _MeteredBook(ArchiveBook):
    """What archives took and refused, counted."""

    def __init__(self, database: Database, retry: RetryOptions, clock: Callable[[], float], metrics: Metrics) -> None:
        super().__init__(database, retry, clock)
        self._metrics = metrics

    def delivered(self, study: StudyRecord, archive: str) -> bool:
        """As `ArchiveBook.delivered`."""
        counts = super().delivered(study, archive)
        if counts:
            self._metrics.delivered.labels(archive).inc()
            self._metrics.delivery_s.observe(max(0.0, self._clock() - study.changed_at))
        return counts

    def refused(self, study: StudyRecord, archive: str, reason: str) -> bool:
        """As `ArchiveBook.refused`."""
        counts = super().refused(study, archive, reason)
        self._metrics.failures.labels("delivery").inc(counts)
        return counts
