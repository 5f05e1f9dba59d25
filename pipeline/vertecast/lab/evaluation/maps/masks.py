"""One label map scored against another: every vertebra, the sacrum, cement and metal.

Vertebrae are paired by where they lie, so that an outline is judged apart from its name; names are judged in
`vertecast.lab.evaluation.maps.instances`. The other structures are judged by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import (
    CEMENT_INSIDE_LABEL,
    CEMENT_LEAKED_LABEL,
    METAL_LABEL,
    POSTERIOR_LABEL_OFFSET,
    Level,
    label_name,
)
from vertecast.core.images import Mask
from vertecast.lab.evaluation import metrics
from vertecast.lab.evaluation.maps.instances import InstanceScore, centroids_lps_mm, score_instances
from vertecast.lab.evaluation.maps.pairs import LabelPair, bodies_alone, label_pair
from vertecast.lab.evaluation.maps.surfaces import TOLERANCE_MM, Overlap, Region, compare, diagonal_mm

Things: TypeAlias = Literal["body", "vertebra"]
"""What the numbers of vertebrae stand for: bodies alone, or whole vertebrae with their arches."""

Verdict: TypeAlias = Literal["found", "missed", "false"]

OTHERS: Final[Mapping[str, tuple[int, ...]]] = {
    "posterior elements": tuple(range(POSTERIOR_LABEL_OFFSET + 1, CEMENT_INSIDE_LABEL)),
    "sacrum": (Level.S1.value,),
    "cement inside": (CEMENT_INSIDE_LABEL,),
    "cement leaked": (CEMENT_LEAKED_LABEL,),
    "all cement": (CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL),
    "metal": (METAL_LABEL,),
}
"""Structures that are judged by their numbers, each once an image."""

ALL_NUMBERS: Final = frozenset(range(1, metrics.LABEL_COUNT))


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureScore:
    """One structure of one image, true or found.

    Attributes:
        structure: "body" or "vertebra", or a name of `OTHERS`.
        level: True level of a vertebra; "" for what has none.
        found_level: Name that it was given.
        verdict: "missed" and "false" have the worst overlap there is.
        cut: It reaches the edge of the image.
        overlap: How well the outlines agree.
        true_ml: Volume in the true map.
        found_ml: Volume in the found one.
    """

    structure: str
    level: str
    found_level: str
    verdict: Verdict
    cut: bool
    overlap: Overlap
    true_ml: float
    found_ml: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MapScore:
    """One label map against another.

    Attributes:
        things: What the vertebrae of both are.
        structures: Each that one of the maps holds.
        instances: The vertebrae as things.
        spacing_mm: Of the true map.
        worst_mm: What a miss costs, the diagonal of the true map.
        tolerance_mm: Of the normalized surface Dice.
        has_metal: The true map holds metal.
    """

    things: Things
    structures: tuple[StructureScore, ...]
    instances: InstanceScore
    spacing_mm: tuple[float, float, float]
    worst_mm: float
    tolerance_mm: float
    has_metal: bool


def score_maps(
    truth: Mask,
    found: Mask | None,
    *,
    things: Things = "body",
    scored: frozenset[int] = ALL_NUMBERS,
    tolerance_mm: float = TOLERANCE_MM,
) -> MapScore:
    """Score one map. The found one is brought to the true grid by its nearest voxels; what lies beyond is not judged.

    Args:
        truth: True map in the numbers of ``labels_<n>.nii.gz``.
        found: Map to be judged, in the same numbers on any grid; None: nothing was found.
        things: What the numbers of vertebrae stand for in both.
        scored: Numbers that both kinds of map can hold; structures without one of them are not judged.
        tolerance_mm: Of the normalized surface Dice.
    """
    pair = label_pair(truth, found)
    spacing = geometry.spacing_mm(truth.lps_from_index)
    judge = _Judge(
        pair=pair, edges=_edges(truth, pair), tolerance_mm=tolerance_mm,
        worst_mm=diagonal_mm(truth.lps_from_index, truth.labels.shape),
    )  # fmt: skip
    vertebrae = bodies_alone(pair)
    counts = metrics.overlap_counts(vertebrae.truth, vertebrae.found)
    centers = (centroids_lps_mm(labels, pair.lps_from_index) for labels in (vertebrae.truth, vertebrae.found))
    others = {name: numbers for name, numbers in OTHERS.items() if scored & set(numbers)}
    return MapScore(
        things=things,
        structures=(*_vertebrae(judge, vertebrae, counts, things), *_others(judge, others)),
        instances=score_instances(counts, *centers),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        worst_mm=judge.worst_mm,
        tolerance_mm=tolerance_mm,
        has_metal=bool((pair.truth == METAL_LABEL).any()),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judge:
    """What every comparison of one pair needs; ``edges``: on each axis, whether the first and last plane is an edge."""

    pair: LabelPair
    edges: tuple[tuple[bool, bool], ...]
    tolerance_mm: float
    worst_mm: float

    def score(
        self, truth: Region, found: Region, box: tuple[slice, ...], names: tuple[str, str, str]
    ) -> StructureScore:
        """Judge one structure, of which both masks are given within a box of the pair."""
        overlap = compare(
            truth, found, self.pair.lps_from_index, tolerance_mm=self.tolerance_mm, worst_mm=self.worst_mm
        )
        assert overlap is not None, "a structure that neither map holds has no score"
        voxel_ml = geometry.voxel_volume_mm3(self.pair.lps_from_index) / 1000
        sizes = int(truth.sum()), int(found.sum())
        structure, level, found_level = names
        return StructureScore(
            structure=structure,
            level=level,
            found_level=found_level,
            verdict="found" if all(sizes) else "missed" if sizes[0] else "false",
            cut=self._is_cut(truth, box),
            overlap=overlap,
            true_ml=sizes[0] * voxel_ml,
            found_ml=sizes[1] * voxel_ml,
        )

    def _is_cut(self, mask: Region, box: tuple[slice, ...]) -> bool:
        for axis, (part, size, edges) in enumerate(zip(box, self.pair.truth.shape, self.edges, strict=True)):
            planes = np.moveaxis(mask, axis, 0)
            if edges[0] and part.start == 0 and planes[0].any():
                return True
            if edges[1] and part.stop == size and planes[-1].any():
                return True
        return False


def _edges(truth: Mask, pair: LabelPair) -> tuple[tuple[bool, bool], ...]:
    """On each axis, whether the part of the map that is looked at begins and ends where the map does."""
    origin = geometry.apply(geometry.inverse(truth.lps_from_index), pair.lps_from_index[:3, 3])
    first = np.rint(origin).astype(int)
    last = first + pair.truth.shape
    return tuple((bool(a == 0), bool(b == n)) for a, b, n in zip(first, last, truth.labels.shape, strict=True))


def _vertebrae(judge: _Judge, vertebrae: LabelPair, counts: metrics.Counts, things: Things) -> Iterator[StructureScore]:
    """Every true vertebra with the found one that lies there, then the found ones that are none."""
    partner = metrics.match_bodies(counts)
    boxes = [ndimage.find_objects(labels, max_label=255) for labels in (vertebrae.truth, vertebrae.found)]
    for number in (n for n in range(1, metrics.LABEL_COUNT) if boxes[0][n - 1] is not None):
        own = partner.get(number)
        box = _union(boxes[0][number - 1], None if own is None else boxes[1][own - 1])
        truth = vertebrae.truth[box] == number
        found = np.zeros_like(truth) if own is None else vertebrae.found[box] == own
        yield judge.score(truth, found, box, (things, label_name(number), "" if own is None else label_name(own)))
    for number in (n for n in range(1, metrics.LABEL_COUNT) if boxes[1][n - 1] is not None):
        if number not in partner.values():
            box = boxes[1][number - 1]
            found = vertebrae.found[box] == number
            yield judge.score(np.zeros_like(found), found, box, (things, "", label_name(number)))


def _union(one: tuple[slice, ...], other: tuple[slice, ...] | None) -> tuple[slice, ...]:
    if other is None:
        return one
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))


def _others(judge: _Judge, others: Mapping[str, tuple[int, ...]]) -> Iterator[StructureScore]:
    for name, numbers in others.items():
        chosen: npt.NDArray[np.bool_] = np.isin(np.arange(metrics.LABEL_COUNT), numbers)
        truth, found = chosen[judge.pair.truth], chosen[judge.pair.found]
        box = metrics.bounding_box(truth | found)
        if box is not None:
            yield judge.score(truth[box], found[box], box, (name, "", ""))
