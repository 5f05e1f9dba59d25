"""Tables of patients beside a data set: sub-groups, and which cases are of one patient."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vertecast.core.errors import UnreadableError

KNOWN_TABLES: Final = ("participants.tsv", "meta.csv")
"""Tables of BIDS and of the TotalSegmentator data set, found in the folder of the truth."""

KEYS: Final = ("case", "study_instance_uid", "participant_id", "image_id", "subject", "patient")
"""Names of the column that says what a line is of; without one of them it is the first column."""

MOST_VALUES: Final = 12
"""A column with more values makes no groups: it is a number, which is cut in ranges, or tells patients apart."""

RANGES: Final = 4


def find_table(directory: Path) -> Path | None:
    """The table of a data set, where it has one."""
    return next((directory / name for name in KNOWN_TABLES if (directory / name).is_file()), None)


def read_groups(path: Path) -> dict[str, dict[str, str]]:
    """Sub-groups by case or patient: value by name of the column.

    Columns of numbers with many values are cut in quarters, ages at 50, 65 and 80; other columns with many values are
    left out, since they name and do not group. A column "patient" says which cases are of one patient.

    Raises:
        UnreadableError: The table cannot be read, or has no lines.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{path}: cannot be read as a table ({type(error).__name__}); give UTF-8") from error
    head = text.partition("\n")[0]
    delimiter = max("\t;,", key=head.count)
    lines = list(csv.DictReader(text.splitlines(), delimiter=delimiter))
    if not lines or not lines[0]:
        raise UnreadableError(f"{path}: has no lines; give a header, then a line for every case")
    names = list(lines[0])
    key = next((name for known in KEYS for name in names if name.lower() == known), names[0])
    groups: dict[str, dict[str, str]] = {str(line[key]): {} for line in lines}
    for name in names:
        if name != key:
            for case, value in _column(name, {str(line[key]): str(line[name] or "").strip() for line in lines}).items():
                groups[case][name] = value
    return groups


def _column(name: str, values: Mapping[str, str]) -> Mapping[str, str]:
    """The group of every case that has one."""
    given = {case: value for case, value in values.items() if value and value.lower() not in ("n/a", "nan")}
    if name.lower() == "patient":
        return given
    numbers = {case: number for case, value in given.items() if (number := _number(value)) is not None}
    if len(numbers) == len(given) and (name.lower() == "age" or len(set(given.values())) > MOST_VALUES):
        return _ranges(name, numbers)
    return given if len(set(given.values())) <= MOST_VALUES else {}


def _ranges(name: str, numbers: Mapping[str, float]) -> dict[str, str]:
    ordered = sorted(numbers.values())
    quarters = [ordered[len(ordered) * n // RANGES] for n in range(1, RANGES)] if ordered else []
    limits = list(AGE_LIMITS) if name.lower() == "age" else sorted(set(quarters))
    return {case: _range(number, limits) for case, number in numbers.items()}


AGE_LIMITS: Final = (50.0, 65.0, 80.0)


def age_group(years: float) -> str:
    """The range of an age: "<50", "50 to <65", "65 to <80", "≥80"."""
    return _range(years, list(AGE_LIMITS))


def _range(number: float, limits: list[float]) -> str:
    """The range of a number: "<50", "50 to <65", "≥80"."""
    above = sum(number >= limit for limit in limits)
    if above == 0:
        return f"<{limits[0]:g}"
    return f"≥{limits[-1]:g}" if above == len(limits) else f"{limits[above - 1]:g} to <{limits[above]:g}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
