"""Bone cement: grown through a body from needle tips, leaking as `leaks` says, drawn in Hounsfield units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Compartment
from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.patient.tissue import Phantom
from vertecast.lab.simulation.treatment.growth import (
    Arrival,
    Deposit,
    FloatGrid,
    Site,
    arrival,
    bounding_box,
    fill,
    site_of,
    smooth_noise,
)
from vertecast.lab.simulation.treatment.leaks import (
    Injection,
    Leak,
    LeakTruth,
    make_leak,
    random_compartments,
    random_volume_ml,
)

__all__ = ["Deposit", "LeakTruth", "Treatment", "cement_fraction", "leak_fraction", "treat", "with_cement"]

Pattern: TypeAlias = Literal["compact", "interdigitated"]
Approach: TypeAlias = Literal["bipedicular", "unipedicular left", "unipedicular right"]

CEMENT_VOLUME_ML: Final = (0.5, 12.0)
"""Range of injected volumes; 2 to 8 mL are usual."""

BROKEN_ODDS: Final = 4.0
"""What is treated is broken, but for bodies that are filled to prevent a fracture, or for a tumour."""

FILL_FRACTION: Final = (0.06, 0.45)
"""Share of the body's volume aimed at; bench studies fill 10, 16 and 30 %."""

LARGEST_FILL: Final = 0.85
"""A front cannot displace every bit of marrow."""

CEMENT_HU: Final = (1300.0, 6000.0)
FAINT_CEMENT_HU: Final = (1050.0, 1300.0)
FAINT_RATE: Final = 0.07
"""Log-uniform ranges of a batch's mean before any clipping, and the share of the batches that are faint.

Estimated from the attenuation of the ingredients at 70 keV: 1,600 HU for 10 % of barium sulphate, about 5,000 for 30 %
of barium sulphate or 45 % of zirconia; pores and enclosed marrow make it less. No measured mean was found. Dense bone
fills the range below, so that cement that looks like bone would teach a network to see cement in bone."""

TRABECULAR_SHARE: Final = (0.05, 0.15)
"""Bone volume fraction of lumbar trabecular bone, osteoporotic to sound; Hildebrand et al., JBMR 1999;14:1167-1174."""

GAS_HU: Final = -200.0
CLEFT_ML: Final = 0.1
CORTEX_HU: Final = 450.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Treatment:
    """The cement of one vertebra as it was made.

    Volumes are those of the region that the cement fills, enclosed trabeculae included, as a boundary at half of the
    maximum sees it.

    Attributes:
        vertebra_index: Index from 0 into ``spine.vertebrae``.
        inside: Cement in the vertebral body.
        leaks: Cement outside it; no voxel is in two deposits.
        needle_tips_lps_mm: Needle tips (n, 3) in LPS mm.
        pattern: A compact mass, or one interdigitated with trabeculae.
        approach: Pedicles that the needles passed.
        volume_inside_ml: Volume of ``inside`` in mL.
    """

    vertebra_index: int
    inside: Deposit
    leaks: tuple[LeakTruth, ...]
    needle_tips_lps_mm: FloatArray
    pattern: Pattern
    approach: Approach
    volume_inside_ml: float


def sample_treated(phantom: Phantom, candidates: npt.NDArray[np.intp], rng: np.random.Generator) -> list[int]:
    """One to three of some vertebrae (indices from 0); broken ones are `BROKEN_ODDS` times as likely."""
    odds = np.array([BROKEN_ODDS if phantom.spine.vertebrae[n].grade else 1.0 for n in candidates])
    count = min(len(candidates), int(rng.integers(1, 4)))
    return [int(n) for n in rng.choice(candidates, size=count, replace=False, p=odds / odds.sum())]


def treat(
    phantom: Phantom,
    vertebra_index: int,
    rng: np.random.Generator,
    *,
    volume_ml: float | None = None,
    pattern: Pattern | None = None,
    leaks: Sequence[Compartment] | None = None,
    leak_volumes_ml: Sequence[float] | None = None,
) -> Treatment:
    """Inject cement into one vertebra.

    Args:
        phantom: The patient.
        vertebra_index: Index from 0 into ``phantom.spine.vertebrae``.
        rng: Source of all randomness.
        volume_ml: Volume inside the body, or None for a random one. A small body takes less.
        pattern: How the front advances, or None for a random choice.
        leaks: Compartments to leak into; None draws them with published frequencies. A compartment that has no room
            beside this body stays empty: ``Treatment.leaks`` says what was made.
        leak_volumes_ml: Volume aimed at for each of ``leaks``; None draws them log-uniform.

    Raises:
        ValueError: The vertebra's body is not drawn on the phantom's grid, or volumes do not match the leaks.
    """
    site = site_of(phantom, vertebra_index)
    pattern = pattern or ("compact" if rng.random() < 0.5 else "interdigitated")
    approach, tips = _place_needles(site, rng)
    body_ml = float(site.body.sum()) * site.voxel_ml
    if volume_ml is None:
        volume_ml = float(np.clip(body_ml * rng.uniform(*FILL_FRACTION), *CEMENT_VOLUME_ML))
    volume_ml = min(volume_ml, LARGEST_FILL * body_ml)
    inside, front = _fill_body(site, tips, volume_ml, pattern, rng)
    if leaks is None:
        leaks = random_compartments(has_cleft(site), rng)
    if leak_volumes_ml is None:
        leak_volumes_ml = [random_volume_ml(rng) for _ in leaks]
    injection = Injection(front=front, tips_local_mm=tips, taken=inside > 0)
    found = _leak(site, injection, dict(zip(leaks, leak_volumes_ml, strict=True)), rng)
    for leak in found:
        inside[tuple(leak.channel.T)] = np.maximum(inside[tuple(leak.channel.T)], 0.8)
    deposit = site.deposit(inside)
    return Treatment(
        vertebra_index=vertebra_index,
        inside=deposit,
        leaks=tuple(_truth(site, leak) for leak in found),
        needle_tips_lps_mm=geometry.apply(site.vertebra.lps_from_local, tips),
        pattern=pattern,
        approach=approach,
        volume_inside_ml=deposit.volume_ml(phantom.lps_from_index),
    )


def _truth(site: Site, leak: Leak) -> LeakTruth:
    deposit = site.deposit(leak.fraction)
    return LeakTruth(
        compartment=leak.compartment,
        yeom_type=leak.yeom_type,
        deposit=deposit,
        volume_ml=deposit.volume_ml(site.lps_from_index),
    )


def has_cleft(site: Site) -> bool:
    """True when the body holds gas worth the name of an intravertebral cleft."""
    return float((site.body & (site.hu < GAS_HU)).sum()) * site.voxel_ml >= CLEFT_ML


def _place_needles(site: Site, rng: np.random.Generator) -> tuple[Approach, FloatArray]:
    """Draw the approach and the needle tips (n, 3), in the vertebra's frame: in front, between the endplates."""
    options: tuple[Approach, ...] = ("bipedicular", "unipedicular left", "unipedicular right")
    approach = options[rng.choice(3, p=[0.5, 0.25, 0.25])]
    sides = {"bipedicular": (1.0, -1.0), "unipedicular left": (1.0,), "unipedicular right": (-1.0,)}[approach]
    lateral = (0.1, 0.25) if approach == "bipedicular" else (0.01, 0.15)
    shape = site.vertebra.shape
    tips = []
    for side in sides:
        x = np.array([side * rng.uniform(*lateral) * shape.width_mm])
        y = np.array([rng.uniform(-0.3, 0.05) * shape.depth_mm])
        top, bottom = float(shape.superior_mm(x, y)[0]), float(shape.inferior_mm(x, y)[0])
        tips.append([x[0], y[0], bottom + rng.uniform(0.3, 0.7) * (top - bottom)])
    return approach, np.array(tips)


def _fill_body(
    site: Site, tips: FloatArray, volume_ml: float, pattern: Pattern, rng: np.random.Generator
) -> tuple[FloatGrid, Arrival]:
    """Coverage of the body with cement, and the arrival times of its front."""
    box = bounding_box(site.body, margin=1)
    shape = site.body[box].shape
    noise = smooth_noise(shape, 6.0 / site.spacing_mm, rng)
    if pattern == "compact":
        resistance = np.exp(0.35 * noise)
    else:
        fine = smooth_noise(shape, 1.0 / site.spacing_mm, rng)
        middle = smooth_noise(shape, 2.5 / site.spacing_mm, rng)
        resistance = np.exp(0.4 * noise + 0.7 * middle + 0.8 * fine)
    hu = site.hu[box]
    resistance *= np.interp(hu, [GAS_HU, 0.0, 250.0, CORTEX_HU, 2 * CORTEX_HU], [0.15, 0.6, 1.2, 2.5, 8.0])
    cost = np.ones(site.body.shape, dtype=np.float32)
    cost[box] = resistance
    inside = np.argwhere(site.body)
    nearest = [inside[np.argmin(((inside - tip) ** 2).sum(axis=1))] for tip in site.index_of(tips)]
    front = arrival(cost, site.body, np.array(nearest))
    return fill(front, cost, site.body.astype(np.float32), volume_ml / site.voxel_ml), front


def _leak(
    site: Site, injection: Injection, volumes_ml: Mapping[Compartment, float], rng: np.random.Generator
) -> list[Leak]:
    """Grow one leak after the other; none enters what holds cement already."""
    found = []
    for compartment, volume_ml in volumes_ml.items():
        leak = make_leak(site, injection, compartment, volume_ml, rng)
        if leak is not None:
            found.append(leak)
            injection = replace(injection, taken=injection.taken | (leak.fraction > 0))
    return found


def cement_fraction(phantom: Phantom, treatments: Sequence[Treatment]) -> FloatGrid:
    """Share of each voxel of the phantom's grid that cement covers, inside bodies and leaked, float32 from 0 to 1."""
    deposits = [d for t in treatments for d in (t.inside, *(leak.deposit for leak in t.leaks))]
    return _scatter(phantom, deposits)


def leak_fraction(phantom: Phantom, treatments: Sequence[Treatment]) -> FloatGrid:
    """As `cement_fraction`, of the leaks alone."""
    return _scatter(phantom, [leak.deposit for t in treatments for leak in t.leaks])


def _scatter(phantom: Phantom, deposits: Sequence[Deposit]) -> FloatGrid:
    fraction = np.zeros(phantom.hu.shape, dtype=np.float32)
    for deposit in deposits:
        at = tuple(deposit.voxels.T)
        fraction[at] = np.maximum(fraction[at], deposit.fraction)
    return fraction


def sample_mean_hu(rng: np.random.Generator) -> float:
    """Draw the mean HU of a batch of cement."""
    limits = FAINT_CEMENT_HU if rng.random() < FAINT_RATE else CEMENT_HU
    return float(np.exp(rng.uniform(*np.log(limits))))


def with_cement(
    hu: FloatGrid,
    phantom: Phantom,
    treatments: Sequence[Treatment],
    rng: np.random.Generator,
    *,
    mean_hu: float | None = None,
) -> FloatGrid:
    """Draw the cement into Hounsfield units (i, j, k) of the phantom's grid; values above 3071 are left to the scanner.

    One batch of cement serves the patient: its mean is ``mean_hu``, or that of `sample_mean_hu`; the barium is unevenly
    spread, with a few clumps. Interdigitated cement encloses trabeculae.
    """
    result = hu.astype(np.float32, copy=True)
    mean_hu = sample_mean_hu(rng) if mean_hu is None else mean_hu
    unevenness = rng.uniform(0.03, 0.15)
    for treatment in treatments:
        bone_share = rng.uniform(*TRABECULAR_SHARE) if treatment.pattern == "interdigitated" else 0.0
        for deposit in (treatment.inside, *(leak.deposit for leak in treatment.leaks)):
            low = deposit.voxels.min(axis=0)
            at = tuple(deposit.voxels.T)
            local = tuple((deposit.voxels - low).T)
            shape = tuple(int(n) for n in np.ptp(deposit.voxels, axis=0) + 1)
            granules = smooth_noise(shape, 0.7, rng)[local] if min(shape) > 1 else 0.0
            clumps = ndimage.gaussian_filter((rng.random(shape) < 0.002).astype(np.float32), 0.6)[local]
            cement_hu = mean_hu * (1 + unevenness * granules + 2.0 * clumps)
            if deposit is treatment.inside:
                cement_hu = (1 - bone_share) * cement_hu + bone_share * np.maximum(result[at], 0.0)
            result[at] += deposit.fraction * (cement_hu - result[at])
    return result
