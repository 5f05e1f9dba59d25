"""Choosing among the series of a study, and saying why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
)

from phantoms.dicom import CENTRE_MM, ct_slices, enhanced_ct, found, grid, save
from vertecast.core import geometry
from vertecast.core.results import SeriesResult
from vertecast.io.ct.selection import BONE, EXTREME, STANDARD, UNKNOWN, kernel_class
from vertecast.io.ct.series import choose_ct_series

STUDY = "1.2.840.1"
SAGITTAL = np.array([[0, 0, -1.0], [1.0, 0, 0], [0, -1.0, 0]])
COLUMNS, ROWS = 6, 5


def series(
    uid: str,
    *,
    step_mm: float = 2.5,
    length_mm: float = 80.0,
    shift_mm: float = 0.0,
    kernel: str = "B40f",
    image_type: str = "ORIGINAL\\PRIMARY\\AXIAL",
    edit: Callable[[Dataset], None] | None = None,
) -> list[Dataset]:
    """An axial series of the one study and frame of reference."""
    shape = (COLUMNS, ROWS, round(length_mm / step_mm))
    lps_from_index = grid(shape=shape, spacing_mm=(20.0, 21.0, step_mm))
    lps_from_index[2, 3] += shift_mm
    images = ct_slices(lps_from_index, shape, study_uid=STUDY, series_uid=uid, intercept=-9000.0)
    for image in images:
        image.ConvolutionKernel, image.ImageType = kernel, image_type.split("\\")
        if edit is not None:
            edit(image)
    return images


def choose(tmp_path: Path, *all_series: list[Dataset]) -> tuple[list[str], dict[str, SeriesResult]]:
    for images in all_series:
        save(images, tmp_path / images[0].SeriesInstanceUID)
    chosen, others = choose_ct_series(found(tmp_path))
    assert len(chosen) + len(others) == len(all_series)
    return [one.series_instance_uid for one in chosen], {other.series_instance_uid: other for other in others}


def test_thin_standard_original_is_chosen_and_the_others_say_why(tmp_path: Path) -> None:
    chosen, others = choose(
        tmp_path,
        series("1.1", step_mm=5.0),
        series("1.2", kernel="B70f"),
        series("1.3"),
        series("1.4", step_mm=1.0, length_mm=30.0),
        series("1.5", image_type="DERIVED\\SECONDARY\\MPR"),
    )
    assert chosen == ["1.3"]
    assert set(others) == {"1.1", "1.2", "1.4", "1.5"}
    assert all(other.status == "skipped" and "series 1.3" in other.reason for other in others.values())
    assert "kernel B70f, 2.5 mm slices; chosen: kernel B40f, 2.5 mm slices" in others["1.2"].reason
    assert "reformat" in others["1.5"].reason


def test_thin_reformats_beat_thick_originals(tmp_path: Path) -> None:
    shape = (40, 50, 12)
    sagittal = ct_slices(
        grid(SAGITTAL, shape, (2.5, 2.0, 2.0)), shape, study_uid=STUDY, series_uid="1.2", intercept=-9000.0
    )
    for image in sagittal:
        image.ImageType = ["DERIVED", "SECONDARY", "MPR"]
    chosen, _ = choose(tmp_path, series("1.1", step_mm=6.0), sagittal)
    assert chosen == ["1.2"]


def test_thickness_counts_where_slices_overlap(tmp_path: Path) -> None:
    def thick(image: Dataset) -> None:
        image.SliceThickness = "5"

    chosen, _ = choose(tmp_path, series("1.1", step_mm=2.5, edit=thick), series("1.2", step_mm=4.0))
    assert chosen == ["1.2"]


def test_series_of_another_part_of_the_patient_is_read_too(tmp_path: Path) -> None:
    chosen, others = choose(
        tmp_path,
        series("1.1", length_mm=120.0, step_mm=4.0),
        series("1.2", length_mm=80.0, step_mm=4.0, shift_mm=90.0),
        series("1.3", length_mm=80.0, step_mm=4.0, shift_mm=20.0),
    )
    assert chosen == ["1.1", "1.2"]
    assert set(others) == {"1.3"}


def test_series_with_a_hole_gives_way_to_a_whole_one(tmp_path: Path) -> None:
    broken = series("1.1")
    chosen, others = choose(tmp_path, broken[:12] + broken[14:], series("1.2", step_mm=4.0))
    assert chosen == ["1.2"]
    assert others["1.1"].status == "failed"
    assert others["1.1"].reason.startswith("2 of 32 slices are missing")


def _class(sop_class: str, modality: str) -> Callable[[Dataset], None]:
    def edit(image: Dataset) -> None:
        image.SOPClassUID, image.Modality = sop_class, modality
        image.file_meta.MediaStorageSOPClassUID = sop_class

    return edit


def _set(**values: object) -> Callable[[Dataset], None]:
    def edit(image: Dataset) -> None:
        for keyword, value in values.items():
            setattr(image, keyword, value)

    return edit


@pytest.mark.parametrize(
    ("edit", "kind", "words"),
    [
        (_set(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "ct", "is a localizer"),
        (_set(ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"]), "ct", "maximum intensity projection"),
        (_set(RescaleType="Z_EFF"), "ct", "not Hounsfield units"),
        (_set(SamplesPerPixel=3), "ct", "colour"),
        (_class(SecondaryCaptureImageStorage, "CT"), "ct", "secondary capture"),
        (_class(MRImageStorage, "MR"), "other", "modality MR"),
        (_class(ComprehensiveSRStorage, "SR"), "other", "structured report"),
        (_class(XRayAngiographicImageStorage, "XA"), "radiograph", "modality XA"),
        (_set(Rows=None), "ct", "no pixel data"),
    ],
)
def test_what_is_no_ct_is_skipped_with_its_reason(
    tmp_path: Path, edit: Callable[[Dataset], None], kind: str, words: str
) -> None:
    chosen, others = choose(tmp_path, series("1.1", length_mm=20.0), series("1.2", length_mm=20.0, edit=edit))
    assert chosen == ["1.1"]
    assert (others["1.2"].kind, others["1.2"].status) == (kind, "skipped")
    assert words in others["1.2"].reason


def test_cine_is_called_so(tmp_path: Path) -> None:
    def edit(image: Dataset) -> None:
        _class(XRayAngiographicImageStorage, "XA")(image)
        image.NumberOfFrames = 7

    _, others = choose(tmp_path, series("1.1", length_mm=2.5, edit=edit))
    assert others["1.1"].kind == "cine"


@pytest.mark.parametrize(("length_mm", "words"), [(8.0, "covers 8 mm"), (1.0, "single slice")])
def test_too_little_of_the_patient_is_skipped(tmp_path: Path, length_mm: float, words: str) -> None:
    chosen, others = choose(tmp_path, series("1.1", step_mm=1.0, length_mm=length_mm))
    assert chosen == []
    assert words in others["1.1"].reason


def test_enhanced_ct_is_a_candidate(tmp_path: Path) -> None:
    image = enhanced_ct(grid(), order=list(range(9)))
    chosen, others = choose(tmp_path, [image])
    assert chosen == [image.SeriesInstanceUID]
    assert others == {}


def test_study_without_ct_chooses_nothing(tmp_path: Path) -> None:
    chosen, others = choose(tmp_path, series("1.1", length_mm=5.0, edit=_class(MRImageStorage, "MR")))
    assert chosen == []
    assert len(others) == 1


def test_grid_of_the_helpers_is_centred() -> None:
    np.testing.assert_allclose(geometry.apply(grid(shape=(3, 5, 7)), [1, 2, 3]), CENTRE_MM)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("B30f", STANDARD),
        ("Br40d", STANDARD),
        ("I50s", STANDARD),
        ("B70f", BONE),
        ("Br64", BONE),
        ("B80f", EXTREME),
        ("B10f", EXTREME),
        ("STANDARD", STANDARD),
        ("SOFT", STANDARD),
        ("BONE", BONE),
        ("BONEPLUS", BONE),
        ("LUNG", EXTREME),
        ("EDGE", EXTREME),
        ("B", STANDARD),
        ("YB", BONE),
        ("L", EXTREME),
        ("FC08", STANDARD),
        ("FC13", STANDARD),
        ("FC30", BONE),
        ("FC81", EXTREME),
        ("", UNKNOWN),
        ("something", UNKNOWN),
    ],
)
def test_kernels(kernel: str, expected: int) -> None:
    assert kernel_class(kernel) == expected
