"""Projections of real scanners."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phantoms.xray import as_fluoroscopy, files, read_picture_at
from vertecast.core.images import Radiograph
from vertecast.io.projection.images import ProjectionImage, read_projection


def real(path: Path) -> ProjectionImage:
    (file,) = files(path)
    return read_projection(file)


@pytest.mark.realdata
def test_one_picture_whatever_the_codec(real_data: Path) -> None:
    pictures = {}
    for codec in ("J2KR", "JLSL", "JPLL", "RLE", "JLSN"):
        image = real(real_data / "dicom_codecs" / f"XA1_{codec}.dcm").image
        assert isinstance(image, Radiograph)
        pictures[codec] = image
    first = pictures["RLE"]
    assert 0.74 < first.valid.mean() < 0.79
    for codec, image in pictures.items():
        if codec != "JLSN":
            np.testing.assert_array_equal(image.intensity, first.intensity)
            np.testing.assert_array_equal(image.valid, first.valid)
    difference = np.abs(pictures["JLSN"].intensity - first.intensity)
    assert 0 < difference.max() <= 20
    assert (pictures["JLSN"].valid != first.valid).mean() < 0.01


@pytest.mark.realdata
def test_twelve_bit_jpeg(real_data: Path) -> None:
    result = real(real_data / "dicom_codecs" / "RG2_JPLY.dcm")
    assert isinstance(result.image, Radiograph)
    assert result.image.shape == (2140, 1760)
    assert result.image.intensity[900, 900] > result.image.intensity[2000, 700] + 200  # thigh and air
    assert result.spacing is not None
    assert result.spacing.plane == "unknown"


@pytest.mark.realdata
def test_lumbar_fluoroscopy(real_data: Path) -> None:
    fluoroscopy = as_fluoroscopy(real(real_data / "fluoro" / "lumbar_ap_bending_rf.dcm"))
    assert fluoroscopy.frame_count == 55
    assert fluoroscopy.frame_time_ms is not None
    assert fluoroscopy.frame_time_ms[-1] == pytest.approx(54 * 133.47)
    for number in range(1, 56):
        frame = fluoroscopy.read(number)
        assert 0.74 < frame.valid.mean() < 0.79
        assert not frame.valid[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    upright = fluoroscopy.read(1)
    # The lower lumbar spine stands between bowel on both sides.
    spine = upright.intensity[150:300, 250:310].mean()
    assert spine > upright.intensity[150:300, 330:380].mean() + 15
    assert spine > upright.intensity[150:300, 150:200].mean() + 15


@pytest.mark.realdata
def test_coronary_cine_of_fragments(real_data: Path) -> None:
    result = real(real_data / "fluoro" / "xa_coronary_96_frames.dcm")
    fluoroscopy = as_fluoroscopy(result)
    assert (fluoroscopy.frame_count, result.view, result.warnings) == (96, "oblique", ())
    last = fluoroscopy.read(96)
    assert 0.7 < last.valid.mean() < 0.8
    assert last.intensity[200:350, 300].mean() > last.intensity[200:350, 120].mean()  # heart and lung


@pytest.mark.realdata
def test_real_films_keep_their_polarity(real_data: Path) -> None:
    paths = sorted((real_data / "xray").glob("*/*.png")) + sorted((real_data / "xray").glob("*/*.jpg"))
    assert len(paths) == 59
    for path in paths:
        result = read_picture_at(path)
        assert isinstance(result.image, Radiograph)
        assert result.warnings == (), path.name
        black_beside = 0.5 if path.stem == "08" else 0.0  # its field ends in front of the belly; the rest is black
        assert result.image.valid.mean() > 0.9 - black_beside, path.name
