"""Tests of what surrounds the column in chest and neck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from vertecast.core import geometry
from vertecast.core.anatomy import Level, Structure
from vertecast.lab.simulation.patient import tissue
from vertecast.lab.simulation.patient.bone import BoneLook
from vertecast.lab.simulation.patient.canvas import Canvas
from vertecast.lab.simulation.patient.neck import draw_head
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.shoulders import draw_shoulders
from vertecast.lab.simulation.patient.spine import Spine
from vertecast.lab.simulation.patient.thorax import Thorax, draw_breast_bone
from vertecast.lab.simulation.patient.tissue import Phantom, draw

SPACING_MM = 4.0
SHAPE = (110, 72, 96)


def _grid(spine: Spine, level: Level = Level.T5) -> geometry.FloatArray:
    """A coarse grid round the chest."""
    middle = np.add(next(v.lps_from_local[:3, 3] for v in spine.vertebrae if v.level is level), [0, -50, 0])
    return geometry.scaling_affine([SPACING_MM] * 3, middle - SPACING_MM * (np.array(SHAPE) - 1) / 2)


def _drawn(seed: int) -> Phantom:
    spine = sample_spine(np.random.default_rng(seed))
    return draw(spine, _grid(spine), SHAPE, np.random.default_rng(seed))


@pytest.mark.parametrize("draw_bones", [draw_shoulders, draw_breast_bone])
def test_bones_of_the_chest_wall_are_other_bone(draw_bones: Callable[..., None]) -> None:
    rng = np.random.default_rng(1)
    spine = sample_spine(rng)
    canvas = Canvas.empty(_grid(spine), SHAPE)
    draw_bones(canvas, Thorax.sample(spine, rng), BoneLook.sample(rng, 60), rng)
    hard = canvas.hu > 150
    assert hard.sum() * SPACING_MM**3 / 1000 > 5, "millilitres"
    assert set(np.unique(canvas.structure)) == {Structure.BACKGROUND, Structure.OTHER_BONE}
    assert not canvas.instance.any()
    assert (canvas.structure[hard] == Structure.OTHER_BONE).mean() > 0.6, "the others hold a bone in part"


@pytest.mark.parametrize("seed", [1, 4])
def test_the_breast_bone_lies_in_front_of_the_column(seed: int) -> None:
    phantom = _drawn(seed)
    body = geometry.apply(phantom.lps_from_index, np.argwhere(phantom.structure == Structure.BODY))
    other = geometry.apply(phantom.lps_from_index, np.argwhere(phantom.structure == Structure.OTHER_BONE))
    t6 = next(v.lps_from_local[:3, 3] for v in phantom.spine.vertebrae if v.level is Level.T6)
    near = other[(np.abs(other - t6)[:, [0, 2]] < [12, 12]).all(axis=1)]
    assert len(near) > 3
    assert near[:, 1].min() < body[np.abs(body[:, 2] - t6[2]) < 12, 1].min() - 40


@pytest.mark.parametrize("seed", [1, 4])
def test_the_column_keeps_its_voxels(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _drawn(seed)
    for name in ("draw_shoulders", "draw_breast_bone", "draw_head"):
        monkeypatch.setattr(tissue, name, lambda *arguments: None)
    bare = _drawn(seed)
    for structure in (Structure.BODY, Structure.POSTERIOR, Structure.CANAL, Structure.DISC, Structure.RIB):
        np.testing.assert_array_equal(whole.structure == structure, bare.structure == structure)
    column = np.isin(whole.structure, (Structure.BODY, Structure.CANAL, Structure.DISC))
    assert column.any()
    assert (whole.structure == Structure.OTHER_BONE).sum() > (bare.structure == Structure.OTHER_BONE).sum() + 100


def test_ribs_lie_outside_the_lungs() -> None:
    phantom = _drawn(1)
    rib = np.argwhere(phantom.structure == Structure.RIB)
    air = [(phantom.hu[tuple((np.add(rib, [0, step, 0])).clip(0, np.array(SHAPE) - 1).T)] < -500) for step in (-3, 3)]
    across = [
        (phantom.hu[tuple((np.add(rib, [step, 0, 0])).clip(0, np.array(SHAPE) - 1).T)] < -500) for step in (-3, 3)
    ]
    assert ((air[0] & air[1]) | (across[0] & across[1])).mean() < 0.05


def test_a_skull_belongs_to_a_neck_alone() -> None:
    rng = np.random.default_rng(3)
    spine = sample_spine(rng)
    top = next(v for v in spine.vertebrae if v.level is Level.T1)
    look = BoneLook.sample(rng, 60)
    thoracic = replace(spine, vertebrae=tuple(v for v in spine.vertebrae if v.level >= Level.T1))
    canvas = Canvas.empty(_grid(spine, Level.T1), SHAPE)
    draw_head(canvas, thoracic, look, rng)
    assert (canvas.hu == -1000).all()
    neck = replace(top, level=Level.C7, lps_from_local=top.lps_from_local @ geometry.affine(np.eye(3), [0, 0, 18]))
    draw_head(canvas, replace(thoracic, vertebrae=(neck, *thoracic.vertebrae)), look, rng)
    z = geometry.apply(canvas.lps_from_index, np.argwhere(canvas.structure == Structure.OTHER_BONE))[:, 2]
    assert len(z) > 100
    assert z.min() > neck.lps_from_local[2, 3]
    assert set(np.unique(canvas.structure)) == {Structure.BACKGROUND, Structure.OTHER_BONE}
