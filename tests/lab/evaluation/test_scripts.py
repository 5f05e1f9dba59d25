from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from vertecast.run import batch, engine, workers
from vertecast.run.workers import Lost


def load(repository: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", repository / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def evaluate(repository: Path) -> ModuleType:
    return load(repository, "evaluate")


def here(function: Callable[[Any], Any], items: list[Any], _workers: int) -> Iterator[tuple[Any, Any]]:
    """As `run_in_processes`, in this process."""
    return ((item, function(item)) for item in items)


@pytest.mark.parametrize("count", [1, 4, 40])
def test_there_are_as_many_studies_as_asked_for_of_all_kinds(evaluate: ModuleType, count: int) -> None:
    cases = evaluate.plan_cases(count, 2_000_000, Path("x"))
    assert count <= sum(case.studies for case in cases) <= count + 2
    assert [case.seed for case in cases] == list(range(2_000_000, 2_000_000 + len(cases)))
    if count == 40:
        assert {case.kind: case.studies for case in cases} == {"ct": 1, "patient": 2, "follow-up": 3}


def test_no_seed_of_the_training_is_used(evaluate: ModuleType, repository: Path) -> None:
    # Read and not imported: torch and monai would take longer than all other tests here.
    source = (repository / "pipeline" / "vertecast" / "lab" / "training" / "task.py").read_text(encoding="utf-8")
    (held_out,) = re.findall(r"^VALIDATION_SEED: Final = (.+)$", source, re.MULTILINE)
    base, _, power = held_out.partition("**")
    assert int(base) ** int(power) < evaluate.HELD_OUT_SEED


def test_simulated_studies_are_scored_and_printed(
    evaluate: ModuleType, make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def simulate(case: Any) -> None:
        study = make(uid=f"1.2.{case.seed}")
        study.truth["seed"] = case.seed
        study.write_truth(case.folder / "truth")
        study.write_found(tmp_path / "analyzed")

    analysed: list[Path] = []
    monkeypatch.setattr(evaluate, "simulate", simulate)
    monkeypatch.setattr(workers, "run_in_processes", here)
    monkeypatch.setattr(engine, "shipped_engine", lambda _options: None)
    monkeypatch.setattr(
        batch, "run_batch", lambda paths, *_, **__: analysed.extend(paths) or SimpleNamespace(interrupted=False)
    )
    assert evaluate.main(["--simulate", "3", "--seed", "1000003", "--out", str(tmp_path)]) == 0
    assert [path.parent.name for path in analysed] == ["case_1000003", "case_1000004"]
    printed = capsys.readouterr().out
    assert "Held-out simulated studies, seeds 1000003 to 1000004" in printed
    assert "2 studies (simulated) of 2 patients" in printed
    assert (tmp_path / "scores" / "scores.json").is_file()
    monkeypatch.setattr(
        workers, "run_in_processes", lambda *_: iter([(evaluate.Case(seed=1, folder=tmp_path), Lost.WORKER_DIED)])
    )
    assert evaluate.main(["--simulate", "1", "--out", str(tmp_path)]) == 1


def test_absent_real_images_are_said_with_status_3(evaluate: ModuleType, tmp_path: Path, capsys: Any) -> None:
    assert evaluate.main(["--real", str(tmp_path / "absent"), "--out", str(tmp_path / "out")]) == 3
    assert "holds none of the real images" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_real_image_is_scored_and_drawn(repository: Path, tmp_path: Path) -> None:
    evaluate = load(repository, "evaluate_real")
    from fakes import BlockSegmenter, spine_image, write_spine
    from vertecast.lab.evaluation.real.images import RealImage

    write_spine(tmp_path / "ct.nii.gz")
    image = RealImage(name="blocks", path="ct.nii.gz")
    score = evaluate.score_image(image, tmp_path, tmp_path / "out", BlockSegmenter())
    assert [name for name, _ in score.claims.bodies] == ["V1", "V2", "V3"]
    assert (tmp_path / "out" / "blocks.png").is_file()
    write_labels_of_air(tmp_path, spine_image()[0].shape)
    air = RealImage(name="air", path="air.nii.gz")
    assert evaluate.score_image(air, tmp_path, tmp_path / "out", BlockSegmenter()) is None


def write_labels_of_air(folder: Path, shape: tuple[int, ...]) -> None:
    import numpy as np

    from fakes import write_values

    write_values(folder / "air.nii.gz", np.full(shape, -1000, np.int16))
