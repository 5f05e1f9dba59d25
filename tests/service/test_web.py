"""The web interface over real HTTP: what it tells, whom it refuses, and what it never hands out."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services import UID, Answer, Client, Face, certificate, face
from vertecast.core.errors import ConfigurationError
from vertecast.service.options import NodeOptions
from vertecast.service.queue import State, StudyRecord
from vertecast.service.web.access import COOKIE, SESSION_S, WRONG_TOKEN_S, Guard
from vertecast.service.web.health import Health

TOKEN = "0123456789 a long token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
OTHER = "1.2.826.0.1.3680043.10.2"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Face]:
    with face(tmp_path / "service") as found:
        yield found


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Face]:
    monkeypatch.setenv("WEB_TEST_TOKEN", TOKEN)
    with face(tmp_path / "service", web={"token_env": "WEB_TEST_TOKEN", "names": ["spine.example"]}) as found:
        yield found


def receive(found: Face, uid: str = UID, images: int = 2) -> None:
    for number in range(images):
        found.queue.received(uid, f"{uid}.{number}", size_bytes=10, modified_ns=number)


def analyze(found: Face, uid: str = UID) -> StudyRecord:
    """Bring a received study to the point where its analysis has begun."""
    found.queue.notice(uid)
    study = found.queue.claim()
    assert study is not None
    return study


def give_up(found: Face, reason: str, uid: str = UID) -> None:
    receive(found, uid)
    for _ in range(found.options.retry.attempts):
        found.queue.failed(analyze(found, uid), reason)


def write_report(found: Face, uid: str = UID) -> Path:
    folder = found.options.results / uid
    (folder / "images").mkdir(parents=True)
    (folder / "report.html").write_text("<!DOCTYPE html><title>L1</title>")
    (folder / "report.pdf").write_bytes(b"%PDF-1.7")
    (folder / "images" / "level_L1.png").write_bytes(b"\x89PNG")
    (folder / "sr.dcm").write_bytes(b"DICM")
    return folder


def test_the_queue_is_told_as_json(served: Face) -> None:
    receive(served)
    receive(served, OTHER, 1)
    analyze(served, OTHER)
    queue = served.client.ask("/api/queue").json
    assert (queue["states"]["receiving"], queue["states"]["analyzing"], queue["finished_last_hour"]) == (1, 1, 0)
    assert [study["study_instance_uid"] for study in served.client.ask("/api/studies").json] == [OTHER, UID]
    assert [study["images"] for study in served.client.ask("/api/studies?state=receiving").json] == [2]
    assert served.client.ask("/api/studies?limit=1&offset=1").json[0]["study_instance_uid"] == UID
    study = served.client.ask(f"/api/studies/{UID}").json
    assert (study["state"], study["is_open"], study["source"], study["report"]) == ("receiving", True, "dicom", None)


@pytest.mark.parametrize(
    "path",
    ["/api/studies?limit=0", "/api/studies?state=lost", "/api/studies?offset=-1", "/api/studies/a.b", "/?state=x"],
)
def test_wrong_questions_are_refused(served: Face, path: str) -> None:
    assert served.client.ask(path).status == 422


def test_a_study_is_asked_for_completed_and_tried_again(served: Face) -> None:
    place = f"/api/studies/{UID}"
    assert served.client.ask(place).status == 404
    assert served.client.ask(f"{place}/retry", {}).status == 404
    assert served.client.ask(place, {"source": "pacs"}).status == 422
    assert served.client.ask(place, {"source": "nowhere"}).status == 422
    assert served.client.ask(place, {"source": "orthanc", "priority": 1}).status == 422
    asked = served.client.ask(place, {"source": "orthanc"})
    assert (asked.status, asked.json["state"], asked.json["source"]) == (202, "requested", "orthanc")
    assert served.client.ask(f"{place}/complete", {}).status == 409
    receive(served, OTHER)
    assert served.client.ask(f"/api/studies/{OTHER}/complete", {}).json["state"] == "ready"
    assert served.client.ask(f"/api/studies/{OTHER}/retry", {}).status == 409


def test_what_failed_is_told_with_its_reason_and_started_again(served: Face) -> None:
    give_up(served, "slices are missing")
    study = served.client.ask(f"/api/studies/{UID}").json
    assert (study["state"], study["reason"], study["is_open"]) == ("failed", "slices are missing", False)
    assert served.client.ask(f"/api/studies/{UID}/retry", {}).json["state"] == "ready"


def test_reports_are_handed_out(served: Face) -> None:
    receive(served)
    write_report(served)
    assert served.client.ask(f"/api/studies/{UID}").json["report"] == f"/reports/{UID}/report.html"
    page = served.client.ask(f"/reports/{UID}/report.html")
    assert (page.status, page.text) == (200, "<!DOCTYPE html><title>L1</title>")
    assert "sandbox" in page.headers["content-security-policy"]
    assert served.client.ask(f"/reports/{UID}/report.pdf").headers["content-type"] == "application/pdf"
    assert served.client.ask(f"/reports/{UID}/images/level_L1.png").headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "path",
    [
        f"{UID}/sr.dcm",
        f"{UID}/.inputs.sha256",
        f"{UID}/linked.html",
        f"{UID}/images/linked.png",
        f"{UID}/images/../../../queue.sqlite",
        f"{UID}/..%2f..%2fqueue.sqlite",
        f"{UID}/%2e%2e/%2e%2e/queue.sqlite",
        "../queue.sqlite",
        "%2e%2e/report.html",
        "../report.html",
        "..%2f..%2fsecret/report.html",
        f"{UID}%00/report.html",
        f"{UID}/report.html%00.png",
        "/etc/passwd",
        f"{UID}",
        "",
    ],
)
def test_nothing_else_is_handed_out(served: Face, path: str) -> None:
    folder = write_report(served)
    secret = served.options.root / "secret.html"
    secret.write_text("secret")
    (served.options.root / "report.html").write_text("secret")
    (folder / "linked.html").symlink_to(secret)
    (folder / "images" / "linked.png").symlink_to(secret)
    (folder / ".inputs.sha256").write_text("secret")
    answer = served.client.ask(f"/reports/{path}")
    assert answer.status in (404, 422)
    assert b"secret" not in answer.body.replace(b"../secret", b"")


def test_a_page_of_another_site_reaches_nothing(served: Face) -> None:
    give_up(served, "broken")
    place = f"/studies/{UID}/retry"
    here = f"127.0.0.1:{served.options.web.port}"
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{here}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": f"http://{here}"},
        {},
    ):
        assert served.client.ask(place, b"", {**FORM, **headers}).status == 403, headers
    assert served.client.ask(f"/api/studies/{UID}/retry", b"{}", {"Content-Type": "text/plain"}).status == 403
    study = served.queue.study(UID)
    assert study is not None
    assert study.state is State.FAILED
    own = {**FORM, "Origin": f"http://{here}", "Sec-Fetch-Site": "same-origin"}
    answer = served.client.ask(place, b"", own)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert served.client.ask(f"/api/studies/{UID}").json["state"] == "ready"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("localhost.evil.example:80", 421),
        ("", 421),
        ("127.0.0.1.evil.example", 421),
        ("spine.example", 200),
        ("Spine.Example:8080", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("10.1.2.3", 200),
    ],
)
def test_only_its_own_names_are_answered(locked: Face, host: str, status: int) -> None:
    assert locked.client.ask("/api/queue", headers={**BEARER, "Host": host}).status == status


def test_with_a_token_nothing_is_told_without_it(locked: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vertecast.service.web.access.WRONG_TOKEN_S", 0.0)
    receive(locked)
    write_report(locked)
    paths = ["/", "/api/queue", f"/api/studies/{UID}", f"/reports/{UID}/report.html", "/metrics", "/api/openapi.json"]
    for path in (*paths, "/nope"):
        answer = locked.client.ask(path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        assert UID not in answer.text
        for wrong in ("Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer \xe9", ""):
            assert locked.client.ask(path, headers={"Authorization": wrong}).status == 401
    assert locked.client.ask(f"/api/studies/{UID}", {"source": "orthanc"}).status == 401
    assert [locked.client.ask(path, headers=BEARER).status for path in paths] == [200] * len(paths)
    assert locked.client.ask("/health").json == {"status": "well"}
    assert "checks" in locked.client.ask("/health", headers=BEARER).json


def sign_in(found: Face, token: str) -> Answer:
    origin = {"Origin": f"http://127.0.0.1:{found.options.web.port}"}
    return found.client.ask("/login", f"token={token.replace(' ', '+')}".encode(), {**FORM, **origin})


def test_people_sign_in_with_the_token(locked: Face) -> None:
    to_login = locked.client.ask("/", headers={"Accept": "text/html"})
    assert (to_login.status, to_login.headers["location"]) == (303, "/login")
    assert locked.client.ask("/login").status == 200
    wrong = sign_in(locked, "guess")
    assert (wrong.headers["location"], "set-cookie" in wrong.headers) == ("/login?wrong", False)
    right = sign_in(locked, TOKEN)
    cookie = right.headers["set-cookie"]
    assert right.headers["location"] == "/"
    assert all(part in cookie for part in ("HttpOnly", "SameSite=strict", f"Max-Age={SESSION_S}"))
    assert TOKEN not in cookie
    value = cookie.split(";")[0]
    assert locked.client.ask("/", headers={"Cookie": value}).status == 200
    for forged in (value[:-1] + ("0" if value[-1] != "0" else "1"), f"{COOKIE}=9{value.split('=')[1]}", f"{COOKIE}=."):
        assert locked.client.ask("/", headers={"Cookie": forged}).status == 401


async def hello(_scope: Any, _receive: Any, send: Any) -> None:
    """An application that answers 200 to everything."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def status_at(time_s: float, cookie: str) -> int:
    """What a guard answers at a time to a request with a cookie."""
    import asyncio

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"cookie", cookie.encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": b"", "scheme": "http"}
    guard = Guard(hello, token=TOKEN, clock=lambda: time_s)
    asyncio.run(guard(scope, None, send))  # type: ignore[arg-type]
    return int(sent[0]["status"])


def test_signing_in_ends_by_itself(locked: Face) -> None:
    cookie = sign_in(locked, TOKEN).headers["set-cookie"].split(";")[0]
    until_s = int(cookie.split("=")[1].split(".")[0])
    assert [status_at(time_s, cookie) for time_s in (until_s - 1, until_s, until_s + 9)] == [200, 401, 401]


@pytest.mark.parametrize("expires", ["9" * 5000, "-1", "1e9", ""])
def test_a_cookie_of_a_stranger_is_no_number(expires: str) -> None:
    assert status_at(0.0, f"{COOKIE}={expires}.{'0' * 64}") == 401


def test_a_wrong_token_is_answered_late(locked: Face) -> None:
    begun = time.monotonic()
    assert locked.client.ask("/api/queue", headers={"Authorization": "Bearer wrong"}).status == 401
    assert time.monotonic() - begun >= WRONG_TOKEN_S


def test_every_answer_is_safe_to_show(served: Face) -> None:
    for path in ("/", "/api/queue", "/metrics", "/nope", "/reports/1.2/report.html"):
        headers = served.client.ask(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_long_requests_are_refused_unread(served: Face) -> None:
    assert served.client.ask(f"/api/studies/{UID}", {"source": "x" * 70000}).status == 413


def test_health_tells_what_is_wrong(tmp_path: Path) -> None:
    with face(tmp_path, node_listens=False, disk={"reserve_gb": 1e9}, node={"port": 104}) as sick:
        answer = sick.client.ask("/health")
        assert answer.status == 503
        checks = answer.json["checks"]
        assert checks["queue"] == checks["models"] == "well"
        assert "less than the reserve" in checks["disk"]
        assert "does not listen on 127.0.0.1:104" in checks["node"]
        metrics = sick.client.ask("/metrics").text
        assert 'vertecast_healthy{part="disk"} 0.0' in metrics
        assert 'vertecast_healthy{part="queue"} 1.0' in metrics


def test_health_is_looked_at_again_after_a_while(served: Face) -> None:
    now, listens = [0.0], [True]
    options = served.options.model_copy(update={"node": NodeOptions()})
    health = Health(options, served.queue, node_listens=lambda: listens[0], clock=lambda: now[0])
    seen = []
    for now[0], listens[0] in ((0.0, True), (1.0, False), (3.0, False)):
        seen.append([check.problem for check in health.look() if check.name == "node"])
    assert seen == [[""], [""], ["the DICOM node does not listen on 127.0.0.1:11112"]]


def test_metrics_count_what_passes_and_name_no_one(served: Face) -> None:
    receive(served)
    receive(served)
    study = analyze(served)
    served.queue.failed(study, "weak")
    served.queue.retry(UID)
    study = analyze(served)
    assert served.queue.analyzed(study, ["pacs"], [])
    for answer in (served.queue.archives.refused, served.queue.archives.delivered):
        waiting = served.queue.study(UID)
        assert waiting is not None
        answer(waiting, "pacs", *(["down"] if answer == served.queue.archives.refused else []))
    text = served.client.ask("/metrics").text
    for line in (
        "vertecast_images_received_total 2.0",
        "vertecast_studies_analyzed_total 1.0",
        'vertecast_failures_total{step="analysis"} 1.0',
        'vertecast_failures_total{step="delivery"} 1.0',
        'vertecast_deliveries_total{archive="pacs"} 1.0',
        "vertecast_analysis_seconds_count 1.0",
        'vertecast_studies{state="delivered"} 1.0',
    ):
        assert line in text.splitlines()
    assert UID not in text


@pytest.mark.parametrize("token", [None, "short"])
def test_a_token_that_could_be_guessed_is_refused(tmp_path: Path, monkeypatch, token: str | None) -> None:
    monkeypatch.delenv("WEB_TEST_TOKEN", raising=False)
    if token is not None:
        monkeypatch.setenv("WEB_TEST_TOKEN", token)
    with pytest.raises(ConfigurationError, match="token"), face(tmp_path, web={"token_env": "WEB_TEST_TOKEN"}):
        pass


def test_a_port_in_use_is_named(served: Face, tmp_path: Path) -> None:
    port = served.options.web.port
    expected = pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} cannot be listened on")
    with expected, face(tmp_path / "second", web={"port": port}):
        pass


def test_over_tls(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path)
    with face(tmp_path / "s", web={"tls_certificate": str(pem), "tls_key": str(key)}) as safe:
        context = ssl.create_default_context(cafile=pem)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"https://localhost:{safe.options.web.port}/health", timeout=30) as answer:
            assert answer.status == 200
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            Client(safe.options.web.port).ask("/health")
    missing = {"tls_certificate": "/no/c.pem", "tls_key": str(key)}
    with pytest.raises(ConfigurationError, match="no such file"), face(tmp_path / "t", web=missing):
        pass
