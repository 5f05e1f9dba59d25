"""The user's own rules of what is analysed, applied to the headers before any series is chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vertecast.core.config import SelectionOptions
from vertecast.io.study_files import SeriesFiles, StudyFiles, refusal


def apply_rules(study: StudyFiles, rules: SelectionOptions) -> StudyFiles:
    """The study without the series that the rules leave out; these stand among the rejected ones with the reason.

    Files that are no DICOM have no header, so that no rule applies to them; nor to our own results, which are never
    analysed.
    """
    reasons = {id(series): next(_objections(series, rules), None) for series in study.series}
    refused = [refusal(series, reason) for series in study.series if (reason := reasons[id(series)]) is not None]
    kept = tuple(series for series in study.series if reasons[id(series)] is None)
    return replace(study, series=kept, rejected=(*study.rejected, *refused)) if refused else study


def _objections(series: SeriesFiles, rules: SelectionOptions) -> Iterator[str]:
    """Why the rules leave a series out. Never quotes the description, which operators fill with anything."""
    if series.volume_file is not None or series.picture_file is not None or series.is_own_result:
        return
    if rules.modality is not None and series.modality not in rules.modality:
        yield f"modality {series.modality or 'unknown'} is left out by the rule selection.modality"
    texts = [("description", series.description), ("body_part", series.body_part)]
    if series.modality == "CT":
        texts.append(("kernel", series.kernel))
        yield from _thickness_objections(series, rules)
    for name, text in texts:
        include, exclude = (getattr(rules, f"{name}_{kind}") for kind in ("include", "exclude"))
        words = name.replace("_", " ")
        if include is not None and not re.search(include, text, re.IGNORECASE):
            yield f"its {words} does not match the rule selection.{name}_include"
        if exclude is not None and re.search(exclude, text, re.IGNORECASE):
            yield f"its {words} matches the rule selection.{name}_exclude"


def _thickness_objections(series: SeriesFiles, rules: SelectionOptions) -> Iterator[str]:
    low, high = rules.min_slice_mm, rules.max_slice_mm
    if low is None and high is None:
        return
    known = [plane.thickness_mm for plane in series.planes if plane.thickness_mm is not None]
    if not known:
        yield "its slice thickness is unknown, and selection.min_slice_mm or max_slice_mm asks for it"
        return
    thickness_mm = float(np.median(known))
    if low is not None and thickness_mm < low:
        yield f"slices of {thickness_mm:g} mm are thinner than selection.min_slice_mm ({low:g})"
    if high is not None and thickness_mm > high:
        yield f"slices of {thickness_mm:g} mm are thicker than selection.max_slice_mm ({high:g})"
