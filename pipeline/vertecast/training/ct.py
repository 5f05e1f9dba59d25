"""What the CT networks learn: structures, cement, metal and instances from simulated crops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from vertecast.anatomy import Structure
from vertecast.errors import BundleError
from vertecast.segmentation.bundle import Bundle, NetworkSpec
from vertecast.segmentation.network import (
    CEMENT_CHANNEL,
    METAL_CHANNEL,
    OFFSET_CHANNELS,
    OFFSET_SCALE_MM,
    STRUCTURE_CHANNELS,
    SpineNet,
)
from vertecast.simulation.crops import Crop, CropSettings, crops
from vertecast.training.trainer import VALIDATION_SEED, Batch, RunSettings

LEAK_WEIGHT: Final = 10.0
"""Weight in the cross entropies of cement that has leaked and of what it touches: a network that is asked nothing more
takes whatever cement fills for bone."""

LEAK_SURROUNDINGS_VOXELS: Final = 5
"""Edge of the cube round a leaked voxel that has this weight."""


class CtSettings(RunSettings):
    """A schedule of one of the two CT networks."""

    network: Literal["locator", "outliner"]
    widths: tuple[int, int, int, int] = (32, 64, 128, 192)
    spacing_mm: float = 1.5
    crop: int = 80
    phantom_shape: tuple[int, int, int] = (130, 130, 130)
    near_spine: float = 0.85
    treated_rate: float = 0.5
    metal_rate: float = 0.12

    def crop_settings(self) -> CropSettings:
        """The part that the simulation needs."""
        return CropSettings(
            spacing_mm=self.spacing_mm,
            phantom_shape=self.phantom_shape,
            crop=self.crop,
            near_spine=self.near_spine,
            treated_rate=self.treated_rate,
            metal_rate=self.metal_rate,
            pool=self.pool,
            uses=self.uses,
        )


class CtTask:
    """The locator or the outliner of a CT bundle."""

    def __init__(self, settings: CtSettings) -> None:
        self.settings = settings
        self.name = settings.network

    def network(self) -> SpineNet:
        """A network with fresh weights."""
        return SpineNet(self.settings.widths)

    def examples(self, seed: int, folder: Path) -> Iterator[Batch]:
        """Crops of simulated patients."""
        return map(as_tensors, crops(seed, self.settings.crop_settings(), folder))

    def held_out(self) -> Iterator[Batch]:
        """One crop of each held-out patient."""
        one_each = replace(self.settings.crop_settings(), pool=1, uses=1)
        return map(as_tensors, islice(crops(VALIDATION_SEED, one_each), self.settings.validation_examples))

    def losses(self, net: torch.nn.Module, batch: Batch) -> tuple[dict[str, Tensor], dict[str, tuple[float, float]]]:
        """Parts of the loss, and Dice scores."""
        output = net(batch["hu"])
        return loss_terms(output, batch), dice_scores(output.detach(), batch)

    def weights_of(self, bundle: Path) -> Mapping[str, Tensor]:
        """Weights of this network in a bundle. Raises `BundleError` where it is damaged or has other widths."""
        network: NetworkSpec = getattr(Bundle.open(bundle), self.name)
        if network.widths != self.settings.widths:
            raise BundleError(f"{bundle}: its {self.name} has widths {network.widths}; set the same ones")
        return network.load().state_dict()

    def facts(self) -> dict[str, Any]:
        """Grid, size and crop."""
        s = self.settings
        return {"spacing_mm": s.spacing_mm, "widths": list(s.widths), "crop_voxels": s.crop}


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
    leaks = _leak_emphasis(batch)
    # No weight for a structure: a body that weighs more than what surrounds it is outlined a tenth too large.
    entropy = torch.nn.functional.cross_entropy(logits, batch["structure"], reduction="none")
    structure = 3 * (entropy * leaks).sum() / leaks.sum()
    truth = torch.nn.functional.one_hot(batch["structure"], STRUCTURE_CHANNELS).movedim(-1, 1).float()
    structure = structure + 0.5 * _soft_dice(logits.softmax(1), truth)[1:].mean()
    terms = {"structure": structure}
    for name, channel, weight in (("cement", CEMENT_CHANNEL, leaks), ("metal", METAL_CHANNEL, None)):
        logit, target = output[:, channel], batch[name]
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logit, target, weight=weight)
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
        scores[f"dice_{name}"] = (2.0 * float((a & b).sum()), float(a.sum() + b.sum()))
    a, b = output[:, CEMENT_CHANNEL] > 0, batch["cement"] > 0.5
    scores["dice_cement"] = (2.0 * float((a & b).sum()), float(a.sum() + b.sum()))
    return scores
