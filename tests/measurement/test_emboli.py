"""Dense pieces in the lungs: found, measured and only suspected; bone, large and outside pieces left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from phantoms.spine import SpinePhantom, blurred_ball, normal_shape
from vertecast.core import geometry
from vertecast.core.anatomy import Compartment
from vertecast.core.images import Segmentation, Volume
from vertecast.core.results import LeakFinding, NotMeasured, Quantity
from vertecast.measurement.ct.cement.emboli import find_emboli
from vertecast.measurement.ct.levels import assign_levels
from vertecast.measurement.ct.study import measure_study

LUNG_HU, AIR_HU, CEMENT_HU = -850.0, -1000.0, 2200.0
Ball = tuple[tuple[float, float, float], float]
"""Centre in the frame of the body (mm) and radius (mm)."""
SPECK: Ball = ((58.0, -6.0, 9.0), 2.4)


@dataclass(frozen=True)
class Chest:
    """One filled body with room for a lung from 40 mm to its left on; ``local`` is every voxel in the body's frame."""

    made: SpinePhantom
    volume: Volume
    segmentation: Segmentation
    local: np.ndarray

    def ct(self, *dense: Ball, around_hu: float = LUNG_HU, dense_hu: float = CEMENT_HU) -> Volume:
        """The CT with lung, or else, on the left and dense balls."""
        hu = np.where(self.local[..., 0] > 40.0, around_hu, self.volume.hu).astype(np.float64)
        for center, radius in dense:
            share = blurred_ball(np.linalg.norm(self.local - center, axis=-1), radius, 0.7)
            hu += (dense_hu - hu) * share
        return replace(self.volume, hu=np.round(hu).astype(np.int16))


@pytest.fixture(scope="module")
def chest() -> Chest:
    made = SpinePhantom(
        shapes=[normal_shape(27.0)], balls=(((0.0, -3.0, 0.0), 8.5, 0),), margin_mm=46.0, spacing_mm=(1.0, 1.1, 1.4)
    )
    volume = made.volume()
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    local = made.local(0, geometry.apply(volume.lps_from_index, index))
    return Chest(made, volume, made.segmentation(), local.astype(np.float32))


@pytest.fixture(scope="module")
def suspected(chest: Chest) -> Callable[..., tuple[LeakFinding, ...]]:
    """What is suspected in the chest, with its cement found once."""
    from vertecast.measurement.ct.cement.findings import measure_cement
    from vertecast.measurement.ct.cement.leak_relations import ImageSource
    from vertecast.measurement.ct.cement.map import find_cement

    missing = NotMeasured(reason="not fitted")
    levels = assign_levels(chest.segmentation)
    found = find_cement(chest.volume, chest.segmentation).cement
    assert found is not None
    cement = measure_cement(
        chest.volume, found, chest.segmentation, [missing], levels, body_volumes=[missing], series_instance_uid="1.2.3"
    )
    source = ImageSource(series_instance_uid="1.2.3")

    def look(
        *dense: Ball, segmentation: Segmentation = chest.segmentation, **changes: float
    ) -> tuple[LeakFinding, ...]:
        return find_emboli(chest.ct(*dense, **changes), found, segmentation, levels, cement, source)

    return look


def test_a_dense_speck_in_the_lung_is_suspected(chest: Chest) -> None:
    center, radius = SPECK
    volume = chest.ct(SPECK)
    result = measure_study(
        volume, chest.segmentation, assign_levels(chest.segmentation), series_instance_uid="1.2.3"
    )  # fmt: skip
    (leak,) = result.leaks
    assert (leak.compartment, leak.suspected, leak.level) == (Compartment.DISTANT, True, "V1")
    assert isinstance(leak.volume, Quantity)
    assert leak.volume.value == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=0.2)
    at = geometry.apply(chest.made.frames[0], center)
    assert np.linalg.norm(np.array(leak.evidence.point_lps_mm) - at) < radius
    index = geometry.apply(geometry.inverse(volume.lps_from_index), leak.evidence.point_lps_mm)
    assert leak.evidence.slice_number == round(index[2]) + 1
    assert isinstance(leak.farthest, Quantity)
    assert leak.farthest.value == pytest.approx(58.0 + radius - 22.0, abs=3.0)
    assert isinstance(leak.yeom_type, NotMeasured)
    assert leak.cement_id == result.cement[0].id
    assert any("granuloma" in warning for warning in result.warnings)


def test_a_broken_cast_of_a_vessel_is_one_piece(suspected: Callable[..., tuple[LeakFinding, ...]]) -> None:
    (leak,) = suspected(*[((52.0 + step, 4.0, -6.0), 1.8) for step in (0.0, 3.0, 6.0, 13.0, 16.0)])
    assert isinstance(leak.farthest, Quantity)
    assert leak.farthest.value > 45.0


def test_two_pieces_are_told_cranial_first(suspected: Callable[..., tuple[LeakFinding, ...]]) -> None:
    leaks = suspected(((56.0, 0.0, -22.0), 2.4), ((56.0, 0.0, 22.0), 2.4))
    heights = [leak.evidence.point_lps_mm[2] for leak in leaks if leak.evidence.point_lps_mm]
    assert len(heights) == 2
    assert heights[0] > heights[1] + 30


@pytest.mark.parametrize(
    ("ball", "around_hu"),
    [
        (((41.0, 0.0, 0.0), 2.4), LUNG_HU),
        (((58.0, -6.0, 9.0), 6.5), LUNG_HU),
        (((58.0, -6.0, 9.0), 1.0), LUNG_HU),
        (SPECK, AIR_HU),
        (SPECK, 30.0),
    ],
    ids=["at the wall of the chest", "too thick for a vessel", "a voxel", "in air", "in soft tissue"],
)
def test_what_is_no_embolus(suspected: Callable[..., tuple[LeakFinding, ...]], ball: Ball, around_hu: float) -> None:
    assert suspected(ball, around_hu=around_hu) == ()


def test_metal_in_the_lung_is_left_alone(chest: Chest, suspected: Callable[..., tuple[LeakFinding, ...]]) -> None:
    lps_mm = geometry.apply(chest.made.frames[0], SPECK[0])
    at = geometry.apply(geometry.inverse(chest.segmentation.lps_from_index), lps_mm)
    metal = chest.segmentation.metal_probability.copy()
    metal[tuple(slice(int(n) - 2, int(n) + 4) for n in at)] = 1.0
    assert suspected(SPECK)
    assert suspected(SPECK, segmentation=replace(chest.segmentation, metal_probability=metal)) == ()


def test_what_is_no_brighter_than_a_rib_is_none(suspected: Callable[..., tuple[LeakFinding, ...]]) -> None:
    thick: Ball = (SPECK[0], 3.5)
    assert suspected(thick, dense_hu=1300.0) == ()
    assert len(suspected(thick, dense_hu=1900.0)) == 1
