"""Simulated radiographs of patients: single films, or lateral and AP films before and after treatment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core.geometry import FloatArray
from vertecast.core.images import View
from vertecast.lab.simulation.dicom_out import deterministic_uid
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.spine import Spine
from vertecast.lab.simulation.patient.tissue import Phantom
from vertecast.lab.simulation.projection.film import clutter, collimate, develop, expose
from vertecast.lab.simulation.projection.integrals import (
    coarse_camera,
    deposit_integrals,
    patient_attenuation,
    resampled,
)
from vertecast.lab.simulation.projection.projected import LUMBAR_RATE, SPINE_BEHIND_MIDDLE_MM
from vertecast.lab.simulation.projection.rays import Camera, FloatImage, camera, line_integrals
from vertecast.lab.simulation.projection.studies import (
    ProjectionPhase,
    ProjectionStudy,
    aimed_in_front,
    draw_for_projection,
    treatable,
)
from vertecast.lab.simulation.projection.truth import CementShadow, Shown, mask, shown_truth
from vertecast.lab.simulation.treatment.cement import Treatment, treat
from vertecast.lab.simulation.treatment.hardware import Hardware, screws_and_rods

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

FilmKind: TypeAlias = Literal["lateral", "ap", "films"]
SpacingHeader: TypeAlias = Literal["detector", "estimated", "fiducial", "geometry"]

LARGEST_VALUE: Final = 4095
"""Films are stored with 12 bits."""

TREATED_SHARE: Final = 0.5
SCREWS_SHARE: Final = 0.08
FRACTURE_RATE: Final = 0.35
AP_WIDER: Final = 1.2
PATIENT_MM: Final = 60.0
"""With less water on its ray a pixel shows the patient's edge or air: too bright to be told apart."""

MOST_TAKES: Final = 4
BURNT_OUT: Final = (0.02, 0.97)
MOST_BURNT_OUT: Final = 0.25
LEAST_CONTRAST: Final = 0.07
"""Bodies with more pixels at an end of the scale, or with a smaller standard deviation, cannot be read."""

INVERTED_SHARE: Final = 0.4
"""Share of the films stored as MONOCHROME1."""

SPACING_SHARE: Final[dict[SpacingHeader, float]] = {
    "detector": 0.35,
    "estimated": 0.3,
    "fiducial": 0.2,
    "geometry": 0.15,
}
"""What headers say of a pixel's size: that at the detector alone, with a factor of magnification, or calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmSettings:
    """How finely films are made, and how large they are; ranges are drawn from evenly.

    Attributes:
        spacing_mm: Grid of the drawing.
        trunk_mm: Largest part of the trunk drawn, left to right and front to back.
        height_mm: Height of the films in the plane of the spine.
        width_mm: Width of lateral films; AP films are `AP_WIDER`.
        pixel_mm: Pixel size in the plane of the spine.
        coarse_mm: Distance of the rays.
    """

    spacing_mm: float = 1.5
    trunk_mm: tuple[float, float] = (330.0, 270.0)
    height_mm: tuple[float, float] = (330.0, 420.0)
    width_mm: tuple[float, float] = (190.0, 250.0)
    pixel_mm: tuple[float, float] = (0.27, 0.4)
    coarse_mm: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmHeader:
    """What the file says of a film.

    Attributes:
        inverted: Stored as MONOCHROME1: bone has low values.
        spacing: What the header tells of the size of a pixel.
        detector_mm: Distance from the source to the detector.
        named_view: The header names the view.
    """

    inverted: bool
    spacing: SpacingHeader
    detector_mm: float
    named_view: bool

    @classmethod
    def sample(cls, source_mm: float, rng: np.random.Generator) -> FilmHeader:
        """Draw a header for a film whose source lies this far from the spine."""
        names = list(SPACING_SHARE)
        return cls(
            inverted=bool(rng.random() < INVERTED_SHARE),
            spacing=names[rng.choice(len(names), p=list(SPACING_SHARE.values()))],
            detector_mm=round(source_mm + rng.uniform(90, 260), 0),
            named_view=bool(rng.random() < 0.75),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedFilm:
    """One radiograph.

    Attributes:
        values: Pixels (rows, columns), uint16 up to `LARGEST_VALUE`, bone bright.
        shown: The truth in the picture.
        header: What the file says.
        series_instance_uid, sop_instance_uid: Unique, and the same for the same seed.
    """

    values: npt.NDArray[np.uint16]
    shown: Shown
    header: FilmHeader
    series_instance_uid: str
    sop_instance_uid: str

    def truth(self, spine: Spine) -> dict[str, Any]:
        """What the film shows, with the keys of the truth file."""
        return {
            "series_instance_uid": self.series_instance_uid,
            "sop_instance_uid": self.sop_instance_uid,
            "frame_count": 1,
            "frame_time_ms": None,
            **shown_truth(self.shown, spine),
        }

    def mask(self) -> npt.NDArray[np.uint8]:
        """Cement and metal (rows, columns) as `truth.mask`."""
        return mask(self.shown)

    def dataset(self, study: ProjectionStudy, number: int) -> FileDataset:
        """The compressed DICOM object, image ``number`` (from 1) of its study."""
        from vertecast.lab.simulation.projection.dicom import film_dataset

        return film_dataset(study, self, number)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Patient:
    """A drawn patient, and what was put in."""

    seed: int
    phantom: Phantom
    focus_lps_mm: FloatArray
    treatments: tuple[Treatment, ...]
    hardware: tuple[Hardware, ...]


def simulate_films(seed: int, kind: FilmKind, settings: FilmSettings | None = None) -> tuple[ProjectionStudy, ...]:
    """Simulate the radiographs of a random patient.

    Args:
        seed: Decides everything; the same seed gives the same bytes.
        kind: "lateral" or "ap" for one film, treated or not; "films" for two studies, before and after treatment, each
            of a lateral and an AP film.
        settings: How finely and how large; None for the size of films in practice.
    """
    settings = settings or FilmSettings()
    rng = np.random.default_rng([seed, 20])
    patient = _draw_patient(seed, settings, rng)
    if kind == "films":
        return tuple(_study(patient, phase, ("lateral", "ap"), settings) for phase in ("pre", "post"))
    return (_study(patient, "post" if rng.random() < TREATED_SHARE else "pre", (kind,), settings),)


def _draw_patient(seed: int, settings: FilmSettings, rng: np.random.Generator) -> _Patient:
    spine = sample_spine(rng, fracture_rate=FRACTURE_RATE)
    above_sacrum = int(rng.integers(0, 4)) if rng.random() < LUMBAR_RATE else int(rng.integers(4, 9))
    middle = len(spine.vertebrae) - 1 - above_sacrum
    focus = spine.vertebrae[middle].lps_from_local[:3, 3] + rng.normal(0, 6, 3)
    size_mm = (*settings.trunk_mm, settings.height_mm[1])
    phantom = draw_for_projection(spine, focus, size_mm, settings.spacing_mm, rng)
    order = treatable(phantom, focus, 0.35 * settings.height_mm[0], rng)
    treatments = [treat(phantom, n, rng) for n in order[: int(rng.integers(1, 4))]]
    hardware: tuple[Hardware, ...] = ()
    if rng.random() < SCREWS_SHARE:
        free = order[3:] or order
        last = len(spine.vertebrae) - 1
        hardware = (screws_and_rods(phantom, range(free[0], min(free[0] + 2, last + 1)), rng),)
    return _Patient(seed=seed, phantom=phantom, focus_lps_mm=focus, treatments=tuple(treatments), hardware=hardware)


def _study(patient: _Patient, phase: ProjectionPhase, views: Sequence[View], settings: FilmSettings) -> ProjectionStudy:
    uid = deterministic_uid(patient.seed, "films", "-".join(views), phase)
    return ProjectionStudy(
        seed=patient.seed,
        kind="film",
        phase=phase,
        spine=patient.phantom.spine,
        study_instance_uid=uid,
        images=tuple(_film(patient, phase, view, settings, uid) for view in views),
    )


def _film(
    patient: _Patient, phase: ProjectionPhase, view: View, settings: FilmSettings, study_uid: str
) -> SimulatedFilm:
    """Take one film: every visit and view finds the patient placed a little differently."""
    rng = np.random.default_rng([patient.seed, 21, int(phase == "post"), int(view == "ap")])
    look = _aim(view, patient.focus_lps_mm, settings, rng)
    coarse = coarse_camera(look, settings.coarse_mm)
    phantom = patient.phantom
    treatments = patient.treatments if phase == "post" else ()
    soft, bone = _onto(look, coarse, line_integrals(patient_attenuation(phantom), phantom.lps_from_index, coarse))
    shadows, cement_mm = [], np.zeros(look.shape, dtype=np.float32)
    for treatment in treatments:
        deposits = (treatment.inside, *(leak.deposit for leak in treatment.leaks))
        lengths = _onto(look, coarse, deposit_integrals(phantom, deposits, coarse))
        shadows.append(CementShadow.of(treatment, lengths))
        cement_mm += np.sum(lengths, axis=0)
    metal_mm = np.zeros(look.shape, dtype=np.float32)
    for length in _onto(look, coarse, deposit_integrals(phantom, [h.deposit for h in patient.hardware], coarse)):
        metal_mm += length
    shown = Shown.of(phantom.spine, look, np.ones(look.shape, dtype=bool), shadows, metal_mm)
    taken = _taken((soft, bone, cement_mm, metal_mm), shown.outlines(), look.pixel_mm, rng)
    image, visible = collimate(clutter(taken, rng), rng)
    series_uid = deterministic_uid(study_uid, view)
    return SimulatedFilm(
        values=np.rint(np.clip(image, 0, 1) * LARGEST_VALUE).astype(np.uint16),
        shown=replace(shown, visible=visible),
        header=FilmHeader.sample(look.source_mm, rng),
        series_instance_uid=series_uid,
        sop_instance_uid=deterministic_uid(series_uid, 1),
    )


def _taken(
    integrals: tuple[FloatImage, FloatImage, FloatImage, FloatImage],
    bodies: npt.NDArray[np.bool_],
    pixel_mm: float,
    rng: np.random.Generator,
) -> FloatImage:
    """The developed picture (rows, columns), 0 to 1, of soft tissue, bone, cement and metal."""
    thick = integrals[0] >= PATIENT_MM
    for _ in range(MOST_TAKES):
        log = expose(*integrals, pixel_mm=pixel_mm, rng=rng)
        if thick.any():
            log = np.maximum(log, np.percentile(log[thick], 1.0))
        image = develop(log, np.ones(log.shape, dtype=bool), rng)
        if _is_readable(image[bodies]):
            break
    return image


def _is_readable(bodies: npt.NDArray[np.float32]) -> bool:
    """True when the pixels (n,) of the bodies, 0 to 1, are not burnt out: such a film is taken again."""
    if bodies.size == 0:
        return True
    burnt = (bodies <= BURNT_OUT[0]) | (bodies >= BURNT_OUT[1])
    return bool(burnt.mean() < MOST_BURNT_OUT and bodies.std() >= LEAST_CONTRAST)


def _onto(look: Camera, coarse: Camera, integrals: npt.NDArray[np.float32]) -> list[FloatImage]:
    return [resampled(values, coarse, look) for values in integrals]


def _aim(view: View, focus_lps_mm: FloatArray, settings: FilmSettings, rng: np.random.Generator) -> Camera:
    """The camera of one film; half of the lateral ones look from the other side, the front on the right."""
    pixel_mm = float(rng.uniform(*settings.pixel_mm))
    height_mm = rng.uniform(*settings.height_mm)
    width_mm = rng.uniform(*settings.width_mm) * (AP_WIDER if view == "ap" else 1.0)
    behind = 180.0 if view == "lateral" and rng.random() < 0.5 else 0.0
    look = camera(
        view,
        focus_lps_mm + rng.normal(0, 7, 3),
        angles_deg=(behind + float(rng.normal(0, 4)), float(rng.normal(0, 2.5)), float(rng.normal(0, 1.5))),
        source_mm=float(rng.uniform(850, 1600)),
        pixel_mm=pixel_mm,
        shape=(round(height_mm / pixel_mm), round(width_mm / pixel_mm)),
    )
    return aimed_in_front(look, float(rng.uniform(0.5, 1.0)) * SPINE_BEHIND_MIDDLE_MM)
