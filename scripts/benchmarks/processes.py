"""Time and memory of processes: of a command, of a function alone in a fresh process, of a step in this one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

Args = ParamSpec("Args")
Result = TypeVar("Result")

LOOK_S: Final = 0.25
"""Time between two looks at the memory of a tree of processes; one takes some ms of one core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process, or one step in it: wall and processor time in s, largest resident memory in GiB."""

    wall_s: float
    cpu_s: float
    peak_gib: float


def measure(command: Sequence[str], *, tree: bool = False, environment: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end, its output kept for a failure.

    The memory of the calling process is a lower limit of the peak, because the new process starts as its copy: whoever
    calls this imports nothing large.

    Args:
        command: The program and its arguments.
        tree: The memory is that of the process and all its children at once, as `TreeMemory` sees it.
        environment: Variables of its own, beside those of this process.

    Raises:
        RuntimeError: It failed.
    """
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
        with TreeMemory(process.pid) if tree else contextlib.nullcontext() as memory:
            # wait4 gives the use of this process and its own children; RUSAGE_CHILDREN would be that of all so far.
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
            raise RuntimeError(f"{' '.join(command[1:4])}: exit status {process.returncode}\n{said}")
    peak = usage.ru_maxrss * 1024 / 2**30 if memory is None else memory.peak_gib
    return Run(wall_s=wall, cpu_s=usage.ru_utime + usage.ru_stime, peak_gib=peak)


def alone(function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
    """Call a function of a module in a fresh process, so that what it loads is in no other's way.

    Raises:
        RuntimeError: The process ended without an answer.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise RuntimeError(f"{function.__name__}: its process ended, most likely for want of memory") from error


def observe(function: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> tuple[Result, Run]:
    """Call a function in this process; the memory is the largest while it ran, with all that was held before."""
    # 5 takes the kernel's record of the largest memory back to the present one (proc(5)); where it is not to be
    # written the record is that of the whole life of the process.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(*args, **kwargs)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return result, Run(wall_s=wall, cpu_s=cpu, peak_gib=_kib(Path("/proc/self/status"), "VmHWM") / 2**20)


class TreeMemory:
    """Largest memory of a process and all its descendants at once, looked at from a thread a few times a second.

    Pages that several processes share count once (Pss). Peaks between two looks are missed.

    Attributes:
        peak_gib: The largest so far.
    """

    def __init__(self, pid: int) -> None:
        self.peak_gib = 0.0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> TreeMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            memory = sum(_kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in _tree(self._pid))
            self.peak_gib = max(self.peak_gib, memory / 2**20)


def _tree(root: int) -> list[int]:
    """A process and its descendants; those that end meanwhile are left out."""
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text(encoding="ascii").split())
    return found


def _kib(path: Path, key: str) -> int:
    """A value in KiB of a file of /proc; 0 once its process has ended."""
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="ascii", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name == key:
                return int(value.split()[0])
    return 0
