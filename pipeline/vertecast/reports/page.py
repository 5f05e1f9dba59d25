"""``report.html``: one self-contained page that a radiologist reads in ten seconds, with everything else below it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from vertecast import __version__
from vertecast.reports import document, drawing, pictures, wording
from vertecast.results import Evidence, Measured, NotMeasured, Quantity, StudyReport, VertebraFinding

if TYPE_CHECKING:
    import jinja2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table: its text, its 95 % interval or "", and the number of the note that says why it is empty."""

    text: str
    interval: str = ""
    note: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with its header; the first cell of a row names the row. ``notes`` are the reasons, numbered from 1."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    marked: tuple[bool, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Notes:
    """Collects the reasons of one table, each once."""

    reasons: list[str] = field(default_factory=list)

    def cell(self, value: Measured, *, percent: bool = False) -> Cell:
        if isinstance(value, Quantity):
            interval = wording.interval_text(value, percent=percent)
            return Cell(text=wording.quantity(value, percent=percent), interval=interval)
        return self.missing(value)

    def plain(self, value: object) -> Cell:
        if isinstance(value, NotMeasured):
            return self.missing(value)
        return Cell(text={True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value))

    def missing(self, value: NotMeasured) -> Cell:
        if value.reason not in self.reasons:
            self.reasons.append(value.reason)
        return Cell(text="–", note=self.reasons.index(value.reason) + 1)


OVERVIEWS: Final = ("sagittal", "coronal")
_OTHER_PLACE: Final = NotMeasured(reason="an AP view shows heights at the left and the right side: see report.json")
_VERTEBRA_HEADER: Final = (
    "Level",
    "Anterior",
    "Middle",
    "Posterior",
    "Wedge ratio",
    "Biconcave ratio",
    "Crush ratio",
    "Height loss",
    "Against",
    "Wedge angle",
    "Shape",
    "Genant",
    "Density",
    "Volume",
    "Canal narrowed",
    "Confidence",
)
_CEMENT_HEADER: Final = ("Level", "Cement", "Inside", "Fill", "Pattern", "Endplates", "Crosses midline", "Confidence")
_LEAK_HEADER: Final = (
    "Level",
    "Where",
    "Volume",
    "Type (Yeom)",
    "Farthest",
    "From canal",
    "Series, slice",
    "Confidence",
)


def write_page(report: StudyReport, shown: pictures.Pictures) -> str:
    """Build the page.

    Args:
        report: The study.
        shown: Its pictures, embedded in the page; may be empty.

    Returns:
        HTML that loads nothing from anywhere.
    """
    levels = [(picture.level, _embedded(picture)) for picture in shown.values() if picture.level is not None]
    context: dict[str, Any] = {
        "report": report,
        "headline": wording.headline(report),
        "summary": wording.summary(report),
        "overviews": [_embedded(one) for name, one in shown.items() if name in OVERVIEWS or name.startswith("film_")],
        "levels": levels,
        "legend": drawing.LEGEND,
        "vertebrae": _vertebra_table(report),
        "angles": _angle_table(report),
        "cement": _cement_table(report),
        "leaks": _leak_table(report),
        "limits": document.to_document(report)["limits"],
        "disclaimer": document.DISCLAIMER,
        "version": __version__,
    }
    return environment().get_template("report.html.j2").render(context)


def environment() -> jinja2.Environment:
    """The templates of this package; every value is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("vertecast.reports")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _embedded(picture: pictures.Picture) -> dict[str, str]:
    data = base64.b64encode(picture.png).decode("ascii")
    return {"source": f"data:image/png;base64,{data}", "alt": picture.alt}


def _vertebra_table(report: StudyReport) -> Table:
    notes = _Notes()
    several = len({vertebra.series_instance_uid for vertebra in report.vertebrae}) > 1
    rows = []
    for vertebra in report.vertebrae:
        number = wording.series_number(report, vertebra.series_instance_uid)
        name = f"{vertebra.level} (series {number})" if several else vertebra.level
        rows.append(_vertebra_row(notes, name, vertebra))
    marked = tuple(wording.is_abnormal(vertebra) for vertebra in report.vertebrae)
    return Table(header=_VERTEBRA_HEADER, rows=tuple(rows), marked=marked, notes=tuple(notes.reasons))


def _vertebra_row(notes: _Notes, name: str, vertebra: VertebraFinding) -> tuple[Cell, ...]:
    grade = vertebra.genant_grade
    shape = vertebra.deformity
    return (
        Cell(text=f"{name}, treated" if vertebra.treated else name),
        *(notes.cell(vertebra.heights.get(place, _OTHER_PLACE)) for place in ("anterior", "middle", "posterior")),
        *(notes.cell(vertebra.ratios[name]) for name in ("wedge", "biconcave", "crush")),
        notes.cell(vertebra.height_loss, percent=True),
        Cell(text=", ".join(vertebra.reference.levels) or vertebra.reference.method),
        notes.cell(vertebra.wedge_angle),
        notes.plain(shape),
        notes.missing(grade) if isinstance(grade, NotMeasured) else Cell(text=wording.grade_text(vertebra)),
        notes.cell(vertebra.density),
        notes.cell(vertebra.volume),
        notes.cell(vertebra.canal_compromise, percent=True),
        _confidence(vertebra.confidence),
    )


def _angle_table(report: StudyReport) -> Table:
    notes = _Notes()
    rows = tuple(
        (Cell(text=angle.name), Cell(text=angle.upper), Cell(text=angle.lower), notes.cell(angle.angle))
        for angle in report.angles
    )
    return _table(("Angle", "From", "To", "Value"), rows, notes)


def _cement_table(report: StudyReport) -> Table:
    notes = _Notes()
    rows = tuple(
        (
            Cell(text=cement.level),
            notes.cell(cement.volume),
            notes.cell(cement.volume_inside),
            notes.cell(cement.fill_fraction, percent=True),
            notes.plain(cement.pattern),
            notes.plain(cement.endplate_contact),
            notes.plain(cement.crosses_midline),
            _confidence(cement.confidence),
        )
        for cement in report.cement
    )
    return _table(_CEMENT_HEADER, rows, notes)


def _leak_table(report: StudyReport) -> Table:
    notes = _Notes()
    rows = tuple(
        (
            Cell(text=leak.level),
            Cell(text=wording.COMPARTMENT_PHRASES[leak.compartment]),
            notes.cell(leak.volume),
            notes.plain(leak.yeom_type),
            notes.cell(leak.farthest),
            notes.cell(leak.canal_distance),
            Cell(text=_where(report, leak.evidence)),
            _confidence(leak.confidence),
        )
        for leak in report.leaks
    )
    return _table(_LEAK_HEADER, rows, notes)


def _table(header: tuple[str, ...], rows: Sequence[tuple[Cell, ...]], notes: _Notes) -> Table:
    return Table(header=header, rows=tuple(rows), marked=(False,) * len(rows), notes=tuple(notes.reasons))


def _where(report: StudyReport, evidence: Evidence) -> str:
    frame = f"frame {evidence.frame_number}" if evidence.slice_number is None else str(evidence.slice_number)
    return f"{wording.series_number(report, evidence.series_instance_uid)}, {frame}"


def _confidence(value: float) -> Cell:
    return Cell(text=f"{100 * value:.0f} %")
