"""Programs that others wrote and that judge DICOM objects: dicom3tools, dcmtk, Orthanc. `make test` installs them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydicom import Dataset

EXPECTED = ("Unrecognized defined term <99VERTECAST>", "needed to build DICOMDIR")
"""Our private scheme is in no list of the validator; what a DICOMDIR wants of the study must come from the source."""

ENTITY_EXPECTED = "Element=<AccessionNumber> IE <Series> versus <Study>"
"""It belongs to the study in every object (PS3.3 C.7.2.1); dicom3tools counts it to the series of images."""


def complaints(path: Path) -> list[str]:
    """Errors and warnings of dciodvfy, without the expected ones."""
    result = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (result.stdout + result.stderr).splitlines()
    serious = [line for line in lines if line.startswith(("Error", "Warning", "Abort"))]
    return [line for line in serious if not any(text in line for text in EXPECTED)]


def entity_complaints(paths: Iterable[Path]) -> list[str]:
    """What dcentvfy says of objects that do not agree on their patient, study, series or frame of reference."""
    command = ["dcentvfy", *map(str, paths)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line for line in (result.stdout + result.stderr).splitlines() if ENTITY_EXPECTED not in line]


def frames_of(segmentation: Dataset) -> np.ndarray:
    """Frames (n, rows, columns) of a BINARY segmentation, unpacked without any help of the writer's library."""
    count, rows, columns = segmentation.NumberOfFrames, segmentation.Rows, segmentation.Columns
    bits = np.unpackbits(np.frombuffer(segmentation.PixelData, np.uint8), bitorder="little")
    return bits[: count * rows * columns].reshape(count, rows, columns).astype(bool)


def label_frames_of(segmentation: Dataset) -> np.ndarray:
    """Frames (n, rows, columns) of a LABELMAP segmentation with up to 255 segments, from its bytes."""
    count, rows, columns = segmentation.NumberOfFrames, segmentation.Rows, segmentation.Columns
    return np.frombuffer(segmentation.PixelData, np.uint8)[: count * rows * columns].reshape(count, rows, columns)


def segment_points_lps_mm(segmentation: Dataset) -> dict[str, np.ndarray]:
    """Centres (n, 3) of the pixels of every segment in LPS mm by PS3.3 C.7.6.2.1.1, from the object alone."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    directions = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    labels = {item.SegmentNumber: item.SegmentLabel for item in segmentation.SegmentSequence}
    is_label_map = segmentation.SegmentationType == "LABELMAP"
    frames = label_frames_of(segmentation) if is_label_map else frames_of(segmentation)
    points: dict[str, list[np.ndarray]] = {}
    for frame, own in zip(frames, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float)
        for number in np.unique(frame[frame > 0]):
            rows, columns = np.nonzero(frame == number)
            place = position + np.outer(columns * column_mm, directions[0]) + np.outer(rows * row_mm, directions[1])
            if not is_label_map:
                number = own.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            points.setdefault(labels[number], []).append(place)
    return {label: np.concatenate(found) for label, found in points.items()}
