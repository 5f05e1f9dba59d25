"""What a leak touches: the canal, the disc and the endplate across it; how far it reaches, and where to look for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from vertecast.core import geometry
from vertecast.core.anatomy import Compartment, Structure
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation
from vertecast.core.results import Evidence, Measured, NotMeasured, Quantity
from vertecast.measurement.ct.body.bone import CANAL_SLAB_MM, OUTLINE_ERROR_VOXELS, Z95
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.cement.compartments import facing_endplate_mm, own_endplate_mm
from vertecast.measurement.ct.cement.findings import CONTACT_MM, CONTACT_VOXELS
from vertecast.measurement.ct.cement.map import CementMap

MIN_CANAL_AREA_MM2: Final = 80.0
"""Less is no whole section: the canal has 200 to 300 mm2 (Panjabi, Spine 1991;16:888 and 1992;17:299)."""

CANAL_STEP_MM: Final = 1.0
"""Slabs overlap, so that a flat leak is not halved by the edge between two."""

NO_CANAL: Final = NotMeasured(reason="the canal was not segmented here")
INFERRED_CANAL: Final = NotMeasured(reason="the canal was drawn from the arches round it")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """Where the image comes from: the series and the UID of each slice along the last array axis (may be empty)."""

    series_instance_uid: str
    slice_sop_instance_uids: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CanalVoxels:
    """The canal near the cement: voxel centres (n, 3) in LPS mm and the spacing of their grid.

    ``inferred``: it was drawn from the arches round it, and shows nothing of what fills it.
    """

    points_lps_mm: FloatArray
    spacing_mm: float
    inferred: bool


def canal_near(segmentation: Segmentation, found: CementMap) -> CanalVoxels:
    """The canal as it was segmented, within 40 mm of the cement."""
    corners = geometry.corner_points_lps_mm(found.lps_from_index, found.piece.shape)
    low = geometry.apply(geometry.inverse(segmentation.lps_from_index), corners.min(axis=0) - 40.0)
    high = geometry.apply(geometry.inverse(segmentation.lps_from_index), corners.max(axis=0) + 40.0)
    first = np.maximum(np.floor(low), 0).astype(int)
    last = np.maximum(np.ceil(high), 0).astype(int)
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
    index = np.argwhere(segmentation.structure[box] == Structure.CANAL) + first
    return CanalVoxels(
        points_lps_mm=geometry.apply(segmentation.lps_from_index, index),
        spacing_mm=segmentation.spacing_mm,
        inferred=segmentation.canal_is_inferred,
    )


def farthest(found: CementMap, visible: npt.NDArray[np.intp]) -> Quantity:
    """Largest distance of voxels (n, 3) from the bony outline (mm)."""
    value = float(max(found.outside_mm[tuple(visible.T)].max(), 0.0))
    error = Z95 * 0.3 * float(geometry.spacing_mm(found.lps_from_index).max())
    return Quantity.around(value, error, "mm", least=0.0)


def canal_distance(
    found: CementMap, compartment: Compartment, visible: npt.NDArray[np.intp], canal: CanalVoxels
) -> Measured:
    """Smallest distance of a leak's voxels (n, 3) to the canal (mm), 0 within it."""
    if compartment is Compartment.CANAL:
        return Quantity(value=0.0, unit="mm")
    if not len(canal.points_lps_mm):
        return NO_CANAL
    points, step = geometry.apply(found.lps_from_index, visible), canal.spacing_mm
    value = max(float(cKDTree(canal.points_lps_mm).query(points)[0].min()) - step / 2, 0.0)
    return Quantity.around(value, step, "mm", least=0.0)


def canal_contact(distance: Measured) -> bool | NotMeasured:
    """Whether a leak touches the canal, from its `canal_distance`."""
    if isinstance(distance, NotMeasured):
        return distance
    if distance.value <= 0:
        return True
    if distance.interval95 is not None and distance.interval95[0] <= 0:
        return NotMeasured(reason="too near to the canal to tell")
    return False


def canal_fill(
    found: CementMap, counted: npt.NDArray[np.bool_], canal: CanalVoxels, body: BodyGeometry | NotMeasured
) -> Measured:
    """Share of the canal's cross-section that a leak fills, in the slab where it fills most.

    Slabs of `CANAL_SLAB_MM` are cut across the axis of the body. Cement that is not labelled as canal is added to the
    section: the canal is taken as it was before the leak.

    Args:
        found: Cement on the native grid.
        counted: Voxels of the leak on that grid.
        canal: The canal near it.
        body: Geometry of the vertebra that it comes from.
    """
    if isinstance(body, NotMeasured):
        return body
    if canal.inferred:
        return INFERRED_CANAL
    if not len(canal.points_lps_mm):
        return NO_CANAL
    leak = geometry.apply(found.lps_from_index, np.argwhere(counted))
    share = found.fraction[counted].astype(np.float64) * geometry.voxel_volume_mm3(found.lps_from_index)
    unlabelled = cKDTree(canal.points_lps_mm).query(leak)[0] > canal.spacing_mm * np.sqrt(3) / 2
    heights = body.local_mm(leak)[:, 2]
    edges = np.arange(heights.min() - 2 * CANAL_SLAB_MM, heights.max() + 2 * CANAL_SLAB_MM, CANAL_STEP_MM)

    def area_mm2(z: FloatArray, volume_mm3: FloatArray) -> FloatArray:
        steps, _ = np.histogram(z, bins=edges, weights=volume_mm3)
        width = round(CANAL_SLAB_MM / CANAL_STEP_MM)
        return np.asarray(np.convolve(steps, np.ones(width), mode="valid") / CANAL_SLAB_MM)

    cement = area_mm2(heights, share)
    canal_z = body.local_mm(canal.points_lps_mm)[:, 2]
    whole = area_mm2(canal_z, np.full(len(canal_z), canal.spacing_mm**3))
    whole += area_mm2(heights[unlabelled], share[unlabelled])
    worst = int(np.argmax(cement))
    if whole[worst] < MIN_CANAL_AREA_MM2:
        return NO_CANAL
    value = float(np.clip(cement[worst] / whole[worst], 0.0, 1.0))
    volume = found.volume_ml(counted)
    low, high = volume.interval95 or (volume.value, volume.value)
    leak_error = (high - low) / 2 / max(volume.value, 1e-6)
    edge_mm = Z95 * OUTLINE_ERROR_VOXELS * canal.spacing_mm
    canal_error = edge_mm * 2 * np.sqrt(np.pi / whole[worst])
    error = value * float(np.hypot(leak_error, canal_error))
    return Quantity.around(value, error, "1", least=0.0, most=1.0)


def across_disc(
    found: CementMap,
    visible: npt.NDArray[np.intp],
    side: float,
    body: BodyGeometry | NotMeasured,
    neighbour: BodyGeometry | NotMeasured,
) -> tuple[Measured, bool | NotMeasured]:
    """How far a leak crosses a disc: its share of the disc's height, and whether it touches the endplate across it.

    Args:
        found: Cement on the native grid.
        visible: Voxels (n, 3) of the leak.
        side: +1 for the disc above, -1 for that below.
        body, neighbour: Geometry of the treated body and of the next one on that side.

    Returns:
        The largest share over all lines along the body's axis, and the contact.
    """
    if isinstance(body, NotMeasured):
        return body, body
    if isinstance(neighbour, NotMeasured):
        return neighbour, neighbour
    points = geometry.apply(found.lps_from_index, visible)
    beyond = own_endplate_mm(body, points, side)
    gap = facing_endplate_mm(neighbour, points, side)
    height = np.maximum(beyond + gap, CONTACT_MM)
    half_voxel = 0.5 * float(np.abs(body.lps_from_local[:3, 2] @ found.lps_from_index[:3, :3]).max())
    share = (beyond + half_voxel) / height
    at = int(np.argmax(share))
    value = float(np.clip(share[at], 0.0, 1.0))
    plates = [b.height_sd_mm["middle"] / np.sqrt(2) for b in (body, neighbour)]
    error = float(Z95 * np.hypot(*plates) / height[at])
    crossed = Quantity.around(value, error, "1", least=0.0, most=1.0)
    return crossed, bool(np.count_nonzero(gap <= half_voxel + CONTACT_MM) >= CONTACT_VOXELS)


def evidence_at(
    lps_from_index: FloatArray, voxels: npt.NDArray[np.intp], source: ImageSource, first_slice: int = 0
) -> Evidence:
    """The voxel nearest to the middle of voxels (n, 3), and its slice; their grid begins at slice ``first_slice``."""
    voxel = voxels[int(np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1)))]
    point = geometry.apply(lps_from_index, voxel)
    at = int(voxel[2]) + first_slice
    uids = source.slice_sop_instance_uids
    return Evidence(
        series_instance_uid=source.series_instance_uid,
        slice_number=at + 1,
        sop_instance_uid=uids[at] if at < len(uids) else None,
        point_lps_mm=(float(point[0]), float(point[1]), float(point[2])),
    )
