"""What is known of a simulated projection study: the marks of every picture as JSON, cement and metal as a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.patient.spine import Spine
from vertecast.lab.simulation.projection.pictures import CEMENT_MM, METAL_MM
from vertecast.lab.simulation.projection.rays import Camera, FloatImage
from vertecast.lab.simulation.projection.silhouette import Silhouette, sacral_endplate_px, silhouettes
from vertecast.lab.simulation.treatment.cement import Treatment

if TYPE_CHECKING:
    from vertecast.lab.simulation.projection.studies import ProjectionStudy

SCHEMA: Final = "vertecast-projection-truth-1"
INSIDE_VALUE, LEAKED_VALUE, METAL_VALUE = 1, 2, 3
"""Values of the mask: cement in the outline of a body, whatever its depth; leaked cement beside it; metal."""

FIRST_CEMENT_ML: Final = 0.05
FIRST_LEAK_ML: Final = 0.1
"""What a cine must hold before cement, or a leak, counts as begun."""

BoolImage = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CementShadow:
    """One treatment in one picture: pixels (rows, columns), bool, that show its cement, and each of its leaks."""

    treatment: Treatment
    cement: BoolImage
    leaks: tuple[BoolImage, ...]

    @classmethod
    def of(cls, treatment: Treatment, lengths_mm: Sequence[FloatImage]) -> CementShadow:
        """From the lengths of ray in mm: the cement inside first, then leak by leak."""
        cement = np.sum(lengths_mm, axis=0) >= CEMENT_MM
        return cls(treatment=treatment, cement=cement, leaks=tuple(leak >= CEMENT_MM for leak in lengths_mm[1:]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """What one picture shows.

    Attributes:
        camera: With the pixels of the picture.
        visible: The open field (rows, columns), bool.
        bodies: Every body of the spine, also those outside the picture, cranial first.
        sacral_endplate_px: (2, 2) ends of the endplate of S1.
        cement: One per treatment.
        metal: Pixels of metal (rows, columns), bool.
    """

    camera: Camera
    visible: BoolImage
    bodies: tuple[Silhouette, ...]
    sacral_endplate_px: FloatArray
    cement: tuple[CementShadow, ...]
    metal: BoolImage

    @classmethod
    def of(
        cls,
        spine: Spine,
        camera: Camera,
        visible: BoolImage,
        cement: Sequence[CementShadow],
        metal_mm: FloatImage,
    ) -> Shown:
        """Project a spine's marks; cement and metal are given as they lie in the picture."""
        return cls(
            camera=camera,
            visible=visible,
            bodies=silhouettes(spine, camera),
            sacral_endplate_px=sacral_endplate_px(spine, camera),
            cement=tuple(cement),
            metal=metal_mm >= METAL_MM,
        )

    def outlines(self, shift_px: npt.ArrayLike = (0.0, 0.0)) -> BoolImage:
        """Pixels (rows, columns) in the outline of any body, moved by a shift (column, row)."""
        from skimage import draw

        inside = np.zeros(self.camera.shape, dtype=bool)
        for body in self.bodies:
            moved = body.outline_px + np.asarray(shift_px)
            if (moved.max(axis=0) >= 0).all() and (moved.min(axis=0) < self.camera.shape[::-1]).all():
                inside |= draw.polygon2mask(self.camera.shape, moved[:, ::-1])
        return inside


def mask(shown: Shown) -> npt.NDArray[np.uint8]:
    """Cement and metal of a film (rows, columns): `INSIDE_VALUE`, `LEAKED_VALUE`, `METAL_VALUE`, else 0."""
    result = np.zeros(shown.camera.shape, dtype=np.uint8)
    outside = ~shown.outlines()
    for shadow in shown.cement:
        result[shadow.cement & (result == 0)] = INSIDE_VALUE
        for leak in shadow.leaks:
            result[leak & outside] = LEAKED_VALUE
    result[shown.metal] = METAL_VALUE
    return np.asarray(result * shown.visible, dtype=np.uint8)


def truth(study: ProjectionStudy) -> dict[str, Any]:
    """The truth of a study; lengths in mm, angles in degrees, volumes in mL, points (column, row) in pixels."""
    return {
        "schema": SCHEMA,
        "simulated": True,
        "kind": study.kind,
        "seed": study.seed,
        "phase": study.phase,
        "study_instance_uid": study.study_instance_uid,
        "images": [image.truth(study.spine) for image in study.images],
    }


def shown_truth(shown: Shown, spine: Spine, *, shift_px: npt.ArrayLike = (0.0, 0.0)) -> dict[str, Any]:
    """The marks of a picture: cement and metal where the spine is after ``shift_px``, bodies where it was before."""
    camera, bodies = shown.camera, [body for body in shown.bodies if _shows(body, shown)]
    outside = ~shown.outlines(shift_px) & shown.visible
    return {
        "view": camera.view,
        "rows": camera.shape[0],
        "columns": camera.shape[1],
        "pixel_mm": camera.pixel_mm,
        "anterior_left": None if camera.view == "ap" or not bodies else _anterior_left(bodies[0].points_px),
        "upright": all(_upright(body.points_px) for body in bodies),
        "bodies": [_body_truth(body, shown, spine) for body in bodies],
        "sacrum_visible": _is_visible(shown.sacral_endplate_px.mean(axis=0)[None], shown.visible),
        "cement": [_cement_truth(shadow, shown.visible, outside, spine) for shadow in shown.cement],
        "metal_px": int((shown.metal & shown.visible).sum()),
    }


def _body_truth(body: Silhouette, shown: Shown, spine: Spine) -> dict[str, Any]:
    vertebra = spine.vertebrae[body.vertebra_index]
    return {
        "level": vertebra.level.name,
        "points_px": body.points_px.tolist(),
        "complete": _is_visible(np.vstack([body.points_px, body.outline_px]), shown.visible),
        "grade": vertebra.grade,
        "deformity": vertebra.deformity,
        "heights_mm": dict(vertebra.shape.heights_mm()),
        "wedge_deg": vertebra.shape.wedge_angle_deg(),
        "has_ribs": body.has_ribs,
    }


def _cement_truth(shadow: CementShadow, visible: BoolImage, outside: BoolImage, spine: Spine) -> Mapping[str, Any]:
    treatment = shadow.treatment
    return {
        "level": spine.vertebrae[treatment.vertebra_index].level.name,
        "volume_ml": treatment.volume_inside_ml + sum(leak.volume_ml for leak in treatment.leaks),
        "area_px": int((shadow.cement & visible).sum()),
        "leaks": [
            {
                "compartment": str(leak.compartment),
                "volume_ml": leak.volume_ml,
                "area_px": int((pixels & visible).sum()),
                "outside_px": int((pixels & outside).sum()),
            }
            for leak, pixels in zip(treatment.leaks, shadow.leaks, strict=True)
        ],
    }


def _shows(body: Silhouette, shown: Shown) -> bool:
    """True when any pixel of the body lies in the open field."""
    from skimage import draw

    rows, columns = draw.polygon(body.outline_px[:, 1], body.outline_px[:, 0], shown.camera.shape)
    return bool(shown.visible[rows, columns].any())


def _is_visible(points_px: FloatArray, visible: BoolImage) -> bool:
    """True when all points (n, 2) lie in the open field."""
    columns, rows = np.rint(points_px).astype(int).T
    within = (rows >= 0) & (columns >= 0) & (rows < visible.shape[0]) & (columns < visible.shape[1])
    return bool(within.all() and visible[rows, columns].all())


def _anterior_left(points_px: FloatArray) -> bool:
    return bool(points_px[[0, 3], 0].mean() < points_px[[2, 5], 0].mean())


def _upright(points_px: FloatArray) -> bool:
    return bool(points_px[:3, 1].mean() < points_px[3:, 1].mean())
