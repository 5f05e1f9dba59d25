"""What the X-ray network is given to see."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from vertecast.lab.training.xray import DEFORMED_WEIGHT, loss_terms
from vertecast.segmentation.projection.network import (
    MAPS,
    OFFSET_CHANNELS,
    OFFSET_SCALE_PX,
    OUTPUT_CHANNELS,
    VIEWS,
    box_mean,
    to_input,
)


@pytest.mark.parametrize("shape", [(40, 61), (7, 90)])
def test_box_mean_is_the_mean_of_what_lies_inside(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 1, *shape)
    expected = functional.avg_pool2d(x, 9, stride=1, padding=4, count_include_pad=False)
    assert torch.allclose(box_mean(x, 9), expected, atol=1e-6)


def test_gain_offset_and_what_is_hidden_do_not_show() -> None:
    torch.manual_seed(1)
    image = torch.rand(1, 1, 64, 96)
    valid = torch.ones_like(image)
    valid[..., :20] = 0
    seen = to_input(image, valid)
    elsewhere = torch.where(valid > 0, 3 * image + 5, torch.tensor(1e3))
    assert torch.allclose(to_input(elsewhere, valid), seen, atol=1e-3)
    assert not seen[:, :2, :, :20].any()


def test_votes_of_a_deformed_body_weigh_more() -> None:
    """A sound body beside a wedge-shaped one: the same error of a far point costs three times as much in the latter."""
    size = 16
    sound = [(2, 2), (7, 2), (12, 2), (2, 12), (7, 12), (12, 12)]
    wedge = [(2, 7), (7, 4), (12, 2), (2, 12), (7, 12), (12, 12)]
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    votes = [torch.stack([v for x, y in six for v in (x - columns, y - rows)]) for six in (sound, wedge)]
    batch = {
        "maps": torch.zeros(1, len(MAPS), size, 2 * size),
        "offset": torch.cat(votes, dim=2)[None] / OFFSET_SCALE_PX,
        "plate": torch.zeros(1, 4, size, 2 * size),
        "view": torch.tensor([1]),
        "pose": torch.zeros(1, 2),
        "pose_known": torch.zeros(1, 2),
    }
    batch["maps"][:, MAPS.index("body")] = 1
    costs = []
    for at in (0, size):
        output = torch.zeros(1, OUTPUT_CHANNELS, size, 2 * size)
        output[:, OFFSET_CHANNELS] = batch["offset"]
        output[:, OFFSET_CHANNELS.stop - 1, 3, at + 3] += 0.5
        costs.append(float(loss_terms(output, torch.zeros(1, len(VIEWS) + 2), batch)["offset"]))
    assert costs[0] > 0
    assert costs[1] / costs[0] == pytest.approx(DEFORMED_WEIGHT)
