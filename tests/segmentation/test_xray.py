"""From the network's answer to points that have names: front and head are found whatever way the picture lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vertecast.core.images import ProjectionSpacing, Radiograph
from vertecast.segmentation.projection import segmenter
from vertecast.segmentation.projection.bundle import XrayBundle
from vertecast.segmentation.projection.network import (
    ANTERIOR_LEFT,
    MAPS,
    OFFSET_CHANNELS,
    OFFSET_SCALE_PX,
    OUTPUT_CHANNELS,
    STRIDE,
    UPRIGHT,
    VIEWS,
)
from vertecast.segmentation.projection.segmenter import XraySegmenter

BOXES = [(60.0 + 44 * n, 150.0) for n in range(4)]
DEPTH, HEIGHT = 52.0, 33.0
PIXEL = 1.3
"""The boxes of the fake answer end at whole pixels of the working picture, which are a little finer than the film's."""


class PerfectNet(torch.nn.Module):
    """Answers for a film with four bright boxes, read off the picture; brighter fronts say where anterior is."""

    def __init__(self, *, upright: bool = True, view: str = "lateral") -> None:
        super().__init__()
        self.upright, self.view = upright, view

    def forward(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Votes in the picture's order, from the connected bright boxes."""
        from scipy import ndimage

        picture = image[0, 0].numpy()
        labels, count = ndimage.label(picture > 0.5)
        output = torch.full((1, OUTPUT_CHANNELS, *picture.shape), -9.0)
        output[:, OFFSET_CHANNELS] = 0
        front = 0.0
        rows, columns = np.indices(picture.shape)
        for n, box in enumerate(ndimage.find_objects(labels), start=1):
            inside = labels == n
            output[0, MAPS.index("body")][torch.from_numpy(inside)] = 6.0
            top, bottom = box[0].start - 0.5, box[0].stop - 0.5
            left, right = box[1].start - 0.5, box[1].stop - 0.5
            points = [(x, y) for y in (top, bottom) for x in (left, (left + right) / 2, right)]
            for k, (x, y) in enumerate(points):
                for channel, votes in ((2 * k, x - columns), (2 * k + 1, y - rows)):
                    layer = output[0, OFFSET_CHANNELS][channel]
                    layer[torch.from_numpy(inside)] = torch.from_numpy(votes[inside] / OFFSET_SCALE_PX).float()
            half = (box[1].start + box[1].stop) // 2
            front += float(picture[:, :half][inside[:, :half]].mean() - picture[:, half:][inside[:, half:]].mean())
        pose = torch.full((1, len(VIEWS) + 2), -6.0)
        pose[0, VIEWS.index(self.view if count else "none")] = 6.0
        pose[0, ANTERIOR_LEFT] = 6.0 if front > 0 else -6.0
        pose[0, UPRIGHT] = 6.0 if self.upright else -6.0
        return output, pose


class ShortSighted(PerfectNet):
    """Knows no body deeper than 120 pixels, as a network that never saw a spot film close up."""

    def forward(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """As `PerfectNet`, and nothing where the bright columns are wider."""
        widest = int((image[0, 0] > 0.5).sum(1).max())
        return super().forward(image * float(widest <= 120), valid)


class FarSighted(PerfectNet):
    """Sets the points of bodies less than 60 pixels deep three pixels too far right, as small pictures blur corners."""

    def forward(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """As `PerfectNet`, or nearly."""
        output, pose = super().forward(image, valid)
        if int((image[0, 0] > 0.5).sum(1).max()) < 60:
            output[0, OFFSET_CHANNELS][::2] += 3 / OFFSET_SCALE_PX
        return output, pose


def _film(*, boxes: int = 4) -> np.ndarray:
    picture = np.zeros((300, 280), dtype=np.float32)
    for row, column in BOXES[:boxes]:
        picture[int(row) : int(row + HEIGHT), int(column) : int(column + DEPTH)] = 0.8
        picture[int(row) : int(row + HEIGHT), int(column) : int(column + DEPTH / 2)] = 1.0
    return picture


def _segmenter(net: PerfectNet) -> XraySegmenter:
    bundle = XrayBundle(name="perfect", version="1", path=Path("none"), sha256="0", widths=(8,), picture_px=256)
    return XraySegmenter(bundle=bundle, net=net)  # type: ignore[arg-type]


def _radiograph(picture: np.ndarray, **more: object) -> Radiograph:
    return Radiograph(intensity=picture, valid=np.ones(picture.shape, dtype=bool), **more)  # type: ignore[arg-type]


def test_a_spot_film_is_looked_at_from_farther_away() -> None:
    near = np.kron(_film(boxes=2)[40:150, 130:240], np.ones((3, 3), dtype=np.float32))
    found = _segmenter(ShortSighted()).segment(_radiograph(near))
    assert (found.view, found.count) == ("lateral", 2)
    depth = np.linalg.norm(found.points_px[:, 2] - found.points_px[:, 0], axis=1)
    assert depth == pytest.approx(3 * DEPTH, rel=0.04)


def test_points_are_read_again_where_bodies_are_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    row, column = BOXES[2]
    truth = np.array([[x, y] for y in (row, row + HEIGHT) for x in (column, column + DEPTH / 2, column + DEPTH)]) - 0.5

    def error() -> float:
        # The same shift in the mirror image would cancel that of the picture.
        monkeypatch.setattr(segmenter, "_mean", lambda seen, _: seen)
        found = _segmenter(FarSighted()).segment(_radiograph(_film()))
        return float(np.abs(found.points_px[2] - truth).max())

    with_closer_looks = error()
    monkeypatch.setattr(segmenter, "CLOSE_DEPTHS_PX", ())
    assert with_closer_looks < 0.6 * error()


def test_points_lie_on_the_corners_and_have_their_names() -> None:
    found = _segmenter(PerfectNet()).segment(_radiograph(_film()))
    assert (found.view, found.count) == ("lateral", 4)
    row, column = BOXES[1]
    truth = [[x, y] for y in (row, row + HEIGHT) for x in (column, column + DEPTH / 2, column + DEPTH)]
    assert found.points_px[1] == pytest.approx(np.array(truth) - 0.5, abs=1.2)
    assert not any(found.touches_border)


def test_a_mirrored_film_has_the_same_bodies_with_the_front_on_the_other_side() -> None:
    straight = _segmenter(PerfectNet()).segment(_radiograph(_film()))
    mirrored = _segmenter(PerfectNet()).segment(_radiograph(np.ascontiguousarray(_film()[:, ::-1])))
    width = _film().shape[1]
    back = mirrored.points_px * [-1, 1] + [width - 1, 0]
    assert back == pytest.approx(straight.points_px, abs=PIXEL)


def test_an_upside_down_film_counts_from_the_head() -> None:
    straight = _segmenter(PerfectNet()).segment(_radiograph(_film()))
    turned = _segmenter(PerfectNet(upright=False)).segment(_radiograph(np.ascontiguousarray(_film()[::-1])))
    back = turned.points_px * [1, -1] + [0, _film().shape[0] - 1]
    assert back == pytest.approx(straight.points_px, abs=PIXEL)


def test_on_an_ap_view_points_run_from_left_to_right() -> None:
    found = _segmenter(PerfectNet(view="ap")).segment(_radiograph(np.ascontiguousarray(_film()[:, ::-1])))
    assert found.view == "ap"
    assert (found.points_px[:, 0, 0] < found.points_px[:, 2, 0]).all()


def test_oblong_pixels_are_made_square_and_points_come_back() -> None:
    oblong = np.repeat(_film(), 2, axis=0)
    spacing = ProjectionSpacing(row_mm=0.5, column_mm=1.0, plane="patient")
    found = _segmenter(PerfectNet()).segment(_radiograph(oblong, spacing=spacing))
    straight = _segmenter(PerfectNet()).segment(_radiograph(_film()))
    assert found.points_px == pytest.approx((straight.points_px + 0.5) * [1, 2] - 0.5, abs=1.5)


def test_one_box_is_no_spine() -> None:
    found = _segmenter(PerfectNet()).segment(_radiograph(_film(boxes=1)))
    assert (found.view, found.count) == (None, 0)
    assert found.body_probability.shape == (300, 280)


@pytest.mark.parametrize(
    ("film", "first"),
    [((300, 280), (448, 418)), ((1200, 480), (640, 256)), ((480, 1200), (256, 640)), ((3000, 300), (1152, 115))],
)
def test_a_long_narrow_film_is_seen_large_enough_at_once(film: tuple[int, int], first: tuple[int, int]) -> None:
    seen = []

    class Watching(PerfectNet):
        def forward(self, image: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(tuple(image.shape[2:]))
            return super().forward(image, valid)

    _segmenter(Watching()).segment(_radiograph(np.zeros(film, dtype=np.float32)))
    assert seen[0] == tuple(n + -n % STRIDE for n in first)
