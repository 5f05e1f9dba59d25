"""Which of the bodies found in a projection form the column: what lies beside it is no vertebra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from vertecast.core.geometry import FloatArray
from vertecast.segmentation.projection.votes import VotedBody

LARGEST_STEP: Final = 1.9
"""Centres of neighbours lie at most this many body depths apart: a healthy disc, or one body missed between."""

LARGEST_SIDESTEP: Final = 0.55
"""They are shifted sideways by at most this share of a body's depth (spondylolisthesis: half of it is grade II)."""

LARGEST_TURN_DEG: Final = 50.0
"""Neighbours lean against each other by at most this, one body missed between."""

LARGEST_SIZE_RATIO: Final = 1.6


def column_of(bodies: Sequence[VotedBody]) -> list[VotedBody]:
    """The bodies of the likeliest column, in their order.

    Neighbours follow each other along their own axes, at a plausible distance, and are about equally large. Of all
    chains of neighbours the one with the largest sum of confidences is the column; a marker, the heads of the femurs or
    a crossing of ribs form no such chain, or a shorter one.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    if not bodies:
        return []
    linked = [[_are_neighbours(a, b) for b in bodies] for a in bodies]
    _, chain = connected_components(csr_matrix(np.array(linked)), directed=False)
    weight = np.bincount(chain, weights=[body.confidence for body in bodies])
    return [body for body, n in zip(bodies, chain, strict=True) if n == weight.argmax()]


def _are_neighbours(a: VotedBody, b: VotedBody) -> bool:
    if a is b:
        return False
    depth = (a.depth_px + b.depth_px) / 2
    if max(a.depth_px, b.depth_px) > LARGEST_SIZE_RATIO * min(a.depth_px, b.depth_px):
        return False
    down_a, down_b = _down(a), _down(b)
    if float(down_a @ down_b) < np.cos(np.radians(LARGEST_TURN_DEG)):
        return False
    down = down_a + down_b
    down /= np.linalg.norm(down)
    step = b.points_px.mean(axis=0) - a.points_px.mean(axis=0)
    along, across = abs(float(step @ down)), abs(float(step[0] * down[1] - step[1] * down[0]))
    return along <= LARGEST_STEP * depth and across <= LARGEST_SIDESTEP * max(along, 0.5 * depth)


def _down(body: VotedBody) -> FloatArray:
    """Unit normal (2,) of the mean endplate, from the first endplate to the second one."""
    along = (body.points_px[[2, 5]] - body.points_px[[0, 3]]).sum(axis=0)
    normal = np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-9)
    across = body.points_px[3:].mean(axis=0) - body.points_px[:3].mean(axis=0)
    return normal if float(normal @ across) >= 0 else -normal
