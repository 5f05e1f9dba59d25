"""What a training is made of: a schedule, examples, a loss; `Trainer` runs any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

VALIDATION_SEED: Final = 10**6
"""Seeds from here on are held out: training streams have seeds of another form."""

Batch: TypeAlias = dict[str, Tensor]
Scores: TypeAlias = dict[str, tuple[float, float]]
Precision: TypeAlias = Literal["auto", "f32", "bf16"]


class RunSettings(BaseModel):
    """What every training schedule in ``configs/train/*.yaml`` has.

    Attributes:
        pool: Patients of which examples are taken at the same time.
        uses: Examples for each patient drawn.
        steps, batch: Length of the run; examples of one step, in each process.
        learning_rate, weight_decay: Of Muon and AdamW (`optimizers`), at the peak of the schedule.
        average_decay: Memory of the running average of the weights, which is what a bundle gets.
        seed: Of weights and examples.
        workers: Processes that make examples; 0 makes them in the training process.
        prefetch: Batches that wait in memory for each worker, so that the network need not wait for a patient.
        save_every: Steps between two checkpoints; a killed run goes on from the last one.
        validate_every: Steps between two scorings of the held-out examples; 0: at the end alone. The weights with the
            best score are kept beside the last ones.
        validation_examples: How many are held out of each source of data.
        precision: "bf16" lets torch compute in bfloat16 where it holds that safe; "auto" does so on a GPU and on
            processors that have instructions for it.
        minutes: Time budget, for machines of unknown speed: the learning rate follows the time that has passed where
            that is ahead of the steps, and the run ends when it is used up. None: the steps alone count.
        compile: torch compiles the network first: a quarter faster on CPU for a wait of minutes; it needs g++.
        tensorboard: Write the curves for TensorBoard too; needs the extra ``[train]``.
    """

    model_config = ConfigDict(extra="forbid")

    pool: int = Field(default=24, ge=1)
    uses: int = Field(default=10, ge=1)
    steps: int = Field(default=4000, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    batch: int = Field(default=2, ge=1)
    learning_rate: float = Field(default=1.2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    average_decay: float = Field(default=0.997, ge=0, lt=1)
    seed: int = Field(default=1, ge=0)
    workers: int = Field(default=1, ge=0)
    prefetch: int = Field(default=8, ge=1)
    save_every: int = Field(default=100, ge=1)
    validate_every: int = Field(default=0, ge=0)
    validation_examples: int = Field(default=24, ge=1)
    precision: Precision = "auto"
    compile: bool = False
    tensorboard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Which examples a worker makes: example ``n`` follows from the seed and from ``n`` alone.

    Attributes:
        seed: Of the stream; no two workers of a run share one.
        first: Number of the first example that is asked for.
        folder: Where the patients drawn are kept for a later stream.
    """

    seed: tuple[int, ...]
    first: int
    folder: Path


class Task(Protocol):
    """What a network learns, and from what."""

    @property
    def name(self) -> str:
        """The network's name in its bundle."""
        ...

    @property
    def settings(self) -> RunSettings:
        """The schedule."""
        ...

    def prepare(self, folder: Path) -> None:
        """Read and check whatever the examples are made of, once, before any is asked for."""
        ...

    def network(self) -> torch.nn.Module:
        """A network with fresh weights."""
        ...

    def examples(self, stream: Stream) -> Iterator[Batch]:
        """Endless training examples without the batch axis."""
        ...

    def held_out(self) -> dict[str, Iterator[Batch]]:
        """Fixed sets of examples that are never trained on, each by the prefix of its scores.

        The first score of the first set says which weights of a run are the best.
        """
        ...

    def losses(self, net: torch.nn.Module, batch: Batch) -> tuple[dict[str, Tensor], Callable[[], Scores]]:
        """The parts of the loss, and what works out scores as (numerator, denominator) where they are asked for."""
        ...

    def weights_of(self, bundle: Path) -> Mapping[str, Tensor]:
        """Weights of this network in a bundle. Raises `BundleError` where they do not fit."""
        ...

    def facts(self) -> dict[str, Any]:
        """What the bundle's metadata says of the network, beside the run."""
        ...
