"""Where the frames of one DICOM file lie, so that each is read alone, however long the cine (PS3.5 A.4)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID

from vertecast.core.errors import UnreadableError

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
PIXEL_DATA: Final = (0x7FE0, 0x0010)
FLOAT_DATA: Final = ((0x7FE0, 0x0008), (0x7FE0, 0x0009))
ITEM, END_OF_ITEMS = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
STARTS: Final = (b"\xff\xd8", b"\xff\x4f")
"""First bytes of a JPEG or JPEG-LS stream, and of a JPEG 2000 one."""

AGAIN: Final = "export it again"

Span = tuple[int, int]
"""Offset in the file and length, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameIndex:
    """Pieces of every frame in the file, in order.

    Attributes:
        frames: For each frame the spans that hold it, one after the other.
        encapsulated: The frames are compressed.
    """

    frames: tuple[tuple[Span, ...], ...]
    encapsulated: bool


def index_frames(file: BinaryIO, dataset: Dataset, name: str) -> FrameIndex:
    """Index the frames of a file.

    Args:
        file: The file at the element where the reading of its header stopped, before the pixel data.
        dataset: The header.
        name: What to call the image in an error.

    Raises:
        UnreadableError: there is no pixel data, it is cut off, or its frames are not as many as the header says.
    """
    count = int(dataset.get("NumberOfFrames") or 1)
    order = "<" if dataset.original_encoding[1] else ">"
    start = file.read(8)
    if len(start) < 8:
        raise UnreadableError(f"{name} holds no pixel data or was cut off before; {AGAIN}")
    tag = struct.unpack(order + "HH", start[:4])
    if tag in FLOAT_DATA:
        raise UnreadableError(f"{name} holds floating-point pixel data, which no X-ray image does; {AGAIN}")
    if tag != PIXEL_DATA:
        raise UnreadableError(f"{name} holds no pixel data; {AGAIN}")
    if start[4:6].isalpha():
        (length,) = struct.unpack(order + "L", file.read(4))
    else:
        (length,) = struct.unpack(order + "L", start[4:])
    at = file.tell()
    size = file.seek(0, 2)
    compressed = UID(str(dataset.file_meta.get("TransferSyntaxUID", ""))).is_compressed if dataset.file_meta else False
    if length == UNDEFINED_LENGTH:
        return FrameIndex(frames=_compressed(file, at, size, dataset, name), encapsulated=True)
    if compressed:
        raise UnreadableError(f"{name} claims to be compressed and its pixel data is not; {AGAIN}")
    if at + length > size:
        raise UnreadableError(f"{name} is cut off within its pixel data; {AGAIN}")
    return FrameIndex(frames=_native(at, length, count, dataset, name), encapsulated=False)


def _native(at: int, length: int, count: int, dataset: Dataset, name: str) -> tuple[tuple[Span, ...], ...]:
    """Frames of equal size, one after the other."""
    samples = int(dataset.get("SamplesPerPixel") or 1)
    bits = int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated)
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits * 2 // 3
    frame = bits // 8
    if frame <= 0 or bits % 8:
        raise UnreadableError(f"{name} has a size or a number of bits that no X-ray image has; {AGAIN}")
    if length // frame != count:
        raise _disagreement(name, count, length // frame)
    return tuple(((at + number * frame, frame),) for number in range(count))


def _compressed(file: BinaryIO, at: int, size: int, dataset: Dataset, name: str) -> tuple[tuple[Span, ...], ...]:
    """Fragments grouped into frames: by an offset table, one each, or where a stream begins."""
    count = int(dataset.get("NumberOfFrames") or 1)
    (table_at, table_length), *fragments = _items(file, at, size, name)
    if count == 1 and fragments:
        starts = _stream_starts(file, fragments)
        if len(starts) > 1:
            raise _disagreement(name, 1, len(starts))
        return (tuple(fragments),)
    if len(fragments) < count:
        raise _disagreement(name, count, len(fragments))
    if len(fragments) == count:
        return tuple((fragment,) for fragment in fragments)
    file.seek(table_at)
    table = file.read(table_length)
    basic = np.frombuffer(table[: len(table) // 4 * 4], "<u4").tolist()
    extended = np.frombuffer(dataset.get("ExtendedOffsetTable") or b"", "<u8").tolist()
    first = fragments[0][0] - 8
    for offsets in (extended, basic):
        frames = _grouped(fragments, [first + offset + 8 for offset in offsets])
        if len(frames) == count:
            return frames
    frames = _grouped(fragments, _stream_starts(file, fragments))
    if len(frames) != count:
        raise _disagreement(name, count, len(frames))
    return frames


def _items(file: BinaryIO, at: int, size: int, name: str) -> list[Span]:
    """Spans of the items of encapsulated pixel data; the first is the offset table."""
    spans: list[Span] = []
    while True:
        file.seek(at)
        head = file.read(8)
        group, element, length = struct.unpack("<HHL", head) if len(head) == 8 else (0, 0, 0)
        if (group, element) == END_OF_ITEMS and spans:
            return spans
        if (group, element) != ITEM or at + 8 + length > size:
            raise UnreadableError(f"{name} is cut off or damaged within its compressed pixel data; {AGAIN}")
        spans.append((at + 8, length))
        at += 8 + length


def _stream_starts(file: BinaryIO, fragments: Sequence[Span]) -> list[int]:
    """Offsets of the fragments with which a compressed stream begins."""
    starts = []
    for offset, _ in fragments:
        file.seek(offset)
        if file.read(2) in STARTS:
            starts.append(offset)
    return starts


def _grouped(fragments: Sequence[Span], starts: Sequence[int]) -> tuple[tuple[Span, ...], ...]:
    """Fragments from each start up to the next; nothing where a start is no fragment or the first is not one."""
    begins = set(starts)
    if not fragments or fragments[0][0] not in begins or not begins <= {offset for offset, _ in fragments}:
        return ()
    frames: list[list[Span]] = []
    for span in fragments:
        if span[0] in begins:
            frames.append([])
        frames[-1].append(span)
    return tuple(tuple(frame) for frame in frames)


def _disagreement(name: str, header: int, found: int) -> UnreadableError:
    return UnreadableError(
        f"{name}: the header names {header} frames and the pixel data holds {found}; the file is cut off or damaged; "
        f"{AGAIN}"
    )
