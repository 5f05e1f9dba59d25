"""Reading of projections: files and series, views, frames in archives. Every failure has a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from phantoms.xray import COLUMNS, ROWS, TOP, cine, compressed, files, film, item, projection, save_one
from vertecast.core.errors import UnreadableError, UnsupportedError
from vertecast.io.discover import StudyFiles, find_studies, series_kind
from vertecast.io.projection.header import FrameHeader, view_of
from vertecast.io.projection.images import choose_projection_series, read_projection


def test_two_views_in_a_series_are_two_images(tmp_path: Path) -> None:
    lateral = projection(film(), ViewPosition="LL", InstanceNumber=2)
    ap = projection(film(), ViewPosition="AP", InstanceNumber=1)
    ap.StudyInstanceUID, ap.SeriesInstanceUID = lateral.StudyInstanceUID, lateral.SeriesInstanceUID
    save_one(lateral, tmp_path)
    save_one(ap, tmp_path)
    assert [read_projection(file).view for file in files(tmp_path)] == ["ap", "lateral"]


@pytest.mark.parametrize(
    ("attributes", "view"),
    [
        ({"ViewPosition": "PA"}, "ap"),
        ({"ViewPosition": "RAO"}, "oblique"),
        ({"ViewCodeSequence": item(CodeMeaning="left lateral"), "ViewPosition": "AP"}, "lateral"),
        ({"ViewCodeSequence": item(CodeMeaning="postero-anterior")}, "ap"),
        ({"PatientOrientation": ["L", "F"]}, "ap"),
        ({"PatientOrientation": ["A", "FR"]}, "oblique"),
        ({"PatientOrientation": ["P", "F"]}, "lateral"),
        ({"PatientOrientation": ["P", "L"]}, None),
        ({"Modality": "XA", "PositionerPrimaryAngle": "-88"}, "lateral"),
        ({"Modality": "XA", "PositionerPrimaryAngle": "178"}, "ap"),
        ({"Modality": "XA", "PositionerPrimaryAngle": "45"}, "oblique"),
        ({"Modality": "DX", "PositionerPrimaryAngle": "0"}, None),
        ({}, None),
    ],
)
def test_view_of_the_header(attributes: dict[str, Any], view: str | None) -> None:
    assert view_of(FrameHeader(dataset=projection(film(), **attributes))) == view


def cut(image: Dataset, keep: int) -> None:
    image.PixelData = image.PixelData[:keep]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda image: cut(image, ROWS * COLUMNS * 2 * 4), "names 6 frames and the pixel data holds 4"),
        (lambda image: setattr(image, "NumberOfFrames", 5), "names 5 frames and the pixel data holds 6"),
        (lambda image: delattr(image, "PixelData"), "no pixel data"),
        (lambda image: setattr(image, "PixelData", b"\1\0" * (ROWS * COLUMNS * 6)), "every pixel has the same value"),
        (lambda image: setattr(image, "BitsAllocated", 64), "64 bits per pixel"),
        (lambda image: setattr(image, "PhotometricInterpretation", "HSV"), "stored as HSV"),
    ],
)
def test_bad_files_have_a_reason_and_name_nobody(tmp_path: Path, edit: Any, words: str) -> None:
    image = cine()
    path = save_one(image, tmp_path)
    (file,) = files(path)
    edit(image)
    image.save_as(path, enforce_file_format=False)
    with pytest.raises((UnreadableError, UnsupportedError), match=words) as caught:
        read_projection(file)
    assert "SECRET" not in str(caught.value).upper()


def test_pixels_that_contradict_their_compression_are_unreadable(tmp_path: Path) -> None:
    path = save_one(cine(), tmp_path)
    (file,) = files(path)
    explicit, rle = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"
    path.write_bytes(path.read_bytes().replace(explicit, rle))
    with pytest.raises(UnreadableError, match="claims to be compressed"):
        read_projection(file)


@given(st.integers(200, 6000))
def test_file_cut_off_anywhere_is_unreadable(tmp_path_factory: pytest.TempPathFactory, keep: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    values = np.stack([TOP - film(shift) for shift in range(3)])
    path = save_one(compressed(values, 2, False), folder)
    (file,) = files(path)
    path.write_bytes(path.read_bytes()[: min(keep, path.stat().st_size - 20)])
    with pytest.raises((UnreadableError, UnsupportedError)):
        read_projection(file)


def test_choice_of_series_and_reasons(tmp_path: Path) -> None:
    study = "1.2.3"
    images = {
        "film": projection(film(), "DX"),
        "raw": projection(film(), "DX", PresentationIntentType="FOR PROCESSING"),
        "cine": cine(),
        "wrapped": projection(film(), "SC"),
        "screen": projection(film() // 4, "SC", bits=8),
        "frame grabber": projection(film() // 4, "SC", bits=8, ConversionType="DV"),
        "mammogram": projection(film(), "DX", Modality="MG"),
    }
    for number, image in enumerate(images.values()):
        image.StudyInstanceUID, image.SeriesInstanceUID = study, f"1.2.3.{number}"
        save_one(image, tmp_path)
    (found,) = find_studies([tmp_path])
    assert isinstance(found, StudyFiles)
    chosen, others = choose_projection_series(found)
    names = {f"1.2.3.{number}": name for number, name in enumerate(images)}
    assert {names[one.series_instance_uid] for one in chosen} == {"film", "cine", "wrapped", "frame grabber"}
    reasons = {names[one.series_instance_uid]: one.reason for one in others}
    assert "raw detector values" in reasons["raw"]
    assert "secondary capture" in reasons["screen"]
    assert "modality MG" in reasons["mammogram"]
    assert {series_kind(one) for one in chosen} == {"radiograph", "cine"}
