"""The heights of all bodies of a series, level by level, beside those expected in this patient: a drawing in SVG.

Expected is the normal shape of the spine (`anatomy.normal_height_mm`) times one factor, the median of measured over
normal heights of the patient's own sound bodies; its range is two standard deviations of the scatter within one person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor
from statistics import median
from typing import Final, Literal, TypeAlias

from vertecast.core.anatomy import HEIGHT_SCATTER, normal_height_mm
from vertecast.core.results import NotMeasured, Quantity, StudyReport, VertebraFinding
from vertecast.report import wording
from vertecast.report.html import tables
from vertecast.report.html.growth import Tick

SagittalPlace: TypeAlias = Literal["anterior", "middle", "posterior"]
PLACES: Final[tuple[SagittalPlace, ...]] = ("anterior", "middle", "posterior")
HALF_RANGE: Final = 2 * HEIGHT_SCATTER
LEAST_INTACT: Final = 2
"""Bodies that the patient's size is taken from, at least."""

WIDTH: Final = 760
LEFT, COLUMN, GAP, TOP, ROW = 100, 190, 24, 44, 26
"""Left edge of the first column, width of a column and of the gap between two, first row, height of a row; lengths are
units of the drawing."""
_STEP_MM: Final = 5.0
_HALF_BAND: Final = 9
"""Half the height of a row's range."""

Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileMark:
    """A measured height.

    Attributes:
        x, y: Where it stands.
        low, high: Ends of its interval.
        is_low: The whole interval lies below the expected range.
        is_fractured: Its body is fractured.
    """

    x: float
    y: float
    low: float
    high: float
    is_low: bool
    is_fractured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The heights at one place.

    Attributes:
        name: "anterior", ...
        middle: Where the name stands.
        ticks: Of the axis in mm.
        ranges: Left edge, upper edge and width of the expected range of every level that has one.
        marks: The measured heights.
    """

    name: str
    middle: float
    ticks: tuple[Tick, ...]
    ranges: tuple[tuple[float, float, float], ...]
    marks: tuple[ProfileMark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A level: its name, its height in the drawing, and whether it is fractured."""

    name: str
    y: float
    is_fractured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HeightProfile:
    """Everything that the template draws, a sentence and a table that stand for it."""

    series: int
    sentence: str
    note: str
    width: int
    height: int
    bottom: float
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    table: tables.Table


def plot_profiles(report: StudyReport) -> tuple[HeightProfile, ...]:
    """A profile of every series in which two bodies or more have heights in mm, seen from the side."""
    profiles = []
    for uid, group in groupby(report.vertebrae, key=lambda vertebra: vertebra.series_instance_uid):
        vertebrae = [vertebra for vertebra in group if _is_from_the_side(vertebra) and _heights(vertebra)]
        if len(vertebrae) >= 2:
            profiles.append(_profile(vertebrae, wording.series_number(report, uid)))
    return tuple(profiles)


def _profile(vertebrae: Sequence[VertebraFinding], series: int) -> HeightProfile:
    size = _size(vertebrae)
    expected = [{place: _expected(vertebra.level, place, size) for place in PLACES} for vertebra in vertebrae]
    ends = [end for v in vertebrae for height in _heights(v).values() for end in height.interval95 or (height.value,)]
    ends += [end for ranges in expected for one in ranges.values() if one for end in one]
    low, high = _STEP_MM * floor(min(ends) / _STEP_MM), _STEP_MM * ceil(max(ends) / _STEP_MM)
    rows = tuple(
        Row(name=v.level, y=TOP + ROW * (n + 0.5), is_fractured=wording.is_fractured(v))
        for n, v in enumerate(vertebrae)
    )
    scale = Scale(low=low, per_mm=COLUMN / (high - low))
    columns = tuple(_column(number, vertebrae, expected, rows, scale) for number in range(len(PLACES)))
    lost = list(_too_low(vertebrae, expected))
    below = "Below the expected range with their whole interval: " + "; ".join(lost) + "."
    sentence = below if lost else "No height lies below the expected range with its whole interval."
    return HeightProfile(
        series=series,
        sentence=sentence if size else "Measured heights.",
        note=_NOTE if size else f"No expected range: it takes {LEAST_INTACT} intact vertebrae of known level.",
        width=WIDTH,
        height=round(TOP + ROW * len(rows) + 30),
        bottom=TOP + ROW * len(rows),
        rows=rows,
        columns=columns,
        table=_table(vertebrae, expected),
    )


_NOTE: Final = (
    "Bars: heights expected in this patient, the normal shape of the spine scaled to the intact vertebrae in view, "
    f"±{100 * HALF_RANGE:.0f} %. Lines: 95 % intervals. Diamonds: fractured; rings: below the range as a whole."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Heights in mm along a column."""

    low: float
    per_mm: float

    def at(self, column: int, value_mm: float) -> float:
        """Where a height stands in a column, from 0."""
        return round(LEFT + column * (COLUMN + GAP) + (value_mm - self.low) * self.per_mm, 1)


def _column(
    number: int,
    vertebrae: Sequence[VertebraFinding],
    expected: Sequence[Mapping[SagittalPlace, Range | None]],
    rows: Sequence[Row],
    scale: Scale,
) -> Column:
    place = PLACES[number]
    ranges, marks = [], []
    for vertebra, ranges_mm, row in zip(vertebrae, expected, rows, strict=True):
        span = ranges_mm[place]
        if span is not None:
            left, right = (scale.at(number, end) for end in span)
            ranges.append((left, row.y - _HALF_BAND, round(right - left, 1)))
        height = _heights(vertebra).get(place)
        if height is not None:
            low, high = (scale.at(number, end) for end in height.interval95 or (height.value,) * 2)
            is_low = _is_below(height, span)
            x = scale.at(number, height.value)
            marks.append(ProfileMark(x=x, y=row.y, low=low, high=high, is_low=is_low, is_fractured=row.is_fractured))
    last = scale.low + COLUMN / scale.per_mm
    values = [scale.low + n * _STEP_MM for n in range(round((last - scale.low) / _STEP_MM) + 1)]
    return Column(
        name=place,
        middle=LEFT + number * (COLUMN + GAP) + COLUMN / 2,
        ticks=tuple(Tick(at=scale.at(number, value), text=f"{value:g}") for value in values),
        ranges=tuple(ranges),
        marks=tuple(marks),
    )


def _is_from_the_side(vertebra: VertebraFinding) -> bool:
    """An AP view has left and right heights in place of the anterior and the posterior one."""
    return all(place in vertebra.heights for place in PLACES)


def _heights(vertebra: VertebraFinding) -> dict[SagittalPlace, Quantity]:
    """The heights in mm that were measured."""
    found = ((place, vertebra.heights.get(place)) for place in PLACES)
    return {place: height for place, height in found if isinstance(height, Quantity) and height.unit == "mm"}


def _size(vertebrae: Sequence[VertebraFinding]) -> float | None:
    """The patient's size: measured over normal height of the sound bodies; None where too few are known."""
    shares = []
    sound = 0
    for vertebra in vertebrae:
        if vertebra.treated or isinstance(vertebra.genant_grade, NotMeasured) or vertebra.genant_grade > 0:
            continue
        normal = {place: normal_height_mm(vertebra.level, place) for place in PLACES}
        own = [height.value / size for place, height in _heights(vertebra).items() if (size := normal[place])]
        sound += bool(own)
        shares += own
    return median(shares) if sound >= LEAST_INTACT else None


def _expected(level: str, place: SagittalPlace, size: float | None) -> Range | None:
    normal = normal_height_mm(level, place)
    if normal is None or size is None:
        return None
    return size * normal * (1 - HALF_RANGE), size * normal * (1 + HALF_RANGE)


def _too_low(
    vertebrae: Sequence[VertebraFinding], expected: Sequence[Mapping[SagittalPlace, Range | None]]
) -> Iterator[str]:
    """ "L1 anterior 15.5 mm (21.9–24.7)", ..."""
    for vertebra, ranges in zip(vertebrae, expected, strict=True):
        for place, height in _heights(vertebra).items():
            span = ranges[place]
            if span is not None and _is_below(height, span):
                yield f"{vertebra.level} {place} {wording.quantity(height)} ({_range_text(span)})"


def _is_below(height: Quantity, span: Range | None) -> bool:
    """The whole interval lies below the range."""
    return span is not None and max(height.interval95 or (height.value,)) < span[0]


def _range_text(span: Range) -> str:
    return f"{span[0]:.1f}–{span[1]:.1f}"


def _table(
    vertebrae: Sequence[VertebraFinding], expected: Sequence[Mapping[SagittalPlace, Range | None]]
) -> tables.Table:
    """The same in numbers."""
    notes = tables.Notes()
    rows = []
    for vertebra, ranges in zip(vertebrae, expected, strict=True):
        cells = [tables.Cell(text=vertebra.level)]
        for place in PLACES:
            span = ranges[place]
            cells += [
                notes.cell(vertebra.heights[place]),
                tables.Cell(text="" if span is None else _range_text(span)),
            ]
        rows.append(tuple(cells))
    header = ("Level", *(text for place in PLACES for text in (place.capitalize(), "expected, mm")))
    return tables.table(header, rows, notes)
