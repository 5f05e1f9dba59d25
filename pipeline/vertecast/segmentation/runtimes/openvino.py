"""The CT networks computed by OpenVINO: the same numbers in a fraction of the time on a CPU.

Converting a network takes seconds, so that the result is kept in the user's cache, by the sum of its weights.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from vertecast.core.errors import BundleError, ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

    from vertecast.segmentation.bundle import NetworkSpec
    from vertecast.segmentation.ct.network import SpineNet

Arithmetic: TypeAlias = Literal["f32", "bf16"]

MODEL: Final = "network.xml"
EXAMPLE_VOXELS: Final = 32
"""Edge of the crop with which a network is traced; the result takes any multiple of its stride."""


class OpenVinoNet:
    """A converted CT network; called like the torch module it was made of.

    Args:
        model: What `convert` gives.
        arithmetic: "bf16" lets OpenVINO compute in bfloat16 where the processor can.
    """

    def __init__(self, model: Any, *, arithmetic: Arithmetic = "f32") -> None:
        import torch

        options = {"INFERENCE_PRECISION_HINT": arithmetic, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        self._compiled = openvino_package().Core().compile_model(model, "CPU", options)

    def __call__(self, hu: Tensor) -> Tensor:
        """(b, 1, i, j, k) HU → (b, channels, i, j, k), as `SpineNet`."""
        import torch

        return torch.from_numpy(self._compiled(hu.numpy())[0])


def convert(net: SpineNet) -> Any:
    """A network as an OpenVINO model for any multiple of its stride. Raises `ConfigurationError` without OpenVINO."""
    import torch

    openvino = openvino_package()
    with warnings.catch_warnings():  # tracing warns of each shape that it takes for granted; any size was tested
        warnings.simplefilter("ignore")
        model = openvino.convert_model(net, example_input=torch.zeros(1, 1, *[EXAMPLE_VOXELS] * 3))
    model.reshape([1, 1, -1, -1, -1])
    return model


def load_openvino(spec: NetworkSpec, *, cache: Path | None = None) -> OpenVinoNet:
    """A network of a bundle, converted or from the cache.

    Args:
        spec: Which network; its sum names the kept file.
        cache: Folder of converted networks; None: ``vertecast`` in the user's cache.

    Raises:
        BundleError: the weights do not fit the network.
        ConfigurationError: OpenVINO is not installed.
    """
    openvino = openvino_package()
    folder = (cache or _user_cache()) / f"{spec.sha256[:32]}-{openvino.__version__.partition('-')[0]}"
    if not (folder / MODEL).is_file():
        model = convert(spec.load())
        _keep(model, folder)
        if not (folder / MODEL).is_file():
            return OpenVinoNet(model)
    try:  # what was just written is read too: the first run then gives the same last digits as all later ones
        return OpenVinoNet(openvino.Core().read_model(folder / MODEL))
    except RuntimeError as error:
        raise BundleError(f"{folder}: the converted network is damaged; remove this folder") from error


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vertecast" / "openvino"


def _keep(model: Any, folder: Path) -> None:
    """Write a converted network whole or not at all; without room or permission it is converted again next time."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    except OSError:
        return
    try:
        # The weights of a bundle are 16 bit wide: keeping them so loses nothing.
        openvino_package().save_model(model, str(unfinished / MODEL), compress_to_fp16=True)
        unfinished.rename(folder)
    except (OSError, RuntimeError):  # another process was faster, or the disk is full
        shutil.rmtree(unfinished, ignore_errors=True)


def openvino_package() -> Any:
    """The package, without the part of it that reports its use to a server.

    It does so when it is imported, unless its user has said otherwise before; a program that reads patients' images
    calls nobody. Where that part cannot be imported OpenVINO goes without it.

    Raises:
        ConfigurationError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise ConfigurationError(
            "OpenVINO is not installed; install vertecast[openvino], or set segmentation.runtime to torch"
        ) from error
    return openvino
