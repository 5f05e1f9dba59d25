"""Where images lie: files, folders, DICOMDIR and zip archives, one reference per file."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from pydicom import dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError

from vertecast.core.errors import UnreadableError

VOLUME_SUFFIXES: Final = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
"""Volumes that are no DICOM: NIfTI, MetaImage, NRRD."""

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg")
"""Pictures that can be radiographs."""

DICOM_SUFFIXES: Final = (".dcm", ".dicom", ".ima")
"""A file with such a name that cannot be read as DICOM is damaged; any other file may be something else."""

REPORT_NAME: Final = "report.json"
"""The file that marks a folder of our own results."""

TRUTH: Final = "truth"
SIMULATED: Final = frozenset({"studies", TRUTH})
"""Folders that `vertecast simulate` writes beside each other: the label maps of its truth are no studies."""

MAX_MEMBER_BYTES: Final = 2 * 2**30
"""A larger member of an archive is not unpacked into memory: the largest CT volumes, in floats, come near."""

MAX_INFLATED_BYTES: Final = 2**30
"""A deflated file that becomes larger is not read: pydicom inflates it whole, and one of a megabyte can become a
thousand. The largest image that CT or fluoroscopy writes is smaller."""

DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
META_GROUP_START: Final = 132
META_GROUP_BYTES: Final = 4096
INFLATED_PART: Final = 2**20

ARCHIVE_ERRORS: Final = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
"""What the zip reader raises for damaged (the first four), encrypted or exotic archives."""

PARSE_ERRORS: Final = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
    BytesLengthException,
    InvalidDicomError,
)
"""What pydicom and its decoders raise on damaged files."""


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file on disk, or the member of a zip archive on disk."""

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """Name of the file itself, without its folder."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    @property
    def folder(self) -> str:
        """Name of the folder that holds the file; of the archive for what lies at its top."""
        if self.member:
            return PurePosixPath(self.member).parent.name or self.path.stem
        return self.path.absolute().parent.name

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    def open(self) -> BinaryIO:
        """Open for reading from the start, seekable.

        Raises:
            UnreadableError: the file cannot be opened, or its archive is damaged or encrypted.
        """
        try:
            if not self.member:
                opened: BinaryIO = self.path.open("rb")
            else:
                opened = io.BytesIO(_archive(self.path, os.getpid()).read(self.member))
            if is_too_large_inflated(opened):
                opened.close()
                raise UnreadableError(f"{self}: {TOO_LARGE_INFLATED}")
        except (*ARCHIVE_ERRORS, KeyError) as error:
            raise UnreadableError(f"{self}: cannot be read ({cause(error)})") from error
        return opened


TOO_LARGE_INFLATED: Final = (
    f"is deflated and becomes larger than {MAX_INFLATED_BYTES // 2**20} MiB; send it in another transfer syntax"
)


def is_too_large_inflated(file: BinaryIO) -> bool:
    """Whether a DICOM file is deflated and becomes too large for memory; found out piece by piece.

    The file is read from its start and left there. Data behind the group of file meta information (PS3.10 7.1) are raw
    deflate (PS3.5 A.5).
    """
    start = file.read(META_GROUP_START + META_GROUP_BYTES)
    file.seek(0)
    if start[128:META_GROUP_START] != b"DICM" or DEFLATED not in start[META_GROUP_START:]:
        return False
    (length,) = struct.unpack_from("<I", start, META_GROUP_START + 8)
    file.seek(META_GROUP_START + 12 + length)
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        while size <= MAX_INFLATED_BYTES and not inflater.eof:
            part = inflater.unconsumed_tail or file.read(INFLATED_PART)
            if not part:
                break
            size += len(inflater.decompress(part, INFLATED_PART))
    except zlib.error:
        return False  # whoever reads it says what is wrong with it
    finally:
        file.seek(0)
    return size > MAX_INFLATED_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadablePath:
    """A file or folder from which no image could be read, with the cause and the remedy."""

    path: Path
    reason: str


def cause(error: BaseException) -> str:
    """A short text for an error of the operating system or a library, without file names or file contents."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, RuntimeError) and "password" in str(error):
        return "the archive is encrypted"
    return type(error).__name__


def is_volume_file(ref: FileRef) -> bool:
    """True for NIfTI, MetaImage and NRRD by name."""
    return ref.name.lower().endswith(VOLUME_SUFFIXES)


def is_picture_file(ref: FileRef) -> bool:
    """True for PNG and JPEG by name."""
    return ref.name.lower().endswith(PICTURE_SUFFIXES)


def is_own_picture(ref: FileRef) -> bool:
    """True where a picture lies in, or one folder below, a folder with our own report."""
    if not ref.member:
        return any((folder / REPORT_NAME).exists() for folder in ref.path.absolute().parents[:2])
    try:
        members = set(_archive(ref.path, os.getpid()).namelist())
    except ARCHIVE_ERRORS:
        return False
    return any(str(folder / REPORT_NAME) in members for folder in list(PurePosixPath(ref.member).parents)[:2])


def stem(ref: FileRef) -> str:
    """Name of a volume or picture file without its suffix: ``ct`` for ``ct.nii.gz``."""
    suffixes = sorted((*VOLUME_SUFFIXES, *PICTURE_SUFFIXES), key=len, reverse=True)
    suffix = next((s for s in suffixes if ref.name.lower().endswith(s)), "")
    return ref.name[: len(ref.name) - len(suffix)]


def list_files(path: Path) -> Iterator[FileRef | UnreadablePath]:
    """Every file under a path in a stable order; folders, archives and DICOMDIR are looked into.

    Nothing is raised: what cannot be opened is yielded as an `UnreadablePath`.
    """
    try:
        is_folder = path.is_dir()
        exists = is_folder or path.exists()
    except OSError as error:
        yield UnreadablePath(path=path, reason=f"cannot be opened ({cause(error)})")
        return
    if not exists:
        yield UnreadablePath(path=path, reason="does not exist; check the path")
    elif is_folder:
        yield from _list_folder(path)
    elif path.name.upper() == "DICOMDIR":
        yield from _list_dicomdir(path)
    elif path.suffix.lower() == ".zip":
        yield from _list_archive(path)
    else:
        yield FileRef(path)


def _list_folder(root: Path) -> Iterator[FileRef | UnreadablePath]:
    """Walk a tree, following links to folders once each."""
    problems: list[UnreadablePath] = []

    def note(error: OSError) -> None:
        where = Path(error.filename) if error.filename else root
        problems.append(UnreadablePath(path=where, reason=f"the folder cannot be read ({cause(error)})"))

    visited: set[str] = set()
    for folder, subfolders, names in os.walk(root, onerror=note, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not _is_hidden(name))
        if SIMULATED.issubset(subfolders):
            subfolders.remove(TRUTH)
        own_results = REPORT_NAME in names
        for name in sorted(names):
            path = Path(folder, name)
            # A DICOMDIR inside a tree only lists files that the walk finds itself.
            if _is_hidden(name) or name.upper() == "DICOMDIR" or (own_results and name.startswith("labels_")):
                continue
            if path.suffix.lower() == ".zip":
                yield from _list_archive(path)
            elif not path.exists() or path.is_file():  # pipes and sockets would be waited for
                yield FileRef(path)
    yield from problems


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _list_archive(path: Path) -> Iterator[FileRef | UnreadablePath]:
    """Members of a zip archive. Archives inside archives are not opened."""
    try:
        members = _archive(path, os.getpid()).infolist()
    except ARCHIVE_ERRORS as error:
        yield UnreadablePath(path=path, reason=f"the zip archive cannot be opened ({cause(error)}); pack it again")
        return
    for info in sorted(members, key=lambda m: m.filename):
        ref = FileRef(path, info.filename)
        parts = PurePosixPath(info.filename).parts
        if info.is_dir() or any(_is_hidden(part) for part in parts) or ref.name.upper() == "DICOMDIR":
            continue
        if ref.name.lower().endswith(".zip"):
            yield UnreadablePath(path=path, reason="holds a zip archive inside a zip archive; unpack it first")
        elif info.file_size > MAX_MEMBER_BYTES:
            yield UnreadablePath(path=path, reason="holds a file of more than 2 GiB; unpack it first")
        elif info.flag_bits & 0x1:
            yield UnreadablePath(path=path, reason="the zip archive is encrypted; unpack it first")
            return
        else:
            yield ref


@lru_cache(maxsize=4)
def _archive(path: Path, process: int) -> zipfile.ZipFile:
    """An open archive, kept: reading its directory again for every slice would dominate.

    One per process, because a forked worker shares the file position of its parent.
    """
    return zipfile.ZipFile(path)


def _list_dicomdir(path: Path) -> Iterator[FileRef | UnreadablePath]:
    """Files that a DICOMDIR names (PS3.3 F.3), found whatever the case of their names on disk."""
    try:
        records = dcmread(path).get("DirectoryRecordSequence") or []
        file_ids = [record.ReferencedFileID for record in records if "ReferencedFileID" in record]
    except PARSE_ERRORS as error:
        yield UnreadablePath(path=path, reason=f"the DICOMDIR cannot be read ({cause(error)}); give its folder instead")
        return
    for file_id in file_ids:
        parts = [file_id] if isinstance(file_id, str) else list(file_id)
        found = _on_disk(path.parent, [str(part) for part in parts])
        if found is None:
            reason = "is named in the DICOMDIR and missing; copy it again"
            yield UnreadablePath(path=path.parent.joinpath(*parts), reason=reason)
        else:
            yield FileRef(found)


def _on_disk(folder: Path, parts: Sequence[str]) -> Path | None:
    """The file of these names, whatever their case on disk and with or without ``.dcm``; None where there is none."""
    exact = folder.joinpath(*parts)
    if exact.is_file():
        return exact
    for n, part in enumerate(parts):
        is_last = n == len(parts) - 1
        wanted = {part.lower(), f"{part.lower()}.dcm"} if is_last else {part.lower()}
        try:
            names = sorted(one for one in folder.iterdir() if one.name.lower() in wanted)
        except OSError:
            return None
        if not names:
            return None
        folder = names[0]
    return folder if folder.is_file() else None
