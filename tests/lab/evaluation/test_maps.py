"""Data sets in the layouts that people keep them in, each read and scored from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vertecast.core import geometry
from vertecast.core.errors import InputError, UnreadableError
from vertecast.core.images import Mask
from vertecast.lab.evaluation.datasets.maps import find_maps
from vertecast.lab.evaluation.datasets.reading import read_map
from vertecast.lab.evaluation.datasets.schemes import number_of_name, numbers_of_scheme, recoded
from vertecast.lab.evaluation.datasets.tables import read_groups
from vertecast.lab.evaluation.maps.scoring import MapOptions, score_map_folders
from vertecast.segmentation.label_map.schemes import label_scheme

VERSE, TOTAL, OWN = (label_scheme(name) for name in ("verse", "totalsegmentator", "vertecast"))


def write(path: Path, labels: np.ndarray, affine: np.ndarray) -> Path:
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(labels.astype(np.uint8), geometry.LPS_FROM_RAS @ affine).to_filename(path)
    return path


def verse_labels(study: object) -> np.ndarray:
    """The study's bodies and sacrum alone, cement given back to its body."""
    labels = study.true_labels.copy()
    labels[labels == 200], labels[labels == 201] = 22, 0
    return labels


def centroid_file(path: Path, labels: np.ndarray) -> None:
    points = [
        {"label": int(n), **dict(zip("XYZ", np.argwhere(labels == n).mean(axis=0).tolist(), strict=True))}
        for n in np.unique(labels[labels > 0])
    ]
    path.write_text(json.dumps([{"direction": ["L", "P", "S"]}, *points]))


def bids(folder: Path, study: object, name: str = "sub-verse004") -> Path:
    labels = verse_labels(study)
    file = folder / "derivatives" / name / f"{name}_seg-vert_msk.nii.gz"
    write(file, labels, study.found_affine)
    centroid_file(file.with_name(f"{name}_seg-vb_ctd.json"), labels)
    write(folder / "rawdata" / name / f"{name}_ct.nii.gz", labels * 3, study.found_affine)
    return folder


def test_a_verse_folder_is_read_with_its_image_and_its_patient(study, tmp_path: Path) -> None:
    (one,) = find_maps(bids(tmp_path, study))
    assert (one.case, one.patient, one.kind) == ("sub-verse004", "sub-verse004", "file")
    assert one.image == tmp_path / "rawdata" / "sub-verse004" / "sub-verse004_ct.nii.gz"
    mask = read_map(one, numbers_of_scheme(VERSE))
    assert np.array_equal(mask.labels, verse_labels(study))


def test_centroids_in_another_orientation_are_understood(study, tmp_path: Path) -> None:
    folder = bids(tmp_path, study)
    file = next(folder.rglob("*_ctd.json"))
    _, *points = json.loads(file.read_text())
    # The same points in an image whose axes run to superior, to the right, and to posterior.
    shape = study.true_labels.shape
    turned = [{"label": p["label"], "X": p["Z"], "Y": shape[0] - 1 - p["X"], "Z": p["Y"]} for p in points]
    file.write_text(json.dumps([{"direction": ["S", "R", "P"]}, *turned]))
    assert read_map(find_maps(folder)[0], numbers_of_scheme(VERSE)).labels.any()


def test_centroids_of_another_image_are_refused(study, tmp_path: Path) -> None:
    folder = bids(tmp_path, study)
    file = next(folder.rglob("*_ctd.json"))
    head, *points = json.loads(file.read_text())
    for point in points:
        point["Z"] = study.true_labels.shape[2] - point["Z"] + 20
    file.write_text(json.dumps([head, *points]))
    with pytest.raises(UnreadableError, match=r"_ctd\.json: the centroid of \d+ lies \d+ mm from it"):
        read_map(find_maps(folder)[0], numbers_of_scheme(VERSE))
    file.write_text("{}")
    with pytest.raises(UnreadableError, match="is no list of centroids"):
        read_map(find_maps(folder)[0], numbers_of_scheme(VERSE))


def test_a_totalsegmentator_folder_becomes_one_map(study, tmp_path: Path) -> None:
    for name, number in (("vertebrae_L2", 21), ("vertebrae_L5", 24), ("sacrum", 26), ("liver", 22)):
        path = tmp_path / "s0001" / "segmentations" / f"{name}.nii.gz"
        write(path, verse_labels(study) == number, study.found_affine)
    write(tmp_path / "s0001" / "ct.nii.gz", verse_labels(study), study.found_affine)
    (one,) = find_maps(tmp_path)
    assert (one.case, one.image) == ("s0001", tmp_path / "s0001" / "ct.nii.gz")
    expected = np.where(np.isin(verse_labels(study), [21, 24, 26]), verse_labels(study), 0)
    assert np.array_equal(read_map(one).labels, expected)
    write(tmp_path / "s0001" / "segmentations" / "vertebrae_L3.nii.gz", np.ones((3, 4, 5)), np.eye(4))
    with pytest.raises(UnreadableError, match="lies on another grid"):
        read_map(one)


@pytest.mark.parametrize("version", [1, 2])
def test_nnunet_names_say_what_numbers_mean(study, tmp_path: Path, version: int) -> None:
    labels = {"background": 0, "liver": 1, "vertebrae_L3": 2, "sacrum": 3}
    named = {str(n): name for name, n in labels.items()} if version == 1 else labels
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": named, "file_ending": ".nii.gz"}))
    values = np.zeros((6, 7, 8), np.uint8)
    values[1:3, 1:4, 1:5], values[4:6] = 2, 1
    write(tmp_path / "labelsTr" / "case_01.nii.gz", values, study.found_affine)
    image = write(tmp_path / "imagesTr" / "case_01_0000.nii.gz", values, study.found_affine)
    (one,) = find_maps(tmp_path)
    assert (one.case, one.image) == ("case_01", image)
    assert np.array_equal(read_map(one).labels, np.where(values == 2, 22, 0))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"spine": [1, 2]}}))
    with pytest.raises(UnreadableError, match="is a region"):
        find_maps(tmp_path)


def test_a_folder_of_plain_files_and_its_refusals(study, tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", verse_labels(study), study.found_affine)
    assert [one.case for one in find_maps(tmp_path)] == ["a"]
    write(tmp_path / "more" / "a.nii", verse_labels(study), study.found_affine)
    with pytest.raises(UnreadableError, match="second map of the case a"):
        find_maps(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableError, match="holds no truth or maps"):
        find_maps(tmp_path / "empty")
    strange = np.where(verse_labels(study) == 22, 99, verse_labels(study)).astype(np.uint8)
    with pytest.raises(UnreadableError, match=r"numbers without a meaning \(99\); give --truth-labels"):
        recoded(Mask(labels=strange, lps_from_index=np.eye(4)), numbers_of_scheme(VERSE), path)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("vertebrae_L1", 20), ("L1 vertebral body", 20), ("T13", 28), ("V3 vertebral body", 43), ("sacrum", 26),
        ("L2 posterior elements", 121), ("L1 bone cement", 200), ("L1 cement leak into the canal", 201),
        ("pedicle screw", 210), ("liver", 0), ("background", 0), ("tl1x", 0),
    ],
)  # fmt: skip
def test_structures_are_known_by_their_names(name: str, number: int) -> None:
    assert number_of_name(name) == number


def test_every_number_of_a_scheme_finds_ours() -> None:
    numbers = numbers_of_scheme(TOTAL)
    assert (numbers[27], numbers[31], numbers[50], numbers[25], numbers[90]) == (24, 20, 1, 26, 0)
    own = numbers_of_scheme(OWN)
    assert all(own[n] == n for n in (1, 28, 43, 120, 200, 201, 210))
    assert own[126] == 26


def score(truth: Path, found: Path, **options: object) -> tuple[dict[str, object], list[str]]:
    schemes = MapOptions.of_schemes(VERSE, options.pop("labels", VERSE), **options)
    cases, notes = score_map_folders(truth, found, schemes)
    return {case.name: case for case in cases}, notes


def test_verse_against_totalsegmentator_numbers(study, tmp_path: Path) -> None:
    bids(tmp_path / "t", study)
    bids(tmp_path / "t", study, "sub-verse005")
    total = np.zeros(256, np.uint8)
    total[[21, 22, 23, 24, 26]] = [30, 29, 28, 27, 25]
    write(tmp_path / "p" / "sub-verse004.nii.gz", total[verse_labels(study)], study.found_affine)
    cases, notes = score(tmp_path / "t", tmp_path / "p", labels=TOTAL)
    done, missed = cases["sub-verse004"].masks, cases["sub-verse005"]
    assert {one.structure: one.overlap.dice for one in done.structures} == {"vertebra": 1.0, "sacrum": 1.0}
    assert missed.reason == "no map of this case"
    assert {one.verdict for one in missed.masks.structures} == {"missed"}
    assert notes == []


def test_names_that_never_meet_are_refused(study, tmp_path: Path) -> None:
    bids(tmp_path / "t", study)
    write(tmp_path / "p" / "other.nii.gz", verse_labels(study), study.found_affine)
    with pytest.raises(InputError, match="holds no case of the truth; the truth has sub-verse004"):
        score(tmp_path / "t", tmp_path / "p")


def test_parts_are_joined_to_whole_vertebrae_and_that_is_said(study, tmp_path: Path) -> None:
    arched = verse_labels(study)
    arched[6:16, 20:26, 36:42] = 122  # the arch of L3
    whole = np.where(arched == 122, 22, arched)
    write(tmp_path / "t" / "a.nii.gz", whole, study.found_affine)
    write(tmp_path / "p" / "a.nii.gz", arched, study.found_affine)
    cases, notes = score(tmp_path / "t", tmp_path / "p", labels=OWN)
    assert {one.overlap.dice for one in cases["a"].masks.structures} == {1.0}
    assert len(notes) == 1
    assert "predictions tell bodies from posterior elements" in notes[0]


def test_bodies_cut_out_of_whole_vertebrae_are_said_to_be_that(tmp_path: Path) -> None:
    from vertecast.study.body_masks import cut_bodies

    labels, affine = spine_labels()
    parted = write(tmp_path / "p" / "a.nii.gz", labels, affine)
    write(tmp_path / "t" / "a.nii.gz", np.where(labels > 100, labels - 100, labels), affine)
    cases, notes = score(tmp_path / "t", parted.parent, labels=OWN, compared="bodies", cut_bodies=cut_bodies)
    whole = {one.level: one.overlap.dice for one in cases["a"].masks.structures if one.level in ("L1", "L2")}
    assert min(whole.values()) > 0.93
    assert max(whole.values()) < 1
    assert notes[0].startswith("Bodies of the truth were cut out of whole-vertebra masks by geometry")
    # Bodies that are bodies already stay as they are, and nothing is said.
    write(tmp_path / "t" / "a.nii.gz", np.where(labels > 100, 0, labels), affine)
    cases, notes = score(tmp_path / "t", parted.parent, labels=OWN, compared="bodies", cut_bodies=cut_bodies)
    assert {one.overlap.dice for one in cases["a"].masks.structures if one.structure == "body"} == {1.0}
    assert notes == []


def test_what_no_true_map_marks_is_not_judged_and_cement_always_is(study, tmp_path: Path) -> None:
    bodies = np.where(study.true_labels < 26, study.true_labels, 0)
    write(tmp_path / "t" / "a.nii.gz", bodies, study.found_affine)
    write(tmp_path / "p" / "a.nii.gz", study.true_labels, study.found_affine)
    options = MapOptions.of_schemes(OWN, OWN)
    (case,), notes = score_map_folders(tmp_path / "t", tmp_path / "p", options)
    assert notes == ["Not judged, since no true map holds it: sacrum."]
    verdicts = {one.structure: one.verdict for one in case.masks.structures if not one.level}
    assert verdicts == {"cement inside": "false", "cement leaked": "false", "all cement": "false"}


def spine_labels() -> tuple[np.ndarray, np.ndarray]:
    """A simulated patient from T12 to L3 in our own numbers: bodies and posterior elements apart."""
    from vertecast.core.anatomy import Level, Structure
    from vertecast.lab.simulation.patient.population import sample_spine
    from vertecast.lab.simulation.patient.tissue import draw

    rng = np.random.default_rng(8)
    spine = sample_spine(rng, fracture_rate=0.0)
    first = next(n for n, v in enumerate(spine.vertebrae) if v.level is Level.L1)
    shape = np.array([96, 100, 140])
    center = spine.vertebrae[first].lps_from_local[:3, 3] + [0, 15, 0]
    phantom = draw(spine, geometry.scaling_affine([1.0] * 3, center - (shape - 1) / 2), (96, 100, 140), rng)
    numbers = np.array([0, *(int(v.level) for v in spine.vertebrae)])[phantom.instance]
    labels = np.where(np.isin(phantom.structure, (Structure.BODY, Structure.POSTERIOR)), numbers, 0)
    labels[(labels > 0) & (phantom.structure == Structure.POSTERIOR)] += 100
    return labels.astype(np.uint8), phantom.lps_from_index


def test_workers_give_the_same_scores(study, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "t" / f"{name}.nii.gz", verse_labels(study), study.found_affine)
        write(tmp_path / "p" / f"{name}.nii.gz", np.roll(verse_labels(study), 1, axis=1), study.found_affine)
    alone, _ = score(tmp_path / "t", tmp_path / "p")
    together, _ = score(tmp_path / "t", tmp_path / "p", workers=2)
    assert {n: c.masks for n, c in alone.items()} == {n: c.masks for n, c in together.items()}


def test_tables_make_groups_and_never_identify(tmp_path: Path) -> None:
    lines = [f"s{n:02};{30 + 4 * n};{'mf'[n % 2]};NAME^{n};{0.5 * n}" for n in range(20)]
    path = tmp_path / "meta.csv"
    path.write_text("\n".join(["image_id;age;sex;name;weight", *lines]))
    groups = read_groups(path)
    assert groups["s00"] == {"age": "<50", "sex": "m", "weight": "<2.5"}
    assert groups["s19"] == {"age": "≥80", "sex": "f", "weight": "≥7.5"}
    assert groups["s07"]["age"] == "50 to <65"
    path.write_text("case\tpatient\tscanner\na\tp1\tX\nb\tp1\tn/a\n")
    assert read_groups(path) == {"a": {"patient": "p1", "scanner": "X"}, "b": {"patient": "p1"}}
    path.write_text("")
    with pytest.raises(UnreadableError, match="has no lines"):
        read_groups(path)


def test_a_damaged_map_is_said_with_its_name(make: Callable, tmp_path: Path) -> None:
    study = make()
    write(tmp_path / "p" / "a.nii.gz", verse_labels(study), study.found_affine)
    path = write(tmp_path / "t" / "a.nii.gz", verse_labels(study), study.found_affine)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UnreadableError, match=r"a\.nii\.gz: cannot be read as NIfTI"):
        score(tmp_path / "t", tmp_path / "p")
