from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from vertecast.core import resources
from vertecast.core.errors import BundleError

WEIGHTS = {"models/model.safetensors": b"first seed", "models/model_2.safetensors": b"second seed"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A whole bundle with two sets of weights."""
    directory = tmp_path / "ct_spine"
    (directory / "configs").mkdir(parents=True)
    (directory / "models").mkdir()
    for name, content in WEIGHTS.items():
        (directory / name).write_bytes(content)
    sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in WEIGHTS.items()}
    metadata = json.dumps({"version": "1.2.0", "sha256": sha256})
    (directory / "configs" / "metadata.json").write_text(metadata, encoding="utf-8")
    return directory


def test_a_bundle_says_what_it_is(bundle: Path) -> None:
    info = resources.read_bundle(bundle)
    assert (info.name, info.version, set(info.sha256)) == ("ct_spine", "1.2.0", set(WEIGHTS))
    resources.verify_bundle(info)


@pytest.mark.parametrize("name", WEIGHTS)
def test_altered_weights_are_found(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"other bytes")
    with pytest.raises(BundleError, match=f"{name} is not the file that was released"):
        resources.verify_bundle(resources.read_bundle(bundle))


def test_missing_weights_are_found(bundle: Path) -> None:
    (bundle / "models/model_2.safetensors").unlink()
    with pytest.raises(BundleError, match=r"model_2\.safetensors is missing"):
        resources.verify_bundle(resources.read_bundle(bundle))


def test_weights_that_nobody_listed_are_refused(bundle: Path) -> None:
    (bundle / "models/extra.safetensors").write_bytes(b"?")
    with pytest.raises(BundleError, match=r"extra\.safetensors is not listed"):
        resources.verify_bundle(resources.read_bundle(bundle))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"version": "1"}', '{"version": "1", "sha256": 3}'])
def test_damaged_metadata_is_refused(bundle: Path, text: str) -> None:
    (bundle / "configs/metadata.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"metadata\.json"):
        resources.read_bundle(bundle)


def test_a_bundle_is_found_by_its_folder(bundle: Path) -> None:
    assert resources.bundle_directory(str(bundle)) == bundle


def test_an_unknown_bundle_is_named() -> None:
    with pytest.raises(BundleError, match="no_such_bundle: no model bundle of that name"):
        resources.bundle_directory("no_such_bundle")


def test_shipped_folders_are_found_in_the_checkout(repository: Path) -> None:
    assert (resources.resource_directory("configs") / "default.yaml").read_bytes() == (
        repository / "configs" / "default.yaml"
    ).read_bytes()


def test_every_shipped_bundle_is_whole() -> None:
    assert "ct_spine" in resources.bundle_names()
    for name in resources.bundle_names():
        resources.verify_bundle(resources.read_bundle(resources.bundle_directory(name)))
