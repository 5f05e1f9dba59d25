"""Batches from worker processes, in an order that follows from the settings and the number of the step alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from vertecast.lab.training.task import Batch, Stream, Task

if TYPE_CHECKING:
    from torch.utils.data import DataLoader


LOWEST_PRIORITY: Final = 19
"""`nice` of a worker on a machine with few cores: a deep queue makes up for when it has to wait."""
FEW_CORES: Final = 3
"""With this many cores for the network, or fewer, one that a worker takes is missed."""


class _Examples(torch.utils.data.IterableDataset[Batch]):
    """Examples of a task from a step on; worker ``w`` of all makes the batches of every step with that remainder."""

    def __init__(self, task: Task, step: int, folder: Path, rank: int) -> None:
        self.task, self.step, self.folder, self.rank = task, step, folder, rank

    def __iter__(self) -> Iterator[Batch]:
        info = torch.utils.data.get_worker_info()
        if info:
            torch.set_num_threads(1)
            _give_way(workers=info.num_workers)
            if hasattr(os, "sched_setaffinity"):  # OMP_PROC_BIND, good for training, must not bind a worker too
                os.sched_setaffinity(0, range(os.cpu_count() or 1))
        yield from self.task.examples(self.stream(info.id if info else 0))

    def stream(self, worker: int) -> Stream:
        """The stream that goes on where the step is: its worker made the batches of earlier steps."""
        s = self.task.settings
        workers = max(s.workers, 1)
        number = (self.step + worker) % workers
        steps_done = (self.step - number + workers - 1) // workers
        name = self.rank * workers + number
        return Stream(seed=(s.seed, name), first=steps_done * s.batch, folder=self.folder / str(name))


def _give_way(workers: int) -> None:
    """Take only the time that the network leaves where there is no core for each worker beside it.

    Threads of one layer wait for each other, so a worker that takes a core for a moment stops them all.
    """
    if hasattr(os, "nice") and (os.cpu_count() or 1) <= FEW_CORES + workers:
        os.nice(LOWEST_PRIORITY)


def batches(task: Task, step: int, folder: Path, *, rank: int = 0, pin: bool = False) -> DataLoader[Batch]:
    """Batches from a step on.

    Args:
        task: What is learnt; its settings say how many workers make the examples.
        step: The batches are those of this step and of the following ones, whichever came before in this process.
        folder: Where the patients drawn are kept, a folder for each stream.
        rank: Of this process among those that train together.
        pin: Keep batches where a GPU reads them at once.
    """
    s = task.settings
    return torch.utils.data.DataLoader(
        _Examples(task, step, folder, rank),
        batch_size=s.batch,
        num_workers=s.workers,
        prefetch_factor=s.prefetch if s.workers else None,
        pin_memory=pin,
    )
