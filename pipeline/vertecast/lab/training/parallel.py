"""Training in several processes, started by ``torchrun``: each has its own examples, all step together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

LONGEST_WAIT = timedelta(hours=2)
"""The first process scores the held-out examples alone while the others wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which of how many processes this is, and the device that it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """The first process writes and scores."""
        return self.rank == 0

    def wrapped(self, net: torch.nn.Module) -> torch.nn.Module:
        """A network whose gradients are the mean over all processes."""
        if self.world == 1:
            return net
        return torch.nn.parallel.DistributedDataParallel(
            net, device_ids=[self.device.index] if self.device.type == "cuda" else None
        )

    def agreed(self, seconds: float) -> float:
        """The first process's clock, so that all end at the same step."""
        if self.world == 1:
            return seconds
        clock = torch.tensor([seconds], dtype=torch.float32, device=self.device)
        distributed.broadcast(clock, 0)
        return float(clock)

    def wait(self) -> None:
        """Go on when every process is here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def joined() -> Iterator[Place]:
    """Join the processes that ``torchrun`` has started; without it this one is alone."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if world == 1:
        yield Place(rank=0, world=1, device=device)
        return
    if on_gpu:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Place(rank=distributed.get_rank(), world=world, device=device)
    finally:
        distributed.destroy_process_group()
