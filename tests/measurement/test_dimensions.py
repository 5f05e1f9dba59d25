"""The normal dimensions: the same in measuring and in the simulation, without slips of the keyboard."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from vertecast.anatomy import LUMBAR, NORMAL_ANTERIOR_SHARE, NORMAL_POSTERIOR_MM, THORACIC
from vertecast.simulation.population import DIMENSIONS

LEVELS = [level.name for level in (*THORACIC, *LUMBAR)]


def test_measuring_and_simulation_share_their_heights() -> None:
    assert [level.name for level in DIMENSIONS] == LEVELS == list(NORMAL_POSTERIOR_MM) == list(NORMAL_ANTERIOR_SHARE)
    for level, dimensions in DIMENSIONS.items():
        assert dimensions.posterior == NORMAL_POSTERIOR_MM[level.name]
        assert dimensions.anterior_ratio == NORMAL_ANTERIOR_SHARE[level.name]


def test_posterior_heights_grow_to_l2_and_fall_at_l5() -> None:
    heights = [NORMAL_POSTERIOR_MM[name] for name in LEVELS]
    steps = [lower - upper for upper, lower in pairwise(heights)]
    grown = LEVELS.index("L2")
    assert all(0.0 <= step <= 1.6 for step in steps[:grown])
    assert all(abs(step) <= 0.5 for step in steps[grown:-1])
    assert steps[-1] < 0


def test_bodies_are_lower_in_front_in_the_kyphosis_and_higher_in_the_lordosis() -> None:
    shares = [NORMAL_ANTERIOR_SHARE[name] for name in LEVELS]
    lowest = LEVELS.index("T8")
    assert all(lower <= upper for upper, lower in pairwise(shares[: lowest + 1]))
    assert all(lower >= upper for upper, lower in pairwise(shares[lowest:]))
    assert shares[lowest] < 1.0 < shares[-1]


@pytest.mark.parametrize("name", ["width", "depth"])
def test_bodies_grow_downwards(name: str) -> None:
    sizes = [getattr(dimensions, name) for dimensions in DIMENSIONS.values()]
    assert all(lower >= upper - 0.5 for upper, lower in pairwise(sizes))


def test_the_page_lists_what_the_code_holds(repository: Path) -> None:
    page = (repository / "docs" / "reference_dimensions.md").read_text(encoding="utf-8")
    for name in LEVELS:
        assert f"| {name} | {NORMAL_POSTERIOR_MM[name]:.1f} | {NORMAL_ANTERIOR_SHARE[name]:.2f} |" in page
    for level, d in DIMENSIONS.items():
        assert f"| {level.name} | {d.width:g} | {d.depth:g} | {d.canal_width:g} | {d.canal_depth:g} |" in page
