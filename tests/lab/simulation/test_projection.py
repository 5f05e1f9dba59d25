"""Projections agree with geometry: lengths, magnification, points and outlines lie where the rays put them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.images import Volume
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.tissue import Phantom
from vertecast.lab.simulation.projection.film import angiogram
from vertecast.lab.simulation.projection.integrals import patient_attenuation
from vertecast.lab.simulation.projection.pictures import PictureSettings, take_picture
from vertecast.lab.simulation.projection.projected import BONE_PARTS, FieldSettings, draw_projections
from vertecast.lab.simulation.projection.rays import (
    WATER_PER_MM,
    attenuation_parts,
    camera,
    line_integrals,
    project_volume,
)
from vertecast.lab.simulation.projection.silhouette import silhouettes, wall_reach_mm

SMALL = FieldSettings(spacing_mm=4.0, shape=(60, 56, 72), pixels=96, treated_rate=1.0, metal_rate=1.0)


def _box(size_mm: tuple[float, float, float], at_mm: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A box of ones on a grid of 2 mm round the origin."""
    grid = geometry.scaling_affine([2.0] * 3, [-59.0, -49.0, -69.0])
    points = geometry.apply(grid, np.stack(np.indices((60, 50, 70)), -1))
    inside = np.all(np.abs(points - at_mm) < np.array(size_mm) / 2, axis=-1)
    return inside.astype(np.float32), grid


@pytest.mark.parametrize(("view", "length_mm"), [("lateral", 40.0), ("ap", 24.0)])
def test_the_integral_is_the_length_of_the_ray(view: str, length_mm: float) -> None:
    box, grid = _box((40.0, 24.0, 32.0), (0.0, 0.0, 0.0))
    found = line_integrals(box[None], grid, camera(view, np.zeros(3), source_mm=5000, pixel_mm=1, shape=(81, 81)))[0]
    assert found[40, 40] == pytest.approx(length_mm, rel=0.03)
    assert found[0, 0] == 0
    assert (found[:, 40] > length_mm / 2).sum() == pytest.approx(32, abs=2)


def test_what_is_nearer_to_the_source_is_larger() -> None:
    view = camera("ap", np.zeros(3), source_mm=600, pixel_mm=1, shape=(101, 101))
    box, grid = _box((24.0, 4.0, 24.0), (0.0, -36.0, 0.0))  # in front: rays run from front to back
    found = line_integrals(box[None], grid, view)[0]
    assert (found[50] > 2).sum() == pytest.approx(24 * 600 / (600 - 36), abs=1)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["lateral", "ap", "oblique"]),
    st.tuples(*[st.floats(-15, 15)] * 3),
    st.tuples(*[st.floats(-20, 20)] * 3),
)
def test_points_fall_where_the_volume_does(
    view: str, angles: tuple[float, ...], at: tuple[float, float, float]
) -> None:
    box, grid = _box((6.0, 6.0, 6.0), at)
    look = camera(view, np.array([3.0, -4.0, 5.0]), angles_deg=angles, source_mm=700, pixel_mm=1, shape=(120, 110))
    found = line_integrals(box[None], grid, look)[0]
    center = geometry.apply(grid, np.argwhere(box > 0)).mean(axis=0)
    seen = np.average(np.argwhere(found > 0), axis=0, weights=found[found > 0])[::-1]
    assert np.linalg.norm(look.project(center) - seen) < 0.4


def test_a_lateral_picture_has_the_front_left_and_the_head_up() -> None:
    look = camera("lateral", np.zeros(3))
    middle = look.project([0, 0, 0])
    assert look.project([0, -20, 0])[0] < middle[0] < look.project([0, 20, 0])[0]
    assert look.project([0, 0, 20])[1] < middle[1]
    assert camera("ap", np.zeros(3)).project([20, 0, 0])[0] > middle[0], "the patient's left is on the picture's right"


def test_water_attenuates_as_it_should() -> None:
    hu = np.zeros((30, 40, 20), dtype=np.float32)
    volume = Volume(hu=hu, lps_from_index=geometry.scaling_affine([2.0] * 3, [-29, -39, -19]))
    found = project_volume(volume, camera("ap", np.zeros(3), source_mm=1e5, pixel_mm=1, shape=(9, 9)))
    assert found[4, 4] == pytest.approx(80 * WATER_PER_MM, rel=0.03)


def test_the_six_points_of_a_lateral_view_give_the_true_heights() -> None:
    spine = sample_spine(np.random.default_rng(8))
    vertebra = spine.vertebrae[-3]
    frame = vertebra.lps_from_local
    look = camera("lateral", frame[:3, 3], source_mm=1e6, pixel_mm=0.5, shape=(200, 200))
    body = silhouettes(spine, look)[len(spine.vertebrae) - 3]
    anterior, posterior = (np.linalg.norm(body.points_px[n] - body.points_px[n + 3]) * 0.5 for n in (0, 2))
    lean = abs(frame[2, 2])  # seen along a body that leans to the side, heights are foreshortened
    assert anterior == pytest.approx(vertebra.shape.anterior_mm, rel=0.04 + (1 - lean))
    assert posterior == pytest.approx(vertebra.shape.posterior_mm, rel=0.06 + (1 - lean))
    assert body.points_px[0, 0] < body.points_px[2, 0]


def test_the_wall_reaches_as_far_as_the_section() -> None:
    shape = sample_spine(np.random.default_rng(2)).vertebrae[-1].shape
    assert wall_reach_mm(shape, [1, 0]) == pytest.approx(shape.width_mm / 2, rel=0.02)
    assert wall_reach_mm(shape, [0, -1]) == pytest.approx(shape.depth_mm / 2, rel=0.02)
    assert shape.posterior_wall_y_mm - 0.1 <= wall_reach_mm(shape, [0, 1]) <= shape.depth_mm / 2


def test_spongy_bone_shows_in_the_body_and_pales_in_the_arch() -> None:
    structures = (Structure.BODY, Structure.POSTERIOR, Structure.BACKGROUND)
    phantom = Phantom(
        lps_from_index=np.eye(4),
        hu=np.full((3, 1, 1), 95.0, dtype=np.float32),
        structure=np.array(structures, dtype=np.uint8).reshape(3, 1, 1),
        instance=np.zeros((3, 1, 1), dtype=np.uint8),
        spine=sample_spine(np.random.default_rng(2)),
    )
    soft, bone = patient_attenuation(phantom)[:, :, 0, 0]
    np.testing.assert_allclose(bone, [0.120, 0.060, 0.0], atol=1e-6)  # 95 HU over marrow of -25 HU
    np.testing.assert_allclose(soft, [0.975, 0.975, 1.095], atol=1e-6)
    assert attenuation_parts(phantom.hu)[1].max() == 0, "without labels 95 HU are soft tissue"


def test_a_gas_bubble_in_bone_holds_neither_mineral_nor_less_than_nothing() -> None:
    phantom = Phantom(
        lps_from_index=np.eye(4),
        hu=np.full((1, 1, 1), -1020.0, dtype=np.float32),
        structure=np.full((1, 1, 1), Structure.BODY, dtype=np.uint8),
        instance=np.zeros((1, 1, 1), dtype=np.uint8),
        spine=sample_spine(np.random.default_rng(2)),
    )
    assert (patient_attenuation(phantom) == 0).all()


def test_a_training_picture_holds_its_truth() -> None:
    rng = np.random.default_rng(21)
    patients = draw_projections(rng, SMALL, 4)
    for patient in patients:
        assert patient.bone.shape == (len(BONE_PARTS), *patient.camera.shape)
        assert (patient.bone.max(axis=(1, 2)) > 0).sum() >= 2, "more bones than bodies are in view"
    few = PictureSettings(size=96, field=SMALL)
    views = set()
    for n in range(24):
        picture = take_picture(patients[n % 4], rng, few)
        views.add(picture.view)
        assert picture.image.min() >= 0
        assert picture.image.max() <= 1
        assert np.isfinite(picture.image).all()
        assert (picture.body == (picture.instance > 0)).all()
        for number in np.unique(picture.instance[picture.instance > 0]):
            rows, columns = np.nonzero(picture.instance == number)
            votes = picture.offset_px[:, rows, columns].reshape(6, 2, -1) + np.stack([columns, rows])
            assert np.ptp(votes, axis=2).max() < 1e-2, "every pixel of a body points at the same six points"
    assert views & {"lateral", "ap", "oblique"}


def test_contrast_medium_only_brightens() -> None:
    image = np.full((90, 120), 0.4, dtype=np.float32)
    filled = angiogram(image, np.random.default_rng(8))
    assert (filled >= image).all()
    assert 0.01 < (filled > image + 0.05).mean() < 0.6
    assert (filled == angiogram(image, np.random.default_rng(8))).all()
