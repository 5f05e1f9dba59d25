"""Names and colours beside the label map, read as 3D Slicer and ITK-SNAP read them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex

from vertecast.core import anatomy
from vertecast.core.anatomy import Level
from vertecast.core.images import Mask
from vertecast.report.figures import drawing
from vertecast.report.html import colour_tables

SLICER_ROW = re.compile(r"(\d+) (\S+) (\d+) (\d+) (\d+) (\d+)")


def slicer(text: str) -> dict[int, tuple[str, str]]:
    """Name and colour by number; the grammar of 3D Slicer's developer guide."""
    lines = text.splitlines()
    assert lines[0].startswith("# Color table file")
    rows = [SLICER_ROW.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(rows)
    found = {int(row[1]): (row[2], [int(row[n]) for n in (3, 4, 5, 6)]) for row in rows if row}
    assert len(found) == len(rows), "a number stands twice"
    assert lines[1] == f"# {len(rows)} values"
    assert found.pop(0)[1] == [0, 0, 0, 0]
    assert all(rgba[3] == 255 for _, rgba in found.values())
    return {number: (name, to_hex([part / 255 for part in rgba[:3]])) for number, (name, rgba) in found.items()}


def itksnap(text: str) -> dict[int, tuple[str, str]]:
    """The same of ITK-SNAP: fields parted by blanks, the name in quotation marks."""
    rows = [shlex.split(line) for line in text.splitlines() if not line.startswith("#")]
    assert all(len(row) == 8 for row in rows)
    assert rows[0] == ["0", "0", "0", "0", "0", "0", "0", "Clear Label"]
    assert all(row[4:7] == ["1", "1", "1"] for row in rows[1:])
    return {int(row[0]): (row[7], to_hex([int(part) / 255 for part in row[1:4]])) for row in rows[1:]}


def test_every_number_has_its_name_and_the_colour_of_the_pictures(case, tmp_path: Path) -> None:
    colour_tables.write_colour_tables(case.labels, case.report, tmp_path)
    found = itksnap((tmp_path / "labels_1_itksnap.txt").read_text())
    assert set(found) == set(np.unique(case.labels.labels)) - {0}
    assert found[Level.L1] == ("L1", drawing.FRACTURED.lower())
    assert found[Level.L2] == ("L2", drawing.BODY.lower())
    assert found[Level.L2 + anatomy.POSTERIOR_LABEL_OFFSET] == ("L2 posterior", drawing.POSTERIOR.lower())
    assert found[anatomy.CEMENT_INSIDE_LABEL] == ("cement inside", drawing.CEMENT.lower())
    assert found[anatomy.CEMENT_LEAKED_LABEL] == ("cement leaked", drawing.LEAK.lower())
    table = slicer((tmp_path / "labels_1.ctbl").read_text())
    assert table == {number: (name.replace(" ", "_"), colour) for number, (name, colour) in found.items()}


def test_unknown_levels_and_an_empty_map(case) -> None:
    labels = np.zeros((3, 4, 5), np.uint8)
    assert colour_tables.label_colours(Mask(labels=labels, lps_from_index=np.eye(4)), case.report) == ()
    labels[0, 0, :3] = 41, 142, anatomy.METAL_LABEL
    colours = colour_tables.label_colours(Mask(labels=labels, lps_from_index=np.eye(4)), case.report)
    assert [(number, name) for number, name, _ in colours] == [(41, "V1"), (142, "V2 posterior"), (210, "metal")]
    assert slicer(colour_tables.slicer_table(colours))[210] == ("metal", drawing.METAL.lower())
