"""Reasons why a series or the values of a volume are no CT that can be measured."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.errors import UnsupportedError
from vertecast.core.images import OWN_RESULT
from vertecast.io.discover import SeriesFiles
from vertecast.io.headers import CT_IMAGE, MULTI_FRAME_CT

AIR_HU: Final = -1024
"""Lowest CT number of 12-bit scanners; padding and everything below is set to it."""

FAT_MAX_HU: Final = -50
"""Fat lies at -120 to -50 HU: every CT of a body part holds voxels below."""

BONE_MIN_HU: Final = 200
"""Cortical bone lies above 200 HU at any tube voltage: a CT of the spine holds voxels above."""

CLIPPED_HU: Final = (3071, 3095)
"""Largest value of 12-bit CT stored with the intercepts -1024 and -1000."""

CLIPPED_VOXELS: Final = 20
"""So many voxels at exactly the largest 12-bit value are a clipped object, not a chance."""

MIN_COVERAGE_MM: Final = 15.0
"""A stack that is thinner along the patient holds no vertebral body: a lumbar one is 25 mm high or more
(Zhou et al., Eur Spine J 2000;9:242), a collapsed one half of it."""

OBJECT_NAMES: Final = {
    "SR": "a structured report",
    "SEG": "a segmentation",
    "RTSTRUCT": "a set of contours",
    "RTDOSE": "a dose distribution",
    "RTPLAN": "a treatment plan",
    "PR": "a presentation state",
    "KO": "a key object selection",
    "REG": "a registration",
    "DOC": "a document",
}
"""Modalities without an image of their own."""

NO_HU_WORDS: Final = {
    "MIP": "a maximum intensity projection",
    "MINIP": "a minimum intensity projection",
    "PROJECTION IMAGE": "a projection",
    "MPR_CURVED": "a curved reformat",
    "VRT": "a volume rendering",
    "IODINE": "an iodine map",
    "VNCA": "a calcium-suppressed image",
    "CALCIUM_SUPPRESSED": "a calcium-suppressed image",
    "EFFECTIVE_Z": "an effective atomic number map",
    "Z_EFF": "an effective atomic number map",
    "ELECTRON_DENSITY": "an electron density map",
    "MATERIAL_SPECIFIC": "a material map",
    "PERFUSION": "a perfusion map",
}
"""Values of ImageType (PS3.3 C.8.2.1.1.1 and C.8.16.1.3, and what vendors write) of images whose values are no HU."""

HU_TYPES: Final = ("", "HU", "HU_MOD", "US")
"""Values of RescaleType of images in Hounsfield units (PS3.3 C.11.1.1.2); US is "unspecified"."""


def refusal_reason(series: SeriesFiles) -> str | None:
    """Why a series cannot be measured as CT, as far as its headers tell; None where it can."""
    if series.volume_file is not None:
        return None
    if series.picture_file is not None:
        return "is a picture file, not a CT image"
    if series.is_own_result:
        return OWN_RESULT
    if series.modality in OBJECT_NAMES:
        return f"is {OBJECT_NAMES[series.modality]}, not an image"
    if series.modality != "CT":
        return f"modality {series.modality or 'unknown'} is not measured here, only CT"
    if series.sop_class_uid not in (CT_IMAGE, *MULTI_FRAME_CT):
        return "is a secondary capture or another derived object, not a CT image (dose report, screen shot, rendering)"
    if not series.planes:
        return "holds no pixel data"
    if series.samples_per_pixel != 1:
        return "is a colour picture, not a CT image"
    types = {part for plane in series.planes for part in plane.image_type}
    if all("LOCALIZER" in plane.image_type for plane in series.planes):
        return "is a localizer"
    for word, name in NO_HU_WORDS.items():
        if word in types:
            return f"is {name}"
    if series.rescale_type.upper() not in HU_TYPES:
        return f"its values are {series.rescale_type}, not Hounsfield units"
    return None


def check_values(hu: npt.NDArray[np.generic]) -> tuple[str, ...]:
    """Refuse a volume whose values cannot be the Hounsfield units of a body part.

    Args:
        hu: Values (i, j, k).

    Returns:
        Warnings: values clipped at the end of the 12-bit range.

    Raises:
        UnsupportedError: all values equal, or the range is not that of a CT.
    """
    low, high = float(hu.min()), float(hu.max())
    if low == high:
        raise UnsupportedError(f"every voxel has the same value ({low:g}); the image is empty")
    if low > FAT_MAX_HU or high < BONE_MIN_HU:
        raise UnsupportedError(
            f"values from {low:g} to {high:g} are no CT of the spine: the image is not in Hounsfield units "
            "(a label map, a rescaled picture, a missing intercept) or holds no bone"
        )
    if high in CLIPPED_HU and np.count_nonzero(hu == high) >= CLIPPED_VOXELS:
        return (f"CT numbers are clipped at {high:.0f} HU: metal and dense cement cannot be told apart by value",)
    return ()


def check_finite(values: npt.NDArray[np.generic]) -> None:
    """Raise `UnsupportedError` where values (any shape) are NaN or infinite."""
    if values.dtype.kind == "f":
        bad = int(np.count_nonzero(~np.isfinite(values)))
        if bad:
            raise UnsupportedError(f"{bad} voxels are NaN or infinite; replace them with -1024 (air)")
