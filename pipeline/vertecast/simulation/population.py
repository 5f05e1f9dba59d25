"""Who is simulated: level-wise dimensions of adults and how a patient is drawn from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from vertecast import geometry
from vertecast.anatomy import LUMBAR, THORACIC, Level
from vertecast.simulation.spine import BodyShape, Spine, Vertebra


@dataclass(frozen=True, slots=True)
class LevelDimensions:
    """Mean adult dimensions of one level in mm, rounded.

    Bodies, canal and pedicles after Panjabi et al., Spine 1991;16:888-901 (thoracic) and Spine 1992;17:299-306
    (lumbar); anterior heights from the posterior ones by the ratios of Berry et al., Spine 1987;12:362-367 and of
    Evans et al., Bone 1993;14:S45-S51; disc heights after Kunkel et al., J Anat 2011;219:375-387 (thoracic) and
    Zhou et al., Eur Spine J 2000;9:242-248 (lumbar), below each level. The table was written from general knowledge of
    these papers and not compared with them row by row: good enough to draw patients from, not to be quoted. Spans and
    lengths of the processes are round figures of the same kind.
    """

    width: float
    depth: float
    posterior: float
    anterior_ratio: float
    canal_width: float
    canal_depth: float
    pedicle_width: float
    pedicle_height: float
    disc: float
    transverse_span: float
    spinous_length: float


DIMENSIONS: Final[dict[Level, LevelDimensions]] = dict(
    zip(
        (*THORACIC, *LUMBAR),
        (
            LevelDimensions(25, 18, 14.1, 0.99, 21.8, 16.4, 8.2, 9.6, 4.0, 75, 45),
            LevelDimensions(25, 20, 15.6, 0.98, 19.5, 15.8, 8.2, 11.4, 3.5, 69, 46),
            LevelDimensions(25, 22, 15.7, 0.97, 18.3, 16.0, 6.8, 11.9, 3.4, 61, 46),
            LevelDimensions(25, 23, 16.2, 0.96, 17.0, 15.9, 6.3, 12.1, 3.4, 60, 47),
            LevelDimensions(25, 24, 16.2, 0.96, 17.0, 15.9, 6.0, 11.9, 3.6, 61, 50),
            LevelDimensions(26, 26, 17.4, 0.95, 17.0, 15.9, 6.0, 12.2, 4.0, 62, 52),
            LevelDimensions(28, 27, 18.2, 0.94, 17.2, 15.9, 6.0, 12.1, 4.3, 61, 53),
            LevelDimensions(29, 28, 18.7, 0.94, 17.5, 15.8, 6.7, 12.5, 4.6, 60, 53),
            LevelDimensions(31, 29, 19.3, 0.95, 17.8, 15.7, 7.7, 13.9, 5.0, 60, 53),
            LevelDimensions(32, 30, 20.2, 0.95, 18.1, 15.7, 9.0, 14.9, 5.5, 58, 52),
            LevelDimensions(35, 32, 21.3, 0.95, 19.4, 16.1, 9.8, 17.4, 6.0, 52, 51),
            LevelDimensions(39, 33, 22.7, 0.96, 22.2, 17.2, 8.7, 16.7, 6.8, 47, 51),
            LevelDimensions(42, 34, 23.8, 0.97, 23.7, 19.0, 8.6, 15.9, 8.0, 71, 66),
            LevelDimensions(43, 34.5, 24.3, 0.99, 23.8, 18.2, 8.3, 15.0, 9.3, 76, 70),
            LevelDimensions(44, 35, 23.8, 1.02, 24.3, 17.5, 10.2, 14.4, 10.3, 86, 71),
            LevelDimensions(47, 35.5, 24.1, 1.04, 25.4, 18.6, 14.1, 15.5, 11.0, 79, 66),
            LevelDimensions(47, 35, 22.9, 1.15, 27.1, 19.7, 18.6, 19.6, 10.0, 93, 56),
        ),
        strict=True,
    )
)

SCOLIOSIS_RATE: Final = 0.3
"""Share of the spines that curve to the side by more than a little; a choice, so that a network learns such curves."""

STEEPEST_CURVE_DEG: Final = 12.0
"""Most that neighbours lean against each other in the frontal plane: 70 degrees of Cobb's angle over six or more."""

VARIANT_PROBABILITY: Final = 0.06
"""Chance of each of: an L6, a T13, a missing L5; general knowledge puts such variants at 4 to 12 %."""


def _levels(rng: np.random.Generator) -> tuple[Level, ...]:
    lumbar: tuple[Level, ...] = LUMBAR
    draw = rng.random()
    if draw < VARIANT_PROBABILITY:
        lumbar = (*LUMBAR, Level.L6)
    elif draw < 2 * VARIANT_PROBABILITY:
        lumbar = LUMBAR[:4]
    thoracic: tuple[Level, ...] = THORACIC
    if rng.random() < VARIANT_PROBABILITY:
        thoracic = (*THORACIC, Level.T13)
    return (*thoracic, *lumbar)


def dimensions(level: Level) -> LevelDimensions:
    """Mean dimensions of a level; T13 is built like T12, L6 like L5."""
    substitute = {Level.T13: Level.T12, Level.L6: Level.L5}
    return DIMENSIONS[substitute.get(level, level)]


def _intact_shape(level: Level, size: float, aspect: np.ndarray, rng: np.random.Generator) -> BodyShape:
    mean = dimensions(level)
    jitter = rng.normal(1.0, 0.03, 3)
    posterior = mean.posterior * size * aspect[2] * jitter[2]
    anterior = posterior * mean.anterior_ratio * rng.normal(1.0, 0.03)
    concavity = rng.uniform(0.5, 3.2)
    return BodyShape(
        width_mm=mean.width * size * aspect[0] * jitter[0],
        depth_mm=mean.depth * size * aspect[1] * jitter[1],
        anterior_mm=anterior,
        middle_mm=(anterior + posterior) / 2 - concavity,
        posterior_mm=posterior,
        superior_share=rng.uniform(0.35, 0.65),
        bump_exponent=rng.uniform(2.0, 4.0),
        waist=rng.uniform(0.05, 0.2),
        notch=rng.uniform(0.03, 0.22),
        tilt_coronal=rng.normal(0, 0.02),
        exponent=rng.uniform(2.1, 2.8),
    )


GRADE_LOSS: Final = {1: (0.20, 0.25), 2: (0.25, 0.40), 3: (0.40, 0.70)}
"""Height loss of the Genant grades (qims 2019.02.04); the upper end of grade 3 is a choice."""


def fracture(intact: BodyShape, deformity: str, loss: float, rng: np.random.Generator) -> BodyShape:
    """Break a body: the place that gives the deformity its name loses ``loss`` of its height, the others less.

    Args:
        intact: The shape before.
        deformity: "wedge", "biconcave" or "crush".
        loss: Largest height loss, 0 to 0.8.
        rng: Draws the lesser losses.
    """
    small = rng.uniform(0.0, 0.25) * loss
    losses = {
        "wedge": (loss, rng.uniform(0.45, 0.8) * loss, small),
        "biconcave": (rng.uniform(0.1, 0.5) * loss, loss, small),
        "crush": (loss * rng.uniform(0.85, 1.0), loss, loss * rng.uniform(0.7, 0.98)),
    }[deformity]
    return replace(
        intact,
        anterior_mm=intact.anterior_mm * (1 - losses[0]),
        middle_mm=max(intact.middle_mm * (1 - losses[1]), 3.0),
        posterior_mm=intact.posterior_mm * (1 - losses[2]),
        superior_share=float(np.clip(rng.normal(0.7, 0.2), 0.1, 0.95)),
        bump_exponent=rng.uniform(2.0, 5.0),
        depth_mm=intact.depth_mm * (1 + 0.15 * loss * rng.random()),
        width_mm=intact.width_mm * (1 + 0.1 * loss * rng.random()),
        tilt_coronal=intact.tilt_coronal + rng.normal(0, 0.1) * loss,
    )


def _sagittal_tilts_rad(levels: tuple[Level, ...], rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Forward lean of each body and of the sacral endplate, from normal sagittal balance.

    Sacral slope 40 +- 8, lordosis 20-75 and kyphosis 10-75 degrees after Roussouly et al., Spine 2005;30:346-353.
    """
    slope = np.clip(rng.normal(40, 9), 15, 65)
    upper = -np.clip(rng.normal(14, 6), -5, 30)
    kyphosis = np.clip(rng.normal(42, 13), 8, 80)
    lumbar = [n for n, level in enumerate(levels) if level.is_lumbar]
    tilt = np.zeros(len(levels))
    count = len(lumbar)
    for position, n in enumerate(reversed(lumbar)):
        share = 1 - (1 - (position + 1) / count) ** 1.6
        tilt[n] = slope + (upper - slope) * share
    thoracic = len(levels) - count
    tilt[:thoracic] = upper + 2 + kyphosis * np.linspace(1, 0, thoracic) ** 1.1
    return np.radians(tilt + rng.normal(0, 1.2, len(levels))), float(np.radians(slope))


def sample_spine(rng: np.random.Generator, *, fracture_rate: float = 0.3) -> Spine:
    """Draw a patient's spine from T1 to the sacrum; the S1 endplate's centre lies at the LPS origin.

    Args:
        rng: Source of every choice.
        fracture_rate: Chance that a vertebra from T4 down is broken, scaled by where fractures occur (T7, T12-L1).
    """
    sex = str(rng.choice(["F", "M"]))
    age = float(rng.uniform(20, 95))
    size = float(np.clip(rng.normal(0.96 if sex == "F" else 1.05, 0.06), 0.8, 1.25))
    aspect = rng.normal(1.0, 0.05, 3)
    levels = _levels(rng)
    tilts, slope = _sagittal_tilts_rad(levels, rng)
    degeneration = rng.uniform(0.0, 1.0) * np.clip((age - 20) / 60, 0.1, 1)
    osteoporotic = age > 50 and rng.random() < 0.6
    shapes = []
    for level in levels:
        intact = _intact_shape(level, size, aspect, rng)
        rate = fracture_rate * (1.6 if level in (Level.T12, Level.L1) else 0.7)
        broken, grade, deformity = intact, 0, "none"
        if level >= Level.T4 and rng.random() < rate * (1.2 if osteoporotic else 0.6):
            grade = int(rng.integers(1, 4))
            deformity = str(rng.choice(["wedge", "biconcave", "crush"], p=[0.5, 0.28, 0.22]))
            broken = fracture(intact, deformity, rng.uniform(*GRADE_LOSS[grade]), rng)
        shapes.append((level, intact, broken, grade, deformity))
    return _stack(shapes, tilts, slope, rng, size=size, sex=sex, age=age, degeneration=degeneration)


def _stack(
    shapes: list[tuple[Level, BodyShape, BodyShape, int, str]],
    tilts: np.ndarray,
    slope: float,
    rng: np.random.Generator,
    *,
    size: float,
    sex: str,
    age: float,
    degeneration: float,
) -> Spine:
    """Pose the bodies from the sacrum upwards so that the discs have their heights and endplates never cross."""
    x_axis, y_axis, z_axis = np.eye(3)
    count = len(shapes)
    curve_deg = abs(rng.normal(0, 4)) if rng.random() > SCOLIOSIS_RATE else rng.uniform(8, 37)
    phase, turns = rng.uniform(0, 2 * np.pi), 2 * np.pi / rng.uniform(8, 20)
    amplitude = np.radians(min(curve_deg, STEEPEST_CURVE_DEG / turns))
    coronal = amplitude * np.sin(turns * np.arange(count) + phase)
    axial = rng.normal(0, np.radians(2.5)) + 0.5 * coronal + rng.normal(0, np.radians(1), count)
    sacrum = geometry.affine(geometry.rotation(x_axis, slope) @ geometry.rotation(z_axis, axial[-1]), [0, 0, 0])
    below, below_half, below_tilt = sacrum, 0.0, slope
    below_shape: BodyShape | None = None
    kyphosis = 0.0
    posed: list[Vertebra] = []
    for n in reversed(range(count)):
        level, intact, shape, grade, deformity = shapes[n]
        mean = dimensions(level)
        wedge = np.arctan2(shape.posterior_mm - shape.anterior_mm, shape.depth_mm)
        lower_wedge = 0.0 if below_shape is None else _half_wedge(below_shape, superior=True)
        kyphosis += 0.5 * max(wedge - np.arctan2(intact.posterior_mm - intact.anterior_mm, intact.depth_mm), 0)
        disc = mean.disc * size * (1 - rng.uniform(0.2, 0.9) * degeneration) + rng.normal(0, 0.5)
        most = np.arctan2(max(disc - 1.0, 0.3), shape.depth_mm / 2)
        tilt = tilts[n] + kyphosis
        opening = (below_tilt + lower_wedge) - (tilt - _half_wedge(shape, superior=False))
        tilt += opening - np.clip(opening, -most, most)
        frame = (
            geometry.rotation(y_axis, coronal[n])
            @ geometry.rotation(x_axis, tilt)
            @ geometry.rotation(z_axis, axial[n])
        )
        half = (shape.anterior_mm + shape.posterior_mm) / 4
        up_below, up = below[:3, 2], frame[:, 2]
        gap = max(disc, 1.5) * geometry.unit(up_below + up)
        shift = rng.normal(0, 0.6, 3) * [1, 1, 0]
        center = below[:3, 3] + up_below * below_half + gap + up * half + frame @ shift
        pose = geometry.affine(frame, center)
        posed.append(_vertebra(level, pose, shape, intact, grade, deformity, size, rng))
        below, below_half, below_tilt, below_shape = pose, half, tilt, shape
    return Spine(vertebrae=tuple(reversed(posed)), lps_from_sacrum=sacrum, sex=sex, age_years=age, size=size)


def _half_wedge(shape: BodyShape, *, superior: bool) -> float:
    """Lean of one endplate against the body's own middle plane (rad), positive forward for the superior one."""
    share = shape.superior_share if superior else 1 - shape.superior_share
    return float(np.arctan2((shape.posterior_mm - shape.anterior_mm) * share, shape.depth_mm))


def _vertebra(
    level: Level,
    pose: geometry.FloatArray,
    shape: BodyShape,
    intact: BodyShape,
    grade: int,
    deformity: str,
    size: float,
    rng: np.random.Generator,
) -> Vertebra:
    mean = dimensions(level)
    return Vertebra(
        level=level,
        lps_from_local=pose,
        shape=shape,
        intact=intact,
        grade=grade,
        deformity=deformity,
        has_ribs=level.is_thoracic,
        canal_width_mm=mean.canal_width * size * rng.normal(1, 0.06),
        canal_depth_mm=mean.canal_depth * size * rng.normal(1, 0.08),
        pedicle_width_mm=mean.pedicle_width * size * rng.normal(1, 0.1),
        pedicle_height_mm=mean.pedicle_height * size * rng.normal(1, 0.08),
    )


def moved(spine: Spine, lps_from_lps: geometry.FloatArray) -> Spine:
    """The same spine after a rigid motion of the patient."""
    return replace(
        spine,
        vertebrae=tuple(replace(v, lps_from_local=lps_from_lps @ v.lps_from_local) for v in spine.vertebrae),
        lps_from_sacrum=lps_from_lps @ spine.lps_from_sacrum,
    )
