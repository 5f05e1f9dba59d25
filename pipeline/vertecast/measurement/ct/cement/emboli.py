"""Cement carried into the lungs: dense, thin pieces with lung all round them, anywhere in the image.

The network looks at the spine alone, so these pieces are found by their density. Density cannot tell cement from a
calcified granuloma, a clip or a coil: every one is only suspected, and the report says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

from vertecast.core import geometry
from vertecast.core.anatomy import Compartment, Structure
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation, Volume
from vertecast.core.results import CementFinding, LeakFinding, LevelAssignment, NotMeasured, Quantity
from vertecast.measurement.ct.body.bone import Z95
from vertecast.measurement.ct.cement.crop import BACKGROUND_SHELL_MM, METAL_PROBABILITY
from vertecast.measurement.ct.cement.leak_relations import ImageSource, evidence_at
from vertecast.measurement.ct.cement.map import (
    CEMENT_HU,
    TAIL_MM,
    VOLUME_EDGE_VOXELS,
    CementMap,
)

LUNG_HU: Final = (-970.0, -500.0)
"""Aerated lung lies at about -950 to -500 HU (Gattinoni et al., Anesthesiology 1988;69:824: aerated below -500); the
air round the patient at -1000."""

LUNG_SHARE: Final = 0.75
"""Share of the surroundings that is lung: beside a rib or the mediastinum it is about one half."""

LEAST_PEAK_HU: Final = 1500.0
PEAK_PERCENTILE: Final = 90.0
"""The brightest tenth of a piece must reach this, and half of the cement in the bodies: ribs and calcium, up to some
1,400 HU with a sharp kernel, cannot be told from thin cement by their density."""

COARSE_MM: Final = 4.0
COARSE_LUNG_SHARE: Final = 0.4
"""On a grid of `COARSE_MM`, three steps wide, so much of the neighbourhood must be lung for a closer look."""

EMBOLUS_ML: Final = (0.01, 3.0)
"""From a speck of some 2.5 mm to a cast of a lobar artery; what is larger is bone or a device."""

LARGEST_HALF_WIDTH_MM: Final = 4.5
"""Segmental pulmonary arteries are about 5 mm wide, lobar ones up to 9 mm."""

LONGEST_MM: Final = 60.0
JOIN_MM: Final = 6.0
"""Pieces with a smaller gap are one: a cast breaks where the vessel branches."""

SUSPECTED: Final = 0.5
"""Confidence in a piece known by its density alone, on top of that in its vertebra."""

UNSEEN_ROUTE: Final = NotMeasured(reason="the way into the lung is not seen")
IN_LUNG: Final = NotMeasured(reason="the piece lies in the lung")
LOOKALIKES: Final = (
    "dense specks in the lungs: suspected emboli of cement; calcified granulomas, clips, coils and catheters look alike"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Piece:
    """Native voxels (n, 3) of one piece, and its volume and error in mL."""

    voxels: npt.NDArray[np.intp]
    volume_ml: float
    error_ml: float


def find_emboli(
    volume: Volume,
    found: CementMap,
    segmentation: Segmentation,
    levels: Sequence[LevelAssignment],
    cement: Sequence[CementFinding],
    source: ImageSource,
    *,
    threshold_hu: float = CEMENT_HU,
) -> tuple[LeakFinding, ...]:
    """Suspect cement in the lungs of a patient with cement in a body.

    Args:
        volume: Native CT.
        found: Cement on the native grid; what it holds is not reported again.
        segmentation: What the network found; its bones and metal are no emboli.
        levels: One per vertebra.
        cement: Findings of the treated instances, in their order. A piece is put down to the nearest one.
        source: Series and slices of the native volume.
        threshold_hu: Lowest value of cement.

    Returns:
        One finding per piece, cranial first, all ``suspected`` and in the compartment ``distant``.
    """
    pieces = _joined(volume, _pieces(volume, found, segmentation, threshold_hu))
    if not pieces:
        return ()
    treated = dict(zip(sorted(found.treated), cement, strict=True))
    bodies = {n: cKDTree(_body_points(segmentation, n)) for n in treated}
    findings = []
    for piece in pieces:
        points = geometry.apply(volume.lps_from_index, piece.voxels)
        distance = {n: tree.query(points)[0] for n, tree in bodies.items()}
        nearest = min(distance, key=lambda n: float(distance[n].min()))
        farthest, error_mm = float(distance[nearest].max()), Z95 * 0.5 * segmentation.spacing_mm
        low = max(piece.volume_ml - piece.error_ml, 0.0)
        findings.append(
            LeakFinding(
                cement_id=treated[nearest].id,
                level=levels[nearest - 1].name,
                compartment=Compartment.DISTANT,
                suspected=True,
                yeom_type=UNSEEN_ROUTE,
                volume=Quantity(value=piece.volume_ml, unit="mL", interval95=(low, piece.volume_ml + piece.error_ml)),
                farthest=Quantity.around(farthest, error_mm, "mm"),
                canal_distance=IN_LUNG,
                canal_contact=False,
                evidence=evidence_at(volume.lps_from_index, piece.voxels, source),
                confidence=segmentation.instance_confidence[nearest - 1] * SUSPECTED,
            )
        )
    return tuple(sorted(findings, key=lambda leak: -(leak.evidence.point_lps_mm or (0.0, 0.0, 0.0))[2]))


def _pieces(volume: Volume, found: CementMap, segmentation: Segmentation, threshold_hu: float) -> Iterator[_Piece]:
    """Every bright piece of a fitting size with lung round it."""
    reach = np.ceil((BACKGROUND_SHELL_MM[1] + 1.0) / volume.spacing_mm).astype(int)
    told: set[tuple[int, ...]] = set()
    for seeds in _clusters(_bright_near_lung(volume, threshold_hu)):
        low = np.maximum(seeds.min(axis=0) - reach, 0)
        high = np.minimum(seeds.max(axis=0) + reach + 1, volume.shape)
        if ((high - low) * volume.spacing_mm > LONGEST_MM + 2 * BACKGROUND_SHELL_MM[1]).any():
            continue
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        hu = volume.hu[box].astype(np.float32)
        labels, _ = ndimage.label(hu >= threshold_hu, structure=np.ones((3, 3, 3)))
        own = labels == labels[tuple(seeds[0] - low)]
        piece = _piece(volume, (box, hu), own, found.plateau_hu)
        if piece is None or _known(geometry.apply(volume.lps_from_index, piece.voxels), found, segmentation):
            continue
        first = tuple(int(n) for n in piece.voxels[0])
        if first not in told:
            told.add(first)
            yield piece


def _bright_near_lung(volume: Volume, threshold_hu: float) -> npt.NDArray[np.intp]:
    """Bright voxels (n, 3) that have much lung about them, by a coarse look at the image; slice by slice for speed."""
    steps = np.maximum(np.rint(COARSE_MM / volume.spacing_mm), 1).astype(int)
    coarse = volume.hu[:: steps[0], :: steps[1], :: steps[2]].astype(np.float32)
    lung = (coarse > LUNG_HU[0]) & (coarse < LUNG_HU[1])
    share = ndimage.uniform_filter(lung.astype(np.float32), 3, mode="nearest")
    found = []
    for k in np.flatnonzero((share >= COARSE_LUNG_SHARE).any(axis=(0, 1)).repeat(steps[2])[: volume.shape[2]]):
        bright = np.argwhere(np.greater_equal(volume.hu[:, :, k], threshold_hu))
        near = share[*(bright // steps[:2]).T, k // steps[2]] >= COARSE_LUNG_SHARE
        found.append(np.column_stack([bright[near], np.full(np.count_nonzero(near), k)]))
    return np.concatenate(found) if found else np.zeros((0, 3), dtype=np.intp)


def _clusters(index: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """Connected voxels (26 neighbours) together; a volume is far too large to label as a whole."""
    if not len(index):
        return []
    pairs = cKDTree(index).query_pairs(1.0, p=np.inf, output_type="ndarray")
    links = sparse.coo_matrix((np.ones(len(pairs), dtype=bool), pairs.T), shape=(len(index),) * 2)
    count, label = sparse.csgraph.connected_components(links, directed=False)
    order = np.argsort(label, kind="stable")
    return np.split(index[order], np.searchsorted(label[order], np.arange(1, count)))


def _piece(
    volume: Volume,
    part: tuple[tuple[slice, ...], npt.NDArray[np.float32]],
    own: npt.NDArray[np.bool_],
    plateau_hu: float,
) -> _Piece | None:
    """The piece with its volume below voxel size; None unless it is small, thin and lies in the lung.

    ``part`` is a box of the image and its values there.
    """
    box, hu = part
    voxel_ml = geometry.voxel_volume_mm3(volume.lps_from_index) / 1000
    spacing = volume.spacing_mm
    if own.sum() * voxel_ml > EMBOLUS_ML[1]:
        return None
    if np.percentile(hu[own], PEAK_PERCENTILE) < max(LEAST_PEAK_HU, plateau_hu / 2):
        return None
    half_width = float(ndimage.distance_transform_edt(np.pad(own, 1), sampling=spacing).max())
    if half_width > LARGEST_HALF_WIDTH_MM:
        return None
    away = ndimage.distance_transform_edt(~own, sampling=spacing)
    shell = hu[(away >= BACKGROUND_SHELL_MM[0]) & (away <= BACKGROUND_SHELL_MM[1])]
    if not shell.size or np.mean((shell > LUNG_HU[0]) & (shell < LUNG_HU[1])) < LUNG_SHARE:
        return None
    background = float(np.median(shell))
    share = np.clip((hu - background) / max(plateau_hu - background, 1.0), 0.0, 1.0)
    value = float(share[away <= TAIL_MM].sum()) * voxel_ml
    if not EMBOLUS_ML[0] <= value <= EMBOLUS_ML[1]:
        return None
    boundary = np.count_nonzero(own & ~ndimage.binary_erosion(own))
    voxels = np.argwhere(own) + [axis.start for axis in box]
    return _Piece(voxels=voxels, volume_ml=value, error_ml=float(Z95 * VOLUME_EDGE_VOXELS * boundary * voxel_ml))


def _known(points: FloatArray, found: CementMap, segmentation: Segmentation) -> bool:
    """True for bone, metal, and cement that is reported already."""
    index = np.rint(geometry.apply(geometry.inverse(segmentation.lps_from_index), points)).astype(int)
    index = index[np.all((index >= 0) & (index < segmentation.structure.shape), axis=1)]
    at = tuple(index.T)
    if np.any(segmentation.structure[at] != Structure.BACKGROUND) or np.any(
        segmentation.metal_probability[at] >= METAL_PROBABILITY
    ):
        return True
    index = np.rint(geometry.apply(geometry.inverse(found.lps_from_index), points)).astype(int)
    index = index[np.all((index >= 0) & (index < found.mask.shape), axis=1)]
    return bool(np.any(found.mask[tuple(index.T)]))


def _joined(volume: Volume, pieces: Iterator[_Piece]) -> list[_Piece]:
    """Pieces with a gap below `JOIN_MM` as one."""
    result: list[_Piece] = []
    for piece in pieces:
        tree = cKDTree(geometry.apply(volume.lps_from_index, piece.voxels))
        near = [
            other for other in result
            if tree.query(geometry.apply(volume.lps_from_index, other.voxels))[0].min() <= JOIN_MM
        ]  # fmt: skip
        result = [other for other in result if other not in near]
        parts = [piece, *near]
        result.append(
            _Piece(
                voxels=np.concatenate([part.voxels for part in parts]),
                volume_ml=sum(part.volume_ml for part in parts),
                error_ml=sum(part.error_ml for part in parts),
            )
        )
    return result


def _body_points(segmentation: Segmentation, instance: int) -> FloatArray:
    """Voxels (n, 3) of a body in LPS mm."""
    index = np.argwhere((segmentation.instance == instance) & (segmentation.structure == Structure.BODY))
    return geometry.apply(segmentation.lps_from_index, index)
