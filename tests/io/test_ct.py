"""Reading a CT series: every voxel must prove where it lies."""

from __future__ import annotations

from contextlib import closing
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    CTImageStorage,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from phantoms.dicom import (
    SHAPE,
    SPACING_MM,
    ct_slices,
    enhanced_ct,
    found,
    grid,
    grid_points_mm,
    only_series,
    save,
    set_pixels,
    world_hu,
)
from vertecast.core import geometry
from vertecast.core.errors import GeometryError, UnreadableError, UnsupportedError
from vertecast.io.ct.series import CtSeries, read_ct
from vertecast.io.discover import Catalogue, UnreadablePath, find_studies

OBLIQUE = geometry.rotation([0.3, -0.5, 0.8], 0.6)
STEP = SPACING_MM[2]


def assert_in_place(ct: CtSeries, tolerance_hu: float = 1.01) -> None:
    """Every measured voxel holds the CT number of its place."""
    volume = ct.volume
    expected = world_hu(grid_points_mm(volume.lps_from_index, volume.shape))
    measured = volume.hu != -1024 if volume.outside_hu is not None else np.ones(volume.shape, dtype=bool)
    assert measured.mean() > 0.4
    np.testing.assert_allclose(volume.hu[measured], expected[measured], atol=tolerance_hu)


def read(images: list[Dataset], folder: Path) -> CtSeries:
    return read_ct(only_series(save(images, folder)))


@settings(max_examples=8, deadline=None)
@given(
    axis=st.tuples(*[st.integers(-5, 5)] * 3).filter(any),
    angle_rad=st.floats(-3.1, 3.1),
    order=st.permutations(range(SHAPE[2])),
)
def test_any_orientation_and_any_order_of_files_land_in_place(
    tmp_path_factory: pytest.TempPathFactory, axis: tuple[int, ...], angle_rad: float, order: list[int]
) -> None:
    images = ct_slices(grid(geometry.rotation(axis, angle_rad)))
    ct = read([images[k] for k in order], tmp_path_factory.mktemp("series"))
    assert sorted(ct.volume.shape) == sorted(SHAPE)
    np.testing.assert_allclose(ct.volume.spacing_mm, SPACING_MM, atol=1e-4)
    assert ct.volume.hu.dtype == np.int16
    assert ct.warnings == ()
    assert ct.slice_sop_instance_uids == tuple(image.SOPInstanceUID for image in images)
    assert_in_place(ct)


@pytest.mark.parametrize(
    "axes",
    [
        pytest.param(np.diag([1.0, -1.0, -1.0]), id="columns run to anterior"),
        pytest.param(np.diag([-1.0, -1.0, 1.0]), id="prone"),
        pytest.param(np.diag([-1.0, 1.0, -1.0]), id="feet first"),
        pytest.param(np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]), id="coronal"),
        pytest.param(np.array([[0, 0, -1.0], [1.0, 0, 0], [0, -1.0, 0]]), id="sagittal"),
    ],
)
def test_usual_orientations_land_in_place(tmp_path: Path, axes: np.ndarray) -> None:
    ct = read(ct_slices(grid(axes)), tmp_path)
    np.testing.assert_allclose(ct.volume.lps_from_index, grid(axes), atol=1e-4)
    assert_in_place(ct)


def test_left_handed_stack_is_read_from_its_other_end(tmp_path: Path) -> None:
    images = ct_slices(grid(np.diag([1.0, 1.0, -1.0])))
    ct = read(images, tmp_path)
    assert np.linalg.det(ct.volume.lps_from_index[:3, :3]) > 0
    assert ct.slice_sop_instance_uids == tuple(image.SOPInstanceUID for image in reversed(images))
    assert_in_place(ct)


@pytest.mark.parametrize("shear_mm", [(0.0, -0.9, 0.0), (0.0, 0.7, 0.0), (0.4, 0.6, 0.0)])
def test_tilted_gantry_is_resampled_to_right_angles(tmp_path: Path, shear_mm: tuple[float, float, float]) -> None:
    ct = read(ct_slices(grid(OBLIQUE, shear_mm=shear_mm)), tmp_path)
    assert geometry.is_orthogonal(ct.volume.lps_from_index)
    assert ct.volume.outside_hu == -1024
    assert len(ct.slice_sop_instance_uids) == ct.volume.shape[2]
    assert any("tilt" in warning for warning in ct.warnings)
    # Linear interpolation needs a neighbour on each side: a tilted slice loses at most one row and one column.
    per_slice = np.count_nonzero(ct.volume.hu != -1024, axis=(0, 1))
    assert per_slice.min() >= (SHAPE[0] - 1) * (SHAPE[1] - 1)
    assert_in_place(ct)


def test_slightly_uneven_steps_are_interpolated(tmp_path: Path) -> None:
    uneven = grid(shape=(14, 11, 41), spacing_mm=(1.5, 2.0, 0.5))
    images = ct_slices(uneven, (14, 11, 41))
    kept = [0, 5, 10, 15, 19, 24, 30, 35, 40]
    ct = read([images[k] for k in kept], tmp_path)
    assert any("interpolated to a regular step of 2.50 mm" in warning for warning in ct.warnings)
    assert ct.volume.shape == (14, 11, 9)
    assert ct.slice_sop_instance_uids[4] == images[19].SOPInstanceUID
    assert_in_place(ct)


def test_positions_rounded_by_the_scanner_stay_regular(tmp_path: Path) -> None:
    images = ct_slices(grid(spacing_mm=(1.5, 2.0, 0.625)), intercept=-2000.0)
    for image in images:
        image.ImagePositionPatient = [f"{float(value):.1f}" for value in image.ImagePositionPatient]
    ct = read(images, tmp_path)
    assert ct.warnings == ()
    assert ct.volume.spacing_mm[2] == pytest.approx(0.625, abs=0.01)


@pytest.mark.parametrize(("dropped", "missing"), [([4], 1), ([2, 3], 2), ([2, 5, 6], 3)])
def test_missing_slices_are_counted_and_never_bridged(tmp_path: Path, dropped: list[int], missing: int) -> None:
    images = ct_slices(grid(shape=(14, 11, 15)), (14, 11, 15))
    kept = [image for k, image in enumerate(images) if k not in dropped]
    with pytest.raises(GeometryError, match=f"^{missing} of 15 slices are missing"):
        read(kept, tmp_path)


def test_copies_are_read_once(tmp_path: Path) -> None:
    images = ct_slices(grid())
    save(images[2:5], tmp_path / "copies")
    ct = read(images, tmp_path)
    assert ct.volume.shape == SHAPE
    assert ct.warnings == ("3 images occur twice and were read once",)
    assert_in_place(ct)


def test_different_images_of_one_place_are_refused(tmp_path: Path) -> None:
    images = ct_slices(grid())
    (other,) = ct_slices(grid())[4:5]
    other.SeriesInstanceUID, other.StudyInstanceUID = images[0].SeriesInstanceUID, images[0].StudyInstanceUID
    other.FrameOfReferenceUID = images[0].FrameOfReferenceUID
    other.RescaleIntercept = "-900"
    with pytest.raises(GeometryError, match="claim the same place"):
        read([*images, other], tmp_path)


@pytest.mark.parametrize("offset_steps", [0.0, 0.36, 0.5])
def test_of_repeated_scans_the_latest_is_read(tmp_path: Path, offset_steps: float) -> None:
    """At the same places, a little off, or halfway between them, so that all steps together are even."""
    first = ct_slices(grid())
    later_grid = grid()
    later_grid[:3, 3] += offset_steps * later_grid[:3, 2]
    later = ct_slices(later_grid)
    for number, images in ((9, first), (10, later)):
        for image in images:
            image.SeriesInstanceUID, image.StudyInstanceUID = first[0].SeriesInstanceUID, first[0].StudyInstanceUID
            image.FrameOfReferenceUID = first[0].FrameOfReferenceUID
            image.AcquisitionNumber = number
    save(first, tmp_path / "a")
    ct = read(later, tmp_path)
    assert set(ct.slice_sop_instance_uids) == {image.SOPInstanceUID for image in later}
    assert "repeated scans" in ct.warnings[0]
    assert_in_place(ct)


def test_localizer_and_a_few_reformats_inside_a_series_are_left_out(tmp_path: Path) -> None:
    images = ct_slices(grid())
    strangers = ct_slices(grid(OBLIQUE))[:3]
    strangers[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    for stranger in strangers:
        stranger.SeriesInstanceUID, stranger.StudyInstanceUID = images[0].SeriesInstanceUID, images[0].StudyInstanceUID
    ct = read([*strangers, *images], tmp_path)
    assert len(ct.warnings) == 2
    assert ct.volume.shape == SHAPE
    assert_in_place(ct)


def test_halves_of_different_orientation_are_refused(tmp_path: Path) -> None:
    images = ct_slices(grid())
    others = ct_slices(grid(OBLIQUE))
    for other in others:
        other.SeriesInstanceUID, other.StudyInstanceUID = images[0].SeriesInstanceUID, images[0].StudyInstanceUID
    with pytest.raises(GeometryError, match="mixed"):
        read([*images, *others], tmp_path)


def test_slices_shifted_sideways_are_refused(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for image in images[5:]:
        x, y, z = image.ImagePositionPatient
        image.ImagePositionPatient = [x + 20, y, z]
    with pytest.raises(GeometryError, match="sideways"):
        read(images, tmp_path)


@pytest.mark.parametrize(
    ("keyword", "error"),
    [
        ("ImagePositionPatient", GeometryError),
        ("ImageOrientationPatient", GeometryError),
        ("PixelSpacing", UnsupportedError),
    ],
)
def test_images_without_a_place_are_refused(tmp_path: Path, keyword: str, error: type[Exception]) -> None:
    images = ct_slices(grid())
    del images[3][keyword]
    with pytest.raises(error, match=str(images[3].SOPInstanceUID)):
        read(images, tmp_path)


def test_single_slice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="single slice"):
        read(ct_slices(grid())[:1], tmp_path)


@pytest.mark.parametrize(
    ("slope", "intercept", "signed"), [(1.0, -1024.0, False), (1.0, 0.0, True), (0.5, -1000.0, False), (2.0, 7.5, True)]
)
def test_rescale_of_every_kind(tmp_path: Path, slope: float, intercept: float, signed: bool) -> None:
    ct = read(ct_slices(grid(), slope=slope, intercept=intercept, signed=signed), tmp_path)
    assert_in_place(ct, tolerance_hu=slope / 2 + 1.01)


def test_rescale_may_differ_from_slice_to_slice(tmp_path: Path) -> None:
    images = [
        ct_slices(grid(), series_uid="1.2.3", study_uid="1.2", intercept=-1024.0 - 50 * k)[k] for k in range(SHAPE[2])
    ]
    assert_in_place(read(images, tmp_path))


def test_padding_becomes_air_and_is_told(tmp_path: Path) -> None:
    images = ct_slices(grid(), intercept=-1024, signed=True)
    for image in images:
        stored = image.pixel_array.copy()
        stored[0, :3] = -2000
        set_pixels(image, stored, signed=True)
        image.PixelPaddingValue = -2000
    ct = read(images, tmp_path)
    assert ct.volume.outside_hu == -1024
    assert np.all(ct.volume.hu[:3, 0] == -1024)
    assert np.count_nonzero(ct.volume.hu == -1024) == 3 * SHAPE[2]
    assert_in_place(ct)


def test_padding_value_in_the_range_of_tissue_is_ignored(tmp_path: Path) -> None:
    images = ct_slices(grid(), intercept=0, signed=True)
    for image in images:
        image.PixelPaddingValue = 0
    ct = read(images, tmp_path)
    assert ct.volume.outside_hu is None
    assert "padding" in ct.warnings[0]
    assert_in_place(ct)


def test_bits_above_bits_stored_are_cleared(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for image in images:
        set_pixels(image, image.pixel_array | 0x4000, signed=False, bits_stored=12)
    assert_in_place(read(images, tmp_path))


def test_clipped_values_are_told(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for image in images:
        stored = image.pixel_array.copy()
        stored[4:7, 4:7] = 4095
        set_pixels(image, stored, signed=False, bits_stored=12)
    assert "clipped at 3071 HU" in read(images, tmp_path).warnings[0]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_slices(tmp_path: Path, syntax: str) -> None:
    shape = (40, 36, 9)  # the encoder of JPEG 2000 refuses smaller pictures
    images = ct_slices(grid(OBLIQUE, shape, (0.6, 0.7, 2.5)), shape, signed=syntax == RLELossless)
    for image in images:
        image.compress(syntax)
    assert_in_place(read(images, tmp_path))


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_enhanced_multi_frame(tmp_path: Path, syntax: str | None) -> None:
    image = enhanced_ct(grid(OBLIQUE), order=[4, 0, 8, 1, 7, 2, 6, 3, 5])
    if syntax:
        image.compress(syntax)
    ct = read([image], tmp_path)
    assert ct.volume.shape == SHAPE
    assert (ct.kernel, ct.slice_thickness_mm) == ("B30f", 2.5)
    assert set(ct.slice_sop_instance_uids) == {image.SOPInstanceUID}
    assert_in_place(ct)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_truncated_file_is_refused_by_uid(tmp_path: Path, syntax: str | None) -> None:
    images = ct_slices(grid(shape=(64, 60, 9), spacing_mm=(0.5, 0.5, 2.5)), (64, 60, 9))
    if syntax:
        for image in images:
            image.compress(syntax)
    save(images, tmp_path)
    path = tmp_path / "slice004.dcm"
    path.write_bytes(path.read_bytes()[: -(len(images[4].PixelData) // 2)])
    with pytest.raises(UnreadableError, match=str(images[4].SOPInstanceUID)):
        read_ct(only_series(tmp_path))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_codestream_cut_short_is_refused(tmp_path: Path, syntax: str) -> None:
    images = ct_slices(grid(shape=(64, 60, 3), spacing_mm=(0.5, 0.5, 2.5)), (64, 60, 3))
    for image in images:
        image.compress(syntax)
    whole = next(generate_frames(images[1].PixelData, number_of_frames=1))
    images[1].PixelData = encapsulate([whole[: len(whole) * 9 // 20 * 2]])
    with pytest.raises(UnreadableError, match="cannot be decoded"):
        read(images, tmp_path)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_a_missing_delimiter_at_the_end_costs_nothing_and_a_missing_end_everything(tmp_path: Path, syntax: str) -> None:
    shape = (40, 36, 9)
    images = ct_slices(grid(OBLIQUE, shape, (0.6, 0.7, 2.5)), shape, signed=syntax == RLELossless)
    for image in images:
        image.compress(syntax)
    save(images, tmp_path)
    paths = sorted(tmp_path.glob("*.dcm"))
    for path in paths:
        content = path.read_bytes()
        assert content.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
        path.write_bytes(content[:-8])
    assert_in_place(read_ct(only_series(tmp_path)))
    paths[4].write_bytes(paths[4].read_bytes()[:-2])
    with pytest.raises(UnreadableError, match="cut off within"):
        read_ct(only_series(tmp_path))


def test_missing_pixel_data_is_refused(tmp_path: Path) -> None:
    images = ct_slices(grid())
    del images[2].PixelData
    with pytest.raises(UnreadableError, match="no pixel data"):
        read(images, tmp_path)


def test_empty_image_is_refused(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for image in images:
        image.PixelData = bytes(len(image.PixelData))
    with pytest.raises(UnsupportedError, match="same value"):
        read(images, tmp_path)


def test_values_that_are_no_hounsfield_units_are_refused(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for image in images:
        del image.RescaleIntercept
    with pytest.raises(UnsupportedError, match="not in Hounsfield"):
        read(images, tmp_path)


def test_header_values_of_the_series(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for image in images:
        image.ConvolutionKernel = ["Br40d", "3"]
        image.ContrastBolusAgent = "Iohexol 350"
    ct = read(images, tmp_path)
    assert (ct.kernel, ct.kvp, ct.contrast, ct.slice_thickness_mm) == ("Br40d", 120.0, True, 2.5)
    assert ct.volume.frame_of_reference_uid == images[0].FrameOfReferenceUID


@pytest.mark.parametrize(
    ("agent", "contrast"), [(None, None), ("", None), ("NONE", False), ("without KM", False), ("KM", True)]
)
def test_contrast_is_unknown_unless_the_header_says(tmp_path: Path, agent: str | None, contrast: bool | None) -> None:
    images = ct_slices(grid())
    for image in images:
        if agent is not None:
            image.ContrastBolusAgent = agent
    assert read(images, tmp_path).contrast is contrast


def test_two_slice_steps_are_interpolated_and_called_so(tmp_path: Path) -> None:
    fine = grid(shape=(14, 11, 41), spacing_mm=(1.5, 2.0, 1.0))
    images = ct_slices(fine, (14, 11, 41))
    kept = [*range(0, 24, 2), *range(24, 41, 4)]
    for k in kept:
        images[k].SliceThickness = "2" if k < 24 else "4"
    ct = read([images[k] for k in kept], tmp_path / "thick")
    assert any("slice steps vary from 2.00 to 4.00 mm" in warning for warning in ct.warnings)
    assert_in_place(ct)
    for k in kept:
        images[k].SliceThickness = "2"
    with pytest.raises(GeometryError, match=r"2\.00 mm apart in one part of the series and 4\.00 mm in another"):
        read([images[k] for k in kept], tmp_path / "thin")


def test_a_tilted_gantry_may_state_the_step_of_the_table(tmp_path: Path) -> None:
    images = ct_slices(grid(shear_mm=(0.0, 1.2, 0.0)))
    for image in images:
        image.SpacingBetweenSlices = f"{np.hypot(STEP, 1.2):.3f}"
    assert_in_place(read(images, tmp_path))


def test_a_reformat_that_kept_its_sources_step_is_read_with_a_word(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for image in images:
        image.SpacingBetweenSlices = "0.6"
        image.ImageType = ["DERIVED", "SECONDARY", "MPR"]
    ct = read(images, tmp_path)
    assert any("SpacingBetweenSlices says 0.60 mm; the positions were taken" in warning for warning in ct.warnings)
    assert_in_place(ct)


def test_rows_of_a_detector_are_no_scans(tmp_path: Path) -> None:
    images = ct_slices(grid(shape=(14, 11, 32)), (14, 11, 32))
    for k, image in enumerate(images):
        image.AcquisitionNumber = k % 4 + 1
    ct = read(images, tmp_path)
    assert ct.volume.shape[2] == 32


def test_every_second_slice_gone_is_not_passed_over(tmp_path: Path) -> None:
    images = ct_slices(grid(shape=(14, 11, 21)), (14, 11, 21))[::2]
    ct = read(images, tmp_path / "unstated")
    assert any("lie 5.00 mm apart" in warning and "heights may be wrong" in warning for warning in ct.warnings)
    for image in images:
        image.SpacingBetweenSlices = str(STEP)
    with pytest.raises(GeometryError, match=r"SpacingBetweenSlices says 2\.50 mm"):
        read(images, tmp_path / "stated")


def test_positions_that_the_header_contradicts_are_refused(tmp_path: Path) -> None:
    images = ct_slices(grid(spacing_mm=(1.5, 2.0, 1.5 * STEP)))
    for image in images:
        image.SliceThickness = image.SpacingBetweenSlices = str(STEP)
    with pytest.raises(GeometryError, match=r"3\.75 mm apart"):
        read(images, tmp_path)


def test_signed_values_without_their_sign_are_refused(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for image in images:
        set_pixels(image, image.pixel_array, signed=False, bits_stored=12)
        image.PixelRepresentation = 1
    with pytest.raises(UnreadableError, match="extends no sign"):
        read(images, tmp_path / "unsigned")
    for image in images:
        set_pixels(image, image.pixel_array.astype(np.int16) - 1024, signed=True, bits_stored=12)
        image.RescaleIntercept = "0"
    assert_in_place(read(images, tmp_path / "signed"))


def test_bits_from_high_bit_down_are_the_value(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for image in images:
        stored = image.pixel_array
        set_pixels(image, stored << 4, signed=False, bits_stored=12)
        image.HighBit = 15
    assert_in_place(read(images, tmp_path / "high"))
    for image in images:
        set_pixels(image, stored, signed=False, bits_stored=12)
        image.HighBit = 15
    with pytest.raises(UnreadableError, match="HighBit 15"):
        read(images, tmp_path / "low")


def test_a_file_that_does_not_name_its_transfer_syntax_is_read(tmp_path: Path) -> None:
    folder = save(ct_slices(grid()), tmp_path)
    for path in folder.iterdir():
        image = dcmread(path)
        del image.file_meta.TransferSyntaxUID
        image.save_as(path, enforce_file_format=False, implicit_vr=False, little_endian=True)
    assert_in_place(read_ct(only_series(folder)))


def test_a_decimal_comma_in_the_tube_voltage_costs_the_voltage_alone(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for image in images:
        image.KVP = "120.0"
    folder = save(images, tmp_path)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"120.0", b"120,0"))
    ct = read_ct(only_series(folder))
    assert ct.kvp is None
    assert_in_place(ct)


def test_frames_under_the_class_of_single_slices_are_read(tmp_path: Path) -> None:
    image = enhanced_ct(grid(), list(range(SHAPE[2])))
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = CTImageStorage
    shared = image.SharedFunctionalGroupsSequence[0]
    image.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    del shared.PlaneOrientationSequence
    assert_in_place(read([image], tmp_path))


@pytest.mark.parametrize("groups", [True, False])
def test_a_number_of_frames_that_nothing_places_is_refused(tmp_path: Path, groups: bool) -> None:
    image = enhanced_ct(grid(), list(range(SHAPE[2])))
    image.NumberOfFrames = 2**31 - 1
    if not groups:
        del image.PerFrameFunctionalGroupsSequence
    save([image], tmp_path)
    (problem,) = find_studies([tmp_path])
    assert isinstance(problem, UnreadablePath)
    assert "2147483647 frames" in problem.reason


def test_a_dose_page_with_the_uid_of_the_series_is_left_out(tmp_path: Path) -> None:
    images = ct_slices(grid())
    page = deepcopy(images[0])
    page.SOPClassUID = page.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    page.SOPInstanceUID = page.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    del page.PixelSpacing
    (tmp_path / "0").mkdir()
    save([page], tmp_path / "0")
    save(images, tmp_path / "1")
    ct, dose = sorted(found(tmp_path).series, key=lambda one: -len(one.planes))
    assert_in_place(read_ct(ct))
    with pytest.raises(UnsupportedError, match="secondary capture"):
        read_ct(dose)


def test_scattered_slices_of_their_own_series_stay_apart(tmp_path: Path) -> None:
    images = [ct_slices(grid(shape=(14, 11, 60)), (14, 11, 60))[k] for k in (0, 3, 11, 12, 20, 37, 38, 50, 59)]
    for image in images[1:]:
        image.StudyInstanceUID, image.FrameOfReferenceUID = images[0].StudyInstanceUID, images[0].FrameOfReferenceUID
    for image in images:
        image.SeriesInstanceUID = generate_uid()
    assert len(found(save(images, tmp_path)).series) == 9


def test_slices_that_are_series_of_their_own_make_one_scan(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for image in images:
        image.SeriesInstanceUID = generate_uid()
    ct = read(images, tmp_path)
    assert ct.warnings == ("each of 9 slices is a series of its own; they were read as one scan",)
    assert_in_place(ct)


def test_an_issuer_of_the_id_in_some_files_makes_no_second_patient(tmp_path: Path) -> None:
    images = ct_slices(grid())
    for n, image in enumerate(images):
        image.PatientID = "4711"
        if n < 3:
            image.IssuerOfPatientID = "HERE"
    study = found(save(images, tmp_path / "one"))
    with closing(Catalogue()) as catalogue:
        assert list(catalogue.search([tmp_path / "one"])) == []
        assert [entry.patient_key for entry in catalogue.entries()] == [study.patient_key]
    assert len(study.series) == 1
    assert study.patient_key
    images[0].IssuerOfPatientID = "THERE"
    other = found(save(images, tmp_path / "two"))
    assert "2 patient IDs" in other.rejected[0].reason or "3 patient IDs" in other.rejected[0].reason
