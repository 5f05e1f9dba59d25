"""From labelled CTs in a folder to a bundle of one's own that analyses them, as docs/training.md tells it."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import phantoms.labelled as made
from tiny_training import TINY
from vertecast.cli.main import app
from vertecast.core.resources import METADATA, bundle_directory, read_bundle, verify_bundle
from vertecast.segmentation.bundle import Bundle

SEEDS = (3, 4, 9)


@pytest.fixture(scope="module")
def script(repository: Path) -> ModuleType:
    """scripts/train.py."""
    spec = importlib.util.spec_from_file_location("train_script", repository / "scripts" / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three labelled CTs."""
    folder = tmp_path_factory.mktemp("own")
    made.write_cases(folder, SEEDS)
    return folder


def _schedule(path: Path, data: Path, **values: Any) -> Path:
    folder = {"kind": "folder", "images": str(data / "ct"), "labels": str(data / "labels"), "scheme": "vertecast"}
    sources = [{**folder, **values.pop("folder", {})}, *values.pop("others", ())]
    path.write_text(yaml.safe_dump({**values, "data": sources}))
    return path


def test_shipped_weights_go_on_with_own_data_and_measure(data: Path, tmp_path: Path, script: ModuleType) -> None:
    schedule = _schedule(
        tmp_path / "mine.yaml", data, network="outliner", crop=32, steps=3, batch=1, learning_rate=1e-5, workers=0,
        validate_every=2, validation_examples=2,
    )  # fmt: skip
    bundle = tmp_path / "my_spine"
    shipped = bundle_directory("ct_spine")
    arguments = [str(schedule), "--out", str(tmp_path / "run"), "--start", str(shipped), "--bundle", str(bundle)]
    assert script.main([*arguments, "--take", "best"]) == 0
    verify_bundle(read_bundle(bundle))
    before, after = Bundle.open(shipped), Bundle.open(bundle)
    assert after.locator.sha256 == before.locator.sha256
    assert after.outliner.sha256 != before.outliner.sha256
    metadata = json.loads((bundle / METADATA).read_text())
    outliner = metadata["networks"]["outliner"]
    assert metadata["name"] == "my_spine"
    assert outliner["data"] == [{"kind": "folder", "share": 1.0, "scheme": "vertecast", "cases": 2}]
    assert set(outliner["held_out"]) >= {"own_dice_body", "own_dice_cement"}
    card = (bundle / "docs" / "README.md").read_text()
    assert "2 labelled CTs, numbers as vertecast" in card
    assert f"| own_dice_body | {outliner['held_out']['own_dice_body']:.3f} |" in card
    assert "not a medical device" in card.lower()
    written = "".join(p.read_text() for p in bundle.rglob("*") if p.suffix in {".json", ".md"})
    assert str(data) not in written, "no path of the data goes with the weights"
    assert "case3" not in written

    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"segmentation": {"bundle": str(bundle), "passes": 1}}))
    out = tmp_path / "out"
    image = data / "ct" / f"case{SEEDS[0]}.nii.gz"
    result = CliRunner().invoke(app, ["analyze", str(image), "--out", str(out), "--config", str(config)])
    assert result.exit_code == 0, result.output
    (path,) = out.glob("*/report.json")
    report = json.loads(path.read_text())
    assert {"my_spine/locator", "my_spine/outliner"} <= {model["name"] for model in report["models"]}
    assert any("value" in v["heights"]["posterior"] for v in report["vertebrae"])


def test_monai_runs_a_bundle(data: Path, tmp_path: Path) -> None:
    # What `python -m monai.bundle run` does with configs/inference.json.
    from monai.bundle import ConfigParser

    folder = bundle_directory("ct_spine")
    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser["bundle_root"] = str(folder)
    parser["image"] = str(data / "ct" / f"case{SEEDS[0]}.nii.gz")
    parser["passes"] = 1
    parser["output"] = str(tmp_path / "out")
    (result,) = parser.get_parsed_content("run")
    assert result.count("analyzed") == 1
    assert list((tmp_path / "out").glob("*/report.json"))


def test_own_and_simulated_together_from_scratch(data: Path, tmp_path: Path, script: ModuleType) -> None:
    # Whole vertebrae are scored where the arch told the body from it; one network is made and the other one kept.
    schedule = _schedule(
        tmp_path / "mix.yaml", data,
        **{**TINY, "phantom_shape": [32, 32, 32], "widths": [8, 16, 16, 16]}, validate_every=6,
        folder={"share": 3.0, "held_out": ["case4"], "rescan": 1.0, "cement": "unknown"},
        others=[{"kind": "simulated"}],
    )  # fmt: skip
    bundle = tmp_path / "mix_spine"
    assert script.main([str(schedule), "--out", str(tmp_path / "run"), "--bundle", str(bundle)]) == 0
    with (tmp_path / "run" / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["6", "12"]
    assert {"own_dice_body", "dice_body"} <= set(rows[0])
    assert float(rows[0]["own_dice_cement"]) == 0, "unknown cement is not scored"
    opened = Bundle.open(bundle)
    assert opened.locator.widths == (8, 16, 16, 16)
    assert opened.outliner.sha256 == Bundle.open(bundle_directory("ct_spine")).outliner.sha256
    card = bundle / "docs" / "README.md"
    card.write_text(card.read_text() + "\nSeen by me.\n")
    again = ["--out", str(tmp_path / "run"), "--bundle", str(bundle), "--export-only"]
    assert script.main([str(schedule), *again]) == 0
    assert card.read_text().endswith("\nSeen by me.\n")
    assert card.read_text().count("## locator") == 1


def test_data_that_cannot_be_used_ends_with_a_reason(
    data: Path, tmp_path: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule = _schedule(tmp_path / "wrong.yaml", data, network="outliner", folder={"scheme": "verse"})
    assert script.main([str(schedule), "--out", str(tmp_path / "run")]) == 2
    complaint = capsys.readouterr().err
    assert "3 of 3 cases cannot be used" in complaint
    assert "numbers without a meaning" in complaint
