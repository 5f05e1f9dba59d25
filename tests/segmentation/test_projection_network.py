"""What the X-ray network is given to see."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from vertecast.segmentation.projection_network import box_mean, to_input


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
