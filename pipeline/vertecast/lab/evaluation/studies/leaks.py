"""Reported leaks against true ones, paired by where the cement lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from vertecast.core import geometry
from vertecast.core.anatomy import CEMENT_LEAKED_LABEL
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Mask
from vertecast.lab.evaluation.datasets import FoundLeak, TrueLeak
from vertecast.lab.evaluation.metrics import bounding_box, match_distances

LEAK_REACH_MM: Final = 5.0
"""A reported point lies on a leak when it is no farther from its cement than one of the thickest slices in use."""

Verdict: TypeAlias = Literal["found", "missed", "fragment", "false", "out of view"]
"""A fragment is a report on cement that did leak, beside another report that already stands for the same leak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakScore:
    """One leak: true, reported, or both."""

    verdict: Verdict
    truth: TrueLeak | None = None
    found: FoundLeak | None = None

    @property
    def compartment_right(self) -> bool:
        """True for a leak that was found and put into its compartment."""
        return self.truth is not None and self.found is not None and self.truth.compartment == self.found.compartment

    @property
    def yeom_right(self) -> bool | None:
        """True for a leak that was found and given its Yeom type; None where it has none, or was not found."""
        if self.truth is None or self.found is None or self.truth.yeom_type is None:
            return None
        return self.truth.yeom_type == self.found.yeom_type


def score_leaks(truth: Sequence[TrueLeak], found: Sequence[FoundLeak], labels: Mask) -> tuple[LeakScore, ...]:
    """Give every true and every reported leak its verdict.

    Args:
        truth: Every leak that was made.
        found: Every leak that was reported.
        labels: True label map.
    """
    clouds = leak_points_lps_mm(truth, labels)
    visible = [n for n, cloud in enumerate(clouds) if len(cloud)]
    points = np.array([leak.point_lps_mm for leak in found]).reshape(-1, 3)
    distance = np.array([cKDTree(clouds[n]).query(points)[0] for n in visible]).reshape(len(visible), len(found))
    partner = {visible[row]: column for row, column in match_distances(distance, LEAK_REACH_MM)}
    scores = [_true(leak, found, partner.get(n), in_view=n in visible) for n, leak in enumerate(truth)]
    fragments = set(np.flatnonzero((distance <= LEAK_REACH_MM).sum(axis=0)).tolist())
    for column, leak in enumerate(found):
        if column not in partner.values():
            scores.append(LeakScore(verdict="fragment" if column in fragments else "false", found=leak))
    return tuple(scores)


def _true(leak: TrueLeak, found: Sequence[FoundLeak], partner: int | None, *, in_view: bool) -> LeakScore:
    if partner is not None:
        return LeakScore(verdict="found", truth=leak, found=found[partner])
    return LeakScore(verdict="missed" if in_view else "out of view", truth=leak)


def leak_points_lps_mm(leaks: Sequence[TrueLeak], labels: Mask) -> tuple[FloatArray, ...]:
    """The voxels of each leak as points (n, 3); none for a leak of which nothing is in the image.

    The label map tells leaked cement but not which leak it is. A connected piece belongs to the leaks whose nearest
    piece it is, divided between them by distance; else, as a fragment, to the leak nearest to it. A leak thinner than
    the label map can show is its centre, where that is in the image.
    """
    centers = np.array([leak.center_lps_mm for leak in leaks]).reshape(-1, 3)
    pieces = _pieces_lps_mm(labels)
    clouds: list[list[FloatArray]] = [[] for _ in leaks]
    if leaks and pieces:
        distance = np.array([cKDTree(piece).query(centers)[0] for piece in pieces])
        nearest_piece = np.argmin(distance, axis=0)
        for n, piece in enumerate(pieces):
            owners = np.flatnonzero((nearest_piece == n) & (distance[n] <= LEAK_REACH_MM))
            owners = owners if len(owners) else np.array([np.argmin(distance[n])])
            owner = owners[cKDTree(centers[owners]).query(piece)[1]]
            for leak in owners:
                clouds[leak].append(piece[owner == leak])
    return tuple(
        np.vstack(cloud) if cloud else _in_view(center[None], labels)
        for cloud, center in zip(clouds, centers, strict=True)
    )


def _pieces_lps_mm(labels: Mask) -> list[FloatArray]:
    """Voxel centres (n, 3) of every connected piece of leaked cement."""
    leaked = labels.labels == CEMENT_LEAKED_LABEL
    box = bounding_box(leaked)
    if box is None:
        return []
    pieces, _ = ndimage.label(leaked[box], structure=np.ones((3, 3, 3)))
    start = np.array([part.start for part in box])
    return [
        geometry.apply(labels.lps_from_index, np.argwhere(pieces[part] == number) + [p.start for p in part] + start)
        for number, part in enumerate(ndimage.find_objects(pieces), start=1)
    ]


def _in_view(points_lps_mm: FloatArray, labels: Mask) -> FloatArray:
    """Those of the points that lie on the grid."""
    index = geometry.apply(geometry.inverse(labels.lps_from_index), points_lps_mm)
    return points_lps_mm[np.all((index >= -0.5) & (index <= np.array(labels.labels.shape) - 0.5), axis=1)]
