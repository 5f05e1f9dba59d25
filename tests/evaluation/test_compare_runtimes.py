"""``scripts/compare_runtimes.py``: what pays and keeps the heights is an option."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    spec = importlib.util.spec_from_file_location(
        "scripts_compare_runtimes", repository / "scripts" / "compare_runtimes.py"
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("seconds", "largest_mm", "missing", "verdict"),
    [
        (4.0, 0.01, 0, "2.5 times as fast, heights kept: an option"),
        (6.0, 0.01, 0, "1.7 times as fast, heights kept: no option"),
        (4.0, 0.06, 0, "2.5 times as fast, heights moved: no option"),
        (4.0, 0.01, 1, "2.5 times as fast, heights moved: no option"),
    ],
)
def test_the_verdict(
    script: ModuleType,
    capsys: pytest.CaptureFixture[str],
    seconds: float,
    largest_mm: float,
    missing: int,
    verdict: str,
) -> None:
    def row(name: str, segmenting_s: float, difference_mm: float, not_in_both: int) -> object:
        return script.Row(
            name=name,
            loading_s=1.0,
            segmenting_s=segmenting_s,
            heights=21,
            mean_difference_mm=difference_mm / 2,
            largest_difference_mm=difference_mm,
            not_in_both=not_in_both,
        )

    script.print_rows([row(script.REFERENCE, 10.0, 0.0, 0), row("other", seconds, largest_mm, missing)])
    assert capsys.readouterr().out.splitlines()[-1] == f"other: {verdict}"


def test_the_reference_comes_first(script: ModuleType) -> None:
    assert next(iter(script.RUNTIMES)) == script.REFERENCE
