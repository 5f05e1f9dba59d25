"""Training examples of the CT networks, as tensors: crops of simulated patients and of labelled CTs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.ct.crops import (
    LARGEST_OFFSET_MM,
    CropSettings,
    DrawnPatient,
    TrainingCrop,
    draw_patient,
    scan,
    take_crop,
)
from vertecast.lab.training.labelled import LabelledCase
from vertecast.lab.training.patients import EXAMPLE, Patients
from vertecast.lab.training.task import VALIDATION_SEED, Batch, Stream
from vertecast.segmentation.ct.grid import AIR_HU

FULL: Final = 255.0
"""Value in a kept case of a voxel that is all cement."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledPart:
    """Cases of one source: how often they are taken, and how often seen through another scanner."""

    cases: Sequence[LabelledCase]
    share: float
    rescan: float


def as_tensors(crop: TrainingCrop) -> Batch:
    """A crop of a simulated patient, of which everything is known."""
    return {
        "hu": torch.from_numpy(crop.hu)[None],
        "allowed": torch.from_numpy(np.left_shift(1, crop.structure).astype(np.uint8)),
        "cement": torch.from_numpy(crop.cement),
        "metal": torch.from_numpy(crop.metal).float(),
        "offset": torch.from_numpy(crop.offset_mm),
        "offset_weight": torch.from_numpy(crop.offset_weight).float(),
        "cement_known": torch.tensor(1.0),
        "metal_known": torch.tensor(1.0),
    }


def packed(example: Batch) -> Batch:
    """An example as it goes from the worker to the network: half the bytes, HU whole as a scanner gives them.

    Offsets of up to 80 mm lose less than 0.04 mm.
    """
    return {
        **example,
        "hu": example["hu"].round().to(torch.int16),
        "cement": example["cement"].half(),
        "metal": example["metal"].to(torch.uint8),
        "offset": example["offset"].half(),
        "offset_weight": example["offset_weight"].to(torch.uint8),
    }


def unpacked(batch: Batch) -> Batch:
    """A batch of packed examples, or of others, as the loss takes it: all but the sets of structures in float32."""
    return {name: values if name == "allowed" else values.float() for name, values in batch.items()}


def examples(
    stream: Stream, settings: CropSettings, *, simulated_share: float, labelled: Sequence[LabelledPart]
) -> Iterator[Batch]:
    """Endless crops, `packed`; each is of a source drawn by the shares.

    Args:
        stream: Which examples.
        settings: What a crop looks like.
        simulated_share: Of simulated patients, against the shares of the others.
        labelled: The other sources.
    """
    patients: Patients[DrawnPatient] = Patients(
        stream.seed,
        lambda rng: [draw_patient(rng, settings)],
        keep=settings.pool,
        uses=settings.uses,
        folder=stream.folder,
    )
    shares = np.array([simulated_share, *(part.share for part in labelled)])
    shares /= shares.sum()
    for number in count(stream.first):
        rng = np.random.default_rng([*stream.seed, EXAMPLE, number])
        source = int(rng.choice(len(shares), p=shares))
        if source == 0:
            simulated = round(number * float(shares[0]))  # patients age by the examples that are taken of them
            yield packed(as_tensors(take_crop(patients.pick(simulated, rng), rng, settings)))
        else:
            part = labelled[source - 1]
            case = part.cases[int(rng.integers(len(part.cases)))]
            yield packed(labelled_crop(case, rng, settings, rescan=part.rescan))


def held_out(cases: Sequence[LabelledCase], settings: CropSettings, number: int) -> Iterator[Batch]:
    """Fixed crops of cases that are not learnt from, in turn, as their scanner saw them."""
    for n in range(number):
        rng = np.random.default_rng([VALIDATION_SEED, n])
        yield labelled_crop(cases[n % len(cases)], rng, settings, rescan=0.0)


def labelled_crop(case: LabelledCase, rng: np.random.Generator, settings: CropSettings, *, rescan: float) -> Batch:
    """Cut a crop of a labelled CT at a random place and mirror it at random.

    Beyond the image there is air and background, as where the network is used.

    Args:
        case: Of which.
        rng: Chance.
        settings: Edges of the crop, spacing, share of crops on a vertebra.
        rescan: Share of the crops seen through another, simulated scanner.
    """
    from safetensors import safe_open

    with safe_open(case.path, framework="np") as file:
        centers = file.get_tensor("centers_index").astype(np.float32)
        start = settings.start(case.shape, centers, rng)
        stop = start + settings.edges
        box = tuple(slice(int(a), min(int(b), n)) for a, b, n in zip(start, stop, case.shape, strict=True))

        def part(name: str, fill: float) -> npt.NDArray[Any]:
            values = file.get_slice(name)[box]
            pad = [(0, int(edge) - n) for edge, n in zip(settings.edges, values.shape, strict=True)]
            return np.pad(values, pad, constant_values=fill)

        hu = part("hu", AIR_HU).astype(np.float32)
        allowed = part("allowed", 1 << Structure.BACKGROUND)
        instance, cement, metal = part("instance", 0), part("cement", 0), part("metal", 0)
    if rng.random() < rescan:
        hu = scan(hu, settings.spacing_mm, rng).astype(np.float32)
    own = np.isin(allowed, (1 << Structure.BODY, 1 << Structure.POSTERIOR)) & (instance > 0)
    axes = [np.arange(a, b, dtype=np.float32) for a, b in zip(start, stop, strict=True)]
    index = np.stack(np.meshgrid(*axes, indexing="ij"))
    ends = np.vstack([np.zeros((1, 3), dtype=np.float32), centers])
    offset = (np.moveaxis(ends[instance], -1, 0) - index) * np.float32(settings.spacing_mm)
    offset = np.clip(offset, -LARGEST_OFFSET_MM, LARGEST_OFFSET_MM) * own
    turn = slice(None)
    if rng.random() < 0.5:  # the left-right mirror image of a patient is a patient
        turn = slice(None, None, -1)
        offset *= np.array([-1, 1, 1], dtype=np.float32)[:, None, None, None]

    def tensor(values: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values[..., turn, :, :]))

    return {
        "hu": tensor(hu)[None],
        "allowed": tensor(allowed),
        "cement": tensor(cement.astype(np.float32) / np.float32(FULL)),
        "metal": tensor(metal).float(),
        "offset": tensor(offset.astype(np.float32)),
        "offset_weight": tensor(own).float(),
        "cement_known": torch.tensor(float(case.cement_known)),
        "metal_known": torch.tensor(float(case.metal_known)),
    }
