"""What the analysis of a study gives, and what it needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core.anatomy import Structure
from vertecast.core.config import AnalysisOptions
from vertecast.core.images import (
    DicomSource,
    HeightMap,
    Mask,
    MeasuredImage,
    Piece,
    ProjectionSegmentation,
    Radiograph,
    Segmentation,
    Volume,
)
from vertecast.core.results import CementFinding, CineFinding, ImageReference, LeakFinding, StudyReport
from vertecast.report.figures.filmstrip import Filmstrip

Phase: TypeAlias = Literal["pre", "intra", "post", "unknown"]
PhaseSource: TypeAlias = Literal["operator", "cement seen", "no cement seen", "unknown"]


class Segmenter(Protocol):
    """What finds the vertebrae. The shipped one is `CtSegmenter`; tests bring their own."""

    def segment(self, volume: Volume) -> Segmentation:
        """Find vertebrae, cement and metal. Raises `UnsupportedError` where no spine is in view."""
        ...


class ProjectionSegmenter(Protocol):
    """What finds the vertebrae on a projection. The shipped one is `XraySegmenter`."""

    def segment(self, radiograph: Radiograph, *, depth_px: float | None = None) -> ProjectionSegmentation:
        """Find bodies, cement and metal; a picture without a spine has no body and no view.

        ``depth_px``: depth of its bodies in columns, where that is known.
        """
        ...


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


def seen_canal(segmentation: Segmentation) -> Mask | None:
    """The spinal canal for the pictures; None where it was drawn from the arches round it instead of seen."""
    if segmentation.canal_is_inferred:
        return None
    canal = (segmentation.structure == Structure.CANAL).astype(np.uint8)
    return Mask(labels=canal, lps_from_index=segmentation.lps_from_index) if canal.any() else None


def phase_of(
    options: AnalysisOptions, *, cement_seen: bool, cines: Iterable[CineFinding] = ()
) -> tuple[Phase, PhaseSource]:
    """The operator's word, else what the images show: cement that appears in a cine is being injected."""
    if options.phase != "auto":
        return options.phase, "operator"
    if any(map(_cement_appears, cines)):
        return "intra", "cement seen"
    return ("post", "cement seen") if cement_seen else ("pre", "no cement seen")


def _cement_appears(cine: CineFinding) -> bool:
    """Whether a cine begins without the cement that it ends with; cement in its first frame was there before."""
    first = cine.first_cement_frame
    return isinstance(first, int) and bool(cine.growth) and first > cine.growth[0].frame_number


def numbered_after(
    cement: Sequence[CementFinding], leaks: Sequence[LeakFinding], count: int
) -> tuple[tuple[CementFinding, ...], tuple[LeakFinding, ...]]:
    """Cement and leaks of one image with ids that go on after ``count`` others: C1 becomes C4 after three."""

    def moved(name: str) -> str:
        return f"C{int(name.removeprefix('C')) + count}"

    return (
        tuple(replace(finding, id=moved(finding.id)) for finding in cement),
        tuple(replace(finding, cement_id=moved(finding.cement_id)) for finding in leaks),
    )
