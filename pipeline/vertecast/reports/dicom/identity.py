"""Who a result belongs to and what it is called: equipment and stable UIDs."""

from __future__ import annotations

import uuid
from typing import Final

MANUFACTURER: Final = "Vertecast"

UID_NAMESPACE: Final = uuid.UUID("0f0b6a3e-6d3c-4c0b-9a57-1b1f4b6f2a90")
"""Of the name-based UUIDs (RFC 9562, version 5) behind our UIDs."""


def result_uid(study_instance_uid: str, *parts: str) -> str:
    """A UID that depends on the study and on what it is for, so that a second run gives the same one.

    Source: PS3.5 B.2, UIDs derived from UUIDs (root 2.25).
    """
    # A part may hold any text: its length keeps ("ab", "c") and ("a", "bc") apart.
    name = "".join(f"{len(part)}:{part}" for part in (study_instance_uid, *parts))
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, name).int}"
