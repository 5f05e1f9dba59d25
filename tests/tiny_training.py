"""A training of seconds: a network of a few channels on coarse little patients."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from vertecast.lab.training import CtSettings, CtTask

TINY = {
    "network": "locator",
    "spacing_mm": 4.0,
    "crop": 32,
    "phantom_shape": (32, 32, 32),
    "widths": (8, 16, 16, 16),
    "near_spine": 1.0,
    "treated_rate": 0.0,
    "pool": 1,
    "uses": 40,
    "learning_rate": 2e-2,
    "steps": 12,
    "batch": 1,
    "workers": 0,
    "save_every": 6,
    "validation_examples": 2,
}
TERMS = ("structure", "cement", "metal", "offset")


def tiny_task(**changes: object) -> CtTask:
    return CtTask(CtSettings.model_validate({**TINY, **changes}))


def curves(run: Path, name: str = "curves") -> list[dict[str, str]]:
    with (run / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def last_state(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(run / "last.pt", weights_only=True)
    return state


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert torch.equal(values, second[name]), name


def are_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(values, second[name]) for name, values in first.items())
