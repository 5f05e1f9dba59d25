"""The parametric spine: analytic vertebrae with exact heights, posed along a curved column.

Every vertebra has a local frame in mm: origin at the body's centre, x to the left, y to posterior, z to superior.
The endplates are functions ``z(x, y)``, the wall is a kidney-shaped superellipse with a waist; so the six points, the
heights and the angles are known exactly, whatever grid the patient is later drawn on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import RIM_INSET_FRACTION, Level
from vertecast.core.results import Endplate, Place, SixPoints

Array = npt.NDArray[np.floating]

RIM_FILLET_MM: Final = 1.2
"""Radius over which wall and endplate are rounded into each other; smaller than the inset of the six points."""


RIM_FLATNESS: Final = 1.1
"""Above 1 the hollow of an endplate meets its rim without an edge; the more, the wider the rim. A choice."""


def _bump(radius: Array, exponent: float) -> Array:
    """Share of an endplate's hollow: 1 in the middle, 0 from the rim (radius 1) on, flat at both like a real one."""
    return np.asarray(np.clip(1 - radius**exponent, 0.0, None) ** RIM_FLATNESS)


def rim_heights_mm(
    anterior_mm: float, middle_mm: float, posterior_mm: float, bump_exponent: float
) -> tuple[float, float]:
    """Heights at the anterior and the posterior wall of a body with these heights at the six points."""
    bump = _bump(np.array(1 - 2 * RIM_INSET_FRACTION), bump_exponent)
    rim = middle_mm + ((anterior_mm + posterior_mm) / 2 - middle_mm) / (1 - float(bump))
    half_wedge = (anterior_mm - posterior_mm) / 2 / (1 - 2 * RIM_INSET_FRACTION)
    return rim + half_wedge, rim - half_wedge


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyShape:
    """One vertebral body in its local frame (mm).

    Heights are those at the anterior wall, the centre and the posterior wall of the mid-sagittal plane.

    Attributes:
        width_mm: Left-right width at the endplates.
        depth_mm: Antero-posterior depth of the section, before the posterior notch.
        anterior_mm, middle_mm, posterior_mm: Heights between the endplates.
        superior_share: Share of the wedge and of the concavity that the superior endplate takes, 0 to 1.
        bump_exponent: Shape of the endplate's concavity, 2 (bowl) to 6 (flat floor with steep rim).
        waist: Share by which the mid-height section is narrower than the endplates.
        notch: Depth of the posterior concavity of the section as a share of the half depth.
        tilt_coronal: Slope dz/dx of the superior endplate against the inferior one.
        exponent: Superellipse exponent of the section.
    """

    width_mm: float
    depth_mm: float
    anterior_mm: float
    middle_mm: float
    posterior_mm: float
    superior_share: float = 0.5
    bump_exponent: float = 2.5
    waist: float = 0.12
    notch: float = 0.12
    tilt_coronal: float = 0.0
    exponent: float = 2.4

    @property
    def anterior_wall_y_mm(self) -> float:
        """y of the anterior wall at the endplates in the mid-sagittal plane."""
        return -self.depth_mm / 2

    @property
    def posterior_wall_y_mm(self) -> float:
        """y of the posterior wall at the endplates in the mid-sagittal plane."""
        return self.depth_mm / 2 / (1 + self.notch)

    def _fractions(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Share of the way from the posterior to the anterior wall, and the concavity bump (1 centre, 0 rim)."""
        back, front = self.posterior_wall_y_mm, self.anterior_wall_y_mm
        t = (back - y) / (back - front)
        radius = np.sqrt((2 * x / self.width_mm) ** 2 + (2 * t - 1) ** 2)
        return t, _bump(radius, self.bump_exponent)

    def _endplate(self, x: Array, y: Array, share: float) -> Array:
        t, bump = self._fractions(x, y)
        mean = (self.anterior_mm + self.posterior_mm) / 2
        sag = self.middle_mm - mean
        tilt = (self.anterior_mm - self.posterior_mm) * (t - 0.5)
        return np.asarray(mean / 2 + share * (tilt + sag * bump + self.tilt_coronal * x))

    def superior_mm(self, x: Array, y: Array) -> Array:
        """Height z of the superior endplate over (x, y)."""
        return self._endplate(x, y, self.superior_share)

    def inferior_mm(self, x: Array, y: Array) -> Array:
        """Height z of the inferior endplate over (x, y)."""
        return -self._endplate(x, y, 1 - self.superior_share)

    def wall_distance_mm(self, x: Array, y: Array, z: Array) -> Array:
        """Approximate distance to the lateral wall, positive inside."""
        top, bottom = self.superior_mm(x, y), self.inferior_mm(x, y)
        height = np.maximum(top - bottom, 1.0)
        z_share = np.clip((2 * z - top - bottom) / height, -1.0, 1.0)
        scale = 1 - self.waist * (1 - z_share**2)
        xn = 2 * np.abs(x) / (self.width_mm * scale)
        yn = 2 * y / (self.depth_mm * scale)
        yn = np.where(yn > 0, yn * (1 + self.notch * np.exp(-((xn / 0.5) ** 2))), yn)
        rho = (xn**self.exponent + np.abs(yn) ** self.exponent) ** (1 / self.exponent)
        radius = np.sqrt(x * x + y * y)
        return np.where(rho > 0.05, (1 - rho) * radius / np.maximum(rho, 0.05), self.depth_mm / 2)

    def signed_distance_mm(self, x: Array, y: Array, z: Array) -> Array:
        """Approximate signed distance to the surface, positive inside; exactly 0 on the endplates inside the rim."""
        plate = np.minimum(self.superior_mm(x, y) - z, z - self.inferior_mm(x, y))
        wall = self.wall_distance_mm(x, y, z)
        blend = np.clip(RIM_FILLET_MM - np.abs(plate - wall), 0.0, None)
        return np.minimum(plate, wall) - blend**2 / (4 * RIM_FILLET_MM)

    def six_points_local_mm(self) -> dict[Endplate, dict[Place, tuple[float, float, float]]]:
        """The exact six points in the local frame."""
        depth = self.posterior_wall_y_mm - self.anterior_wall_y_mm
        places: dict[Place, float] = {
            "anterior": self.anterior_wall_y_mm + RIM_INSET_FRACTION * depth,
            "middle": (self.anterior_wall_y_mm + self.posterior_wall_y_mm) / 2,
            "posterior": self.posterior_wall_y_mm - RIM_INSET_FRACTION * depth,
        }
        zero = np.zeros(1)
        result: dict[Endplate, dict[Place, tuple[float, float, float]]] = {"superior": {}, "inferior": {}}
        for place, y in places.items():
            at = np.array([y])
            result["superior"][place] = (0.0, y, float(self.superior_mm(zero, at)[0]))
            result["inferior"][place] = (0.0, y, float(self.inferior_mm(zero, at)[0]))
        return result

    def heights_mm(self) -> dict[Place, float]:
        """The exact heights at the six points (mm)."""
        points = self.six_points_local_mm()
        return {p: points["superior"][p][2] - points["inferior"][p][2] for p in points["superior"]}

    def wedge_angle_deg(self) -> float:
        """Angle between the lines through the outer points of the two endplates; positive when the front is lower."""
        points = self.six_points_local_mm()
        slopes = []
        for plate in (points["superior"], points["inferior"]):
            (_, y0, z0), (_, y1, z1) = plate["anterior"], plate["posterior"]
            slopes.append(np.arctan2(z1 - z0, y1 - y0))
        return float(np.degrees(slopes[0] - slopes[1]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vertebra:
    """A posed vertebra.

    Attributes:
        intact: The shape it had before it broke, the same object where it did not.
        grade, deformity: As it is now.
        regained_from: Grade that it had before it regained height: what a fracture leaves in the bone stays to be seen.
        arch_posterior_mm: Posterior height of the body when its arch was formed, where it is another one now: an arch
            keeps its form when the body changes.
    """

    level: Level
    lps_from_local: geometry.FloatArray
    shape: BodyShape
    intact: BodyShape
    grade: int = 0
    deformity: str = "none"
    regained_from: int = 0
    arch_posterior_mm: float | None = None
    has_ribs: bool = False
    canal_width_mm: float = 23.0
    canal_depth_mm: float = 17.0
    pedicle_width_mm: float = 8.0
    pedicle_height_mm: float = 14.0

    @property
    def worst_grade(self) -> int:
        """The highest grade that it ever had."""
        return max(self.grade, self.regained_from)

    def six_points_lps_mm(self) -> SixPoints:
        """The exact six points in LPS mm."""
        return {
            plate: {place: _point(geometry.apply(self.lps_from_local, xyz)) for place, xyz in points.items()}
            for plate, points in self.shape.six_points_local_mm().items()
        }


def _point(xyz: Array) -> tuple[float, float, float]:
    return float(xyz[0]), float(xyz[1]), float(xyz[2])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spine:
    """A column from its top vertebra down to the last one above the sacrum, cranial first, with the sacrum's pose.

    ``lps_from_sacrum``: frame at the centre of the S1 endplate, z along the endplate's normal (cranial).
    """

    vertebrae: tuple[Vertebra, ...]
    lps_from_sacrum: geometry.FloatArray
    sex: str
    age_years: float
    size: float
