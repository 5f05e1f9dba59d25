"""``scripts/evaluate.py`` on simulated films and cines, without simulating or analysing any."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from phantoms.scored import Film, write
from vertecast.run import batch, engine, workers


@pytest.fixture
def evaluate(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_evaluate", repository / "scripts" / "evaluate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def here(function: Callable[[Any], Any], items: list[Any], _workers: int) -> Iterator[tuple[Any, Any]]:
    """As `run_in_processes`, in this process."""
    return ((item, function(item)) for item in items)


@pytest.mark.parametrize(("modality", "kinds"), [("film", {"films", "lateral", "ap"}), ("cine", {"cine"})])
def test_there_are_as_many_studies_as_asked_for(evaluate: ModuleType, modality: str, kinds: set[str]) -> None:
    cases = evaluate.plan_cases(9, 2_000_000, Path("x"), modality)
    assert 9 <= sum(case.studies for case in cases) <= 10
    assert {case.kind for case in cases} == kinds


@pytest.mark.parametrize(("option", "folder"), [("--simulate-films", "films"), ("--simulate-cines", "cines")])
def test_projections_are_scored_in_a_folder_of_their_own(
    evaluate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, option: str, folder: str
) -> None:
    def simulate(case: Any) -> None:
        made = case.folder.parents[1]
        case.folder.mkdir(parents=True)
        write(made, Film(), kind=case.modality, seed=case.seed, uid=f"1.{case.seed}")
        (made / "truth").rename(case.folder / "truth")

    options = tmp_path / "options.yaml"
    options.write_text("segmentation:\n  xray_bundle: mine\n")
    bundles: list[str] = []
    monkeypatch.setattr(evaluate, "simulate", simulate)
    monkeypatch.setattr(workers, "run_in_processes", here)
    monkeypatch.setattr(engine, "shipped_engine", lambda chosen: bundles.append(chosen.xray_bundle))
    monkeypatch.setattr(batch, "run_batch", lambda *_, **__: SimpleNamespace(interrupted=False))
    command = [option, "2", "--seed", "2000002", "--config", str(options), "--out", str(tmp_path)]
    assert evaluate.main(command) == 0
    printed = capsys.readouterr().out
    assert "simulated  2 studies of 2 patients, 2 images (2 lateral, 0 ap, 0 oblique)" in printed
    assert (tmp_path / folder / "scores" / "projection_scores.json").is_file()
    assert bundles == ["mine"]
