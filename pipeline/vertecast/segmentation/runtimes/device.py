"""Where torch computes: on the processor or on a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vertecast.core.config import Device
from vertecast.core.errors import ConfigurationError

logger = logging.getLogger(__name__)

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


def on_device(network: Module, device: torch.device, *, is_asked: bool = True) -> Callable[..., Any]:
    """A network that computes there, whatever device its input comes from; what it gives lies on the processor.

    Args:
        network: In evaluation mode.
        device: Of `torch_device`.
        is_asked: False: a device that is too small or too old for it gives way to the processor, for good.
    """
    if device.type == "cpu":
        return network

    def there(*inputs: torch.Tensor) -> Any:
        outputs = network.to(device)(*(one.to(device) for one in inputs))
        return tuple(one.cpu() for one in outputs) if isinstance(outputs, tuple) else outputs.cpu()

    fails = False

    def forward(*inputs: torch.Tensor) -> Any:
        nonlocal fails
        if not fails:
            try:
                return there(*inputs)
            except RuntimeError as error:  # out of its memory, or no code for its kind
                if is_asked:
                    raise
                fails = True
                logger.warning("the GPU cannot compute this network (%s); it goes on without", type(error).__name__)
        return network.cpu()(*inputs)

    return forward
