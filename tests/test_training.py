"""A short seeded run lowers the loss, a stopped run goes on, and the result is a bundle."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vertecast.anatomy import Structure
from vertecast.errors import BundleError
from vertecast.resources import METADATA, bundle_directory
from vertecast.segmentation.bundle import Bundle
from vertecast.segmentation.xray_bundle import XrayBundle
from vertecast.simulation.crops import CropSettings, crops, draw_patient, scan, take_crop
from vertecast.training import CtSettings, CtTask, Trainer, XraySettings, XrayTask
from vertecast.training.ct import as_tensors, dice_scores, loss_terms

TINY = CropSettings(spacing_mm=4.0, phantom_shape=(48, 48, 48), crop=32, near_spine=1.0, pool=2, uses=4)


def _task(**changes: object) -> CtTask:
    base = {
        "network": "locator",
        "spacing_mm": 4.0,
        "crop": 32,
        "phantom_shape": (48, 48, 48),
        "widths": (8, 16, 16, 16),
        "near_spine": 1.0,
        "pool": 2,
        "uses": 8,
        "steps": 12,
        "batch": 1,
        "workers": 0,
        "save_every": 6,
        "validation_examples": 2,
    }
    return CtTask(CtSettings.model_validate({**base, **changes}))


def test_crops_repeat_themselves_for_a_seed() -> None:
    first, second = next(crops(5, TINY)), next(crops(5, TINY))
    np.testing.assert_array_equal(first.hu, second.hu)
    np.testing.assert_array_equal(first.structure, second.structure)
    assert not np.array_equal(first.hu, next(crops(6, TINY)).hu)


def test_offsets_point_at_one_centre_for_each_body() -> None:
    rng = np.random.default_rng(11)
    patient = draw_patient(rng, TINY)
    crop = take_crop(patient, rng, TINY)
    index = np.indices(crop.structure.shape)
    body = (crop.structure == Structure.BODY) & (crop.offset_weight > 0)
    assert body.sum() > 50
    votes = (index * TINY.spacing_mm + crop.offset_mm)[:, body]
    centers = np.unique(np.round(votes.T, 1), axis=0)
    assert 1 <= len(centers) <= 10, "voxels of one body agree on its centre, in mirror images too"


def test_thick_slices_blur_along_the_slice_axis_only() -> None:
    step = np.zeros((24, 24, 48), dtype=np.float32)
    step[:, :, 24:] = 1000
    spread = []
    for seed in range(12):
        seen = scan(step, 1.0, np.random.default_rng(seed))
        profile = seen[6:18, 6:18].mean(axis=(0, 1))
        spread.append(np.abs(np.diff(profile)).max())
    assert max(spread) > 2 * min(spread), "some scanners are sharp and some have thick slices"


def test_a_perfect_answer_has_no_structure_loss() -> None:
    batch = {k: v[None] for k, v in as_tensors(next(crops(7, TINY))).items()}
    output = torch.zeros(1, 13, *batch["structure"].shape[1:])
    output[:, :8] = 40 * torch.nn.functional.one_hot(batch["structure"], 8).movedim(-1, 1)
    output[:, 8], output[:, 9] = 80 * batch["cement"].round() - 40, 80 * batch["metal"] - 40
    output[:, 10:13] = batch["offset"] / 20
    terms = loss_terms(output, batch)
    assert float(terms["structure"]) < 0.05
    assert float(terms["offset"]) < 1e-4
    overlap, size = dice_scores(output, batch)["dice_body"]
    assert overlap == size > 0


def test_a_run_begins_with_the_weights_of_a_bundle(tmp_path: Path) -> None:
    bundle = bundle_directory("ct_spine")
    locator = Bundle.open(bundle).locator
    trainer = Trainer(_task(widths=locator.widths), tmp_path / "run")
    before = trainer.net.head[0].weight.clone()
    trainer.start_from(bundle)
    assert not torch.equal(before, trainer.net.head[0].weight)
    torch.testing.assert_close(trainer.average.module.head[0].weight, trainer.net.head[0].weight)
    with pytest.raises(BundleError, match="widths"):
        Trainer(_task(), tmp_path / "other").start_from(bundle)


def _xray_task(**changes: object) -> XrayTask:
    base = {
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
    return XrayTask(XraySettings.model_validate({**base, **changes}))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_xray_network_learns_and_is_exported(tmp_path: Path) -> None:
    trainer = Trainer(_xray_task(), tmp_path / "run")
    trainer.run()
    with (tmp_path / "run" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    total = [sum(float(row[k]) for k in ("body", "sacrum", "metal", "offset")) for row in rows]  # few show cement
    assert total[-1] < total[0]
    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / METADATA).write_text(json.dumps({"name": "tiny", "version": "0"}))
    scores = trainer.validate()
    assert {"dice_body", "offset_px", "views_right"} <= set(scores)
    trainer.export(bundle, scores)
    weights = XrayBundle.open(bundle).load().state_dict()
    for name, values in trainer.average.module.state_dict().items():
        torch.testing.assert_close(weights[name], values, atol=2e-3, rtol=2e-3)
    again = Trainer(_xray_task(), tmp_path / "again")
    again.start_from(bundle)
    torch.testing.assert_close(again.net.state_dict()["view.bias"], weights["view.bias"])
    with torch.no_grad():
        again.average.module.view.bias.add_(2.0)
    again.average_with(bundle)
    torch.testing.assert_close(again.average.module.view.bias.detach(), weights["view.bias"] + 1.0)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_lowers_the_loss_resumes_and_exports(tmp_path: Path) -> None:
    run = tmp_path / "run"
    Trainer(_task(), run).run()
    resumed = Trainer(_task(steps=18), run)
    assert resumed.step == 12
    resumed.run()
    with (run / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [6, 12, 18]
    total = [sum(float(row[k]) for k in ("structure", "cement", "metal", "offset")) for row in rows]
    assert total[-1] < total[0]
    bundle = tmp_path / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / METADATA).write_text(json.dumps({"name": "tiny", "version": "0"}))
    resumed.export(bundle, resumed.validate())
    written = json.loads((bundle / METADATA).read_text())
    assert written["networks"]["locator"]["steps"] == 18
    assert set(written["sha256"]) == {"models/locator.safetensors"}
