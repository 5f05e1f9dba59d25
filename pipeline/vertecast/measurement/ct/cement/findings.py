"""The cement of each treated vertebra: volumes, fill, pattern, contact with the endplates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation, Volume
from vertecast.core.results import CementFinding, LevelAssignment, Measured, NotMeasured, Quantity, Third
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.cement.inside import cement_by_third, gas_beside
from vertecast.measurement.ct.cement.map import CementMap

CONTACT_MM: Final = 1.0
CONTACT_VOXELS: Final = 3
MIDLINE_SHARE: Final = 0.1
COMPACT_DEPTH_MM: Final = 2.0
COMPACT_RATIO: Final = 0.45
"""Compact cement keeps at least this share of the deep part that a ball of its volume has; calibrated on phantoms."""


def measure_cement(
    volume: Volume,
    found: CementMap,
    segmentation: Segmentation,
    bodies: Sequence[BodyGeometry | NotMeasured],
    levels: Sequence[LevelAssignment],
    *,
    body_volumes: Sequence[Measured],
    series_instance_uid: str,
) -> tuple[CementFinding, ...]:
    """Measure the cement of every treated vertebra.

    Args:
        volume: Native CT.
        found: Cement on its grid.
        segmentation: What the network found.
        bodies: Geometry of every vertebra, or why there is none.
        levels: One per vertebra.
        body_volumes: Volume of every body (mL).
        series_instance_uid: Of the CT.

    Returns:
        One finding per treated vertebra; ids are C1, C2, ... from cranial to caudal.
    """
    findings = []
    for number, instance in enumerate(sorted(found.treated), start=1):
        own = found.vertebra == instance
        inside = own & (found.piece == 0)
        body = bodies[instance - 1]
        volume_inside = found.volume_ml(inside)
        contact: Literal["none", "superior", "inferior", "both"] | NotMeasured
        midline: bool | NotMeasured
        filled: Mapping[Third, Measured] | NotMeasured
        lies: Mapping[Third, Measured] | NotMeasured
        if isinstance(body, NotMeasured):
            contact, midline, filled, lies = body, body, body, body
        else:
            points = geometry.apply(found.lps_from_index, np.argwhere(inside & found.mask))
            local = body.local_mm(points)
            contact, midline = _contact(local, body), _crosses_midline(local)
            filled, lies = cement_by_third(
                found, inside, segmentation, body, instance=instance, body_volume=body_volumes[instance - 1]
            )
        findings.append(
            CementFinding(
                id=f"C{number}",
                series_instance_uid=series_instance_uid,
                level=levels[instance - 1].name,
                volume=found.volume_ml(own),
                volume_inside=volume_inside,
                fill_fraction=_fill(volume_inside, body_volumes[instance - 1]),
                pattern=_pattern(found, inside & found.mask),
                endplate_contact=contact,
                crosses_midline=midline,
                thirds_filled=filled,
                thirds_of_cement=lies,
                gas_beside=gas_beside(volume, found, own),
                confidence=segmentation.instance_confidence[instance - 1],
            )
        )
    return tuple(findings)


def _fill(inside: Quantity, body: Measured) -> Measured:
    if isinstance(body, NotMeasured):
        return body
    if body.value <= 0:
        return NotMeasured(reason="no body volume")
    share = inside.value / body.value
    error = float(np.hypot(inside.half_width, share * body.half_width) / body.value)
    return Quantity.around(share, error, "1", least=0.0)


def _contact(local: FloatArray, body: BodyGeometry) -> Literal["none", "superior", "inferior", "both"]:
    x, y, z = local.T
    top = bool(np.count_nonzero(z >= body.superior(x, y) - CONTACT_MM) >= CONTACT_VOXELS)
    bottom = bool(np.count_nonzero(z <= body.inferior(x, y) + CONTACT_MM) >= CONTACT_VOXELS)
    if top and bottom:
        return "both"
    return "superior" if top else "inferior" if bottom else "none"


def _crosses_midline(local: FloatArray) -> bool:
    left = float(np.mean(local[:, 0] > 0)) if len(local) else 0.0
    return MIDLINE_SHARE <= left <= 1 - MIDLINE_SHARE


def _pattern(found: CementMap, inside: npt.NDArray[np.bool_]) -> Literal["compact", "interdigitated"] | NotMeasured:
    """Compare the share of cement deeper than `COMPACT_DEPTH_MM` with that of a ball of the same volume."""
    spacing = geometry.spacing_mm(found.lps_from_index)
    volume_mm3 = float(inside.sum()) * geometry.voxel_volume_mm3(found.lps_from_index)
    radius = (3 * volume_mm3 / (4 * np.pi)) ** (1 / 3)
    if radius < 2.5 * COMPACT_DEPTH_MM or spacing.max() > COMPACT_DEPTH_MM + 0.5:
        return NotMeasured(reason="too little cement or too coarse an image to tell its pattern")
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing)
    deep = float(np.count_nonzero(depth >= COMPACT_DEPTH_MM)) / float(inside.sum())
    return "compact" if deep >= COMPACT_RATIO * (1 - COMPACT_DEPTH_MM / radius) ** 3 else "interdigitated"
