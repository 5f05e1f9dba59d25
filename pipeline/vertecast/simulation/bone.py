"""How one patient's bone shows on CT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class BoneLook:
    """How one patient's bone shows on CT.

    Trabecular HU fall from about 250 at 20 years to below 80 in osteoporosis (Pickhardt et al., Ann Intern Med
    2013;158:588-595); contrast medium adds some 10-50 HU.
    """

    spongy_hu: float
    cortex_hu: float
    cortex_mm: float
    texture_hu: float
    arch_hu: float
    striation: float
    degeneration: float

    @classmethod
    def sample(cls, rng: np.random.Generator, age_years: float) -> BoneLook:
        """Draw a look far wider than the norm, since real scanners, contrast and disease go far."""
        return cls(
            spongy_hu=float(np.clip(rng.normal(270 - 2.4 * age_years, 60), -20, 420)),
            cortex_hu=float(rng.uniform(350, 1300)),
            cortex_mm=float(rng.uniform(0.5, 1.6)),
            texture_hu=float(rng.uniform(3, 18) if rng.random() < 0.45 else rng.uniform(8, 75)),
            arch_hu=float(rng.uniform(80, 500)),
            striation=float(rng.uniform(0, 1) ** 3),
            degeneration=float(np.clip(rng.normal((age_years - 30) / 60, 0.25), 0, 1)),
        )
