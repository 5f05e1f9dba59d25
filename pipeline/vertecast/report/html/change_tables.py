"""What changed since earlier studies, as sentences and tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vertecast.core.results import ChangeFinding, LevelChange, Measured, NotMeasured, Quantity, StudyReport
from vertecast.report import wording
from vertecast.report.html.tables import Cell, Notes, Table, table

_HEADER: Final = (
    "Level",
    "Anterior",
    "Middle",
    "Posterior",
    "Height",
    "Wedge angle",
    "Local kyphosis",
    "Genant",
    "Recollapse",
    "Cement",
    "Cement moved",
    "Cement outside the earlier outline",
    "Overlay error",
)
_TIMELINE_HEADER: Final = (
    "Level",
    "Day",
    "Phase",
    "Anterior",
    "Middle",
    "Posterior",
    "Wedge angle",
    "Genant",
    "Cement",
)
_KINDS: Final = {"ct": "CT", "radiograph": "lateral radiographs", "mixed": "a film and a CT: levels and grades alone"}
_NOTHING: Final = Cell(text="")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSection:
    """One table with what stands over it."""

    caption: str
    table: Table


def change_sentences(report: StudyReport) -> tuple[str, ...]:
    """The lines of the first screen: what treated bodies gained or lost, and what broke since the study before."""
    change = report.change
    if change is None:
        return ()
    since = f"Since the study {_before(change)}"
    if not change.levels:
        return (f"{since}: nothing compared, as no level is named in both studies.",)
    lines = [
        f"{since}: new fracture of {one.level}, height {_signed(one.height_change, percent=True)}, Genant {one.grade}"
        + (", beside a treated body." if one.adjacent else ".")
        for one in change.new_fractures
    ]
    treated = {vertebra.level for vertebra in report.vertebrae if vertebra.treated}
    for level in change.levels:
        if level.level not in treated and level.recollapse is None:
            continue
        parts = ["recollapse"] if level.recollapse is True else []
        measured = {"anterior height": level.height_gain["anterior"], "wedge angle": level.wedge_change}
        known = {name: value for name, value in measured.items() if isinstance(value, Quantity)}
        parts += [f"{name} {_signed(value, interval=True)}" for name, value in known.items() if not _may_be_none(value)]
        if parts or known:
            unchanged = f"no measurable change of {' and '.join(known)}"
            lines.append(f"{since}: {level.level} {', '.join(parts) or unchanged}.")
    return tuple(lines)


def _may_be_none(change: Quantity) -> bool:
    """Whether the interval of a change holds 0."""
    return change.interval95 is not None and change.interval95[0] <= 0 <= change.interval95[1]


def change_sections(report: StudyReport) -> tuple[ChangeSection, ...]:
    """A table for every earlier study that shares a level with this one."""
    sections = []
    for change in report.changes:
        if not change.levels:
            continue
        notes = Notes()
        rows = tuple(_row(notes, level) for level in change.levels)
        caption = (
            f"Since the study {_before(change)} ({_KINDS[change.modality]}, study {change.pre_study}): later less "
            "earlier, heights along the vertebral axis; small: 95 % interval"
        )
        header, rows = _without_empty_columns(_HEADER, rows)
        sections.append(ChangeSection(caption=caption, table=table(header, rows, notes)))
    return tuple(sections)


def timeline_table(report: StudyReport) -> Table:
    """Broken and treated levels through all studies, level by level."""
    notes = Notes()
    names = dict.fromkeys(level.level for study in report.timeline for level in study.levels)
    rows = [
        (
            Cell(text=level.level),
            notes.plain(study.days),
            Cell(text=study.phase),
            *(notes.cell(level.heights[place]) for place in ("anterior", "middle", "posterior")),
            notes.cell(level.wedge_angle),
            notes.plain(level.genant_grade),
            notes.cell(level.cement_volume),
        )
        for name in names
        for study in report.timeline
        for level in study.levels
        if level.level == name
    ]
    return table(_TIMELINE_HEADER, rows, notes)


def _without_empty_columns(
    header: tuple[str, ...], rows: tuple[tuple[Cell, ...], ...]
) -> tuple[tuple[str, ...], tuple[tuple[Cell, ...], ...]]:
    """Leave out what no row has, such as the cement of a patient without any."""
    kept = [n for n in range(len(header)) if any(row[n] != _NOTHING for row in rows)]
    return tuple(header[n] for n in kept), tuple(tuple(row[n] for n in kept) for row in rows)


def _row(notes: Notes, level: LevelChange) -> tuple[Cell, ...]:
    grades = (level.grade_before, level.grade_after)
    missing = next((grade for grade in grades if isinstance(grade, NotMeasured)), None)
    return (
        Cell(text=level.level),
        *(_cell(notes, level.height_gain[place]) for place in ("anterior", "middle", "posterior")),
        _cell(notes, level.height_change, percent=True),
        _cell(notes, level.wedge_change),
        _cell(notes, level.kyphosis_change),
        Cell(text=f"{grades[0]} → {grades[1]}") if missing is None else notes.missing(missing),
        _NOTHING if level.recollapse is None else notes.plain(level.recollapse),
        _cell(notes, level.cement_change),
        notes.cell(level.cement_shift),
        notes.cell(level.cement_beyond_earlier),
        notes.cell(level.registration_error),
    )


def _cell(notes: Notes, value: Measured | None, *, percent: bool = False) -> Cell:
    """A change with its sign."""
    if not isinstance(value, Quantity):
        return notes.cell(value)
    return Cell(text=_signed(value, percent=percent), interval=wording.interval_text(value, percent=percent))


def _signed(value: Quantity, *, percent: bool = False, interval: bool = False) -> str:
    text = wording.quantity(value, percent=percent, interval=interval)
    is_zero = not text.split(" ")[0].strip("0.°")
    return text if text.startswith("−") or is_zero else f"+{text}"


def _before(change: ChangeFinding) -> str:
    if isinstance(change.days, NotMeasured):
        return "before"
    if change.days < 0:
        return f"dated {-change.days} days later, given as the earlier one"
    return f"{change.days} {'day' if change.days == 1 else 'days'} before"
