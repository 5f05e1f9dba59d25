"""Pictures of height maps: their sides, their common scale of colours, and where they are written."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from vertecast.core.images import HeightMap
from vertecast.core.study_result import StudyResult
from vertecast.report import outputs
from vertecast.report.figures.height_maps import COLOUR_MAP, render_height_maps
from vertecast.report.figures.pictures import Picture


def wedge(level: str, front: float, back: float) -> HeightMap:
    """An ellipse of 44 x 32 mm, lower in front (up), that lacks its right third (at the left)."""
    rows, columns = np.mgrid[0:72, 0:100]
    height = front + (back - front) * (rows - 4) / 64.0
    inside = (np.hypot((columns - 50) / 44, (rows - 36) / 32) < 1) & (columns > 30)
    return HeightMap(
        level=level, height_mm=np.where(inside, height, np.nan).astype(np.float32), pixel_mm=0.5, midline_column=50.0
    )


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(float)


def near(image: np.ndarray, value_mm: float, low: float, high: float) -> np.ndarray:
    """Pixels (n, 2) of the map, without the bar, in the colour of a height."""
    colour = np.array(colormaps[COLOUR_MAP]((value_mm - low) / (high - low))[:3]) * 255
    return np.argwhere(np.abs(image[:, : image.shape[1] * 3 // 4] - colour).max(axis=-1) < 6)


def test_anterior_is_up_the_left_is_right_and_colours_are_common() -> None:
    shown = render_height_maps([wedge("L1", 12.0, 24.0), wedge("L3", 22.0, 24.0)])
    assert list(shown) == ["height_map_L1", "height_map_L3"]
    image, other = pixels(shown["height_map_L1"]), pixels(shown["height_map_L3"])
    low, middle, high = (near(image, value, 12.0, 24.0) for value in (13.5, 18.0, 22.5))
    assert low[:, 0].mean() < middle[:, 0].mean() < high[:, 0].mean()
    assert middle[:, 1].mean() > image.shape[1] * 0.38, "the missing right third is at the left"
    assert len(near(other, 23.0, 12.0, 24.0)) > 500
    assert len(near(other, 15.0, 12.0, 24.0)) == 0
    assert shown["height_map_L1"].level == "L1"
    assert "from 12 to 24 mm" in shown["height_map_L1"].alt


def test_nothing_to_show() -> None:
    empty = HeightMap(level="L1", height_mm=np.full((9, 9), np.nan, np.float32), pixel_mm=1.0, midline_column=4.0)
    assert render_height_maps([]) == render_height_maps([empty]) == {}


def test_a_level_map_still_has_a_scale() -> None:
    assert pixels(render_height_maps([wedge("L1", 20.0, 20.0)])["height_map_L1"]).max() > 100


def test_it_is_written_beside_the_other_pictures_and_shown_on_the_page(case, tmp_path: Path) -> None:
    maps = [wedge("L1", 12.0, 24.0)]
    written = outputs.write_study(
        StudyResult(report=case.report, volume=case.volume, labels=case.labels, height_maps=maps),
        tmp_path / "x",
    )
    assert "images/height_map_L1.png" in written
    text = (tmp_path / "x" / "report.html").read_text()
    assert text.index("L1 in the sagittal, coronal") < text.index("L1 seen from above") < text.index("<table")
