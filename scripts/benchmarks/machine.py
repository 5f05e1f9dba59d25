"""What figures hold for: the machine, the versions, and what else it was doing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("vertecast", "torch", "openvino", "numpy", "scipy")

INSTRUCTIONS: Final = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Those that the speed of the networks hangs on."""


def machine() -> dict[str, Any]:
    """Processor, cores that may be used, memory and versions: where these are equal, figures can be compared.

    ``threads`` is there only where the environment limits what a library may use of the cores.
    """
    flags = _of_processor("flags").split()
    about: dict[str, Any] = {
        "processor": _of_processor("model name") or platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }
    if threads := os.environ.get("OMP_NUM_THREADS"):
        about["threads"] = int(threads)
    return about


def load() -> float:
    """Processes that wanted a core in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


def described(about: Mapping[str, Any]) -> str:
    """The machine in a sentence."""
    instructions = f" ({', '.join(about['instructions'])})" if about["instructions"] else ""
    threads = f", {about['threads']} threads a process" if "threads" in about else ""
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", *PACKAGES))
    return (
        f"{about['processor']}{instructions}, {about['cores']} cores{threads}, {about['memory_gib']} GiB, "
        f"{about['system']}; {versions}"
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _of_processor(key: str) -> str:
    """What Linux says of the first core; "" where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.split("\t")[0].strip() == key), "")
