"""Label maps and images in files: NIfTI, MetaImage, NRRD."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.errors import UnreadableError
from vertecast.core.images import Mask, Volume

NIFTI_ENDINGS: Final = (".nii.gz", ".nii")
ENDINGS: Final = (*NIFTI_ENDINGS, ".mha", ".mhd", ".nrrd")


def stem(path: Path) -> str:
    """Name of a file without the ending of its kind."""
    return next((path.name.removesuffix(end) for end in ENDINGS if path.name.endswith(end)), path.stem)


def read_labels(path: Path) -> Mask:
    """Read a label map.

    Raises:
        UnreadableError: The file is damaged, or holds other values than whole numbers from 0 to 255.
    """
    values, lps_from_index = _read(path)
    labels = values if values.dtype == np.uint8 else values.astype(np.uint8)
    if values.ndim != 3 or (labels is not values and not np.array_equal(labels, values)):
        raise UnreadableError(f"{path}: is no label map; it must hold whole numbers from 0 to 255 on three axes")
    return Mask(labels=labels, lps_from_index=lps_from_index)


def read_image(path: Path) -> Volume | None:
    """Read a CT to draw under the outlines; None where the file is no volume."""
    values, lps_from_index = _read(path)
    if values.ndim != 3 or values.dtype.kind not in "iuf":
        return None
    return Volume(hu=values.astype(np.float32), lps_from_index=lps_from_index)


def _read(path: Path) -> tuple[npt.NDArray[Any], geometry.FloatArray]:
    return _read_nifti(path) if path.name.endswith(NIFTI_ENDINGS) else _read_itk(path)


def _read_nifti(path: Path) -> tuple[npt.NDArray[Any], geometry.FloatArray]:
    import nibabel

    try:
        image: Any = nibabel.loadsave.load(path)
        values = np.asarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError) as error:
        raise UnreadableError(f"{path}: cannot be read as NIfTI ({type(error).__name__}); write it again") from error
    return values, geometry.LPS_FROM_RAS @ np.asarray(image.affine, dtype=np.float64)


def _read_itk(path: Path) -> tuple[npt.NDArray[Any], geometry.FloatArray]:
    """ITK gives LPS whatever the space of the file."""
    import SimpleITK

    try:
        image: Any = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise UnreadableError(f"{path}: cannot be read; it is damaged or its data file is missing") from error
    if image.GetDimension() != 3:
        raise UnreadableError(f"{path}: has {image.GetDimension()} axes; give a volume with three")
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine = geometry.affine(direction * np.array(image.GetSpacing()), image.GetOrigin())
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), affine
