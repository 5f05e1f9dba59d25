"""Compare drawn spines with figures of real ones, by the same definitions: gaps, bends and heights of every level.

The figures are a JSON file: ``keypoints.gap_mm`` (by "T4-T5"), ``keypoints.sagittal_bend_deg`` and ``body_heights_mm``
(by level), each with ``mean`` and ``sd``. Exit status 1 where one lies outside the limits.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from vertecast.core.anatomy import CRANIAL_TO_CAUDAL, Level
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.spine import Spine

SPINES: Final = 400
SCORED: Final = [level.name for level in CRANIAL_TO_CAUDAL if Level.T4 <= level <= Level.L5]
PLACES: Final = ("anterior", "middle", "posterior")

LEAST_DRAWN: Final = 100
"""What fewer spines have, as a bend over an L6, is not compared."""

Kind = Literal["gap_mm", "bend_deg", "height_mm"]
MEAN_LIMITS: Final[Mapping[Kind, float]] = {"gap_mm": 0.03, "height_mm": 0.04, "bend_deg": 1.5}
"""Shares of the real mean, and degrees."""

SD_LIMIT: Final = 0.25
"""Share of the real SD. That of heights is judged over all levels together: a level has six to twelve real bodies, so
that the SD is itself known to a quarter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of one level, drawn and real: mean and SD of each."""

    kind: Kind
    name: str
    drawn: tuple[float, float]
    real: tuple[float, float]

    @property
    def mean_off(self) -> float:
        """Drawn less real mean, as `MEAN_LIMITS` counts it."""
        difference = self.drawn[0] - self.real[0]
        return difference if self.kind == "bend_deg" else difference / self.real[0]

    @property
    def sd_off(self) -> float:
        """Drawn over real SD, less one."""
        return self.drawn[1] / self.real[1] - 1


def values(spines: Iterable[Spine]) -> dict[tuple[Kind, str], list[float]]:
    """Gaps, bends and heights of spines by kind and level."""
    found: dict[tuple[Kind, str], list[float]] = defaultdict(list)
    for spine in spines:
        centers = np.array([v.lps_from_local[:3, 3] for v in spine.vertebrae])
        steps = np.diff(centers, axis=0)
        leans_deg = np.degrees(np.arctan2(steps[:, 1], -steps[:, 2]))
        for (upper, lower), step in zip(pairwise(spine.vertebrae), steps, strict=True):
            found["gap_mm", f"{upper.level.name}-{lower.level.name}"].append(float(np.linalg.norm(step)))
        for vertebra, bend in zip(spine.vertebrae[1:], np.diff(leans_deg), strict=False):
            found["bend_deg", vertebra.level.name].append(float(bend))
        for vertebra in spine.vertebrae:
            for place, height in vertebra.shape.heights_mm().items():
                found["height_mm", f"{vertebra.level.name} {place}"].append(height)
    return found


def rows(figures: Mapping[str, Any], drawn: Mapping[tuple[Kind, str], list[float]]) -> Iterator[Row]:
    """Every figure of T4 to L5 that both have."""
    real: dict[tuple[Kind, str], tuple[float, float]] = {}
    names: dict[Kind, str] = {"gap_mm": "gap_mm", "bend_deg": "sagittal_bend_deg"}
    for kind, name in names.items():
        for level, entry in figures["keypoints"][name].items():
            real[kind, level] = (entry["mean"], entry["sd"])
    for level in SCORED:
        entry = figures["body_heights_mm"][level]
        for place, mean, sd in zip(PLACES, entry["mean"], entry["sd"], strict=True):
            real["height_mm", f"{level} {place}"] = (mean, sd)
    for (kind, name), measured in drawn.items():
        if (
            (kind, name) in real
            and len(measured) >= LEAST_DRAWN
            and all(part in SCORED for part in name.split()[0].split("-"))
        ):
            mean_sd = (float(np.mean(measured)), float(np.std(measured)))
            yield Row(kind=kind, name=name, drawn=mean_sd, real=real[kind, name])


def beyond_limits(compared: Iterable[Row]) -> list[str]:
    """What lies outside the limits, in words."""
    compared = list(compared)
    found = [
        f"{r.name} {r.kind}: mean off by {r.mean_off:+.3g}" for r in compared if abs(r.mean_off) > MEAN_LIMITS[r.kind]
    ]
    found += [
        f"{r.name} {r.kind}: SD off by {r.sd_off:+.0%}"
        for r in compared
        if r.kind != "height_mm" and abs(r.sd_off) > SD_LIMIT
    ]
    heights = [r for r in compared if r.kind == "height_mm"]
    spread = np.mean([r.drawn[1] / r.drawn[0] for r in heights]) / np.mean([r.real[1] / r.real[0] for r in heights]) - 1
    return found + ([f"heights of all levels: SD off by {spread:+.0%}"] if abs(spread) > SD_LIMIT else [])


def main() -> int:
    """Print the comparison; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, help="JSON file with figures of real spines")
    parser.add_argument("--spines", type=int, default=SPINES)
    arguments = parser.parse_args()
    figures = json.loads(arguments.figures.read_text(encoding="utf-8"))
    compared = list(rows(figures, values(draw_sound(arguments.spines))))
    for row in compared:
        off = f"{row.mean_off:+.1f} deg" if row.kind == "bend_deg" else f"{row.mean_off:+.1%}"
        print(
            f"{row.kind:9} {row.name:14} drawn {row.drawn[0]:6.2f} +- {row.drawn[1]:5.2f}   "
            f"real {row.real[0]:6.2f} +- {row.real[1]:5.2f}   mean {off}, SD {row.sd_off:+.0%}"
        )
    faults = beyond_limits(compared)
    print("\n".join(faults) if faults else "All within the limits.")
    return 1 if faults else 0


def draw_sound(count: int) -> Iterator[Spine]:
    """Spines without fractures, whose loss of height real columns have seldom."""
    return (sample_spine(np.random.default_rng([7, n]), fracture_rate=0.0) for n in range(count))


if __name__ == "__main__":
    sys.exit(main())
