"""Structures painted on CT phantoms with every kind of grid, and the segmentation objects made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from phantoms.dicom import grid, only_series
from vertecast.core import geometry
from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, METAL_LABEL, Compartment, Level
from vertecast.core.config import SegmentationType
from vertecast.core.images import MeasuredImage, Piece, Volume
from vertecast.io.ct.series import read_ct
from vertecast.io.source_images import ct_source
from vertecast.report.dicom.seg import build_segmentation

OBLIQUE = geometry.rotation([0.3, 1.0, 0.2], 0.4)
FLIPPED = np.diag([-1.0, -1.0, 1.0])
FEET_FIRST = np.diag([-1.0, 1.0, -1.0])
GRIDS = {
    "straight": grid(),
    "oblique": grid(OBLIQUE),
    "flipped": grid(FLIPPED),
    "feet first": grid(FEET_FIRST),
    "tilted": grid(shear_mm=(0.0, 0.8, 0.0)),
    "oblique, flipped and tilted": grid(OBLIQUE @ FLIPPED, shear_mm=tuple(0.9 * OBLIQUE[:, 1])),
}


def painted(volume: Volume) -> tuple[np.ndarray, tuple[Piece, ...]]:
    """Two bodies of unequal sides, one with cement, a leak, and metal at the last voxel."""
    labels = np.zeros(volume.shape, np.uint8)
    labels[3:9, 2:7, 1:4] = Level.L2
    labels[4:9, 3:8, 5:8] = Level.L1
    labels[5:7, 4:6, 5:7] = CEMENT_INSIDE_LABEL
    labels[-1, -1, -1] = METAL_LABEL
    leak = np.array([[9, 5, 6], [10, 5, 6], [10, 5, 7]])
    return labels, (
        Piece(kind="cement", level="L1", index=np.argwhere(labels == CEMENT_INSIDE_LABEL)),
        Piece(kind="leak", level="L1", compartment=Compartment.CANAL, index=leak),
        Piece(kind="leak", level="L1", compartment=Compartment.CANAL, index=leak - [8, 3, 4]),
    )


def truth_lps_mm(volume: Volume, labels: np.ndarray, pieces: tuple[Piece, ...]) -> dict[str, np.ndarray]:
    index = {
        "L1 vertebral body": np.argwhere((labels == Level.L1) | (labels == CEMENT_INSIDE_LABEL)),
        "L2 vertebral body": np.argwhere(labels == Level.L2),
        "L1 cement": pieces[0].index,
        "L1 cement leak into the spinal canal": pieces[1].index,
        "L1 cement leak into the spinal canal (2)": pieces[2].index,
        "metal": np.argwhere(labels == METAL_LABEL),
    }
    return {name: geometry.apply(volume.lps_from_index, voxels) for name, voxels in index.items()}


def covered(truth: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The truth where each voxel belongs to one structure: cement lies over its body."""
    body, cement = ({tuple(point): None for point in truth[name]} for name in ("L1 vertebral body", "L1 cement"))
    return truth | {"L1 vertebral body": np.array([point for point in body if point not in cement])}


def segmented(folder: Path, kind: SegmentationType = "binary"):
    """The segmentation of the only CT of a folder, its file, with its volume and the truth."""
    series = only_series(folder)
    ct = read_ct(series)
    labels, pieces = painted(ct.volume)
    source = ct_source(series, ct)
    assert source is not None
    image = MeasuredImage(
        series_instance_uid=ct.series_instance_uid,
        labels=labels,
        pieces=pieces,
        lps_from_index=ct.volume.lps_from_index,
        source=source,
    )
    segmentation = build_segmentation(image, source.read(), 1, kind)
    assert segmentation is not None
    path = folder.parent / "seg.dcm"
    segmentation.save_as(path, enforce_file_format=True)
    return path, ct.volume, truth_lps_mm(ct.volume, labels, pieces)
