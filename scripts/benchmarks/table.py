"""The figures as Markdown, and their place in a file between two marker comments."""

from __future__ import annotations

import re
import statistics
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.figures import Comparison, RuntimeRow, Section, from_json, in_unit
from benchmarks.machine import described
from benchmarks.runtimes import GRADE, KINDS, gain, verdict

BEGIN: Final = "<!-- benchmark -->"
END: Final = "<!-- /benchmark -->"
LONGEST_REASON: Final = 200
WIDTH: Final = 120

EXPLAINED: Final = (
    "Time and memory on one machine: seconds hold for it alone, ratios (measuring over network, two workers over one, "
    "one runtime over another) say more about others. Runs of each: {runs}; the median, of memory the largest. "
    "Cold: in processes that were just started; warm: in one that has done the same before. Whole analyses, batch, "
    "service and training are wall time; the stages are processor time and, cold, the first time in a process. "
    "{machine}. Load before: {loads}."
)


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of a run.

    Args:
        result: As `scripts/benchmark.py` writes it: ``machine``, and ``subjects`` by name, each with ``load_before``,
            ``runs`` and either ``found`` or the reason why it ``failed``.

    Raises:
        KeyError, TypeError: It is something else.
    """
    subjects = result["subjects"]
    found = {name: from_json(one.get("found", [])) for name, one in subjects.items()}
    loads = ", ".join(f"{name} {one['load_before']:g}" for name, one in subjects.items())
    runs = " or ".join(map(str, sorted({one["runs"] for one in subjects.values()})))
    about = EXPLAINED.format(runs=runs, machine=described(result["machine"]), loads=loads)
    lines = [textwrap.fill(about, WIDTH, break_on_hyphens=False), ""]
    lines += ["| | cold | warm | memory | aim |", "|---|---|---|---|---|"]
    for name, one in subjects.items():
        if "failed" in one:
            lines.append(f"| **{name}** | failed: {_short(one['failed'])} | | | |")
        for section in found[name]:
            if isinstance(section, Section):
                lines += _rows(section)
    for comparison in (one for each in found.values() for one in each if isinstance(one, Comparison)):
        lines += ["", f"{comparison.title}; mean and largest difference from {comparison.rows[0].name}:", ""]
        lines += _runtimes(comparison)
    return "\n".join(lines)


def check(path: Path) -> None:
    """Raises `ValueError` unless a file holds the two markers once, in their order."""
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{path}: needs a line {BEGIN} and below it a line {END}, each once; the table goes between")


def write(path: Path, table: str) -> None:
    """Put a table between the markers of a file, in place of what stands there.

    Raises:
        ValueError: The file does not hold them once.
    """
    check(path)
    text = path.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    path.write_text(f"{before}{BEGIN}\n{table.strip()}\n{after}", encoding="utf-8")


def _rows(section: Section) -> Iterator[str]:
    yield f"| **{section.title}** | | | | |"
    for figure in section.figures:
        cells = (figure.text("cold"), figure.text("warm"), figure.text("memory"), "; ".join(figure.verdicts()))
        yield f"| {figure.name} | {' | '.join(cells)} |"


def _runtimes(comparison: Comparison) -> Iterator[str]:
    rows, kinds = comparison.rows, [kind for kind in KINDS if kind in comparison.rows[0].differences]
    heads = ["runtime", "loading", "cold", "warm", "times as fast", "memory", *kinds, "grades that changed", "verdict"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        judged = _short(verdict(row, rows))
        empty = [""] * (len(heads) - 2)
        cells = empty if row.failed else [*_times(row, rows), *(_difference(row, kind) for kind in kinds), _grades(row)]
        yield f"| {' | '.join([row.name, *cells, judged])} |"


def _times(row: RuntimeRow, rows: Sequence[RuntimeRow]) -> list[str]:
    seconds = (row.loading_s, row.cold_s, statistics.median(row.warm_s))
    return [*(in_unit(value, "s") for value in seconds), f"{gain(row, rows[0]):.1f}", in_unit(row.peak_gib, "GiB")]


def _difference(row: RuntimeRow, kind: str) -> str:
    found = row.differences.get(kind)
    return "none in both" if found is None else f"{found.mean:.4f}, {found.largest:.4f} {KINDS[kind]}"


def _grades(row: RuntimeRow) -> str:
    graded = row.differences[GRADE].count if GRADE in row.differences else 0
    missing = f"; {row.not_in_both} measurements not in both" if row.not_in_both else ""
    return f"{row.grades_changed} of {graded}{missing}"


def _short(reason: str) -> str:
    """A reason that fits into a cell: one line, no paths of this machine."""
    line = re.sub(r"(?<![\w.])/(?:[\w.@+-]+/)+", "", " ".join(reason.split())).replace("|", "\\|")
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}…"
