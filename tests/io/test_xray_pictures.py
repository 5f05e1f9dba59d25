"""PNG and JPEG files as films."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from phantoms.xray import bone_over_tissue, film, projection, read_picture_at, save_one
from vertecast.core.errors import UnreadableError, UnsupportedError
from vertecast.core.images import Radiograph
from vertecast.io.discover import StudyFiles, UnreadablePath, find_studies


def save_picture(path: Path, values: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((film() / 4).astype(np.uint8) if values is None else values).save(path)
    return path


def picture_studies(*paths: Path) -> list[str]:
    return [one.study_instance_uid for one in find_studies(list(paths)) if isinstance(one, StudyFiles)]


def test_pictures_are_studies_where_nothing_else_is(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    save_picture(folder / "one.png")
    save_picture(folder / "deep" / "two.JPG")
    (folder / "one.json").write_text("{}")
    assert picture_studies(folder) == ["two", "one"]
    save_one(projection(film()), folder / "dicom")
    assert "one" not in picture_studies(folder)
    assert picture_studies(folder / "one.png") == ["one"]
    assert "one" in picture_studies(folder, folder / "one.png")


def test_own_pictures_are_never_taken(tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "out" / "1.2.3" / "images" / "sagittal.png")
    (tmp_path / "out" / "1.2.3" / "report.json").write_text("{}")
    assert picture_studies(tmp_path / "out") == []
    assert picture_studies(picture.parent) == []
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        archive.write(picture, "1.2.3/images/sagittal.png")
        archive.writestr("1.2.3/report.json", "{}")
    (problem,) = find_studies([tmp_path / "out.zip"])
    assert isinstance(problem, UnreadablePath)


@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "palette", "colour", "inverted"])
def test_pictures_are_read_whatever_their_kind(tmp_path: Path, kind: str) -> None:
    grey = (film() / 4).astype(np.uint8)
    values = {"16 bits": (film() * 60).astype(np.uint16), "colour": np.stack([grey] * 3, -1), "inverted": 255 - grey}
    path = save_picture(tmp_path / "film.png", values.get(kind, grey))
    if kind == "palette":
        Image.open(path).convert("P").save(path)
    result = read_picture_at(path, spacing_mm=0.25)
    assert isinstance(result.image, Radiograph)
    assert bone_over_tissue(result.image.intensity) > 50
    assert result.image.valid.all()
    assert bool(result.warnings) == (kind == "inverted")
    assert result.spacing is not None
    assert (result.spacing.row_mm, result.spacing.plane) == (0.25, "patient")
    assert read_picture_at(path).spacing is None
    assert (result.study_instance_uid, result.sop_instance_uids) == ("film", ())


def test_a_photograph_that_is_stored_lying_is_turned_upright(tmp_path: Path) -> None:
    upright = Image.fromarray((film() / 4).astype(np.uint8))
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[274] = 6  # Orientation: the viewer turns it clockwise by 90 degrees
    upright.save(tmp_path / "upright.png")
    lying.save(tmp_path / "lying.png", exif=exif)
    pictures = [read_picture_at(tmp_path / name).image for name in ("upright.png", "lying.png")]
    assert all(isinstance(picture, Radiograph) for picture in pictures)
    assert np.array_equal(*(picture.intensity for picture in pictures if isinstance(picture, Radiograph)))


def test_bad_pictures_have_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as weasyprint leaves it
    broken = tmp_path / "broken.png"
    save_picture(broken)
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(UnreadableError, match="damaged"):
        read_picture_at(broken)
    with pytest.raises(UnsupportedError, match="same value"):
        read_picture_at(save_picture(tmp_path / "flat.png", np.full((40, 30), 9, np.uint8)))
    colours = np.random.default_rng(1).integers(0, 255, (40, 30, 3), np.uint8)
    with pytest.raises(UnsupportedError, match="colour picture"):
        read_picture_at(save_picture(tmp_path / "photo.png", colours))
