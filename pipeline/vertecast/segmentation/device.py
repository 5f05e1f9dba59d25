"""Where torch computes: on the processor or on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vertecast.config import Device
from vertecast.errors import ConfigurationError

if TYPE_CHECKING:
    import torch
    from torch.nn import Module


def torch_device(asked: Device) -> torch.device:
    """The device that is asked for; "auto": the first GPU, else the processor.

    Raises:
        ConfigurationError: a GPU is asked for, and torch finds none.
    """
    import torch

    if asked != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    if asked == "cuda":
        raise ConfigurationError(
            "segmentation.device is cuda, but torch finds no GPU; install torch with CUDA and its driver, or take auto"
        )
    return torch.device("cpu")


def on_device(network: Module, device: torch.device) -> Callable[..., Any]:
    """A network that computes there, whatever device its input comes from; what it gives lies on the processor."""
    if device.type == "cpu":
        return network
    moved = network.to(device)

    def forward(*inputs: torch.Tensor) -> Any:
        outputs = moved(*(one.to(device) for one in inputs))
        return tuple(one.cpu() for one in outputs) if isinstance(outputs, tuple) else outputs.cpu()

    return forward
