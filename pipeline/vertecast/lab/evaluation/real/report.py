"""How real images came out: lines for the terminal, a closing table, and values of ``real.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from vertecast.lab.evaluation.real.images import Claims, RealImage, RealScore
from vertecast.lab.evaluation.real.whole import WholeScore


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
    if score.whole is not None:
        yield from _whole_lines(score.whole, score.image)
    if score.height_differences_mm:
        yield f"  heights less those of the true outlines (mm): {_differences(score.height_differences_mm)}"
    if score.levels_right is not None:
        right = "all named rightly" if score.image.levels == "known" else "said to be unknown, which is right"
        yield f"  levels: {right if score.levels_right else 'wrong'}"
    yield f"  graded ≥2: {_grades(claims)}; undecided: {_list(claims.undecided)}; no grade: {_list(claims.ungraded)}"
    claimed = (
        f"{claims.cement} cement{_ml(claims.cement_ml)}, {claims.leaks} leaks{_ml(claims.leaks_ml)}, "
        f"{claims.metal} metal{_ml(claims.metal_ml)}"
    )
    yield f"  claimed: {claimed}{'' if claims.cement + claims.leaks + claims.metal else ' (right: there is none)'}"


def _whole_lines(whole: WholeScore, image: RealImage) -> Iterator[str]:
    parts = ", ".join(f"{name} {value:.3f}" for name, value in whole.by_level.items())
    yield f"  whole vertebrae {whole.first}–{whole.last}: Dice {whole.dice:.3f} merged; {parts}"
    yield f"  each of them: minimum {whole.minimum:.3f}, mean {whole.mean:.3f}"
    if image.whole_target is not None and image.each_target is not None:
        merged = "reached" if whole.dice >= image.whole_target else "missed"
        each = "reached" if whole.minimum >= image.each_target else "missed"
        yield f"  target: merged ≥{image.whole_target:g}: {merged}; each ≥{image.each_target:g}: {each}"
    yield f"  names of whole vertebrae: {names_text(whole)}"


def names_text(whole: WholeScore) -> str:
    """Whether the names are right, and if not, by how many levels they are off."""
    if whole.levels_right:
        return "right"
    missed = [level for level in whole.by_level if level not in whole.names]
    by_offset: dict[str, list[str]] = {}
    for level, offset in whole.offsets.items():
        key = "unknown" if offset is None else "right" if offset == 0 else f"{offset:+d}"
        by_offset.setdefault(key, []).append(level)
    if missed:
        by_offset["missed"] = missed
    return "; ".join(f"{key}: {' '.join(levels)}" for key, levels in by_offset.items()) or "none in view"


def _grades(claims: Claims) -> str:
    return _list([f"{name} ({grade})" for name, grade in claims.fractured])


def _list(names: Sequence[str]) -> str:
    return " ".join(names) or "none"


def _ml(volume_ml: float) -> str:
    return f" ({volume_ml:.2f} mL)" if volume_ml else ""


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
            "cement_ml": score.claims.cement_ml,
            "leaks_ml": score.claims.leaks_ml,
            "metal_ml": score.claims.metal_ml,
            "bodies_complete": score.claims.complete,
            "bodies_cut": len(score.claims.bodies) - score.claims.complete,
            "graded_2_or_more": dict(score.claims.fractured),
            "undecided": list(score.claims.undecided),
            "ungraded": list(score.claims.ungraded),
            "whole_vertebrae": None if score.whole is None else _whole_document(score.whole, score.image),
        }
        for score in scores
    }


def _whole_document(whole: WholeScore, image: RealImage) -> dict[str, Any]:
    return {
        "levels": [whole.first, whole.last],
        "dice": _number(whole.dice),
        "dice_by_level": dict(whole.by_level),
        "dice_minimum": _number(whole.minimum),
        "dice_mean": _number(whole.mean),
        "target_dice": image.whole_target,
        "target_each": image.each_target,
        "names": dict(whole.names),
        "levels_right": whole.levels_right,
        "levels_off_by": whole.offsets,
    }


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if np.isnan(value) else value


COLUMNS: Final = (
    "image", "bodies", "cut", "body Dice", "whole", "worst", "mean", "names", "≥2", "undecided", "cement", "leaks",
    "metal",
)  # fmt: skip


def table_lines(images: Sequence[RealImage], scores: Sequence[RealScore]) -> Iterator[str]:
    """A table of all images, one row each; one that was not analysed has an empty row."""
    by_name = {score.image.name: score for score in scores}
    rows = [COLUMNS] + [_row(image, by_name.get(image.name)) for image in images]
    widths = [max(len(row[n]) for row in rows) for n in range(len(COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(image: RealImage, score: RealScore | None) -> tuple[str, ...]:
    if score is None:
        return (image.name, "none", *["–"] * (len(COLUMNS) - 2))
    claims, whole = score.claims, score.whole
    return (
        image.name,
        str(claims.complete),
        str(len(claims.bodies) - claims.complete),
        _dice(score.scored_dice),
        *(map(_dice, (whole.dice, whole.minimum, whole.mean)) if whole else ("–", "–", "–")),
        _names_cell(score),
        str(len(claims.fractured)),
        str(len(claims.undecided)),
        *(
            f"{count}{_ml(volume)}"
            for count, volume in (
                (claims.cement, claims.cement_ml), (claims.leaks, claims.leaks_ml), (claims.metal, claims.metal_ml)
            )
        ),
    )  # fmt: skip


def _dice(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"


def _names_cell(score: RealScore) -> str:
    """Right or wrong, by how much, in a word."""
    if score.levels_right is not None:
        return "right" if score.levels_right else "wrong"
    if score.whole is None:
        return "–"
    if score.whole.levels_right:
        return "right"
    counts: dict[str, int] = {}
    for offset in score.whole.offsets.values():
        key = "unknown" if offset is None else f"{offset:+d}" if offset else "right"
        counts[key] = counts.get(key, 0) + 1
    if missed := len(score.whole.by_level) - len(score.whole.names):
        counts["missed"] = missed
    return ", ".join(f"{count}× {key}" for key, count in counts.items()) or "none"
