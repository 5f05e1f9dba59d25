"""A service whose analysis is light, for tests of everything around it; plain functions, so that workers import them.

``python -m pacs_light FILE`` serves with the configuration in FILE.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from fakes import SECRET_NAME
from vertecast.core.images import OWN_MODEL_NAME
from vertecast.service.analysis import NO_IMAGES, AnalysisOutcome, AnalysisTask
from vertecast.service.options import load_pacs_options
from vertecast.service.service import Service, log_to_stderr

DAMAGED = "the pixels of an image are cut off"
SLOW_STUDY = "1.2.840.777"


def study_uid(number: int) -> str:
    return f"1.2.840.{number}"


def write_image(path: Path, *, study: int = 1, image: int = 1, damaged: bool = False) -> Path:
    """A CT image of 16 pixels; a damaged one has lost half of them."""
    item = _object(CTImageStorage, study, f"{study_uid(study)}.1.{image}")
    item.Modality, item.Rows, item.Columns = "CT", 4, 4
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 1
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.PixelData = bytes(16 if damaged else 32)
    return _save(item, path)


def write_own(path: Path, *, study: int = 1, content: int = 1) -> Path:
    """A result of ours; its UID depends on its content."""
    item = _object(SecondaryCaptureImageStorage, study, f"{study_uid(study)}.9.{content}")
    item.Modality, item.ManufacturerModelName, item.ConversionType = "OT", OWN_MODEL_NAME, "WSD"
    item.Rows, item.Columns, item.BitsAllocated, item.BitsStored, item.HighBit = 1, 2, 8, 8, 7
    item.PixelRepresentation, item.SamplesPerPixel, item.PhotometricInterpretation = 0, 1, "MONOCHROME2"
    item.PixelData = b"ab"
    return _save(item, path)


def _object(sop_class: str, study: int, uid: str) -> Dataset:
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = sop_class
    item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = uid
    item.StudyInstanceUID, item.SeriesInstanceUID = study_uid(study), uid.rpartition(".")[0]
    item.PatientID, item.PatientName, item.StudyDate = f"P{study}", SECRET_NAME, time.strftime("%Y%m%d")
    return item


def _save(item: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    item.save_as(path, enforce_file_format=True)
    return path


def light_analysis(task: AnalysisTask) -> AnalysisOutcome:
    """Reads every image and writes a result whose UID tells how many there were."""
    images = sorted(task.images.glob("*.dcm"))
    if not images:
        return AnalysisOutcome(status="skipped", reason=NO_IMAGES)
    for path in images:
        try:
            dcmread(path).pixel_array  # noqa: B018  decoding is what may fail
        except ValueError:
            return AnalysisOutcome(status="failed", reason=DAMAGED)
    uid = task.images.name
    if uid == SLOW_STUDY:
        time.sleep(60)
    own = write_own(task.out / uid / "sr.dcm", study=int(uid.rpartition(".")[2]), content=len(images))
    return AnalysisOutcome(status="analyzed", own=(str(dcmread(own).SOPInstanceUID),))


if __name__ == "__main__":
    log_to_stderr()
    Service(load_pacs_options(Path(sys.argv[1])), light_analysis).run()
