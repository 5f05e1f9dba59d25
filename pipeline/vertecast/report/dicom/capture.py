"""The pictures of a report as Secondary Capture images (PS3.3 A.8.1), for viewers that show nothing else of it."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from vertecast.report.dicom.identity import ResultObject, digest
from vertecast.report.figures.pictures import Picture

BODY_PART: Final = "SPINE"
"""Where the source names no part of the spine (PS3.16 annex L). Films are often called hip or extremity by the protocol
that they were taken with, and a paired part would ask for its side."""


def build_capture(picture: Picture, header: Dataset, number: int, *, burned_in: str) -> Dataset:
    """A picture as an RGB image.

    Args:
        picture: The picture.
        header: Data set of a source image of the study.
        number: Of the picture in its series, from 1.
        burned_in: "YES" or "NO": whether its pixels tell who the patient is; "" where nobody knows.
    """
    from PIL import Image

    with Image.open(io.BytesIO(picture.png)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    content = pixels.tobytes()
    result = ResultObject(
        header,
        SecondaryCaptureImageStorage,
        "OT",
        "pictures",
        instance=(number, digest(str(pixels.shape), content)),
    )
    result.ConversionType = "WSD"
    result.ImageType = ["DERIVED", "SECONDARY"]
    part = str(header.get("BodyPartExamined") or "")
    result.BodyPartExamined = part if part.endswith(BODY_PART) else BODY_PART
    result.PatientOrientation = ""
    result.ImageComments = picture.alt
    if burned_in:
        result.BurnedInAnnotation = burned_in
    result.SamplesPerPixel, result.PhotometricInterpretation, result.PlanarConfiguration = 3, "RGB", 0
    result.BitsAllocated, result.BitsStored, result.HighBit, result.PixelRepresentation = 8, 8, 7, 0
    result.Rows, result.Columns = pixels.shape[:2]
    result.PixelData = content + b"\0" * (len(content) % 2)
    result["PixelData"].VR = "OB"
    return result
