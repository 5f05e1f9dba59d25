"""Drawn patients kept for many training examples, each of them known by its number.

Which patient an example shows, and how, follows from the seed and from the number of the example: a run that was
killed makes the same examples again, whatever it had drawn ahead.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

import numpy as np

T = TypeVar("T")

ENOUGH_PATIENTS: Final = 8
"""Before so many are drawn each serves for fewer examples, or the first few would be seen over and over."""

KEPT_BEHIND: Final = 8
"""Files of so many older patients are kept: a resumed run begins a little before the point where it was killed."""

EXAMPLE, PATIENT = 0, 1
"""Last part of a seed: an example's, or a patient's."""


class Patients(Generic[T]):
    """The patients of one stream of examples.

    Args:
        seed: Of the stream.
        draw: Draws a patient: one or several items of which an example shows one.
        keep: How many of the newest patients examples are taken of.
        uses: Examples for each patient drawn.
        folder: Keeps them for a later stream; it belongs to the run and is trusted like it: the files are pickles.
    """

    def __init__(
        self,
        seed: tuple[int, ...],
        draw: Callable[[np.random.Generator], Sequence[T]],
        *,
        keep: int,
        uses: int,
        folder: Path,
    ) -> None:
        self._seed, self._draw, self._keep, self._uses, self._folder = seed, draw, keep, uses, folder
        enough = min(ENOUGH_PATIENTS, keep)
        ramp = [max(round(uses * n / enough), 1) for n in range(1, enough)]
        self._starts = np.cumsum([0, *ramp])
        self._kept: dict[int, Sequence[T]] = {}
        self._cleared = 0
        folder.mkdir(parents=True, exist_ok=True)

    def newest(self, example: int) -> int:
        """Number of the newest patient, from 0, that an example may show."""
        last = len(self._starts) - 1
        if example >= self._starts[last]:
            return int(last + (example - self._starts[last]) // self._uses)
        return int(np.searchsorted(self._starts, example, side="right")) - 1

    def pick(self, example: int, rng: np.random.Generator) -> T:
        """An item of one of the newest patients, each as likely."""
        newest = self.newest(example)
        oldest = max(newest - self._keep + 1, 0)
        items = self._patient(int(rng.integers(oldest, newest + 1)))
        self._forget(oldest)
        return items[int(rng.integers(len(items)))]

    def _patient(self, number: int) -> Sequence[T]:
        if number not in self._kept:
            self._kept[number] = self._from_file(number) or self._drawn(number)
        return self._kept[number]

    def _file(self, number: int) -> Path:
        return self._folder / f"patient_{number:06d}.pickle"

    def _from_file(self, number: int) -> Sequence[T] | None:
        try:
            items: Sequence[T] = pickle.loads(self._file(number).read_bytes())
        except FileNotFoundError:
            return None
        return items

    def _drawn(self, number: int) -> Sequence[T]:
        items = self._draw(np.random.default_rng([*self._seed, PATIENT, number]))
        unfinished = self._file(number).with_suffix(".tmp")
        unfinished.write_bytes(pickle.dumps(items, protocol=5))
        unfinished.replace(self._file(number))
        return items

    def _forget(self, oldest: int) -> None:
        for number in [n for n in self._kept if n < oldest]:
            del self._kept[number]
        for number in range(self._cleared, oldest - KEPT_BEHIND):
            self._file(number).unlink(missing_ok=True)
            self._cleared = number + 1
