"""Scores of the bodies on projection images: found, named, placed, measured, graded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import numpy as np

from vertecast.core.geometry import FloatArray
from vertecast.core.results import NotMeasured, Place, Quantity
from vertecast.lab.evaluation import agreement
from vertecast.lab.evaluation.datasets import PLACES
from vertecast.lab.evaluation.projections.films import CORNERS_OF_SIX
from vertecast.lab.evaluation.projections.found import FoundFilmBody
from vertecast.lab.evaluation.projections.scoring import Images, RowsOf, once
from vertecast.lab.evaluation.projections.truth import TrueFilmBody
from vertecast.lab.evaluation.score import Rows, Score

Ratio: TypeAlias = Literal["wedge", "biconcave"]
Pairs: TypeAlias = Iterable[tuple[float, Quantity]]
"""True and measured values."""

RATIO_PLACES: Final[Mapping[Ratio, Place]] = {"wedge": "anterior", "biconcave": "middle"}
"""Height over the posterior one that each ratio of a report stands for."""


def percentile_90(rows: FloatArray) -> float:
    """90th centile of the first column."""
    return float(np.percentile(rows[:, 0], 90)) if len(rows) else float("nan")


def sagittal(images: Images) -> Iterable[tuple[TrueFilmBody, FoundFilmBody]]:
    """Complete bodies that were found on lateral views: the ones that have anterior and posterior heights."""
    return (pair for image in images if image.truth.view == "lateral" for pair in image.measured)


def _heights(place: Place) -> Callable[[Images], Pairs]:
    def pairs(images: Images) -> Pairs:
        for truth, found in sagittal(images):
            height = found.heights.get(place)
            if isinstance(height, Quantity):
                yield truth.heights_mm[place], height

    return pairs


def _ratios(name: Ratio) -> Callable[[Images], Pairs]:
    def pairs(images: Images) -> Pairs:
        for truth, found in sagittal(images):
            ratio = found.ratios[name]
            if isinstance(ratio, Quantity):
                yield truth.heights_mm[RATIO_PLACES[name]] / truth.heights_mm["posterior"], ratio

    return pairs


def _wedges(images: Images) -> Pairs:
    for truth, found in sagittal(images):
        if isinstance(found.wedge_angle, Quantity):
            yield truth.wedge_deg, found.wedge_angle


def _errors(pairs: Callable[[Images], Pairs]) -> RowsOf:
    return lambda images: ((abs(found.value - true),) for true, found in pairs(images))


def _signed(quantities: Sequence[Callable[[Images], Pairs]]) -> RowsOf:
    return lambda images: ((found.value - true,) for pairs in quantities for true, found in pairs(images))


def _held(quantities: Sequence[Callable[[Images], Pairs]]) -> RowsOf:
    """1 for a true value inside its interval."""

    def rows(images: Images) -> Rows:
        for true, found in (pair for pairs in quantities for pair in pairs(images)):
            if found.interval95 is not None:
                yield (float(found.interval95[0] <= true <= found.interval95[1]),)

    return rows


def _grades(images: Images) -> Rows:
    for truth, found in sagittal(images):
        if not isinstance(found.genant_grade, NotMeasured):
            yield truth.grade, found.genant_grade


def _point_shares(points: Sequence[int]) -> RowsOf:
    def rows(images: Images) -> Rows:
        for body in (body for image in images for body in image.complete):
            yield from ((float(share),) for share in (body.point_shares[list(points)] if body.has_points else ()))

    return rows


def _turned(images: Images) -> Rows:
    for image in images:
        known = [body.is_turned_right for body in image.complete if body.has_points]
        if known:
            yield (float(all(known)),)


def _levels(images: Images) -> Rows:
    return ((float(body.level_right),) for image in images if image.is_countable for body in image.complete)


def _all_levels(images: Images) -> Rows:
    for image in images:
        if image.is_countable and image.complete:
            yield (float(all(body.level_right for body in image.complete)),)


def _claimed_levels(images: Images) -> Rows:
    for image in images:
        if not image.is_countable:
            yield from ((float(not found.level.startswith("V")),) for _, found in image.measured)


BODY_SCORES: Final[tuple[Score[Images], ...]] = (
    Score(
        key="view_right", label="images with the right view", rows=once(lambda i: i.found.view == i.truth.view)
    ),
    Score(key="turned_right", label="measured images with front and head on their sides", rows=_turned),
    Score(
        key="bodies_found", label="complete bodies found",
        rows=lambda images: ((float(body.found is not None),) for image in images for body in image.complete),
    ),
    Score(
        key="bodies_invented", label="bodies that are none, an image", rows=once(lambda i: len(i.invented))
    ),
    Score(key="levels_right", label="levels right, where they can be counted", rows=_levels),
    Score(
        key="all_levels_right", label="images with every level right, where it can be counted", rows=_all_levels
    ),
    Score(
        key="levels_claimed", label="levels named although nothing to count from is in view", rows=_claimed_levels
    ),
    *(
        Score(
            key=f"{name}_error_{key}", label=f"error of the {number} {name}s, {centile}, share of the body's depth",
            rows=_point_shares(points), statistic=statistic,
        )
        for name, number, points in (("corner", "four", CORNERS_OF_SIX), ("point", "six", range(6)))
        for key, centile, statistic in (("median", "median", agreement.median), ("p90", "90th centile", percentile_90))
    ),
    *(
        Score(
            key=f"{place}_ratio_mae", label=f"{place} / posterior height, mean absolute error",
            rows=_errors(_ratios(name)),
        )
        for name, place in RATIO_PLACES.items()
    ),
    Score(
        key="ratio_coverage", label="these ratios inside their 95 % interval",
        rows=_held([_ratios(name) for name in RATIO_PLACES]),
    ),
    Score(
        key="wedge_angle_mae_deg", label="wedge angle, mean absolute error (°)", rows=_errors(_wedges), decimals=2
    ),
    *(
        Score(
            key=f"{place}_height_mae_mm", label=f"{place} height, mean absolute error, where mm hold (mm)",
            rows=_errors(_heights(place)), decimals=2,
        )
        for place in PLACES
    ),
    Score(
        key="height_bias_mm", label="height, mean signed error (mm)",
        rows=_signed([_heights(place) for place in PLACES]), decimals=2,
    ),
    Score(
        key="height_coverage", label="heights inside their 95 % interval",
        rows=_held([_heights(place) for place in PLACES]),
    ),
    Score(
        key="graded", label="complete bodies found on lateral views that are graded",
        rows=lambda images: ((float(not isinstance(f.genant_grade, NotMeasured)),) for _, f in sagittal(images)),
    ),
    Score(
        key="grade_kappa", label="Genant grade, quadratic weighted κ", rows=_grades, statistic=agreement.grade_kappa
    ),
    Score(
        key="grade_right", label="Genant grade, exactly right",
        rows=lambda images: ((float(true == found),) for true, found in _grades(images)),
    ),
)  # fmt: skip
"""Heights, ratios, wedge angles and grades are those of lateral views."""
