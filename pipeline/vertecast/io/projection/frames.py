"""Frames of a projection file as grey values, decoded one at a time."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from vertecast.core.errors import InputError, UnreadableError, UnsupportedError
from vertecast.io.pixels import sample_bits, stored_frames
from vertecast.io.projection.fragments import AGAIN, FrameIndex, index_frames
from vertecast.io.sources import PARSE_ERRORS, FileRef, cause

GREY_TOLERANCE: Final = 0.04
"""The channels of a grey pixel differ by this share of the scale at most (lossy colour compression)."""

COLOURED_SHARE: Final = 0.02
"""A picture with more coloured pixels than this is a colour picture; fewer are coloured labels on a grey one."""

PIXEL_KEYWORDS: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PlanarConfiguration",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
)
"""What a decoder needs; everything else, overlays and identities among it, stays out."""

Grey = npt.NDArray[Any]
Coloured = npt.NDArray[np.bool_]


class FrameFile:
    """A DICOM file of which single frames are read.

    Attributes:
        dataset: Its header, without the pixel data.
        name: What errors call it: its UID, never a patient.
    """

    def __init__(self, source: FileRef) -> None:
        """Read the header and find the frames.

        Raises:
            UnreadableError: the file cannot be opened, is damaged or cut off, or its frames contradict the header.
            UnsupportedError: its pixels are of no kind that an X-ray image has.
        """
        self._path, self._unpacked = _on_disk(source)
        self.dataset: Dataset
        self.index: FrameIndex
        try:
            with warnings.catch_warnings(), self._path.open("rb") as file:
                warnings.simplefilter("ignore")
                self.dataset = dcmread(file, stop_before_pixels=True, force=True)
                self.name = f"image {self.dataset.get('SOPInstanceUID') or 'without a UID'}"
                _check_kind(self.dataset, self.name)
                self.index = index_frames(file, self.dataset, self.name)
        except InputError:
            raise
        except PARSE_ERRORS as error:
            raise UnreadableError(f"{source}: the DICOM header is damaged ({cause(error)}); {AGAIN}") from error

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.dataset.Rows), int(self.dataset.Columns)

    def read(self, frame: int) -> tuple[Grey, Coloured | None]:
        """Stored grey values of a frame.

        Args:
            frame: Its number, from 1.

        Returns:
            Values (rows, columns) without overlay bits; and where the picture is coloured, None for a grey file.

        Raises:
            UnreadableError: the frame is damaged, in an unknown compression or does not exist.
            UnsupportedError: it is a colour picture.
        """
        if not 1 <= frame <= len(self.index.frames):
            raise UnreadableError(f"{self.name} has frames 1 to {len(self.index.frames)}, not {frame}")
        try:
            with self._path.open("rb") as file:
                data = b"".join(_read_span(file, *span) for span in self.index.frames[frame - 1])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values, coloured = self._decoded(data)
        except InputError:
            raise
        except PARSE_ERRORS as error:
            raise UnreadableError(
                f"{self.name}, frame {frame}, cannot be decoded ({cause(error)}): it is damaged or in an unknown "
                f"compression; {AGAIN}"
            ) from error
        if values.shape != self.shape:
            raise UnreadableError(f"{self.name}, frame {frame}, decodes to another size than its header says; {AGAIN}")
        return values, coloured

    def _decoded(self, data: bytes) -> tuple[Grey, Coloured | None]:
        colour = str(self.dataset.get("PhotometricInterpretation") or "MONOCHROME2")
        if colour.startswith("MONOCHROME") and not self.index.encapsulated:
            return sample_bits(self._native_plane(data), self.dataset), None
        bare = _one_frame(self.dataset, data, encapsulated=self.index.encapsulated)
        (stored,) = stored_frames(bare, [0], raw=colour.startswith("MONOCHROME"))
        if colour.startswith("MONOCHROME"):
            return sample_bits(stored, self.dataset), None
        if colour == "PALETTE COLOR":
            stored = apply_color_lut(stored, bare)
        return _grey_of_colour(stored, self.name)

    def _native_plane(self, data: bytes) -> Grey:
        bits, signed = int(self.dataset.BitsAllocated), bool(self.dataset.get("PixelRepresentation"))
        order = "<" if self.dataset.original_encoding[1] else ">"
        if bits == 8 and order == ">" and len(data) % 2 == 0:  # bytes of 16-bit words are swapped in big endian OW
            order = "<"
        return np.frombuffer(data, f"{order}{'i' if signed else 'u'}{bits // 8}").reshape(self.shape)


def _on_disk(source: FileRef) -> tuple[Path, Any]:
    """The file as a plain one: members of archives and deflated files are unpacked once, not for every frame.

    Returns:
        The path, and what keeps it there.
    """
    deflated = False
    with source.open() as file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                meta = dcmread(file, specific_tags=["SOPClassUID"], stop_before_pixels=True, force=True).file_meta
            deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
            if not source.member and not deflated:
                return source.path, None
            folder = tempfile.TemporaryDirectory(prefix="vertecast-")
            path = Path(folder.name, "image.dcm")
            file.seek(0)
            if deflated:
                dataset = dcmread(file)
                dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
                dataset.save_as(path, enforce_file_format=True)
            else:
                path.write_bytes(file.read())
        except PARSE_ERRORS as error:
            raise UnreadableError(f"{source}: cannot be unpacked ({cause(error)}); {AGAIN}") from error
    return path, folder


def _check_kind(dataset: Dataset, name: str) -> None:
    """Raise where the pixels are of a kind that is not read, or the header lacks their size."""
    if not dataset.get("Rows") or not dataset.get("Columns") or not dataset.get("BitsAllocated"):
        raise UnreadableError(f"{name} has a header without the size of the image; {AGAIN}")
    if int(dataset.BitsAllocated) not in (8, 16, 32):
        raise UnsupportedError(f"{name} has {dataset.BitsAllocated} bits per pixel and is no X-ray image")
    colour = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
    if colour not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB") and not colour.startswith("YBR_"):
        raise UnsupportedError(f"{name} is stored as {colour}, which is not read; export it as a grey image")


def _read_span(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _one_frame(dataset: Dataset, data: bytes, *, encapsulated: bool) -> Dataset:
    """A data set that holds one frame and what is needed to decode it."""
    bare = Dataset()
    bare.file_meta = dataset.file_meta
    for keyword in PIXEL_KEYWORDS:
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    bare.NumberOfFrames = 1
    bare.PixelData = encapsulate([data]) if encapsulated else data
    bare["PixelData"].VR = "OB" if encapsulated or int(dataset.BitsAllocated) <= 8 else "OW"
    bare["PixelData"].is_undefined_length = encapsulated
    bare.set_original_encoding(*dataset.original_encoding)
    return bare


def _grey_of_colour(picture: Grey, name: str) -> tuple[Grey, Coloured]:
    """The grey picture in a colour file, and where coloured labels were drawn on it.

    Raises:
        UnsupportedError: the picture itself is coloured.
    """
    return grey_picture(np.asarray(picture)[..., :3], float(np.iinfo(picture.dtype).max), name)


def grey_picture(picture: Grey, full_scale: float, name: str) -> tuple[Grey, Coloured]:
    """As `_grey_of_colour`, for any picture (rows, columns, 3).

    Raises:
        UnsupportedError: the picture itself is coloured.
    """
    chroma = picture.max(axis=-1).astype(np.float32) - picture.min(axis=-1)
    coloured = chroma > GREY_TOLERANCE * full_scale
    if coloured.mean() > COLOURED_SHARE:
        raise UnsupportedError(
            f"{name} is a colour picture (a screen shot, a rendering or a blended map), not an X-ray image"
        )
    return picture.mean(axis=-1, dtype=np.float32), coloured
