"""From the votes of pixels to bodies: whose pixel each is, and where the six points lie below pixel size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.geometry import FloatArray

Array = npt.NDArray[np.float32]

BODY_PROBABILITY: Final = 0.35
SMOOTHING_SHARE: Final = 0.10
"""Votes for a centre are smoothed by this share of the body's depth."""

NEIGHBOUR_SHARE: Final = 0.30
"""Centres of neighbours are farther apart than this share of the depth, even of two crushed bodies."""

REACH_SHARE: Final = 0.45
"""A vote farther than this from every centre counts for none."""

LEAST_AREA_SHARE: Final = 0.2
"""A body with less than this share of the median body's pixels is a fragment, unless it is cut by the edge."""

LEAST_PIXELS: Final = 30
NEAR_PX: Final = 6.0
"""Votes lose half of their weight at this distance from the point they vote for."""

SD_PER_SPREAD: Final = 1.55
"""Votes of neighbouring pixels err alike, so their mean is no surer than one of them: on held-out simulated films two
thirds of the points lie within one spread of their votes, and 95 % within 1.96 times this many."""

LEAST_SACRUM_PIXELS: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VotedBody:
    """One vertebral body in the working picture.

    Attributes:
        points_px: (6, 2) column and row, in the order of the votes.
        sd_px: (6,) standard deviation.
        pixels: Indices (rows, columns) of its pixels.
        confidence: Mean probability of its pixels, lowered where its votes disagree.
        rib_score: Mean probability that it bears a rib.
        touches_border: A point or a pixel lies at the edge of what the picture shows.
    """

    points_px: FloatArray
    sd_px: FloatArray
    pixels: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    confidence: float
    rib_score: float
    touches_border: bool

    @property
    def depth_px(self) -> float:
        """Mean length of the endplates."""
        return float(np.linalg.norm(self.points_px[[2, 5]] - self.points_px[[0, 3]], axis=1).mean())


def find_bodies(body: Array, ribs: Array, offset_px: Array, valid: npt.NDArray[np.bool_]) -> list[VotedBody]:
    """Gather the pixels of each body and read its points, from the top of the picture.

    Args:
        body, ribs: Probabilities (rows, columns).
        offset_px: (12, rows, columns) votes for the six points, column and row of each in turn.
        valid: Pixels that show the patient.
    """
    from scipy import ndimage

    rows, columns = np.nonzero(body >= BODY_PROBABILITY)
    if len(rows) < LEAST_PIXELS:
        return []
    points = offset_px[:, rows, columns].reshape(6, 2, -1).astype(np.float64) + np.stack([columns, rows])
    depth = float(np.median(np.linalg.norm(points[[2, 5]] - points[[0, 3]], axis=1)))
    votes = points.mean(axis=0).T
    weight = body[rows, columns].astype(np.float64)
    centers = _centers(votes, weight, body.shape, depth)
    if not len(centers):
        return []
    distance = np.linalg.norm(votes[:, None] - centers[None], axis=2)
    owner = np.where(distance.min(axis=1) < REACH_SHARE * depth, distance.argmin(axis=1), -1)
    counts = np.bincount(owner[owner >= 0], minlength=len(centers))
    edge = valid & ~ndimage.binary_erosion(valid, border_value=0)
    found = []
    for n, count in enumerate(counts):
        own = owner == n
        if count < LEAST_PIXELS:
            continue
        pixels = (rows[own], columns[own])
        at = np.stack([columns[own], rows[own]], axis=1)
        middle, spread = _points(points[:, :, own].transpose(2, 0, 1), at, weight[own])
        border = _touches_border(middle, pixels, valid, edge)
        if count < LEAST_AREA_SHARE * np.median(counts) and not border:
            continue
        doubt = float(np.mean(spread)) / max(depth, 1.0)
        found.append(
            VotedBody(
                points_px=middle,
                sd_px=SD_PER_SPREAD * spread,
                pixels=pixels,
                confidence=float(weight[own].mean() * np.exp(-2 * doubt)),
                rib_score=float(ribs[pixels].mean()),
                touches_border=border,
            )
        )
    return _from_the_top(found)


def _centers(votes: FloatArray, weight: FloatArray, shape: tuple[int, ...], depth: float) -> FloatArray:
    """Peaks (n, 2) of the smoothed votes (column, row), with a margin round the picture for bodies cut by its edge."""
    from scipy import ndimage
    from skimage.feature import peak_local_max

    margin = int(depth)
    size = np.array(shape) + 2 * margin
    index = np.round(votes[:, ::-1]).astype(int) + margin
    inside = np.all((index >= 0) & (index < size), axis=1)
    heap = np.zeros(size)
    np.add.at(heap, tuple(index[inside].T), weight[inside])
    heap = ndimage.gaussian_filter(heap, max(SMOOTHING_SHARE * depth, 1.0))
    least = max(int(NEIGHBOUR_SHARE * depth), 2)
    peaks = peak_local_max(heap, min_distance=least, threshold_rel=0.12, exclude_border=False)
    return np.asarray(peaks[:, ::-1] - margin, dtype=np.float64)


def _points(votes: FloatArray, at: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted means (6, 2) of votes (n, 6, 2), near pixels first and outliers left out, and their spread (6,)."""
    near = 1 / (1 + (np.linalg.norm(votes - at[:, None], axis=2) / NEAR_PX) ** 2)
    share = near * weight[:, None]
    middle = _mean(votes, share)
    for _ in range(2):
        distance = np.linalg.norm(votes - middle, axis=2)
        typical = np.sqrt(_mean(distance[:, :, None] ** 2, share)[:, 0])
        share = near * weight[:, None] * (distance <= 2 * typical + 1e-6)
        middle = _mean(votes, share)
    distance = np.linalg.norm(votes - middle, axis=2)
    spread = np.sqrt(_mean(distance[:, :, None] ** 2, share)[:, 0])
    return middle, spread


def _mean(values: FloatArray, share: FloatArray) -> FloatArray:
    return np.asarray((values * share[:, :, None]).sum(axis=0) / np.maximum(share.sum(axis=0), 1e-9)[:, None])


def _touches_border(
    points: FloatArray,
    pixels: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    valid: npt.NDArray[np.bool_],
    edge: npt.NDArray[np.bool_],
) -> bool:
    """True where a point lies outside what the picture shows, or more than a few pixels lie at its edge."""
    column, row = np.round(points).astype(int).T
    rows, columns = valid.shape
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    if not inside.all() or not valid[row, column].all():
        return True
    return bool(edge[pixels].sum() > 0.02 * len(pixels[0]))


def _from_the_top(bodies: list[VotedBody]) -> list[VotedBody]:
    """Sort along the direction from the first to the second endplates."""
    if not bodies:
        return []
    down = np.sum([body.points_px[3:].mean(axis=0) - body.points_px[:3].mean(axis=0) for body in bodies], axis=0)
    return sorted(bodies, key=lambda body: float(body.points_px.mean(axis=0) @ down))


def sacral_endplate(sacrum: Array, plate_px: Array) -> FloatArray | None:
    """Ends (2, 2) of the endplate of S1 by the votes of the sacrum's pixels, or None without a sacrum."""
    rows, columns = np.nonzero(sacrum >= BODY_PROBABILITY)
    if len(rows) < LEAST_SACRUM_PIXELS:
        return None
    at = np.stack([columns, rows], axis=1).astype(np.float64)
    votes = plate_px[:, rows, columns].reshape(2, 2, -1).transpose(2, 0, 1) + at[:, None]
    middle = np.median(votes, axis=0)
    for _ in range(2):
        share = sacrum[rows, columns][:, None] / (1 + (np.linalg.norm(votes - at[:, None], axis=2) / NEAR_PX) ** 2)
        share = share / (1 + (np.linalg.norm(votes - middle, axis=2) / NEAR_PX) ** 2)
        middle = _mean(votes, share)
    return middle
