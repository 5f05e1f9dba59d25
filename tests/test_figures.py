"""Cards, docs/accuracy.md, README and the limits of reports say what ``docs/scores.json`` of each bundle says."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    return importlib.import_module("figures")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What holds figures, without the weights."""
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "accuracy.md", tmp_path / "docs")
    return tmp_path


def test_no_page_says_another_figure_than_was_measured(figures: ModuleType) -> None:
    assert figures.main(["--check"]) == 0


def test_a_figure_that_was_changed_by_hand_is_found_and_mended(figures: ModuleType, checkout: Path) -> None:
    card = checkout / "models" / "ct_spine" / "docs" / "README.md"
    whole = card.read_text(encoding="utf-8")
    card.write_text(whole.replace("| complete bodies found | 0.", "| complete bodies found | 1."), encoding="utf-8")
    assert card.read_text(encoding="utf-8") != whole
    assert figures.main(["--root", str(checkout), "--check"]) == 1
    assert figures.main(["--root", str(checkout)]) == 0
    assert card.read_text(encoding="utf-8") == whole


def test_figures_of_the_last_version_stay_beside_the_new_ones(figures: ModuleType, checkout: Path) -> None:
    bundle = checkout / "models" / "ct_spine"
    older = json.loads((bundle / "docs" / "scores.json").read_text(encoding="utf-8"))["now"]
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata | {"version": "9.0.0"}), encoding="utf-8")
    leaks: dict[str, Any] = {"label": "leaks ≥0.1 mL found", "value": 0.75, "interval95": [0.5, 0.9], "count": 20}
    false = {"label": "false leaks", "value": 0.5, "interval95": None, "count": 8}
    document = {
        "studies": 40,
        "scores": {"leaks_found": leaks, "false_leaks_reported": false, "grade_kappa": leaks | {"value": None}},
        "genant_confusion": {"counts": [[9, 0, 0, 0, 0, 0], [0] * 6, [0, 1, 3, 0, 2, 0], [1, 0, 0, 4, 0, 0]]},
    }
    (checkout / "scores.json").write_text(json.dumps(document), encoding="utf-8")
    arguments = ["--root", str(checkout), "--take", str(bundle), "--simulated", str(checkout / "scores.json")]
    assert figures.main(arguments) == 0
    kept = json.loads((bundle / "docs" / "scores.json").read_text(encoding="utf-8"))
    assert (kept["now"]["version"], kept["before"]) == ("9.0.0", older)
    assert set(kept["now"]["simulated"]) == {"leaks_found", "false_leaks_reported"}, "what has no value is no figure"
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    before = figures.cell(older["simulated"]["leaks_found"], interval=False)
    assert f"| leaks ≥0.1 mL found | 0.75 (0.5 to 0.9), n 20 | {before} |" in card
    told = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert "found 15 of 20 leaks" in told["cement_limits"][0]
    assert "Of 11 simulated bodies of Genant grade 2 or 3" in told["limits"][0]
    assert "gave 2 the grade 0 or 1 and left 2 undecided" in told["limits"][0]
    document["genant_confusion"] = {"counts": [[9, 0, 0, 0, 0, 0], [0] * 6, [0, 0, 3, 0, 0, 0], [0] * 6]}
    (checkout / "scores.json").write_text(json.dumps(document), encoding="utf-8")
    assert figures.main(arguments) == 0
    told = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert "were scored on too few broken bodies (3 of Genant grade 2 or 3, simulated)" in told["limits"][0]
