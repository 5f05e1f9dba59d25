"""Pictures to look at before a number is believed: found vertebrae in colour, true ones as a white line.

Both views follow the column: every row is taken where the centres of the bodies run at its height, so that no bend
carries the column out of the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import (
    CEMENT_INSIDE_LABEL,
    CEMENT_LEAKED_LABEL,
    METAL_LABEL,
    POSTERIOR_LABEL_OFFSET,
    Level,
    label_name,
)
from vertecast.core.errors import OutputError
from vertecast.core.images import Mask, Volume
from vertecast.lab.evaluation.metrics import bounding_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXEL_MM: Final = 0.5
"""Fine enough for a line to lie on an edge of the mask."""

FIGURE_INCHES: Final = (13, 10)
"""Two pixels for each mm of a thoracolumbar column."""

WINDOW_HU: Final = (-150.0, 700.0)
AIR_HU: Final = -1024.0
MARGIN_MM: Final = 25.0
"""Shown beyond the outermost labels, so that a body that was missed at the end of the column can be seen."""

FOREIGN_COLOURS: Final = {CEMENT_INSIDE_LABEL: "cyan", CEMENT_LEAKED_LABEL: "magenta", METAL_LABEL: "yellow"}
BODY_COLOURS: Final = 7
"""Colours of matplotlib's cycle that can be told from the image: the next one is grey."""

MISSED_SHARE: Final = 0.5
"""With fewer of the true bodies found the views follow the true ones: what was found may lie somewhere else. Otherwise
they follow the found ones, since the middle of a true map of whole vertebrae lies behind the bodies."""

NAME_POINTS: Final = 8
"""Size of a level's name: a thoracic body of 20 mm holds it."""

VIEWS: Final = {"sagittal": 0, "coronal": 1}
"""LPS axis that each view looks along."""


def write_overlay(path: Path, volume: Volume, found: Mask, *, truth: Mask | None = None, title: str = "") -> None:
    """Draw a sagittal and a coronal view through the middle of the bodies found, as PNG.

    Args:
        path: Where to.
        volume: The image.
        found: Label map on any grid.
        truth: True label map on any grid, drawn as a white line; its numbers below those of posterior elements.
        title: Above the picture.

    Raises:
        OutputError: The file cannot be written.
    """
    figure = draw_overlay(volume, found, truth=truth, title=title)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); check space and permissions") from error


def draw_overlay(volume: Volume, found: Mask, *, truth: Mask | None = None, title: str = "") -> Figure:
    """The picture of `write_overlay`."""
    from matplotlib.figure import Figure

    clouds = [_bodies_mm(mask) for mask in (found, truth) if mask is not None]
    low, high = _extent_mm(volume, np.vstack([points for cloud in clouds for points in (*cloud, np.empty((0, 3)))]))
    followed = clouds[-1] if len(clouds[0]) < MISSED_SHARE * len(clouds[-1]) else clouds[0]
    line = np.array([points.mean(axis=0) for points in followed] or [(low + high) / 2])
    centers = line[np.argsort(line[:, 2])]
    figure = Figure(figsize=FIGURE_INCHES, dpi=100, layout="constrained")
    figure.suptitle(title)
    for axes, (name, axis) in zip(figure.subplots(1, 2), VIEWS.items(), strict=True):
        _draw(axes, _curved_plane_mm(axis, centers, low, high), (volume, found, truth))
        axes.set_title(name)
    return figure


def _bodies_mm(mask: Mask) -> list[geometry.FloatArray]:
    """Voxels (n, 3) in LPS mm of every body; the sacrum is none, it lies behind the line of the others."""
    labels = np.asarray(mask.labels, dtype=np.uint8)
    box = bounding_box(labels)
    if box is None:
        return []
    part, grid = labels[box], geometry.shifted(mask.lps_from_index, [s.start for s in box])
    numbers = [int(n) for n in np.unique(part) if 0 < n < POSTERIOR_LABEL_OFFSET and n != Level.S1]
    return [geometry.apply(grid, np.argwhere(part == n)) for n in numbers]


def _extent_mm(volume: Volume, points: geometry.FloatArray) -> tuple[geometry.FloatArray, geometry.FloatArray]:
    """Lowest and highest corner in LPS mm of the bodies with a margin; of the whole image where there is none."""
    corners = geometry.corner_points_lps_mm(volume.lps_from_index, volume.shape)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if not len(points):
        return low, high
    return np.maximum(points.min(axis=0) - MARGIN_MM, low), np.minimum(points.max(axis=0) + MARGIN_MM, high)


def _curved_plane_mm(
    axis: int, centers: geometry.FloatArray, low: geometry.FloatArray, high: geometry.FloatArray
) -> geometry.FloatArray:
    """Points (rows, columns, 3) of a surface that runs through the centres (n, 3), lowest first, across an LPS axis."""
    across = 1 - axis
    up = np.arange(low[2], high[2], PIXEL_MM)
    side = np.arange(low[across], high[across], PIXEL_MM)
    points = np.empty((len(up), len(side), 3))
    points[..., 2] = up[:, None]
    points[..., across] = side
    points[..., axis] = np.interp(up, centers[:, 2], centers[:, axis])[:, None]
    return points


def _sample(
    values: np.ndarray, lps_from_index: geometry.FloatArray, points: geometry.FloatArray, order: int, fill: float
) -> np.ndarray:
    from scipy import ndimage

    index = np.moveaxis(geometry.apply(geometry.inverse(lps_from_index), points), -1, 0)
    sampled: np.ndarray = ndimage.map_coordinates(values, index, np.float32, order=order, cval=fill, prefilter=False)
    return sampled


def _draw(axes: Axes, points: geometry.FloatArray, images: tuple[Volume, Mask, Mask | None]) -> None:
    """One view: the patient's front or right at the left of the picture, the head up."""
    volume, found, truth = images
    hu = _sample(volume.hu, volume.lps_from_index, points, 1, AIR_HU)
    axes.imshow(hu, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], origin="lower")
    labels = _sample(found.labels, found.lps_from_index, points, 0, 0).astype(int)
    for number in np.unique(labels[labels > 0]).tolist():
        _draw_part(axes, number, labels == number)
    if truth is not None:
        true = _sample(truth.labels, truth.lps_from_index, points, 0, 0)
        for number in np.unique(true[(true > 0) & (true < POSTERIOR_LABEL_OFFSET)]):
            axes.contour(true == number, levels=[0.5], colors="white", linewidths=0.9)
    axes.set_axis_off()


def _draw_part(axes: Axes, number: int, own: np.ndarray) -> None:
    """Bodies filled, outlined and named; posterior elements outlined in the colour of their body."""
    body = number % POSTERIOR_LABEL_OFFSET
    colour = FOREIGN_COLOURS.get(number, f"C{body % BODY_COLOURS}")
    axes.contour(own, levels=[0.5], colors=[colour], linewidths=1.2)
    if number in FOREIGN_COLOURS or number < POSTERIOR_LABEL_OFFSET:
        axes.contourf(own, levels=[0.5, 1.5], colors=[colour], alpha=0.2)
    if number < POSTERIOR_LABEL_OFFSET:
        row, column = np.argwhere(own).mean(axis=0)
        axes.text(column, row, label_name(number), color="white", ha="center", va="center", size=NAME_POINTS)
