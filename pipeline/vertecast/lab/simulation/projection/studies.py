"""Simulated projection studies: films and cines of one visit of a patient, written as DICOM with their truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.errors import OutputError
from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.patient.spine import Spine
from vertecast.lab.simulation.patient.tissue import Phantom, draw
from vertecast.lab.simulation.projection.projected import LEAST_BODY_VOXELS, SPINE_BEHIND_MIDDLE_MM
from vertecast.lab.simulation.projection.rays import Camera
from vertecast.lab.simulation.projection.truth import truth

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

ProjectionPhase: TypeAlias = Literal["pre", "during", "post"]

DIVERGENCE: Final = 1.18
"""The beam is wider behind the isocentre than in it: the patient is drawn this much taller than the picture."""


class ProjectedImage(Protocol):
    """One film or cine of a study."""

    @property
    def series_instance_uid(self) -> str:
        """UID of its series."""

    @property
    def sop_instance_uid(self) -> str:
        """UID of the image."""

    def truth(self, spine: Spine) -> dict[str, Any]:
        """What it shows, with the keys of the truth file."""

    def mask(self) -> npt.NDArray[np.uint8] | None:
        """Cement and metal (rows, columns) as `truth.mask`; None where no mask is written."""

    def dataset(self, study: ProjectionStudy, number: int) -> FileDataset:
        """The compressed DICOM object, image ``number`` (from 1) of its study."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProjectionStudy:
    """One visit: the images share the anatomy, as do all studies of a seed."""

    seed: int
    kind: Literal["film", "cine"]
    phase: ProjectionPhase
    spine: Spine
    study_instance_uid: str
    images: tuple[ProjectedImage, ...]


def write_projection_study(study: ProjectionStudy, directory: Path) -> Path:
    """Write a study as DICOM with its truth.

    Writes ``studies/<seed>_<phase>/*.dcm``, ``truth/<StudyInstanceUID>.json`` and, for films,
    ``truth/<SOPInstanceUID>.png``.

    Returns:
        The folder of the study.

    Raises:
        OutputError: The directory cannot be written.
    """
    from PIL import Image

    folder = directory / "studies" / f"{study.seed:06d}_{study.phase}"
    truth_folder = directory / "truth"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        truth_folder.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(study.images, start=1):
            dataset = image.dataset(study, number)
            dataset.save_as(folder / f"{dataset.Modality}{number:04d}.dcm", enforce_file_format=True)
            mask = image.mask()
            if mask is not None:
                Image.fromarray(mask).save(truth_folder / f"{image.sop_instance_uid}.png")
        text = json.dumps(truth(study), indent=1, allow_nan=False)
        (truth_folder / f"{study.study_instance_uid}.json").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise OutputError(f"{folder} cannot be written ({reason}): check space and permissions") from error
    return folder


def draw_for_projection(
    spine: Spine, focus_lps_mm: FloatArray, size_mm: Sequence[float], spacing_mm: float, rng: np.random.Generator
) -> Phantom:
    """Draw the trunk round a point of the column.

    Args:
        spine: The patient's spine.
        focus_lps_mm: (3,) point of the column.
        size_mm: Left to right, front to back, and height of the largest picture.
        spacing_mm: Grid of the drawing.
        rng: Draws what the spine leaves open.
    """
    counts = np.ceil(np.asarray(size_mm) * [1.0, 1.0, DIVERGENCE] / spacing_mm).astype(int)
    center = focus_lps_mm - [0.0, SPINE_BEHIND_MIDDLE_MM, 0.0]
    grid = geometry.scaling_affine([spacing_mm] * 3, center - spacing_mm * (counts - 1) / 2)
    return draw(spine, grid, (int(counts[0]), int(counts[1]), int(counts[2])), rng)


def aimed_in_front(look: Camera, front_mm: float) -> Camera:
    """Move a camera aimed at the column sideways, so that its middle lies this far in front of the column.

    The isocentre stays at the column's depth, where the size of a pixel holds; in a view from the front nothing moves.
    """
    right = look.picture_from_lps[0]
    return replace(look, center_lps_mm=look.center_lps_mm + right * float(right @ [0.0, -front_mm, 0.0]))


def treatable(phantom: Phantom, focus_lps_mm: FloatArray, reach_mm: float, rng: np.random.Generator) -> list[int]:
    """Vertebrae (indices from 0) drawn whole within a height above and below a point, broken ones first.

    Where none is so near, the nearest one: a treatment is in the picture that is aimed at it.
    """
    vertebrae = phantom.spine.vertebrae
    away_mm = {
        int(n): abs(float(vertebrae[n].lps_from_local[2, 3] - focus_lps_mm[2]))
        for n in phantom.whole_bodies(LEAST_BODY_VOXELS)
    }
    near = [n for n, distance in away_mm.items() if distance < reach_mm] or [min(away_mm, key=away_mm.__getitem__)]
    return sorted(near, key=lambda n: (vertebrae[n].grade == 0, rng.random()))
