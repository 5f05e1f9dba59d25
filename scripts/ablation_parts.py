"""The parts of the film simulation that an ablation leaves out, one at a time, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.lab.simulation.patient import skeleton, tissue, trunk
from vertecast.lab.simulation.patient.neck import draw_head
from vertecast.lab.simulation.patient.pelvis import draw_pelvis
from vertecast.lab.simulation.patient.shoulders import draw_shoulders
from vertecast.lab.simulation.patient.thorax import draw_breast_bone
from vertecast.lab.simulation.projection import film, pictures, projected

Drawing: TypeAlias = Callable[..., None]
Image: TypeAlias = npt.NDArray[np.float32]
Replacement: TypeAlias = tuple[Any, str, Any]
"""An owner, the name of what it holds, and what takes its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the simulation.

    Attributes:
        name: Of the run's folder.
        words: Of the row in the table.
        replacements: What leaves it out.
    """

    name: str
    words: str
    replacements: tuple[Replacement, ...] = ()

    @property
    def keeps_patients(self) -> bool:
        """It changes the pictures alone: the patients are those of the whole simulation."""
        return bool(self.replacements) and all(owner is pictures for owner, _, _ in self.replacements)


def unpainted(drawing: Drawing) -> Drawing:
    """A drawing that draws its random numbers and paints nothing: the patient stays the same but for this part."""

    def draw(owner: Any, *arguments: Any) -> None:
        canvas = getattr(owner, "canvas", owner)
        arrays = (canvas.hu, canvas.structure, canvas.instance)
        kept = [values.copy() for values in arrays]
        drawing(owner, *arguments)
        for values, before in zip(arrays, kept, strict=True):
            values[...] = before

    return draw


class Middle:
    """Draws the middle of every range in place of a random number; noise and fields stay random."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.standard_normal, self.integers = rng.standard_normal, rng.integers

    def uniform(self, low: float, high: float) -> float:
        """The middle."""
        return (low + high) / 2

    def normal(self, mean: float, sd: float) -> float:
        """The mean."""
        return mean

    def random(self) -> float:
        """One half."""
        return 0.5


def plainly_exposed(*integrals: Image, pixel_mm: float, rng: np.random.Generator, _expose: Any = film.expose) -> Image:
    """As `film.expose`, always with the same beam and detector."""
    return np.asarray(_expose(*integrals, pixel_mm=pixel_mm, rng=Middle(rng)), dtype=np.float32)


def plainly_developed(log: Image, seen: npt.NDArray[np.bool_], rng: np.random.Generator) -> Image:
    """As `film.develop`, by one window over the whole picture."""
    low, high = np.percentile(log[seen], [4, 98]) if seen.any() else (0.0, 1.0)
    return np.asarray(np.clip((log - low) / max(high - low, 1e-6), 0, 1), dtype=np.float32)


def without_fine_field() -> tuple[projected._Field, ...]:
    """The other ways to draw a part of a patient, as often together."""
    others = [one for one in projected.FIELDS if one.spacing >= 1.0]
    return tuple(replace(one, rate=one.rate / sum(each.rate for each in others)) for one in others)


PARTS: Final = (
    Part(name="whole", words="nothing"),
    Part(
        name="looks",
        words="wide looks: one beam, one window",
        replacements=((pictures, "expose", plainly_exposed), (pictures, "develop", plainly_developed)),
    ),
    Part(
        name="trunk",
        words="organs, bowel gas, lungs with heart and domes, vessels",
        replacements=tuple(
            (trunk.Trunk, name, unpainted(getattr(trunk.Trunk, name)))
            for name in ("_organs", "_lungs", "_vessels", "_chest")
        ),
    ),
    Part(
        name="fine_field",
        words="patients drawn finely",
        replacements=((projected, "FIELDS", without_fine_field()),),
    ),
    Part(
        name="disease",
        words="broken bodies, cement, metal",
        replacements=(
            (projected, "FRACTURE_RATE", 0.0),
            (projected, "_treatments", lambda phantom, rng: []),
            (projected, "_hardware", lambda phantom, treatments, rng: []),
        ),
    ),
    Part(
        name="clutter",
        words="things laid over, collimators, contrast medium",
        replacements=(
            (pictures, "clutter", lambda image, rng: image),
            (pictures, "collimate", lambda image, rng: (image, np.ones(image.shape, dtype=bool))),
            (pictures, "ANGIOGRAM_RATE", 0.0),
            (pictures, "ANGIOGRAM_RATE_EMPTY", 0.0),
        ),
    ),
    Part(
        name="other_bones",
        words="ribs, collar bones, pelvis and hips, bones of the arms",
        replacements=(
            (skeleton, "_draw_ribs", unpainted(skeleton._draw_ribs)),
            *((tissue, bone.__name__, unpainted(bone)) for bone in (draw_shoulders, draw_breast_bone, draw_head)),
            (tissue, "draw_pelvis", unpainted(draw_pelvis)),
            (trunk, "bone_hu", lambda distance, *look: np.full_like(distance, 40.0)),
        ),
    ),
)


@contextmanager
def left_out(part: Part) -> Iterator[None]:
    """Simulate without a part; processes forked meanwhile do so too."""
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in part.replacements]
    try:
        for owner, name, value in part.replacements:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)
