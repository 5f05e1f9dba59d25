"""What an import costs, and what it must not bring along."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import vertecast

HEAVY = {"torch", "monai", "matplotlib", "pydicom", "SimpleITK"}

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(vertecast.__file__).parents[1])}

HELP_SECONDS = 0.5
"""The promise of README; measured as time of the processor, because a test machine may be busy."""


def modules_after(statement: str) -> set[str]:
    """Top-level modules that are loaded in a fresh process once a statement has run."""
    code = f"import sys; {statement}; print(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "cli.main",
        "core.config",
        "core.resources",
        "core.images",
        "core.results",
        "measurement.ct.levels",
        "measurement.ct.body.endplates",
    ],
)
def test_light_modules_stay_light(module: str) -> None:
    assert not modules_after(f"import vertecast.{module}") & HEAVY


def test_batch_leaves_models_and_plots_for_later() -> None:
    assert not modules_after("import vertecast.run.batch") & {"torch", "monai", "matplotlib"}


def test_help_answers_at_once() -> None:
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "vertecast", "--help"]
        subprocess.run(command, env=ENVIRONMENT, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_seconds() for _ in range(3)) < HELP_SECONDS


def test_no_module_prints_or_holds_patient_names(repository: Path) -> None:
    # A name or an ID that is read can be logged by accident; only hashing (io/), invented patients (lab/simulation/)
    # and the reader of labelled data sets, which turns IDs into running numbers at once, may touch the elements at all.
    allowed = ("io", "lab/simulation")
    package = repository / "pipeline" / "vertecast"
    numbers_patients = package / "lab" / "evaluation" / "datasets" / "dicom_seg.py"
    for path in package.rglob("*.py"):
        if not path.relative_to(package).as_posix().startswith(allowed) and path != numbers_patients:
            text = path.read_text(encoding="utf-8")
            assert "PatientName" not in text, path
            assert "PatientID" not in text, path
