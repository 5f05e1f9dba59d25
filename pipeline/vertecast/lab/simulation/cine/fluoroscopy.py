"""Simulated fluoroscopy of a treatment: cement grows from the needle while the patient breathes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core.geometry import FloatArray
from vertecast.core.images import View
from vertecast.lab.simulation.cine.look import Collimator, Look, developed
from vertecast.lab.simulation.cine.scene import FluoroscopyScene, place_needles, project_scene
from vertecast.lab.simulation.cine.tracks import sample_tracks
from vertecast.lab.simulation.dicom_out import deterministic_uid
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.spine import Spine
from vertecast.lab.simulation.projection.film_studies import FRACTURE_RATE
from vertecast.lab.simulation.projection.integrals import coarse_camera
from vertecast.lab.simulation.projection.pictures import METAL_MM
from vertecast.lab.simulation.projection.projected import LUMBAR_RATE
from vertecast.lab.simulation.projection.rays import Camera, FloatImage, camera
from vertecast.lab.simulation.projection.studies import ProjectionStudy, aimed_in_front, draw_for_projection, treatable
from vertecast.lab.simulation.projection.truth import FIRST_CEMENT_ML, FIRST_LEAK_ML, Shown, shown_truth
from vertecast.lab.simulation.treatment.cement import treat

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

Content: TypeAlias = Literal["cement", "needle", "clean"]

CONTENT_SHARE: Final[dict[Content, float]] = {"cement": 0.76, "needle": 0.12, "clean": 0.12}
"""What is done in a cine: an injection, a needle that waits, nothing."""

VIEW_SHARE: Final[dict[View, float]] = {"lateral": 0.65, "ap": 0.25, "oblique": 0.1}
FRAME_RATES_HZ: Final = (7.5, 10.0, 12.5, 15.0)
FIELD_TOLD_SHARE: Final = 0.5
"""Share of the headers that tell the collimator."""

MARGIN_MM: Final = 32.0
"""Drawn round the picture, for what the table and the breath bring into it."""

MAGNIFIED_SHARE: Final = 0.6
"""Share of the headers that tell the distances to detector and patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CineSettings:
    """How finely cines are made, and how large and long they are; ranges are drawn from evenly.

    Attributes:
        spacing_mm: Grid of the drawing.
        trunk_mm: Largest part of the trunk drawn, left to right and front to back.
        size: Rows and columns.
        field_mm: Width of the picture in the plane of the spine.
        seconds: Length.
        coarse_mm: Distance of the rays.
    """

    spacing_mm: float = 1.4
    trunk_mm: tuple[float, float] = (320.0, 260.0)
    size: int = 512
    field_mm: tuple[float, float] = (165.0, 225.0)
    seconds: tuple[float, float] = (4.0, 12.0)
    coarse_mm: float = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTruth:
    """One frame: shift of the spine (column, row) against the first, volumes so far, whether a needle shows."""

    shift_px: tuple[float, float]
    cement_ml: float
    leaked_ml: float
    needle: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CineHeader:
    """What the file says of a cine: distances from the source, or the detector's pixels alone; shutters or none."""

    detector_mm: float
    tells_distances: bool
    tells_field: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedCine:
    """One run of fluoroscopy.

    Attributes:
        frames: Pixels (frames, rows, columns), uint8.
        frame_time_ms: Time between frames.
        shown: The truth in the picture: bodies as in the first frame, cement and metal as in the last.
        frame_truths: One per frame.
        bone_is_bright: Polarity.
        collimator: The open field.
        header: What the file says.
        series_instance_uid, sop_instance_uid: Unique, and the same for the same seed.
    """

    frames: npt.NDArray[np.uint8]
    frame_time_ms: float
    shown: Shown
    frame_truths: tuple[FrameTruth, ...]
    bone_is_bright: bool
    collimator: Collimator
    header: CineHeader
    series_instance_uid: str
    sop_instance_uid: str

    def truth(self, spine: Spine) -> dict[str, Any]:
        """What the cine shows, with the keys of the truth file."""
        return {
            "series_instance_uid": self.series_instance_uid,
            "sop_instance_uid": self.sop_instance_uid,
            "frame_count": len(self.frames),
            "frame_time_ms": self.frame_time_ms,
            **shown_truth(self.shown, spine, shift_px=self.frame_truths[-1].shift_px),
            "frames": [asdict(frame) for frame in self.frame_truths],
            "first_cement_frame": first_frame([f.cement_ml for f in self.frame_truths], FIRST_CEMENT_ML),
            "first_leak_frame": first_frame([f.leaked_ml for f in self.frame_truths], FIRST_LEAK_ML),
        }

    def mask(self) -> None:
        """No mask is written for a cine."""

    def dataset(self, study: ProjectionStudy, number: int) -> FileDataset:
        """The compressed DICOM object, image ``number`` (from 1) of its study."""
        from vertecast.lab.simulation.projection.dicom import cine_dataset

        return cine_dataset(study, self, number)


def first_frame(volumes_ml: Sequence[float], least_ml: float) -> int | None:
    """Number (from 1) of the first frame with this volume or more, None where none has it."""
    return next((number for number, volume in enumerate(volumes_ml, start=1) if volume >= least_ml), None)


def simulate_cine(
    seed: int, settings: CineSettings | None = None, *, content: Content | None = None
) -> ProjectionStudy:
    """Simulate the fluoroscopy of a random treatment; the patient is that of the films of the same seed.

    Args:
        seed: Decides everything; the same seed gives the same bytes.
        settings: How finely and how large; None for the size of cines in practice.
        content: What is done; None leaves it to chance.
    """
    settings = settings or CineSettings()
    spine = sample_spine(np.random.default_rng([seed, 20]), fracture_rate=FRACTURE_RATE)
    rng = np.random.default_rng([seed, 30])
    names = list(CONTENT_SHARE)
    drawn = names[rng.choice(len(names), p=list(CONTENT_SHARE.values()))]
    scene = make_scene(spine, settings, content or drawn, rng)
    collimator, look = Collimator.sample(rng), Look.sample(rng)
    field = collimator.field(scene.camera.shape)
    needle_seen: list[bool] = []
    pixel_mm = scene.camera.pixel_mm
    frames = np.stack(list(developed(_frames(scene, field, needle_seen), field, look, pixel_mm=pixel_mm, rng=rng)))
    study_uid = deterministic_uid(seed, "cine", "during")
    series_uid = deterministic_uid(study_uid, "series")
    cine = SimulatedCine(
        frames=frames,
        frame_time_ms=round(1000 * float(scene.tracks.times_s[1]), 3),
        shown=scene.shown(spine, field),
        frame_truths=tuple(_frame_truth(scene, n, needle=seen) for n, seen in enumerate(needle_seen)),
        bone_is_bright=look.bone_is_bright,
        collimator=collimator,
        header=CineHeader(
            detector_mm=round(scene.camera.source_mm + rng.uniform(180, 380), 0),
            tells_distances=bool(rng.random() < MAGNIFIED_SHARE),
            tells_field=bool(rng.random() < FIELD_TOLD_SHARE),
        ),
        series_instance_uid=series_uid,
        sop_instance_uid=deterministic_uid(series_uid, 1),
    )
    return ProjectionStudy(
        seed=seed, kind="cine", phase="during", spine=spine, study_instance_uid=study_uid, images=(cine,)
    )


def make_scene(spine: Spine, settings: CineSettings, content: Content, rng: np.random.Generator) -> FluoroscopyScene:
    """Draw a patient, treat one vertebra of it, and cast the rays of a cine of it."""
    last = len(spine.vertebrae) - 1
    lowest, highest = (0, 5) if rng.random() < LUMBAR_RATE else (5, 9)
    near = sorted(
        range(last - highest + 1, last - lowest + 1), key=lambda n: (spine.vertebrae[n].grade == 0, rng.random())
    )
    focus = spine.vertebrae[near[0]].lps_from_local[:3, 3]
    width_mm = float(rng.uniform(*settings.field_mm))
    size_mm = (*settings.trunk_mm, width_mm + 2 * MARGIN_MM)
    phantom = draw_for_projection(spine, focus, size_mm, settings.spacing_mm, rng)
    treatment = treat(phantom, treatable(phantom, focus, 0.1 * width_mm, rng)[0], rng)
    look = _aim(focus, width_mm / settings.size, settings.size, rng)
    coarse = coarse_camera(look, settings.coarse_mm, margin_mm=MARGIN_MM)
    step_s = 1 / float(rng.choice(FRAME_RATES_HZ))
    times_s = np.arange(round(rng.uniform(*settings.seconds) / step_s), dtype=np.float64) * step_s
    tracks = sample_tracks(times_s, has_cement=content == "cement", rng=rng)
    placed = () if content == "clean" else place_needles(phantom, treatment, (look, coarse), rng)
    return project_scene(phantom, (look, coarse), tracks, treatment if content == "cement" else None, placed, rng)


def _aim(focus_lps_mm: FloatArray, pixel_mm: float, size: int, rng: np.random.Generator) -> Camera:
    """The camera of a cine, near the treated vertebra; half of the lateral ones have the front on the right."""
    views = list(VIEW_SHARE)
    view = views[rng.choice(len(views), p=list(VIEW_SHARE.values()))]
    turn = float(rng.normal(0, 4)) + (180.0 if view == "lateral" and rng.random() < 0.5 else 0.0)
    look = camera(
        view,
        focus_lps_mm + rng.normal(0, 8, 3),
        angles_deg=(turn, float(rng.normal(0, 4)), float(rng.normal(0, 3))),
        source_mm=float(rng.uniform(620, 900)),
        pixel_mm=pixel_mm,
        shape=(size, size),
    )
    return aimed_in_front(look, float(rng.uniform(-5, 25)))


def _frames(
    scene: FluoroscopyScene, field: npt.NDArray[np.bool_], needle_seen: list[bool]
) -> Iterator[tuple[FloatImage, float]]:
    """Attenuation and dose of every frame; notes in passing where a needle shows."""
    for number in range(scene.frame_count):
        log, metal_mm = scene.attenuation(number)
        needle_seen.append(bool((metal_mm[field] >= METAL_MM).any()))
        yield log, float(scene.tracks.brightness[number])


def _frame_truth(scene: FluoroscopyScene, frame: int, *, needle: bool) -> FrameTruth:
    shift, growth = scene.shift_px(frame), scene.growth
    cement_ml = leaked_ml = 0.0
    if growth is not None:
        filled = growth.filled(float(scene.tracks.injected[frame]))
        cement_ml, leaked_ml = float(filled @ growth.shell_ml), float(filled @ growth.leaked_ml)
    return FrameTruth(
        shift_px=(float(shift[0]), float(shift[1])), cement_ml=cement_ml, leaked_ml=leaked_ml, needle=needle
    )
