"""Pictures of the height between the endplates of fractured and treated bodies, seen from above.

Anterior is up and the patient's left on the viewer's right, as in the axial pictures. All maps of a study share one
scale of colours, that of cividis, which readers with colour vision deficiency see as others do (Nunez et al., PLoS One
2018;13:e0199239); lines of equal height repeat it in numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from vertecast.core.images import HeightMap
from vertecast.report.figures import drawing
from vertecast.report.figures.pictures import Picture

COLOUR_MAP: Final = "cividis"
LINE_STEP_MM: Final = 2.0
_SIZE_PX: Final = (340, 288)
"""As high as the pictures in three planes that it stands beside."""

_MAP_BOX: Final = (0.02, 0.04, 0.76, 0.92)
_BAR_BOX: Final = (0.82, 0.12, 0.05, 0.74)
_GROUND: Final = "#303030"
"""Between the darkest and the lightest colour of the map, so that both stand out from what is no body."""


def render_height_maps(height_maps: Sequence[HeightMap]) -> Mapping[str, Picture]:
    """Draw every map.

    Returns:
        "height_map_L1", ...: pictures of their levels.
    """
    shown = [one for one in height_maps if np.isfinite(one.height_mm).any()]
    if not shown:
        return {}
    low = float(np.floor(min(np.nanmin(one.height_mm) for one in shown)))
    high = float(np.ceil(max(np.nanmax(one.height_mm) for one in shown)))
    return {f"height_map_{one.level}": _picture(one, low, max(high, low + 1.0)) for one in shown}


def _picture(height_map: HeightMap, low_mm: float, high_mm: float) -> Picture:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patheffects import AbstractPathEffect, withStroke

    size = [(pixels + 0.01) / drawing.DPI for pixels in _SIZE_PX]
    figure = Figure(figsize=(size[0], size[1]), dpi=drawing.DPI, facecolor="black")
    FigureCanvasAgg(figure)
    axes = figure.add_axes(_MAP_BOX, facecolor=_GROUND)
    axes.set(xticks=[], yticks=[])
    height = height_map.height_mm
    rows, columns = height.shape
    image = axes.imshow(height, cmap=COLOUR_MAP, vmin=low_mm, vmax=high_mm, interpolation="nearest")
    inside = np.isfinite(height)
    axes.contour(inside.astype(float), levels=[0.5], colors=[drawing.POINT], linewidths=[1.4])
    steps = np.arange(low_mm, high_mm, LINE_STEP_MM)
    crossed = steps[(steps > np.nanmin(height)) & (steps < np.nanmax(height))]
    if crossed.size:
        lines = axes.contour(height, levels=crossed, colors="white", linewidths=0.9)
        rim: list[AbstractPathEffect] = [withStroke(linewidth=2.2, foreground="black")]
        lines.set_path_effects(rim)
        for label in axes.clabel(lines, fmt="%.0f", fontsize=8):
            label.set_path_effects(rim)
    used = np.flatnonzero(inside.any(axis=1))
    ends = used[0] - 4, used[-1] + 4
    axes.plot([height_map.midline_column] * 2, ends, color=drawing.POINT, linewidth=0.8, linestyle="dotted")
    middle = height_map.midline_column
    for text, x, y in (("A", middle, 4), ("P", middle, rows - 5), ("R", 4, rows / 2), ("L", columns - 5, rows / 2)):
        drawing.write(axes, x, y, text, ha="center", va="center", color="white", bold=True)
    bar = figure.colorbar(image, cax=figure.add_axes(_BAR_BOX))
    bar.ax.tick_params(colors="white", labelsize=8)
    bar.ax.set_title("mm", color="white", fontsize=9)
    least, most = float(np.nanmin(height)), float(np.nanmax(height))
    alt = (
        f"{height_map.level} seen from above, anterior up and the patient's left at the right: height between the "
        f"endplates from {least:.0f} to {most:.0f} mm, on one scale for all bodies of the study."
    )
    return Picture(
        png=drawing.png_bytes(figure), alt=alt, level=height_map.level,
        caption=("Height between the endplates, seen from above: anterior up, the patient's left at the right",),
    )  # fmt: skip
