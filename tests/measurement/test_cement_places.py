"""Where cement lies in a body, what leaks touch, and what is no cement at all, against phantoms of known truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from phantoms.spine import SpinePhantom, normal_shape
from vertecast.core import geometry
from vertecast.core.anatomy import Compartment, Structure, YeomType
from vertecast.core.images import Segmentation, Volume
from vertecast.core.results import LeakFinding, NotMeasured, Quantity
from vertecast.measurement.ct.levels import assign_levels
from vertecast.measurement.ct.study import Measurements, measure_study

Ball = tuple[tuple[float, float, float], float, int]
INSIDE: Ball = ((0.0, -3.0, 0.0), 8.5, 0)


def phantom(*balls: Ball, bodies: int = 1, **changes: object) -> SpinePhantom:
    shapes = [normal_shape(27.0 + n) for n in range(bodies)]
    return SpinePhantom(shapes=shapes, balls=balls, **changes)  # type: ignore[arg-type]


def measured(
    made: SpinePhantom, *, volume: Volume | None = None, segmentation: Segmentation | None = None
) -> Measurements:
    seen = segmentation or made.segmentation()
    return measure_study(volume or made.volume(), seen, assign_levels(seen), series_instance_uid="1.2.3")


def value(quantity: object) -> float:
    assert isinstance(quantity, Quantity)
    return quantity.value


def local_of(made: SpinePhantom, volume: Volume) -> np.ndarray:
    """Every voxel of the CT in the frame of the first body."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    return made.local(0, geometry.apply(volume.lps_from_index, index))


def brightened(made: SpinePhantom, where: np.ndarray, hu: float) -> Volume:
    volume = made.volume()
    return replace(volume, hu=np.where(where, np.int16(hu), volume.hu).astype(np.int16))


def test_thirds_of_a_body_filled_in_front() -> None:
    made = phantom(((4.0, -10.5, 0.0), 4.0, 0), ((4.0, 0.0, 0.0), 3.0, 0))
    (cement,) = measured(made).cement
    assert isinstance(cement.thirds_filled, Mapping)
    assert isinstance(cement.thirds_of_cement, Mapping)
    lies = {third: value(share) for third, share in cement.thirds_of_cement.items()}
    assert sum(lies.values()) == pytest.approx(1.0)
    # Balls of 4 and 3 mm: volumes 64 to 27; the body is 33 mm deep, so the first lies wholly in front of y = -5.5.
    assert lies == pytest.approx({"anterior": 64 / 91, "middle": 27 / 91, "posterior": 0.0}, abs=0.06)
    filled = {third: value(share) for third, share in cement.thirds_filled.items()}
    assert filled["anterior"] > 1.5 * filled["middle"]
    assert filled["posterior"] < 0.01
    whole = value(cement.fill_fraction)
    assert min(filled.values()) < whole < max(filled.values())


def test_thirds_without_a_frame_are_not_measured() -> None:
    made = phantom(INSIDE)
    (cement,) = measured(made, segmentation=made.segmentation(touches=[0])).cement
    assert isinstance(cement.thirds_filled, NotMeasured)
    assert isinstance(cement.thirds_of_cement, NotMeasured)


def test_gas_left_beside_cement_is_counted_and_other_gas_is_not() -> None:
    made = phantom(((-4.0, -3.0, 0.0), 6.0, 0))
    volume = made.volume()
    x, y, z = np.moveaxis(local_of(made, volume), -1, 0)
    beside = (np.abs(x - 5.0) < 2.5) & (np.abs(y + 3) < 4.0) & (np.abs(z) < 3.0)
    far = (x > 13.5) & (x < 17) & (np.abs(y + 3) < 4.0) & (np.abs(z) < 3.0)
    (none,) = measured(made).cement
    assert value(none.gas_beside) == 0
    (left,) = measured(made, volume=brightened(made, beside | far, -900)).cement
    assert value(left.gas_beside) == pytest.approx(5 * 8 * 6 / 1000, rel=0.25)


def only_leak(made: SpinePhantom) -> LeakFinding:
    (leak,) = measured(made).leaks
    return leak


def test_share_of_the_canal_that_a_leak_fills() -> None:
    # The canal is 22 mm wide and 16 mm deep; a ball of 4 mm is cut by a slab of 3 mm in 48 mm2 on average.
    leak = only_leak(phantom(INSIDE, ((0.0, 24.0, 1.0), 4.0, 0)))
    assert leak.compartment is Compartment.CANAL
    section = np.pi * (4.0**2 - 1.5**2 / 3)
    assert value(leak.canal_fill) == pytest.approx(section / (22 * 16), rel=0.2)
    assert isinstance(leak.canal_fill, Quantity)
    assert leak.canal_fill.interval95 is not None
    assert leak.canal_fill.interval95[0] < section / (22 * 16) < leak.canal_fill.interval95[1]
    assert leak.canal_contact is True
    assert leak.disc_crossed is None


def test_a_disc_reaches_as_far_as_it_is_seen_before_its_body() -> None:
    # The front of a wedged body lies behind that of its disc.
    made = phantom(INSIDE, ((0.0, -19.5, -16.5), 2.5, 0), bodies=2)
    assert only_leak(made).compartment is Compartment.PREVERTEBRAL
    seen = made.segmentation()
    index = np.stack(np.meshgrid(*map(np.arange, seen.structure.shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(made.local(0, geometry.apply(seen.lps_from_index, index)), -1, 0)
    disc = (np.abs(x) < 12) & (np.abs(y) < 23) & (z < -13) & (z > -20) & (seen.structure == Structure.BACKGROUND)
    structure = np.where(disc, np.uint8(Structure.DISC), seen.structure)
    (leak,) = measured(made, segmentation=replace(seen, structure=structure)).leaks
    assert leak.compartment is Compartment.DISC_INFERIOR


def test_a_disc_reaches_as_far_as_the_plate_of_the_next_body() -> None:
    ball = ((0.0, -19.5, -16.5), 2.5, 0)
    for depth_mm, place in ((33.0, Compartment.PREVERTEBRAL), (46.0, Compartment.DISC_INFERIOR)):
        shapes = [normal_shape(27.0), normal_shape(28.0, depth_mm=depth_mm)]
        assert only_leak(SpinePhantom(shapes=shapes, balls=(INSIDE, ball))).compartment is place


def test_a_canal_that_was_inferred_has_no_filled_share() -> None:
    made = phantom(INSIDE, ((0.0, 24.0, 1.0), 4.0, 0))
    (leak,) = measured(made, segmentation=replace(made.segmentation(), canal_is_inferred=True)).leaks
    assert leak.canal_fill == NotMeasured(reason="the canal was drawn from the arches round it")


def test_a_leak_in_front_does_not_touch_the_canal() -> None:
    leak = only_leak(phantom(INSIDE, ((0.0, -20.0, 2.0), 3.2, 0)))
    assert (leak.canal_contact, leak.canal_fill, leak.neighbour_contact) == (False, None, None)


@pytest.mark.parametrize(("radius", "touches"), [(2.4, False), (3.9, True)])
def test_how_far_a_leak_crosses_the_disc(radius: float, touches: bool) -> None:
    # The disc below the first of two bodies is 8 mm high where the plates face each other.
    made = phantom(INSIDE, ((-4.0, -2.0, 0.0), radius, 0), bodies=2, curve_deg=0.0)
    shape = made.shapes[0]
    bottom = float(shape.inferior_mm(np.array([-4.0]), np.array([-2.0]))[0])
    below = float(made.shapes[1].superior_mm(np.array([-4.0]), np.array([-2.0]))[0])
    gap = bottom - (below - (shape.middle_mm + made.shapes[1].middle_mm) / 2 - made.disc_mm)
    made = replace(made, balls=(INSIDE, ((-4.0, -2.0, bottom - radius), radius, 0)), frames=[])
    (leak,) = measured(made).leaks
    assert (leak.compartment, leak.level) == (Compartment.DISC_INFERIOR, "V1")
    assert value(leak.disc_crossed) == pytest.approx(min(2 * radius / gap, 1.0), abs=0.15)
    assert leak.neighbour_contact is touches


def test_a_disc_leak_without_a_body_across_says_so() -> None:
    leak = only_leak(phantom(INSIDE, ((-4.0, -2.0, -17.5), 3.4, 0)))
    assert leak.disc_crossed == NotMeasured(reason="no body was found across the disc")
    assert leak.neighbour_contact == leak.disc_crossed


def test_dense_bone_beside_a_stray_mark_is_no_cement() -> None:
    # A sclerotic second body: bright all over, but the network marked a speck of it.
    made = phantom(INSIDE, ((3.0, 0.0, 0.0), 2.0, 1), bodies=2)
    volume = made.volume()
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    local = made.local(1, geometry.apply(volume.lps_from_index, index))
    dense = np.linalg.norm(local, axis=-1) < 9.0
    result = measured(made, volume=brightened(made, dense, 1000))
    assert [cement.level for cement in result.cement] == ["V1"]
    assert [vertebra.treated for vertebra in result.vertebrae] == [True, False]
    assert result.leaks == ()


def test_a_stray_mark_in_calcium_is_no_leak() -> None:
    made = phantom(INSIDE)
    calcium = replace(made, balls=(INSIDE, ((-20.0, -24.0, 0.0), 5.0, 0)), frames=[])
    marked = replace(made, balls=(INSIDE, ((-23.0, -24.0, 0.0), 1.3, 0)), frames=[])
    assert [leak.compartment for leak in measured(calcium).leaks] != []
    assert measured(calcium, segmentation=marked.segmentation()).leaks == ()


def test_a_detached_piece_far_in_front_is_distant_by_way_of_a_vein() -> None:
    leak = only_leak(phantom(INSIDE, ((-12.0, -46.0, 4.0), 3.0, 0), margin_mm=34.0))
    assert (leak.compartment, leak.yeom_type) == (Compartment.DISTANT, YeomType.SEGMENTAL)


def test_a_vein_round_the_front_corner_is_one_leak() -> None:
    # Half of it lies in front, half beside: only together they are a tube.
    angle = np.radians(np.arange(160.0, 290.0, 3.0))
    ring = [((25.0 * np.cos(a), 19.5 * np.sin(a), 0.0), 1.5, 0) for a in angle]
    result = measured(phantom(INSIDE, *ring, spacing_mm=(0.6, 0.7, 1.0)))
    assert [leak.compartment for leak in result.leaks] == [Compartment.VEIN]


def screw(x: float) -> list[Ball]:
    """A rod of 6 mm from inside the body through the pedicle, 50 mm behind it."""
    return [((x, y, 4.0), 3.0, 0) for y in np.arange(6.0, 62.0, 2.0)]


def test_pedicle_screws_that_look_like_cement_are_metal() -> None:
    made = phantom(INSIDE, *screw(15.0), *screw(-15.0), margin_mm=34.0)
    result = measured(made)
    assert [leak.compartment for leak in result.leaks] == []
    assert len(result.hardware) == 2
    for found in result.hardware:
        # From the back of the body on: 46 mm of a rod of 28 mm2, somewhat wider where blurred balls overlap.
        assert 1.2 < value(found.volume) < 2.0
    assert any("too thick for cement" in warning for warning in result.warnings)
    assert 210 in result.cement_labels


def test_a_needle_tract_is_cement() -> None:
    tract = [((15.0, y, 4.0), 1.7, 0) for y in np.arange(6.0, 56.0, 1.5)]
    result = measured(phantom(INSIDE, *tract, margin_mm=30.0))
    assert {leak.compartment for leak in result.leaks} == {Compartment.NEEDLE_TRACT}
    assert result.hardware == ()


def test_confidence_in_a_leak_falls_with_the_error_of_the_outline() -> None:
    made = phantom(INSIDE, ((0.0, -20.0, 2.0), 3.2, 0))
    sure = only_leak(made)
    doubted = replace(made.segmentation(), height_sd_mm=(6.0,))
    (unsure,) = measured(made, segmentation=doubted).leaks
    assert isinstance(sure.farthest, Quantity)
    expected = special.ndtr(sure.farthest.value / np.hypot(6.0, 0.0) * np.sqrt(2))
    assert unsure.confidence / sure.confidence == pytest.approx(expected, abs=0.03)
