"""Who a result belongs to and what it is called: modules copied from the source image, equipment, stable UIDs."""

from __future__ import annotations

import hashlib
import uuid
from typing import Final, Literal, TypeAlias

from highdicom.base import SOPClass
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from vertecast import __version__
from vertecast.core.images import OWN_MODEL_NAME
from vertecast.report.dicom.codes import PRIVATE_SCHEME, PRIVATE_SCHEME_NAME, PRIVATE_SCHEME_UID

UID_NAMESPACE: Final = uuid.UUID("0f0b6a3e-6d3c-4c0b-9a57-1b1f4b6f2a90")
"""Of the name-based UUIDs (RFC 9562, version 5) behind our UIDs."""

MANUFACTURER: Final = "Vertecast"

SeriesKind: TypeAlias = Literal["measurements", "segmentation", "pictures", "document"]
SERIES: Final[dict[SeriesKind, tuple[int, str]]] = {
    "measurements": (9801, "Vertecast measurements"),
    "segmentation": (9802, "Vertecast segmentation"),
    "pictures": (9803, "Vertecast pictures"),
    "document": (9804, "Vertecast report"),
}
"""Number and description of our series. The numbers lie beyond those that scanners give."""

FURTHER_KEYWORDS: Final = ("SpecificCharacterSet", "TimezoneOffsetFromUTC")
"""Needed to read what is copied: names in their character set, dates in their time zone."""


def result_uid(study_instance_uid: str, *parts: str) -> str:
    """A UID that depends on the study and on what it is for, so that a second run gives the same one.

    Source: PS3.5 B.2, UIDs derived from UUIDs (root 2.25).
    """
    return f"2.25.{result_uuid(study_instance_uid, *parts).int}"


def result_uuid(study_instance_uid: str, *parts: str) -> uuid.UUID:
    """The UUID behind `result_uid`."""
    # A part may hold any text: its length keeps ("ab", "c") and ("a", "bc") apart.
    name = "".join(f"{len(part)}:{part}" for part in (study_instance_uid, *parts))
    return uuid.uuid5(UID_NAMESPACE, name)


def digest(*parts: str | bytes) -> str:
    """Names a content: another result of the same image is another object."""
    total = hashlib.sha256()
    for part in (__version__, *parts):
        data = part.encode() if isinstance(part, str) else part
        total.update(str(len(data)).encode() + b":" + data)
    return total.hexdigest()


def is_uid(text: str) -> bool:
    """Whether a text can stand where DICOM wants a UID; a series named after its file cannot."""
    return UID(text).is_valid


def can_take_results(header: Dataset) -> bool:
    """Whether an image names its study and itself by valid UIDs, as an object that goes back to it must.

    Some anonymisers leave them empty; such a study is in no archive.
    """
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    return all(is_uid(str(header.get(keyword) or "")) for keyword in keywords)


class ResultObject(SOPClass):
    """A new object in the study of a source image, with its patient and study modules and our equipment module."""

    def __init__(
        self,
        header: Dataset,
        sop_class_uid: str,
        modality: str,
        kind: SeriesKind,
        *,
        of: str = "",
        instance: tuple[int, str],
    ) -> None:
        """Start the object; its own modules are added by the caller.

        Args:
            header: Data set of a source image.
            sop_class_uid: Of the object.
            modality: Of its series.
            kind: Decides series, number and description.
            of: SeriesInstanceUID of the source where each has a series of results of its own.
            instance: Number in the series, and digest of the content.
        """
        study = str(header.StudyInstanceUID)
        number, description = SERIES[kind]
        super().__init__(
            study_instance_uid=study,
            series_instance_uid=result_uid(study, kind, of),
            series_number=number,
            series_description=description,
            sop_instance_uid=result_uid(study, kind, of, *map(str, instance)),
            sop_class_uid=sop_class_uid,
            instance_number=instance[0],
            modality=modality,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=OWN_MODEL_NAME,
            software_versions=__version__,
            device_serial_number=__version__,
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )
        copy_elements(self, header, FURTHER_KEYWORDS)
        self.copy_patient_and_study_information(header)


def copy_elements(target: Dataset, header: Dataset, keywords: tuple[str, ...]) -> None:
    """Copy those of the elements that a header has."""
    for keyword in keywords:
        if keyword in header:
            target[keyword] = header[keyword]


def private_scheme() -> CodingSchemeIdentificationItem:
    """What a reader is told of our own codes (PS3.3 C.12.1.1.7)."""
    return CodingSchemeIdentificationItem(
        designator=PRIVATE_SCHEME,
        name=PRIVATE_SCHEME_NAME,
        uid=PRIVATE_SCHEME_UID,
        responsible_organization=MANUFACTURER,
    )
