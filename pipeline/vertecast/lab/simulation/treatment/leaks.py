"""Cement leaks: which ones occur, where they leave the body, and how far they grow along their route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from vertecast.core.anatomy import Compartment, YeomType
from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.treatment.growth import (
    Arrival,
    BoolGrid,
    Deposit,
    FloatGrid,
    IndexArray,
    Site,
    arrival,
    fill,
)
from vertecast.lab.simulation.treatment.leak_routes import ROUTES, distant_fragments, route_needle_tract

LEAK_VOLUME_ML: Final = (0.05, 2.0)
"""Log-uniform range of leak volumes; 0.05 mL is about the smallest that a CT reader reports."""

SMALLEST_LEAK_ML: Final = 0.03
"""A route that has no more room than this makes no leak."""

TYPE_SHARE_WITHOUT_CLEFT: Final = {
    YeomType.BASIVERTEBRAL: 0.317,
    YeomType.SEGMENTAL: 0.525,
    YeomType.CORTICAL: 0.122,
    YeomType.DISC: 0.065,
}
TYPE_SHARE_WITH_CLEFT: Final = {
    YeomType.BASIVERTEBRAL: 0.209,
    YeomType.SEGMENTAL: 0.245,
    YeomType.CORTICAL: 0.259,
    YeomType.DISC: 0.165,
}
"""Share of treated bodies with each type of leak on CT, PMC8449924."""

COMPARTMENT_SHARE: Final[Mapping[YeomType, Mapping[Compartment, float]]] = {
    YeomType.BASIVERTEBRAL: {Compartment.CANAL: 1.0},
    YeomType.SEGMENTAL: {Compartment.VEIN: 0.9, Compartment.DISTANT: 0.1},
    YeomType.CORTICAL: {
        Compartment.PREVERTEBRAL: 0.25,
        Compartment.PARAVERTEBRAL_LEFT: 0.2,
        Compartment.PARAVERTEBRAL_RIGHT: 0.2,
        Compartment.CANAL: 0.1,
        Compartment.FORAMEN: 0.1,
        Compartment.NEEDLE_TRACT: 0.15,
    },
    YeomType.DISC: {Compartment.DISC_SUPERIOR: 0.5, Compartment.DISC_INFERIOR: 0.5},
}
"""Where each type ends. An assumption: a spread that shows every compartment, not a published frequency."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeakTruth:
    """One leak as it was made. ``yeom_type`` is None where the classification has no type (needle tract)."""

    compartment: Compartment
    yeom_type: YeomType | None
    deposit: Deposit
    volume_ml: float

    @property
    def voxels(self) -> IndexArray:
        """Voxels (n, 3) of the phantom's grid."""
        return self.deposit.voxels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Injection:
    """The cement in the body that leaks start from.

    Attributes:
        front: Arrival times of the cement in the body; a leak's exit is where it would have come first.
        tips_local_mm: Needle tips (n, 3) in the vertebra's frame.
        taken: Voxels that cement holds already.
    """

    front: Arrival
    tips_local_mm: FloatArray
    taken: BoolGrid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leak:
    """A leak on the arrays of its site, with the channel inside the body that feeds it."""

    compartment: Compartment
    yeom_type: YeomType | None
    fraction: FloatGrid
    channel: IndexArray


def random_compartments(has_cleft: bool, rng: np.random.Generator) -> tuple[Compartment, ...]:
    """Draw the leaks of one treated body by the published frequency of each type."""
    shares = TYPE_SHARE_WITH_CLEFT if has_cleft else TYPE_SHARE_WITHOUT_CLEFT
    found = []
    for yeom_type, share in shares.items():
        if rng.random() < share:
            options = COMPARTMENT_SHARE[yeom_type]
            found.append(list(options)[rng.choice(len(options), p=list(options.values()))])
    return tuple(dict.fromkeys(found))


def random_volume_ml(rng: np.random.Generator) -> float:
    """Draw a leak volume in mL, log-uniform."""
    return float(np.exp(rng.uniform(*np.log(LEAK_VOLUME_ML))))


def make_leak(
    site: Site, injection: Injection, compartment: Compartment, volume_ml: float, rng: np.random.Generator
) -> Leak | None:
    """Grow one leak of about ``volume_ml`` into a compartment.

    Returns:
        The leak, or None where the compartment has no room next to this body.
    """
    front, taken = injection.front, injection.taken
    if compartment is Compartment.DISTANT:
        fraction = np.where(taken, 0.0, distant_fragments(site, volume_ml, rng)).astype(np.float32)
        no_channel = np.empty((0, 3), dtype=np.int32)
        leak = Leak(compartment=compartment, yeom_type=YeomType.SEGMENTAL, fraction=fraction, channel=no_channel)
        return leak if fraction.sum() * site.voxel_ml >= SMALLEST_LEAK_ML else None
    if compartment is Compartment.NEEDLE_TRACT:
        route = route_needle_tract(site, injection.tips_local_mm, rng)
    else:
        route = ROUTES[compartment](site, volume_ml, rng)
    capacity = np.where(taken | site.body, 0.0, route.capacity).astype(np.float32)
    start = _find_exit(site, front, (capacity > 0) & route.exit_zone, rng)
    if start is None:
        return None
    exit_voxel, body_voxel = start
    spread = arrival(route.cost, capacity > 0, exit_voxel[None])
    fraction = fill(spread, route.cost, capacity, volume_ml / site.voxel_ml)
    if fraction.sum() * site.voxel_ml < SMALLEST_LEAK_ML:
        return None
    channel = front.path_to(body_voxel).astype(np.int32)
    return Leak(compartment=compartment, yeom_type=route.yeom_type, fraction=fraction, channel=channel)


def _find_exit(
    site: Site, front: Arrival, zone: BoolGrid, rng: np.random.Generator
) -> tuple[IndexArray, IndexArray] | None:
    """The voxel of the zone, touching the body, that cement reaches first, and the body's voxel beside it."""
    time = np.full(site.body.shape, np.inf, dtype=np.float32)
    time[front.box] = front.time
    candidates = np.argwhere(zone & ndimage.binary_dilation(site.body, np.ones((3, 3, 3))))
    if len(candidates) == 0:
        return None
    offsets = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    beside = np.clip(candidates[:, None, :] + offsets, 0, np.array(site.body.shape) - 1)
    times = time[tuple(np.moveaxis(beside, -1, 0))]
    best = times.min(axis=1) * rng.uniform(0.8, 1.25, len(candidates))
    chosen = int(np.argmin(best))
    if not np.isfinite(best[chosen]):
        return None
    return candidates[chosen].astype(np.int32), beside[chosen, int(np.argmin(times[chosen]))].astype(np.int32)
