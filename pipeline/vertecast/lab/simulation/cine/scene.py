"""A patient under the fluoroscope before any detector: the parts that move on their own, and where they are when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.cine.growth import CementGrowth, grow
from vertecast.lab.simulation.cine.look import Beam
from vertecast.lab.simulation.cine.tracks import Tracks
from vertecast.lab.simulation.patient.spine import Spine
from vertecast.lab.simulation.patient.tissue import Phantom
from vertecast.lab.simulation.projection.integrals import deposit_integrals, patient_attenuation, resampled
from vertecast.lab.simulation.projection.rays import Camera, FloatImage, line_integrals
from vertecast.lab.simulation.projection.truth import CementShadow, Shown
from vertecast.lab.simulation.treatment.cement import Treatment
from vertecast.lab.simulation.treatment.hardware import needles
from vertecast.lab.simulation.treatment.leak_routes import needle_line

MOVING_BONE: Final = (Structure.BACKGROUND, Structure.RIB)
"""What moves with the breath: ribs, and plaques in the vessels."""

SHARPEST: Final = 2.0
"""Endplates are thinner than the drawing's grid can hold; sharpening gives their lines back, as in `film.expose`."""

SHARPENED_MM: Final = 2.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Needle:
    """A needle in its place: length of ray (rows, columns) in mm, and where 1 mm of drawing it back takes it (2,)."""

    length_mm: FloatImage
    back_px_per_mm: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FluoroscopyScene:
    """A patient under the fluoroscope without noise, part by part: integrals of the coarse camera.

    Attributes:
        camera: With the pixels of the cine.
        coarse: With those of the integrals.
        breathing: Attenuation of what moves with the breath, soft tissue and ribs.
        spine: Attenuation of the spine, sacrum and pelvis.
        beam: How cement and metal weigh.
        growth: The cement, None where nothing is injected.
        needles: One for each tip.
        tracks: What happens.
    """

    camera: Camera
    coarse: Camera
    breathing: FloatImage
    spine: FloatImage
    beam: Beam
    growth: CementGrowth | None
    needles: tuple[Needle, ...]
    tracks: Tracks

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return len(self.tracks.times_s)

    def shift_px(self, frame: int) -> FloatArray:
        """Shift of the spine (column, row) against the first frame; ``frame`` counts from 0."""
        return np.asarray(self.tracks.spine_mm[frame] / self.camera.pixel_mm)

    def spine_attenuation(self, frame: int) -> FloatImage:
        """Attenuation (rows, columns) of the spine and of the cement injected so far."""
        total = self.spine
        if self.growth is not None:
            total = total + self.beam.cement * self.growth.cement_mm(float(self.tracks.injected[frame]))
        return self._placed(total, self.shift_px(frame))

    def metal_mm(self, frame: int) -> FloatImage:
        """Length of ray (rows, columns) in the needles."""
        total = np.zeros(self.camera.shape, dtype=np.float32)
        back_mm = float(self.tracks.needle_back_mm[frame])
        if np.isfinite(back_mm):
            for needle in self.needles:
                total += self._placed(needle.length_mm, self.shift_px(frame) + back_mm * needle.back_px_per_mm)
        return total

    def attenuation(self, frame: int) -> tuple[FloatImage, FloatImage]:
        """Attenuation (rows, columns) of everything, and the length of ray in the needles."""
        soft = self._placed(self.breathing, self.tracks.soft_mm[frame] / self.camera.pixel_mm)
        metal_mm = self.metal_mm(frame)
        return soft + self.spine_attenuation(frame) + self.beam.metal * metal_mm, metal_mm

    def shown(self, spine: Spine, visible: npt.NDArray[np.bool_]) -> Shown:
        """The truth: bodies as in the first frame, cement and metal as in the last."""
        last = self.frame_count - 1
        shadows = []
        if self.growth is not None:
            lengths = [
                self._placed(length, self.shift_px(last)) for length in (self.growth.inside_mm, *self.growth.leaks_mm)
            ]
            shadows = [CementShadow.of(self.growth.treatment, lengths)]
        return Shown.of(spine, self.camera, visible, shadows, self.metal_mm(last))

    def _placed(self, values: FloatImage, shift_px: FloatArray) -> FloatImage:
        return resampled(values, self.coarse, self.camera, shift_px=shift_px)


def place_needles(
    phantom: Phantom, treatment: Treatment, cameras: tuple[Camera, Camera], rng: np.random.Generator
) -> tuple[Needle, ...]:
    """The needles of a treatment, each for itself; ``cameras`` as for `project_scene`."""
    look, coarse = cameras
    vertebra = phantom.spine.vertebrae[treatment.vertebra_index]
    tips = treatment.needle_tips_lps_mm
    metal = [needles(phantom, replace(treatment, needle_tips_lps_mm=tip[None]), rng).deposit for tip in tips]
    lengths = deposit_integrals(phantom, metal, coarse)
    found = []
    for tip, length in zip(tips, lengths, strict=True):
        local = geometry.apply(geometry.inverse(vertebra.lps_from_local), tip)
        ends = geometry.apply(vertebra.lps_from_local, needle_line(vertebra, local)[[0, -1]])
        tip_px, end_px = look.project(ends)
        back = (end_px - tip_px) / float(np.linalg.norm(ends[1] - ends[0]))
        found.append(Needle(length_mm=length, back_px_per_mm=back))
    return tuple(found)


def project_scene(
    phantom: Phantom,
    cameras: tuple[Camera, Camera],
    tracks: Tracks,
    treatment: Treatment | None,
    placed: Sequence[Needle],
    rng: np.random.Generator,
) -> FluoroscopyScene:
    """Cast the rays once.

    Args:
        phantom: The patient.
        cameras: With the pixels of the cine, and the coarse one.
        tracks: What happens.
        treatment: The cement that is injected, or None.
        placed: Needles.
        rng: Draws the beam.
    """
    from scipy import ndimage

    look, coarse = cameras
    beam = Beam.sample(rng)
    soft, bone = patient_attenuation(phantom)
    moving = np.where(np.isin(phantom.structure, MOVING_BONE), bone, 0)
    water, ribs, spine = line_integrals(np.stack([soft, moving, bone - moving]), phantom.lps_from_index, coarse)
    blurred = ndimage.gaussian_filter(spine, SHARPENED_MM / coarse.pixel_mm)
    sharp = np.maximum(spine + rng.uniform(0.0, SHARPEST) * (spine - blurred), 0)
    return FluoroscopyScene(
        camera=look,
        coarse=coarse,
        breathing=np.asarray(beam.water * water + beam.mineral * ribs, dtype=np.float32),
        spine=np.asarray(beam.mineral * sharp, dtype=np.float32),
        beam=beam,
        growth=None if treatment is None else grow(phantom, treatment, coarse),
        needles=tuple(placed),
        tracks=tracks,
    )
