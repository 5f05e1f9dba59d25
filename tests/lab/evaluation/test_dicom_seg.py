"""DICOM SEG as truth or prediction, with the CT that it was drawn on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from vertecast.core.errors import UnreadableError
from vertecast.core.images import Mask
from vertecast.lab.evaluation.datasets.dicom_seg import find_segs, read_seg
from vertecast.lab.evaluation.datasets.files import read_labels
from vertecast.lab.evaluation.datasets.maps import find_maps
from vertecast.lab.evaluation.datasets.reading import read_background, read_map
from vertecast.lab.evaluation.maps.masks import score_maps


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated CT with its truth, and a SEG made of that truth."""
    from phantoms.simulation import make_spine
    from vertecast.lab.simulation.ct.acquisition import ScannerSettings
    from vertecast.lab.simulation.ct.studies import ScanPlan, TreatmentPlan, make_case, write_study

    out = tmp_path_factory.mktemp("seg")
    settings = ScannerSettings(
        pixel_mm=3.0, matrix=64, slice_thickness_mm=3.0, slice_spacing_mm=3.0, beam_hardening=0.0
    )
    plan = ScanPlan(phase="post", settings=settings, treatments=(TreatmentPlan(vertebra_index=1, volume_ml=2.0),))
    write_study(make_case(3, "ct", make_spine(3), (0, 2), [plan]), out)
    write_seg(out)
    return out


def write_seg(folder: Path) -> None:
    from highdicom.seg import Segmentation, SegmentDescription
    from highdicom.uid import UID
    from pydicom.sr.codedict import codes

    slices = [pydicom.dcmread(path) for path in folder.rglob("*.dcm")]
    labels = read_labels(next(folder.rglob("*.nii.gz")))
    slices.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    for one in slices:
        one.PatientSex, one.PatientAge, one.Manufacturer, one.ManufacturerModelName = "F", "071Y", "Maker", "Model 1"
        one.save_as(one.filename)
    planes = plane_stack(np.asarray(labels.labels), labels.lps_from_index, slices)
    names = {
        19: "T12 vertebral body",
        20: "L1 vertebral body",
        21: "L2 vertebral body",
        200: "L1 bone cement",
        7: "Liver",
    }
    segments = [
        SegmentDescription(
            segment_number=n, segment_label=name, segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Bone, algorithm_type="MANUAL",
        )
        for n, name in enumerate(names.values(), start=1)
    ]  # fmt: skip
    pixels = np.stack([planes == number for number in names], axis=-1).astype(np.uint8)
    Segmentation(
        source_images=slices, pixel_array=pixels, segmentation_type="BINARY", segment_descriptions=segments,
        series_instance_uid=UID(), series_number=9, sop_instance_uid=UID(), instance_number=1, manufacturer="Maker",
        manufacturer_model_name="Drawn", software_versions="1", device_serial_number="1", omit_empty_frames=True,
    ).save_as(folder / "seg.dcm")  # fmt: skip


def plane_stack(labels: np.ndarray, lps_from_index: np.ndarray, slices: list[pydicom.Dataset]) -> np.ndarray:
    """Labels as (slice, row, column), by the position of every pixel."""
    from vertecast.core import geometry

    planes = []
    for one in slices:
        along_row, along_column = np.array(one.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = map(float, one.PixelSpacing)
        rows, columns = np.meshgrid(np.arange(one.Rows), np.arange(one.Columns), indexing="ij")
        points = (
            np.array(one.ImagePositionPatient, float)
            + columns[..., None] * column_mm * along_row
            + rows[..., None] * row_mm * along_column
        )
        index = np.rint(geometry.apply(geometry.inverse(lps_from_index), points)).astype(int)
        planes.append(labels[tuple(np.moveaxis(index, -1, 0))])
    return np.stack(planes)


def test_a_seg_is_found_with_its_ct_and_names_no_patient(folder: Path) -> None:
    (one,) = find_segs(folder)
    assert sorted(one.numbers.values()) == [0, 19, 20, 21, 200]
    assert one.patient == "patient 1"
    assert one.groups == {"sex": "F", "age": "65 to <80", "scanner": "Maker Model 1"}
    assert one.image is not None
    background = read_background(map_of(folder))
    assert background is not None
    assert background.shape == read_map(map_of(folder)).labels.shape


def map_of(folder: Path):
    """The SEG alone: the truth of the simulation beside it would be taken first."""
    own = folder / "own"
    if not own.is_dir():
        own.mkdir()
        shutil.copy(folder / "seg.dcm", own)
        for path in [path for path in folder.rglob("*.dcm") if path.name != "seg.dcm"]:
            shutil.copy(path, own)
    (one,) = find_maps(own)
    return one


def test_a_seg_on_its_ct_is_the_map_it_was_made_of(folder: Path) -> None:
    truth = read_labels(next(folder.rglob("*.nii.gz")))
    one = map_of(folder)
    assert (one.kind, one.patient) == ("seg", "patient 1")
    found = read_map(one)
    numbers = frozenset({19, 20, 21, 200})
    kept = np.where(np.isin(truth.labels, list(numbers)), truth.labels, 0).astype(np.uint8)
    assert sorted(found.labels.shape) == sorted(truth.labels.shape)
    score = score_maps(Mask(labels=kept, lps_from_index=truth.lps_from_index), found, scored=numbers)
    assert {(s.structure, s.level): s.overlap.dice for s in score.structures if s.level} == {
        ("body", level): 1.0 for level in ("T12", "L1", "L2")
    }
    assert next(s for s in score.structures if s.structure == "cement inside").overlap.dice == 1.0


def test_a_seg_without_its_ct_keeps_its_own_grid(folder: Path) -> None:
    alone = read_seg(folder / "seg.dcm", None)
    assert set(np.unique(alone.labels)) == {0, 19, 20, 21, 200}
    score = score_maps(read_map(map_of(folder)), alone)
    assert {one.overlap.dice for one in score.structures} == {1.0}


def test_a_seg_without_known_structures_and_a_file_that_is_none_are_refused(folder: Path, tmp_path: Path) -> None:
    seg = pydicom.dcmread(folder / "seg.dcm")
    for segment in seg.SegmentSequence:
        segment.SegmentLabel = "Liver"
    seg.save_as(tmp_path / "liver.dcm")
    with pytest.raises(UnreadableError, match="has no segment with the name of a vertebra"):
        read_seg(tmp_path / "liver.dcm", None)
    ct = next(path for path in folder.rglob("*.dcm") if path.name != "seg.dcm")
    with pytest.raises(UnreadableError, match="cannot be read as a SEG"):
        read_seg(ct, None)
