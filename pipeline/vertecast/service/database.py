"""The file behind the queue: tables, and transactions that outlive a kill."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from vertecast.core.errors import OutputError
from vertecast.service.records import State, StudyRecord

BUSY_S: Final = 30.0
"""How long a process waits for another one's transaction."""

COLUMNS: Final = "uid, state, reason, images, attempts, source, revision, received_at, changed_at, next_attempt_at"
"""Of ``study``, as `read_studies` wants them."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS study (
    uid TEXT PRIMARY KEY, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', images INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, interruptions INTEGER NOT NULL DEFAULT 0, source TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1, received_at REAL NOT NULL, changed_at REAL NOT NULL, next_attempt_at REAL,
    claimed INTEGER NOT NULL DEFAULT 0, patient TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS study_by_state ON study (state, changed_at);
CREATE INDEX IF NOT EXISTS study_by_patient ON study (patient) WHERE patient <> '';
CREATE TABLE IF NOT EXISTS image (
    study TEXT NOT NULL, uid TEXT NOT NULL, bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
    PRIMARY KEY (study, uid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS delivery (
    study TEXT NOT NULL, archive TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0, next_attempt_at REAL NOT NULL, PRIMARY KEY (study, archive)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS delivery_by_archive ON delivery (archive, state, next_attempt_at);
CREATE TABLE IF NOT EXISTS own (study TEXT NOT NULL, uid TEXT NOT NULL, PRIMARY KEY (study, uid)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mark (
    archive TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (archive, key)
) WITHOUT ROWID;
"""
"""``patient`` is a hash. ``own`` lists our results, ``mark`` what was seen last in an archive."""

Row: TypeAlias = Sequence[Any]


class Database:
    """One connection that all threads of a process share; several processes may hold one each."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            OutputError: it cannot be made, or is no database of ours.
        """
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            # In WAL mode only FULL keeps a committed transaction through a loss of power.
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"{path}: cannot be opened as the queue ({error}); choose another folder") from error

    def close(self) -> None:
        """Close the file; nothing may be asked of it afterwards."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """All or nothing of what is executed inside; on disk when the block is left."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def change(self, statement: str, *values: object) -> int:
        """Execute a statement; returns how many rows it changed."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    def rows(self, query: str, *values: object) -> list[Row]:
        """All rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, *values: object) -> Row | None:
        """The first row of a query, if any."""
        with self._lock:
            found: Row | None = self._connection.execute(query, values).fetchone()
            return found


def read_studies(database: Database, condition: str, *values: object) -> list[StudyRecord]:
    """The studies that fulfil an SQL condition, which may order and limit them too."""
    rows = database.rows(f"SELECT {COLUMNS} FROM study WHERE {condition}", *values)
    return [_study(row, _deliveries(database, str(row[0]))) for row in rows]


def _deliveries(database: Database, uid: str) -> dict[str, str]:
    rows = database.rows("SELECT archive, state, reason FROM delivery WHERE study = ? ORDER BY archive", uid)
    return {str(archive): f"{state}: {reason}" if reason else str(state) for archive, state, reason in rows}


def _study(row: Row, deliveries: dict[str, str]) -> StudyRecord:
    uid, state, reason, images, attempts, source, revision, received_at, changed_at, next_attempt_at = row
    return StudyRecord(
        study_instance_uid=uid,
        state=State(state),
        reason=reason,
        images=images,
        attempts=attempts,
        source=source,
        revision=revision,
        received_at=received_at,
        changed_at=changed_at,
        next_attempt_at=next_attempt_at,
        deliveries=deliveries,
    )
