"""Integrals along the rays of a coarse picture, and how they are carried onto a detector's finer pixels.

A patient drawn with voxels above a millimetre holds no finer detail, so its rays are cast a millimetre apart and the
integrals interpolated smoothly: that is many times faster, and moves a part of the patient by any share of a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.patient.tissue import Phantom
from vertecast.lab.simulation.projection.rays import Camera, FloatImage, attenuation_parts, line_integrals
from vertecast.lab.simulation.treatment.growth import Deposit

MARROW_HU: Final = -25.0
"""Half red (about 50), half yellow marrow (about -100); what exceeds it in a bone is mineral, in spongy bone too."""

MINERAL_SHARE: Final[Mapping[Structure, float]] = {
    Structure.BODY: 1.0,
    Structure.SACRUM: 0.8,
    Structure.OTHER_BONE: 0.8,
    Structure.RIB: 0.6,
    Structure.POSTERIOR: 0.5,
}
"""Share of the drawn mineral that films show. Arches and ribs are drawn as one solid with a thick cortex, which CT at
these voxels needs; on a film from the front they would outshine the bodies, which hold most of a vertebra's mineral."""


def patient_attenuation(phantom: Phantom) -> npt.NDArray[np.float32]:
    """What attenuates like water and like bone (2, i, j, k), in units of water, of a patient whose bones are known.

    Unlike in a CT volume without labels (`attenuation_parts`), spongy bone below the threshold counts as well.
    """
    parts = attenuation_parts(phantom.hu)
    for structure, share in MINERAL_SHARE.items():
        own = phantom.structure == structure
        hu = phantom.hu[own]
        mineral = np.clip(hu - MARROW_HU, 0, None)
        parts[0][own] = np.clip(hu - mineral + 1000, 0, None) / 1000
        parts[1][own] = share * mineral / 1000
    return parts


def coarse_camera(camera: Camera, pixel_mm: float, *, margin_mm: float = 0.0) -> Camera:
    """The same camera with coarser pixels and a wider picture, round the same middle."""
    rows, columns = (int(np.ceil((n * camera.pixel_mm + 2 * margin_mm) / pixel_mm)) + 4 for n in camera.shape)
    return replace(camera, pixel_mm=pixel_mm, shape=(rows, columns))


def resampled(
    values: FloatImage, source: Camera, target: Camera, *, shift_px: npt.ArrayLike = (0.0, 0.0)
) -> FloatImage:
    """Carry integrals from one picture to another of the same camera, by cubic convolution; zero outside the source.

    Args:
        values: Integrals (rows, columns) of the source.
        source: Coarse camera.
        target: Camera with the same isocentre, directions and distance.
        shift_px: How far the content moves (column, row), in pixels of the target.

    Returns:
        Integrals (rows, columns) of the target.
    """
    step = target.pixel_mm / source.pixel_mm
    shift = np.asarray(shift_px, dtype=np.float64)[::-1]
    down, across = (
        _cubic_weights((m - 1) / 2 + step * (np.arange(n) - (n - 1) / 2 - s), m)
        for m, n, s in zip(source.shape, target.shape, shift, strict=True)
    )
    return np.maximum(down @ values @ across.T, 0.0)  # a cubic swings a little below zero beside metal


def _cubic_weights(at: FloatArray, count: int) -> npt.NDArray[np.float32]:
    """Weights (n, count) of samples 0, 1, ... for the values between them at n places (Keys, IEEE Trans ASSP 1981)."""
    first = np.floor(at).astype(int)
    weights = np.zeros((len(at), count), dtype=np.float32)
    for neighbour in (-1, 0, 1, 2):
        column = first + neighbour
        t = np.abs(at - column)
        weight = np.where(t < 1, (1.5 * t - 2.5) * t**2 + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2)
        inside = np.flatnonzero((column >= 0) & (column < count))
        weights[inside, column[inside]] = weight[inside]
    return weights


def deposit_integrals(phantom: Phantom, deposits: Sequence[Deposit], view: Camera) -> npt.NDArray[np.float32]:
    """Length of ray (n, rows, columns) in mm in each of n deposits of cement or metal on the phantom's grid."""
    if not deposits:
        return np.zeros((0, *view.shape), dtype=np.float32)
    voxels = np.concatenate([deposit.voxels for deposit in deposits])
    low, high = voxels.min(axis=0) - 1, voxels.max(axis=0) + 2
    parts = np.zeros((len(deposits), *(high - low)), dtype=np.float32)
    for part, deposit in zip(parts, deposits, strict=True):
        part[tuple((deposit.voxels - low).T)] = deposit.fraction
    return line_integrals(parts, phantom.lps_from_index @ _translation(low), view)


def _translation(index: npt.NDArray[np.integer]) -> FloatArray:
    return geometry.affine(np.eye(3), index.astype(np.float64))
