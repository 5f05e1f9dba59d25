"""Images in patient space, and what a segmentation model says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import Compartment


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
class Grid:
    """Where voxels lie, without their values: what is left of an image of which only a label map is at hand.

    Attributes:
        shape: Voxel counts (i, j, k).
        lps_from_index: (4, 4) affine from voxel centre index to LPS mm.
    """

    shape: tuple[int, int, int]
    lps_from_index: geometry.FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "lps_from_index", _frozen(np.array(self.lps_from_index, dtype=np.float64)))

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


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightLimits:
    """What a reader must know of the weights that outlined an image: ``always``, and ``with_cement`` in view."""

    always: tuple[str, ...] = ()
    with_cement: tuple[str, ...] = ()

    def told(self, *, cement_seen: bool) -> tuple[str, ...]:
        """Those that a report prints."""
        return (*self.always, *(self.with_cement if cement_seen else ()))


NO_LIMITS: Final = WeightLimits()


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
        height_sd_mm: One number per vertebra: error (1 SD) that the outline brings into a height; () for exact masks.
        models: Name, version and sha256 of each set of weights.
        levels: Name of every vertebra where they came with the outlines; () where they have to be counted.
        canal_is_inferred: The canal was drawn from the arches round it; it says nothing of what narrows it.
        limits: What a reader must know of these weights.
    """

    lps_from_index: geometry.FloatArray
    structure: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.uint8]
    body_probability: npt.NDArray[np.float16]
    cement_probability: npt.NDArray[np.float16]
    metal_probability: npt.NDArray[np.float16]
    instance_confidence: tuple[float, ...]
    touches_border: tuple[bool, ...]
    height_sd_mm: tuple[float, ...] = ()
    models: tuple[tuple[str, str, str], ...] = ()
    levels: tuple[str, ...] = ()
    canal_is_inferred: bool = False
    limits: WeightLimits = NO_LIMITS

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeightMap:
    """Height of one body between its endplates, seen from above: anterior up, the patient's left at the right.

    Attributes:
        level: Of the body.
        height_mm: (rows, columns) float32, along the vertebral axis; NaN outside its footprint.
        pixel_mm: Size of a pixel, which is square.
        midline_column: Where the mid-sagittal plane runs, in columns; the centre of the first one is 0.
    """

    level: str
    height_mm: npt.NDArray[np.float32]
    pixel_mm: float
    midline_column: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "height_mm", _frozen(self.height_mm))


View: TypeAlias = Literal["lateral", "ap", "oblique"]

SpacingPlane: TypeAlias = Literal["patient", "detector", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionSpacing:
    """Size of a pixel and the plane where it holds. Millimetres of the patient are given for ``patient`` alone.

    Attributes:
        row_mm: Distance between the centres of neighbouring rows.
        column_mm: Distance between the centres of neighbouring columns.
        plane: ``patient``: calibrated, or corrected for the magnification; ``detector``: at the detector, where
            everything is magnified; ``unknown``: the header does not say where.
        source: What the header rests it on, for the reader ("PixelSpacing, calibrated with a fiducial").
    """

    row_mm: float
    column_mm: float
    plane: SpacingPlane
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Radiograph:
    """One projection image. Points in it are (column, row), the centre of the upper left pixel is (0, 0).

    Attributes:
        intensity: Pixel values (rows, columns), float32: bone is brighter than soft tissue whatever the polarity;
            the scale is arbitrary.
        valid: Pixels that show the patient (rows, columns), bool: not behind a shutter or collimator.
        spacing: Size of a pixel, or None where the file gives none.
        view: What the header says of the view, or None.
        frame_number: Frame of a cine, from 1 as DICOM counts.
        saturated: Pixels at the bright end of the detector or the file (rows, columns), bool.
    """

    intensity: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    spacing: ProjectionSpacing | None = None
    view: View | None = None
    frame_number: int = 1
    saturated: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.intensity.ndim != 2 or self.valid.shape != self.intensity.shape:
            raise ValueError(f"intensity {self.intensity.shape} and valid {self.valid.shape} must be two equal planes")
        object.__setattr__(self, "intensity", _frozen(self.intensity))
        object.__setattr__(self, "valid", _frozen(self.valid))
        if self.saturated is not None:
            object.__setattr__(self, "saturated", _frozen(self.saturated))

    @property
    def shape(self) -> tuple[int, int]:
        """Pixel counts (rows, columns)."""
        rows, columns = self.intensity.shape
        return rows, columns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fluoroscopy:
    """A cine whose frames are read one at a time.

    Attributes:
        frame_count: Number of frames.
        frame_time_ms: Time of every frame after the first one (frame_count,), or None where the file gives none.
        read: Reads a frame by its number, from 1. Raises `UnreadableError`.
    """

    frame_count: int
    frame_time_ms: tuple[float, ...] | None
    read: Callable[[int], Radiograph]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProjectionSegmentation:
    """What an X-ray bundle found in one projection image. Maps have the shape (rows, columns) of the image.

    Attributes:
        view: What the picture shows; None where it shows no spine.
        view_confidence: From 0 to 1.
        points_px: (n, 6, 2) points (column, row) of the bodies, cranial first. Lateral and oblique: superior endplate
            anterior, middle, posterior, then the inferior one; AP: left, middle, right as seen in the picture.
        points_sd_px: (n, 6) standard deviation of each point.
        confidence: One number from 0 to 1 per body.
        touches_border: One bool per body: it is cut by the edge of the image or of the collimator.
        rib_score: One number from 0 to 1 per body: it bears a rib.
        instance: Body per pixel, uint8: 1, 2, ... cranial first, 0 none.
        body_probability, sacrum_probability, cement_probability, metal_probability: float16.
        sacral_endplate_px: (2, 2) ends of the endplate of S1 (anterior, posterior; AP: left, right), or None.
        models: Name, version and sha256 of each set of weights.
        limits: What a reader must know of these weights.
    """

    view: View | None
    view_confidence: float
    points_px: geometry.FloatArray
    points_sd_px: geometry.FloatArray
    confidence: tuple[float, ...]
    touches_border: tuple[bool, ...]
    rib_score: tuple[float, ...]
    instance: npt.NDArray[np.uint8]
    body_probability: npt.NDArray[np.float16]
    sacrum_probability: npt.NDArray[np.float16]
    cement_probability: npt.NDArray[np.float16]
    metal_probability: npt.NDArray[np.float16]
    sacral_endplate_px: geometry.FloatArray | None = None
    models: tuple[tuple[str, str, str], ...] = ()
    limits: WeightLimits = NO_LIMITS

    @property
    def count(self) -> int:
        """Number of bodies found."""
        return len(self.confidence)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """A part of what was found, as places in its image.

    Attributes:
        kind: A vertebral body with its cement, the cement inside it, or one leak.
        level: Of the vertebra it belongs to.
        index: Voxels (n, 3) of a CT, or pixels (n, 2) of a projection as (row, column).
        compartment: Of a leak; None for the others.
    """

    kind: Literal["body", "cement", "leak"]
    level: str
    index: npt.NDArray[np.intp]
    compartment: Compartment | None = None


OWN_MODEL_NAME: Final = "Vertecast"
"""ManufacturerModelName of every DICOM object that is written: by it our own results are known when they come back."""

OWN_RESULT: Final = "is a result of Vertecast itself, not an image"
"""Why such a series is not analysed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DicomSource:
    """The DICOM images behind a measured image: what objects that go back into the study copy and refer to.

    Attributes:
        read: Reads their data sets (`pydicom.Dataset`) without pixels, in no order. Raises `UnreadableError`.
        frame_number: Frame of the file that was measured, from 1; None where the file has one or all were measured.
    """

    read: Callable[[], tuple[Any, ...]]
    frame_number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredImage:
    """An image that came from DICOM, and what was found in it.

    Attributes:
        labels: Numbers of ``labels_<n>.nii.gz``, (i, j, k) of a CT; cement and metal alone, (rows, columns), of a
            projection.
        pieces: Cement and leaks; of a projection its bodies too.
        lps_from_index: (4, 4) affine of a CT's voxels, None for a projection.
        source: Its DICOM images.
    """

    series_instance_uid: str
    labels: npt.NDArray[np.uint8]
    pieces: tuple[Piece, ...]
    lps_from_index: geometry.FloatArray | None
    source: DicomSource
