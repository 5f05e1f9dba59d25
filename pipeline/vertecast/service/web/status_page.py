"""The status page: what the queue holds, what failed and why, and the way to the reports."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jinja2
from markupsafe import Markup

from vertecast import __version__
from vertecast.core import report_json
from vertecast.report.html import page
from vertecast.service.options import PacsOptions
from vertecast.service.queue import State, StudyQueue, StudyRecord
from vertecast.service.web.health import Health

PAGE_STUDIES: Final = 50
HOUR_S, DAY_S = 3600, 86400

MEANING: Final = {
    State.REQUESTED: "to be fetched from an archive.",
    State.RECEIVING: "images are coming in; the study is complete when none has come for a while.",
    State.READY: "complete, waiting to be analysed.",
    State.ANALYZING: "being analysed now.",
    State.ANALYZED: "the results are written; an archive has not taken them yet, or none is to get them.",
    State.DELIVERED: "every archive said that it has the results.",
    State.FAILED: "given up for the reason that stands beside it. 'Try again' starts the step that failed.",
    State.SKIPPED: "holds nothing that is measured.",
}

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script}'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPage:
    """A page and the policy that it is to be sent with."""

    html: str
    policy: str


def report_link(options: PacsOptions, uid: str) -> str | None:
    """Path of a study's report page on the web interface; None where there is none."""
    return f"/reports/{uid}/report.html" if (options.results / uid / "report.html").is_file() else None


def render_status(
    options: PacsOptions, queue: StudyQueue, health: Health, *, shown: State | None = None, offset: int = 0
) -> RenderedPage:
    """The page.

    Args:
        options: Of the service.
        queue: What it shows.
        health: Looked at anew.
        shown: Only studies in this state; None: all.
        offset: How many of the last changed ones are left out.
    """
    now, counts = time.time(), queue.counts()
    studies = queue.studies(shown, PAGE_STUDIES + 1, offset)
    context = {
        "checks": health.look(),
        "counts": {str(state): count for state, count in counts.items()},
        "states": [{"name": str(state), "count": count} for state, count in counts.items()],
        "total": sum(counts.values()),
        "last_hour": queue.finished_since(now - HOUR_S),
        "last_day": queue.finished_since(now - DAY_S),
        "shown": "" if shown is None else str(shown),
        "meaning": "" if shown is None else MEANING[shown],
        "studies": [_line(options, study) for study in studies[:PAGE_STUDIES]],
        "newer": _place(shown, max(0, offset - PAGE_STUDIES)) if offset else "",
        "older": _place(shown, offset + PAGE_STUDIES) if len(studies) > PAGE_STUDIES else "",
        "has_token": options.web.token_env is not None,
    }
    return _render("status", context)


def render_login(*, is_wrong: bool) -> RenderedPage:
    """The page that asks for the token; ``is_wrong`` after one that was not it."""
    return _render("login", {"is_wrong": is_wrong})


def _line(options: PacsOptions, study: StudyRecord) -> dict[str, Any]:
    refused = any(state.startswith(("waiting:", "failed")) for state in study.deliveries.values())
    return {
        "uid": study.study_instance_uid,
        "state": str(study.state),
        "reason": study.reason,
        "attempts": study.attempts,
        "next_attempt": "" if study.next_attempt_at is None else _clock_time(study.next_attempt_at),
        "can_retry": study.state in (State.FAILED, State.SKIPPED) or study.next_attempt_at is not None or refused,
        "deliveries": sorted(study.deliveries.items()),
        "source": study.source,
        "images": study.images,
        "changed": _clock_time(study.changed_at),
        "received": _clock_time(study.received_at),
        "report": report_link(options, study.study_instance_uid),
    }


def _clock_time(seconds: float) -> str:
    """Time on the wall where the service runs."""
    return datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="seconds")


def _place(state: State | None, offset: int) -> str:
    return f"/?offset={offset}" + ("" if state is None else f"&state={state}")


def _render(name: str, context: dict[str, Any]) -> RenderedPage:
    templates = _environment()
    script = templates.get_template(f"{name}.js.j2").render()
    shared = {"disclaimer": report_json.DISCLAIMER, "version": __version__, "script": Markup(script)}
    html = templates.get_template(f"{name}.html.j2").render(context | shared)
    return RenderedPage(html=html, policy=POLICY.format(script=page.script_hash(script)))


def _environment() -> jinja2.Environment:
    """Our templates, and the style and the switch of light and dark of the reports."""
    reports = page.environment()
    assert reports.loader is not None
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader("vertecast.service"), reports.loader])
    return reports.overlay(loader=loader)
