"""Vertecast: vertebral height loss, wedge deformity, bone cement and leaks on CT. Research use only."""

from __future__ import annotations

__version__ = "0.1.0"
