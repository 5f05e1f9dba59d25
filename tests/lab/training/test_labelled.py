"""What a label map says of each voxel, and what it leaves open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import phantoms.labelled as made
from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.errors import ConfigurationError
from vertecast.core.images import Mask, Volume
from vertecast.lab.simulation.ct.crops import CropSettings
from vertecast.lab.training.examples import labelled_crop
from vertecast.lab.training.labelled import ANYTHING, VERTEBRA, case_tensors, prepare_cases
from vertecast.lab.training.sources import FolderSource, find_cases
from vertecast.segmentation.label_map.schemes import label_scheme

SPACING_MM = 2.5
PATIENT = made.draw(4)
BODY, ARCH, SACRUM = (1 << s for s in (Structure.BODY, Structure.POSTERIOR, Structure.SACRUM))


def _case(labels: np.ndarray, scheme: str, outlines: str = "auto") -> dict[str, np.ndarray]:
    volume = Volume(hu=np.rint(PATIENT.hu).astype(np.int16), lps_from_index=made.lps_from_index())
    mask = Mask(labels=labels, lps_from_index=made.lps_from_index())
    return case_tensors(volume, mask, label_scheme(scheme), spacing_mm=SPACING_MM, outlines=outlines)


def _true_structure(case: dict[str, np.ndarray]) -> np.ndarray:
    """The drawn structures on the case's grid."""
    grid, shape = geometry.aligned_grid(made.lps_from_index(), PATIENT.structure.shape, SPACING_MM)
    assert shape == case["allowed"].shape
    return geometry.resample(PATIENT.structure, made.lps_from_index(), grid, shape, order=0).astype(np.uint8)


@pytest.mark.parametrize("scheme", ["vertecast", "verse"])
def test_the_truth_is_never_ruled_out(scheme: str) -> None:
    labels = made.vertecast_labels(PATIENT) if scheme == "vertecast" else made.verse_labels(PATIENT)
    case = _case(labels, scheme)
    true = _true_structure(case)
    right = (case["allowed"] >> true) & 1 == 1
    assert right.mean() > 0.99, "but for voxels at a border between two structures"
    exact = (case["allowed"] == BODY) | (case["allowed"] == ARCH)
    assert exact.sum() > 0.6 * np.isin(true, (Structure.BODY, Structure.POSTERIOR)).sum()


def test_structures_without_labels_are_left_open() -> None:
    case = _case(made.verse_labels(PATIENT), "verse")
    true = _true_structure(case)
    seen = case["allowed"] != 1 << Structure.BACKGROUND
    for open_one in (Structure.RIB, Structure.DISC, Structure.CANAL):
        where = (true == open_one) & seen
        assert where.any()
        assert ((case["allowed"][where] >> open_one) & 1).mean() > 0.9, "a thin disc is border for the most part"
    elsewhere = (true == Structure.RIB) & (case["allowed"] != ANYTHING) & seen
    assert ((case["allowed"][elsewhere] >> Structure.BODY) & 1).mean() < 0.03, "but it is no body"


def test_bodies_alone_leave_the_arches_open_and_whole_vertebrae_leave_the_body_open() -> None:
    bodies = np.where(PATIENT.structure == Structure.BODY, made.verse_labels(PATIENT), 0).astype(np.uint8)
    alone = _case(bodies, "verse")
    arches = (_true_structure(alone) == Structure.POSTERIOR) & (alone["allowed"] != BODY)
    arches &= alone["allowed"] != 1 << Structure.BACKGROUND
    assert ((alone["allowed"][arches] >> Structure.POSTERIOR) & 1).all()
    unsure = _case(bodies, "verse", outlines="whole")
    assert set(np.unique(unsure["allowed"][alone["allowed"] == BODY])) == {VERTEBRA}


def test_centres_are_those_of_the_bodies() -> None:
    case = _case(made.vertecast_labels(PATIENT), "vertecast")
    grid, _ = geometry.aligned_grid(made.lps_from_index(), PATIENT.structure.shape, SPACING_MM)
    found = geometry.apply(grid, case["centers_index"])
    true = geometry.apply(made.lps_from_index(), PATIENT.centers_index)
    distance = np.linalg.norm(found[:, None] - true[None], axis=2).min(axis=1)
    assert len(found) >= 3
    assert distance.max() < 4.0
    assert case["instance"].max() == len(found)


def test_crops_keep_image_and_truth_together_and_repeat_themselves(tmp_path: Path) -> None:
    made.write_cases(tmp_path, (3,))
    source = FolderSource(
        kind="folder", images=str(tmp_path / "ct"), labels=str(tmp_path / "labels"), scheme="vertecast"
    )
    (case,) = prepare_cases(source, find_cases(source), SPACING_MM, tmp_path / "cache")
    assert case.cement_known
    assert case.metal_known
    settings = CropSettings(spacing_mm=SPACING_MM, crop=80, near_spine=1.0)
    example = labelled_crop(case, np.random.default_rng(5), settings, rescan=0.0)
    again = labelled_crop(case, np.random.default_rng(5), settings, rescan=0.0)
    for name, values in example.items():
        assert np.array_equal(values, again[name]), name
    assert example["hu"].shape == (1, 80, 80, 80)
    body = (example["allowed"] == BODY).numpy()
    assert example["hu"][0].numpy()[body].mean() > 100
    assert (example["hu"][0, -1, -1, -1], example["allowed"][-1, -1, -1]) == (-1000, 1 << Structure.BACKGROUND)
    index = np.indices(body.shape)
    votes = (index * SPACING_MM + example["offset"].numpy())[:, body & (example["offset_weight"].numpy() > 0)]
    assert 2 <= len(np.unique(np.round(votes.T, 0), axis=0)) <= 8, "voxels of one body agree, in mirror images too"
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_kept_case_is_made_anew_when_its_labels_change(tmp_path: Path) -> None:
    made.write_cases(tmp_path, (3,))
    source = FolderSource(
        kind="folder", images=str(tmp_path / "ct"), labels=str(tmp_path / "labels"), scheme="vertecast"
    )
    cache = tmp_path / "cache"
    (first,) = prepare_cases(source, find_cases(source), SPACING_MM, cache)
    (second,) = prepare_cases(source, find_cases(source), SPACING_MM, cache)
    assert first == second
    labels = made.vertecast_labels(PATIENT)
    labels[labels == labels[labels > 100].max()] = 0
    made.write_nifti(tmp_path / "labels" / "case3.nii.gz", labels)
    (third,) = prepare_cases(source, find_cases(source), SPACING_MM, cache)
    assert third.path != first.path


def test_every_case_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    made.write_cases(tmp_path, (3,))
    empty = np.zeros(PATIENT.structure.shape, dtype=np.uint8)
    for name in ("empty", "strange"):
        made.write_nifti(tmp_path / "ct" / f"{name}.nii.gz", np.rint(PATIENT.hu).astype(np.int16))
    made.write_nifti(tmp_path / "labels" / "empty.nii.gz", empty)
    made.write_nifti(tmp_path / "labels" / "strange.nii.gz", empty + np.uint8(99))
    source = FolderSource(
        kind="folder", images=str(tmp_path / "ct"), labels=str(tmp_path / "labels"), scheme="vertecast"
    )
    with pytest.raises(ConfigurationError, match=r"2 of 3 cases cannot be used: empty.*; strange.*99"):
        prepare_cases(source, find_cases(source), SPACING_MM, tmp_path / "cache")
