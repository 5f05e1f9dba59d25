"""The durable queue: what became of every study, each step on disk before anyone is told of it.

```
REQUESTED ──fetched──┐
                     ▼
RECEIVING ─settled→ READY ─claimed→ ANALYZING ─→ ANALYZED ─every archive said so→ DELIVERED
    ▲                 ▲                 │  └───→ SKIPPED          └─ an archive given up ──┐
    └─ a new image    └── tried again ──┴─ given up ───────────────────────────────────→ FAILED
```

A new image re-opens a study wherever it stands and raises its revision; what is still being done with the images of an
earlier revision is then no longer wanted, and is dropped when it is reported.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from vertecast.service.archives.archives import ArchiveBook
from vertecast.service.database import COLUMNS, Database, read_studies
from vertecast.service.options import PASSED_ON, RetryOptions
from vertecast.service.records import DELIVERED, FINISHED, State, StudyRecord

__all__ = ["State", "StudyQueue", "StudyRecord"]

MOST_INTERRUPTIONS: Final = 10
"""An analysis during which the service itself ended so often is most likely what ends it."""

INTERRUPTED: Final = f"the service ended {MOST_INTERRUPTIONS} times while the study was analysed; look at its images"

_AFTER_FAILURE: Final = {State.REQUESTED: State.REQUESTED, State.ANALYZING: State.READY}
_DONE: Final = tuple(map(str, FINISHED))
_KEPT_UNTIL: Final = (State.ANALYZED, State.DELIVERED, State.SKIPPED)
_EXPIRED: Final = (
    "state IN (?, ?, ?) AND changed_at < ? AND EXISTS (SELECT 1 FROM image WHERE image.study = study.uid) "
    "AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.study = study.uid AND delivery.state <> 'delivered')"
)
"""Failed studies keep their images: an operator may start them again."""


class StudyQueue:
    """The queue of one service; safe from several threads and processes.

    Args of most methods: a `StudyRecord` that `claim` gave out. What is reported of a revision that new images have
    overtaken changes nothing.

    Attributes:
        archives: What goes to the archives and what they were seen to hold.
    """

    def __init__(
        self, path: Path, *, retry: RetryOptions | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Open or make the queue.

        Args:
            path: The database.
            retry: How often and when failed steps are tried again.
            clock: Seconds since 1970.

        Raises:
            OutputError: the database cannot be made.
        """
        self._database = Database(path)
        self._retry = retry or RetryOptions()
        self._clock = clock
        self.archives = ArchiveBook(self._database, self._retry, clock)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # Images come in

    def received(self, uid: str, sop_instance_uid: str, *, size_bytes: int, modified_ns: int) -> bool:
        """An image lies in the inbox, on disk for good.

        Args:
            uid: Its study.
            sop_instance_uid: Its own UID.
            size_bytes, modified_ns: Size and time of change of its file; the same ones are the same image.

        Returns:
            Whether it is new or changed. Only such an image re-opens a study that was done.
        """
        now = self._clock()
        with self._database.transaction() as database:
            known = database.row(
                "SELECT bytes, modified_ns FROM image WHERE study = ? AND uid = ?", uid, sop_instance_uid
            )
            if known is not None and tuple(known) == (size_bytes, modified_ns):
                database.change(
                    "UPDATE study SET changed_at = ? WHERE uid = ? AND state = ?", now, uid, State.RECEIVING
                )
                return False
            database.change(
                "INSERT OR REPLACE INTO image VALUES (?, ?, ?, ?)", uid, sop_instance_uid, size_bytes, modified_ns
            )
            database.change(
                "INSERT INTO study (uid, state, source, revision, received_at, changed_at) VALUES (?, ?, ?, 0, ?, ?) "
                "ON CONFLICT DO NOTHING", uid, State.RECEIVING, PASSED_ON, now, now,
            )  # fmt: skip
            # A study that is being fetched becomes ready when the archive has handed out all of it, not before.
            database.change(
                "UPDATE study SET state = iif(state = ?, state, ?), revision = revision + 1, changed_at = ?, "
                "attempts = 0, interruptions = 0, reason = '', next_attempt_at = iif(state = ?, next_attempt_at, "
                "NULL), images = (SELECT count(*) FROM image WHERE image.study = study.uid) WHERE uid = ?",
                State.REQUESTED, State.RECEIVING, now, State.REQUESTED, uid,
            )  # fmt: skip
            database.change("DELETE FROM delivery WHERE study = ?", uid)
        return True

    def request(self, uid: str, source: str) -> None:
        """Fetch a study from an archive and analyse it, whatever was done with it before."""
        now = self._clock()
        with self._database.transaction() as database:
            database.change(
                "INSERT INTO study (uid, state, source, received_at, changed_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET state = excluded.state, source = excluded.source, revision = revision + 1, "
                "claimed = 0, changed_at = excluded.changed_at, attempts = 0, interruptions = 0, reason = '', "
                "next_attempt_at = NULL",
                uid, State.REQUESTED, source, now, now,
            )  # fmt: skip
            database.change("DELETE FROM delivery WHERE study = ?", uid)

    def notice(self, uid: str) -> bool:
        """Someone knows that all images of a study have come; returns whether it was waiting for more."""
        return self._move("state = ? AND uid = ?", State.RECEIVING, uid) > 0

    def settle(self, quiet_s: float) -> int:
        """Take studies without a new image for so long as complete; returns how many."""
        return self._move("state = ? AND changed_at <= ?", State.RECEIVING, self._clock() - quiet_s)

    def _move(self, condition: str, *values: object) -> int:
        statement = f"UPDATE study SET state = ?, changed_at = ? WHERE {condition}"
        return self._database.change(statement, State.READY, self._clock(), *values)

    # Work

    def claim(self, state: State = State.READY, *, source: str | None = None) -> StudyRecord | None:
        """Take the next study: of those ready to be analysed, or of those to be fetched from an archive.

        Studies that failed or were interrupted stand behind those that were not.

        Args:
            state: `State.READY` or `State.REQUESTED`.
            source: The archive.
        """
        taken = State.ANALYZING if state is State.READY else State.REQUESTED
        with self._database.transaction() as database:
            row = database.row(
                f"SELECT {COLUMNS} FROM study WHERE state = ? AND NOT claimed AND source = ifnull(?, source) "
                "AND ifnull(next_attempt_at, 0) <= ? ORDER BY attempts + interruptions, changed_at LIMIT 1",
                state, source, self._clock(),
            )  # fmt: skip
            if row is None:
                return None
            database.change(
                "UPDATE study SET state = ?, claimed = ?, changed_at = ? WHERE uid = ?",
                taken, taken is State.REQUESTED, self._clock(), row[0],
            )  # fmt: skip
            return self.study(str(row[0]))

    def fetched(self, study: StudyRecord) -> None:
        """All of a requested study is in the inbox. Its revision may have risen with its own images."""
        self._database.change(
            "UPDATE study SET state = ?, claimed = 0, attempts = 0, reason = '', next_attempt_at = NULL, "
            "changed_at = ? WHERE uid = ? AND state = ? AND claimed",
            State.READY, self._clock(), study.study_instance_uid, State.REQUESTED,
        )  # fmt: skip

    def analyzed(self, study: StudyRecord, archives: Iterable[str], own: Iterable[str]) -> bool:
        """The results of a study are written.

        Args:
            study: As it was claimed.
            archives: Who is to get them.
            own: SOPInstanceUIDs of the results, to know them when they are seen in an archive.

        Returns:
            False where newer images have come meanwhile; the results are not wanted then.
        """
        now, uid = self._clock(), study.study_instance_uid
        with self._database.transaction() as database:
            for instance in own:
                database.change("INSERT OR IGNORE INTO own VALUES (?, ?)", uid, instance)
            if not self._conclude(study, State.ANALYZED, ""):
                return False
            for archive in archives:
                database.change(
                    "INSERT INTO delivery (study, archive, state, next_attempt_at) VALUES (?, ?, 'waiting', ?)",
                    uid, archive, now,
                )  # fmt: skip
        return True

    def skipped(self, study: StudyRecord, reason: str) -> bool:
        """A study holds nothing that is measured; returns as `analyzed`."""
        return self._conclude(study, State.SKIPPED, reason)

    def failed(self, study: StudyRecord, reason: str) -> bool:
        """Fetching or analysing failed: again after a pause, or given up; returns as `analyzed`."""
        attempts = study.attempts + 1
        fetching = study.state is State.REQUESTED
        if attempts >= (self._retry.archive_attempts if fetching else self._retry.attempts):
            return self._conclude(study, State.FAILED, reason, attempts=attempts)
        again_at = self._clock() + self._retry.pause_s(attempts)
        return self._conclude(study, _AFTER_FAILURE[study.state], reason, attempts=attempts, next_attempt_at=again_at)

    def give_up(self, study: StudyRecord, reason: str) -> None:
        """Nothing can be done for a study; no claim is needed. Only at the start of a service."""
        self._database.change(
            "UPDATE study SET state = ?, reason = ?, changed_at = ? WHERE uid = ?",
            State.FAILED, reason, self._clock(), study.study_instance_uid,
        )  # fmt: skip

    def released(self, study: StudyRecord) -> bool:
        """Give a study back untouched, because the service ends; returns as `analyzed`."""
        return self._conclude(study, _AFTER_FAILURE[study.state], study.reason, attempts=study.attempts)

    def _conclude(
        self, study: StudyRecord, state: State, reason: str, *, attempts: int = 0, next_attempt_at: float | None = None
    ) -> bool:
        """End a claim, unless newer images have come; while a study is fetched they come by the fetching itself."""
        return bool(
            self._database.change(
                "UPDATE study SET state = ?, reason = ?, attempts = ?, next_attempt_at = ?, claimed = 0, "
                "changed_at = ? WHERE uid = ? AND state = ? AND (revision = ? OR (state = ? AND claimed))",
                state, reason, attempts, next_attempt_at, self._clock(), study.study_instance_uid, study.state,
                study.revision, State.REQUESTED,
            )
        )  # fmt: skip

    def recover(self) -> None:
        """After the service ended, however it did: what was under way starts again. Only at the start of a service."""
        with self._database.transaction() as database:
            database.change("UPDATE study SET claimed = 0")
            database.change(
                "UPDATE study SET state = iif(interruptions < ?, ?, ?), reason = iif(interruptions < ?, reason, ?), "
                "interruptions = interruptions + 1, changed_at = ? WHERE state = ?",
                MOST_INTERRUPTIONS - 1, State.READY, State.FAILED, MOST_INTERRUPTIONS - 1, INTERRUPTED, self._clock(),
                State.ANALYZING,
            )  # fmt: skip

    # What lies in the inbox

    def images(self, uid: str) -> dict[str, tuple[int, int]]:
        """Size in bytes and time of change in ns of every image of a study, by SOPInstanceUID."""
        query = "SELECT uid, bytes, modified_ns FROM image WHERE study = ?"
        return {str(row[0]): (int(row[1]), int(row[2])) for row in self._database.rows(query, uid)}

    def size_bytes(self, uid: str) -> int:
        """Size of all images of a study."""
        row = self._database.row("SELECT ifnull(sum(bytes), 0) FROM image WHERE study = ?", uid)
        return int(row[0]) if row else 0

    def expired(self, before: float) -> list[str]:
        """Studies done before a time in seconds since 1970, every archive served, whose images are still here."""
        found = self._studies(_EXPIRED, *_KEPT_UNTIL, before)
        return [study.study_instance_uid for study in found]

    def forget_images(self, uid: str, before: float) -> bool:
        """The images of an expired study are about to be removed; False where it no longer is one."""
        with self._database.transaction() as database:
            if not self._studies(f"{_EXPIRED} AND uid = ?", *_KEPT_UNTIL, before, uid):
                return False
            database.change("DELETE FROM image WHERE study = ?", uid)
        return True

    # Patients

    def belongs_to(self, uid: str, patient: str) -> None:
        """Note the hash of a study's patient; "" for unknown."""
        self._database.change("UPDATE study SET patient = ? WHERE uid = ?", patient, uid)

    def of_patient(self, patient: str) -> list[StudyRecord]:
        """Analysed studies of a patient."""
        done = (State.ANALYZED, State.DELIVERED)
        return self._studies("patient = ? AND patient <> '' AND state IN (?, ?) ORDER BY uid", patient, *done)

    # The operator

    def retry(self, uid: str) -> bool:
        """Start a failed, skipped or waiting step of a study again at once; returns whether there was one."""
        now = self._clock()
        with self._database.transaction() as database:
            study = self.study(uid)
            if study is None:
                return False
            late = database.change(
                "UPDATE delivery SET state = 'waiting', attempts = 0, next_attempt_at = ? "
                "WHERE study = ? AND state <> ?", now, uid, DELIVERED,
            )  # fmt: skip
            if late:
                state = State.ANALYZED
            elif study.state in (State.FAILED, State.SKIPPED) or study.next_attempt_at is not None:
                fetch = study.source != PASSED_ON and (study.images == 0 or study.state is State.REQUESTED)
                state = State.REQUESTED if fetch else State.READY
            else:
                return False
            database.change(
                "UPDATE study SET state = ?, reason = '', attempts = 0, interruptions = 0, next_attempt_at = NULL, "
                "changed_at = ? WHERE uid = ?", state, now, uid,
            )  # fmt: skip
        return True

    def counts(self) -> Mapping[State, int]:
        """How many studies are in each state."""
        found = Counter(
            {
                State(row[0]): int(row[1])
                for row in self._database.rows("SELECT state, count(*) FROM study GROUP BY state")
            }
        )
        return {state: found[state] for state in State}

    def studies(self, state: State | None = None, limit: int = 100, offset: int = 0) -> list[StudyRecord]:
        """Studies, those that changed last first."""
        return self._studies(
            "state = ifnull(?, state) ORDER BY changed_at DESC, uid LIMIT ? OFFSET ?", state, limit, offset
        )

    def study(self, uid: str) -> StudyRecord | None:
        """One study; None where it is unknown."""
        found = self._studies("uid = ?", uid)
        return found[0] if found else None

    def finished_since(self, timestamp: float) -> int:
        """How many studies that are done have become so since a time in seconds since 1970."""
        query = f"SELECT count(*) FROM study WHERE changed_at >= ? AND state IN ({','.join('?' * len(_DONE))})"
        row = self._database.row(query, timestamp, *_DONE)
        return int(row[0]) if row else 0

    def _studies(self, condition: str, *values: object) -> list[StudyRecord]:
        return read_studies(self._database, condition, *values)
