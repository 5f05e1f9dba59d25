"""Every score of simulated projection studies, over all images and by view, and what was not measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from vertecast.core.images import View
from vertecast.core.results import Place
from vertecast.lab.evaluation.agreement import Estimate
from vertecast.lab.evaluation.counts import confuse_grades, count_abstentions
from vertecast.lab.evaluation.datasets import PLACES
from vertecast.lab.evaluation.projections.bodies import BODY_SCORES, RATIO_PLACES, Ratio, sagittal
from vertecast.lab.evaluation.projections.cement import CEMENT_SCORES, shown_leaks
from vertecast.lab.evaluation.projections.cines import CINE_SCORES
from vertecast.lab.evaluation.projections.found import FoundFilmBody
from vertecast.lab.evaluation.projections.scoring import Images, ImageScore

SCORES: Final = (*BODY_SCORES, *CEMENT_SCORES, *CINE_SCORES)
VIEWS: Final[tuple[View, ...]] = get_args(View)
ALL_VIEWS: Final = "all"

MISSED: Final = "missed"
"""Stands for the compartment of a leak that was not suspected."""


def _height(place: Place) -> Callable[[FoundFilmBody], object]:
    return lambda body: body.heights.get(place)


def _ratio(name: Ratio) -> Callable[[FoundFilmBody], object]:
    return lambda body: body.ratios[name]


_QUANTITIES: Final[Mapping[str, Callable[[FoundFilmBody], object]]] = {
    **{f"{place} height in mm": _height(place) for place in PLACES},
    **{f"{place} / posterior height": _ratio(name) for name, place in RATIO_PLACES.items()},
    "wedge angle": lambda body: body.wedge_angle,
    "Genant grade": lambda body: body.genant_grade,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionResults:
    """Scored studies (the images of each) and every score of `SCORES` by its key, over "all" views and by view."""

    studies: tuple[tuple[ImageScore, ...], ...]
    estimates: Mapping[str, Mapping[str, Estimate]]

    @property
    def images(self) -> tuple[ImageScore, ...]:
        """Every image."""
        return tuple(image for study in self.studies for image in study)


def summarize_projections(studies: Sequence[tuple[ImageScore, ...]]) -> ProjectionResults:
    """Compute every score over all views and by view; the bootstrap takes some seconds for many studies."""
    by_view: dict[str, list[Images]] = {ALL_VIEWS: [images for images in studies if images]}
    for view in VIEWS:
        of_view = ([image for image in images if image.truth.view == view] for images in studies)
        by_view[view] = [images for images in of_view if images]
    return ProjectionResults(
        studies=tuple(studies),
        estimates={
            score.key: {view: score.of(chosen, lambda images: images[0].seed) for view, chosen in by_view.items()}
            for score in SCORES
        },
    )


def abstentions(images: Images) -> dict[str, dict[str, Any]]:
    """For each quantity of the complete bodies found on lateral views: how many were measured, and why not."""
    return count_abstentions([body for _, body in sagittal(images)], _QUANTITIES)


def genant_confusion(images: Images) -> list[list[int]]:
    """Complete bodies on lateral views by true grade (rows 0 to 3) and found grade (0 to 3, not graded, missed)."""
    complete = (body for image in images if image.truth.view == "lateral" for body in image.complete)
    return confuse_grades((b.truth.grade, None if b.found is None else b.found.genant_grade) for b in complete)


def compartment_confusion(images: Images) -> dict[str, dict[str, int]]:
    """Leaks that show in an image, counted in each, by their true compartment and the one suspected or "missed"."""
    table: dict[str, Counter[str]] = {}
    for leak in (leak for image in images for views in shown_leaks([image]) for leak in views):
        table.setdefault(leak.truth.compartment, Counter())[leak.found or MISSED] += 1
    return {true: dict(found.most_common()) for true, found in sorted(table.items())}
