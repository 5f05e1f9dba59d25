"""From a bundle's folder to its networks: verified weights as safetensors, which cannot run code.

The folder follows the MONAI bundle specification: ``configs/metadata.json``, ``configs/inference.json``,
``models/*.safetensors``, ``docs/README.md`` (the card), ``LICENSE``. The metadata lists under ``networks`` what each
file of weights is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vertecast.core.errors import BundleError
from vertecast.core.images import NO_LIMITS, WeightLimits
from vertecast.core.resources import METADATA, read_bundle, verify_bundle

if TYPE_CHECKING:
    from torch.nn import Module

    from vertecast.segmentation.ct.network import SpineNet

Net = TypeVar("Net", bound="Module")

LOCATOR: Final = "locator"
OUTLINER: Final = "outliner"
CLOSER: Final = "closer"
XRAY: Final = "xray"
FINER: Final = 2
"""Voxels of the closer look along an edge of one of the outliner's."""

WEIGHTS: Final = {
    LOCATOR: "models/locator.safetensors",
    OUTLINER: "models/model.safetensors",
    CLOSER: "models/closer.safetensors",
    XRAY: "models/model.safetensors",
}


def with_weights(net: Net, path: Path) -> Net:
    """A network with the weights of a file, in float32 and evaluation mode.

    Raises:
        BundleError: the weights do not fit the network.
    """
    from safetensors.torch import load_file

    try:
        net.load_state_dict({name: values.float() for name, values in load_file(path).items()})
    except RuntimeError as error:
        raise BundleError(f"{path}: does not fit the network ({error}); fetch the bundle again") from error
    return net.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """One network of a bundle: its weights, the spacing of the grid it works on, its channels."""

    path: Path
    sha256: str
    spacing_mm: float
    widths: tuple[int, int, int, int]

    def load(self) -> SpineNet:
        """Build the network and load its weights, in float32 and evaluation mode.

        Raises:
            BundleError: the weights do not fit the network.
        """
        from vertecast.segmentation.ct.network import SpineNet

        return with_weights(SpineNet(self.widths), self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A CT bundle whose weights match their sums.

    Attributes:
        name, version: Of the bundle.
        locator: The coarse network, which finds the spine.
        outliner: The fine network, which outlines it.
        closer: The finest network, which looks at each vertebra alone; a bundle may lack it.
        limits: What a reader must know of these weights.
    """

    name: str
    version: str
    locator: NetworkSpec
    outliner: NetworkSpec
    closer: NetworkSpec | None = None
    limits: WeightLimits = NO_LIMITS

    @property
    def networks(self) -> dict[str, NetworkSpec]:
        """Those that it holds, by name."""
        found = {LOCATOR: self.locator, OUTLINER: self.outliner, CLOSER: self.closer}
        return {name: network for name, network in found.items() if network is not None}

    @property
    def models(self) -> tuple[tuple[str, str, str], ...]:
        """Name, version and sha256 of each network, as reports print them."""
        return tuple((f"{self.name}/{name}", self.version, one.sha256) for name, one in self.networks.items())

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Read and verify a bundle.

        Raises:
            BundleError: a file is missing, unreadable or altered.
        """
        info = read_bundle(folder)
        verify_bundle(info)
        try:
            metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
            networks = metadata["networks"]
            present = [name for name in (LOCATOR, OUTLINER, CLOSER) if name != CLOSER or name in networks]
            specs = {name: _spec(folder, networks[name], info.sha256) for name in present}
            limits = limits_in(metadata)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{folder / METADATA}: key missing or wrong ({error}); fetch the bundle again") from error
        bundle = cls(name=info.name, version=info.version, limits=limits, **specs)
        if bundle.closer is not None and not isclose(bundle.closer.spacing_mm * FINER, bundle.outliner.spacing_mm):
            raise BundleError(
                f"{folder / METADATA}: the closer look's spacing_mm is not half the outliner's; train it at half"
            )
        return bundle


def limits_in(metadata: Mapping[str, Any]) -> WeightLimits:
    """What the metadata of a bundle says of its weights. Raises `TypeError` where these are no lists."""
    always, with_cement = (tuple(map(str, metadata.get(key, ()))) for key in ("limits", "cement_limits"))
    return WeightLimits(always=always, with_cement=with_cement)


def _spec(folder: Path, entry: Mapping[str, Any], sha256: Mapping[str, str]) -> NetworkSpec:
    a, b, c, d = (int(n) for n in entry["widths"])
    return NetworkSpec(
        path=folder / entry["weights"],
        sha256=sha256[entry["weights"]],
        spacing_mm=float(entry["spacing_mm"]),
        widths=(a, b, c, d),
    )
