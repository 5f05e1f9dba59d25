"""Where the real images are, and what is skipped without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).parents[1]

# One core may be busy with something else: no deadline. The same examples on every machine: a red run can be repeated.
settings.register_profile("vertecast", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("vertecast")


def _real_data() -> Path:
    return Path(os.environ.get("VERTECAST_REAL_DATA", REPOSITORY.parent / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _real_data().is_dir():
        return
    skip = pytest.mark.skip(reason=f"no real images at {_real_data()} (set VERTECAST_REAL_DATA)")
    for item in items:
        if "realdata" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real images, for tests marked ``realdata``."""
    return _real_data()


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY
