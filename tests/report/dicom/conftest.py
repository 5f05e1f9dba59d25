"""A study with a CT and a series of two films, as results go back into it."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, XRayAngiographicImageStorage

from strategies import CT_IMAGES, CT_SERIES, FILM_IMAGES, FILM_SERIES, STUDY
from vertecast.report.dicom.source import SourceImage, SourceStudy

FRAME_OF_REFERENCE = f"{STUDY}.99"
PATIENT = "Müller^Jürgen=山田^太郎"


@pytest.fixture(scope="session")
def source() -> SourceStudy:
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.StudyInstanceUID = STUDY
    header.StudyDate, header.StudyTime, header.StudyID, header.AccessionNumber = "20240229", "081500", "7", "A-1"
    header.StudyDescription, header.ReferringPhysicianName = "Lendenwirbelsäule", ""
    header.PatientName, header.PatientID, header.PatientAge = PATIENT, "0815", "081Y"
    header.PatientBirthDate, header.PatientSex = "19430101", "M"
    ct = [
        SourceImage(
            series_instance_uid=CT_SERIES,
            sop_instance_uid=uid,
            sop_class_uid=CTImageStorage,
            frame_of_reference_uid=FRAME_OF_REFERENCE,
        )
        for uid in CT_IMAGES
    ]
    films = [
        SourceImage(
            series_instance_uid=FILM_SERIES,
            sop_instance_uid=uid,
            sop_class_uid=XRayAngiographicImageStorage,
            is_multi_frame=True,
        )
        for uid in FILM_IMAGES
    ]
    return SourceStudy(header=header, images=(*ct, *films))
