"""Which series of a study are projection images to measure, and why the others are not."""

from __future__ import annotations

from typing import Final

from vertecast.core.results import SeriesResult
from vertecast.io.checks import OBJECT_NAMES
from vertecast.io.discover import RADIOGRAPH_MODALITIES, SeriesFiles, StudyFiles, refusal

SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
"""Start of the SOP classes of secondary captures, single and multi-frame."""

RECONSTRUCTED: Final = "1.2.840.10008.5.1.4.1.1.13.1"
"""Start of the SOP classes of volumes reconstructed from X-ray projections."""

CAPTURED_VIDEO: Final = ("DV", "DI", "DF")
"""Values of ConversionType for digitised video, a digital interface and digitised film: C-arms without DICOM of their
own come in this way (PS3.3 C.8.6.1)."""

SCREEN_BITS: Final = 8
"""A screen shot has 8 bits per sample; a grey capture with more is an image that lost its class on the way."""


def choose_projection_series(study: StudyFiles) -> tuple[list[SeriesFiles], list[SeriesResult]]:
    """Every series of radiographs or fluoroscopy, from headers alone. Unlike CT, each of them is measured.

    Returns:
        The series in the order found, and a record with the reason for every other one in ``study.series``
        (``study.rejected`` is not repeated).
    """
    chosen: list[SeriesFiles] = []
    others: list[SeriesResult] = []
    for series in study.series:
        reason = projection_refusal(series) or _raw_twin(series, study)
        if reason is None and series.files_without_image:
            reason = f"{series.files_without_image} files are damaged and hold no image; send the series again"
            others.append(refusal(series, reason, failed=True))
        elif reason is None:
            chosen.append(series)
        else:
            others.append(refusal(series, reason))
    return chosen, others


def projection_refusal(series: SeriesFiles) -> str | None:
    """Why a series is no projection image that can be measured, as far as its headers tell; None where it is."""
    if series.picture_file is not None:
        return None
    if series.volume_file is not None:
        return "is a volume, not a projection image"
    if series.modality in OBJECT_NAMES:
        return f"is {OBJECT_NAMES[series.modality]}, not an image"
    if series.modality not in RADIOGRAPH_MODALITIES:
        return f"modality {series.modality or 'unknown'} is no radiograph or fluoroscopy"
    if series.sop_class_uid.startswith(RECONSTRUCTED):
        return "is a volume reconstructed from projections, not a projection image"
    if not series.planes:
        return "holds no pixel data"
    if series.sop_class_uid.startswith(SECONDARY_CAPTURE) and not _is_wrapped_image(series):
        return "is a secondary capture (a screen shot, a dose report or a result), not the image itself"
    return None


def _is_wrapped_image(series: SeriesFiles) -> bool:
    """True for an X-ray image that was only stored as a secondary capture."""
    if series.samples_per_pixel != 1:
        return False
    return series.bits_stored > SCREEN_BITS or series.conversion_type in CAPTURED_VIDEO


def _raw_twin(series: SeriesFiles, study: StudyFiles) -> str | None:
    """A reason for raw detector images that the study also holds made up for viewing: one film is one finding."""
    if not series.for_processing:
        return None
    twins = (
        other
        for other in study.series
        if other.modality == series.modality and not other.for_processing and projection_refusal(other) is None
    )
    twin = next((other for other in twins if len(other.planes) >= len(series.planes)), None)
    return None if twin is None else f"holds raw detector values of images that are measured on {_name(twin)}"


def _name(series: SeriesFiles) -> str:
    return f"series {series.series_instance_uid}"
