"""Reference, loss, grade, deformity, and what is inside and behind the body."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantoms.spine import CORTEX_HU, MARROW_HU, SpinePhantom, normal_shape
from vertecast.core import geometry
from vertecast.core.anatomy import HEIGHT_GROWTH, RIM_INSET_FRACTION, Structure
from vertecast.core.images import Segmentation, Volume
from vertecast.core.results import LevelAssignment, NotMeasured, Quantity, VertebraFinding
from vertecast.lab.simulation.patient import spine
from vertecast.measurement.ct.angles import measure_angles
from vertecast.measurement.ct.body.bone import not_representative
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.heights import fit_bodies, genant_grade, measure_vertebrae
from vertecast.measurement.ct.levels import assign_levels
from vertecast.measurement.shared.comparison import NEARNESS

L5 = normal_shape(20.5, anterior=1.2, middle=1.02)
BROKEN = normal_shape(25.0, anterior=0.62, middle=0.72, superior_share=0.8)


def made(*shapes: spine.BodyShape) -> tuple[SpinePhantom, Volume, Segmentation]:
    phantom = SpinePhantom(shapes=shapes, sacrum=True, spacing_mm=(0.8, 0.9, 1.3))
    return phantom, phantom.volume(), phantom.segmentation()


@pytest.fixture(scope="module")
def column() -> tuple[SpinePhantom, Volume, Segmentation, tuple[BodyGeometry | NotMeasured, ...]]:
    """L2 to L5 with a wedge fracture of L3."""
    shapes = (normal_shape(25.5), BROKEN, normal_shape(25.0), L5)
    phantom, volume, segmentation = made(*shapes)
    return phantom, volume, segmentation, fit_bodies(volume, segmentation)


def measured(
    column: tuple[SpinePhantom, Volume, Segmentation, tuple[BodyGeometry | NotMeasured, ...]],
    *,
    levels: tuple[LevelAssignment, ...] | None = None,
    treated: frozenset[int] = frozenset(),
    bodies: tuple[BodyGeometry | NotMeasured, ...] | None = None,
) -> tuple[VertebraFinding, ...]:
    _, volume, segmentation, fitted = column
    return measure_vertebrae(
        volume,
        segmentation,
        levels or assign_levels(segmentation),
        series_instance_uid="1.2.3",
        treated=treated,
        geometries=bodies or fitted,
    )


def value(quantity: object) -> float:
    assert isinstance(quantity, Quantity)
    return quantity.value


def test_the_fracture_is_graded_against_the_intact_vertebrae(column) -> None:  # type: ignore[no-untyped-def]
    findings = measured(column)
    broken = findings[1]
    assert [f.level for f in findings] == ["L2", "L3", "L4", "L5"]
    assert broken.reference.method == "intact vertebrae"
    assert broken.reference.levels == ("L2", "L4", "L5")
    assert (broken.deformity, broken.genant_grade) == ("wedge", 2)
    assert value(broken.height_loss) == pytest.approx(1 - 0.655 / 0.95, abs=0.08)
    assert value(broken.ratios["wedge"]) == pytest.approx(
        value(broken.heights["anterior"]) / value(broken.heights["posterior"])
    )
    assert value(broken.ratios["crush"]) == pytest.approx(1.0, abs=0.08)
    assert all(f.genant_grade == 0 and f.deformity == "none" for n, f in enumerate(findings) if n != 1)
    assert all("L3" not in f.reference.levels for f in findings)


def test_heights_are_those_of_the_shape(column) -> None:  # type: ignore[no-untyped-def]
    for shape, finding in zip(column[0].shapes, measured(column), strict=True):
        for place, height in shape.heights_mm().items():
            assert value(finding.heights[place]) == pytest.approx(height, abs=0.5)


def test_unknown_levels_compare_by_the_mean_step(column) -> None:  # type: ignore[no-untyped-def]
    unknown = tuple(LevelAssignment(name=f"V{n + 1}", source="unknown", confidence=0.0) for n in range(4))
    broken = measured(column, levels=unknown)[1]
    intact = [int(name[1:]) - 1 for name in broken.reference.levels]
    assert {0, 2} <= set(intact) <= {0, 2, 3}
    weights = {n: np.exp(-abs(n - 1) / NEARNESS) for n in intact}
    scaled = sum(w * column[3][n].heights_mm["anterior"] * HEIGHT_GROWTH ** (1 - n) for n, w in weights.items())
    expected = 1 - value(broken.heights["anterior"]) / (scaled / sum(weights.values()))
    assert value(broken.height_loss) == pytest.approx(expected)


def test_a_treated_body_is_no_reference_and_has_no_density(column) -> None:  # type: ignore[no-untyped-def]
    findings = measured(column, treated=frozenset({1, 3}))
    assert findings[1].reference.levels == ("L5",)
    assert isinstance(findings[0].density, NotMeasured)
    assert findings[0].treated
    assert value(findings[3].density) == pytest.approx(MARROW_HU, abs=8.0)
    low, high = findings[3].density.interval95
    assert low < value(findings[3].density) < high


def test_without_an_intact_vertebra_crush_is_not_measured() -> None:
    _, volume, segmentation = made(BROKEN)
    (finding,) = measure_vertebrae(volume, segmentation, assign_levels(segmentation), series_instance_uid="1.2.3")
    assert finding.reference.method == "own posterior height"
    assert finding.ratios["crush"] == NotMeasured(reason="no intact vertebra to compare with")
    assert finding.deformity == "wedge"


def test_uniform_crush_is_seen_by_the_rest_of_the_column() -> None:
    shapes = (normal_shape(25.0), normal_shape(15.0), normal_shape(26.0))
    _, volume, segmentation = made(*shapes)
    findings = measure_vertebrae(volume, segmentation, assign_levels(segmentation), series_instance_uid="1.2.3")
    assert [f.deformity for f in findings] == ["none", "crush", "none"]
    assert findings[1].genant_grade in (2, 3)


def test_two_fractures_side_by_side_do_not_vouch_for_each_other() -> None:
    """Both lost a third at every place, so that neither shows it by its own shape."""
    shapes = (normal_shape(25.0), normal_shape(16.5), normal_shape(16.5), L5)
    _, volume, segmentation = made(*shapes)
    findings = measure_vertebrae(volume, segmentation, assign_levels(segmentation), series_instance_uid="1.2.3")
    assert [f.deformity for f in findings] == ["none", "crush", "crush", "none"]
    assert findings[1].reference.levels == findings[2].reference.levels == ("L2", "L5")


def test_a_cut_body_gets_reasons_and_is_not_graded(column) -> None:  # type: ignore[no-untyped-def]
    cut = NotMeasured(reason="cut by the edge of the image")
    _, volume, segmentation, bodies = column
    border = replace(segmentation, touches_border=(True, False, False, False))
    first, *rest = measured((column[0], volume, border, bodies), bodies=(cut, *bodies[1:]))
    assert not first.complete
    assert {first.height_loss, first.genant_grade, first.wedge_angle, first.heights["middle"]} == {cut}
    assert rest[0].reference.levels == ("L4", "L5")


def test_canal_narrowed_behind_one_body(column) -> None:  # type: ignore[no-untyped-def]
    phantom, volume, segmentation, bodies = column
    index = np.argwhere(segmentation.structure == Structure.CANAL)
    _, y, z = phantom.local(1, geometry.apply(segmentation.lps_from_index, index)).T
    back = phantom.shapes[1].posterior_wall_y_mm
    lost = index[(np.abs(z) < 5) & (y < back + 6)]
    structure = segmentation.structure.copy()
    structure[tuple(lost.T)] = Structure.BACKGROUND
    narrowed = measured((phantom, volume, replace(segmentation, structure=structure), bodies))
    assert value(narrowed[1].canal_compromise) == pytest.approx(6 / 16, abs=0.12)
    assert value(measured(column)[1].canal_compromise) < 0.1
    none = replace(segmentation, structure=np.where(structure == Structure.CANAL, 0, structure).astype(np.uint8))
    assert isinstance(measured((phantom, volume, none, bodies))[1].canal_compromise, NotMeasured)


def test_gas_cleft_is_measured(column) -> None:  # type: ignore[no-untyped-def]
    phantom, volume, segmentation, bodies = column
    hu = volume.hu.copy()
    index = np.argwhere(np.ones(volume.shape, bool))
    local = phantom.local(2, geometry.apply(volume.lps_from_index, index))
    cleft = (np.abs(local[:, 0]) < 6) & (np.abs(local[:, 1]) < 5) & (np.abs(local[:, 2]) < 2.5)
    hu[tuple(index[cleft].T)] = -600
    gas = measured((phantom, replace(volume, hu=hu), segmentation, bodies))
    assert value(gas[2].cleft) == pytest.approx(12 * 10 * 5 / 1000, rel=0.25)
    assert value(gas[1].cleft) == 0.0


def test_volume_of_the_body(column) -> None:  # type: ignore[no-untyped-def]
    phantom = column[0]
    axis = np.arange(-26.0, 26.0, 0.5) + 0.25
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    for shape, finding in zip(phantom.shapes, measured(column), strict=True):
        truth = float(np.count_nonzero(shape.signed_distance_mm(x, y, z) > 0)) * 0.125 / 1000
        assert value(finding.volume) == pytest.approx(truth, rel=0.04)


def test_local_kyphosis_follows_curve_and_wedge(column) -> None:  # type: ignore[no-untyped-def]
    findings = measured(column)
    (local,) = [a for a in measure_angles(findings) if a.name == "local kyphosis L3"]
    phantom = column[0]
    slopes = []
    for n, plate in ((0, "superior"), (2, "inferior")):
        points = phantom.shapes[n].six_points_local_mm()[plate]
        back = np.subtract(points["posterior"], points["anterior"])
        slopes.append(phantom.frames[n][:3, :3] @ back)
    left = phantom.frames[1][:3, 0]
    flat = [s - np.dot(s, left) * left for s in slopes]
    expected = geometry.angle_deg(*flat) * np.sign(np.dot(np.cross(flat[1], flat[0]), left))
    assert value(local.angle) == pytest.approx(expected, abs=1.5)
    assert (local.upper, local.lower) == ("L2 superior", "L4 inferior")


def test_kyphosis_is_positive_when_the_front_is_lower() -> None:
    wedges = [normal_shape(25.0, anterior=0.8, middle=0.85)] * 3
    phantom = SpinePhantom(shapes=wedges, curve_deg=-6.0, spacing_mm=(0.8, 0.9, 1.3), sacrum=True)
    volume, segmentation = phantom.volume(), phantom.segmentation()
    findings = measure_vertebrae(
        volume, segmentation, assign_levels(segmentation), series_instance_uid="1.2.3", treated=frozenset({2})
    )
    (local,) = measure_angles(findings)
    assert all(value(f.wedge_angle) > 3 for f in findings)
    assert abs(value(local.angle)) > 5
    assert local.name == "local kyphosis L4"


def test_angle_at_the_end_of_the_view_has_a_reason(column) -> None:  # type: ignore[no-untyped-def]
    (at_top,) = [a for a in measure_angles(measured(column, treated=frozenset({1}))) if a.name == "local kyphosis L2"]
    assert at_top.angle == NotMeasured(reason="no body above in view")


@given(st.floats(0.0, 0.99))
def test_grade_rises_with_loss(loss: float) -> None:
    assert genant_grade(loss) == (0 if loss < 0.2 else 1 if loss < 0.25 else 2 if loss < 0.4 else 3)


def test_simulation_and_measurement_share_the_inset() -> None:
    assert spine.RIM_INSET_FRACTION == RIM_INSET_FRACTION
    assert CORTEX_HU > MARROW_HU


def test_the_density_of_one_body_unlike_the_others_is_not_representative() -> None:
    densities = [Quantity(value=hu, unit="[hnsf'U]") for hu in (110.0, 121.0, 240.0, 105.0, 98.0)]
    assert not_representative(densities) == [2]
    assert not_representative([*densities[:2], NotMeasured(reason="the body holds cement"), *densities[3:]]) == []
    assert not_representative(densities[:3]) == [], "two others do not say which of the three is unlike"
