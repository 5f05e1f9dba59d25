"""What the CT networks learn: structures, cement, metal and instances, of simulated patients and of labelled CTs.

A voxel of which only a set of structures is known asks for no more: its loss is minus the logarithm of the set's whole
probability (the marginal loss of Shi et al., Med Image Anal 2021;70:101979). Where the set has one member that is the
cross entropy; where it has all of them it is 0. A batch of sets with one member each, as simulated patients have, takes
the cross entropy itself, which needs no tensor of sets for every structure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import Field
from torch import Tensor

from vertecast.core.anatomy import Structure
from vertecast.core.errors import BundleError
from vertecast.lab.simulation.ct.crops import CropSettings, crops
from vertecast.lab.training.examples import LabelledPart, as_tensors, examples, held_out, unpacked
from vertecast.lab.training.labelled import LabelledCase, prepare_cases
from vertecast.lab.training.sources import FolderSource, SimulatedSource, Source, find_cases, split_cases
from vertecast.lab.training.task import VALIDATION_SEED, Batch, RunSettings, Scores, Stream
from vertecast.segmentation.bundle import OUTLINER, Bundle
from vertecast.segmentation.ct.network import (
    CEMENT_CHANNEL,
    OFFSET_SCALE_MM,
    STRUCTURE_CHANNELS,
    SpineNet,
)

LEAK_WEIGHT: Final = 10.0
"""Weight in the cross entropies of cement that has leaked and of what it touches: a network that is asked nothing more
takes whatever cement fills for bone."""

LEAK_SURROUNDINGS_VOXELS: Final = 5
"""Edge of the cube round a leaked voxel that has this weight."""

ENTROPY_WEIGHT: Final = 3.0
DICE_WEIGHT: Final = 0.5
"""Weights of the cross entropies and of the Dice in the loss: of structures, cement and metal alike."""

SCORED: Final = {"body": Structure.BODY, "sacrum": Structure.SACRUM, "rib": Structure.RIB}


class CtSettings(RunSettings):
    """A schedule of one of the CT networks; ``data`` says what it is shown."""

    network: Literal["locator", "outliner", "closer"]
    widths: tuple[int, int, int, int] = (32, 64, 128, 192)
    spacing_mm: float = 1.5
    crop: int | tuple[int, int, int] = 80
    phantom_shape: tuple[int, int, int] = (130, 130, 130)
    near_spine: float = 0.85
    jitter: float = 0.3
    behind_mm: float = 0.0
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
            jitter=self.jitter,
            behind_mm=self.behind_mm,
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
    """One of the networks of a CT bundle."""

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
        """A network with fresh weights, in the order of memory that convolutions in three dimensions are fast in."""
        net = SpineNet(self.settings.widths)
        net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's types leave it out
        return net

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

    def losses(self, net: torch.nn.Module, batch: Batch) -> tuple[dict[str, Tensor], Callable[[], Scores]]:
        """Parts of the loss, and what works out Dice scores."""
        batch = unpacked(batch)
        output = net(batch["hu"])
        answer = output.detach()
        return loss_terms(output, batch), lambda: dice_scores(answer, batch)

    def weights_of(self, bundle: Path) -> Mapping[str, Tensor]:
        """Weights of this network in a bundle; a first closer look begins with those of the outliner.

        Raises:
            BundleError: it is damaged, or its network has other widths.
        """
        networks = Bundle.open(bundle).networks
        network = networks.get(self.name, networks[OUTLINER])
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
    return 1 - _dice((probability * target).sum(axes), probability.sum(axes) + target.sum(axes))


def _dice(overlap: Tensor, sizes: Tensor) -> Tensor:
    """Dice of an overlap and the sum of both sizes, in voxels; near 1 where there is next to nothing."""
    return (2 * overlap + 50) / (sizes + 50)


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
    # Split once: the gradient of every slice would be a tensor of zeros with all channels.
    logits, cement, metal, offset = output.float().split((STRUCTURE_CHANNELS, 1, 1, 3), dim=1)
    leaks = _leak_emphasis(batch)
    terms = {"structure": structure_loss(logits, batch["allowed"], leaks)}
    for name, asked, weight in (("cement", cement, leaks), ("metal", metal, 1.0)):
        known = batch[f"{name}_known"].view(-1, 1, 1, 1)
        logit, target = asked[:, 0], batch[name]
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
        entropy = (entropy * weight * known).sum() / (known.sum().clamp(min=1) * target[0].numel())
        seen, true = (logit.sigmoid() * known)[:, None], (target * known)[:, None]
        terms[name] = ENTROPY_WEIGHT * entropy + DICE_WEIGHT * _soft_dice(seen, true).mean()
    error = (offset - batch["offset"] / OFFSET_SCALE_MM).abs().sum(1) * batch["offset_weight"]
    terms["offset"] = error.sum() / (batch["offset_weight"].sum() + 100)
    return terms


def structure_loss(logits: Tensor, allowed: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy and Dice of the structures: `marginal_loss`, by a quicker way where every set is a single one.

    No structure has a weight: a body that weighs more than what surrounds it is outlined a tenth too large.

    Args:
        logits: (b, s, i, j, k), float32.
        allowed: Sets of structures (b, i, j, k), a bit each.
        weight: Of each voxel in the cross entropy, (b, i, j, k).
    """
    is_single = bool(((allowed & (allowed - 1)) == 0).all())
    return single_loss(logits, allowed, weight) if is_single else marginal_loss(logits, allowed, weight)


def single_loss(logits: Tensor, allowed: Tensor, weight: Tensor) -> Tensor:
    """`marginal_loss` of sets with one member each, with no tensor of all structures but their probabilities."""
    truth = torch.frexp(allowed.float())[1].long() - 1  # the exponent of a power of two is its bit
    likely = logits.log_softmax(1)
    true = likely.gather(1, truth[:, None])[:, 0]
    entropy = -(true * weight).sum() / weight.sum()
    voxels = truth.flatten()
    overlap = logits.new_zeros(STRUCTURE_CHANNELS).index_add(0, voxels, true.exp().flatten())
    sizes = likely.exp().sum((0, 2, 3, 4)) + torch.bincount(voxels, minlength=STRUCTURE_CHANNELS)
    return ENTROPY_WEIGHT * entropy + DICE_WEIGHT * (1 - _dice(overlap, sizes))[1:].mean()


def marginal_loss(logits: Tensor, allowed: Tensor, weight: Tensor) -> Tensor:
    """Cross entropy of each voxel's whole set, and Dice over the voxels of which a structure is known."""
    may_be, is_known = members(allowed)
    likely = logits.log_softmax(1)
    entropy = -likely.masked_fill(~may_be, -torch.inf).logsumexp(1)
    entropy = (entropy * weight).sum() / weight.sum()
    dice = _soft_dice(likely.exp() * is_known, (may_be & is_known).float())[1:].mean()
    return ENTROPY_WEIGHT * entropy + DICE_WEIGHT * dice


def _leak_emphasis(batch: Batch) -> Tensor:
    """Weight of each voxel (b, i, j, k): `LEAK_WEIGHT` on and beside cement outside the bodies, else 1."""
    is_cement = (batch["cement"] > 0.3) & (batch["cement_known"] > 0).view(-1, 1, 1, 1)
    leaked = is_cement & (batch["allowed"] & (1 << Structure.BODY) == 0)
    near = leaked[:, None].float()
    if bool(leaked.any()):  # in most crops nothing leaks
        for axis in range(3):  # a cube is three lines: 15 comparisons of a voxel in place of 125
            size = [LEAK_SURROUNDINGS_VOXELS if n == axis else 1 for n in range(3)]
            near = torch.nn.functional.max_pool3d(near, size, stride=1, padding=[n // 2 for n in size])
    return 1 + (LEAK_WEIGHT - 1) * near[:, 0]


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
