"""From an X-ray bundle's folder to its network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vertecast.core.errors import BundleError
from vertecast.core.images import NO_LIMITS, WeightLimits
from vertecast.core.resources import METADATA, read_bundle, verify_bundle
from vertecast.segmentation.bundle import WEIGHTS, XRAY, limits_in, with_weights

if TYPE_CHECKING:
    from vertecast.segmentation.projection.network import ProjectionNet


@dataclass(frozen=True, slots=True, kw_only=True)
class XrayBundle:
    """An X-ray bundle whose weights match their sums.

    Attributes:
        name, version: Of the bundle.
        path: The weights.
        sha256: Their sum.
        widths: Channels of the network.
        picture_px: Edge of the pictures that it was trained on.
        limits: What a reader must know of these weights.
    """

    name: str
    version: str
    path: Path
    sha256: str
    widths: tuple[int, ...]
    picture_px: int
    limits: WeightLimits = NO_LIMITS

    @property
    def models(self) -> tuple[tuple[str, str, str], ...]:
        """Name, version and sha256, as reports print them."""
        return ((self.name, self.version, self.sha256),)

    @classmethod
    def open(cls, folder: Path) -> XrayBundle:
        """Read and verify a bundle.

        Raises:
            BundleError: a file is missing, unreadable or altered.
        """
        info = read_bundle(folder)
        verify_bundle(info)
        try:
            metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
            entry = metadata["networks"][XRAY]
            return cls(
                name=info.name,
                version=info.version,
                path=folder / entry["weights"],
                sha256=info.sha256[WEIGHTS[XRAY]],
                widths=tuple(int(n) for n in entry["widths"]),
                picture_px=int(entry["picture_px"]),
                limits=limits_in(metadata),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{folder / METADATA}: key missing or wrong ({error}); fetch the bundle again") from error

    def load(self) -> ProjectionNet:
        """Build the network and load its weights, in float32 and evaluation mode.

        Raises:
            BundleError: the weights do not fit the network.
        """
        from vertecast.segmentation.projection.network import ProjectionNet

        return with_weights(ProjectionNet(self.widths), self.path)
