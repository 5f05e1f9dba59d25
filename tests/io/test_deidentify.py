"""A header without identity: nothing that the profile names is left, and what is needed stays."""

from __future__ import annotations

import io
from typing import Any

import pytest
from dicomanonymizer.simpledicomanonymizer import initialize_actions
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from vertecast.io.identity.deidentify import clean_header
from vertecast.io.identity.pseudonyms import Pseudonyms

PSEUDONYMS = Pseudonyms(key=b"a key of the tests: 32 letters..")
TIMES_OF_DAY = (0x0008, 0x0030)
"""StudyTime alone is kept: it orders the studies of one day."""

PROFILE = [tag for tag in initialize_actions("dicomfields_2026c") if len(tag) == 2 and tag != TIMES_OF_DAY]
"""Every element that the table of PS3.15 E.1 names, as another program knows it."""

TEXTS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")


def identifying(number: int, vr: str) -> Any:
    """A value of its own for an element; None for kinds that cannot hold one."""
    if vr in TEXTS:
        return f"WHO{number:06}"
    values = {
        "UI": f"1.2.3.777.1{number:05}",
        "DA": f"{1901 + number % 90}{number % 12 + 1:02}{number % 28 + 1:02}",
        "DT": f"{1901 + number % 90}{number % 12 + 1:02}{number % 28 + 1:02}101112",
        "OB": f"WHO{number:07}".encode(),
        "UN": f"WHO{number:07}".encode(),
    }
    return values.get(vr)


def crowded(numbers: range) -> tuple[Dataset, set[bytes]]:
    """A header with everything that the profile names, at its top, in a sequence and in private elements."""
    header, values = Dataset(), set()
    header.SOPClassUID, header.Modality = CTImageStorage, "CT"
    nested = Dataset()
    for number, tag in zip(numbers, PROFILE, strict=False):
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            continue
        value = identifying(number, vr)
        if value is not None and tag[0] > 0x0002:  # no elements of messages and of the file itself
            (header if number % 3 else nested).add_new(tag, vr, value)
            values.add(value if isinstance(value, bytes) else value.encode())
    position = Dataset()
    position.ImagePositionPatient = [1, 2, 3]
    nested.PlanePositionSequence = Sequence([position])
    header.PerFrameFunctionalGroupsSequence = Sequence([nested])
    block = header.private_block(0x0009, "WHOWASHERE", create=True)
    block.add_new(0x01, "LO", "WHOPRIVATE")
    header.PatientBirthDateInAlternativeCalendar = "WHOBORN"  # in no row of the table
    return header, values | {b"WHOPRIVATE", b"WHOWASHERE", b"WHOBORN"}


def stored(header: Dataset) -> bytes:
    file = io.BytesIO()
    header.save_as(file, implicit_vr=False, little_endian=True)
    return file.getvalue()


def test_nothing_that_the_profile_names_is_left() -> None:
    header, values = crowded(range(len(PROFILE)))
    before, after = stored(header), stored(clean_header(header, PSEUDONYMS, "patient"))
    assert len(values) > 400
    assert all(value in before for value in values)
    assert [value for value in values if value in after] == []
    assert b"WHO" not in after


def test_what_results_need_stays() -> None:
    header, _ = crowded(range(len(PROFILE)))
    header.StudyInstanceUID, header.FrameOfReferenceUID, header.PatientOrientation = "1.2.3", "1.2.4", ["A", "F"]
    header.PatientName, header.StudyDate, header.StudyTime = "Doe^Joanna", "20240229", "101500"
    clean = clean_header(header, PSEUDONYMS, "patient")
    assert clean.StudyInstanceUID == PSEUDONYMS.uid("1.2.3")
    assert clean.FrameOfReferenceUID == PSEUDONYMS.uid("1.2.4")
    assert (clean.SOPClassUID, clean.StudyTime, list(clean.PatientOrientation)) == (
        CTImageStorage,
        "101500",
        ["A", "F"],
    )
    assert clean.PatientID == PSEUDONYMS.patient_id("patient")
    assert clean.PatientName == f"Anonymous^{clean.PatientID}"
    assert (clean.PatientBirthDate, clean.PatientSex) == ("", "")
    [group] = clean.PerFrameFunctionalGroupsSequence
    assert group.PlanePositionSequence[0].ImagePositionPatient == [1, 2, 3]
    assert (clean.PatientIdentityRemoved, clean.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    assert [item.CodeValue for item in clean.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert header.StudyInstanceUID == "1.2.3", "the header itself was changed"


@given(day=st.dates().map(lambda day: day.isoformat().replace("-", "")))
def test_a_date_is_moved(day: str) -> None:
    header = Dataset()
    header.StudyDate = day
    moved = str(clean_header(header, PSEUDONYMS, "patient").StudyDate)
    assert len(moved) == 8
    assert moved < day or day < "00110101"


@pytest.mark.parametrize("day", ["", "2024", "20241350", "2024.01.08"])
def test_what_is_no_date_is_left_out(day: str) -> None:
    header = Dataset()
    header.add_new("StudyDate", "LO", day)
    assert clean_header(header, PSEUDONYMS, "patient").StudyDate == ""


def test_a_clean_header_is_dicom() -> None:
    header, _ = crowded(range(40))
    clean = clean_header(header, PSEUDONYMS, "patient")
    file = io.BytesIO()
    clean.SOPInstanceUID = "1.2.3"
    clean.ensure_file_meta()
    clean.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    clean.save_as(file, enforce_file_format=True)
    file.seek(0)
    assert dcmread(file).PatientID == clean.PatientID
