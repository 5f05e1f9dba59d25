"""The label map on the CT's own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vertecast.core import anatomy, geometry
from vertecast.core.anatomy import Level
from vertecast.core.images import Volume
from vertecast.core.results import LevelAssignment
from vertecast.report import labels

LEVELS = ("T11", "T12", "L1", "L2", "L3")
FRACTURED = "L1"
L1 = 2


def voxels_mm3(case, *wanted: int) -> float:
    count = np.isin(case.labels.labels, wanted).sum()
    return float(count * geometry.voxel_volume_mm3(case.labels.lps_from_index))


def test_it_lies_on_the_grid_of_the_ct(case) -> None:
    assert case.labels.labels.shape == case.volume.shape
    assert case.labels.labels.dtype == np.uint8
    np.testing.assert_array_equal(case.labels.lps_from_index, case.volume.lps_from_index)


def test_every_body_has_its_number_where_it_is(case) -> None:
    index_from_lps = geometry.inverse(case.volume.lps_from_index)
    for n, name in enumerate(LEVELS):
        places = {int(Level[name]): [5.0, 2.0, 1.0], int(Level[name]) + 100: [0.0, 33.0, 0.0]}
        if name == FRACTURED:
            places[anatomy.CEMENT_INSIDE_LABEL] = [-6.0, -1.0, 0.0]
            places[anatomy.CEMENT_LEAKED_LABEL] = [2.0, -2.0, 14.0]
        for number, local_mm in places.items():
            at = np.rint(geometry.apply(index_from_lps, geometry.apply(case.column.frame(n), local_mm))).astype(int)
            assert case.labels.labels[tuple(at)] == number


def test_volumes_survive_the_change_of_grid(case) -> None:
    body = (case.segmentation.instance == L1 + 1) & (case.segmentation.structure == 1)
    expected = body.sum() * case.segmentation.spacing_mm**3
    assert voxels_mm3(case, int(Level[FRACTURED]), anatomy.CEMENT_INSIDE_LABEL) == pytest.approx(expected, rel=0.05)
    leaked = (case.cement_labels == anatomy.CEMENT_LEAKED_LABEL).sum() * case.segmentation.spacing_mm**3
    assert voxels_mm3(case, anatomy.CEMENT_LEAKED_LABEL) == pytest.approx(leaked, rel=0.1)


def test_the_outline_is_finer_than_the_working_grid(case) -> None:
    """Nearest neighbour gives stairs of the 2 mm grid; the 0.5 surface lies closer to the true wall."""
    n = LEVELS.index("L3")
    grid = geometry.scaling_affine([0.8, 0.5, 0.6], case.column.frame(n)[:3, 3] - 25.0)
    volume = Volume(hu=np.zeros((63, 101, 84), np.int16), lps_from_index=grid)
    found = labels.label_map(case.segmentation, case.levels, case.cement_labels, volume).labels == Level.L3
    own = ((case.segmentation.instance == n + 1) & (case.segmentation.structure == 1)).astype(np.uint8)
    stairs = geometry.resample(own, case.segmentation.lps_from_index, grid, volume.shape, order=0) > 0
    x, y, z = case.column.local(n, geometry.apply(grid, np.moveaxis(np.indices(found.shape), 0, -1)))
    true = case.column.distance_mm(n, x, y, z) >= 0
    assert (found != true).sum() < 0.6 * (stairs != true).sum()
    assert found.sum() == pytest.approx(true.sum(), rel=0.03)


@pytest.mark.parametrize("slab_voxels", [1, 4_000, 10**9])
def test_slabs_do_not_show(case, slab_voxels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "_SLAB_VOXELS", slab_voxels)
    again = labels.label_map(case.segmentation, case.levels, case.cement_labels, case.volume)
    np.testing.assert_array_equal(again.labels, case.labels.labels)


def test_unknown_levels_and_an_image_elsewhere(case) -> None:
    unknown = [LevelAssignment(name=f"V{n}", source="unknown", confidence=0.5) for n in range(1, 6)]
    found = labels.label_map(case.segmentation, unknown, case.cement_labels, case.volume)
    assert set(np.unique(found.labels)) == {0, *range(41, 46), *range(141, 146), 200, 201}
    far = geometry.affine(case.volume.lps_from_index[:3, :3], [5000.0, 0.0, 0.0])
    elsewhere = Volume(hu=case.volume.hu, lps_from_index=far)
    assert not labels.label_map(case.segmentation, unknown, case.cement_labels, elsewhere).labels.any()


def test_what_does_not_fit_is_refused(case) -> None:
    with pytest.raises(ValueError, match="4 levels for 5"):
        labels.label_map(case.segmentation, case.levels[:4], case.cement_labels, case.volume)
    with pytest.raises(ValueError, match="shape"):
        labels.label_map(case.segmentation, case.levels, case.cement_labels[1:], case.volume)
    for name in ("L7", "V0", "V60", "Vx", ""):
        with pytest.raises(ValueError, match="no level"):
            labels.level_number(name)


def test_every_number_has_a_name(case) -> None:
    numbers = set(np.unique(case.labels.labels).tolist()) - {0}
    names = {anatomy.label_name(number) for number in numbers}
    assert {"L1", "L1 posterior", "cement inside", "cement leaked"} <= names
    assert labels.level_number("T13") == 28


def test_nifti_keeps_voxels_and_place(case, tmp_path: Path) -> None:
    import nibabel

    labels.write_nifti(case.labels, tmp_path / "labels_1.nii.gz")
    image = nibabel.load(tmp_path / "labels_1.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), case.labels.labels)
    assert image.get_data_dtype() == np.uint8
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    np.testing.assert_allclose(lps, case.labels.lps_from_index, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"
