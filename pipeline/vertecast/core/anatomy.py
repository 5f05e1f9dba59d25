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


NORMAL_HEIGHTS_MM: Final[Mapping[str, tuple[float, float, float]]] = {
    "C3": (13.6, 12.9, 13.6), "C4": (13.3, 12.6, 13.4), "C5": (13.0, 12.3, 13.2), "C6": (13.0, 12.3, 13.3),
    "C7": (14.9, 14.1, 15.2),
    "T1": (16.4, 16.0, 17.4), "T2": (17.6, 16.6, 18.4), "T3": (18.3, 17.0, 18.9), "T4": (18.9, 17.6, 19.5),
    "T5": (19.5, 18.1, 20.0), "T6": (19.7, 18.2, 20.5), "T7": (19.7, 18.4, 20.9), "T8": (20.1, 18.7, 21.1),
    "T9": (21.3, 19.5, 21.9), "T10": (22.9, 21.1, 23.2), "T11": (24.5, 22.7, 24.9), "T12": (25.8, 23.9, 26.0),
    "L1": (26.7, 24.6, 27.1), "L2": (28.2, 25.5, 28.1), "L3": (29.3, 25.8, 28.6), "L4": (29.3, 25.8, 27.8),
    "L5": (29.4, 25.0, 24.0),
}  # fmt: skip
"""Anterior, middle and posterior heights of a sound body at the six points.

T1 to L5: sound bodies on expert masks of 15 patients (VerSe, CC BY-SA 4.0; five to twelve a level), smoothed over
neighbouring levels, by up to 4 % where the gaps of 2,116 real columns (VID) leave no room for a disc otherwise. C3 to
C7: Panjabi et al., Spine 1991;16:861-869, from general knowledge, enlarged until the gaps of the same columns fit. Only
ratios of two levels or of two places are used. Others find bodies at T10 to L2 lower in front, at 0.89 to 0.92 of the
back with SD 0.06 to 0.08 (Matsumoto et al., Surg Radiol Anat 2011;33:223-228, MRI); neighbouring levels keep the same
relation there."""

NORMAL_DEPTHS_MM: Final[Mapping[str, float]] = {
    "C3": 16.5, "C4": 16.5, "C5": 17.5, "C6": 18.5, "C7": 18.5,
    "T1": 20.0, "T2": 22.0, "T3": 24.0, "T4": 25.0, "T5": 26.5, "T6": 28.5, "T7": 30.0,
    "T8": 31.0, "T9": 32.0, "T10": 33.0, "T11": 35.0, "T12": 36.0,
    "L1": 36.5, "L2": 37.0, "L3": 37.5, "L4": 38.0, "L5": 37.5,
}  # fmt: skip
"""Mean depth of a body from front to back at its endplates: Panjabi et al., Spine 1991;16:888-901, 1992;17:299-306 and
1991;16:861-869, from general knowledge, a tenth larger, which fits the distances from bodies to pedicles of 2,116 real
columns (VID)."""

NORMAL_GAPS_MM: Final[Mapping[str, float]] = {
    "C2": 17.9, "C3": 17.79, "C4": 17.18, "C5": 16.87, "C6": 17.89, "C7": 19.99,
    "T1": 20.92, "T2": 21.14, "T3": 21.02, "T4": 21.63, "T5": 22.07, "T6": 22.55, "T7": 23.30, "T8": 23.96, "T9": 25.37,
    "T10": 27.26, "T11": 29.65, "T12": 32.29,
    "L1": 34.53, "L2": 35.78, "L3": 36.51, "L4": 36.26, "L5": 22.5,
}  # fmt: skip
"""Mean distance from a body's centre to that of the next one below; of L5, to the middle of S1's endplate. 2,116 real
columns (VID: hand-checked centres of bodies on CT; Buergin, Prevost, Stollenga, CC BY-SA 4.0); C2 is a guess."""

SUBSTITUTES: Final[Mapping[Level, Level]] = {Level.T13: Level.T12, Level.L6: Level.L5}
"""Levels of variants are built like these."""


def normal_gap_mm(level: Level, below: Level | None = None) -> float:
    """Mean distance to the next body below (`NORMAL_GAPS_MM`); above an L6, L5 is as far from it as L4 from L5."""
    if below is Level.L6:
        return NORMAL_GAPS_MM["L4"]
    return NORMAL_GAPS_MM[SUBSTITUTES.get(level, level).name]


HEIGHT_SCATTER: Final = 0.05
"""Scatter (1 SD) of a sound body's height at one place about what the rest of its column lets expect, by
`NORMAL_HEIGHTS_MM`. Sound bodies on expert masks of three people, 25 bodies: 0.046 in front, 0.047 in the middle, 0.062
at the back, errors of measuring included. Between people it is 0.06 to 0.08 (Matsumoto 2011)."""

HEIGHT_GROWTH: Final = 1.02
"""Height of a body over that of the one above it where neither level is known. `NORMAL_HEIGHTS_MM` has 1.03 from T1 to
T9, 1.04 to L2 and 0.98 from there to L5; the lower steps are where a body would look crushed if more were expected."""


def normal_height_mm(level: str, place: str) -> float | None:
    """Normal height of a body at one place, of `NORMAL_HEIGHTS_MM`; None for a level that it does not hold.

    Raises:
        ValueError: ``place`` is none of anterior, middle and posterior.
    """
    at = ("anterior", "middle", "posterior").index(place)
    return NORMAL_HEIGHTS_MM[level][at] if level in NORMAL_HEIGHTS_MM else None


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
