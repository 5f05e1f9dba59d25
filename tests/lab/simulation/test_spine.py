"""The spine's truth is exact: a fine mesh of the same shape measures the same, and drawings hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import marching_cubes

from vertecast.core import geometry
from vertecast.core.anatomy import Level, Structure
from vertecast.lab.simulation.patient.population import GRADE_LOSS, fracture, moved, sample_spine
from vertecast.lab.simulation.patient.spine import BodyShape
from vertecast.lab.simulation.patient.tissue import draw

STEP_MM = 0.5


def _shape(anterior_mm: float, posterior_mm: float, concavity_mm: float, **others: float) -> BodyShape:
    middle_mm = max((anterior_mm + posterior_mm) / 2 - concavity_mm, 4.0)
    return BodyShape(anterior_mm=anterior_mm, posterior_mm=posterior_mm, middle_mm=middle_mm, **others)


shapes = st.builds(
    _shape,
    width_mm=st.floats(26, 52),
    depth_mm=st.floats(20, 38),
    anterior_mm=st.floats(9, 30),
    posterior_mm=st.floats(14, 31),
    concavity_mm=st.floats(0, 7),
    superior_share=st.floats(0.2, 0.9),
    bump_exponent=st.floats(2, 4),
    waist=st.floats(0.02, 0.15),
    notch=st.floats(0.02, 0.2),
)


@given(shapes)
@settings(max_examples=8, deadline=None)
def test_heights_equal_those_of_a_fine_mesh(shape: BodyShape) -> None:
    axes = [np.arange(-limit, limit + STEP_MM, STEP_MM) for limit in (6.0, 24.0, 24.0)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    distance = shape.signed_distance_mm(x, y, z)
    vertices = marching_cubes(distance, 0.0, spacing=(STEP_MM,) * 3)[0] + [axis[0] for axis in axes]
    for place, truth in shape.heights_mm().items():
        at = shape.six_points_local_mm()["superior"][place][1]
        near = vertices[(np.abs(vertices[:, 0]) < 0.3) & (np.abs(vertices[:, 1] - at) < 0.3)]
        # The waist may cut the line at mid-height, so the outermost vertices are the endplates; they are found within
        # 0.3 mm of the place, over which each endplate rises by its slope there.
        here, zero = np.array([at - 0.3, at + 0.3]), np.zeros(2)
        rise_mm = float(np.ptp(shape.superior_mm(zero, here)) + np.ptp(shape.inferior_mm(zero, here)))
        assert np.ptp(near[:, 2]) == pytest.approx(truth, abs=rise_mm + 0.1)


@given(st.integers(0, 10_000), st.sampled_from(["wedge", "biconcave", "crush"]), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_a_fracture_loses_height_where_its_name_says(seed: int, deformity: str, grade: int) -> None:
    rng = np.random.default_rng(seed)
    intact = BodyShape(width_mm=42, depth_mm=33, anterior_mm=24, middle_mm=22.5, posterior_mm=25)
    loss = rng.uniform(*GRADE_LOSS[grade])
    before, after = intact.heights_mm(), fracture(intact, deformity, loss, rng).heights_mm()
    losses = {place: 1 - after[place] / before[place] for place in before}
    worst = {"wedge": {"anterior"}, "biconcave": {"middle"}, "crush": {"anterior", "middle", "posterior"}}[deformity]
    assert max(losses, key=losses.__getitem__) in worst
    assert max(losses.values()) == pytest.approx(loss, abs=0.08)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_neighbours_never_cross(seed: int) -> None:
    spine = sample_spine(np.random.default_rng(seed))
    for upper, lower in zip(spine.vertebrae, spine.vertebrae[1:], strict=False):
        lower_from_upper = geometry.inverse(lower.lps_from_local) @ upper.lps_from_local
        y = np.linspace(upper.shape.anterior_wall_y_mm * 0.9, upper.shape.posterior_wall_y_mm * 0.9, 9)
        plate = np.stack([0 * y, y, upper.shape.inferior_mm(0 * y, y)], axis=-1)
        seen = geometry.apply(lower_from_upper, plate)
        gap = seen[:, 2] - lower.shape.superior_mm(seen[:, 0], seen[:, 1])
        assert gap.min() > -0.6, f"{upper.level.name} over {lower.level.name}"


def test_levels_run_from_c3_to_the_sacrum_and_variants_occur() -> None:
    found = {tuple(v.level for v in sample_spine(np.random.default_rng(n)).vertebrae) for n in range(80)}
    assert all(levels[0] is Level.C3 for levels in found)
    assert any(Level.L6 in levels for levels in found)
    assert any(Level.T13 in levels for levels in found)
    assert any(Level.L5 not in levels for levels in found)


def test_a_moved_spine_keeps_its_shape() -> None:
    spine = sample_spine(np.random.default_rng(2))
    turn = geometry.affine(geometry.rotation([1, 2, 3], 0.4), [10, -20, 30])
    there = moved(spine, turn).vertebrae[7].six_points_lps_mm()
    here = spine.vertebrae[7].six_points_lps_mm()
    np.testing.assert_allclose(
        there["inferior"]["anterior"], geometry.apply(turn, here["inferior"]["anterior"]), atol=1e-9
    )


@pytest.mark.parametrize("seed", [1, 8])
def test_two_lungs_lie_beside_the_column_between_diaphragm_and_shoulders(seed: int) -> None:
    spine = sample_spine(np.random.default_rng(seed))
    first, last = (next(v for v in spine.vertebrae if v.level is level) for level in (Level.T1, Level.T12))
    spacing_mm, shape = 6.0, (60, 46, 70)
    middle = (first.lps_from_local[:3, 3] + last.lps_from_local[:3, 3]) / 2 + [0, -45, 20]
    grid = geometry.scaling_affine([spacing_mm] * 3, middle - spacing_mm * (np.array(shape) - 1) / 2)
    phantom = draw(spine, grid, shape, np.random.default_rng(seed))
    x, y, z = np.moveaxis(geometry.apply(grid, np.stack(np.indices(shape), -1)), -1, 0)
    air = ndimage.binary_opening((phantom.hu < -550) & (phantom.hu > -990))  # not the rim of the skin
    front = y < middle[1] + 45  # the table lies behind
    lung = air & front & (z > last.lps_from_local[2, 3] + 40)
    for side in (lung & (x > middle[0]), lung & (x < middle[0])):
        assert 0.2 < side.sum() * spacing_mm**3 / 1e6 < 3.0, "litres, before the column"
    beside = np.abs(x - first.lps_from_local[0, 3])
    top = z[lung & (beside > 25) & (beside < 90)].max() - first.lps_from_local[2, 3]
    assert -60 < top < 20, "the apices lie near T1, beside the windpipe"
    neck = z > first.lps_from_local[2, 3] + 60
    trunk = (phantom.hu > -500) & front
    assert np.abs(x[neck & trunk & (np.abs(x - middle[0]) < 120)] - middle[0]).max() < 100, "a neck is narrower"


def test_a_drawing_holds_the_volume_and_the_side_of_its_spine() -> None:
    spine = sample_spine(np.random.default_rng(21), fracture_rate=0.0)
    n = next(i for i, v in enumerate(spine.vertebrae) if v.level is Level.L2)
    vertebra = spine.vertebrae[n]
    shape = (70, 66, 60)
    origin = vertebra.lps_from_local[:3, 3] - 0.5 * (np.array(shape) - 1)
    grid = geometry.scaling_affine([1.0] * 3, origin)
    phantom = draw(spine, grid, shape, np.random.default_rng(4))
    body = (phantom.structure == Structure.BODY) & (phantom.instance == n + 1)
    axes = np.meshgrid(*(np.arange(-35, 35, 1.0),) * 3, indexing="ij")
    analytic_ml = (vertebra.shape.signed_distance_mm(*axes) > 0).sum() / 1000
    assert body.sum() / 1000 == pytest.approx(analytic_ml, rel=0.12), "spurs may add a little"
    center = geometry.apply(grid, np.argwhere(body).mean(axis=0))
    np.testing.assert_allclose(center, vertebra.lps_from_local[:3, 3], atol=2.5)
    canal = geometry.apply(grid, np.argwhere(phantom.structure == Structure.CANAL).mean(axis=0))
    assert canal[1] > center[1] + 10, "the canal lies behind the body"
    again = draw(spine, grid, shape, np.random.default_rng(4))
    np.testing.assert_array_equal(phantom.hu, again.hu)
