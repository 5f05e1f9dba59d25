"""Drawn patients kept for many training examples: drawing one takes longer than learning from it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

import numpy as np

T = TypeVar("T")

ENOUGH_BATCHES: Final = 8


class PatientPool(Generic[T]):
    """The newest batches of items; in a folder too where one is given, so that a resumed run goes on with them.

    Args:
        batches: How many batches to keep.
        folder: Belongs to the run, and is trusted like its checkpoint: the files are pickles.
    """

    def __init__(self, batches: int, folder: Path | None = None) -> None:
        self._batches, self._folder = batches, folder
        self._kept: list[Sequence[T]] = []
        self._files: list[Path] = []
        self._number = 0
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._files = sorted(folder.glob("*.pickle"))
        self._number = 1 + int(self._files[-1].stem) if self._files else 0
        self._forget()
        self._kept = [pickle.loads(file.read_bytes()) for file in self._files]

    def __len__(self) -> int:
        return sum(map(len, self._kept))

    def add(self, batch: Sequence[T]) -> None:
        """Take in a batch; the oldest one goes when there are too many."""
        self._kept = [*self._kept, batch][-self._batches :]
        if self._folder is None:
            return
        file = self._folder / f"{self._number:06d}.pickle"
        unfinished = file.with_suffix(".tmp")
        unfinished.write_bytes(pickle.dumps(batch, protocol=5))
        unfinished.replace(file)
        self._files.append(file)
        self._number += 1
        self._forget()

    def uses(self, most: int) -> int:
        """How often to pick before the next batch is drawn: seldom while the first few would be seen over and over."""
        return max(round(most * min(len(self._kept) / min(ENOUGH_BATCHES, self._batches), 1.0)), 1)

    def pick(self, rng: np.random.Generator) -> T:
        """Any item of any batch, each as likely. Raises `ValueError` from an empty pool."""
        number = int(rng.integers(len(self)))
        for batch in self._kept:
            if number < len(batch):
                return batch[number]
            number -= len(batch)
        raise AssertionError("the pool holds fewer items than it counts")

    def _forget(self) -> None:
        for old in self._files[: -self._batches]:
            old.unlink()
        self._files = self._files[-self._batches :]
