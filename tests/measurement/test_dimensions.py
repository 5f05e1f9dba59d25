"""The normal dimensions: shaped as spines are, without slips of the keyboard, and printed as they stand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from vertecast.core.anatomy import CERVICAL, LUMBAR, NORMAL_HEIGHTS_MM, THORACIC, normal_height_mm
from vertecast.lab.simulation.patient.population import DIMENSIONS

LEVELS = [level.name for level in (*CERVICAL[2:], *THORACIC, *LUMBAR)]


def test_both_tables_hold_the_same_levels() -> None:
    assert [level.name for level in DIMENSIONS] == LEVELS == list(NORMAL_HEIGHTS_MM)


def test_posterior_heights_grow_from_c6_to_l3_and_fall_to_l5() -> None:
    heights = [NORMAL_HEIGHTS_MM[name][2] for name in LEVELS]
    steps = [lower - upper for upper, lower in pairwise(heights)]
    first, grown = LEVELS.index("C6"), LEVELS.index("L3")
    assert all(0.0 <= step <= 2.3 for step in steps[first:grown])
    assert all(step < 0 for step in steps[grown:])


def test_bodies_are_lower_in_front_in_the_kyphosis_and_higher_in_the_lordosis() -> None:
    shares = {name: anterior / posterior for name, (anterior, _, posterior) in NORMAL_HEIGHTS_MM.items()}
    assert min(shares, key=shares.__getitem__) == "T7" or shares["T7"] - min(shares.values()) < 0.01
    assert shares["T7"] < shares["T12"] < shares["L2"] < shares["L4"] < shares["L5"]


def test_every_body_is_hollow() -> None:
    for name, (anterior, middle, posterior) in NORMAL_HEIGHTS_MM.items():
        assert 0.3 < (anterior + posterior) / 2 - middle < 3.5, name


def test_a_level_without_figures_has_no_normal_height() -> None:
    assert normal_height_mm("V3", "anterior") is None
    with pytest.raises(ValueError, match="not in tuple"):
        normal_height_mm("L1", "nowhere")


@pytest.mark.parametrize("name", ["width", "depth"])
def test_bodies_grow_downwards(name: str) -> None:
    sizes = [getattr(dimensions, name) for dimensions in DIMENSIONS.values()]
    assert all(lower >= upper - 0.5 for upper, lower in pairwise(sizes))


def test_the_page_lists_what_the_code_holds(repository: Path) -> None:
    page = (repository / "docs" / "reference_dimensions.md").read_text(encoding="utf-8")
    for name, (anterior, middle, posterior) in NORMAL_HEIGHTS_MM.items():
        assert f"| {name} | {anterior:.1f} | {middle:.1f} | {posterior:.1f} |" in page
    for level, d in DIMENSIONS.items():
        assert f"| {level.name} | {d.width:g} | {d.depth:g} | {d.canal_width:g} | {d.canal_depth:g} |" in page
