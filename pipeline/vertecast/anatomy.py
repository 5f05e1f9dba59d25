"""Levels with their normal heights, structures, leak compartments: the one table behind labels, codes and reports."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Final


class Level(IntEnum):
    """A vertebral level; the value is its number in the VerSe label convention.

    Source of the numbers: Sekuboyina et al., VerSe 2020, doi 10.1016/j.media.2021.102166.
    """

    C1 = 1
    C2 = 2
    C3 = 3
    C4 = 4
    C5 = 5
    C6 = 6
    C7 = 7
    T1 = 8
    T2 = 9
    T3 = 10
    T4 = 11
    T5 = 12
    T6 = 13
    T7 = 14
    T8 = 15
    T9 = 16
    T10 = 17
    T11 = 18
    T12 = 19
    L1 = 20
    L2 = 21
    L3 = 22
    L4 = 23
    L5 = 24
    L6 = 25
    S1 = 26
    T13 = 28

    @property
    def is_thoracic(self) -> bool:
        """True for T1 to T13."""
        return Level.T1 <= self <= Level.T12 or self is Level.T13

    @property
    def is_lumbar(self) -> bool:
        """True for L1 to L6."""
        return Level.L1 <= self <= Level.L6


CERVICAL: Final = tuple(Level(n) for n in range(1, 8))
THORACIC: Final = tuple(Level(n) for n in range(8, 20))
LUMBAR: Final = tuple(Level(n) for n in range(20, 25))
CRANIAL_TO_CAUDAL: Final = (*CERVICAL, *THORACIC, Level.T13, *LUMBAR, Level.L6, Level.S1)
"""Every level in order from the head down; variants T13 and L6 stand where they occur."""


class Structure(IntEnum):
    """What a voxel of the segmentation is. The body counts as it was without cement: cement lies over it."""

    BACKGROUND = 0
    BODY = 1
    POSTERIOR = 2
    SACRUM = 3
    CANAL = 4
    RIB = 5
    DISC = 6
    OTHER_BONE = 7


class Compartment(StrEnum):
    """Where cement lies that has left the bony outline of the treated vertebra."""

    DISC_SUPERIOR = "disc_superior"
    DISC_INFERIOR = "disc_inferior"
    CANAL = "canal"
    FORAMEN = "foramen"
    PREVERTEBRAL = "prevertebral"
    PARAVERTEBRAL_LEFT = "paravertebral_left"
    PARAVERTEBRAL_RIGHT = "paravertebral_right"
    VEIN = "vein"
    NEEDLE_TRACT = "needle_tract"
    DISTANT = "distant"


class YeomType(StrEnum):
    """Route of a leak: B basivertebral vein, S segmental vein, C cortical defect, D into the disc.

    Source: Yeom et al., J Bone Joint Surg Br 2003;85:83-89; type D after later authors (PMC8449924).
    """

    BASIVERTEBRAL = "B"
    SEGMENTAL = "S"
    CORTICAL = "C"
    DISC = "D"


NORMAL_POSTERIOR_MM: Final[Mapping[str, float]] = {
    "T1": 14.1, "T2": 15.6, "T3": 15.7, "T4": 16.2, "T5": 16.2, "T6": 17.4, "T7": 18.2, "T8": 18.7, "T9": 19.3,
    "T10": 20.2, "T11": 21.3, "T12": 22.7, "L1": 23.8, "L2": 24.3, "L3": 23.8, "L4": 24.1, "L5": 22.9,
}  # fmt: skip
"""Posterior body heights. Source: Panjabi et al., thoracic, Spine 1991;16:888-901; lumbar, Spine 1992;17:299-306. Only
ratios of two levels are used."""

NORMAL_ANTERIOR_SHARE: Final[Mapping[str, float]] = {
    "T1": 0.99, "T2": 0.98, "T3": 0.97, "T4": 0.96, "T5": 0.96, "T6": 0.95, "T7": 0.94, "T8": 0.94, "T9": 0.95,
    "T10": 0.95, "T11": 0.95, "T12": 0.96, "L1": 0.97, "L2": 0.99, "L3": 1.02, "L4": 1.04, "L5": 1.15,
}  # fmt: skip
"""Normal anterior / posterior height. Source: Berry et al., Spine 1987;12:362-367; Evans et al., Bone 1993;14:S45-S51,
rounded. On MRI of 115 people T10 to L2 were lower, 0.92, 0.92, 0.90, 0.89, 0.90, SD 0.06 to 0.08 (Matsumoto et al.,
Surg Radiol Anat 2011;33:223-228); neighbouring levels keep the same relation there."""

NEIGHBOUR_SCATTER: Final = 0.03
"""Scatter (1 SD) of a sound body's height about the one scaled from a neighbour, within one person. General knowledge;
between people it is 0.06 to 0.08 (Matsumoto 2011)."""


def normal_height_mm(level: str, place: str) -> float | None:
    """Normal height of a body at one place, after the two tables above; None for a level that they do not hold.

    The middle height is the mean of the other two.

    Raises:
        KeyError: ``place`` is none of anterior, middle and posterior.
    """
    if level not in NORMAL_POSTERIOR_MM:
        return None
    anterior = NORMAL_ANTERIOR_SHARE[level]
    share = {"anterior": anterior, "middle": (1 + anterior) / 2, "posterior": 1.0}[place]
    return NORMAL_POSTERIOR_MM[level] * share


RIM_INSET_FRACTION: Final = 0.1
"""Anterior and posterior points lie on the endplate, this share of its mid-sagittal depth inside the wall: the rim
itself is round. One definition for what is measured and for what is simulated."""

POSTERIOR_LABEL_OFFSET: Final = 100
UNKNOWN_LEVEL_LABEL_START: Final = 40
"""A vertebra of unknown level, V1, V2, ... from the top, is written as 41, 42, ... in the label map."""
CEMENT_INSIDE_LABEL: Final = 200
CEMENT_LEAKED_LABEL: Final = 201
METAL_LABEL: Final = 210


def label_name(label: int) -> str:
    """Return the display name of a number in ``labels_<n>.nii.gz``.

    Raises:
        ValueError: the number has no meaning in the convention.
    """
    names = {CEMENT_INSIDE_LABEL: "cement inside", CEMENT_LEAKED_LABEL: "cement leaked", METAL_LABEL: "metal"}
    if label in names:
        return names[label]
    number, suffix = (label - POSTERIOR_LABEL_OFFSET, " posterior") if label > POSTERIOR_LABEL_OFFSET else (label, "")
    if UNKNOWN_LEVEL_LABEL_START < number < POSTERIOR_LABEL_OFFSET:
        return f"V{number - UNKNOWN_LEVEL_LABEL_START}{suffix}"
    return f"{Level(number).name}{suffix}"
