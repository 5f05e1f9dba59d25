"""Pictures to look at before a number is believed: found bodies in colour, true ones as a white line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from vertecast import geometry
from vertecast.anatomy import CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL, METAL_LABEL, POSTERIOR_LABEL_OFFSET, label_name
from vertecast.errors import OutputError
from vertecast.images import Mask, Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXEL_MM: Final = 1.0
WINDOW_HU: Final = (-150.0, 700.0)
AIR_HU: Final = -1024.0
MARGIN_MM: Final = 25.0
"""Shown beyond the outermost labels, so that a body that was missed at the end of the column can be seen."""

FOREIGN_COLOURS: Final = {CEMENT_INSIDE_LABEL: "cyan", CEMENT_LEAKED_LABEL: "magenta", METAL_LABEL: "yellow"}
BODY_COLOURS: Final = 7
"""Colours of matplotlib's cycle that can be told from the image: the next one is grey."""

VIEWS: Final = {"sagittal": 0, "coronal": 1}
"""LPS axis that each view looks along."""


def write_overlay(path: Path, volume: Volume, found: Mask, *, truth: Mask | None = None, title: str = "") -> None:
    """Draw the mid-sagittal and the mid-coronal plane through the bodies found, as PNG.

    Args:
        path: Where to.
        volume: The image.
        found: Label map on any grid.
        truth: True label map on any grid, drawn as a white line; bodies alone are drawn.
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

    center, low, high = _body_extent_mm(volume, found if truth is None else truth, found)
    figure = Figure(figsize=(12, 7), dpi=100, layout="constrained")
    figure.suptitle(title)
    for axes, (name, axis) in zip(figure.subplots(1, 2), VIEWS.items(), strict=True):
        _draw(axes, axis, _plane(axis, center, low, high), (volume, found, truth))
        axes.set_title(name)
    return figure


def _body_extent_mm(
    volume: Volume, *masks: Mask
) -> tuple[geometry.FloatArray, geometry.FloatArray, geometry.FloatArray]:
    """Median, lowest and highest corner in LPS mm of the bodies; of the whole image where there is none."""
    clouds = []
    for mask in masks:
        labels = np.asarray(mask.labels, dtype=np.uint8)
        index = np.argwhere((labels > 0) & (labels < POSTERIOR_LABEL_OFFSET))
        clouds.append(geometry.apply(mask.lps_from_index, index))
    points = np.vstack(clouds)
    corners = geometry.corner_points_lps_mm(volume.lps_from_index, volume.shape)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if not len(points):
        return (low + high) / 2, low, high
    first = np.maximum(points.min(axis=0) - MARGIN_MM, low)
    last = np.minimum(points.max(axis=0) + MARGIN_MM, high)
    return np.median(points, axis=0), first, last


def _plane(
    axis: int, center: geometry.FloatArray, low: geometry.FloatArray, high: geometry.FloatArray
) -> tuple[geometry.FloatArray, tuple[int, int, int]]:
    """A grid one pixel thick through the centre, across one LPS axis."""
    counts = np.maximum(np.ceil((high - low) / PIXEL_MM), 1).astype(int)
    origin = low.copy()
    counts[axis], origin[axis] = 1, center[axis]
    return geometry.scaling_affine([PIXEL_MM] * 3, origin), (int(counts[0]), int(counts[1]), int(counts[2]))


def _draw(
    axes: Axes,
    axis: int,
    grid: tuple[geometry.FloatArray, tuple[int, int, int]],
    images: tuple[Volume, Mask, Mask | None],
) -> None:
    """One plane: the patient's front or right at the left of the picture, the head up."""
    volume, found, truth = images

    def cut(values: np.ndarray, lps_from_index: geometry.FloatArray, order: int, fill: float) -> np.ndarray:
        return geometry.resample(values, lps_from_index, *grid, order=order, fill=fill).squeeze(axis).T

    hu = cut(volume.hu, volume.lps_from_index, 1, AIR_HU)
    axes.imshow(hu, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], origin="lower")
    labels = cut(found.labels, found.lps_from_index, 0, 0).astype(int)
    for number in np.unique(labels[labels > 0]):
        own = labels == number
        if number in FOREIGN_COLOURS:
            colour = FOREIGN_COLOURS[int(number)]
        elif number < POSTERIOR_LABEL_OFFSET:
            colour = f"C{int(number) % BODY_COLOURS}"
            row, column = np.argwhere(own).mean(axis=0)
            axes.text(column, row, label_name(int(number)), color="white", ha="center", va="center")
        else:
            continue
        axes.contourf(own, levels=[0.5, 1.5], colors=[colour], alpha=0.35)
    if truth is not None:
        true = cut(truth.labels, truth.lps_from_index, 0, 0)
        for number in np.unique(true[(true > 0) & (true < POSTERIOR_LABEL_OFFSET)]):
            axes.contour(true == number, levels=[0.5], colors="white", linewidths=0.9)
    axes.set_axis_off()
