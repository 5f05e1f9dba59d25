"""Counting levels from landmarks, on any kind of image: which body is which, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.anatomy import CERVICAL, CRANIAL_TO_CAUDAL, LUMBAR, THORACIC, Level
from vertecast.core.errors import ConfigurationError
from vertecast.core.geometry import FloatArray
from vertecast.core.results import LevelAssignment, LevelSource

GAP_RATIO: Final = 1.6
"""A distance between neighbours beyond this share of the local pitch means that a vertebra was missed."""

CONFIDENCE: Final = {"sacrum+ribs": 0.97, "sacrum": 0.88, "ribs": 0.82}
VARIANT_CONFIDENCE: Final = 0.65
"""4 or 6 lumbar-type bodies: a true variant (about 1 in 10 people), or one error of the segmentation."""
CONFLICT_CONFIDENCE: Final = 0.4
GAP_FACTOR: Final = 0.75
"""Every vertebra that is counted over lowers the confidence of all levels beyond it."""

SACRUM_GAP_PITCH: Final = 0.65
"""Distance from the centre of L5 to the sacrum, in units of the distance between bodies: half a body and a disc."""

THIRTEEN_RIBS: Final = 13
"""That many rib-bearing bodies in one run: the last is T13."""

NUMBER_WORDS: Final = {4: "four", 6: "six"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """``lowest``: name of the lowest body found; ``names``: the order of levels that was used, cranial first.

    ``notes``: what is unusual about it, for the reader.
    """

    names: tuple[str, ...]
    lowest: str
    source: LevelSource
    confidence: float
    notes: tuple[str, ...] = ()


def check_operator_level(lowest: str | None, highest: str | None) -> None:
    """Raise `ConfigurationError` where both ends are given, or a level that is none of a vertebra with a body."""
    if lowest is not None and highest is not None:
        raise ConfigurationError("--lowest and --highest: one of them names the whole column; give the surer one")
    for end, level in (("lowest", lowest), ("highest", highest)):
        if level is not None and (level not in Level.__members__ or Level[level] is Level.S1):
            raise ConfigurationError(f"--{end} {level}: no such level; name the {end} body in view, such as L5")


def unknown_level(n: int) -> LevelAssignment:
    """V1, V2, ...: the ``n``-th body, from 0, of an image without a landmark."""
    return LevelAssignment(name=f"V{n + 1}", source="unknown", confidence=0.0)


def are_adjacent(upper: str, lower: str) -> bool:
    """True unless both levels are known and another lies between them (variants T13, L6 may be absent)."""
    if upper not in Level.__members__ or lower not in Level.__members__:
        return True
    order: list[Level] = [level for level in CRANIAL_TO_CAUDAL if level not in (Level.T13, Level.L6)]
    if Level[upper] not in order or Level[lower] not in order:
        return True
    return order.index(Level[lower]) - order.index(Level[upper]) == 1


def find_slots(centers: FloatArray) -> npt.NDArray[np.intp]:
    """Place of every body in the column, 0 for the top; a missed vertebra leaves its place empty."""
    if len(centers) < 2:
        return np.zeros(len(centers), dtype=np.intp)
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)
    missed = np.zeros(len(steps), dtype=np.intp)
    for n, step in enumerate(steps):
        others = np.concatenate([steps[max(n - 3, 0) : n], steps[n + 1 : n + 4]])
        others = others[np.isfinite(others)]
        if len(others) and np.isfinite(step) and step > GAP_RATIO * np.median(others):
            missed[n] = round(step / float(np.median(others))) - 1
    return np.concatenate([[0], np.cumsum(1 + missed)])


def operator_levels(
    slots: npt.NDArray[np.intp], lowest: str | None, highest: str | None
) -> tuple[LevelAssignment, ...] | None:
    """Counting from the level that the operator gave to the lowest or to the highest body found; None without it.

    Raises:
        ConfigurationError: as `check_operator_level`.
    """
    check_operator_level(lowest, highest)
    given = highest if lowest is None else lowest
    if given is None or not len(slots):
        return None
    names = _order(lumbar=6 if given == "L6" else 5, t13=given == "T13")
    return _named(slots, names, given, source="operator", confidence=1.0, from_top=highest is not None)


def _order(*, lumbar: int = 5, t13: bool = False) -> tuple[str, ...]:
    """Level names from C1 down with the given number of lumbar bodies and, where asked, T13."""
    thoracic = [*THORACIC, *([Level.T13] if t13 else [])]
    return tuple(level.name for level in (*CERVICAL, *thoracic, *(*LUMBAR, Level.L6)[:lumbar]))


def combine(*, below_last_rib: int | None, missed_above_sacrum: int | None, thirteen_ribs: bool) -> Count | None:
    """Combine sacrum and ribs. None where neither is in view.

    Args:
        below_last_rib: Places from the lowest body that bears a rib to the lowest body found, or None without a rib.
        missed_above_sacrum: Vertebrae missed between the lowest body and the sacrum, or None without a sacrum.
        thirteen_ribs: The run of bodies with ribs is as long as `THIRTEEN_RIBS`.
    """
    if below_last_rib is None:
        if missed_above_sacrum is None:
            return None
        names = _order()
        return Count(
            names=names, lowest=names[-1 - missed_above_sacrum], source="sacrum",
            confidence=CONFIDENCE["sacrum"] * GAP_FACTOR**missed_above_sacrum,
        )  # fmt: skip
    if missed_above_sacrum is None:
        names = _order(lumbar=6 if below_last_rib == 6 else 5, t13=thirteen_ribs)
        at = names.index("T13" if thirteen_ribs else "T12") + below_last_rib
        if at >= len(names):
            return None
        return Count(
            names=names, lowest=names[at], source="ribs", confidence=CONFIDENCE["ribs"],
            notes=_variants(lumbar=6 if below_last_rib == 6 else 5, thirteen=thirteen_ribs),
        )  # fmt: skip
    return _agree(below_last_rib + missed_above_sacrum, missed_above_sacrum, thirteen=thirteen_ribs)


def _agree(lumbar: int, missed_below: int, *, thirteen: bool) -> Count:
    """Both landmarks in view with ``lumbar`` bodies between the last rib and the sacrum."""
    if lumbar in (4, 5, 6):
        names = _order(lumbar=lumbar, t13=thirteen)
        variant = lumbar != 5 or thirteen
        confidence = VARIANT_CONFIDENCE if variant else CONFIDENCE["sacrum+ribs"]
        confidence *= GAP_FACTOR**missed_below
        return Count(
            names=names, lowest=names[-1 - missed_below], source="sacrum+ribs", confidence=confidence,
            notes=_variants(lumbar=lumbar, thirteen=thirteen),
        )  # fmt: skip
    names = _order()
    note = f"{lumbar} bodies between the last rib and the sacrum: levels are counted from the sacrum alone"
    return Count(
        names=names, lowest=names[-1 - missed_below], source="sacrum", confidence=CONFLICT_CONFIDENCE, notes=(note,)
    )


def _variants(*, lumbar: int, thirteen: bool) -> tuple[str, ...]:
    """What is said of a column that does not have twelve thoracic and five lumbar bodies."""
    notes = []
    if lumbar in NUMBER_WORDS:
        notes.append(
            f"{NUMBER_WORDS[lumbar]} lumbar bodies below the last rib, named L1 to L{lumbar}: a variant, or a rib or a "
            "body that was misjudged"
        )
    if thirteen:
        notes.append("thirteen bodies with ribs, the last one named T13: a variant, or a lumbar rib")
    return tuple(notes)


def named(slots: npt.NDArray[np.intp], count: Count) -> tuple[LevelAssignment, ...]:
    """Count up from the lowest body."""
    return _named(slots, count.names, count.lowest, source=count.source, confidence=count.confidence)


def _named(
    slots: npt.NDArray[np.intp],
    names: Sequence[str],
    anchor: str,
    *,
    source: LevelSource,
    confidence: float,
    from_top: bool = False,
) -> tuple[LevelAssignment, ...]:
    """Count from the lowest body, or from the highest, which is ``anchor``. Beyond the names the number from the top
    stays. Every vertebra that is missed on the way makes a name less sure."""
    end = 0 if from_top else len(slots) - 1
    result: list[LevelAssignment] = []
    for n, slot in enumerate(slots):
        place = names.index(anchor) + int(slot - slots[end])
        missed = abs(int(slot - slots[end])) - abs(n - end)
        if 0 <= place < len(names):
            sure = confidence * GAP_FACTOR**missed
            result.append(LevelAssignment(name=names[place], source=source, confidence=sure))
        else:
            result.append(unknown_level(n))
    return tuple(result)
