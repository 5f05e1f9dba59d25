"""What the X-ray network learns: bodies with their six points, sacrum, cement, metal and view from simulated films."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vertecast.lab.simulation.projection.pictures import PictureSettings, TrainingPicture, pictures, take_picture
from vertecast.lab.simulation.projection.projected import FieldSettings, ProjectedPatient, draw_projections
from vertecast.lab.training.patients import EXAMPLE, Patients
from vertecast.lab.training.task import VALIDATION_SEED, Batch, RunSettings, Scores, Stream
from vertecast.segmentation.projection.bundle import XrayBundle
from vertecast.segmentation.projection.network import (
    MAPS,
    OFFSET_CHANNELS,
    OFFSET_SCALE_PX,
    VIEWS,
    ProjectionNet,
)

MAP_WEIGHTS: Final = {"body": 1.0, "sacrum": 0.5, "cement": 2.0, "metal": 0.5, "ribs": 0.4}
CEMENT_EMPHASIS: Final = 4.0
LEAK_EMPHASIS: Final = 12.0
"""Weight in the cross entropy of pixels at cement inside the bodies and outside them: cement is one pixel in a hundred,
and leaked cement one in several thousand."""
SOUND_EMPHASIS: Final = 2.0
"""Weight of pixels of bodies without cement: what shines in them is bone that crosses bone, and is not to be called
cement."""
CEMENT_SURROUNDINGS_PX: Final = 5
"""Edge of the square round a pixel of cement that has its weight."""
OFFSET_WEIGHT: Final = 5.0
NEAR: Final = 0.1
"""Votes weigh 1 / (this + their length), in units of `OFFSET_SCALE_PX`."""
DEFORMED_RATIO: Final = 0.8
DEFORMED_WEIGHT: Final = 3.0
"""A body whose lowest height is less than this share of its largest one weighs so much more: broken bodies are one in
eight, look less alike than sound ones, and are what is asked for."""
PLATE_WEIGHT: Final = 1.0
VIEW_WEIGHT: Final = 0.2


class XraySettings(RunSettings):
    """A schedule of the X-ray network."""

    network: Literal["xray"]
    widths: tuple[int, ...] = (32, 64, 96, 160, 224)
    size: int = 256
    views: int = 8
    spacing_mm: float = 1.7
    phantom_shape: tuple[int, int, int] = (158, 150, 236)
    projection_px: int = 360

    def picture_settings(self) -> PictureSettings:
        """The part that the simulation needs."""
        field = FieldSettings(spacing_mm=self.spacing_mm, shape=self.phantom_shape, pixels=self.projection_px)
        return PictureSettings(size=self.size, pool=self.pool, views=self.views, uses=self.uses, field=field)


class XrayTask:
    """The network of an X-ray bundle."""

    name: Final = "xray"

    def __init__(self, settings: XraySettings) -> None:
        self.settings = settings

    def network(self) -> ProjectionNet:
        """A network with fresh weights."""
        return ProjectionNet(self.settings.widths)

    def prepare(self, folder: Path) -> None:
        """Nothing: every film is simulated."""

    def examples(self, stream: Stream) -> Iterator[Batch]:
        """Films of simulated patients."""
        settings = self.settings.picture_settings()
        patients: Patients[ProjectedPatient] = Patients(
            stream.seed,
            lambda rng: draw_projections(rng, settings.field, settings.views),
            keep=max(settings.pool // settings.views, 1),
            uses=settings.uses * settings.views,
            folder=stream.folder,
        )
        for number in count(stream.first):
            rng = np.random.default_rng([*stream.seed, EXAMPLE, number])
            yield as_tensors(take_picture(patients.pick(number, rng), rng, settings))

    def held_out(self) -> dict[str, Iterator[Batch]]:
        """Three films of each held-out patient."""
        few_each = replace(self.settings.picture_settings(), pool=3, views=3, uses=1)
        films = islice(pictures(VALIDATION_SEED, few_each), self.settings.validation_examples)
        return {"": map(as_tensors, films)}

    def losses(self, net: torch.nn.Module, batch: Batch) -> tuple[dict[str, Tensor], Callable[[], Scores]]:
        """Parts of the loss, and what works out scores: Dice, error of the points in pixels, views right."""
        output, view = net(batch["image"], batch["valid"])
        output, view = output.float(), view.float()
        seen = output.detach(), view.detach()
        return loss_terms(output, view, batch), lambda: scores(*seen, batch)

    def weights_of(self, bundle: Path) -> Mapping[str, Tensor]:
        """Weights in a bundle. Raises `BundleError` where it is damaged or does not fit."""
        return XrayBundle.open(bundle).load().state_dict()

    def facts(self) -> dict[str, Any]:
        """Size and channels."""
        return {"widths": list(self.settings.widths), "picture_px": self.settings.size}


def as_tensors(picture: TrainingPicture) -> Batch:
    """A training picture as the tensors that `loss_terms` takes, without the batch axis."""
    maps = [getattr(picture, name) for name in MAPS]
    pose = (picture.is_anterior_left, picture.is_upright)
    return {
        "image": torch.from_numpy(picture.image)[None],
        "valid": torch.from_numpy(picture.valid)[None].float(),
        "maps": torch.stack([torch.from_numpy(values).float() for values in maps]),
        "offset": torch.from_numpy(picture.offset_px) / OFFSET_SCALE_PX,
        "plate": torch.from_numpy(picture.plate_px) / OFFSET_SCALE_PX,
        "view": torch.tensor(VIEWS.index(picture.view or "none")),
        "pose": torch.tensor([float(bool(answer)) for answer in pose]),
        "pose_known": torch.tensor([float(answer is not None) for answer in pose]),
    }


def loss_terms(output: Tensor, view: Tensor, batch: Batch) -> dict[str, Tensor]:
    """The parts of the loss: maps (cross entropy and Dice), points and endplate (L1), view."""
    terms = {}
    body = batch["maps"][:, MAPS.index("body")]
    # Split once: the gradient of every slice would be a picture of zeros with all channels.
    maps, offset, plate = output.split((len(MAPS), batch["offset"].shape[1], batch["plate"].shape[1]), dim=1)
    for n, (name, logit) in enumerate(zip(MAPS, maps.unbind(1), strict=True)):
        target = batch["maps"][:, n]
        if name == "ribs":  # asked of bodies alone
            entropy = functional.binary_cross_entropy_with_logits(logit, target, weight=body, reduction="sum")
            terms[name] = MAP_WEIGHTS[name] * entropy / (body.sum() + 100)
            continue
        probability = logit.sigmoid()
        overlap = 2 * (probability * target).sum() + 50
        dice = 1 - overlap / (probability.sum() + target.sum() + 50)
        emphasis = _cement_emphasis(target, body) if name == "cement" else None
        entropy = functional.binary_cross_entropy_with_logits(logit, target, weight=emphasis)
        terms[name] = MAP_WEIGHTS[name] * (entropy + 0.5 * dice)
    sacrum = batch["maps"][:, MAPS.index("sacrum")]
    for name, votes, weight, where in (
        ("offset", offset, OFFSET_WEIGHT, body),
        ("plate", plate, PLATE_WEIGHT, sacrum),
    ):
        # Only the few pixels near a point can see where it lies, and their votes count most when they are read.
        target = batch[name]
        share = where * _deformity_weight(target) if name == "offset" else where
        error = ((votes - target).abs() * _nearness(target)).mean(1) * share
        terms[name] = weight * error.sum() / (share.sum() + 50)
    terms["view"] = VIEW_WEIGHT * functional.cross_entropy(view[:, : len(VIEWS)], batch["view"])
    pose = functional.binary_cross_entropy_with_logits(
        view[:, len(VIEWS) :], batch["pose"], weight=batch["pose_known"], reduction="sum"
    )
    terms["pose"] = VIEW_WEIGHT * pose / batch["pose_known"].sum().clamp(min=1)
    return terms


def _cement_emphasis(cement: Tensor, body: Tensor) -> Tensor:
    """Weight of every pixel (b, r, c) by the cement at it or beside it."""
    inside = cement * body
    outside = cement * (1 - body)
    size = CEMENT_SURROUNDINGS_PX
    near = functional.max_pool2d(torch.stack([inside, outside], 1), size, stride=1, padding=size // 2)
    at_cement = torch.maximum((CEMENT_EMPHASIS - 1) * near[:, 0], (LEAK_EMPHASIS - 1) * near[:, 1])
    weight: Tensor = 1 + torch.maximum(at_cement, (SOUND_EMPHASIS - 1) * body)
    return weight


def _nearness(target: Tensor) -> Tensor:
    """Weight of every vote (b, 2n, r, c) by the distance to its point: without it the many far ones decide."""
    points = target.unflatten(1, (-1, 2))
    distance = torch.hypot(points[:, :, :1], points[:, :, 1:])  # a norm over this axis takes as long as the network
    weight: Tensor = (1 / (NEAR + distance)).expand_as(points).flatten(1, 2)
    return weight


def _deformity_weight(target: Tensor) -> Tensor:
    """Weight of every pixel (b, r, c) by the heights of the body that its six true votes (b, 12, r, c) outline."""
    points = target.unflatten(1, (2, 3, 2))
    column, row = (points[:, 0] - points[:, 1]).unbind(2)
    heights = torch.hypot(column, row)
    is_deformed = heights.amin(1) < DEFORMED_RATIO * heights.amax(1)
    weight: Tensor = 1 + (DEFORMED_WEIGHT - 1) * is_deformed
    return weight


def scores(output: Tensor, view: Tensor, batch: Batch) -> Scores:
    """Numerators and denominators over a batch; ``offset_px`` is the mean error of a single vote."""
    found: Scores = {}
    for name in ("body", "sacrum", "cement", "metal"):
        n = MAPS.index(name)
        a, b = output[:, n] > 0, batch["maps"][:, n] > 0.5
        found[f"dice_{name}"] = (2.0 * float((a & b).sum()), float(a.sum() + b.sum()))
    body = batch["maps"][:, 0] > 0.5
    error = (output[:, OFFSET_CHANNELS] - batch["offset"]).abs().mean(1)[body] * OFFSET_SCALE_PX
    found["offset_px"] = (float(error.sum()), float(body.sum()))
    found["ribs_right"] = (
        float(((output[:, MAPS.index("ribs")] > 0) == (batch["maps"][:, MAPS.index("ribs")] > 0.5))[body].sum()),
        float(body.sum()),
    )
    found["views_right"] = (float((view[:, : len(VIEWS)].argmax(1) == batch["view"]).sum()), float(len(view)))
    pose = (view[:, len(VIEWS) :] > 0) == (batch["pose"] > 0.5)
    found["poses_right"] = (float((pose * batch["pose_known"]).sum()), float(batch["pose_known"].sum()))
    return found
