"""Corners of a body on a film, moved onto the edge of its mask.

The votes of a body's pixels say which corner is which and how sure it is, but they are drawn towards the shape of most
bodies: where one is broken, the mask follows the endplate and the votes do not. So every corner keeps its place along
the endplate and takes its height from the edge of the mask beside it. In the middle the mask shows the rim, not the
depression behind it: the middle point keeps its distance from the line between the corners.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.geometry import FloatArray
from vertecast.segmentation.projection.votes import VotedBody

EDGE_PROBABILITY: Final = 0.5
"""The edge lies where the probability of a body passes this value."""

STEP_PX: Final = 0.5
COLUMNS: Final = 41
"""Columns across a body in which its edges are looked for, in such steps; between steps they are interpolated."""

REACH_SHARE: Final = 0.35
"""The edge is looked for up to this share of the depth, at least, above and below the middle of the body."""

ROUNDED_SHARE: Final = 0.06
"""Share of the depth at either end where the mask is rounded off, and its edge is not the endplate's."""

HALF_SHARE: Final = 0.46
"""Share of the depth, from a corner on, along which its endplate is taken as straight."""

LEAST_COLUMNS: Final = 5
"""Columns that must show an edge before a corner is moved onto it."""

ROUGHEST_SHARE: Final = 0.015
FARTHEST_SHARE: Final = 0.2
"""An edge that leaves its line by more than the first share of the depth (median), or lies farther than the second from
the votes, is that of a mask which follows no endplate: the votes stay. Chosen on 30 simulated lateral films and on 43
real ones: without these bounds the largest Cobb angle on real films errs by 22 degrees in place of 8."""

VOTE_SHARE: Final = 0.5
AGREEMENT_SHARE: Final = 0.05
"""Where votes and edge agree to this share of the depth (1 SD), the votes keep half of the say; where not, none."""


def onto_edges(bodies: list[VotedBody], probability: npt.NDArray[np.float32]) -> list[VotedBody]:
    """Move the corners of bodies onto the edges of their masks.

    Args:
        bodies: Of one working picture.
        probability: That a pixel shows a body (rows, columns).
    """
    owner = np.zeros(probability.shape, dtype=np.int32)
    for number, body in enumerate(bodies, start=1):
        owner[body.pixels] = number
    return [
        replace(body, points_px=_moved(body, np.where((owner == n) | (owner == 0), probability, 0), owner == n))
        for n, body in enumerate(bodies, start=1)
    ]


def _moved(body: VotedBody, probability: npt.NDArray[np.float32], own: npt.NDArray[np.bool_]) -> FloatArray:
    """The six points (6, 2) of a body; ``probability`` is zero at other bodies."""
    points = body.points_px.reshape(2, 3, 2)
    chords = points[:, 2] - points[:, 0]
    depth = float(np.linalg.norm(chords, axis=1).mean())
    across = chords.sum(axis=0) / max(float(np.linalg.norm(chords.sum(axis=0))), 1e-9)
    down = np.array([-across[1], across[0]])
    down = down if (points[1] - points[0]).sum(axis=0) @ down >= 0 else -down
    frame = np.stack([across, down])
    center = points.mean(axis=(0, 1))
    local = (points - center) @ frame.T
    x = np.linspace(-0.5, 0.5, COLUMNS) * depth
    reach = max(float(np.linalg.norm(points[1] - points[0], axis=1).mean()), REACH_SHARE * depth)
    edges = _edges(probability, own, (center, frame), x, reach)
    for plate, edge in zip(local, edges, strict=True):
        middle_share = (plate[1, 0] - plate[0, 0]) / max(plate[2, 0] - plate[0, 0], 1e-9)
        moved = [_height(plate[n], x, edge, depth) - plate[n, 1] for n in (0, 2)]
        plate[[0, 2], 1] += moved
        plate[1, 1] += np.interp(middle_share, [0, 1], moved)
    return np.asarray((local @ frame + center).reshape(6, 2))


def _edges(
    probability: npt.NDArray[np.float32],
    own: npt.NDArray[np.bool_],
    place: tuple[FloatArray, FloatArray],
    x: FloatArray,
    reach: float,
) -> FloatArray:
    """Height (2, columns) of the upper and the lower edge of the mask at every ``x``; NaN where there is none."""
    from scipy import ndimage

    center, frame = place
    z = np.arange(-reach, reach + STEP_PX, STEP_PX)
    at = center + x[None, :, None] * frame[0] + z[:, None, None] * frame[1]
    where = [at[..., 1], at[..., 0]]
    values = ndimage.map_coordinates(probability, where, order=1)
    owned = ndimage.map_coordinates(own.astype(np.float32), where, order=0)
    edges = np.full((2, len(x)), np.nan)
    for n, column in enumerate(values.T):
        runs, _ = ndimage.label(column >= EDGE_PROBABILITY)
        counts = np.bincount(runs, weights=owned[:, n])
        counts[0] = 0
        if not counts.any():
            continue
        inside = np.flatnonzero(runs == counts.argmax())
        for m, (last, beyond) in enumerate(((inside[0], inside[0] - 1), (inside[-1], inside[-1] + 1))):
            if 0 <= beyond < len(z):
                share = (column[last] - EDGE_PROBABILITY) / (column[last] - column[beyond])
                edges[m, n] = z[last] + share * (z[beyond] - z[last])
    return edges


def _height(corner: FloatArray, x: FloatArray, edge: FloatArray, depth: float) -> float:
    """Height of a corner (x, height) by the straight half of the edge beside it and by its own votes."""
    near = np.isfinite(edge) & (np.abs(x - corner[0]) < HALF_SHARE * depth)
    near &= np.abs(x) <= (0.5 - ROUNDED_SHARE) * depth
    if near.sum() < LEAST_COLUMNS:
        return float(corner[1])
    height, roughness = _on_line(x[near], edge[near], float(corner[0]))
    difference = (corner[1] - height) / depth
    if roughness > ROUGHEST_SHARE * depth or abs(difference) > FARTHEST_SHARE:
        return float(corner[1])
    say = VOTE_SHARE * np.exp(-((difference / AGREEMENT_SHARE) ** 2) / 2)
    return float(height + say * (corner[1] - height))


def _on_line(x: FloatArray, y: FloatArray, at: float) -> tuple[float, float]:
    """Value at a place of the line through points that few outliers do not move, and their median distance to it."""
    weight, line, typical = np.ones_like(x), np.zeros(2), 0.0
    for _ in range(4):
        line = np.polyfit(x, y, 1, w=np.sqrt(weight))
        distance = np.abs(y - np.polyval(line, x))
        typical = float(np.median(distance))
        weight = 1 / (1 + (distance / max(1.5 * typical, 0.3)) ** 2)
    return float(np.polyval(line, at)), typical
