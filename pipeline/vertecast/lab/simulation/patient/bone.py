"""How one patient's bone shows on CT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.patient.canvas import Canvas, bone_hu, stamp_tube

SPONGY_HU: Final = (-80.0, 450.0)
"""Spongy bone from fatty marrow with hardly a trabecula left to that of the young with contrast medium."""

FATTY_RATE: Final = 0.1
FATTY_HU: Final = (-90.0, -20.0)
ENHANCED_RATE: Final = 0.1
ENHANCED_HU: Final = (20.0, 90.0)
"""Shares of the patients whose marrow is very fatty, or enhanced by contrast medium, and what that adds."""

SHELL_MM: Final = (0.35, 1.1)
"""Thickness of the endplates and walls of bodies: 0.35 mm by direct measurement (Silva et al., J Orthop Res
1994;12:409-414), 0.6 to 0.8 mm of endplates (Edwards et al., J Bone Joint Surg Am 2001;83:1732-1737), with sclerosis
more. Where the bone ends depends on it: of a shell thinner than the blur a CT shows the middle alone."""

THICKER: Final = 1.45
"""Cortex of arches, ribs and other bones over that of bodies. A choice."""

DENSE_ARCHES_RATE: Final = 0.25
"""Share of the patients whose arches are dense whatever their bodies are: real arches reach 1450 HU and more, those of
patients with thin bodies as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoneLook:
    """How one patient's bone shows on CT.

    Trabecular HU fall from about 250 at 20 years to below 80 in osteoporosis (Pickhardt et al., Ann Intern Med
    2013;158:588-595), in the oldest below 0 where fat fills the marrow; contrast medium adds some 10-50 HU.
    """

    spongy_hu: float
    cortex_hu: float
    cortex_mm: float
    texture_hu: float
    arch_hu: float
    arch_cortex_hu: float
    striation: float
    degeneration: float

    @property
    def other_cortex_mm(self) -> float:
        """Thickness of the cortex of bones other than bodies."""
        return THICKER * self.cortex_mm

    @classmethod
    def sample(cls, rng: np.random.Generator, age_years: float) -> BoneLook:
        """Draw a look far wider than the norm, since real scanners, contrast and disease go far."""
        marrow, dense_arches = rng.random(), rng.random() < DENSE_ARCHES_RATE
        filling = rng.uniform(*FATTY_HU) if marrow < FATTY_RATE else 0.0
        if marrow > 1 - ENHANCED_RATE:
            filling = rng.uniform(*ENHANCED_HU)
        cortex_hu = float(rng.uniform(300, 1400))
        return cls(
            spongy_hu=float(np.clip(rng.normal(270 - 2.4 * age_years, 60) + filling, *SPONGY_HU)),
            cortex_hu=cortex_hu,
            cortex_mm=float(rng.uniform(*SHELL_MM)),
            texture_hu=float(rng.uniform(3, 18) if rng.random() < 0.45 else rng.uniform(8, 75)),
            arch_hu=float(rng.uniform(80, 500)),
            arch_cortex_hu=float(rng.uniform(1000, 1600)) if dense_arches else 1.1 * cortex_hu,
            striation=float(rng.uniform(0, 1) ** 3),
            degeneration=float(np.clip(rng.normal((age_years - 30) / 60, 0.25), 0, 1)),
        )


def paint_bone(
    canvas: Canvas,
    points_lps_mm: npt.ArrayLike,
    radii_mm: tuple[float, float, float],
    look: BoneLook,
    *,
    spongy_share: float = 0.8,
) -> None:
    """A tubular bone that is none of the column's, along points (n, 3) in LPS, painted where it is free."""
    tube = stamp_tube(canvas, points_lps_mm, radii_mm)
    if tube is not None:
        box, distance = tube
        hu = bone_hu(
            distance, look.spongy_hu * spongy_share, look.cortex_hu, look.other_cortex_mm * 1.5, canvas.spacing_mm
        )
        canvas.paint_free(box, distance, hu, Structure.OTHER_BONE)
