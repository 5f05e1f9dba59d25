"""CT volumes that are no DICOM: NIfTI, MetaImage, NRRD."""

from __future__ import annotations

import re
import zlib
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.errors import GeometryError, InputError, UnreadableError, UnsupportedError
from vertecast.core.images import Mask
from vertecast.io.checks import AIR_HU, check_finite
from vertecast.io.sources import cause

MM_PER_UNIT: Final = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
"""NIfTI units of length; most writers leave "unknown" and mean mm."""

SAME_SIZE: Final = 0.01
"""Sizes of a voxel that differ by a greater share contradict each other: headers keep them in 32 bits."""

WHOLE: Final = 1e-3
"""A number nearer than this to a whole one is that, but for the rounding of a scaling."""

LONGEST_HEADER: Final = 65536
"""Bytes of a MetaImage in which its text header ends."""

DATA_FILE: Final = re.compile(r"\s*(?:ElementDataFile|data ?file)\s*[:=]\s*(.*\S)", re.IGNORECASE)
"""Line of a MetaImage or NRRD header that names the file of the voxels."""

Values = npt.NDArray[np.generic]


def read_volume_file(path: Path) -> tuple[npt.NDArray[np.int16], geometry.FloatArray]:
    """Read a volume.

    Returns:
        Values rounded to whole HU, at least -1024, (i, j, k), and the (4, 4) affine to LPS mm.

    Raises:
        UnreadableError: the file is damaged, or gone.
        UnsupportedError: it is no volume of numbers, or holds NaN.
        GeometryError: it says nothing about orientation, or its affine is degenerate.
    """
    values, lps_from_index, slope, intercept = _read(path)
    check_finite(values)
    return _to_hu(values, slope, intercept), lps_from_index


def _read(path: Path) -> tuple[Values, geometry.FloatArray, float, float]:
    """Values as they lie in the file (i, j, k), the affine to LPS mm, and the scaling of the values."""
    if not path.is_file():
        raise UnreadableError("the file has vanished since it was found; put it back and run again")
    values, lps_from_index, slope, intercept = (
        _read_nifti(path) if path.name.lower().endswith((".nii", ".nii.gz")) else _read_itk(path)
    )
    if values.dtype.kind not in "iuf":
        raise UnsupportedError("its voxels are no plain numbers (colour or complex); give the CT itself")
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3 or min(values.shape) < 2:
        raise UnsupportedError(f"its size {_times(values.shape)} is no volume; give one three-dimensional CT")
    if not np.all(np.isfinite(lps_from_index)) or geometry.voxel_volume_mm3(lps_from_index) <= 0:
        raise GeometryError("its affine is degenerate; write the file again from the original images")
    return values, lps_from_index, slope, intercept


def read_label_map(path: Path) -> Mask:
    """Read a label map; its messages say that it is one, since a CT may be read beside it.

    Raises:
        UnreadableError, UnsupportedError, GeometryError: as `read_volume_file`, or its numbers are not whole.
    """
    try:
        values, lps_from_index, slope, intercept = _read(path)
        if values.dtype.kind == "f" or slope != 1 or intercept != 0:
            numbers = values.astype(np.float64) * slope + intercept
            broken = int(np.count_nonzero(~(np.abs(numbers - np.rint(numbers)) < WHOLE)))
            if broken:
                raise UnsupportedError(
                    f"{broken} of its voxels hold no whole number: it was interpolated, which invents labels at every "
                    "rim; resample it to the nearest neighbour"
                )
        return Mask(labels=_to_hu(values, slope, intercept), lps_from_index=lps_from_index)
    except InputError as error:
        raise type(error)(f"the label map: {error}") from error


def read_segment_names(path: Path) -> dict[int, str]:
    """Names of the numbers of a label map that says them itself: a ``.seg.nrrd`` of 3D Slicer; else empty."""
    if not path.name.lower().endswith(".nrrd") or not path.is_file():
        return {}
    import SimpleITK

    library: Any = SimpleITK
    reader = library.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        said = {key: str(reader.GetMetaData(key)) for key in reader.GetMetaDataKeys()}
    except (RuntimeError, UnicodeDecodeError):
        return {}
    return {
        int(said[f"{name}_LabelValue"]): said[f"{name}_Name"]
        for name in (key.removesuffix("_Name") for key in said if re.fullmatch(r"Segment\d+_Name", key))
        if said.get(f"{name}_LabelValue", "").isdecimal()
    }


def _to_hu(values: Values, slope: float, intercept: float) -> npt.NDArray[np.int16]:
    """Whole HU, slice by slice, so that no second full-size float array is held."""
    hu = np.empty(values.shape, np.int16, order="F")
    limit = np.iinfo(np.int16).max
    for k in range(values.shape[2]):
        plane = values[:, :, k].astype(np.float64)
        hu[:, :, k] = np.clip(np.rint(plane * slope + intercept), AIR_HU, limit)
    return hu


def _read_nifti(path: Path) -> tuple[Values, geometry.FloatArray, float, float]:
    import nibabel

    try:
        image: Any = nibabel.load(path)
        values = np.asanyarray(image.dataobj.get_unscaled())
    except (
        OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
    ) as error:  # fmt: skip
        raise UnreadableError(f"the file is damaged or no NIfTI ({cause(error)}); copy it again") from error
    header = image.header
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise GeometryError(
            "the NIfTI header has no orientation (sform and qform code 0), so left, right, up and down "
            "are unknown; write it again from the original images"
        )
    _check_nifti_sizes(header)
    unit = header.get_xyzt_units()[0]
    to_mm = np.diag([MM_PER_UNIT[unit]] * 3 + [1.0])
    lps_from_index = geometry.LPS_FROM_RAS @ to_mm @ np.asarray(image.affine, dtype=np.float64)
    return values, lps_from_index, float(image.dataobj.slope), float(image.dataobj.inter)


def _check_nifti_sizes(header: Any) -> None:
    """Refuse a header whose two affines, or its voxel sizes, contradict each other.

    Raises:
        GeometryError: they give another size of a voxel, or another side of the patient.
    """
    sizes = np.asarray(header.get_zooms()[:3], dtype=np.float64)
    affines: dict[str, geometry.FloatArray] = {}
    if int(header["sform_code"]):
        affines["sform"] = np.asarray(header.get_sform(), dtype=np.float64)
    if int(header["qform_code"]):
        try:
            affines["qform"] = np.asarray(header.get_qform(), dtype=np.float64)
        except ValueError as error:  # its quaternion is longer than 1
            if not affines:
                raise GeometryError(
                    "the NIfTI header has a damaged orientation (qform); write it again from the original images"
                ) from error
    for name, affine in affines.items():
        own = np.linalg.norm(affine[:3, :3], axis=0)
        if np.any(np.abs(own - sizes) > SAME_SIZE * sizes):
            raise GeometryError(
                f"the NIfTI header contradicts itself: its {name} has voxels of {_sizes(own)} mm, pixdim of "
                f"{_sizes(sizes)} mm; write it again from the original images"
            )
    if len({bool(np.linalg.det(affine[:3, :3]) < 0) for affine in affines.values()}) > 1:
        raise GeometryError(
            "the NIfTI header contradicts itself: sform and qform disagree about left and right; write it again from "
            "the original images"
        )


def _sizes(values: geometry.FloatArray) -> str:
    return " × ".join(f"{value:.3g}" for value in values)


def _require_itk_geometry(path: Path, image: Any) -> None:
    """Refuse a file that names no size of a voxel or no orientation: ITK would take 1 mm and the axes as they come.

    Raises:
        GeometryError: one of them is missing.
    """
    if path.name.lower().endswith((".nrrd", ".nhdr")):
        has_size = has_orientation = image.HasMetaDataKey("NRRD_space")
    else:
        with path.open("rb") as file:
            start = file.read(LONGEST_HEADER)
        header, _, _ = start.partition(b"ElementDataFile")
        has_size = re.search(rb"^Element(Spacing|Size)\s*=", header, re.MULTILINE) is not None
        has_orientation = re.search(rb"^(TransformMatrix|Rotation|Orientation)\s*=", header, re.MULTILINE) is not None
    there = {"size of a voxel": has_size, "orientation": has_orientation}
    lacking = [name for name, is_there in there.items() if not is_there]
    if lacking:
        raise GeometryError(
            f"the header gives no {' and no '.join(lacking)} in the patient, so that nothing can be measured; write it "
            "again from the original images"
        )


def _require_own_data(path: Path) -> None:
    """Refuse a header that names a file outside its folder: ITK would read whatever the service may read.

    Whatever the suffix, MetaImage and NRRD take their voxels from a file, or a list of files, that the header names.

    Raises:
        UnreadableError: it names one elsewhere, or is too long to tell.
    """
    with path.open("rb") as file:
        start = file.read(LONGEST_HEADER)
    lines = start.decode("latin-1").split("\n")
    for n, line in enumerate(lines):
        if not line.strip():
            return  # the header of an NRRD ends, and the voxels follow
        found = DATA_FILE.match(line)
        if found is None:
            continue
        is_list = found[1].upper().startswith("LIST")
        if is_list and len(start) == LONGEST_HEADER:
            break
        names = [name.strip() for name in (lines[n + 1 :] if is_list else [found[1]])]
        if any(PurePath(name).is_absolute() or ".." in re.split(r"[/\\]", name) for name in names):
            raise UnreadableError("names a data file outside its folder; put the two side by side")
        return
    if len(start) == LONGEST_HEADER:
        raise UnreadableError(f"has a header of more than {LONGEST_HEADER} bytes; write it again in one file")


def _read_itk(path: Path) -> tuple[Values, geometry.FloatArray, float, float]:
    """MetaImage and NRRD: ITK gives LPS whatever the space of the file."""
    import SimpleITK

    _require_own_data(path)
    try:
        image: Any = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise UnreadableError(f"the file is damaged or its data file is missing ({cause(error)})") from error
    _require_itk_geometry(path, image)
    if image.GetDimension() not in (3, 4) or image.GetNumberOfComponentsPerPixel() != 1:
        raise UnsupportedError(f"its size {_times(image.GetSize())} is no volume; give one three-dimensional CT")
    if image.GetDimension() == 4:
        if image.GetSize()[3] != 1:
            raise UnsupportedError(f"its size {_times(image.GetSize())} is no volume; give one three-dimensional CT")
        image = image[:, :, :, 0]
    direction = np.array(image.GetDirection()).reshape(3, 3)
    lps_from_index = geometry.affine(direction * np.array(image.GetSpacing()), image.GetOrigin())
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), lps_from_index, 1.0, 0.0


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(str(count) for count in shape)
