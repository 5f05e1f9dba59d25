"""Studies and their series found in files, folders, trees, DICOMDIR and zip archives.

What is found is kept in a temporary database on disk, so that a tree of millions of files needs no more memory than a
small one.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import shutil
import sqlite3
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from vertecast.core.errors import OutputError, UnreadableError
from vertecast.io.headers import Header, read_header
from vertecast.io.sources import (
    FileRef,
    UnreadablePath,
    cause,
    is_own_picture,
    is_picture_file,
    is_volume_file,
    list_files,
    stem,
)
from vertecast.io.study_files import (
    RADIOGRAPH_MODALITIES,
    SeriesFiles,
    StudyFiles,
    is_projection,
    patients_of,
    refusal,
    series_kind,
    study_of_headers,
)

__all__ = [
    "RADIOGRAPH_MODALITIES",
    "Catalogue",
    "Entry",
    "SeriesFiles",
    "StudyFiles",
    "UnreadablePath",
    "find_studies",
    "is_projection",
    "refusal",
    "series_kind",
]

TABLES: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16000;
CREATE TABLE seen (name BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE images (study BLOB, patient TEXT, nobody INTEGER, taken TEXT, source INTEGER, header BLOB);
CREATE TABLE files (name BLOB PRIMARY KEY, ref BLOB) WITHOUT ROWID;
CREATE TABLE beside (ref BLOB);
"""
"""``seen``: every file that was looked at. ``images``: the headers, in the order found. ``files``: volumes and pictures
to be analysed, in the order of their paths. ``beside``: pictures of the path that is being looked at. Paths and UIDs
are kept as bytes: names of folders, which may stand for UIDs, need not be valid text."""

NO_ROOM: Final = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")
"""What SQLite calls a disk that takes no more."""

STUDIES: Final = """
SELECT first.study, first.source, patients, key, names_nobody, day FROM (
    SELECT MIN(rowid) AS number, COUNT(DISTINCT NULLIF(patient, '')) AS patients, MAX(patient) AS key,
        MAX(nobody) AS names_nobody, MIN(taken) AS day FROM images GROUP BY study
) JOIN images AS first ON first.rowid = number ORDER BY number
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One study of a catalogue, as far as it decides which studies belong together.

    Attributes:
        study_instance_uid: UID, or a name made of the file's for a file that is no DICOM.
        source: The path, given by the user, where the first file of the study was found.
        patient_key: Hash of the patient; "" where unknown or where several share the UID. Never printed.
        names_nobody: Its PatientID is empty, or one that stands for anybody.
        taken: Date and time of the study; None where unknown. Never printed.
        file: The volume or picture that it consists of; None for DICOM.
    """

    study_instance_uid: str
    source: str
    patient_key: str = ""
    names_nobody: bool = False
    taken: datetime | None = None
    file: FileRef | None = None


def find_studies(paths: Sequence[Path], *, scratch: Path | None = None) -> Iterator[StudyFiles | UnreadablePath]:
    """Find every study under the given paths; see `Catalogue`.

    Unreadable files come first, then the studies in the order in which they were found.

    Args:
        paths: Study folders, trees, files, DICOMDIR files, zip archives, NIfTI, MetaImage or NRRD volumes, PNG or JPEG
            files.
        scratch: Folder into which volume files inside zip archives are unpacked; a temporary one by default.
            DICOM inside archives is read in place.

    Yields:
        Studies, and one record for each file or folder that cannot be read. Nothing is raised for bad input.

    Raises:
        OutputError: there is no room for the temporary database.
    """
    with contextlib.closing(Catalogue(scratch)) as catalogue:
        yield from catalogue.search(paths)
        for entry in catalogue.entries():
            yield catalogue.study(entry)


class Catalogue:
    """Every study under some paths.

    All headers are read before the first study is known, because its files may lie in several folders or be given as
    several paths. They are kept in a database without a name, which vanishes with the process however it ends; SQLite
    puts it into the folder of the environment variable SQLITE_TMPDIR or TMPDIR, else into /var/tmp.

    A PNG or JPEG file is a radiograph where it is given itself, or where the folder or archive given holds no DICOM
    and no volume anywhere: beside such images it is a thumbnail, a screen shot or a page of a report. Pictures in our
    own results are never taken.
    """

    def __init__(self, scratch: Path | None = None) -> None:
        self._scratch = scratch
        self._sources: list[str] = []
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(TABLES)

    def close(self) -> None:
        """Remove the database."""
        self._database.close()

    def search(
        self, paths: Sequence[Path], *, noticed: Callable[[int], None] = lambda _count: None
    ) -> Iterator[UnreadablePath]:
        """Look through paths; to be exhausted before `entries` are asked for.

        Args:
            paths: See `find_studies`.
            noticed: Told, after each file, how many of this call were looked at.

        Yields:
            One record for each file or folder that cannot be read.
        """
        count = 0
        with _room_on_disk():
            self._database.execute("BEGIN")
            for path in paths:
                self._sources.append(str(path))
                found = False
                for item in list_files(path):
                    count += 1
                    noticed(count)
                    problem, is_image = self._take(item, found)
                    found = found or is_image
                    if problem is not None:
                        yield problem
                if not found and not self._take_pictures(path):
                    reason = "holds no DICOM, NIfTI, MetaImage, NRRD, PNG or JPEG image"
                    yield UnreadablePath(path=path, reason=reason)
                self._database.execute("DELETE FROM beside")
            self._database.execute("COMMIT")
            self._database.execute("CREATE INDEX by_study ON images (study)")

    def _take(self, item: FileRef | UnreadablePath, found: bool) -> tuple[UnreadablePath | None, bool]:
        """Keep one file; returns what is wrong with it, and whether it counts as something found."""
        name = _name(item)
        if self._database.execute("SELECT 1 FROM seen WHERE name = ?", (name,)).fetchone():
            return None, True
        header = _read(item)
        if header is None:
            # A picture that is passed over here may still be given itself, so it does not count as seen.
            if not found and isinstance(item, FileRef) and is_picture_file(item):
                self._database.execute("INSERT INTO beside VALUES (?)", (pickle.dumps(item),))
            return None, False
        self._database.execute("INSERT INTO seen VALUES (?)", (name,))
        if isinstance(header, UnreadablePath):
            return header, True
        if isinstance(header, FileRef):
            self._keep_file(header)
        else:
            taken = None if header.taken is None else header.taken.isoformat()
            row = (_bytes(header.study_instance_uid), header.patient_key, header.names_nobody, taken)
            packed = zlib.compress(pickle.dumps(header), level=1)
            self._database.execute(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)", (*row, len(self._sources) - 1, packed)
            )
        return None, True

    def _take_pictures(self, path: Path) -> bool:
        """Keep the pictures of a path that holds no other image; whether there are any."""
        taken = False
        for (packed,) in self._database.execute("SELECT ref FROM beside"):
            ref: FileRef = pickle.loads(packed)
            if ref == FileRef(path) or not is_own_picture(ref):
                self._keep_file(ref)
                taken = True
        return taken

    def _keep_file(self, ref: FileRef) -> None:
        self._database.execute("INSERT OR IGNORE INTO files VALUES (?, ?)", (_bytes(str(ref)), pickle.dumps(ref)))

    def entries(self) -> Iterator[Entry]:
        """The studies in the order in which they were found, then files that are no DICOM in the order of their
        paths."""
        for study, source, patients, patient, nobody, taken in self._database.execute(STUDIES):
            key = patient if patients == 1 else self._one_patient(study)
            yield Entry(
                study_instance_uid=os.fsdecode(study),
                source=self._sources[source],
                patient_key=key,
                names_nobody=bool(nobody) and not key,
                taken=None if taken is None else datetime.fromisoformat(taken),
            )
        yield from self._file_entries()

    def _one_patient(self, study: bytes) -> str:
        """The patient of a study whose IDs differ: "" unless it is in their issuer alone."""
        rows = self._database.execute("SELECT header FROM images WHERE study = ?", (study,))
        found = patients_of([pickle.loads(zlib.decompress(packed)) for (packed,) in rows])
        return found.pop() if len(found) == 1 else ""

    def _file_entries(self) -> Iterator[Entry]:
        """One study per volume or picture, named by its stem; files of the same name get their folder's in front."""
        refs = (pickle.loads(packed) for (packed,) in self._database.execute("SELECT ref FROM files ORDER BY name"))
        counts = Counter(stem(ref) for ref in refs)
        used: Counter[str] = Counter()
        for (packed,) in self._database.execute("SELECT ref FROM files ORDER BY name"):
            ref: FileRef = pickle.loads(packed)
            name = stem(ref)
            if counts[name] > 1:
                name = f"{ref.folder}_{name}"
            used[name] += 1
            uid = name if used[name] == 1 else f"{name}_{used[name]}"
            yield Entry(study_instance_uid=uid, source=str(ref.path), file=ref)

    def study(self, entry: Entry) -> StudyFiles | UnreadablePath:
        """The files of one study; a volume in an archive is unpacked now."""
        uid = entry.study_instance_uid
        if entry.file is None:
            rows = self._database.execute("SELECT header FROM images WHERE study = ? ORDER BY rowid", (_bytes(uid),))
            headers: list[Header] = [pickle.loads(zlib.decompress(packed)) for (packed,) in rows]
            return study_of_headers(uid, headers, entry.source)
        if is_picture_file(entry.file):
            series = SeriesFiles(study_instance_uid=uid, series_instance_uid=uid, modality="", picture_file=entry.file)
        else:
            try:
                path = _unpacked(entry.file, self._scratch)
            except UnreadableError as error:
                return UnreadablePath(path=entry.file.path, reason=str(error))
            series = SeriesFiles(study_instance_uid=uid, series_instance_uid=uid, modality="CT", volume_file=path)
        return StudyFiles(study_instance_uid=uid, series=(series,), rejected=(), patient_key="", source=entry.source)


def _bytes(text: str) -> bytes:
    return os.fsencode(text)


def _name(item: FileRef | UnreadablePath) -> bytes:
    """What tells a file, or what is wrong with it, from any other."""
    parts = (str(item.path), item.member) if isinstance(item, FileRef) else (str(item.path), "", item.reason)
    return b"\0".join(map(_bytes, parts))


@contextlib.contextmanager
def _room_on_disk() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if not error.sqlite_errorname.startswith(NO_ROOM):
            raise
        raise OutputError(
            f"the list of files cannot be kept on disk ({error}); set the environment variable SQLITE_TMPDIR to a "
            "folder with room (about 1 kB a file)"
        ) from error


def _read(item: FileRef | UnreadablePath) -> Header | FileRef | UnreadablePath | None:
    """The header of a DICOM file, the reference itself for a volume file, None for any other file."""
    if isinstance(item, UnreadablePath) or is_volume_file(item):
        return item
    try:
        return read_header(item)
    except UnreadableError as error:
        reason = str(error).removeprefix(f"{item.path}: ").removeprefix(f"{item}: ")
        return UnreadablePath(path=item.path, reason=f"{item.member}: {reason}" if item.member else reason)


def _unpacked(ref: FileRef, scratch: Path | None) -> Path:
    """A volume file as a file on disk; those readers take no streams."""
    if not ref.member:
        return ref.path
    if ref.name.lower().endswith((".mhd", ".nhdr")):
        raise UnreadableError(f"{ref.member}: a volume in two files cannot be read inside a zip archive; unpack it")
    if scratch is None:
        scratch = Path(tempfile.mkdtemp(prefix="vertecast-"))
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    try:
        folder = Path(tempfile.mkdtemp(dir=scratch))
        with ref.open() as packed, (folder / ref.name).open("wb") as target:
            shutil.copyfileobj(packed, target)
    except OSError as error:
        raise UnreadableError(f"{ref.member}: cannot be unpacked ({cause(error)}); free some disk space") from error
    return folder / ref.name
