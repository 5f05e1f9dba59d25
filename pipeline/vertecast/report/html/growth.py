"""The growth of cement in a cine as a line drawing in SVG, and the sentence that stands for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from vertecast.core.results import CineFinding, GrowthPoint, NotMeasured, Quantity
from vertecast.report import wording

WIDTH: Final = 760
HEIGHT: Final = 270
LEFT, RIGHT, TOP, BOTTOM = 62, 744, 58, 226
"""Edges of the field of the plot; all lengths are units of the drawing."""

DRAWING: Final = {
    "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM
}  # fmt: skip
"""The same for the template."""

_TICKS: Final = 6
_NICE: Final = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on an axis: where it stands, and what it says."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthMark:
    """A frame that matters: "cement" or "leak", where it stands, its text and the side that the text runs to."""

    kind: str
    at: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthPlot:
    """Everything that the template draws.

    Attributes:
        sentence: What the plot shows, in words.
        axis: What the vertical axis measures.
        lines: A path per run of measured frames.
        areas: The same, closed down to zero.
        gaps: Left edge and width of every run of frames that could not be used.
        frames, seconds, values: Ticks; no seconds where the rate is unknown.
        marks: The first frame of the cement and of the first leak.
    """

    sentence: str
    axis: str
    lines: tuple[str, ...]
    areas: tuple[str, ...]
    gaps: tuple[tuple[float, float], ...]
    frames: tuple[Tick, ...]
    seconds: tuple[Tick, ...]
    values: tuple[Tick, ...]
    marks: tuple[GrowthMark, ...]


def plot_growth(cine: CineFinding) -> GrowthPlot | None:
    """Lay out the growth curve of a cine; None where it has less than two frames."""
    if len(cine.growth) < 2:
        return None
    first, last = cine.growth[0].frame_number, cine.growth[-1].frame_number
    measured = [point.area for point in cine.growth if isinstance(point.area, Quantity)]
    is_share = bool(measured) and measured[0].unit == "1"
    factor = 100.0 if is_share else 1.0
    step, top = _axis(factor * max((area.value for area in measured), default=0.0))
    per_frame, per_value = (RIGHT - LEFT) / (last - first), (BOTTOM - TOP) / top

    def across(frame: float) -> float:
        return round(LEFT + (frame - first) * per_frame, 1)

    def up(value: float) -> float:
        return round(BOTTOM - value * per_value, 1)

    lines, areas, gaps = [], [], []
    for is_gap, run in groupby(cine.growth, key=lambda point: isinstance(point.area, NotMeasured)):
        points = list(run)
        if is_gap:
            start = max(across(points[0].frame_number - 0.5), float(LEFT))
            gaps.append((start, round(min(across(points[-1].frame_number + 0.5), float(RIGHT)) - start, 1)))
            continue
        places = [(across(point.frame_number), up(factor * _value(point))) for point in points]
        line = " ".join(f"{x:g},{y:g}" for x, y in places)
        lines.append(f"M{line} h0")
        areas.append(f"M{places[0][0]:g},{BOTTOM} L{line} V{BOTTOM} Z")
    return GrowthPlot(
        sentence=growth_sentence(cine),
        axis="Cement, % of a body's area" if is_share else "Cement area, mm²",
        lines=tuple(lines),
        areas=tuple(areas),
        gaps=tuple(gaps),
        frames=tuple(Tick(at=across(n), text=f"{n:g}") for n in _steps(first, last)),
        seconds=tuple(Tick(at=across(frame), text=text) for frame, text in _second_ticks(cine, first, last)),
        values=tuple(Tick(at=up(n * step), text=f"{n * step:g}") for n in range(round(top / step) + 1)),
        marks=tuple(_marks(cine, across)),
    )


def growth_sentence(cine: CineFinding) -> str:
    """What the curve shows, in words: "20 frames looked at; first cement in frame 10 (1.2 s); most in frame 96 ..." """
    measured = [(p.frame_number, p.area) for p in cine.growth if isinstance(p.area, Quantity)]
    parts = [f"{len(cine.growth)} frames looked at"]
    if isinstance(cine.first_cement_frame, NotMeasured):
        parts.append(f"no first frame of cement: {cine.first_cement_frame.reason}")
    else:
        parts.append(f"first cement in {frame_text(cine, cine.first_cement_frame)}")
        if measured:
            frame, area = max(measured, key=lambda item: item[1].value)
            parts.append(f"most in {frame_text(cine, frame)}: {area_text(area)}")
    leak = cine.first_suspected_leak_frame
    if isinstance(leak, NotMeasured):
        parts.append(f"no leak suspected: {leak.reason}")
    else:
        parts.append(f"first suspected leak in {frame_text(cine, leak)}")
    missing = ((str(p.frame_number), p.area.reason) for p in cine.growth if isinstance(p.area, NotMeasured))
    for reason, frames in wording.by_reason(missing):
        count = frames.count(",") + 1
        parts.append(f"{count} {'frame' if count == 1 else 'frames'} without a value: {reason}")
    return "; ".join(parts) + "."


def frame_text(cine: CineFinding, frame_number: int) -> str:
    """ "frame 31 (4.0 s)", or "frame 31" where the rate is unknown."""
    seconds = seconds_of(cine, frame_number)
    return f"frame {frame_number}" if seconds is None else f"frame {frame_number} ({seconds:.1f} s)"


def seconds_of(cine: CineFinding, frame_number: int) -> float | None:
    """Time of a frame after the first one, None where the rate is unknown."""
    return None if isinstance(cine.frame_rate, NotMeasured) else (frame_number - 1) / cine.frame_rate


def area_text(area: Quantity) -> str:
    """ "312 mm²", or "31 % of a body's area" where mm do not hold."""
    if area.unit == "1":
        return f"{wording.quantity(area, percent=True)} of a body's area"
    return wording.quantity(area)


def _value(point: GrowthPoint) -> float:
    return point.area.value if isinstance(point.area, Quantity) else 0.0


def _axis(largest: float) -> tuple[float, float]:
    """Step and top of an axis from zero."""
    step = nice_step(max(largest, 1e-9) if largest > 0 else 1.0)
    return step, step * max(-(-largest // step), 1)


def nice_step(span: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that cuts a span into few pieces."""
    from math import floor, log10

    raw = span / _TICKS
    scale = 10.0 ** floor(log10(raw))
    return next(factor * scale for factor in _NICE if factor * scale >= raw * (1 - 1e-9))


def _steps(first: int, last: int) -> Iterator[int]:
    """The first frame, then round numbers up to the last one."""
    step = max(round(nice_step(last - first)), 1)
    yield first
    # A number that would touch that of the first frame is left out.
    yield from (n for n in range(step * (first // step + 1), last + 1, step) if n - first >= step / 2)


def _second_ticks(cine: CineFinding, first: int, last: int) -> Sequence[tuple[float, str]]:
    if isinstance(cine.frame_rate, NotMeasured):
        return ()
    rate = cine.frame_rate
    start, end = (first - 1) / rate, (last - 1) / rate
    step = nice_step(end - start)
    numbers = range(int(-(-start // step)), int(end / step + 1e-9) + 1)
    return [(1 + n * step * rate, f"{n * step:g}") for n in numbers]


def _marks(cine: CineFinding, across: Callable[[float], float]) -> Iterator[GrowthMark]:
    named = (
        ("cement", "first cement", cine.first_cement_frame),
        ("leak", "first suspected leak", cine.first_suspected_leak_frame),
    )
    for kind, name, frame in named:
        if not isinstance(frame, NotMeasured):
            at = across(frame)
            anchor = "start" if at < (LEFT + RIGHT) / 2 else "end"
            yield GrowthMark(kind=kind, at=at, text=f"{name}: {frame_text(cine, frame)}", anchor=anchor)
