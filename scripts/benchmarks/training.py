"""Training of each network: wall time of a crop or picture, end to end with the worker that makes it.

Each network trains from scratch by its shipped schedule, in a process of its own, as ``scripts/train.py`` does. A round
is as many steps as one patient serves for, so that drawing patients has the share that it has in a long run. Only one
patient is kept at a time, so that the first ones serve for as many examples as later ones do. *Cold* is the first
round, with the wait for the first patient; *warm* each later one, while the worker still fills its queue. The memory is
that of both processes at once.
"""

from __future__ import annotations

import csv
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Figure, Section
from benchmarks.processes import TreeMemory, alone
from benchmarks.samples import REPOSITORY

if TYPE_CHECKING:
    from vertecast.lab.training import RunSettings

SCHEDULES: Final = REPOSITORY / "configs" / "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """One row: its name, and the schedule that it trains by."""

    name: str
    schedule: Path


NETWORKS: Final = (
    _Network(name="locator, a crop", schedule=SCHEDULES / "ct_locator.yaml"),
    _Network(name="outliner, a crop", schedule=SCHEDULES / "ct_outliner.yaml"),
    _Network(name="closer look, a crop", schedule=SCHEDULES / "ct_closer.yaml"),
    _Network(name="films, a picture", schedule=SCHEDULES / "xray_spine.yaml"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training took: seconds an example in each round, and its largest memory."""

    example_s: tuple[float, ...]
    peak_gib: float


def measure_training(runs: int) -> list[Section]:
    """Seconds an example of each network.

    Args:
        runs: Warm rounds, after the first.

    Raises:
        RuntimeError: A training ended without an answer.
    """
    figures = []
    for network in NETWORKS:
        trained = alone(train, network.schedule, runs)
        first, *later = trained.example_s
        figures.append(
            Figure(name=network.name, unit="s", cold=(first,), warm=tuple(later), memory_gib=(trained.peak_gib,))
        )
    return [Section(title="Training", figures=tuple(figures))]


def train(schedule: Path, runs: int) -> Trained:
    """Train from scratch for one round and then as many as are asked, in this process."""
    from vertecast.lab.training import Trainer, load_task

    settings = load_task(schedule).settings
    steps = steps_of_a_patient(settings)
    task = load_task(schedule, pool=1, steps=steps * (runs + 1), save_every=steps, validate_every=0)
    with tempfile.TemporaryDirectory() as folder, TreeMemory(os.getpid()) as memory:
        Trainer(task, Path(folder)).run()
        with (Path(folder) / "curves.csv").open(encoding="utf-8") as file:
            step_s = [float(line["seconds_per_step"]) for line in csv.DictReader(file)]
    return Trained(example_s=tuple(seconds / settings.batch for seconds in step_s), peak_gib=memory.peak_gib)


def steps_of_a_patient(settings: RunSettings) -> int:
    """Steps that one patient serves for; one of films is seen in several views, each as often as ``uses`` says."""
    return max(round(settings.uses * getattr(settings, "views", 1) / settings.batch), 1)
