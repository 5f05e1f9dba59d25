"""Truth of simulated projection studies.

``<StudyInstanceUID>.json`` anywhere below a folder, with a mask ``<SOPInstanceUID>.png`` beside it for every film.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from vertecast.core.errors import UnreadableError
from vertecast.core.images import View
from vertecast.core.results import PixelPoint, Place

TRUTH_SCHEMA: Final = "vertecast-projection-truth-1"

FilmLabels: TypeAlias = npt.NDArray[np.uint8]
"""Labels of a film (rows, columns): 0 nothing, 1 cement inside a body's outline, 2 cement outside, 3 metal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueFilmBody:
    """One body as it is; points (column, row) in the order of `ProjectionSegmentation`, in frame 1 of a cine."""

    level: str
    points_px: tuple[PixelPoint, PixelPoint, PixelPoint, PixelPoint, PixelPoint, PixelPoint]
    complete: bool
    grade: int
    heights_mm: Mapping[Place, float]
    wedge_deg: float
    has_ribs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueFilmLeak:
    """The leaks of one body into one compartment: pixels of their shadow, and those outside every body's outline."""

    compartment: str
    volume_ml: float
    area_px: int
    outside_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueCement:
    """The cement of one body: its volume, the pixels of its shadow, its leaks."""

    level: str
    volume_ml: float
    area_px: int
    leaks: tuple[TrueFilmLeak, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueFrame:
    """One frame of a cine: shift (column, row) of the spine against frame 1, cement so far and its leaked part."""

    shift_px: PixelPoint
    cement_ml: float
    leaked_ml: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueImage:
    """A film or a cine; ``bodies`` are those of which some part shows, cranial first. Frames count from 1."""

    series_instance_uid: str
    sop_instance_uid: str
    view: View
    frame_time_ms: float | None
    bodies: tuple[TrueFilmBody, ...]
    sacrum_visible: bool
    cement: tuple[TrueCement, ...]
    frames: tuple[TrueFrame, ...] = ()
    first_cement_frame: int | None = None
    first_leak_frame: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueFilmStudy:
    """The images of one study; ``seed`` stands for the patient, ``folder`` holds the masks of the films."""

    simulated: Literal[True]
    kind: Literal["film", "cine"]
    seed: int
    study_instance_uid: str
    images: tuple[TrueImage, ...]
    folder: Path

    def mask_path(self, image: TrueImage) -> Path:
        """The true labels of a film."""
        return self.folder / f"{image.sop_instance_uid}.png"


def read_projection_truth(directory: Path) -> tuple[TrueFilmStudy, ...]:
    """Read the truth of every projection study below a folder, in the order of the file names.

    Raises:
        UnreadableError: A truth is damaged, is not simulated, or has two images in one series, whose findings a report
            does not tell apart.
    """
    studies = []
    for path in sorted(directory.rglob("*.json")):
        document = read_json(path)
        if not isinstance(document, dict) or document.get("schema") != TRUTH_SCHEMA:
            continue
        study: TrueFilmStudy = typed(path, TrueFilmStudy, {**document, "folder": path.parent})
        if len({image.series_instance_uid for image in study.images}) < len(study.images):
            raise UnreadableError(f"{path}: has two images in one series; give each image a series of its own")
        studies.append(study)
    return tuple(studies)


def read_film_labels(path: Path) -> FilmLabels:
    """Read the labels of a film (rows, columns), uint8.

    Raises:
        UnreadableError: The file is missing, damaged, or no 8-bit grey picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.mode != "L":
                raise UnreadableError(f"{path}: is no label picture; it must be 8-bit grey")
            return np.asarray(picture, dtype=np.uint8)
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read ({type(error).__name__}); write it again") from error


def read_json(path: Path) -> Any:
    """A file as JSON values.

    Raises:
        UnreadableError: It cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UnreadableError(f"{path}: is not valid JSON; write it again") from error


def typed(path: Path, kind: Any, document: Any) -> Any:
    """A document as the given type; keys that the type does not have are left out.

    Raises:
        UnreadableError: It does not fit; ``path`` and the first place that does not are named.
    """
    try:
        return _reader(kind).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        cause = f"{place}: {first['type']}"
        raise UnreadableError(f"{path}: lacks what is to be scored ({cause}); write it again") from error


@functools.cache
def _reader(kind: Any) -> Any:
    return TypeAdapter(kind)
