"""The filmstrip of a cine: a few small frames with cement and leaks coloured and bodies outlined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL
from vertecast.core.images import Radiograph
from vertecast.core.results import CineFinding, Quantity
from vertecast.core.study_result import Filmstrip, StripFrame
from vertecast.report.figures import drawing, films
from vertecast.report.figures.pictures import Picture
from vertecast.report.html import growth

LONG_SIDE_PX: Final = 320
"""Longest side of a frame of the strip."""


def strip_frame(
    radiograph: Radiograph, labels: npt.NDArray[np.uint8], points_px: Sequence[npt.NDArray[np.float64]]
) -> StripFrame:
    """Make a frame small.

    Args:
        radiograph: The frame.
        labels: 200 cement inside, 201 outside, else 0 (rows, columns).
        points_px: (6, 2) points of every body: one endplate, then the other.
    """
    step = max(1, -(-max(radiograph.shape) // LONG_SIDE_PX))
    small = Radiograph(
        intensity=_means(radiograph.intensity, step), valid=radiograph.valid[::step, ::step][_whole(radiograph, step)]
    )
    small_labels = labels[::step, ::step][_whole(radiograph, step)].copy()
    spacing = radiograph.spacing
    return StripFrame(
        frame_number=radiograph.frame_number,
        grey=films.grey(small, small_labels),
        labels=small_labels,
        outlines=tuple((np.vstack([p[:3], p[:2:-1], p[:1]]) - (step - 1) / 2) / step for p in points_px),
        aspect=1.0 if spacing is None else spacing.row_mm / spacing.column_mm,
    )


def render_strips(strips: Sequence[Filmstrip], cines: Sequence[CineFinding]) -> dict[str, Picture]:
    """The pictures of all strips, by name: "cine_1_frame_12" for frame 12 of the first of ``cines``."""
    return {
        f"cine_{n}_frame_{frame.frame_number}": _render(frame, cine)
        for n, cine in enumerate(cines, start=1)
        for strip in strips
        if strip.cine is cine
        for frame in strip.frames
    }


def _render(frame: StripFrame, cine: CineFinding) -> Picture:
    figure, axes = drawing.film_figure(frame.grey, frame.labels, frame.aspect, LONG_SIDE_PX)
    for outline in frame.outlines:
        axes.plot(outline[:, 0], outline[:, 1], "-", color=drawing.BODY, linewidth=0.9)
    where = growth.frame_text(cine, frame.frame_number).capitalize()
    # A frame between two looks shows what the look before it found.
    area = next((p.area for p in reversed(cine.growth) if p.frame_number <= frame.frame_number), None)
    seen = f"cement {growth.area_text(area)}" if isinstance(area, Quantity) and area.value > 0 else "no cement"
    notes = ", ".join((*frame.notes, seen))
    shown = "bodies outlined" if frame.outlines else "no body found"
    coloured = ", cement coloured" if (frame.labels == CEMENT_INSIDE_LABEL).any() else ""
    coloured += ", suspected leak coloured" if (frame.labels == CEMENT_LEAKED_LABEL).any() else ""
    return Picture(
        png=drawing.png_bytes(figure),
        alt=f"{where}, {shown}{coloured}.",
        caption=(where, notes[:1].upper() + notes[1:]),
    )


def _whole(radiograph: Radiograph, step: int) -> tuple[slice, slice]:
    """The blocks that lie within the picture as a whole."""
    rows, columns = radiograph.shape
    return slice(rows // step), slice(columns // step)


def _means(values: npt.NDArray[np.float32], step: int) -> npt.NDArray[np.float32]:
    """Means of square blocks; what is left at the end of an axis is cut off."""
    rows, columns = (size // step for size in values.shape)
    blocks = values[: rows * step, : columns * step].reshape(rows, step, columns, step)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
