"""The secret behind a de-identified export: the same key gives the same pseudonyms in every run, another key others.

Every pseudonym is an HMAC-SHA-256 of what it stands for. Whoever has the key can compute the pseudonym of a patient or
a UID that he knows; without it nothing leads back.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from vertecast.core.errors import ConfigurationError

KEY_NAME: Final = "vertecast.key"
"""Beside the folder of results, never in it: what is handed on must not hold the way back."""

KEY_BYTES: Final = 32
LEAST_KEY_BYTES: Final = 16
LONGEST_SHIFT_DAYS: Final = 3650


@dataclass(frozen=True, slots=True, kw_only=True)
class Pseudonyms:
    """What identifies a patient, replaced.

    Attributes:
        key: The secret; no ``repr`` shows it.
    """

    key: bytes = field(repr=False)

    def uid(self, original: str) -> str:
        """The UID in place of a UID, or of the name of a file that stands for one (root 2.25, PS3.5 B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', original)[:16], version=4).int}"

    def patient_id(self, patient: str) -> str:
        """ID of a patient."""
        return f"VC-{self._digest('patient', patient)[:8].hex().upper()}"

    def earlier(self, day: date, patient: str) -> date:
        """A day moved into the past, every day of one patient as far: by 1 day to 10 years."""
        days = int.from_bytes(self._digest("days", patient)[:8]) % LONGEST_SHIFT_DAYS + 1
        return max(day, date.min + timedelta(days=days)) - timedelta(days=days)

    def _digest(self, kind: str, text: str) -> bytes:
        return hmac.digest(self.key, f"{kind}\0{text}".encode(errors="surrogateescape"), hashlib.sha256)


def load_pseudonyms(path: Path) -> Pseudonyms:
    """The pseudonyms of a key; a file that does not exist is made, for its owner's eyes alone.

    Raises:
        ConfigurationError: the file cannot be read or made, or holds too little to be a secret.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the key cannot be made ({error.strerror}); name a file with --key"
        ) from error
    else:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: the key cannot be read ({error.strerror})") from error
    if len(key) < LEAST_KEY_BYTES:
        raise ConfigurationError(
            f"{path}: is too short for a secret; give a file of at least {LEAST_KEY_BYTES} random characters, or name "
            "one that does not exist to have it made"
        )
    return Pseudonyms(key=key)
