"""Size of a pixel of a projection image, and the plane where it holds (PS3.3 10.7).

Millimetres of the patient need more than the size of a detector element: the picture is magnified. A size is called the
patient's only where the header says that it was calibrated or how much it is magnified; no other value slips in.
"""

from __future__ import annotations

from typing import Final

from vertecast.core.images import ProjectionSpacing, SpacingPlane
from vertecast.io.projection.header import FrameHeader

SMALLEST_MM, LARGEST_MM = 0.01, 5.0
"""Sizes outside are mistakes: detector elements measure 0.05 to 0.6 mm."""

EQUAL: Final = 1e-3
"""PixelSpacing within this share of ImagerPixelSpacing is a copy of it."""

LEAST_MAGNIFICATION, MOST_MAGNIFICATION = 1.01, 3.0
"""A spine lies 10 cm or more before the detector: a factor of 1 was left at its default, not estimated."""

CALIBRATIONS: Final = {
    "GEOMETRY": "corrected for the magnification of the geometry",
    "FIDUCIAL": "calibrated with an object of known size",
}
"""Values of PixelSpacingCalibrationType (PS3.3 10.7.1.2)."""

Size = tuple[float, float]


def spacing_of(header: FrameHeader) -> tuple[ProjectionSpacing | None, tuple[str, ...]]:
    """The size of a pixel from the header of a frame.

    Returns:
        The spacing, None where the header gives no usable one; and warnings about values that were not used.
    """
    notes: list[str] = []
    in_beam = _one_size(header, "ObjectPixelSpacingInCenterOfBeam", notes)
    if in_beam is not None:
        return _spacing(in_beam, "patient", "ObjectPixelSpacingInCenterOfBeam"), tuple(notes)
    pixel = _one_size(header, "PixelSpacing", notes)
    imager = _one_size(header, "ImagerPixelSpacing", notes)
    calibration = header.text("PixelSpacingCalibrationType")
    if pixel is not None and calibration in CALIBRATIONS:
        return _spacing(pixel, "patient", f"PixelSpacing, {CALIBRATIONS[calibration]}"), tuple(notes)
    if pixel is not None and imager is not None and pixel[0] > (1 + EQUAL) * imager[0]:
        source = "PixelSpacing, larger than ImagerPixelSpacing: the picture was made smaller, in no known plane"
        notes.append("PixelSpacing is larger than ImagerPixelSpacing, so it corrects no magnification: no mm are given")
        return _spacing(pixel, "unknown", source), tuple(notes)
    if pixel is not None and imager is not None and not _are_equal(pixel, imager):
        source = "PixelSpacing, which differs from ImagerPixelSpacing: corrected or calibrated"
        return _spacing(pixel, "patient", source), tuple(notes)
    name = "ImagerPixelSpacing"
    if imager is None:
        imager, name = _one_size(header, "NominalScannedPixelSpacing", notes), "NominalScannedPixelSpacing"
    if imager is not None:
        return _at_detector(header, imager, name, notes), tuple(notes)
    if pixel is not None:
        source = "PixelSpacing, of which the header does not say in which plane it holds"
        return _spacing(pixel, "unknown", source), tuple(notes)
    return _aspect(header), tuple(notes)


def operator_spacing(spacing_mm: float, header: ProjectionSpacing | None) -> ProjectionSpacing:
    """The operator's size of a pixel in the patient: of a column, where the header says that pixels are oblong."""
    aspect = 1.0 if header is None else header.row_mm / header.column_mm
    return _spacing((spacing_mm * aspect, spacing_mm), "patient", "given by the operator")


def _at_detector(header: FrameHeader, imager: Size, name: str, notes: list[str]) -> ProjectionSpacing:
    """A size at the detector, divided by the magnification where the header tells it."""
    factor = header.number("EstimatedRadiographicMagnificationFactor")
    if factor is not None and LEAST_MAGNIFICATION <= factor <= MOST_MAGNIFICATION:
        source = f"{name} divided by EstimatedRadiographicMagnificationFactor {factor:.3g}"
        return _spacing((imager[0] / factor, imager[1] / factor), "patient", source)
    if factor is not None:
        notes.append(f"EstimatedRadiographicMagnificationFactor {factor:g} cannot be and was not used")
    detector, patient = header.number("DistanceSourceToDetector"), header.number("DistanceSourceToPatient")
    if detector and patient:
        factor = detector / patient
        if LEAST_MAGNIFICATION <= factor <= MOST_MAGNIFICATION:
            source = f"{name} divided by DistanceSourceToDetector / DistanceSourceToPatient = {factor:.3g}"
            return _spacing((imager[0] / factor, imager[1] / factor), "patient", source)
        notes.append(
            f"distances to detector and patient of {detector:g} and {patient:g} mm cannot be and were not used"
        )
    return _spacing(imager, "detector", f"{name}, at the detector: magnified by an unknown factor")


def _aspect(header: FrameHeader) -> ProjectionSpacing | None:
    """Shape of the pixels alone (PixelAspectRatio): without it every angle of oblong pixels would be wrong."""
    ratio = header.numbers("PixelAspectRatio", 2)
    if ratio is None or min(ratio) <= 0 or ratio[0] == ratio[1]:
        return None
    return _spacing((ratio[0] / ratio[1], 1.0), "unknown", "PixelAspectRatio, a shape without a size")


def _one_size(header: FrameHeader, keyword: str, notes: list[str]) -> Size | None:
    """Distance between rows and between columns, None where it is absent or cannot be."""
    numbers = header.numbers(keyword)
    if numbers is None:
        if header.value(keyword) is not None:
            notes.append(f"{keyword} is no number and was not used")
        return None
    if len(numbers) not in (1, 2) or not all(SMALLEST_MM <= number <= LARGEST_MM for number in numbers):
        notes.append(f"{keyword} {' × '.join(f'{number:g}' for number in numbers)} mm cannot be and was not used")
        return None
    return numbers[0], numbers[-1]


def _are_equal(first: Size, other: Size) -> bool:
    return all(abs(a - b) <= EQUAL * b for a, b in zip(first, other, strict=True))


def _spacing(size: Size, plane: SpacingPlane, source: str) -> ProjectionSpacing:
    return ProjectionSpacing(row_mm=size[0], column_mm=size[1], plane=plane, source=source)
