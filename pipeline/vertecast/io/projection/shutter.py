"""Shutters and collimators of the header as a mask (PS3.3 C.7.6.11 Display Shutter, C.8.7.3 X-Ray Collimator)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vertecast.io.projection.header import FrameHeader

Valid = npt.NDArray[np.bool_]

LEAST_FIELD: Final = 0.05
"""A shutter that leaves less than this share of the picture speaks of another picture (cropped or turned later)."""

KINDS: Final = ("Shutter", "Collimator")


def header_field(header: FrameHeader, shape: tuple[int, int]) -> tuple[Valid | None, tuple[str, ...]]:
    """The field that the header leaves open.

    Args:
        header: Attributes of the frame.
        shape: Rows and columns.

    Returns:
        True within the field (rows, columns), None where the header names no shutter or collimator; and warnings.
    """
    field: Valid | None = None
    notes: list[str] = []
    for kind in KINDS:
        for name in header.texts(f"{kind}Shape"):
            part = _one(header, kind, name, shape)
            if part is None:
                notes.append(f"a {name.lower()} {kind.lower()} of the header is not understood and was ignored")
            elif part.mean() < LEAST_FIELD:
                notes.append(f"the {name.lower()} {kind.lower()} of the header leaves no picture and was ignored")
            else:
                field = part if field is None else field & part
    if field is not None and field.mean() < LEAST_FIELD:
        return None, (*notes, "the shutters of the header leave no picture and were ignored")
    return field, tuple(notes)


def _one(header: FrameHeader, kind: str, name: str, shape: tuple[int, int]) -> Valid | None:
    if name == "RECTANGULAR":
        return _rectangle(header, kind, shape)
    if name == "CIRCULAR":
        centre, radius = header.numbers(f"CenterOfCircular{kind}", 2), header.number(f"RadiusOfCircular{kind}")
        if centre is None or not radius or radius <= 0:
            return None
        row, column = _grid(shape)
        # The Standard counts rows and columns from 1.
        return np.asarray((row - (centre[0] - 1)) ** 2 + (column - (centre[1] - 1)) ** 2 <= radius**2)
    if name == "POLYGONAL":
        return _polygon(header.numbers(f"VerticesOfThePolygonal{kind}"), shape)
    return None


def _rectangle(header: FrameHeader, kind: str, shape: tuple[int, int]) -> Valid | None:
    """Inside the four edges; an edge line itself belongs to the field."""
    sides = ("LeftVerticalEdge", "RightVerticalEdge", "UpperHorizontalEdge", "LowerHorizontalEdge")
    edges = [header.number(f"{kind}{side}") for side in sides]
    left, right, upper, lower = edges
    if left is None or right is None or upper is None or lower is None:
        return None
    row, column = _grid(shape)
    return np.asarray((column >= left - 1) & (column <= right - 1) & (row >= upper - 1) & (row <= lower - 1))


def _polygon(numbers: tuple[float, ...] | None, shape: tuple[int, int]) -> Valid | None:
    """Inside a polygon of pairs (row, column)."""
    from skimage.draw import polygon2mask

    if numbers is None or len(numbers) < 6 or len(numbers) % 2:
        return None
    vertices = np.array(numbers).reshape(-1, 2) - 1
    return np.asarray(polygon2mask(shape, vertices))


def _grid(shape: tuple[int, int]) -> tuple[Any, Any]:
    row, column = np.ogrid[: shape[0], : shape[1]]
    return row, column
