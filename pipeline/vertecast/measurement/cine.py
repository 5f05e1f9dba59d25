"""A cine, frame by frame: bodies followed, cement told from what was there before, its growth, the first leak.

Live or from a file it is the same: `CineAnalyzer.push` takes one frame, `CineAnalyzer.finish` sums up. What is kept
does not grow with the number of frames, but for one number per frame of the growth curve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from vertecast.anatomy import Compartment
from vertecast.geometry import FloatArray
from vertecast.images import ProjectionSegmentation, Radiograph, View
from vertecast.measurement.cine_baseline import Baseline
from vertecast.measurement.cine_motion import Motion, MotionFollower
from vertecast.measurement.cine_tracks import Tracker
from vertecast.measurement.counting import check_operator_level
from vertecast.measurement.projection import NO_SPINE
from vertecast.measurement.projection_bodies import BoolImage, Plane, PlaneBody, plane_body, plane_of
from vertecast.measurement.projection_cement import ProjectedCement, assign_cement, body_outlines, cement_pixels
from vertecast.measurement.projection_leaks import find_projection_leaks
from vertecast.measurement.projection_levels import assign_projection_levels
from vertecast.results import CineFinding, GrowthPoint, LeakFinding, LevelAssignment, Measured, NotMeasured, Quantity

CEMENT_FRAMES: Final = 4
LEAK_FRAMES: Final = 5
"""Cement, and a leak, count once they were seen in this many frames; their first frame is the first of these. At 7.5
frames a second that is half a second, within which noise and a passing needle change and cement does not."""

FORGIVEN_FRAMES: Final = 2
"""Frames in a row that may miss what counts in the frames around them."""

SATURATED_SHARE: Final = 0.5

BLANK: Final = NotMeasured(reason="the frame is blank")
SATURATED: Final = NotMeasured(reason="the frame is saturated")
LOST: Final = NotMeasured(reason="the frame does not fit to those before: the motion is lost")
ANOTHER_SHAPE: Final = NotMeasured(reason="the frame has another size than those before")
NO_SPINE_SEEN: Final = NotMeasured(reason=NO_SPINE)
NO_BODY_YET: Final = NotMeasured(reason="no vertebral body was followed long enough yet")
NO_FRAME: Final = NotMeasured(reason="no frame was read")
ONE_FRAME: Final = NotMeasured(reason="a single frame is no cine")
ALL_ALIKE: Final = NotMeasured(reason="all frames are alike")
NO_RATE: Final = NotMeasured(reason="the file gives no time of its frames")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackedBody:
    """One body in one frame; ``number`` stays with it. ``points_px`` (6, 2) as in `ProjectionSegmentation`."""

    number: int
    level: str
    center_px: tuple[float, float]
    points_px: FloatArray
    seen: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameResult:
    """What one frame shows.

    Attributes:
        frame_number: From 1.
        unusable: Why the frame was not used, or None.
        view: What the picture shows.
        shift_px: Shift of the spine against the first frame, (column, row).
        motion_quality: Correlation with what was seen before, from 0 to 1.
        bodies: Bodies followed, cranial first, also those missed in this frame.
        cement_area: mm2, or share of a body's mean area where mm do not hold.
        cement_seen: Cement is there, and stayed.
        leaks: Suspected leaks that stayed, as far as this frame shows them.
        cement: Pixels of cement (rows, columns), bool, or None for an unusable frame.
    """

    frame_number: int
    unusable: NotMeasured | None = None
    view: View | None = None
    shift_px: tuple[float, float] = (0.0, 0.0)
    motion_quality: float = 0.0
    bodies: tuple[TrackedBody, ...] = ()
    cement_area: Measured = NO_BODY_YET
    cement_seen: bool = False
    leaks: tuple[LeakFinding, ...] = ()
    cement: BoolImage | None = None


@dataclass(slots=True)
class _Run:
    """Something seen in several frames: the first of them, how many, and how many in a row lack it since."""

    first: int
    evidence: LeakFinding | None = None
    count: int = 0
    missed: int = 0
    confirmed: bool = False

    def step(self, needed: int, *, is_seen: bool) -> bool:
        """Count a frame; False where the run has ended without being confirmed."""
        self.count, self.missed = self.count + is_seen, 0 if is_seen else self.missed + 1
        self.confirmed = self.confirmed or self.count >= needed
        return self.confirmed or self.missed <= FORGIVEN_FRAMES


class CineAnalyzer:
    """Analyses one cine as its frames come.

    Args:
        segment: Finds bodies, cement and metal in a frame.
        series_instance_uid: Of the cine.
        frame_rate: Frames per second, where known.
        lowest: Level of the lowest body in view, given by the operator ("L5").

    Raises:
        ConfigurationError: ``lowest`` is no level of a vertebra with a body of its own.
    """

    def __init__(
        self,
        segment: Callable[[Radiograph], ProjectionSegmentation],
        *,
        series_instance_uid: str,
        frame_rate: float | None = None,
        lowest: str | None = None,
    ) -> None:
        if lowest is not None:
            check_operator_level(lowest)
        self._segment = segment
        self._uid = series_instance_uid
        self._frame_rate = frame_rate
        self._lowest = lowest
        self._motion = MotionFollower()
        self._tracker = Tracker()
        self._baseline: Baseline | None = None
        self._last: Radiograph | None = None
        self._alike = True
        self._unusable: dict[NotMeasured, int] = {}
        self._growth: list[GrowthPoint] = []
        self._cement: _Run | None = None
        self._leaks: dict[tuple[int, Compartment], _Run] = {}

    def push(self, frame: Radiograph) -> FrameResult:
        """Take in the next frame. A frame that cannot be used is answered with its reason, and changes nothing."""
        reason = self._refusal(frame)
        if reason is not None:
            return self._refused(frame, reason)
        found = self._segment(frame)
        if found.view is None:
            return self._refused(frame, NO_SPINE_SEEN)
        motion = self._motion.follow(frame, window=_spine_window(found))
        if motion.is_lost:
            return self._refused(frame, LOST)
        plane = plane_of(frame.spacing)
        levels = assign_projection_levels(found, plane, lowest=self._lowest)
        seen = self._tracker.update(found, motion.shift_px, levels)
        if self._baseline is None:
            self._baseline = Baseline(frame.shape)
        cement = self._baseline.present_cement(frame, cement_pixels(frame, found), motion.shift_px)
        return self._measure(frame, (found, seen), motion, plane, cement)

    @property
    def leaks(self) -> tuple[LeakFinding, ...]:
        """Suspected leaks that stayed, in the order of their first frames; the evidence is that first frame."""
        runs = sorted((run for run in self._leaks.values() if run.confirmed), key=lambda run: run.first)
        return tuple(run.evidence for run in runs if run.evidence is not None)

    def finish(self) -> CineFinding:
        """Sum up the frames so far."""
        return CineFinding(
            series_instance_uid=self._uid,
            frame_rate=self._rate(),
            first_cement_frame=self._first(self._cement, "cement"),
            growth=tuple(self._growth),
            first_suspected_leak_frame=self._first(
                min((run for run in self._leaks.values() if run.confirmed), key=lambda run: run.first, default=None),
                "leak",
            ),
        )

    def _rate(self) -> float | NotMeasured:
        usable = self._frame_rate is not None and np.isfinite(self._frame_rate) and self._frame_rate > 0
        return self._frame_rate if usable and self._frame_rate is not None else NO_RATE

    def _first(self, run: _Run | None, what: str) -> int | NotMeasured:
        """First frame of something, or why there is none."""
        frames = len(self._growth)
        if frames == 0:
            return NO_FRAME
        used = frames - sum(self._unusable.values())
        if used == 0:
            return max(self._unusable, key=lambda reason: self._unusable[reason])
        if frames == 1:
            return ONE_FRAME
        if self._alike:
            return ALL_ALIKE
        if run is not None and run.confirmed:
            return run.first
        return NotMeasured(reason=f"no {what} seen in {used} frames")

    def _refusal(self, frame: Radiograph) -> NotMeasured | None:
        """Why a frame shows nothing that could be used."""
        if self._last is not None and frame.shape != self._last.shape:
            return ANOTHER_SHAPE
        values = frame.intensity[frame.valid]
        if not len(values) or not np.isfinite(values).all() or float(np.ptp(values)) == 0:
            return BLANK
        if frame.saturated is not None and float(frame.saturated[frame.valid].mean()) > SATURATED_SHARE:
            return SATURATED
        if self._last is not None and self._alike:
            self._alike = bool(np.array_equal(frame.intensity, self._last.intensity))
        self._last = frame
        return None

    def _refused(self, frame: Radiograph, reason: NotMeasured) -> FrameResult:
        self._unusable[reason] = self._unusable.get(reason, 0) + 1
        self._growth.append(GrowthPoint(frame_number=frame.frame_number, area=reason))
        return FrameResult(frame_number=frame.frame_number, unusable=reason, cement_area=reason)

    def _measure(
        self,
        frame: Radiograph,
        network: tuple[ProjectionSegmentation, dict[int, int]],
        motion: Motion,
        plane: Plane,
        cement: BoolImage,
    ) -> FrameResult:
        """Cement, growth and leaks of a frame whose bodies are known."""
        found, seen = network
        assert found.view is not None
        tracks, levels = self._tracker.confirmed(), self._tracker.levels()
        points = [track.points + motion.shift_px for track in tracks]
        bodies = [plane_body(p, track.sd, plane) for p, track in zip(points, tracks, strict=True)]
        order = {seen[track.number]: n + 1 for n, track in enumerate(tracks) if track.number in seen}
        outlines = body_outlines(bodies, _numbered(found, order), plane, frame.shape)
        owned = assign_cement(cement, outlines, bodies, plane)
        area = _area(owned, bodies, plane)
        self._growth.append(GrowthPoint(frame_number=frame.frame_number, area=area))
        self._count_cement(frame.frame_number, is_seen=bool(owned.treated))
        leaks = self._count_leaks(frame, found.view, (owned, bodies, levels), plane)
        return FrameResult(
            frame_number=frame.frame_number,
            view=found.view,
            shift_px=(float(motion.shift_px[0]), float(motion.shift_px[1])),
            motion_quality=motion.quality,
            bodies=tuple(
                TrackedBody(
                    number=track.number, level=level.name, points_px=p, seen=track.number in seen,
                    center_px=(float(p[[0, 2, 3, 5], 0].mean()), float(p[[0, 2, 3, 5], 1].mean())),
                )
                for track, level, p in zip(tracks, levels, points, strict=True)
            ),
            cement_area=area,
            cement_seen=self._cement is not None and self._cement.confirmed,
            leaks=leaks,
            cement=owned.owner > 0,
        )  # fmt: skip

    def _count_cement(self, frame_number: int, *, is_seen: bool) -> None:
        if self._cement is None and is_seen:
            self._cement = _Run(first=frame_number)
        if self._cement is not None and not self._cement.step(CEMENT_FRAMES, is_seen=is_seen):
            self._cement = None

    def _count_leaks(
        self,
        frame: Radiograph,
        view: View,
        found: tuple[ProjectedCement, list[PlaneBody | NotMeasured], list[LevelAssignment]],
        plane: Plane,
    ) -> tuple[LeakFinding, ...]:
        """Follow every leak by its body and compartment. Returns those of this frame that are confirmed."""
        owned, bodies, levels = found
        tracks = self._tracker.confirmed()
        now = find_projection_leaks(
            owned, bodies, levels, (), plane, view=view, series_instance_uid=self._uid,
            frame_number=frame.frame_number, confidences=[min(t.confidence, 1.0) for t in tracks],
        )  # fmt: skip
        numbers = {level.name: track.number for level, track in zip(levels, tracks, strict=True)}
        current = {(numbers[leak.level], leak.compartment): leak for leak in now}
        for key, leak in current.items():
            self._leaks.setdefault(key, _Run(first=frame.frame_number, evidence=leak))
        for key, run in list(self._leaks.items()):
            if not run.step(LEAK_FRAMES, is_seen=key in current):
                del self._leaks[key]
        return tuple(leak for key, leak in current.items() if key in self._leaks and self._leaks[key].confirmed)


def _spine_window(found: ProjectionSegmentation) -> BoolImage | None:
    """The band of the picture that the bodies lie in, wide enough for a shift; None where there is none."""
    bodies = np.asarray(found.points_px, dtype=np.float64).reshape(-1, 6, 2)
    bodies = bodies[np.isfinite(bodies).all(axis=(1, 2))]
    if not len(bodies):
        return None
    points, size = bodies.reshape(-1, 2), float(np.median(np.linalg.norm(bodies[:, 2] - bodies[:, 0], axis=1)))
    window = np.zeros(found.instance.shape, dtype=bool)
    (left, top), (right, bottom) = points.min(axis=0) - size, points.max(axis=0) + size
    window[max(int(top), 0) : max(int(bottom), 0) + 1, max(int(left), 0) : max(int(right), 0) + 1] = True
    return window


def _numbered(found: ProjectionSegmentation, order: dict[int, int]) -> ProjectionSegmentation:
    """The segmentation with its instances numbered like the tracks; what belongs to no track is left out."""
    table = np.zeros(256, dtype=np.uint8)
    for index, number in order.items():
        table[index + 1] = number
    return replace(found, instance=table[found.instance])


def _area(owned: ProjectedCement, bodies: list[PlaneBody | NotMeasured], plane: Plane) -> Measured:
    """Area of all cement: mm2, or share of the mean area of the bodies followed."""
    whole = [body for body in bodies if not isinstance(body, NotMeasured)]
    if not whole:
        return NO_BODY_YET
    area = float(np.count_nonzero(owned.owner)) * plane.pixel_area
    if plane.no_mm is None:
        return Quantity(value=area, unit="mm2")
    mean = float(np.mean([body.depth * float(body.heights.mean()) for body in whole]))
    return Quantity(value=area / mean, unit="1")
