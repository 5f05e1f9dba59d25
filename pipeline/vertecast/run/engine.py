"""What finds the vertebrae in a run: the shipped bundles, or a label map in place of the one for CT."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from vertecast.core import resources
from vertecast.core.config import SegmentationOptions
from vertecast.core.errors import ConfigurationError
from vertecast.io.volumes import read_label_map
from vertecast.study import ProjectionSegmenter, Segmenter

if TYPE_CHECKING:
    from vertecast.segmentation.label_map.schemes import LabelScheme

XRAY_BUNDLE: Final = SegmentationOptions().xray_bundle
"""The one bundle that an installation may lack: radiographs are then skipped with a reason."""

Loader: TypeAlias = Callable[[SegmentationOptions], Segmenter]
ProjectionLoader: TypeAlias = Callable[[SegmentationOptions], ProjectionSegmenter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """How a process makes its segmenters.

    Attributes:
        load: Makes the one for CT; a plain function of a module, so that worker processes can import it.
        weights: What tells these weights from any others; part of the fingerprint of every study.
        load_projection: Makes the one for projections; None where there is no bundle for it.
    """

    load: Loader
    weights: str
    load_projection: ProjectionLoader | None = None


def shipped_engine(options: SegmentationOptions) -> Engine:
    """The engine of the model bundles, their weights checked; a label map takes the place of the bundle for CT.

    Raises:
        BundleError: a bundle is missing or altered.
        ConfigurationError: the label map cannot be opened, what its numbers mean is unknown, or the GPU that is asked
            for is not there.
    """
    if options.device == "cuda":
        from vertecast.segmentation.runtimes.device import torch_device

        torch_device(options.device)
    label_map = None if options.label_map is None else _checked_label_map(options)
    bundles = [] if label_map else [resources.read_bundle(resources.bundle_directory(options.bundle))]
    has_xray = options.xray_bundle != XRAY_BUNDLE or XRAY_BUNDLE in resources.bundle_names()
    if has_xray:
        bundles.append(resources.read_bundle(resources.bundle_directory(options.xray_bundle)))
    for bundle in bundles:
        resources.verify_bundle(bundle)
    return Engine(
        load=_load_label_map_segmenter if label_map else _load_ct_segmenter,
        weights=json.dumps([label_map, *(bundle.sha256 for bundle in bundles)], sort_keys=True),
        load_projection=_load_xray_segmenter if has_xray else None,
    )


def _load_ct_segmenter(options: SegmentationOptions) -> Segmenter:
    from vertecast.segmentation.ct.segmenter import CtSegmenter

    return CtSegmenter.load(
        resources.bundle_directory(options.bundle),
        passes=options.passes,
        runtime=options.runtime,
        device=options.device,
    )


def _checked_label_map(options: SegmentationOptions) -> tuple[str, str]:
    """Checksum of the label map, and the meaning of its numbers. Raises `ConfigurationError`."""
    assert options.label_map is not None
    try:
        with Path(options.label_map).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"--segmentation {options.label_map}: cannot be read ({error.strerror})") from error
    return digest, _label_scheme(options).model_dump_json()


def _label_scheme(options: SegmentationOptions) -> LabelScheme:
    """What the numbers of the label map mean: as the map names them itself, else as the options say."""
    from vertecast.io.volumes import read_segment_names
    from vertecast.segmentation.label_map.schemes import label_scheme, with_names

    return with_names(label_scheme(options.labels), read_segment_names(Path(str(options.label_map))))


def _load_label_map_segmenter(options: SegmentationOptions) -> Segmenter:
    from vertecast.segmentation.label_map.bodies import LabelMapSegmenter

    assert options.label_map is not None
    digest, _ = _checked_label_map(options)
    return LabelMapSegmenter(read_label_map(Path(options.label_map)), _label_scheme(options), sha256=digest)


def _load_xray_segmenter(options: SegmentationOptions) -> ProjectionSegmenter:
    from vertecast.segmentation.projection.segmenter import XraySegmenter

    return XraySegmenter.load(resources.bundle_directory(options.xray_bundle), device=options.device)
