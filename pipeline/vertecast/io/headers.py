"""The header of one DICOM file, without its pixels: what is needed to sort, choose and place images."""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydicom import Dataset, dcmread

from vertecast.core.errors import InputError, UnreadableError
from vertecast.core.images import OWN_MODEL_NAME
from vertecast.io.sources import DICOM_SUFFIXES, PARSE_ERRORS, FileRef, cause

CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT: Final = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CONVERTED_CT: Final = "1.2.840.10008.5.1.4.1.1.2.2"
MULTI_FRAME_CT: Final = (ENHANCED_CT, LEGACY_CONVERTED_CT)
"""SOP classes with functional groups per frame (PS3.4 B.5)."""

DICOMDIR_CLASS: Final = "1.2.840.10008.1.3.10"
PREAMBLE_BYTES: Final = 128
NO_CONTRAST_WORDS: Final = ("none", "no", "without", "native", "nativ", "ohne", "unenhanced")
"""Words that operators type into ContrastBolusAgent when there was none."""

PLACEHOLDER_IDS: Final = frozenset({
    "ANON", "ANONYM", "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "ANONYMOUSPATIENT", "DEIDENTIFIED", "DEFAULT", "DUMMY",
    "HIDDEN", "ID", "NA", "NAN", "NIL", "NOID", "NONE", "NOTAVAILABLE", "NOTSPECIFIED", "NULL", "PATIENT", "PATIENTID",
    "PSEUDONYM", "REDACTED", "REMOVED", "TEST", "UNDEFINED", "UNK", "UNKNOWN", "UNSPECIFIED",
})  # fmt: skip
"""PatientIDs, in capitals and without signs, that anonymisers and scanners give to anybody; so are empty ones and those
of zeros or of the letter X alone. A list from experience, without a source."""

Triple = tuple[float, float, float]
Sextuple = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlane:
    """One image plane: a classic slice, or one frame of a multi-frame file.

    Attributes:
        source: The file.
        frame: Index of the frame in the file, from 0.
        position_mm: Centre of the first pixel in LPS mm (PS3.3 C.7.6.2.1.1), None if the header has none.
        orientation: Direction cosines of the rows and of the columns.
        pixel_spacing_mm: Distance between rows, then between columns.
        thickness_mm, between_mm: SliceThickness and SpacingBetweenSlices; None where absent or no number.
        slope, intercept: Rescale to HU.
        acquisition, temporal, acquired: What tells repeated scans of the same place apart.
    """

    source: FileRef
    frame: int
    sop_instance_uid: str
    frame_of_reference_uid: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    position_mm: Triple | None
    orientation: Sextuple | None
    pixel_spacing_mm: tuple[float, float] | None
    thickness_mm: float | None
    between_mm: float | None
    slope: float
    intercept: float
    acquisition: str
    temporal: str
    acquired: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One DICOM file.

    ``patient_key`` is a hash of the patient's ID and its issuer, ``patient_id_key`` of the ID alone; they and
    ``taken``, the date and time of the study, are never printed. ``names_nobody``: the PatientID is empty, or one of
    those that stand for anybody; the keys are "" then.

    Where an anonymiser emptied the UIDs, the name of the folder stands for them.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    modality: str
    description: str
    kernel: str
    kvp: float | None
    contrast: bool | None
    rescale_type: str
    samples_per_pixel: int
    bits_stored: int
    conversion_type: str
    for_processing: bool
    frames: int
    body_part: str
    is_own_result: bool
    patient_key: str
    patient_id_key: str
    has_issuer: bool
    names_nobody: bool
    taken: datetime | None
    planes: tuple[ImagePlane, ...]


def read_header(source: FileRef) -> Header | None:
    """Read one file as far as its pixels.

    Returns:
        The header, or None where the file is no DICOM image or object and does not claim to be one.

    Raises:
        UnreadableError: the file claims to be DICOM and is damaged, or cannot be opened.
    """
    claims_dicom = source.name.lower().endswith(DICOM_SUFFIXES)
    with source.open() as file:
        start = file.read(PREAMBLE_BYTES + 4)
        has_preamble = start[PREAMBLE_BYTES:] == b"DICM"
        # Old writers left the preamble out; the file then starts with group 0002 or 0008, little endian.
        if not has_preamble and start[:2] not in (b"\x02\x00", b"\x08\x00"):
            if claims_dicom:
                raise UnreadableError(f"{source}: is no DICOM file although its name says so; it is empty or damaged")
            return None
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = dcmread(file, stop_before_pixels=True, force=not has_preamble)
                return _header(dataset, source)
        except PARSE_ERRORS as error:
            if not (has_preamble or claims_dicom):
                return None
            raise UnreadableError(
                f"{source}: the DICOM header is damaged ({cause(error)}); export the file again"
            ) from error


def read_attributes(source: FileRef) -> Dataset:
    """The data set of a file that is known to be DICOM, without its pixels.

    Raises:
        UnreadableError: the file cannot be opened or its header is damaged.
    """
    try:
        with warnings.catch_warnings(), source.open() as opened:
            warnings.simplefilter("ignore")
            return dcmread(opened, stop_before_pixels=True, force=True)
    except InputError:
        raise
    except PARSE_ERRORS as error:
        raise UnreadableError(
            f"{source}: the DICOM header is damaged ({cause(error)}); export the file again"
        ) from error


def _header(dataset: Dataset, source: FileRef) -> Header | None:
    sop_class = _text(dataset, "SOPClassUID") or _text(dataset.file_meta, "MediaStorageSOPClassUID")
    if sop_class == DICOMDIR_CLASS or "DirectoryRecordSequence" in dataset:
        return None
    study, series = _text(dataset, "StudyInstanceUID"), _text(dataset, "SeriesInstanceUID")
    if not sop_class or (not (study and series) and not dataset.get("Rows")):
        raise ValueError("cut off before the UIDs")
    folder, number = source.folder, _text(dataset, "SeriesNumber")
    issuer, patient_id = _text(dataset, "IssuerOfPatientID"), _text(dataset, "PatientID")
    names_nobody = _names_nobody(patient_id)
    shared, first = _frame_groups(dataset, 0)
    return Header(
        study_instance_uid=study or folder,
        series_instance_uid=series or (f"{folder}_{number}" if number else folder),
        sop_class_uid=sop_class,
        modality=_text(dataset, "Modality").upper(),
        description=_text(dataset, "SeriesDescription"),
        kernel=_kernel(dataset, shared, first),
        kvp=_hint(dataset, "KVP") or _hint(_item(shared, first, "CTXRayDetailsSequence"), "KVP"),
        contrast=_contrast(dataset),
        rescale_type=_text(dataset, "RescaleType")
        or _text(_item(shared, first, "PixelValueTransformationSequence"), "RescaleType"),
        samples_per_pixel=int(dataset.get("SamplesPerPixel") or 1),
        bits_stored=int(dataset.get("BitsStored") or 0),
        conversion_type=_text(dataset, "ConversionType").upper(),
        for_processing=_text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING",
        frames=int(dataset.get("NumberOfFrames") or 1),
        body_part=_text(dataset, "BodyPartExamined"),
        is_own_result=_text(dataset, "ManufacturerModelName") == OWN_MODEL_NAME,
        patient_key="" if names_nobody else _hash(f"{issuer}|{patient_id}"),
        patient_id_key="" if names_nobody else _hash(patient_id),
        has_issuer=bool(issuer),
        names_nobody=names_nobody,
        taken=_taken(dataset),
        planes=_planes(dataset, source, sop_class),
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _names_nobody(patient_id: str) -> bool:
    """True for an ID that anonymisers and scanners give to anybody: it makes no two studies one patient's."""
    bare = re.sub(r"[\W_]", "", patient_id).upper()
    return bare in PLACEHOLDER_IDS or re.fullmatch(r"0*|X*", bare) is not None


def _taken(dataset: Dataset) -> datetime | None:
    """Date and time of the study, of its series where the study's are empty; midnight where only the date is known."""
    for kind in ("Study", "Series"):
        date, time = _text(dataset, f"{kind}Date"), _text(dataset, f"{kind}Time").partition(".")[0]
        if not re.fullmatch(r"\d{8}", date):
            continue
        # strptime takes fields of one digit too, so the time is filled up to six (PS3.5 6.2: HH, HHMM or HHMMSS).
        filled = time.ljust(6, "0") if re.fullmatch(r"(\d\d){1,3}", time) else "000000"
        try:
            return datetime.strptime(date + filled, "%Y%m%d%H%M%S")
        except ValueError:
            continue
    return None


def _planes(dataset: Dataset, source: FileRef, sop_class: str) -> tuple[ImagePlane, ...]:
    """The planes of a file; none where it holds no image."""
    if not dataset.get("Rows") or not dataset.get("Columns"):
        return ()
    # Some writers of cone-beam CT store frames with their functional groups under the class for single slices.
    is_mislabelled = sop_class == CT_IMAGE and bool(dataset.get("PerFrameFunctionalGroupsSequence"))
    if sop_class not in MULTI_FRAME_CT and not is_mislabelled:
        return (_plane(dataset, source, 0, None, None),)
    count = int(dataset.get("NumberOfFrames") or 1)
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if count != (len(groups) if groups else 1):
        placed = len(groups) if groups else "none"
        raise UnreadableError(
            f"{source}: its header counts {count} frames, but places {placed} of them; export the file again"
        )
    return tuple(_plane(dataset, source, frame, *_frame_groups(dataset, frame)) for frame in range(count))


def _plane(dataset: Dataset, source: FileRef, frame: int, shared: Dataset | None, own: Dataset | None) -> ImagePlane:
    """One plane; values come from the functional groups where there are some, else from the data set itself."""

    def group(name: str) -> Dataset:
        found = _item(shared, own, name)
        return dataset if found is None else found

    content, measures = group("FrameContentSequence"), group("PixelMeasuresSequence")
    rescale = group("PixelValueTransformationSequence")
    frame_type = group("CTImageFrameTypeSequence").get("FrameType") or dataset.get("ImageType") or ()
    position = _numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = _numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    spacing = _numbers(measures, "PixelSpacing", 2)
    slope = _number(rescale, "RescaleSlope")
    return ImagePlane(
        source=source,
        frame=frame,
        sop_instance_uid=_text(dataset, "SOPInstanceUID") or _text(dataset.file_meta, "MediaStorageSOPInstanceUID"),
        frame_of_reference_uid=_text(dataset, "FrameOfReferenceUID"),
        image_type=tuple(str(part).upper() for part in _as_list(frame_type)),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        position_mm=(position[0], position[1], position[2]) if position else None,
        orientation=(*orientation[:3], *orientation[3:]) if orientation else None,  # type: ignore[arg-type]
        pixel_spacing_mm=(spacing[0], spacing[1]) if spacing else None,
        thickness_mm=_hint(measures, "SliceThickness"),
        between_mm=_hint(measures, "SpacingBetweenSlices"),
        slope=1.0 if slope is None else slope,
        intercept=_number(rescale, "RescaleIntercept") or 0.0,
        acquisition=_text(content, "FrameAcquisitionNumber") or _text(dataset, "AcquisitionNumber"),
        temporal=_text(content, "TemporalPositionIndex") or _text(dataset, "TemporalPositionIdentifier"),
        acquired=_text(content, "FrameAcquisitionDateTime")
        or _text(dataset, "AcquisitionDateTime")
        or _text(dataset, "AcquisitionTime"),
    )


def _frame_groups(dataset: Dataset, frame: int) -> tuple[Dataset | None, Dataset | None]:
    """Shared and per-frame functional groups of a frame (PS3.3 C.7.6.16)."""
    shared = dataset.get("SharedFunctionalGroupsSequence")
    own = dataset.get("PerFrameFunctionalGroupsSequence")
    return (shared[0] if shared else None), (own[frame] if own else None)


def _item(shared: Dataset | None, own: Dataset | None, name: str) -> Dataset | None:
    """First item of a functional group; the frame's own wins over the shared one."""
    for groups in (own, shared):
        sequence = groups.get(name) if groups is not None else None
        if sequence:
            item: Dataset = sequence[0]
            return item
    return None


def _kernel(dataset: Dataset, shared: Dataset | None, first: Dataset | None) -> str:
    item = _item(shared, first, "CTReconstructionSequence")
    value = dataset.get("ConvolutionKernel") or (item.get("ConvolutionKernel") if item is not None else None)
    return str(_as_list(value)[0]).strip() if value else ""


def _contrast(dataset: Dataset) -> bool | None:
    """True or False where the header says so, None where it says nothing (which proves nothing)."""
    if dataset.get("ContrastBolusAgentSequence"):
        return True
    agent = _text(dataset, "ContrastBolusAgent").lower()
    if not agent:
        return None
    return not any(word in NO_CONTRAST_WORDS for word in agent.replace("/", " ").split())


def _as_list(value: Any) -> list[Any]:
    """The values of a multi-valued element; a single one is a list of one."""
    return [value] if isinstance(value, str | int | float) else list(value)


def _text(dataset: Dataset | None, keyword: str) -> str:
    value = dataset.get(keyword) if dataset is not None else None
    return "" if value is None else str(value).strip(" \0")


def _number(dataset: Dataset | None, keyword: str) -> float | None:
    numbers = _numbers(dataset, keyword, 1)
    return numbers[0] if numbers else None


def _hint(dataset: Dataset | None, keyword: str) -> float | None:
    """A positive number that nothing is placed by: None where it is absent or badly written ("120,0")."""
    try:
        number = _number(dataset, keyword)
    except (ValueError, TypeError, OverflowError):
        return None
    return number if number is not None and number > 0 else None


def _numbers(dataset: Dataset | None, keyword: str, count: int) -> tuple[float, ...] | None:
    """Finite numbers of an element, None where there are not exactly ``count``."""
    value = dataset.get(keyword) if dataset is not None else None
    if value is None or value == "":
        return None
    numbers = tuple(float(part) for part in _as_list(value))
    return numbers if len(numbers) == count and all(math.isfinite(number) for number in numbers) else None
