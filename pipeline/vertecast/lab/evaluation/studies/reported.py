"""What a report says of change, and of any quantity; of a report only what is scored is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vertecast.core.results import Measured, NotMeasured, Place, Quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLevelChange:
    """What a report says of one level since an earlier study; fields as in `vertecast.core.results.LevelChange`."""

    height_gain: Mapping[Place, Measured]
    wedge_change: Measured
    kyphosis_change: Measured
    recollapse: bool | NotMeasured | None = None
    cement_change: Measured | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundChange:
    """What a report says has changed since the study ``pre_study``: by level, and the levels that broke."""

    pre_study: str
    levels: Mapping[str, FoundLevelChange]
    new_fractures: tuple[str, ...]


def read_changes(document: Mapping[str, Any]) -> tuple[FoundChange, ...]:
    """Every change between CT studies in a report, that since the study before first; none in an older report.

    Raises:
        KeyError, TypeError, ValueError: What is to be scored is missing or damaged.
    """
    changes = [document["change"]] if "change" in document else []
    return tuple(_change(one) for one in (*changes, *document.get("further_changes", ())) if one["modality"] == "ct")


def read_timeline(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """StudyInstanceUID and level of every line of a report's timeline."""
    for study in document.get("timeline", ()):
        for level in study["levels"]:
            yield str(study["study_instance_uid"]), str(level["level"])


def measured(value: Mapping[str, Any]) -> Measured:
    """A quantity of a report, or why there is none.

    Raises:
        KeyError, TypeError, ValueError: It is neither.
    """
    if "not_measured" in value:
        return NotMeasured(reason=str(value["not_measured"]))
    interval = value["interval95"]
    return Quantity(
        value=float(value["value"]),
        unit=str(value["unit"]),
        interval95=None if interval is None else (float(interval[0]), float(interval[1])),
    )


def _change(change: Mapping[str, Any]) -> FoundChange:
    return FoundChange(
        pre_study=str(change["pre_study"]),
        levels={str(level["level"]): _level(level) for level in change["levels"]},
        new_fractures=tuple(str(fracture["level"]) for fracture in change["new_fractures"]),
    )


def _level(level: Mapping[str, Any]) -> FoundLevelChange:
    recollapse = level.get("recollapse")
    if isinstance(recollapse, dict):
        recollapse = NotMeasured(reason=str(recollapse["not_measured"]))
    return FoundLevelChange(
        height_gain={place: measured(gain) for place, gain in level["height_gain"].items()},
        wedge_change=measured(level["wedge_change"]),
        kyphosis_change=measured(level["kyphosis_change"]),
        recollapse=recollapse,
        cement_change=measured(level["cement_change"]) if "cement_change" in level else None,
    )
