"""One image of a data set as everything that is asked of it sees it, and the sub-groups that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from vertecast.core.anatomy import Level
from vertecast.lab.evaluation.datasets.maps import MapFile, own_map
from vertecast.lab.evaluation.maps.masks import MapScore
from vertecast.lab.evaluation.studies.scoring import StudyScore

if TYPE_CHECKING:
    from vertecast.lab.evaluation.projections.questions import FilmPair

VOXEL_LIMITS_MM: Final = (1.0, 2.0, 3.0)
"""Limits of the groups by longest voxel side, which is the slice spacing of nearly every CT."""

LEAK_LIMITS_ML: Final = (0.1, 0.5)
"""Limits of the groups of leaks; the first is the smallest that must be found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One image.

    Attributes:
        name: Of the study or of the file; never a patient's.
        patient: What the bootstrap draws; cases of one patient share it.
        simulated: The image is simulated.
        masks: Its label map against the true one; None for a film.
        film: Its corners against the true ones.
        study: Its report against the truth, where there are both.
        reason: Why nothing was found in it; "" where something was looked for.
        groups: Sub-groups of the whole image: value by name.
        truth: True label map, for pictures.
        found: Label map that was judged, or None.
    """

    name: str
    patient: str
    simulated: bool
    masks: MapScore | None = None
    film: FilmPair | None = None
    study: StudyScore | None = None
    reason: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    truth: MapFile | None = None
    found: MapFile | None = None


def case_of_study(study: StudyScore) -> Case:
    """A study that was scored as a case."""
    uid, patient = study.truth.study_instance_uid, study.truth.patient
    treated = "yes" if study.truth.cement_ml else "no"
    return Case(
        name=uid,
        patient=patient,
        simulated=study.truth.simulated,
        masks=study.masks,
        study=study,
        reason=study.reason,
        groups={**map_groups(study.masks), "cement": treated, **study.truth.groups},
        truth=own_map(study.truth.labels, uid, patient),
        found=None if study.found_labels is None else own_map(study.found_labels, uid, patient),
    )


def with_groups(case: Case, table: Mapping[str, Mapping[str, str]]) -> Case:
    """A case with what a table says of it or of its patient; see `datasets.tables.read_groups`."""
    more = {**table.get(case.patient, {}), **table.get(case.name, {})}
    patient = more.pop("patient", case.patient)
    return replace(case, patient=patient, groups={**case.groups, **more})


def map_groups(masks: MapScore) -> dict[str, str]:
    """Sub-groups that a label map tells by itself."""
    voxel = within(max(masks.spacing_mm), VOXEL_LIMITS_MM, "mm")
    return {"longest voxel side": voxel, "metal": "yes" if masks.has_metal else "no"}


def region(level: str) -> str:
    """Region of the spine of a level; "unknown" for a vertebra without a known one."""
    if level not in Level.__members__:
        return "unknown"
    number = Level[level]
    return "thoracic" if number.is_thoracic else "lumbar" if number.is_lumbar else "cervical"


def within(value: float, limits: Sequence[float], unit: str) -> str:
    """The group of a number, in words: "≤1 mm", ">1 to 2 mm", ">3 mm".

    Limits take a hundredth more, so that a spacing of 1.0001 mm counts as 1 mm.
    """
    below = None
    for limit in limits:
        if value <= limit * 1.01:
            return f"≤{limit:g} {unit}" if below is None else f">{below:g} to {limit:g} {unit}"
        below = limit
    return f">{below:g} {unit}"
