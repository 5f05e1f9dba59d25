"""Writing a simulated scan as a DICOM CT series (PS3.3 A.3, CT Image Storage)."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from vertecast.core import geometry

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileDataset, FileMetaDataset

    from vertecast.lab.simulation.ct.scans import SimulatedCase, SimulatedScan
    from vertecast.lab.simulation.patient.spine import Spine

UID_NAMESPACE: Final = uuid.UUID("5f4b5a0e-9a0d-4c6b-8f5c-6d1d0a2b7c31")
RESCALE_INTERCEPT: Final = -1024
IMPLEMENTATION_NAME: Final = "VERTECAST_SIM"
DATES: Final = {"pre": "20240108", "during": "20240112", "post": "20240116", "follow-up": "20240305"}
"""Invented days of the studies: a fixed date keeps the files the same for the same seed."""

PHASE_NAMES: Final = {"pre": "pre treatment", "post": "post treatment", "follow-up": "weeks after treatment"}
LUMBAR_PART: Final = "LSPINE"
KERNEL_NAMES: Final = {"smooth": "SMOOTH", "standard": "STANDARD", "sharp": "BONE"}


def deterministic_uid(*parts: object) -> str:
    """A DICOM UID below 2.25 (PS3.5 B.2) that depends on its parts alone."""
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, '/'.join(map(str, parts))).int}"


def write_ct_series(case: SimulatedCase, scan: SimulatedScan, folder: Path) -> None:
    """Write one file per slice, JPEG-LS lossless, cranial slice first.

    Raises:
        OSError: The folder cannot be written.
    """
    from pydicom.uid import JPEGLSLossless

    volume = scan.volume
    common = _common_dataset(case, scan)
    count = volume.shape[2]
    for number, k in enumerate(reversed(range(count)), start=1):
        image = _slice_dataset(common, scan, k, number)
        image.compress(JPEGLSLossless, generate_instance_uid=False)
        image.save_as(folder / f"CT{number:04d}.dcm", enforce_file_format=True)


def identity_dataset(seed: int, spine: Spine, phase: str, study_instance_uid: str) -> Dataset:
    """Patient, study and equipment of any simulated image.

    Args:
        seed: Names the invented patient.
        spine: Age and sex.
        phase: A key of `DATES`.
        study_instance_uid: UID of the study.
    """
    from pydicom import Dataset

    date = DATES[phase]
    age = round(spine.age_years)
    common = Dataset()
    common.SpecificCharacterSet = "ISO_IR 192"
    common.PatientName = f"Phantom^{seed:06d}"
    common.PatientID = f"PHANTOM{seed:06d}"
    common.PatientBirthDate = f"{int(date[:4]) - age}0101"
    common.PatientSex = spine.sex
    common.PatientAge = f"{age:03d}Y"
    common.StudyInstanceUID = study_instance_uid
    common.StudyDate = common.SeriesDate = common.AcquisitionDate = common.ContentDate = date
    common.StudyTime = common.SeriesTime = common.AcquisitionTime = common.ContentTime = "100000"
    common.ReferringPhysicianName = ""
    common.StudyID = f"{seed % 10**6}{phase.upper()}"
    common.AccessionNumber = ""
    common.Manufacturer = "Vertecast"
    common.ManufacturerModelName = "simulation"
    common.SoftwareVersions = IMPLEMENTATION_NAME
    common.ImageComments = "Simulated image of an invented patient"
    return common


def _common_dataset(case: SimulatedCase, scan: SimulatedScan) -> Dataset:
    """Everything that the slices of the series share."""
    settings = scan.settings
    common = identity_dataset(case.seed, scan.phantom.spine, scan.phase, scan.study_instance_uid)
    common.StudyDescription = f"Simulated spine CT, {PHASE_NAMES[scan.phase]}"
    common.Modality = "CT"
    common.SeriesInstanceUID = scan.series_instance_uid
    common.SeriesNumber = 2
    common.SeriesDescription = f"Spine {settings.slice_thickness_mm:g} mm {settings.kernel}"
    common.BodyPartExamined = LUMBAR_PART
    common.PatientPosition = "HFS"
    common.FrameOfReferenceUID = deterministic_uid(scan.study_instance_uid, "frame")
    if scan.volume.frame_of_reference_uid is not None:
        common.FrameOfReferenceUID = scan.volume.frame_of_reference_uid
    common.PositionReferenceIndicator = ""
    common.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    common.AcquisitionNumber = 1
    common.KVP = f"{settings.kvp:g}"
    common.ConvolutionKernel = KERNEL_NAMES[settings.kernel]
    common.GantryDetectorTilt = f"{settings.tilt_deg:.3f}"
    _add_geometry(common, scan)
    _add_pixel_description(common, scan)
    return common


def _add_geometry(common: Dataset, scan: SimulatedScan) -> None:
    columns = scan.volume.lps_from_index[:3, :3]
    row_direction, column_direction = geometry.unit(columns[:, 0]), geometry.unit(columns[:, 1])
    spacing = scan.volume.spacing_mm
    common.PixelSpacing = [decimal(spacing[1]), decimal(spacing[0])]
    common.ImageOrientationPatient = [decimal(v) for v in (*row_direction, *column_direction)]
    common.SliceThickness = decimal(scan.settings.slice_thickness_mm)
    common.SpacingBetweenSlices = decimal(scan.settings.slice_spacing_mm)


def _add_pixel_description(common: Dataset, scan: SimulatedScan) -> None:
    settings = scan.settings
    signed = settings.round_field
    common.SamplesPerPixel = 1
    common.PhotometricInterpretation = "MONOCHROME2"
    common.Rows, common.Columns = scan.volume.shape[1], scan.volume.shape[0]
    common.BitsAllocated = 16
    common.BitsStored = 12 if settings.clip_12_bit and not signed else 16
    common.HighBit = common.BitsStored - 1
    common.PixelRepresentation = int(signed)
    common.RescaleIntercept, common.RescaleSlope, common.RescaleType = str(RESCALE_INTERCEPT), "1", "HU"
    common.WindowCenter, common.WindowWidth = "300", "1500"
    if settings.round_field:
        common.PixelPaddingValue = settings.outside_hu - RESCALE_INTERCEPT


def _slice_dataset(common: Dataset, scan: SimulatedScan, k: int, number: int) -> FileDataset:
    """The complete dataset of one slice, not yet compressed."""
    from pydicom.dataset import FileDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    position = geometry.apply(scan.volume.lps_from_index, [0.0, 0.0, float(k)])
    instance_uid = deterministic_uid(scan.series_instance_uid, number)
    image = FileDataset("", common.copy(), file_meta=file_meta(CTImageStorage, instance_uid), preamble=b"\0" * 128)
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = image.file_meta.MediaStorageSOPClassUID, instance_uid
    image.InstanceNumber = number
    image.ImagePositionPatient = [decimal(v) for v in position]
    image.SliceLocation = decimal(position[2])
    stored_type = np.int16 if image.PixelRepresentation else np.uint16
    stored = np.asarray(scan.volume.hu[:, :, k].T, dtype=np.int32) - RESCALE_INTERCEPT
    image.PixelData = np.ascontiguousarray(stored.astype(stored_type)).tobytes()
    image["PixelData"].VR = "OW"
    return image


def file_meta(sop_class_uid: str, instance_uid: str) -> FileMetaDataset:
    """File meta information of one image (PS3.10 7.1)."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(instance_uid)
    meta.ImplementationClassUID = UID(deterministic_uid("implementation"))
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    return meta


def decimal(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2)."""
    text = f"{float(value):.6f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
