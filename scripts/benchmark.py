"""Time and memory of ``vertecast analyze``, from DICOM to report, in a fresh process each time.

``python scripts/benchmark.py`` simulates a CT of 512 × 512 × 300 voxels and analyses it; ``--study DIR`` takes a study
at hand instead. ``--projections`` simulates a radiograph of 2,000 × 2,500 pixels and a cine of 512 × 512 instead, and
times them once the weights are loaded. ``--stages`` gives the processor time of reading, network, measuring and writing
of a CT in this process, the first writing with what it loads. The figures hold for the machine that is printed with
them. Exit status: 0 done, 1 something failed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vertecast.images import Segmentation, Volume

SLICES: Final = 300
SLICE_SPACING_MM: Final = 1.0
SEED: Final = 2_000_300
BODIES_IN_VIEW: Final = 11

WALL_LIMIT_S: Final = 25.0
PEAK_LIMIT_GIB: Final = 4.0
HELP_LIMIT_S: Final = 0.5
"""What the project promises on two cores."""

MEASURING_LIMIT_SHARE: Final = 0.25
"""Processor time of measuring a CT over that of the network."""

WRITING_LIMIT_S: Final = 6.0
WRITING_LIMIT_GIB: Final = 1.0
"""Processor time of writing all outputs of a CT, and memory above that of its analysis."""

RADIOGRAPH_LIMIT_S: Final = 2.0
CINE_LIMIT_HZ: Final = 30.0
PROJECTION_LIMIT_GIB: Final = 2.0
"""The same of radiographs and cines, after start-up."""

RADIOGRAPH_SIZE_MM: Final = (400.0, 320.0)
RADIOGRAPH_PIXEL_MM: Final = 0.16
CINE_S: Final = 12.0

PACKAGES: Final = ("torch", "numpy", "scipy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process: wall and processor time in s, largest resident memory in GiB."""

    wall_s: float
    cpu_s: float
    peak_gib: float


def make_study(folder: str) -> None:
    """Write the study; runs in a process of its own, so that the memory of the simulation is not measured."""
    import numpy as np

    from vertecast.simulation.acquisition import CtSettings
    from vertecast.simulation.population import sample_spine
    from vertecast.simulation.studies import ScanPlan, TreatmentPlan, make_case, write_study

    spine = sample_spine(np.random.default_rng(SEED), fracture_rate=0.3)
    count = len(spine.vertebrae)
    settings = CtSettings(
        pixel_mm=0.75, matrix=512, slice_thickness_mm=SLICE_SPACING_MM, slice_spacing_mm=SLICE_SPACING_MM
    )
    plan = ScanPlan(phase="post", settings=settings, treatments=(TreatmentPlan(vertebra_index=count - 4),))
    case = make_case(SEED, "ct", spine, (count - BODIES_IN_VIEW, count), [plan])
    (study,) = write_study(case, Path(folder), labels=False)
    slices = sorted(study.iterdir())
    if len(slices) < SLICES:
        raise SystemExit(f"the simulated scan has {len(slices)} slices, {SLICES} are needed; raise BODIES_IN_VIEW")
    for cranial in slices[: len(slices) - SLICES]:
        cranial.unlink()


def make_projections(folder: str) -> None:
    """Write a radiograph and a cine; runs in a process of its own."""
    from vertecast.simulation.cine import CineSettings, simulate_cine
    from vertecast.simulation.film_studies import FilmSettings, simulate_films
    from vertecast.simulation.projection_studies import write_projection_study

    height, width = RADIOGRAPH_SIZE_MM
    settings = FilmSettings(
        height_mm=(height, height), width_mm=(width, width), pixel_mm=(RADIOGRAPH_PIXEL_MM, RADIOGRAPH_PIXEL_MM)
    )
    (film,) = simulate_films(SEED, "lateral", settings)
    cine = simulate_cine(SEED, CineSettings(seconds=(CINE_S, CINE_S)), content="cement")
    for name, study in (("radiograph", film), ("cine", cine)):
        write_projection_study(study, Path(folder) / name)


def time_projections(folder: Path, runs: int) -> dict[str, Any]:
    """Analyse a radiograph and a cine in this process, once to start up and then as often as is asked."""
    import resource

    from vertecast.config import Config
    from vertecast.dicom.discover import StudyFiles, find_studies
    from vertecast.dicom.xray import choose_projection_series, projection_files, read_projection
    from vertecast.engine import shipped_engine
    from vertecast.images import Fluoroscopy
    from vertecast.workflow.projection import analyze_projections

    config = Config()
    load = shipped_engine(config.segmentation).load_projection
    if load is None:
        raise RuntimeError("this installation has no model bundle for radiographs")
    segmenter = load(config.segmentation)
    found: dict[str, Any] = {}
    for name in ("radiograph", "cine"):
        (study,) = (s for s in find_studies([folder / name / "studies"]) if isinstance(s, StudyFiles))
        (series,), _ = choose_projection_series(study)
        image = read_projection(projection_files(series)[0]).image
        seconds = []
        for _ in range(runs + 1):
            started = time.perf_counter()
            analyze_projections(study, config, lambda: segmenter)
            seconds.append(time.perf_counter() - started)
        frames = image.frame_count if isinstance(image, Fluoroscopy) else 1
        shape = image.read(1).shape if isinstance(image, Fluoroscopy) else image.shape
        found[name] = {"rows": shape[0], "columns": shape[1], "frames": frames, "seconds": seconds[1:]}
    found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    return found


class Given:
    """A segmenter that knows the answer."""

    def __init__(self, segmentation: Segmentation) -> None:
        self._segmentation = segmentation

    def segment(self, _volume: Volume) -> Segmentation:
        """What was found before."""
        return self._segmentation


def time_stages(study: Path, runs: int) -> dict[str, list[float]]:
    """Processor time (s) of each stage of a CT in this process, weights loaded; measuring and writing several times.

    ``writing_gib`` is the memory of writing above all before it.

    Raises:
        RuntimeError: There is no CT in the folder.
    """
    import resource

    from vertecast.config import Config, SegmentationOptions
    from vertecast.dicom.ct import choose_ct_series, read_ct
    from vertecast.dicom.discover import StudyFiles, find_studies
    from vertecast.engine import shipped_engine
    from vertecast.measurement.levels import assign_levels
    from vertecast.measurement.study import measure_study
    from vertecast.reports.outputs import MeasuredStudy, write_study
    from vertecast.workflow import analyze_study

    studies = [one for one in find_studies([study]) if isinstance(one, StudyFiles)]
    chosen = choose_ct_series(studies[0])[0] if studies else ()
    if not chosen:
        raise RuntimeError(f"{study}: holds no CT series; give the folder of a CT study")
    options = SegmentationOptions()
    segmenter = shipped_engine(options).load(options)
    marks = [time.process_time()]
    ct = read_ct(chosen[0])
    marks.append(time.process_time())
    segmentation = segmenter.segment(ct.volume)
    marks.append(time.process_time())
    for _ in range(runs):
        measure_study(
            ct.volume, segmentation, assign_levels(segmentation), series_instance_uid=ct.series_instance_uid
        )  # fmt: skip
        marks.append(time.process_time())
    seconds = [later - earlier for earlier, later in pairwise(marks)]
    result = analyze_study(studies[0], Config(), Given(segmentation))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    writing = []
    for _ in range(runs):
        started = time.process_time()
        with tempfile.TemporaryDirectory() as out:
            measured = MeasuredStudy(
                report=result.report,
                volume=result.volume,
                labels=result.labels,
                height_maps=result.height_maps,
                canal=result.canal,
                dicom_images=result.dicom_images,
            )
            write_study(measured, Path(out) / "study")
        writing.append(time.process_time() - started)
    above = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024 / 2**30
    return {
        "reading": seconds[:1],
        "network": seconds[1:2],
        "measuring": seconds[2:],
        "writing": writing,
        "writing_gib": [above],
    }


def print_stages(stages: Mapping[str, Sequence[float]]) -> None:
    """The processor time of each stage, measuring as share of the network, and the first writing against its limits."""
    medians = {name: statistics.median(seconds) for name, seconds in stages.items()}
    above_gib = medians.pop("writing_gib")
    for name, seconds in medians.items():
        print(f"  {name:10}{seconds:7.1f} s")
    first = stages["writing"][0]
    print(f"  first writing{first:6.1f} s    {_verdict(first, WRITING_LIMIT_S)}")
    print(f"  its memory{above_gib:9.2f} GiB  {_verdict(above_gib, WRITING_LIMIT_GIB)}")
    share = medians["measuring"] / medians["network"]
    print(f"  measuring / network {share:.0%}  {_verdict(share, MEASURING_LIMIT_SHARE)}")


def measure(command: Sequence[str]) -> Run:
    """Run a command to its end, its output kept for a failure.

    The memory of the calling process is a lower limit of the peak, because the new process starts as its copy: this
    script imports nothing large.

    Raises:
        RuntimeError: It failed.
    """
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        # wait4 gives the use of this process alone; RUSAGE_CHILDREN would give the largest of all so far.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}\n{output.read().decode()}")
    return Run(wall_s=wall, cpu_s=usage.ru_utime + usage.ru_stime, peak_gib=usage.ru_maxrss * 1024 / 2**30)


def machine() -> dict[str, Any]:
    """What the figures hold for: processor, cores in use, memory, versions, and what else the machine was doing."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        **{package: metadata.version(package) for package in PACKAGES},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def benchmark(study: Path, runs: int) -> dict[str, Any]:
    """Measure analysis and help.

    Raises:
        RuntimeError: The analysis failed.
    """
    program = [sys.executable, "-m", "vertecast"]
    about = machine()
    help_runs = [measure([*program, "--help"]) for _ in range(max(runs, 3))]
    analyses = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as out:
            analyses.append(measure([*program, "analyze", str(study), "--out", out]))
    return {
        "machine": about,
        "files": sum(path.is_file() for path in study.rglob("*")),
        "analyze": [asdict(run) for run in analyses],
        "help": [asdict(run) for run in help_runs],
    }


def print_machine(about: Mapping[str, Any]) -> None:
    """What the figures hold for."""
    print(
        f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, load {about['load_before']} before"
    )
    print(", ".join(f"{name} {about[name]}" for name in ("python", *PACKAGES)))


def print_result(result: Mapping[str, Any]) -> None:
    """The figures as text: the median of the runs against what is promised, and the largest memory."""
    print_machine(result["machine"])
    wall = statistics.median(run["wall_s"] for run in result["analyze"])
    cpu = statistics.median(run["cpu_s"] for run in result["analyze"])
    peak = max(run["peak_gib"] for run in result["analyze"])
    help_s = statistics.median(run["wall_s"] for run in result["help"])
    print(f"analyze, {result['files']} files, median of {len(result['analyze'])} fresh processes:")
    print(f"  wall    {wall:7.1f} s    {_verdict(wall, WALL_LIMIT_S)}   (processor time {cpu:.1f} s)")
    print(f"  memory  {peak:7.2f} GiB  {_verdict(peak, PEAK_LIMIT_GIB)}   (largest)")
    print(f"  --help  {help_s:7.2f} s    {_verdict(help_s, HELP_LIMIT_S)}")


def print_projections(result: Mapping[str, Any]) -> None:
    """The same for radiographs and cines."""
    print_machine(result["machine"])
    film, cine = result["radiograph"], result["cine"]
    seconds, rate = statistics.median(film["seconds"]), cine["frames"] / statistics.median(cine["seconds"])
    print(f"radiograph {film['rows']} × {film['columns']}, weights loaded, median of {len(film['seconds'])}:")
    print(f"  wall    {seconds:7.2f} s    {_verdict(seconds, RADIOGRAPH_LIMIT_S)}")
    print(f"cine {cine['rows']} × {cine['columns']}, {cine['frames']} frames:")
    print(f"  rate    {rate:7.1f} /s   ≥{CINE_LIMIT_HZ:g} {'reached' if rate >= CINE_LIMIT_HZ else 'missed'}")
    print(f"  memory  {result['peak_gib']:7.2f} GiB  {_verdict(result['peak_gib'], PROJECTION_LIMIT_GIB)}   (largest)")


def _verdict(value: float, limit: float) -> str:
    return f"≤{limit:g} {'reached' if value <= limit else 'missed'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, metavar="DIR", help="a CT study at hand, instead of a simulated one")
    parser.add_argument("--runs", type=int, default=3, help="fresh processes")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON too")
    parser.add_argument("--projections", action="store_true", help="a radiograph and a cine instead of a CT")
    parser.add_argument("--stages", action="store_true", help="processor time of each stage of a CT, in this process")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        make = make_projections if options.projections else make_study
        if options.study is None:
            maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder,))
            maker.start()
            maker.join()
            if maker.exitcode:
                return 1
        try:
            if options.projections:
                result = {"machine": machine(), **time_projections(Path(folder), options.runs)}
                print_projections(result)
            elif options.stages:
                stages = time_stages(options.study or Path(folder) / "studies", options.runs)
                result = {"machine": machine(), "stages_cpu_s": stages}
                print_machine(result["machine"])
                print_stages(stages)
            else:
                result = benchmark(options.study or Path(folder) / "studies", options.runs)
                print_result(result)
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
