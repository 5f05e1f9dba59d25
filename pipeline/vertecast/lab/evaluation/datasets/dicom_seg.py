"""DICOM SEG objects with the CT that they were drawn on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import METAL_LABEL
from vertecast.core.errors import UnreadableError
from vertecast.core.images import Grid, Mask, Volume
from vertecast.lab.evaluation.datasets.schemes import number_of_name
from vertecast.lab.evaluation.datasets.tables import age_group

_HEADER = ["Modality", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientSex", "PatientAge",
           "Manufacturer", "ManufacturerModelName", "ReferencedSeriesSequence", "SegmentSequence"]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Seg:
    """A SEG of a folder.

    ``patient`` is a number that stands for the patient, who is named nowhere; ``numbers`` holds our number by segment.
    """

    path: Path
    study_instance_uid: str
    patient: str
    image: Path | None
    groups: Mapping[str, str]
    numbers: Mapping[int, int]


def find_segs(directory: Path) -> Iterator[Seg]:
    """Every SEG below a folder, in the order of the paths."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    segs: list[tuple[Path, Any]] = []
    series: dict[str, tuple[Path, Any]] = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_HEADER)
        except (InvalidDicomError, OSError):
            continue
        if header.get("Modality") == "SEG":
            segs.append((path, header))
        elif header.get("Modality") == "CT":
            series.setdefault(str(header.SeriesInstanceUID), (path.parent, header))
    patients: dict[str, str] = {}
    for path, header in segs:
        # The ID itself is not kept: patients are told apart by running numbers.
        key = hashlib.sha256(str(header.get("PatientID") or header.StudyInstanceUID).encode()).hexdigest()
        referenced = header.get("ReferencedSeriesSequence", "SegmentSequence") or [{}]
        image, source = series.get(str(referenced[0].get("SeriesInstanceUID", "")), (None, header))
        yield Seg(
            path=path,
            study_instance_uid=str(header.StudyInstanceUID),
            patient=patients.setdefault(key, f"patient {len(patients) + 1}"),
            image=image,
            groups=dict(_groups(source)),
            numbers={
                int(one.SegmentNumber): number_of_name(str(one.get("SegmentLabel", "")))
                for one in header.get("SegmentSequence") or ()
            },
        )


def _groups(header: Any) -> Iterator[tuple[str, str]]:
    if header.get("PatientSex"):
        yield "sex", str(header.PatientSex)
    age = str(header.get("PatientAge") or "")
    if age[:-1].isdigit() and age.endswith("Y"):
        yield "age", age_group(int(age[:-1]))
    scanner = " ".join(str(header.get(key) or "") for key in ("Manufacturer", "ManufacturerModelName")).strip()
    if scanner and header.get("Modality") == "CT":
        yield "scanner", scanner


def read_seg(path: Path, image: Path | None) -> Mask:
    """A SEG as one label map in our numbers, on the grid of its CT, or on its own where the CT is not at hand.

    Segments are known by their labels ("L1 vertebral body"); cement lies over bone and metal over cement.

    Raises:
        UnreadableError: It is damaged, is no regular volume, or not one segment is a structure that is known.
    """
    from highdicom.seg import segread

    try:
        seg = segread(path)
        numbers = {n: number_of_name(str(seg.get_segment_description(n).segment_label)) for n in seg.segment_numbers}
        known = sorted((own, n) for n, own in numbers.items() if own and own <= METAL_LABEL)
        if not known:
            raise UnreadableError(f"{path}: has no segment with the name of a vertebra, of cement or of metal")
        labels, affine = None, np.eye(4)
        for own, n in known:
            volume = seg.get_volume(segment_numbers=[n], combine_segments=False)
            inside = np.asarray(volume.array).reshape(volume.spatial_shape) > 0
            labels = np.zeros(inside.shape, np.uint8) if labels is None else labels
            labels[inside], affine = own, np.asarray(volume.affine)
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        raise UnreadableError(f"{path}: cannot be read as a SEG of one volume ({type(error).__name__})") from error
    assert labels is not None
    mask = Mask(labels=labels, lps_from_index=affine)
    if image is None:
        return mask
    grid = _grid(read_series(image))
    padded = geometry.shifted(mask.lps_from_index, [-1.0, -1.0, -1.0])
    moved = geometry.resample(np.pad(mask.labels, 1), padded, grid.lps_from_index, grid.shape, order=0)
    return Mask(labels=moved.astype(np.uint8), lps_from_index=grid.lps_from_index)


def read_series(directory: Path) -> Volume:
    """The CT series of a folder.

    Raises:
        UnreadableError: It is no regular volume.
    """
    import highdicom
    import pydicom
    from pydicom.errors import InvalidDicomError

    slices = []
    for path in sorted(path for path in directory.iterdir() if path.is_file()):
        try:
            one = pydicom.dcmread(path)
        except (InvalidDicomError, OSError):
            continue
        if one.get("Modality") == "CT":
            slices.append(one)
    try:
        volume = highdicom.get_volume_from_series(slices, dtype=np.float32)
    except (ValueError, IndexError, RuntimeError, AttributeError) as error:
        raise UnreadableError(f"{directory}: its CT slices form no regular volume ({error})") from error
    return Volume(hu=np.asarray(volume.array), lps_from_index=np.asarray(volume.affine))


def _grid(volume: Volume) -> Grid:
    return Grid(shape=volume.shape, lps_from_index=volume.lps_from_index)
