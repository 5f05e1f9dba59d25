"""What is known of a simulated scan: the label map on the acquired grid and the truth as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import (
    CEMENT_INSIDE_LABEL,
    CEMENT_LEAKED_LABEL,
    METAL_LABEL,
    POSTERIOR_LABEL_OFFSET,
    Level,
    Structure,
)
from vertecast.core.images import Mask, Volume
from vertecast.lab.simulation.patient.spine import Vertebra
from vertecast.lab.simulation.patient.tissue import Phantom
from vertecast.lab.simulation.treatment.cement import Treatment, cement_fraction, leak_fraction
from vertecast.lab.simulation.treatment.hardware import metal_fraction

if TYPE_CHECKING:
    from vertecast.lab.simulation.ct.scans import SimulatedCase, SimulatedScan

TRUTH_VERSION: Final = "1"


def label_map(scan: SimulatedScan) -> Mask:
    """Labels of ``labels_<n>.nii.gz`` on the scan's grid: bodies, posterior elements, S1, cement, metal.

    Cement lies over bone and metal over cement; each holds the voxels of which it covers half or more.
    """
    phantom = scan.phantom
    numbers = np.array([0, *(int(v.level) for v in phantom.spine.vertebrae)], dtype=np.uint8)[phantom.instance]
    bones = np.where(phantom.structure == Structure.BODY, numbers, 0)
    posterior = (phantom.structure == Structure.POSTERIOR) & (numbers > 0)
    bones[posterior] = numbers[posterior] + POSTERIOR_LABEL_OFFSET
    bones[phantom.structure == Structure.SACRUM] = Level.S1
    volume = scan.volume
    source = scan.lps_from_phantom_lps @ phantom.lps_from_index
    labels = geometry.resample(bones, source, volume.lps_from_index, volume.shape, order=0).astype(np.uint8)
    for fraction, label in (
        (cement_fraction(phantom, scan.treatments), CEMENT_INSIDE_LABEL),
        (leak_fraction(phantom, scan.treatments), CEMENT_LEAKED_LABEL),
        (metal_fraction(phantom, scan.hardware), METAL_LABEL),
    ):
        if fraction.any():
            covered = geometry.resample(fraction, source, volume.lps_from_index, volume.shape) >= 0.5
            labels[covered] = label
    return Mask(labels=labels, lps_from_index=volume.lps_from_index)


def truth(case: SimulatedCase, scan: SimulatedScan) -> dict[str, Any]:
    """The truth of one scan with the keys of ``report.json``; lengths in mm, angles in degrees, volumes in mL."""
    vertebrae = scan.phantom.spine.vertebrae
    treated = {t.vertebra_index for t in scan.treatments}
    return {
        "truth_version": TRUTH_VERSION,
        "simulated": True,
        "seed": case.seed,
        "study_instance_uid": scan.study_instance_uid,
        "series_instance_uid": scan.series_instance_uid,
        "phase": scan.phase,
        "acquisition": asdict(scan.settings),
        "groups": {
            "sex": scan.phantom.spine.sex,
            "age": round(scan.phantom.spine.age_years),
            "kernel": scan.settings.kernel,
        },
        "vertebrae": [
            _vertebra_truth(v, scan, treated=n in treated) for n, v in enumerate(vertebrae) if _in_view(v, scan)
        ],
        "angles": list(_local_kyphoses(scan)),
        "cement": [_cement_truth(scan.phantom, scan, t) for t in scan.treatments],
        "leaks": [leak for t in scan.treatments for leak in _leak_truths(scan.phantom, scan, t)],
        "hardware": [
            {
                "kind": item.kind,
                "material": item.material,
                "volume_ml": item.deposit.volume_ml(scan.phantom.lps_from_index),
            }
            for item in scan.hardware
        ],
    }


def _vertebra_truth(vertebra: Vertebra, scan: SimulatedScan, *, treated: bool) -> dict[str, Any]:
    heights, intact = vertebra.shape.heights_mm(), vertebra.intact.heights_mm()
    points = vertebra.six_points_lps_mm()
    move = scan.lps_from_phantom_lps
    return {
        "level": vertebra.level.name,
        "complete": bool(body_points_inside(vertebra, scan).all()),
        "treated": treated,
        "center_lps_mm": geometry.apply(move, vertebra.lps_from_local[:3, 3]).tolist(),
        "six_points_lps_mm": {
            plate: {place: geometry.apply(move, point).tolist() for place, point in places.items()}
            for plate, places in points.items()
        },
        "heights": dict(heights),
        "intact_heights": dict(intact),
        "ratios": {
            "wedge": heights["anterior"] / heights["posterior"],
            "biconcave": heights["middle"] / heights["posterior"],
            "crush": heights["posterior"] / intact["posterior"],
        },
        "height_loss": max(0.0, *(1 - heights[place] / intact[place] for place in heights)),
        "wedge_angle": vertebra.shape.wedge_angle_deg(),
        "deformity": vertebra.deformity,
        "genant_grade": vertebra.grade,
    }


def _local_kyphoses(scan: SimulatedScan) -> Iterator[dict[str, Any]]:
    """Superior endplate of the body above to inferior endplate of the body below, at every body between two in view."""
    vertebrae = scan.phantom.spine.vertebrae
    for above, own, below in zip(vertebrae, vertebrae[1:], vertebrae[2:], strict=False):
        if all(_in_view(vertebra, scan) for vertebra in (above, own, below)):
            yield {
                "name": f"local kyphosis {own.level.name}",
                "upper": f"{above.level.name} superior",
                "lower": f"{below.level.name} inferior",
                "angle": _cobb_deg(above, below),
            }


def _cobb_deg(upper: Vertebra, lower: Vertebra) -> float:
    """Angle between endplates in the sagittal plane of the two bodies, positive for kyphosis."""
    plates = upper.six_points_lps_mm()["superior"], lower.six_points_lps_mm()["inferior"]
    backs = [np.subtract(plate["posterior"], plate["anterior"]) for plate in plates]
    left = geometry.unit(upper.lps_from_local[:3, 0] + lower.lps_from_local[:3, 0])
    first, second = (back - np.dot(back, left) * left for back in backs)
    return float(np.degrees(np.arctan2(np.dot(np.cross(second, first), left), np.dot(first, second))))


def _cement_truth(phantom: Phantom, scan: SimulatedScan, treatment: Treatment) -> Mapping[str, Any]:
    index = treatment.vertebra_index
    body = (phantom.structure == Structure.BODY) & (phantom.instance == index + 1)
    body_ml = float(body.sum()) * geometry.voxel_volume_mm3(phantom.lps_from_index) / 1000
    return {
        "level": phantom.spine.vertebrae[index].level.name,
        "volume_ml": treatment.volume_inside_ml + sum(leak.volume_ml for leak in treatment.leaks),
        "volume_inside_ml": treatment.volume_inside_ml,
        "fill_fraction": treatment.volume_inside_ml / body_ml,
        "pattern": treatment.pattern,
        "approach": treatment.approach,
        "needle_tips_lps_mm": geometry.apply(scan.lps_from_phantom_lps, treatment.needle_tips_lps_mm).tolist(),
    }


def _leak_truths(phantom: Phantom, scan: SimulatedScan, treatment: Treatment) -> list[dict[str, Any]]:
    lps_from_index = scan.lps_from_phantom_lps @ phantom.lps_from_index
    return [
        {
            "level": phantom.spine.vertebrae[treatment.vertebra_index].level.name,
            "compartment": str(leak.compartment),
            "yeom_type": None if leak.yeom_type is None else str(leak.yeom_type),
            "volume_ml": leak.volume_ml,
            "center_lps_mm": geometry.apply(lps_from_index, leak.voxels).mean(axis=0).tolist(),
        }
        for leak in treatment.leaks
    ]


def body_points_inside(vertebra: Vertebra, scan: SimulatedScan) -> npt.NDArray[np.bool_]:
    """For points (n,) around a body's outline: do they lie in the scanned field?"""
    shape = vertebra.shape
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    x, y = shape.width_mm / 2 * np.cos(angle), shape.depth_mm / 2 * np.sin(angle)
    rings = [np.column_stack([x, y, plate(x, y)]) for plate in (shape.superior_mm, shape.inferior_mm)]
    points = geometry.apply(scan.lps_from_phantom_lps @ vertebra.lps_from_local, np.vstack(rings))
    return _inside(scan.volume, points, round_field=scan.settings.round_field)


def _in_view(vertebra: Vertebra, scan: SimulatedScan) -> bool:
    """True when some part of the body was scanned."""
    return bool(body_points_inside(vertebra, scan).any())


def _inside(volume: Volume, points_lps_mm: geometry.FloatArray, *, round_field: bool) -> npt.NDArray[np.bool_]:
    index = geometry.apply(geometry.inverse(volume.lps_from_index), points_lps_mm)
    inside = np.all((index >= 0) & (index <= np.array(volume.shape) - 1), axis=-1)
    if round_field:
        middle = (np.array(volume.shape[:2]) - 1) / 2
        inside &= np.hypot(*(index[..., :2] - middle).T) <= volume.shape[0] / 2
    return np.asarray(inside)
