"""Projection images of known truth: bodies drawn as polygons in a plane of mm, then turned, mirrored and sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from skimage.draw import polygon

from vertecast.core.images import ProjectionSegmentation, ProjectionSpacing, Radiograph, View

DEPTH_MM = 32.0
PITCH_MM = 34.0
ORIGIN_MM = np.array([55.0, 45.0])
BONE, TISSUE, CEMENT = 60.0, 20.0, 160.0


@dataclass(frozen=True, kw_only=True)
class Body:
    """Heights at the first, middle and last place (mm); turned by ``tilt_deg`` about its centre."""

    first: float = 26.0
    middle: float = 25.0
    last: float = 26.0
    tilt_deg: float = 0.0
    shift_mm: float = 0.0

    def points(self, n: int) -> np.ndarray:
        """(2, 3, 2) in mm; x from the first to the last place, y downwards."""
        x = np.array([-DEPTH_MM / 2, 0.0, DEPTH_MM / 2])
        half = np.array([self.first, self.middle, self.last]) / 2
        local = np.stack([np.stack([x, -half], axis=1), np.stack([x, half], axis=1)])
        a = np.radians(self.tilt_deg)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        return local @ turn.T + ORIGIN_MM + [self.shift_mm, n * PITCH_MM]


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film of some bodies. ``picture_from_plane`` (2, 2) turns, mirrors or scales about the middle of the field."""

    bodies: Sequence[Body]
    column_mm: float = 0.5
    row_mm: float = 0.4
    plane: str = "patient"
    has_spacing: bool = True
    view: View = "lateral"
    field_mm: tuple[float, float] = (120.0, 190.0)
    picture_from_plane: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))
    sd_px: float = 0.3
    sacrum: bool = True
    ribs: Sequence[float] = ()
    noise: float = 1.0
    seed: int = 0

    def px(self, points_mm: np.ndarray) -> np.ndarray:
        """Points of the plane in pixels, (column, row)."""
        middle = np.array(self.field_mm) / 2
        moved = (np.asarray(points_mm) - middle) @ np.array(self.picture_from_plane).T + middle
        return moved / [self.column_mm, self.row_mm]

    @property
    def shape(self) -> tuple[int, int]:
        return round(self.field_mm[1] / self.row_mm), round(self.field_mm[0] / self.column_mm)

    def filled(self, corners_mm: np.ndarray) -> np.ndarray:
        """Mask of a polygon (n, 2) of the plane."""
        mask = np.zeros(self.shape, bool)
        points = self.px(corners_mm)
        mask[polygon(points[:, 1], points[:, 0], self.shape)] = True
        return mask

    def box(self, center_mm: Sequence[float], size_mm: Sequence[float]) -> np.ndarray:
        """Mask of a rectangle of the plane."""
        half = np.array(size_mm) / 2
        return self.filled(np.array(center_mm) + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half)

    def center_mm(self, n: int) -> np.ndarray:
        return self.bodies[n].points(n)[:, [0, 2]].mean(axis=(0, 1))

    def make(
        self, *, cement: Sequence[np.ndarray] = (), metal: Sequence[np.ndarray] = (), touches: Sequence[int] = ()
    ) -> tuple[Radiograph, ProjectionSegmentation]:
        """The image and a faultless network's answer."""
        instance = np.zeros(self.shape, np.uint8)
        points = []
        for n, body in enumerate(self.bodies):
            six = body.points(n)
            instance[self.filled(np.vstack([six[0], six[1, ::-1]]))] = n + 1
            six = self._as_seen(six)
            points.append(self.px(six).reshape(6, 2))
        masks = [np.logical_or.reduce([np.zeros(self.shape, bool), *parts]) for parts in (cement, metal)]
        image = np.where(instance > 0, BONE, TISSUE) + np.random.default_rng(self.seed).normal(
            0, self.noise, self.shape
        )
        image[masks[0]] = CEMENT
        image[masks[1]] = 2 * CEMENT
        count = len(self.bodies)
        last = self.bodies[-1].points(count - 1)[1][[0, 2]] + [0, 8]
        spacing = ProjectionSpacing(row_mm=self.row_mm, column_mm=self.column_mm, plane=self.plane)  # type: ignore[arg-type]
        return (
            Radiograph(
                intensity=image.astype(np.float32), valid=np.ones(self.shape, bool),
                spacing=spacing if self.has_spacing else None,
            ),
            ProjectionSegmentation(
                view=self.view, view_confidence=0.95,
                points_px=np.array(points), points_sd_px=np.full((count, 6), self.sd_px),
                confidence=(0.9,) * count, touches_border=tuple(n in touches for n in range(count)),
                rib_score=tuple(self.ribs) or (0.5,) * count, instance=instance,
                body_probability=(instance > 0).astype(np.float16),
                sacrum_probability=np.zeros(self.shape, np.float16),
                cement_probability=masks[0].astype(np.float16), metal_probability=masks[1].astype(np.float16),
                sacral_endplate_px=self.px(last) if self.sacrum else None,
            ),
        )  # fmt: skip

    def _as_seen(self, six: np.ndarray) -> np.ndarray:
        """On an AP picture the first place is the one at the left of the picture."""
        across = self.px(six[0, 2]) - self.px(six[0, 0])
        return six[:, ::-1] if self.view == "ap" and across[0] < 0 else six

    def turned(self, degrees: float = 0.0, *, scale: float = 1.0, mirror: bool = False) -> Film:
        """The same spine, turned and mirrored in a field that holds it."""
        a = np.radians(degrees)
        matrix = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        matrix = matrix @ np.diag([-1.0 if mirror else 1.0, 1.0])
        return replace(self, picture_from_plane=tuple(map(tuple, matrix.tolist())))


def thirds(fractured: Body | None = None) -> tuple[Body, ...]:
    """Four bodies, the second one ``fractured``."""
    return Body(), fractured or Body(), Body(first=26.5, last=26.0), Body(first=27.0, last=25.0)
