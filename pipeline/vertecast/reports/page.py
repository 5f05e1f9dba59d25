"""``report.html``: one self-contained page that a radiologist reads in ten seconds, with everything else below it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from vertecast import __version__
from vertecast.patient import Patient
from vertecast.reports import (
    change_tables,
    course,
    document,
    drawing,
    film_tables,
    growth,
    pictures,
    tables,
    wording,
)
from vertecast.results import StudyReport

if TYPE_CHECKING:
    import jinja2

OVERVIEWS: Final = ("sagittal", "coronal")


def write_page(report: StudyReport, shown: pictures.Pictures, patient: Patient | None = None) -> str:
    """Build the page.

    Args:
        report: The study.
        shown: Its pictures, embedded in the page; may be empty.
        patient: Whom it names; None: nobody.

    Returns:
        HTML that loads nothing from anywhere.
    """
    context = page_context(report, shown) | {"patient": patient}
    return environment().get_template("report.html.j2").render(context)


def page_context(report: StudyReport, shown: pictures.Pictures) -> dict[str, Any]:
    """What the templates of the page and of the print fill in."""
    levels: dict[str, list[dict[str, Any]]] = {}
    for picture in shown.values():
        if picture.level is not None:
            levels.setdefault(picture.level, []).append(_embedded(picture))
    has_ct = any(series.is_volume and series.status == "analyzed" for series in report.series)
    return {
        "report": report,
        "headline": wording.headline(report),
        "summary": (*change_tables.change_sentences(report), *wording.summary(report)),
        "overviews": [_embedded(one) for name, one in shown.items() if name in OVERVIEWS or name.startswith("film_")],
        "levels": levels,
        "legend": drawing.LEGEND if has_ct else drawing.FILM_LEGEND,
        "drawing": growth.DRAWING,
        "cines": _cines(report, shown),
        "vertebrae": tables.vertebra_table(report),
        "ap_vertebrae": film_tables.ap_table(report),
        "angles": film_tables.angle_table(report),
        "cement": tables.cement_table(report),
        "film_cement": film_tables.film_cement_table(report),
        "leaks": tables.leak_table(report),
        "film_leaks": film_tables.film_leak_table(report),
        "combined_leaks": film_tables.combined_table(report),
        "changes": change_tables.change_sections(report),
        "courses": course.plot_course(report),
        "course_drawing": course.DRAWING,
        "timeline": change_tables.timeline_table(report),
        "limits": document.to_document(report)["limits"],
        "disclaimer": document.DISCLAIMER,
        "version": __version__,
    }


def environment() -> jinja2.Environment:
    """The templates of this package; every value is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("vertecast.reports")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _embedded(picture: pictures.Picture) -> dict[str, Any]:
    data = base64.b64encode(picture.png).decode("ascii")
    return {"source": f"data:image/png;base64,{data}", "alt": picture.alt, "caption": picture.caption}


def _cines(report: StudyReport, shown: pictures.Pictures) -> list[dict[str, Any]]:
    """Every cine of the study: its name, its growth and its filmstrip."""
    return [
        {
            "number": n,
            "name": f"Cine, series {wording.series_number(report, cine.series_instance_uid)}",
            "sentence": growth.growth_sentence(cine),
            "plot": growth.plot_growth(cine),
            "frames": [_embedded(one) for name, one in shown.items() if name.startswith(f"cine_{n}_")],
        }
        for n, cine in enumerate(report.cines, start=1)
    ]
