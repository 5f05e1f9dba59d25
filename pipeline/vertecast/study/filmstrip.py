"""Which frames of a cine are kept for its filmstrip, while the cine goes by.

What is kept does not grow with the number of frames: every k-th look, with k doubled whenever that becomes too many,
and the first frames of the cement and of the leaks that are there or may stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL
from vertecast.core.images import Radiograph
from vertecast.core.results import CineFinding, NotMeasured, Quantity
from vertecast.core.study_result import StripFrame
from vertecast.measurement.cine.analysis import FrameResult
from vertecast.report.figures.filmstrip import strip_frame

KEPT_FRAMES: Final = 48
"""So many frames at most are kept to choose from: about 10 MB."""

GROWTH_SHARES: Final = (0.25, 0.5, 0.75)
NEAR_SHARE: Final = 0.1
SPREAD_SHARES: Final = (0.2, 0.4, 0.6, 0.8)
"""Frames of a strip: where the cement has grown to these shares of its largest area, as far as a frame comes that near,
or, in a cine without cement, at these shares of its length."""


class FilmstripCollector:
    """Collects the frames of one filmstrip."""

    def __init__(self) -> None:
        self._stride = 1
        self._count = 0
        self._spread: dict[int, StripFrame] = {}
        self._marked: dict[int, StripFrame] = {}
        self._last: tuple[Radiograph, FrameResult] | None = None

    def push(self, frame: Radiograph, result: FrameResult, marked: frozenset[int]) -> None:
        """Take in the next frame.

        Args:
            frame: The frame.
            result: What was found in it; a frame that could not be used is passed over.
            marked: Numbers of the frames, this one or earlier, that must stay: `CineAnalyzer.marked_frames`.
        """
        if result.unusable is not None:
            return
        number = result.frame_number
        self._last = frame, result
        if not result.looked_at:
            return
        if self._count % self._stride == 0:
            self._spread[number] = _small(frame, result)
            if len(self._spread) > KEPT_FRAMES:
                self._stride *= 2
                self._spread = dict(list(self._spread.items())[::2])
        self._count += 1
        if number in marked and number not in self._marked:
            self._marked[number] = self._spread.get(number) or _small(frame, result)
        self._marked = {n: kept for n, kept in self._marked.items() if n in marked}

    def finish(self, cine: CineFinding) -> tuple[StripFrame, ...]:
        """Choose the frames of the strip, in their order, with what each stands for."""
        if self._last is None:
            return ()
        kept = {**self._spread, **self._marked}
        last = self._last[1].frame_number
        kept.setdefault(last, _small(*self._last))
        notes: dict[int, list[str]] = {}
        for number, note in _chosen(cine, sorted(kept)):
            notes.setdefault(number, []).extend([note] if note else [])
        return tuple(replace(kept[number], notes=tuple(notes[number])) for number in sorted(notes))


def _chosen(cine: CineFinding, kept: list[int]) -> Iterator[tuple[int, str]]:
    """Frames of the strip, out of those that were kept, and what they stand for; "" for nothing but the time."""
    start, last = kept[0], kept[-1]
    cement, leak = cine.first_cement_frame, cine.first_suspected_leak_frame
    yield start, "first frame"
    if not isinstance(cement, NotMeasured) and cement in kept:
        yield cement, "first cement"
    if not isinstance(leak, NotMeasured) and leak in kept:
        yield leak, "first suspected leak"
    if isinstance(cement, NotMeasured):
        for share in SPREAD_SHARES:
            yield _nearest(kept, start + share * (last - start)), ""
    else:
        for share, number in _grown(cine, [number for number in kept if number >= cement]):
            yield number, f"near {100 * share:.0f} % of the largest area"
    yield last, "last frame"


def _nearest(numbers: Iterable[int], wanted: float) -> int:
    return min(numbers, key=lambda number: abs(number - wanted))


def _grown(cine: CineFinding, numbers: list[int]) -> list[tuple[float, int]]:
    """For each share of the largest area the kept frame whose area comes nearest to it, where one comes near."""
    areas = {p.frame_number: p.area.value for p in cine.growth if isinstance(p.area, Quantity)}
    shown = {number: areas[number] for number in numbers if number in areas}
    largest = max(shown.values(), default=0.0)
    found = []
    for share in GROWTH_SHARES if largest > 0 else ():
        away = {number: abs(area / largest - share) for number, area in shown.items()}
        number = min(away, key=lambda one: away[one])
        if away[number] <= NEAR_SHARE:
            found.append((share, number))
    return found


def _small(frame: Radiograph, result: FrameResult) -> StripFrame:
    labels: npt.NDArray[np.uint8] = np.zeros(frame.shape, dtype=np.uint8)
    if result.cement is not None:
        labels[result.cement] = CEMENT_INSIDE_LABEL
    if result.leaked is not None:
        labels[result.leaked] = CEMENT_LEAKED_LABEL
    return strip_frame(frame, labels, [body.points_px for body in result.bodies])
