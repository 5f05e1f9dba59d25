"""What is inside and behind a body: volume, trabecular density, gas in a cleft, narrowing of the canal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Segmentation, Volume
from vertecast.core.results import Measured, NotMeasured, Quantity
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.outline import OUTLINE_PROBABILITY, Layout

Z95: Final = 1.96

CORE_WIDTH_SHARE: Final = 0.6
CORE_HEIGHT_SHARE: Final = 0.5
CORE_DEPTH_RANGE: Final = (0.15, 0.6)
"""Trabecular core: an ellipse in the middle half of the height, in front of the basivertebral foramen, away from all
cortex; the usual place of opportunistic CT densitometry (Pickhardt et al., Ann Intern Med 2013;158:588-595)."""

DENSE_HU: Final = 700.0
"""Voxels above are cement, metal or a bone island, never trabecular bone."""

GAS_HU: Final = -200.0
"""Gas in an intravertebral cleft; fat in the marrow reaches -100 HU."""

MIN_CORE_VOXELS: Final = 30
T95_OF_EIGHT: Final = 2.365
"""Student's t of the mean of eight parts, 7 degrees of freedom."""

ALIKE_HU: Final = 60.0
ALIKE_SD: Final = 3.0
LEAST_OTHERS: Final = 3
"""The density of a body that differs from the median of at least so many others by more than both, in HU and in robust
standard deviations of theirs, is not that of the spine's bone: sclerosis, a haemangioma, a metastasis or a fresh
fracture. Ours."""

SAMPLE_MM: Final = 1.0
CLEFT_WALL_MM: Final = 2.0
"""Gas nearer than this to the surface of the body may be disc vacuum blurred into it."""

CANAL_STRIP_HALF_MM: Final = 4.0
CANAL_SLAB_MM: Final = 3.0
MIN_CANAL_DEPTH_MM: Final = 3.0
OUTLINE_ERROR_VOXELS: Final = 0.1
"""Common shift (1 SD) of a segmented outline, in voxels of the working grid, for the interval of a volume."""


def sample_hu(volume: Volume, points_lps_mm: FloatArray) -> npt.NDArray[np.float32]:
    """HU at LPS points (..., 3) by linear interpolation; NaN outside the image and at padding."""
    index = np.moveaxis(geometry.apply(geometry.inverse(volume.lps_from_index), points_lps_mm), -1, 0)
    values = ndimage.map_coordinates(
        volume.hu, index, output=np.float32, order=1, mode="constant", cval=np.nan, prefilter=False
    )
    return np.asarray(values if volume.outside_hu is None else np.where(values <= volume.outside_hu, np.nan, values))


def body_volume(segmentation: Segmentation, instance: int, layout: Layout) -> Measured:
    """Volume of a body in mL: its probability summed inside and one voxel beyond the outline."""
    box = layout.boxes[instance - 1]
    if box is None:
        return NotMeasured(reason="no body found")
    if segmentation.touches_border[instance - 1]:
        return NotMeasured(reason="cut by the edge of the image")
    box = tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in box)
    own = (segmentation.instance[box] == instance) & (segmentation.structure[box] == Structure.BODY)
    mask = own & (segmentation.body_probability[box] >= OUTLINE_PROBABILITY)
    near = ndimage.binary_dilation(mask, iterations=1)
    other = segmentation.body_probability[box] >= OUTLINE_PROBABILITY
    shell = near & ~mask & ~other
    step = segmentation.spacing_mm
    voxels = float(segmentation.body_probability[box][mask | shell].astype(np.float64).sum())
    surface = float(np.count_nonzero(mask & ~ndimage.binary_erosion(mask)))
    value = voxels * step**3 / 1000
    error = Z95 * OUTLINE_ERROR_VOXELS * surface * step**3 / 1000
    return Quantity.around(value, error, "mL", least=0.0)


def trabecular_density(volume: Volume, body: BodyGeometry, *, treated: bool) -> Measured:
    """Mean HU of the trabecular core.

    Bone is alike over millimetres, so its voxels are no independent samples: the interval is that of the mean of the
    means of eight parts of the core.
    """
    if treated:
        return NotMeasured(reason="the body holds cement")
    front, depth = body.anterior_wall_y_mm, body.depth_mm
    low, high = front + CORE_DEPTH_RANGE[0] * depth, front + CORE_DEPTH_RANGE[1] * depth
    half_width, half_depth, middle = CORE_WIDTH_SHARE * body.width_mm / 2, (high - low) / 2, (high + low) / 2
    x, y = np.meshgrid(
        np.arange(-half_width, half_width, SAMPLE_MM), np.arange(low, high, SAMPLE_MM), indexing="ij"
    )  # fmt: skip
    inside = (x / half_width) ** 2 + ((y - middle) / half_depth) ** 2 <= 1
    x, y = x[inside], y[inside]
    hu = _sample_column(volume, body, x, y, CORE_HEIGHT_SHARE)
    is_bone = np.isfinite(hu) & (hu < DENSE_HU) & (hu > GAS_HU)
    if is_bone.sum() < MIN_CORE_VOXELS:
        return NotMeasured(reason="too little trabecular bone in the core")
    is_upper = np.arange(len(hu)) >= len(hu) / 2
    part = 4 * is_upper[:, None] + 2 * (x > 0) + (y > middle)
    means = np.array([hu[is_bone & (part == n)].mean() for n in range(8) if (is_bone & (part == n)).any()])
    if len(means) < 8:
        return NotMeasured(reason="trabecular bone fills only a part of the core")
    value = float(hu[is_bone].mean())
    error = T95_OF_EIGHT * float(means.std(ddof=1)) / np.sqrt(8)
    return Quantity.around(value, error, "[hnsf'U]")


def not_representative(densities: Sequence[Measured]) -> list[int]:
    """Indices of the densities that are far from those of the other bodies of the column."""
    values = {n: float(density.value) for n, density in enumerate(densities) if isinstance(density, Quantity)}
    found = []
    for n, value in values.items():
        others = np.array([other for m, other in values.items() if m != n])
        if len(others) < LEAST_OTHERS:
            continue
        typical = float(np.median(others))
        sd = 1.4826 * float(np.median(np.abs(others - typical)))
        if abs(value - typical) > max(ALIKE_HU, ALIKE_SD * sd):
            found.append(n)
    return found


def cleft_gas(volume: Volume, body: BodyGeometry) -> Measured:
    """Volume of gas inside the body (mL), away from its surface; 0 where there is none."""
    half_width = body.width_mm / 2 - CLEFT_WALL_MM
    y = np.arange(body.anterior_wall_y_mm + CLEFT_WALL_MM, body.posterior_wall_y_mm - CLEFT_WALL_MM, SAMPLE_MM)
    x, y = np.meshgrid(np.arange(-half_width, half_width, SAMPLE_MM), y, indexing="ij")
    middle = (body.anterior_wall_y_mm + body.posterior_wall_y_mm) / 2
    inside = (x / half_width) ** 2 + ((y - middle) / (body.depth_mm / 2 - CLEFT_WALL_MM)) ** 2 <= 1
    height = min(body.heights_mm.values())
    share = max(1 - 2 * CLEFT_WALL_MM / height, 0.2)
    hu = _sample_column(volume, body, x[inside], y[inside], share)
    if not np.isfinite(hu).any():
        return NotMeasured(reason="no image data inside the body")
    rows = hu.shape[0]
    heights = (body.superior(x[inside], y[inside]) - body.inferior(x[inside], y[inside])) * share
    gas = (hu <= GAS_HU).sum(axis=0) / rows * heights * SAMPLE_MM**2
    return Quantity(value=float(gas.sum()) / 1000, unit="mL")


def _sample_column(volume: Volume, body: BodyGeometry, x: FloatArray, y: FloatArray, share: float) -> FloatArray:
    """HU on columns at x, y (n,) over the middle ``share`` of the height between the endplates, shape (steps, n)."""
    top, bottom = body.superior(x, y), body.inferior(x, y)
    steps = np.linspace(-share, share, max(int(np.median(top - bottom) * share / SAMPLE_MM), 5))
    z = (top + bottom) / 2 + steps[:, None] * (top - bottom) / 2
    local = np.stack([np.broadcast_to(x, z.shape), np.broadcast_to(y, z.shape), z], axis=-1)
    return np.asarray(sample_hu(volume, geometry.apply(body.lps_from_local, local)))


def canal_depth_mm(segmentation: Segmentation, body: BodyGeometry) -> float | None:
    """Smallest mean antero-posterior depth (mm) of the canal's midline strip over slabs of the body's height.

    A mean over a strip moves by less than a voxel when the wall does. None without a canal that
    was segmented itself.
    """
    if segmentation.canal_is_inferred:
        return None
    height = max(body.heights_mm.values())
    reach = int(np.ceil((body.depth_mm / 2 + 45.0) / segmentation.spacing_mm))
    middle = geometry.apply(geometry.inverse(segmentation.lps_from_index), body.center_lps_mm).astype(int)
    low = np.maximum(middle - reach, 0)
    box = tuple(slice(int(a), int(b) + reach) for a, b in zip(low, middle, strict=True))
    index = np.argwhere(segmentation.structure[box] == Structure.CANAL) + low
    if not len(index):
        return None
    x, _, z = body.local_mm(geometry.apply(segmentation.lps_from_index, index)).T
    strip = np.abs(x) <= CANAL_STRIP_HALF_MM
    edges = np.arange(-height / 2, height / 2 + 1e-6, CANAL_SLAB_MM)
    counts, _ = np.histogram(z[strip], bins=edges)
    depths = counts * segmentation.spacing_mm**3 / (2 * CANAL_STRIP_HALF_MM * CANAL_SLAB_MM)
    depth = float(depths.min()) if len(depths) else 0.0
    return depth if np.median(depths) >= MIN_CANAL_DEPTH_MM else None


def canal_compromise(depths_mm: Sequence[float | None], sound: Sequence[bool], at: int) -> Measured:
    """1 - depth of the canal / mean of the nearest sound bodies above and below; not below 0.

    Args:
        depths_mm: `canal_depth_mm` of every body, cranial to caudal.
        sound: Which bodies may serve as reference.
        at: Index of the body in question.
    """
    own = depths_mm[at]
    if own is None:
        return NotMeasured(reason="the canal was not segmented here")
    above = next((depths_mm[n] for n in range(at - 1, -1, -1) if sound[n] and depths_mm[n] is not None), None)
    below = next((depths_mm[n] for n in range(at + 1, len(sound)) if sound[n] and depths_mm[n] is not None), None)
    reference = [d for d in (above, below) if d is not None]
    if not reference:
        return NotMeasured(reason="no sound neighbour with a segmented canal")
    return Quantity(value=max(0.0, 1 - own / float(np.mean(reference))), unit="1")
