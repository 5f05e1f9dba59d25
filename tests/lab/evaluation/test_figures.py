from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from vertecast.core import geometry
from vertecast.core.errors import OutputError
from vertecast.core.images import Mask, Volume
from vertecast.lab.evaluation.pages.figures import draw_overlay, write_overlay

AFFINE = geometry.affine(geometry.rotation([1, 0.2, 0.1], 0.15) * np.array([1.5, 1.2, 2.0]), [-30.0, 10.0, 90.0])


@pytest.fixture
def volume() -> Volume:
    hu = np.full((40, 50, 44), -100, np.int16)
    hu[10:30, 10:35, 4:40] = 300
    return Volume(hu=hu, lps_from_index=AFFINE)


def labels(number: int, shift: int = 0) -> Mask:
    array = np.zeros((40, 50, 44), np.uint8)
    array[10:30, 10 + shift : 35 + shift, 12:28] = number
    return Mask(labels=array, lps_from_index=AFFINE)


def colourfulness(path: Path) -> float:
    picture = matplotlib.image.imread(path)[..., :3]
    return float(np.ptp(picture, axis=2).mean())


def test_found_bodies_are_coloured_and_true_ones_outlined(volume: Volume, tmp_path: Path) -> None:
    write_overlay(tmp_path / "new" / "a.png", volume, labels(22))
    write_overlay(tmp_path / "none.png", volume, labels(0))
    write_overlay(tmp_path / "outlined.png", volume, labels(22), truth=labels(22, shift=4), title="one body")
    assert colourfulness(tmp_path / "new" / "a.png") > 3 * colourfulness(tmp_path / "none.png")
    plain = matplotlib.image.imread(tmp_path / "new" / "a.png")
    assert (matplotlib.image.imread(tmp_path / "outlined.png") != plain).any()


def test_the_views_go_through_the_true_bodies_where_others_were_found(volume: Volume) -> None:
    array = np.zeros((40, 50, 44), np.uint8)
    array[10:20, 10:20, 2:20], array[10:20, 10:20, 22:30], array[10:20, 10:20, 32:40] = 22, 21, 20
    astray = np.zeros((40, 50, 44), np.uint8)
    astray[32:38, 40:48, 2:20] = 41
    truth, found = (Mask(labels=one, lps_from_index=AFFINE) for one in (array, astray))
    sagittal = draw_overlay(volume, found, truth=truth).axes[0]
    assert len(sagittal.collections) == 3, "three true outlines, and nothing of the found one"
    assert not sagittal.texts
    assert [text.get_text() for text in draw_overlay(volume, found).axes[0].texts] == ["V1"]


def test_a_folder_that_cannot_be_written_is_said(volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_overlay(tmp_path / "file" / "a.png", volume, labels(22))
