"""What happens during a cine, frame by frame: breathing, table, needle, injection, brightness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FloatTrack = npt.NDArray[np.float64]

BREATHS_HZ: Final = (0.18, 0.4)
SOFT_MM: Final = (2.0, 10.0)
"""Reach of soft tissue and ribs with each breath: a quiet diaphragm moves 10 to 20 mm, the organs below it less."""

SPINE_MM: Final = (0.0, 2.5)
HELD_BREATH_SHARE: Final = 0.2
TABLE_SHARE: Final = 0.15
TABLE_MM: Final = 16.0
LATE_START_SHARE: Final = 0.12
"""Share of the cines that begin with cement already in the body."""

ADVANCED_SHARE: Final = 0.4
WITHDRAWN_SHARE: Final = 0.3
NEEDLE_OUT_MM: Final = 70.0
"""A needle drawn back this far is out of the patient and of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tracks:
    """One value per frame (n,), shifts (n, 2) as (column, row) in mm against the first frame.

    Attributes:
        times_s: After the first frame.
        spine_mm: Shift of the spine, and of cement and needle with it.
        soft_mm: Shift of soft tissue and ribs.
        needle_back_mm: How far the needle is drawn back from its place; inf once it is out.
        injected: Share of the cement's volume that has been injected, never falling.
        brightness: Factor of the dose.
    """

    times_s: FloatTrack
    spine_mm: FloatTrack
    soft_mm: FloatTrack
    needle_back_mm: FloatTrack
    injected: FloatTrack
    brightness: FloatTrack


def sample_tracks(times_s: FloatTrack, *, has_cement: bool, rng: np.random.Generator) -> Tracks:
    """Draw the course of a cine.

    Args:
        times_s: Times of the frames (n,) after the first.
        has_cement: Something is injected; else the needle, if there is one, stays in its place.
        rng: Draws everything.
    """
    share = times_s / times_s[-1]
    breath, table = _breath(times_s, rng), _table(times_s, rng)
    still = rng.random() < HELD_BREATH_SHARE
    reach = 0.1 if still else 1.0
    spine = breath[:, None] * reach * rng.uniform(*SPINE_MM) * _along(0.35, rng)
    soft = breath[:, None] * reach * rng.uniform(*SOFT_MM) * _along(0.2, rng)
    starts, ends = rng.uniform(0.12, 0.35), rng.uniform(0.75, 0.88)
    needle = np.zeros_like(times_s)
    if rng.random() < ADVANCED_SHARE:
        needle += rng.uniform(4, 18) * (1 - _ramp(share, 0.01, 0.9 * starts))
    if has_cement and rng.random() < WITHDRAWN_SHARE:
        needle += 1.1 * NEEDLE_OUT_MM * _ramp(share, ends + 0.02, 0.99)
    injected = np.zeros_like(times_s)
    if has_cement:
        injected = _injected(share, starts, ends, rng)
        if rng.random() < LATE_START_SHARE:
            injected = injected + (1 - injected) * rng.uniform(0.15, 0.5)
    return Tracks(
        times_s=times_s,
        spine_mm=spine + table - (spine + table)[0],
        soft_mm=soft + table - (soft + table)[0],
        needle_back_mm=np.where(needle >= NEEDLE_OUT_MM, np.inf, needle),
        injected=injected,
        brightness=_brightness(share, rng),
    )


def _breath(times_s: FloatTrack, rng: np.random.Generator) -> FloatTrack:
    """A quiet breath (n,), 0 to 1: longer out than in."""
    phase = 2 * np.pi * (rng.uniform(*BREATHS_HZ) * times_s + rng.random())
    return np.asarray(((1 + np.sin(phase + 0.35 * np.sin(phase))) / 2) ** rng.uniform(1.0, 1.8))


def _along(sideways: float, rng: np.random.Generator) -> FloatTrack:
    """A unit vector (column, row), mostly downwards as the diaphragm moves."""
    direction = np.array([rng.normal(0, sideways), 1.0])
    return np.asarray(direction / np.linalg.norm(direction))


def _table(times_s: FloatTrack, rng: np.random.Generator) -> FloatTrack:
    """Shift (n, 2) by one or two steps of the table, none in most cines."""
    shift = np.zeros((len(times_s), 2))
    if rng.random() < TABLE_SHARE:
        for _ in range(int(rng.integers(1, 3))):
            start = rng.uniform(0.1, 0.8) * times_s[-1]
            step = _ramp(times_s, start, start + rng.uniform(0.3, 0.9))
            shift += step[:, None] * rng.uniform(-TABLE_MM / 2, TABLE_MM / 2, 2)
    return shift


def _injected(share: FloatTrack, starts: float, ends: float, rng: np.random.Generator) -> FloatTrack:
    """Share injected (n,), rising from 0 to 1 with an uneven hand."""
    pace = rng.uniform(0.2, 1.0, 8) ** 1.5
    reached = np.concatenate([[0.0], np.cumsum(pace)])
    return np.asarray(np.interp(share, np.linspace(starts, ends, 9), reached / reached[-1]))


def _brightness(share: FloatTrack, rng: np.random.Generator) -> FloatTrack:
    """Factor of the dose (n,): a slow drift, in some cines a jump of the automatic control, and flicker."""
    drift = rng.normal(0, 0.04) * np.sin(2 * np.pi * (rng.uniform(0.3, 1.2) * share + rng.random()))
    jump = rng.normal(0, 0.15) * (share > rng.uniform(0.15, 0.9)) if rng.random() < 0.25 else 0.0
    return np.asarray(np.exp(drift + jump + rng.normal(0, rng.uniform(0.0, 0.01), len(share))))


def _ramp(values: FloatTrack, start: float, stop: float) -> FloatTrack:
    """From 0 before ``start`` to 1 after ``stop``, smooth at both ends."""
    at = np.clip((values - start) / (stop - start), 0.0, 1.0)
    return np.asarray(at * at * (3 - 2 * at))
