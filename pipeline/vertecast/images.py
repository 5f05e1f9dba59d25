"""Images in patient space, and what a segmentation model says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vertecast import geometry


def _frozen(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A read-only view, so that no later step changes what an earlier one saw."""
    view = array.view()
    view.setflags(write=False)
    return view


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """A CT volume.

    Attributes:
        hu: Hounsfield units, shape (i, j, k), int16 or float32.
        lps_from_index: (4, 4) affine from voxel centre index to LPS mm.
        frame_of_reference_uid: DICOM frame of reference, or None for a file that has none.
        outside_hu: Value that marks voxels without measurement (padding), or None.
    """

    hu: npt.NDArray[np.generic]
    lps_from_index: geometry.FloatArray
    frame_of_reference_uid: str | None = None
    outside_hu: float | None = None

    def __post_init__(self) -> None:
        if self.hu.ndim != 3:
            raise ValueError(f"a volume has three axes, not {self.hu.ndim}")
        object.__setattr__(self, "hu", _frozen(self.hu))
        object.__setattr__(self, "lps_from_index", _frozen(np.array(self.lps_from_index, dtype=np.float64)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxel counts (i, j, k)."""
        i, j, k = self.hu.shape
        return i, j, k

    @property
    def spacing_mm(self) -> geometry.FloatArray:
        """Voxel spacing (3,) in mm."""
        return geometry.spacing_mm(self.lps_from_index)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mask:
    """A label map on a grid of its own.

    Attributes:
        labels: Whole numbers, shape (i, j, k); 0 is background.
        lps_from_index: (4, 4) affine from voxel centre index to LPS mm.
    """

    labels: npt.NDArray[np.generic]
    lps_from_index: geometry.FloatArray

    def __post_init__(self) -> None:
        if self.labels.ndim != 3:
            raise ValueError(f"a mask has three axes, not {self.labels.ndim}")
        object.__setattr__(self, "labels", _frozen(self.labels))
        object.__setattr__(self, "lps_from_index", _frozen(np.array(self.lps_from_index, dtype=np.float64)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """What a CT bundle found, on an LPS-aligned isotropic working grid that holds the spine.

    Every array has the shape (i, j, k) of the working grid: axis 0 runs to the left, 1 to posterior, 2 to superior.

    Attributes:
        lps_from_index: (4, 4) affine of the working grid.
        structure: `Structure` per voxel, uint8. A body holds its cement too.
        instance: Vertebra per voxel, uint8: 1, 2, ... from cranial to caudal over bodies, arches and ribs; 0 none.
        body_probability: Probability of a vertebral body, float16; its 0.5 surface is the outline below voxel size.
        cement_probability: Probability of cement, float16.
        metal_probability: Probability of metal, float16.
        instance_confidence: One number from 0 to 1 per vertebra: agreement of the passes of the network.
        touches_border: One bool per vertebra: its body is cut by the edge of the image.
        models: Name, version and sha256 of each set of weights.
    """

    lps_from_index: geometry.FloatArray
    structure: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.uint8]
    body_probability: npt.NDArray[np.float16]
    cement_probability: npt.NDArray[np.float16]
    metal_probability: npt.NDArray[np.float16]
    instance_confidence: tuple[float, ...]
    touches_border: tuple[bool, ...]
    models: tuple[tuple[str, str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("structure", "instance", "body_probability", "cement_probability", "metal_probability"):
            array = getattr(self, name)
            if array.shape != self.structure.shape:
                raise ValueError(f"{name} has shape {array.shape}, the grid has {self.structure.shape}")
            object.__setattr__(self, name, _frozen(array))
        object.__setattr__(self, "lps_from_index", _frozen(np.array(self.lps_from_index, dtype=np.float64)))

    @property
    def count(self) -> int:
        """Number of vertebrae found."""
        return len(self.instance_confidence)

    @property
    def spacing_mm(self) -> float:
        """Spacing of the isotropic grid in mm."""
        return float(geometry.spacing_mm(self.lps_from_index)[0])
