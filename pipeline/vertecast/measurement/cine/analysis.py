"""A cine, frame by frame: bodies followed, cement told from what was there before, its growth, the first leak.

Live or from a file it is the same: `CineAnalyzer.push` takes one frame, `CineAnalyzer.finish` sums up. The motion of
the spine is followed through every frame; bodies and cement are looked for a few times a second, which is all that
their change asks for, and are carried along in between. What is kept does not grow with the number of frames, but for
one number per look of the growth curve.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from vertecast.core.geometry import FloatArray
from vertecast.core.images import ProjectionSegmentation, Radiograph, View
from vertecast.core.results import CineFinding, LeakFinding, LevelAssignment, Measured, NotMeasured, Quantity
from vertecast.measurement.cine.baseline import Baseline
from vertecast.measurement.cine.course import Course, LeakKey
from vertecast.measurement.cine.motion import Motion, MotionFollower, spine_window
from vertecast.measurement.cine.tracks import Tracker, center_of
from vertecast.measurement.projection.bodies import BoolImage, MeasuredPlane, PlaneBody, plane_body, plane_of
from vertecast.measurement.projection.cement import ProjectedCement, assign_cement, body_outlines, cement_pixels
from vertecast.measurement.projection.leaks import find_projection_leaks
from vertecast.measurement.projection.levels import assign_projection_levels
from vertecast.measurement.projection.study import NO_SPINE
from vertecast.measurement.shared.counting import check_operator_level

LOOK_S: Final = 0.5
"""Time between two looks at the bodies and the cement. Cement advances by about a millimetre in it."""

LOOK_FRAMES: Final = 3
"""Frames between two looks where the file gives no time of its frames."""

FIRST_LOOKS: Final = 5
"""So many frames in a row are looked at first: bodies are sure, and the baseline is made, before anything moves on."""

SATURATED_SHARE: Final = 0.5

BLANK: Final = NotMeasured(reason="the frame is blank")
SATURATED: Final = NotMeasured(reason="the frame is saturated")
LOST: Final = NotMeasured(reason="the frame does not fit to those before: the motion is lost")
ANOTHER_SHAPE: Final = NotMeasured(reason="the frame has another size than those before")
NO_SPINE_SEEN: Final = NotMeasured(reason=NO_SPINE)
NO_BODY_YET: Final = NotMeasured(reason="no vertebral body was followed long enough yet")


class SegmentFrame(Protocol):
    """Finds bodies, cement and metal in a frame; ``depth_px`` is the depth of its bodies, once that is known."""

    def __call__(self, radiograph: Radiograph, *, depth_px: float | None = None) -> ProjectionSegmentation: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackedBody:
    """One body in one frame; ``number`` stays with it. ``points_px`` (6, 2) as in `ProjectionSegmentation`.

    ``seen``: it was found in the last look, and not only expected where it was before.
    """

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
        looked_at: Bodies and cement were looked for in this frame; else they are those of the last look, moved.
        unusable: Why the frame was not used, or None.
        view: What most looks so far show.
        shift_px: Shift of the spine against the first frame, (column, row).
        motion_quality: Correlation with what was seen before, from 0 to 1.
        bodies: Bodies followed, cranial first, also those missed in the last look.
        cement_area: mm2, or share of a body's mean area where mm do not hold.
        cement_seen: Cement is there, and stayed.
        leaks: Suspected leaks that stayed, as far as the last look shows them.
        cement: Pixels of cement (rows, columns), bool, or None for an unusable frame.
        leaked: Those of them that lie outside the outline of their body.
    """

    frame_number: int
    looked_at: bool = False
    unusable: NotMeasured | None = None
    view: View | None = None
    shift_px: tuple[float, float] = (0.0, 0.0)
    motion_quality: float = 0.0
    bodies: tuple[TrackedBody, ...] = ()
    cement_area: Measured = NO_BODY_YET
    cement_seen: bool = False
    leaks: tuple[LeakFinding, ...] = ()
    cement: BoolImage | None = None
    leaked: BoolImage | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Look:
    """The last look: its result, and the points of the bodies it found (n, 6, 2) as they lie in the first frame."""

    result: FrameResult
    points: FloatArray


class CineAnalyzer:
    """Analyses one cine as its frames come.

    Args:
        segment: Finds bodies, cement and metal in a frame.
        series_instance_uid: Of the cine.
        frame_rate: Frames per second, where known.
        lowest, highest: Level of the lowest or of the highest body in view, given by the operator ("L5").

    Raises:
        ConfigurationError: both are given, or a level that is none of a vertebra with a body of its own.
    """

    def __init__(
        self,
        segment: SegmentFrame,
        *,
        series_instance_uid: str,
        frame_rate: float | None = None,
        lowest: str | None = None,
        highest: str | None = None,
    ) -> None:
        check_operator_level(lowest, highest)
        self._segment = segment
        self._uid = series_instance_uid
        self._frame_rate = frame_rate
        self._lowest, self._highest = lowest, highest
        self._motion = MotionFollower()
        self._tracker = Tracker()
        self._course = Course()
        self._baseline: Baseline | None = None
        self._frame: Radiograph | None = None
        self._shift_px = np.zeros(2)
        self._look: _Look | None = None
        self._looks = 0
        self._views: Counter[View] = Counter()
        self._since_look = 0

    def push(self, frame: Radiograph) -> FrameResult:
        """Take in the next frame. A frame that cannot be used is answered with its reason, and changes nothing."""
        reason = self._refusal(frame)
        if reason is not None:
            return self._refused(frame, reason)
        self._since_look += 1
        look = self._look
        if look is None or self._looks < FIRST_LOOKS or self._since_look >= self._stride:
            return self._look_at(frame)
        motion = self._motion.follow(frame, window=spine_window(look.points + self._shift_px, frame.shape))
        if motion.is_lost:
            return self._refused(frame, LOST)
        self._shift_px = motion.shift_px
        self._course.pass_over()
        return _carried(look.result, frame, motion)

    @property
    def leaks(self) -> tuple[LeakFinding, ...]:
        """Suspected leaks that stayed, in the order of their first frames; the evidence is that first frame."""
        return self._course.leaks

    @property
    def marked_frames(self) -> frozenset[int]:
        """First frames of the cement and of every leak that is there or may stay."""
        return self._course.marked_frames

    def finish(self) -> CineFinding:
        """Sum up the frames so far."""
        return self._course.finish(self._uid, self._frame_rate)

    @property
    def _stride(self) -> int:
        """Frames from one look to the next."""
        rate = self._frame_rate
        return LOOK_FRAMES if rate is None or not np.isfinite(rate) or rate <= 0 else max(round(LOOK_S * rate), 1)

    def _refusal(self, frame: Radiograph) -> NotMeasured | None:
        """Why a frame shows nothing that could be used."""
        if self._frame is not None and frame.shape != self._frame.shape:
            return ANOTHER_SHAPE
        values = frame.intensity[frame.valid]
        if not len(values) or not np.isfinite(values).all() or float(np.ptp(values)) == 0:
            return BLANK
        if frame.saturated is not None and float(frame.saturated[frame.valid].mean()) > SATURATED_SHARE:
            return SATURATED
        if self._frame is not None and self._course.all_alike:
            self._course.all_alike = bool(np.array_equal(frame.intensity, self._frame.intensity))
        self._frame = frame
        return None

    def _refused(self, frame: Radiograph, reason: NotMeasured) -> FrameResult:
        self._course.refuse(frame.frame_number, reason)
        return FrameResult(frame_number=frame.frame_number, unusable=reason, cement_area=reason)

    def _look_at(self, frame: Radiograph) -> FrameResult:
        """Find the bodies and the cement of a frame."""
        found = self._segment(frame, depth_px=self._tracker.depth_px())
        if found.view is None:
            return self._refused(frame, NO_SPINE_SEEN)
        points = np.asarray(found.points_px, dtype=np.float64).reshape(-1, 6, 2)
        points = points[np.isfinite(points).all(axis=(1, 2))]
        motion = self._motion.follow(frame, window=spine_window(points, frame.shape))
        if motion.is_lost:
            return self._refused(frame, LOST)
        plane = plane_of(frame.spacing)
        levels = assign_projection_levels(found, plane, lowest=self._lowest, highest=self._highest)
        seen = self._tracker.update(found, motion.shift_px, levels)
        if self._baseline is None:
            self._baseline = Baseline(frame.shape)
        cement = self._baseline.present_cement(frame, cement_pixels(frame, found), motion.shift_px)
        self._views[found.view] += 1
        result = self._measure(frame, (found, seen), motion, plane, cement)
        self._shift_px, self._looks, self._since_look = motion.shift_px, self._looks + 1, 0
        self._look = _Look(result=result, points=points - motion.shift_px)
        return result

    def _measure(
        self,
        frame: Radiograph,
        network: tuple[ProjectionSegmentation, dict[int, int]],
        motion: Motion,
        plane: MeasuredPlane,
        cement: BoolImage,
    ) -> FrameResult:
        """Cement, growth and leaks of a frame whose bodies are known."""
        found, seen = network
        # The beam does not turn during a cine: a single frame may be taken for another view.
        view = self._views.most_common(1)[0][0]
        tracks, levels = self._tracker.confirmed(), self._tracker.levels()
        points = [track.points + motion.shift_px for track in tracks]
        bodies = [plane_body(p, track.sd, plane) for p, track in zip(points, tracks, strict=True)]
        order = {seen[track.number]: n + 1 for n, track in enumerate(tracks) if track.number in seen}
        outlines = body_outlines(bodies, _numbered(found, order), plane, frame.shape)
        owned = assign_cement(cement, outlines, bodies, plane)
        area = _area(owned, bodies, plane)
        leaks = self._suspected(frame, view, (owned, bodies, levels), plane)
        self._course.look(frame.frame_number, area, leaks, has_cement=bool(owned.treated))
        return FrameResult(
            frame_number=frame.frame_number,
            looked_at=True,
            view=view,
            shift_px=(float(motion.shift_px[0]), float(motion.shift_px[1])),
            motion_quality=motion.quality,
            bodies=tuple(
                TrackedBody(
                    number=track.number, level=level.name, points_px=p, seen=track.number in seen,
                    center_px=_pair(center_of(p)),
                )
                for track, level, p in zip(tracks, levels, points, strict=True)
            ),
            cement_area=area,
            cement_seen=self._course.cement_stays,
            leaks=tuple(leak for key, leak in leaks.items() if self._course.stays(key)),
            cement=owned.owner > 0,
            leaked=(owned.owner > 0) & (owned.outline != owned.owner),
        )  # fmt: skip

    def _suspected(
        self,
        frame: Radiograph,
        view: View,
        found: tuple[ProjectedCement, list[PlaneBody | NotMeasured], list[LevelAssignment]],
        plane: MeasuredPlane,
    ) -> dict[LeakKey, LeakFinding]:
        """Leaks suspected in one frame, by body and compartment."""
        owned, bodies, levels = found
        tracks = self._tracker.confirmed()
        leaks = find_projection_leaks(
            owned, bodies, levels, (), plane, view=view, series_instance_uid=self._uid,
            frame_number=frame.frame_number, confidences=[min(t.confidence, 1.0) for t in tracks],
        )  # fmt: skip
        numbers = {level.name: track.number for level, track in zip(levels, tracks, strict=True)}
        return {(numbers[leak.level], leak.compartment): leak for leak in leaks}


def _carried(last: FrameResult, frame: Radiograph, motion: Motion) -> FrameResult:
    """The result of the last look, moved to where the spine is now."""
    step = motion.shift_px - last.shift_px
    return replace(
        last,
        frame_number=frame.frame_number,
        looked_at=False,
        shift_px=_pair(motion.shift_px),
        motion_quality=motion.quality,
        bodies=tuple(
            replace(body, points_px=body.points_px + step, center_px=_pair(body.center_px + step))
            for body in last.bodies
        ),
        cement=_moved(last.cement, step),
        leaked=_moved(last.leaked, step),
    )


def _moved(mask: BoolImage | None, shift_px: FloatArray) -> BoolImage | None:
    """A mask moved by whole pixels (column, row)."""
    if mask is None:
        return None
    moved = np.zeros_like(mask)
    to, start = [], []
    for size, shift in zip(mask.shape, np.rint(shift_px[::-1]).astype(int), strict=True):
        to.append(slice(max(shift, 0), max(size + min(shift, 0), 0)))
        start.append(slice(max(-shift, 0), max(size - max(shift, 0), 0)))
    moved[tuple(to)] = mask[tuple(start)]
    return moved


def _pair(values: FloatArray) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _numbered(found: ProjectionSegmentation, order: dict[int, int]) -> ProjectionSegmentation:
    """The segmentation with its instances numbered like the tracks; what belongs to no track is left out."""
    table = np.zeros(256, dtype=np.uint8)
    for index, number in order.items():
        table[index + 1] = number
    return replace(found, instance=table[found.instance])


def _area(owned: ProjectedCement, bodies: list[PlaneBody | NotMeasured], plane: MeasuredPlane) -> Measured:
    """Area of all cement: mm2, or share of the mean area of the bodies followed."""
    whole = [body for body in bodies if not isinstance(body, NotMeasured)]
    if not whole:
        return NO_BODY_YET
    area = float(np.count_nonzero(owned.owner)) * plane.pixel_area
    if plane.no_mm is None:
        return Quantity(value=area, unit="mm2")
    mean = float(np.mean([body.depth * float(body.heights.mean()) for body in whole]))
    return Quantity(value=area / mean, unit="1")
