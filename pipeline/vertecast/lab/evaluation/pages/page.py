"""``index.html`` and ``checklist.html``: an evaluation to read, self-contained, in the look of the other pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vertecast import __version__
from vertecast.lab.evaluation.agreement import Estimate
from vertecast.lab.evaluation.assessment import RULES, Assessment
from vertecast.lab.evaluation.checklist import checklist
from vertecast.lab.evaluation.pages.plots import Plot, plots
from vertecast.lab.evaluation.pages.worst import worst_cases
from vertecast.lab.evaluation.questions import Answer

if TYPE_CHECKING:
    import jinja2


def write_page(assessment: Assessment, head: Mapping[str, Any]) -> str:
    """Build the page of scores.

    Args:
        assessment: All answers.
        head: What ``scores.json`` says of reports beside them; empty for label maps alone.

    Returns:
        HTML that loads nothing from anywhere.
    """
    drawn = plots(assessment.answers)
    return _environment().get_template("evaluation.html.j2").render(
        assessment=assessment,
        patients=len({case.patient for case in assessment.cases}),
        without=[case for case in assessment.cases if case.reason],
        targets=_targets(head),
        confusion=head.get("genant_confusion", {}).get("counts", []),
        compartments=head.get("leaks_by_compartment", {}),
        abstentions=head.get("abstentions", {}),
        sections=list(_sections(assessment, drawn)),
        worst=worst_cases(assessment.cases),
        rules=RULES,
        version=__version__,
        text=value_text,
    )  # fmt: skip


def write_checklist(assessment: Assessment, head: Mapping[str, Any]) -> str:
    """Build the page of the checklist; arguments as of `write_page`."""
    return _environment().get_template("checklist.html.j2").render(
        items=checklist(assessment, head), data=assessment.data, version=__version__
    )  # fmt: skip


def value_text(estimate: Estimate) -> str:
    """A statistic with its interval: "0.91 (0.88–0.93)"; "–" for none."""
    if estimate.value is None:
        return "–"
    if estimate.interval95 is None:
        return f"{estimate.value:.3g}"
    low, high = estimate.interval95
    return f"{estimate.value:.3g} ({low:.3g} to {high:.3g})"


def _targets(head: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The project's own targets, which hold for simulated images alone."""
    if not head.get("simulated"):
        return []
    return [score for score in head.get("scores", {}).values() if score["target"] is not None]


def _sections(assessment: Assessment, drawn: list[Plot]) -> Iterator[Mapping[str, Any]]:
    """Every section with its questions in tables of the same columns, its plots and its sub-groups."""
    names = dict.fromkeys(one.question.section for one in assessment.answers)
    for name in names:
        answers = [one for one in assessment.answers if one.question.section == name]
        yield {
            "name": name,
            "tables": list(_tables(answers)),
            "plots": [plot for plot in drawn if plot.section == name],
            "groups": [row for one in answers for row in _group_rows(one)],
        }


def _tables(answers: list[Answer]) -> Iterator[Mapping[str, Any]]:
    """Questions with the same statistics share a table."""
    by_columns: dict[tuple[str, ...], list[Answer]] = {}
    for one in answers:
        by_columns.setdefault(tuple(line.label for line in one.question.lines), []).append(one)
    for columns, own in by_columns.items():
        yield {"columns": columns, "answers": own}


def _group_rows(one: Answer) -> Iterator[Mapping[str, Any]]:
    labels = {line.key: line.label for line in one.question.lines}
    for name, values in one.groups.items():
        for value, estimates in values.items():
            for key, estimate in estimates.items():
                yield {
                    "question": one.question.label, "group": name, "value": value, "statistic": labels[key],
                    "estimate": estimate,
                }  # fmt: skip


def _environment() -> jinja2.Environment:
    """The templates of this room, and the style sheet that all pages share; every value is escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    folders = ("lab/evaluation/templates", "report/templates")
    loader = ChoiceLoader([PackageLoader("vertecast", folder) for folder in folders])
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
