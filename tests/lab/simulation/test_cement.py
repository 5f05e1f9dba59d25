from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from phantoms.simulation import make_phantom
from vertecast.core import geometry
from vertecast.core.anatomy import Compartment, Structure, YeomType
from vertecast.lab.simulation.patient.tissue import Phantom
from vertecast.lab.simulation.treatment.cement import (
    LeakTruth,
    Treatment,
    cement_fraction,
    leak_fraction,
    sample_treated,
    treat,
    with_cement,
)
from vertecast.lab.simulation.treatment.growth import BONE

PHANTOM = make_phantom(2.0)
TREATED = 1


def local_mm(phantom: Phantom, voxels: np.ndarray) -> np.ndarray:
    vertebra = phantom.spine.vertebrae[TREATED]
    lps = geometry.apply(phantom.lps_from_index, voxels)
    return geometry.apply(geometry.inverse(vertebra.lps_from_local), lps)


def one_leak(compartment: Compartment, seed: int) -> tuple[Treatment, LeakTruth]:
    treatment = treat(PHANTOM, TREATED, np.random.default_rng(seed), leaks=[compartment])
    assert len(treatment.leaks) == 1
    assert treatment.leaks[0].compartment is compartment
    return treatment, treatment.leaks[0]


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6), volume_ml=st.floats(0.5, 9.0), pattern=st.sampled_from(["compact", "interdigitated"])
)
def test_cement_fills_the_volume_asked_for_and_stays_in_its_body(seed: int, volume_ml: float, pattern: str) -> None:
    treatment = treat(PHANTOM, TREATED, np.random.default_rng(seed), volume_ml=volume_ml, pattern=pattern, leaks=[])
    assert treatment.volume_inside_ml == pytest.approx(volume_ml, rel=0.1, abs=0.1)
    at = tuple(treatment.inside.voxels.T)
    assert (PHANTOM.structure[at] == Structure.BODY).all()
    assert (PHANTOM.instance[at] == TREATED + 1).all()
    total = float(cement_fraction(PHANTOM, [treatment]).sum()) * PHANTOM.spacing_mm**3 / 1000
    assert total == pytest.approx(treatment.volume_inside_ml, rel=1e-4)


def test_a_body_never_takes_more_than_it_holds() -> None:
    treatment = treat(PHANTOM, TREATED, np.random.default_rng(0), volume_ml=500.0, leaks=[])
    body_ml = (
        (PHANTOM.structure == Structure.BODY)[PHANTOM.instance == TREATED + 1].sum() * PHANTOM.spacing_mm**3 / 1000
    )
    assert 0.75 * body_ml < treatment.volume_inside_ml < 0.95 * body_ml


@pytest.mark.parametrize("compartment", list(Compartment))
@pytest.mark.parametrize("seed", [0, 1])
def test_a_leak_lies_outside_all_foreign_bone_and_hangs_on_its_cement(compartment: Compartment, seed: int) -> None:
    treatment, leak = one_leak(compartment, seed)
    at = tuple(leak.voxels.T)
    own = PHANTOM.instance[at] == TREATED + 1
    in_bone = np.isin(PHANTOM.structure[at], BONE)
    assert not (in_bone & ~own).any()
    assert not (PHANTOM.structure[at] == Structure.BODY).any()
    if compartment is not Compartment.NEEDLE_TRACT:
        assert not in_bone.any()
    assert 0.03 <= leak.volume_ml <= 2.2
    pieces, count = ndimage.label(cement_fraction(PHANTOM, [treatment]) > 0, np.ones((3, 3, 3)))
    holds_inside = pieces[tuple(treatment.inside.voxels.T)]
    if compartment is Compartment.DISTANT:
        assert not np.isin(pieces[at], holds_inside).any()
    else:
        assert count <= 2
        assert np.isin(pieces[at], holds_inside).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_each_compartment_is_where_its_name_says(seed: int) -> None:
    shape = PHANTOM.spine.vertebrae[TREATED].shape
    centers = {c: local_mm(PHANTOM, one_leak(c, seed)[1].voxels).mean(axis=0) for c in Compartment}
    half_height = 0.5 * shape.middle_mm
    assert centers[Compartment.DISC_SUPERIOR][2] > half_height
    assert centers[Compartment.DISC_INFERIOR][2] < -half_height
    assert centers[Compartment.CANAL][1] > shape.posterior_wall_y_mm
    assert abs(centers[Compartment.CANAL][0]) < 11.5
    assert abs(centers[Compartment.FORAMEN][0]) > 10.0
    assert centers[Compartment.FORAMEN][1] > 0.25 * shape.depth_mm
    assert centers[Compartment.PREVERTEBRAL][1] < 0.9 * shape.anterior_wall_y_mm
    assert centers[Compartment.PARAVERTEBRAL_LEFT][0] > 0.4 * shape.width_mm
    assert centers[Compartment.PARAVERTEBRAL_RIGHT][0] < -0.4 * shape.width_mm
    assert centers[Compartment.NEEDLE_TRACT][1] > shape.posterior_wall_y_mm
    assert np.hypot(*centers[Compartment.DISTANT][:2]) > 20


def test_left_in_the_frame_of_the_vertebra_is_left_of_the_patient() -> None:
    left = one_leak(Compartment.PARAVERTEBRAL_LEFT, 5)[1].voxels
    right = one_leak(Compartment.PARAVERTEBRAL_RIGHT, 5)[1].voxels
    x = [geometry.apply(PHANTOM.lps_from_index, voxels)[:, 0].mean() for voxels in (left, right)]
    assert x[0] - x[1] > 30


def test_yeom_types_follow_the_route() -> None:
    expected = {
        Compartment.DISC_SUPERIOR: {YeomType.DISC},
        Compartment.CANAL: {YeomType.BASIVERTEBRAL, YeomType.CORTICAL},
        Compartment.VEIN: {YeomType.SEGMENTAL},
        Compartment.PREVERTEBRAL: {YeomType.CORTICAL},
        Compartment.NEEDLE_TRACT: {None},
    }
    for compartment, types in expected.items():
        assert one_leak(compartment, 7)[1].yeom_type in types


def test_a_basivertebral_leak_leaves_the_body_at_the_midline_and_mid_height() -> None:
    for seed in range(6):
        treatment, leak = one_leak(Compartment.CANAL, seed)
        if leak.yeom_type is not YeomType.BASIVERTEBRAL:
            continue
        inside, outside = (local_mm(PHANTOM, v) for v in (treatment.inside.voxels, leak.voxels))
        gap = np.linalg.norm(outside[:, None] - inside[None], axis=-1)
        door = outside[np.argmin(gap.min(axis=1))]
        assert abs(door[0]) < 8
        assert abs(door[2]) < 9


def test_cement_seeks_the_cleft() -> None:
    phantom = make_phantom(2.0, cleft_index=TREATED)
    treatment = treat(phantom, TREATED, np.random.default_rng(2), volume_ml=4.0, leaks=[])
    filled = cement_fraction(phantom, [treatment])
    cleft = (phantom.hu < -500) & (phantom.structure == Structure.BODY)
    marrow = (phantom.hu > 0) & (phantom.structure == Structure.BODY) & (phantom.instance == TREATED + 1)
    assert filled[cleft].mean() > 1.5 * filled[marrow].mean()


def test_several_leaks_share_no_voxel() -> None:
    wanted = list(Compartment)
    treatment = treat(PHANTOM, TREATED, np.random.default_rng(3), volume_ml=4.0, leaks=wanted)
    voxels = [tuple(v) for leak in treatment.leaks for v in leak.voxels] + [tuple(v) for v in treatment.inside.voxels]
    assert len(treatment.leaks) == len(wanted)
    assert len(set(voxels)) == len(voxels)
    outside = float(leak_fraction(PHANTOM, [treatment]).sum()) * PHANTOM.spacing_mm**3 / 1000
    assert outside == pytest.approx(sum(leak.volume_ml for leak in treatment.leaks), rel=1e-4)


def test_drawn_cement_is_bright_and_leaves_the_rest_alone() -> None:
    treatment = treat(PHANTOM, TREATED, np.random.default_rng(4), pattern="interdigitated", leaks=[Compartment.CANAL])
    drawn = with_cement(PHANTOM.hu, PHANTOM, [treatment], np.random.default_rng(0))
    fraction = cement_fraction(PHANTOM, [treatment])
    assert drawn.dtype == np.float32
    assert np.array_equal(drawn[fraction == 0], PHANTOM.hu[fraction == 0])
    assert 800 < drawn[fraction > 0.95].mean() < 3500
    assert drawn[fraction > 0.95].std() > 10


def test_leak_volumes_can_be_asked_for_one_by_one() -> None:
    wanted = {Compartment.CANAL: 0.3, Compartment.DISC_INFERIOR: 0.9}
    rng = np.random.default_rng(6)
    treatment = treat(PHANTOM, TREATED, rng, leaks=list(wanted), leak_volumes_ml=list(wanted.values()))
    made = {leak.compartment: leak.volume_ml for leak in treatment.leaks}
    assert made == pytest.approx(wanted, rel=0.15)
    with pytest.raises(ValueError, match="zip"):
        treat(PHANTOM, TREATED, rng, leaks=list(wanted), leak_volumes_ml=[1.0])


def test_the_same_seed_gives_the_same_cement() -> None:
    first, second = (treat(PHANTOM, TREATED, np.random.default_rng(11)) for _ in range(2))
    assert np.array_equal(first.inside.voxels, second.inside.voxels)
    assert [leak.volume_ml for leak in first.leaks] == [leak.volume_ml for leak in second.leaks]
    assert not np.array_equal(first.inside.voxels, treat(PHANTOM, TREATED, np.random.default_rng(12)).inside.voxels)


def test_a_vertebra_outside_the_picture_is_refused() -> None:
    blind = Phantom(
        lps_from_index=PHANTOM.lps_from_index,
        hu=PHANTOM.hu,
        structure=np.zeros_like(PHANTOM.structure),
        instance=np.zeros_like(PHANTOM.instance),
        spine=PHANTOM.spine,
    )
    with pytest.raises(ValueError, match="no body"):
        treat(blind, TREATED, np.random.default_rng(0))


def test_a_crushed_body_can_be_treated_and_one_cut_by_the_edge_cannot() -> None:
    phantom = make_phantom(spacing_mm=2.0, count=3)
    crushed = replace(phantom.spine.vertebrae[1].shape, anterior_mm=9.0, middle_mm=8.0, posterior_mm=10.0)
    vertebrae = list(phantom.spine.vertebrae)
    vertebrae[1] = replace(vertebrae[1], shape=crushed, grade=3, deformity="crush")
    spine = replace(phantom.spine, vertebrae=tuple(vertebrae))
    instance = phantom.instance.copy()
    rows = np.argwhere((instance == 2) & (phantom.structure == Structure.BODY))
    thin = rows[rows[:, 2] > np.quantile(rows[:, 2], 0.35)]
    instance[tuple(thin.T)] = 0
    structure = np.where(instance == 0, Structure.BACKGROUND, phantom.structure).astype(np.uint8)
    crushed_phantom = replace(phantom, spine=spine, instance=instance, structure=structure)
    assert crushed_phantom.whole_bodies(200).tolist() == [0, 1, 2]
    assert crushed_phantom.whole_bodies(10**6).tolist() == []
    upper = int(geometry.apply(geometry.inverse(phantom.lps_from_index), vertebrae[0].lps_from_local[:3, 3])[2])
    cut = {name: getattr(phantom, name)[:, :, :upper] for name in ("hu", "structure", "instance")}
    assert replace(phantom, **cut).whole_bodies(200).tolist() == [1, 2]


def test_broken_bodies_are_treated_more_often() -> None:
    phantom = make_phantom(spacing_mm=4.0, count=3, wedge_index=1)
    rng = np.random.default_rng(0)
    first = [sample_treated(phantom, np.arange(3), rng)[0] for _ in range(300)]
    assert 0.55 < np.mean(np.array(first) == 1) < 0.78
    picks = sample_treated(phantom, np.arange(3), rng)
    assert len(set(picks)) == len(picks)
