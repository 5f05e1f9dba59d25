"""What the runs of an ablation find on real and on simulated films, and the table of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from ablation_parts import PARTS

from vertecast.evaluation import agreement

if TYPE_CHECKING:
    from vertecast.evaluation.films import FilmScore
    from vertecast.segmentation.xray import XraySegmenter
    from vertecast.training import Trainer

AP, LATERAL, UNMARKED = "thoracolumbar_ap_corners", "lumbar_lateral_corners", "lumbar_lateral"
SIMULATED: Final = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """What one run says of one film.

    Attributes:
        group: Folder of real films, or `SIMULATED`.
        patient: Whose films resemble each other.
        bodies: All that were found.
        marked, found, shares, cement: As `FilmScore`: those that people marked, or that are complete in a simulated
            film, and how many and how well of them were found.
        dice: The two terms of the Dice of cement; (0, 0) where its truth is not known.
    """

    group: str
    patient: str
    bodies: int
    marked: int
    found: int
    shares: tuple[float, ...]
    cement: int = 0
    dice: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, group: str, patient: str, score: FilmScore, *, bodies: int, dice: tuple[int, int] = (0, 0)) -> Film:
        """From its score."""
        return cls(
            group=group, patient=patient, bodies=bodies, marked=score.marked, found=score.found,
            shares=score.corner_shares, cement=score.cement, dice=dice,
        )  # fmt: skip


def scored(trainer: Trainer, data: Path, held_out: Path) -> list[Film]:
    """Real films, every second of the many AP ones, and held-out simulated films."""
    from evaluate_real import Recorder, score_one

    from vertecast.evaluation.films import FOLDERS, films_in

    segmenter = _segmenter(trainer)
    recorder = Recorder(segmenter)
    films = []
    for folder in FOLDERS:
        for path in films_in(data / folder.path)[:: 2 if folder.view == "ap" else 1]:
            score = score_one(folder, path, recorder, None)
            if score is not None and recorder.last is not None:
                films.append(Film.of(folder.name, path.stem, score, bodies=len(recorder.last.points_px)))
    return films + [_on_simulated(segmenter, path) for path in sorted(held_out.glob("*/studies/*/*.dcm"))]


def _segmenter(trainer: Trainer) -> XraySegmenter:
    from vertecast.segmentation.projection_network import ProjectionNet
    from vertecast.segmentation.xray import XraySegmenter
    from vertecast.segmentation.xray_bundle import XrayBundle

    net = trainer.average.module.eval()
    assert isinstance(net, ProjectionNet)
    facts, path = trainer.task.facts(), trainer.folder / "last.pt"
    return XraySegmenter(
        bundle=XrayBundle(name=trainer.folder.name, version="0", path=path, sha256="", **facts), net=net
    )


def _on_simulated(segmenter: XraySegmenter, path: Path) -> Film:
    """Complete bodies and cement of a simulated film."""
    from PIL import Image as Picture

    from vertecast.dicom.discover import StudyFiles, find_studies
    from vertecast.dicom.xray import choose_projection_series, projection_files, read_projection
    from vertecast.evaluation.films import CORNERS_OF_SIX, score_film
    from vertecast.images import Radiograph

    (study,) = [one for one in find_studies([path]) if isinstance(one, StudyFiles)]
    (series,) = choose_projection_series(study)[0]
    radiograph = read_projection(projection_files(series)[0]).image
    assert isinstance(radiograph, Radiograph)
    found = segmenter.segment(radiograph)
    truth = path.parents[2] / "truth"
    document = json.loads((truth / f"{study.study_instance_uid}.json").read_text(encoding="utf-8"))
    image = next(one for one in document["images"] if one["series_instance_uid"] == series.series_instance_uid)
    points = np.array([body["points_px"] for body in image["bodies"] if body["complete"]]).reshape(-1, 6, 2)
    mask = np.asarray(Picture.open(truth / f"{image['sop_instance_uid']}.png"))
    cement, said = np.isin(mask, (1, 2)), found.cement_probability > 0.5
    return Film.of(
        SIMULATED,
        str(document["seed"]),
        score_film(path.stem, found.view, found.points_px, points[:, CORNERS_OF_SIX]),
        bodies=len(found.points_px),
        dice=(int(2 * (cement & said).sum()), int(cement.sum() + said.sum())),
    )


def table(results: Mapping[str, Sequence[Film]]) -> str:
    """The scores of all runs, by the name of what they leave out, as Markdown."""
    head = [
        "left out", "AP: found", "against whole", "corners", "lateral: found", "corners", "unmarked: bodies",
        "cement claimed", "simulated: found", "against whole", "corners", "cement Dice",
    ]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    whole = results[PARTS[0].name]
    for part in PARTS:
        films = results.get(part.name)
        if films is None:
            continue
        groups = {name: [film for film in films if film.group == name] for name in (AP, LATERAL, UNMARKED, SIMULATED)}
        own = [part.words]
        for name in (AP, LATERAL, UNMARKED, SIMULATED):
            if name == UNMARKED:
                real = [film for film in films if film.group != SIMULATED]
                own += [str(sum(film.bodies for film in groups[name]))]
                own += [f"{sum(film.cement > 0 for film in real)} of {len(real)}"]
                continue
            own += [f"{sum(film.found for film in groups[name])} of {sum(film.marked for film in groups[name])}"]
            if name != LATERAL:
                own += ["" if films is whole else _difference(groups[name], [f for f in whole if f.group == name])]
            own += [_corners(groups[name])]
        dice = np.sum([film.dice for film in groups[SIMULATED]], axis=0)
        lines.append(f"| {' | '.join([*own, f'{dice[0] / max(dice[1], 1):.2f}'])} |")
    return "\n".join(lines)


def _difference(films: Sequence[Film], whole: Sequence[Film]) -> str:
    """Points of per cent of the bodies found more than with the whole simulation, on the same films, 95 % interval."""
    rows = [(100 * (film.found - other.found), film.marked) for film, other in zip(films, whole, strict=True)]
    found = agreement.estimate(rows, [film.patient for film in films], agreement.ratio)
    if found.value is None or found.interval95 is None:
        return "–"
    return f"{found.value:+.0f} ({found.interval95[0]:+.0f} to {found.interval95[1]:+.0f})"


def _corners(films: Sequence[Film]) -> str:
    """Median distance of corners in per cent of the body's depth, 95 % interval."""
    rows = [(film.patient, 100 * share) for film in films for share in film.shares]
    found = agreement.estimate([(share,) for _, share in rows], [patient for patient, _ in rows], agreement.median)
    if found.value is None or found.interval95 is None:
        return "–"
    return f"{found.value:.1f} ({found.interval95[0]:.1f} to {found.interval95[1]:.1f})"
