"""How much memory a study needs, told from its headers, so that workers together stay within a bound."""

from __future__ import annotations

from typing import Final

from vertecast.io.discover import SeriesFiles, StudyFiles

GIB: Final = 2**30

WORKER_BYTES: Final = GIB
"""A process with the models and the libraries of every output; a radiograph, or a cine of any length, whose frames are
read one by one, needs no more (a cine of 1,500 frames of 512 × 512: 0.75 GiB at most)."""

BYTES_PER_VOXEL: Final = 6
"""Of a CT beyond that: the volume, its label map, and what is made of them. A CT of 512 × 512 × 300 was seen to
take 1.4 GiB at most, one of 512 × 512 × 1,000 to take 2.0 GiB."""

PACKED: Final = 3
"""A compressed volume file grows so many times or less when it is read; CT noise packs badly."""


def needed_bytes(study: StudyFiles) -> int:
    """The most that the analysis of a study takes: its largest CT decides, since one after the other is read."""
    voxels = max((_voxels(series) for series in study.series), default=0)
    return WORKER_BYTES + BYTES_PER_VOXEL * voxels


def _voxels(series: SeriesFiles) -> int:
    """Voxels of a volume; 0 for anything else."""
    if series.volume_file is not None:
        try:
            size = series.volume_file.stat().st_size
        except OSError:
            return 0  # it is told when it is read
        packed = series.volume_file.suffix.lower() in (".gz", ".mha", ".nrrd")
        return size * (PACKED if packed else 1) // 2
    if series.modality != "CT":
        return 0
    return sum(plane.rows * plane.columns for plane in series.planes)
