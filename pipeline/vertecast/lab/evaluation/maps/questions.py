"""What is asked of label maps: outlines, things, names and places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from vertecast.core.anatomy import label_name
from vertecast.lab.evaluation import statistics
from vertecast.lab.evaluation.cases import Case, region
from vertecast.lab.evaluation.maps.masks import OTHERS, StructureScore
from vertecast.lab.evaluation.questions import Item, Line, Question, column

MASKS: Final = "Outlines"
THINGS: Final = "Vertebrae as things"
FOUND: Final = 4
"""Column that is 1 for a structure that was found."""

_OUTLINE_LINES: Final = (
    Line(key="dice", label="Dice", statistic=column(0), better="higher", main=True),
    Line(key="nsd", label="NSD", statistic=column(1), better="higher"),
    Line(key="assd_mm", label="ASSD (mm)", statistic=column(2), better="lower"),
    Line(key="hd95_mm", label="HD95 (mm)", statistic=column(3), better="lower", main=True),
    Line(key="found", label="found", statistic=column(FOUND), better="higher"),
    Line(key="dice_of_found", label="Dice of those found", statistic=column(0, where=FOUND), better="higher"),
    Line(key="assd_of_found_mm", label="ASSD of those found (mm)", statistic=column(2, where=FOUND), better="lower"),
    Line(key="hd95_of_found_mm", label="HD95 of those found (mm)", statistic=column(3, where=FOUND), better="lower"),
)


def _outlines(structure: str) -> Question:
    def rows(case: Case) -> Iterator[Item]:
        for one in () if case.masks is None else case.masks.structures:
            if one.structure == structure and (one.level or structure in OTHERS):
                overlap = one.overlap
                yield Item(
                    key=(case.name, one.level),
                    patient=case.patient,
                    groups={**case.groups, **level_groups(one)},
                    row=(overlap.dice, overlap.nsd, overlap.assd_mm, overlap.hd95_mm, float(one.verdict == "found")),
                )

    return Question(
        section=MASKS, key=structure.replace(" ", "_"), label=structure, rows=rows, lines=_OUTLINE_LINES
    )  # fmt: skip


def level_groups(one: StructureScore) -> Mapping[str, str]:
    """Sub-groups of a vertebra; none of what has no level."""
    if not one.level:
        return {}
    return {"level": one.level, "region": region(one.level), "cut by the edge": "yes" if one.cut else "no"}


def _panoptic(case: Case) -> Iterator[Item]:
    if case.masks is None:
        return
    yield Item(key=(case.name,), patient=case.patient, groups=case.groups, row=case.masks.instances.panoptic_terms)


def _things(case: Case) -> Iterator[Item]:
    if case.masks is None:
        return
    instances = case.masks.instances
    for number, identified in instances.identified.items():
        level = label_name(number)
        distance = instances.localisation_mm.get(number, case.masks.worst_mm)
        yield Item(
            key=(case.name, level),
            patient=case.patient,
            groups={**case.groups, "level": level, "region": region(level)},
            row=(float(number in instances.matched_iou), float(identified), distance,
                 float(number in instances.localisation_mm)),
        )  # fmt: skip


def _false(case: Case) -> Iterator[Item]:
    if case.masks is None:
        return
    yield Item(
        key=(case.name,), patient=case.patient, groups=case.groups, row=(float(len(case.masks.instances.false)),)
    )  # fmt: skip


MASK_QUESTIONS: Final[tuple[Question, ...]] = (
    *(_outlines(name) for name in ("body", "vertebra", *OTHERS)),
    Question(
        section=THINGS, key="panoptic", label="all vertebrae, IoU above 0.5", rows=_panoptic,
        lines=(
            Line(key="quality", label="panoptic quality", statistic=statistics.panoptic_quality, better="higher",
                 main=True),
        ),
    ),
    Question(
        section=THINGS, key="vertebrae", label="each true vertebra", rows=_things,
        lines=(
            Line(key="detected", label="detected", statistic=column(0), better="higher", main=True),
            Line(key="identified", label="identification rate", statistic=column(1), better="higher", main=True),
            Line(key="localisation_mm", label="localisation, mean (mm), absent name at the worst", better="lower",
                 statistic=column(2)),
            Line(key="localisation_of_named_mm", label="localisation of those whose name was given (mm)",
                 statistic=column(2, where=3), better="lower"),
        ),
    ),
    Question(
        section=THINGS, key="false_vertebrae", label="found vertebrae that are none", rows=_false,
        lines=(Line(key="an_image", label="an image", statistic=column(0), better="lower", main=True),),
    ),
)  # fmt: skip
