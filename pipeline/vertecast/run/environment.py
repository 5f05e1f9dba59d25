"""What this installation can do: versions, image codecs, model weights. Behind ``vertecast check`` and ``models``."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Final

from vertecast import __version__
from vertecast.core import resources
from vertecast.core.errors import VertecastError
from vertecast.report.html.printing import can_print

PACKAGES: Final = (
    *("torch", "numpy", "scipy", "scikit-image", "SimpleITK", "nibabel", "safetensors", "pydicom"),
    *("pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm", "matplotlib"),
    *("highdicom", "weasyprint"),
)

TRANSFER_SYNTAXES: Final = {
    "RLE lossless": "1.2.840.10008.1.2.5",
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS lossless": "1.2.840.10008.1.2.4.80",
    "JPEG 2000 lossless": "1.2.840.10008.1.2.4.90",
    "HTJ2K lossless": "1.2.840.10008.1.2.4.201",
}
"""Compressed transfer syntaxes that CT archives use (DICOM PS3.6, annex A)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the examination: what was looked at, what was found, whether that will do."""

    name: str
    found: str
    passed: bool


def check_environment() -> tuple[Check, ...]:
    """Examine versions, codecs and weights; a failed check never hides the others."""
    return (_check_program(), *map(_check_package, PACKAGES), *_check_codecs(), _check_printing(), *check_bundles())


def check_bundles(bundles: Sequence[str] | None = None) -> tuple[Check, ...]:
    """Compare the weights of bundles, by name or folder, with their recorded checksums; None: of all shipped ones."""
    try:
        names = resources.bundle_names() if bundles is None else tuple(bundles)
    except VertecastError as error:
        return (Check(name="models", found=str(error), passed=False),)
    if not names:
        return (Check(name="models", found="no model bundle is installed", passed=False),)
    return tuple(map(_check_bundle, names))


def _check_program() -> Check:
    found = f"{__version__}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
    return Check(name="vertecast", found=found, passed=True)


def _check_package(name: str) -> Check:
    try:
        return Check(name=name, found=metadata.version(name), passed=True)
    except metadata.PackageNotFoundError:
        return Check(name=name, found="not installed; install Vertecast again", passed=False)


def _check_codecs() -> tuple[Check, ...]:
    try:
        from pydicom.pixels.decoders.base import get_decoder
    except ImportError:
        return (Check(name="codecs", found="pydicom cannot be imported", passed=False),)
    checks = []
    for name, uid in TRANSFER_SYNTAXES.items():
        decoder = get_decoder(uid)
        found = "decodes" if decoder.is_available else f"needs {' or '.join(decoder.missing_dependencies)}"
        checks.append(Check(name=name, found=found, passed=decoder.is_available))
    return tuple(checks)


def _check_printing() -> Check:
    passed = can_print()
    found = "prints" if passed else "needs the Pango libraries; run scripts/install_system.sh"
    return Check(name="report.pdf", found=found, passed=passed)


def _check_bundle(name: str) -> Check:
    try:
        bundle = resources.read_bundle(resources.bundle_directory(name))
        resources.verify_bundle(bundle)
    except VertecastError as error:
        return Check(name=f"model {name}", found=str(error), passed=False)
    return Check(name=f"model {name}", found=f"version {bundle.version}, weights verified", passed=True)
