"""A folder of studies with one worker and with two: studies an hour, and their ratio.

Each run is ``vertecast analyze --workers N`` over `data_samples` in a fresh process, start and end included. A worker
gets an equal share of the cores: one alone has the network computed on all of them, so that two gain only what the rest
leaves idle. What a second process gives is seen against one worker that is held to one core; that ratio has the aim.
The runs to be compared follow each other. The memory is that of all processes at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.ct import analysed
from benchmarks.figures import Aim, Figure, Section
from benchmarks.processes import Run
from benchmarks.samples import STUDIES

RATIO_LIMIT: Final = 1.6
"""Studies an hour of two workers over those of one on one core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """One way to run a batch."""

    name: str
    workers: int
    threads: int | None = None


ONE_CORE: Final = _Way(name="1 worker on one core", workers=1, threads=1)
ONE: Final = _Way(name="1 worker, its network on all cores", workers=1)
TWO: Final = _Way(name="2 workers", workers=2)


def measure_batch(runs: int) -> list[Section]:
    """Rates of each way, and their ratios.

    Args:
        runs: Of each.

    Raises:
        RuntimeError: A study failed.
    """
    studies = sum(path.is_dir() for path in STUDIES.iterdir())
    found: dict[_Way, list[Run]] = {way: [] for way in (ONE_CORE, ONE, TWO)}
    for _ in range(runs):
        for way, own in found.items():
            own.append(analysed(STUDIES, "--workers", str(way.workers), tree=True, threads=way.threads))
    return [_section(studies, found)]


def _section(studies: int, found: dict[_Way, list[Run]]) -> Section:
    rates = {way: [3600 * studies / run.wall_s for run in runs] for way, runs in found.items()}
    figures = [
        Figure(
            name=f"studies an hour, {way.name}",
            unit="/h",
            cold=tuple(rates[way]),
            memory_gib=tuple(run.peak_gib for run in runs),
        )
        for way, runs in found.items()
    ]
    aims = {ONE_CORE: (Aim(value=RATIO_LIMIT, column="cold", at_least=True),), ONE: ()}
    ratios = [
        Figure(
            name=f"{TWO.name} over {way.name}",
            unit="×",
            cold=tuple(two / one for one, two in zip(rates[way], rates[TWO], strict=True)),
            aims=aim,
        )
        for way, aim in aims.items()
    ]
    return Section(title=f"Batch of {studies} studies (`data_samples`)", figures=(*figures, *ratios))
