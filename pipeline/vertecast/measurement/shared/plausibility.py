"""Whether the sizes that were measured can be a person's: what stands behind every header that gives millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.anatomy import NORMAL_DEPTHS_MM, NORMAL_HEIGHTS_MM, RIM_INSET_FRACTION, Level
from vertecast.core.results import NotMeasured, Quantity, VertebraFinding

REFUSED_SIZE: Final = 1.5
"""A column that is so many times larger, or smaller, than a mean adult's is refused; one less unusual is warned of:
small people and children there are. A choice."""

LEAST_BODIES: Final = 3
"""Intact vertebrae of known level that a patient's size and proportions are told from."""

SIZE_SD: Final = 0.063
"""Of the logarithm of a person's size: 2,116 real columns (VID: gaps of neighbouring centres)."""

PROPORTION_SD: Final = 0.065
"""Of the logarithm of depth over height: 0.98, 0.94 and 1.10 times the normal on expert masks of three people."""

FARTHEST_SD: Final = 4.5
"""A spine beyond this is none of a patient, but of a wrong size of a voxel: 1.34 times as deep for its height. The SDs
rest on few people or on distances alone, and old spines are low and broad."""


def implausible(vertebrae: Sequence[VertebraFinding]) -> str | None:
    """Why the sizes of a column can be nobody's; None where they can, or where too little is known.

    A wrong step between slices changes heights and not depths, a wrong pixel spacing depths and not heights, a wrong
    unit both.

    Args:
        vertebrae: Of one CT, measured.
    """
    sizes = _relative_sizes(vertebrae)
    if sizes is None:
        return None
    height, depth = np.median(sizes, axis=0)
    proportion = float(np.median(sizes[:, 1] - sizes[:, 0]))
    if abs(proportion) > FARTHEST_SD * PROPORTION_SD:
        return (
            f"the vertebral bodies are {np.exp(-proportion):.2f} times as high for their depth as a person's: the step "
            "between slices or the pixel spacing is wrong; give the original images"
        )
    if min(abs(height), abs(depth)) > np.log(REFUSED_SIZE):
        return f"{_size_text(sizes)}: the size of a voxel or the levels are wrong, or this is no adult"
    return None


def unusual_size(vertebrae: Sequence[VertebraFinding]) -> str | None:
    """A warning where a column is smaller or larger than adults are, but may be a person's; None else."""
    sizes = _relative_sizes(vertebrae)
    if sizes is None or np.abs(np.median(sizes, axis=0)).min() <= FARTHEST_SD * SIZE_SD:
        return None
    return f"{_size_text(sizes)}: if this is an adult, the size of a voxel or the levels may be wrong"


def _relative_sizes(vertebrae: Sequence[VertebraFinding]) -> npt.NDArray[np.float64] | None:
    """(n, 2) logarithms of heights and depths over the normal ones; None of too few bodies."""
    sizes = [one for one in map(_relative_size, vertebrae) if one is not None]
    return np.array(sizes) if len(sizes) >= LEAST_BODIES else None


def _size_text(sizes: npt.NDArray[np.float64]) -> str:
    height, depth = np.exp(np.median(sizes, axis=0))
    return f"the vertebral bodies are {height:.2f} times as high and {depth:.2f} times as deep as a mean adult's"


def _relative_size(vertebra: VertebraFinding) -> tuple[float, float] | None:
    """Logarithms of height and depth over the normal ones; None for a body that is no witness."""
    points, level = vertebra.six_points_lps_mm, vertebra.level
    is_intact = vertebra.complete and not vertebra.treated and vertebra.genant_grade == 0
    if not is_intact or level not in NORMAL_HEIGHTS_MM or Level[level] < Level.T1:
        return None
    if points is None or isinstance(points, NotMeasured):
        return None
    heights = [height.value for height in vertebra.heights.values() if isinstance(height, Quantity)]
    plates = [np.subtract(plate["anterior"], plate["posterior"]) for plate in points.values()]
    depth = np.mean([np.linalg.norm(plate) for plate in plates]) / (1 - 2 * RIM_INSET_FRACTION)
    return (
        float(np.log(np.mean(heights) / np.mean(NORMAL_HEIGHTS_MM[level]))),
        float(np.log(depth / NORMAL_DEPTHS_MM[level])),
    )
