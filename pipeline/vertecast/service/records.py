"""What the queue knows of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a study is on its way through the service."""

    REQUESTED = "requested"
    """To be fetched from the archive that it lies in."""
    RECEIVING = "receiving"
    """Images are coming in."""
    READY = "ready"
    """Complete; waits to be analysed."""
    ANALYZING = "analyzing"
    ANALYZED = "analyzed"
    """The results are written; some archive has not got them yet, or none is to get them."""
    DELIVERED = "delivered"
    """Every archive said that it has them."""
    FAILED = "failed"
    """Given up, with the reason; a new image or an operator starts it again."""
    SKIPPED = "skipped"
    """Holds nothing that is measured."""


FINISHED: Final = (State.ANALYZED, State.DELIVERED, State.FAILED, State.SKIPPED)
"""Nothing but deliveries happens to such a study by itself."""

DELIVERED: Final = "delivered"
"""Said of one archive in `StudyRecord.deliveries`; other texts begin with "waiting" or "failed"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """One study.

    Attributes:
        reason: Why it failed, was skipped, or is tried again; "" otherwise.
        images: How many have been stored.
        attempts: Failures in a row of fetching or analysing.
        source: Name of the archive that it is fetched from, or "dicom" for images sent to the node.
        revision: Goes up with every change of its images, so that late work on earlier ones is known as such.
        received_at, changed_at: First image or request, last change, in seconds since 1970.
        next_attempt_at: Earliest time of the next step; None: at once, or there is none.
        deliveries: For each archive "delivered", "waiting", "waiting: REASON" or "failed: REASON".
    """

    study_instance_uid: str
    state: State
    reason: str = ""
    images: int = 0
    attempts: int = 0
    source: str = "dicom"
    revision: int = 1
    received_at: float = 0.0
    changed_at: float = 0.0
    next_attempt_at: float | None = None
    deliveries: Mapping[str, str] = field(default_factory=dict)
