"""A radiograph and a cine: whole in fresh processes and warm, and their parts.

Columns are those of `benchmarks.ct`. The *analysis* is what is promised, in wall time with the weights loaded: reading,
network and measuring of all images, without finding the files and writing the outputs. Its parts are processor time:
*reading* decodes every picture once, on its own; *network* is what the analysis spends asking the network; *measuring*
the rest of it, of a cine with following its frames.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.ct import analysed, stage
from benchmarks.figures import Aim, Figure, Section
from benchmarks.passes import Pass, analyse, the_study
from benchmarks.processes import Run, alone, observe
from benchmarks.samples import make_films

if TYPE_CHECKING:
    from vertecast.io.projection.images import ProjectionFile

RADIOGRAPH_LIMIT_S: Final = 2.0
CINE_LIMIT_HZ: Final = 30.0
ANALYSIS_LIMIT_GIB: Final = 2.0
"""What the project promises of the analysis on two cores, after start-up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """What one process found: each tuple holds the first run, then the later ones."""

    rows: int
    columns: int
    frames: int
    loading: Run
    reading: tuple[Run, ...]
    passes: tuple[Pass, ...]


def measure_films(runs: int) -> list[Section]:
    """Cold and warm figures of a radiograph and a cine, both simulated.

    Args:
        runs: Fresh processes, and warm runs in one, of each.

    Raises:
        RuntimeError: An analysis failed.
    """
    sections = []
    with tempfile.TemporaryDirectory() as folder:
        for name, study in alone(make_films, Path(folder)).items():
            cold = [analysed(study) for _ in range(runs)]
            warm = alone(time_parts, study, runs)
            frames = f", {warm.frames} frames" if warm.frames > 1 else ""
            title = f"{name.capitalize()} of {warm.columns} × {warm.rows} pixels{frames}"
            sections.append(Section(title=title, figures=_figures(cold, warm)))
    return sections


def time_parts(study: Path, runs: int) -> Warm:
    """Whole analyses of one film or cine in this process, one time and then as often as is asked.

    Raises:
        RuntimeError: There is no model bundle for radiographs.
    """
    from vertecast.core.config import SegmentationOptions
    from vertecast.io.projection.images import choose_projection_series, projection_files
    from vertecast.run.engine import shipped_engine

    options = SegmentationOptions()
    engine = shipped_engine(options)
    if engine.load_projection is None:
        raise RuntimeError("this installation has no model bundle for radiographs")
    segmenter, loading = observe(engine.load_projection, options)
    (series,), _ = choose_projection_series(the_study(study))
    (file,) = projection_files(series)
    reading = []
    for _ in range(runs + 1):
        (frames, rows, columns), run = observe(_read, file)
        reading.append(run)
    passes = tuple(analyse(study, film=segmenter) for _ in range(runs + 1))
    return Warm(rows=rows, columns=columns, frames=frames, loading=loading, reading=tuple(reading), passes=passes)


def _read(file: ProjectionFile) -> tuple[int, int, int]:
    """Decode every frame; returns their number, rows and columns."""
    from vertecast.core.images import Fluoroscopy
    from vertecast.io.projection.images import read_projection

    image = read_projection(file).image
    if not isinstance(image, Fluoroscopy):
        return (1, *image.shape)
    shapes = {image.read(number).shape for number in range(1, image.frame_count + 1)}
    (shape,) = shapes
    return (image.frame_count, *shape)


def _figures(cold: Sequence[Run], warm: Warm) -> tuple[Figure, ...]:
    first, *later = (one.whole for one in warm.passes)
    analysis = [one.analysis for one in warm.passes]
    reading_s = [run.cpu_s for run in warm.reading]
    network_s = [one.network_s for one in warm.passes]
    measuring_s = [max(0.0, a.cpu_s - r - n) for a, r, n in zip(analysis, reading_s, network_s, strict=True)]
    return (
        Figure(
            name="from DICOM to all outputs",
            unit="s",
            cold=tuple(run.wall_s for run in cold),
            warm=tuple(run.wall_s for run in later),
            memory_gib=tuple(run.peak_gib for run in (*cold, first, *later)),
        ),
        _promised(analysis, warm.frames),
        stage("loading the weights", [warm.loading]),
        stage("reading", warm.reading),
        Figure(name="network", unit="s", cold=tuple(network_s[:1]), warm=tuple(network_s[1:])),
        Figure(name="measuring", unit="s", cold=tuple(measuring_s[:1]), warm=tuple(measuring_s[1:])),
        stage("writing", [one.writing for one in warm.passes]),
    )


def _promised(analysis: Sequence[Run], frames: int) -> Figure:
    """The analysis: seconds of a radiograph, frames a second of a cine."""
    memory, aim = tuple(run.peak_gib for run in analysis), Aim(value=ANALYSIS_LIMIT_GIB, column="memory")
    if frames == 1:
        seconds = tuple(run.wall_s for run in analysis)
        aims = (Aim(value=RADIOGRAPH_LIMIT_S, column="warm"), aim)
        return Figure(name="analysis", unit="s", cold=seconds[:1], warm=seconds[1:], memory_gib=memory, aims=aims)
    rates = tuple(frames / run.wall_s for run in analysis)
    aims = (Aim(value=CINE_LIMIT_HZ, column="warm", at_least=True), aim)
    return Figure(name="analysis, frames", unit="/s", cold=rates[:1], warm=rates[1:], memory_gib=memory, aims=aims)
