"""Training bundles on simulated patients: the one place where simulation meets segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vertecast.training.ct import CtSettings, CtTask
from vertecast.training.trainer import RunSettings, Task, Trainer
from vertecast.training.xray import XraySettings, XrayTask

__all__ = ["CtSettings", "CtTask", "RunSettings", "Task", "Trainer", "XraySettings", "XrayTask", "load_task"]


def load_task(path: Path, **changes: Any) -> Task:
    """Read a schedule from ``configs/train/*.yaml``; its key ``network`` says which task it is.

    Raises:
        pydantic.ValidationError: a key is unknown or wrong.
    """
    values = {**yaml.safe_load(path.read_text(encoding="utf-8")), **changes}
    if values.get("network") == "xray":
        return XrayTask(XraySettings.model_validate(values))
    return CtTask(CtSettings.model_validate(values))
