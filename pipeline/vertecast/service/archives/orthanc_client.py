"""Orthanc by its own REST interface, without any plugin: results in, studies out, its list of changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from vertecast.core.errors import ArchiveError
from vertecast.service.inbox import is_safe_uid
from vertecast.service.options import ArchiveOptions
from vertecast.service.web.web_archive import Instance, NotThereError, WebClient

STABLE_STUDY: Final = "StableStudy"
"""Change of a study that has not got an image for Orthanc's ``StableAge``."""

PAGE: Final = 100
_STORED: Final = ("Success", "AlreadyStored")
_CHUNK_BYTES: Final = 1 << 20


class OrthancArchive:
    """One Orthanc; safe to use from one thread."""

    def __init__(self, options: ArchiveOptions) -> None:
        """Prepare; raises as `WebClient`."""
        self._client = WebClient(options)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def store(self, files: Sequence[Path]) -> None:
        """See `delivery.Archive.store`."""
        for path in files:
            answer = self._client.post("instances", path.read_bytes(), {"Content-Type": "application/dicom"})
            status = answer.get("Status") if isinstance(answer, dict) else None
            if status not in _STORED:
                raise ArchiveError(f"{path.name}: Orthanc does not say that it is stored")

    def instances(self, study: str) -> list[Instance]:
        """Every object of a study; none where Orthanc does not know it."""
        found = []
        for item in self._client.post("tools/lookup", study.encode(), {}) or []:
            if item["Type"] == "Study":
                found += self.instances_of(item["ID"])
        return found

    def instances_of(self, identifier: str) -> list[Instance]:
        """Every object of a study by Orthanc's own identifier."""
        found = []
        for item in self._client.json(f"studies/{identifier}/instances"):
            uid = str(item["MainDicomTags"].get("SOPInstanceUID", ""))
            if not is_safe_uid(uid):
                raise ArchiveError("Orthanc names objects by UIDs that are none")
            found.append(Instance(uid=uid, path=f"instances/{item['ID']}/file"))
        return found

    def fetch(self, instance: Instance) -> Iterator[bytes]:
        """The file of an object, part by part. Raises `ArchiveError`."""
        with self._client.stream(instance.path, "*/*") as answer:
            yield from answer.iter_bytes(_CHUNK_BYTES)

    def last_change(self) -> int:
        """Number of the newest change."""
        return int(self._client.json("changes?last")["Last"])

    def changes(self, since: int) -> tuple[list[tuple[int, str]], int]:
        """Studies that became stable after a change.

        Returns:
            Number of the change and Orthanc's identifier of each, and the number of the last change looked at.
        """
        page = self._client.json("changes", {"since": since, "limit": PAGE})
        stable = [(int(one["Seq"]), str(one["ID"])) for one in page["Changes"] if one["ChangeType"] == STABLE_STUDY]
        return stable, int(page["Last"])

    def study(self, identifier: str) -> tuple[str, set[str]] | None:
        """UID and modalities of a study; None where it has gone meanwhile, or has no valid UID."""
        try:
            uid = str(self._client.json(f"studies/{identifier}")["MainDicomTags"]["StudyInstanceUID"])
            series = self._client.json(f"studies/{identifier}/series")
        except NotThereError:
            return None
        if not is_safe_uid(uid):
            return None
        return uid, {str(one["MainDicomTags"].get("Modality", "")) for one in series}
