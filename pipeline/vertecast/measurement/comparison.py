"""Heights against those of sound neighbours: ratios, height loss, deformity and Genant grade, on any kind of image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from vertecast.anatomy import NEIGHBOUR_SCATTER, NORMAL_HEIGHTS_MM, normal_height_mm
from vertecast.results import Deformity, HeightReference, Measured, NotMeasured, Place, Quantity

PLACES: Final[tuple[Place, ...]] = ("anterior", "middle", "posterior")

Z95: Final = 1.96

GENANT_LIMITS: Final = (0.20, 0.25, 0.40)
"""Height loss at which grades 1, 2 and 3 begin. Source: Genant et al., J Bone Miner Res 1993;8:1137-1148."""

WHOLE_BODY_SHARE: Final = 2 / 3
"""Posterior loss of at least this share of the largest loss makes a deformity a crush: the whole body is lower."""

REFERENCE_REACH: Final = 3
"""A neighbour serves up to three bodies away; beyond that a person departs too far from mean tables of sizes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heights:
    """Heights of one body at `PLACES` with their standard deviations, in one unit for all bodies of an image."""

    value: Mapping[Place, float]
    sd: Mapping[Place, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the heights of one body say once they are compared; fields as in `VertebraFinding`."""

    ratios: Mapping[Literal["wedge", "biconcave", "crush"], Measured]
    height_loss: Quantity
    reference: HeightReference
    deformity: Deformity
    genant_grade: int
    genant_grade_range: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reference:
    """Expected heights of a body, and the indices of the bodies they come from."""

    value: Mapping[Place, float]
    sd: Mapping[Place, float]
    neighbours: tuple[int, ...]


def compare(
    bodies: Sequence[Heights | NotMeasured], names: Sequence[str], sound: Sequence[bool], at: int
) -> Comparison:
    """Compare a body with its sound neighbours, or with its own posterior height where none is in reach.

    Args:
        bodies: Heights of every body, cranial to caudal; that of ``at`` is measured.
        names: Their levels.
        sound: Which of them may serve as reference, of `sound_bodies`.
        at: Index of the body in question.
    """
    body = bodies[at]
    assert isinstance(body, Heights)
    neighbours = _reference(bodies, names, sound, at)
    reference = neighbours or _own_reference(body, names[at])
    losses = _losses(body, reference)
    place = max(PLACES, key=lambda p: losses[p])
    share = ratio(body.value[place], reference.value[place], body.sd[place], reference.sd[place])
    low, high = share.interval95 or (share.value, share.value)
    loss = Quantity(value=max(losses[place], 0.0), unit="1", interval95=(max(1 - high, 0.0), max(1 - low, 0.0)))
    value, sd = body.value, body.sd
    crush: Measured = NotMeasured(reason="no sound neighbour to compare with")
    if neighbours is not None:
        crush = ratio(value["posterior"], reference.value["posterior"], sd["posterior"], reference.sd["posterior"])
    return Comparison(
        ratios={
            "wedge": ratio(value["anterior"], value["posterior"], sd["anterior"], sd["posterior"]),
            "biconcave": ratio(value["middle"], value["posterior"], sd["middle"], sd["posterior"]),
            "crush": crush,
        },
        height_loss=loss,
        reference=HeightReference(
            method="neighbours" if neighbours else "own posterior height",
            levels=tuple(names[n] for n in reference.neighbours),
        ),
        deformity=_deformity(losses),
        genant_grade=genant_grade(loss.value),
        genant_grade_range=(genant_grade(max(1 - high, 0.0)), genant_grade(max(1 - low, 0.0))),
    )


def _scale(names: Sequence[str], target: int, source: int, place: Place) -> float:
    """Normal height of the target's level over that of the source's; 1 where a level is unknown."""
    own, other = (normal_height_mm(names[n], place) for n in (target, source))
    return 1.0 if own is None or other is None else own / other


def _reference(
    bodies: Sequence[Heights | NotMeasured], names: Sequence[str], sound: Sequence[bool], at: int
) -> _Reference | None:
    """Mean of the nearest sound bodies above and below, scaled to the level; None where neither is in reach."""
    above = next((n for n in range(at - 1, max(at - 1 - REFERENCE_REACH, -1), -1) if sound[n]), None)
    below = next((n for n in range(at + 1, min(at + 1 + REFERENCE_REACH, len(bodies))) if sound[n]), None)
    neighbours = tuple(n for n in (above, below) if n is not None)
    shapes = [(n, bodies[n]) for n in neighbours]
    heights: dict[Place, float] = {}
    sd: dict[Place, float] = {}
    for place in PLACES:
        values, variances = [], []
        for n, body in shapes:
            assert isinstance(body, Heights)
            scale = _scale(names, at, n, place)
            values.append(body.value[place] * scale)
            variances.append((body.sd[place] * scale) ** 2 + (NEIGHBOUR_SCATTER * values[-1]) ** 2)
        if not values:
            return None
        heights[place] = float(np.mean(values))
        sd[place] = float(np.sqrt(np.sum(variances)) / len(values))
    return _Reference(value=heights, sd=sd, neighbours=neighbours)


def _own_reference(body: Heights, name: str) -> _Reference:
    """The body's own posterior height times the normal shape of its level; of all levels where its own is unknown."""
    posterior, sd = body.value["posterior"], body.sd["posterior"]
    normal = np.array([NORMAL_HEIGHTS_MM[name]] if name in NORMAL_HEIGHTS_MM else list(NORMAL_HEIGHTS_MM.values()))
    anterior, middle, _ = (normal / normal[:, 2:]).mean(axis=0)
    shares: dict[Place, float] = {"anterior": float(anterior), "middle": float(middle), "posterior": 1.0}
    return _Reference(
        value={p: posterior * s for p, s in shares.items()},
        sd={p: float(np.hypot(sd, NEIGHBOUR_SCATTER * posterior)) * s for p, s in shares.items()},
        neighbours=(),
    )


def _losses(body: Heights, reference: _Reference) -> dict[Place, float]:
    return {p: 1 - body.value[p] / reference.value[p] for p in PLACES}


def sound_bodies(bodies: Sequence[Heights | NotMeasured], names: Sequence[str], treated: frozenset[int]) -> list[bool]:
    """Bodies fit to be a reference: measured, untreated, and without loss of their own.

    Bodies that are low by their own shape leave first; then, one by one, the body with the largest loss against the
    others, so that one crushed body does not make its neighbours look broken.
    """
    sound = [isinstance(b, Heights) and n + 1 not in treated for n, b in enumerate(bodies)]
    for n, body in enumerate(bodies):
        if sound[n] and isinstance(body, Heights):
            sound[n] = max(_losses(body, _own_reference(body, names[n])).values()) < GENANT_LIMITS[0]
    while True:
        losses = [_worst_loss(bodies, names, sound, n) if sound[n] else 0.0 for n in range(len(bodies))]
        worst = max(range(len(losses)), key=lambda n: losses[n], default=-1)
        if worst < 0 or losses[worst] < GENANT_LIMITS[0]:
            return sound
        sound[worst] = False


def _worst_loss(bodies: Sequence[Heights | NotMeasured], names: Sequence[str], sound: Sequence[bool], at: int) -> float:
    """Largest loss of a body against either of its nearest sound neighbours alone: two that broke side by side do not
    vouch for each other."""
    body = bodies[at]
    losses = [0.0]
    for side in (range(at), range(at + 1, len(bodies))):
        reference = _reference(bodies, names, [s and n in side for n, s in enumerate(sound)], at)
        if reference is not None and isinstance(body, Heights):
            losses.append(max(_losses(body, reference).values()))
    return max(losses)


def length(value: float, sd: float) -> Quantity:
    """A length in mm with the interval of its standard deviation."""
    return Quantity(value=value, unit="mm", interval95=(max(value - Z95 * sd, 0.0), value + Z95 * sd))


def ratio(value: float, reference: float, sd: float, reference_sd: float) -> Quantity:
    """Quotient of two heights with the interval from both."""
    share = value / reference
    error = Z95 * float(np.hypot(sd / reference, share * reference_sd / reference))
    return Quantity(value=share, unit="1", interval95=(max(share - error, 0.0), share + error))


def genant_grade(height_loss: float) -> int:
    """Genant grade 0 to 3 of a height loss given as a share (0.2 = 20 %)."""
    return int(np.searchsorted(GENANT_LIMITS, height_loss, side="right"))


def _deformity(losses: Mapping[Place, float]) -> Deformity:
    largest = max(losses.values())
    if largest < GENANT_LIMITS[0]:
        return "none"
    if losses["posterior"] >= max(GENANT_LIMITS[0], WHOLE_BODY_SHARE * largest):
        return "crush"
    return "wedge" if losses["anterior"] >= losses["middle"] else "biconcave"
