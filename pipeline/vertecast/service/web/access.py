"""Who may use the web interface, and from where: host names, tokens, the cookie of the page, pages of other sites."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response

from vertecast.core.errors import ConfigurationError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "vertecast_session"
SESSION_S: Final = 12 * 3600
WRONG_TOKEN_S: Final = 1.0
"""A wrong token is answered so late; with the shortest token allowed no one guesses it."""

SHORTEST_TOKEN: Final = 16
LONGEST_BODY_BYTES: Final = 1 << 16
OPEN_PATHS: Final = ("/login", "/health")
"""Answered without a token; /health says then no more than whether all is well."""

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # Not "no-referrer": with it browsers send "Origin: null" from our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""Of every answer that does not set them itself."""


class Guard:
    """Stands before the application: whatever it refuses never gets there.

    * The Host header must be an IP address, localhost or a known name: a page of another site cannot reach us by
      letting its own name point here (DNS rebinding), because such a request carries that name.
    * With a token every request must show it, as ``Authorization: Bearer`` or as the cookie that signing in gives.
    * What changes something must not come from a page of another site (CSRF): a browser tells so in Origin and
      Sec-Fetch-Site; a request without either must hold JSON, which no form of another site can send.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None = None,
        names: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Guard an application.

        Args:
            app: The application.
            token: The token; None: whoever reaches it may use it.
            names: Host names under which it is reached.
            clock: Seconds since 1970.

        Raises:
            ConfigurationError: the token could be guessed.
        """
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise ConfigurationError(
                f"web.token_env: the token is shorter than {SHORTEST_TOKEN} characters; take a longer one"
            )
        self._app = app
        self._token = token
        self._names = {"localhost", *(name.lower() for name in names)}
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, as ASGI wants it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope, receive)
        signed_in = self._is_signed_in(request)
        scope.setdefault("state", {})["signed_in"] = signed_in
        answer = await self._answer(request, signed_in) or self._app
        await answer(scope, receive, send_safely)

    async def _answer(self, request: Request, signed_in: bool) -> Response | None:
        """What is answered without asking the application; None lets the request pass."""
        if not self._is_known_host(request.headers.get("host", "")):
            return _refusal(421, "unknown host name; add it to web.names of the configuration")
        if request.method not in SAFE_METHODS:
            if reason := _unsafe(request.headers):
                return _refusal(403, reason)
            if not _is_short(request.headers):
                return _refusal(413, f"give a Content-Length of at most {LONGEST_BODY_BYTES} bytes")
            if request.url.path == "/login":
                return await self._sign_in(request)
            if request.url.path == "/logout":
                return _to_page("/login", "", 0, request)
        if signed_in or request.url.path in OPEN_PATHS:
            return None
        if "authorization" in request.headers:
            await asyncio.sleep(WRONG_TOKEN_S)
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/login", 303)
        return JSONResponse(
            {"detail": "show the token: Authorization: Bearer ..."}, 401, {"www-authenticate": "Bearer"}
        )

    def _is_known_host(self, host: str) -> bool:
        name = (urlsplit(f"//{host}").hostname or "").lower() if host.isprintable() else ""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True

    def _is_signed_in(self, request: Request) -> bool:
        if self._token is None:
            return True
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return _same(given.strip(), self._token)
        expires, _, proof = cookie_parser(request.headers.get("cookie", "")).get(COOKIE, "").partition(".")
        # Only what we wrote ourselves is read as a number: the text of a stranger may have any length.
        return _same(proof, self._proof(expires)) and int(expires) > self._clock()

    async def _sign_in(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        if self._token is None or not _same(form.get("token", [""])[0], self._token):
            await asyncio.sleep(WRONG_TOKEN_S)
            return RedirectResponse("/login?wrong", 303)
        expires = str(int(self._clock()) + SESSION_S)
        return _to_page("/", f"{expires}.{self._proof(expires)}", SESSION_S, request)

    def _proof(self, expires: str) -> str:
        """What only a holder of the token can put beside a time."""
        key = hashlib.sha256(f"vertecast session\0{self._token}".encode()).digest()
        return hmac.new(key, expires.encode(), hashlib.sha256).hexdigest()


def _to_page(path: str, cookie: str, age_s: int, request: Request) -> Response:
    answer = RedirectResponse(path, 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, cookie, max_age=age_s, httponly=True, samesite="strict", secure=secure)
    return answer


def _unsafe(headers: Headers) -> str:
    """Why a request that changes something may come from a page of another site; "" where it cannot."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        return "requests from pages of other sites are refused"
    if site not in (None, "same-origin", "none"):
        return "requests from pages of other sites are refused"
    if origin is None and site is None and headers.get("content-type", "").partition(";")[0] != "application/json":
        return "send JSON, with Content-Type: application/json"
    return ""


def _is_short(headers: Headers) -> bool:
    length = headers.get("content-length", "")
    return length.isdecimal() and len(length) <= len(str(LONGEST_BODY_BYTES)) and int(length) <= LONGEST_BODY_BYTES


def _same(given: str, wanted: str) -> bool:
    """Whether two texts are the same, in a time that does not tell how far they agree."""
    return hmac.compare_digest(given.encode(), wanted.encode())


def _refusal(status: int, reason: str) -> Response:
    return JSONResponse({"detail": reason}, status)
