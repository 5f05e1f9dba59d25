"""A simulated patient in one projection: what lies along every ray, and the truth in the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.geometry import FloatArray
from vertecast.core.images import View
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.tissue import Phantom, draw
from vertecast.lab.simulation.projection.integrals import patient_attenuation
from vertecast.lab.simulation.projection.rays import Camera, FloatImage, camera, line_integrals
from vertecast.lab.simulation.projection.silhouette import Silhouette, sacral_endplate_px, silhouettes
from vertecast.lab.simulation.treatment.cement import Treatment, cement_fraction, leak_fraction, sample_treated, treat
from vertecast.lab.simulation.treatment.hardware import Hardware, metal_fraction, needles, screws_and_rods

BONE_PARTS: Final[Mapping[str, tuple[Structure, ...]]] = {
    "body": (Structure.BODY,),
    "posterior": (Structure.POSTERIOR, Structure.CANAL, Structure.DISC),
    "sacrum": (Structure.SACRUM,),
    "beside": (Structure.BACKGROUND, Structure.RIB, Structure.OTHER_BONE),
}
"""Bones whose mineral is projected apart, so that every picture can weigh them anew; the last are no spine: ribs, hips,
arms, plaques, contrast medium."""

BESIDE: Final = list(BONE_PARTS).index("beside")

SACRUM_MM: Final = 12.0
"""Length of ray in the sacrum from which on a pixel shows it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProjectedPatient:
    """Integrals (rows, columns) along the rays, in mm of water for ``soft`` and ``bone``, in mm for the others.

    Attributes:
        camera: Where from.
        soft: What attenuates like water.
        bone: (len(BONE_PARTS), rows, columns) the excess of mineral.
        cement, leaked, metal: Length of ray in all cement, in leaked cement, in metal.
        sacrum: Pixels that show the sacrum, bool.
        bodies: Every body, also those outside the picture, cranial first.
        sacral_endplate_px: (2, 2) ends of the endplate of S1.
    """

    camera: Camera
    soft: FloatImage
    bone: FloatImage
    cement: FloatImage
    leaked: FloatImage
    metal: FloatImage
    sacrum: npt.NDArray[np.bool_]
    bodies: tuple[Silhouette, ...]
    sacral_endplate_px: FloatArray


def project_patient(
    phantom: Phantom, treatments: Sequence[Treatment], hardware: Sequence[Hardware], views: Sequence[Camera]
) -> list[ProjectedPatient]:
    """Look at a patient, treated or not, with each of the cameras."""
    attenuation = patient_attenuation(phantom)
    parts = {"soft": attenuation[0], "sacrum_mm": (phantom.structure == Structure.SACRUM).astype(np.float32)}
    parts |= {name: attenuation[1] * np.isin(phantom.structure, own) for name, own in BONE_PARTS.items()}
    if treatments:
        parts |= {"cement": cement_fraction(phantom, treatments), "leaked": leak_fraction(phantom, treatments)}
    if hardware:
        parts["metal"] = metal_fraction(phantom, hardware)
    stack = np.stack(list(parts.values()))
    projections = []
    for view in views:
        found = dict(zip(parts, line_integrals(stack, phantom.lps_from_index, view), strict=True))
        nothing = np.zeros(view.shape, dtype=np.float32)
        projections.append(
            ProjectedPatient(
                camera=view,
                soft=found["soft"],
                bone=np.stack([found[name] for name in BONE_PARTS]),
                cement=found.get("cement", nothing),
                leaked=found.get("leaked", nothing),
                metal=found.get("metal", nothing),
                sacrum=found["sacrum_mm"] >= SACRUM_MM,
                bodies=silhouettes(phantom.spine, view),
                sacral_endplate_px=sacral_endplate_px(phantom.spine, view),
            )
        )
    return projections


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSettings:
    """The part of a patient that is drawn for projections.

    Attributes:
        spacing_mm: Grid of the drawing.
        shape: Voxels (left-right, front-back, up-down).
        pixels: Rows of the picture; its columns follow from the field.
        treated_rate: Share of the patients with cement.
        metal_rate: Share of the patients with needles or screws.
    """

    spacing_mm: float = 1.7
    shape: tuple[int, int, int] = (158, 150, 236)
    pixels: int = 360
    treated_rate: float = 0.5
    metal_rate: float = 0.25


LEAST_BODY_VOXELS: Final = 100
"""A body with fewer voxels is too small on this grid to be treated."""

SPINE_BEHIND_MIDDLE_MM: Final = 50.0
"""The column lies behind the middle of the trunk, so the drawn field lies before it."""

LUMBAR_RATE: Final = 0.65
"""Share of the patients filmed round the lumbar spine, sacrum and hips in view: the commonest film."""

FRACTURE_RATE: Final = 0.45
"""As `sample_spine` takes it: broken bodies are what is asked for, and the hardest to outline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """One way to draw a part of a patient.

    Attributes:
        rate: Share of the patients.
        spacing: Grid, in that of the settings.
        shape: Voxels (left-right, front-back, up-down), in those of the settings.
        before_spine_mm: How far its middle lies before the column.
        is_whole_spine: It lies round the middle of the whole spine; else round a lumbar or a thoracic body.
        views: Share of each view.
    """

    rate: float
    spacing: float
    shape: tuple[float, float, float]
    before_spine_mm: float
    views: Mapping[View, float]
    is_whole_spine: bool = False


FIELDS: Final = (
    # The trunk at the height of the lumbar or thoracic spine.
    _Field(
        rate=0.35,
        spacing=1.0,
        shape=(1.0, 1.0, 1.0),
        before_spine_mm=SPINE_BEHIND_MIDDLE_MM,
        views={"lateral": 0.6, "ap": 0.3, "oblique": 0.1},
    ),
    # Narrow, over the whole spine, as scoliosis is filmed: for its curves, which the view from the front shows.
    _Field(
        rate=0.3,
        spacing=1.25,
        shape=(0.8, 0.8, 1.3),
        before_spine_mm=SPINE_BEHIND_MIDDLE_MM,
        views={"lateral": 0.35, "ap": 0.6, "oblique": 0.05},
        is_whole_spine=True,
    ),
    # A few bodies, finely: films show endplates as sharp lines, which a coarse grid blurs by a twentieth of a body.
    _Field(
        rate=0.35,
        spacing=0.55,
        shape=(0.8, 1.0, 0.95),
        before_spine_mm=25.0,
        views={"lateral": 0.65, "ap": 0.3, "oblique": 0.05},
    ),
)


def draw_projections(rng: np.random.Generator, settings: FieldSettings, count: int) -> list[ProjectedPatient]:
    """Draw one patient and look at it from ``count`` random directions."""
    spine = sample_spine(rng, fracture_rate=FRACTURE_RATE)
    shape, spacing = np.array(settings.shape), settings.spacing_mm
    above_sacrum = int(rng.integers(0, 4)) if rng.random() < LUMBAR_RATE else int(rng.integers(4, 9))
    field = FIELDS[rng.choice(len(FIELDS), p=[one.rate for one in FIELDS])]
    shape, spacing = np.round(np.multiply(settings.shape, field.shape)).astype(int), field.spacing * settings.spacing_mm
    middle = len(spine.vertebrae) - (7 if field.is_whole_spine else 1 + above_sacrum)
    focus = spine.vertebrae[middle].lps_from_local[:3, 3] + rng.normal(0, 6, 3)
    center = focus - [0, field.before_spine_mm, 0]
    grid = geometry.scaling_affine([spacing] * 3, center - spacing * (shape - 1) / 2)
    size = (int(shape[0]), int(shape[1]), int(shape[2]))
    phantom = draw(spine, grid, size, rng)
    treatments = _treatments(phantom, rng) if rng.random() < settings.treated_rate else []
    hardware = _hardware(phantom, treatments, rng) if rng.random() < settings.metal_rate else []
    names = list(field.views)
    views = rng.choice(len(names), size=count, p=list(field.views.values()))
    cameras = [_camera(names[n], (center, spacing * shape), settings.pixels, rng) for n in views]
    return project_patient(phantom, treatments, hardware, cameras)


def _camera(view: View, field: tuple[FloatArray, FloatArray], pixels: int, rng: np.random.Generator) -> Camera:
    """A camera whose picture stays inside the drawn field, whose edges it sees a little from the side."""
    center, size_mm = field
    across = size_mm[0] if view == "ap" else size_mm[1]
    pixel_mm = 0.92 * float(size_mm[2]) / pixels
    turn = rng.normal(0, 5) + (rng.choice([-1, 1]) * rng.uniform(0, 20) if view == "oblique" else 0)
    return camera(
        view,
        center,
        angles_deg=(float(turn), float(rng.normal(0, 3)), 0.0),
        source_mm=float(rng.uniform(650, 1800)),
        pixel_mm=pixel_mm,
        shape=(pixels, round(0.88 * float(across) / pixel_mm / 2) * 2),
    )


def _treatments(phantom: Phantom, rng: np.random.Generator) -> list[Treatment]:
    whole = phantom.whole_bodies(LEAST_BODY_VOXELS)
    return [treat(phantom, n, rng) for n in sample_treated(phantom, whole, rng)] if len(whole) else []


def _hardware(phantom: Phantom, treatments: Sequence[Treatment], rng: np.random.Generator) -> list[Hardware]:
    if treatments and rng.random() < 0.6:
        return [needles(phantom, treatments[0], rng)]
    whole = phantom.whole_bodies(LEAST_BODY_VOXELS)
    if not len(whole):
        return []
    n = int(rng.choice(whole))
    last = len(phantom.spine.vertebrae) - 1
    return [screws_and_rods(phantom, range(n, min(n + int(rng.integers(2, 4)), last + 1)), rng)]
