"""What of a projection shows the patient: shutters, collimators, padding, saturation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phantoms.xray import COLUMNS, ROWS, TOP, as_fluoroscopy, film, projection, radiograph, read
from vertecast.core.images import Radiograph


@pytest.mark.parametrize("kind", ["Shutter", "Collimator"])
def test_shutters_of_the_header(tmp_path: Path, kind: str) -> None:
    rectangle = {f"{kind}LeftVerticalEdge": 11, f"{kind}RightVerticalEdge": 90}
    rectangle |= {f"{kind}UpperHorizontalEdge": 6, f"{kind}LowerHorizontalEdge": 100}
    valid = radiograph(projection(film(), **{f"{kind}Shape": "RECTANGULAR"}, **rectangle), tmp_path / "a").valid
    expected = np.zeros((ROWS, COLUMNS), bool)
    expected[5:100, 10:90] = True
    np.testing.assert_array_equal(valid, expected)
    circle = {f"CenterOfCircular{kind}": [61, 41], f"RadiusOfCircular{kind}": 30}
    both = projection(film(), **{f"{kind}Shape": ["CIRCULAR", "RECTANGULAR"]}, **circle, **rectangle)
    row, column = np.ogrid[:ROWS, :COLUMNS]
    disc = (row - 60) ** 2 + (column - 40) ** 2 <= 900
    np.testing.assert_array_equal(radiograph(both, tmp_path / "b").valid, expected & disc)
    corners = {f"VerticesOfThePolygonal{kind}": [1, 1, 1, 80, 100, 1]}
    triangle = radiograph(projection(film(), **{f"{kind}Shape": "POLYGONAL"}, **corners), tmp_path / "c").valid
    assert triangle[2, 2]
    assert not triangle[95, 75]
    assert triangle.sum() == pytest.approx(99 * 79 / 2, rel=0.03)
    nowhere = projection(film(), **{f"{kind}Shape": "CIRCULAR"}, **(circle | {f"RadiusOfCircular{kind}": 1}))
    result = read(nowhere, tmp_path / "d")
    assert isinstance(result.image, Radiograph)
    assert result.image.valid.all()
    assert "leaves no picture" in result.warnings[0]


@pytest.mark.parametrize("outside", [0, TOP])
@pytest.mark.parametrize("modality", ["CR", "RF"])
def test_round_field_is_found_in_the_picture(tmp_path: Path, outside: int, modality: str) -> None:
    row, column = np.ogrid[:ROWS, :COLUMNS]
    disc = (row - 58) ** 2 + (column - 47) ** 2 <= 45**2
    values = np.where(disc, film() if modality == "CR" else TOP - film(), outside)
    valid = radiograph(projection(values, modality), tmp_path).valid
    assert not valid[~disc].any()
    assert valid.sum() > 0.9 * disc.sum()


def test_tilted_blades_are_found_and_air_is_not_cut_off(tmp_path: Path) -> None:
    assert radiograph(projection(film()), tmp_path / "open").valid.all()
    row, column = np.mgrid[:ROWS, :COLUMNS]
    shadow = column < 9 + 0.05 * row
    values = np.where(shadow, 700, film())
    valid = radiograph(projection(values), tmp_path / "blade").valid
    assert valid[shadow].mean() < 0.2
    assert valid[~shadow].mean() > 0.93


def test_padding_and_saturation_are_marked(tmp_path: Path) -> None:
    values = film()
    values[:4] = 0
    values[60:66, 46:51] = TOP
    image = radiograph(projection(values, PixelPaddingValue=0), tmp_path)
    assert not image.valid[:4].any()
    assert image.saturated is not None
    assert image.saturated[60:66, 46:51].all()
    assert image.saturated.sum() == 30


def test_blades_that_move_are_followed_in_any_order_of_reading(tmp_path: Path) -> None:
    row, column = np.ogrid[:ROWS, :COLUMNS]

    def disc(radius: int) -> np.ndarray:
        return np.asarray((row - 58) ** 2 + (column - 47) ** 2 <= radius**2)

    frames = np.stack([np.where(disc(44 if n < 24 else 28), TOP - film(), 0) for n in range(40)])
    image = projection(frames, "RF", FrameTime=100)
    cine = as_fluoroscopy(read(image, tmp_path))
    assert any("moves" in warning for warning in read(image, tmp_path).warnings)
    for number in (40, 1, 20, 33):
        valid = cine.read(number).valid
        field = disc(44 if number <= 24 else 28)
        assert not valid[~field].any()
        assert valid.sum() > 0.9 * field.sum()
    # Between two frames that are looked at, what either shows is left.
    assert (cine.read(26).valid >= cine.read(34).valid).all()
