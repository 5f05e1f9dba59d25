"""Spurs of the rim: told from the endplate and the walls, which are measured as if there were none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phantoms.spine import SpinePhantom, normal_shape
from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.images import Segmentation
from vertecast.measurement.ct.body.endplates import BodyGeometry, fit_body
from vertecast.measurement.ct.body.fitting import solve_from_below
from vertecast.measurement.ct.body.spurs import on_spurs
from vertecast.measurement.ct.body.walls import WALL_STIFFNESS

HALF_EXTENT_MM = np.array([22.0, 16.0])
SHAPE = normal_shape(24.0, anterior=0.85, middle=0.8, bump_exponent=4.0)


def endplate(depth_mm: float, exponent: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crossings of a tilted bowl with a steep rim, uneven by a tenth of a millimetre."""
    x, y = (side.ravel() for side in np.meshgrid(np.arange(-20, 20.1, 1.5), np.arange(-14, 14.1, 1.5)))
    radius = np.hypot(x / HALF_EXTENT_MM[0], y / HALF_EXTENT_MM[1])
    x, y, radius = x[radius < 0.95], y[radius < 0.95], radius[radius < 0.95]
    uneven = np.random.default_rng(4).normal(0, 0.1, len(x))
    return x, y, 12.0 + 0.1 * y - 0.05 * x - depth_mm * (1 - radius**exponent) + uneven


@pytest.mark.parametrize(("depth_mm", "exponent"), [(0.0, 2.0), (2.5, 2.5), (6.0, 5.0)])
def test_a_rim_without_a_spur_stays_whole(depth_mm: float, exponent: float) -> None:
    x, y, z = endplate(depth_mm, exponent)
    assert np.count_nonzero(on_spurs(x, y, z, HALF_EXTENT_MM)) <= 0.03 * len(x)


@pytest.mark.parametrize(("depth_mm", "exponent"), [(0.0, 2.0), (2.5, 2.5), (6.0, 5.0)])
@pytest.mark.parametrize("place", [(0.0, -15.0), (-16.0, -9.0)])
def test_a_spur_is_found_and_little_else(place: tuple[float, float], depth_mm: float, exponent: float) -> None:
    x, y, z = endplate(depth_mm, exponent)
    away_mm = np.hypot(x - place[0], y - place[1])
    rise_mm = np.clip(5.0 - 0.9 * away_mm, 0.0, None)
    found = on_spurs(x, y, z + rise_mm, HALF_EXTENT_MM)
    assert found[rise_mm > 2.0].all()
    assert not found[away_mm > 10.0].any()


def test_a_curve_from_below_passes_under_what_juts_out() -> None:
    share = np.linspace(-0.8, 0.8, 27)
    design = np.stack([np.ones_like(share), share, share**2], axis=1)
    truth = np.array([11.0, 0.4, 0.3])
    values = design @ truth + np.where(np.abs(share) > 0.35, 5.0, 0.0)
    found = solve_from_below(design, values, 1.0, WALL_STIFFNESS)
    assert np.abs(design @ (found - truth)).max() < 0.5


def spurred(made: SpinePhantom, places: list[tuple[float, float, float]], radius_mm: float) -> Segmentation:
    """The outline with balls on it, given in the body's own frame (mm)."""
    plain = made.segmentation()
    index = np.stack(np.indices(plain.structure.shape), axis=-1)
    local = made.local(0, geometry.apply(plain.lps_from_index, index))
    away_mm = np.min([np.linalg.norm(local - np.array(place), axis=-1) for place in places], axis=0)
    ball = np.clip(0.5 + (radius_mm - away_mm) / plain.spacing_mm, 0, 1)
    probability = np.maximum(plain.body_probability.astype(np.float32), ball)
    added = (ball >= 0.5) & (plain.structure != Structure.BODY)
    return replace(
        plain,
        body_probability=probability.astype(np.float16),
        structure=np.where(added, Structure.BODY, plain.structure).astype(np.uint8),
        instance=np.where(added, 1, plain.instance).astype(np.uint8),
    )


def test_spurs_at_both_rims_in_front_change_no_height() -> None:
    made = SpinePhantom(shapes=[SHAPE, normal_shape(25.0)], tilt_deg=(14.0, -9.0), spacing_mm=(0.7, 0.8, 1.2))
    front = SHAPE.anterior_wall_y_mm
    top, bottom = (side(np.zeros(1), np.array([front]))[0] for side in (SHAPE.superior_mm, SHAPE.inferior_mm))
    outline = spurred(made, [(2.0, front - 1.5, top + 1.5), (-3.0, front - 1.5, bottom - 1.0)], 4.0)
    body = fit_body(made.volume(), outline, 1)
    assert isinstance(body, BodyGeometry)
    for place, height_mm in SHAPE.heights_mm().items():
        assert body.heights_mm[place] == pytest.approx(height_mm, abs=0.6), place
    assert body.wedge_angle_deg == pytest.approx(SHAPE.wedge_angle_deg(), abs=1.5)
