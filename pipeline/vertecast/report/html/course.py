"""Heights and cement of a patient's levels over three studies or more, as small line drawings in SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Final

from vertecast.core.results import NotMeasured, Place, Quantity, StudyReport, TimelineLevel
from vertecast.report import wording
from vertecast.report.html.growth import Tick, nice_step

WIDTH: Final = 380
LEFT, RIGHT, TOP, BOTTOM = 40, 292, 34, 168
"""Edges of the field of the heights, with the names of the lines at its right; lengths are units of the drawing."""

CEMENT_TOP, CEMENT_BOTTOM = 202, 240
HEIGHT: Final = {True: 286, False: 216}
"""Of a drawing with, and without, a row of cement."""

INSET: Final = 26
"""The first and last study stand so far inside the field."""

DRAWING: Final = {
    "width": WIDTH, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM, "cement_bottom": CEMENT_BOTTOM
}  # fmt: skip
PLACES: Final[tuple[Place, ...]] = ("anterior", "middle", "posterior")
NAME_GAP: Final = 14
LEAST_STUDIES: Final = 2
"""A level is drawn from so many studies on that show a height or cement of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A height in one study: where it stands, and the ends of its interval."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseLine:
    """The heights at one place: a path per run of studies that have one; where its name stands."""

    place: str
    paths: tuple[str, ...]
    points: tuple[Point, ...]
    name_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The cement of one study: middle and upper end of its bar, and its volume in words."""

    x: float
    top: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CoursePanel:
    """One level.

    Attributes:
        level: Its name.
        sentence: What the drawing shows, in words.
        height: Of the drawing.
        studies: A tick per study: its day, or its number where the day is unknown.
        phases: The same with the phase.
        values: Ticks of the heights in mm, the same for all levels.
        lines: The heights.
        bars: The cement, for the studies that tell.
    """

    level: str
    sentence: str
    height: int
    studies: tuple[Tick, ...]
    phases: tuple[Tick, ...]
    values: tuple[Tick, ...]
    lines: tuple[CourseLine, ...]
    bars: tuple[Bar, ...]


def plot_course(report: StudyReport) -> tuple[CoursePanel, ...]:
    """A drawing for every level of the timeline that at least two studies measured; none without a timeline.

    Studies stand in their order, at equal distances: a treatment takes days and a follow-up years.
    """
    courses: dict[str, list[TimelineLevel | None]] = {}
    for n, study in enumerate(report.timeline):
        for level in study.levels:
            courses.setdefault(level.level, [None] * len(report.timeline))[n] = level
    drawn = {name: course for name, course in courses.items() if sum(map(_shows_something, course)) >= LEAST_STUDIES}
    if not drawn:
        return ()
    ends = [end for course in drawn.values() for one in course for height in _heights(one) for end in _interval(height)]
    low, high, step = _axis(ends)
    most_ml = max((ml.value for course in drawn.values() for ml in map(_cement, course) if ml), default=0.0)

    def up(value: float) -> float:
        return round(BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP), 1)

    width = (RIGHT - LEFT - 2 * INSET) / (len(report.timeline) - 1)
    across = [round(LEFT + INSET + n * width, 1) for n in range(len(report.timeline))]
    days = [
        f"study {n}" if isinstance(s.days, NotMeasured) else f"day {s.days}" for n, s in enumerate(report.timeline, 1)
    ]
    values = tuple(
        Tick(at=up(low + n * step), text=f"{low + n * step:g}") for n in range(round((high - low) / step) + 1)
    )
    return tuple(
        CoursePanel(
            level=name,
            sentence=_sentence(name, days, course),
            height=HEIGHT[most_ml > 0],
            studies=tuple(Tick(at=x, text=day) for x, day in zip(across, days, strict=True)),
            phases=tuple(Tick(at=x, text=study.phase) for x, study in zip(across, report.timeline, strict=True)),
            values=values if ends else (),
            lines=_with_names_apart(list(_lines(course, across, up))),
            bars=tuple(_bars(course, across, most_ml)),
        )
        for name, course in drawn.items()
    )


def _lines(
    course: Sequence[TimelineLevel | None], across: Sequence[float], up: Callable[[float], float]
) -> Iterator[CourseLine]:
    for place in PLACES:
        paths: list[str] = []
        points: list[Point] = []
        is_going = False
        for x, one in zip(across, course, strict=True):
            height = None if one is None else one.heights.get(place)
            if not isinstance(height, Quantity) or height.unit != "mm":
                is_going = False
                continue
            ends = _interval(height)
            points.append(Point(x=x, y=up(height.value), low=up(ends[0]), high=up(ends[1])))
            if is_going:
                paths[-1] += f" L{x:g},{points[-1].y:g}"
            else:
                paths.append(f"M{x:g},{points[-1].y:g}")
            is_going = True
        if points:
            yield CourseLine(place=place, paths=tuple(paths), points=tuple(points), name_at=points[-1].y)


def _with_names_apart(lines: Sequence[CourseLine]) -> tuple[CourseLine, ...]:
    """The lines with their names moved down until none covers another."""
    names: dict[str, float] = {}
    last = float("-inf")
    for line in sorted(lines, key=lambda line: line.name_at):
        last = names[line.place] = max(line.name_at, last + NAME_GAP)
    return tuple(replace(line, name_at=names[line.place]) for line in lines)


def _bars(course: Sequence[TimelineLevel | None], across: Sequence[float], most_ml: float) -> Iterator[Bar]:
    for x, one in zip(across, course, strict=True):
        cement = _cement(one)
        if cement is not None and most_ml > 0:
            top = CEMENT_BOTTOM - cement.value / most_ml * (CEMENT_BOTTOM - CEMENT_TOP)
            yield Bar(x=x, top=round(top, 1), text=wording.quantity(cement))


def _sentence(name: str, days: Sequence[str], course: Sequence[TimelineLevel | None]) -> str:
    """ "L1: anterior height day 0 20.0 mm, day 8 22.1 mm; ...; cement day 8 4.1 mL." """
    parts = []
    for place in PLACES:
        told = [(day, one.heights.get(place)) for day, one in zip(days, course, strict=True) if one is not None]
        values = [f"{day} {wording.quantity(height)}" for day, height in told if isinstance(height, Quantity)]
        if values:
            parts.append(f"{place} height {', '.join(values)}")
    cement = [f"{day} {wording.quantity(ml)}" for day, ml in zip(days, map(_cement, course), strict=True) if ml]
    if cement:
        parts.append(f"cement {', '.join(cement)}")
    return f"{name}: {'; '.join(parts)}."


def _shows_something(one: TimelineLevel | None) -> bool:
    return bool(_heights(one)) or _cement(one) is not None


def _heights(one: TimelineLevel | None) -> list[Quantity]:
    """The heights that were measured in mm."""
    heights: Mapping[Place, object] = {} if one is None else one.heights
    return [height for height in heights.values() if isinstance(height, Quantity) and height.unit == "mm"]


def _cement(one: TimelineLevel | None) -> Quantity | None:
    cement = None if one is None else one.cement_volume
    return cement if isinstance(cement, Quantity) else None


def _interval(height: Quantity) -> tuple[float, float]:
    return height.interval95 or (height.value, height.value)


def _axis(ends: Sequence[float]) -> tuple[float, float, float]:
    """Lower end, upper end and step of the axis of heights."""
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    step = nice_step(max(high - low, 1.0))
    low = floor(low / step) * step
    return low, max(ceil(high / step) * step, low + step), step
