"""The network keeps every voxel in its place on the way down and up."""

from __future__ import annotations

import pytest
import torch

from vertecast.segmentation.ct.network import OUTPUT_CHANNELS, SpineNet, depth_to_space, space_to_depth


def test_depth_to_space_undoes_space_to_depth() -> None:
    x = torch.arange(2 * 3 * 4 * 6 * 8, dtype=torch.float32).reshape(2, 3, 4, 6, 8)
    assert torch.equal(depth_to_space(space_to_depth(x)), x)


def test_space_to_depth_gathers_neighbours() -> None:
    x = torch.zeros(1, 1, 4, 4, 4)
    x[0, 0, 2:4, 0:2, 2:4] = 1
    packed = space_to_depth(x)
    assert packed.shape == (1, 8, 2, 2, 2)
    assert packed[0, :, 1, 0, 1].sum() == 8
    assert packed.sum() == 8


@pytest.mark.parametrize("shape", [(16, 32, 48), (32, 16, 16)])
def test_output_has_the_shape_of_the_input(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    output = SpineNet((8, 8, 16, 16)).eval()(torch.randn(1, 1, *shape) * 300)
    assert output.shape == (1, OUTPUT_CHANNELS, *shape)
    assert torch.isfinite(output).all()
