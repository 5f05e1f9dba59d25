"""Cines: frames one at a time, compressed frames in fragments, times, planes of a biplane system."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import generate_fragmented_frames

from phantoms.xray import (
    COLUMNS,
    ROWS,
    TOP,
    as_fluoroscopy,
    bone_over_tissue,
    cine,
    compressed,
    files,
    film,
    item,
    only_file,
    read,
    save_one,
)
from vertecast.core.errors import UnreadableError, UnsupportedError
from vertecast.io.projection.header import frame_times_ms
from vertecast.io.projection.images import read_cine, read_projection, read_radiograph


def test_cine_is_read_frame_by_frame(tmp_path: Path) -> None:
    result = read_cine(only_file(cine(FrameTime="125"), tmp_path))
    fluoroscopy = as_fluoroscopy(result)
    assert (result.kind, fluoroscopy.frame_count, result.file_frames) == ("cine", 6, (1, 2, 3, 4, 5, 6))
    assert fluoroscopy.frame_time_ms == (0, 125, 250, 375, 500, 625)
    for number in (6, 1, 4):
        frame = fluoroscopy.read(number)
        assert frame.frame_number == number
        assert bone_over_tissue(frame.intensity, number - 1) > 200
    with pytest.raises(UnreadableError, match="frames 1 to 6, not 7"):
        fluoroscopy.read(7)
    with pytest.raises(UnsupportedError, match="is a cine"):
        read_radiograph(only_file(cine(), tmp_path / "b"))
    with pytest.raises(UnsupportedError, match="is no cine"):
        read_cine(only_file(cine(1), tmp_path / "c"))


def test_only_the_frame_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vertecast.io.projection import frames

    fluoroscopy = as_fluoroscopy(read(cine(40), tmp_path))
    spans: list[int] = []
    original = frames._read_span

    def counted(file: Any, offset: int, length: int) -> bytes:
        spans.append(length)
        return original(file, offset, length)

    monkeypatch.setattr(frames, "_read_span", counted)
    fluoroscopy.read(17)
    assert spans == [ROWS * COLUMNS * 2]


def test_cine_in_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    path = save_one(cine(), tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "a/cine.dcm")
    (file,) = files(tmp_path / "x.zip")
    fluoroscopy = as_fluoroscopy(read_projection(file))
    (tmp_path / "x.zip").unlink()
    assert bone_over_tissue(fluoroscopy.read(3).intensity, 2) > 200


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("offsets", [True, False])
def test_fragmented_jpeg(tmp_path: Path, fragments: int, offsets: bool) -> None:
    values = np.stack([TOP - film(shift) for shift in range(4)])
    image = compressed(values, fragments, offsets)
    assert len(list(generate_fragmented_frames(image.PixelData, number_of_frames=4))) == 4
    fluoroscopy = as_fluoroscopy(read(image, tmp_path))
    for number in range(1, 5):
        expected = -(values[number - 1] // 4)
        assert np.abs(fluoroscopy.read(number).intensity - expected).mean() < 3


@pytest.mark.parametrize(
    ("attributes", "expected", "words"),
    [
        ({"FrameTimeVector": [0, 100, 200, 150]}, (0, 100, 300, 450), ""),
        ({"FrameTimeVector": [0, 100], "FrameTime": "50"}, (0, 50, 100, 150), "FrameTimeVector has 2 values"),
        ({"CineRate": 8}, (0, 125, 250, 375), "CineRate"),
        ({"RecommendedDisplayFrameRate": 10, "FrameTime": "0"}, (0, 100, 200, 300), "rate of display"),
        ({"FrameTime": "0"}, None, "no time between frames"),
        ({"FrameTime": "0.2"}, None, "FrameTime 0.2 ms cannot be"),
        ({"FrameTime": "0.2", "CineRate": 5}, (0, 200, 400, 600), "FrameTime 0.2 ms cannot be"),
        ({"FrameTimeVector": [0, 0.1, 0.1, 0.1], "FrameTime": "100"}, (0, 100, 200, 300), "makes no sense"),
        ({}, None, "no time between frames"),
    ],
)
def test_frame_times(attributes: dict[str, Any], expected: tuple[float, ...] | None, words: str) -> None:
    times, notes = frame_times_ms(cine(4, **attributes), (1, 2, 3, 4))
    assert times == expected
    assert bool(notes) == bool(words)
    assert words in " ".join(notes)


def enhanced(planes: str) -> Dataset:
    """An enhanced XA whose frames belong to the planes named by letters, acquired every 200 ms."""
    image = cine(len(planes))
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.12.1.1"
    properties = item(ImagerPixelSpacing=[0.3, 0.3], PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=1)
    shared = item(
        FramePixelDataPropertiesSequence=properties,
        XRayGeometrySequence=item(EstimatedRadiographicMagnificationFactor=1.5),
    )
    image.SharedFunctionalGroupsSequence = shared
    groups = []
    for number, plane in enumerate(planes):
        (own,) = item(
            FrameContentSequence=item(FrameAcquisitionDateTime=f"20240101120000.{2 * number}00000"),
            XAXRFFrameCharacteristicsSequence=item(),
            PositionerPositionSequence=item(PositionerPrimaryAngle=2.0 if plane == "A" else 91.0),
        )
        own.add_new(0x00189412, "SQ", item(FrameType=["ORIGINAL", "PRIMARY", f"BIPLANE {plane}"]))
        groups.append(own)
    image.PerFrameFunctionalGroupsSequence = groups
    return image


def test_enhanced_biplane_is_kept_apart(tmp_path: Path) -> None:
    first, second = (read_projection(file) for file in files(save_one(enhanced("ABABA"), tmp_path)))
    assert (first.plane, first.view, first.file_frames) == ("A", "ap", (1, 3, 5))
    assert (second.plane, second.view, second.file_frames) == ("B", "lateral", (2, 4))
    assert as_fluoroscopy(first).frame_time_ms == (0, 400, 800)
    assert as_fluoroscopy(second).frame_time_ms == (0, 400)
    assert first.spacing is not None
    assert (first.spacing.row_mm, first.spacing.plane) == (pytest.approx(0.2), "patient")
    frame = as_fluoroscopy(second).read(2)
    assert frame.frame_number == 2
    assert bone_over_tissue(frame.intensity, 3) > 200
