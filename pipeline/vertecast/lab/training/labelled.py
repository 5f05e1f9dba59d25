"""Labelled CTs on a network's grid: what each voxel may be, kept on disk so that it is worked out once.

A label map rarely says everything that the network answers. So each voxel carries the *set* of structures that it may
be, one bit for each `Structure`: a labelled vertebral body is a body; what is not labelled is any of the structures for
which the map has no number. The loss asks no more than that (`training.ct`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.errors import ConfigurationError, InputError, UnsupportedError
from vertecast.core.images import Mask, Segmentation, Volume
from vertecast.io.ct.series import choose_ct_series, read_ct
from vertecast.io.discover import StudyFiles, find_studies
from vertecast.io.volumes import read_label_map
from vertecast.lab.training.sources import CaseFiles, FolderSource, Truth
from vertecast.segmentation.ct.grid import inside_image, resampled
from vertecast.segmentation.label_map.bodies import segment_label_map
from vertecast.segmentation.label_map.schemes import LabelScheme, label_scheme

Bits: TypeAlias = npt.NDArray[np.uint8]

ANYTHING: Final = (1 << len(Structure)) - 1
VERTEBRA: Final = 1 << Structure.BODY | 1 << Structure.POSTERIOR
NEVER_LABELLED: Final = (
    1 << Structure.BACKGROUND
    | 1 << Structure.CANAL
    | 1 << Structure.RIB
    | 1 << Structure.DISC
    | 1 << Structure.OTHER_BONE
)
"""What an unlabelled voxel may be, whatever the numbers of the map."""

FORMAT: Final = 1
"""Part of the name of a kept case; raise it when what is kept changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledCase:
    """One case on a network's grid; the voxels lie in a file of which a crop reads its part alone.

    Attributes:
        name: Of the case.
        path: safetensors with ``hu`` (int16), ``allowed`` (bits), ``instance``, ``cement`` (255: all of a voxel),
            ``metal``, each (i, j, k), and ``centers_index`` (n, 3) of the bodies.
        shape: Voxel counts.
        cement_known, metal_known: Whether the loss may ask for cement and metal.
    """

    name: str
    path: Path
    shape: tuple[int, int, int]
    cement_known: bool
    metal_known: bool


def prepare_cases(
    source: FolderSource, cases: Sequence[CaseFiles], spacing_mm: float, cache: Path
) -> tuple[LabelledCase, ...]:
    """Bring cases onto the grid, or take them from the cache.

    Raises:
        ConfigurationError: the scheme is unknown, or a case cannot be used; every such case is named.
    """
    scheme = label_scheme(source.scheme)
    cement = source.cement or ("labelled" if scheme.cement or scheme.leaked_cement else "unknown")
    metal = source.metal or ("labelled" if scheme.metal else "unknown")
    cache.mkdir(parents=True, exist_ok=True)
    prepared, complaints = [], []
    for case in cases:
        path = cache / f"{_key(case, source, scheme, spacing_mm)}.safetensors"
        try:
            if not path.exists():
                _write(case, source, scheme, spacing_mm, path)
        except InputError as error:
            complaints.append(f"{case.image.name}, {case.labels.name}: {error}")
            continue
        prepared.append(
            LabelledCase(
                name=case.name,
                path=path,
                shape=_shape(path),
                cement_known=_is_known(cement),
                metal_known=_is_known(metal),
            )
        )
    if complaints:
        raise ConfigurationError(f"{len(complaints)} of {len(cases)} cases cannot be used: {'; '.join(complaints)}")
    return tuple(prepared)


def _is_known(truth: Truth) -> bool:
    return truth != "unknown"


def _key(case: CaseFiles, source: FolderSource, scheme: LabelScheme, spacing_mm: float) -> str:
    """Changes when a file is written anew or read in another way."""
    files = [(str(path.resolve()), path.stat().st_mtime_ns, path.stat().st_size) for path in (case.image, case.labels)]
    how = [FORMAT, spacing_mm, source.outlines, source.cement, source.metal, scheme.model_dump_json()]
    return hashlib.sha256(json.dumps([files, how]).encode()).hexdigest()[:24]


def _shape(path: Path) -> tuple[int, int, int]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        i, j, k = file.get_slice("hu").get_shape()
    return i, j, k


def _write(case: CaseFiles, source: FolderSource, scheme: LabelScheme, spacing_mm: float, path: Path) -> None:
    from safetensors.numpy import save_file

    volume = read_case_volume(case.image)
    mask = read_label_map(case.labels)
    tensors = case_tensors(volume, mask, scheme, spacing_mm=spacing_mm, outlines=source.outlines)
    for name, truth in (("cement", source.cement), ("metal", source.metal)):
        if truth == "absent":
            tensors[name] = np.zeros_like(tensors[name])
    unfinished = path.with_suffix(".tmp")
    save_file(tensors, unfinished)
    unfinished.replace(path)


def read_case_volume(path: Path) -> Volume:
    """The CT of a volume file or of a folder of DICOM files.

    Raises:
        InputError: there is none, or it cannot be read; a folder may hold one CT series alone.
    """
    found = list(find_studies([path]))
    chosen = [choose_ct_series(study) for study in found if isinstance(study, StudyFiles)]
    series = [one for taken, _ in chosen for one in taken]
    if len(series) != 1:
        reasons = [one.reason for one in found if not isinstance(one, StudyFiles)]
        reasons += [one.reason for _, refused in chosen for one in refused]
        why = f" ({'; '.join(dict.fromkeys(reasons))})" if reasons and not series else ""
        raise UnsupportedError(f"holds {len(series)} usable CT series{why}; give one volume file, or one series")
    return read_ct(series[0]).volume


def case_tensors(
    volume: Volume, mask: Mask, scheme: LabelScheme, *, spacing_mm: float, outlines: str = "auto"
) -> dict[str, npt.NDArray[Any]]:
    """A case on the LPS-aligned grid that covers the image, as `LabelledCase.path` keeps it.

    Args:
        volume: The CT.
        mask: Its label map.
        scheme: What the map's numbers mean.
        spacing_mm: Of the grid.
        outlines: As `FolderSource.outlines`.

    Raises:
        UnsupportedError: the map does not fit the scheme, or lies outside the image.
    """
    segmentation = segment_label_map(mask, scheme)
    grid, shape = geometry.aligned_grid(volume.lps_from_index, volume.shape, spacing_mm)

    def placed(values: npt.NDArray[np.generic], lps_from_index: geometry.FloatArray, order: int = 0) -> Any:
        return geometry.resample(values, lps_from_index, grid, shape, order=order)

    structure = placed(segmentation.structure, segmentation.lps_from_index).astype(np.uint8)
    instance = placed(segmentation.instance, segmentation.lps_from_index).astype(np.uint8)
    bone = np.isin(mask.labels, [*scheme.levels, *scheme.posterior, *scheme.sacrum])
    labelled = placed(bone.astype(np.uint8), mask.lps_from_index) > 0
    if not np.any(structure == Structure.BODY):
        raise UnsupportedError("no body of the label map lies inside the CT; give the map that was drawn on it")
    allowed = _allowed(structure, labelled, segmentation, outlines)
    bodies = structure == Structure.BODY
    whole = [n for n in range(1, segmentation.count + 1) if _is_whole(segmentation, n, bodies & (instance == n))]
    allowed[np.isin(instance, _without_body(segmentation)) & (allowed & VERTEBRA > 0)] = VERTEBRA
    allowed[~inside_image(volume, grid, shape)] = 1 << Structure.BACKGROUND
    numbers = np.zeros(segmentation.count + 1, dtype=np.uint8)
    numbers[whole] = np.arange(1, len(whole) + 1)
    centers = np.array([np.argwhere(bodies & (instance == n)).mean(axis=0) for n in whole]).reshape(-1, 3)
    cement = placed(segmentation.cement_probability.astype(np.float32), segmentation.lps_from_index, 1)
    metal = placed(segmentation.metal_probability.astype(np.float32), segmentation.lps_from_index, 1)
    return {
        "hu": np.rint(resampled(volume, grid, shape)).astype(np.int16),
        "allowed": allowed,
        "instance": numbers[instance],
        "cement": np.rint(255 * np.clip(cement, 0, 1)).astype(np.uint8),
        "metal": (metal >= 0.5).astype(np.uint8),
        "centers_index": centers,
    }


def _allowed(structure: Bits, labelled: npt.NDArray[np.bool_], segmentation: Segmentation, outlines: str) -> Bits:
    """The set of structures of every voxel inside the image."""
    has_arches = bool(np.any(segmentation.structure == Structure.POSTERIOR))
    has_sacrum = bool(np.any(segmentation.structure == Structure.SACRUM))
    elsewhere = NEVER_LABELLED
    if not has_arches and outlines != "whole":
        elsewhere |= 1 << Structure.POSTERIOR
    if not has_sacrum:
        elsewhere |= 1 << Structure.SACRUM
    allowed = np.full(structure.shape, elsewhere, dtype=np.uint8)
    for exact in (Structure.BODY, Structure.POSTERIOR, Structure.SACRUM):
        allowed[structure == exact] = 1 << exact
    if not has_arches and outlines == "whole":  # the body could not be told from its arch
        allowed[structure == Structure.BODY] = VERTEBRA
    allowed[labelled & (allowed == elsewhere)] = ANYTHING  # slips of the brush, and what the edge cuts to pieces
    rows = np.flatnonzero(labelled.any(axis=(0, 1)))
    # Beyond the labelled part of the spine there may be vertebrae that nobody has labelled.
    allowed[:, :, : rows.min(initial=structure.shape[2])] = ANYTHING
    allowed[:, :, rows.max(initial=-1) + 1 :] = ANYTHING
    return allowed


def _without_body(segmentation: Segmentation) -> list[int]:
    """Vertebrae of which no body could be cut out: all of their voxels may be body or arch."""
    with_body = set(np.unique(segmentation.instance[segmentation.structure == Structure.BODY]).tolist())
    return [n for n in range(1, segmentation.count + 1) if n not in with_body]


def _is_whole(segmentation: Segmentation, number: int, body: npt.NDArray[np.bool_]) -> bool:
    """Whether the middle of a body is the middle of what is seen of it."""
    return bool(body.any()) and not segmentation.touches_border[number - 1]
