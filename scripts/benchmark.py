"""Time and memory of ``vertecast analyze``, from DICOM to report, in a fresh process each time.

``python scripts/benchmark.py`` simulates a CT of 512 × 512 × 300 voxels and analyses it; ``--study DIR`` takes a study
at hand instead. The figures hold for the machine that is printed with them. Exit status: 0 done, 1 something failed.
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
from pathlib import Path
from typing import Any, Final

SLICES: Final = 300
SLICE_SPACING_MM: Final = 1.0
SEED: Final = 2_000_300
BODIES_IN_VIEW: Final = 11

WALL_LIMIT_S: Final = 25.0
PEAK_LIMIT_GIB: Final = 4.0
HELP_LIMIT_S: Final = 0.5
"""What the project promises on two cores."""

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


def print_result(result: Mapping[str, Any]) -> None:
    """The figures as text: the median of the runs against what is promised, and the largest memory."""
    about = result["machine"]
    print(
        f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, load {about['load_before']} before"
    )
    print(", ".join(f"{name} {about[name]}" for name in ("python", *PACKAGES)))
    wall = statistics.median(run["wall_s"] for run in result["analyze"])
    cpu = statistics.median(run["cpu_s"] for run in result["analyze"])
    peak = max(run["peak_gib"] for run in result["analyze"])
    help_s = statistics.median(run["wall_s"] for run in result["help"])
    print(f"analyze, {result['files']} files, median of {len(result['analyze'])} fresh processes:")
    print(f"  wall    {wall:7.1f} s    {_verdict(wall, WALL_LIMIT_S)}   (processor time {cpu:.1f} s)")
    print(f"  memory  {peak:7.2f} GiB  {_verdict(peak, PEAK_LIMIT_GIB)}   (largest)")
    print(f"  --help  {help_s:7.2f} s    {_verdict(help_s, HELP_LIMIT_S)}")


def _verdict(value: float, limit: float) -> str:
    return f"≤{limit:g} {'reached' if value <= limit else 'missed'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, metavar="DIR", help="a study at hand, instead of a simulated one")
    parser.add_argument("--runs", type=int, default=3, help="fresh processes")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        study = options.study
        if study is None:
            maker = multiprocessing.get_context("spawn").Process(target=make_study, args=(folder,))
            maker.start()
            maker.join()
            if maker.exitcode:
                return 1
            study = Path(folder) / "studies"
        try:
            result = benchmark(study, options.runs)
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print_result(result)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
