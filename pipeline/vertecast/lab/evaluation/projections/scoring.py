"""One simulated projection study scored: bodies, cement and leaks of each image, found against true."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from vertecast.core.errors import UnreadableError
from vertecast.core.geometry import FloatArray
from vertecast.core.results import NotMeasured
from vertecast.lab.evaluation.metrics import match_distances
from vertecast.lab.evaluation.projections.films import CORNERS_OF_SIX, REACH_SHARE
from vertecast.lab.evaluation.projections.found import (
    NO_REPORT,
    FoundFilmBody,
    FoundFilmStudy,
    FoundImage,
    six_points_px,
)
from vertecast.lab.evaluation.projections.truth import (
    TrueCement,
    TrueFilmBody,
    TrueFilmLeak,
    TrueFilmStudy,
    TrueImage,
    read_film_labels,
)
from vertecast.lab.evaluation.score import Rows

SCORED_LEAK_ML: Final = 0.2
"""Leaks from this volume on must be suspected: on a film a ball of it is about 7 mm wide, a smaller one an edge."""

SHOWN_SHARE: Final = 0.25
"""A leak shows in a view where this share of its shadow lies outside the outline of every body; else bone hides it."""

CEMENT_NUMBERS: Final = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmLeakScore:
    """All leaks of one body into one compartment, in one view; ``found`` is the compartment suspected for it."""

    level: str
    truth: TrueFilmLeak
    found: str | None

    @property
    def shows(self) -> bool:
        """Large enough to be asked for, and enough of it beside the bodies."""
        leak = self.truth
        return leak.volume_ml >= SCORED_LEAK_ML and 0 < leak.area_px * SHOWN_SHARE <= leak.outside_px


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilmBodyScore:
    """One true body of one image.

    Attributes:
        found: None where it was missed.
        points_px: True six points (6, 2) in the frame that was measured.
        cement: Its cement, as far as this image shows any; None for an untreated body.
        leaks: Its leaks.
        false_leaks: Compartments suspected at it beyond its leaks.
    """

    truth: TrueFilmBody
    found: FoundFilmBody | None
    points_px: FloatArray
    cement: TrueCement | None
    leaks: tuple[FilmLeakScore, ...]
    false_leaks: tuple[str, ...]

    @property
    def level_right(self) -> bool:
        """True for a body that was found and has its right name."""
        return self.found is not None and self.found.level == self.truth.level

    @property
    def is_suspected(self) -> bool:
        """A leak of any kind was suspected at it."""
        return bool(self.false_leaks) or any(leak.found is not None for leak in self.leaks)

    @property
    def found_points_px(self) -> FloatArray | None:
        """The six points (6, 2) as found, or None where there are none."""
        points = None if self.found is None else self.found.six_points_px
        return None if points is None or isinstance(points, NotMeasured) else six_points_px(points)

    @property
    def has_points(self) -> bool:
        """It was found with its six points."""
        return self.found_points_px is not None

    @property
    def point_shares(self) -> FloatArray:
        """Distances (6,) of the six points from the true ones in shares of the true depth; NaN without points."""
        found = self.found_points_px
        if found is None:
            return np.full(6, np.nan)
        return np.asarray(np.linalg.norm(found - self.points_px, axis=1) / depth_px(self.points_px))

    @property
    def is_turned_right(self) -> bool | None:
        """Front (AP: left) and head lie on their true sides; None without points."""
        found = self.found_points_px
        if found is None:
            return None
        return all(float(a @ b) > 0 for a, b in zip(_directions(found), _directions(self.points_px), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageScore:
    """One film or cine.

    Attributes:
        study_instance_uid: Its study.
        seed: Stands for the patient.
        bodies: Every true body of which some part shows.
        invented: Bodies found that are none.
        stray_leaks: Leaks suspected at bodies without cement, or at none.
        cement_px: Pixels of cement in common, true, found; None for a cine, which has no true labels.
    """

    study_instance_uid: str
    seed: int
    truth: TrueImage
    found: FoundImage
    bodies: tuple[FilmBodyScore, ...]
    invented: tuple[FoundFilmBody, ...]
    stray_leaks: int
    cement_px: tuple[int, int, int] | None

    @property
    def complete(self) -> tuple[FilmBodyScore, ...]:
        """The bodies that lie in the field as a whole: only they can be measured."""
        return tuple(body for body in self.bodies if body.truth.complete)

    @property
    def measured(self) -> tuple[tuple[TrueFilmBody, FoundFilmBody], ...]:
        """Truth and finding of the complete bodies that were found."""
        return tuple((body.truth, body.found) for body in self.complete if body.found is not None)

    @property
    def treated(self) -> tuple[FilmBodyScore, ...]:
        """The complete bodies of which the image shows cement."""
        return tuple(body for body in self.complete if body.cement is not None)

    @property
    def is_countable(self) -> bool:
        """Levels can be counted: the sacrum shows, or a last rib with a whole body below it."""
        pairs = itertools.pairwise(body.truth for body in self.bodies)
        return self.truth.sacrum_visible or any(
            upper.complete and lower.complete and upper.has_ribs and not lower.has_ribs for upper, lower in pairs
        )


Images: TypeAlias = Sequence[ImageScore]
"""The images of one study: all of them, or those of one view."""

RowsOf: TypeAlias = Callable[[Images], Rows]


def once(value: Callable[[ImageScore], float]) -> RowsOf:
    """A row for each image."""
    return lambda images: ((float(value(image)),) for image in images)


def score_projections(truth: TrueFilmStudy, found: FoundFilmStudy | None) -> tuple[ImageScore, ...]:
    """Score every image of a study. One that was not analysed is scored as if nothing had been found in it.

    Raises:
        UnreadableError: Labels are missing or damaged, or found and true ones differ in size.
    """
    study = found or FoundFilmStudy(reason=NO_REPORT)
    return tuple(_score_image(truth, image, study.image(image.series_instance_uid)) for image in truth.images)


def depth_px(points_px: FloatArray) -> FloatArray:
    """Mean length (...) of the endplates of bodies with the given six points (..., 6, 2)."""
    plates = points_px[..., [2, 5], :] - points_px[..., [0, 3], :]
    return np.asarray(np.linalg.norm(plates, axis=-1).mean(axis=-1))


def _directions(points_px: FloatArray) -> tuple[FloatArray, FloatArray]:
    """From anterior to posterior (AP: left to right), and from inferior to superior."""
    across = points_px[[2, 5]] - points_px[[0, 3]]
    return across.sum(axis=0), points_px[:3].sum(axis=0) - points_px[3:].sum(axis=0)


def _score_image(study: TrueFilmStudy, truth: TrueImage, found: FoundImage) -> ImageScore:
    points = np.array([body.points_px for body in truth.bodies], dtype=np.float64).reshape(-1, 6, 2)
    if 0 < found.frame_number <= len(truth.frames):
        points = points + np.array(truth.frames[found.frame_number - 1].shift_px)
    partner = _matched(points, found.bodies)
    cement = {item.level: item for item in truth.cement if item.area_px > 0}
    bodies = tuple(
        _score_body(body, found, partner.get(n), points[n], cement.get(body.level))
        for n, body in enumerate(truth.bodies)
    )
    treated = {body.found.level for body in bodies if body.found is not None and body.cement is not None}
    return ImageScore(
        study_instance_uid=study.study_instance_uid,
        seed=study.seed,
        truth=truth,
        found=found,
        bodies=bodies,
        invented=tuple(body for n, body in enumerate(found.bodies) if n not in partner.values()),
        stray_leaks=sum(leak.level not in treated for leak in found.leaks),
        cement_px=_cement_px(study, truth, found) if study.kind == "film" else None,
    )


def _matched(points_px: FloatArray, found: Sequence[FoundFilmBody]) -> dict[int, int]:
    """Index of the finding of each true body (n, 6, 2) that has its centre within reach; each is used once."""
    if not len(points_px) or not found:
        return {}
    centers = np.array([body.center_px for body in found], dtype=np.float64)
    true_centers = points_px[:, CORNERS_OF_SIX].mean(axis=1)
    distance = np.linalg.norm(true_centers[:, None] - centers[None], axis=2)
    return dict(match_distances(distance / depth_px(points_px)[:, None], REACH_SHARE))


def _score_body(
    truth: TrueFilmBody, image: FoundImage, partner: int | None, points_px: FloatArray, cement: TrueCement | None
) -> FilmBodyScore:
    found = None if partner is None else image.bodies[partner]
    suspected = {leak.compartment for leak in image.leaks if found is not None and leak.level == found.level}
    leaks = _by_compartment(cement.leaks) if cement else []
    pairs = _paired(leaks, sorted(suspected))
    return FilmBodyScore(
        truth=truth,
        found=found,
        points_px=points_px,
        cement=cement,
        leaks=tuple(
            FilmLeakScore(level=truth.level, truth=leak, found=pairs.get(leak.compartment)) for leak in leaks
        ),
        false_leaks=tuple(sorted(suspected - set(pairs.values()))),
    )  # fmt: skip


def _by_compartment(leaks: Sequence[TrueFilmLeak]) -> list[TrueFilmLeak]:
    """Leaks of one body into one compartment as one, as a report has them; those that show most first."""
    merged: dict[str, TrueFilmLeak] = {}
    for leak in leaks:
        other = merged.get(leak.compartment)
        merged[leak.compartment] = leak if other is None else TrueFilmLeak(
            compartment=leak.compartment,
            volume_ml=leak.volume_ml + other.volume_ml,
            area_px=leak.area_px + other.area_px,
            outside_px=leak.outside_px + other.outside_px,
        )  # fmt: skip
    return sorted(merged.values(), key=lambda leak: -leak.outside_px)


def _paired(leaks: Sequence[TrueFilmLeak], suspected: Sequence[str]) -> Mapping[str, str]:
    """Suspected compartment by true one: the same where both name it, then the others, those that show most first.

    A leak of which nothing lies outside the bodies cannot be what was seen.
    """
    shown = [leak.compartment for leak in leaks if leak.outside_px > 0]
    pairs = {name: name for name in shown if name in suspected}
    others = (name for name in shown if name not in pairs)
    return pairs | dict(zip(others, [name for name in suspected if name not in pairs], strict=False))


def _cement_px(study: TrueFilmStudy, truth: TrueImage, found: FoundImage) -> tuple[int, int, int]:
    """Pixels of cement, inside and outside together, in common, true, and found."""
    path = study.mask_path(truth)
    true = np.isin(read_film_labels(path), CEMENT_NUMBERS)
    if found.view is None:
        return 0, int(true.sum()), 0
    if found.labels is None:
        raise UnreadableError(
            f"{study.study_instance_uid}: its report has no labels_<n>.png of series {truth.series_instance_uid}; "
            "a film is scored on its labels, so analyse the study again"
        )
    own = np.isin(read_film_labels(found.labels), CEMENT_NUMBERS)
    if own.shape != true.shape:
        raise UnreadableError(f"{found.labels}: has another size than {path}; analyse the study that belongs to it")
    return int((true & own).sum()), int(true.sum()), int(own.sum())
