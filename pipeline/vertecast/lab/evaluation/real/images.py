"""Real images that are scored beside the simulated ones: where they lie, what is known of them, how they come out.

They are public but no part of the project; the folder's own README says where each comes from. A truth may be the
output of another network, so that a Dice coefficient is agreement with it and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from vertecast.core.anatomy import label_name
from vertecast.core.errors import GeometryError
from vertecast.core.images import Mask
from vertecast.core.results import FRACTURED_GRADE, Measured, NotMeasured, Quantity, StudyReport, VertebraFinding
from vertecast.lab.evaluation import metrics
from vertecast.lab.evaluation.datasets import read_labels
from vertecast.lab.evaluation.datasets.schemes import recoded
from vertecast.lab.evaluation.real.variants import Variant
from vertecast.lab.evaluation.real.whole import WholeScore, score_whole
from vertecast.lab.evaluation.studies.scoring import body_counts, label_pair

SUBREGION_BODY: Final = (49, 50)
"""Numbers of the body's inside and of its border in a map of subregions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealImage:
    """One image of the folder.

    Attributes:
        name: Of its picture and its line.
        path: The image, a file or a folder of DICOM files, inside the folder of real images.
        bodies: Label map of the bodies; with ``subregions``, of the whole vertebrae. None where there is no truth.
        subregions: Map of the parts of every vertebra, numbers as in `SUBREGION_BODY`.
        scored: Level whose Dice coefficient has a target; None for all bodies together.
        target_dice: What must be reached.
        levels: "known" where something to count from is in view, "unknown" where there is nothing.
        whole: Label map of whole vertebrae, body and posterior elements under one number; None where there is none.
        whole_scheme: What its numbers mean, a name of `vertecast analyze --labels`.
        whole_levels: Uppermost and lowest level of it that is scored.
        whole_target: What all of them merged must reach.
        each_target: What each of them must reach.
        variant: How the image is changed before it is analysed; None: not at all.
    """

    name: str
    path: str
    bodies: str | None = None
    subregions: str | None = None
    scored: str | None = None
    target_dice: float | None = None
    levels: Literal["known", "unknown"] | None = None
    whole: str | None = None
    whole_scheme: str = "verse"
    whole_levels: tuple[str, str] = ("T1", "L5")
    whole_target: float | None = None
    each_target: float | None = None
    variant: Variant | None = None


_THORAX: Final = RealImage(
    name="thorax_2p5mm", path="ct/thorax_2p5mm/ct.nii.gz", whole="ct/thorax_2p5mm/vertebrae.nii.gz",
    whole_levels=("T1", "L3"), whole_target=0.90, each_target=0.82,
)  # fmt: skip

IMAGES: Final = (
    RealImage(
        name="lumbar_3mm", path="ct/lumbar_3mm/ct.nii.gz", bodies="ct/lumbar_3mm/bodies.nii.gz",
        target_dice=0.93, levels="known", whole="ct/lumbar_3mm/vertebrae.nii.gz",
        whole_scheme="totalsegmentator", whole_levels=("T12", "L5"),
    ),
    RealImage(
        name="lumbar_crop_1p5mm", path="ct/lumbar_crop_1p5mm/ct.nii.gz",
        bodies="ct/lumbar_crop_1p5mm/vertebrae.nii.gz", subregions="ct/lumbar_crop_1p5mm/subregions.nii.gz",
        scored="L3", target_dice=0.94, levels="unknown", whole="ct/lumbar_crop_1p5mm/vertebrae.nii.gz",
        whole_levels=("L2", "L4"),
    ),
    _THORAX,
    replace(_THORAX, name="thorax_2p5mm_back_cut", variant="back cut", whole_target=None, each_target=None),
    replace(_THORAX, name="thorax_2p5mm_contrast", variant="contrast", whole_target=None, each_target=None),
    RealImage(name="abdomen_dicom", path="ct/abdomen_dicom"),
    RealImage(name="abdomen_flipped_axes", path="ct/abdomen_flipped_axes"),
    RealImage(name="thorax_elastix", path="ct/thorax_elastix/ct.mha"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a report says.

    Attributes:
        bodies: Name of each, and whether it is complete.
        cement, leaks, metal: Number of pieces.
        cement_ml, leaks_ml, metal_ml: Their volume together, as far as it was measured.
        fractured: Complete bodies of `FRACTURED_GRADE` or more, with their grade.
        undecided: Complete bodies that were compared and whose grade is not decided.
        ungraded: Complete bodies that could not be compared.
    """

    bodies: Sequence[tuple[str, bool]]
    cement: int
    leaks: int
    metal: int
    cement_ml: float = 0.0
    leaks_ml: float = 0.0
    metal_ml: float = 0.0
    fractured: Sequence[tuple[str, int]] = ()
    undecided: Sequence[str] = ()
    ungraded: Sequence[str] = ()

    @property
    def complete(self) -> int:
        """Number of bodies that no edge of the image cuts."""
        return sum(whole for _, whole in self.bodies)


def claims_of(report: StudyReport) -> Claims:
    """What a report says, as numbers to compare."""
    complete = [body for body in report.vertebrae if body.complete]
    grades = {body.level: body.genant_grade for body in complete}
    ranges = {body.level: body.genant_grade_range for body in complete}
    return Claims(
        bodies=[(body.level, body.complete) for body in report.vertebrae],
        cement=len(report.cement),
        leaks=len(report.leaks),
        metal=len(report.hardware),
        cement_ml=_sum(one.volume for one in report.cement),
        leaks_ml=_sum(one.volume for one in report.leaks),
        metal_ml=_sum(one.volume for one in report.hardware),
        fractured=[
            (name, grade)
            for name, grade in grades.items()
            if not isinstance(grade, NotMeasured) and grade >= FRACTURED_GRADE
        ],
        undecided=[
            name
            for name, span in ranges.items()
            if not isinstance(span, NotMeasured) and isinstance(grades[name], NotMeasured)
        ],
        ungraded=[name for name, span in ranges.items() if isinstance(span, NotMeasured)],
    )


def _sum(volumes: Iterable[Measured]) -> float:
    return sum(one.value for one in volumes if isinstance(one, Quantity))


@dataclass(frozen=True, slots=True, kw_only=True)
class RealScore:
    """How one real image came out; Dice coefficients are None, and the lists empty, where there is no truth.

    ``height_differences_mm``: by true level and place, the height measured less that measured on the true outline.
    ``whole``: whole vertebrae; None where no map of them is known.
    """

    image: RealImage
    claims: Claims
    dice: float | None
    dice_by_level: dict[str, float]
    missed: tuple[str, ...]
    beyond_truth: tuple[str, ...]
    levels_right: bool | None
    height_differences_mm: dict[str, dict[str, float]] = field(default_factory=dict)
    whole: WholeScore | None = None

    @property
    def scored_dice(self) -> float | None:
        """The Dice coefficient that has the target."""
        return self.dice if self.image.scored is None else self.dice_by_level.get(self.image.scored)


def read_real_truth(image: RealImage, data: Path) -> Mask | None:
    """The true bodies of an image, numbered as in ``labels_<n>.nii.gz``; None where there are none.

    Raises:
        UnreadableError: A label map is missing or damaged.
        GeometryError: Vertebrae and subregions lie on different grids.
    """
    if image.bodies is None:
        return None
    bodies = read_labels(data / image.bodies)
    if image.subregions is None:
        return bodies
    parts = read_labels(data / image.subregions)
    if parts.labels.shape != bodies.labels.shape or not np.allclose(parts.lps_from_index, bodies.lps_from_index):
        raise GeometryError(f"{data / image.subregions}: lies on another grid than its vertebrae; fetch both again")
    inside = np.isin(parts.labels, SUBREGION_BODY)
    return Mask(labels=np.where(inside, bodies.labels, 0).astype(np.uint8), lps_from_index=bodies.lps_from_index)


def read_whole_truth(image: RealImage, data: Path, numbers: Mapping[int, int]) -> Mask | None:
    """The whole vertebrae of an image, numbered as in ``labels_<n>.nii.gz``; None where there are none.

    Args:
        image: Which one; a variant has those of the image that it is made from.
        data: Folder of the real images.
        numbers: Our number by the map's, of its scheme.

    Raises:
        UnreadableError: The map is missing or damaged, or holds a number without a meaning.
    """
    if image.whole is None:
        return None
    return recoded(read_labels(data / image.whole), numbers, data / image.whole)


def score_real(
    image: RealImage,
    claims: Claims,
    found: Mask,
    truth: Mask | None,
    measured: Sequence[VertebraFinding] = (),
    measured_on_truth: Sequence[VertebraFinding] = (),
    *,
    whole: Mask | None = None,
) -> RealScore:
    """Score one image.

    Args:
        image: Which one.
        claims: What its report says.
        found: Its label map.
        truth: Its true bodies, if known.
        measured: The vertebrae of its report.
        measured_on_truth: The same measurement on the true outlines.
        whole: Its whole vertebrae, if known.
    """
    dice: float | None = None
    by_level: dict[str, float] = {}
    partner: dict[int, int] = {}
    if truth is not None:
        counts = body_counts(label_pair(truth, found))
        dice, partner = metrics.body_dice(counts), metrics.match_bodies(counts)
        for number in (np.flatnonzero(counts[1:].sum(axis=1)) + 1).tolist():
            name = label_name(number)
            by_level[name] = metrics.dice(counts, number, partner[number]) if number in partner else 0.0
    names = {label_name(t): label_name(f) for t, f in partner.items()}
    known = {"known": all(names.get(name) == name for name in by_level), "unknown": _all_unknown(claims)}
    beyond = [name if whole else f"{name} (cut)" for name, whole in claims.bodies if name not in names.values()]
    return RealScore(
        image=image,
        claims=claims,
        dice=dice,
        dice_by_level=by_level,
        missed=tuple(name for name in by_level if name not in names),
        beyond_truth=() if truth is None else tuple(beyond),
        levels_right=None if image.levels is None else known[image.levels],
        height_differences_mm=_height_differences_mm(measured, measured_on_truth, names),
        whole=None if whole is None else score_whole(whole, found, image.whole_levels),
    )


def _height_differences_mm(
    measured: Sequence[VertebraFinding], measured_on_truth: Sequence[VertebraFinding], names: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    found = {vertebra.level: vertebra.heights for vertebra in measured}
    differences: dict[str, dict[str, float]] = {}
    for vertebra in measured_on_truth:
        own = found.get(names.get(vertebra.level, ""), {})
        for place, height in vertebra.heights.items():
            mine = own.get(place)
            if isinstance(height, Quantity) and isinstance(mine, Quantity):
                differences.setdefault(vertebra.level, {})[place] = mine.value - height.value
    return differences


def _all_unknown(claims: Claims) -> bool:
    return all(name.startswith("V") for name, _ in claims.bodies)
