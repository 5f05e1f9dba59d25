"""Letters and plates burned into a picture are found; cement, needles, screws and bone in the same white are not."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage.draw import disk, polygon

from phantoms.xray import film, only_file, projection
from vertecast.core.images import Fluoroscopy, Radiograph
from vertecast.io.discover import StudyFiles, find_studies
from vertecast.io.projection.images import choose_projection_series, projection_files, read_projection
from vertecast.io.projection.markers import find_markers

ROWS, COLUMNS = 900, 720
TOP = 1023.0


@functools.cache
def patient(rows: int = ROWS, columns: int = COLUMNS) -> np.ndarray:
    """A film of 10 bits: air 40, tissue up to 500 with texture, a spine of 800. Not to be written to."""
    smooth = film(rows=rows, columns=columns)
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 1, smooth.shape), 4)
    picture = np.clip(smooth + np.where(smooth > 60, 40 * noise / noise.std(), 0), 1, 1000)
    picture.flags.writeable = False
    return np.asarray(picture, dtype=np.float32)


def with_text(picture: np.ndarray, text: str, at: tuple[int, int], size: int, value: float) -> np.ndarray:
    """Letters drawn with smooth rims, as systems burn them in; ``at`` is (column, row)."""
    height, width = picture.shape
    layer = Image.new("L", (width, height))
    ImageDraw.Draw(layer).text(at, text, fill=255, font=ImageFont.load_default(size))
    share = np.asarray(layer, np.float32) / 255
    return np.asarray(picture * (1 - share) + value * share, dtype=np.float32)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Pixels that a drawing has set."""
    return np.asarray(np.abs(after - before) > 200)


@pytest.mark.parametrize(("value", "at"), [(TOP, (40, 60)), (TOP, (250, 430)), (0.0, (250, 430))])
@pytest.mark.parametrize(("text", "size"), [("RT STANDING", 34), ("LT.", 60), ("Erect", 28), ("12:34:56", 24)])
def test_letters_are_found_in_air_and_over_the_patient(value: float, text: str, size: int, at: tuple[int, int]) -> None:
    picture = patient() + 60
    drawn = with_text(picture, text, at, size, value)
    letters, found = changed(picture, drawn), find_markers(drawn)
    assert letters.sum() > 200
    assert found[letters].mean() > 0.9
    rows, columns = np.nonzero(letters)
    assert found.sum() < 2.2 * (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert find_markers(picture).sum() == 0


@pytest.mark.parametrize("turned_over", [False, True])
def test_a_plate_is_found_with_its_letters(turned_over: bool) -> None:
    picture = patient().copy()
    picture[700:760, 90:210] = TOP
    picture = with_text(picture, "RT", (115, 702), 50, 300.0)
    found = find_markers(TOP - picture if turned_over else picture)
    expected = np.zeros(found.shape, bool)
    expected[700:760, 90:210] = True
    np.testing.assert_array_equal(found, expected)


def test_one_letter_counts_only_where_no_patient_is() -> None:
    picture = patient().copy()
    picture[:, :60] = 40
    assert find_markers(with_text(picture, "R", (15, 300), 40, TOP)).any()
    assert not find_markers(with_text(picture, "R", (300, 300), 40, TOP)).any()


@functools.cache
def implants() -> dict[str, np.ndarray]:
    """Shapes in the picture's highest value (rows, columns), one scene each."""
    scenes = {name: np.zeros((ROWS, COLUMNS), bool) for name in ("cement", "needles", "screws", "cage", "clips", "rod")}
    for row, column, radius in ((300, 350, 30), (420, 340, 22), (425, 380, 18), (430, 415, 20)):
        scenes["cement"][disk((row, column), radius)] = True
    # A leak into a vein: thin and winding beside the blob.
    for step in np.linspace(0, 1, 60):
        scenes["cement"][disk((300 + 12 * np.sin(9 * step), 385 + 70 * step), 4)] = True
    scenes["needles"][300:306, 360:] = True
    scenes["needles"][polygon([500, 506, 800, 794], [700, 704, 430, 426])] = True
    for n in range(4):
        # Pedicle screws from the side and, in pairs, from the front.
        scenes["screws"][200 + 90 * n : 214 + 90 * n, 330:420] = True
        scenes["screws"][192 + 90 * n : 222 + 90 * n, 420:440] = True
        for column in (250, 520):
            scenes["screws"][disk((207 + 90 * n, column), 12)] = True
    cage = np.zeros((ROWS, COLUMNS), bool)
    cage[400:428, 330:400] = True
    cage[408:420, 342:388] = False
    scenes["cage"] = ndimage.rotate(cage.astype(float), 6, reshape=False, order=1) > 0.5
    for n in range(5):
        scenes["clips"][500 : 500 + 22, 300 + 20 * n : 304 + 20 * n] = True
    scenes["rod"][100:800, 300:310] = True
    scenes["rod"][100:800:60, 290:330] = True
    return scenes


@pytest.mark.parametrize("name", ["cement", "needles", "screws", "cage", "clips", "rod"])
@pytest.mark.parametrize("blur_px", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("bone_is_high", [True, False])
def test_what_is_in_the_patient_stays(name: str, blur_px: float, bone_is_high: bool) -> None:
    """However hard its edges, and clipped to the end of the scale."""
    share = ndimage.gaussian_filter(implants()[name].astype(np.float32), blur_px)
    picture = np.clip(patient() + 900 * share, 0, TOP)
    assert (picture == TOP).sum() > 100
    found = find_markers(picture if bone_is_high else TOP - picture)
    assert not found.any()


def test_clipped_bone_and_noise_stay() -> None:
    noise = np.random.default_rng(4).normal(0, 60, (ROWS, COLUMNS))
    for smooth in (0.0, 1.0, 3.0):
        texture = ndimage.gaussian_filter(noise, smooth) * (1 + 3 * smooth)
        assert not find_markers(np.clip(patient() + 250 + texture, 0, TOP).astype(np.float32)).any()


def test_letters_beside_cement_leave_it_alone() -> None:
    cement = implants()["cement"]
    picture = np.where(cement, TOP, patient()).astype(np.float32)
    drawn = with_text(picture, "LT", (120, 120), 48, TOP)
    found = find_markers(drawn)
    assert found[changed(picture, drawn)].mean() > 0.9
    assert not found[cement].any()


@pytest.mark.parametrize("shape", [(7, 5), (60, 40)])
def test_tiny_and_flat_pictures_have_none(shape: tuple[int, int]) -> None:
    assert not find_markers(np.full(shape, 7, np.float32)).any()
    assert not find_markers(patient(*shape)).any()


# Through the readers


def test_letters_show_no_patient_in_films_and_cines(tmp_path: Path) -> None:
    picture = patient(400, 320)
    drawn = with_text(picture, "RT", (20, 40), 30, TOP)
    letters = changed(picture, drawn)
    image = read_projection(only_file(projection(drawn), tmp_path / "film")).image
    assert isinstance(image, Radiograph)
    assert not image.valid[letters].any()
    assert image.valid.mean() > 0.97
    assert image.saturated is not None
    assert not image.saturated.any(), "the white of the letters is not the end of the patient's scale"
    frames = [with_text(picture, f"RT {n:02d}", (20, 40), 30, TOP) for n in range(5)]
    cine = read_projection(only_file(projection(np.stack(frames), "RF"), tmp_path / "cine")).image
    assert isinstance(cine, Fluoroscopy)
    assert not cine.read(3).valid[letters].any()


def test_letters_in_a_picture_file(tmp_path: Path) -> None:
    picture = patient(400, 320) / 4
    drawn = with_text(picture, "RT", (20, 40), 30, 255.0)
    Image.fromarray(drawn.astype(np.uint8)).save(tmp_path / "film.png")
    (study,) = find_studies([tmp_path / "film.png"])
    assert isinstance(study, StudyFiles)
    chosen, _ = choose_projection_series(study)
    (file,) = projection_files(chosen[0])
    image = read_projection(file).image
    assert isinstance(image, Radiograph)
    assert not image.valid[np.abs(drawn - picture) > 100].any()


@pytest.mark.realdata
def test_real_films_lose_their_print_and_nothing_else(real_data: Path) -> None:
    """Looked at: a third of the films carry print that is found, and no box lies over a spine."""
    marked = {}
    for path in sorted((real_data / "xray").glob("*/*.[pj][np]g")):
        picture = np.asarray(Image.open(path).convert("L"), np.float32)
        found = find_markers(picture)
        marked[f"{path.parent.name}/{path.stem}"] = int(found.sum())
        assert found.mean() < 0.03, path.name
    corners = [count for name, count in marked.items() if name.startswith("lumbar_lateral_corners")]
    assert min(corners) > 1000
    # Rods and screws over the whole spine, fasteners, ECG clips, arrows: no print.
    for name in ("00", "05", "18", "33"):
        assert marked[f"thoracolumbar_ap_corners/{name}"] == 0
