"""``report.pdf``: the report on a few sheets of paper, without what only a screen can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vertecast.core.images import OWN_RESULT
from vertecast.core.patient import Patient
from vertecast.core.results import StudyReport
from vertecast.report.figures import pictures
from vertecast.report.html import page

NO_PDF: Final = (
    "report.pdf was not made: the Pango libraries of the operating system are missing; install them "
    "(scripts/install_system.sh) and analyse again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedReport:
    """A PDF, the HTML that it was printed from, and whether it names the patient."""

    pdf: bytes
    html: str
    names_patient: bool = False


def can_print() -> bool:
    """Whether the libraries for PDF are there; Pango comes with the operating system, not with Python."""
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


def print_report(report: StudyReport, shown: pictures.Pictures, patient: Patient | None = None) -> PrintedReport:
    """Print a report on A4.

    The same report gives the same PDF: it holds no date, and series of our own that came back with the study are left
    out. Nothing is loaded from anywhere.

    Args:
        report: The study.
        shown: Its pictures.
        patient: Whom it names; None: nobody.
    """
    import weasyprint
    from weasyprint.urls import URLFetcher

    series = [one for one in report.series if one.reason != OWN_RESULT]
    context = page.page_context(report, shown) | {"series": series, "patient": patient}
    html = page.environment().get_template("print.html.j2").render(context)
    only_embedded = URLFetcher(allowed_protocols={"data"}, fail_on_errors=True)
    pdf = weasyprint.HTML(string=html, url_fetcher=only_embedded).write_pdf()
    return PrintedReport(pdf=pdf, html=html, names_patient=patient is not None)
