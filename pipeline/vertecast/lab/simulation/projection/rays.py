"""X-ray projection: rays from a point through a volume, as line integrals, and where points of the patient fall.

The picture lies in the isocentre's plane: lengths in it are those of the patient at the depth of ``center_lps_mm``;
what is nearer to the source is larger (central projection).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.core.images import View, Volume

FloatImage = npt.NDArray[np.float32]

RAY_DEG: Final[dict[View, float]] = {"lateral": 180.0, "oblique": 135.0, "ap": 90.0}
"""Direction of the rays of each view in the axial plane, from the patient's left towards the back."""

BONE_HU: Final = 120.0
"""Above this a voxel holds mineral; what exceeds it is attenuated like bone, the rest like water."""

BONE_WEIGHT: Final = 1.6
"""Bone's excess counts more in a radiograph than its Hounsfield units at 120 kVp say: the beam is softer."""

LAYERS_AT_ONCE: Final = 8
"""Layers of the grid that are sampled together."""

LEAST_SHARE_OF_RAY: Final = 0.1
"""What lies nearer to the source than this share of its distance to the isocentre is not in the beam."""

WATER_PER_MM: Final = 0.02
"""Attenuation of water at the 60 to 70 keV of a filtered spine beam, 0.2 per cm (NIST XCOM: 0.206 at 60 keV)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camera:
    """A source, and a picture in the plane of the isocentre.

    Attributes:
        view: What the picture shows.
        center_lps_mm: (3,) isocentre, in the middle of the picture.
        picture_from_lps: (3, 3) rotation; its rows are the directions of columns (right), rows (down) and of the rays.
        source_mm: Distance from the source to the isocentre.
        pixel_mm: Pixel size in the isocentre's plane.
        shape: Pixels (rows, columns).
    """

    view: View
    center_lps_mm: FloatArray
    picture_from_lps: FloatArray
    source_mm: float
    pixel_mm: float
    shape: tuple[int, int]

    def project(self, points_lps_mm: npt.ArrayLike) -> FloatArray:
        """Where points (..., 3) in LPS mm fall in the picture: (..., 2) column and row."""
        local = (np.asarray(points_lps_mm, dtype=np.float64) - self.center_lps_mm) @ self.picture_from_lps.T
        scale = self.source_mm / (self.source_mm + local[..., 2:])
        middle = (np.array(self.shape[::-1]) - 1) / 2
        return np.asarray(local[..., :2] * scale / self.pixel_mm + middle)

    def isocenter_plane_mm(self) -> FloatArray:
        """Column and row of every pixel (rows, columns, 2) in mm from the middle, in the isocentre's plane."""
        rows, columns = ((np.arange(n) - (n - 1) / 2) * self.pixel_mm for n in self.shape)
        return np.stack(np.meshgrid(columns, rows), axis=-1)


def camera(
    view: View,
    center_lps_mm: FloatArray,
    *,
    angles_deg: Sequence[float] = (0.0, 0.0, 0.0),
    source_mm: float = 900.0,
    pixel_mm: float = 1.0,
    shape: tuple[int, int] = (320, 320),
) -> Camera:
    """A camera that looks along a named view.

    Args:
        view: "lateral": rays run from left to right, anterior is on the picture's left; "ap": rays run from front to
            back, the patient's left is on the picture's right; "oblique": between the two.
        center_lps_mm: (3,) isocentre.
        angles_deg: Turns about the vertical axis, the picture's horizontal axis and the ray.
        source_mm: Distance from the source to the isocentre.
        pixel_mm: Pixel size in the isocentre's plane.
        shape: Pixels (rows, columns).
    """
    down = np.array([0.0, 0.0, -1.0])
    turn, nod, roll = np.radians(angles_deg)
    turn += np.radians(RAY_DEG[view])
    ray = geometry.rotation([0, 0, 1], turn) @ np.array([1.0, 0.0, 0.0])
    right = np.cross(down, ray)
    tilt = geometry.rotation(right, nod)
    ray, down = tilt @ ray, tilt @ down
    spin = geometry.rotation(ray, roll)
    return Camera(
        view=view,
        center_lps_mm=np.asarray(center_lps_mm, dtype=np.float64),
        picture_from_lps=np.stack([spin @ right, spin @ down, ray]),
        source_mm=source_mm,
        pixel_mm=pixel_mm,
        shape=shape,
    )


def attenuation_parts(hu: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Split Hounsfield units (i, j, k) into what attenuates like water and like bone, each in units of water."""
    values = hu.astype(np.float32)
    soft = np.clip((np.minimum(values, BONE_HU) + 1000) / 1000, 0, None)
    bone = np.clip(values - BONE_HU, 0, None) / 1000
    return np.stack([soft, bone])


def line_integrals(
    parts: npt.NDArray[np.float32], lps_from_index: FloatArray, view: Camera, *, device: str = "cpu"
) -> npt.NDArray[np.float32]:
    """Integrate volumes along the rays of a camera.

    Every ray takes one sample, interpolated in two directions, where it crosses each layer of the grid's axis that lies
    best along the view (Joseph, IEEE Trans Med Imaging 1982).

    Args:
        parts: (c, i, j, k) volumes on one grid, zero outside it.
        lps_from_index: (4, 4) affine of the grid.
        view: Where from.
        device: Torch device.

    Returns:
        (c, rows, columns) integrals in mm times the volumes' unit.
    """
    import torch

    index_from_lps = geometry.inverse(lps_from_index)
    ray_lps = view.picture_from_lps[2]
    source = geometry.apply(index_from_lps, view.center_lps_mm - view.source_mm * ray_lps)
    plane_mm = view.isocenter_plane_mm()
    rays_lps = plane_mm @ view.picture_from_lps[:2] + view.source_mm * ray_lps
    rays = rays_lps @ index_from_lps[:3, :3].T
    along = int(np.argmax(np.abs(ray_lps @ lps_from_index[:3, :3]) / geometry.spacing_mm(lps_from_index)))
    across = [axis for axis in (2, 1, 0) if axis != along]  # grid_sample names the last axis first
    advance = rays[..., along]
    layers = np.arange(parts.shape[1 + along])
    is_before_source = (layers - source[along]) / advance[0, 0] > LEAST_SHARE_OF_RAY
    layers = layers[is_before_source]

    def tensor(array: npt.NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)

    sizes = np.array([parts.shape[1 + axis] for axis in across])
    slope = tensor(rays[..., across] / advance[..., None] * 2 / sizes)
    start = tensor((2 * source[across] + 1) / sizes - 1)  # -1 to 1 from the first voxel's edge to the last one's
    volume = np.moveaxis(parts, 1 + along, 0)
    total = torch.zeros((parts.shape[0], *view.shape), device=device)
    for some in np.array_split(layers, max(len(layers) // LAYERS_AT_ONCE, 1)):
        grid = start + tensor(some - source[along])[:, None, None, None] * slope
        total += torch.nn.functional.grid_sample(tensor(volume[some]), grid, align_corners=False).sum(dim=0)
    step_mm = np.linalg.norm(rays_lps, axis=-1) / np.abs(advance)
    return np.asarray(total.cpu().numpy() * step_mm, dtype=np.float32)


def project_volume(volume: Volume, view: Camera) -> FloatImage:
    """The attenuation -ln(I/I0) of a CT volume as the camera sees it (rows, columns): a digital radiograph."""
    parts = line_integrals(attenuation_parts(volume.hu), volume.lps_from_index, view)
    return np.asarray(WATER_PER_MM * (parts[0] + BONE_WEIGHT * parts[1]), dtype=np.float32)
