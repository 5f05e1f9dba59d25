"""Simulated films and cines as DICOM: Digital X-Ray Image for presentation and X-Ray Angiographic Image (PS3.3 A.26,
A.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.dicom_out import LUMBAR_PART, decimal, file_meta, identity_dataset
from vertecast.lab.simulation.projection.film_studies import LARGEST_VALUE
from vertecast.lab.simulation.projection.rays import Camera

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileDataset

    from vertecast.lab.simulation.cine.fluoroscopy import SimulatedCine
    from vertecast.lab.simulation.projection.film_studies import SimulatedFilm
    from vertecast.lab.simulation.projection.studies import ProjectionStudy

FILM_BITS: Final = 12
CINE_BITS: Final = 8

ANATOMY: Final = ("421060004", "SCT", "Spine")
VIEW_CODES: Final = {
    "lateral": ("399067008", "SCT", "lateral projection"),
    "ap": ("399348003", "SCT", "antero-posterior"),
}
"""PS3.16 CID 4031 and CID 4010."""


def film_dataset(study: ProjectionStudy, film: SimulatedFilm, number: int) -> FileDataset:
    """A radiograph, JPEG-LS lossless.

    Args:
        study: Whose image it is.
        film: The radiograph.
        number: Of the series in the study, from 1.
    """
    from pydicom.uid import DigitalXRayImageStorageForPresentation, JPEGLSLossless

    image = _image(study, DigitalXRayImageStorageForPresentation, film.sop_instance_uid)
    camera, header = film.shown.camera, film.header
    image.Modality = "DX"
    image.StudyDescription = f"Simulated spine radiographs, {study.phase} treatment"
    image.SeriesInstanceUID, image.SeriesNumber = film.series_instance_uid, number
    image.SeriesDescription = f"Spine {camera.view}"
    image.ImageType = ["ORIGINAL", "PRIMARY", ""]
    image.PresentationIntentType = "FOR PRESENTATION"
    image.BodyPartExamined = LUMBAR_PART
    image.ImageLaterality = "U"
    image.AnatomicRegionSequence = _code(*ANATOMY)
    image.PatientOrientation = patient_orientation(camera)
    image.PositionerType = "NONE"
    image.DetectorType = "DIRECT"
    if header.named_view:
        image.ViewPosition = "AP" if camera.view == "ap" else "LL" if camera.picture_from_lps[2, 0] > 0 else "RL"
        image.ViewCodeSequence = _code(*VIEW_CODES[camera.view])
    _add_film_spacing(image, film)
    _add_pixels(image, camera.shape, FILM_BITS)
    image.PhotometricInterpretation = "MONOCHROME1" if header.inverted else "MONOCHROME2"
    image.PresentationLUTShape = "INVERSE" if header.inverted else "IDENTITY"
    image.PixelIntensityRelationship = "LOG"
    image.PixelIntensityRelationshipSign = 1 if header.inverted else -1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "US"
    image.WindowCenter, image.WindowWidth = str((LARGEST_VALUE + 1) // 2), str(LARGEST_VALUE + 1)
    image.BurnedInAnnotation = "NO"
    image.LossyImageCompression = "00"
    image.AcquisitionContextSequence = []
    stored = LARGEST_VALUE - film.values if header.inverted else film.values
    image.PixelData = np.ascontiguousarray(stored.astype("<u2")).tobytes()
    image["PixelData"].VR = "OW"
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    return image


def cine_dataset(study: ProjectionStudy, cine: SimulatedCine, number: int) -> FileDataset:
    """A run of fluoroscopy, JPEG-LS lossless frame by frame; arguments as for `film_dataset`."""
    from pydicom.tag import Tag
    from pydicom.uid import JPEGLSLossless, XRayAngiographicImageStorage

    image = _image(study, XRayAngiographicImageStorage, cine.sop_instance_uid)
    camera = cine.shown.camera
    image.Modality = "XA"
    image.StudyDescription = "Simulated fluoroscopy of a vertebroplasty"
    image.SeriesInstanceUID, image.SeriesNumber = cine.series_instance_uid, number
    image.SeriesDescription = "Fluoroscopy"
    image.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    image.BodyPartExamined = LUMBAR_PART
    image.PatientOrientation = patient_orientation(camera)
    image.KVP, image.RadiationSetting = "75", "SC"
    image.XRayTubeCurrent, image.ExposureTime, image.Exposure = 20, 8, 1
    image.PositionerMotion = "STATIC"
    primary, secondary = positioner_angles_deg(camera)
    image.PositionerPrimaryAngle, image.PositionerSecondaryAngle = (
        decimal(round(primary, 1)),
        decimal(round(secondary, 1)),
    )
    magnification = cine.header.detector_mm / camera.source_mm
    image.ImagerPixelSpacing = [decimal(camera.pixel_mm * magnification)] * 2
    if cine.header.tells_distances:
        image.DistanceSourceToDetector = decimal(cine.header.detector_mm)
        image.DistanceSourceToPatient = decimal(camera.source_mm)
    if cine.header.tells_field:
        _add_field(image, cine)
    image.NumberOfFrames = len(cine.frames)
    image.FrameTime = decimal(cine.frame_time_ms)
    image.FrameIncrementPointer = Tag("FrameTime")
    image.CineRate = round(1000 / cine.frame_time_ms)
    _add_pixels(image, camera.shape, CINE_BITS)
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelIntensityRelationship = "DISP"
    # Not of this IOD, but of the X-ray family, and the only attribute that says which end is bone.
    image.PixelIntensityRelationshipSign = -1 if cine.bone_is_bright else 1
    image.BurnedInAnnotation = "NO"
    image.LossyImageCompression = "00"
    image.PixelData = np.ascontiguousarray(cine.frames).tobytes()
    image["PixelData"].VR = "OB"
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    return image


def patient_orientation(camera: Camera) -> list[str]:
    """Where the rows and the columns of a picture run (PS3.3 C.7.6.1.1.1), the two letters of PatientOrientation."""
    return [_direction(axis) for axis in camera.picture_from_lps[:2]]


def _direction(axis: FloatArray) -> str:
    """The largest component of a direction in LPS, as a letter; a second one where it is nearly as large."""
    letters = [("L", "R"), ("P", "A"), ("H", "F")]
    order = np.argsort(-np.abs(axis))
    large = [n for n in order if abs(axis[n]) > 0.5]
    return "".join(letters[n][0 if axis[n] > 0 else 1] for n in large)


def positioner_angles_deg(camera: Camera) -> tuple[float, float]:
    """Primary and secondary angle of a C-arm (PS3.3 C.8.7.5.1.2): detector to the left and to the head are positive.

    But for lateral pictures the primary angle is folded into -90 to 90, as if the detector were in front.
    """
    left, back, head = camera.picture_from_lps[2]
    primary = float(np.degrees(np.arctan2(left, -back)))
    if camera.view != "lateral" and abs(primary) > 90:
        primary -= float(np.copysign(180, primary))
    return primary, float(np.degrees(np.arcsin(head)))


def _image(study: ProjectionStudy, sop_class_uid: str, instance_uid: str) -> FileDataset:
    """What every image of a study shares, not yet compressed."""
    from pydicom.dataset import FileDataset
    from pydicom.uid import ExplicitVRLittleEndian

    common = identity_dataset(study.seed, study.spine, study.phase, study.study_instance_uid)
    # Films and CT of one seed show different patients.
    common.PatientName, common.PatientID = f"PhantomX^{study.seed:06d}", f"PHANTOMX{study.seed:06d}"
    image = FileDataset("", common, file_meta=file_meta(sop_class_uid, instance_uid), preamble=b"\0" * 128)
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = image.file_meta.MediaStorageSOPClassUID, instance_uid
    image.InstanceNumber = 1
    return image


def _code(value: str, scheme: str, meaning: str) -> list[Dataset]:
    from pydicom import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return [code]


def _add_film_spacing(image: Dataset, film: SimulatedFilm) -> None:
    """The size of a pixel, as far as the header is to tell it (PS3.3 10.7)."""
    pixel_mm, header = film.shown.camera.pixel_mm, film.header
    magnification = header.detector_mm / film.shown.camera.source_mm
    image.ImagerPixelSpacing = [decimal(pixel_mm * magnification)] * 2
    if header.spacing == "estimated":
        image.EstimatedRadiographicMagnificationFactor = decimal(magnification)
    elif header.spacing in ("fiducial", "geometry"):
        image.PixelSpacing = [decimal(pixel_mm)] * 2
        image.PixelSpacingCalibrationType = header.spacing.upper()
        image.PixelSpacingCalibrationDescription = "Simulated: true size in the plane of the spine"


def _add_field(image: Dataset, cine: SimulatedCine) -> None:
    """The X-Ray Collimator module (PS3.3 C.8.7.3); it counts rows and columns from 1."""
    shape = cine.collimator.shape
    left, right, upper, lower = cine.collimator.edges_px(cine.shown.camera.shape)
    if shape == "square":
        image.CollimatorShape = "RECTANGULAR"
        image.CollimatorLeftVerticalEdge, image.CollimatorRightVerticalEdge = left + 1, right + 1
        image.CollimatorUpperHorizontalEdge, image.CollimatorLowerHorizontalEdge = upper + 1, lower + 1
    elif shape == "round":
        image.CollimatorShape = "CIRCULAR"
        image.CenterOfCircularCollimator = [(upper + lower) // 2 + 1, (left + right) // 2 + 1]
        image.RadiusOfCircularCollimator = (right - left) // 2


def _add_pixels(image: Dataset, shape: tuple[int, int], bits: int) -> None:
    image.SamplesPerPixel, image.PixelRepresentation = 1, 0
    image.Rows, image.Columns = shape
    image.BitsAllocated, image.BitsStored, image.HighBit = 8 if bits <= 8 else 16, bits, bits - 1
