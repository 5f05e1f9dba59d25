"""A label map without its CT: its bodies measured by their outlines alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from vertecast.core.config import Config
from vertecast.core.errors import InputError
from vertecast.core.images import Grid, Mask, Volume
from vertecast.core.results import ModelUsed, StudyReport
from vertecast.core.study_result import StudyResult
from vertecast.io.discover import StudyFiles, refusal
from vertecast.io.volumes import read_label_map
from vertecast.measurement.ct.levels import number_vertebrae
from vertecast.measurement.ct.study import measure_study
from vertecast.measurement.shared.deformity_index import deformity_indices
from vertecast.measurement.shared.plausibility import implausible, unusual_size
from vertecast.report.labels import label_map
from vertecast.study.assemble import phase_of
from vertecast.study.segmenters import Segmenter

PAINTED_HU: Final = 400
UNPAINTED_HU: Final = -1000
"""Grey values of the picture of a map: what is labelled stands out as bone does on a CT. Nothing is measured in it."""

NO_CT_LIMIT: Final = (
    "No CT was given: heights and angles rest on the label map's outlines alone; density, gas, cement and leaks are "
    "not measured: that none is listed does not mean that there is none."
)


def is_label_map(study: StudyFiles, config: Config) -> bool:
    """Whether a study is nothing but the label map that was given."""
    given = config.segmentation.label_map
    if given is None or len(study.series) != 1:
        return False
    file = study.series[0].volume_file
    return file is not None and file.resolve() == Path(given).resolve()


def analyze_label_map(study: StudyFiles, config: Config, segmenter: Segmenter) -> StudyResult:
    """Measure the bodies of a label map.

    Args:
        study: Its only series is the map; a map that cannot be read fails with its reason.
        config: Lowest level, if the operator gave one.
        segmenter: Reads the bodies from the map.
    """
    (series,) = study.series
    assert series.volume_file is not None
    try:
        mask = read_label_map(series.volume_file)
        picture = _picture(mask)
        segmentation = segmenter.segment(picture)
    except InputError as error:
        return _failed(study, str(error))
    numbering = number_vertebrae(segmentation, lowest=config.analysis.lowest, highest=config.analysis.highest)
    levels = numbering.levels
    grid = Grid(shape=picture.shape, lps_from_index=mask.lps_from_index)
    measured = measure_study(grid, segmentation, levels, series_instance_uid=series.series_instance_uid)
    phase, source = phase_of(config.analysis, cement_seen=False)
    report = StudyReport(
        study_instance_uid=study.study_instance_uid,
        phase=phase if source == "operator" else "unknown",
        phase_source=source if source == "operator" else "unknown",
        series=(replace(refusal(series, ""), kind="label map", status="analyzed"),),
        models=tuple(ModelUsed(name=name, version=version, sha256=sha) for name, version, sha in segmentation.models),
        vertebrae=measured.vertebrae,
        angles=measured.angles,
        deformity_indices=deformity_indices(measured.vertebrae),
        hardware=measured.hardware,
        limits=(NO_CT_LIMIT,),
        warnings=(*numbering.notes, *measured.warnings, *filter(None, [unusual_size(measured.vertebrae)])),
    )
    reason = implausible(measured.vertebrae)
    if reason is not None:
        return _failed(study, reason)
    labels = label_map(segmentation, levels, measured.cement_labels, picture)
    return StudyResult(report=report, volume=picture, labels=labels, height_maps=measured.height_maps)


def _failed(study: StudyFiles, reason: str) -> StudyResult:
    report = StudyReport(
        study_instance_uid=study.study_instance_uid, phase="unknown", phase_source="unknown",
        series=(refusal(study.series[0], reason, failed=True),),
    )  # fmt: skip
    return StudyResult(report=report)


def _picture(mask: Mask) -> Volume:
    hu = np.where(np.asarray(mask.labels) != 0, PAINTED_HU, UNPAINTED_HU).astype(np.int16)
    return Volume(hu=hu, lps_from_index=mask.lps_from_index)
