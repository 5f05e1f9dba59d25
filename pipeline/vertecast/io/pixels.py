"""Stored pixel values of DICOM files, whatever their transfer syntax, as Hounsfield units."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGExtended12Bit,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from vertecast.core.errors import UnreadableError
from vertecast.io.checks import AIR_HU
from vertecast.io.headers import ImagePlane
from vertecast.io.sources import PARSE_ERRORS, FileRef, cause

FASTEST_DECODER: Final = {
    RLELossless: "pylibjpeg",
    **dict.fromkeys(JPEGLSTransferSyntaxes, "pyjpegls"),
    **dict.fromkeys(JPEG2000TransferSyntaxes, "pylibjpeg"),
}
"""Where several decoders can, pydicom takes GDCM first, which is the slowest; elsewhere its own choice stands."""

MAX_THREADS: Final = 4
"""Decoding waits for the disk and releases the interpreter lock in part; more threads bring nothing."""

PADDING_MAX_HU: Final = -500
"""Padding marks the outside of the field of view. A padding value above this would erase lung, fat or tissue:
some writers leave 0 there, which is water."""

SEQUENCE_DELIMITER: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"

Stored = npt.NDArray[np.integer[Any]]
Hounsfield = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Padding:
    """Range of stored values that are no measurement (PS3.3 C.7.5.1.1.2), both ends included."""

    low: int
    high: int


def read_planes(planes: Sequence[ImagePlane], out: Hounsfield) -> tuple[bool, tuple[str, ...]]:
    """Decode planes into a stack.

    Args:
        planes: Planes of equal size, in order.
        out: Filled with HU, (n, rows, columns).

    Returns:
        Whether any pixel was padding, and warnings.

    Raises:
        UnreadableError: a file has no pixel data, is truncated, or its transfer syntax cannot be decoded.
    """
    by_file: dict[FileRef, list[int]] = defaultdict(list)
    for index, plane in enumerate(planes):
        by_file[plane.source].append(index)

    def read(indices: list[int]) -> tuple[bool, tuple[str, ...]]:
        return _read_file([planes[index] for index in indices], [out[index] for index in indices])

    # The filter is set here and not in the threads: it belongs to the whole process.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
            results = list(pool.map(read, by_file.values()))
    notes = dict.fromkeys(note for _, file_notes in results for note in file_notes)
    return any(padded for padded, _ in results), tuple(notes)


def same_pixels(first: ImagePlane, other: ImagePlane) -> bool:
    """True when two planes hold the same Hounsfield units."""
    pair = np.empty((2, first.rows, first.columns), np.int16)
    read_planes([first], pair[:1])
    read_planes([other], pair[1:])
    return bool(np.array_equal(pair[0], pair[1]))


def _read_file(planes: Sequence[ImagePlane], targets: Sequence[Hounsfield]) -> tuple[bool, tuple[str, ...]]:
    """Decode the planes of one file."""
    name = f"image {planes[0].sop_instance_uid}"
    padded = False
    notes: tuple[str, ...] = ()
    try:
        with planes[0].source.open() as file:
            dataset: Dataset = dcmread(file, force=True)
            if "PixelData" not in dataset:
                dataset = _closed(file) or dataset
        _name_transfer_syntax(dataset)
        if "PixelData" not in dataset:
            raise UnreadableError(f"{name} holds no pixel data or was cut off within; export it again")
        padding = _padding(dataset)
        stored_planes = stored_frames(dataset, [plane.frame for plane in planes])
        for plane, target, stored in zip(planes, targets, stored_planes, strict=True):
            if stored.shape != target.shape:
                raise UnreadableError(f"{name} decodes to another size than its header says; export it again")
            usable = _is_outside_tissue(padding, plane)
            if padding is not None and not usable:
                notes = ("the padding value of the header lies in the range of tissue and was ignored",)
            words = _native_words(dataset, plane.frame)
            if words is None:  # a decoder gives the value itself, wherever its bits lay
                values = sample_bits(stored, dataset, high_bit=int(dataset.BitsStored) - 1)
            else:
                _check_bits(words, dataset, name)
                values = sample_bits(words.reshape(stored.shape), dataset)
            padded |= _to_hu(values, plane, padding if usable else None, target)
    except PARSE_ERRORS as error:
        raise UnreadableError(
            f"{name} cannot be decoded ({cause(error)}): it is truncated, damaged or in an unknown compression; "
            "export it again"
        ) from error
    return padded, notes


def _closed(file: BinaryIO) -> Dataset | None:
    """The data set of a compressed image that ends without the delimiter that closes its fragments (PS3.5 A.4).

    None where that is not all that is missing: a fragment that was cut off may still decode, to another picture.
    """
    file.seek(0)
    dataset = dcmread(io.BytesIO(file.read() + SEQUENCE_DELIMITER), force=True)
    fragments, at = dataset.get("PixelData", b""), 0
    while at + 8 <= len(fragments):
        at += 8 + int.from_bytes(fragments[at + 4 : at + 8], "little")
    return dataset if fragments and at == len(fragments) else None


def stored_frames(dataset: Dataset, frames: Sequence[int], *, raw: bool = True) -> Iterator[Stored]:
    """Stored values of frames, one after the other.

    Args:
        dataset: A data set with its pixel data.
        frames: Indices of the frames, from 0.
        raw: False turns luminance and chrominance into RGB.

    Raises:
        One of `PARSE_ERRORS`: the pixel data is damaged or in an unknown compression.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == JPEGExtended12Bit and int(dataset.BitsStored) > 8:  # only SimpleITK's decoder reads 12 bits
        decoded = _decode_with_simpleitk(dataset)
        yield from (decoded[frame] for frame in frames)
    else:
        plugin = FASTEST_DECODER.get(syntax, "")
        yield from iter_pixels(dataset, indices=frames, raw=raw, decoding_plugin=plugin)


def _decode_with_simpleitk(dataset: Dataset) -> Stored:
    """All frames (frames, rows, columns) of a data set, decoded by the copy of GDCM in SimpleITK."""
    import SimpleITK

    bare = Dataset(dataset)
    bare.file_meta = dataset.file_meta
    for keyword in ("RescaleSlope", "RescaleIntercept"):  # it would apply them
        if keyword in bare:
            del bare[keyword]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.dcm")
        bare.save_as(path, enforce_file_format=True)
        image = SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO")
    values: Stored = SimpleITK.GetArrayFromImage(image)
    return values.reshape(-1, *values.shape[-2:])


def _name_transfer_syntax(dataset: Dataset) -> None:
    """Give a data set whose file does not name its transfer syntax the one that it was read with."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit


def sample_bits(stored: Stored, dataset: Dataset, *, high_bit: int | None = None) -> Stored:
    """The bits from HighBit down, BitsStored of them, with their sign: older writers put overlays in the others.

    Args:
        stored: Pixel cells, any shape.
        dataset: Their header.
        high_bit: In place of the header's.
    """
    width = stored.dtype.itemsize * 8
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    high = int(dataset.get("HighBit", bits - 1)) if high_bit is None else high_bit
    if stored.dtype.kind not in "iu" or not 0 < bits <= width or not bits - 1 <= high < width or bits == width:
        return stored
    shifted: Stored = np.right_shift(np.left_shift(stored, width - 1 - high), width - bits)
    return shifted


def _native_words(dataset: Dataset, frame: int) -> Stored | None:
    """Pixel cells of a frame as they lie in the file; None where they are compressed, packed or filled to the brim."""
    syntax, bits = dataset.file_meta.TransferSyntaxUID, int(dataset.BitsAllocated)
    if syntax.is_compressed or bits not in (8, 16, 32) or int(dataset.get("BitsStored") or bits) == bits:
        return None
    order, kind = "<" if syntax.is_little_endian else ">", "i" if int(dataset.PixelRepresentation) == 1 else "u"
    count = int(dataset.Rows) * int(dataset.Columns)
    dtype = np.dtype(f"{order}{kind}{bits // 8}")
    words = np.frombuffer(dataset.PixelData, dtype, count=count, offset=frame * count * dtype.itemsize)
    return words.astype(dtype.newbyteorder("="))


def _check_bits(stored: Stored, dataset: Dataset, name: str) -> None:
    """Refuse stored values that contradict what the header says of their bits.

    Raises:
        UnreadableError: they fill bits below the stored ones, or are called signed and their sign is not extended: 12
            bits of an unsigned CT read so turn cement into air.
    """
    width = stored.dtype.itemsize * 8
    bits = int(dataset.get("BitsStored") or width)
    high = int(dataset.get("HighBit", bits - 1))
    if stored.dtype.kind not in "iu" or not 0 < bits < width:
        return
    values = stored.view(f"u{stored.dtype.itemsize}")
    if bits - 1 < high < width and np.any(values & ((1 << (high + 1 - bits)) - 1)):
        raise UnreadableError(
            f"{name} has values in bits that HighBit {high} and BitsStored {bits} leave out, so that they cannot be "
            "read for certain; export it again"
        )
    if int(dataset.PixelRepresentation) == 1 and high == bits - 1:
        negative = (values >> (bits - 1)) & 1 == 1
        if np.any(negative) and not np.any(values >> bits):
            raise UnreadableError(
                f"{name} calls its {bits}-bit values signed but extends no sign: they may be negative or large; export "
                "it again, unsigned values with PixelRepresentation 0"
            )


def _padding(dataset: Dataset) -> Padding | None:
    """The padding range in stored values; values written with the wrong sign are wrapped."""
    value = dataset.get("PixelPaddingValue")
    if value is None or isinstance(value, bytes | str):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = [int(value), int(value if limit is None else limit)]
    bits = int(dataset.BitsAllocated)
    if dataset.PixelRepresentation == 1:
        ends = [(end + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1)) for end in ends]
    else:
        ends = [end % (1 << bits) for end in ends]
    return Padding(low=min(ends), high=max(ends))


def _is_outside_tissue(padding: Padding | None, plane: ImagePlane) -> bool:
    if padding is None:
        return False
    return padding.high * plane.slope + plane.intercept <= PADDING_MAX_HU


def _to_hu(stored: Stored, plane: ImagePlane, padding: Padding | None, target: Hounsfield) -> bool:
    """Write HU into ``target``, rounded to whole numbers; True where a pixel was padding."""
    if plane.slope == 1.0 and plane.intercept.is_integer():
        hu = stored.astype(np.int32) + int(plane.intercept)
    else:
        hu = np.rint(stored * plane.slope + plane.intercept)
    outside = None if padding is None else (stored >= padding.low) & (stored <= padding.high)
    np.clip(hu, AIR_HU, np.iinfo(np.int16).max, out=hu)
    target[...] = hu
    if outside is None or not outside.any():
        return False
    target[outside] = AIR_HU
    return True
