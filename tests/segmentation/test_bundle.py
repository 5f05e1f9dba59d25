"""A bundle opens only whole and unaltered; what was written is what is loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vertecast.core.errors import BundleError
from vertecast.core.resources import METADATA
from vertecast.segmentation.bundle import LOCATOR, OUTLINER, WEIGHTS, Bundle
from vertecast.segmentation.bundle_writing import write_network

WIDTHS = (8, 8, 16, 16)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of two tiny networks."""
    import torch

    from vertecast.segmentation.ct.network import SpineNet

    folder = tmp_path / "tiny"
    (folder / "configs").mkdir(parents=True)
    (folder / METADATA).write_text(json.dumps({"name": "tiny", "version": "0.0.1"}))
    torch.manual_seed(0)
    for name, spacing in ((LOCATOR, 4.0), (OUTLINER, 1.5)):
        facts = {"spacing_mm": spacing, "widths": list(WIDTHS)}
        write_network(folder, name, SpineNet(WIDTHS).state_dict(), facts)
    return folder


def test_what_was_written_is_loaded(bundle: Path) -> None:
    import torch

    from vertecast.segmentation.ct.network import OUTPUT_CHANNELS

    opened = Bundle.open(bundle)
    assert (opened.locator.spacing_mm, opened.outliner.spacing_mm) == (4.0, 1.5)
    assert {name for name, _, _ in opened.models} == {"tiny/locator", "tiny/outliner"}
    with torch.inference_mode():
        output = opened.outliner.load()(torch.zeros(1, 1, 32, 16, 16))
    assert output.shape == (1, OUTPUT_CHANNELS, 32, 16, 16)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_weights_can_be_read_by_whom_the_umask_lets(bundle: Path, umask: int, mode: int) -> None:
    from vertecast.segmentation.ct.network import SpineNet

    weights = bundle / WEIGHTS[LOCATOR]
    weights.chmod(0o600)
    before = os.umask(umask)
    try:
        write_network(bundle, LOCATOR, SpineNet(WIDTHS).state_dict(), {"spacing_mm": 4.0, "widths": list(WIDTHS)})
    finally:
        os.umask(before)
    assert weights.stat().st_mode & 0o777 == mode
    assert [path.name for path in weights.parent.iterdir() if path.suffix == ".tmp"] == []
    Bundle.open(bundle)


def test_one_changed_byte_is_refused(bundle: Path) -> None:
    path = bundle / WEIGHTS[OUTLINER]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        Bundle.open(bundle)


@pytest.mark.parametrize("damage", ["weights", "metadata", "networks"])
def test_a_missing_part_is_named(bundle: Path, damage: str) -> None:
    if damage == "weights":
        (bundle / WEIGHTS[LOCATOR]).unlink()
    elif damage == "metadata":
        (bundle / METADATA).write_text("{")
    else:
        metadata = json.loads((bundle / METADATA).read_text())
        del metadata["networks"]["locator"]["widths"]
        (bundle / METADATA).write_text(json.dumps(metadata))
    with pytest.raises(BundleError, match=r"locator|metadata"):
        Bundle.open(bundle)


def test_weights_of_another_network_are_refused(bundle: Path) -> None:
    metadata = json.loads((bundle / METADATA).read_text())
    metadata["networks"]["outliner"]["widths"] = [8, 16, 16, 16]
    (bundle / METADATA).write_text(json.dumps(metadata))
    with pytest.raises(BundleError, match="does not fit"):
        Bundle.open(bundle).outliner.load()
