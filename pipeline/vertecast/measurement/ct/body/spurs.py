"""Crossings of an endplate that belong to a spur (osteophyte) of the rim and say nothing of the endplate."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.geometry import FloatArray
from vertecast.measurement.ct.body.crossings import LINE_SPACING_MM
from vertecast.measurement.ct.body.fitting import redescending_solve

RIM_FROM: Final = 0.55
"""Spurs grow from the rim: within this share of the half extents nothing is taken for one. A choice, as the next two;
with rises of 0.6 to 1 mm and 3 to 4 SD the errors on painted outlines differ by 0.02 mm."""

LEAST_RISE_MM: Final = 1.0
"""A spur rises so much above the endplate that its neighbours show; less is the unevenness of a rim."""

RISE_SD: Final = 3.0
"""It also stands out from the scatter of the crossings by so many SD."""

REACH_MM: Final = 1.5 * LINE_SPACING_MM
"""Crossings beside a spur lie on its slope: the next line and the one across."""


def on_spurs(x: FloatArray, y: FloatArray, outward_mm: FloatArray, half_extent_mm: FloatArray) -> npt.NDArray[np.bool_]:
    """Which crossings lie on a spur or on its slope.

    The endplate is taken as a dome with a rim that may be steep and higher on one side, the same all round but for
    that; what rises above it at the rim in one place is a spur. A spur never lies below.

    Args:
        x, y: Of the crossings in the body's own plane, mm (n,).
        outward_mm: Their height (n,), growing away from the body's middle.
        half_extent_mm: Of the body's footprint (2,).
    """
    xs, ys = x / half_extent_mm[0], y / half_extent_mm[1]
    square = xs**2 + ys**2
    dome = [np.ones_like(xs), xs, ys, xs**2, xs * ys, ys**2, square**2, square**3]
    design = np.stack(dome, axis=-1)
    coefficients, scatter = redescending_solve(design, outward_mm)
    rise = outward_mm - design @ coefficients
    spur: npt.NDArray[np.bool_] = (square > RIM_FROM**2) & (rise > max(LEAST_RISE_MM, RISE_SD * scatter))
    if not spur.any():
        return spur
    far = (x[:, None] - x[spur]) ** 2 + (y[:, None] - y[spur]) ** 2 > REACH_MM**2
    return np.asarray(~far.all(axis=1))
