"""Smooth surfaces through the crossings of one endplate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.geometry import FloatArray
from vertecast.measurement.ct.body.crossings import LINE_SPACING_MM, Lines
from vertecast.measurement.ct.body.fitting import monomials, powers, robust_solve, roughness

SURFACE_DEGREE: Final = 6
SURFACE_STIFFNESS: Final = 5e-4
"""Weight of the mean squared second derivatives (mm2, in coordinates scaled to the body's half extents) against that
of the residuals: a dome of 3 mm costs as much as residuals of 0.2 mm. Without it the polynomial curls up at the rim,
where few lines hold it; with four times as much small bodies with a deep dome are flattened."""

SURFACE_ROUGHNESS: Final = roughness(SURFACE_DEGREE)
GRID_SHARE_OF_ERROR: Final = 0.08
"""Part of the voxel's extent that stays as a common error (1 SD) of a whole endplate; found on phantoms of known
heights with voxels of 0.7 to 3 mm (tests/measurement)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """A smooth endplate ``z(x, y)`` in mm over the body's own plane.

    Attributes:
        coefficients: Of the monomials up to `SURFACE_DEGREE` in the scaled coordinates.
        scale_mm: Half extents (2,) that scale x and y to about -1 to 1.
        residual_mm: Robust scatter (1 SD) of the crossings about the surface.
        sd_mm: Standard deviation of the surface's height at one of the six points.
    """

    coefficients: FloatArray
    scale_mm: FloatArray
    residual_mm: float
    sd_mm: float

    def __call__(self, x: npt.ArrayLike, y: npt.ArrayLike) -> FloatArray:
        """Height z (mm) at x, y (mm, any equal shapes)."""
        xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        return np.asarray(monomials(xs / self.scale_mm[0], ys / self.scale_mm[1], SURFACE_DEGREE) @ self.coefficients)


def fit_surface(
    lines: Lines, z: FloatArray, voxel_extent_mm: float, without: npt.NDArray[np.bool_] | None = None
) -> Surface:
    """Smooth surface through the crossings; those ``without`` are left out, and the surface carried on over them."""
    if without is not None and without.any():
        lines, z = replace(lines, x=lines.x[~without], y=lines.y[~without]), z[~without]
    plane_design = np.stack([lines.x, lines.y, np.ones_like(z)], axis=1)
    plane, _ = robust_solve(plane_design, z)
    design = monomials(lines.x / lines.half_extent_mm[0], lines.y / lines.half_extent_mm[1], SURFACE_DEGREE)
    coefficients, scatter = robust_solve(design, z - plane_design @ plane, SURFACE_STIFFNESS * SURFACE_ROUGHNESS)
    terms = powers(SURFACE_DEGREE)
    for power, value in zip(((1, 0), (0, 1), (0, 0)), plane, strict=True):
        scale = lines.half_extent_mm[0] ** power[0] * lines.half_extent_mm[1] ** power[1]
        coefficients[terms.index(power)] += value * scale
    independent = max(len(z) * LINE_SPACING_MM**2 / max(voxel_extent_mm, LINE_SPACING_MM) ** 2, len(terms) + 1.0)
    sd = float(np.hypot(scatter * np.sqrt(len(terms) / independent), GRID_SHARE_OF_ERROR * voxel_extent_mm))
    return Surface(coefficients=coefficients, scale_mm=lines.half_extent_mm, residual_mm=scatter, sd_mm=sd)
