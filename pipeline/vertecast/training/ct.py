"""What the CT networks learn: structures, cement, metal and instances, of simulated patients and of labelled CTs.

A voxel of which only a set of structures is known asks for no more: its loss is minus the logarithm of the set's whole
probability (the marginal loss of Shi et al., Med Image Anal 2021;70:101979). Where the set has one member that is the
cross entropy; where it has all of them it is 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import Field
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
from vertecast.simulation.crops import CropSettings, crops
from vertecast.training.examples import LabelledPart, as_tensors, examples, held_out
from vertecast.training.labelled import LabelledCase, prepare_cases
from vertecast.training.sources import FolderSource, SimulatedSource, Source, find_cases, split_cases
from vertecast.training.task import VALIDATION_SEED, Batch, RunSettings, Scores, Stream

LEAK_WEIGHT: Final = 10.0
"""Weight in the cross entropies of cement that has leaked and of what it touches: a network that is asked nothing more
takes whatever cement fills for bone."""

LEAK_SURROUNDINGS_VOXELS: Final = 5
"""Edge of the cube round a leaked voxel that has this weight."""

SCORED: Final = {"body": Structure.BODY, "sacrum": Structure.SACRUM, "rib": Structure.RIB}


class CtSettings(RunSettings):
    """A schedule of one of the two CT networks; ``data`` says what it is shown."""

    network: Literal["locator", "outliner"]
    widths: tuple[int, int, int, int] = (32, 64, 128, 192)
    spacing_mm: float = 1.5
    crop: int = 80
    phantom_shape: tuple[int, int, int] = (130, 130, 130)
    near_spine: float = 0.85
    treated_rate: float = 0.5
    metal_rate: float = 0.12
    data: tuple[Source, ...] = Field(default=(SimulatedSource(),), min_length=1)

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

    @property
    def simulated_share(self) -> float:
        """Share of simulated patients, against those of the other sources."""
        return sum(source.share for source in self.data if isinstance(source, SimulatedSource))


class CtTask:
    """The locator or the outliner of a CT bundle."""

    def __init__(self, settings: CtSettings) -> None:
        self.settings = settings
        self.name = settings.network
        self._labelled: tuple[LabelledPart, ...] = ()
        self._held_out: tuple[LabelledCase, ...] = ()

    def prepare(self, folder: Path) -> None:
        """Bring the labelled CTs on to the network's grid, in ``folder``/cases.

        Raises:
            ConfigurationError: a case cannot be used; the message names it and says why.
        """
        s = self.settings
        parts: list[LabelledPart] = []
        others: list[LabelledCase] = []
        for source in s.data:
            if isinstance(source, FolderSource):
                learnt, kept = split_cases(source, find_cases(source), s.seed)
                cases = prepare_cases(source, (*learnt, *kept), s.spacing_mm, folder / "cases")
                part = LabelledPart(cases=cases[: len(learnt)], share=source.share, rescan=source.rescan)
                parts.append(part)
                others += cases[len(learnt) :]
        self._labelled, self._held_out = tuple(parts), tuple(others)

    def network(self) -> SpineNet:
        """A network with fresh weights."""
        return SpineNet(self.settings.widths)

    def examples(self, stream: Stream) -> Iterator[Batch]:
        """Crops of every source, by their shares."""
        s = self.settings
        return examples(stream, s.crop_settings(), simulated_share=s.simulated_share, labelled=self._labelled)

    def held_out(self) -> dict[str, Iterator[Batch]]:
        """Crops of the labelled CTs that are held out ("own"), and one of each held-out simulated patient."""
        s, sets = self.settings, {}
        if self._held_out:
            sets["own_"] = held_out(self._held_out, s.crop_settings(), s.validation_examples)
        if s.simulated_share:
            one_each = replace(s.crop_settings(), pool=1, uses=1)
            sets[""] = map(as_tensors, islice(crops(VALIDATION_SEED, one_each), s.validation_examples))
        return sets

    def losses(self, net: torch.nn.Module, batch: Batch) -> tuple[dict[str, Tensor], Scores]:
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
        """Grid, size, crop, and what it was shown."""
        s = self.settings
        data: list[dict[str, Any]] = []
        parts = iter(self._labelled)
        for source in s.data:
            what: dict[str, Any] = {"kind": source.kind, "share": source.share}
            if isinstance(source, FolderSource):
                what |= {"scheme": source.scheme_name, "cases": len(next(parts).cases)}
            data.append(what)
        return {"spacing_mm": s.spacing_mm, "widths": list(s.widths), "crop_voxels": s.crop, "data": data}


def _soft_dice(probability: Tensor, target: Tensor) -> Tensor:
    """1 - Dice over the voxels of the batch, per channel (b, c, i, j, k) → (c,)."""
    axes = (0, 2, 3, 4)
    overlap = (probability * target).sum(axes)
    return 1 - (2 * overlap + 50) / (probability.sum(axes) + target.sum(axes) + 50)


def members(allowed: Tensor) -> tuple[Tensor, Tensor]:
    """What the sets of structures (b, i, j, k), a bit each, say.

    Returns:
        Which structures each voxel may be, and of which it is known whether it is one, both bool (b, s, i, j, k).
    """
    bits = torch.arange(STRUCTURE_CHANNELS, device=allowed.device).view(1, -1, 1, 1, 1)
    may_be = (allowed[:, None].long() >> bits) & 1 == 1
    is_single = (allowed.long() & (allowed.long() - 1)) == 0
    return may_be, ~may_be | is_single[:, None]


def loss_terms(output: Tensor, batch: Batch) -> dict[str, Tensor]:
    """The parts of the loss: structure (cross entropy and Dice), cement, metal, offset (L1 in `OFFSET_SCALE_MM`)."""
    output = output.float()
    logits = output[:, :STRUCTURE_CHANNELS]
    may_be, is_known = members(batch["allowed"])
    leaks = _leak_emphasis(batch, may_be)
    # No weight for a structure: a body that weighs more than what surrounds it is outlined a tenth too large.
    likely = logits.log_softmax(1)
    entropy = -likely.masked_fill(~may_be, -torch.inf).logsumexp(1)
    structure = 3 * (entropy * leaks).sum() / leaks.sum()
    structure = structure + 0.5 * _soft_dice(likely.exp() * is_known, (may_be & is_known).float())[1:].mean()
    terms = {"structure": structure}
    for name, channel, weight in (("cement", CEMENT_CHANNEL, leaks), ("metal", METAL_CHANNEL, 1.0)):
        known = batch[f"{name}_known"].view(-1, 1, 1, 1)
        logit, target = output[:, channel], batch[name]
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
        entropy = (entropy * weight * known).sum() / (known.sum().clamp(min=1) * target[0].numel())
        seen, true = (logit.sigmoid() * known)[:, None], (target * known)[:, None]
        terms[name] = entropy * 3 + 0.5 * _soft_dice(seen, true).mean()
    error = (output[:, OFFSET_CHANNELS] - batch["offset"] / OFFSET_SCALE_MM).abs().sum(1) * batch["offset_weight"]
    terms["offset"] = error.sum() / (batch["offset_weight"].sum() + 100)
    return terms


def _leak_emphasis(batch: Batch, may_be: Tensor) -> Tensor:
    """Weight of each voxel (b, i, j, k): `LEAK_WEIGHT` on and beside cement outside the bodies, else 1."""
    is_cement = (batch["cement"] > 0.3) & (batch["cement_known"] > 0).view(-1, 1, 1, 1)
    leaked = (is_cement & ~may_be[:, Structure.BODY]).float()
    size = LEAK_SURROUNDINGS_VOXELS
    near = torch.nn.functional.max_pool3d(leaked[:, None], size, stride=1, padding=size // 2)[:, 0]
    return 1 + (LEAK_WEIGHT - 1) * near


def dice_scores(output: Tensor, batch: Batch) -> Scores:
    """(2 x overlap, sizes) of body, sacrum, rib and cement where known, to be summed over crops before the division."""
    may_be, is_known = members(batch["allowed"])
    predicted = output[:, :STRUCTURE_CHANNELS].argmax(1)
    scores = {}
    for name, value in SCORED.items():
        known = is_known[:, value]
        a, b = (predicted == value) & known, may_be[:, value] & known
        scores[f"dice_{name}"] = (2.0 * float((a & b).sum()), float(a.sum() + b.sum()))
    known = (batch["cement_known"] > 0).view(-1, 1, 1, 1)
    a, b = (output[:, CEMENT_CHANNEL] > 0) & known, (batch["cement"] > 0.5) & known
    scores["dice_cement"] = (2.0 * float((a & b).sum()), float(a.sum() + b.sum()))
    return scores
