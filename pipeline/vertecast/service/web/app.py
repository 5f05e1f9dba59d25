"""The web interface of the service: status page, reports, JSON, health and metrics.

===== ================================ ===================================================================
GET   /                                the status page; ``?state=`` shows one state alone
GET   /reports/UID/report.html         a study's report, also report.pdf, report.json and images/NAME.png
GET   /api/queue                       how many studies are in each state
GET   /api/studies                     studies, last changed first; ``?state=``, ``limit=``, ``offset=``
GET   /api/studies/UID                 one study
POST  /api/studies/UID                 fetch and analyse it: ``{"source": "NAME OF AN ARCHIVE"}``
POST  /api/studies/UID/complete        all its images have been sent: do not wait for it to settle
POST  /api/studies/UID/retry           start what failed again
GET   /health                          200 where all is well, else 503
GET   /metrics                         for Prometheus
===== ================================ ===================================================================

Who may ask is decided in `vertecast.service.web.access`.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated, Any, Final

import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi import Path as UrlPath
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict

from vertecast import __version__
from vertecast.core.errors import ConfigurationError
from vertecast.service.options import PacsOptions, secret
from vertecast.service.queue import State, StudyQueue, StudyRecord
from vertecast.service.web.access import Guard
from vertecast.service.web.health import Health
from vertecast.service.web.metrics import Metrics
from vertecast.service.web.status_page import DAY_S, HOUR_S, RenderedPage, render_login, render_status, report_link

START_S: Final = 20.0
MOST_CONNECTIONS: Final = 100
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_STATES: Final = (State.REQUESTED, State.RECEIVING, State.READY, State.ANALYZING)
"""A study in one of these will change by itself before its report can be read."""

REPORT_HEADERS: Final = {
    ".html": {
        "content-security-policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
        "'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts",
        # Browsers do not show a page that has both a sandbox and an opener policy.
        "cross-origin-opener-policy": "unsafe-none",
    },
    # The reader of a browser is a page with scripts of its own.
    ".pdf": {"content-security-policy": "frame-ancestors 'none'"},
}
"""Of report pages, whose own policy allows no script but theirs: apart from everything else of this interface."""

Uid = Annotated[str, UrlPath(pattern=r"^[0-9][0-9.]{0,63}$", description="StudyInstanceUID")]
ReportFile = Annotated[str, UrlPath(pattern=r"^(report\.(html|pdf|json)|images/[A-Za-z0-9_-]{1,80}\.png)$")]


class FetchRequest(BaseModel):
    """What is asked for with a study: the archive that it lies in, by its name in the configuration."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source: str


class WebServer:
    """The interface of one service, served from a thread of its own."""

    def __init__(self, options: PacsOptions, queue: StudyQueue, metrics: Metrics, health: Health) -> None:
        """Prepare the server; nothing listens yet. Arguments as of `create_app`.

        Raises:
            ConfigurationError: the token is not set or too short, or certificate and key cannot be read.
        """
        web = options.web
        for path in filter(None, (web.tls_certificate, web.tls_key)):
            if not Path(path).is_file():
                raise ConfigurationError(f"web: {path}: no such file; name the PEM files of certificate and key")
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(options, queue, metrics, health),
                host=web.host,
                port=web.port,
                ssl_certfile=web.tls_certificate,
                ssl_keyfile=web.tls_key,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=5,
            )
        )
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._place = f"{web.host}:{web.port}"

    def start(self) -> None:
        """Listen, and return once requests are answered.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise ConfigurationError(f"web: {self._place} cannot be listened on; is it in use by another program?")
            time.sleep(0.02)

    def stop(self) -> None:
        """Answer what is under way and end."""
        self._server.should_exit = True
        self._thread.join(START_S)

    def _run(self) -> None:
        try:
            self._server.run()
        except SystemExit:
            return  # uvicorn has logged why; start() tells


def create_app(options: PacsOptions, queue: StudyQueue, metrics: Metrics, health: Health) -> Guard:
    """The application with its guard.

    Args:
        options: Of the service.
        queue: What it shows and changes.
        metrics: The numbers of the service.
        health: Looks at its parts.

    Raises:
        ConfigurationError: the token is not set, or too short.
    """
    metrics.watch(queue, health)
    # The interactive documentation of FastAPI loads scripts from elsewhere.
    app = FastAPI(
        title="Vertecast",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
    )
    app.include_router(_api(options, queue))
    app.include_router(_pages(options, queue, health))
    app.include_router(_monitoring(metrics, health))
    return Guard(app, token=secret(options.web.token_env), names={options.web.host, *options.web.names})


def _api(options: PacsOptions, queue: StudyQueue) -> APIRouter:
    """What other programs ask."""
    api = APIRouter(prefix="/api")

    def known(uid: str) -> dict[str, Any]:
        study = queue.study(uid)
        if study is None:
            raise HTTPException(404, "no such study in the queue")
        return _as_json(options, study)

    @api.get("/queue")
    def show_queue() -> dict[str, Any]:
        now = time.time()
        return {
            "states": {str(state): count for state, count in queue.counts().items()},
            "finished_last_hour": queue.finished_since(now - HOUR_S),
            "finished_last_day": queue.finished_since(now - DAY_S),
        }

    @api.get("/studies")
    def list_studies(
        state: State | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> list[dict[str, Any]]:
        return [_as_json(options, study) for study in queue.studies(state, limit, offset)]

    @api.get("/studies/{uid}")
    def show_study(uid: Uid) -> dict[str, Any]:
        return known(uid)

    @api.post("/studies/{uid}", status_code=202)
    def request_study(uid: Uid, wanted: FetchRequest) -> dict[str, Any]:
        archive = options.archive(wanted.source)
        if archive is None or not archive.can_be_asked:
            raise HTTPException(422, "source: no archive of this name that studies can be fetched from")
        queue.request(uid, archive.name)
        return known(uid)

    @api.post("/studies/{uid}/complete")
    def complete_study(uid: Uid) -> dict[str, Any]:
        known(uid)
        if not queue.notice(uid):
            raise HTTPException(409, "the study is not waiting for images")
        return known(uid)

    @api.post("/studies/{uid}/retry")
    def retry_study(uid: Uid) -> dict[str, Any]:
        known(uid)
        if not queue.retry(uid):
            raise HTTPException(409, "nothing of this study failed or waits")
        return known(uid)

    return api


def _pages(options: PacsOptions, queue: StudyQueue, health: Health) -> APIRouter:
    """What people look at."""
    pages = APIRouter(include_in_schema=False)

    @pages.get("/")
    def show_status(state: State | None = None, offset: Annotated[int, Query(ge=0)] = 0) -> Response:
        return _html(render_status(options, queue, health, shown=state, offset=offset))

    @pages.get("/login")
    def ask_token(wrong: str | None = None) -> Response:
        return _html(render_login(is_wrong=wrong is not None))

    @pages.post("/studies/{uid}/retry")
    def retry_study(uid: Uid) -> Response:
        queue.retry(uid)
        return RedirectResponse("/", 303)

    @pages.get("/reports/{uid}/{name:path}")
    def show_report(uid: Uid, name: ReportFile) -> Response:
        path = (options.results / uid / name).resolve()
        if not path.is_relative_to(options.results.resolve()) or not path.is_file():
            raise HTTPException(404, "no such report; it may not be written yet")
        return FileResponse(path, headers=REPORT_HEADERS.get(path.suffix))

    return pages


def _monitoring(metrics: Metrics, health: Health) -> APIRouter:
    """What watches over the service."""
    monitoring = APIRouter()

    @monitoring.get("/health")
    def show_health(request: Request) -> Response:
        checks = health.look()
        is_well = not any(check.problem for check in checks)
        found: dict[str, Any] = {"status": "well" if is_well else "unwell"}
        if request.state.signed_in:
            found["checks"] = {check.name: check.problem or "well" for check in checks}
        return JSONResponse(found, 200 if is_well else 503)

    @monitoring.get("/metrics")
    def show_metrics() -> Response:
        return Response(metrics.text(), media_type=PROMETHEUS)

    return monitoring


def _as_json(options: PacsOptions, study: StudyRecord) -> dict[str, Any]:
    """A study as other programs see it; times in seconds since 1970."""
    return {
        "study_instance_uid": study.study_instance_uid,
        "state": str(study.state),
        "is_open": study.state in OPEN_STATES,
        "reason": study.reason,
        "images": study.images,
        "attempts": study.attempts,
        "source": study.source,
        "received_at": study.received_at,
        "changed_at": study.changed_at,
        "next_attempt_at": study.next_attempt_at,
        "deliveries": dict(study.deliveries),
        "report": report_link(options, study.study_instance_uid),
    }


def _html(page: RenderedPage) -> Response:
    return HTMLResponse(page.html, headers={"content-security-policy": page.policy})
