"""The strokes of the pictures: grey image, colours, outlines, points, letters and scale bar.

Colours are those of Okabe and Ito (Color Universal Design, 2008), told apart by readers with colour vision deficiency;
line style and text repeat what a colour says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from vertecast.core import anatomy
from vertecast.core.images import Volume
from vertecast.core.results import NotMeasured, Place, SixPoints
from vertecast.report.figures import planes
from vertecast.report.figures.planes import Cut, LabelCut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BODY: Final = "#56B4E9"
FRACTURED: Final = "#D55E00"
POSTERIOR: Final = "#009E73"
CEMENT: Final = "#E69F00"
LEAK: Final = "#CC79A7"
CANAL: Final = "#F0E442"
METAL: Final = "#0072B2"
POINT: Final = "#FFFFFF"
LEGEND: Final[Mapping[str, str]] = {
    "vertebral body": BODY,
    "body, Genant grade ≥ 1": FRACTURED,
    "posterior elements": POSTERIOR,
    "cement": CEMENT,
    "leaked cement (dashed: before or behind the plane)": LEAK,
    "canal": CANAL,
    "metal": METAL,
    "six points and endplates": POINT,
}
FILM_LEGEND: Final[Mapping[str, str]] = {
    "vertebral body": BODY,
    "body, Genant grade ≥ 1": FRACTURED,
    "cement": CEMENT,
    "suspected leak": LEAK,
    "metal": METAL,
    "six points and endplates": POINT,
}
"""Films show no posterior elements and no canal."""

_FILLS: Final[Mapping[int, str]] = {
    anatomy.METAL_LABEL: METAL,
    anatomy.CEMENT_INSIDE_LABEL: CEMENT,
    anatomy.CEMENT_LEAKED_LABEL: LEAK,
}
_WINDOW_HU: Final = (-350.0, 1150.0)
"""Grey from black to white: the usual bone window, centre 400 and width 1500 HU."""
DPI: Final = 100
"""Dots of a figure's inch: a pixel of a picture is one of them."""
_SCALE_BAR_MM: Final = {True: 50.0, False: 20.0}
_FILL_OPACITY: Final = 0.45
_PNG: Final = {"compress_level": 3}
"""A third of the time of zlib's default for a tenth more bytes."""


def new_figure(cuts: Sequence[Cut]) -> Figure:
    """An empty figure with one axes per cut, side by side; a pixel of a cut is a pixel of the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    gap = 6 if len(cuts) > 1 else 0
    widths = [cut.points_lps_mm.shape[1] for cut in cuts]
    height = max(cut.points_lps_mm.shape[0] for cut in cuts)
    total = sum(widths) + gap * (len(cuts) - 1)
    # A hair more than the whole number, so that rounding down never loses a pixel.
    size = (total + 0.01) / DPI, (height + 0.01) / DPI
    figure = Figure(figsize=size, dpi=DPI, facecolor="black")
    FigureCanvasAgg(figure)
    start = 0
    for cut, width in zip(cuts, widths, strict=True):
        axes = figure.add_axes((start / total, 0.0, width / total, 1.0))
        axes.set_axis_off()
        left, right, bottom, top = cut.extent_mm
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        start += width + gap
    return figure


def film_figure(
    grey: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], aspect: float, long_side_px: int
) -> tuple[Figure, Axes]:
    """A figure filled by one film, with coloured cement, leaks (dashed) and metal.

    Args:
        grey: Picture (rows, columns).
        labels: Label map of cement, leaks and metal (rows, columns).
        aspect: Height of its pixels over their width.
        long_side_px: Longest side of the picture.

    Returns:
        The figure and its axes, (column, row) of the film.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = grey.shape
    scale = long_side_px / max(rows * aspect, columns) / DPI
    figure = Figure(figsize=(columns * scale, rows * aspect * scale), dpi=DPI, facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.imshow(tinted(grey, labels), aspect="auto", interpolation="bilinear")
    for label, colour in _FILLS.items():
        # A tint alone is lost on bright bone; a border of the picture closes the lines that reach it.
        inside = np.pad(labels == label, 1).astype(np.float32)
        if inside.any():
            style = "dashed" if label == anatomy.CEMENT_LEAKED_LABEL else "solid"
            places = np.arange(-1, columns + 1), np.arange(-1, rows + 1)
            axes.contour(*places, inside, levels=[0.5], colors=[colour], linewidths=[1.1], linestyles=[style])
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    return figure, axes


def shaded(volume: Volume | None, cut: Cut, found: LabelCut) -> npt.NDArray[np.uint8]:
    """(rows, columns, 3) colours: the windowed CT under translucent cement, leaks and metal."""
    shape = cut.points_lps_mm.shape[:2]
    hu = np.full(shape, planes.AIR_HU, np.float32) if volume is None else planes.sample_hu(volume, cut)
    low, high = _WINDOW_HU
    # A NaN has no grey; it is drawn black like air.
    grey = np.nan_to_num(np.clip((hu - low) * np.float32(255 / (high - low)), 0, 255)).astype(np.uint8)
    inside = {label: found.coverage(label) >= 0.5 for label in _FILLS if label in found.boxes}
    return _tinted(grey, inside)


def tinted(grey: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(rows, columns, 3) colours: a grey picture under the translucent cement, leaks and metal of its label map."""
    return _tinted(grey, {label: labels == label for label in _FILLS})


def _tinted(grey: npt.NDArray[np.uint8], inside: Mapping[int, npt.NDArray[np.bool_]]) -> npt.NDArray[np.uint8]:
    from matplotlib.colors import to_rgb

    image = np.repeat(grey[..., None], 3, axis=-1)
    for label, where in inside.items():
        tint = 255 * _FILL_OPACITY * np.array(to_rgb(_FILLS[label]))
        image[where] = (image[where] * (1 - _FILL_OPACITY) + tint).astype(np.uint8)
    return image


def with_cement(found: LabelCut, label: int) -> npt.NDArray[np.float32]:
    """Coverage of a body together with the cement that fills it: cement is no hole in the outline."""
    from scipy import ndimage

    body, cement = found.coverage(label), found.coverage(anatomy.CEMENT_INSIDE_LABEL)
    pieces = ndimage.label(cement > 0)[0]
    touching = np.setdiff1d(pieces[body > 0], 0)
    return np.asarray(body + cement * np.isin(pieces, touching))


def outline(
    axes: Axes,
    cut: Cut,
    coverage: npt.NDArray[np.float32],
    colour: str,
    width: float,
    *,
    style: str = "solid",
    opacity: float = 1.0,
) -> None:
    """Draw the 0.5 line of a coverage that spans the whole picture at any resolution."""
    if not np.any(coverage >= 0.5):
        return
    horizontal, vertical = planes.pixel_centres(cut.extent_mm, coverage.shape[0], coverage.shape[1])
    used_rows, used_columns = (np.flatnonzero(coverage.any(axis=axis)) for axis in (1, 0))
    box = tuple(slice(max(used[0] - 1, 0), used[-1] + 2) for used in (used_rows, used_columns))
    if min(coverage[box].shape) < 2:
        return
    axes.contour(
        horizontal[box[1]],
        vertical[box[0]],
        coverage[box],
        levels=[0.5],
        colors=[colour],
        linewidths=[width],
        linestyles=[style],
        alpha=opacity,
    )


def draw_points(axes: Axes, cut: Cut, six_points_lps_mm: SixPoints | NotMeasured | None, size: float) -> None:
    """The six points and, through them, the two endplate lines; nothing where they were not measured."""
    if six_points_lps_mm is None or isinstance(six_points_lps_mm, NotMeasured):
        return
    places: tuple[Place, ...] = ("anterior", "middle", "posterior")
    for endplate in six_points_lps_mm.values():
        marks = [cut.project(endplate[place]) for place in places]
        axes.plot(*zip(*marks, strict=True), "-o", color=POINT, linewidth=0.8, markersize=size, alpha=0.9)


def draw_frame(axes: Axes, cut: Cut, sides: tuple[str, str], *, is_overview: bool) -> None:
    """Letters of the two sides and a scale bar."""
    left, right, bottom, top = cut.extent_mm
    middle, pad = (bottom + top) / 2, 0.03 * (right - left)
    height = top - 8.0 if is_overview else middle
    write(axes, left + pad, height, sides[0], ha="left", va="center", color="white", bold=True)
    write(axes, right - pad, height, sides[1], ha="right", va="center", color="white", bold=True)
    length = _SCALE_BAR_MM[is_overview]
    start, level = right - pad - length, bottom + (5.0 if is_overview else 3.0)
    axes.plot([start, start + length], [level, level], color="white", linewidth=2, solid_capstyle="butt")
    write(axes, start + length / 2, level + 1.0, f"{length:.0f} mm", ha="center", va="bottom", color="white")


def write(axes: Axes, x: float, y: float, text: str, *, bold: bool = False, **style: Any) -> None:
    """Text with a dark rim, readable over bone and over air."""
    from matplotlib.patheffects import withStroke

    weight = "bold" if bold else "normal"
    rim = [withStroke(linewidth=2.5, foreground="black")]
    axes.text(x, y, text, fontsize=9, fontweight=weight, path_effects=rim, clip_on=True, **style)


def png_bytes(figure: Figure) -> bytes:
    """Render a figure at one pixel a pixel, without an opacity that it has nowhere: a PDF takes such a PNG as it is."""
    from io import BytesIO

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
    canvas.draw()
    buffer = BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(buffer, format="PNG", **_PNG)
    return buffer.getvalue()
