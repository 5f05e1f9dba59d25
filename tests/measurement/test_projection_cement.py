"""Cement and suspected leaks of one projection image: where cement of known place and size is said to be."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from phantoms.projection import DEPTH_MM, Body, Film, thirds
from vertecast.core import report_json
from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, Compartment
from vertecast.core.images import View
from vertecast.core.results import CineFinding, GrowthPoint, NotMeasured, Quantity, SeriesResult, StudyReport
from vertecast.measurement.projection.study import ProjectionMeasurement, combine_views, measure_projection
from vertecast.report import summary

INSIDE = (14.0, 12.0)
PLACES: list[tuple[View, tuple[float, float], tuple[float, float], Compartment]] = [
    ("lateral", (0, -12), (8, 12), Compartment.DISC_SUPERIOR),
    ("lateral", (-3, 12), (8, 12), Compartment.DISC_INFERIOR),
    ("lateral", (15, 2), (14, 6), Compartment.CANAL),
    ("lateral", (-15, 2), (14, 6), Compartment.PREVERTEBRAL),
    ("ap", (0, -12), (8, 12), Compartment.DISC_SUPERIOR),
    ("ap", (15, 2), (14, 6), Compartment.PARAVERTEBRAL_LEFT),
    ("ap", (-15, 2), (14, 6), Compartment.PARAVERTEBRAL_RIGHT),
]


def value(quantity: object) -> float:
    assert isinstance(quantity, Quantity)
    return quantity.value


def measured(film: Film, cement: list[np.ndarray], metal: list[np.ndarray] | None = None) -> ProjectionMeasurement:
    radiograph, segmentation = film.make(cement=cement, metal=metal or [])
    return measure_projection(radiograph, segmentation, series_instance_uid="1.2.3", modality="fluoroscopy")


def boxes(film: Film, *places: tuple[tuple[float, float], tuple[float, float]], body: int = 1) -> list[np.ndarray]:
    return [film.box(film.center_mm(body) + np.array(center), size) for center, size in places]


def test_cement_inside_has_area_share_contact_and_no_leak() -> None:
    film = Film(bodies=thirds())
    result = measured(film, boxes(film, ((2, 0), INSIDE)))
    (cement,) = result.cement
    assert (cement.id, cement.level) == ("C1", "L3")
    assert value(cement.area) == pytest.approx(14 * 12, rel=0.06)
    assert value(cement.area_fraction) == pytest.approx(14 * 12 / (DEPTH_MM * 25.7), rel=0.08)
    assert value(cement.share_outside) == 0
    assert cement.center_px == pytest.approx(film.px(film.center_mm(1) + np.array([2, 0])), abs=1.0)
    assert cement.endplate_contact == "none"
    assert isinstance(cement.volume, NotMeasured)
    assert isinstance(cement.crosses_midline, NotMeasured)
    assert result.leaks == ()
    assert [v.treated for v in result.vertebrae] == [False, True, False, False]
    assert result.vertebrae[2].reference.levels == ("L2", "L5")


@pytest.mark.parametrize(("view", "center", "size", "compartment"), PLACES)
@pytest.mark.parametrize(("degrees", "mirror"), [(0, False), (0, True), (160, False)])
def test_a_leak_lies_in_its_compartment(
    view: View,
    center: tuple[float, float],
    size: tuple[float, float],
    compartment: Compartment,
    degrees: float,
    mirror: bool,
) -> None:
    film = Film(bodies=thirds(), view=view, field_mm=(230.0, 200.0)).turned(degrees, mirror=mirror)
    if view == "ap" and mirror:  # a mirrored picture cannot know that it is one: the sides change
        swapped = {Compartment.PARAVERTEBRAL_LEFT: Compartment.PARAVERTEBRAL_RIGHT}
        swapped |= {b: a for a, b in swapped.items()}
        compartment = swapped.get(compartment, compartment)
    result = measured(film, boxes(film, ((0, 0), INSIDE), (center, size)))
    (leak,) = result.leaks
    assert (leak.level, leak.compartment, leak.suspected) == ("L3", compartment, True)
    assert (leak.cement_id, leak.evidence.frame_number) == ("C1", 1)
    assert leak.evidence.point_px is not None
    row, column = (round(v) for v in leak.evidence.point_px[::-1])
    assert result.labels[row, column] == 201
    assert value(result.cement[0].share_outside) > 0.05
    outside = (13 - 6) * 8 if "disc" in compartment.value else 6 * 6
    assert value(leak.area) < outside
    assert value(leak.area_fraction) == pytest.approx(value(leak.area) / (DEPTH_MM * 25.7), rel=0.1)


def test_a_rim_within_the_tolerance_is_no_leak() -> None:
    film = Film(bodies=thirds())
    result = measured(film, boxes(film, ((0, -7), (14, 13.8))))
    assert result.leaks == ()
    assert result.cement[0].endplate_contact == "superior"


def test_metal_is_no_cement_and_hides_no_cement() -> None:
    """A needle that the network takes for both, in one body; cement in another."""
    film = Film(bodies=thirds())
    needle = boxes(film, ((22, 0), (34, 2)), body=2)
    radiograph, segmentation = film.make(cement=[*boxes(film, ((0, 0), INSIDE))], metal=needle)
    both = np.where(needle[0], 0.6, segmentation.cement_probability).astype(np.float16)
    result = measure_projection(
        radiograph, replace(segmentation, cement_probability=both), series_instance_uid="1", modality="fluoroscopy"
    )
    assert [c.level for c in result.cement] == ["L3"]
    assert result.leaks == ()
    assert [h.kind for h in result.hardware] == ["metal"]
    assert value(result.hardware[0].area) == pytest.approx(68, rel=0.25)


def test_the_edge_moves_to_half_height() -> None:
    """A network's cement that is a pixel too wide is drawn in by what the picture shows."""
    film = Film(bodies=thirds(), noise=0.5)
    true, wide = (boxes(film, ((0, 0), size)) for size in ((14.0, 12.0), (15.0, 12.8)))
    radiograph, segmentation = film.make(cement=true)
    said = replace(segmentation, cement_probability=wide[0].astype(np.float16))
    result = measure_projection(radiograph, said, series_instance_uid="1", modality="fluoroscopy")
    assert value(result.cement[0].area) == pytest.approx(np.count_nonzero(true[0]) * 0.2, rel=0.01)


def test_far_cement_and_specks_are_not_counted() -> None:
    film = Film(bodies=thirds(), field_mm=(240.0, 190.0))
    result = measured(film, boxes(film, ((0, 0), INSIDE), ((110, 0), (8, 8)), ((0, 34), (1.5, 1.5))))
    (cement,) = result.cement
    assert value(cement.area) == pytest.approx(14 * 12, rel=0.06)
    assert any("far from every body" in warning for warning in result.warnings)


def test_cement_across_a_disc_belongs_to_both_bodies() -> None:
    film = Film(bodies=thirds())
    result = measured(film, boxes(film, ((0, 17), (10, 30))))
    assert [c.level for c in result.cement] == ["L3", "L4"]
    assert {leak.compartment for leak in result.leaks} <= {Compartment.DISC_INFERIOR, Compartment.DISC_SUPERIOR}


def test_both_views_side_by_side() -> None:
    film = Film(bodies=thirds())
    lateral = measured(film, boxes(film, ((0, 0), INSIDE), ((0, -12), (8, 12)), ((15, 2), (14, 6))))
    seen = replace(film, view="ap", sacrum=True)
    ap = measured(seen, boxes(seen, ((0, 0), INSIDE), ((0, -12), (8, 12))))
    (both,) = combine_views([lateral], [ap])
    assert both.level == "L3"
    assert set(both.lateral) == {Compartment.DISC_SUPERIOR, Compartment.CANAL}
    assert both.ap == (Compartment.DISC_SUPERIOR,)
    assert both.seen_in_both
    unknown = measured(replace(seen, sacrum=False), boxes(seen, ((0, 0), INSIDE), ((15, 2), (14, 6))))
    (matched,) = combine_views([lateral], [unknown])
    assert (matched.level, matched.ap, matched.seen_in_both) == ("L3", (Compartment.PARAVERTEBRAL_LEFT,), False)
    assert combine_views([], [unknown])[0].level == "V2"


def test_without_mm_the_share_stays() -> None:
    film = Film(bodies=thirds(), plane="detector")
    result = measured(film, boxes(film, ((0, 0), INSIDE), ((15, 2), (14, 6))))
    assert isinstance(result.cement[0].area, NotMeasured)
    assert value(result.cement[0].area_fraction) > 0.2
    assert isinstance(result.leaks[0].area, NotMeasured)
    assert isinstance(result.leaks[0].farthest, NotMeasured)
    assert value(result.leaks[0].area_fraction) > 0.01


@pytest.mark.parametrize("view", ["lateral", "ap"])
@pytest.mark.parametrize("plane", ["patient", "unknown"])
def test_a_report_of_projections_fits_the_schema_and_comes_back(view: View, plane: str) -> None:
    film = Film(bodies=(*thirds(Body(first=16)), Body()), view=view, plane=plane, field_mm=(120.0, 230.0))
    cement = boxes(film, ((0, 0), INSIDE), ((0, -12), (8, 12)))
    result = measured(film, cement, boxes(film, ((20, 0), (20, 2)), body=2))
    area = Quantity(value=12.0, unit="mm2")
    never = NotMeasured(reason="no leak seen in 20 frames")
    found = CineFinding(
        series_instance_uid="1.2.4", frame_rate=7.5, first_cement_frame=4,
        growth=(GrowthPoint(frame_number=1, area=area),), first_suspected_leak_frame=never,
    )  # fmt: skip
    report = StudyReport(
        study_instance_uid="1.2", phase="intra", phase_source="cement seen",
        series=(SeriesResult(series_instance_uid="1.2.3", kind="cine", view=view, status="analyzed", reason=""),),
        vertebrae=result.vertebrae, angles=result.angles, cement=result.cement, leaks=result.leaks,
        hardware=result.hardware, combined_leaks=combine_views([result], []), cine=found, further_cines=(found,),
        limits=result.limits, warnings=result.warnings,
    )  # fmt: skip
    written = report_json.to_document(report)
    report_json.validate(written)
    assert report_json.from_document(written) == report
    body, leak = written["vertebrae"][1], written["leaks"][0]
    assert "center_lps_mm" not in body
    assert len(body["center_px"]) == 2
    assert set(body["heights"]) == {"middle", *(("left", "right") if view == "ap" else ("anterior", "posterior"))}
    assert set(leak["evidence"]) == {"series_instance_uid", "frame", "sop_instance_uid", "point_px"}
    assert leak["suspected"] is True
    assert "not_measured" in leak["volume"]
    assert written["cine"]["growth"] == [{"frame": 1, "area": {"value": 12.0, "unit": "mm2", "interval95": None}}]
    studies = (
        summary.StudyRun(study_instance_uid="1.2", directory="1.2", status="analyzed", report=report),
    )  # fmt: skip
    table = summary.summary_csv(summary.RunSummary(studies=studies, started="2026-01-01"))
    header, _, second, *_ = table.splitlines()
    assert "left_height_mm" in header
    assert "disc_superior" in second
    row = dict(zip(header.split(","), next(csv.reader([second])), strict=True))
    area = written["cement"][0]["area"]
    assert "value" not in area or float(row["cement_area_mm2"]) == pytest.approx(area["value"], rel=1e-3)
    assert 0 < float(row["cement_area_fraction"]) < 1


@pytest.mark.parametrize(
    ("probability", "brightness", "is_claimed"),
    [(1.0, 1.0, True), (0.7, 1.0, True), (1.0, 0.0, False), (0.55, 1.0, False)],
)
def test_on_a_radiograph_a_dense_shadow_that_may_be_bone_is_told_and_not_counted(
    probability: float, brightness: float, is_claimed: bool
) -> None:
    film = Film(bodies=thirds())
    radiograph, segmentation = film.make(cement=boxes(film, ((2, 0), INSIDE)))
    plain, _ = film.make()
    intensity = plain.intensity + brightness * (radiograph.intensity - plain.intensity)
    said = replace(
        segmentation,
        cement_probability=(segmentation.cement_probability * np.float16(probability)).astype(np.float16),
    )
    taken = replace(radiograph, intensity=intensity.astype(np.float32))
    result = measure_projection(taken, said, series_instance_uid="1", modality="radiograph")
    assert [finding.level for finding in result.cement] == (["L3"] if is_claimed else [])
    assert any("L3: dense shadow, cement possible" in limit for limit in result.limits) != is_claimed
    assert any(vertebra.treated for vertebra in result.vertebrae) == is_claimed
    if not is_claimed:
        assert not (result.labels == CEMENT_INSIDE_LABEL).any()
    cine = measure_projection(taken, said, series_instance_uid="1", modality="fluoroscopy")
    assert [finding.level for finding in cine.cement] == ["L3"], "in a cine cement is known by its appearing"
