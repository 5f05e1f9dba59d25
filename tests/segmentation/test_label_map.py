"""Label maps of the user's: bodies cut out of whole vertebrae, levels, holes, and maps that mean something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from phantoms.spine import SpinePhantom, normal_shape
from vertecast.core import geometry
from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, POSTERIOR_LABEL_OFFSET, Level, Structure
from vertecast.core.errors import ConfigurationError, UnsupportedError
from vertecast.core.images import Grid, Mask, Segmentation, Volume
from vertecast.core.results import NotMeasured
from vertecast.io.volumes import read_label_map, read_segment_names
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.spine import Spine
from vertecast.lab.simulation.patient.tissue import Phantom, draw
from vertecast.measurement.ct.body.heights import fit_bodies
from vertecast.measurement.ct.levels import assign_levels
from vertecast.segmentation.label_map.bodies import LabelMapSegmenter, segment_label_map
from vertecast.segmentation.label_map.body_cut import find_canal, find_posterior_wall, spine_directions
from vertecast.segmentation.label_map.schemes import BUILT_IN, LabelScheme, label_scheme, with_names

VERSE = label_scheme("verse")
OBLIQUE = geometry.affine(geometry.rotation([1.0, 2.0, -1.5], np.radians(11)), [31.0, -17.0, 204.0])


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """A simulated patient from T12 to L3, drawn with arches and all."""
    rng = np.random.default_rng(23)
    spine = sample_spine(rng, fracture_rate=0.0)
    first = next(n for n, v in enumerate(spine.vertebrae) if v.level is Level.L1)
    shape = np.array([96, 124, 140])
    center = spine.vertebrae[first].lps_from_local[:3, 3] + [0, 8, -12]
    return draw(spine, geometry.scaling_affine([1.0] * 3, center - (shape - 1) / 2), (96, 124, 140), rng)


def whole_vertebrae(phantom: Phantom, lps: geometry.FloatArray | None = None) -> Mask:
    """The map that an expert would draw in the VerSe convention, moved as a whole by ``lps``."""
    numbers = np.array([0, *(int(v.level) for v in phantom.spine.vertebrae)])[phantom.instance]
    labels = np.where(np.isin(phantom.structure, (Structure.BODY, Structure.POSTERIOR)), numbers, 0)
    return Mask(labels=labels, lps_from_index=(np.eye(4) if lps is None else lps) @ phantom.lps_from_index)


def with_own_arches(phantom: Phantom, lps: geometry.FloatArray | None = None) -> Mask:
    """The same in our own convention: bodies and posterior elements apart."""
    whole = whole_vertebrae(phantom, lps)
    labels = np.array(whole.labels)
    labels[(labels > 0) & (phantom.structure == Structure.POSTERIOR)] += POSTERIOR_LABEL_OFFSET
    return replace(whole, labels=labels)


def grid_of(mask: Mask) -> Grid:
    i, j, k = mask.labels.shape
    return Grid(shape=(i, j, k), lps_from_index=mask.lps_from_index)


def true_heights_mm(spine: Spine, level: str) -> list[float]:
    (vertebra,) = (v for v in spine.vertebrae if v.level.name == level)
    points = vertebra.shape.six_points_local_mm()
    return [points["superior"][p][2] - points["inferior"][p][2] for p in ("anterior", "middle", "posterior")]


def heights_mm(mask: Mask, found: Segmentation) -> dict[str, list[float]]:
    bodies = zip(found.levels, fit_bodies(grid_of(mask), found), strict=True)
    return {level: list(b.heights_mm.values()) for level, b in bodies if not isinstance(b, NotMeasured)}


@pytest.mark.parametrize("lps", [np.eye(4), OBLIQUE], ids=["straight", "oblique"])
def test_the_body_is_cut_out_of_the_whole_vertebra(phantom: Phantom, lps: geometry.FloatArray) -> None:
    mask = whole_vertebrae(phantom, lps)
    found = segment_label_map(mask, VERSE)
    here = geometry.resample(found.structure, found.lps_from_index, mask.lps_from_index, mask.labels.shape, order=0)
    for number in (20, 21):  # whole in the picture
        true = (phantom.structure == Structure.BODY) & (np.asarray(mask.labels) == number)
        cut = (here == Structure.BODY) & (np.asarray(mask.labels) == number)
        assert 2 * (true & cut).sum() / (true.sum() + cut.sum()) > 0.92
    # The heights of the cut body are those of the body drawn by itself, however the map is turned.
    alone = heights_mm(mask, segment_label_map(with_own_arches(phantom, lps), label_scheme("vertecast")))
    measured = heights_mm(mask, found)
    for level in ("L1", "L2"):  # whole in the picture
        assert measured[level] == pytest.approx(alone[level], abs=0.3)
        assert measured[level] == pytest.approx(true_heights_mm(phantom.spine, level), abs=0.4)


def test_levels_come_from_the_map_and_the_operator_overrules_them(phantom: Phantom) -> None:
    found = segment_label_map(whole_vertebrae(phantom), VERSE)
    assert [level.source for level in assign_levels(found)] == ["label map"] * found.count
    assert [level.name for level in assign_levels(found)] == list(found.levels)
    assert {"L1", "L2"} <= set(found.levels)
    assert assign_levels(found, lowest="L5")[-1].name == "L5"


def test_bodies_and_arches_with_labels_of_their_own_are_not_cut_again(phantom: Phantom) -> None:
    mask = with_own_arches(phantom)
    found = segment_label_map(mask, label_scheme("vertecast"))
    n = 1 + found.levels.index("L1")
    true = np.count_nonzero((phantom.structure == Structure.BODY) & (np.asarray(mask.labels) > 0))
    assert found.body_probability.sum(dtype=np.float64) == pytest.approx(true, rel=0.01)
    assert ((found.structure == Structure.POSTERIOR) & (found.instance == n)).any()
    assert (found.structure == Structure.CANAL).any()


def test_cement_in_a_body_counts_as_body(phantom: Phantom) -> None:
    whole = with_own_arches(phantom)
    labels = np.array(whole.labels)
    plain = segment_label_map(whole, label_scheme("vertecast"))
    center = np.argwhere(labels == 20).mean(axis=0).astype(int)
    filled = labels.copy()
    ball = np.linalg.norm(np.stack(np.indices(labels.shape), -1) - center, axis=-1) < 6
    filled[ball & (labels == 20)] = CEMENT_INSIDE_LABEL
    found = segment_label_map(replace(whole, labels=filled), label_scheme("vertecast"))
    assert heights_mm(whole, found)["L1"] == pytest.approx(heights_mm(whole, plain)["L1"], abs=1e-3)
    assert found.cement_probability.max() == 1


def test_a_mask_of_bodies_alone_has_no_canal(phantom: Phantom) -> None:
    whole = whole_vertebrae(phantom)
    bodies = np.where(phantom.structure == Structure.BODY, whole.labels, 0)
    found = segment_label_map(replace(whole, labels=bodies), VERSE)
    assert not (found.structure == Structure.CANAL).any()
    assert found.body_probability.sum(dtype=np.float64) == pytest.approx(np.count_nonzero(bodies), rel=0.01)


def test_a_vertebra_with_an_open_arch_is_not_measured(phantom: Phantom) -> None:
    whole = whole_vertebrae(phantom)
    labels = np.array(whole.labels)
    right = np.indices(labels.shape)[0] < np.argwhere(labels == 20)[:, 0].mean()
    labels[(labels == 20) & (phantom.structure == Structure.POSTERIOR) & right] = 0
    measured = heights_mm(whole, segment_label_map(replace(whole, labels=labels), VERSE))
    assert "L1" not in measured
    assert "L2" in measured


def test_the_posterior_wall_lies_before_the_canal(phantom: Phantom) -> None:
    mask = whole_vertebrae(phantom)
    points = geometry.apply(mask.lps_from_index, np.argwhere(np.asarray(mask.labels) == 20))
    (vertebra,) = (v for v in phantom.spine.vertebrae if v.level is Level.L1)
    up = vertebra.lps_from_local[:3, 2]
    canal = find_canal(points, up)
    assert canal is not None
    wall = find_posterior_wall(points, canal)
    assert wall is not None
    true_wall = geometry.apply(vertebra.lps_from_local, [0.0, vertebra.shape.posterior_wall_y_mm, 0.0])
    assert abs(float(wall.depth_mm(true_wall))) < 2.5
    assert canal.holds(canal.lps_from_local[None, :3, 3]).all()
    assert not canal.holds(vertebra.lps_from_local[None, :3, 3]).any()
    assert np.allclose(spine_directions(np.array([[0.0, 0, 30], [0, 0, 0]])), [[0, 0, 1], [0, 0, 1]])
    assert np.allclose(spine_directions(np.zeros((1, 3))), [[0, 0, 1]])


def block(*numbers: int) -> Mask:
    """Boxes of unequal sides one above the other, the first on top."""
    labels = np.zeros((50, 40, 34 * len(numbers) + 6), dtype=np.int16)
    for n, number in enumerate(reversed(numbers)):
        labels[6:44, 5:34, 34 * n + 6 : 34 * n + 32] = number
    return Mask(labels=labels, lps_from_index=geometry.scaling_affine([1.0] * 3, [-25, -20, 0]))


def test_the_tip_of_a_cut_vertebra_may_hang_below_its_neighbour() -> None:
    mask = block(Level.L1, Level.L2, Level.L3)
    labels = np.array(mask.labels)
    labels[10:30, 34:, 50:68] = Level.T12
    segmentation = segment_label_map(replace(mask, labels=labels), VERSE)
    assert segmentation.levels == ("T12", "L1", "L2", "L3")


@pytest.mark.parametrize(
    ("mask", "scheme", "complaint"),
    [
        (block(20, 90), "verse", "numbers without a meaning (90)"),
        (block(21, 20), "verse", "L2 lies above L1"),
        (block(26), "verse", "no vertebra"),
        (block(27, 28), "totalsegmentator", "L5 lies above L4"),
        (block(-3), "verse", "negative"),
    ],
)
def test_a_map_that_means_something_else_is_refused(mask: Mask, scheme: str, complaint: str) -> None:
    with pytest.raises(UnsupportedError, match=complaint.replace("(", r"\(").replace(")", r"\)")):
        segment_label_map(mask, label_scheme(scheme))


def test_specks_are_no_vertebra() -> None:
    labels = np.zeros((20, 20, 20), dtype=np.int16)
    labels[3:6, 3:6, 3:6] = 20
    with pytest.raises(UnsupportedError, match="no vertebra of a size"):
        segment_label_map(Mask(labels=labels, lps_from_index=np.eye(4)), VERSE)


def test_a_map_of_another_place_is_refused() -> None:
    mask = block(20)
    segmenter = LabelMapSegmenter(mask, VERSE, sha256="0" * 64)
    hu = np.zeros((20, 20, 20), dtype=np.int16)
    with pytest.raises(UnsupportedError, match="outside this CT"):
        segmenter.segment(Volume(hu=hu, lps_from_index=geometry.scaling_affine([1.0] * 3, [500, 0, 0])))
    found = segmenter.segment(Volume(hu=hu, lps_from_index=mask.lps_from_index))
    assert found.models == (("label map", "verse", "0" * 64),)


def test_a_body_cut_by_the_map_is_known() -> None:
    mask = block(20, 21)
    assert segment_label_map(mask, VERSE).touches_border == (False, False)
    cut = Mask(labels=mask.labels[:, :, 12:], lps_from_index=mask.lps_from_index)
    assert segment_label_map(cut, VERSE).touches_border == (False, True)


def test_a_vertebra_cut_through_before_its_arch_is_cut(phantom: Phantom) -> None:
    whole = whole_vertebrae(phantom)
    bone = np.argwhere(whole.labels == 20)
    upper = geometry.apply(whole.lps_from_index, bone)[:, 2]
    cut = np.array(whole.labels)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in cut.shape), indexing="ij"), axis=-1)
    cut[geometry.apply(whole.lps_from_index, index)[..., 2] > np.percentile(upper, 25)] = 0
    top = int(np.argwhere(cut)[:, 2].max()) + 1
    found = segment_label_map(replace(whole, labels=cut[:, :, :top]), VERSE)
    assert found.touches_border[found.levels.index("L1")]


def test_schemes_agree_on_what_they_share() -> None:
    named = {name: make() for name, make in BUILT_IN.items()}
    assert named["totalsegmentator"].levels[27] == "L5"
    assert named["totalsegmentator"].levels[50] == "C1"
    assert named["verse"].levels[20] == named["vertecast"].levels[20] == "L1"
    assert named["vertecast"].posterior[120] == "L1"
    assert named["vertecast"].levels[43] == "V3"
    assert all(26 in scheme.sacrum for scheme in named.values())


def test_a_scheme_of_ones_own_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text("name: mine\nlevels: {1: l1, 2: L2}\nsacrum: [9]\n", encoding="utf-8")
    assert label_scheme(str(path)) == LabelScheme(name="mine", levels={1: "L1", 2: "L2"}, sacrum=frozenset({9}))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("levels: {1: L9}", "no level of a vertebra"),
        ("levels: {one: L1}", "levels"),
        ("level: {1: L1}", "level"),
        ("levels: [", "YAML"),
        ("- 1", "labels.yaml"),
    ],
)
def test_a_wrong_scheme_is_refused_with_its_key(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "labels.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=complaint):
        label_scheme(str(path))


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="verse, totalsegmentator, vertecast"):
        label_scheme("nnunet")


def test_a_map_beside_the_bone_is_refused() -> None:
    made = SpinePhantom(shapes=[normal_shape(25.0 + n) for n in range(3)], margin_mm=30.0)
    segmenter = LabelMapSegmenter(made.label_map(), label_scheme("vertecast"), sha256="")
    assert segmenter.segment(made.volume()).count == 3
    mask = made.label_map()
    moved = replace(mask, lps_from_index=geometry.affine(np.eye(3), [0.0, 0.0, 17.0]) @ mask.lps_from_index)
    with pytest.raises(UnsupportedError, match="beside the bone"):
        LabelMapSegmenter(moved, label_scheme("vertecast"), sha256="").segment(made.volume())


def test_levels_that_the_file_names_itself_are_taken() -> None:
    scheme = with_names(VERSE, {1: "L1", 2: "vertebrae_L2", 3: "Sacrum", 4: "aorta"})
    assert [scheme.levels.get(number) for number in (1, 2, 3, 4, 5)] == ["L1", "L2", None, None, "C5"]
    assert 3 in scheme.sacrum
    assert 4 in scheme.ignored
    own = LabelScheme(levels={1: "L1"}, metal=frozenset({8}), cement=frozenset({9}))
    named = with_names(own, {1: "T12", 8: "screws", 9: "cement"})
    assert (named.levels, named.metal, named.cement, named.ignored) == ({1: "T12"}, {8}, {9}, frozenset())
    assert with_names(VERSE, {1: "Segment_1", 2: "bone"}) == VERSE
    assert with_names(VERSE, {}) == VERSE
    with pytest.raises(ConfigurationError, match="L3 fracture"):
        with_names(VERSE, {1: "L2", 2: "L3 fracture"})


def test_the_names_of_slicers_segmentations_are_read(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.uint8))
    for n, name in enumerate(("L1", "L2")):
        image.SetMetaData(f"Segment{n}_Name", name)
        image.SetMetaData(f"Segment{n}_LabelValue", str(n + 1))
    SimpleITK.WriteImage(image, str(tmp_path / "x.seg.nrrd"))
    assert read_segment_names(tmp_path / "x.seg.nrrd") == {1: "L1", 2: "L2"}
    assert read_segment_names(tmp_path / "absent.seg.nrrd") == {}
    assert read_segment_names(tmp_path / "x.nii.gz") == {}


def test_an_interpolated_map_is_refused(tmp_path: Path) -> None:
    labels = np.zeros((6, 5, 4), np.float32)
    labels[2:4] = 20
    image = nibabel.Nifti1Image(labels, np.eye(4))
    nibabel.save(image, tmp_path / "whole.nii.gz")
    assert read_label_map(tmp_path / "whole.nii.gz").labels.max() == 20
    labels[4] = 10.5
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "broken.nii.gz")
    with pytest.raises(UnsupportedError, match="20 of its voxels hold no whole number"):
        read_label_map(tmp_path / "broken.nii.gz")
