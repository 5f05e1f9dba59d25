"""The shipped bundle: whole, described, and readable with MONAI's own tools."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vertecast.core import geometry
from vertecast.core.errors import UnsupportedError
from vertecast.core.images import Volume
from vertecast.core.resources import METADATA, bundle_directory
from vertecast.segmentation.bundle import Bundle
from vertecast.segmentation.ct.segmenter import CtSegmenter

LARGEST_BUNDLE_BYTES = 40 * 2**20


@pytest.fixture(scope="module")
def folder() -> Path:
    """The CT bundle in the checkout."""
    return bundle_directory("ct_spine")


def test_the_bundle_is_whole_and_small(folder: Path) -> None:
    opened = Bundle.open(folder)
    assert opened.locator.spacing_mm > opened.outliner.spacing_mm
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < LARGEST_BUNDLE_BYTES
    for part in ("docs/README.md", "LICENSE", "configs/inference.json", "configs/train.json"):
        assert (folder / part).is_file(), part
    card = (folder / "docs" / "README.md").read_text()
    metadata = json.loads((folder / METADATA).read_text())
    assert metadata["version"] in card
    assert "simulated" in card
    assert "not a medical device" in card.lower()


def test_monai_reads_the_bundle(folder: Path) -> None:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(folder / "configs" / "inference.json")
    parser["bundle_root"] = str(folder)
    segmenter = parser.get_parsed_content("segmenter")
    assert isinstance(segmenter, CtSegmenter)
    outliner = parser.get_parsed_content("network_def")
    outliner.load_state_dict(segmenter.outliner.state_dict())
    parser.get_parsed_content("locator_def").load_state_dict(segmenter.locator.state_dict())


def test_monai_finds_the_network_as_its_metadata_says(folder: Path) -> None:
    from monai.bundle import verify_net_in_out

    configs = folder / "configs"
    verify_net_in_out(  # raises where channels, size or type of the answer are others
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        device="cpu",
        n=2,
        any=32,
    )


def test_an_image_without_a_spine_is_refused_with_a_reason(folder: Path) -> None:
    rng = np.random.default_rng(0)
    water = Volume(
        hu=rng.normal(0, 20, (60, 60, 70)).astype(np.int16),
        lps_from_index=geometry.scaling_affine([4.0, 4.0, 4.0], [0, 0, 0]),
    )
    with pytest.raises(UnsupportedError, match="no "):
        CtSegmenter.load(folder, passes=1).segment(water)
