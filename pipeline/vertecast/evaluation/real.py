"""Real images that are scored beside the simulated ones: where they lie, what is known of them, how they come out.

They are public but no part of the project; the folder's own README says where each comes from. A truth may be the
output of another network, so that a Dice coefficient is agreement with it and no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from vertecast.anatomy import label_name
from vertecast.errors import GeometryError
from vertecast.evaluation import metrics
from vertecast.evaluation.datasets import read_labels
from vertecast.evaluation.scoring import body_counts, label_pair
from vertecast.images import Mask
from vertecast.results import Quantity, VertebraFinding

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
    """

    name: str
    path: str
    bodies: str | None = None
    subregions: str | None = None
    scored: str | None = None
    target_dice: float | None = None
    levels: Literal["known", "unknown"] | None = None


IMAGES: Final = (
    RealImage(
        name="lumbar_3mm", path="ct/lumbar_3mm/ct.nii.gz", bodies="ct/lumbar_3mm/bodies.nii.gz",
        target_dice=0.86, levels="known",
    ),
    RealImage(
        name="lumbar_crop_1p5mm", path="ct/lumbar_crop_1p5mm/ct.nii.gz",
        bodies="ct/lumbar_crop_1p5mm/vertebrae.nii.gz", subregions="ct/lumbar_crop_1p5mm/subregions.nii.gz",
        scored="L3", target_dice=0.90, levels="unknown",
    ),
    RealImage(name="abdomen_dicom", path="ct/abdomen_dicom"),
    RealImage(name="abdomen_flipped_axes", path="ct/abdomen_flipped_axes"),
    RealImage(name="thorax_elastix", path="ct/thorax_elastix/ct.mha"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a report says: bodies as name and "is it complete", cement, leaks and pieces of metal by number."""

    bodies: Sequence[tuple[str, bool]]
    cement: int
    leaks: int
    metal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RealScore:
    """How one real image came out; Dice coefficients are None, and the lists empty, where there is no truth.

    ``height_differences_mm``: by true level and place, the height measured less that measured on the true outline.
    """

    image: RealImage
    claims: Claims
    dice: float | None
    dice_by_level: dict[str, float]
    missed: tuple[str, ...]
    beyond_truth: tuple[str, ...]
    levels_right: bool | None
    height_differences_mm: dict[str, dict[str, float]] = field(default_factory=dict)

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


def score_real(
    image: RealImage,
    claims: Claims,
    found: Mask,
    truth: Mask | None,
    measured: Sequence[VertebraFinding] = (),
    measured_on_truth: Sequence[VertebraFinding] = (),
) -> RealScore:
    """Score one image.

    Args:
        image: Which one.
        claims: What its report says.
        found: Its label map.
        truth: Its true bodies, if known.
        measured: The vertebrae of its report.
        measured_on_truth: The same measurement on the true outlines.
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


def text_lines(score: RealScore) -> Iterator[str]:
    """One image in a few lines."""
    claims = score.claims
    names = " ".join(name if whole else f"{name}(cut)" for name, whole in claims.bodies)
    yield f"{score.image.name}: {len(claims.bodies)} bodies: {names or 'none'}"
    if score.dice is not None:
        parts = ", ".join(f"{name} {value:.3f}" for name, value in score.dice_by_level.items())
        yield f"  body Dice {score.dice:.3f}; {parts}"
        beyond = " ".join(score.beyond_truth) or "none"
        yield f"  missed: {' '.join(score.missed) or 'none'}; beyond the truth: {beyond}"
    if score.scored_dice is not None and score.image.target_dice is not None:
        verdict = "reached" if score.scored_dice >= score.image.target_dice else "missed"
        what = score.image.scored or "all bodies"
        yield f"  target: {what} ≥{score.image.target_dice:g}: {verdict} ({score.scored_dice:.3f})"
    if score.height_differences_mm:
        yield f"  heights less those of the true outlines (mm): {_differences(score.height_differences_mm)}"
    if score.levels_right is not None:
        right = "all named rightly" if score.image.levels == "known" else "said to be unknown, which is right"
        yield f"  levels: {right if score.levels_right else 'wrong'}"
    claimed = f"{claims.cement} cement, {claims.leaks} leaks, {claims.metal} metal"
    yield f"  claimed: {claimed}{'' if claims.cement + claims.leaks + claims.metal else ' (right: there is none)'}"


def _differences(by_level: Mapping[str, Mapping[str, float]]) -> str:
    """Mean and mean absolute difference of each place."""
    places = dict.fromkeys(place for one in by_level.values() for place in one)
    parts = []
    for place in places:
        values = np.array([one[place] for one in by_level.values() if place in one])
        parts.append(f"{place} {values.mean():+.1f}, absolute {np.abs(values).mean():.1f}")
    return f"{'; '.join(parts)}; {len(by_level)} bodies"


def document(scores: Sequence[RealScore]) -> dict[str, Any]:
    """The same as JSON values, by the name of the image."""
    return {
        score.image.name: {
            "bodies": [{"level": name, "complete": whole} for name, whole in score.claims.bodies],
            "body_dice": score.dice,
            "body_dice_by_level": score.dice_by_level,
            "target_dice": score.image.target_dice,
            "scored_dice": score.scored_dice,
            "missed": list(score.missed),
            "beyond_truth": list(score.beyond_truth),
            "levels_right": score.levels_right,
            "height_differences_mm": score.height_differences_mm,
            "cement": score.claims.cement,
            "leaks": score.claims.leaks,
            "metal": score.claims.metal,
        }
        for score in scores
    }
