"""Vertecast: vertebral height loss, wedge deformity, cement and leaks on CT, X-ray and fluoroscopy. Research use only.

``import vertecast; found = vertecast.analyze("study/")``: see `vertecast.api`, which is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vertecast.api import Analysis, Failure, analyze, analyze_all, compare, load_bundle, read_report, to_frame

__version__ = "0.1.0"

__all__ = [
    "Analysis",
    "Failure",
    "__version__",
    "analyze",
    "analyze_all",
    "compare",
    "load_bundle",
    "read_report",
    "to_frame",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("vertecast.api"), name)
    raise AttributeError(f"module 'vertecast' has no attribute {name!r}")
