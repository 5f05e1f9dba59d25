from __future__ import annotations

import numpy as np
import pytest

from vertecast.core import geometry
from vertecast.core.errors import UnreadableError
from vertecast.core.images import Mask, Volume
from vertecast.lab.evaluation.real.variants import (
    BRIGHT_HU,
    brighten_vessels,
    cut_behind_bodies,
    derive,
    posterior_walls_mm,
)
from vertecast.lab.evaluation.real.whole import level_offset, score_whole

AFFINE = geometry.affine(np.diag([1.0, -1.5, 2.5]), [-20.0, 60.0, -30.0])
"""Index axis 1 runs to the front, as in RAS files."""
SHAPE = (44, 40, 36)


def vertebrae(*numbers: int, posterior: int = 0) -> Mask:
    """One vertebra every 12 slices, from below: a body of 10 rows in front of a canal of 10, and an arch round it."""
    labels = np.zeros(SHAPE, np.uint8)
    for n, number in enumerate(numbers):
        if number:
            arch = number + posterior
            labels[8:36, 6:20, 12 * n + 2 : 12 * n + 10] = arch
            labels[14:30, 9:19, 12 * n + 2 : 12 * n + 10] = 0
            labels[8:36, 19:31, 12 * n + 2 : 12 * n + 10] = number
    return Mask(labels=labels, lps_from_index=AFFINE)


def test_bodies_and_posterior_elements_count_together() -> None:
    score = score_whole(vertebrae(22, 21, 20), vertebrae(22, 21, 20, posterior=100), ("L1", "L3"))
    assert (score.dice, score.minimum, score.mean, score.levels_right) == (1.0, 1.0, 1.0, True)
    assert score.offsets == {"L1": 0, "L2": 0, "L3": 0}


def test_a_vertebra_is_scored_whatever_its_name_and_the_name_is_told() -> None:
    score = score_whole(vertebrae(22, 21, 20), vertebrae(23, 41, 0, posterior=100), ("L1", "L3"))
    assert dict(score.by_level) == {"L1": 0.0, "L2": 1.0, "L3": 1.0}
    assert (score.minimum, score.levels_right) == (0.0, False)
    assert score.offsets == {"L2": None, "L3": 1}
    assert score.dice == pytest.approx(2 * 2 / (3 + 2))


def test_slices_beyond_the_scored_levels_do_not_count() -> None:
    score = score_whole(vertebrae(22, 21, 20), vertebrae(0, 21, 0, posterior=100), ("L2", "L2"))
    assert (score.dice, dict(score.by_level)) == (1.0, {"L2": 1.0})
    nothing = score_whole(vertebrae(22), vertebrae(22), ("T1", "T2"))
    assert np.isnan([nothing.dice, nothing.minimum, nothing.mean]).all()
    assert not nothing.levels_right


def test_levels_are_counted_without_the_variants() -> None:
    assert (level_offset("T12", "L1"), level_offset("L1", "T12"), level_offset("L1", "L1")) == (1, -1, 0)
    assert level_offset("L1", "V3") is None
    assert level_offset("L1", "T13") is None


def test_the_wall_is_the_front_of_the_canal() -> None:
    walls = posterior_walls_mm(vertebrae(22, 0, 20))
    assert sorted(walls) == [*range(2, 10), *range(26, 34)]
    assert set(walls.values()) == {60 - 1.5 * 18}


def test_a_cut_back_keeps_bodies_and_loses_arches() -> None:
    whole = vertebrae(22, 21, 20)
    hu = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    cut = cut_behind_bodies(Volume(hu=hu, lps_from_index=AFFINE), whole)
    assert cut.volume.shape == cut.whole.labels.shape == (44, 40 - 18, 32)
    assert (cut.volume.hu == hu[:, 18:, 2:34]).all()
    assert np.allclose(geometry.apply(cut.volume.lps_from_index, [0, 0, 0]), geometry.apply(AFFINE, [0, 18, 2]))
    assert np.any(cut.whole.labels[14:30, 1:13])


def test_a_bent_column_is_cut_where_it_is_straight() -> None:
    whole = vertebrae(22, 21, 20)
    bent = np.array(whole.labels)
    bent[:, :, 24:] = np.roll(bent[:, :, 24:], 9, axis=1)
    cut = cut_behind_bodies(
        Volume(hu=np.zeros(SHAPE, np.int16), lps_from_index=AFFINE), Mask(labels=bent, lps_from_index=AFFINE)
    )
    assert np.unique(cut.whole.labels).tolist() == [0, 21, 22]


def test_large_vessels_away_from_the_column_are_brightened() -> None:
    whole = vertebrae(22, 21, 20)
    hu = np.zeros(SHAPE, np.float32)
    hu[np.asarray(whole.labels) != 0] = 250
    hu[10:34, 32:33, :] = 200  # within 4 mm of the bodies
    hu[10:34, 34:40, :] = 200  # 19 mL
    hu[0:3, 0:10, 0:4] = 200  # 0.5 mL
    hu[40:44, 0:40, :] = 600  # cortical bone
    made = derive("contrast", Volume(hu=hu, lps_from_index=AFFINE), whole)
    expected = hu.copy()
    expected[10:34, 34:40, :] = BRIGHT_HU
    assert (np.asarray(made.volume.hu) == expected).all()
    assert (brighten_vessels(made.volume, whole).volume.hu == expected).all()


def test_a_map_that_does_not_fit_is_refused() -> None:
    whole = vertebrae(22)
    with pytest.raises(UnreadableError, match="differ"):
        derive("back cut", Volume(hu=np.zeros((3, 4, 5)), lps_from_index=AFFINE), whole)
    empty = Mask(labels=np.zeros(SHAPE, np.uint8), lps_from_index=AFFINE)
    with pytest.raises(UnreadableError, match="encloses a canal"):
        derive("back cut", Volume(hu=np.zeros(SHAPE), lps_from_index=AFFINE), empty)
