"""The spinal deformity index: how much of the spine is broken, in one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vertecast.core.anatomy import LUMBAR, THORACIC, Level
from vertecast.core.results import DeformityIndex, NotMeasured, VertebraFinding

LEVELS: Final = tuple(level.name for level in (*THORACIC, *LUMBAR) if Level.T4 <= level <= Level.L4)
"""T4 to L4. Source: Crans, Genant and Krege, Bone 2005;37:175-179. A T13 is not among them."""

NO_LEVELS: Final = NotMeasured(reason="the levels are unknown")
NO_GRADES: Final = NotMeasured(reason="no body from T4 to L4 was graded")


def deformity_indices(vertebrae: Sequence[VertebraFinding]) -> tuple[DeformityIndex, ...]:
    """The index of every series that shows bodies from the side: a CT, or lateral films.

    Args:
        vertebrae: Of a whole study. Where a series shows a level twice, its higher grade counts.
    """
    lateral = [vertebra for vertebra in vertebrae if "anterior" in vertebra.heights]
    uids = dict.fromkeys(vertebra.series_instance_uid for vertebra in lateral)
    return tuple(_of_series(uid, [v for v in lateral if v.series_instance_uid == uid]) for uid in uids)


def _of_series(series_instance_uid: str, vertebrae: Sequence[VertebraFinding]) -> DeformityIndex:
    grades: dict[str, int] = {}
    spans: dict[str, tuple[int, int]] = {}
    for vertebra in vertebrae:
        grade, span = vertebra.genant_grade, vertebra.genant_grade_range
        if vertebra.level not in LEVELS:
            continue
        if not isinstance(grade, NotMeasured):
            grades[vertebra.level] = max(grades.get(vertebra.level, 0), grade)
            span = (grade, grade) if isinstance(span, NotMeasured) else span
        if not isinstance(span, NotMeasured):
            spans[vertebra.level] = max(spans.get(vertebra.level, (0, 0)), span)
    named = any(vertebra.level in Level.__members__ for vertebra in vertebrae)
    missing = None if grades else NO_GRADES if named else NO_LEVELS
    low, high = (sum(ends) for ends in zip(*spans.values(), strict=True)) if spans else (0, 0)
    return DeformityIndex(
        series_instance_uid=series_instance_uid,
        index=missing or sum(grades.values()),
        index_range=missing or (low, high),
        graded=len(grades),
        levels=len(LEVELS),
    )
