"""NIfTI, MetaImage and NRRD: the same place as the file says, or a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from phantoms.dicom import SHAPE, found, grid, grid_points_mm, world_hu
from vertecast.core import geometry
from vertecast.core.errors import GeometryError, InputError, UnreadableError, UnsupportedError
from vertecast.io.ct.series import CtSeries, read_ct

OBLIQUE = grid(geometry.rotation([0.3, -0.5, 0.8], 0.6))
TRUTH = world_hu(grid_points_mm(OBLIQUE, SHAPE))


def read(path: Path) -> CtSeries:
    return read_ct(found(path).series[0])


def save_nifti(path: Path, values: np.ndarray, lps_from_index: np.ndarray = OBLIQUE, unit: str = "mm") -> Path:
    image: Any = nibabel.Nifti1Image(values, geometry.LPS_FROM_RAS @ lps_from_index)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def save_itk(path: Path, values: np.ndarray, lps_from_index: np.ndarray = OBLIQUE) -> Path:
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    spacing = geometry.spacing_mm(lps_from_index)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps_from_index[:3, 3].tolist())
    image.SetDirection((lps_from_index[:3, :3] / spacing).ravel().tolist())
    SimpleITK.WriteImage(image, str(path))
    return path


def assert_in_place(ct: CtSeries) -> None:
    volume = ct.volume
    expected = world_hu(grid_points_mm(volume.lps_from_index, volume.shape))
    measured = volume.hu != -1024 if volume.outside_hu is not None else np.ones(volume.shape, dtype=bool)
    assert measured.mean() > 0.4
    np.testing.assert_allclose(volume.hu[measured], expected[measured], atol=1.01)


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_nifti_lands_in_place(tmp_path: Path, name: str, dtype: type) -> None:
    ct = read(save_nifti(tmp_path / name, np.rint(TRUTH).astype(dtype)))
    assert (ct.series_instance_uid, ct.study_instance_uid) == ("ct", "ct")
    assert ct.volume.shape == SHAPE
    assert ct.slice_sop_instance_uids == ("",) * SHAPE[2]
    np.testing.assert_allclose(ct.volume.lps_from_index, OBLIQUE, atol=1e-3)
    assert_in_place(ct)


@pytest.mark.parametrize("name", ["ct.mha", "ct.mhd", "ct.nrrd"])
def test_metaimage_and_nrrd_land_in_place(tmp_path: Path, name: str) -> None:
    ct = read(save_itk(tmp_path / name, np.rint(TRUTH).astype(np.int16)))
    np.testing.assert_allclose(ct.volume.lps_from_index, OBLIQUE, atol=1e-3)
    assert_in_place(ct)


def test_flipped_axes_keep_their_place(tmp_path: Path) -> None:
    left_handed = grid(np.diag([-1.0, 1.0, 1.0]))
    values = np.rint(world_hu(grid_points_mm(left_handed, SHAPE))).astype(np.int16)
    assert_in_place(read(save_nifti(tmp_path / "ct.nii", values, left_handed)))


def test_scale_and_unit_of_the_header_are_used(tmp_path: Path) -> None:
    in_metres = OBLIQUE.copy()
    in_metres[:3] /= 1000
    path = save_nifti(tmp_path / "ct.nii", np.rint((TRUTH + 1024) * 2).astype(np.int16), in_metres, "meter")
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.5, -1024.0], "<f4").tobytes()  # scl_slope and scl_inter of NIfTI-1
    path.write_bytes(bytes(raw))
    ct = read(path)
    np.testing.assert_allclose(ct.volume.lps_from_index, OBLIQUE, atol=1e-3)
    assert_in_place(ct)


def test_sheared_volume_is_resampled_to_right_angles(tmp_path: Path) -> None:
    sheared = grid(shear_mm=(0.0, 0.8, 0.0))
    values = np.rint(world_hu(grid_points_mm(sheared, SHAPE))).astype(np.int16)
    ct = read(save_nifti(tmp_path / "ct.nii", values, sheared))
    assert geometry.is_orthogonal(ct.volume.lps_from_index)
    assert "sheared by 17.7 degrees" in ct.warnings[0]
    assert_in_place(ct)


def _with_nan() -> np.ndarray:
    values = TRUTH.astype(np.float32)
    values[3, 4, 5] = np.nan
    return values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param(_with_nan(), "1 voxels are NaN", id="NaN"),
        pytest.param(np.zeros(SHAPE, np.int16), "same value", id="zero"),
        pytest.param((TRUTH > 300).astype(np.uint8), "label map", id="labels"),
        pytest.param((TRUTH + 1024).astype(np.uint16), "not in Hounsfield units", id="offset"),
        pytest.param((TRUTH - TRUTH.min()).astype(np.float32) / 2000, "not in Hounsfield units", id="scaled to one"),
        pytest.param(np.stack([TRUTH, TRUTH], axis=-1).astype(np.float32), "14 × 11 × 9 × 2", id="time series"),
        pytest.param(TRUTH[:, :, :1].astype(np.int16), "14 × 11 × 1", id="one slice"),
    ],
)
def test_what_is_no_ct_volume_is_refused(tmp_path: Path, values: np.ndarray, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        read(save_nifti(tmp_path / "x.nii.gz", values))


def test_nifti_without_orientation_is_refused(tmp_path: Path) -> None:
    image: Any = nibabel.Nifti1Image(np.rint(TRUTH).astype(np.int16), None)
    nibabel.save(image, tmp_path / "x.nii")
    with pytest.raises(GeometryError, match="no orientation"):
        read(tmp_path / "x.nii")


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.mha", "x.nrrd"])
@pytest.mark.parametrize("kept_bytes", [0, 100, 900])
def test_truncated_file_is_refused(tmp_path: Path, name: str, kept_bytes: int) -> None:
    values = np.rint(TRUTH).astype(np.int16)
    path = tmp_path / name
    (save_nifti if ".nii" in name else save_itk)(path, values)
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(UnreadableError, match="damaged"):
        read(path)


def test_header_without_its_data_file_is_refused(tmp_path: Path) -> None:
    path = save_itk(tmp_path / "x.mhd", np.rint(TRUTH).astype(np.int16))
    (tmp_path / "x.raw").unlink()
    with pytest.raises(InputError, match="missing"):
        read(path)


def test_a_nifti_whose_affines_contradict_each_other_is_refused(tmp_path: Path) -> None:
    ras = geometry.LPS_FROM_RAS @ OBLIQUE
    smaller, mirrored = ras.copy(), ras.copy()
    smaller[:3, :3] /= geometry.spacing_mm(OBLIQUE)
    mirrored[:3, 0] *= -1
    for name, sform, words in (("size", smaller, "1 × 1 × 1 mm"), ("side", mirrored, "left and right")):
        image: Any = nibabel.Nifti1Image(np.rint(TRUTH).astype(np.int16), ras)
        image.set_qform(ras, 1)
        path = tmp_path / f"{name}.nii"
        nibabel.save(image, path)
        raw = bytearray(path.read_bytes())
        raw[280:328] = sform[:3].astype("<f4").tobytes()  # srow_x, srow_y and srow_z of NIfTI-1
        path.write_bytes(bytes(raw))
        with pytest.raises(GeometryError, match=words):
            read(path)


def test_a_nifti_of_two_poses_is_read(tmp_path: Path) -> None:
    """Registered to another scan: sform and qform differ by a turn, not in sizes or sides."""
    image: Any = nibabel.Nifti1Image(np.rint(TRUTH).astype(np.int16), geometry.LPS_FROM_RAS @ OBLIQUE)
    turned = geometry.affine(geometry.rotation([0, 0, 1], 0.3), [4.0, 5.0, 6.0]) @ geometry.LPS_FROM_RAS @ OBLIQUE
    image.set_qform(turned, 1)
    image.set_sform(geometry.LPS_FROM_RAS @ OBLIQUE, 2)
    nibabel.save(image, tmp_path / "ct.nii")
    assert_in_place(read(tmp_path / "ct.nii"))


@pytest.mark.parametrize("scaling", [(1.0, np.nan), (1.0, np.inf)])
def test_a_nifti_with_a_broken_scaling_is_refused(tmp_path: Path, scaling: tuple[float, float]) -> None:
    path = save_nifti(tmp_path / "ct.nii", np.rint(TRUTH).astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array(scaling, "<f4").tobytes()
    path.write_bytes(bytes(raw))
    with pytest.raises(UnreadableError, match="copy it again"):
        read(path)


@pytest.mark.parametrize("missing", ["ElementSpacing", "TransformMatrix"])
@pytest.mark.parametrize("name", ["x.mha", "x.mhd"])
def test_a_metaimage_without_size_or_side_is_refused(tmp_path: Path, name: str, missing: str) -> None:
    path = save_itk(tmp_path / name, np.rint(TRUTH).astype(np.int16))
    head, rest = path.read_bytes().split(missing.encode(), 1)
    path.write_bytes(head + rest[rest.index(b"\n") + 1 :])
    with pytest.raises(GeometryError, match="in the patient, so that nothing"):
        read(path)


@pytest.mark.parametrize("sizes", ["", "spacings: 1.5 2 2.5\n"])
def test_an_nrrd_without_a_space_is_refused(tmp_path: Path, sizes: str) -> None:
    counts = " ".join(str(count) for count in SHAPE)
    head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {counts}\n{sizes}encoding: raw\nendian: little\n\n"
    path = tmp_path / "x.nrrd"
    path.write_bytes(head.encode() + np.rint(TRUTH).astype("<i2").tobytes(order="F"))
    with pytest.raises(GeometryError, match="in the patient, so that nothing"):
        read(path)


def test_a_qform_that_cannot_be_is_passed_over_beside_a_sform(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "ct.nii", np.rint(TRUTH).astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[252:254] = np.array([1], "<i2").tobytes()  # qform_code
    raw[256:268] = np.array([0.72, 0.72, 0.0], "<f4").tobytes()  # a quaternion longer than 1
    path.write_bytes(bytes(raw))
    assert_in_place(read(path))
    raw[254:256] = np.array([0], "<i2").tobytes()  # sform_code
    path.write_bytes(bytes(raw))
    with pytest.raises(InputError, match="again"):
        read(path)


@pytest.mark.parametrize("named", ["/etc/hostname", "../other/ct.raw", "LIST\n/etc/hostname"])
@pytest.mark.parametrize(
    ("suffix", "key"), [(".mhd", "ElementDataFile = "), (".mha", "ElementDataFile = "), (".nhdr", "data file: ")]
)
def test_a_header_that_names_a_file_elsewhere_is_refused(tmp_path: Path, named: str, suffix: str, key: str) -> None:
    whole = save_itk(tmp_path / f"ct{'.mhd' if suffix == '.mha' else suffix}", TRUTH.astype(np.int16))
    assert read(whole).volume.shape == SHAPE
    lines = [line for line in whole.read_text().splitlines() if not line.startswith(key)]
    (tmp_path / "other").mkdir()
    moved = tmp_path / "other" / f"ct{suffix}"
    moved.write_text("\n".join([*lines, key + named, ""]))
    with pytest.raises(UnreadableError, match="outside its folder"):
        read(moved)
    moved.write_text("\n".join([lines[0], *["Comment = " + "x" * 99] * 700, *lines[1:], key + named, ""]))
    with pytest.raises(UnreadableError):
        read(moved)
