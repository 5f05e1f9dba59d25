"""What the networks of an ablation see on real and on simulated films, and the table of it.

With so few steps the segmenter accepts hardly a body on a real film. So the network's answers themselves are scored, on
the film scaled so that its bodies are as deep as the segmenter wants them: how well the map of bodies tells bodies from
the rest, and how far from the corners of a body its own pixels vote.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from ablation_parts import PARTS

from vertecast.core.geometry import FloatArray
from vertecast.lab.evaluation import agreement

if TYPE_CHECKING:
    from vertecast.core.images import Radiograph
    from vertecast.lab.training import Trainer
    from vertecast.segmentation.projection.segmenter import XraySegmenter

AP, LATERAL = "thoracolumbar_ap_corners", "lumbar_lateral_corners"
SIMULATED: Final = "simulated"
EVERY: Final = 5
"""One pixel in so many is enough for the area under a curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """What one network sees on one film.

    Attributes:
        group: Folder of real films, or `SIMULATED`.
        patient: Whose films resemble each other.
        area: Under the ROC curve of the body map, pixels of marked bodies against all others.
        errors: For every marked body, in their order, the mean distance of its four corners from where the median of
            its pixels votes, in shares of its depth.
        cement_area: Under the ROC curve of the map of cement; None where there is none or nobody marked it.
    """

    group: str
    patient: str
    area: float | None
    errors: tuple[float, ...]
    cement_area: float | None


def scored(trainer: Trainer, data: Path, held_out: Path) -> list[Film]:
    """Real films, every second of the many AP ones, and held-out simulated films."""
    from vertecast.lab.evaluation.projections.films import FOLDERS, films_in, read_corners

    segmenter = _segmenter(trainer)
    films = []
    for folder in (one for one in FOLDERS if one.has_corners):
        for path in films_in(data / folder.path)[:: 2 if folder.view == "ap" else 1]:
            radiograph = _read(path)[0]
            corners = read_corners(path.with_suffix(".json"))
            films.append(_seen(segmenter, radiograph, corners, (folder.name, path.stem)))
    return films + [_on_simulated(segmenter, path) for path in sorted(held_out.glob("*/studies/*/*.dcm"))]


def _segmenter(trainer: Trainer) -> XraySegmenter:
    from vertecast.segmentation.projection.bundle import XrayBundle
    from vertecast.segmentation.projection.network import ProjectionNet
    from vertecast.segmentation.projection.segmenter import XraySegmenter

    net = trainer.average.module.eval()
    assert isinstance(net, ProjectionNet)
    facts, path = trainer.task.facts(), trainer.folder / "last.pt"
    return XraySegmenter(
        bundle=XrayBundle(name=trainer.folder.name, version="0", path=path, sha256="", **facts), net=net
    )


def _read(path: Path) -> tuple[Radiograph, str, str]:
    """A film with the UIDs of its study and its series."""
    from vertecast.core.images import Radiograph
    from vertecast.io.discover import StudyFiles, find_studies
    from vertecast.io.projection.images import choose_projection_series, projection_files, read_projection

    (study,) = [one for one in find_studies([path]) if isinstance(one, StudyFiles)]
    (series,) = choose_projection_series(study)[0]
    radiograph = read_projection(projection_files(series)[0]).image
    assert isinstance(radiograph, Radiograph)
    return radiograph, study.study_instance_uid, series.series_instance_uid


def _seen(
    segmenter: XraySegmenter,
    radiograph: Radiograph,
    corners_px: FloatArray,
    names: tuple[str, str],
    cement: npt.NDArray[np.bool_] | None = None,
) -> Film:
    """Score the answers on one film with these corners (n, 4, 2); ``names``: its group and its patient."""
    from skimage.draw import polygon

    from vertecast.segmentation.projection.segmenter import WANTED_DEPTH_PX

    across = np.linalg.norm(corners_px[:, [1, 3]] - corners_px[:, [0, 2]], axis=2).mean(axis=1)
    scale = WANTED_DEPTH_PX / float(np.median(across))
    seen, _ = segmenter._look(radiograph, (scale, scale), mirrored=False)
    body = seen.maps["body"]
    marked, errors = np.zeros(body.shape), []
    for corners in (corners_px + 0.5) * scale - 0.5:
        # The votes are in the order of the picture: the upper endplate first, each from left to right.
        plates = sorted((corners[:2], corners[2:]), key=lambda plate: float(plate[:, 1].mean()))
        corners = np.concatenate([plate[np.argsort(plate[:, 0])] for plate in plates])
        rows, columns = polygon(corners[[0, 1, 3, 2], 1], corners[[0, 1, 3, 2], 0], body.shape)
        marked[rows, columns] = 1
        votes = seen.offset[:, rows, columns].reshape(2, 3, 2, -1)[:, [0, 2]] + np.stack([columns, rows])
        own = np.median(votes.reshape(4, 2, -1), axis=2) if len(rows) else np.full((4, 2), np.nan)
        errors.append(float(np.linalg.norm(own - corners, axis=1).mean() / WANTED_DEPTH_PX))
    return Film(
        group=names[0],
        patient=names[1],
        area=_area(marked, body),
        errors=tuple(errors),
        cement_area=None if cement is None else _area(_shrunk(cement, body.shape), seen.maps["cement"]),
    )


def _area(true: FloatArray, said: npt.NDArray[np.float32]) -> float | None:
    """Under the ROC curve of a map; None where one of both kinds of pixels is missing."""
    from vertecast.lab.evaluation.statistics import area_under_roc

    area = area_under_roc(np.column_stack([true.ravel(), said.ravel()])[::EVERY])
    return area if np.isfinite(area) else None


def _shrunk(mask: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> FloatArray:
    """The nearest pixels of a mask."""
    both = zip(shape, mask.shape, strict=True)
    rows, columns = (np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1) for new, old in both)
    return mask[np.ix_(rows, columns)].astype(np.float64)


def _on_simulated(segmenter: XraySegmenter, path: Path) -> Film:
    """Complete bodies and cement of a simulated film."""
    from PIL import Image as Picture

    from vertecast.lab.evaluation.projections.films import CORNERS_OF_SIX

    radiograph, study_uid, series_uid = _read(path)
    truth = path.parents[2] / "truth"
    document = json.loads((truth / f"{study_uid}.json").read_text(encoding="utf-8"))
    image = next(one for one in document["images"] if one["series_instance_uid"] == series_uid)
    points = np.array([body["points_px"] for body in image["bodies"] if body["complete"]]).reshape(-1, 6, 2)
    mask = np.asarray(Picture.open(truth / f"{image['sop_instance_uid']}.png"))
    names = (SIMULATED, str(document["seed"]))
    return _seen(segmenter, radiograph, points[:, CORNERS_OF_SIX], names, np.isin(mask, (1, 2)))


def table(results: Mapping[str, Sequence[Film]]) -> str:
    """The scores of all runs, by the name of what they leave out, as Markdown."""
    head = ["left out", *(f"{name}: {what}" for name in ("AP", "lateral", "simulated") for what in ("area", "corners"))]
    head += ["simulated: cement"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    whole = results[PARTS[0].name]
    for part in PARTS:
        films = results.get(part.name)
        if films is None:
            continue
        own = [part.words]
        for group in (AP, LATERAL, SIMULATED):
            pairs = [(film, other) for film, other in zip(films, whole, strict=True) if film.group == group]
            own += [_cell(pairs, _areas, films is whole), _cell(pairs, _errors, films is whole)]
            if group == SIMULATED:
                own.append(_cell(pairs, _cement_areas, films is whole))
        lines.append(f"| {' | '.join(own)} |")
    return "\n".join(lines)


def _areas(film: Film) -> Sequence[float]:
    return () if film.area is None else (100 * film.area,)


def _cement_areas(film: Film) -> Sequence[float]:
    return () if film.cement_area is None else (100 * film.cement_area,)


def _errors(film: Film) -> Sequence[float]:
    return [100 * error for error in film.errors]


def _cell(pairs: Sequence[tuple[Film, Film]], values: Callable[[Film], Sequence[float]], is_whole: bool) -> str:
    """A mean, and how much more it is than with the whole simulation on the same films, with its 95 % interval."""
    rows = [
        (film.patient, own, own - base)
        for film, other in pairs
        for own, base in zip(values(film), values(other), strict=True)
        if np.isfinite(own)
    ]
    if not rows:
        return "–"
    mean = f"{np.mean([own for _, own, _ in rows]):.0f}"
    if is_whole:
        return mean
    more = agreement.estimate([(more,) for *_, more in rows], [patient for patient, *_ in rows], agreement.mean)
    low, high = more.interval95 or (float("nan"), float("nan"))
    return f"{mean}, {more.value:+.1f} ({low:+.1f} to {high:+.1f})"
