"""A folder of studies with one worker and with two: studies an hour, and their ratio.

Each run is ``vertecast analyze --workers N`` over `data_samples` in a fresh process, start and end included; a run with
one worker is followed by one with two, and the ratio is that of such a pair. A worker gets an equal share of the cores:
one alone has the network computed on all of them, so that two gain what the rest leaves idle. The memory is that of all
processes at once.
"""

from __future__ import annotations

from typing import Final

from benchmarks.ct import analysed
from benchmarks.figures import Aim, Figure, Section
from benchmarks.processes import Run
from benchmarks.samples import STUDIES

RATIO_LIMIT: Final = 1.6
"""Studies an hour of two workers over those of one, on two cores."""

WORKERS: Final = (1, 2)


def measure_batch(runs: int) -> list[Section]:
    """Rates of both, and their ratio.

    Args:
        runs: Of each.

    Raises:
        RuntimeError: A study failed.
    """
    studies = sum(path.is_dir() for path in STUDIES.iterdir())
    found: dict[int, list[Run]] = {workers: [] for workers in WORKERS}
    for _ in range(runs):
        for workers in WORKERS:
            found[workers].append(analysed(STUDIES, "--workers", str(workers), tree=True))
    return [_section(studies, found)]


def _section(studies: int, found: dict[int, list[Run]]) -> Section:
    rates = {workers: [3600 * studies / run.wall_s for run in runs] for workers, runs in found.items()}
    figures = [
        Figure(
            name=f"studies an hour, {workers} worker{'s' if workers > 1 else ''}",
            unit="/h",
            cold=tuple(rates[workers]),
            memory_gib=tuple(run.peak_gib for run in runs),
        )
        for workers, runs in found.items()
    ]
    one, two = (rates[workers] for workers in WORKERS)
    ratio = Figure(
        name="2 workers over 1",
        unit="×",
        cold=tuple(b / a for a, b in zip(one, two, strict=True)),
        aims=(Aim(value=RATIO_LIMIT, column="cold", at_least=True),),
    )
    return Section(title=f"Batch of {studies} studies (`data_samples`)", figures=(*figures, ratio))
