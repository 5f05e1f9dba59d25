"""The bodies of a cine, each with a number that it keeps while it moves, is missed, or leaves the picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from vertecast.core.geometry import FloatArray
from vertecast.core.images import ProjectionSegmentation
from vertecast.core.results import LevelAssignment

GATE_SHARE: Final = 0.45
"""A body belongs to a track when its centre lies within this share of the distance between bodies of where the track
is expected: nearer to it than to any neighbour."""

NEW_SHARE: Final = 0.7
"""A body that belongs to no track starts one of its own when it lies farther than this from all of them."""

LONE_PITCH: Final = 1.0
"""Distance between bodies in diagonals of a body, where only one is in view."""

SMOOTHING: Final = 0.3
"""Weight of the newest points against those before: noise falls to 0.4, and a bend is followed within three frames."""

CONFIRMED: Final = 3
"""Looks that a body must be seen in before it counts."""

FORGOTTEN: Final = 4
"""A body that was not confirmed is forgotten after this many looks without it."""


@dataclass(slots=True, eq=False)
class Track:
    """One body. Points (6, 2) and centre (2,) are (column, row) in the first frame, the shift of the frame taken off.

    Attributes:
        number: Stays with the body, from 1 in the order of appearance.
        seen, missed: Frames with it, and frames since.
        votes: Confidence summed for every level that frames gave it.
    """

    number: int
    points: FloatArray
    sd: FloatArray
    center: FloatArray
    confidence: float
    seen: int = 1
    missed: int = 0
    votes: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def is_confirmed(self) -> bool:
        """True once the body was seen often enough."""
        return self.seen >= CONFIRMED

    def update(self, points: FloatArray, sd: FloatArray, confidence: float) -> None:
        """Take in the points of a new frame."""
        weight = max(SMOOTHING, 1.0 / (self.seen + 1))
        self.points = self.points + weight * (points - self.points)
        self.sd = self.sd + weight * (sd - self.sd)
        self.confidence += weight * (confidence - self.confidence)
        self.center = center_of(points)
        self.seen, self.missed = self.seen + 1, 0


def center_of(points: FloatArray) -> FloatArray:
    """Mean of the four corners of six points (6, 2)."""
    return np.asarray(points[[0, 2, 3, 5]].mean(axis=0))


class Tracker:
    """Follows the bodies; memory grows with their number, not with that of the frames."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._numbers = 0

    def update(
        self, found: ProjectionSegmentation, shift_px: FloatArray, levels: Sequence[LevelAssignment] = ()
    ) -> dict[int, int]:
        """Take in the bodies of a frame.

        Args:
            found: What the network found in it.
            shift_px: (2,) shift of the frame against the first one, (column, row).
            levels: Of the bodies found; those that are known count as votes.

        Returns:
            Index of the body in the frame for the number of every track that was seen in it.
        """
        usable = [n for n in range(found.count) if np.isfinite(found.points_px[n]).all()]
        points = [np.asarray(found.points_px[n], dtype=np.float64) - shift_px for n in usable]
        pairs = self._match([center_of(p) for p in points], points)
        for track in self.tracks:
            track.missed += 1
        seen: dict[int, int] = {}
        for k, n in enumerate(usable):
            track_at = pairs.get(k)
            spread = np.asarray(found.points_sd_px[n], dtype=np.float64)
            if track_at is None:
                if not self._is_new(points[k], points):
                    continue
                self._numbers += 1
                track = Track(
                    number=self._numbers, points=points[k], sd=spread, center=center_of(points[k]),
                    confidence=found.confidence[n],
                )  # fmt: skip
                self.tracks.append(track)
            else:
                track = self.tracks[track_at]
                track.update(points[k], spread, found.confidence[n])
            seen[track.number] = n
            if levels and levels[n].source != "unknown":
                track.votes[levels[n].name, levels[n].source] += max(round(100 * levels[n].confidence), 1)
        self.tracks = [t for t in self.tracks if t.is_confirmed or t.missed < FORGOTTEN]
        return seen

    def depth_px(self) -> float | None:
        """Typical depth of the bodies so far; None while there are none."""
        if not self.tracks:
            return None
        points = np.array([track.points for track in self.tracks])
        return float(np.median(np.linalg.norm(points[:, [2, 5]] - points[:, [0, 3]], axis=2)))

    def confirmed(self) -> list[Track]:
        """Every body that counts, cranial first."""
        tracks = [track for track in self.tracks if track.is_confirmed]
        if len(tracks) < 2:
            return tracks
        points = np.array([track.points.reshape(2, 3, 2) for track in tracks])
        down = (points[:, 1] - points[:, 0]).mean(axis=(0, 1))
        centers = np.array([track.center for track in tracks])
        axis = np.linalg.svd(centers - centers.mean(axis=0), full_matrices=False)[2][0]
        return [tracks[n] for n in np.argsort(centers @ (axis * np.sign(axis @ down)))]

    def levels(self) -> list[LevelAssignment]:
        """Level of every confirmed body, cranial first: what most frames called it, else its number from the top.

        Of two bodies that were called the same, the one with more votes has the name.
        """
        tracks = self.confirmed()
        result = [LevelAssignment(name=f"V{n + 1}", source="unknown", confidence=0.0) for n in range(len(tracks))]
        taken: set[str] = set()
        for n in sorted(range(len(tracks)), key=lambda n: -max(tracks[n].votes.values(), default=0)):
            votes = tracks[n].votes
            if not votes or votes.most_common(1)[0][0][0] in taken:
                continue
            (name, source), most = votes.most_common(1)[0]
            taken.add(name)
            confidence = min(most / votes.total() * most / (100 * tracks[n].seen), 1.0)
            result[n] = LevelAssignment(name=name, source=source, confidence=confidence)  # type: ignore[arg-type]
        return result

    def _match(self, centers: Sequence[FloatArray], points: Sequence[FloatArray]) -> dict[int, int]:
        """Index of the track for the index of every body that belongs to one."""
        if not self.tracks or not centers:
            return {}
        known = np.array([track.center for track in self.tracks])
        distance = np.linalg.norm(np.array(centers)[:, None] - known[None], axis=2)
        gate = GATE_SHARE * self._pitch(points)
        cost = np.where(distance <= gate, distance, 1e6)
        rows, columns = linear_sum_assignment(cost)
        return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if distance[r, c] <= gate}

    def _is_new(self, points: FloatArray, others: Sequence[FloatArray]) -> bool:
        if not self.tracks:
            return True
        known = np.array([track.center for track in self.tracks])
        nearest = float(np.linalg.norm(known - center_of(points), axis=1).min())
        return nearest > NEW_SHARE * self._pitch(others)

    def _pitch(self, points: Sequence[FloatArray]) -> float:
        """Typical distance between neighbouring bodies in pixels."""
        known = [track.center for track in self.tracks] if len(self.tracks) > 1 else [center_of(p) for p in points]
        if len(known) > 1:
            centers = np.array(known)
            distance = np.linalg.norm(centers[:, None] - centers[None], axis=2)
            np.fill_diagonal(distance, np.inf)
            return float(np.median(distance.min(axis=1)))
        return LONE_PITCH * float(np.median([np.linalg.norm(p[0] - p[5]) for p in points]))
