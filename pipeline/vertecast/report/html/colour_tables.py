"""Names and colours of the numbers in ``labels_<n>.nii.gz``, for the programs that show such maps.

NIfTI holds numbers alone. 3D Slicer reads a colour table (``.ctbl``), ITK-SNAP a label description; both show every
structure by its name, in the colours of the report's pictures.

Sources: 3D Slicer developer guide, "Color table file format" (slicer.readthedocs.io); the header that ITK-SNAP itself
writes into the label descriptions that it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from vertecast.core import anatomy
from vertecast.core.images import Mask
from vertecast.core.results import StudyReport
from vertecast.report import wording
from vertecast.report.figures import drawing
from vertecast.report.labels import level_number

SLICER_NAME: Final = "labels_1.ctbl"
ITKSNAP_NAME: Final = "labels_1_itksnap.txt"
_FOREIGN_COLOURS: Final = {
    anatomy.CEMENT_INSIDE_LABEL: drawing.CEMENT,
    anatomy.CEMENT_LEAKED_LABEL: drawing.LEAK,
    anatomy.METAL_LABEL: drawing.METAL,
}


class LabelColour(NamedTuple):
    """A number of a label map, what it is called, and its colour (red, green, blue; 0 to 255)."""

    number: int
    name: str
    rgb: tuple[int, int, int]


def label_colours(label_mask: Mask, report: StudyReport) -> tuple[LabelColour, ...]:
    """Every number that occurs in a label map; fractured bodies stand out as they do in the pictures.

    Args:
        label_mask: Label map (`labels.label_map`).
        report: Its study, which says what is fractured.
    """
    fractured = {level_number(body.level) for body in report.vertebrae if wording.is_fractured(body)}
    labels = label_mask.labels.ravel(order="K")
    numbers = np.flatnonzero(np.bincount(labels[labels != 0])).tolist()
    return tuple(
        LabelColour(number, anatomy.label_name(number), _rgb(_colour(number, fractured))) for number in numbers
    )


def slicer_table(colours: Sequence[LabelColour]) -> str:
    """Colour table of 3D Slicer: number, name without spaces, red, green, blue, opacity (0 to 255)."""
    rows = ["0 background 0 0 0 0"]
    rows += [f"{number} {name.replace(' ', '_')} {r} {g} {b} 255" for number, name, (r, g, b) in colours]
    return "\n".join(["# Color table file labels_1.ctbl", f"# {len(rows)} values", *rows, ""])


def itksnap_labels(colours: Sequence[LabelColour]) -> str:
    """Label description of ITK-SNAP: number, red, green, blue, opacity (0 to 1), shown, shown as surface, name."""
    header = [
        "#" * 48,
        "# ITK-SnAP Label Description File",
        "# File format:",
        "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL",
        "#" * 48,
    ]
    rows = ['    0     0    0    0        0  0  0    "Clear Label"']
    rows += [f'{number:5} {r:5} {g:4} {b:4}        1  1  1    "{name}"' for number, name, (r, g, b) in colours]
    return "\n".join([*header, *rows, ""])


TABLES: Final[Mapping[str, Callable[[Sequence[LabelColour]], str]]] = {
    SLICER_NAME: slicer_table,
    ITKSNAP_NAME: itksnap_labels,
}


def write_colour_tables(label_mask: Mask, report: StudyReport, folder: Path) -> None:
    """Write both tables beside the label map.

    Raises:
        OSError: a file cannot be written.
    """
    colours = label_colours(label_mask, report)
    for name, table in TABLES.items():
        (folder / name).write_text(table(colours), encoding="ascii")


def _colour(number: int, fractured: set[int]) -> str:
    if number in _FOREIGN_COLOURS:
        return _FOREIGN_COLOURS[number]
    if number > anatomy.POSTERIOR_LABEL_OFFSET:
        return drawing.POSTERIOR
    return drawing.FRACTURED if number in fractured else drawing.BODY


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
