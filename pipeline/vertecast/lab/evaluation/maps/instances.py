"""Vertebrae as things: found or missed, with the right name, at the right place, with the right outline.

A found vertebra is the same thing as a true one where they share more than half of their union, which can hold for one
pair only (Kirillov et al., CVPR 2019, doi 10.1109/CVPR.2019.00963). Identification and localisation are those of the
VerSe challenge (Sekuboyina et al., doi 10.1016/j.media.2021.102166): by name and by centroid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.lab.evaluation.metrics import Counts, Labels

SAME_THING_IOU: Final = 0.5
IDENTIFIED_MM: Final = 20.0
"""A vertebra counts as identified where the found one of its name lies nearer to it than this, and than every other
found one (as in VerSe)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceScore:
    """The vertebrae of one image.

    Attributes:
        matched_iou: Intersection over union of every true vertebra that was found, by its true number.
        missed: True numbers that have no partner.
        false: Found numbers that have no partner.
        identified: By true number: the found vertebra of that name lies there.
        localisation_mm: By true number: distance to the centroid of the found vertebra of its name, where there is one.
    """

    matched_iou: Mapping[int, float]
    missed: tuple[int, ...]
    false: tuple[int, ...]
    identified: Mapping[int, bool]
    localisation_mm: Mapping[int, float]

    @property
    def panoptic_terms(self) -> tuple[float, float]:
        """Sum of the intersections over union, and matched + half the missed and false: their ratio is the quality."""
        return sum(self.matched_iou.values()), len(self.matched_iou) + (len(self.missed) + len(self.false)) / 2


def score_instances(counts: Counts, truth: Mapping[int, FloatArray], found: Mapping[int, FloatArray]) -> InstanceScore:
    """Score the vertebrae of one image.

    Args:
        counts: Of `metrics.overlap_counts`, of maps that hold nothing but vertebrae.
        truth: Centroid (3,) in LPS mm of every true vertebra by its number.
        found: The same of the found ones.
    """
    sizes_truth, sizes_found = counts.sum(axis=1), counts.sum(axis=0)
    iou, partner = {}, {}
    for true in truth:
        for own in found:
            union = sizes_truth[true] + sizes_found[own] - counts[true, own]
            if union and counts[true, own] / union > SAME_THING_IOU:
                iou[true], partner[true] = float(counts[true, own] / union), own
    localisation = {n: float(np.linalg.norm(truth[n] - found[n])) for n in truth if n in found}
    return InstanceScore(
        matched_iou=iou,
        missed=tuple(n for n in truth if n not in iou),
        false=tuple(n for n in found if n not in partner.values()),
        identified={n: _is_identified(n, truth, found) for n in truth},
        localisation_mm=localisation,
    )


def centroids_lps_mm(labels: Labels, lps_from_index: npt.ArrayLike) -> dict[int, FloatArray]:
    """Centroid (3,) of every number but 0 in a label map (i, j, k)."""
    centers = {}
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            first = np.array([part.start for part in box])
            index = np.argwhere(labels[box] == number).mean(axis=0) + first
            centers[number] = geometry.apply(lps_from_index, index)
    return centers


def _is_identified(number: int, truth: Mapping[int, FloatArray], found: Mapping[int, FloatArray]) -> bool:
    if number not in found:
        return False
    distance = {n: float(np.linalg.norm(truth[number] - center)) for n, center in found.items()}
    return distance[number] < IDENTIFIED_MM and distance[number] <= min(distance.values())
