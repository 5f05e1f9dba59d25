"""One projection image: heights, ratios, angles and levels of bodies of known shape, whichever way the film lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantoms.projection import Body, Film, thirds
from vertecast.core.errors import ConfigurationError
from vertecast.core.images import ProjectionSpacing, WeightLimits
from vertecast.core.results import AngleFinding, NotMeasured, Quantity
from vertecast.measurement.projection.angles import LARGEST_COBB, LORDOSIS
from vertecast.measurement.projection.bodies import plane_of
from vertecast.measurement.projection.study import (
    CANAL_MISSED,
    MISSED,
    NO_SPINE,
    ProjectionMeasurement,
    measure_projection,
)

WEDGE = Body(first=15.0, middle=20.0, last=25.0)


def measured(film: Film, **changes: object) -> ProjectionMeasurement:
    radiograph, segmentation = film.make()
    segmentation = replace(segmentation, **changes)  # type: ignore[arg-type]
    return measure_projection(radiograph, segmentation, series_instance_uid="1.2.3", modality="radiograph")


def value(quantity: object) -> float:
    assert isinstance(quantity, Quantity)
    low, high = quantity.interval95 or (quantity.value, quantity.value)
    assert low <= quantity.value <= high
    return quantity.value


def angle(result: ProjectionMeasurement, name: str) -> AngleFinding:
    (found,) = [a for a in result.angles if a.name == name]
    return found


def test_heights_ratios_and_grade_of_a_wedge_on_unequal_pixels() -> None:
    result = measured(Film(bodies=thirds(WEDGE)))
    broken = result.vertebrae[1]
    assert [v.level for v in result.vertebrae] == ["L2", "L3", "L4", "L5"]
    assert {p: value(h) for p, h in broken.heights.items()} == pytest.approx(
        {"anterior": 15.0, "middle": 20.0, "posterior": 25.0}, abs=0.01
    )
    assert value(broken.ratios["wedge"]) == pytest.approx(0.6)
    assert value(broken.ratios["biconcave"]) == pytest.approx(0.8)
    assert broken.reference.method == "intact vertebrae"
    assert (broken.deformity, broken.genant_grade, broken.genant_grade_range) == ("wedge", 3, (2, 3))
    assert value(broken.wedge_angle) == pytest.approx(2 * np.degrees(np.arctan2(5, 32)))
    assert value(result.vertebrae[0].wedge_angle) == pytest.approx(0, abs=1e-6)
    assert all(v.genant_grade == 0 for n, v in enumerate(result.vertebrae) if n != 1)
    assert broken.center_lps_mm is None
    assert isinstance(broken.volume, NotMeasured)
    assert isinstance(broken.density, NotMeasured)


def test_a_uniform_crush_shows_against_the_neighbours() -> None:
    bodies = (Body(), Body(), Body(first=15, middle=15, last=15.5), Body(), Body())
    broken = measured(Film(bodies=bodies, field_mm=(120.0, 230.0))).vertebrae[2]
    assert broken.deformity == "crush"
    assert value(broken.ratios["crush"]) == pytest.approx(15.5 / 26, abs=0.06)


@pytest.mark.parametrize("view", ["lateral", "ap"])
@pytest.mark.parametrize(("degrees", "mirror"), [(0, True), (180, False), (180, True), (23, False), (-90, True)])
def test_facing_and_turning_change_no_number(view: str, degrees: float, mirror: bool) -> None:
    """Kyphosis, wedge and heights of a film that faces the other way, lies on its side or is upside down."""
    bodies = (Body(tilt_deg=-6), replace(WEDGE, tilt_deg=3), Body(tilt_deg=9), Body(tilt_deg=14))
    film = Film(bodies=bodies, field_mm=(240.0, 240.0), view=view, column_mm=0.9, row_mm=1.2)  # type: ignore[arg-type]
    straight, turned = measured(film), measured(film.turned(degrees, mirror=mirror))
    for a, b in zip(straight.vertebrae, turned.vertebrae, strict=True):
        heights = [sorted(map(value, v.heights.values())) for v in (a, b)]
        assert heights[1] == pytest.approx(heights[0])
        if view == "lateral":
            assert value(b.wedge_angle) == pytest.approx(value(a.wedge_angle))
            assert a.genant_grade == b.genant_grade
    names = [x.name for x in straight.angles]
    assert names == [x.name for x in turned.angles]
    for a, b in zip(straight.angles, turned.angles, strict=True):
        exact = [value(x.angle) if view == "lateral" else abs(value(x.angle)) for x in (a, b)]
        assert exact[1] == pytest.approx(exact[0], abs=1e-6)


def test_kyphosis_is_positive_and_lordosis_negative() -> None:
    """With the front at the left of the picture, a positive tilt of the drawing lowers the back."""
    kyphotic = (Body(tilt_deg=-8), WEDGE, Body(tilt_deg=8), Body(tilt_deg=8))
    for film in (Film(bodies=kyphotic), Film(bodies=kyphotic).turned(mirror=True)):
        local = angle(measured(film), "local kyphosis L3")
        assert value(local.angle) == pytest.approx(16.0)
        assert (local.upper, local.lower) == ("L2 superior", "L4 inferior")
    bent = tuple(replace(b, tilt_deg=-b.tilt_deg) for b in kyphotic)
    assert value(angle(measured(Film(bodies=bent)), "local kyphosis L3").angle) == pytest.approx(-16.0)


def test_lumbar_lordosis_reaches_s1() -> None:
    bodies = tuple(Body(tilt_deg=t) for t in (10, 5, 0, -6, -12))
    found = angle(measured(Film(bodies=bodies, field_mm=(120, 230))), LORDOSIS)
    assert value(found.angle) == pytest.approx(-22.0)
    assert (found.upper, found.lower) == ("L1 superior", "S1 superior")
    assert not [a for a in measured(Film(bodies=bodies, sacrum=False)).angles if a.name == LORDOSIS]


def test_ap_heights_tilt_and_largest_cobb() -> None:
    bodies = (Body(tilt_deg=-12), Body(tilt_deg=4, first=24, last=20), Body(tilt_deg=15), Body(tilt_deg=3))
    result = measured(Film(bodies=bodies, view="ap", sacrum=False))
    second = result.vertebrae[1]
    assert {p: value(h) for p, h in second.heights.items()} == pytest.approx(
        {"left": 24.0, "middle": 25.0, "right": 20.0}, abs=0.1
    )
    assert isinstance(second.genant_grade, NotMeasured)
    assert "AP" in second.genant_grade.reason
    cobb = angle(result, LARGEST_COBB)
    assert value(cobb.angle) == pytest.approx(27.0)
    assert (cobb.upper, cobb.lower) == ("V1 superior", "V3 inferior")
    tilts = [value(angle(result, f"coronal tilt V{n}").angle) for n in (1, 3)]
    assert tilts[0] - tilts[1] == pytest.approx(27.0)


@pytest.mark.parametrize("plane", ["detector", "unknown"])
def test_without_a_patient_spacing_there_are_ratios_but_no_mm(plane: str) -> None:
    film = Film(bodies=thirds(WEDGE), plane=plane)
    broken = measured(film).vertebrae[1]
    height = broken.heights["anterior"]
    assert isinstance(height, NotMeasured)
    assert plane in height.reason
    assert value(broken.ratios["wedge"]) == pytest.approx(0.6)
    assert value(broken.wedge_angle) == pytest.approx(2 * np.degrees(np.arctan2(5, 32)))
    assert broken.confidence < measured(replace(film, plane="patient")).vertebrae[1].confidence


@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_a_useless_spacing_is_none(size: float) -> None:
    plane = plane_of(ProjectionSpacing(row_mm=size, column_mm=0.5, plane="patient"))
    assert plane.no_mm is not None
    assert (plane.column, plane.row) == (1.0, 1.0)
    square = Film(bodies=thirds(WEDGE), column_mm=0.5, row_mm=0.5, has_spacing=False)
    broken = measured(square).vertebrae[1]
    assert value(broken.ratios["wedge"]) == pytest.approx(0.6)
    assert isinstance(broken.heights["middle"], NotMeasured)


@settings(max_examples=25, deadline=None)
@given(
    heights=st.tuples(*[st.floats(10.0, 28.0)] * 3),
    degrees=st.floats(-180, 180),
    scale=st.floats(0.5, 0.95),
    mirror=st.booleans(),
)
def test_similarity_leaves_ratios_and_angles(
    heights: tuple[float, float, float], degrees: float, scale: float, mirror: bool
) -> None:
    bodies = (Body(), Body(first=heights[0], middle=heights[1], last=heights[2], tilt_deg=5), Body(tilt_deg=10))
    film = Film(bodies=bodies, field_mm=(260.0, 260.0), column_mm=1.1, row_mm=0.9)
    a, b = measured(film), measured(film.turned(degrees, scale=scale, mirror=mirror))
    for one, other in zip(a.vertebrae, b.vertebrae, strict=True):
        for name in ("wedge", "biconcave"):
            assert value(other.ratios[name]) == pytest.approx(value(one.ratios[name]))  # type: ignore[index]
        assert value(other.height_loss) == pytest.approx(value(one.height_loss), abs=1e-9)
        assert value(other.wedge_angle) == pytest.approx(value(one.wedge_angle), abs=1e-6)
        assert value(other.heights["middle"]) == pytest.approx(scale * value(one.heights["middle"]))


def test_points_with_more_spread_have_wider_intervals_and_less_confidence() -> None:
    sharp, blurred = (measured(Film(bodies=thirds(WEDGE), sd_px=sd)).vertebrae[1] for sd in (0.4, 8.0))
    for pick in ("height_loss", "wedge_angle"):
        widths = [np.ptp(getattr(v, pick).interval95) for v in (sharp, blurred)]
        assert widths[1] > 2 * widths[0]
    assert blurred.confidence < 0.7 * sharp.confidence
    assert value(blurred.height_loss) == pytest.approx(value(sharp.height_loss))


def test_interval_of_the_wedge_angle_is_that_of_scattered_points() -> None:
    """Monte Carlo: points scattered by their standard deviation scatter the angle as the interval says."""
    film = Film(bodies=thirds(WEDGE), sd_px=1.2)
    radiograph, segmentation = film.make()
    rng, found = np.random.default_rng(1), []
    for _ in range(150):
        points = segmentation.points_px + rng.normal(0, 1.2, segmentation.points_px.shape)
        moved = replace(segmentation, points_px=points)
        result = measure_projection(radiograph, moved, series_instance_uid="1", modality="radiograph")
        found.append((value(result.vertebrae[1].wedge_angle), value(result.vertebrae[1].ratios["wedge"])))
    finding = measured(film).vertebrae[1]
    for spread, quantity in zip(np.std(found, axis=0), (finding.wedge_angle, finding.ratios["wedge"]), strict=True):
        assert isinstance(quantity, Quantity)
        assert quantity.interval95 is not None
        assert np.ptp(quantity.interval95) / 2 / 1.96 == pytest.approx(spread, rel=0.25)


def test_a_cut_a_covered_and_a_shuttered_body_get_reasons() -> None:
    film = Film(bodies=thirds(WEDGE))
    radiograph, segmentation = film.make(metal=[film.box(film.center_mm(2), (18, 12))], touches=[0])
    valid = radiograph.valid.copy()
    valid[film.box(film.center_mm(3) + np.array([14, 10]), (12, 12))] = False
    shut = replace(radiograph, valid=valid)
    result = measure_projection(shut, segmentation, series_instance_uid="1", modality="radiograph")
    reasons = [getattr(v.height_loss, "reason", "") for v in result.vertebrae]
    assert reasons == ["cut by the edge of the image", "", "covered by metal", "cut by the edge of the image"]
    assert [v.complete for v in result.vertebrae] == [False, True, True, False]
    assert result.vertebrae[1].reference.method == "own posterior height"
    assert len(result.hardware) == 1
    assert value(result.hardware[0].area) == pytest.approx(18 * 12, rel=0.05)
    assert result.hardware[0].center_px == pytest.approx(film.px(film.center_mm(2)), abs=1)


def test_points_that_are_no_body_give_a_reason() -> None:
    radiograph, segmentation = Film(bodies=thirds()).make()
    points = segmentation.points_px.copy()
    points[0], points[1, 2], points[2] = points[0][::-1], np.nan, points[2][0]
    broken = replace(segmentation, points_px=points)
    result = measure_projection(radiograph, broken, series_instance_uid="1", modality="radiograph")
    assert [isinstance(v.wedge_angle, NotMeasured) for v in result.vertebrae] == [False, True, True, False]
    assert all(np.isfinite(v.center_px).all() for v in result.vertebrae)  # type: ignore[arg-type]


def test_a_double_contour_lowers_confidence_and_moves_nothing() -> None:
    film = Film(bodies=thirds(), noise=0.5)
    radiograph, segmentation = film.make()
    image = radiograph.intensity.copy()
    center = film.center_mm(1)
    for y in (-13, -10):
        image[film.box(center + np.array([0, y]), (32, 1.0))] = 110
    doubled = replace(radiograph, intensity=image)
    plain, found = (
        measure_projection(r, segmentation, series_instance_uid="1", modality="radiograph").vertebrae
        for r in (radiograph, doubled)
    )
    assert found[1].confidence < 0.8 * plain[1].confidence
    assert found[0].confidence == plain[0].confidence
    assert found[1].heights == plain[1].heights


def test_no_spine_and_oblique() -> None:
    radiograph, segmentation = Film(bodies=thirds(WEDGE)).make()
    none = replace(segmentation, view=None)
    result = measure_projection(radiograph, none, series_instance_uid="1", modality="fluoroscopy")
    assert result.warnings == (NO_SPINE,)
    assert (result.vertebrae, result.angles) == ((), ())
    oblique = measured(Film(bodies=thirds(WEDGE)), view="oblique")
    assert all("oblique" in v.height_loss.reason for v in oblique.vertebrae)  # type: ignore[union-attr]
    assert oblique.angles == ()


@pytest.mark.parametrize(("modality", "share"), [("radiograph", "42 %"), ("fluoroscopy", "21 %")])
def test_every_report_says_what_its_modality_misses(modality: str, share: str) -> None:
    radiograph, segmentation = Film(bodies=thirds()).make()
    result = measure_projection(radiograph, segmentation, series_instance_uid="1", modality=modality)  # type: ignore[arg-type]
    assert MISSED[modality] in result.limits  # type: ignore[index]
    assert share in MISSED[modality]  # type: ignore[index]
    assert CANAL_MISSED in result.limits


def test_levels_from_ribs_operator_and_neither() -> None:
    film = Film(bodies=thirds(), sacrum=False)
    assert [v.level for v in measured(film).vertebrae] == ["V1", "V2", "V3", "V4"]
    ribs = measured(replace(film, ribs=(0.9, 0.8, 0.1, 0.1))).vertebrae
    assert [(v.level, v.level_source) for v in ribs] == [(n, "ribs") for n in ("T11", "T12", "L1", "L2")]
    radiograph, segmentation = film.make()
    told = measure_projection(radiograph, segmentation, series_instance_uid="1", lowest="L4", modality="radiograph")
    assert [v.level for v in told.vertebrae] == ["L1", "L2", "L3", "L4"]
    with pytest.raises(ConfigurationError, match="lowest"):
        measure_projection(radiograph, segmentation, series_instance_uid="1", lowest="S1", modality="radiograph")


def test_a_body_missed_above_the_sacrum_is_counted_over() -> None:
    film = Film(bodies=(*thirds(), Body()), field_mm=(120, 240))
    radiograph, whole = film.make()
    keep = slice(0, 4)
    missed = replace(
        whole, points_px=whole.points_px[keep], points_sd_px=whole.points_sd_px[keep],
        confidence=whole.confidence[keep], touches_border=whole.touches_border[keep], rib_score=whole.rib_score[keep],
    )  # fmt: skip
    result = measure_projection(radiograph, missed, series_instance_uid="1", modality="radiograph")
    assert [v.level for v in result.vertebrae] == ["L1", "L2", "L3", "L4"]


def test_maps_of_another_shape_are_refused() -> None:
    radiograph, segmentation = Film(bodies=thirds()).make()
    other = replace(segmentation, cement_probability=segmentation.cement_probability[1:])
    with pytest.raises(ValueError, match="maps"):
        measure_projection(radiograph, other, series_instance_uid="1", modality="radiograph")


def test_what_is_known_of_the_weights_stands_in_the_report() -> None:
    radiograph, segmentation = Film(bodies=thirds()).make()
    limits = WeightLimits(always=("these weights are young",), with_cement=("they miss leaks",))
    known = replace(segmentation, limits=limits)
    result = measure_projection(radiograph, known, series_instance_uid="1", modality="radiograph")
    assert "these weights are young" in result.limits
    assert ("they miss leaks" in result.limits) == bool(result.cement)
