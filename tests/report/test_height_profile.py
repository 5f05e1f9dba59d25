"""The heights of a spine against those expected in the patient."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest

from vertecast.core.anatomy import normal_height_mm
from vertecast.core.results import NotMeasured, Quantity
from vertecast.report.html import height_profile


def test_expected_is_the_normal_shape_in_the_patients_size(case) -> None:
    (plot,) = height_profile.plot_profiles(case.report)
    assert [row.name for row in plot.rows] == ["T12", "L1", "L2", "L3"]
    shares = []
    for vertebra in case.report.vertebrae:
        if vertebra.level in ("T12", "L2", "L3"):
            for place in height_profile.PLACES:
                height, normal = vertebra.heights[place], normal_height_mm(vertebra.level, place)
                assert isinstance(height, Quantity)
                assert normal is not None
                shares.append(height.value / normal)
    normal = normal_height_mm("L1", "anterior")
    assert normal is not None
    middle = median(shares) * normal
    (row,) = (row for row in plot.table.rows if row[0].text == "L1")
    assert row[2].text == f"{0.9 * middle:.1f}–{1.1 * middle:.1f}"
    assert "L1 anterior 15.5 mm" in plot.sentence
    assert "T12" not in plot.sentence


def test_marks_stand_on_their_axis(case) -> None:
    (plot,) = height_profile.plot_profiles(case.report)
    column = plot.columns[0]
    ticks = {tick.text: tick.at for tick in column.ticks}
    mark = column.marks[1]
    per_mm = (ticks["20"] - ticks["15"]) / 5
    assert mark.x == pytest.approx(ticks["15"] + 0.5 * per_mm, abs=0.2)
    assert mark.high - mark.low == pytest.approx(1.2 * per_mm, abs=0.2)
    assert (mark.is_low, mark.is_fractured) == (True, True)
    assert not column.marks[0].is_low
    assert column.marks[0].y == plot.rows[0].y


def test_without_known_levels_nothing_is_expected(case) -> None:
    unknown = tuple(replace(v, level=f"V{n}") for n, v in enumerate(case.report.vertebrae, start=1))
    (plot,) = height_profile.plot_profiles(replace(case.report, vertebrae=unknown))
    assert not any(column.ranges for column in plot.columns)
    assert "No expected range" in plot.note


def test_a_spine_without_heights_has_no_profile(case) -> None:
    none = dict.fromkeys(height_profile.PLACES, NotMeasured(reason="mm do not hold"))
    bare = tuple(replace(v, heights=none) for v in case.report.vertebrae)
    assert height_profile.plot_profiles(replace(case.report, vertebrae=bare)) == ()


def test_an_ap_view_has_no_profile(case) -> None:
    names = {"anterior": "left", "middle": "middle", "posterior": "right"}
    ap = tuple(
        replace(v, heights={names[place]: height for place, height in v.heights.items()}) for v in case.report.vertebrae
    )
    assert sum(isinstance(v.heights["middle"], Quantity) for v in ap) >= 2
    assert height_profile.plot_profiles(replace(case.report, vertebrae=ap)) == ()
