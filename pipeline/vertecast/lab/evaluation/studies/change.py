"""Change between studies scored: what a report says of it against the difference of what is true of the two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vertecast.core.anatomy import Level
from vertecast.core.results import Place
from vertecast.lab.evaluation.datasets import PLACES, FoundStudy, TrueBody, TrueStudy
from vertecast.lab.evaluation.studies.reported import FoundChange, FoundLevelChange

PHASES: Final = ("pre", "during", "post", "follow-up")
"""In the order of time."""

COLLAPSE_SHARE: Final = 0.15
COLLAPSE_DEG: Final = 10.0
"""What reports call recollapse: 15 % of a height or 10 degrees; new fractures: 15 % (docs/measurement.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedStudy:
    """One study with the name that its report gives to each true level that was found."""

    truth: TrueStudy
    found: FoundStudy
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelChangeScore:
    """One body that two studies show whole, true and reported.

    Attributes:
        level: Its true name.
        was_treated, treated: It held cement in the earlier, in the later study.
        gain_mm: True gain of each height.
        wedge_deg, kyphosis_deg: True change of the wedge angle and of local kyphosis; None where no body beside it is
            in view.
        cement_ml: True change of its cement.
        recollapsed: A body treated before lost so much that reports say so; None where it was not treated.
        broke: A sound one, never treated, that broke.
        named: Both reports give it the name of a level.
        found: What the report says; None where the names differ, or it says nothing of this level.
        said_broken: The report counts it among the new fractures.
    """

    level: str
    was_treated: bool
    treated: bool
    gain_mm: Mapping[Place, float]
    wedge_deg: float
    kyphosis_deg: float | None
    cement_ml: float
    recollapsed: bool | None
    broke: bool
    named: bool
    found: FoundLevelChange | None
    said_broken: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeScore:
    """Two studies of a patient.

    Attributes:
        earlier: StudyInstanceUID.
        levels: Every body that both show whole.
        false_fractures: Names said to have broken that did not.
    """

    earlier: str
    levels: tuple[LevelChangeScore, ...]
    false_fractures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseScore:
    """How many lines the timeline of a patient's last study must have, and how many it has."""

    expected: int
    found: int


def score_changes(study: NamedStudy, earlier: Sequence[NamedStudy]) -> tuple[ChangeScore, ...]:
    """Score what a report says has changed.

    Args:
        study: The later study.
        earlier: The patient's earlier studies that have a report, oldest first. The last is compared whether the
            report does so or not, others where it does.
    """
    said = {change.pre_study: change for change in study.found.changes}
    return tuple(
        _score(one, study, said.get(one.truth.study_instance_uid))
        for one in earlier
        if one is earlier[-1] or one.truth.study_instance_uid in said
    )


def score_course(studies: Sequence[NamedStudy]) -> CourseScore | None:
    """Score the timeline of the last of some studies of a patient, oldest first; None for fewer than three.

    It must hold, for every study that names it, each whole body that was broken or treated at any time.
    """
    if len(studies) < 3:
        return None
    shown = {b.level for s in studies for b in s.truth.bodies if b.complete and (b.treated or b.genant_grade)}
    expected = {
        (s.truth.study_instance_uid, s.names[level])
        for s in studies
        for level in shown
        if _is_level(s.names.get(level))
    }
    return CourseScore(expected=len(expected), found=len(expected & set(studies[-1].found.timeline)))


def _score(before: NamedStudy, after: NamedStudy, change: FoundChange | None) -> ChangeScore:
    levels = tuple(_levels(before, after, change))
    right = {after.names[one.level] for one in levels if one.broke and one.said_broken}
    said = () if change is None else change.new_fractures
    return ChangeScore(
        earlier=before.truth.study_instance_uid,
        levels=levels,
        false_fractures=tuple(name for name in said if name not in right),
    )


def _levels(before: NamedStudy, after: NamedStudy, change: FoundChange | None) -> Iterator[LevelChangeScore]:
    old_bodies = {body.level: body for body in before.truth.bodies if body.complete}
    for new in after.truth.bodies:
        old = old_bodies.get(new.level)
        if old is None or not new.complete:
            continue
        names = before.names.get(new.level), after.names.get(new.level)
        name = names[1] if names[0] == names[1] and _is_level(names[1]) else None
        gain = {place: new.heights_mm[place] - old.heights_mm[place] for place in PLACES}
        kyphosis = _difference(new.level, before.truth.local_kyphosis_deg, after.truth.local_kyphosis_deg)
        wedge = new.wedge_angle_deg - old.wedge_angle_deg
        fell = any(gain[place] / old.heights_mm[place] <= -COLLAPSE_SHARE for place in PLACES)
        tilted = max(wedge, wedge if kyphosis is None else kyphosis) >= COLLAPSE_DEG
        cement_ml = [study.truth.cement_ml.get(new.level, 0.0) for study in (before, after)]
        yield LevelChangeScore(
            level=new.level,
            was_treated=old.treated,
            treated=new.treated,
            gain_mm=gain,
            wedge_deg=wedge,
            kyphosis_deg=kyphosis,
            cement_ml=cement_ml[1] - cement_ml[0],
            recollapsed=(fell or tilted) if old.treated else None,
            broke=fell and _breaks(old, new),
            named=all(map(_is_level, names)),
            found=None if change is None or name is None else change.levels.get(name),
            said_broken=change is not None and name in change.new_fractures,
        )


def _breaks(old: TrueBody, new: TrueBody) -> bool:
    """Sound and never treated before, broken now."""
    return not (old.treated or new.treated or old.genant_grade) and new.genant_grade > 0


def _difference(level: str, before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    return after[level] - before[level] if level in before and level in after else None


def _is_level(name: str | None) -> bool:
    return name in Level.__members__
