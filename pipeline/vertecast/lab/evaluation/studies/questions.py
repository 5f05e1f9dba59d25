"""What is asked of reports: measures, grades, fractures, cement, leaks, and how far a confidence can be believed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from vertecast.core.results import Measured, NotMeasured, Place, Quantity
from vertecast.lab.evaluation import agreement, statistics
from vertecast.lab.evaluation.cases import LEAK_LIMITS_ML, Case, region, within
from vertecast.lab.evaluation.datasets import PLACES, FoundBody, TrueBody
from vertecast.lab.evaluation.questions import Item, Line, Question, column
from vertecast.lab.evaluation.statistics import FALSE, HIT, IMAGE, MISS
from vertecast.lab.evaluation.studies.scoring import BodyScore, StudyScore

MEASURES: Final = "Measures"
GRADES: Final = "Grades and fractures"
LEAKS: Final = "Cement and leaks"
CALIBRATION: Final = "Confidence"

RIGHT_OUTLINE_DICE: Final = 0.9
"""A body's confidence is held against whether its outline agrees with the true one at least so well."""

FRACTURE_GRADES: Final[Mapping[str, int]] = {"fracture": 1, "moderate_fracture": 2}
"""Genant grade from which on a body counts as fractured."""

Rows: TypeAlias = Iterator[tuple[tuple[str, ...], Mapping[str, str], tuple[float, ...]]]
"""Key within the study, sub-groups and numbers."""

Pairs: TypeAlias = Iterator[tuple[tuple[str, ...], Mapping[str, str], float, Quantity]]
"""Key, sub-groups, true value and measured value."""


def body_groups(truth: TrueBody) -> dict[str, str]:
    """Sub-groups of a body."""
    return {
        "level": truth.level,
        "region": region(truth.level),
        "Genant grade": str(truth.genant_grade),
        "treated": "yes" if truth.treated else "no",
    }


def _item(case: Case, key: tuple[str, ...], groups: Mapping[str, str], row: tuple[float, ...]) -> Item:
    return Item(key=(case.name, *key), patient=case.patient, groups={**case.groups, **groups}, row=row)


def _studied(rows: Callable[[StudyScore], Rows]) -> Callable[[Case], Iterator[Item]]:
    """Rows of the cases that have a report."""

    def items(case: Case) -> Iterator[Item]:
        if case.study is not None:
            for key, groups, row in rows(case.study):
                yield _item(case, key, groups, row)

    return items


# Measures. Columns: true, found, low, high.


def _measure(key: str, label: str, pairs: Callable[[StudyScore], Pairs]) -> Question:
    def rows(study: StudyScore) -> Rows:
        for own, groups, true, found in pairs(study):
            low, high = found.interval95 or (float("nan"), float("nan"))
            yield own, groups, (true, found.value, low, high)

    two = statistics.two_columns
    return Question(
        section=MEASURES, key=key, label=label, rows=_studied(rows),
        lines=(
            Line(key="bias", label="bias", statistic=statistics.bias, better="nearer 0", main=True),
            Line(key="lower_limit", label="lower limit of agreement", statistic=two(statistics.lower_limit)),
            Line(key="upper_limit", label="upper limit of agreement", statistic=two(statistics.upper_limit)),
            Line(key="mae", label="MAE", statistic=statistics.mean_absolute_error, better="lower", main=True),
            Line(key="icc_2_1", label="ICC(2,1)", statistic=two(statistics.icc_2_1), better="higher"),
            Line(key="coverage", label="inside the 95 % interval", statistic=statistics.coverage),
        ),
    )  # fmt: skip


def _of_bodies(
    true_of: Callable[[TrueBody], float], found_of: Callable[[FoundBody], Measured | None]
) -> Callable[[StudyScore], Pairs]:
    def pairs(study: StudyScore) -> Pairs:
        for truth, found in study.measured:
            value = found_of(found)
            if isinstance(value, Quantity):
                yield (truth.level,), body_groups(truth), true_of(truth), value

    return pairs


def _height(place: Place) -> Callable[[StudyScore], Pairs]:
    return _of_bodies(lambda t: t.heights_mm[place], lambda f: f.heights[place])


def _ratio(name: str, place: Place) -> Callable[[StudyScore], Pairs]:
    return _of_bodies(lambda t: t.heights_mm[place] / t.heights_mm["posterior"], lambda f: f.ratios.get(name))


def _kyphoses(study: StudyScore) -> Pairs:
    for level, (true, found) in study.local_kyphosis.items():
        if isinstance(found, Quantity):
            yield (level,), {"level": level, "region": region(level)}, true, found


def _cement(study: StudyScore) -> Pairs:
    """Cement of every complete treated body; where none is reported, 0 mL were found."""
    for one in study.cement:
        found = one.found if isinstance(one.found, Quantity) else Quantity(value=0.0, unit="mL")
        yield (one.level,), {"level": one.level, "region": region(one.level)}, one.true_ml, found


def _leak_volumes(study: StudyScore) -> Pairs:
    for n, leak in enumerate(study.leaks):
        if leak.verdict == "found" and leak.truth and leak.found and isinstance(leak.found.volume, Quantity):
            groups = _leak_groups(leak.truth.compartment, leak.truth.volume_ml)
            yield (leak.truth.level, str(n)), groups, leak.truth.volume_ml, leak.found.volume


def _leak_groups(compartment: str, volume_ml: float) -> dict[str, str]:
    return {"compartment": compartment, "leak size": within(volume_ml, LEAK_LIMITS_ML, "mL")}


# Grades. Columns: true, found. Fractures. Columns: true (0 or 1), said (0 or 1), height loss found.


def _grades(study: StudyScore) -> Rows:
    for truth, found in study.measured:
        if not isinstance(found.genant_grade, NotMeasured):
            yield (truth.level,), body_groups(truth), (truth.genant_grade, found.genant_grade)


def _fractures(least: int) -> Callable[[StudyScore], Rows]:
    def rows(study: StudyScore) -> Rows:
        for body in study.complete:
            true = float(body.truth.genant_grade >= least)
            if body.found is None:
                yield (body.truth.level,), body_groups(body.truth), (true, 0.0, 0.0)
            elif isinstance(body.found.genant_grade, int):
                said = float(body.found.genant_grade >= least)
                yield (body.truth.level,), body_groups(body.truth), (true, said, loss_of(body.found) or 0.0)

    return rows


def loss_of(found: FoundBody) -> float | None:
    """Height loss as it was measured."""
    return found.height_loss.value if isinstance(found.height_loss, Quantity) else None


def _fracture_reports(least: int) -> Callable[[StudyScore], Rows]:
    """Every body with a height loss is a report of a fracture, the greater the loss the surer."""

    def rows(study: StudyScore) -> Rows:
        yield ("",), {}, (IMAGE, 0.0)
        for body in study.complete:
            loss = None if body.found is None else loss_of(body.found)
            true = body.truth.genant_grade >= least
            if loss is not None:
                yield (body.truth.level,), {}, (HIT if true else FALSE, loss)
            elif true:
                yield (body.truth.level,), {}, (MISS, 0.0)
        for found in study.invented:
            if (loss := loss_of(found)) is not None:
                yield ("invented", found.level), {}, (FALSE, loss)

    return rows


_YES_NO_LINES: Final = (
    Line(key="sensitivity", label="sensitivity", statistic=statistics.sensitivity,
         better="higher", main=True),
    Line(key="specificity", label="specificity", statistic=statistics.specificity,
         better="higher", main=True),
    Line(key="auc", label="AUC", statistic=lambda r: statistics.area_under_roc(r[:, [0, 2]]), better="higher"),
)  # fmt: skip
_FROC_LINES: Final = (
    Line(key="at_half", label="sensitivity at 0.5 false an image", statistic=statistics.sensitivity_at(0.5),
         better="higher"),
    Line(key="at_one", label="sensitivity at 1 false an image", statistic=statistics.sensitivity_at(1.0),
         better="higher"),
    Line(key="mean", label="mean sensitivity, 1/8 to 8 false an image", statistic=statistics.mean_sensitivity,
         better="higher"),
)  # fmt: skip


# Leaks.


def _leaks_found(study: StudyScore) -> Rows:
    for n, leak in enumerate(study.leaks):
        if leak.truth is not None and leak.verdict != "out of view":
            groups = _leak_groups(leak.truth.compartment, leak.truth.volume_ml)
            yield (leak.truth.level, str(n)), groups, (float(leak.verdict == "found"), float(leak.compartment_right))


def _leaky_bodies(study: StudyScore) -> Rows:
    """Every complete treated body: does it leak, is that said, and how surely."""
    for one in study.cement:
        own = study.names.get(one.level)
        true = any(s.truth and s.truth.level == one.level and s.verdict != "out of view" for s in study.leaks)
        said = [s.found.confidence for s in study.leaks if s.found is not None and s.found.level == own]
        surest = max((1.0 if confidence is None else confidence for confidence in said), default=0.0)
        yield (one.level,), {"level": one.level, "region": region(one.level)}, (float(true), float(bool(said)), surest)


def _leak_reports(study: StudyScore) -> Rows:
    """A report without a confidence is as sure as can be. A second report of one leak is neither hit nor false."""
    yield ("",), {}, (IMAGE, 0.0)
    kinds = {"found": HIT, "false": FALSE, "missed": MISS}
    for n, leak in enumerate(study.leaks):
        if leak.verdict in kinds:
            confidence = 1.0 if leak.found is None or leak.found.confidence is None else leak.found.confidence
            yield (str(n),), {}, (kinds[leak.verdict], confidence)


# Confidence. Columns: confidence, right (0 or 1).


def _calibration(key: str, label: str, row_of: Callable[[BodyScore], tuple[float | None, bool]]) -> Question:
    def rows(study: StudyScore) -> Rows:
        for body in study.complete:
            confidence, right = row_of(body)
            if confidence is not None:
                yield (body.truth.level,), body_groups(body.truth), (confidence, float(right))

    return Question(section=CALIBRATION, key=key, label=label, rows=_studied(rows), lines=_CALIBRATION_LINES)


def _leak_confidence(study: StudyScore) -> Rows:
    for n, leak in enumerate(study.leaks):
        if leak.found is not None and leak.found.confidence is not None and leak.verdict != "fragment":
            yield (str(n),), {}, (leak.found.confidence, float(leak.verdict == "found"))


_CALIBRATION_LINES: Final = (
    Line(key="right", label="right", statistic=column(1), better="higher"),
    Line(key="confidence", label="mean confidence", statistic=column(0)),
    Line(key="calibration_error", label="expected calibration error", statistic=statistics.calibration_error,
         better="lower"),
    Line(key="brier", label="Brier score", statistic=statistics.brier, better="lower"),
)  # fmt: skip

STUDY_QUESTIONS: Final[tuple[Question, ...]] = (
    *(_measure(f"{place}_height_mm", f"{place} height (mm)", _height(place)) for place in PLACES),
    _measure("wedge_ratio", "wedge ratio, anterior / posterior", _ratio("wedge", "anterior")),
    _measure("biconcave_ratio", "biconcave ratio, middle / posterior", _ratio("biconcave", "middle")),
    _measure("height_loss", "height loss (share)", _of_bodies(lambda t: t.height_loss, lambda f: f.height_loss)),
    _measure("wedge_angle_deg", "wedge angle (°)", _of_bodies(lambda t: t.wedge_angle_deg, lambda f: f.wedge_angle)),
    _measure("local_kyphosis_deg", "local kyphosis, Cobb (°)", _kyphoses),
    _measure("cement_ml", "cement of a treated body (mL)", _cement),
    _measure("leak_ml", "leaks that were found (mL)", _leak_volumes),
    Question(
        section=GRADES, key="genant_grade", label="Genant grade", rows=_studied(_grades),
        lines=(
            Line(key="weighted_kappa", label="quadratic weighted κ", statistic=agreement.grade_kappa, better="higher",
                 main=True),
            Line(key="exact", label="exactly right", statistic=statistics.exact, better="higher"),
        ),
    ),
    *(
        Question(section=GRADES, key=key, label=f"Genant grade {least} or more", rows=_studied(_fractures(least)),
                 lines=_YES_NO_LINES)
        for key, least in FRACTURE_GRADES.items()
    ),
    *(
        Question(section=GRADES, key=f"{key}_froc", label=f"grade {least} or more by height loss",
                 rows=_studied(_fracture_reports(least)), lines=_FROC_LINES, common=False)
        for key, least in FRACTURE_GRADES.items()
    ),
    Question(
        section=LEAKS, key="leaks", label="each true leak", rows=_studied(_leaks_found),
        lines=(
            Line(key="found", label="sensitivity", statistic=column(0), better="higher", main=True),
            Line(key="compartment_right", label="found and its compartment right", statistic=column(1),
                 better="higher", main=True),
        ),
    ),
    Question(section=LEAKS, key="leaking_bodies", label="treated bodies that leak", rows=_studied(_leaky_bodies),
             lines=_YES_NO_LINES),
    Question(section=LEAKS, key="leak_froc", label="reported leaks by confidence", rows=_studied(_leak_reports),
             lines=_FROC_LINES, common=False),
    _calibration("level_confidence", "the level is right",
                 lambda b: (None, False) if b.found is None else (b.found.level_confidence, b.level_right)),
    _calibration("body_confidence", f"Dice of the body is {RIGHT_OUTLINE_DICE:g} or more",
                 lambda b: (None, False) if b.found is None else (b.found.confidence, b.dice >= RIGHT_OUTLINE_DICE)),
    Question(section=CALIBRATION, key="leak_confidence", label="the reported leak is one",
             rows=_studied(_leak_confidence), lines=_CALIBRATION_LINES, common=False),
)  # fmt: skip
