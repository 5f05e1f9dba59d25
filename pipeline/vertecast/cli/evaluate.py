"""The command ``vertecast evaluate``; `vertecast.cli.main` gives it its name and turns its errors into messages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    truth: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Truth: of 'vertecast simulate', or label maps (BIDS/VerSe, TotalSegmentator, nnU-Net, DICOM SEG, "
            "plain files), or corners of films (COCO, JSON); docs/evaluation.md.",
        ),
    ],
    predictions: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="What is judged: folder of 'vertecast analyze', or any model's label maps.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Folder of results.")],
    against: Annotated[
        Path | None,
        typer.Option(metavar="DIR", exists=True, file_okay=False, help="Second model, compared pair by pair."),
    ] = None,
    truth_labels: Annotated[
        str, typer.Option(metavar="NAME", help="Numbers of the true maps: verse, totalsegmentator, vertecast, a file.")
    ] = "verse",
    labels: Annotated[str, typer.Option(metavar="NAME", help="Numbers of the maps that are judged.")] = "verse",
    against_labels: Annotated[
        str | None, typer.Option(metavar="NAME", help="Numbers of the second model's maps; default: as --labels.")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="bodies or vertebrae; default: bodies where both kinds of map tell them from arches. Bodies are cut "
            "out of whole vertebrae where need be, and the pages say so.",
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Table of sub-groups: sex, age, scanner, ..."),
    ] = None,
    nsd_tolerance: Annotated[float, typer.Option(metavar="MM", min=0.0, help="Of the normalized surface Dice.")] = 1.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes at the same time.")] = 1,
) -> None:
    """Score a model against the truth; write index.html, checklist.html, scores.json and tables to DIR."""
    from vertecast.lab.evaluation.maps.scoring import MapOptions
    from vertecast.lab.evaluation.run import Request
    from vertecast.lab.evaluation.run import evaluate as run_evaluation
    from vertecast.segmentation.label_map.schemes import label_scheme
    from vertecast.study.body_masks import cut_bodies

    first, second = (
        MapOptions.of_schemes(
            label_scheme(truth_labels),
            label_scheme(scheme),
            compared=compare,
            cut_bodies=cut_bodies,
            tolerance_mm=nsd_tolerance,
            workers=workers,
        )
        for scheme in (labels, against_labels or labels)
    )
    request = Request(
        truth=truth,
        predictions=predictions,
        out=out,
        maps=first,
        against=against,
        against_maps=second,
        groups=groups,
    )
    typer.echo(run_evaluation(request), nl=False)
