"""Results on their way into an archive. What counts as delivered is what the archive itself said of each object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from vertecast.core.errors import ArchiveError
from vertecast.service.options import ArchiveOptions, ResultKind

FILES: Final[dict[ResultKind, str]] = {
    "report": "sr.dcm",
    "segmentation": "seg_*.dcm",
    "pictures": "capture_*.dcm",
    "pdf": "report_pdf.dcm",
}
"""Names of the files of each kind of result in a study's folder."""

OWN_TITLE: Final = "VERTECAST"
ALREADY_STORED: Final = 0x0111
"""Duplicate SOP Instance (PS3.7 C.5.12). A result's UID depends on what is in it, so what lies there is the same."""

_MEANINGS: Final = ((0xA700, "out of resources"), (0xA900, "the object does not match its class"))
_REJECTIONS: Final = {
    (1, 3): "it does not know the calling AE title; enter it there",
    (1, 7): "it has another AE title; correct ae_title",
    (3, 1): "it is busy",
    (3, 2): "it has reached its limit of associations",
}
"""Source and reason of a rejected association (PS3.8 9.3.4)."""


class Archive(Protocol):
    """Somewhere that results go."""

    def store(self, files: Sequence[Path]) -> None:
        """Hand over DICOM files.

        Raises:
            ArchiveError: the archive has not said of every one of them that it is stored.
        """

    def close(self) -> None:
        """Close what is open."""


def result_files(folder: Path, kinds: Sequence[ResultKind]) -> list[Path]:
    """The DICOM results in a study's folder, in a stable order."""
    return [path for kind in kinds for path in sorted(folder.glob(FILES[kind]))]


class DicomArchive:
    """An archive that takes objects by C-STORE."""

    def __init__(self, options: ArchiveOptions, *, calling: str = OWN_TITLE) -> None:
        """Prepare; nothing is opened before there is something to send.

        Args:
            options: Of kind "dicom".
            calling: AE title of the service.
        """
        self._options = options
        self._entity = AE(ae_title=calling)
        timeout_s = options.timeout_s
        self._entity.acse_timeout = self._entity.dimse_timeout = self._entity.network_timeout = timeout_s
        self._entity.connection_timeout = timeout_s

    def close(self) -> None:
        """Nothing is kept open."""

    def store(self, files: Sequence[Path]) -> None:
        """See `Archive.store`."""
        association = self._associate(files)
        try:
            for path in files:
                self._store_one(association, path)
        finally:
            if association.is_established:
                association.release()

    def _associate(self, files: Sequence[Path]) -> Association:
        """An association for the classes of the files, each as it is encoded and as any archive must take it."""
        offered: dict[str, list[str]] = {}
        for path in files:
            meta = dcmread(path, stop_before_pixels=True, specific_tags=[]).file_meta
            syntaxes = offered.setdefault(str(meta.MediaStorageSOPClassUID), [])
            for syntax in map(str, (meta.TransferSyntaxUID, ExplicitVRLittleEndian, ImplicitVRLittleEndian)):
                if syntax not in syntaxes:
                    syntaxes.append(syntax)
        self._entity.requested_contexts = []
        for sop_class, syntaxes in offered.items():
            for each in syntaxes:
                self._entity.add_requested_context(sop_class, each)
        options = self._options
        assert options.host is not None
        assert options.port is not None
        assert options.ae_title is not None
        association = self._entity.associate(options.host, options.port, ae_title=options.ae_title)
        if association.is_established:
            return association
        if association.is_rejected:
            answer: Any = association.acceptor.primitive
            kind = (answer.result_source, answer.diagnostic)
            raise ArchiveError(f"the archive refused the association: {_REJECTIONS.get(kind, f'reason {kind}')}")
        if association.rejected_contexts:
            raise ArchiveError("the archive takes none of these objects; enable their classes there")
        raise ArchiveError("the archive does not answer; check host, port and network, and whether it runs")

    def _store_one(self, association: Association, path: Path) -> None:
        dataset = dcmread(path)
        name = f"{path.name} ({dataset.SOPClassUID.name})"
        if not association.is_established:
            raise ArchiveError(f"{name}: the archive ended the association")
        try:
            answer = association.send_c_store(dataset)
        except ValueError as error:
            raise ArchiveError(
                f"{name}: the archive does not take objects of this class; enable it there or leave it out of 'objects'"
            ) from error
        status = answer.get("Status")
        if status is None:
            raise ArchiveError(f"{name}: the archive gave no answer in {self._options.timeout_s:g} s")
        if not is_stored(int(status)):
            meaning = next((text for code, text in _MEANINGS if int(status) & 0xFF00 == code), "refused")
            raise ArchiveError(f"{name}: the archive answered 0x{int(status):04X} ({meaning})")


def is_stored(status: int) -> bool:
    """Whether a status of C-STORE says that the object lies in the archive.

    Success, a warning (PS3.4 B.2.3: coercion, elements discarded: stored with changes), or stored before.
    """
    return status == 0 or 0xB000 <= status <= 0xBFFF or status == ALREADY_STORED
