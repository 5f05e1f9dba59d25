"""How exact the measuring itself is: errors on analytic bodies whose surfaces are formulas, the outline being given.

What a network gets wrong is no part of it. `scripts/evaluate.py --phantoms` draws the bodies and measures them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from vertecast.core.geometry import FloatArray
from vertecast.core.results import Place

Plane: TypeAlias = Literal["sagittal", "coronal", "axial"]
Outline: TypeAlias = Literal["shares", "shares and CT", "label map"]

Z95: Final = 1.96

PLANES: Final[tuple[Plane, ...]] = ("sagittal", "coronal", "axial")
TILTS_DEG: Final = (-30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0)

SPACINGS_MM: Final = ((1.0, 1.0, 1.0), (0.7, 0.7, 3.0))
"""Voxels of the scan: isotropic, and with thick slices."""

OUTLINES: Final[Mapping[Outline, str]] = {
    "shares": "share of each voxel of the scan that the body fills, as a faultless network could give it",
    "shares and CT": "the same with the CT beside it, which moves the endplates to their edge",
    "label map": "whole voxels of the scan, as an expert paints them, without the CT",
}
"""How the outline is given."""

HEIGHT_TARGETS_MM: Final = {(1.0, 1.0, 1.0): 0.15, (0.7, 0.7, 3.0): 0.4}
WEDGE_TARGET_DEG: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """How a phantom lies in the scan: turned by ``tilt_deg`` in one plane."""

    plane: Plane
    tilt_deg: float
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyError:
    """Measured less true of one body.

    Attributes:
        pose: How it lay.
        outline: How its outline was given.
        heights_mm: Anterior, middle and posterior.
        wedge_deg: Wedge angle.
        held: Of the three heights, how many lie in their 95 % interval.
    """

    pose: Pose
    outline: Outline
    heights_mm: tuple[float, float, float]
    wedge_deg: float
    held: int


def poses() -> list[Pose]:
    """Every tilt in every plane, for both scans; upright once."""
    return [
        Pose(plane=plane, tilt_deg=tilt, spacing_mm=spacing)
        for spacing in SPACINGS_MM
        for plane in PLANES
        for tilt in TILTS_DEG
        if tilt or plane == PLANES[0]
    ]


def body_error(
    pose: Pose,
    outline: Outline,
    heights_mm: Mapping[Place, float],
    height_sd_mm: Mapping[Place, float],
    wedge_deg: float,
    true: tuple[Mapping[Place, float], float],
) -> BodyError:
    """Compare one body with its true heights (mm) and wedge angle (deg)."""
    differences = {place: heights_mm[place] - height for place, height in true[0].items()}
    return BodyError(
        pose=pose,
        outline=outline,
        heights_mm=(differences["anterior"], differences["middle"], differences["posterior"]),
        wedge_deg=wedge_deg - true[1],
        held=sum(abs(d) <= Z95 * height_sd_mm[place] for place, d in differences.items()),
    )


def text_lines(errors: Sequence[BodyError]) -> list[str]:
    """The errors as tables: over all tilts, and the bias for each tilt."""
    lines = ["Analytic bodies, outline given: measured less true"]
    for spacing in SPACINGS_MM:
        name = " × ".join(f"{s:g}" for s in spacing)
        lines += ["", f"voxels {name} mm; aims: heights {HEIGHT_TARGETS_MM[spacing]:g} mm, wedge {WEDGE_TARGET_DEG:g}°"]
        lines.append(f"{'outline':18}{'n':>4}{'MAE Ha':>8}{'Hm':>6}{'Hp':>6}{'all':>6}{'largest':>9}{'bias':>7}"
                     f"{'wedge MAE':>11}{'bias':>7}{'in 95 %':>9}")  # fmt: skip
        for outline in OUTLINES:
            chosen = [e for e in errors if e.outline == outline and e.pose.spacing_mm == spacing]
            if chosen:
                lines.append(_row(outline, chosen))
        lines.append("bias of heights (mm) | of the wedge angle (deg), by tilt")
        lines.append(f"{'':30}" + "".join(f"{tilt:>14g}°" for tilt in TILTS_DEG))
        for outline in OUTLINES:
            for plane in PLANES:
                chosen = [e for e in errors if e.outline == outline and e.pose.spacing_mm == spacing]
                if chosen:
                    lines.append(f"{outline:18}{plane:>11} " + "".join(_biases(chosen, plane, t) for t in TILTS_DEG))
    return lines


def _row(outline: str, errors: Sequence[BodyError]) -> str:
    heights, wedges = _heights(errors), np.array([e.wedge_deg for e in errors])
    by_place = np.abs(heights).mean(axis=0)
    return (
        f"{outline:18}{len(errors):>4}{by_place[0]:>8.2f}{by_place[1]:>6.2f}{by_place[2]:>6.2f}"
        f"{np.abs(heights).mean():>6.2f}{np.abs(heights).max():>9.2f}{heights.mean():>+7.2f}"
        f"{np.abs(wedges).mean():>11.2f}{wedges.mean():>+7.2f}{sum(e.held for e in errors) / heights.size:>9.0%}"
    )


def _biases(errors: Sequence[BodyError], plane: Plane, tilt_deg: float) -> str:
    at = [e for e in errors if e.pose.tilt_deg == tilt_deg and (e.pose.plane == plane or not tilt_deg)]
    if not at:
        return f"{'-':>14}"
    return f"{_heights(at).mean():>+8.2f} |{np.mean([e.wedge_deg for e in at]):>+5.2f}"


def _heights(errors: Sequence[BodyError]) -> FloatArray:
    """Errors of the heights (n, 3) in mm."""
    return np.array([e.heights_mm for e in errors])
