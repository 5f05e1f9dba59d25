"""Whole vertebrae, body and posterior elements together, against a map that does not tell the two apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import CRANIAL_TO_CAUDAL, Level, label_name
from vertecast.core.images import Mask
from vertecast.lab.evaluation import metrics
from vertecast.lab.evaluation.datasets.schemes import whole_vertebrae
from vertecast.lab.evaluation.maps.pairs import label_pair

_ORDINARY: Final = [one.name for one in CRANIAL_TO_CAUDAL if one not in (Level.T13, Level.L6)]
"""Names to count along: a variant would put one step too many between T12 and L1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeScore:
    """How well whole vertebrae agree.

    Attributes:
        first, last: Uppermost and lowest level that is scored.
        dice: All vertebrae merged, against background, in the slices from the first level to the last.
        by_level: Dice coefficient of each true level with the vertebra of ours that lies where it does, whatever its
            name; 0 where there is none.
        names: Our name of each true level that was found.
    """

    first: str
    last: str
    dice: float
    by_level: Mapping[str, float] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def minimum(self) -> float:
        """The worst vertebra; NaN where none is scored."""
        return min(self.by_level.values(), default=float("nan"))

    @property
    def mean(self) -> float:
        """Mean over the vertebrae; NaN where none is scored."""
        return float(np.mean(list(self.by_level.values()))) if self.by_level else float("nan")

    @property
    def offsets(self) -> dict[str, int | None]:
        """By true level, how many levels too low ours is named (-1: one too high); None for a name like V3."""
        return {true: level_offset(true, ours) for true, ours in self.names.items()}

    @property
    def levels_right(self) -> bool:
        """Every vertebra was found under its own name."""
        return bool(self.by_level) and all(self.names.get(level) == level for level in self.by_level)


def level_offset(true: str, ours: str) -> int | None:
    """How many levels below the true one the name that was given lies; None where one of them cannot be counted."""
    if true not in _ORDINARY or ours not in _ORDINARY:
        return None
    return _ORDINARY.index(ours) - _ORDINARY.index(true)


def score_whole(truth: Mask, found: Mask, levels: tuple[str, str]) -> WholeScore:
    """Score whole vertebrae.

    Args:
        truth: Whole vertebrae, numbers as in ``labels_<n>.nii.gz``.
        found: Label map with bodies and posterior elements under numbers of their own.
        levels: Uppermost and lowest level that is scored.
    """
    pair = label_pair(truth, whole_vertebrae(found))
    spacing = geometry.spacing_mm(pair.lps_from_index)
    true, ours = (metrics.body_map(labels, spacing) for labels in (pair.truth, pair.found))
    counts = metrics.overlap_counts(true, ours)
    partner = metrics.match_bodies(counts)
    scored = [n for n in _between(*levels) if counts[n].any()]
    box = _slices(true, scored, pair.lps_from_index)
    return WholeScore(
        first=levels[0],
        last=levels[1],
        dice=metrics.body_dice(metrics.overlap_counts(true[box], ours[box])),
        by_level={label_name(n): metrics.dice(counts, n, partner[n]) if n in partner else 0.0 for n in scored},
        names={label_name(n): label_name(partner[n]) for n in scored if n in partner},
    )


def _between(first: str, last: str) -> list[int]:
    order = list(CRANIAL_TO_CAUDAL)
    return [int(one) for one in order[order.index(Level[first]) : order.index(Level[last]) + 1]]


def _slices(labels: metrics.Labels, numbers: list[int], lps_from_index: geometry.FloatArray) -> tuple[slice, ...]:
    """The slices, across the index axis nearest to the body's long one, that hold some of the numbers."""
    axis = index_axis(lps_from_index, lps_axis=2)
    box = [slice(None)] * 3
    held = metrics.bounding_box(np.isin(labels, numbers))
    box[axis] = slice(0, 0) if held is None else held[axis]
    return tuple(box)


def index_axis(lps_from_index: geometry.FloatArray, *, lps_axis: int) -> int:
    """The index axis that runs most along one axis of the patient: 0 left, 1 posterior, 2 superior."""
    return int(np.argmax(np.abs(geometry.apply(lps_from_index, np.eye(3)) - lps_from_index[:3, 3])[:, lps_axis]))
