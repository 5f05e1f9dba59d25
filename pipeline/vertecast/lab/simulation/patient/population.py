"""Who is simulated: level-wise dimensions of adults and how a patient is drawn from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import (
    CERVICAL,
    LUMBAR,
    NORMAL_DEPTHS_MM,
    NORMAL_HEIGHTS_MM,
    SUBSTITUTES,
    THORACIC,
    Level,
    normal_gap_mm,
)
from vertecast.lab.simulation.patient.spine import BodyShape, Spine, Vertebra, rim_heights_mm


@dataclass(frozen=True, slots=True)
class LevelDimensions:
    """Mean adult dimensions of one level in mm, and how the column bends there.

    Heights, depths and gaps are the normal ones of `anatomy`.
    Bends are those of 2,116 real columns (VID: hand-checked centres
    of bodies on CT; Buergin, Prevost, Stollenga, CC BY-SA 4.0). Widths and the depths of `anatomy` are those of
    Panjabi et al., Spine 1991;16:888-901 (thoracic), 1992;17:299-306 (lumbar) and 1991;16:861-869 (cervical), a tenth
    larger, which fits the distances from bodies to pedicles of the same columns; canal and pedicles after the same
    papers, the canal narrowed until the two pedicles lie apart as in VID. What comes from these papers was written from
    general knowledge and not compared with them row by row; spans and lengths of the processes are round figures of the
    same kind.

    Attributes:
        width, depth: Of the body at its endplates.
        canal_width, canal_depth, pedicle_width, pedicle_height: Of the arch.
        bend_deg, bend_sd_deg: Direction to the next body below less that from the one above, in the sagittal plane;
            positive: lordotic.
        transverse_span, spinous_length: Of the processes, from tip to tip and from the canal's middle.
    """

    width: float
    depth: float
    canal_width: float
    canal_depth: float
    pedicle_width: float
    pedicle_height: float
    bend_deg: float
    bend_sd_deg: float
    transverse_span: float
    spinous_length: float


CERVICAL_DRAWN: Final = CERVICAL[2:]
"""C3 to C7; the two above are other bones here: they have no body like the others."""

DIMENSIONS: Final[dict[Level, LevelDimensions]] = {
    level: LevelDimensions(width, NORMAL_DEPTHS_MM[level.name], *others)
    for level, (width, *others) in zip(
        (*CERVICAL_DRAWN, *THORACIC, *LUMBAR),
        (
            (18, 22.9, 15.5, 5.6, 7.4, 4.1, 6.6, 52, 30),
            (18.5, 24.2, 15.4, 5.4, 7.4, 2.8, 6.1, 53, 31),
            (19, 24.4, 15.4, 5.6, 7.0, 0.9, 7.0, 55, 30),
            (20.5, 24.8, 15.3, 6.0, 7.3, 5.4, 7.5, 58, 36),
            (24, 24.0, 15.4, 6.6, 7.6, 6.2, 7.0, 66, 50),
            (27.5, 21.0, 16.0, 8.1, 9.8, 0.2, 6.5, 77, 48),
            (27.5, 17.6, 15.6, 7.6, 11.5, -2.0, 5.0, 72, 50),
            (27.5, 16.2, 15.6, 6.6, 12.0, -4.7, 4.2, 65, 50),
            (27.5, 15.6, 15.6, 6.0, 12.2, -5.0, 3.1, 63, 51),
            (28, 15.6, 15.6, 5.8, 12.2, -5.4, 3.3, 64, 54),
            (29, 15.9, 15.7, 5.8, 12.5, -6.7, 4.0, 65, 56),
            (31, 16.3, 15.8, 5.8, 12.6, -5.7, 4.0, 65, 57),
            (32, 16.4, 15.8, 6.3, 13.0, -2.6, 4.1, 64, 57),
            (34, 16.4, 15.8, 6.9, 14.4, -1.2, 4.7, 64, 57),
            (35, 16.8, 15.9, 7.8, 15.6, -0.9, 4.8, 61, 56),
            (38.5, 18.2, 16.2, 8.8, 17.6, -0.6, 4.3, 55, 54),
            (42.5, 20.9, 17.2, 8.5, 17.0, -0.5, 4.3, 50, 54),
            (45, 21.7, 18.4, 8.2, 16.5, -1.1, 4.2, 74, 68),
            (46.5, 22.1, 17.9, 8.3, 16.0, 2.6, 4.4, 80, 72),
            (48, 23.0, 17.4, 9.9, 15.5, 7.5, 4.7, 89, 73),
            (51, 24.0, 18.0, 12.7, 16.0, 13.1, 5.7, 82, 68),
            (52, 28.5, 19.2, 19.0, 19.6, 20.0, 6.0, 95, 58),
        ),
        strict=True,
    )
}

SIZE_BY_SEX: Final = {"F": 0.955, "M": 1.045}
SIZE_SD: Final = 0.04
HEIGHT_ASPECT_SD: Final = 0.02
SECTION_ASPECT_SD: Final = 0.05
"""Scatter of sizes between patients: together, with sex, 0.063 (SD of the logarithm), as of the gaps of VID."""

LEVEL_HEIGHT_SD: Final = 0.04
DISC_SD: Final = 0.22
"""Scatter within a patient of a level's height and of a disc's (SD of the logarithm): with them neighbouring centres
lie apart as variably as in VID, where a gap scatters by 0.047 about what the patient's size asks for."""

COLLAPSED_DISC_RATE: Final = 0.12
LEAST_DISC_MM: Final = 0.8
"""Share of discs, in old age, that have lost most of their height; bone is then nearly on bone."""

LEAN_KEPT: Final = 0.85
LEAN_SD_DEG: Final = 7.0
"""Share of a line's own lean that the next line below keeps, and the SD of leans. In VID the line from one body to the
next leans by 6 to 9 degrees (SD) about the mean of its level, whichever level, and seven bends together scatter no
more than three do: a column that leaves its course comes back to it."""

WEDGE_OF_BEND: Final = 0.35
"""Share of a patient's own bend at a level that the body itself takes; the discs take the rest. A choice."""

L1_LEAN_DEG: Final = -16.0
"""Mean lean of the line from L1 to L2: backwards (VID)."""

SACRAL_TURN_DEG: Final = (12.0, 4.0)
"""From the line L5-S1 to the normal of S1's endplate. A choice that gives a sacral slope of about 40 degrees, as
Roussouly et al., Spine 2005;30:346-353, found."""

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
    return (*CERVICAL_DRAWN, *thoracic, *lumbar)


def dimensions(level: Level) -> LevelDimensions:
    """Mean dimensions of a level; T13 is built like T12, L6 like L5."""
    return DIMENSIONS[SUBSTITUTES.get(level, level)]


def normal_heights_mm(level: Level) -> tuple[float, float, float]:
    """Mean anterior, middle and posterior height of a level at the six points."""
    return NORMAL_HEIGHTS_MM[SUBSTITUTES.get(level, level).name]


def _intact_shape(
    level: Level, size: float, aspect: np.ndarray, own_bend_deg: float, rng: np.random.Generator
) -> BodyShape:
    """A sound body; ``own_bend_deg`` is what the patient's column bends there beyond the mean."""
    mean = dimensions(level)
    width, depth = (value * size * rng.normal(1.0, 0.03) for value in np.multiply((mean.width, mean.depth), aspect[:2]))
    height = size * aspect[2] * np.exp(rng.normal(0, LEVEL_HEIGHT_SD))
    front = rng.normal(1.0, 0.02)
    wedge = depth * np.tan(np.radians(WEDGE_OF_BEND * own_bend_deg))
    front_mm, middle_mm, back_mm = normal_heights_mm(level)
    anterior, posterior = front_mm * height * front + wedge / 2, back_mm * height / front - wedge / 2
    concavity = (front_mm + back_mm) / 2 - middle_mm
    middle = (anterior + posterior) / 2 - concavity * size * rng.uniform(0.3, 1.7)
    exponent = rng.uniform(2.0, 4.0)
    rim_anterior, rim_posterior = rim_heights_mm(anterior, middle, posterior, exponent)
    return BodyShape(
        width_mm=width,
        depth_mm=depth,
        anterior_mm=rim_anterior,
        middle_mm=middle,
        posterior_mm=rim_posterior,
        superior_share=rng.uniform(0.35, 0.65),
        bump_exponent=exponent,
        waist=rng.uniform(0.05, 0.2),
        notch=rng.uniform(0.03, 0.22),
        tilt_coronal=rng.normal(0, 0.02),
        exponent=rng.uniform(2.1, 2.8),
    )


MEAN_BUMP_EXPONENT: Final = 3.0
DISC_CLEARANCE_MM: Final = 0.6
"""Endplates are tilted against each other only as far as this much is left between their rims."""

LEAST_GAP_MM: Final = 0.5
"""Rims come no nearer to each other than this: bone on bone, but two bones."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How a patient's column runs in the sagittal plane; leans are forward, in degrees.

    Attributes:
        bends_deg: Bend at each level (`LevelDimensions.bend_deg`).
        between_deg: Lean of the line from each body to the next one below, of the last one to the sacrum.
        slope_deg: Lean of S1's endplate.
    """

    bends_deg: np.ndarray
    between_deg: np.ndarray
    slope_deg: float

    @property
    def bodies_deg(self) -> np.ndarray:
        """Lean of each body: between the lines to its neighbours."""
        above = np.concatenate([[self.between_deg[0] - self.bends_deg[0]], self.between_deg[:-1]])
        return np.asarray((above + self.between_deg) / 2)


def sample_curve(levels: tuple[Level, ...], rng: np.random.Generator) -> Curve:
    """Draw the leans of a column from the top down (`LEAN_KEPT`), so that its bends scatter as those of each level."""
    means = np.array([dimensions(level).bend_deg for level in levels])
    sds = np.array([dimensions(level).bend_sd_deg for level in levels])
    own = np.empty(len(levels))
    lean = rng.normal(0, LEAN_SD_DEG)
    fresh = np.sqrt(np.maximum(sds**2 - ((1 - LEAN_KEPT) * LEAN_SD_DEG) ** 2, 1.0)) * rng.normal(size=len(levels))
    for n, step in enumerate(fresh):
        own[n] = lean = LEAN_KEPT * lean + step
    mean_leans = np.cumsum(means)
    between = mean_leans - mean_leans[levels.index(Level.L1)] + L1_LEAN_DEG + own
    bends = np.diff(between, prepend=between[0] - means[0])
    slope = np.clip(between[-1] + rng.normal(*SACRAL_TURN_DEG), 10, 70)
    return Curve(bends_deg=bends, between_deg=between, slope_deg=float(slope))


def sample_spine(rng: np.random.Generator, *, fracture_rate: float = 0.3) -> Spine:
    """Draw a patient's spine from C3 to the sacrum; the S1 endplate's centre lies at the LPS origin.

    Args:
        rng: Source of every choice.
        fracture_rate: Chance that a vertebra from T4 down is broken, scaled by where fractures occur (T7, T12-L1).
    """
    sex = str(rng.choice(["F", "M"]))
    age = float(rng.uniform(20, 95))
    size = float(np.clip(SIZE_BY_SEX[sex] * np.exp(rng.normal(0, SIZE_SD)), 0.8, 1.25))
    aspect = np.exp(rng.normal(0, [SECTION_ASPECT_SD, SECTION_ASPECT_SD, HEIGHT_ASPECT_SD]))
    levels = _levels(rng)
    curve = sample_curve(levels, rng)
    degeneration = rng.uniform(0.0, 1.0) * np.clip((age - 20) / 60, 0.1, 1)
    osteoporotic = age > 50 and rng.random() < 0.6
    shapes = []
    for level, bend in zip(levels, curve.bends_deg, strict=True):
        intact = _intact_shape(level, size, aspect, float(bend) - dimensions(level).bend_deg, rng)
        rate = fracture_rate * (1.6 if level in (Level.T12, Level.L1) else 0.7)
        broken, grade, deformity = intact, 0, "none"
        if level >= Level.T4 and rng.random() < rate * (1.2 if osteoporotic else 0.6):
            grade = int(rng.integers(1, 4))
            deformity = str(rng.choice(["wedge", "biconcave", "crush"], p=[0.5, 0.28, 0.22]))
            broken = fracture(intact, deformity, rng.uniform(*GRADE_LOSS[grade]), rng)
        shapes.append((level, intact, broken, grade, deformity))
    return _stack(shapes, curve, rng, size=size, sex=sex, age=age, degeneration=degeneration)


def _disc_mm(level: Level, below: Level | None, size: float, degeneration: float, rng: np.random.Generator) -> float:
    """Height of the disc below a level, between the rims; the mean is what the gap leaves between the two bodies."""
    bodies = [level] if below is None else [level, below]
    room = normal_gap_mm(level, below) - sum(_rim_height_mm(body) / 2 for body in bodies)
    scatter = np.exp(rng.normal(0, DISC_SD))
    if rng.random() < COLLAPSED_DISC_RATE * degeneration:
        scatter *= rng.uniform(0.1, 0.6)
    return float(max(room * size * scatter, LEAST_DISC_MM))


def _rim_height_mm(level: Level) -> float:
    """Mean height of a level's body at its walls."""
    return sum(rim_heights_mm(*normal_heights_mm(level), MEAN_BUMP_EXPONENT)) / 2


def _stack(
    shapes: list[tuple[Level, BodyShape, BodyShape, int, str]],
    curve: Curve,
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
    slope = np.radians(curve.slope_deg)
    leans, between = np.radians(curve.bodies_deg + rng.normal(0, 1.0, count)), np.radians(curve.between_deg)
    sacrum = geometry.affine(geometry.rotation(x_axis, slope) @ geometry.rotation(z_axis, axial[-1]), [0, 0, 0])
    below, below_half, below_tilt, below_coronal = sacrum, 0.0, slope, coronal[-1]
    below_shape: BodyShape | None = None
    kyphosis = 0.0
    posed: list[Vertebra] = []
    for n in reversed(range(count)):
        level, intact, shape, grade, deformity = shapes[n]
        wedge = np.arctan2(shape.posterior_mm - shape.anterior_mm, shape.depth_mm)
        lower_wedge = 0.0 if below_shape is None else _half_wedge(below_shape, superior=True)
        line = between[n] + kyphosis
        kyphosis += 0.5 * max(wedge - np.arctan2(intact.posterior_mm - intact.anterior_mm, intact.depth_mm), 0)
        disc = _disc_mm(level, shapes[n + 1][0] if n + 1 < count else None, size, degeneration, rng)
        most = np.arctan2(max(disc - DISC_CLEARANCE_MM, 0.2), shape.depth_mm / 2)
        tilt = leans[n] + kyphosis
        opening = (below_tilt + lower_wedge) - (tilt - _half_wedge(shape, superior=False))
        tilt += opening - np.clip(opening, -most, most)
        frame = (
            geometry.rotation(y_axis, coronal[n])
            @ geometry.rotation(x_axis, tilt)
            @ geometry.rotation(z_axis, axial[n])
        )
        half = (shape.anterior_mm + shape.posterior_mm) / 4
        up = geometry.rotation(y_axis, (coronal[n] + below_coronal) / 2) @ geometry.rotation(x_axis, line) @ z_axis
        shift = rng.normal(0, 0.3, 3) * [1, 1, 0]
        center = below[:3, 3] + up * (below_half + disc + half) + frame @ shift
        pose = geometry.affine(frame, center)
        gap = _rim_gap_mm(geometry.inverse(below) @ pose, shape, below_shape)
        pose[:3, 3] += max(LEAST_GAP_MM - gap, 0.0) * below[:3, 2]
        posed.append(_vertebra(level, pose, shape, intact, grade, deformity, size, rng))
        below, below_half, below_tilt, below_shape, below_coronal = pose, half, tilt, shape, coronal[n]
    return Spine(vertebrae=tuple(reversed(posed)), lps_from_sacrum=sacrum, sex=sex, age_years=age, size=size)


def _rim_gap_mm(lower_from_upper: geometry.FloatArray, upper: BodyShape, lower: BodyShape | None) -> float:
    """Least height of the upper body's rim (front, back and sides) over the lower endplate; None: the flat one of S1.

    Negative where they cross, as leans in two planes and a shear between the bodies can make them.
    """
    points = upper.six_points_local_mm()["inferior"]
    side = 0.45 * upper.width_mm
    sides = [(x, 0.0, float(upper.inferior_mm(np.array([x]), np.array([0.0]))[0])) for x in (-side, side)]
    x, y, z = geometry.apply(lower_from_upper, [points["anterior"], points["posterior"], *sides]).T
    return float((z - (0.0 if lower is None else lower.superior_mm(x, y))).min())


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
