"""Which levels a column of bodies shows: everything that is seen weighed together, for every way to number it.

A hypothesis is a kind of column (usual, or a variant) and the level of the highest body. Its likelihood is the product
of what ribs, sacrum and the distances of neighbours say. The distances are compared with mean ones in units of the
patient's own size, which is not known and summed over. A scan in which the network finds no ribs at all has a share of
its own, so that many weak signs that fail together do not add up to certainty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Final

import numpy as np

from vertecast.core.anatomy import CERVICAL, LUMBAR, THORACIC, Level, normal_gap_mm

COLUMNS: Final[tuple[tuple[tuple[Level, ...], float], ...]] = (
    ((*CERVICAL, *THORACIC, *LUMBAR), 0.925),
    ((*CERVICAL, *THORACIC, *LUMBAR, Level.L6), 0.025),
    ((*CERVICAL, *THORACIC, *LUMBAR[:4]), 0.02),
    ((*CERVICAL, *THORACIC, Level.T13, *LUMBAR), 0.015),
    ((*CERVICAL, *THORACIC[:11], *LUMBAR), 0.008),
    ((*CERVICAL, *THORACIC, Level.T13, *LUMBAR[:4]), 0.005),
)
"""Kinds of columns and how common they are. 29 of 1,259 columns of VID end in L6; the others are general knowledge (4
to 12 % of people have a variant of some kind)."""

HIGHEST: Final = Level.C2
"""No body above it is found: the two highest vertebrae are built otherwise."""


class Rib(IntEnum):
    """What is seen of ribs at a body: none, something small, or a rib."""

    NONE = 0
    SMALL = 1
    RIB = 2


RIB_RATES: Final[Mapping[Level, tuple[float, float, float]]] = {
    **dict.fromkeys(CERVICAL[1:5], (0.985, 0.01, 0.005)),
    Level.C6: (0.96, 0.03, 0.01),
    Level.C7: (0.80, 0.17, 0.03),
    Level.T1: (0.04, 0.08, 0.88),
    **dict.fromkeys(THORACIC[1:10], (0.02, 0.07, 0.91)),
    Level.T11: (0.03, 0.07, 0.90),
    Level.T12: (0.04, 0.20, 0.76),
    Level.T13: (0.02, 0.43, 0.55),
    Level.L1: (0.93, 0.06, 0.01),
    **dict.fromkeys((*LUMBAR[1:], Level.L6), (0.985, 0.01, 0.005)),
}
"""How often no rib, a small one and a rib are seen at a whole body of these levels. Choices: a piece of the first rib
lies beside C7, the twelfth is often short, a lumbar rib is rare."""

CUT_KNOWN: Final = 0.3
"""So much of this counts at a body that the edge of the image cuts: its ribs may lie outside."""

BLIND_RATE: Final = 0.03
BLIND: Final = (0.9, 0.05, 0.05)
"""Share of the scans in which ribs are not seen where they are, and what is seen then. A choice."""

SACRUM_RIGHT: Final = 0.978
SACRUM_OFF_BY_ONE: Final = 0.018
"""How often the bodies between the lowest one and a sacrum in view are counted right, and wrong by one (L5 taken for a
part of the sacrum, or S1 for a body). Choices."""

GAP_SD: Final = 0.07
SIZE_SD: Final = 0.065
FREEDOM: Final = 4.0
"""Scatter of a distance about what the patient's size asks for and of sizes (SD of the logarithm): 0.047 and 0.063 in
1,410 columns of VID, a little more here for outlines that a network draws; Student's t, since bodies break."""

SOMETHING_ELSE: Final = 5e-4
"""Share of the columns that no hypothesis is made for, and in which what is seen of the ribs would be as usual as it
can be: a naming that needs two unlikely things is less likely than that. A choice."""

GAP_WEIGHT: Final = 0.5
"""Power of the likelihood of distances: broken bodies and spent discs shorten several at once, which this does not
know. A choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnEvidence:
    """What is seen of a column, cranial first.

    Attributes:
        places: Place of every body in the column, 0 for the highest; a missed one leaves its place empty.
        gaps_mm: Distance of each body's centre to the next one's; nan: unknown.
        ribs: At each body.
        whole: Which bodies the edge of the image does not cut.
        missed_above_sacrum: Bodies missed between the lowest one and the sacrum; None without a sacrum in view.
    """

    places: Sequence[int]
    gaps_mm: Sequence[float]
    ribs: Sequence[Rib]
    whole: Sequence[bool]
    missed_above_sacrum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """One way to name the bodies, and how likely it is."""

    levels: tuple[Level, ...]
    column: tuple[Level, ...]
    probability: float


def namings(evidence: ColumnEvidence) -> tuple[Naming, ...]:
    """Every way to name the bodies, the likeliest first; () where there are more places than a column has.

    Their probabilities add up to less than 1: the rest is that of `SOMETHING_ELSE`.
    """
    found: list[tuple[float, tuple[Level, ...], tuple[Level, ...]]] = []
    for column, prior in COLUMNS:
        starts = range(column.index(HIGHEST), len(column) - evidence.places[-1])
        for start in starts:
            levels = tuple(column[start + place] for place in evidence.places)
            after = len(column) - 1 - (start + evidence.places[-1])
            likelihood = _ribs(levels, evidence) + _gaps(levels, evidence) + _sacrum(after, evidence)
            found.append((np.log(prior) + likelihood, levels, column))
    if not found:
        return ()
    usual = sum(np.log(max(rates[rib] for rates in RIB_RATES.values())) for rib in evidence.ribs)
    best = max(found, key=lambda one: one[0])[1]
    logs = np.array([*(one[0] for one in found), np.log(SOMETHING_ELSE) + usual + _gaps(best, evidence)])
    probability = np.exp(logs - logs.max())
    probability /= probability.sum()
    result = [
        Naming(levels=one[1], column=one[2], probability=float(p))
        for one, p in zip(found, probability[:-1], strict=True)
    ]
    return tuple(sorted(result, key=lambda one: -one.probability))


def level_probabilities(found: Sequence[Naming]) -> tuple[dict[Level, float], ...]:
    """For every body the probability of each level."""
    result: tuple[dict[Level, float], ...] = tuple({} for _ in (found[0].levels if found else ()))
    for one in found:
        for body, level in zip(result, one.levels, strict=True):
            body[level] = body.get(level, 0.0) + one.probability
    return result


def _ribs(levels: Sequence[Level], evidence: ColumnEvidence) -> float:
    seen, blind = 0.0, 0.0
    for level, rib, whole in zip(levels, evidence.ribs, evidence.whole, strict=True):
        share = 1.0 if whole else CUT_KNOWN
        seen += np.log(share * RIB_RATES[level][rib] + (1 - share) / 3)
        blind += np.log(share * BLIND[rib] + (1 - share) / 3)
    return float(np.logaddexp(np.log(1 - BLIND_RATE) + seen, np.log(BLIND_RATE) + blind))


def _gaps(levels: Sequence[Level], evidence: ColumnEvidence) -> float:
    """Logarithm of the mean over sizes of how likely the distances are; bodies beside a missed one say nothing."""
    steps = np.diff(np.asarray(evidence.places))
    gaps = np.asarray(evidence.gaps_mm, dtype=np.float64)
    use = (steps == 1) & np.isfinite(gaps) & (gaps > 0)
    if not use.any():
        return 0.0
    expected = np.array([normal_gap_mm(one, below) for one, below in pairwise(levels)])
    off = np.log(gaps[use] / expected[use])
    size = np.linspace(-3, 3, 49) * SIZE_SD
    z = (off[None, :] - size[:, None]) / GAP_SD
    each = -0.5 * (FREEDOM + 1) * np.log1p(z**2 / FREEDOM)
    log = each.sum(axis=1) - 0.5 * (size / SIZE_SD) ** 2
    return GAP_WEIGHT * float(np.logaddexp.reduce(log) - np.logaddexp.reduce(-0.5 * (size / SIZE_SD) ** 2))


def _sacrum(after: int, evidence: ColumnEvidence) -> float:
    """``after``: bodies that the hypothesis has below the lowest one found."""
    if evidence.missed_above_sacrum is None:
        return 0.0
    off = abs(after - evidence.missed_above_sacrum)
    rest = (1 - SACRUM_RIGHT - SACRUM_OFF_BY_ONE) / len(CERVICAL + THORACIC)
    return float(np.log({0: SACRUM_RIGHT, 1: SACRUM_OFF_BY_ONE / 2}.get(off, rest)))
