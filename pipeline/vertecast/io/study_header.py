"""The header of a study, for results that go back into it."""

from __future__ import annotations

import warnings
from typing import Final

from pydicom import Dataset

from vertecast.core.errors import UnreadableError
from vertecast.core.patient import Patient
from vertecast.io.headers import read_attributes
from vertecast.io.sources import PARSE_ERRORS, FileRef, cause

UNICODE: Final = "ISO_IR 192"

NEVER_ABSENT: Final = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""Elements of the patient and study modules that may be empty but not absent (type 2, PS3.3 C.7.1.1 and C.7.2.1)."""


def read_study_header(source: FileRef) -> Dataset:
    """The data set of one image without its pixels, in Unicode, its patient and study modules complete.

    Raises:
        UnreadableError: the file cannot be opened, its header is damaged or in an unknown character set.
    """
    header = read_attributes(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header.decode()
    except (*PARSE_ERRORS, LookupError) as error:
        raise UnreadableError(
            f"{source}: the text of the header cannot be decoded ({cause(error)}); correct its SpecificCharacterSet"
        ) from error
    header.SpecificCharacterSet = UNICODE
    for keyword in NEVER_ABSENT:
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def read_patient(source: FileRef) -> Patient:
    """Whose image a file is.

    Raises:
        UnreadableError: as `read_study_header`.
    """
    header = read_study_header(source)
    birth = str(header.PatientBirthDate)
    return Patient(
        name=str(header.PatientName.family_comma_given()).strip(", "),
        patient_id=str(header.PatientID),
        birth_date=f"{birth[:4]}-{birth[4:6]}-{birth[6:]}" if len(birth) == 8 else birth,
    )
