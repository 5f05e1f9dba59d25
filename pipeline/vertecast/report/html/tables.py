"""The tables of the page: what they say cell by cell, with a numbered note for everything that was not measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from vertecast.core.results import (
    Evidence,
    HeightReference,
    LeakFinding,
    Measured,
    NotMeasured,
    Place,
    Quantity,
    StudyReport,
    Third,
    VertebraFinding,
)
from vertecast.report import wording

RatioName: TypeAlias = Literal["wedge", "biconcave", "crush"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table: its text, its 95 % interval or "", and the number of the note that says why it is empty."""

    text: str
    interval: str = ""
    note: int | None = None

    def preceded_by(self, words: str) -> Cell:
        """The cell with words before its text; one that says that nothing was measured stays as it is."""
        return self if self.note is not None else replace(self, text=words + self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with its header; the first cell of a row names the row. ``notes`` are the reasons, numbered from 1."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    marked: tuple[bool, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class Notes:
    """Collects the reasons of one table, each once."""

    reasons: list[str] = field(default_factory=list)

    def cell(self, value: Measured | None, *, percent: bool = False) -> Cell:
        """A quantity with its interval, or a dash with the note of its reason; empty for None."""
        if value is None:
            return Cell(text="")
        if isinstance(value, Quantity):
            interval = wording.interval_text(value, percent=percent)
            return Cell(text=wording.quantity(value, percent=percent), interval=interval)
        return self.missing(value)

    def thirds(self, value: Mapping[Third, Measured] | NotMeasured | None) -> Cell:
        """ "31 / 20 / 4 %", front to back."""
        if value is None:
            return Cell(text="")
        if isinstance(value, NotMeasured):
            return self.missing(value)
        parts = list(value.values())
        missing = next((part for part in parts if isinstance(part, NotMeasured)), None)
        if missing is not None:
            return self.missing(missing)
        numbers = [wording.number(part.value, "1", percent=True) for part in parts if isinstance(part, Quantity)]
        return Cell(text=" / ".join(numbers) + " %")

    def plain(self, value: object) -> Cell:
        """A word, or yes and no."""
        if isinstance(value, NotMeasured):
            return self.missing(value)
        return Cell(text={True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value))

    def missing(self, value: NotMeasured, text: str = "–") -> Cell:
        """A dash, or a word, with the note of its reason."""
        if value.reason not in self.reasons:
            self.reasons.append(value.reason)
        return Cell(text=text, note=self.reasons.index(value.reason) + 1)


Column: TypeAlias = Callable[[Notes, VertebraFinding], Cell]
"""What one column says of a vertebra."""


def _height(place: Place) -> Column:
    return lambda notes, vertebra: notes.cell(vertebra.heights[place])


def _ratio(name: RatioName) -> Column:
    return lambda notes, vertebra: notes.cell(vertebra.ratios[name])


def _grade(notes: Notes, vertebra: VertebraFinding) -> Cell:
    grade, text = vertebra.genant_grade, wording.grade_text(vertebra)
    return notes.missing(grade, text or "–") if isinstance(grade, NotMeasured) else Cell(text=text)


def _reference_text(reference: HeightReference) -> str:
    return wording.levels_text(reference.levels) or reference.method


_SAGITTAL: Final[Mapping[str, Column]] = {
    "Anterior": _height("anterior"),
    "Middle": _height("middle"),
    "Posterior": _height("posterior"),
    "Wedge ratio": _ratio("wedge"),
    "Biconcave ratio": _ratio("biconcave"),
    "Crush ratio": _ratio("crush"),
    "Height loss": lambda notes, vertebra: notes.cell(vertebra.height_loss, percent=True),
    "Against": lambda _, vertebra: Cell(text=_reference_text(vertebra.reference)),
    "Wedge angle": lambda notes, vertebra: notes.cell(vertebra.wedge_angle),
    "Shape": lambda notes, vertebra: notes.plain(vertebra.deformity),
    "Genant": _grade,
}
_CT: Final[Mapping[str, Column]] = {
    "Density": lambda notes, vertebra: notes.cell(vertebra.density),
    "Volume": lambda notes, vertebra: notes.cell(vertebra.volume),
    "Retropulsion": lambda notes, vertebra: notes.cell(vertebra.retropulsion),
}
_CEMENT_HEADER: Final = (
    "Level",
    "Cement",
    "Inside",
    "Fill",
    "Thirds filled, front to back",
    "Lies, front to back",
    "Pattern",
    "Endplates",
    "Crosses midline",
    "Gas beside",
    "Confidence",
)
_LEAK_HEADER: Final = (
    "Level",
    "Where",
    "Volume",
    "Type (Yeom)",
    "Farthest",
    "From canal",
    "Touches",
    "Series, slice",
    "Confidence",
)


def vertebra_table(report: StudyReport) -> Table:
    """Vertebrae seen from the side or in a CT; without the columns of a CT where there is none."""
    vertebrae = [vertebra for vertebra in report.vertebrae if "anterior" in vertebra.heights]
    has_ct = any(vertebra.center_lps_mm is not None for vertebra in vertebrae)
    columns = {**_SAGITTAL, **(_CT if has_ct else {})}
    notes = Notes()
    return Table(
        header=("Level", *columns, "Confidence"),
        rows=tuple(
            (
                Cell(text=vertebra_name(report, vertebra)),
                *(column(notes, vertebra) for column in columns.values()),
                confidence(vertebra.confidence),
            )
            for vertebra in vertebrae
        ),
        marked=tuple(wording.is_abnormal(vertebra) for vertebra in vertebrae),
        notes=tuple(notes.reasons),
    )


def vertebra_name(report: StudyReport, vertebra: VertebraFinding) -> str:
    """ "L1, treated", with its series where vertebrae were measured in several."""
    several = len({one.series_instance_uid for one in report.vertebrae}) > 1
    number = wording.series_number(report, vertebra.series_instance_uid)
    name = f"{vertebra.level} (series {number})" if several else vertebra.level
    return f"{name}, treated" if vertebra.treated else name


def cement_table(report: StudyReport) -> Table:
    """Cement of a CT."""
    notes = Notes()
    rows = tuple(
        (
            Cell(text=cement.level),
            notes.cell(cement.volume),
            notes.cell(cement.volume_inside),
            notes.cell(cement.fill_fraction, percent=True),
            notes.thirds(cement.thirds_filled),
            notes.thirds(cement.thirds_of_cement),
            notes.plain(cement.pattern),
            notes.plain(cement.endplate_contact),
            notes.plain(cement.crosses_midline),
            notes.cell(cement.gas_beside),
            confidence(cement.confidence),
        )
        for cement in report.cement
        if cement.area is None
    )
    return table(_CEMENT_HEADER, rows, notes)


def leak_table(report: StudyReport) -> Table:
    """Leaks of a CT."""
    notes = Notes()
    rows = tuple(
        (
            Cell(text=leak.level),
            Cell(text=("suspected " if leak.suspected else "") + wording.COMPARTMENT_PHRASES[leak.compartment]),
            notes.cell(leak.volume),
            notes.plain(leak.yeom_type),
            notes.cell(leak.farthest),
            notes.cell(leak.canal_distance),
            _touches(notes, leak),
            Cell(text=where(report, leak.evidence)),
            confidence(leak.confidence),
        )
        for leak in report.leaks
        if leak.area is None
    )
    return table(_LEAK_HEADER, rows, notes)


def _touches(notes: Notes, leak: LeakFinding) -> Cell:
    """What a leak touches or fills: the canal, the disc, the next endplate."""
    if leak.canal_fill is not None:
        return notes.cell(leak.canal_fill, percent=True).preceded_by("canal, fills ")
    if leak.disc_crossed is not None:
        crossed = notes.cell(leak.disc_crossed, percent=True).preceded_by("crosses ")
        plate = "; next endplate" if leak.neighbour_contact is True else ""
        return replace(crossed, text=f"{crossed.text} of the disc{plate}") if crossed.note is None else crossed
    if isinstance(leak.canal_contact, NotMeasured):
        return notes.missing(leak.canal_contact)
    return Cell(text="canal" if leak.canal_contact else "")


def table(header: tuple[str, ...], rows: Sequence[tuple[Cell, ...]], notes: Notes) -> Table:
    """A table without marked rows."""
    return Table(header=header, rows=tuple(rows), marked=(False,) * len(rows), notes=tuple(notes.reasons))


def where(report: StudyReport, evidence: Evidence) -> str:
    """ "1, 57" or "2, frame 31": the series and the slice or frame to look at."""
    frame = f"frame {evidence.frame_number}" if evidence.slice_number is None else str(evidence.slice_number)
    return f"{wording.series_number(report, evidence.series_instance_uid)}, {frame}"


def confidence(value: float) -> Cell:
    """A confidence in per cent."""
    return Cell(text=f"{100 * value:.0f} %")
