"""What an evaluation leaves behind: ``scores.json``, tables, and two pages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from vertecast import __version__
from vertecast.core.errors import OutputError
from vertecast.lab.evaluation import assessment as tables
from vertecast.lab.evaluation.agreement import Estimate
from vertecast.lab.evaluation.assessment import Assessment
from vertecast.lab.evaluation.pages import page

SCORES_VERSION: Final = "2"


def write(
    assessment: Assessment, out: Path, *, head: Mapping[str, Any] | None = None, texts: Mapping[str, str] | None = None
) -> None:
    """Write ``scores.json``, ``statistics.csv``, ``structures.csv``, ``comparison.csv`` and the two pages.

    Args:
        assessment: All answers.
        out: Folder; made if absent.
        head: Further values of ``scores.json``.
        texts: Further files by name.

    Raises:
        OutputError: The folder cannot be written.
    """
    document = {
        "scores_version": SCORES_VERSION,
        "software": {"name": "vertecast", "version": __version__},
        "simulated": assessment.simulated,
        **(head or {}),
        "assessment": tables.document(assessment),
    }
    files = {
        "scores.json": json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "statistics.csv": csv_text(tables.statistic_rows(assessment.answers)),
        "structures.csv": csv_text(tables.structure_rows(assessment.cases)),
        **({"comparison.csv": csv_text(tables.comparison_rows(assessment.differences))} if assessment.against else {}),
        **(texts or {}),
        "index.html": page.write_page(assessment, head or {}),
        "checklist.html": page.write_checklist(assessment, head or {}),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise OutputError(f"cannot write to {out}: {cause}; free some space or choose another --out") from error


def csv_text(rows: Iterable[Mapping[str, object]]) -> str:
    """A table with a header; "" for no rows."""
    text = io.StringIO()
    listed = list(rows)
    if listed:
        writer = csv.DictWriter(text, list(listed[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)
    return text.getvalue()


def text_table(assessment: Assessment) -> str:
    """Every statistic with its interval, and the comparison, as text."""
    patients = len({case.patient for case in assessment.cases})
    lines = [f"{len(assessment.cases)} images of {patients} patients. {assessment.data}", *assessment.notes]
    section = ""
    for answer in assessment.answers:
        if answer.question.section != section:
            section = answer.question.section
            lines += ["", section]
        lines.append(f"  {answer.question.label}")
        for line in answer.question.lines:
            lines.append(f"    {line.label:60}{number_text(answer.estimates[line.key])}")
    if assessment.against:
        lines += ["", f"This model less {assessment.against}, 95 % interval of the difference"]
        for one in assessment.differences:
            name = f"{one.question.label}: {one.line.label}"
            lines.append(f"  {name:82}{number_text(one.difference):32}  {one.verdict}")
    return "\n".join(lines) + "\n"


def number_text(estimate: Estimate) -> str:
    """A statistic with its interval and count in one line."""
    if estimate.value is None:
        return "-"
    interval = ""
    if estimate.interval95 is not None:
        interval = f" ({estimate.interval95[0]:.3g} to {estimate.interval95[1]:.3g})"
    return f"{estimate.value:.3g}{interval}, n {estimate.count}"
