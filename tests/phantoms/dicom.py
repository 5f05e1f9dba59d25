"""DICOM series of a body whose CT number is a linear function of the place, so that every voxel proves its position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from vertecast.core import geometry
from vertecast.io.discover import SeriesFiles, StudyFiles, find_studies

GRADIENT_HU_PER_MM = np.array([20.0, -31.0, 25.0])
CENTRE_HU = 400.0
CENTRE_MM = np.array([12.0, -30.0, 240.0])
SHAPE = (14, 11, 9)
SPACING_MM = (1.5, 2.0, 2.5)


def world_hu(points_mm: np.ndarray) -> np.ndarray:
    """CT number (...,) at points (..., 3) in LPS mm."""
    return CENTRE_HU + (np.asarray(points_mm) - CENTRE_MM) @ GRADIENT_HU_PER_MM


def grid_points_mm(lps_from_index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """LPS points (i, j, k, 3) of all voxel centres."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return geometry.apply(lps_from_index, index)


def grid(
    rotation: np.ndarray | None = None,
    shape: tuple[int, ...] = SHAPE,
    spacing_mm: tuple[float, ...] = SPACING_MM,
    shear_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """Affine of a grid round the centre of the body; ``shear_mm`` is added to the step between slices."""
    columns = (np.eye(3) if rotation is None else rotation) * np.array(spacing_mm)
    columns[:, 2] += shear_mm
    return geometry.affine(columns, CENTRE_MM - columns @ ((np.array(shape) - 1) / 2))


def ct_slices(
    lps_from_index: np.ndarray,
    shape: tuple[int, ...] = SHAPE,
    *,
    study_uid: str | None = None,
    series_uid: str | None = None,
    slope: float = 1.0,
    intercept: float = -1024.0,
    signed: bool = False,
) -> list[Dataset]:
    """Classic CT slices of the body on a grid, in the order of axis k."""
    hu = world_hu(grid_points_mm(lps_from_index, shape))
    study_uid, series_uid = study_uid or generate_uid(), series_uid or generate_uid()
    frame_of_reference = generate_uid(entropy_srcs=[study_uid])
    slices = []
    for k in range(shape[2]):
        slice_ = _image(CTImageStorage, study_uid, series_uid, frame_of_reference)
        slice_.InstanceNumber = k + 1
        slice_.ImagePositionPatient = _decimals(geometry.apply(lps_from_index, [0, 0, k]))
        slice_.ImageOrientationPatient = _orientation(lps_from_index)
        slice_.PixelSpacing = _decimals(geometry.spacing_mm(lps_from_index)[[1, 0]])
        slice_.SliceThickness = str(round(float(geometry.spacing_mm(lps_from_index)[2]), 4))
        slice_.RescaleSlope, slice_.RescaleIntercept = str(slope), str(intercept)
        set_pixels(slice_, np.rint((hu[:, :, k] - intercept) / slope).T, signed=signed)
        slices.append(slice_)
    return slices


def enhanced_ct(lps_from_index: np.ndarray, order: list[int], shape: tuple[int, ...] = SHAPE) -> Dataset:
    """One enhanced multi-frame CT whose frames hold the slices in the given order, with a rescale of their own."""
    hu = world_hu(grid_points_mm(lps_from_index, shape))
    image = _image(EnhancedCTImageStorage, generate_uid(), generate_uid(), generate_uid())
    shared = Dataset()
    shared.PixelMeasuresSequence = _items(
        PixelSpacing=_decimals(geometry.spacing_mm(lps_from_index)[[1, 0]]), SliceThickness="2.5"
    )
    shared.PlaneOrientationSequence = _items(ImageOrientationPatient=_orientation(lps_from_index))
    shared.CTReconstructionSequence = _items(ConvolutionKernel="B30f")
    image.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, stored = [], []
    for k in order:
        intercept = -1024 - 10 * k
        own = Dataset()
        position = _decimals(geometry.apply(lps_from_index, [0, 0, k]))
        own.PlanePositionSequence = _items(ImagePositionPatient=position)
        own.PixelValueTransformationSequence = _items(
            RescaleSlope="1", RescaleIntercept=str(intercept), RescaleType="HU"
        )
        own.CTImageFrameTypeSequence = _items(FrameType=["ORIGINAL", "PRIMARY", "AXIAL", "NONE"])
        frames.append(own)
        stored.append(np.rint(hu[:, :, k] - intercept).T)
    image.PerFrameFunctionalGroupsSequence = Sequence(frames)
    image.NumberOfFrames = len(order)
    set_pixels(image, np.stack(stored), signed=False)
    return image


def set_pixels(image: Dataset, stored: np.ndarray, *, signed: bool, bits_stored: int = 16) -> None:
    """Put stored values ([frames,] rows, columns) into a data set, uncompressed."""
    image.Rows, image.Columns = stored.shape[-2:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, bits_stored, bits_stored - 1
    image.PixelRepresentation = int(signed)
    image.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()


def save(images: list[Dataset], folder: Path, name: Callable[[int], str] = "slice{:03d}.dcm".format) -> Path:
    """Write data sets into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        image.save_as(folder / name(index), enforce_file_format=True)
    return folder


def found(folder: Path) -> StudyFiles:
    """The only study under a path."""
    (study,) = find_studies([folder])
    assert isinstance(study, StudyFiles), study
    return study


def only_series(folder: Path) -> SeriesFiles:
    """The only series of the only study under a path."""
    (series,) = found(folder).series
    return series


def _image(sop_class: str, study_uid: str, series_uid: str, frame_of_reference_uid: str) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = sop_class, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = study_uid, series_uid
    image.FrameOfReferenceUID = frame_of_reference_uid
    image.PatientID, image.PatientName, image.Modality = "SECRET-ID", "Secret^Name", "CT"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.KVP = "120"
    return image


def _items(**values: object) -> Sequence:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return Sequence([item])


def _orientation(lps_from_index: np.ndarray) -> list[str]:
    return _decimals(geometry.unit(lps_from_index[:3, :2].T).ravel())


def _decimals(values: np.ndarray) -> list[str]:
    """Decimal strings as scanners write them."""
    return [f"{value:.6f}" for value in values]
