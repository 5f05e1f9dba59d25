"""Where the networks compute."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from vertecast.core.config import Config, SegmentationOptions
from vertecast.core.errors import ConfigurationError
from vertecast.run.engine import shipped_engine
from vertecast.segmentation.runtimes.device import on_device, torch_device

HAS_GPU = torch.cuda.is_available()


class Pair(torch.nn.Module):
    """Two inputs, two outputs."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a + b, a - b


def test_auto_is_the_processor_unless_there_is_a_gpu() -> None:
    assert torch_device("cpu") == torch.device("cpu")
    assert torch_device("auto").type == ("cuda" if HAS_GPU else "cpu")


@pytest.mark.skipif(HAS_GPU, reason="torch finds a GPU here")
def test_a_gpu_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="torch finds no GPU"):
        torch_device("cuda")
    options = SegmentationOptions(device="cuda")
    with pytest.raises(ConfigurationError, match="torch finds no GPU"):
        shipped_engine(options)


@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
def test_what_a_gpu_gives_lies_on_the_processor() -> None:
    network = on_device(torch.nn.Conv3d(1, 2, 3), torch.device("cuda"))
    assert network(torch.zeros(1, 1, 8, 8, 8)).device.type == "cpu"


def test_outputs_come_back_whatever_their_number() -> None:
    a, b = on_device(Pair(), torch.device("cpu"))(torch.ones(2), torch.ones(2))
    assert (a.tolist(), b.tolist()) == ([2.0, 2.0], [0.0, 0.0])


def test_a_device_that_fails_gives_way_unless_it_was_asked_for() -> None:
    broken = torch.device("meta")  # is not the processor, and what it computes cannot be copied back
    with pytest.raises(NotImplementedError):
        on_device(Pair(), broken)(torch.ones(2), torch.ones(2))
    network = on_device(Pair(), broken, is_asked=False)
    for _ in range(2):
        assert network(torch.ones(2), torch.ones(2))[0].tolist() == [2.0, 2.0]


def test_openvino_computes_on_the_processor() -> None:
    with pytest.raises(ValidationError, match="processor"):
        SegmentationOptions(runtime="openvino", device="cuda")
    assert Config().segmentation.device == "auto"
