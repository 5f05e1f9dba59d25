"""What becomes of a spine: treated bodies regain height, sink again, others break; the column above follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import Level
from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.patient.population import GRADE_LOSS, LEAST_GAP_MM, fracture
from vertecast.lab.simulation.patient.spine import BodyShape, Spine, Vertebra

REGAINS_NOTHING: Final = 0.25
REGAINED_SHARE: Final = (0.05, 0.95)
"""How many treated bodies stay as they are, and what share of the lost height the front of the others regains.

73 bodies gained 16.7 % of a neighbour's posterior height in front, 14 % in the middle and 7 % behind, which was 29 and
27 % of what they had lost; the wedge angle fell by 7.4 degrees (Teng, AJNR 2003;24:1893). Simulated fractures are
milder: with this spread, a choice, bodies gain 14, 11 and 6 %, and the wedge angle falls by 4 degrees on average."""

DISC_SHARE: Final = 1 - 4.3 / 7.4
"""Part of a change of wedge angle that the discs beside the body take up: kyphosis fell by 4.3 degrees on average where
the wedge angle fell by 7.4 (Teng, AJNR 2003;24:1893)."""

RECOLLAPSE_SHARE: Final = 0.3
RECOLLAPSE_LOSS: Final = (0.2, 0.4)
SETTLING_SHARE: Final = 0.3
SETTLING_LOSS: Final = (0.02, 0.1)
NEW_FRACTURE_SHARE: Final = 0.5
ADJACENT_SHARE: Final = 0.65
"""Of treated bodies, those that lose much or little of their front again; of patients, those in whom another body
breaks, and how often it lies beside a treated one. Far more than in life, where 9 to 12 % break a body beside a treated
one in a year: scores need cases."""

LEAST_HEIGHT_MM: Final = 3.0


def after_treatment(spine: Spine, treated: Collection[int], rng: np.random.Generator) -> Spine:
    """The spine once some vertebrae (indices from 0) were treated: broken ones regain height, some nothing."""
    shapes = {n: _regained(spine.vertebrae[n], rng) for n in sorted(treated) if spine.vertebrae[n].grade}
    return with_shapes(spine, shapes)


def weeks_later(spine: Spine, treated: Collection[int], visible: tuple[int, int], rng: np.random.Generator) -> Spine:
    """The spine weeks after a treatment: treated bodies may sink again, another one may break.

    Args:
        spine: The spine after the treatment.
        treated: Indices from 0 of the treated vertebrae.
        visible: First and last vertebra in view; others do not break.
        rng: Source of every choice.
    """
    shapes = {n: _sunken(spine.vertebrae[n], rng) for n in sorted(treated)}
    broken = _next_to_break(spine, treated, visible, rng)
    if broken is not None:
        grade = int(rng.integers(1, 4))
        deformity = str(rng.choice(["wedge", "biconcave", "crush"], p=[0.5, 0.28, 0.22]))
        shapes[broken] = fracture(spine.vertebrae[broken].shape, deformity, rng.uniform(*GRADE_LOSS[grade]), rng)
    return with_shapes(spine, shapes)


def with_shapes(spine: Spine, shapes: Mapping[int, BodyShape]) -> Spine:
    """The same column with other shapes of some bodies (by index from 0); what lies above moves with them.

    The rims beside each disc keep their places to each other, but for the part of a change of wedge angle that discs
    take up (`DISC_SHARE`). Without a changed shape it is the same object.
    """
    changed = [_reshaped(v, shapes.get(n, v.shape)) for n, v in enumerate(spine.vertebrae)]
    if all(new is old for new, old in zip(changed, spine.vertebrae, strict=True)):
        return spine
    wedge_rad = [
        _wedge_rad(new.shape) - _wedge_rad(old.shape) for new, old in zip(changed, spine.vertebrae, strict=True)
    ]
    was, now, below_rad = spine.lps_from_sacrum, spine.lps_from_sacrum, 0.0
    for n in reversed(range(len(changed))):
        old, new = spine.vertebrae[n], changed[n]
        disc = geometry.inverse(was) @ old.lps_from_local @ _lower_plate(old.shape)
        disc = _turned(disc, -DISC_SHARE / 2 * (wedge_rad[n] + below_rad), old.shape.depth_mm)
        pose = now @ disc @ geometry.inverse(_lower_plate(new.shape))
        changed[n] = replace(new, lps_from_local=pose)
        was, now = old.lps_from_local @ _upper_plate(old.shape), pose @ _upper_plate(new.shape)
        below_rad = wedge_rad[n]
    return replace(spine, vertebrae=tuple(changed))


def _regained(vertebra: Vertebra, rng: np.random.Generator) -> BodyShape:
    """The shape after treatment: each height regains a share of what it lost."""
    share = rng.uniform(*REGAINED_SHARE)
    middle, posterior = min(share * rng.uniform(0.6, 1.2), 1.0), share * rng.uniform(0.3, 1.0)
    shape, intact = vertebra.shape, vertebra.intact
    if rng.random() < REGAINS_NOTHING:
        return shape
    return replace(
        shape,
        anterior_mm=shape.anterior_mm + share * max(intact.anterior_mm - shape.anterior_mm, 0.0),
        middle_mm=shape.middle_mm + middle * max(intact.middle_mm - shape.middle_mm, 0.0),
        posterior_mm=shape.posterior_mm + posterior * max(intact.posterior_mm - shape.posterior_mm, 0.0),
    )


def _sunken(vertebra: Vertebra, rng: np.random.Generator) -> BodyShape:
    """The shape of a treated body weeks later: sunken by much, by little or not at all, most of all in front."""
    kind = rng.random()
    much, little = rng.uniform(*RECOLLAPSE_LOSS), rng.uniform(*SETTLING_LOSS)
    middle, posterior = rng.uniform(0.5, 1.0), rng.uniform(0.0, 0.3)
    if kind >= RECOLLAPSE_SHARE + SETTLING_SHARE:
        return vertebra.shape
    loss, shape = much if kind < RECOLLAPSE_SHARE else little, vertebra.shape
    return replace(
        shape,
        anterior_mm=max(shape.anterior_mm * (1 - loss), LEAST_HEIGHT_MM),
        middle_mm=max(shape.middle_mm * (1 - middle * loss), LEAST_HEIGHT_MM),
        posterior_mm=max(shape.posterior_mm * (1 - posterior * loss), LEAST_HEIGHT_MM),
    )


def _next_to_break(
    spine: Spine, treated: Collection[int], visible: tuple[int, int], rng: np.random.Generator
) -> int | None:
    """A sound vertebra well in view that breaks, more often than not beside a treated one; None where none does."""
    breaks, beside = rng.random() < NEW_FRACTURE_SHARE, rng.random() < ADJACENT_SHARE
    inside = range(visible[0] + 1, min(visible[1], len(spine.vertebrae)))
    sound = [n for n in inside if n not in treated and not spine.vertebrae[n].grade]
    sound = [n for n in sound if spine.vertebrae[n].level >= Level.T4]
    fitting = [n for n in sound if beside == bool({n - 1, n + 1} & set(treated))] or sound
    return int(rng.choice(fitting)) if breaks and fitting else None


def _reshaped(vertebra: Vertebra, shape: BodyShape) -> Vertebra:
    """A vertebra with another body; its arch and what its fracture left behind stay."""
    if shape is vertebra.shape:
        return vertebra
    loss = max(
        1 - shape.anterior_mm / vertebra.intact.anterior_mm,
        1 - shape.middle_mm / vertebra.intact.middle_mm,
        1 - shape.posterior_mm / vertebra.intact.posterior_mm,
    )
    grade = max((grade for grade, (least, _) in GRADE_LOSS.items() if loss >= least), default=0)
    return replace(
        vertebra,
        shape=shape,
        grade=grade,
        deformity=_deformity(shape, vertebra.intact) if grade else "none",
        regained_from=vertebra.worst_grade,
        arch_posterior_mm=vertebra.arch_posterior_mm or vertebra.shape.posterior_mm,
    )


def _deformity(shape: BodyShape, intact: BodyShape) -> str:
    """The name of a broken body's shape: crush where the back lost two thirds of the most, else what lost most."""
    front, middle, back = (
        1 - shape.anterior_mm / intact.anterior_mm,
        1 - shape.middle_mm / intact.middle_mm,
        1 - shape.posterior_mm / intact.posterior_mm,
    )
    if back >= 2 / 3 * max(front, middle):
        return "crush"
    return "wedge" if front >= middle else "biconcave"


def _wedge_rad(shape: BodyShape) -> float:
    return _slope_rad(shape, shape.superior_share) + _slope_rad(shape, 1 - shape.superior_share)


def _slope_rad(shape: BodyShape, share: float) -> float:
    """Forward lean of an endplate that takes this share of the wedge."""
    span = shape.posterior_wall_y_mm - shape.anterior_wall_y_mm
    return float(np.arctan2((shape.posterior_mm - shape.anterior_mm) * share, span))


def _upper_plate(shape: BodyShape) -> FloatArray:
    """Frame (4, 4) of the superior rim in the body's own: origin at its middle, y along it to posterior."""
    return _plate(shape, 1.0, _slope_rad(shape, shape.superior_share))


def _lower_plate(shape: BodyShape) -> FloatArray:
    return _plate(shape, -1.0, -_slope_rad(shape, 1 - shape.superior_share))


def _plate(shape: BodyShape, side: float, lean_rad: float) -> FloatArray:
    middle_y = (shape.anterior_wall_y_mm + shape.posterior_wall_y_mm) / 2
    height = side * (shape.anterior_mm + shape.posterior_mm) / 4
    return geometry.affine(geometry.rotation([1.0, 0.0, 0.0], lean_rad), [0.0, middle_y, height])


def _turned(disc: FloatArray, angle_rad: float, depth_mm: float) -> FloatArray:
    """The upper rim's place (4, 4) over the lower one, leaned forward as far as the gap between them allows."""
    lean = float(np.arctan2(disc[2, 1], disc[1, 1]))
    most = max(float(np.arctan2(max(disc[2, 3] - LEAST_GAP_MM, 0.0), depth_mm / 2)), abs(lean))
    turn = float(np.clip(lean + angle_rad, -most, most)) - lean
    return disc @ geometry.affine(geometry.rotation([1.0, 0.0, 0.0], turn), [0.0, 0.0, 0.0])
