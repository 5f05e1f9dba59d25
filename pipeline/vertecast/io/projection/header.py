"""What the header of a projection image says of its frames: groups, view, times, planes of a biplane system."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import DT

from vertecast.core.images import View

AP_LIMIT_DEG: Final = 25.0
LATERAL_LIMIT_DEG: Final = 65.0
"""Angle of the beam from the sagittal plane: an AP view up to the first, a lateral one from the second on."""

OBLIQUE_POSITIONS: Final = ("RAO", "LAO", "RPO", "LPO", "LLO", "RLO", "OBL", "OBLIQUE")
LATERAL_POSITIONS: Final = ("LL", "RL", "LAT", "LATERAL")
AP_POSITIONS: Final = ("AP", "PA")
"""Values of ViewPosition (PS3.3 C.8.1.1 and C.8.7.1.1.5), and what operators type."""

SHORTEST_FRAME_MS: Final = 5.0
"""Fluoroscopy takes 60 frames a second at most; a shorter time was written in seconds."""

LONGEST_FRAME_MS: Final = 60_000.0
"""A longer time between two frames is no cine."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameHeader:
    """Attributes of one frame: its own functional groups, else the shared ones, else the data set (PS3.3 C.7.6.16)."""

    dataset: Dataset
    frame: int = 1

    def groups(self) -> Iterator[Dataset]:
        """The places to look in, the nearest first."""
        own = self.dataset.get("PerFrameFunctionalGroupsSequence")
        if own and self.frame <= len(own):
            yield from _macros(own[self.frame - 1])
        shared = self.dataset.get("SharedFunctionalGroupsSequence")
        if shared:
            yield from _macros(shared[0])
        yield self.dataset

    def value(self, keyword: str) -> Any:
        """The value of an attribute, None where it is absent or empty."""
        for group in self.groups():
            value = group.get(keyword)
            if value is not None and not (hasattr(value, "__len__") and len(value) == 0):
                return value
        return None

    def text(self, keyword: str) -> str:
        """The first value as text in upper case; "" where it is absent."""
        texts = self.texts(keyword)
        return texts[0] if texts else ""

    def texts(self, keyword: str) -> tuple[str, ...]:
        """All values as text in upper case."""
        return tuple(str(part).strip(" \0").upper() for part in as_list(self.value(keyword)))

    def numbers(self, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
        """Finite numbers, None where there are none or not exactly ``count``."""
        try:
            numbers = tuple(float(part) for part in as_list(self.value(keyword)))
        except (TypeError, ValueError):
            return None
        if not numbers or not all(math.isfinite(number) for number in numbers):
            return None
        return numbers if count is None or len(numbers) == count else None

    def number(self, keyword: str) -> float | None:
        """One finite number or None."""
        numbers = self.numbers(keyword, 1)
        return numbers[0] if numbers else None


def _macros(groups: Dataset) -> Iterator[Dataset]:
    """First items of the sequences in a set of functional groups."""
    for element in groups:
        if element.VR == "SQ" and element.value:
            yield element.value[0]


def as_list(value: Any) -> list[Any]:
    """The values of an element: none, one or several."""
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]


def view_of(header: FrameHeader) -> View | None:
    """What the header says of the view; a hint, since operators choose the wrong button.

    Asked in turn: ViewCodeSequence, ViewPosition, PatientOrientation, PositionerPrimaryAngle (PS3.3 C.8.7.5.1.2: 0 is
    the beam from the back to the front or the reverse, ±90 from the side).
    """
    return (
        _view_from_code(header)
        or _view_from_position(header.text("ViewPosition"))
        or _view_from_orientation(header.texts("PatientOrientation"))
        or _view_from_angle(header)
    )


def _view_from_code(header: FrameHeader) -> View | None:
    codes = header.value("ViewCodeSequence")
    meaning = str(codes[0].get("CodeMeaning", "")).lower() if codes else ""
    if "oblique" in meaning:
        return "oblique"
    if "decubitus" in meaning:
        return None
    if "antero" in meaning or "postero" in meaning:
        return "ap" if "lateral" not in meaning else "oblique"
    return "lateral" if "lateral" in meaning else None


def _view_from_position(position: str) -> View | None:
    if position in OBLIQUE_POSITIONS:
        return "oblique"
    if position in LATERAL_POSITIONS:
        return "lateral"
    return "ap" if position in AP_POSITIONS else None


def _view_from_orientation(directions: Sequence[str]) -> View | None:
    """Directions of the rows and columns: an image that runs along left-right is AP, along front-back lateral."""
    if len(directions) != 2:
        return None
    sideways = any(letter in "LR" for direction in directions for letter in direction)
    forwards = any(letter in "AP" for direction in directions for letter in direction)
    if not any(letter in "HF" for direction in directions for letter in direction):
        return None
    if sideways and forwards:
        return "oblique"
    return "ap" if sideways else "lateral" if forwards else None


def _view_from_angle(header: FrameHeader) -> View | None:
    angle = header.number("PositionerPrimaryAngle")
    # In DX the angle is often left at 0 whatever the view; only C-arms measure it.
    if angle is None or header.text("Modality") not in ("XA", "RF"):
        return None
    from_sagittal = abs(angle) if abs(angle) <= 90 else abs(180 - abs(angle))
    if from_sagittal <= AP_LIMIT_DEG:
        return "ap"
    return "lateral" if from_sagittal >= LATERAL_LIMIT_DEG else "oblique"


def biplane(header: FrameHeader) -> str:
    """Plane of a biplane system, "A" or "B"; "" for a single plane (PS3.3 C.8.7.1.1.1)."""
    types = header.texts("FrameType") or header.texts("ImageType")
    return next((plane for plane in ("A", "B") if f"BIPLANE {plane}" in types), "")


def frame_times_ms(dataset: Dataset, frames: Sequence[int]) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """Times of frames after the first of them.

    Args:
        dataset: Header of the file.
        frames: Numbers of the frames of one cine in the file, from 1.

    Returns:
        Milliseconds, one per frame, or None where the header gives none; and warnings.
    """
    header, count = FrameHeader(dataset=dataset), int(dataset.get("NumberOfFrames") or 1)
    acquired = _acquired_ms(dataset, count)
    if acquired is not None:
        return _after_first(acquired, frames), ()
    notes: tuple[str, ...] = ()
    steps = header.numbers("FrameTimeVector")
    if steps is not None:
        if len(steps) == count and min(steps) >= 0 and _is_step(sum(steps[1:]) / max(count - 1, 1)):
            # The first step is 0 by the Standard; where it is not, it says nothing of these frames.
            return _after_first(_running(steps), frames), ()
        notes = (f"FrameTimeVector has {len(steps)} values for {count} frames or makes no sense and was ignored",)
    step = header.number("FrameTime")
    if step and not _is_step(step):
        notes += (f"FrameTime {step:g} ms cannot be the time between frames and was ignored",)
    for keyword in ("CineRate", "RecommendedDisplayFrameRate"):
        rate = header.number(keyword)
        if not _is_step(step) and rate:
            step = 1000.0 / rate
            if _is_step(step):
                notes += (f"the time between frames rests on {keyword}, a rate of display",)
    if step is None or not _is_step(step):
        return None, (*notes, "the header gives no time between frames; times are not reported")
    return tuple(round(step * (frame - frames[0]), 6) for frame in frames), notes


def _is_step(step: float | None) -> bool:
    return step is not None and SHORTEST_FRAME_MS <= step <= LONGEST_FRAME_MS


def _running(steps: Sequence[float]) -> list[float]:
    times = [0.0]
    for step in steps[1:]:
        times.append(times[-1] + step)
    return times


def _after_first(times: Sequence[float], frames: Sequence[int]) -> tuple[float, ...]:
    first = times[frames[0] - 1]
    return tuple(round(times[frame - 1] - first, 6) for frame in frames)


def _acquired_ms(dataset: Dataset, count: int) -> list[float] | None:
    """Times of acquisition in the functional groups of every frame, None unless all have one in rising order."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups or len(groups) != count:
        return None
    for keyword in ("FrameAcquisitionDateTime", "FrameReferenceDateTime"):
        moments: list[datetime] = []
        for own in groups:
            content = own.get("FrameContentSequence")
            value = content[0].get(keyword) if content else None
            if not value:
                break
            try:
                moments.append(DT(str(value)))
            except (TypeError, ValueError):
                break
        if len(moments) == count and count > 1:
            times = [(moment - moments[0]).total_seconds() * 1000.0 for moment in moments]
            if times[-1] > 0 and all(later >= earlier for earlier, later in pairwise(times)):
                return times
    return None
