"""A CT: whole in fresh processes and warm, and each stage alone.

- *cold* of the whole is ``vertecast analyze`` in a fresh process, *warm* the same work in a process that has done it
  before. Both are wall time; what they take of the processor stands below.
- *cold* of a stage is the first time in a process, its weights loaded, *warm* each later one. All are processor time,
  which other work on the machine moves less than wall time. The memory of a stage counts all that is held meanwhile.
- *reading* gives the volume of files that are known; *network* makes vertebrae of it; *measuring* makes findings of
  these; *writing* makes every file of them, the first time with loading what only it needs.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Aim, Figure, Section
from benchmarks.passes import Pass, analyse, the_study
from benchmarks.processes import Run, alone, measure, observe
from benchmarks.samples import make_ct

if TYPE_CHECKING:
    from vertecast.core.images import Segmentation
    from vertecast.io.ct.series import CtSeries
    from vertecast.measurement.ct.study import Measurements

WALL_LIMIT_S: Final = 25.0
PEAK_LIMIT_GIB: Final = 4.0
HELP_LIMIT_S: Final = 0.5
"""What the project promises on two cores."""

MEASURING_LIMIT_PERCENT: Final = 25.0
"""Processor time of measuring a CT over that of the network."""

WRITING_LIMIT_S: Final = 6.0
WRITING_LIMIT_GIB: Final = 1.0
"""Processor time of writing all outputs of a CT, and memory above that of its analysis."""

HELP_RUNS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """What one process found: each tuple holds the first run, then the later ones."""

    shape: tuple[int, ...]
    loading: Run
    reading: tuple[Run, ...]
    network: tuple[Run, ...]
    measuring: tuple[Run, ...]
    passes: tuple[Pass, ...]


def measure_ct(runs: int, study: Path | None = None) -> list[Section]:
    """Cold and warm figures of a CT.

    Args:
        runs: Fresh processes, and warm runs in one.
        study: Folder of a CT study at hand, instead of a simulated one.

    Raises:
        RuntimeError: An analysis failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        study = study or alone(make_ct, Path(folder))
        help_runs = [measure([*program(), "--help"]) for _ in range(max(runs, HELP_RUNS))]
        cold = [analysed(study) for _ in range(runs)]
        warm = alone(time_stages, study, runs)
    columns, rows, slices = warm.shape
    title = f"CT of {columns} × {rows} × {slices} voxels"
    return [Section(title=title, figures=(*_wholes(cold, warm), *_stages(warm), _help(help_runs)))]


def program() -> list[str]:
    """The command that is measured."""
    return [sys.executable, "-m", "vertecast"]


def analysed(study: Path, *options: str, tree: bool = False, threads: int | None = None) -> Run:
    """``vertecast analyze`` in a fresh process, into a folder that goes again; raises `RuntimeError` if it fails.

    Args:
        study: What is analysed.
        options: Of the command.
        tree: As `measure` takes it.
        threads: For the network, where not the program's own choice.
    """
    environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as out:
        command = [*program(), "analyze", str(study), "--out", out, *options]
        return measure(command, tree=tree, environment=environment)


def time_stages(study: Path, runs: int) -> Warm:
    """Each stage of a CT and whole analyses in this process, one time and then as often as is asked.

    Raises:
        RuntimeError: There is no CT in the folder.
    """
    from vertecast.core.config import SegmentationOptions
    from vertecast.io.ct.series import choose_ct_series, read_ct
    from vertecast.run.engine import shipped_engine

    chosen, _ = choose_ct_series(the_study(study))
    if not chosen:
        raise RuntimeError(f"{study}: holds no CT series; give the folder of a CT study")
    options = SegmentationOptions()
    segmenter, loading = observe(shipped_engine(options).load, options)
    reading, network, measuring = [], [], []
    for _ in range(runs + 1):
        ct, run = observe(read_ct, chosen[0])
        reading.append(run)
        segmentation, run = observe(segmenter.segment, ct.volume)
        network.append(run)
        _, run = observe(_findings, ct, segmentation)
        measuring.append(run)
    shape = ct.volume.hu.shape
    del ct, segmentation
    passes = tuple(analyse(study, ct=segmenter) for _ in range(runs + 1))
    return Warm(
        shape=shape,
        loading=loading,
        reading=tuple(reading),
        network=tuple(network),
        measuring=tuple(measuring),
        passes=passes,
    )


def _findings(ct: CtSeries, segmentation: Segmentation) -> Measurements:
    from vertecast.measurement.ct.levels import assign_levels
    from vertecast.measurement.ct.study import measure_study

    levels = assign_levels(segmentation)
    return measure_study(ct.volume, segmentation, levels, series_instance_uid=ct.series_instance_uid)


def _wholes(cold: list[Run], warm: Warm) -> tuple[Figure, ...]:
    later = [one.whole for one in warm.passes[1:]]
    return (
        Figure(
            name="from DICOM to all outputs",
            unit="s",
            cold=tuple(run.wall_s for run in cold),
            warm=tuple(run.wall_s for run in later),
            memory_gib=tuple(run.peak_gib for run in cold),
            aims=(Aim(value=WALL_LIMIT_S, column="cold"), Aim(value=PEAK_LIMIT_GIB, column="memory")),
        ),
        Figure(
            name="the same, processor time",
            unit="s",
            cold=tuple(run.cpu_s for run in cold),
            warm=tuple(run.cpu_s for run in later),
        ),
    )


def _stages(warm: Warm) -> tuple[Figure, ...]:
    writing = [one.writing for one in warm.passes]
    before = max(run.peak_gib for run in (*warm.reading, *warm.network, *warm.measuring, warm.passes[0].analysis))
    shares = [100 * m.cpu_s / n.cpu_s for m, n in zip(warm.measuring, warm.network, strict=True)]
    return (
        stage("loading the weights", [warm.loading]),
        stage("reading", warm.reading),
        stage("network", warm.network),
        stage("measuring", warm.measuring),
        stage("writing", writing, Aim(value=WRITING_LIMIT_S, column="cold")),
        Figure(
            name="writing, memory above all before",
            unit="GiB",
            cold=(max(0.0, writing[0].peak_gib - before),),
            aims=(Aim(value=WRITING_LIMIT_GIB, column="cold"),),
        ),
        Figure(
            name="measuring over network",
            unit="%",
            cold=tuple(shares[:1]),
            warm=tuple(shares[1:]),
            aims=(Aim(value=MEASURING_LIMIT_PERCENT, column="warm"),),
        ),
    )


def stage(name: str, runs: list[Run] | tuple[Run, ...], *aims: Aim) -> Figure:
    """A part of an analysis: processor time of the first and the later runs, and memory."""
    seconds = tuple(run.cpu_s for run in runs)
    memory = tuple(run.peak_gib for run in runs)
    return Figure(name=name, unit="s", cold=seconds[:1], warm=seconds[1:], memory_gib=memory, aims=aims)


def _help(runs: list[Run]) -> Figure:
    return Figure(
        name="`vertecast --help`",
        unit="s",
        cold=tuple(run.wall_s for run in runs),
        memory_gib=tuple(run.peak_gib for run in runs),
        aims=(Aim(value=HELP_LIMIT_S, column="cold"),),
    )
