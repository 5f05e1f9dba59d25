"""Networks of a bundle as ONNX or OpenVINO files for other programs, each compared with torch before it is kept."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from vertecast.core.errors import BundleError, ConfigurationError
from vertecast.core.resources import METADATA, read_bundle, verify_bundle
from vertecast.segmentation.bundle import XRAY, Bundle

if TYPE_CHECKING:
    from vertecast.segmentation.ct.network import SpineNet

Format: TypeAlias = Literal["onnx", "openvino"]

TOLERANCE: Final = 1e-3
"""Largest difference from torch of any output: logits, whose SD is about 7, and offsets in units of 20 mm."""

CHECKED_SHAPES: Final = ((32, 48, 32), (64, 32, 48))
"""Voxels of the random images on which they are compared; neither is the one that was traced."""

NOISE_HU: Final = 300.0
SEED: Final = 7
OPSET: Final = 18
INPUT, OUTPUT = "hu", "maps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """One file: which network it holds, and its largest difference from torch."""

    network: str
    path: Path
    difference: float


def export_networks(folder: Path, out: Path, kind: Format) -> tuple[Exported, ...]:
    """Write every network of a CT bundle, and ``export.json`` that says what they are.

    Args:
        folder: The bundle.
        out: Folder of the files.
        kind: "onnx" (``<network>.onnx``) or "openvino" (``<network>.xml`` and ``.bin``).

    Raises:
        BundleError: the bundle is damaged, holds no CT networks, or a file answers otherwise than torch.
        ConfigurationError: what the format needs is not installed.
    """
    info = read_bundle(folder)
    verify_bundle(info)
    if XRAY in json.loads((folder / METADATA).read_text(encoding="utf-8")).get("networks", {}):
        raise BundleError(f"{info.name}: only networks for CT can be exported; take a CT bundle")
    bundle = Bundle.open(folder)
    out.mkdir(parents=True, exist_ok=True)
    done = []
    for name, spec in bundle.networks.items():
        net = spec.load()
        path = _write_onnx(net, out / f"{name}.onnx") if kind == "onnx" else _write_openvino(net, out / f"{name}.xml")
        difference = largest_difference(net, path)
        if not difference <= TOLERANCE:
            for part in (path, path.with_suffix(".bin")):
                part.unlink(missing_ok=True)
            raise BundleError(
                f"{info.name}: its {name} answers otherwise as {kind} than in torch (by {difference:.2g}, "
                f"{TOLERANCE:g} is allowed) and was not kept; try another version of the {kind} packages"
            )
        done.append(Exported(network=name, path=path, difference=difference))
    _describe(bundle, done, out / "export.json")
    return tuple(done)


def _write_onnx(net: SpineNet, path: Path) -> Path:
    import torch

    from vertecast.segmentation.ct.network import STRIDE

    _needed("onnx", "onnxruntime", "onnxscript")
    edges = {axis: STRIDE * torch.export.Dim(f"n{axis}", min=1, max=64) for axis in (2, 3, 4)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net,
            (torch.zeros(1, 1, 32, 48, 64),),
            dynamo=True,
            dynamic_shapes=(edges,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    program.save(path)
    return path


def _write_openvino(net: SpineNet, path: Path) -> Path:
    from vertecast.segmentation.runtimes.openvino import convert, openvino_package

    openvino_package().save_model(convert(net), str(path), compress_to_fp16=True)
    return path


def largest_difference(net: SpineNet, path: Path) -> float:
    """Largest absolute difference between a file's answers and those of torch on seeded random images."""
    import torch

    rng = np.random.default_rng(SEED)
    largest = 0.0
    answer = _runner(path)
    for shape in CHECKED_SHAPES:
        hu = (rng.standard_normal((1, 1, *shape)) * NOISE_HU).astype(np.float32)
        with torch.inference_mode():
            expected = net(torch.from_numpy(hu)).numpy()
        found = answer(hu)
        if found.shape != expected.shape:
            return float("inf")
        largest = max(largest, float(np.abs(found - expected).max()))
    return largest


def _runner(path: Path) -> Any:
    """What computes a file, HU (b, 1, i, j, k) → maps."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda hu: session.run([OUTPUT], {INPUT: hu})[0]
    from vertecast.segmentation.runtimes.openvino import openvino_package

    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino_package().Core().compile_model(path, "CPU", exact)
    return lambda hu: compiled(hu)[0]


def _needed(*packages: str) -> None:
    import importlib.util

    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(f"{', '.join(missing)}: not installed; install vertecast[export]")


def _describe(bundle: Bundle, done: list[Exported], path: Path) -> None:
    from vertecast.segmentation.bundle_writing import ct_data_format
    from vertecast.segmentation.ct.network import OFFSET_SCALE_MM, STRIDE

    networks: dict[str, Mapping[str, Any]] = {}
    for item in done:
        spec = bundle.networks[item.network]
        networks[item.network] = {
            "file": item.path.name,
            "sha256_of_weights": spec.sha256,
            "spacing_mm": spec.spacing_mm,
            "largest_difference_from_torch": item.difference,
        }
    document = {
        "bundle": bundle.name,
        "version": bundle.version,
        "input": f"{INPUT}: (1, 1, i, j, k) float32 HU, axes to left, posterior, superior, edges multiples of {STRIDE}",
        "output": f"{OUTPUT}: logits, then the offset in units of {OFFSET_SCALE_MM:g} mm",
        "channels": ct_data_format()["outputs"]["pred"]["channel_def"],
        "networks": networks,
        "intended_use": "Research use only. Not a medical device.",
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    license_file = bundle.locator.path.parents[1] / "LICENSE"
    if license_file.is_file():
        shutil.copyfile(license_file, path.with_name("LICENSE"))
