"""A run ends within its time budget, computes in what the processor is quick at, and wastes no time on scores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tiny_training import assert_same, curves, last_state, tiny_task
from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.ct.crops import TrainingCrop
from vertecast.lab.training import CtTask, Trainer, ct, loader, trainer
from vertecast.lab.training.examples import as_tensors, packed
from vertecast.lab.training.parallel import Place
from vertecast.lab.training.task import Batch, Scores, Stream

RATE = 2e-2
ON_CPU = Place(rank=0, world=1, device=torch.device("cpu"))


def noise(seed: tuple[int, ...]) -> Batch:
    """An example that takes no patient to be drawn."""
    rng, shape = np.random.default_rng(seed), (16, 32, 16)
    crop = TrainingCrop(
        hu=rng.normal(0, 300, shape).astype(np.float32),
        structure=rng.integers(0, len(Structure), shape, dtype=np.uint8),
        cement=np.zeros(shape, dtype=np.float32),
        metal=np.zeros(shape, dtype=np.uint8),
        offset_mm=np.zeros((3, *shape), dtype=np.float32),
        offset_weight=np.zeros(shape, dtype=np.uint8),
    )
    return packed(as_tensors(crop))


@pytest.fixture(autouse=True)
def _no_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    def examples(_task: CtTask, stream: Stream) -> Iterator[Batch]:
        return (noise((*stream.seed, number)) for number in count(stream.first))

    monkeypatch.setattr(CtTask, "examples", examples)
    monkeypatch.setattr(CtTask, "held_out", lambda _: {"": iter([noise((0,))])})


class KilledError(Exception):
    """The run ends here, as if it had been killed."""


@dataclass
class Clock:
    """A clock on which a step takes ``step_s``, and the learning rate of every step; ``kill_after`` so many."""

    seconds: float = 1e5
    step_s: float = 10.0
    rates: list[float] = field(default_factory=list)
    kill_after: int | None = None

    def step(self, run: Trainer, *args: Any) -> Any:
        if len(self.rates) == self.kill_after:
            raise KilledError
        done = _TRAIN_STEP(run, *args)
        self.seconds += self.step_s
        self.rates.append(run.optimizers[0].param_groups[0]["lr"])
        return done


_TRAIN_STEP = Trainer._train_step


def start(clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> Trainer:
    """A run by this clock, without the warm-up."""
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    monkeypatch.setattr(trainer, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(Trainer, "_train_step", lambda run, *args: clock.step(run, *args))
    return Trainer(tiny_task(**{"save_every": 2, **changes}), folder, ON_CPU)


def cosine(shares: list[float]) -> list[float]:
    """The schedule's learning rate where these shares of it are done."""
    return [RATE * (0.02 + 0.49 * (1 + np.cos(np.pi * share))) for share in shares]


def test_a_time_budget_ends_the_run_with_its_cosine_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    run = start(clock, tmp_path / "run", monkeypatch, steps=1000, minutes=0.9)
    run.run()
    assert run.step == 6, "54 s are used up in the sixth step of 10 s"
    assert clock.rates == pytest.approx(cosine([10 * n / 54 for n in range(6)]))
    assert run.progress == 1
    assert run._learning_rate() == pytest.approx(0.02 * RATE)
    assert [int(row["step"]) for row in curves(tmp_path / "run")] == [2, 4, 6]
    state = last_state(tmp_path / "run")
    assert (state["step"], state["elapsed_s"]) == (6, 60.0)
    again = start(clock, tmp_path / "run", monkeypatch, steps=1000, minutes=0.9)
    again.run()
    assert (again.step, len(clock.rates)) == (6, 6), "a run that is done makes no further step"


def test_the_last_line_and_checkpoint_are_those_of_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(Clock(), tmp_path / "run", monkeypatch, steps=1000, minutes=0.5, save_every=100, validate_every=100)
    run.run()
    assert [int(row["step"]) for row in curves(tmp_path / "run")] == [3]
    assert [int(row["step"]) for row in curves(tmp_path / "run", "validation")] == [3]
    assert last_state(tmp_path / "run")["step"] == 3


def test_steps_end_a_run_before_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    start(clock, tmp_path / "run", monkeypatch, steps=4, minutes=60).run()
    assert clock.rates == pytest.approx(cosine([0.0, 0.25, 0.5, 0.75]))


def test_the_time_used_outlives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = {"steps": 1000, "minutes": 1.0}
    whole = Clock()
    start(whole, tmp_path / "whole", monkeypatch, **budget).run()
    killed = Clock(kill_after=5)
    with pytest.raises(KilledError):
        start(killed, tmp_path / "run", monkeypatch, **budget).run()
    later = Clock(seconds=7e6)
    resumed = start(later, tmp_path / "run", monkeypatch, **budget)
    assert (resumed.step, resumed.elapsed_s) == (4, 40.0)
    resumed.run()
    assert resumed.step == 6
    assert killed.rates[:4] + later.rates == pytest.approx(whole.rates)
    assert_same(last_state(tmp_path / "run")["net"], last_state(tmp_path / "whole")["net"])


def test_without_a_budget_time_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow = Clock(), Clock(step_s=1e6)
    for name, clock in (("quick", quick), ("slow", slow)):
        start(clock, tmp_path / name, monkeypatch, steps=4).run()
        assert clock.rates == pytest.approx(cosine([0.0, 0.25, 0.5, 0.75]))
    assert_same(last_state(tmp_path / "quick")["net"], last_state(tmp_path / "slow")["net"])


@pytest.mark.parametrize(
    ("precision", "amx", "avx512", "is_bfloat16"),
    [
        ("auto", False, False, False),
        ("auto", True, False, True),
        ("auto", False, True, True),
        ("f32", True, True, False),
        ("bf16", False, False, True),
    ],
)
def test_a_processor_computes_in_bfloat16_where_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, amx: bool, avx512: bool, is_bfloat16: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    run = Trainer(tiny_task(precision=precision, steps=1), tmp_path / "run", ON_CPU)
    asked: list[bool] = []

    def losses(_net: torch.nn.Module, _batch: Batch) -> Any:
        asked.append(torch.is_autocast_enabled("cpu"))
        return {"structure": next(run.net.parameters()).sum()}, lambda: {"dice_body": (0.0, 0.0)}

    monkeypatch.setattr(run.task, "losses", losses)
    run._train_step(run.net, {"hu": torch.zeros(1, 1, 8, 8, 8)})
    assert asked == [is_bfloat16]


def test_a_gpu_computes_in_bfloat16() -> None:
    assert trainer.has_bfloat16(torch.device("cuda"))
    assert not trainer.has_bfloat16(torch.device("mps"))


def test_scores_are_worked_out_where_a_line_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[tuple[float, float]] = []
    dice_scores = ct.dice_scores

    def counted(output: torch.Tensor, batch: Batch) -> Scores:
        scores = dice_scores(output, batch)
        scored.append(scores["dice_body"])
        return scores

    monkeypatch.setattr(ct, "dice_scores", counted)
    Trainer(tiny_task(steps=5, save_every=2), tmp_path / "run", ON_CPU).run()
    written = [float(row["dice_body"]) for row in curves(tmp_path / "run")]
    assert written == pytest.approx([overlap / max(size, 1.0) for overlap, size in scored], abs=1e-4)
    assert len(written) == 3, "steps 2 and 4, and the last one"


@pytest.mark.parametrize(
    ("cores", "workers", "gives_way"), [(2, 1, True), (4, 1, True), (5, 1, False), (6, 3, True), (16, 2, False)]
)
def test_workers_give_way_where_cores_are_few(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int, gives_way: bool
) -> None:
    given: list[int] = []
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "nice", given.append)
    loader._give_way(workers=workers)
    assert given == ([loader.LOWEST_PRIORITY] if gives_way else [])
