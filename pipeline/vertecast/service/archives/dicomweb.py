"""An archive by DICOMweb (PS3.18): STOW-RS for results, QIDO-RS and WADO-RS for studies."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.message import Message
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread

from vertecast.core.errors import ArchiveError
from vertecast.service.delivery import ALREADY_STORED
from vertecast.service.inbox import is_safe_uid
from vertecast.service.options import ArchiveOptions
from vertecast.service.web.web_archive import Instance, WebClient

MODALITIES_IN_STUDY: Final = "00080061"
STUDY_UID: Final = "0020000D"
SERIES_UID: Final = "0020000E"
INSTANCE_UID: Final = "00080018"
INSTANCE_COUNT: Final = "00201208"
STORED: Final = "00081199"
FAILED: Final = "00081198"
REFERENCED_UID: Final = "00081155"
FAILURE_REASON: Final = "00081197"
"""Tags in the answers."""

PAGE: Final = 200
"""How many records are asked for at once."""

CONFLICT: Final = 409
"""STOW-RS: no object was stored; the answer says why (PS3.18 table 10.5.3-1)."""

ANY_ENCODING: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_CHUNK_BYTES: Final = 1 << 20

Record = Mapping[str, Any]


class DicomWebArchive:
    """One archive; safe to use from one thread."""

    def __init__(self, options: ArchiveOptions) -> None:
        """Prepare; raises as `WebClient`."""
        self._client = WebClient(options)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def store(self, files: Sequence[Path]) -> None:
        """See `delivery.Archive.store`: every object must be named as stored in the answer."""
        names = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path.name for path in files}
        boundary = uuid.uuid4().hex
        size = sum(len(part) if isinstance(part, bytes) else part.stat().st_size for part in _parts(files, boundary))
        headers = {
            "Accept": "application/dicom+json",
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(size),
        }
        answer = self._client.post("studies", _body(files, boundary), headers, also=(CONFLICT,))
        if not isinstance(answer, dict):
            raise ArchiveError("the archive does not say which objects it stored")
        refused = {}
        for item in _items(answer, FAILED):
            reason = int(_value(item, FAILURE_REASON) or 0)
            if reason != ALREADY_STORED:
                refused[str(_value(item, REFERENCED_UID))] = f"the archive refused it (0x{reason:04X})"
        stored = {str(_value(item, REFERENCED_UID)) for item in (*_items(answer, STORED), *_items(answer, FAILED))}
        for uid, name in names.items():
            if uid in refused or uid not in stored:
                raise ArchiveError(f"{name}: {refused.get(uid, 'the archive does not say that it is stored')}")

    def studies(self, modality: str, first_day: str, last_day: str) -> Iterator[tuple[str, int]]:
        """UID and number of objects (-1 where it does not say) of the studies of some days, written YYYYMMDD."""
        query = {"ModalitiesInStudy": modality, "StudyDate": f"{first_day}-{last_day}", "includefield": INSTANCE_COUNT}
        for record in self._records("studies", query, STUDY_UID):
            uid, count = str(_value(record, STUDY_UID)), _value(record, INSTANCE_COUNT)
            if is_safe_uid(uid):
                yield uid, -1 if count is None else int(count)

    def instances(self, study: str) -> list[Instance]:
        """Every object of a study."""
        found = []
        for record in self._records(f"studies/{study}/instances", {}, INSTANCE_UID):
            uid, series = str(_value(record, INSTANCE_UID)), str(_value(record, SERIES_UID))
            if not (is_safe_uid(uid) and is_safe_uid(series)):
                raise ArchiveError("the archive names objects by UIDs that are none")
            found.append(Instance(uid=uid, path=f"studies/{study}/series/{series}/instances/{uid}"))
        return found

    def fetch(self, instance: Instance) -> Iterator[bytes]:
        """The file of an object, part by part. Raises `ArchiveError`."""
        with self._client.stream(instance.path, ANY_ENCODING) as answer:
            chunks = answer.iter_bytes(_CHUNK_BYTES)
            boundary = _boundary(answer.headers.get("Content-Type", ""))
            yield from chunks if boundary is None else first_part(chunks, boundary)

    def _records(self, path: str, query: Mapping[str, str], key: str) -> Iterator[Record]:
        """All records of a query, page by page; an archive that knows no pages sends the same ones again."""
        seen: set[str] = set()
        while True:
            page = self._client.json(path, {**query, "limit": PAGE, "offset": len(seen)}) or []
            if not isinstance(page, list):
                raise ArchiveError("the archive's answer is no list of records; check url")
            fresh = [record for record in page if str(_value(record, key)) not in seen]
            seen.update(str(_value(record, key)) for record in fresh)
            yield from fresh
            if not fresh or len(page) < PAGE:
                return


def first_part(chunks: Iterable[bytes], boundary: bytes) -> Iterator[bytes]:
    """The content of the first part of a multipart body (RFC 2046 5.1), with little of it held at a time.

    Raises:
        ArchiveError: the body ends before the part does.
    """
    delimiter = b"\r\n--" + boundary
    # The body itself may begin with the delimiter, which is then the start of a line already.
    held, in_content = b"\r\n", False
    for chunk in chunks:
        held += chunk
        if not in_content:
            start = held.find(b"\r\n\r\n", max(held.find(delimiter), 0))
            if delimiter not in held or start < 0:
                continue
            held, in_content = held[start + 4 :], True
        end = held.find(delimiter)
        if end >= 0:
            yield held[:end]
            return
        safe = max(len(held) - len(delimiter), 0)
        yield held[:safe]
        held = held[safe:]
    raise ArchiveError("the archive's answer was cut off")


def _boundary(content_type: str) -> bytes | None:
    """The boundary of a multipart answer; None for one that is the object itself."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    return None if boundary is None else boundary.encode()


def _parts(files: Sequence[Path], boundary: str) -> Iterator[bytes | Path]:
    """What the body of a STOW-RS request is made of (PS3.18 10.5)."""
    for path in files:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        yield path
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _body(files: Sequence[Path], boundary: str) -> Iterator[bytes]:
    for part in _parts(files, boundary):
        if isinstance(part, bytes):
            yield part
            continue
        with part.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


def _items(record: Record, tag: str) -> list[Record]:
    """Items of a sequence in the DICOM JSON model (PS3.18 F.2.2)."""
    return list((record.get(tag) or {}).get("Value") or [])


def _value(record: Record, tag: str) -> Any:
    """First value of an element; None where there is none."""
    values = (record.get(tag) or {}).get("Value") or [None]
    return values[0]
