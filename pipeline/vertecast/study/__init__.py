"""One study in, one `StudyReport` out: its CT, its radiographs and its cines, each measured and then put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vertecast.core.config import Config
from vertecast.core.study_result import Film, StudyResult
from vertecast.io.discover import StudyFiles, is_projection
from vertecast.io.rules import apply_rules
from vertecast.study.assemble import together
from vertecast.study.change import EarlierStudy, with_changes
from vertecast.study.ct import analyze_ct
from vertecast.study.label_map import analyze_label_map, is_label_map
from vertecast.study.preview import SeriesPreview, preview_study
from vertecast.study.projection import analyze_projections
from vertecast.study.segmenters import ProjectionSegmenter, Segmenter

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
    return together(ct, own, config)
