"""Bodies on films by their corners: found, placed, measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from vertecast.core.errors import InputError
from vertecast.core.geometry import FloatArray
from vertecast.lab.evaluation import agreement, statistics
from vertecast.lab.evaluation.cases import Case, region
from vertecast.lab.evaluation.datasets.corners import FilmCorners, find_corners
from vertecast.lab.evaluation.metrics import match_distances
from vertecast.lab.evaluation.projections.films import REACH_SHARE, largest_cobb_deg
from vertecast.lab.evaluation.questions import Item, Line, Question, column

FILMS: Final = "Bodies on films"
NO_CORNERS: Final = "no corners of this film"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilmPair:
    """The bodies of one film as they are and as they were found; ``partner``: found by true index."""

    truth: FilmCorners
    found: FilmCorners
    partner: Mapping[int, int]


def pair_films(truth: Path, found: Path) -> list[Case]:
    """Every true film with what was found on it.

    Raises:
        UnreadableError: A file of corners is damaged.
        InputError: Not one film of the truth has a prediction.
    """
    truths, founds = find_corners(truth), find_corners(found)
    if not set(truths) & set(founds):
        raise InputError(f"{found}: holds corners of no film of the truth, such as {next(iter(truths))}")
    return [_case(one, founds.get(name)) for name, one in truths.items()]


def _case(truth: FilmCorners, found: FilmCorners | None) -> Case:
    own = found or FilmCorners(film=truth.film, corners_px=np.empty((0, 4, 2)), levels=())
    film = FilmPair(truth=truth, found=own, partner=_matched(truth.corners_px, own.corners_px))
    reason = "" if found else NO_CORNERS
    return Case(name=truth.film, patient=truth.film, simulated=False, film=film, reason=reason)


def _matched(truth_px: FloatArray, found_px: FloatArray) -> dict[int, int]:
    """A body is found where its centre lies within `REACH_SHARE` of the true depth."""
    if not len(truth_px) or not len(found_px):
        return {}
    between = np.linalg.norm(truth_px.mean(axis=1)[:, None] - found_px.mean(axis=1)[None], axis=2)
    return dict(match_distances(between / _depth_px(truth_px)[:, None], REACH_SHARE))


def _depth_px(corners_px: FloatArray) -> FloatArray:
    """Mean length (n,) of the two endplates."""
    return np.asarray(np.linalg.norm(corners_px[:, [1, 3]] - corners_px[:, [0, 2]], axis=2).mean(axis=1))


def wedge_deg(corners_px: FloatArray) -> float:
    """Angle between the endplates of one body (4, 2), positive where the first side is the lower one."""
    heights = height_ratio(corners_px)
    across = corners_px[[1, 3]] - corners_px[[0, 2]]
    slopes = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    turned = (slopes[0] - slopes[1] + 90) % 180 - 90
    return float(abs(turned) if heights <= 1 else -abs(turned))


def height_ratio(corners_px: FloatArray) -> float:
    """Height at the first side over that at the second one: anterior / posterior, on AP views left / right."""
    heights = np.linalg.norm(corners_px[[2, 3]] - corners_px[[0, 1]], axis=1)
    return float(heights[0] / heights[1]) if heights[1] else float("nan")


def _bodies(case: Case) -> Iterator[Item]:
    """Columns: found, level right; the second is NaN where no level is known or the body was missed."""
    if case.film is None:
        return
    for n, level in enumerate(case.film.truth.levels):
        own = case.film.partner.get(n)
        right = float("nan")
        if level and own is not None and case.film.found.levels[own]:
            right = float(case.film.found.levels[own] == level)
        yield _item(case, n, (float(own is not None), right))


def _item(case: Case, number: int, row: tuple[float, ...], extra: str = "") -> Item:
    assert case.film is not None
    level = case.film.truth.levels[number]
    groups = {"level": level, "region": region(level)} if level else {}
    return Item(
        key=(case.name, str(number), extra), patient=case.patient, groups={**case.groups, **groups}, row=row
    )  # fmt: skip


def _corners(case: Case) -> Iterator[Item]:
    """Distance of every corner of the bodies found, in shares of the true depth."""
    if case.film is None:
        return
    truth, found = case.film.truth.corners_px, case.film.found.corners_px
    depth = _depth_px(truth) if len(truth) else np.empty(0)
    for n, own in case.film.partner.items():
        for corner, distance in enumerate(np.linalg.norm(truth[n] - found[own], axis=1)):
            yield _item(case, n, (float(distance / depth[n]),), str(corner))


def _false(case: Case) -> Iterator[Item]:
    if case.film is not None:
        false = len(case.film.found.corners_px) - len(case.film.partner)
        yield Item(key=(case.name,), patient=case.patient, groups=case.groups, row=(float(false),))


def _measured(value: Callable[[FloatArray], float]) -> Callable[[Case], Iterator[Item]]:
    def rows(case: Case) -> Iterator[Item]:
        if case.film is not None:
            for n, own in case.film.partner.items():
                pair = value(case.film.truth.corners_px[n]), value(case.film.found.corners_px[own])
                if np.isfinite(pair).all():
                    yield _item(case, n, pair)

    return rows


def _cobb(case: Case) -> Iterator[Item]:
    if case.film is not None and len(case.film.truth.corners_px):
        angles = largest_cobb_deg(case.film.truth.corners_px), largest_cobb_deg(case.film.found.corners_px)
        yield Item(key=(case.name,), patient=case.patient, groups=case.groups, row=angles)


MEASURE_LINES: Final = (
    Line(key="bias", label="bias", statistic=statistics.bias, better="nearer 0", main=True),
    Line(key="lower_limit", label="lower limit of agreement", statistic=statistics.lower_limit),
    Line(key="upper_limit", label="upper limit of agreement", statistic=statistics.upper_limit),
    Line(key="mae", label="MAE", statistic=statistics.mean_absolute_error, better="lower", main=True),
    Line(key="icc_2_1", label="ICC(2,1)", statistic=statistics.icc_2_1, better="higher"),
)

FILM_QUESTIONS: Final[tuple[Question, ...]] = (
    Question(
        section=FILMS, key="film_bodies", label="each marked body", rows=_bodies,
        lines=(
            Line(key="found", label="found", statistic=column(0), better="higher", main=True),
            Line(key="level_right", label="level right, of those found that have one", statistic=column(1),
                 better="higher"),
        ),
    ),
    Question(
        section=FILMS, key="film_false", label="found bodies that are not marked", rows=_false,
        lines=(Line(key="a_film", label="a film", statistic=column(0), better="lower"),),
    ),
    Question(
        section=FILMS, key="film_corners", label="corners of the bodies found, share of the depth", rows=_corners,
        lines=(
            Line(key="mean", label="mean distance", statistic=column(0), better="lower", main=True),
            Line(key="median", label="median distance", statistic=agreement.median, better="lower"),
        ),
    ),
    Question(section=FILMS, key="film_height_ratio", label="height ratio, anterior / posterior (AP: left / right)",
             rows=_measured(height_ratio), lines=MEASURE_LINES),
    Question(section=FILMS, key="film_wedge_deg", label="angle between the endplates of a body (°)",
             rows=_measured(wedge_deg), lines=MEASURE_LINES),
    Question(section=FILMS, key="film_cobb_deg", label="largest Cobb angle of a film (°)", rows=_cobb,
             lines=MEASURE_LINES),
)  # fmt: skip
"""A film on which nothing was found has a Cobb angle of 0, which is its worst."""
