"""What the two kinds of archives on the web have in common: one client, its credentials, errors with a reason."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from vertecast.core.errors import ArchiveError, ConfigurationError
from vertecast.service.options import ArchiveOptions, secret

_CAUSES: Final = {401: "it wants other credentials", 403: "it does not allow it", 404: "it knows nothing of it"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An object in an archive.

    Attributes:
        uid: SOPInstanceUID.
        path: Where it is fetched from, under the archive's URL.
    """

    uid: str
    path: str


class NotThereError(ArchiveError):
    """The archive knows nothing of what was asked for."""


class WebClient:
    """HTTP to one archive, straight: no proxy of the environment stands between."""

    def __init__(self, options: ArchiveOptions) -> None:
        """Prepare; nothing is opened before the first question.

        Raises:
            ConfigurationError: a password or token is missing, or the certificates cannot be read.
        """
        assert options.url is not None
        self._timeout_s = options.timeout_s
        self._client = httpx.Client(
            base_url=options.url.rstrip("/") + "/",
            auth=_auth(options),
            headers=_headers(options),
            timeout=options.timeout_s,
            trust_env=False,
            verify=_certificates(options),
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    @contextmanager
    def stream(self, path: str, accept: str) -> Iterator[httpx.Response]:
        """An answer whose body is read part by part.

        Raises:
            ArchiveError: there is none, or it is an error.
        """
        with self._reasons(), self._client.stream("GET", path, headers={"Accept": accept}) as answer:
            if answer.status_code != httpx.codes.OK:
                raise _refusal(answer.status_code)
            yield answer

    def json(self, path: str, parameters: Mapping[str, str | int] | None = None) -> Any:
        """A JSON answer; None for an empty one.

        Raises:
            ArchiveError: there is none, or it is an error, or no JSON.
        """
        accept = {"Accept": "application/dicom+json, application/json"}
        with self._reasons():
            return _json(self._client.get(path, params=parameters, headers=accept))

    def post(self, path: str, content: Any, headers: Mapping[str, str], *, also: tuple[int, ...] = ()) -> Any:
        """The same after a POST; ``also``: further status codes whose body is an answer.

        Raises:
            ArchiveError: as `json`.
        """
        with self._reasons():
            return _json(self._client.post(path, content=content, headers=dict(headers)), also)

    @contextmanager
    def _reasons(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise ArchiveError(f"the archive gave no answer in {self._timeout_s:g} s") from error
        except httpx.HTTPError as error:
            raise ArchiveError(
                f"the archive cannot be reached ({type(error).__name__}); check url and network, and whether it runs"
            ) from error


def _json(answer: httpx.Response, also: tuple[int, ...] = ()) -> Any:
    if not answer.is_success and answer.status_code not in also:
        raise _refusal(answer.status_code)
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError as error:
        raise ArchiveError("the archive's answer is no JSON; check url") from error


def _refusal(status: int) -> ArchiveError:
    kind = NotThereError if status == httpx.codes.NOT_FOUND else ArchiveError
    return kind(f"the archive answered HTTP {status} ({_CAUSES.get(status, 'refused')})")


def _auth(options: ArchiveOptions) -> httpx.BasicAuth | None:
    password = secret(options.password_env)
    return None if options.user is None or password is None else httpx.BasicAuth(options.user, password)


def _headers(options: ArchiveOptions) -> dict[str, str]:
    token = secret(options.token_env)
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _certificates(options: ArchiveOptions) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=options.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"archive {options.name}: {options.ca_file}: holds no certificates") from error
