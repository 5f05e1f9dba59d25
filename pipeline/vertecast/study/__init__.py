"""One study in, one `StudyReport` out: its CT, its radiographs and its cines, each measured and then put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vertecast.core.config import Config
from vertecast.io.discover import StudyFiles, is_projection
from vertecast.io.rules import apply_rules
from vertecast.study.change import EarlierStudy, with_changes
from vertecast.study.ct import analyze_ct
from vertecast.study.label_map import analyze_label_map, is_label_map
from vertecast.study.preview import SeriesPreview, preview_study
from vertecast.study.projection import analyze_projections
from vertecast.study.result import (
    Film,
    ProjectionSegmenter,
    Segmenter,
    StudyResult,
    numbered_after,
    phase_of,
)

__all__ = [
    "EarlierStudy",
    "Film",
    "ProjectionSegmenter",
    "Segmenter",
    "SeriesPreview",
    "StudyResult",
    "analyze_study",
    "is_label_map",
    "preview_study",
    "with_changes",
]


def analyze_study(
    study: StudyFiles,
    config: Config,
    segmenter: Segmenter,
    projection_segmenter: Callable[[], ProjectionSegmenter] | None = None,
) -> StudyResult:
    """Measure one study: the best CT series that it holds, and every radiograph and cine; or a label map alone.

    Input that cannot be analysed is no exception here: it is a series with the status "failed" or "skipped" and its
    reason.

    Args:
        study: Files of one study.
        config: Which series may be measured; phase and lowest level, if the operator gave them; what counts as cement.
        segmenter: Finds the vertebrae on CT.
        projection_segmenter: Makes what finds them on projections, called when there is one; None: they are skipped.
    """
    if is_label_map(study, config):
        return analyze_label_map(study, config, segmenter)
    study = apply_rules(study, config.selection)
    films = tuple(series for series in study.series if is_projection(series))
    rest = tuple(series for series in study.series if not is_projection(series))
    ct = analyze_ct(replace(study, series=rest), config, segmenter)
    if not films:
        return ct
    own = analyze_projections(replace(study, series=films, rejected=()), config, projection_segmenter)
    return _together(ct, own, config)


def _together(ct: StudyResult, films: StudyResult, config: Config) -> StudyResult:
    """One report of both; the CT comes first, since what it measures is more."""
    a, b = ct.report, films.report
    series = (*a.series, *b.series)
    analyzed = any(one.status == "analyzed" for one in series)
    phase, source = (
        phase_of(config.analysis, cement_seen=bool(a.cement or b.cement), cines=b.cines)
        if analyzed
        else (a.phase, "unknown")
    )
    cement, leaks = numbered_after(b.cement, b.leaks, len(a.cement))
    report = replace(
        b,
        phase=phase,
        phase_source=source,
        series=series,
        models=(*a.models, *b.models),
        vertebrae=(*a.vertebrae, *b.vertebrae),
        angles=(*a.angles, *b.angles),
        deformity_indices=(*a.deformity_indices, *b.deformity_indices),
        cement=(*a.cement, *cement),
        leaks=(*a.leaks, *leaks),
        hardware=(*a.hardware, *b.hardware),
        limits=(*a.limits, *b.limits),
        warnings=(*a.warnings, *b.warnings),
    )
    return replace(ct, report=report, films=films.films)
