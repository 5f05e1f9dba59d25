"""A cine of known truth on the bodies of `projection`: cement grows in the second body, then leaks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from phantoms.projection import Film, thirds
from vertecast.core.images import Fluoroscopy, ProjectionSegmentation, Radiograph


@dataclass(frozen=True, kw_only=True)
class Cine:
    """Frames count from 1; 0 for a frame that never comes. ``blank``: frames without a picture."""

    film: Film = field(default_factory=lambda: Film(bodies=thirds(), column_mm=0.9, row_mm=0.8))
    frames: int = 40
    cement_from: int = 10
    leak_from: int = 26
    blank: tuple[int, ...] = (18, 19, 33)
    rate: float | None = 7.5

    def make(self, k: int) -> tuple[Radiograph, ProjectionSegmentation]:
        """Frame ``k`` and a faultless network's answer."""
        middle, cement = self.film.center_mm(1), []
        if self.cement_from and k >= self.cement_from:
            size = min(4.0 + 0.8 * (k - self.cement_from), 20.0)
            cement.append(self.film.box(middle, (1.2 * size, 0.8 * size)))
        if self.leak_from and k >= self.leak_from:
            cement.append(self.film.box(middle - [2.0, 14.0], (8.0, 12.0)))
        radiograph, found = replace(self.film, seed=k).make(cement=cement)
        # Structure that the motion of the spine is followed by; it is the same in every frame.
        structure = np.random.default_rng(0).normal(0, 6, radiograph.shape)
        intensity = np.zeros(radiograph.shape) if k in self.blank else radiograph.intensity + structure
        return replace(radiograph, intensity=intensity.astype(np.float32), frame_number=k), found

    def segment(self, radiograph: Radiograph, *, depth_px: float | None = None) -> ProjectionSegmentation:
        return self.make(radiograph.frame_number)[1]

    def fluoroscopy(self) -> Fluoroscopy:
        times = None if self.rate is None else tuple(1000 * k / self.rate for k in range(self.frames))
        return Fluoroscopy(frame_count=self.frames, frame_time_ms=times, read=lambda k: self.make(k)[0])
