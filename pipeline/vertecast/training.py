"""Training a CT bundle on simulated patients: the one place where simulation meets segmentation.

The same code runs on a CPU and on a GPU; a run resumes from ``last.pt`` in its folder, also on another machine.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import torch
import yaml
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from vertecast.anatomy import Structure
from vertecast.errors import BundleError
from vertecast.segmentation.bundle import Bundle, NetworkSpec, write_network
from vertecast.segmentation.network import (
    CEMENT_CHANNEL,
    METAL_CHANNEL,
    OFFSET_CHANNELS,
    OFFSET_SCALE_MM,
    STRUCTURE_CHANNELS,
    SpineNet,
)
from vertecast.simulation.crops import Crop, CropSettings, crops

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

STRUCTURE_WEIGHTS: Final = (0.4, 1.5, 1.0, 1.0, 1.0, 1.0, 1.5, 0.7)
"""Weight of each `Structure` in the cross entropy: the body's outline is what is measured."""

LEAK_WEIGHT: Final = 5.0
"""Weight in the cross entropy of cement that has leaked and of what it touches: a network that is asked nothing more
takes whatever cement fills for bone."""

LEAK_SURROUNDINGS_VOXELS: Final = 5
"""Edge of the cube round a leaked voxel that has this weight."""

VALIDATION_SEED: Final = 10**6
"""Seeds from here on are held out: training workers use seeds far below."""


_Tensors: TypeAlias = tuple[Tensor, ...] | list[Tensor]


class TrainSettings(BaseModel):
    """A training schedule, read from ``configs/train/*.yaml``."""

    model_config = ConfigDict(extra="forbid")

    network: Literal["locator", "outliner"]
    widths: tuple[int, int, int, int] = (32, 64, 128, 192)
    spacing_mm: float = 1.5
    crop: int = 80
    phantom_shape: tuple[int, int, int] = (130, 130, 130)
    near_spine: float = 0.85
    treated_rate: float = 0.5
    pool: int = 24
    uses: int = 10
    steps: int = 4000
    batch: int = 2
    learning_rate: float = 1.2e-3
    weight_decay: float = 1e-4
    average_decay: float = 0.997
    seed: int = 1
    workers: int = 1
    save_every: int = 100
    validation_crops: int = 24

    def crop_settings(self) -> CropSettings:
        """The part that the simulation needs."""
        return CropSettings(
            spacing_mm=self.spacing_mm,
            phantom_shape=self.phantom_shape,
            crop=self.crop,
            near_spine=self.near_spine,
            treated_rate=self.treated_rate,
            pool=self.pool,
            uses=self.uses,
        )

    @classmethod
    def load(cls, path: Path) -> TrainSettings:
        """Read a YAML file. Raises ``pydantic.ValidationError`` for an unknown or wrong key."""
        return cls.model_validate(yaml.safe_load(path.read_text()))


class _Stream(torch.utils.data.IterableDataset[dict[str, Tensor]]):
    """Crops as tensors; each worker has a seed of its own."""

    def __init__(self, settings: TrainSettings, first_seed: int) -> None:
        self.settings, self.first_seed = settings, first_seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        if hasattr(os, "sched_setaffinity"):  # OMP_PROC_BIND, which speeds training up, must not bind this process too
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
        info = torch.utils.data.get_worker_info()
        seed = self.first_seed + (info.id if info else 0)
        for crop in crops(seed, self.settings.crop_settings()):
            yield as_tensors(crop)


def as_tensors(crop: Crop) -> dict[str, Tensor]:
    """A crop as the tensors that `loss_terms` takes, without the batch axis."""
    return {
        "hu": torch.from_numpy(crop.hu)[None],
        "structure": torch.from_numpy(crop.structure).long(),
        "cement": torch.from_numpy(crop.cement),
        "metal": torch.from_numpy(crop.metal).float(),
        "offset": torch.from_numpy(crop.offset_mm),
        "offset_weight": torch.from_numpy(crop.offset_weight).float(),
    }


def _soft_dice(probability: Tensor, target: Tensor) -> Tensor:
    """1 - Dice over the voxels of the batch, per channel (b, c, i, j, k) → (c,)."""
    axes = (0, 2, 3, 4)
    overlap = (probability * target).sum(axes)
    return 1 - (2 * overlap + 50) / (probability.sum(axes) + target.sum(axes) + 50)


def loss_terms(output: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parts of the loss: structure (cross entropy and Dice), cement, metal, offset (L1 in `OFFSET_SCALE_MM`)."""
    output = output.float()
    logits = output[:, :STRUCTURE_CHANNELS]
    weights = torch.tensor(STRUCTURE_WEIGHTS, device=output.device)
    emphasis = weights[batch["structure"]] * _leak_emphasis(batch)
    entropy = torch.nn.functional.cross_entropy(logits, batch["structure"], reduction="none")
    structure = (entropy * emphasis).sum() / emphasis.sum()
    truth = torch.nn.functional.one_hot(batch["structure"], STRUCTURE_CHANNELS).movedim(-1, 1).float()
    structure = structure + 0.5 * _soft_dice(logits.softmax(1), truth)[1:].mean()
    terms = {"structure": structure}
    for name, channel in (("cement", CEMENT_CHANNEL), ("metal", METAL_CHANNEL)):
        logit, target = output[:, channel], batch[name]
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logit, target)
        terms[name] = entropy * 3 + 0.5 * _soft_dice(logit.sigmoid()[:, None], target[:, None]).mean()
    error = (output[:, OFFSET_CHANNELS] - batch["offset"] / OFFSET_SCALE_MM).abs().sum(1) * batch["offset_weight"]
    terms["offset"] = error.sum() / (batch["offset_weight"].sum() + 100)
    return terms


def _leak_emphasis(batch: dict[str, Tensor]) -> Tensor:
    """Weight of each voxel (b, i, j, k): `LEAK_WEIGHT` on and beside cement outside the bodies, else 1."""
    leaked = ((batch["cement"] > 0.3) & (batch["structure"] != Structure.BODY)).float()
    size = LEAK_SURROUNDINGS_VOXELS
    near = torch.nn.functional.max_pool3d(leaked[:, None], size, stride=1, padding=size // 2)[:, 0]
    return 1 + (LEAK_WEIGHT - 1) * near


def dice_scores(output: Tensor, batch: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """(2 x overlap, sizes) of body, sacrum, rib and cement, to be summed over crops before the division."""
    predicted = output[:, :STRUCTURE_CHANNELS].argmax(1)
    scores = {}
    for name, value in (("body", Structure.BODY), ("sacrum", Structure.SACRUM), ("rib", Structure.RIB)):
        a, b = predicted == value, batch["structure"] == value
        scores[name] = (2.0 * float((a & b).sum()), float(a.sum() + b.sum()))
    a, b = output[:, CEMENT_CHANNEL] > 0, batch["cement"] > 0.5
    scores["cement"] = (2.0 * float((a & b).sum()), float(a.sum() + b.sum()))
    return scores


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
        settings: The schedule.
        folder: Where ``last.pt`` and ``curves.csv`` live; a run found there is resumed.
    """

    def __init__(self, settings: TrainSettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(settings.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = SpineNet(settings.widths).to(self.device)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.net, multi_avg_fn=_running_average(settings.average_decay)
        )
        self.optimizer = torch.optim.AdamW(
            self.net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
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
        network: NetworkSpec = getattr(Bundle.open(bundle), self.settings.network)
        if network.widths != self.settings.widths:
            raise BundleError(f"{bundle}: its {self.settings.network} has widths {network.widths}; set the same ones")
        weights = network.load().state_dict()
        self.net.load_state_dict(weights)
        self.average.module.load_state_dict(weights)

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

    def loader(self) -> DataLoader[dict[str, Tensor]]:
        """Batches from simulating workers; a resumed run goes on with patients it has not seen."""
        s = self.settings
        first_seed = s.seed * 10_000 + (self.step // max(s.save_every, 1)) * s.workers
        return torch.utils.data.DataLoader(
            _Stream(s, first_seed),
            batch_size=s.batch,
            num_workers=s.workers,
            prefetch_factor=4 if s.workers else None,
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

    def _train_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        self.net.train()
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            output = self.net(batch["hu"])
        terms = loss_terms(output, batch)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 12.0)
        self.optimizer.step()
        self.average.update_parameters(self.net)
        overlap = {f"dice_{k}": a / max(b, 1.0) for k, (a, b) in dice_scores(output.detach(), batch).items()}
        return {**{k: float(v.detach()) for k, v in terms.items()}, "dice_body": overlap["dice_body"]}

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
        """Dice of the running average on a fixed set of held-out crops, each of another patient."""
        self.average.eval()
        totals: dict[str, np.ndarray] = {}
        stream = crops(VALIDATION_SEED, replace(self.settings.crop_settings(), pool=1, uses=1))
        for _ in range(self.settings.validation_crops):
            batch = {k: v[None].to(self.device) for k, v in as_tensors(next(stream)).items()}
            for name, pair in dice_scores(self.average(batch["hu"]), batch).items():
                totals[name] = totals.get(name, np.zeros(2)) + pair
        return {f"dice_{k}": float(v[0] / max(v[1], 1.0)) for k, v in totals.items()}

    def export(self, bundle: Path, scores: dict[str, float]) -> None:
        """Put the running average into a bundle, with the schedule and the held-out scores in its metadata.

        Raises:
            BundleError: the bundle has no metadata to add to.
        """
        s = self.settings
        facts = {
            "spacing_mm": s.spacing_mm,
            "widths": list(s.widths),
            "steps": self.step,
            "batch": s.batch,
            "crop_voxels": s.crop,
            "seed": s.seed,
            "held_out": {name: round(value, 4) for name, value in scores.items()},
        }
        write_network(bundle, s.network, self.average.module.state_dict(), facts)
