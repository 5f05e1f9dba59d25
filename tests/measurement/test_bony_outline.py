"""The outline of a body that cement has spoilt: corners left out by the network, leaks drawn into the body."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phantoms.spine import SpinePhantom, normal_shape
from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.images import Segmentation
from vertecast.measurement.ct.body.bony_outline import bony_outlines
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.heights import fit_bodies
from vertecast.measurement.ct.cement.map import CementMap, find_cement

Ball = tuple[tuple[float, float, float], float, int]
CORNER: Ball = ((2.0, -9.0, -6.0), 6.5, 0)
"""In the lower front corner, just inside the bone."""
CENTRAL: Ball = ((0.0, -2.0, 0.0), 7.0, 0)
LEAK: Ball = ((1.0, 18.5, 1.0), 3.5, 0)
"""Behind the posterior wall, in the canal."""


def phantom(*balls: Ball) -> SpinePhantom:
    return SpinePhantom(shapes=[normal_shape(27.0), normal_shape(28.0)], balls=balls)


def local_mm(made: SpinePhantom, segmentation: Segmentation, n: int) -> np.ndarray:
    """Every voxel of the working grid in the frame of body n."""
    axes = [np.arange(count) for count in segmentation.structure.shape]
    points = geometry.apply(segmentation.lps_from_index, np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    return np.asarray(made.local(n, points))


def near_ball(made: SpinePhantom, segmentation: Segmentation, ball: Ball, beyond_mm: float) -> np.ndarray:
    """Voxels of the working grid within a ball and so much round it."""
    center, radius, n = ball
    return np.asarray(np.linalg.norm(local_mm(made, segmentation, n) - center, axis=-1) <= radius + beyond_mm)


def drawn(segmentation: Segmentation, where: np.ndarray, *, is_body: bool) -> Segmentation:
    """The network's answer with some voxels called body, or not."""
    structure, probability = np.array(segmentation.structure), np.array(segmentation.body_probability)
    instance = np.array(segmentation.instance)
    structure[where] = Structure.BODY if is_body else Structure.BACKGROUND
    probability[where] = 0.97 if is_body else 0.03
    instance[where] = 1 if is_body else 0
    return replace(segmentation, structure=structure, body_probability=probability, instance=instance)


def with_bodies(made: SpinePhantom, segmentation: Segmentation) -> CementMap:
    volume = made.volume()
    found = find_cement(volume, segmentation, bodies=fit_bodies(volume, segmentation)).cement
    assert found is not None
    return found


def test_a_filled_corner_left_out_is_no_leak() -> None:
    made = phantom(CENTRAL, CORNER)
    whole = made.segmentation()
    bitten = drawn(whole, near_ball(made, whole, CORNER, 0.5), is_body=False)
    before = find_cement(made.volume(), bitten).cement
    assert before is not None
    assert before.piece.any()  # the network's outline alone takes it for a leak
    assert not with_bodies(made, bitten).piece.any()


def test_a_filled_corner_left_out_keeps_its_height() -> None:
    made = phantom(CENTRAL, CORNER)
    whole = made.segmentation()
    bitten = drawn(whole, near_ball(made, whole, CORNER, 0.5), is_body=False)
    body = fit_bodies(made.volume(), bitten)[0]
    assert isinstance(body, BodyGeometry)
    for place, height_mm in made.shapes[0].heights_mm().items():
        assert body.heights_mm[place] == pytest.approx(height_mm, abs=0.8)


def test_a_leak_drawn_into_the_body_is_found() -> None:
    made = phantom(CENTRAL, LEAK)
    whole = made.segmentation()
    bulging = drawn(whole, near_ball(made, whole, LEAK, 0.5), is_body=True)
    found = with_bodies(made, bulging)
    leaked_ml = found.volume_ml(found.piece > 0).value
    true_ml = 4 / 3 * np.pi * LEAK[1] ** 3 / 1000
    assert leaked_ml == pytest.approx(true_ml, rel=0.4)


@pytest.mark.parametrize("is_swallowed", [True, False])
def test_a_flat_leak_in_the_hollow_of_the_posterior_wall_is_found(is_swallowed: bool) -> None:
    hollow = normal_shape(27.0, notch=0.35)
    behind_mm = hollow.posterior_wall_y_mm + 1.2
    places = [(x, z) for x in np.linspace(-9.0, 9.0, 7) for z in np.linspace(-7.0, 7.0, 5)]
    flat: list[Ball] = [((x, behind_mm, z), 2.0, 0) for x, z in places]
    made = SpinePhantom(shapes=[hollow, normal_shape(28.0)], balls=[CENTRAL, *flat])
    segmentation = made.segmentation()
    if is_swallowed:
        for ball in flat:
            segmentation = drawn(segmentation, near_ball(made, segmentation, ball, 0.3), is_body=True)
    found = with_bodies(made, segmentation)
    leaked = found.piece > 0
    assert found.volume_ml(leaked).value > 0.45
    points = geometry.apply(found.lps_from_index, np.argwhere(leaked & found.mask))
    assert np.quantile(made.local(0, points)[:, 1], 0.1) > hollow.posterior_wall_y_mm


def test_the_outline_is_that_of_the_body() -> None:
    made = phantom(CENTRAL)
    segmentation = made.segmentation()
    box = tuple(slice(0, n) for n in segmentation.structure.shape)
    plain, nearest = bony_outlines(segmentation, box)
    shaped, same = bony_outlines(segmentation, box, fit_bodies(made.volume(), segmentation))
    np.testing.assert_array_equal(nearest, same)
    np.testing.assert_array_equal(plain[nearest == 2], shaped[nearest == 2])  # no cement there
    true = -made.shapes[0].signed_distance_mm(*np.moveaxis(local_mm(made, segmentation, 0), -1, 0))
    surface = (nearest == 1) & (np.abs(true) < 1.0)
    errors = [np.abs(outline - true)[surface].mean() for outline in (plain, shaped)]
    assert errors[1] < 0.2
    assert errors[1] < errors[0]
