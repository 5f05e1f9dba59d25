"""Training bundles on simulated patients and on labelled CTs: the one place where simulation meets segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vertecast.core.errors import ConfigurationError
from vertecast.lab.training.ct import CtSettings, CtTask
from vertecast.lab.training.export import export_bundle
from vertecast.lab.training.parallel import joined
from vertecast.lab.training.task import RunSettings, Task
from vertecast.lab.training.trainer import Trainer
from vertecast.lab.training.xray import XraySettings, XrayTask

__all__ = [
    "CtSettings",
    "CtTask",
    "RunSettings",
    "Task",
    "Trainer",
    "XraySettings",
    "XrayTask",
    "export_bundle",
    "joined",
    "load_task",
]


def load_task(path: Path, **changes: Any) -> Task:
    """Read a schedule from ``configs/train/*.yaml``; its key ``network`` says which task it is.

    Raises:
        ConfigurationError: the file cannot be read, or a key is unknown or wrong.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: must hold the keys of a schedule, like configs/train/ct_outliner.yaml")
    values = {**document, **changes}
    try:
        if values.get("network") == "xray":
            return XrayTask(XraySettings.model_validate(values))
        return CtTask(CtSettings.model_validate(values))
    except ValidationError as error:
        complaints = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigurationError(f"{path}: {complaints}; see docs/training.md") from error
