"""The cases that came out worst, with a picture of each: what to look at before a mean is believed."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from vertecast.core.errors import VertecastError
from vertecast.core.images import Mask, Volume
from vertecast.lab.evaluation.cases import Case
from vertecast.lab.evaluation.datasets.reading import read_background, read_map
from vertecast.lab.evaluation.maps.pairs import label_pair
from vertecast.lab.evaluation.pages.figures import AIR_HU, draw_overlay

SHOWN: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """A case and what is wrong with it; ``source`` is a picture without outside parts, "" where none could be drawn."""

    name: str
    dice: float
    missed: tuple[str, ...]
    false: tuple[str, ...]
    renamed: tuple[str, ...]
    source: str
    caption: str


def worst_cases(cases: Sequence[Case]) -> list[WorstCase]:
    """The cases with the lowest mean Dice of their vertebrae, worst first; a miss is 0."""
    scored = sorted((mean_dice(case), case.name, n) for n, case in enumerate(cases) if _vertebrae(case))
    return [_worst(cases[n], dice) for dice, _, n in scored[:SHOWN]]


def mean_dice(case: Case) -> float:
    """Mean Dice of the true vertebrae of a case; NaN where it has none."""
    values = _vertebrae(case)
    return float(np.mean(values)) if values else float("nan")


def _vertebrae(case: Case) -> list[float]:
    if case.masks is None:
        return []
    return [one.overlap.dice for one in case.masks.structures if one.structure == case.masks.things and one.level]


def _worst(case: Case, dice: float) -> WorstCase:
    assert case.masks is not None, "only cases with label maps have a Dice"
    things = [one for one in case.masks.structures if one.structure == case.masks.things]
    source, caption = _picture(case)
    return WorstCase(
        name=case.name,
        dice=dice,
        missed=tuple(one.level for one in things if one.verdict == "missed"),
        false=tuple(one.found_level for one in things if one.verdict == "false"),
        renamed=tuple(
            f"{one.level} called {one.found_level}"
            for one in things
            if one.verdict == "found" and one.level != one.found_level
        ),
        source=source,
        caption=caption,
    )


def _picture(case: Case) -> tuple[str, str]:
    """A picture and what it shows; where a file cannot be read, no picture and the reason."""
    if case.truth is None:
        return "", "The maps are not at hand."
    try:
        truth = read_map(case.truth)
        pair = label_pair(truth, None if case.found is None else read_map(case.found))
        image = read_background(case.truth)
    except VertecastError as error:
        return "", f"No picture: {error}"
    true, found = (Mask(labels=own, lps_from_index=pair.lps_from_index) for own in (pair.truth, pair.found))
    nothing = np.full(pair.truth.shape, AIR_HU, dtype=np.int16)
    shown = image or Volume(hu=nothing, lps_from_index=pair.lps_from_index)
    stream = io.BytesIO()
    draw_overlay(shown, found, truth=true).savefig(stream, format="png", dpi=70)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    caption = "Found in colour, true as a white line." + ("" if image else " The image itself is not at hand.")
    return f"data:image/png;base64,{data}", caption
