"""Scores of cement and suspected leaks on projection images.

A leak is asked for where it shows; over all views it counts once in a study and is found where one of them suspects it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vertecast.lab.evaluation import agreement
from vertecast.lab.evaluation.projections.scoring import (
    SCORED_LEAK_ML,
    SHOWN_SHARE,
    FilmBodyScore,
    FilmLeakScore,
    Images,
    RowsOf,
    once,
)
from vertecast.lab.evaluation.score import Rows, Score


def _dice(images: Images) -> Rows:
    """Twice the common pixels, and the sum of both, of each image with cement."""
    for image in images:
        if image.cement_px is not None and image.cement_px[1]:
            yield 2 * image.cement_px[0], image.cement_px[1] + image.cement_px[2]


def _treated_found(images: Images) -> Rows:
    for body in (body for image in images for body in image.treated):
        yield (float(body.found is not None and body.found.treated),)


def _untreated_right(images: Images) -> Rows:
    for body in (body for image in images for body in image.complete):
        if body.found is not None and body.cement is None:
            yield (float(not body.found.treated),)


def shown_leaks(images: Images) -> list[list[FilmLeakScore]]:
    """The leaks that show in one of a study's images at least, each in all images where its body is complete."""
    leaks: dict[tuple[str, str], list[FilmLeakScore]] = {}
    for leak in (leak for image in images for body in image.treated for leak in body.leaks):
        leaks.setdefault((leak.level, leak.truth.compartment), []).append(leak)
    return [views for views in leaks.values() if any(leak.shows for leak in views)]


def _leaks_found(images: Images) -> Rows:
    return ((float(any(leak.found for leak in views)),) for views in shown_leaks(images))


def _compartments_right(images: Images) -> Rows:
    for views in shown_leaks(images):
        if any(leak.found for leak in views):
            yield (float(any(leak.found == leak.truth.compartment for leak in views)),)


def _quiet(counts: Callable[[FilmLeakScore], bool]) -> RowsOf:
    """A row for each treated body that was found and has no leak that counts: 1 where none was suspected at it."""

    def rows(images: Images) -> Rows:
        levels: dict[str, list[FilmBodyScore]] = {}
        for body in (body for image in images for body in image.treated):
            levels.setdefault(body.truth.level, []).append(body)
        for views in levels.values():
            leaks = [leak for body in views for leak in body.leaks]
            if any(body.found is not None for body in views) and not any(map(counts, leaks)):
                yield (float(not any(body.is_suspected for body in views)),)

    return rows


CEMENT_SCORES: Final[tuple[Score[Images], ...]] = (
    Score(
        key="cement_dice_pooled", label="cement Dice, pixels of all treated films together",
        rows=_dice, statistic=agreement.ratio,
    ),
    Score(
        key="cement_dice", label="cement Dice, mean of the treated films",
        rows=lambda images: ((common / both,) for common, both in _dice(images)),
    ),
    Score(key="treated_found", label="complete treated bodies called treated", rows=_treated_found),
    Score(
        key="untreated_right", label="complete untreated bodies not called treated, of those found",
        rows=_untreated_right,
    ),
    Score(
        key="leaks_found", rows=_leaks_found,
        label=f"leaks ≥{SCORED_LEAK_ML:g} mL with ≥{SHOWN_SHARE:.0%} of the shadow beside the bodies, suspected",
    ),
    Score(
        key="compartments_right", label="their compartment right, of those suspected", rows=_compartments_right
    ),
    Score(
        key="quiet_without_such_leak", label="treated bodies without such a leak where none is suspected",
        rows=_quiet(lambda leak: leak.shows),
    ),
    Score(
        key="quiet_without_leak", label="treated bodies with no leak beside them where none is suspected",
        rows=_quiet(lambda leak: leak.truth.outside_px > 0),
    ),
    Score(
        key="stray_leaks", label="leaks suspected at untreated or invented bodies, an image",
        rows=once(lambda image: image.stray_leaks),
    ),
)  # fmt: skip
