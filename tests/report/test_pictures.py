"""Pictures: nothing mirrored, nothing stretched, found by colour at the place where it lies."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from vertecast.core import geometry
from vertecast.core.images import Mask, Volume
from vertecast.core.results import NotMeasured
from vertecast.report.figures import drawing, pictures, planes


def pixels(picture: pictures.Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(float)


def tinted(image: np.ndarray, colour: str) -> np.ndarray:
    """Pixels (row, column) whose hue is that of a colour, however bright the CT under it."""
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], float)
    chroma = image - image.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(chroma, axis=-1)
    wanted -= wanted.mean()
    cosine = (chroma @ wanted) / (np.maximum(length, 1e-9) * np.linalg.norm(wanted))
    return np.argwhere((cosine > 0.99) & (length > 20))


@pytest.fixture(scope="module")
def shown(case) -> pictures.Pictures:
    return pictures.render_pictures(case.volume, case.labels, case.report, canal=case.canal)


def test_which_pictures_there_are_and_what_stands_for_them(shown) -> None:
    assert list(shown) == ["sagittal", "coronal", "level_L1"]
    assert shown["level_L1"].level == "L1"
    assert "T11 to L3" in shown["sagittal"].alt
    assert "L1 Genant 2" in shown["sagittal"].alt


def test_sides_of_the_level_picture(shown) -> None:
    """Three panels: cement right of the midline, a leak further right, the disc leak on top; the canal behind."""
    image = pixels(shown["level_L1"])
    rows, columns = image.shape[:2]
    panels = [image[:, : columns // 3], image[:, columns // 3 : 2 * columns // 3], image[:, 2 * columns // 3 :]]
    middle = columns / 6
    cement = [tinted(panel, drawing.CEMENT).mean(axis=0) for panel in panels]
    canal = [tinted(panel, drawing.CANAL).mean(axis=0) for panel in (panels[0], panels[2])]
    leak = tinted(panels[1], drawing.LEAK)
    assert cement[1][1] < middle - 10, "the patient's right is on the viewer's left in the coronal view"
    assert cement[2][1] < middle - 10, "and in the axial view"
    assert canal[0][1] > cement[0][1] + 40, "posterior is on the right in the sagittal view"
    assert canal[1][0] > cement[2][0] + 40, "posterior is below in the axial view"
    assert leak[:, 0].min() < rows / 2 - 30, "the disc above is above"
    assert leak[:, 1].min() < cement[1][1] - 50, "the leak right of the body"


def test_a_millimetre_is_the_same_in_both_directions(case) -> None:
    """A cement ball of 14 mm is round, in a flat and in a curved cut."""
    frame = planes.body_frame(case.report.vertebrae[2])
    at = geometry.apply(case.column.frame(2), [-6.0, -1.0, 0.0])
    extent = (-20.0, 20.0, -16.0, 16.0)
    flat = planes.flat_cut(at, frame.left, frame.superior, extent, 0.25)
    box = (at[1] - 20, at[1] + 20, at[2] - 16, at[2] + 16)
    curved = planes.curved_cut(at[None, :], 0, box, 0.25)
    for cut in (flat, curved):
        inside = planes.sample_labels(case.labels, cut).coverage(200) >= 0.5
        height, width = np.ptp(np.argwhere(inside), axis=0) * 0.25
        assert width == pytest.approx(14.0, abs=2.0)
        assert height == pytest.approx(14.0, abs=2.0)
        assert np.argwhere(inside).mean(axis=0) == pytest.approx([64, 80], abs=3)


def test_the_curved_cut_runs_through_every_body(case) -> None:
    centers = np.array([vertebra.center_lps_mm for vertebra in case.report.vertebrae])
    for axis in (0, 1):
        shown = centers[:, 1 - axis]
        extent = (shown.min() - 30, shown.max() + 30, centers[:, 2].min() - 10, centers[:, 2].max() + 10)
        cut = planes.curved_cut(centers, axis, extent, 0.5)
        flat = cut.points_lps_mm.reshape(-1, 3)
        for center in centers:
            assert np.linalg.norm(flat - center, axis=1).min() < 0.6
            assert cut.project(center) == (center[1 - axis], center[2])


def test_hu_and_projection_agree_with_the_volume(case) -> None:
    center = geometry.apply(case.column.frame(2), [-6.0, -1.0, 0.0])
    cut = planes.flat_cut(center, np.eye(3)[1], np.eye(3)[2], (-2.0, 2.0, -2.0, 2.0), 1.0)
    assert planes.sample_hu(case.volume, cut).min() > 1500
    outside = planes.flat_cut(center + 4000, np.eye(3)[1], np.eye(3)[2], (-2.0, 2.0, -2.0, 2.0), 1.0)
    assert planes.sample_hu(case.volume, outside).max() == planes.AIR_HU
    assert not planes.sample_labels(case.labels, outside).boxes
    beside = planes.flat_cut(
        center + np.array([30.0, 0.0, 0.0]), np.eye(3)[1], np.eye(3)[2], (-8.0, 8.0, -8.0, 8.0), 0.5
    )
    assert not planes.sample_labels(case.labels, beside).coverage(200).any()
    assert planes.project_label(case.labels, beside, 200, 40.0).any()
    assert not planes.project_label(case.labels, beside, 200, 10.0).any()


def test_without_points_the_patients_own_axes_are_taken(case) -> None:
    vertebra = replace(case.report.vertebrae[2], six_points_lps_mm=NotMeasured(reason="noise"))
    frame = planes.body_frame(vertebra)
    np.testing.assert_array_equal([frame.left, frame.posterior, frame.superior], np.eye(3))
    turned = planes.body_frame(case.report.vertebrae[2])
    np.testing.assert_allclose(turned.left, case.column.frame(2)[:3, 0], atol=1e-6)
    assert np.dot(turned.superior, case.column.frame(2)[:3, 2]) > 0.99


def test_a_study_without_image_or_without_vertebrae_still_has_pictures(case) -> None:
    without_ct = pictures.render_pictures(None, case.labels, case.report)
    assert pixels(without_ct["level_L1"]).max() > 100
    empty = Mask(labels=np.zeros((20, 30, 25), np.uint8), lps_from_index=geometry.scaling_affine([3, 2, 4], [0, 0, 0]))
    nan = Volume(hu=np.full((20, 30, 25), np.nan, np.float32), lps_from_index=empty.lps_from_index)
    nothing = pictures.render_pictures(nan, empty, replace(case.report, vertebrae=(), cement=(), leaks=()))
    assert list(nothing) == ["sagittal", "coronal"]
    assert "no vertebra found" in nothing["sagittal"].alt
