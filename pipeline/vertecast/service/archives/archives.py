"""What each archive is still to get, what it said of it, and what it was seen to hold."""

from __future__ import annotations

from collections.abc import Callable

from vertecast.service.database import Database, read_studies
from vertecast.service.options import RetryOptions
from vertecast.service.records import DELIVERED, State, StudyRecord


class ArchiveBook:
    """The part of the queue that is about archives; reached as `StudyQueue.archives`."""

    def __init__(self, database: Database, retry: RetryOptions, clock: Callable[[], float]) -> None:
        """Share the database of the queue."""
        self._database = database
        self._retry = retry
        self._clock = clock

    def claim(self, archive: str) -> StudyRecord | None:
        """The next study whose results an archive is to get; one thread alone may ask for each archive."""
        found = read_studies(
            self._database,
            "uid = (SELECT study FROM delivery WHERE archive = ? AND state = 'waiting' AND next_attempt_at <= ? "
            "ORDER BY attempts, next_attempt_at LIMIT 1)", archive, self._clock(),
        )  # fmt: skip
        return found[0] if found else None

    def delivered(self, study: StudyRecord, archive: str) -> bool:
        """An archive said that it has every result of a study.

        Returns:
            False where newer images have come meanwhile: their results are to follow.
        """
        return self._ended(study, archive, DELIVERED, "")

    def refused(self, study: StudyRecord, archive: str, reason: str) -> bool:
        """An archive has not taken the results: again after a pause, or given up; returns as `delivered`."""
        return self._ended(study, archive, "waiting", reason)

    def _ended(self, study: StudyRecord, archive: str, state: str, reason: str) -> bool:
        uid = study.study_instance_uid
        with self._database.transaction() as database:
            row = database.row(
                "SELECT delivery.attempts FROM delivery JOIN study ON study.uid = delivery.study WHERE study.uid = ? "
                "AND archive = ? AND delivery.state = 'waiting' AND revision = ?", uid, archive, study.revision,
            )  # fmt: skip
            if row is None:
                return False
            attempts = int(row[0]) + 1
            if state == "waiting" and attempts >= self._retry.archive_attempts:
                state = "failed"
            database.change(
                "UPDATE delivery SET state = ?, reason = ?, attempts = ?, next_attempt_at = ? "
                "WHERE study = ? AND archive = ?",
                state, reason, attempts, self._clock() + self._retry.pause_s(attempts), uid, archive,
            )  # fmt: skip
            self._conclude(uid)
        return True

    def _conclude(self, uid: str) -> None:
        """A study is delivered, or has failed, once nothing of it waits any more."""
        rows = self._database.rows("SELECT archive, state, reason FROM delivery WHERE study = ? ORDER BY archive", uid)
        if any(state == "waiting" for _, state, _ in rows):
            return
        given_up = "; ".join(f"{archive}: {reason}" for archive, state, reason in rows if state == "failed")
        self._database.change(
            "UPDATE study SET state = ?, reason = ?, changed_at = ? WHERE uid = ?",
            State.FAILED if given_up else State.DELIVERED, given_up, self._clock(), uid,
        )  # fmt: skip

    def known_instances(self, uid: str) -> set[str]:
        """SOPInstanceUIDs of a study that are in the inbox or are our own results."""
        query = "SELECT uid FROM image WHERE study = ? UNION SELECT uid FROM own WHERE study = ?"
        return {str(row[0]) for row in self._database.rows(query, uid, uid)}

    def saw_own(self, uid: str, sop_instance_uid: str) -> None:
        """A result of ours was found in an archive."""
        self._database.change("INSERT OR IGNORE INTO own VALUES (?, ?)", uid, sop_instance_uid)

    def mark(self, archive: str, key: str) -> str | None:
        """What was noted for an archive."""
        row = self._database.row("SELECT value FROM mark WHERE archive = ? AND key = ?", archive, key)
        return None if row is None else str(row[0])

    def set_mark(self, archive: str, key: str, value: str) -> None:
        """Note something for an archive, over what was noted before."""
        self._database.change("INSERT OR REPLACE INTO mark VALUES (?, ?, ?)", archive, key, value)
