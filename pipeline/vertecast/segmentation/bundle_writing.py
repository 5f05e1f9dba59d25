"""Bundles written by a training: weights, metadata and the configuration that `monai.bundle` reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib import metadata as packages
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vertecast.core.anatomy import Structure
from vertecast.core.errors import BundleError
from vertecast.core.resources import METADATA, file_sha256, read_bundle, verify_bundle
from vertecast.segmentation.bundle import LOCATOR, OUTLINER, WEIGHTS, XRAY

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA: Final = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
FIRST_VERSION: Final = "0.1.0"
INFERENCE: Final = Path("configs") / "inference.json"
LICENSE: Final = Path("LICENSE")


def start_bundle(folder: Path, base: Path, data_source: str) -> None:
    """Make a bundle that differs from another one in nothing but its name and version; weights come after.

    Args:
        folder: The new bundle; its name is that of the folder.
        base: The bundle whose other networks, licence and description it takes over.
        data_source: What the new weights learn from.

    Raises:
        BundleError: ``base`` is damaged, or there is a bundle in ``folder`` already.
    """
    if (folder / METADATA).exists():
        raise BundleError(f"{folder}: holds a bundle already; choose another folder")
    info = read_bundle(base)
    verify_bundle(info)
    document = _metadata(base)
    for name in info.sha256:
        _copy(base / name, folder / name)
    if (base / LICENSE).exists():
        _copy(base / LICENSE, folder / LICENSE)
    document |= {
        "name": folder.name,
        "version": FIRST_VERSION,
        "changelog": {FIRST_VERSION: f"begun from {info.name} {info.version}"},
        "schema": SCHEMA,
        "monai_version": document.get("monai_version", ""),
        "pytorch_version": packages.version("torch").partition("+")[0],
        "numpy_version": packages.version("numpy"),
        "authors": "not stated",
        "copyright": "not stated",
        "data_type": "CT",
        "data_source": data_source,
        "intended_use": "Research use only. Not a medical device.",
    }
    _write_json(folder / METADATA, document)


def write_network(folder: Path, network: str, state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Put one network's weights (float16) into a bundle and bring its metadata up to date.

    Args:
        folder: The bundle's folder with a ``configs/metadata.json`` that names the bundle and its version.
        network: A name in `WEIGHTS`.
        state: The network's parameters.
        facts: What the metadata says of it: ``widths`` and grid, the training's steps and scores.

    Raises:
        BundleError: the metadata cannot be read.
    """
    import torch
    from safetensors.torch import save

    document = _metadata(folder)
    weights = WEIGHTS[network]
    (folder / weights).parent.mkdir(parents=True, exist_ok=True)
    half = {name: values.detach().cpu().to(torch.float16).contiguous() for name, values in state.items()}
    _write_whole(folder / weights, save(half))
    document.setdefault("networks", {})[network] = {"weights": weights, **facts}
    document.setdefault("sha256", {})[weights] = file_sha256(folder / weights)
    if network == OUTLINER:
        document["network_data_format"] = ct_data_format()
    _write_json(folder / METADATA, document)
    networks = document["networks"]
    if XRAY in networks or (LOCATOR in networks and OUTLINER in networks):
        _write_json(folder / INFERENCE, inference_config(folder, networks))


def ct_data_format() -> dict[str, Any]:
    """What goes into the outliner and what comes out, as the MONAI bundle specification asks for."""
    from vertecast.segmentation.ct.network import (
        CEMENT_CHANNEL,
        METAL_CHANNEL,
        OFFSET_CHANNELS,
        OUTPUT_CHANNELS,
        STRIDE,
    )

    edge = f"{STRIDE}*n"
    common = {"spatial_shape": [edge] * 3, "dtype": "float32", "is_patch_data": True}
    channels = {str(structure.value): structure.name.lower() for structure in Structure}
    channels |= {str(CEMENT_CHANNEL): "cement", str(METAL_CHANNEL): "metal"}
    channels |= {str(OFFSET_CHANNELS.start + n): f"offset to the centre of the own body, {axis}" for n, axis in _AXES}
    return {
        "inputs": {
            "image": {
                "type": "image", "format": "hounsfield", "modality": "CT", "num_channels": 1,
                "value_range": [-1024, 8000], "channel_def": {"0": "HU"}, **common,
            }
        },
        "outputs": {
            "pred": {
                "type": "image", "format": "segmentation", "num_channels": OUTPUT_CHANNELS,
                "value_range": [], "channel_def": channels, **common,
            }
        },
    }  # fmt: skip


_AXES: Final = ((0, "left"), (1, "posterior"), (2, "superior"))


def inference_config(folder: Path, networks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """``configs/inference.json``: the networks' definitions, the program's own segmenter, and an analysis to run."""
    imports = [
        "$from pathlib import Path",
        "$from vertecast.run.batch import run_batch",
        "$from vertecast.core.config import Config",
        "$from vertecast.run.engine import shipped_engine",
    ]
    if XRAY in networks:
        definitions = {"network_def": _definition("projection_network.ProjectionNet", networks[XRAY])}
        options, passes = "'xray_bundle': @bundle_root", {}
        imports.append("$from vertecast.segmentation.projection.segmenter import XraySegmenter")
        segmenter = "$XraySegmenter.load(Path(@bundle_root))"
    else:
        definitions = {
            "network_def": _definition("network.SpineNet", networks[OUTLINER]),
            "locator_def": _definition("network.SpineNet", networks[LOCATOR]),
        }
        options, passes = "'bundle': @bundle_root, 'passes': @passes", {"passes": 2}
        imports.append("$from vertecast.segmentation.ct.segmenter import CtSegmenter")
        segmenter = "$CtSegmenter.load(Path(@bundle_root), passes=@passes)"
    return {
        "imports": imports,
        "bundle_root": f"models/{folder.name}",
        **passes,
        **definitions,
        "segmenter": segmenter,
        "image": "ct.nii.gz" if XRAY not in networks else "film.dcm",
        "output": "out",
        "options": f"$Config().with_overrides({{'segmentation': {{{options}}}}})",
        "run": ["$run_batch([Path(@image)], Path(@output), @options, shipped_engine(@options.segmentation))"],
    }


def _definition(network: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"_target_": f"vertecast.segmentation.{network}", "widths": list(entry["widths"])}


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read ({type(error).__name__}); write it before the weights") from error
    return document


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, for whom the umask lets read it.

    `safetensors` writes through a temporary file that is its owner's alone and stays so: whoever else uses the
    installation could not load the weights.
    """
    unfinished = path.with_suffix(".tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
