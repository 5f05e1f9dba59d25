"""The options of the service beside an archive, read from YAML; every key is known and typed."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from vertecast.core.config import Config, load_config, read_options
from vertecast.core.errors import ConfigurationError

PASSED_ON: Final = "dicom"
"""Source of a study whose images were sent to the node; no archive can have this name."""

AeTitle: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
"""Application entity title: up to 16 printable characters without a backslash, no blanks around them (PS3.5 6.2)."""
ResultKind: TypeAlias = Literal["report", "segmentation", "pictures", "pdf"]
Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]{0,63}$")]
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
Address: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,253}$")]
WebUrl: TypeAlias = Annotated[str, StringConstraints(pattern=r"^https?://[^\s@?#]+$")]


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PeerOptions(_Options):
    """Who may send to the node.

    Attributes:
        ae_title: Its calling AE title.
        host: IP address that it calls from; None: any.
    """

    ae_title: AeTitle
    host: Address | None = None

    @model_validator(mode="after")
    def _host_is_an_address(self) -> PeerOptions:
        if self.host is not None:
            ipaddress.ip_address(self.host)
        return self


class NodeOptions(_Options):
    """The DICOM node that takes images.

    Attributes:
        enabled: Without it studies come from archives only.
        ae_title: Its own title; callers must use it.
        host: Address to listen on; beyond the loopback it wants `peers`.
        peers: Who may send; empty: everyone who reaches the loopback.
        max_associations: Senders at the same time; one more is turned away for the moment.
        max_pdu: Longest message part that is taken, in bytes.
        max_image_gb: A larger object ends the association.
        timeout_s: A sender that is silent for so long is let go.
    """

    enabled: bool = True
    ae_title: AeTitle = "VERTECAST"
    host: Address = "127.0.0.1"
    port: Port = 11112
    peers: tuple[PeerOptions, ...] = Field(default=(), strict=False)
    max_associations: int = Field(default=10, ge=1, le=100)
    max_pdu: int = Field(default=131072, ge=4096, le=1 << 20)
    max_image_gb: float = Field(default=2.0, gt=0)
    timeout_s: float = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _open_only_to_peers(self) -> NodeOptions:
        if self.enabled and not self.peers and not is_loopback(self.host):
            raise ValueError(f"the node listens on {self.host} and knows no peers; list who may send to it")
        return self


class PollOptions(_Options):
    """How an archive is asked for new studies.

    Attributes:
        every_s: Seconds between two questions.
        modalities: Studies with one of these are taken.
        days: Studies as old as this, by their date, are looked at; only for QIDO-RS. Orthanc lists its changes itself.
    """

    every_s: float = Field(default=60.0, gt=0)
    modalities: tuple[str, ...] = Field(default=("CT", "DX", "CR", "XA", "RF"), min_length=1, strict=False)
    days: int = Field(default=1, ge=0)


class ArchiveOptions(_Options):
    """An archive that studies come from or results go to.

    Attributes:
        name: What logs and the status page call it.
        kind: "dicom" takes results by C-STORE; "dicomweb" by STOW-RS, and hands out studies by QIDO-RS and WADO-RS;
            "orthanc" the same by Orthanc's own REST interface, without any plugin.
        host, port, ae_title: Of a DICOM archive.
        url: Of the other two: root of the services, ``https://pacs.example/dicom-web`` or ``http://127.0.0.1:8042``.
        user, password_env, token_env: Name of the user, and of environment variables with the password or bearer token.
        ca_file: Certificates that the archive's is checked against; None: those of the system.
        deliver: Results go there.
        objects: Which of them.
        poll: How it is asked for new studies; None: not at all.
        timeout_s: It is given so long for one answer.
    """

    name: Name
    kind: Literal["dicom", "dicomweb", "orthanc"]
    host: Address | None = None
    port: Port | None = None
    ae_title: AeTitle | None = None
    url: WebUrl | None = None
    user: str | None = None
    password_env: str | None = None
    token_env: str | None = None
    ca_file: str | None = None
    deliver: bool = True
    objects: tuple[ResultKind, ...] = Field(default=("report", "segmentation", "pictures", "pdf"), strict=False)
    poll: PollOptions | None = None
    timeout_s: float = Field(default=60.0, gt=0)

    @property
    def can_be_asked(self) -> bool:
        """Whether studies can be fetched from it."""
        return self.kind != "dicom"

    @model_validator(mode="after")
    def _is_complete(self) -> ArchiveOptions:
        if self.name == PASSED_ON:
            raise ValueError(f"{PASSED_ON!r} stands for images sent to the node; choose another name")
        address: dict[str, object] = {"host": self.host, "port": self.port, "ae_title": self.ae_title}
        web = {key: getattr(self, key) for key in ("url", "user", "password_env", "token_env", "ca_file", "poll")}
        wanted, foreign = (address, web) if self.kind == "dicom" else ({"url": self.url}, address)
        if missing := [key for key, value in wanted.items() if value is None]:
            raise ValueError(f"an archive of kind {self.kind} needs {', '.join(missing)}")
        if extra := [key for key, value in foreign.items() if value is not None]:
            raise ValueError(f"an archive of kind {self.kind} has no {', '.join(extra)}")
        if (self.user is None) != (self.password_env is None) or (self.user and self.token_env):
            raise ValueError("give user and password_env together, or token_env, or none of them")
        return self


class WebOptions(_Options):
    """The status page and its interface.

    Attributes:
        enabled: Whether it is served at all.
        host: Address to listen on; beyond the loopback it wants a token.
        token_env: Environment variable with the token that callers must show.
        names: Host names under which it is reached; its IP addresses and localhost need not be listed.
        tls_certificate, tls_key: PEM files.
    """

    enabled: bool = True
    host: Address = "127.0.0.1"
    port: Port = 8080
    token_env: str | None = None
    names: tuple[Address, ...] = Field(default=(), strict=False)
    tls_certificate: str | None = None
    tls_key: str | None = None

    @model_validator(mode="after")
    def _safe(self) -> WebOptions:
        if self.enabled and self.token_env is None and not is_loopback(self.host):
            raise ValueError(f"the status page listens on {self.host}; name a token_env that holds its token")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("give tls_certificate and tls_key together")
        return self


class DiskOptions(_Options):
    """How much disk is used.

    Attributes:
        reserve_gb: With less free space no image is taken.
        max_study_gb: No more images of a study that is larger.
        keep_days: Images of a finished study are removed after so long; the archive has them. Results are kept.
    """

    reserve_gb: float = Field(default=5.0, ge=0)
    max_study_gb: float = Field(default=10.0, gt=0)
    keep_days: float = Field(default=7.0, ge=0)


class RetryOptions(_Options):
    """What happens after something failed: again after `first_s`, then after twice as long each time.

    Attributes:
        first_s, longest_s: Pauses.
        attempts: So often a study is analysed before it is given up.
        archive_attempts: So often an archive is asked for a study, or offered its results; 100 take four days.
    """

    first_s: float = Field(default=30.0, gt=0)
    longest_s: float = Field(default=3600.0, gt=0)
    attempts: int = Field(default=3, ge=1)
    archive_attempts: int = Field(default=100, ge=1)

    def pause_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row, 1 or more."""
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 60))


class PacsOptions(_Options):
    """All options of the service.

    Attributes:
        folder: Holds the queue, received images and results; made if absent.
        config: Options of the analysis, as of ``vertecast analyze --config``; None: the defaults.
        settle_s: A study is complete when no image has come for so long.
        workers: Studies analysed at the same time, each in a process of its own.
        time_limit_s: A longer analysis is ended and counts as failed.
        compare: Studies of the same patient that are still here are compared.
    """

    folder: str
    config: str | None = None
    settle_s: float = Field(default=60.0, ge=0)
    workers: int = Field(default=1, ge=1)
    time_limit_s: float = Field(default=1800.0, gt=0)
    compare: bool = True
    node: NodeOptions = NodeOptions()
    archives: tuple[ArchiveOptions, ...] = Field(default=(), strict=False)
    web: WebOptions = WebOptions()
    disk: DiskOptions = DiskOptions()
    retry: RetryOptions = RetryOptions()

    @model_validator(mode="after")
    def _names_are_unique(self) -> PacsOptions:
        names = [archive.name for archive in self.archives]
        if len(set(names)) < len(names):
            raise ValueError("two archives have the same name")
        return self

    @property
    def root(self) -> Path:
        """The folder as a path."""
        return Path(self.folder)

    @property
    def queue_path(self) -> Path:
        """The database of the queue."""
        return self.root / "queue.sqlite"

    @property
    def results(self) -> Path:
        """Folder of the results, one folder for each study."""
        return self.root / "results"

    def archive(self, name: str) -> ArchiveOptions | None:
        """The archive of that name."""
        return next((archive for archive in self.archives if archive.name == name), None)


def load_pacs_options(path: Path) -> PacsOptions:
    """Read the options of the service; paths inside are relative to the file.

    Raises:
        ConfigurationError: the file cannot be read, is no YAML, or holds an unknown key or a wrong value.
    """
    options = read_options(path, PacsOptions, known="configs/pacs.yaml")
    here = path.absolute().parent
    fixed = _absolute(options, here, "folder", "config")
    fixed["web"] = options.web.model_copy(update=_absolute(options.web, here, "tls_certificate", "tls_key"))
    fixed["archives"] = tuple(one.model_copy(update=_absolute(one, here, "ca_file")) for one in options.archives)
    return options.model_copy(update=fixed)


def _absolute(options: _Options, folder: Path, *keys: str) -> dict[str, Any]:
    """Options that name files, as seen from a folder."""
    return {key: str(folder / value) for key in keys if (value := getattr(options, key)) is not None}


def analysis_config(options: PacsOptions) -> Config:
    """The options of the analysis.

    Raises:
        ConfigurationError: they are wrong, or would part the results from the patient's study.
    """
    config = load_config(None if options.config is None else Path(options.config))
    if config.output.deidentify:
        raise ConfigurationError(
            f"{options.config}: output.deidentify: results go back to the patient's study in the archive; leave it out"
        )
    if config.segmentation.label_map is not None:
        raise ConfigurationError(f"{options.config}: segmentation.label_map: belongs to one study; leave it out")
    return config


def secret(variable: str | None) -> str | None:
    """The value of an environment variable with a password or token; None where no variable is named.

    Raises:
        ConfigurationError: the variable is not set.
    """
    if variable is None:
        return None
    value = os.environ.get(variable, "")
    if not value:
        raise ConfigurationError(f"the environment variable {variable} is not set; it holds a password or token")
    return value
