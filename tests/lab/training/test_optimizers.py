"""Muon's steps: as strong in every direction, as large as AdamW's, for kernels alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vertecast.lab.training.optimizers import RMS_OF_ADAMW, Muon, is_kernel, optimizers, orthogonal


@pytest.mark.parametrize(("rows", "columns"), [(24, 81), (81, 24), (1, 27), (32, 32)])
def test_every_direction_of_a_step_is_about_as_strong(rows: int, columns: int) -> None:
    torch.manual_seed(3)
    left, right = torch.linalg.qr(torch.randn(rows, rows))[0], torch.linalg.qr(torch.randn(columns, columns))[0]
    strengths = torch.zeros(rows, columns)
    strengths.diagonal().copy_(torch.logspace(0, -1.5, min(rows, columns)))
    step = orthogonal(left @ strengths @ right)
    found = torch.linalg.svdvals(step)
    assert float(found.min()) > 0.6
    assert float(found.max()) < 1.25
    along = (left.T @ step @ right.T).diagonal()
    assert float(along.min()) > 0.6, "the singular vectors are kept"


def test_a_kernel_without_gradient_or_with_a_gradient_of_zero_stays() -> None:
    one, other = nn.Parameter(torch.ones(2, 3, 3, 3)), nn.Parameter(torch.ones(2, 3, 3, 3))
    one.grad = torch.zeros_like(one)
    Muon([one, other], lr=0.1).step()
    assert (one == 1).all()
    assert (other == 1).all()


def test_a_step_has_the_size_of_adamws() -> None:
    torch.manual_seed(4)
    kernel = nn.Parameter(torch.zeros(48, 16, 3, 3, 3))
    kernel.grad = torch.randn_like(kernel)
    Muon([kernel], lr=0.01).step()
    rms = float(kernel.detach().square().mean().sqrt())
    assert rms == pytest.approx(RMS_OF_ADAMW * 0.01, rel=0.2)


def test_kernels_are_muons_and_the_rest_is_adamws() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.Conv2d(4, 5, 1), nn.Linear(5, 2))
    muon, adamw = optimizers(net, learning_rate=0.1, weight_decay=0.0)
    assert isinstance(muon, Muon)
    held = [{id(p) for group in one.param_groups for p in group["params"]} for one in (muon, adamw)]
    assert held[0] == {id(net[0].weight)}
    assert held[0] | held[1] == {id(p) for p in net.parameters()}
    assert not held[0] & held[1]


def test_a_network_without_kernels_learns_too() -> None:
    (only,) = optimizers(nn.Linear(2, 1), learning_rate=0.1, weight_decay=0.0)
    assert isinstance(only, torch.optim.AdamW)


@pytest.mark.parametrize(("shape", "expected"), [((2, 2, 3, 1), True), ((2, 2, 1, 1), False), ((9,), False)])
def test_what_a_kernel_is(shape: tuple[int, ...], expected: bool) -> None:
    assert is_kernel(torch.zeros(shape)) is expected
