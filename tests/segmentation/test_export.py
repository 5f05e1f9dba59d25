"""Exported networks answer like torch, or are not kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vertecast.cli.main import app
from vertecast.core.resources import METADATA
from vertecast.segmentation.bundle import LOCATOR, OUTLINER
from vertecast.segmentation.bundle_writing import write_network
from vertecast.segmentation.ct.network import OUTPUT_CHANNELS, SpineNet
from vertecast.segmentation.runtimes import export

pytest.importorskip("onnxruntime", reason="needs the extra [export]")
WIDTHS = (8, 8, 8, 8)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of two tiny networks."""
    folder = tmp_path / "tiny"
    (folder / "configs").mkdir(parents=True)
    (folder / METADATA).write_text(json.dumps({"name": "tiny", "version": "0.0.1"}))
    torch.manual_seed(0)
    for name, spacing in ((LOCATOR, 4.0), (OUTLINER, 1.5)):
        write_network(
            folder, name, SpineNet(WIDTHS).state_dict(), {"spacing_mm": spacing, "widths": list(WIDTHS)}
        )  # fmt: skip
    return folder


def test_a_network_becomes_onnx(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = SpineNet(WIDTHS).eval()
    path = export._write_onnx(net, tmp_path / "net.onnx")
    assert export.largest_difference(net, path) <= export.TOLERANCE
    assert export._runner(path)(np.zeros((1, 1, 48, 16, 80), dtype=np.float32)).shape == (
        1,
        OUTPUT_CHANNELS,
        48,
        16,
        80,
    )


def test_networks_are_exported_and_compared(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["models", "export", str(bundle), "--format", "openvino", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.output.count("differs from torch by") == 2
    described = json.loads((out / "export.json").read_text())
    assert described["networks"]["outliner"]["spacing_mm"] == 1.5
    assert described["networks"]["outliner"]["largest_difference_from_torch"] <= export.TOLERANCE
    assert described["channels"]["8"] == "cement"
    answer = export._runner(out / described["networks"]["locator"]["file"])
    assert answer(np.zeros((1, 1, 48, 16, 80), dtype=np.float32)).shape == (1, OUTPUT_CHANNELS, 48, 16, 80)


def test_what_answers_otherwise_is_not_kept(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_of_it(path: Path) -> object:
        answer = runner(path)
        return lambda hu: answer(hu / 2)

    runner = export._runner
    monkeypatch.setattr(export, "_runner", half_of_it)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["models", "export", str(bundle), "--format", "openvino", "--out", str(out)])
    assert result.exit_code == 2
    assert "locator answers otherwise as openvino than in torch" in result.output
    assert list(out.iterdir()) == []


def test_a_film_bundle_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["models", "export", "xray_spine", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "only networks for CT" in result.output


def test_a_folder_is_verified_too(bundle: Path) -> None:
    assert CliRunner().invoke(app, ["models", "verify", str(bundle)]).exit_code == 0
    (bundle / "models" / "locator.safetensors").write_bytes(b"other")
    result = CliRunner().invoke(app, ["models", "verify", str(bundle), "ct_spine"])
    assert result.exit_code == 1
    assert "FAIL" in result.output
    assert "ok   model ct_spine" in result.output
