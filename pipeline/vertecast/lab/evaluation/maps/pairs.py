"""Two label maps brought to one grid, and their bodies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import METAL_LABEL
from vertecast.core.images import Mask
from vertecast.lab.evaluation import metrics
from vertecast.lab.evaluation.metrics import Labels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelPair:
    """True and found label map on the true grid, cut to what they hold; ``lps_from_index`` is that of the part."""

    truth: Labels
    found: Labels
    lps_from_index: geometry.FloatArray


def label_pair(truth: Mask, found: Mask | None) -> LabelPair:
    """Bring the found map to the true grid by the nearest voxel, and cut both to the box that holds all labels.

    Args:
        truth: True label map.
        found: Found label map on any grid, or None for an empty one.
    """
    boxes = [_box_in(truth, truth)] + ([] if found is None else [_box_in(truth, found)])
    corners = np.array([box for box in boxes if box is not None]).reshape(-1, 2, 3)
    if not len(corners):
        corners = np.zeros((1, 2, 3), dtype=int)
    low, high = corners[:, 0].min(axis=0), corners[:, 1].max(axis=0)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    lps_from_index = geometry.affine(truth.lps_from_index[:3, :3], geometry.apply(truth.lps_from_index, low))
    part = np.asarray(truth.labels[box], dtype=np.uint8)
    if found is None:
        return LabelPair(truth=part, found=np.zeros_like(part), lps_from_index=lps_from_index)
    if found.labels.shape == truth.labels.shape and np.allclose(found.lps_from_index, truth.lps_from_index, atol=1e-4):
        return LabelPair(truth=part, found=np.asarray(found.labels[box], np.uint8), lps_from_index=lps_from_index)
    shape = (part.shape[0], part.shape[1], part.shape[2])
    # A frame of empty voxels: rounding must not put the outermost true ones outside.
    padded = geometry.shifted(found.lps_from_index, [-1.0, -1.0, -1.0])
    moved = geometry.resample(np.pad(found.labels, 1), padded, lps_from_index, shape, order=0)
    return LabelPair(truth=part, found=moved.astype(np.uint8), lps_from_index=lps_from_index)


def _box_in(grid: Mask, labels: Mask) -> tuple[list[int], list[int]] | None:
    """First and last + 1 index, on one grid and within it, of what another label map holds."""
    box = metrics.bounding_box(labels.labels)
    if box is None:
        return None
    ends = np.array([[part.start - 0.5, part.stop - 0.5] for part in box])
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    index = geometry.apply(geometry.inverse(grid.lps_from_index) @ labels.lps_from_index, corners)
    low = np.clip(np.floor(index.min(axis=0) + 0.5), 0, grid.labels.shape).astype(int)
    high = np.clip(np.ceil(index.max(axis=0) + 0.5), 0, grid.labels.shape).astype(int)
    return None if np.any(high <= low) else (low.tolist(), high.tolist())


def bodies_alone(pair: LabelPair) -> LabelPair:
    """The bodies, filled with their cement. True metal hides the bone under it and is left out."""
    spacing = geometry.spacing_mm(pair.lps_from_index)
    seen = pair.truth != METAL_LABEL
    truth, found = (metrics.body_map(labels, spacing) * seen for labels in (pair.truth, pair.found))
    return LabelPair(truth=truth, found=found, lps_from_index=pair.lps_from_index)


def body_counts(pair: LabelPair) -> metrics.Counts:
    """Overlap of the bodies as `bodies_alone` gives them."""
    bodies = bodies_alone(pair)
    return metrics.overlap_counts(bodies.truth, bodies.found)
