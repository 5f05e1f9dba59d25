"""Studies that lie in an archive: seen when they are new, fetched when they are asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Final, Protocol

from vertecast.core.errors import ArchiveError, VertecastError
from vertecast.service.archives.dicomweb import DicomWebArchive
from vertecast.service.archives.orthanc_client import OrthancArchive
from vertecast.service.inbox import Inbox
from vertecast.service.options import PollOptions
from vertecast.service.queue import State, StudyQueue
from vertecast.service.web.web_archive import Instance

NO_SUCH_STUDY: Final = "the archive holds no such study"
_SEEN: Final = "seen"
_log = logging.getLogger(__name__)


class PolledArchive(Protocol):
    """An archive that hands out studies."""

    def instances(self, study: str) -> list[Instance]:
        """Every object of a study. Raises `ArchiveError`."""

    def fetch(self, instance: Instance) -> Iterator[bytes]:
        """The file of an object, part by part. Raises `ArchiveError`."""


def fetch_next(name: str, source: PolledArchive, queue: StudyQueue, inbox: Inbox) -> bool:
    """Fetch the next study that is asked for from an archive.

    Only objects that are not here yet are transferred, so that what was cut off goes on where it stopped.

    Returns:
        Whether there was one.
    """
    study = queue.claim(State.REQUESTED, source=name)
    if study is None:
        return False
    uid = study.study_instance_uid
    try:
        found = source.instances(uid)
        if not found:
            raise ArchiveError(NO_SUCH_STUDY)
        known = queue.archives.known_instances(uid)
        for instance in found:
            if instance.uid not in known:
                inbox.store(source.fetch(instance), expected_uid=instance.uid)
    except VertecastError as error:
        reason = f"{name}: {error}"
        queue.failed(study, reason)
        _log.warning("study %s was not fetched: %s", uid, reason)
    else:
        queue.fetched(study)
        _log.info("study %s fetched from %s", uid, name)
    return True


def poll_orthanc(name: str, archive: OrthancArchive, poll: PollOptions, queue: StudyQueue) -> bool:
    """Look at the next changes of an Orthanc.

    The first time its present end is noted: studies that lay there before are analysed on request alone. A change is
    noted as seen after its study was asked for, so that none is missed.

    Returns:
        Whether there may be more.
    """
    mark = queue.archives.mark(name, _SEEN)
    if mark is None:
        queue.archives.set_mark(name, _SEEN, str(archive.last_change()))
        return False
    stable, last = archive.changes(int(mark))
    for _, identifier in stable:
        study = archive.study(identifier)
        if study is None or study[1].isdisjoint(poll.modalities):
            continue
        _request_if_new(name, study[0], archive.instances_of(identifier), queue)
    queue.archives.set_mark(name, _SEEN, str(last))
    return last > int(mark)


def poll_dicomweb(
    name: str, archive: DicomWebArchive, poll: PollOptions, queue: StudyQueue, today: Callable[[], date] = date.today
) -> bool:
    """Look for studies of the last days by QIDO-RS.

    A study is asked for when it has the same number of objects as the last time, because it may still be growing, and
    another one than when it was asked for.

    Returns:
        False: the next look is due after the pause.
    """
    before: dict[str, list[int]] = json.loads(queue.archives.mark(name, _SEEN) or "{}")
    last, first = today() + timedelta(days=1), today() - timedelta(days=poll.days)
    counts: dict[str, int] = {}
    for modality in poll.modalities:
        counts.update(archive.studies(modality, f"{first:%Y%m%d}", f"{last:%Y%m%d}"))
    now: dict[str, list[int]] = {}
    for uid, count in counts.items():
        last_count, asked_for = before.get(uid, [-2, -2])
        if count == last_count != asked_for:
            _request_if_new(name, uid, archive.instances(uid), queue)
            asked_for = count
        now[uid] = [count, asked_for]
    queue.archives.set_mark(name, _SEEN, json.dumps(now))
    return False


def _request_if_new(name: str, uid: str, instances: list[Instance], queue: StudyQueue) -> None:
    """Ask for a study unless all of it is here already or is our own."""
    known = queue.archives.known_instances(uid)
    if any(instance.uid not in known for instance in instances):
        queue.request(uid, name)
        _log.info("study %s is new in %s", uid, name)
