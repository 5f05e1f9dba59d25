"""The CT of a study: read, segment, name the levels, measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from vertecast.core.anatomy import Structure
from vertecast.core.config import Config
from vertecast.core.errors import InputError, UnsupportedError
from vertecast.core.images import Mask, Segmentation
from vertecast.core.results import LevelAssignment, ModelUsed, SeriesResult, StudyReport
from vertecast.core.study_result import StudyResult
from vertecast.io.ct.series import CtSeries, choose_ct_series, read_ct
from vertecast.io.discover import StudyFiles, refusal
from vertecast.io.source_images import ct_source
from vertecast.measurement.ct.levels import number_vertebrae
from vertecast.measurement.ct.study import THICK_SLICE_MM, measure_study
from vertecast.measurement.shared.deformity_index import deformity_indices
from vertecast.measurement.shared.plausibility import implausible, unusual_size
from vertecast.report.labels import label_map
from vertecast.segmentation.label_map.schemes import MOST_UNKNOWN_LEVELS
from vertecast.study.assemble import phase_of
from vertecast.study.segmenters import Segmenter

OTHER_PART: Final = "shows another part of the patient than the series that was analysed; analyse it on its own"


def analyze_ct(study: StudyFiles, config: Config, segmenter: Segmenter) -> StudyResult:
    """Measure one study on the best CT series that it holds.

    Input that cannot be analysed is no exception here: it is a series with the status "failed" or "skipped" and its
    reason. A series that cannot be read gives way to the next best. Where no spine is in view, or one whose sizes are
    nobody's, another reconstruction of the same scan would show no better, so only series of another part of the
    patient are tried then.

    Args:
        study: Files of one study.
        config: Phase and lowest level, if the operator gave them; what counts as cement.
        segmenter: Finds the vertebrae.
    """
    failed = list(study.rejected)
    chosen, others = choose_ct_series(study)
    while chosen:
        best, *further = chosen
        study = replace(study, series=tuple(series for series in study.series if series is not best))
        try:
            ct = read_ct(best)
        except InputError as error:
            failed.append(refusal(best, str(error), failed=True))
            chosen, others = choose_ct_series(study)
            continue
        try:
            segmentation = _of_one_spine(segmenter.segment(ct.volume))
        except InputError as error:
            failed.append(refusal(best, str(error), failed=True))
            chosen = further
            continue
        analyzed = replace(refusal(best, ""), status="analyzed")
        series = (analyzed, *failed, *others, *(refusal(one, OTHER_PART) for one in further))
        result = _measure(study.study_instance_uid, series, (ct, segmentation), config)
        reason = implausible(result.report.vertebrae)
        if reason is not None:
            failed.append(refusal(best, reason, failed=True))
            chosen = further
            continue
        return replace(result, source=ct_source(best, ct))
    report = StudyReport(
        study_instance_uid=study.study_instance_uid,
        phase="unknown",
        phase_source="unknown",
        series=(*failed, *others),
    )
    return StudyResult(report=report)


def _of_one_spine(segmentation: Segmentation) -> Segmentation:
    """The same. Raises `UnsupportedError` where it holds more vertebrae than a spine has."""
    if segmentation.count > MOST_UNKNOWN_LEVELS:
        raise UnsupportedError(
            f"{segmentation.count} vertebrae were found, more than a spine has; check that the series shows one patient"
        )
    return segmentation


def _measure(
    study_instance_uid: str,
    series: tuple[SeriesResult, ...],
    segmented: tuple[CtSeries, Segmentation],
    config: Config,
) -> StudyResult:
    """Everything that is measured on one series."""
    ct, segmentation = segmented
    numbering = number_vertebrae(segmentation, lowest=config.analysis.lowest, highest=config.analysis.highest)
    levels = numbering.levels
    measured = measure_study(
        ct.volume,
        segmentation,
        levels,
        series_instance_uid=ct.series_instance_uid,
        slice_sop_instance_uids=ct.slice_sop_instance_uids,
        cement_hu=config.cement.minimum_hu,
    )
    phase, source = phase_of(config.analysis, cement_seen=bool(measured.cement))
    report = StudyReport(
        study_instance_uid=study_instance_uid,
        phase=phase,
        phase_source=source,
        series=series,
        models=tuple(ModelUsed(name=name, version=version, sha256=sha) for name, version, sha in segmentation.models),
        vertebrae=measured.vertebrae,
        angles=measured.angles,
        deformity_indices=deformity_indices(measured.vertebrae),
        cement=measured.cement,
        leaks=measured.leaks,
        hardware=measured.hardware,
        limits=(
            *_limits(ct, levels),
            *measured.limits,
            *segmentation.limits.told(cement_seen=bool(measured.cement)),
        ),
        warnings=(
            *ct.warnings,
            *numbering.notes,
            *measured.warnings,
            *filter(None, [unusual_size(measured.vertebrae)]),
        ),
    )
    labels = label_map(segmentation, levels, measured.cement_labels, ct.volume)
    return StudyResult(
        report=report,
        volume=ct.volume,
        labels=labels,
        pieces=measured.pieces,
        height_maps=measured.height_maps,
        canal=_seen_canal(segmentation),
    )


def _limits(ct: CtSeries, levels: Sequence[LevelAssignment]) -> Iterator[str]:
    """What the reader must know before trusting the numbers of this study."""
    if any(level.source == "label map" for level in levels):
        yield "Outlines and levels are those of the label map that was given; they were not checked against the CT."
    if (ct.slice_thickness_mm or 0.0) > THICK_SLICE_MM >= ct.volume.spacing_mm.max():
        yield f"Overlapping slices of {ct.slice_thickness_mm:g} mm: small height losses and small leaks can be missed."
    if any(level.source == "unknown" for level in levels):
        yield "Neither sacrum nor last rib in view: levels are numbered V1, V2, ... from the top."
    if ct.contrast:
        yield "Contrast medium was given: bone density reads too high, and bright vessels can look like cement."
    if ct.kvp is not None and ct.kvp != 120.0:
        yield f"Taken at {ct.kvp:g} kVp: limits of bone density hold for 120 kVp."


def _seen_canal(segmentation: Segmentation) -> Mask | None:
    """The spinal canal for the pictures; None where it was drawn from the arches round it instead of seen."""
    if segmentation.canal_is_inferred:
        return None
    canal = (segmentation.structure == Structure.CANAL).astype(np.uint8)
    return Mask(labels=canal, lps_from_index=segmentation.lps_from_index) if canal.any() else None
