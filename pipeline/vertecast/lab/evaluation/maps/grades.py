"""Expert masks without their images: what is measured on them against the grades that readers gave."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from vertecast.core.errors import UnreadableError
from vertecast.core.results import Measured, NotMeasured, VertebraFinding
from vertecast.lab.evaluation.agreement import grade_kappa


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedMask:
    """A label map of the folder of real images, with the Genant grades of its vertebrae.

    Attributes:
        name: Of its line.
        labels: The map.
        scheme: What its numbers mean, a name of `vertecast analyze --labels`.
        grades: JSON object: grade by number of the map.
    """

    name: str
    labels: str
    scheme: str
    grades: str


MASKS: Final = (
    GradedMask(
        name="thoracolumbar_graded", labels="masks/thoracolumbar_graded/vertebrae.nii.gz", scheme="verse",
        grades="masks/thoracolumbar_graded/genant.json",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """One vertebra: the reader's grade, and ours with its range and the height loss behind it."""

    level: str
    expert: int
    grade: int | NotMeasured
    grade_range: tuple[int, int] | NotMeasured
    height_loss: Measured


def read_grades(path: Path, level_of: Mapping[int, str]) -> dict[str, int]:
    """The readers' grades by level.

    Args:
        path: JSON object, grade by number of the label map.
        level_of: Level by number.

    Raises:
        UnreadableError: the file is missing, is no such object, or a number is no vertebra.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return {level_of[int(number)]: int(grade) for number, grade in document.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise UnreadableError(f"{path}: is no JSON object of grades by vertebra ({error}); fetch it again") from None


def grade_pairs(expert: Mapping[str, int], found: Sequence[VertebraFinding]) -> list[Grade]:
    """The graded vertebrae, from head to foot as the readers list them; one that was not found is not measured."""
    by_level = {vertebra.level: vertebra for vertebra in found}
    missed = NotMeasured(reason="not found")
    pairs = []
    for level, grade in expert.items():
        one = by_level.get(level)
        pairs.append(
            Grade(
                level=level,
                expert=grade,
                grade=missed if one is None else one.genant_grade,
                grade_range=missed if one is None else one.genant_grade_range,
                height_loss=missed if one is None else one.height_loss,
            )
        )
    return pairs


def summary(grades: Sequence[Grade]) -> dict[str, Any]:
    """Agreement as JSON values; κ is None where nothing was graded or all grades are alike."""
    pairs = [(one.expert, one.grade) for one in grades if not isinstance(one.grade, NotMeasured)]
    within = [
        one.grade_range[0] <= one.expert <= one.grade_range[1]
        for one in grades
        if not isinstance(one.grade_range, NotMeasured)
    ]
    rows = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    kappa = grade_kappa(rows) if len(rows) else float("nan")
    return {
        "vertebrae": len(grades),
        "graded": len(pairs),
        "exact": sum(expert == grade for expert, grade in pairs),
        "fractured": sum(one.expert > 0 for one in grades),
        "fractured_found": sum(expert > 0 and grade > 0 for expert, grade in pairs),
        "sound_called_fractured": sum(expert == 0 and grade > 0 for expert, grade in pairs),
        "expert_within_range": sum(within),
        "weighted_kappa": None if np.isnan(kappa) else kappa,
    }


def text_lines(name: str, grades: Sequence[Grade]) -> Iterator[str]:
    """One mask in a few lines."""
    total = summary(grades)
    yield f"{name}: {total['graded']} of {total['vertebrae']} vertebrae graded, {total['exact']} as the readers did"
    yield "  " + "; ".join(_words(one) for one in grades)
    yield (
        f"  fractured: {total['fractured_found']} of {total['fractured']} found; sound ones called fractured: "
        f"{total['sound_called_fractured']}; the readers' grade in the range given: {total['expert_within_range']}"
    )


def _words(one: Grade) -> str:
    if isinstance(one.grade, NotMeasured):
        return f"{one.level} {one.grade.reason} (readers {one.expert})"
    low, high = (one.grade, one.grade) if isinstance(one.grade_range, NotMeasured) else one.grade_range
    lost = "" if isinstance(one.height_loss, NotMeasured) else f", loss {100 * one.height_loss.value:.0f} %"
    return f"{one.level} {one.grade} ({low}–{high}; readers {one.expert}{lost})"
