"""New and dense bone: labelled as what it is, the bodies' truth untouched, the same in every drawing of a patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.ct.crops import CropSettings, draw_patient
from vertecast.lab.simulation.patient.bone import BoneLook
from vertecast.lab.simulation.patient.course import with_shapes
from vertecast.lab.simulation.patient.degeneration import Degeneration
from vertecast.lab.simulation.patient.ossification import FRONT_RAD
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.spine import Spine
from vertecast.lab.simulation.patient.tissue import Phantom, draw
from vertecast.lab.simulation.treatment.cement import FAINT_CEMENT_HU, sample_mean_hu

MIDDLE = 14
SHAPE = (40, 50, 60)
SPACING_MM = 2.0

Sampled = Callable[[Spine, BoneLook, np.random.Generator], Degeneration]


@cache
def column() -> Spine:
    return sample_spine(np.random.default_rng(3), fracture_rate=0.0)


def having(**findings: Any) -> Sampled:
    """Patients with nothing but some findings."""
    original = Degeneration.sample

    def sample(spine: Spine, look: BoneLook, rng: np.random.Generator) -> Degeneration:
        drawn, none = original(spine, look, rng), range(0)
        return replace(
            drawn,
            **{
                "amount": 0.0,
                "ligament": none,
                "syndesmophytes": none,
                "posterior_ligament": none,
                "yellow_ligament": none,
                "calcified_discs": 0.0,
                "schmorl": 0.0,
                "dense_hu": (0.0,) * len(spine.vertebrae),
                **findings,
            },
        )

    return sample


def drawn(patch: pytest.MonkeyPatch, spine: Spine, sample: Sampled, *, steady: bool = True) -> Phantom:
    grid = geometry.scaling_affine(
        [SPACING_MM] * 3, column().vertebrae[MIDDLE].lps_from_local[:3, 3] - np.array(SHAPE) * SPACING_MM / 2
    )
    with patch.context() as own:
        own.setattr(Degeneration, "sample", sample)
        return draw(spine, grid, SHAPE, np.random.default_rng(5), steady=steady)


def local_mm(phantom: Phantom, n: int) -> npt.NDArray[np.float64]:
    index = np.stack(np.meshgrid(*map(np.arange, phantom.hu.shape), indexing="ij"), axis=-1)
    return geometry.apply(geometry.inverse(phantom.spine.vertebrae[n].lps_from_local) @ phantom.lps_from_index, index)


def ligament(sample: Sampled = Degeneration.sample) -> dict[str, Any]:
    look = BoneLook.sample(np.random.default_rng(1), 70.0)
    bone = sample(column(), look, np.random.default_rng(1)).ligament_bone
    bone = replace(bone, direction_rad=FRONT_RAD, half_angle_rad=0.8, thick_mm=7.0, cortex_hu=900.0, core_hu=700.0)
    return {"ligament": range(MIDDLE - 3, MIDDLE + 3), "ligament_bone": bone}


def test_an_ossified_ligament_is_other_bone_and_crosses_a_disc(monkeypatch: pytest.MonkeyPatch) -> None:
    phantom = drawn(monkeypatch, column(), having(**ligament()))
    other = phantom.structure == Structure.OTHER_BONE
    clumps, _ = ndimage.label(other)
    largest = clumps == np.bincount(clumps[other]).argmax()
    z_mm = local_mm(phantom, MIDDLE)[..., 2][largest]
    half = column().vertebrae[MIDDLE].shape.anterior_mm / 2
    assert z_mm.min() < -half - 12
    assert z_mm.max() > half + 12
    inside = ndimage.binary_erosion(largest)
    assert np.median(phantom.hu[inside]) > 450


def test_a_ligament_moves_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    without, with_one = (drawn(monkeypatch, column(), having(**found)) for found in ({}, ligament()))
    for structure in (Structure.BODY, Structure.POSTERIOR):
        assert np.array_equal(without.structure == structure, with_one.structure == structure)
    assert (with_one.structure == Structure.OTHER_BONE).sum() > (without.structure == Structure.OTHER_BONE).sum() + 200


def test_a_dense_body_is_bright_bone_without_cement(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = having(dense_hu=(900.0,) * 30, patchy=False)
    plain, bright = (drawn(monkeypatch, column(), sample) for sample in (having(), dense))
    inside = ndimage.binary_erosion((plain.structure == Structure.BODY) & (plain.instance == MIDDLE + 1), iterations=2)
    assert np.median(bright.hu[inside]) > 700 > np.median(plain.hu[inside])
    assert np.array_equal(plain.structure, bright.structure)

    with monkeypatch.context() as own:
        own.setattr(Degeneration, "sample", dense)
        settings = CropSettings(spacing_mm=3.0, phantom_shape=(50, 50, 50), treated_rate=0.0, metal_rate=0.0)
        patient = draw_patient(np.random.default_rng(2), settings)
    assert (patient.hu[patient.structure == Structure.BODY] > 700).mean() > 0.3
    assert not patient.cement.any()


def test_schmorls_nodes_are_disc_and_take_little_of_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, bitten = (drawn(monkeypatch, column(), having(schmorl=share)) for share in (0.0, 1.0))
    body = plain.structure == Structure.BODY
    lost = body & (bitten.structure != Structure.BODY)
    assert (bitten.structure[lost] == Structure.DISC).all()
    assert 0 < lost.sum() < 0.1 * body.sum()
    for n in range(MIDDLE - 1, MIDDLE + 2):
        own = local_mm(plain, n)[lost & (plain.instance == n + 1)]
        middle = own[np.abs(own[:, 0]) < 1.5]
        plate = column().vertebrae[n].shape
        top, bottom = plate.superior_mm(middle[:, 0], middle[:, 1]), plate.inferior_mm(middle[:, 0], middle[:, 1])
        assert (np.minimum(top - middle[:, 2], middle[:, 2] - bottom) < 2.5).all()


@pytest.mark.parametrize("steady", [True, False])
def test_a_patient_drawn_twice_is_the_same(monkeypatch: pytest.MonkeyPatch, steady: bool) -> None:
    everything = having(**ligament(), amount=1.0, schmorl=0.3, calcified_discs=0.5, yellow_ligament=range(5, 17))
    first, second = (drawn(monkeypatch, column(), everything, steady=steady) for _ in range(2))
    assert np.array_equal(first.hu, second.hu)
    assert np.array_equal(first.structure, second.structure)


def test_new_bone_stays_when_another_body_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = having(**ligament(), amount=1.0, schmorl=0.3, calcified_discs=0.5)
    shape = column().vertebrae[MIDDLE - 1].shape
    changed = with_shapes(column(), {MIDDLE - 1: replace(shape, anterior_mm=0.7 * shape.anterior_mm)})
    then, now = (drawn(monkeypatch, spine, everything) for spine in (column(), changed))
    below = local_mm(then, MIDDLE + 1)[..., 2] < 0
    for structure in (Structure.OTHER_BONE, Structure.BODY, Structure.DISC):
        own = (then.structure == structure) & below
        assert own.sum() > 50
        assert (now.structure == structure)[own].mean() > 0.98
        assert (now.hu == then.hu)[own].mean() > 0.9


def test_cement_is_brighter_than_bone() -> None:
    rng = np.random.default_rng(0)
    means = np.array([sample_mean_hu(rng) for _ in range(3000)])
    assert FAINT_CEMENT_HU[0] <= means.min()
    assert means.max() <= 6000
    assert (means < 1300).mean() < 0.1
    assert (means > 3071).mean() > 0.3
