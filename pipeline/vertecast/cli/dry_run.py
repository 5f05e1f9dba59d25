"""What a run would analyse, and why, without analysing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vertecast.core.config import Config
from vertecast.io.discover import StudyFiles, UnreadablePath, find_studies
from vertecast.study import SeriesPreview, preview_study

NOTHING_FOUND: Final = 3
"""Exit status, as of a run that finds nothing to analyse."""


def preview_paths(paths: Sequence[Path], config: Config) -> int:
    """Print what would be measured of every study: lines on a terminal, else one JSON object per study.

    Returns:
        The exit status: 0, or 3 where nothing would be measured.
    """
    show = _lines if sys.stdout.isatty() else _json
    measured = False
    for found in find_studies(paths):
        series = preview_study(found, config) if isinstance(found, StudyFiles) else ()
        measured = measured or any(one.measured for one in series)
        print(show(found, series), flush=True)  # noqa: T201  the output asked for
    return 0 if measured else NOTHING_FOUND


def _lines(found: StudyFiles | UnreadablePath, series: Sequence[SeriesPreview]) -> str:
    if isinstance(found, UnreadablePath):
        return f"{found.path}: {found.reason}"
    lines = [f"study {found.study_instance_uid}"]
    for one in series:
        lines.append(f"  {'measure' if one.measured else 'leave  '} {one.kind} {one.series_instance_uid}: {one.reason}")
    return "\n".join(lines)


def _json(found: StudyFiles | UnreadablePath, series: Sequence[SeriesPreview]) -> str:
    if isinstance(found, UnreadablePath):
        return json.dumps({"path": str(found.path), "reason": found.reason})
    keys = ("series_instance_uid", "kind", "measured", "reason")
    listed = [{key: getattr(one, key) for key in keys} for one in series]
    return json.dumps({"study_instance_uid": found.study_instance_uid, "series": listed}, ensure_ascii=False)
