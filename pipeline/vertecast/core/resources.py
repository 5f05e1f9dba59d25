"""Files that ship beside the code: model bundles and default configuration, in a checkout and in a wheel."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from vertecast.core.errors import BundleError

METADATA: Final = Path("configs") / "metadata.json"
"""Where a MONAI bundle keeps its name, version and checksums."""

WEIGHTS_PATTERN: Final = "models/*.safetensors"
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInfo:
    """What a model bundle says of itself.

    Attributes:
        name: Name of its folder.
        version: Version in its metadata.
        directory: Its folder.
        sha256: Recorded checksum of each weights file, by path inside the bundle.
    """

    name: str
    version: str
    directory: Path
    sha256: dict[str, str]


def resource_directory(kind: Literal["models", "configs"]) -> Path:
    """The folder of shipped models or configurations.

    Raises:
        BundleError: the installation lacks it.
    """
    package = Path(str(files("vertecast")))
    candidates = (package / "_resources" / kind, package.parents[1] / kind)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise BundleError(f"this installation carries no {kind}/; install Vertecast again from a wheel or a full checkout")


def bundle_names() -> tuple[str, ...]:
    """Names of the shipped bundles in alphabetical order."""
    return tuple(sorted(path.parent.parent.name for path in resource_directory("models").glob(f"*/{METADATA}")))


def bundle_directory(name_or_path: str) -> Path:
    """The folder of a shipped bundle by name, or of a user's bundle by path.

    Raises:
        BundleError: there is none.
    """
    for candidate in (resource_directory("models") / name_or_path, Path(name_or_path)):
        if (candidate / METADATA).is_file():
            return candidate
    known = ", ".join(bundle_names()) or "none"
    raise BundleError(f"{name_or_path}: no model bundle of that name or folder (shipped: {known})")


def read_bundle(directory: Path) -> BundleInfo:
    """Read the metadata of a bundle.

    Raises:
        BundleError: the metadata is missing, damaged, or lacks the version or the checksums.
    """
    path = directory / METADATA
    try:
        metadata: Any = json.loads(path.read_text(encoding="utf-8"))
        version, sha256 = metadata["version"], metadata["sha256"]
        return BundleInfo(name=directory.name, version=str(version), directory=directory, sha256=dict(sha256))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise BundleError(f"{path}: holds no version and sha256 of the weights; fetch the bundle again") from error


def verify_bundle(bundle: BundleInfo) -> None:
    """Compare every weights file with its recorded checksum.

    Raises:
        BundleError: a file is missing, altered, or not listed in the metadata.
    """
    present = {path.relative_to(bundle.directory).as_posix() for path in bundle.directory.glob(WEIGHTS_PATTERN)}
    for name in sorted(present | set(bundle.sha256)):
        if name not in bundle.sha256:
            raise BundleError(f"{bundle.name}: {name} is not listed in {METADATA.as_posix()}; remove it")
        if name not in present:
            raise BundleError(f"{bundle.name}: {name} is missing; fetch the bundle again")
        if file_sha256(bundle.directory / name) != bundle.sha256[name]:
            raise BundleError(f"{bundle.name}: {name} is not the file that was released; fetch the bundle again")
    if not bundle.sha256:
        raise BundleError(f"{bundle.name}: has no weights")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        BundleError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
