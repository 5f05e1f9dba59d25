"""A header without identity: the Basic Application Level Confidentiality Profile (PS3.15 E.2) for what results copy.

Results copy a patient, a study and references, and no pixel. So nothing is struck from a header by a list: a new one is
made of the few elements that results need, and whatever else there is, private or standard, never enters it. That is
more than the profile's table asks, and needs no table. Dates keep their distances (option "Retain Longitudinal Temporal
Information Modified Dates", E.3.6).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Final

from pydicom import Dataset

from vertecast.io.identity.pseudonyms import Pseudonyms
from vertecast.io.study_header import NEVER_ABSENT

KEPT: Final = (
    "SpecificCharacterSet", "SOPClassUID", "Modality", "StudyTime", "NumberOfFrames", "PatientOrientation",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip
"""What the image is and where it lies; the time of day orders studies of one day."""

KEPT_GROUPS: Final = (
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PlanePositionSequence",
    "PlaneOrientationSequence", "PixelMeasuresSequence",
)  # fmt: skip
"""Where the frames of an enhanced image lie; of their items the same elements are kept."""

REPLACED_UIDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")

FAMILY_NAME: Final = "Anonymous"
"""A name without a component is of a form that PS3.5 has retired."""

METHOD: Final = "Vertecast: new header from an allow list, keyed pseudonyms"
METHOD_CODES: Final = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
"""PS3.16 CID 7050, scheme DCM."""


def clean_header(header: Dataset, pseudonyms: Pseudonyms, patient: str) -> Dataset:
    """The header of the same image for a patient without a name.

    Args:
        header: Data set of an image, in Unicode.
        pseudonyms: What takes the place of UIDs, ID and dates.
        patient: Stands for the patient; decides the ID and how far dates are moved.
    """
    clean = _kept(header)
    for keyword in REPLACED_UIDS:
        if header.get(keyword):
            setattr(clean, keyword, pseudonyms.uid(str(header[keyword].value)))
    for keyword in NEVER_ABSENT:
        if keyword in header and keyword not in clean:
            setattr(clean, keyword, "")
    clean.PatientID = pseudonyms.patient_id(patient)
    clean.PatientName = f"{FAMILY_NAME}^{clean.PatientID}"
    clean.StudyDate = _moved(str(header.get("StudyDate") or ""), pseudonyms, patient)
    clean.PatientIdentityRemoved = "YES"
    clean.DeidentificationMethod = METHOD
    clean.DeidentificationMethodCodeSequence = [_code(*code) for code in METHOD_CODES]
    clean.LongitudinalTemporalInformationModified = "MODIFIED"
    # Of what is copied nothing shows the pixels of a film, which may have text burned into them.
    clean.BurnedInAnnotation = "NO"
    return clean


def _kept(source: Dataset) -> Dataset:
    """What is needed of a data set or of an item in it."""
    kept = Dataset()
    for keyword in KEPT:
        if keyword in source:
            kept[keyword] = source[keyword]
    for keyword in KEPT_GROUPS:
        if keyword in source:
            setattr(kept, keyword, [_kept(item) for item in _items(source, keyword)])
    return kept


def _items(source: Dataset, keyword: str) -> Sequence[Dataset]:
    return source[keyword].value or ()


def _moved(day: str, pseudonyms: Pseudonyms, patient: str) -> str:
    """A date (DA) moved as all of the patient's; "" where it is none."""
    if not re.fullmatch(r"\d{8}", day):
        return ""
    try:
        return pseudonyms.earlier(date.fromisoformat(day), patient).isoformat().replace("-", "")
    except ValueError:
        return ""


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code
