"""What there is to analyse in a series of projection images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydicom import Dataset

from vertecast.io.discover import SeriesFiles
from vertecast.io.headers import read_attributes
from vertecast.io.projection.header import FrameHeader, biplane
from vertecast.io.sources import FileRef


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionFile:
    """One thing to analyse: an image, a cine, or one plane of a biplane cine.

    Attributes:
        source: The file.
        is_picture: PNG or JPEG.
        frames: Numbers of its frames in the file, from 1.
        plane: "A" or "B" of a biplane system, else "".
    """

    source: FileRef
    is_picture: bool
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    frames: tuple[int, ...]
    plane: str = ""

    @property
    def kind(self) -> Literal["radiograph", "cine"]:
        """Kind as reports name it."""
        return "cine" if len(self.frames) > 1 else "radiograph"


def projection_files(series: SeriesFiles) -> tuple[ProjectionFile, ...]:
    """What there is to analyse in a series: each file of a radiographic one, each plane of a biplane one.

    Raises:
        UnreadableError: a file cannot be opened or its header is damaged.
    """
    if series.picture_file is not None:
        return (_projection_file(series, series.picture_file, None, (1,), ""),)
    files: list[tuple[int, ProjectionFile]] = []
    for source in dict.fromkeys(plane.source for plane in series.planes):
        dataset = read_attributes(source)
        number = str(dataset.get("InstanceNumber") or "")
        order = int(number) if number.lstrip("-").isdigit() else 0
        count = max(1, int(dataset.get("NumberOfFrames") or 1))
        planes: dict[str, list[int]] = {}
        for frame in range(1, count + 1):
            planes.setdefault(biplane(FrameHeader(dataset=dataset, frame=frame)), []).append(frame)
            if frame == 1 and not dataset.get("PerFrameFunctionalGroupsSequence"):
                planes = {plane: list(range(1, count + 1)) for plane in planes}
                break
        for plane, frames in planes.items():
            files.append((order, _projection_file(series, source, dataset, tuple(frames), plane)))
    files.sort(key=lambda item: (item[0], str(item[1].source), item[1].plane))
    return tuple(file for _, file in files)


def _projection_file(
    series: SeriesFiles, source: FileRef, dataset: Dataset | None, frames: tuple[int, ...], plane: str
) -> ProjectionFile:
    def text(keyword: str) -> str:
        return "" if dataset is None else str(dataset.get(keyword) or "").strip(" \0")

    return ProjectionFile(
        source=source,
        is_picture=dataset is None,
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        sop_instance_uid=text("SOPInstanceUID"),
        sop_class_uid=text("SOPClassUID"),
        modality="" if dataset is None else series.modality,
        frames=frames,
        plane=plane,
    )
