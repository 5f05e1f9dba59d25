"""What would be analysed of a study, from its headers alone: for a look before hours of work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vertecast.core.config import Config
from vertecast.core.results import SeriesResult
from vertecast.io.ct.selection import choose_ct_series, label_of
from vertecast.io.discover import SeriesFiles, StudyFiles, is_projection, series_kind
from vertecast.io.projection.selection import choose_projection_series
from vertecast.io.rules import apply_rules
from vertecast.study.label_map import is_label_map


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPreview:
    """One series: whether it would be measured, and why or why not."""

    series_instance_uid: str
    kind: str
    measured: bool
    reason: str


def preview_study(study: StudyFiles, config: Config) -> tuple[SeriesPreview, ...]:
    """What `analyze_study` would do with each series, if every file can be read and shows a spine."""
    if is_label_map(study, config):
        return tuple(_measured(series, "is the label map that was given") for series in study.series)
    study = apply_rules(study, config.selection)
    films = tuple(series for series in study.series if is_projection(series))
    rest = tuple(series for series in study.series if not is_projection(series))
    return (*_ct(replace(study, series=rest)), *_projections(replace(study, series=films, rejected=())))


def _ct(study: StudyFiles) -> Iterator[SeriesPreview]:
    chosen, others = choose_ct_series(study)
    for number, series in enumerate(chosen):
        if number == 0:
            yield _measured(series, f"is the best CT of the study ({label_of(series)})")
        else:
            reason = "shows another part of the patient; it is measured only where the best shows no spine"
            yield replace(_measured(series, reason), measured=False)
    yield from map(_left_out, (*study.rejected, *others))


def _projections(study: StudyFiles) -> Iterator[SeriesPreview]:
    chosen, others = choose_projection_series(study)
    for series in chosen:
        yield _measured(series, f"is a {series_kind(series)}")
    yield from map(_left_out, others)


def _measured(series: SeriesFiles, reason: str) -> SeriesPreview:
    return SeriesPreview(
        series_instance_uid=series.series_instance_uid, kind=series_kind(series), measured=True, reason=reason
    )


def _left_out(result: SeriesResult) -> SeriesPreview:
    return SeriesPreview(
        series_instance_uid=result.series_instance_uid, kind=result.kind, measured=False, reason=result.reason
    )
