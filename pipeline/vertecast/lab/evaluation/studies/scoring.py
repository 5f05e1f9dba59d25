"""One study scored: what was found against what is true, body by body and leak by leak."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import Level, label_name
from vertecast.core.images import Mask
from vertecast.core.results import Measured
from vertecast.lab.evaluation import metrics
from vertecast.lab.evaluation.datasets import FoundBody, FoundStudy, TrueBody, TrueStudy, read_labels
from vertecast.lab.evaluation.maps.masks import MapScore, score_maps
from vertecast.lab.evaluation.maps.pairs import body_counts as body_counts
from vertecast.lab.evaluation.maps.pairs import label_pair as label_pair
from vertecast.lab.evaluation.maps.surfaces import TOLERANCE_MM
from vertecast.lab.evaluation.studies.change import (
    PHASES,
    ChangeScore,
    CourseScore,
    NamedStudy,
    score_changes,
    score_course,
)
from vertecast.lab.evaluation.studies.leaks import LeakScore, score_leaks

SACRUM_IN_VIEW_ML: Final = 10.0
"""S1 alone holds more than this (an adult sacrum about 200 mL); with less in view nobody can count from it."""

NO_REPORT: Final = "no report of this study"


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyScore:
    """One true body; ``found`` is None where it was missed, and its Dice coefficient 0 then."""

    truth: TrueBody
    found: FoundBody | None
    dice: float

    @property
    def level_right(self) -> bool:
        """True for a body that was found and has its right name."""
        return self.found is not None and self.found.level == self.truth.level


@dataclass(frozen=True, slots=True, kw_only=True)
class CementScore:
    """The cement of one complete treated body; ``found`` is None where none was reported for it."""

    level: str
    true_ml: float
    found: Measured | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyScore:
    """One study.

    Attributes:
        truth: What is true of it.
        reason: Why it was not analysed; "" where it was.
        voxel_mm: Longest side of a voxel.
        anchored: The sacrum, or the first or last rib and a whole body beyond it, is in view, so that levels can be
            counted.
        body_dice: All bodies together, cut ones too; None where none is in view.
        cement_dice: All cement, inside and leaked; None where there is none.
        bodies: Every body in view.
        false_bodies: Names given to bodies that are none.
        invented: What was measured of them.
        cement: Every complete treated body.
        false_cement: Names of bodies said to hold cement that hold none.
        leaks: Every leak, true or reported.
        names: Name given to each true level that was found.
        changes: This study against earlier ones of the patient.
        course: The timeline that it holds; None where it needs none.
        masks: Its label map against the true one.
        found_labels: That label map; None without a report.
        local_kyphosis: True (degrees) and found angle at each level that was found.
    """

    truth: TrueStudy
    reason: str
    voxel_mm: float
    anchored: bool
    body_dice: float | None
    cement_dice: float | None
    bodies: tuple[BodyScore, ...]
    false_bodies: tuple[str, ...]
    cement: tuple[CementScore, ...]
    false_cement: tuple[str, ...]
    leaks: tuple[LeakScore, ...]
    names: Mapping[str, str]
    invented: tuple[FoundBody, ...]
    masks: MapScore
    found_labels: Path | None
    local_kyphosis: Mapping[str, tuple[float, Measured]]
    changes: tuple[ChangeScore, ...] = ()
    course: CourseScore | None = None

    @property
    def complete(self) -> tuple[BodyScore, ...]:
        """The bodies that lie in the image as a whole: only they can be measured."""
        return tuple(body for body in self.bodies if body.truth.complete)

    @property
    def measured(self) -> tuple[tuple[TrueBody, FoundBody], ...]:
        """Truth and finding of the complete bodies that were found."""
        return tuple((body.truth, body.found) for body in self.complete if body.found is not None)


def score_study(truth: TrueStudy, found: FoundStudy | None, *, tolerance_mm: float = TOLERANCE_MM) -> StudyScore:
    """Score one study. One without a report is scored as if nothing had been found in it.

    Raises:
        UnreadableError: A label map is damaged.
    """
    if found is None:
        found = FoundStudy(study_instance_uid=truth.study_instance_uid, cement={}, reason=NO_REPORT)
    true_mask = read_labels(truth.labels)
    found_mask = None if found.labels is None else read_labels(found.labels)
    pair = label_pair(true_mask, found_mask)
    counts = body_counts(pair)
    bodies, names = _score_bodies(truth, found, counts)
    raw = metrics.overlap_counts(pair.truth, pair.found)
    leaks = score_leaks(truth.leaks, found.leaks, true_mask)
    holds_cement = {names[level] for level in truth.cement_ml if level in names}
    return StudyScore(
        truth=truth,
        reason=found.reason,
        voxel_mm=float(geometry.spacing_mm(true_mask.lps_from_index).max()),
        anchored=_is_anchored(truth, true_mask),
        body_dice=metrics.body_dice(counts) if counts[1:].any() else None,
        cement_dice=metrics.dice(raw, metrics.CEMENT, metrics.CEMENT) if raw[metrics.CEMENT].any() else None,
        bodies=bodies,
        false_bodies=tuple(body.level for body in found.bodies if body.level not in names.values()),
        invented=tuple(body for body in found.bodies if body.level not in names.values()),
        cement=tuple(_score_cement(truth, found, names, leaks)),
        false_cement=tuple(level for level in found.cement if level not in holds_cement),
        leaks=leaks,
        names=names,
        masks=score_maps(true_mask, found_mask, tolerance_mm=tolerance_mm),
        found_labels=found.labels,
        local_kyphosis={
            level: (angle, found.local_kyphosis[names[level]])
            for level, angle in truth.local_kyphosis_deg.items()
            if names.get(level) in found.local_kyphosis
        },
    )


def with_changes(studies: Sequence[StudyScore], found: Mapping[str, FoundStudy]) -> tuple[StudyScore, ...]:
    """Add to each study how right its report is about what changed since earlier studies of the patient.

    Args:
        studies: Every study, scored by itself.
        found: Every report, by StudyInstanceUID.
    """
    reported = [study for study in studies if not study.reason and study.truth.phase in PHASES]
    reported.sort(key=lambda study: PHASES.index(study.truth.phase))
    courses: dict[str, list[NamedStudy]] = {}
    scores: dict[str, StudyScore] = {}
    for study in reported:
        uid, course = study.truth.study_instance_uid, courses.setdefault(study.truth.patient, [])
        named = NamedStudy(truth=study.truth, found=found[uid], names=study.names)
        changes = score_changes(named, course)
        course.append(named)
        scores[uid] = replace(study, changes=changes, course=score_course(course))
    return tuple(scores.get(study.truth.study_instance_uid, study) for study in studies)


def _score_bodies(
    truth: TrueStudy, found: FoundStudy, counts: metrics.Counts
) -> tuple[tuple[BodyScore, ...], Mapping[str, str]]:
    """Every true body with its finding; and the name given to each true level that was found."""
    findings = {body.level: body for body in found.bodies}
    partner = metrics.match_bodies(counts)
    bodies, names = [], {}
    for body in truth.bodies:
        number = int(Level[body.level])
        finding = findings.get(label_name(partner[number])) if number in partner else None
        overlap = metrics.dice(counts, number, partner[number]) if finding else 0.0
        bodies.append(BodyScore(truth=body, found=finding, dice=overlap))
        if finding is not None:
            names[body.level] = finding.level
    return tuple(bodies), names


def _score_cement(
    truth: TrueStudy, found: FoundStudy, names: Mapping[str, str], leaks: tuple[LeakScore, ...]
) -> Iterator[CementScore]:
    complete = {body.level for body in truth.bodies if body.complete}
    for level, volume_ml in truth.cement_ml.items():
        if level in complete:
            unseen = [
                s.truth.volume_ml for s in leaks if s.verdict == "out of view" and s.truth and s.truth.level == level
            ]
            yield CementScore(
                level=level, true_ml=volume_ml - sum(unseen), found=found.cement.get(names.get(level, ""))
            )


def _is_anchored(truth: TrueStudy, labels: Mask) -> bool:
    """Can the levels be counted? From the sacrum, or from a first or last rib beyond which a whole body has none."""
    voxel_ml = geometry.voxel_volume_mm3(labels.lps_from_index) / 1000
    if np.count_nonzero(labels.labels == Level.S1) * voxel_ml >= SACRUM_IN_VIEW_ML:
        return True
    return any(
        upper.complete and lower.complete and Level[upper.level].is_thoracic != Level[lower.level].is_thoracic
        for upper, lower in itertools.pairwise(truth.bodies)
    )
