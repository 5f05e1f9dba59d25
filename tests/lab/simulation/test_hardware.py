from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from phantoms.simulation import make_phantom
from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.treatment.cement import treat
from vertecast.lab.simulation.treatment.hardware import Hardware, cage, metal_fraction, needles, screws_and_rods, stent

PHANTOM = make_phantom(2.0)


def local_mm(item: Hardware, index: int) -> np.ndarray:
    lps = geometry.apply(PHANTOM.lps_from_index, item.deposit.voxels)
    return geometry.apply(geometry.inverse(PHANTOM.spine.vertebrae[index].lps_from_local), lps)


def test_needles_end_at_the_tips_and_pass_behind_the_body() -> None:
    treatment = treat(PHANTOM, 1, np.random.default_rng(0), leaks=[])
    item = needles(PHANTOM, treatment, np.random.default_rng(1))
    lps = geometry.apply(PHANTOM.lps_from_index, item.deposit.voxels)
    for tip in treatment.needle_tips_lps_mm:
        assert np.linalg.norm(lps - tip, axis=1).min() < 3
    assert local_mm(item, 1)[:, 1].max() > 30
    assert local_mm(item, 1)[:, 1].min() >= -16
    assert item.material == "steel"
    assert (PHANTOM.structure[tuple(item.deposit.voxels.T)] == Structure.CANAL).mean() < 0.05


def test_screws_stand_on_both_sides_of_every_level_and_rods_join_them() -> None:
    item = screws_and_rods(PHANTOM, [0, 1, 2], np.random.default_rng(2))
    at = tuple(item.deposit.voxels.T)
    for index in range(3):
        x = local_mm(item, index)[(PHANTOM.structure[at] == Structure.BODY) & (PHANTOM.instance[at] == index + 1)][:, 0]
        assert (x > 2).any()
        assert (x < -2).any()
    assert (PHANTOM.structure[at] == Structure.CANAL).mean() < 0.02
    _, count = ndimage.label(metal_fraction(PHANTOM, [item]) > 0, np.ones((3, 3, 3)))
    assert count == 2


def test_a_cage_lies_between_its_endplates() -> None:
    item = cage(PHANTOM, 0, np.random.default_rng(3))
    assert local_mm(item, 0)[:, 2].max() < -8
    assert local_mm(item, 1)[:, 2].min() > 8
    with pytest.raises(IndexError):
        cage(PHANTOM, 2, np.random.default_rng(3))


def test_stents_lie_in_the_body_and_their_wires_keep_their_volume() -> None:
    item = stent(PHANTOM, 1, np.random.default_rng(4))
    at = tuple(item.deposit.voxels.T)
    inside = (PHANTOM.structure[at] == Structure.BODY) & (PHANTOM.instance[at] == 2)
    assert inside.mean() > 0.9
    assert 0.05 < item.deposit.volume_ml(PHANTOM.lps_from_index) < 2.0


def test_each_voxel_appears_once_with_a_share_up_to_one() -> None:
    item = screws_and_rods(PHANTOM, [1, 2], np.random.default_rng(5))
    assert len(np.unique(item.deposit.voxels, axis=0)) == len(item.deposit.voxels)
    assert item.deposit.fraction.min() > 0
    assert item.deposit.fraction.max() <= 1
    assert metal_fraction(PHANTOM, [item]).sum() == pytest.approx(item.deposit.fraction.sum(), rel=1e-4)
