"""How a fluoroscope shows what lies along its rays: beam, scatter, noise, lag, tone curve, collimator."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.lab.simulation.projection.rays import WATER_PER_MM, FloatImage

FieldShape: TypeAlias = Literal["open", "round", "square"]

SHRUNK: Final = 8
"""Wide blurs are made on a picture this many times smaller."""

WHITE: Final = 255
BURNT_OUT: Final = 2.0
"""Pixels with this many times the light of the middle lie at the patient's edge: the window leaves them out."""

SATURATED: Final = 6.0
"""Light of the middle times this fills the detector: air beside the patient is no brighter than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beam:
    """Attenuation per mm of water, of mineral in mm of water, of cement and of metal."""

    water: float
    mineral: float
    cement: float
    metal: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Beam:
        """Draw a tube voltage and a cement: barium in it makes it denser than bone."""
        water = WATER_PER_MM * rng.uniform(0.75, 1.05)
        return cls(
            water=water,
            mineral=water * float(np.exp(rng.uniform(*np.log((2.0, 4.5))))),
            cement=float(rng.uniform(0.05, 0.12)),
            metal=float(rng.uniform(0.25, 0.5)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Collimator:
    """The open field of a square picture, in shares of its width: the same in all frames.

    Attributes:
        shape: "open" shows the whole picture.
        edges: Left, right, upper and lower edge; a circle fills them.
    """

    shape: FieldShape
    edges: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Collimator:
        """Draw a field: round as an image intensifier's, four blades, or open."""
        shapes: tuple[FieldShape, ...] = ("open", "round", "square")
        shape = shapes[rng.choice(3, p=[0.35, 0.35, 0.3])]
        if shape == "round":
            radius, (x, y) = rng.uniform(0.46, 0.56), 0.5 + rng.normal(0, 0.01, 2)
            edges = (x - radius, x + radius, y - radius, y + radius)
            return cls(shape=shape, edges=(float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3])))
        if shape == "square":
            left, upper = rng.uniform(0.0, 0.18, 2)
            right, lower = 1 - rng.uniform(0.0, 0.18, 2)
            return cls(shape=shape, edges=(float(left), float(right), float(upper), float(lower)))
        return cls(shape=shape)

    def edges_px(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left and right column, upper and lower row of the field, counted from 0; they may lie outside."""
        left, right, upper, lower = self.edges
        return round(left * size[1]), round(right * size[1]) - 1, round(upper * size[0]), round(lower * size[0]) - 1

    def field(self, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Open pixels (rows, columns)."""
        rows, columns = np.ogrid[: size[0], : size[1]]
        left, right, upper, lower = self.edges_px(size)
        if self.shape == "round":
            row, column, radius = (upper + lower) / 2, (left + right) / 2, (right + 1 - left) / 2
            return np.asarray((rows - row) ** 2 + (columns - column) ** 2 <= radius**2)
        return np.asarray((columns >= left) & (columns <= right) & (rows >= upper) & (rows <= lower))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A detector and its processing.

    Attributes:
        scatter: Scattered share of the light, and its reach in mm.
        blur_mm: Standard deviation of focal spot and detector.
        quanta: Per pixel behind the patient.
        grain_px: Correlation of the noise.
        lag: Share of the frame before that stays.
        averaged: Frames in a running mean.
        evened: How much differences over large distances are made weaker.
        logarithmic: Values follow the attenuation; else the light.
        bone_is_bright: Bone is shown bright; else dark, as on most fluoroscopes.
        window: Percentiles of the first frame that are shown black and white.
        outside: Value of the shuttered picture, 0 to 255.
    """

    scatter: tuple[float, float]
    blur_mm: float
    quanta: float
    grain_px: float
    lag: float
    averaged: int
    evened: float
    logarithmic: bool
    bone_is_bright: bool
    window: tuple[float, float]
    outside: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Look:
        """Draw a fluoroscope."""
        return cls(
            scatter=(float(rng.uniform(0.05, 0.5)), float(rng.uniform(15, 40))),
            blur_mm=float(rng.uniform(0.15, 0.6)),
            quanta=float(10 ** rng.uniform(2.3, 4.0)),
            grain_px=float(rng.uniform(0.4, 1.0)),
            lag=float(rng.uniform(0.0, 0.35)),
            averaged=int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15])),
            evened=float(rng.uniform(0.0, 0.85)),
            logarithmic=bool(rng.random() < 0.7),
            bone_is_bright=bool(rng.random() < 0.4),
            window=(float(rng.uniform(0.1, 2.0)), float(rng.uniform(97.5, 99.8))),
            outside=int(rng.choice([0, WHITE, int(rng.integers(10, 60))], p=[0.75, 0.1, 0.15])),
        )


def developed(
    logs: Iterable[tuple[FloatImage, float]],
    field: npt.NDArray[np.bool_],
    look: Look,
    *,
    pixel_mm: float,
    rng: np.random.Generator,
) -> Iterator[npt.NDArray[np.uint8]]:
    """Turn the attenuation of frames into the pictures of a cine.

    Args:
        logs: Attenuation (rows, columns) and dose of each frame.
        field: Open pixels (rows, columns).
        look: Detector and processing.
        pixel_mm: Pixel size.
        rng: Draws the noise.
    """
    from scipy import ndimage

    recent: deque[FloatImage] = deque(maxlen=look.averaged)
    typical, ends = 0.0, (0.0, 1.0)
    before: FloatImage | None = None
    for log, dose in logs:
        light = np.exp(-log)
        light = light + look.scatter[0] * wide_blur(light, look.scatter[1] / pixel_mm)
        light = ndimage.gaussian_filter(light, look.blur_mm / pixel_mm)
        if before is None:
            typical = float(np.median(light[_middle(log.shape)]))
            ends = _window(_toned(light / typical, look, pixel_mm), field & (light < BURNT_OUT * typical), look)
        light = light * dose / typical
        grain = ndimage.gaussian_filter(rng.standard_normal(log.shape, dtype=np.float32), look.grain_px)
        grain *= 2 * np.sqrt(np.pi) * max(look.grain_px, 0.3)
        light = light + grain * np.sqrt(np.maximum(light, 0.02) / look.quanta)
        before = light if before is None else (1 - look.lag) * light + look.lag * before
        recent.append(before)
        values = (_toned(np.mean(recent, axis=0), look, pixel_mm) - ends[0]) / (ends[1] - ends[0])
        values = np.clip(values if look.bone_is_bright else 1 - values, 0, 1)
        yield np.where(field, np.rint(WHITE * values), look.outside).astype(np.uint8)


def _middle(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The middle third of a picture, where the automatic control of the dose measures."""
    return tuple(slice(n // 3, -(-2 * n // 3)) for n in shape)


def _toned(light: FloatImage, look: Look, pixel_mm: float) -> FloatImage:
    """Bone-bright values (rows, columns) of light around 1."""
    caught = np.clip(light, 1e-3, SATURATED)
    values = -np.log(caught) if look.logarithmic else -caught
    return np.asarray(values - look.evened * wide_blur(values, 25.0 / pixel_mm), dtype=np.float32)


def _window(values: FloatImage, field: npt.NDArray[np.bool_], look: Look) -> tuple[float, float]:
    """Values shown as darkest and brightest bone: there is room for cement above what the first frame shows."""
    low, high = np.percentile(values[field], look.window)
    return float(low), float(high + 0.15 * (high - low))


def wide_blur(image: FloatImage, sigma_px: float) -> FloatImage:
    """About a Gaussian filter of several `SHRUNK` pixels, made on a smaller picture."""
    from scipy import ndimage

    rows, columns = (-(-n // SHRUNK) * SHRUNK for n in image.shape)
    padded = np.pad(image, [(0, rows - image.shape[0]), (0, columns - image.shape[1])], mode="edge")
    small = padded.reshape(rows // SHRUNK, SHRUNK, columns // SHRUNK, SHRUNK).mean(axis=(1, 3))
    small = ndimage.gaussian_filter(small, sigma_px / SHRUNK, mode="nearest")
    step, offset = 1 / SHRUNK, 0.5 / SHRUNK - 0.5
    wide = ndimage.affine_transform(small, [step, step], [offset, offset], image.shape, np.float32, 1, "nearest")
    return np.asarray(wide)
