"""Centroids of VerSe beside its masks: a check that a mask and its names belong together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.errors import UnreadableError
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Mask
from vertecast.lab.evaluation.maps.instances import centroids_lps_mm

REACH_MM: Final = 30.0
"""VerSe marks the middle of the body; the middle of a whole vertebra lies up to so far behind it."""

_RAS: Final = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1), "I": (2, -1), "S": (2, 1)}


def read_centroids(path: Path, mask: Mask) -> dict[int, FloatArray]:
    """Centroids in LPS mm by number of the map.

    The file holds voxel coordinates in an image whose axes run as its "direction" says (Sekuboyina et al., VerSe 2020).

    Raises:
        UnreadableError: It is damaged.
    """
    try:
        head, *points = json.loads(path.read_text(encoding="utf-8"))
        voxels = {int(one["label"]): np.array([float(one[axis]) for axis in "XYZ"]) for one in points if "label" in one}
        lps_from_index = _reoriented(mask, [str(letter) for letter in head["direction"]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableError(f"{path}: is no list of centroids ({type(error).__name__}); fetch it again") from error
    return {number: geometry.apply(lps_from_index, index) for number, index in voxels.items()}


def check_centroids(path: Path, mask: Mask) -> None:
    """Compare the centroids of a file with the map that they belong to.

    Args:
        path: The file of centroids.
        mask: The map, in its own numbers.

    Raises:
        UnreadableError: A centroid lies elsewhere than its vertebra: the two are not of one image.
    """
    middles_lps_mm = centroids_lps_mm(np.asarray(mask.labels, dtype=np.uint8), mask.lps_from_index)
    for number, point in read_centroids(path, mask).items():
        if number in middles_lps_mm:
            distance = float(np.linalg.norm(point - middles_lps_mm[number]))
            if distance > REACH_MM:
                raise UnreadableError(
                    f"{path}: the centroid of {number} lies {distance:.0f} mm from it in the mask; "
                    "the two are not of one image, or the mask was turned"
                )


def _reoriented(mask: Mask, direction: list[str]) -> FloatArray:
    """Affine to LPS of the map's voxels after its axes were turned as ``direction`` says ("L", "A", "S")."""
    ras = (geometry.LPS_FROM_RAS @ np.asarray(mask.lps_from_index))[:3, :3]
    own = [int(axis) for axis in _closest_axes(ras)]
    columns: Any = np.zeros((4, 4))
    columns[3, 3] = 1.0
    for new, letter in enumerate(direction):
        axis, sign = _RAS[letter]
        old = own.index(axis)
        same = np.sign(ras[axis, old]) == sign
        columns[old, new] = 1.0 if same else -1.0
        columns[old, 3] = 0.0 if same else mask.labels.shape[old] - 1
    return np.asarray(np.asarray(mask.lps_from_index) @ columns)


def _closest_axes(ras: FloatArray) -> FloatArray:
    """Patient axis that each index axis runs along, each used once."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-np.abs(ras))
    return np.asarray(rows[np.argsort(columns)])
