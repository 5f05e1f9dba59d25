"""Images on disk before anyone is told that they were received."""

from __future__ import annotations

import errno
import filecmp
import logging
import os
import re
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias

from pydicom import Dataset, dcmread

from vertecast.core.errors import OutputError, UnreadableError
from vertecast.core.images import OWN_MODEL_NAME
from vertecast.io.sources import PARSE_ERRORS, TOO_LARGE_INFLATED, cause, is_too_large_inflated
from vertecast.service.options import DiskOptions
from vertecast.service.queue import StudyQueue

__all__ = ["Content", "DiskFullError", "Inbox", "Stored", "is_safe_uid"]

Content: TypeAlias = Iterable[bytes | memoryview]
"""The bytes of one DICOM file, part by part."""

GIGABYTE: Final = 1e9
DAY_S: Final = 86400.0
_TAGS: Final = ["StudyInstanceUID", "SOPInstanceUID", "ManufacturerModelName"]
_UID: Final = re.compile(r"\d+(\.\d+)*", re.ASCII)
_MAX_UID: Final = 64
_log = logging.getLogger(__name__)


class Stored(Enum):
    """What became of an image that was taken."""

    NEW = "new"
    KNOWN = "known"
    """The same bytes lie there already."""
    OWN = "own"
    """A result of ours: taken, and not kept."""


class DiskFullError(OutputError):
    """There is no room for an image now; it is to be sent again later."""


def is_safe_uid(text: str) -> bool:
    """Whether a text is digits and dots as a UID is (PS3.5 9.1), so that it can name a file."""
    return len(text) <= _MAX_UID and _UID.fullmatch(text) is not None


class Inbox:
    """The received images of all studies: ``inbox/<StudyInstanceUID>/<SOPInstanceUID>.dcm``."""

    def __init__(self, root: Path, disk: DiskOptions, queue: StudyQueue) -> None:
        """Make the folders.

        Raises:
            OutputError: they cannot be made.
        """
        self._root = root
        self._disk = disk
        self._queue = queue
        # Between a file's new name and its row nobody may take the folder away.
        self._lock = threading.Lock()
        try:
            for folder in (self._studies, self._aside):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{root}: cannot be made ({error.strerror}); choose another folder") from error

    @property
    def _studies(self) -> Path:
        return self._root / "inbox"

    @property
    def _aside(self) -> Path:
        """What is not complete yet, or on its way out."""
        return self._root / "incoming"

    def folder(self, uid: str) -> Path:
        """Where the images of a study lie; it may not exist."""
        return self._studies / uid

    def store(self, content: Content, *, expected_uid: str = "") -> Stored:
        """Keep an image: when this returns, it and its row in the queue outlive a loss of power.

        Args:
            content: Its file.
            expected_uid: SOPInstanceUID under which it was announced; "" where it was not.

        Raises:
            DiskFullError: the disk or the study's share of it is used up.
            UnreadableError: it is no DICOM, or does not say which image of which study it is.
        """
        self._check_room()
        partial = self._aside / f"{uuid.uuid4().hex}.partial"
        try:
            _write(partial, content)
            header = _header(partial)
            study, image = _uid(header, "StudyInstanceUID"), _uid(header, "SOPInstanceUID")
            if expected_uid not in ("", image):
                raise UnreadableError("the image has another SOPInstanceUID than its message says; send it anew")
            if str(header.get("ManufacturerModelName") or "").strip() == OWN_MODEL_NAME:
                self._queue.archives.saw_own(study, image)
                return Stored.OWN
            return self._keep(partial, study, image)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError("the disk is full; make room") from error
            raise OutputError(
                f"{self._root}: cannot be written ({cause(error)}); check disk and permissions"
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def _check_room(self) -> None:
        if shutil.disk_usage(self._root).free < self._disk.reserve_gb * GIGABYTE:
            raise DiskFullError(f"less than {self._disk.reserve_gb:g} GB of the disk are free; make room")

    def _keep(self, partial: Path, study: str, image: str) -> Stored:
        """Give a complete file its name and its row."""
        size_bytes = partial.stat().st_size
        if self._queue.size_bytes(study) + size_bytes > self._disk.max_study_gb * GIGABYTE:
            raise DiskFullError(
                f"the study is larger than {self._disk.max_study_gb:g} GB; raise max_study_gb to take it"
            )
        folder = self.folder(study)
        path = folder / f"{image}.dcm"
        with self._lock:
            if not folder.exists():
                folder.mkdir()
                _sync_folder(self._studies)
            if not (path.exists() and filecmp.cmp(partial, path, shallow=False)):
                os.replace(partial, path)
                _sync_folder(folder)
            return Stored.NEW if self._note(study, path) else Stored.KNOWN

    def _note(self, study: str, path: Path) -> bool:
        state = path.stat()
        return self._queue.received(study, path.stem, size_bytes=state.st_size, modified_ns=state.st_mtime_ns)

    def recover(self) -> None:
        """After the service ended, however it did: no image that got its name is forgotten, no remains are kept."""
        for remains in self._aside.iterdir():
            if remains.is_dir():
                shutil.rmtree(remains, ignore_errors=True)
            else:
                remains.unlink(missing_ok=True)
        for folder in self._studies.iterdir():
            if not is_safe_uid(folder.name):
                continue
            known = self._queue.images(folder.name)
            for path in sorted(folder.glob("*.dcm")):
                state = path.stat()
                if known.get(path.stem) != (state.st_size, state.st_mtime_ns):
                    self._note(folder.name, path)

    def clear(self) -> None:
        """Remove the images of studies that have been done for long."""
        before = time.time() - self._disk.keep_days * DAY_S
        for uid in self._queue.expired(before):
            out = self._aside / f"{uuid.uuid4().hex}.removed"
            with self._lock:
                if uid not in self._queue.expired(before):
                    continue
                if self.folder(uid).exists():
                    os.rename(self.folder(uid), out)
                self._queue.forget_images(uid, before)
            shutil.rmtree(out, ignore_errors=True)
            _log.info("study %s: images removed, %g days after it was done", uid, self._disk.keep_days)


def _write(path: Path, content: Content) -> None:
    with path.open("wb") as file:
        for part in content:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """A new name in a folder is on disk for good."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _header(path: Path) -> Dataset:
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            if is_too_large_inflated(file):
                raise UnreadableError(f"the image {TOO_LARGE_INFLATED}")
            return dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
    except PARSE_ERRORS as error:
        raise UnreadableError(f"the image cannot be read as DICOM ({cause(error)}); send it anew") from error


def _uid(header: Dataset, keyword: str) -> str:
    uid = str(header.get(keyword) or "").strip(" \0")
    if not is_safe_uid(uid):
        raise UnreadableError(f"the image has no valid {keyword}; correct it before it is sent")
    return uid
