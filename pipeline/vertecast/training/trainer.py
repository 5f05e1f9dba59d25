"""The run of a training: steps, running average, checkpoint, curves; what is learnt is a `Task`.

The same code runs on a CPU and on a GPU; a run resumes from ``last.pt`` in its folder, also on another machine.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from vertecast.segmentation.bundle import write_network

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

VALIDATION_SEED: Final = 10**6
"""Seeds from here on are held out: training workers use seeds far below."""

Batch: TypeAlias = dict[str, Tensor]
_Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


class RunSettings(BaseModel):
    """What every training schedule in ``configs/train/*.yaml`` has.

    ``compile`` has torch compile the network first: a quarter faster on CPU for a wait of minutes; it needs g++.
    ``bfloat16`` multiplies in that format on CPU too, as always on a GPU: a third faster where the processor has AMX.
    ``prefetch`` batches wait in memory for each worker, so that the network need not wait while a patient is drawn.
    """

    model_config = ConfigDict(extra="forbid")

    pool: int = 24
    uses: int = 10
    steps: int = 4000
    batch: int = 2
    learning_rate: float = 1.2e-3
    weight_decay: float = 1e-4
    average_decay: float = 0.997
    seed: int = 1
    workers: int = 1
    prefetch: int = 8
    save_every: int = 100
    validation_examples: int = 24
    compile: bool = False
    bfloat16: bool = False


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

    def network(self) -> torch.nn.Module:
        """A network with fresh weights."""
        ...

    def examples(self, seed: int, folder: Path) -> Iterator[Batch]:
        """Endless training examples without the batch axis; ``folder`` keeps the patients drawn for a later run."""
        ...

    def held_out(self) -> Iterator[Batch]:
        """A fixed set of examples that are never trained on, each of another patient."""
        ...

    def losses(self, net: torch.nn.Module, batch: Batch) -> tuple[dict[str, Tensor], dict[str, tuple[float, float]]]:
        """The parts of the loss, and scores as (numerator, denominator)."""
        ...

    def weights_of(self, bundle: Path) -> Mapping[str, Tensor]:
        """Weights of this network in a bundle. Raises `BundleError` where they do not fit."""
        ...

    def facts(self) -> dict[str, Any]:
        """What the bundle's metadata says of the network, beside the run."""
        ...


class _Stream(torch.utils.data.IterableDataset[Batch]):
    """Examples of a task; each worker has a seed and a folder of patients of its own."""

    def __init__(self, task: Task, first_seed: int, folder: Path) -> None:
        self.task, self.first_seed, self.folder = task, first_seed, folder

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        if hasattr(os, "sched_setaffinity"):  # OMP_PROC_BIND, which speeds training up, must not bind this process too
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
        info = torch.utils.data.get_worker_info()
        number = info.id if info else 0
        yield from self.task.examples(self.first_seed + number, self.folder / str(number))


def _running_average(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """Exponential average whose memory grows with the run, so that early weights are soon forgotten."""

    @torch.no_grad()
    def update(average: _Tensors, current: _Tensors, count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(average, current, share)

    return update


class Trainer:
    """Holds a run: network, its running average, optimiser, step count and curves.

    Args:
        task: What is learnt, by which schedule.
        folder: Where ``last.pt``, ``curves.csv`` and the patients drawn live; a run found there is resumed.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        self.task, self.settings, self.folder = task, task.settings, folder
        settings = self.settings
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(settings.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = task.network().to(self.device)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.net, multi_avg_fn=_running_average(settings.average_decay)
        )
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._trained = cast("torch.nn.Module", torch.compile(self.net)) if settings.compile else self.net
        self.step = 0
        if (folder / "last.pt").exists():
            self._restore()

    def start_from(self, bundle: Path) -> None:
        """Begin with a bundle's weights; a run that has made steps already keeps its own.

        Raises:
            BundleError: the bundle is damaged, or its network has other widths.
        """
        if self.step:
            return
        weights = self.task.weights_of(bundle)
        self.net.load_state_dict(weights)
        self.average.module.load_state_dict(weights)

    def average_with(self, bundle: Path) -> None:
        """Take the mean of the running average and a bundle's weights: those that the run began with.

        What a short run on other pictures unlearns is kept in good part, and most of what it learns (Wortsman et al.,
        Robust fine-tuning of zero-shot models, CVPR 2022). For the scores and the export: no further step is made.

        Raises:
            BundleError: the bundle is damaged, or its network has other widths.
        """
        own = self.average.module.state_dict()
        for name, weights in self.task.weights_of(bundle).items():
            if weights.is_floating_point():
                own[name].lerp_(weights.to(self.device), 0.5)

    def _restore(self) -> None:
        state = torch.load(self.folder / "last.pt", map_location=self.device, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])

    def save(self) -> None:
        """Write ``last.pt`` whole or not at all."""
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        torch.save(state, self.folder / "last.tmp")
        (self.folder / "last.tmp").replace(self.folder / "last.pt")

    def loader(self) -> DataLoader[Batch]:
        """Batches from simulating workers; a resumed run goes on with patients it has not seen."""
        s = self.settings
        first_seed = s.seed * 10_000 + (self.step // max(s.save_every, 1)) * s.workers
        return torch.utils.data.DataLoader(
            _Stream(self.task, first_seed, self.folder / "patients"),
            batch_size=s.batch,
            num_workers=s.workers,
            prefetch_factor=s.prefetch if s.workers else None,
            pin_memory=self.device.type == "cuda",
        )

    def _learning_rate(self) -> float:
        """Linear warm-up over 100 steps, then a cosine to 2 % of the peak."""
        s = self.settings
        progress = min(self.step / s.steps, 1.0)
        cosine = 0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * progress))
        return float(s.learning_rate * min(1.0, (self.step + 1) / 100) * cosine)

    def run(self) -> None:
        """Train to ``settings.steps``; saves and writes a line of the curves every ``save_every`` steps."""
        sums: dict[str, float] = {}
        started = time.monotonic()
        for batch in self.loader():
            if self.step >= self.settings.steps:
                break
            for name, value in self._train_step(batch).items():
                sums[name] = sums.get(name, 0.0) + value
            self.step += 1
            if self.step % self.settings.save_every == 0 or self.step == self.settings.steps:
                count = self.settings.save_every
                line = {"step": self.step, **{k: v / count for k, v in sums.items()}}
                line["seconds_per_step"] = (time.monotonic() - started) / count
                self._log(line)
                self.save()
                sums, started = {}, time.monotonic()

    def _train_step(self, batch: Batch) -> dict[str, float]:
        self.net.train()
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        halved = self.settings.bfloat16 or self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=halved):
            terms, scores = self.task.losses(self._trained, batch)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 12.0)
        self.optimizer.step()
        self.average.update_parameters(self.net)
        main = next(iter(scores))
        return {**{k: float(v.detach()) for k, v in terms.items()}, main: scores[main][0] / max(scores[main][1], 1.0)}

    def _log(self, line: dict[str, Any]) -> None:
        path = self.folder / "curves.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(line))
            if new:
                writer.writeheader()
            writer.writerow({k: round(v, 5) for k, v in line.items()})

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Scores of the running average on the held-out examples."""
        self.average.eval()
        totals: dict[str, np.ndarray] = {}
        for example in self.task.held_out():
            batch = {k: v[None].to(self.device) for k, v in example.items()}
            _, scores = self.task.losses(self.average, batch)
            for name, pair in scores.items():
                totals[name] = totals.get(name, np.zeros(2)) + pair
        return {name: float(v[0] / max(v[1], 1.0)) for name, v in totals.items()}

    def export(self, bundle: Path, scores: dict[str, float]) -> None:
        """Put the running average into a bundle, with the schedule and the held-out scores in its metadata.

        Raises:
            BundleError: the bundle has no metadata to add to.
        """
        s = self.settings
        facts = {
            **self.task.facts(),
            "steps": self.step,
            "batch": s.batch,
            "seed": s.seed,
            "held_out": {name: round(value, 4) for name, value in scores.items()},
        }
        write_network(bundle, self.task.name, self.average.module.state_dict(), facts)
