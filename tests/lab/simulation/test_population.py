"""Drawn spines against real ones, by the same definitions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from compare_population import Row, beyond_limits, draw_sound, rows, values

from vertecast.core.anatomy import NORMAL_GAPS_MM, NORMAL_HEIGHTS_MM, Level
from vertecast.lab.simulation.patient.population import DIMENSIONS, sample_curve

SPINES = 400


@pytest.fixture(scope="module")
def drawn() -> dict[tuple[str, str], list[float]]:
    return values(draw_sound(SPINES))


@pytest.mark.realdata
def test_four_hundred_drawn_spines_are_like_real_ones(
    drawn: dict[tuple[str, str], list[float]], real_data: Path
) -> None:
    figures = json.loads((real_data / "spine_population.json").read_text(encoding="utf-8"))
    assert beyond_limits(rows(figures, drawn)) == []


def test_drawn_spines_have_the_sizes_of_the_tables(drawn: dict[tuple[str, str], list[float]]) -> None:
    for (kind, name), measured in drawn.items():
        level = Level[name.split()[0].split("-")[0]]
        if kind == "gap_mm" and level in DIMENSIONS and "L6" not in name and "T13" not in name:
            assert np.mean(measured) == pytest.approx(NORMAL_GAPS_MM[level.name], rel=0.03), name
        if kind == "height_mm" and name.endswith("middle") and level in DIMENSIONS:
            assert np.mean(measured) == pytest.approx(NORMAL_HEIGHTS_MM[level.name][1], rel=0.02), name


def test_what_lies_outside_the_limits_is_named() -> None:
    good = Row(kind="gap_mm", name="L1-L2", drawn=(34.0, 2.5), real=(34.5, 2.5))
    short = Row(kind="gap_mm", name="L2-L3", drawn=(31.0, 2.5), real=(35.8, 2.7))
    alike = Row(kind="bend_deg", name="L3", drawn=(7.5, 2.0), real=(7.5, 4.7))
    heights = Row(kind="height_mm", name="L3 middle", drawn=(25.8, 1.5), real=(25.8, 1.5))
    found = beyond_limits([good, short, alike, heights])
    assert [line.split(":")[0] for line in found] == ["L2-L3 gap_mm", "L3 bend_deg"]


def test_a_column_comes_back_to_its_course() -> None:
    levels = tuple(DIMENSIONS)
    leans = np.array([sample_curve(levels, np.random.default_rng(n)).between_deg for n in range(300)])
    assert np.all(leans.std(axis=0) < 13), "as in VID: 6 to 9 degrees, in the neck 12; summed bends alone would give 20"
