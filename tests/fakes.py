"""Stand-ins for what is slow or needs weights; plain module functions, so that worker processes can import them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.config import BatchOptions, Config, SegmentationOptions
from vertecast.core.errors import UnsupportedError
from vertecast.core.images import ProjectionSegmentation, Radiograph, Segmentation, Volume

BONE_HU = 150
"""The blocks of the test volumes are brighter than this; everything else is darker."""

GRID_MM = 1.5

SECRET_NAME = "Doe^Joanna"
"""A patient's name in every DICOM file of the tests: it must never come out anywhere."""


HERE = Config(batch=BatchOptions(time_limit_s=None))
"""Options of a run that takes place in the process of the test."""


def square(number: int) -> int:
    """A function for worker processes."""
    return number * number


def square_unless_unlucky(number: int) -> int:
    """Ends its process without a word for 13, as the kernel does to a process that takes too much memory."""
    if number == 13:
        os._exit(1)
    return number * number


class Sealed:
    """Leaves its process but cannot be put together again in another."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


class StubbornError(Exception):
    """Cannot be made anew from its text alone, as an exception is when it comes from another process."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def _refuse() -> None:
    raise TypeError("not to be opened")


def square_or_sealed(number: int) -> int | Sealed:
    """Gives what cannot be read for 13 and raises what cannot for 14."""
    if number == 14:
        raise StubbornError("no", "thing")
    return Sealed() if number == 13 else number * number


def divide_by(number: int) -> float:
    """Raises for 0."""
    return 1 / number


def threads_seen(_: int) -> str:
    """How many threads a worker may use."""
    return os.environ["OMP_NUM_THREADS"]


def own_process(_: int) -> int:
    """Number of the process that it runs in."""
    return os.getpid()


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """Something that takes a while, and leaves a line in a file whenever it is begun."""

    name: str
    log: Path
    seconds: float

    @property
    def file(self) -> Path:
        """One line with the process for each beginning."""
        return self.log / self.name

    def begun(self) -> int:
        """How often it was begun."""
        return self.file.read_text().count("\n") if self.file.exists() else 0


def run_errand(errand: Errand) -> str:
    """Takes its time when it is begun for the first time, and gives the name back."""
    with errand.file.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if errand.begun() == 1:
        time.sleep(errand.seconds)
    return errand.name


class BlockSegmenter:
    """Takes every bright block for a vertebral body: the pipeline without weights."""

    def segment(self, volume: Volume) -> Segmentation:
        """Label connected bright blocks from cranial to caudal."""
        from scipy import ndimage

        grid, shape = geometry.aligned_grid(volume.lps_from_index, volume.shape, GRID_MM)
        hu = geometry.resample(volume.hu, volume.lps_from_index, grid, shape, fill=-1024)
        labels, count = ndimage.label(hu > BONE_HU)
        if not count:
            raise UnsupportedError("no spine in view: the image shows no vertebra")
        instance = np.where(labels > 0, count + 1 - labels, 0).astype(np.uint8)
        centers = ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))
        order = np.argsort([-center[2] for center in centers])
        for rank, label in enumerate(order, start=1):
            instance[labels == label + 1] = rank
        body = (labels > 0).astype(np.float16)
        return Segmentation(
            lps_from_index=grid,
            structure=(body * Structure.BODY).astype(np.uint8),
            instance=instance,
            body_probability=body,
            cement_probability=np.zeros_like(body),
            metal_probability=np.zeros_like(body),
            instance_confidence=(0.9,) * count,
            touches_border=(False,) * count,
            models=(("blocks", "1", "0" * 64),),
        )


def load_blocks(_options: SegmentationOptions) -> BlockSegmenter:
    """Loader of `BlockSegmenter`, as `vertecast.run.batch.Engine` wants one."""
    return BlockSegmenter()


class BrokenSegmenter:
    """A segmenter with a defect of its own."""

    def segment(self, volume: Volume) -> Segmentation:
        """Fails as a programming error does, with a text that must not reach the output."""
        raise KeyError(SECRET_NAME)


def load_broken(_options: SegmentationOptions) -> BrokenSegmenter:
    """Loader of `BrokenSegmenter`."""
    return BrokenSegmenter()


DEADLY_SLICES = 40


class DeadlySegmenter(BlockSegmenter):
    """Takes its process down with an image of `DEADLY_SLICES`."""

    def segment(self, volume: Volume) -> Segmentation:
        """Ends the process as the system does for want of memory."""
        if volume.shape[2] == DEADLY_SLICES:
            os._exit(137)
        return super().segment(volume)


def load_deadly(_options: SegmentationOptions) -> DeadlySegmenter:
    """Loader of `DeadlySegmenter`."""
    return DeadlySegmenter()


class InterruptedSegmenter(BlockSegmenter):
    """The operator presses Ctrl-C while the second study is under way."""

    def __init__(self) -> None:
        self.calls = 0

    def segment(self, volume: Volume) -> Segmentation:
        """Works once."""
        self.calls += 1
        if self.calls > 1:
            raise KeyboardInterrupt
        return super().segment(volume)


def load_interrupted(_options: SegmentationOptions) -> InterruptedSegmenter:
    """Loader of `InterruptedSegmenter`."""
    return InterruptedSegmenter()


def spine_image(*, blocks: int = 3) -> tuple[NDArray[np.int16], geometry.FloatArray]:
    """CT-like numbers with rounded bright blocks in a row, on an oblique grid of unequal spacing in LPS mm."""
    shape, spacing = (48, 52, 60), np.array([1.7, 1.5, 2.0])
    tilt = geometry.rotation([1, 0.2, 0], 0.1)
    lps_from_index = geometry.affine(tilt @ np.diag(spacing), [-40.0, -35.0, 10.0])
    centered = (np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2) * spacing
    hu = np.full(shape, 40.0)
    hu[np.hypot(centered[..., 0], centered[..., 1]) > 36] = -1000
    for block in range(blocks):
        offset = centered - [0, 0, (block - (blocks - 1) / 2) * 32]
        inside = (np.hypot(offset[..., 0] / 22, offset[..., 1] / 16) < 1) & (abs(offset[..., 2]) < 12.5)
        hu[inside] = 300
    noise = np.random.default_rng(7).normal(0, 5, shape)
    return (hu + noise).astype(np.int16), lps_from_index


def write_spine(path: Path, *, blocks: int = 3) -> Path:
    """Write `spine_image` as NIfTI."""
    import nibabel

    hu, lps_from_index = spine_image(blocks=blocks)
    nibabel.Nifti1Image(hu, geometry.LPS_FROM_RAS @ lps_from_index).to_filename(path)
    return path


def write_values(path: Path, values: NDArray[np.generic]) -> Path:
    """Write any values as NIfTI with the grid of `spine_image`."""
    import nibabel

    nibabel.Nifti1Image(values, geometry.LPS_FROM_RAS @ spine_image()[1]).to_filename(path)
    return path


def write_dicom(
    folder: Path,
    *,
    modality: str = "CT",
    patient: str = "P1",
    study: int = 1,
    slices: int | None = None,
    date: str | None = None,
) -> list[Path]:
    """Write `spine_image` as a classic DICOM series; returns its files."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

    hu, lps_from_index = spine_image()
    spacing, axes = geometry.spacing_mm(lps_from_index), lps_from_index[:3, :3]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(hu.shape[2] if slices is None else slices):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = f"1.2.826.0.1.{study}.{k + 1}"
        image.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.StudyInstanceUID, image.SeriesInstanceUID = f"1.2.826.0.2.{study}", f"1.2.826.0.3.{study}"
        image.FrameOfReferenceUID = f"1.2.826.0.4.{study}"
        image.Modality, image.PatientID, image.PatientName = modality, patient, SECRET_NAME
        if date is not None:
            image.StudyDate = date
        image.ImageType, image.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
        image.ImagePositionPatient = [round(float(x), 4) for x in geometry.apply(lps_from_index, [0, 0, k])]
        directions = np.concatenate([axes[:, 0] / spacing[0], axes[:, 1] / spacing[1]])
        image.ImageOrientationPatient = [round(float(x), 6) for x in directions]
        image.PixelSpacing, image.SliceThickness = [float(spacing[1]), float(spacing[0])], float(spacing[2])
        image.Columns, image.Rows = hu.shape[:2]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.RescaleSlope, image.RescaleIntercept = 1, 0
        image.PixelData = np.ascontiguousarray(hu[:, :, k].T).tobytes()
        paths.append(folder / f"{k:03d}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


class BlockFilmSegmenter:
    """Finds the column of three boxes of `film_image`: the projection path without weights."""

    def segment(self, radiograph: Radiograph, *, depth_px: float | None = None) -> ProjectionSegmentation:
        """Boxes that are brighter than half of the brightest pixel; a dark picture has no view."""
        from scipy import ndimage

        bright = radiograph.intensity > 0.5 * float(radiograph.intensity.max())
        labels, count = ndimage.label(bright & radiograph.valid)
        boxes = ndimage.find_objects(labels)
        found = count if count == 3 else 0
        points = np.array(
            [
                [[x, y] for y in (b[0].start, b[0].stop - 1) for x in np.linspace(b[1].start, b[1].stop - 1, 3)]
                for b in boxes[:found]
            ],
            dtype=float,
        ).reshape(-1, 6, 2)
        body = (labels > 0).astype(np.float16) * (found > 0)
        return ProjectionSegmentation(
            view="lateral" if found else None,
            view_confidence=0.9,
            points_px=points,
            points_sd_px=np.full((found, 6), 0.4),
            confidence=(0.9,) * found,
            touches_border=(False,) * found,
            rib_score=(0.0,) * found,
            instance=(labels * (found > 0)).astype(np.uint8),
            body_probability=body,
            sacrum_probability=np.zeros_like(body),
            cement_probability=np.zeros_like(body),
            metal_probability=np.zeros_like(body),
            models=(("boxes", "1", "1" * 64),),
        )


def write_film(path: Path, *, boxes: int = 3) -> Path:
    """A grey PNG with bright boxes of 60 by 40 pixels below each other on a dark ground."""
    from PIL import Image

    picture = np.full((260, 200), 60, dtype=np.uint8)
    for box in range(boxes):
        picture[40 + 60 * box : 80 + 60 * box, 70:130] = 220
    Image.fromarray(picture).save(path)
    return path


def equal_but_for_rounding(one: Any, other: Any) -> bool:
    """Alike but for the last bits: on some processors BLAS adds up in another order with another number of threads."""
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal_but_for_rounding(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal_but_for_rounding, one, other))
    return type(one) is type(other) and (
        one == pytest.approx(other, rel=1e-12) if isinstance(one, float) else one == other
    )
