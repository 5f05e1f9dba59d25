"""The X-ray network learns from simulated films, and its weights become a bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tiny_training import assert_same, curves
from vertecast.core.resources import METADATA, bundle_directory
from vertecast.lab.training import Trainer, XraySettings, XrayTask, export_bundle
from vertecast.segmentation.projection.bundle import XrayBundle

TINY = {
    "network": "xray",
    "widths": (8, 16, 16, 16, 16),
    "size": 64,
    "spacing_mm": 5.0,
    "phantom_shape": (50, 46, 60),
    "projection_px": 72,
    "views": 4,
    "pool": 8,
    "uses": 10,
    "steps": 48,
    "batch": 2,
    "workers": 0,
    "save_every": 8,
    "validation_examples": 3,
}


def _task(**changes: object) -> XrayTask:
    return XrayTask(XraySettings.model_validate({**TINY, **changes}))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_xray_network_learns_resumes_and_is_exported(tmp_path: Path) -> None:
    trainer = Trainer(_task(), tmp_path / "run")
    trainer.run()
    rows = curves(tmp_path / "run")
    total = [sum(float(row[k]) for k in ("body", "sacrum", "metal", "offset")) for row in rows]  # few show cement
    assert total[-1] < total[0]
    Trainer(_task(steps=49), tmp_path / "run").run()
    straight = Trainer(_task(steps=49), tmp_path / "straight")
    assert straight.step == 0
    bundle = tmp_path / "tiny_films"
    scores = export_bundle(trainer, bundle)
    assert {"dice_body", "offset_px", "views_right"} <= set(scores)
    opened = XrayBundle.open(bundle)
    weights = opened.load().state_dict()
    for name, values in trainer.average.module.state_dict().items():
        torch.testing.assert_close(weights[name], values, atol=2e-3, rtol=2e-3)
    metadata = json.loads((bundle / METADATA).read_text())
    assert metadata["networks"]["xray"]["steps"] == 48
    assert metadata["data_source"] == "simulated patients (vertecast.lab.simulation)"
    straight.start_from(bundle)
    assert_same(straight.net.state_dict(), weights)
    shipped = json.loads((bundle_directory("xray_spine") / METADATA).read_text())
    assert metadata["sha256"] != shipped["sha256"]
