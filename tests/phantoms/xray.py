"""Projection images as DICOM: a body with a spine before air, of unequal sides, whose polarity the eye could tell."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
    generate_uid,
)

from phantoms.dicom import found
from vertecast.core.images import Fluoroscopy, Radiograph
from vertecast.io.discover import StudyFiles, find_studies
from vertecast.io.projection.images import (
    ProjectionFile,
    ProjectionImage,
    choose_projection_series,
    projection_files,
    read_projection,
)

ROWS, COLUMNS = 120, 96
BONE = slice(45, 52)
"""Columns of the spine."""

TOP = 1023
"""Largest value of 10 bits."""

CLASSES = {
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "XA": XRayAngiographicImageStorage,
    "RF": XRayRadiofluoroscopicImageStorage,
    "SC": SecondaryCaptureImageStorage,
}


def film(shift: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """Bone-bright values (rows, columns) of 10 bits: air 40, a body with a waist up to 500, a spine of 800."""
    noise = np.random.default_rng(3).normal(0, 6, (rows, columns))
    x = np.linspace(-1, 1, columns)[None, :]
    y = np.linspace(-1, 1, rows)[:, None]
    body = 460 * np.sqrt(np.clip(1 - (x / (0.65 + 0.3 * y**2)) ** 2, 0, 1)) * (1 - 0.2 * y**2)
    picture = 40 + body + np.where(body > 20, noise, noise / 3)
    picture[:, BONE.start + shift : BONE.stop + shift] += 300
    return np.clip(np.rint(picture), 1, 1000)


def bone_over_tissue(intensity: np.ndarray, shift: int = 0) -> float:
    """Mean of the spine less that of the tissue beside it, of the middle rows."""
    rows = slice(intensity.shape[0] // 3, 2 * intensity.shape[0] // 3)
    bone = intensity[rows, BONE.start + 1 + shift : BONE.stop - 1 + shift]
    return float(bone.mean() - intensity[rows, BONE.start - 8 + shift : BONE.start - 2 + shift].mean())


def projection(values: np.ndarray, modality: str = "CR", *, bits: int = 10, **attributes: Any) -> Dataset:
    """A data set with stored values ([frames,] rows, columns); ``attributes`` are set by keyword."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CLASSES[modality], generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.PatientID, image.PatientName = "SECRET-ID", "Secret^Name"
    image.Modality = "XA" if modality == "SC" else modality
    image.ImageType = ["ORIGINAL", "PRIMARY"]
    image.Rows, image.Columns = values.shape[-2:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, bits, bits - 1
    image.PixelRepresentation = 0
    if values.ndim == 3:
        image.NumberOfFrames = len(values)
    image.PixelData = np.asarray(values).astype("<u2").tobytes()
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    return image


def item(**values: Any) -> Sequence:
    """A sequence of one item."""
    one = Dataset()
    for keyword, value in values.items():
        setattr(one, keyword, value)
    return Sequence([one])


def save_one(image: Dataset, folder: Path) -> Path:
    """Write a data set; the path of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{image.SOPInstanceUID}.dcm"
    image.save_as(path, enforce_file_format=True)
    return path


def files(path: Path) -> tuple[ProjectionFile, ...]:
    """What there is to analyse in the only series of a path, which must be chosen."""
    chosen, others = choose_projection_series(found(path))
    assert others == []
    (series,) = chosen
    return projection_files(series)


def only_file(image: Dataset, folder: Path) -> ProjectionFile:
    """The one thing to analyse in a data set."""
    (file,) = files(save_one(image, folder))
    return file


def read(image: Dataset, folder: Path, **options: float) -> ProjectionImage:
    """Read a data set through a file."""
    return read_projection(only_file(image, folder), **options)


def radiograph(image: Dataset, folder: Path) -> Radiograph:
    """Read a single image through a file."""
    result = read(image, folder).image
    assert isinstance(result, Radiograph)
    return result


def cine(count: int = 6, **attributes: Any) -> Dataset:
    """A cine of ``count`` frames whose spine moves by a column a frame."""
    return projection(np.stack([TOP - film(shift) for shift in range(count)]), "XA", **attributes)


def as_fluoroscopy(result: ProjectionImage) -> Fluoroscopy:
    """The cine of what was read."""
    assert isinstance(result.image, Fluoroscopy)
    return result.image


def compressed(values: np.ndarray, fragments: int, offsets: bool) -> Dataset:
    """A cine in JPEG baseline, each frame in several fragments."""
    frames = []
    for frame in values:
        buffer = io.BytesIO()
        Image.fromarray((frame / 4).astype(np.uint8)).save(buffer, "JPEG", quality=95)
        frames.append(buffer.getvalue() + b"\0" * (buffer.tell() % 2))
    image = projection(values, "XA")
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    image.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=offsets)
    image["PixelData"].is_undefined_length = True
    image["PixelData"].VR = "OB"
    return image


def read_picture_at(path: Path, **options: float) -> ProjectionImage:
    """Read a PNG or JPEG file, or the only film of a folder."""
    (study,) = find_studies([path])
    assert isinstance(study, StudyFiles)
    chosen, _ = choose_projection_series(study)
    (file,) = projection_files(chosen[0])
    return read_projection(file, **options)
