"""Sizes that are nobody's are refused, whatever the header says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phantoms.spine import vertebra_without_numbers
from vertecast.core.anatomy import NORMAL_HEIGHTS_MM, RIM_INSET_FRACTION
from vertecast.core.results import VertebraFinding
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.spine import Vertebra
from vertecast.measurement.shared.comparison import PLACES, length
from vertecast.measurement.shared.plausibility import implausible, unusual_size


def measured(drawn: Vertebra, along: float, across: float) -> VertebraFinding:
    """A drawn body as it is measured where voxels are so many times too long and too wide."""
    half = across * drawn.shape.depth_mm * (0.5 - RIM_INSET_FRACTION)
    plate = {"anterior": (0.0, -half, 0.0), "middle": (0.0, 0.0, 0.0), "posterior": (0.0, half, 0.0)}
    return replace(
        vertebra_without_numbers(drawn.level.name),
        complete=True,
        six_points_lps_mm={"superior": plate, "inferior": plate},
        heights={p: length(along * drawn.shape.heights_mm()[p], 0.4) for p in PLACES},
        genant_grade=drawn.grade,
    )


def column(seed: int, along: float = 1.0, across: float = 1.0) -> list[VertebraFinding]:
    spine = sample_spine(np.random.default_rng([8, seed]))
    shown = [one for one in spine.vertebrae if one.level.name in NORMAL_HEIGHTS_MM]
    first = seed % 12 + 3
    return [measured(one, along, across) for one in shown[first : first + 8]]


def test_patients_are_plausible() -> None:
    assert [implausible(column(seed)) for seed in range(60)] == [None] * 60


@pytest.mark.parametrize(
    ("along", "across", "words"),
    [(1.5, 1.0, "times as high for their depth"), (1.0, 1.5, "slices or the pixel spacing"), (0.1, 0.1, "voxel"),
     (2.0, 2.0, "voxel")],
)  # fmt: skip
def test_wrong_sizes_of_voxels_are_not(along: float, across: float, words: str) -> None:
    found = [implausible(column(seed, along, across)) for seed in range(60)]
    assert sum(reason is not None and words in reason for reason in found) >= 50


def test_a_small_person_is_measured_with_a_warning() -> None:
    told = [unusual_size(column(seed, 0.72, 0.72)) for seed in range(40)]
    assert [implausible(column(seed, 0.72, 0.72)) for seed in range(40)].count(None) >= 36
    assert sum(text is not None and "if this is an adult" in text for text in told) >= 20
    assert sum(unusual_size(column(seed)) is not None for seed in range(40)) == 0


def test_too_few_bodies_tell_nothing() -> None:
    bodies = column(1, 1.5)
    intact = [one for one in bodies if one.genant_grade == 0]
    assert implausible(intact[:2]) is None
    unnamed = [replace(one, level=f"V{n}") for n, one in enumerate(bodies, start=1)]
    assert implausible(unnamed) is None
    assert implausible([replace(one, treated=True) for one in bodies]) is None
    assert implausible([replace(one, complete=False) for one in bodies]) is None
