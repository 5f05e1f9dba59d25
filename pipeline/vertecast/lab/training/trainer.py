"""The run of a training: steps, running average, checkpoints, scores; what is learnt is a `Task`.

The same code runs on a CPU, on a GPU and in several processes (``torchrun``). A run that was killed goes on from
``last.pt`` in its folder as if it had not been: weights, their average, the optimisers, torch's random numbers, the
time used and the examples are those of the step. On a CPU, with the same versions, threads, workers and processes, the
result is the same to the last bit, unless the schedule has a time budget; a GPU adds up in an order of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from vertecast.core.errors import ConfigurationError
from vertecast.lab.training.loader import batches
from vertecast.lab.training.optimizers import optimizers
from vertecast.lab.training.parallel import Place
from vertecast.lab.training.record import RunRecord
from vertecast.lab.training.task import Batch, Scores, Task

LAST: Final = "last.pt"
BEST: Final = "best.pt"
WARM_UP_STEPS: Final = 100
LARGEST_GRADIENT: Final = 12.0

_Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


def _running_average(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """Exponential average whose memory grows with the run, so that early weights are soon forgotten."""

    @torch.no_grad()
    def update(average: _Tensors, current: _Tensors, count: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(average, current, share)

    return update


def _this_process() -> Place:
    return Place(rank=0, world=1, device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))


class Trainer:
    """Holds a run: network, its running average, optimisers, step count and curves.

    Args:
        task: What is learnt, by which schedule.
        folder: Where ``last.pt``, ``best.pt``, ``curves.csv``, ``validation.csv`` and the patients drawn live; a run
            found there is resumed.
        place: This process among those that train together; None: it is alone.

    Raises:
        ConfigurationError: the data cannot be used, the run found is of an earlier version, or TensorBoard is asked
            for and not installed.
    """

    def __init__(self, task: Task, folder: Path, place: Place | None = None) -> None:
        self.task, self.settings, self.folder = task, task.settings, folder
        self.place = place or _this_process()
        settings, device = self.settings, self.place.device
        folder.mkdir(parents=True, exist_ok=True)
        self._prepare()
        torch.manual_seed(settings.seed)
        self.net = task.network().to(device)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.net, multi_avg_fn=_running_average(settings.average_decay)
        )
        self.optimizers = optimizers(self.net, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay)
        self.step = 0
        self.elapsed_s = 0.0
        self.best: float | None = None
        self.record = RunRecord(folder, tensorboard=settings.tensorboard and self.place.is_first)
        if (folder / LAST).exists():
            self._restore()
            if self.place.is_first:
                self.record.forget_after(self.step)

    def _prepare(self) -> None:
        """The first process works out what the others read."""
        if self.place.is_first:
            self.task.prepare(self.folder)
        self.place.wait()
        if not self.place.is_first:
            self.task.prepare(self.folder)

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

    def _restore(self) -> None:
        state = torch.load(self.folder / LAST, map_location=self.place.device, weights_only=True)
        if "optimizers" not in state:
            raise ConfigurationError(
                f"{self.folder / LAST} is of an earlier version and cannot be gone on with; "
                "finish it with that version, or begin anew in another folder"
            )
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.step = int(state["step"])
        self.elapsed_s = float(state.get("elapsed_s", 0.0))
        self.best = state.get("best")
        if "random" in state:
            torch.set_rng_state(state["random"].cpu())

    def save(self) -> None:
        """Write ``last.pt`` whole or not at all."""
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "best": self.best,
            "random": torch.get_rng_state(),
        }
        _save(state, self.folder / LAST)

    @property
    def progress(self) -> float:
        """Share of the schedule that is done, by its steps or, where that is more, by its time budget; at most 1."""
        s = self.settings
        time_share = self.elapsed_s / (60 * s.minutes) if s.minutes else 0.0
        return min(max(self.step / s.steps, time_share), 1.0)

    def _learning_rate(self) -> float:
        """Linear warm-up over `WARM_UP_STEPS`, then a cosine to 2 % of the peak."""
        s = self.settings
        cosine = 0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * self.progress))
        return float(s.learning_rate * min(1.0, (self.step + 1) / WARM_UP_STEPS) * cosine)

    def run(self) -> None:
        """Train to the end of the schedule: saves, scores and writes lines of the curves as the settings say."""
        s = self.settings
        trained = self.place.wrapped(self.net)
        if s.compile:
            trained = cast("torch.nn.Module", torch.compile(trained))
        sums, count, started = dict[str, float](), 0, time.monotonic()
        begun = started - self.elapsed_s
        for batch in self._batches():
            terms, scores = self._train_step(trained, batch)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value
            self.step, count = self.step + 1, count + 1
            self._look_at_clock(begun)
            is_last = self.progress == 1
            if s.validate_every and (self.step % s.validate_every == 0 or is_last):
                self._keep_best()
            if self.step % s.save_every == 0 or is_last:
                if self.place.is_first:
                    means = {name: total / count for name, total in sums.items()}
                    line = {**means, **_first(scores()), "seconds_per_step": _mean(started, count)}
                    self.record.add("curves", self.step, line)
                    self.save()
                sums, count, started = {}, 0, time.monotonic()
            if is_last:
                break
        self.place.wait()

    def _look_at_clock(self, begun: float) -> None:
        """Note the time that the run has taken, in all its parts."""
        self.elapsed_s = time.monotonic() - begun
        if self.settings.minutes:
            self.elapsed_s = self.place.agreed(self.elapsed_s)

    def _batches(self) -> Iterator[Batch]:
        """Batches of the steps that are left."""
        left = self.settings.steps - self.step if self.progress < 1 else 0
        if left > 0:
            place = self.place
            pin = place.device.type == "cuda"
            loader = batches(self.task, self.step, self.folder / "patients", rank=place.rank, pin=pin)
            for _, batch in zip(range(left), loader, strict=False):
                yield batch

    def _train_step(self, trained: torch.nn.Module, batch: Batch) -> tuple[dict[str, float], Callable[[], Scores]]:
        """One step; returns the parts of the loss, and what works out scores."""
        self.net.train()
        device = self.place.device
        batch = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
        rate = self._learning_rate()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=self._is_bfloat16):
            terms, scores = self.task.losses(trained, batch)
        loss = torch.stack(list(terms.values())).sum()
        self.net.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), LARGEST_GRADIENT)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update_parameters(self.net)
        return {k: float(v.detach()) for k, v in terms.items()}, scores

    @property
    def _is_bfloat16(self) -> bool:
        precision = self.settings.precision
        return precision == "bf16" or (precision == "auto" and has_bfloat16(self.place.device))

    def _keep_best(self) -> None:
        """Score the running average, and keep it where it is the best so far."""
        if self.place.is_first:
            scores = self.validate()
            self.record.add("validation", self.step, scores)
            main = next(iter(scores.values()))
            if self.best is None or main > self.best:
                self.best = main
                state = {"weights": self.average.module.state_dict(), "step": self.step, "scores": scores}
                _save(state, self.folder / BEST)
        self.place.wait()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Scores of the running average on the held-out examples."""
        self.average.eval()
        totals: dict[str, np.ndarray] = {}
        for prefix, examples in self.task.held_out().items():
            for example in examples:
                batch = {k: v[None].to(self.place.device) for k, v in example.items()}
                _, scores = self.task.losses(self.average, batch)
                for name, pair in scores().items():
                    totals[prefix + name] = totals.get(prefix + name, np.zeros(2)) + pair
        return {name: _ratio((total[0], total[1])) for name, total in totals.items()}


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; without them it takes longer than float32."""
    if device.type == "cpu":
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return device.type == "cuda"


def _first(scores: Scores) -> dict[str, float]:
    """The score that stands in the curves."""
    name, pair = next(iter(scores.items()))
    return {name: _ratio(pair)}


def _ratio(pair: tuple[float, float]) -> float:
    return float(pair[0] / max(pair[1], 1.0))


def _mean(started: float, count: int) -> float:
    return (time.monotonic() - started) / count


def _save(state: dict[str, Any], path: Path) -> None:
    unfinished = path.with_suffix(".tmp")
    torch.save(state, unfinished)
    unfinished.replace(path)
