"""What the analysis of a study gives: a report with what it was measured on, for everything that is written of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from vertecast.core.images import DicomSource, HeightMap, Mask, MeasuredImage, Piece, Radiograph, Volume
from vertecast.core.results import CineFinding, ImageReference, StudyReport


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StripFrame:
    """One small frame.

    Attributes:
        frame_number: From 1.
        grey: Picture (rows, columns), uint8, bone bright.
        labels: 200 cement inside a body's outline, 201 outside, else 0 (rows, columns), uint8.
        outlines: Corners (n, 2) of every body, (column, row) of the small picture.
        aspect: Height of a pixel over its width.
        notes: Why the frame was chosen ("first cement").
    """

    frame_number: int
    grey: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    outlines: tuple[npt.NDArray[np.float64], ...]
    aspect: float = 1.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Filmstrip:
    """The frames of one cine, in their order."""

    cine: CineFinding
    frames: tuple[StripFrame, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Film:
    """A projection that was measured, for its picture.

    Attributes:
        series_instance_uid: Of the image.
        radiograph: The image; of a cine the frame that was measured.
        labels: Cement inside and leaked, metal, numbers of ``labels_<n>.nii.gz`` (rows, columns).
        image: Which of its series' images it is; None for a picture file.
        strip: Of a cine, a few of its frames.
        pieces: Bodies, cement and suspected leaks as pixels.
        source: Its DICOM file, None for a picture file.
    """

    series_instance_uid: str
    radiograph: Radiograph
    labels: npt.NDArray[np.uint8]
    image: ImageReference | None = None
    strip: Filmstrip | None = None
    pieces: tuple[Piece, ...] = ()
    source: DicomSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudyResult:
    """A report with what it was measured on.

    Attributes:
        volume, labels: The CT and its label map; None without a CT.
        pieces: Cement and leaks on the voxels of the CT.
        source: DICOM images of the CT; None for a file of another format.
        films: Projections that were measured.
        height_maps: Of fractured and treated bodies on the CT.
        canal: 1 inside the spinal canal, on a grid of its own; None where it was not seen.
    """

    report: StudyReport
    volume: Volume | None = None
    labels: Mask | None = None
    pieces: tuple[Piece, ...] = ()
    source: DicomSource | None = None
    films: tuple[Film, ...] = ()
    height_maps: tuple[HeightMap, ...] = ()
    canal: Mask | None = None

    @property
    def strips(self) -> tuple[Filmstrip, ...]:
        """A few frames of each cine."""
        return tuple(film.strip for film in self.films if film.strip is not None)

    @property
    def dicom_images(self) -> tuple[MeasuredImage, ...]:
        """What came from DICOM, the CT first: results go back into its study."""
        images = []
        if self.source is not None and self.labels is not None:
            ct = next(one for one in self.report.series if one.is_volume and one.status == "analyzed")
            images.append(
                MeasuredImage(
                    series_instance_uid=ct.series_instance_uid,
                    labels=np.asarray(self.labels.labels, dtype=np.uint8),
                    pieces=self.pieces,
                    lps_from_index=self.labels.lps_from_index,
                    source=self.source,
                )
            )
        for film in self.films:
            if film.source is not None:
                images.append(
                    MeasuredImage(
                        series_instance_uid=film.series_instance_uid,
                        labels=film.labels,
                        pieces=film.pieces,
                        lps_from_index=None,
                        source=film.source,
                    )
                )
        return tuple(images)

    @property
    def status(self) -> Literal["analyzed", "failed", "skipped"]:
        """What became of the study: analysed in one series at least; else failed where a series failed."""
        states = {series.status for series in self.report.series}
        if "analyzed" in states:
            return "analyzed"
        return "failed" if "failed" in states else "skipped"

    @property
    def reason(self) -> str:
        """Why the study was not analysed: the reasons of its series, each once; empty for an analysed one."""
        if self.status == "analyzed":
            return ""
        reasons = [series.reason for series in self.report.series if series.status == self.status]
        return "; ".join(dict.fromkeys(reasons)) or "no image series in the study"
