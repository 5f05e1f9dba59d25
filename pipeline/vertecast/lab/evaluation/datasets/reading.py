"""One label map of a data set, whatever its kind, in our numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vertecast.core.anatomy import Level
from vertecast.core.errors import UnreadableError
from vertecast.core.images import Mask, Volume
from vertecast.lab.evaluation.datasets.centroids import check_centroids
from vertecast.lab.evaluation.datasets.dicom_seg import read_seg, read_series
from vertecast.lab.evaluation.datasets.files import read_image, read_labels, stem
from vertecast.lab.evaluation.datasets.maps import VERTEBRA_FILES, MapFile
from vertecast.lab.evaluation.datasets.schemes import number_of_name, recoded


def read_map(one: MapFile, numbers: Mapping[int, int] | None = None) -> Mask:
    """A map in our numbers.

    Args:
        one: Where it lies.
        numbers: Our number by the map's, where the data set does not say itself.

    Raises:
        UnreadableError: It is damaged, holds numbers without a meaning, or its centroids are another image's.
    """
    if one.kind == "seg":
        return read_seg(one.path, one.image)
    if one.kind == "folder":
        return _joined(one.path)
    mask = read_labels(one.path)
    if one.centroids is not None:
        check_centroids(one.centroids, mask)
    return recoded(mask, one.numbers or numbers or {}, one.path)


def _joined(folder: Path) -> Mask:
    """The binary masks of a TotalSegmentator folder as one map: vertebrae and the sacrum."""
    labels, affine = None, np.eye(4)
    for path in (*sorted(folder.glob(VERTEBRA_FILES)), *sorted(folder.glob("sacrum.nii.gz"))):
        number = number_of_name(stem(path))
        if not 0 < number <= max(Level):
            continue
        mask = read_labels(path)
        if labels is None:
            labels, affine = np.zeros(mask.labels.shape, np.uint8), mask.lps_from_index
        if mask.labels.shape != labels.shape or not np.allclose(mask.lps_from_index, affine, atol=1e-3):
            raise UnreadableError(f"{path}: lies on another grid than the other masks of its folder")
        labels[np.asarray(mask.labels) > 0] = number
    if labels is None:
        raise UnreadableError(f"{folder}: holds no mask of a vertebra whose name is known")
    return Mask(labels=labels, lps_from_index=affine)


def read_background(one: MapFile) -> Volume | None:
    """The image that a map was drawn on; None where it is not at hand.

    Raises:
        UnreadableError: It is damaged.
    """
    if one.image is None:
        return None
    return read_series(one.image) if one.image.is_dir() else read_image(one.image)
