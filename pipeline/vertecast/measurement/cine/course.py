"""What a cine has shown so far: growth of the cement, and what stayed long enough to count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from vertecast.core.anatomy import Compartment
from vertecast.core.results import CineFinding, GrowthPoint, LeakFinding, Measured, NotMeasured

CEMENT_LOOKS: Final = 3
LEAK_LOOKS: Final = 3
"""Cement, and a leak, count once they were seen in this many looks; their first frame is that of the first of these.
Looks are half a second apart: within a second noise and a passing needle change, and cement does not."""

FORGIVEN_LOOKS: Final = 1
"""Looks in a row that may miss what counts in the looks around them."""

NO_FRAME: Final = NotMeasured(reason="no frame was read")
ONE_FRAME: Final = NotMeasured(reason="a single frame is no cine")
ALL_ALIKE: Final = NotMeasured(reason="all frames are alike")
NO_RATE: Final = NotMeasured(reason="the file gives no time of its frames")

LeakKey: TypeAlias = tuple[int, Compartment]
"""Number of the body, and where the cement went."""


@dataclass(slots=True)
class _Run:
    """Something seen in several looks: the frame of the first, how many, and how many in a row lack it since."""

    first: int
    evidence: LeakFinding | None = None
    count: int = 0
    missed: int = 0
    confirmed: bool = False

    def step(self, needed: int, *, is_seen: bool) -> bool:
        """Count a look; False where the run has ended without being confirmed."""
        self.count, self.missed = self.count + is_seen, 0 if is_seen else self.missed + 1
        self.confirmed = self.confirmed or self.count >= needed
        return self.confirmed or self.missed <= FORGIVEN_LOOKS


@dataclass(slots=True)
class Course:
    """Counts frames and looks; keeps one number for each look at the cement, and nothing of the pictures.

    Attributes:
        frames: Frames so far.
        unusable: How many of them could not be used, for each reason.
        all_alike: No frame has differed from the one before.
    """

    frames: int = 0
    unusable: dict[NotMeasured, int] = field(default_factory=dict)
    all_alike: bool = True
    _growth: list[GrowthPoint] = field(default_factory=list)
    _cement: _Run | None = None
    _leaks: dict[LeakKey, _Run] = field(default_factory=dict)

    def refuse(self, frame_number: int, reason: NotMeasured) -> None:
        """Count a frame that could not be used."""
        self.frames += 1
        self.unusable[reason] = self.unusable.get(reason, 0) + 1
        self._growth.append(GrowthPoint(frame_number=frame_number, area=reason))

    def pass_over(self) -> None:
        """Count a frame that was only followed."""
        self.frames += 1

    def look(
        self, frame_number: int, area: Measured, leaks: Mapping[LeakKey, LeakFinding], *, has_cement: bool
    ) -> None:
        """Count a frame that was looked at: area of the cement, leaks suspected in it."""
        self.frames += 1
        self._growth.append(GrowthPoint(frame_number=frame_number, area=area))
        if self._cement is None and has_cement:
            self._cement = _Run(first=frame_number)
        if self._cement is not None and not self._cement.step(CEMENT_LOOKS, is_seen=has_cement):
            self._cement = None
        for key, leak in leaks.items():
            self._leaks.setdefault(key, _Run(first=frame_number, evidence=leak))
        self._leaks = {key: run for key, run in self._leaks.items() if run.step(LEAK_LOOKS, is_seen=key in leaks)}

    @property
    def cement_stays(self) -> bool:
        """Cement is there, and stayed."""
        return self._cement is not None and self._cement.confirmed

    def stays(self, key: LeakKey) -> bool:
        """True for a leak that was seen often enough to count."""
        return key in self._leaks and self._leaks[key].confirmed

    @property
    def leaks(self) -> tuple[LeakFinding, ...]:
        """Suspected leaks that stayed, in the order of their first frames; the evidence is that first frame."""
        return tuple(run.evidence for run in self._stayed() if run.evidence is not None)

    @property
    def marked_frames(self) -> frozenset[int]:
        """First frames of the cement and of every leak that is there or may stay."""
        runs = [*self._leaks.values(), *([] if self._cement is None else [self._cement])]
        return frozenset(run.first for run in runs)

    def finish(self, series_instance_uid: str, frame_rate: float | None) -> CineFinding:
        """Sum up."""
        usable = frame_rate is not None and np.isfinite(frame_rate) and frame_rate > 0
        return CineFinding(
            series_instance_uid=series_instance_uid,
            frame_rate=frame_rate if usable and frame_rate is not None else NO_RATE,
            first_cement_frame=self._first(self._cement, "cement"),
            growth=tuple(self._growth),
            first_suspected_leak_frame=self._first(next(iter(self._stayed()), None), "leak"),
        )

    def _stayed(self) -> list[_Run]:
        return sorted((run for run in self._leaks.values() if run.confirmed), key=lambda run: run.first)

    def _first(self, run: _Run | None, what: str) -> int | NotMeasured:
        """First frame of something, or why there is none."""
        if self.frames == 0:
            return NO_FRAME
        used = self.frames - sum(self.unusable.values())
        if used == 0:
            return max(self.unusable, key=lambda reason: self.unusable[reason])
        if self.frames == 1:
            return ONE_FRAME
        if self.all_alike:
            return ALL_ALIKE
        if run is not None and run.confirmed:
            return run.first
        return NotMeasured(reason=f"no {what} seen in {used} frames")
