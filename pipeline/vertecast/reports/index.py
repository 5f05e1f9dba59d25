"""``index.html``: the studies of a run, one line each, with the way to their reports."""

from __future__ import annotations

from urllib.parse import quote

from vertecast import __version__
from vertecast.reports import document, page, wording
from vertecast.reports.summary import COLUMNS, RunSummary, StudyRun


def write_index(run: RunSummary) -> str:
    """Build the page; links and pictures are relative to the run's folder, nothing comes from elsewhere."""
    counts = {status: sum(study.status == status for study in run.studies) for status in _STATUSES}
    context = {
        "studies": [_line(study) for study in run.studies],
        "counts": [(status, count) for status, count in counts.items() if count],
        "started": run.started,
        "columns": COLUMNS,
        "disclaimer": document.DISCLAIMER,
        "version": __version__,
    }
    return page.environment().get_template("index.html.j2").render(context)


_STATUSES = ("analyzed", "skipped", "failed")


def _line(study: StudyRun) -> dict[str, object]:
    folder = quote(study.directory.replace("\\", "/"))
    names = {output.replace("\\", "/").removeprefix(f"{study.directory}/") for output in study.outputs}
    return {
        "study": study,
        "link": f"{folder}/report.html" if "report.html" in names else "",
        "picture": f"{folder}/images/sagittal.png" if "images/sagittal.png" in names else "",
        "headline": () if study.report is None else wording.headline(study.report),
        "summary": () if study.report is None else wording.summary(study.report),
        "seconds": sum(study.timing_s.values()),
    }
