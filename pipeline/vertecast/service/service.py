"""The service beside an archive: node, analysis, deliveries, polling and status page around one durable queue."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from vertecast.core.errors import ArchiveError, ConfigurationError, OutputError
from vertecast.service.analysis import AnalysisTask, Analyst, Work, end_workers, patient_of
from vertecast.service.archives.dicomweb import DicomWebArchive
from vertecast.service.archives.orthanc_client import OrthancArchive
from vertecast.service.archives.polling import fetch_next, poll_dicomweb, poll_orthanc
from vertecast.service.delivery import Archive, DicomArchive, result_files
from vertecast.service.inbox import Inbox
from vertecast.service.node import Node
from vertecast.service.options import ArchiveOptions, PacsOptions
from vertecast.service.queue import State, StudyQueue, StudyRecord

LOOK_S: Final = 0.5
"""How often each part looks for something to do."""

CLEAR_S: Final = 600.0
"""How often images that are no longer needed are looked for."""

UNKNOWN_SOURCE: Final = "the archive that it was to be fetched from is not configured; add it or send the study"
NOTHING_TO_SEND: Final = "the study has no results of the kinds in 'objects', or they are gone; start it again"
NO_DICOM_RESULTS: Final = "its images name no valid series, so that no result can go back to them"
_log = logging.getLogger(__name__)


class Service:
    """Everything that runs under ``vertecast serve``."""

    def __init__(self, options: PacsOptions, work: Work) -> None:
        """Open the folder; nothing runs yet.

        Args:
            options: Of the service.
            work: What is done with a study, `analysis.analyze`.

        Raises:
            ConfigurationError: another service uses the folder, or a password or token is missing.
            OutputError: the folder cannot be used.
        """
        self._options, self._work = options, work
        self._stopping = threading.Event()
        self._analysts: list[threading.Thread] = []
        self._threads: list[threading.Thread] = []
        with ExitStack() as opened:
            opened.enter_context(_alone_in(options.root))
            self._web = None
            if options.web.enabled:
                from vertecast.service.web.app import WebServer
                from vertecast.service.web.health import Health
                from vertecast.service.web.metrics import MeteredQueue, Metrics

                metrics = Metrics()
                self.queue: StudyQueue = MeteredQueue(options.queue_path, metrics, retry=options.retry)
                health = Health(options, self.queue, node_listens=lambda: self.node.is_listening)
                self._web = WebServer(options, self.queue, metrics, health)
            else:
                self.queue = StudyQueue(options.queue_path, retry=options.retry)
            opened.callback(self.queue.close)
            self._inbox = Inbox(options.root, options.disk, self.queue)
            self.node = Node(options.node, self._inbox)
            # One client for each thread that uses it.
            self._receivers = {one.name: _receiver(one, options, opened) for one in options.archives if one.deliver}
            self._sources = {one.name: _source(one, opened) for one in options.archives if one.can_be_asked}
            self._opened = opened.pop_all()

    def start(self) -> None:
        """Take up what an earlier service left, then listen and work, in threads of its own.

        Raises:
            ConfigurationError: a port is taken.
        """
        self.queue.recover()
        self._inbox.recover()
        self._give_up_unknown_sources()
        self._run("settle", self._settle)
        self._run("clear", self._clear, CLEAR_S)
        for number in range(self._options.workers):
            self._analysts.append(threading.Thread(target=self._analyze_all, name=f"analysis-{number + 1}"))
        for name, receiver in self._receivers.items():
            self._run(f"delivery-{name}", lambda name=name, to=receiver: self._deliver(name, to))  # type: ignore[misc]
        for name, source in self._sources.items():
            self._run(f"fetch-{name}", lambda name=name, of=source: fetch_next(name, of, self.queue, self._inbox))  # type: ignore[misc]
            self._run_poll(name)
        for thread in (*self._analysts, *self._threads):
            thread.start()
        try:
            if self._options.node.enabled:
                self.node.start()
            if self._web is not None:
                self._web.start()
        except ConfigurationError:
            self.stop()
            raise
        _log.info("the service runs; folder %s", self._options.root)

    def stop(self) -> None:
        """End cleanly: no more images are taken, what is being analysed goes back into the queue."""
        self._stopping.set()
        if self._web is not None:
            self._web.stop()
        self.node.stop()
        end_workers(self._analysts)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._opened.close()
        _log.info("the service has ended")

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM; raises as `start`."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            self.start()
            while True:
                time.sleep(3600)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.stop()

    def _run(self, name: str, step: Callable[[], bool], pause_s: float = LOOK_S) -> None:
        """Do a step again and again, with a pause when there is nothing to do; nothing ends it but the service."""

        def loop() -> None:
            while not self._stopping.is_set():
                if not self._guarded(name, step):
                    self._stopping.wait(pause_s)

        self._threads.append(threading.Thread(target=loop, name=name))

    def _guarded(self, name: str, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except (ArchiveError, OutputError) as error:
            _log.warning("%s: %s", name, error)
        except Exception as error:  # noqa: BLE001  its text may quote the header of an image
            _log.error("%s: %s", name, _place(error))
        return False

    def _settle(self) -> bool:
        if count := self.queue.settle(self._options.settle_s):
            _log.info("%d studies are complete", count)
        return False

    def _clear(self) -> bool:
        self._inbox.clear()
        return False

    def _give_up_unknown_sources(self) -> None:
        """Studies of an archive that is no longer configured would wait for ever."""
        for study in self.queue.studies(State.REQUESTED, limit=-1):
            if study.source not in self._sources:
                self.queue.give_up(study, UNKNOWN_SOURCE)

    def _analyze_all(self) -> None:
        """One worker process and what it is given."""
        analyst = Analyst(self._work, self._options.time_limit_s, threads_of=self._options.workers)
        try:
            analyst.warm_up()
            while not self._stopping.is_set():
                if not self._guarded("analysis", lambda: self._analyze(analyst)):
                    self._stopping.wait(LOOK_S)
        finally:
            analyst.close()

    def _analyze(self, analyst: Analyst) -> bool:
        """Analyse the next study; whether there was one."""
        study = self.queue.claim()
        if study is None:
            return False
        uid, started = study.study_instance_uid, time.monotonic()
        outcome = analyst.run(self._task(study))
        if self._stopping.is_set() and outcome.status == "failed":
            self.queue.released(study)
        elif outcome.status == "analyzed":
            self.queue.analyzed(study, self._receivers if outcome.own else (), outcome.own)
            _log.info("study %s analysed in %.1f s", uid, time.monotonic() - started)
            if not outcome.own:
                _log.warning("study %s: %s", uid, NO_DICOM_RESULTS)
        elif outcome.status == "skipped":
            self.queue.skipped(study, outcome.reason)
            _log.info("study %s skipped: %s", uid, outcome.reason)
        else:
            self.queue.failed(study, outcome.reason)
            _log.warning("study %s failed: %s", uid, outcome.reason)
        return True

    def _task(self, study: StudyRecord) -> AnalysisTask:
        """What a worker needs to know; of the patient's studies those that changed last come first."""
        uid = study.study_instance_uid
        folder = self._inbox.folder(uid)
        others: list[StudyRecord] = []
        if self._options.compare:
            patient = patient_of(folder)
            self.queue.belongs_to(uid, patient)
            others = [other for other in self.queue.of_patient(patient) if other.study_instance_uid != uid]
        return AnalysisTask(
            images=folder,
            earlier=tuple(self._inbox.folder(other.study_instance_uid) for other in others),
            out=self._options.results,
        )

    def _deliver(self, name: str, receiver: Archive) -> bool:
        """Deliver the next study to an archive; whether there was one."""
        study = self.queue.archives.claim(name)
        options = self._options.archive(name)
        if study is None or options is None:
            return False
        uid = study.study_instance_uid
        files = result_files(self._options.results / uid, options.objects)
        try:
            if not files:
                raise ArchiveError(NOTHING_TO_SEND)
            receiver.store(files)
        except ArchiveError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001  as above; the study must not be lost from sight for it
            reason = _place(error)
        else:
            if self.queue.archives.delivered(study, name):
                _log.info("study %s: %d objects delivered to %s", uid, len(files), name)
            return True
        self.queue.archives.refused(study, name, reason)
        _log.warning("study %s was not delivered to %s: %s", uid, name, reason)
        return True

    def _run_poll(self, name: str) -> None:
        """Ask an archive for new studies, if it is to be asked."""
        options = self._options.archive(name)
        if options is None or options.poll is None:
            return
        poll, client = options.poll, _source(options, self._opened)
        if isinstance(client, OrthancArchive):
            self._run(f"poll-{name}", lambda: poll_orthanc(name, client, poll, self.queue), poll.every_s)
        else:
            self._run(f"poll-{name}", lambda: poll_dicomweb(name, client, poll, self.queue), poll.every_s)


def log_to_stderr() -> None:
    """Say what happens, by UIDs and our own reasons alone; libraries quote what peers send, so they are silent."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    own = logging.getLogger("vertecast")
    own.addHandler(handler)
    own.setLevel(logging.INFO)
    for name in ("pynetdicom", "pydicom", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _receiver(archive: ArchiveOptions, options: PacsOptions, opened: ExitStack) -> Archive:
    """What delivers to an archive. Raises `ConfigurationError`."""
    if archive.kind == "dicom":
        return DicomArchive(archive, calling=options.node.ae_title)
    return _source(archive, opened)


def _source(archive: ArchiveOptions, opened: ExitStack) -> DicomWebArchive | OrthancArchive:
    """A client of an archive on the web. Raises `ConfigurationError`."""
    client = OrthancArchive(archive) if archive.kind == "orthanc" else DicomWebArchive(archive)
    opened.callback(client.close)
    return client


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two services in one folder would do everything twice.

    Raises:
        ConfigurationError: there is one.
        OutputError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "service.lock").open("w")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be used ({error.strerror}); choose another folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(f"{folder}: another service uses it; end that one or choose another") from error
        yield


def _place(error: Exception) -> str:
    """Where the program failed; never the error's own text, which may quote the header of an image."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return f"a defect of the program ({type(error).__name__} at {where}); please report it"
