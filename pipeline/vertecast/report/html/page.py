"""``report.html``: one self-contained page that a radiologist reads in ten seconds, with everything else below it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from vertecast import __version__
from vertecast.core import report_json
from vertecast.core.patient import Patient
from vertecast.core.results import StudyReport
from vertecast.report import wording
from vertecast.report.figures import drawing, pictures
from vertecast.report.html import change_tables, course, film_tables, growth, height_profile, tables
from vertecast.report.html.viewer.scenes import SPINE, Scene

if TYPE_CHECKING:
    import jinja2

OVERVIEWS: Final = ("sagittal", "coronal")


def write_page(
    report: StudyReport, shown: pictures.Pictures, scenes: Sequence[Scene] = (), patient: Patient | None = None
) -> str:
    """Build the page.

    Args:
        report: The study.
        shown: Its pictures, embedded in the page; may be empty.
        scenes: What can be scrolled through, each in the place of the picture of its name once scripts run. On paper
            and without scripts the pictures stay.
        patient: Whom it names; None: nobody.

    Returns:
        HTML that loads nothing from anywhere.
    """
    templates = environment()
    script = templates.get_template("page.js.j2").render()
    named = {scene.name: scene for scene in scenes}
    context = page_context(report, shown) | {
        "stages": list(_stages(shown, named)),
        "level_stages": list(_level_stages(shown, named)),
        "profiles": height_profile.plot_profiles(report),
        "script": Markup(script),
        "patient": patient,
        "script_hash": script_hash(script),
    }
    return templates.get_template("report.html.j2").render(context)


def script_hash(script: str) -> str:
    """What the page's policy knows its own script by: no other one runs in it (CSP level 3, section 2.3.1)."""
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _stages(shown: pictures.Pictures, scenes: dict[str, Scene]) -> Iterator[dict[str, Any]]:
    """What the first screen shows: the spine in a CT, and every film; each as pictures and, where there is one, a
    scene."""
    spine = [_embedded(shown[name]) for name in OVERVIEWS if name in shown]
    if spine:
        yield {"pictures": spine, "scene": scenes.get(SPINE)}
    for name, picture in shown.items():
        if name.startswith("film_"):
            yield {"pictures": [_embedded(picture)], "scene": scenes.get(name)}


def _level_stages(shown: pictures.Pictures, scenes: dict[str, Scene]) -> Iterator[dict[str, Any]]:
    """Every body of interest: the picture of its planes with its scene, and further pictures beside it."""
    levels = dict.fromkeys(picture.level for picture in shown.values() if picture.level is not None)
    for level in levels:
        own = {name: picture for name, picture in shown.items() if picture.level == level}
        planes = own.pop(f"level_{level}", None)
        yield {
            "level": level,
            "pictures": [] if planes is None else [_embedded(planes)],
            "scene": scenes.get(f"level_{level}"),
            "beside": [_embedded(picture) for picture in own.values()],
        }


def page_context(report: StudyReport, shown: pictures.Pictures) -> dict[str, Any]:
    """What the templates of the page and of the print fill in."""
    levels: dict[str, list[dict[str, Any]]] = {}
    for picture in shown.values():
        if picture.level is not None:
            levels.setdefault(picture.level, []).append(_embedded(picture))
    summary = (*change_tables.change_sentences(report), *wording.summary(report))
    has_ct = any(series.is_volume and series.status == "analyzed" for series in report.series)
    return {
        "report": report,
        "headline": wording.headline(report),
        "summary": summary,
        "open_points": wording.open_points(report),
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
        "limits": report_json.to_document(report)["limits"],
        "disclaimer": report_json.DISCLAIMER,
        "version": __version__,
    }


def environment() -> jinja2.Environment:
    """The templates of this package; every value is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("vertecast.report")
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
