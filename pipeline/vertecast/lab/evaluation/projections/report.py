"""Folders in; ``projection_scores.json`` and ``projection_scores.txt`` out. Every line says that it is simulated."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from vertecast import __version__
from vertecast.core.errors import OutputError, UnreadableError
from vertecast.lab.evaluation.counts import abstention_lines, confusion_lines
from vertecast.lab.evaluation.projections.cines import CINE_SCORES, NOT_SCORED
from vertecast.lab.evaluation.projections.found import read_projection_findings
from vertecast.lab.evaluation.projections.scores import (
    ALL_VIEWS,
    SCORES,
    VIEWS,
    ProjectionResults,
    abstentions,
    compartment_confusion,
    genant_confusion,
    summarize_projections,
)
from vertecast.lab.evaluation.projections.scoring import Images, ImageScore, score_projections
from vertecast.lab.evaluation.projections.truth import read_projection_truth
from vertecast.lab.evaluation.score import Score

SCORES_VERSION: Final = "1"
SCORES_NAME: Final = "projection_scores.json"
TABLE_NAME: Final = "projection_scores.txt"

MARK: Final = "simulated"
"""Begins every line of the table, so that none of them can be quoted as a figure of real images."""


def evaluate_projections(truth: Path, found: Path, out: Path) -> ProjectionResults:
    """Score every true projection study and write the scores.

    Args:
        truth: Folder with the truth of simulated projection studies.
        found: Output folder of ``vertecast analyze``.
        out: Folder for the scores; made if absent.

    Returns:
        The studies and their scores.

    Raises:
        UnreadableError: There is no truth, no report, or a file is damaged.
        OutputError: ``out`` cannot be written.
    """
    truths, reports = read_projection_truth(truth), read_projection_findings(found)
    if not truths:
        raise UnreadableError(f"{truth}: holds no truth of projections; give a folder of simulated ones")
    if not reports:
        raise UnreadableError(f"{found}: holds no report; give the output folder of 'vertecast analyze'")
    results = summarize_projections([score_projections(one, reports.get(one.study_instance_uid)) for one in truths])
    texts = {
        SCORES_NAME: json.dumps(scores_document(results), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        TABLE_NAME: text_table(results),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise OutputError(f"cannot write to {out}: {cause}; free some space or choose another --out") from error
    return results


def scores_document(results: ProjectionResults) -> dict[str, Any]:
    """All scores as JSON values; ``value`` is null where there was nothing to score."""
    images = results.images
    return {
        "scores_version": SCORES_VERSION,
        "software": {"name": "vertecast", "version": __version__},
        "simulated": True,
        "studies": len(results.studies),
        "images": dict(Counter(image.truth.view for image in images)),
        "scores": {
            score.key: {
                "label": f"{score.label} ({MARK})",
                **{view: value.document() for view, value in results.estimates[score.key].items()},
            }
            for score in SCORES
        },
        "genant_confusion": {
            "rows": "true grade 0 to 3, lateral views",
            "columns": "found grade 0 to 3, not graded, missed",
            "counts": genant_confusion(images),
        },
        "compartments": {"leaks that show, true to suspected": compartment_confusion(images)},
        "abstentions": abstentions(images),
        "not_scored": list(NOT_SCORED),
        "per_image": [_image_document(image) for image in images],
    }


def text_table(results: ProjectionResults) -> str:
    """The scores as text: value, 95 % interval and count over all views, value and count by view."""
    return "".join(f"{MARK}  {line}".rstrip() + "\n" for line in _lines(results))


def _lines(results: ProjectionResults) -> Iterator[str]:
    images = results.images
    missing = [image for image in images if image.found.view is None]
    views = Counter(image.truth.view for image in images)
    yield (
        f"{len(results.studies)} studies of {len({image.seed for image in images})} patients, {len(images)} images "
        f"({', '.join(f'{views[view]} {view}' for view in VIEWS)}), {len(missing)} of them not analysed; "
        "95 % intervals by bootstrap over patients"
    )
    yield ""
    width = max(len(score.label) for score in SCORES)
    yield f"{'':{width}}  {'all':>8}  {'95 % interval':>17}  {'n':>5}" + "".join(f"{view:>16}" for view in VIEWS)
    has_cine = any(image.truth.frames for image in images)
    yield from (_score_line(results, score, width) for score in SCORES if has_cine or score not in CINE_SCORES)
    yield ""
    yield "Genant grade on lateral views: true in rows, found in columns"
    yield from confusion_lines(genant_confusion(images))
    yield ""
    yield "compartments of the leaks that show, in each image: true, suspected"
    for true, found in compartment_confusion(images).items():
        yield f"  {true}: {', '.join(f'{name} {count}' for name, count in found.items())}"
    yield ""
    yield "not measured, of the complete bodies found on lateral views"
    yield from abstention_lines(abstentions(images))
    if has_cine:
        yield "not scored"
        yield from (f"  {text}" for text in NOT_SCORED)
    if missing:
        yield "not analysed"
        yield from (f"  {i.study_instance_uid} {i.truth.view}: {i.found.reason}" for i in missing)


def _score_line(results: ProjectionResults, score: Score[Images], width: int) -> str:
    values = results.estimates[score.key]
    by_view = (f"{score.shown(values[view].value)} ({values[view].count})" for view in VIEWS)
    return score.cells(values[ALL_VIEWS], width) + "".join(f"{text:>16}" for text in by_view)


def _image_document(image: ImageScore) -> dict[str, Any]:
    """What one image came to: for finding the ones that went wrong."""
    common, true, found = image.cement_px or (0, 0, 0)
    return {
        "study_instance_uid": image.study_instance_uid,
        "series_instance_uid": image.truth.series_instance_uid,
        "seed": image.seed,
        "simulated": True,
        "view": image.truth.view,
        "found_view": image.found.view,
        "reason": image.found.reason,
        "bodies": len(image.complete),
        "bodies_found": len(image.measured),
        "bodies_invented": len(image.invented),
        "levels_right": sum(body.level_right for body in image.complete),
        "cement_dice": 2 * common / (true + found) if true else None,
        "leaks": [
            {"level": leak.level, "compartment": leak.truth.compartment, "shows": leak.shows, "suspected": leak.found}
            for body in image.treated
            for leak in body.leaks
        ],
        "false_leaks": [f"{body.truth.level} {name}" for body in image.treated for name in body.false_leaks],
        "stray_leaks": image.stray_leaks,
    }
