"""Cement volumes, attribution and leaks against spheres of known volume and place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phantoms.spine import SpinePhantom, normal_shape
from vertecast.core import geometry
from vertecast.core.anatomy import POSTERIOR_LABEL_OFFSET, Compartment, YeomType
from vertecast.core.images import Volume
from vertecast.core.results import Quantity
from vertecast.measurement.ct.cement.map import CementMap, CementSearch, find_cement
from vertecast.measurement.ct.levels import assign_levels
from vertecast.measurement.ct.study import Measurements, measure_study

Ball = tuple[tuple[float, float, float], float, int]
INSIDE: Ball = ((0.0, -3.0, 0.0), 8.5, 0)


def phantom(*balls: Ball, bodies: int = 1, **changes: object) -> SpinePhantom:
    shapes = [normal_shape(27.0 + n) for n in range(bodies)]
    return SpinePhantom(shapes=shapes, balls=balls, **changes)  # type: ignore[arg-type]


def ball_ml(radius_mm: float) -> float:
    return float(4 / 3 * np.pi * radius_mm**3 / 1000)


def found(made: SpinePhantom) -> CementMap:
    result = find_cement(made.volume(), made.segmentation()).cement
    assert result is not None
    return result


def measured(made: SpinePhantom) -> Measurements:
    segmentation = made.segmentation()
    return measure_study(
        made.volume(),
        segmentation,
        assign_levels(segmentation),
        series_instance_uid="1.2.3",
        slice_sop_instance_uids=[f"1.2.3.{n}" for n in range(made.volume().shape[2])],
    )


def value(quantity: object) -> float:
    assert isinstance(quantity, Quantity)
    return quantity.value


@pytest.mark.parametrize(
    ("spacing", "blur", "hu"),
    [
        ((0.7, 0.8, 1.2), 0.4, 1400.0),
        ((0.7, 0.8, 1.2), 1.0, 2300.0),
        ((0.5, 0.6, 2.0), 1.4, 1400.0),
        ((0.5, 0.6, 2.0), 0.6, 2300.0),
        ((0.8, 0.9, 3.0), 0.9, 1800.0),
    ],
)
def test_volume_does_not_depend_on_blur_or_plateau(spacing: tuple[float, float, float], blur: float, hu: float) -> None:
    made = phantom(INSIDE, spacing_mm=spacing, blur_mm=blur, cement_hu=hu)
    cement = found(made)
    assert cement.volume_ml(cement.vertebra == 1).value == pytest.approx(ball_ml(8.5), rel=0.05)
    assert not cement.piece.any()


@pytest.mark.parametrize("hu", [3300.0, 3700.0, 4500.0, 5500.0])
def test_clipped_cement_keeps_its_volume_and_warns(hu: float) -> None:
    cement = found(phantom(INSIDE, blur_mm=1.0, cement_hu=hu))
    assert cement.volume_ml(cement.vertebra == 1).value == pytest.approx(ball_ml(8.5), rel=0.05)
    assert any("3071" in warning for warning in cement.warnings)
    unclipped = found(phantom(INSIDE, blur_mm=1.0, cement_hu=2300.0))
    assert (
        unclipped.volume_ml(unclipped.vertebra == 1).half_width
        < 0.5 * cement.volume_ml(cement.vertebra == 1).half_width
    )


def test_no_cement_is_found_without_the_network() -> None:
    made = phantom(INSIDE)
    segmentation = made.segmentation()
    none = replace(segmentation, cement_probability=np.zeros_like(segmentation.cement_probability))
    assert find_cement(made.volume(), none) == CementSearch()
    assert find_cement(phantom().volume(), phantom().segmentation()) == CementSearch()


def test_metal_is_no_cement() -> None:
    made = phantom(INSIDE, cement_hu=3600.0)
    segmentation = made.segmentation()
    metal = replace(segmentation, metal_probability=segmentation.cement_probability)
    result = measure_study(made.volume(), metal, assign_levels(metal), series_instance_uid="1.2.3")
    assert result.cement == ()
    assert value(result.hardware[0].volume) == pytest.approx(ball_ml(8.5), rel=0.15)
    assert np.allclose(result.hardware[0].center_lps_mm, geometry.apply(made.frames[0], INSIDE[0]), atol=1.0)
    assert set(np.unique(result.cement_labels)) == {0, 210}
    assert any("metal" in warning for warning in result.warnings)


def test_finding_of_a_treated_body() -> None:
    result = measured(phantom(INSIDE))
    (cement,) = result.cement
    assert value(cement.fill_fraction) == pytest.approx(
        value(cement.volume_inside) / value(result.vertebrae[0].volume), rel=1e-6
    )
    assert cement.pattern == "compact"
    assert cement.crosses_midline is True
    assert cement.endplate_contact == "none"
    assert result.vertebrae[0].treated
    assert result.leaks == ()
    assert set(np.unique(result.cement_labels)) == {0, 200}


def test_one_sided_cement_at_an_endplate() -> None:
    (cement,) = measured(phantom(((10.0, -3.0, 6.3), 6.0, 0))).cement
    assert cement.crosses_midline is False
    assert cement.endplate_contact == "superior"


def test_two_bodies_bridged_by_cement_are_divided() -> None:
    column = [((0.0, 0.0, z), 4.5, 0) for z in np.arange(-36.0, 1.0, 3.0)]
    made = phantom(*column, bodies=2, curve_deg=0.0)
    result = measured(made)
    assert [c.level for c in result.cement] == ["V1", "V2"]
    assert {leak.compartment for leak in result.leaks} <= {Compartment.DISC_INFERIOR, Compartment.DISC_SUPERIOR}
    assert result.leaks
    total = sum(value(c.volume) for c in result.cement)
    cylinder = np.pi * 4.5**2 * 36 / 1000 + ball_ml(4.5)
    assert total == pytest.approx(cylinder, rel=0.1)


LEAKS = [
    ((4.0, -2.0, 17.5), 3.4, Compartment.DISC_SUPERIOR, YeomType.DISC),
    ((-4.0, -2.0, -17.5), 3.4, Compartment.DISC_INFERIOR, YeomType.DISC),
    ((0.0, 20.0, 1.0), 2.8, Compartment.CANAL, YeomType.BASIVERTEBRAL),
    ((0.0, -20.0, 2.0), 3.2, Compartment.PREVERTEBRAL, YeomType.CORTICAL),
    ((24.5, -3.0, -2.0), 3.2, Compartment.PARAVERTEBRAL_LEFT, YeomType.CORTICAL),
    ((-24.5, -3.0, -2.0), 3.2, Compartment.PARAVERTEBRAL_RIGHT, YeomType.CORTICAL),
    ((17.0, 20.0, -9.0), 3.0, Compartment.FORAMEN, YeomType.CORTICAL),
]


@pytest.mark.parametrize(("center", "radius", "compartment", "yeom"), LEAKS, ids=[str(row[2]) for row in LEAKS])
def test_each_leak_gets_its_compartment(
    center: tuple[float, float, float], radius: float, compartment: Compartment, yeom: YeomType
) -> None:
    made = phantom(INSIDE, (center, radius, 0))
    result = measured(made)
    (leak,) = result.leaks
    assert (leak.compartment, leak.yeom_type) == (compartment, yeom)
    assert value(leak.volume) == pytest.approx(ball_ml(radius), rel=0.3)
    assert leak.cement_id == result.cement[0].id
    expected = geometry.apply(made.frames[0], center)
    assert np.linalg.norm(np.array(leak.evidence.point_lps_mm) - expected) < radius
    index = geometry.apply(geometry.inverse(made.volume().lps_from_index), leak.evidence.point_lps_mm)
    assert leak.evidence.slice_number == round(index[2]) + 1
    assert leak.evidence.sop_instance_uid == f"1.2.3.{leak.evidence.slice_number - 1}"
    assert 201 in result.cement_labels
    if compartment is Compartment.CANAL:
        assert value(leak.canal_distance) == 0
    else:
        assert value(leak.canal_distance) > 0


def test_a_thin_tube_beside_the_body_is_a_vein() -> None:
    tube = [((24.0 - 0.05 * s * s, y, 0.0), 1.5, 0) for s, y in enumerate(np.arange(-14.0, 5.0, 1.2))]
    result = measured(phantom(INSIDE, *tube, spacing_mm=(0.6, 0.7, 1.0)))
    assert {leak.compartment for leak in result.leaks} == {Compartment.VEIN}
    assert {leak.yeom_type for leak in result.leaks} == {YeomType.SEGMENTAL}


def test_cement_at_the_cortex_is_no_leak() -> None:
    result = measured(phantom(((0.0, -3.0, 5.2), 8.0, 0), blur_mm=1.0))
    assert result.leaks == ()


def test_far_cement_is_distant() -> None:
    made = phantom(INSIDE, ((0.0, -68.0, 10.0), 4.0, 0), margin_mm=60.0, spacing_mm=(0.9, 1.0, 1.4))
    (leak,) = measured(made).leaks
    assert leak.compartment is Compartment.DISTANT
    assert value(leak.farthest) == pytest.approx(55.0, abs=4.0)


def test_marks_far_from_every_body_are_not_believed() -> None:
    made = SpinePhantom(
        shapes=[normal_shape()], balls=(((0.0, -3.0, 0.0), 8.0, 0), ((84.0, 0.0, 0.0), 8.0, 0)), margin_mm=80.0
    )
    found = find_cement(made.volume(), made.segmentation()).cement
    assert found is not None
    index = np.argwhere(found.mask)
    away_mm = np.linalg.norm(made.local(0, geometry.apply(found.lps_from_index, index)), axis=1)
    assert len(index)
    assert away_mm.max() < 20.0


def with_arches(made: SpinePhantom, hu: float) -> Volume:
    """The CT with the cortex of the arches as dense as asked."""
    volume = made.volume()
    values = np.array(volume.hu)
    values[made.label_map().labels > POSTERIOR_LABEL_OFFSET] = hu
    return replace(volume, hu=values)


@pytest.mark.parametrize(("arches_hu", "is_claimed"), [(900.0, True), (1450.0, False)])
def test_what_is_no_denser_than_the_patients_own_cortex_is_not_claimed(arches_hu: float, is_claimed: bool) -> None:
    made = phantom(INSIDE, cement_hu=1300.0)
    segmentation = made.segmentation()
    result = measure_study(
        with_arches(made, arches_hu), segmentation, assign_levels(segmentation), series_instance_uid="1.2.3"
    )
    assert bool(result.cement) == is_claimed
    assert result.vertebrae[0].treated == is_claimed
    assert bool(result.limits) != is_claimed
    if not is_claimed:
        assert not result.cement_labels.any()
        assert "cement possible" in result.limits[0]
        assert "would exceed 14" in result.limits[0]


def test_dense_bone_beside_a_treated_body_is_not_given_to_it() -> None:
    made = phantom(INSIDE, ((0.0, -3.0, 0.0), 6.0, 1), bodies=2)
    volume = with_arches(made, 1300.0)
    local = made.local(1, geometry.apply(volume.lps_from_index, np.indices(volume.shape).transpose(1, 2, 3, 0)))
    values = np.array(volume.hu)
    near = np.linalg.norm(local - (0.0, -3.0, 0.0), axis=-1) < 10.0
    values[near] = np.minimum(values[near], 1150)
    search = find_cement(replace(volume, hu=values), made.segmentation())
    assert search.cement is not None
    assert search.cement.treated == {1}
    assert not search.cement.mask[search.cement.vertebra == 2].any()
    index = np.argwhere(search.cement.mask)
    away_mm = np.linalg.norm(made.local(1, geometry.apply(search.cement.lps_from_index, index)), axis=1)
    assert away_mm.min() > 15.0
    assert [one.instance for one in search.doubtful] == [2]


@pytest.mark.parametrize("tilt_deg", [0.0, 35.0])
def test_the_interval_of_a_part_holds_a_shift_of_the_outline_that_cuts_it_off(tilt_deg: float) -> None:
    """A ball of 12 mm that an outline cuts: 0.7 mm to either side lie inside, 2.1 do not; the whole is surer."""
    spacing = np.array([0.7, 0.8, 1.3])
    index = np.argwhere(np.ones((50, 44, 27)))
    affine = geometry.scaling_affine(spacing, (-17.0, -17.5, -17.0))
    points = geometry.apply(affine, index)
    shape = (50, 44, 27)
    ball = (np.linalg.norm(points, axis=1) <= 12).reshape(shape)
    normal = np.array([np.cos(np.radians(tilt_deg)), 0, np.sin(np.radians(tilt_deg))])
    side = (points @ normal).reshape(shape)
    cement = CementMap(
        lps_from_index=affine,
        first_index=(0, 0, 0),
        fraction=ball.astype(np.float32),
        mask=ball,
        vertebra=ball.astype(np.uint8),
        piece=np.zeros(shape, dtype=np.int16),
        outside_mm=np.zeros(shape, dtype=np.float32),
        plateau_hu=2000.0,
    )
    part = cement.volume_ml(ball & (side > 3.0))
    assert part.interval95 is not None
    true = {
        shift: np.count_nonzero(ball & (side > 3.0 + shift)) * spacing.prod() / 1000 for shift in (-0.7, 0.7, -2.1, 2.1)
    }
    assert part.interval95[0] < true[0.7] < true[-0.7] < part.interval95[1]
    assert true[2.1] < part.interval95[0]
    assert true[-2.1] > part.interval95[1]
    assert cement.volume_ml(ball).half_width < 0.5 * part.half_width
