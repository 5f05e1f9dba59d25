"""CT in, vertebrae and cement out: a coarse network finds the spine, a fine one outlines it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.config import Device, Runtime
from vertecast.core.errors import UnsupportedError
from vertecast.core.images import Segmentation, Volume
from vertecast.segmentation.bundle import Bundle, NetworkSpec
from vertecast.segmentation.ct.cement import add_same_batch, beyond_outline
from vertecast.segmentation.ct.closer_look import CloserLook
from vertecast.segmentation.ct.grid import inside_image, resampled, run_tiled
from vertecast.segmentation.ct.instances import enclosed, separate
from vertecast.segmentation.ct.maps import Maps, softmax
from vertecast.segmentation.runtimes.device import on_device, torch_device

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = npt.NDArray[np.float32]
Network: TypeAlias = "Callable[[Tensor], Tensor]"
"""HU (1, 1, i, j, k) → channels (1, c, i, j, k)."""

COLUMN: Final = (Structure.BODY, Structure.POSTERIOR, Structure.CANAL, Structure.DISC)
"""What is located: together they are one piece where single bodies are seen badly at 4 mm, as in the upper chest."""

FAR: Final = (Structure.RIB, Structure.SACRUM)
"""What reaches far beyond a vertebra."""

MARGIN_MM: Final = ((45.0, 45.0), (40.0, 45.0), (35.0, 35.0))
"""Room left around the located column (left-right, front-back, down-up): processes, rib heads, leaks, the sacrum."""

NEAR_MM: Final = 36.0
"""Within the box the fine network looks at what lies no farther than this from the located column, along each axis."""

SMALL_VOLUME_MM: Final = 200.0
"""An image no larger than this in every direction is its own box."""

LARGEST_UNLOCATED_L: Final = 25.0
"""An image up to this size in which no column was located is looked at whole, in up to a minute: a field that ends at
the back of the bodies hides the arches, by which the coarse network knows a spine."""

LOCATED_ML: Final = 3.0
"""A located piece smaller than this is not taken for a spine."""

TILE_VOXELS: Final = 128
OVERLAP_VOXELS: Final = 16
CONFIDENT: Final = 0.5

BRIGHT_HU: Final = 110.0
"""The brightest twentieth of a vertebral body, its cortex, is above this even in osteoporosis and thick slices."""

LEAST_CONFIDENCE: Final = 0.35
LEAST_SIZE_SHARE: Final = 0.25
"""A whole body with less than this share of the median body's volume is a fragment; a crushed one keeps more."""

LEAST_WHOLE_ML: Final = 1.5
"""A whole body smaller than this is a piece of an arch: the smallest sound one, C3, has about 3 mL, T1 about 6."""

HEIGHT_DOUBT_MM: Final = 8.0
HEIGHT_DOUBT_POWER: Final = 1.0
"""Error of a height (1 SD) = 8 mm x (1 - confidence): 0.4 mm at 0.95, 0.8 at 0.90, 1.2 at 0.85. Fitted on the 141
heights of six held-out simulated studies with ct_spine 0.5.0, of whose intervals 96 % then held (95 % with 0.6.0);
fitted on three of them alone, 82 to 100 % of those of the other three did: six studies are few."""

CORNER_SHARE: Final = 0.02
"""Share of a body near the edge that may be a corner of a tilted endplate, or a spur; a whole endplate is 0.05."""

PADDING_TOLERANCE_HU: Final = 4.0
"""Resampled padding may differ from the padding value by rounding."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CtSegmenter:
    """The networks of a CT bundle, loaded once.

    Attributes:
        bundle: Where they come from.
        locator, outliner: The coarse and the fine network.
        closer: The closer look at every vertebra; None where the bundle has none.
        passes: 1, or 2 to run the mirror image too; how well they agree goes into each vertebra's confidence.
    """

    bundle: Bundle
    locator: Network
    outliner: Network
    closer: CloserLook | None = None
    passes: int = 2

    @classmethod
    def load(cls, folder: Path, *, passes: int = 2, runtime: Runtime = "torch", device: Device = "auto") -> CtSegmenter:
        """Load and verify a bundle.

        Raises:
            BundleError: it is missing, altered or does not fit.
            ConfigurationError: ``runtime`` is not installed, or there is no such ``device``.
        """
        bundle = Bundle.open(folder)
        load: Callable[[NetworkSpec], Network]
        if runtime == "openvino":
            from vertecast.segmentation.runtimes.openvino import load_openvino

            load = load_openvino
        else:
            place = torch_device(device)

            def load(spec: NetworkSpec) -> Network:
                return on_device(spec.load(), place, is_asked=device != "auto")

        closer = None
        if bundle.closer is not None:
            closer = CloserLook(network=_whole(load(bundle.closer)))
        locator, outliner = load(bundle.locator), load(bundle.outliner)
        return cls(bundle=bundle, locator=locator, outliner=outliner, closer=closer, passes=passes)

    def segment(self, volume: Volume) -> Segmentation:
        """Find and outline the spine.

        Raises:
            UnsupportedError: no vertebra in the image.
        """
        grid, shape, near = self._box(volume)
        hu = resampled(volume, grid, shape)
        maps, agreement = self._outline(hu, near)
        outside = _outside(volume, hu, grid)
        maps.clear(outside)
        spacing = self.bundle.outliner.spacing_mm
        add_same_batch(maps.cement, maps.metal, hu, spacing)
        structure = _settled(maps, outside)
        found = separate(structure, maps.offset_mm, spacing)
        _take_leaks_out(maps, structure, found.labels)
        edges = ndimage.binary_dilation(outside), _near_edge(volume, outside, grid, spacing)
        candidates = _candidates(hu, maps, agreement, np.where(structure == Structure.BODY, found.labels, 0), edges)
        kept = [n for n, body in enumerate(candidates) if _is_vertebra(body, candidates, spacing**3 / 1000)]
        if not kept:
            raise UnsupportedError(
                "no vertebra was found in this CT; if it shows a spine, check its orientation and units"
            )
        instances = found.only(kept)
        labels = instances.labels
        if self.closer is not None:
            far, far_labels = structure, labels
            labels = self.closer.refine(volume, grid, maps, labels, instances.centers_index)
            maps.clear(outside)
            structure = _settled(maps, outside)
            _keep_far(structure, labels, far, far_labels)
            _take_leaks_out(maps, structure, labels)
        return Segmentation(
            lps_from_index=grid,
            structure=structure,
            instance=labels,
            body_probability=maps.structure[Structure.BODY].astype(np.float16),
            cement_probability=maps.cement.astype(np.float16),
            metal_probability=maps.metal.astype(np.float16),
            instance_confidence=tuple(candidates[n].confidence for n in kept),
            touches_border=tuple(candidates[n].touches_border for n in kept),
            height_sd_mm=tuple(_height_sd_mm(candidates[n].confidence) for n in kept),
            models=self.bundle.models,
            limits=self.bundle.limits,
        )

    def _box(self, volume: Volume) -> tuple[geometry.FloatArray, tuple[int, int, int], npt.NDArray[np.bool_] | None]:
        """The fine grid round the spine, and which of its voxels are near it (None: all of them)."""
        fine = self.bundle.outliner.spacing_mm
        whole, whole_shape = geometry.aligned_grid(volume.lps_from_index, volume.shape, fine)
        if max(whole_shape) * fine <= SMALL_VOLUME_MM:
            return whole, whole_shape, None
        coarse, coarse_shape = geometry.aligned_grid(
            volume.lps_from_index, volume.shape, self.bundle.locator.spacing_mm
        )
        column = self._locate(resampled(volume, coarse, coarse_shape))
        found = np.argwhere(column)
        if not len(found):
            if np.prod(whole_shape) * fine**3 > LARGEST_UNLOCATED_L * 1e6:
                raise UnsupportedError(
                    "no spine was found in this CT; if it shows one, check its orientation and units"
                )
            return whole, whole_shape, None
        margin = np.array(MARGIN_MM)
        low = geometry.apply(coarse, found.min(axis=0) - 0.5) - margin[:, 0]
        high = geometry.apply(coarse, found.max(axis=0) + 0.5) + margin[:, 1]
        start = np.clip(np.floor((low - whole[:3, 3]) / fine).astype(int), 0, np.array(whole_shape) - 1)
        stop = np.clip(np.ceil((high - whole[:3, 3]) / fine).astype(int) + 1, start + 1, whole_shape)
        grid = geometry.scaling_affine([fine] * 3, whole[:3, 3] + start * fine)
        size = stop - start
        shape = (int(size[0]), int(size[1]), int(size[2]))
        reach = round(NEAR_MM / self.bundle.locator.spacing_mm)
        wide = ndimage.maximum_filter(column.astype(np.float32), size=2 * reach + 1, mode="constant")
        near = geometry.resample(wide, coarse, grid, shape, order=0) > 0
        return grid, shape, near

    def _locate(self, hu: Array) -> npt.NDArray[np.bool_]:
        """The column on the coarse grid: the large pieces and what is not much smaller."""
        probability = softmax(self._run(self.locator, hu, None)[: len(Structure)])
        is_column = probability[list(COLUMN)].sum(axis=0) > CONFIDENT
        pieces, count = ndimage.label(is_column, structure=np.ones((3, 3, 3)))
        if not count:
            return np.zeros(hu.shape, dtype=bool)
        volume_ml = np.bincount(pieces.ravel()) * self.bundle.locator.spacing_mm**3 / 1000
        volume_ml[0] = 0
        keep = volume_ml >= max(LOCATED_ML, 0.1 * volume_ml.max())
        return np.asarray(keep[pieces])

    def _outline(self, hu: Array, near: npt.NDArray[np.bool_] | None) -> tuple[Maps, Array | None]:
        """Maps of the fine network; with two passes, their mean and how far the bodies differ."""
        first = Maps.of(self._run(self.outliner, hu, near))
        if self.passes == 1:
            return first, None
        flipped_near = None if near is None else near[::-1]
        second = Maps.of(self._run(self.outliner, hu[::-1], flipped_near)[:, ::-1])
        second.offset_mm[0] *= -1
        difference = np.abs(first.structure[Structure.BODY] - second.structure[Structure.BODY])
        for name in ("structure", "cement", "metal", "offset_mm"):
            mean = getattr(first, name)
            mean += getattr(second, name)
            mean *= 0.5
        return first, difference

    def _run(self, net: Network, hu: Array, near: npt.NDArray[np.bool_] | None) -> Array:
        from vertecast.segmentation.ct.network import OUTPUT_CHANNELS, STRIDE

        return run_tiled(
            _whole(net),
            hu,
            channels=OUTPUT_CHANNELS,
            largest=TILE_VOXELS,
            overlap=OVERLAP_VOXELS,
            stride=STRIDE,
            wanted=near,
        )


def _whole(net: Network) -> Callable[[Array], Array]:
    """A network for arrays: HU (i, j, k) → channels (c, i, j, k)."""
    import torch

    def forward(hu: Array) -> Array:
        with torch.inference_mode():
            return np.asarray(net(torch.from_numpy(np.ascontiguousarray(hu))[None, None])[0].numpy())

    return forward


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """What tells a vertebra from an error: its size, its brightest parts, how sure the passes are, the edge."""

    voxels: int
    bright_hu: float
    confidence: float
    touches_border: bool


def _settled(maps: Maps, outside: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """`Structure` per voxel; what bodies enclose is body, in the maps too."""
    structure: npt.NDArray[np.uint8] = maps.structure.argmax(0).astype(np.uint8)
    holes = enclosed(structure, outside)
    structure[holes] = Structure.BODY
    maps.structure[:, holes] = np.eye(len(Structure), dtype=np.float32)[:, [Structure.BODY]]
    return structure


def _keep_far(
    structure: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    far: npt.NDArray[np.uint8],
    far_labels: npt.NDArray[np.uint8],
) -> None:
    """Ribs and sacrum as the first look saw them, in place: a closer look holds no more than their ends.

    By their size levels are told.
    """
    is_far = np.isin(far, FAR)
    lost = np.isin(structure, FAR) & ~is_far
    structure[lost], labels[lost] = Structure.BACKGROUND, 0
    kept = is_far & np.isin(structure, (Structure.BACKGROUND, Structure.POSTERIOR, *FAR))
    structure[kept], labels[kept] = far[kept], far_labels[kept]


def _take_leaks_out(maps: Maps, structure: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> None:
    """Make cement beyond the outline of a body what lies there else, in place."""
    leaked = beyond_outline(structure, labels, maps.cement >= CONFIDENT)
    maps.structure[Structure.BODY, leaked] = 0
    structure[leaked] = maps.structure[:, leaked].argmax(0)
    labels[leaked] = 0


def _candidates(
    hu: Array,
    maps: Maps,
    difference: Array | None,
    bodies: npt.NDArray[np.uint8],
    edges: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
) -> list[_Candidate]:
    """One per number in ``bodies``. Confidence: mean probability, less the mean difference of the two passes."""
    result = []
    for n, box in enumerate(ndimage.find_objects(bodies), start=1):
        if box is None:
            result.append(_Candidate(voxels=0, bright_hu=-1000.0, confidence=0.0, touches_border=False))
            continue
        body = bodies[box] == n
        probability = float(maps.structure[Structure.BODY][box][body].mean())
        doubt = 0.0 if difference is None else float(difference[box][body].mean())
        result.append(
            _Candidate(
                voxels=int(body.sum()),
                bright_hu=float(np.percentile(hu[box][body], 95)),
                confidence=float(np.clip(probability - doubt, 0.0, 1.0)),
                touches_border=_is_cut(body, edges[0][box], edges[1][box]),
            )
        )
    return result


def _is_vertebra(body: _Candidate, others: list[_Candidate], voxel_ml: float) -> bool:
    """Bone, and where it is not cut by the edge also sure enough and neither small nor far smaller than the others."""
    if body.bright_hu < BRIGHT_HU:
        return False
    whole = [other.voxels for other in others if not other.touches_border]
    return body.touches_border or (
        body.confidence >= LEAST_CONFIDENCE
        and body.voxels >= max(LEAST_WHOLE_ML / voxel_ml, LEAST_SIZE_SHARE * float(np.median(whole)))
    )


def _height_sd_mm(confidence: float) -> float:
    return float(HEIGHT_DOUBT_MM * (1 - confidence) ** HEIGHT_DOUBT_POWER)


def _outside(volume: Volume, hu: Array, grid: geometry.FloatArray) -> npt.NDArray[np.bool_]:
    """Voxels of the grid beyond the image, or in its padding."""
    outside = ~inside_image(volume, grid, (hu.shape[0], hu.shape[1], hu.shape[2]))
    if volume.outside_hu is not None:
        outside |= hu <= volume.outside_hu + PADDING_TOLERANCE_HU
    return outside


def _near_edge(
    volume: Volume, outside: npt.NDArray[np.bool_], grid: geometry.FloatArray, spacing_mm: float
) -> npt.NDArray[np.bool_]:
    """Voxels so near to the edge that the disc beyond them cannot be in the image.

    One voxel of the image and one of the grid: the network's outline often ends that much before the last slice.
    """
    shape = (outside.shape[0], outside.shape[1], outside.shape[2])
    padding = ndimage.binary_dilation(outside, iterations=2)
    return np.asarray(padding | ~inside_image(volume, grid, shape, margin_mm=spacing_mm))


def _is_cut(body: npt.NDArray[np.bool_], at_edge: npt.NDArray[np.bool_], near_edge: npt.NDArray[np.bool_]) -> bool:
    """Whether the edge cuts a body: it reaches the edge, or comes near to it with more than a corner."""
    near = np.count_nonzero(near_edge & body)
    return bool((at_edge & body).any() or near > CORNER_SHARE * np.count_nonzero(body))
