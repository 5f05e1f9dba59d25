from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from phantoms.simulation import make_phantom
from vertecast.core import geometry
from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL, METAL_LABEL, Compartment, Level
from vertecast.core.errors import OutputError
from vertecast.lab.simulation.ct import studies
from vertecast.lab.simulation.ct.acquisition import ScannerSettings
from vertecast.lab.simulation.ct.studies import ScanPlan, SimulatedCase, TreatmentPlan, make_case, write_study
from vertecast.lab.simulation.ct.truth import label_map, truth
from vertecast.lab.simulation.dicom_out import deterministic_uid

PHANTOM = make_phantom(2.0, wedge_index=1)
SETTINGS = ScannerSettings(pixel_mm=1.7, matrix=88, slice_thickness_mm=3.0, slice_spacing_mm=3.0, noise_hu=8.0)
TILTED = ScannerSettings(
    pixel_mm=1.6, matrix=88, slice_thickness_mm=4.0, slice_spacing_mm=4.0, tilt_deg=12.0, round_field=True
)
TREATED = TreatmentPlan(
    vertebra_index=1,
    volume_ml=4.0,
    leaks=(Compartment.CANAL, Compartment.DISC_SUPERIOR),
    leak_volumes_ml=(0.8, 1.2),
)
PLANS = (
    ScanPlan(phase="pre", settings=SETTINGS),
    ScanPlan(phase="post", settings=TILTED, treatments=(TREATED,), hardware=("screws and rods",)),
)


def build(seed: int = 7) -> SimulatedCase:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "draw", lambda spine, grid, shape, rng, steady: PHANTOM)
        return make_case(seed, "patient", PHANTOM.spine, (0, 3), PLANS)


@pytest.fixture(scope="module")
def case() -> SimulatedCase:
    return build()


@pytest.fixture(scope="module")
def written(case: SimulatedCase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("simulated")
    write_study(case, directory)
    return directory


def slices_of(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]


@pytest.mark.parametrize("number", [0, 1])
def test_the_series_read_back_is_the_scan(case: SimulatedCase, written: Path, number: int) -> None:
    scan = case.scans[number]
    images = slices_of(written / "studies" / f"000007_{scan.phase}")
    assert len(images) == scan.volume.shape[2]
    for image, k in zip(images, reversed(range(len(images))), strict=True):
        hu = image.pixel_array.astype(int) * int(image.RescaleSlope) + int(image.RescaleIntercept)
        assert np.array_equal(hu.T, scan.volume.hu[:, :, k])
        corner = geometry.apply(scan.volume.lps_from_index, [0, 0, k])
        assert [float(v) for v in image.ImagePositionPatient] == pytest.approx(corner, abs=1e-4)
    row, column = np.array(images[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    assert row == pytest.approx(geometry.unit(scan.volume.lps_from_index[:3, 0]), abs=1e-5)
    assert column == pytest.approx(geometry.unit(scan.volume.lps_from_index[:3, 1]), abs=1e-5)


def test_both_studies_are_of_one_invented_patient(written: Path) -> None:
    pre, post = (slices_of(written / "studies" / f"000007_{phase}")[0] for phase in ("pre", "post"))
    assert pre.PatientID == post.PatientID
    assert str(pre.PatientName).startswith("Phantom^")
    assert pre.StudyInstanceUID != post.StudyInstanceUID
    assert pre.FrameOfReferenceUID != post.FrameOfReferenceUID
    assert post.PixelPaddingValue + int(post.RescaleIntercept) == TILTED.outside_hu


def test_the_truth_is_complete_and_agrees_with_itself(case: SimulatedCase, written: Path) -> None:
    scan = case.scans[1]
    stored = json.loads((written / "truth" / f"{scan.study_instance_uid}.json").read_text())
    assert stored == json.loads(json.dumps(truth(case, scan)))
    l1 = next(v for v in stored["vertebrae"] if v["level"] == "L1")
    points = l1["six_points_lps_mm"]
    for place, height in l1["heights"].items():
        span = np.linalg.norm(np.subtract(points["superior"][place], points["inferior"][place]))
        assert span == pytest.approx(height, abs=1e-6)
    assert l1["treated"]
    assert l1["genant_grade"] == 2
    assert l1["height_loss"] == pytest.approx(1 - l1["heights"]["anterior"] / l1["intact_heights"]["anterior"])
    cement, leaks = stored["cement"][0], stored["leaks"]
    assert cement["volume_ml"] == pytest.approx(cement["volume_inside_ml"] + sum(leak["volume_ml"] for leak in leaks))
    assert {leak["compartment"] for leak in leaks} == {"canal", "disc_superior"}
    assert stored["hardware"][0]["kind"] == "screws and rods"


@pytest.mark.parametrize("number", [0, 1])
def test_truth_and_labels_lie_on_the_image(case: SimulatedCase, number: int) -> None:
    scan = case.scans[number]
    labels = label_map(scan).labels
    index_from_lps = geometry.inverse(scan.volume.lps_from_index)
    for vertebra in truth(case, scan)["vertebrae"]:
        if not vertebra["complete"]:
            continue
        i, j, k = np.rint(geometry.apply(index_from_lps, vertebra["center_lps_mm"])).astype(int)
        assert labels[i, j, k] in {Level[vertebra["level"]], CEMENT_INSIDE_LABEL, METAL_LABEL}
    for leak in truth(case, scan)["leaks"]:
        where = geometry.apply(scan.volume.lps_from_index, np.argwhere(labels == CEMENT_LEAKED_LABEL))
        assert np.linalg.norm(where - leak["center_lps_mm"], axis=1).min() < 6


def test_labels_hold_the_volume_of_the_truth_and_cement_is_bright(case: SimulatedCase) -> None:
    pre, post = case.scans
    assert CEMENT_INSIDE_LABEL not in label_map(pre).labels
    labels = label_map(post).labels
    inside = labels == CEMENT_INSIDE_LABEL
    volume_ml = inside.sum() * geometry.voxel_volume_mm3(post.volume.lps_from_index) / 1000
    assert volume_ml == pytest.approx(post.treatments[0].volume_inside_ml, rel=0.2)
    assert post.volume.hu[inside].mean() > 700
    assert (labels == METAL_LABEL).any()


def test_the_nifti_labels_lie_where_the_dicom_lies(case: SimulatedCase, written: Path) -> None:
    scan = case.scans[1]
    image = nibabel.load(written / "truth" / f"{scan.study_instance_uid}.nii.gz")
    assert image.shape == scan.volume.shape
    assert geometry.LPS_FROM_RAS @ image.affine == pytest.approx(scan.volume.lps_from_index, abs=1e-4)


def test_a_vertebra_cut_by_the_last_slice_is_not_complete(case: SimulatedCase) -> None:
    by_level = {v["level"]: v["complete"] for v in truth(case, case.scans[0])["vertebrae"]}
    assert by_level["L1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "draw", lambda spine, grid, shape, rng, steady: PHANTOM)
        z = PHANTOM.spine.vertebrae[0].lps_from_local[2, 3]
        patch.setattr(studies, "acquire", _acquire_below(z))
        cut = make_case(7, "ct", PHANTOM.spine, (0, 3), PLANS[:1])
    assert not {v["level"]: v["complete"] for v in truth(cut, cut.scans[0])["vertebrae"]}["T12"]


def _acquire_below(z_mm: float):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    from vertecast.lab.simulation.ct.acquisition import acquire

    def short(hu, affine, rng, *, settings):  # type: ignore[no-untyped-def]
        lift = affine[2, 3] - PHANTOM.lps_from_index[2, 3]
        return acquire(hu, affine, rng, settings=replace(settings, z_range_mm=(affine[2, 3] + 2, float(z_mm + lift))))

    return short


def test_the_same_seed_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_study(build(), tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    for path in files:
        assert (tmp_path / path).read_bytes() == (written / path).read_bytes()


def test_uids_are_valid_and_depend_on_all_their_parts() -> None:
    uids = {deterministic_uid(1, 2), deterministic_uid(12), deterministic_uid(1, 3)}
    assert len(uids) == 3
    assert all(pydicom.uid.UID(uid).is_valid for uid in uids)


def test_a_directory_that_cannot_be_written_is_named(case: SimulatedCase, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_study(case, blocked, labels=False)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_the_standard_s_own_checker_finds_no_error(written: Path) -> None:
    for phase in ("pre", "post"):
        first = min((written / "studies" / f"000007_{phase}").glob("*.dcm"))
        answer = subprocess.run(["dciodvfy", str(first)], capture_output=True, text=True, check=False)
        assert "Error" not in answer.stdout + answer.stderr
