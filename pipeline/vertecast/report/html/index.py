"""``index.html``: the studies of a run, one line each, the most urgent first, with the way to their reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from vertecast import __version__
from vertecast.core import report_json
from vertecast.report import urgency, wording
from vertecast.report.html import page
from vertecast.report.summary import COLUMNS, RunSummary, StudyRun

_STATUSES = ("analyzed", "failed", "skipped")


def write_index(run: RunSummary) -> str:
    """Build the page; links and pictures are relative to the run's folder, nothing comes from elsewhere."""
    counts = {status: sum(study.status == status for study in run.studies) for status in _STATUSES}
    lines = sorted((_line(study) for study in run.studies), key=lambda line: line["rank"])
    templates = page.environment()
    script = templates.get_template("index.js.j2").render()
    found = dict.fromkeys(kind for line in lines for kind in line["kinds"])
    context = {
        "studies": lines,
        "counts": [(status, count) for status, count in counts.items() if count],
        "reasons": [reason for reason in urgency.ORDER if any(line["reason"] == reason for line in lines)],
        "order": urgency.ORDER,
        "kinds": sorted(found),
        "started": run.started,
        "columns": COLUMNS,
        "disclaimer": report_json.DISCLAIMER,
        "version": __version__,
        "script": Markup(script),
        "script_hash": page.script_hash(script),
    }
    return templates.get_template("index.html.j2").render(context)


def _line(study: StudyRun) -> dict[str, Any]:
    folder = quote(study.directory.replace("\\", "/"))
    names = {output.replace("\\", "/").removeprefix(f"{study.directory}/") for output in study.outputs}
    reason = urgency.reason_to_look(study)
    grade = None if study.report is None else urgency.highest_grade(study.report)
    return {
        "study": study,
        "rank": urgency.ORDER.index(reason),
        "reason": reason,
        "kinds": list(_kinds(study)),
        "grade": grade,
        "leaks": 0 if study.report is None else len(study.report.leaks),
        "link": f"{folder}/report.html" if "report.html" in names else "",
        "picture": next((f"{folder}/{name}" for name in _THUMBS if name in names), ""),
        "headline": () if study.report is None else wording.headline(study.report),
        "summary": () if study.report is None else wording.summary(study.report),
        "seconds": sum(study.timing_s.values()),
    }


_THUMBS = ("images/sagittal.png", "images/film_1.png")


def _kinds(study: StudyRun) -> Iterator[str]:
    """What a study can be filtered by."""
    report = study.report
    if report is None:
        return
    if (urgency.highest_grade(report) or 0) >= 1:
        yield "fracture"
    if urgency.has_new_fracture(report):
        yield "new fracture"
    if any(vertebra.treated for vertebra in report.vertebrae) or report.cement:
        yield "cement"
    if report.leaks:
        yield "leak"
    if any(map(wording.is_at_nerves, report.leaks)):
        yield "leak at the canal or a foramen"
    if wording.open_points(report):
        yield "not everything measured"
