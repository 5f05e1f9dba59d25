"""Scenes of radiographs and of the measured frame of a cine: a grid of a single slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import anatomy
from vertecast.core.results import NotMeasured, StudyReport, VertebraFinding
from vertecast.core.study_result import Film
from vertecast.report import wording
from vertecast.report.figures import drawing, films
from vertecast.report.html.viewer import grids
from vertecast.report.html.viewer.greys import Window, film_greys
from vertecast.report.html.viewer.scenes import Scene, SceneBody, SceneStructure, embedded, rounded

LONG_SIDE_PX: Final = 1000
"""A film is made smaller by a whole factor until its longer side is below twice this."""

_CODES: Final = {
    anatomy.CEMENT_INSIDE_LABEL: grids.CEMENT_CODE,
    anatomy.CEMENT_LEAKED_LABEL: grids.LEAK_CODE,
    anatomy.METAL_LABEL: grids.METAL_CODE,
}


def render_film_scenes(measured: Sequence[Film], report: StudyReport) -> tuple[Scene, ...]:
    """A scene of every film, named and ordered as its picture: "film_1", "film_2", ..."""
    return tuple(_scene(f"film_{n}", film, report) for n, film in enumerate(measured, start=1))


def _scene(name: str, film: Film, report: StudyReport) -> Scene:
    radiograph = film.radiograph
    step = max(1, max(radiograph.shape) // LONG_SIDE_PX)
    shades, (low, high) = _shades(film, step)
    codes = np.zeros(256, np.uint8)
    for label, code in _CODES.items():
        codes[label] = code
    found = codes[film.labels[::step, ::step][: shades.shape[0], : shades.shape[1]]]
    spacing = radiograph.spacing
    aspect = 1.0 if spacing is None else spacing.row_mm / spacing.column_mm
    own = [v for v in report.vertebrae if v.series_instance_uid == film.series_instance_uid and v.image == film.image]
    bodies = [_body(vertebra, n, step) for n, vertebra in enumerate(own) if vertebra.center_px is not None]
    bone = Window(name="Bone", center=(low + high) / 2, width=max(high - low, 1.0))
    cement = Window(name="Cement", center=(low + 100.0) / 2 + 10.0, width=max(100.0 - low, 1.0) - 20.0)
    whole = Window(name="Whole film", center=50.0, width=100.0)
    is_whole = abs(bone.center - whole.center) < 1 and abs(bone.width - whole.width) < 1
    windows = (whole, cement) if is_whole else (bone, cement, whole)
    content = {
        "kind": "film",
        "shape": [shades.shape[1], shades.shape[0], 1],
        "spacing": [1.0, rounded([aspect], 4)[0], 1.0],
        "start": [(shades.shape[1] - 1) / 2, (shades.shape[0] - 1) / 2, 0],
        "origin": "middle",
        "reach": 1.0,
        "curve": None,
        "own": [],
        "bodies": [body.document() for body in bodies],
        **embedded(shades.T[..., None], found.T[..., None], film_greys()),
    }
    return Scene(
        name=name,
        title=f"Series {wording.series_number(report, film.series_instance_uid)}",
        planes=("film",),
        structures=tuple(_structures(found, bodies)),
        windows=windows,
        places=dict(_leaks(film, report, step)),
        content=content,
    )


def _shades(film: Film, step: int) -> tuple[npt.NDArray[np.uint8], tuple[float, float]]:
    """A film made smaller, in codes (rows, columns), and the limits of the usual window in per cent of its range."""
    radiograph = film.radiograph
    rows, columns = (size // step for size in radiograph.shape)
    whole = radiograph.intensity[: rows * step, : columns * step]
    small = whole.reshape(rows, step, columns, step).mean(axis=(1, 3), dtype=np.float32)
    valid = radiograph.valid[::step, ::step][:rows, :columns]
    seen = small[valid]
    least, most = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
    scale = 100.0 / max(most - least, 1e-6)
    low, high = films.usual_range(radiograph, film.labels)
    shades = film_greys().encode((small - least) * scale)
    # What does not show the patient stays dark, as in the printed picture.
    return np.where(valid, shades, 0.3 * shades).astype(np.uint8), ((low - least) * scale, (high - least) * scale)


def _body(vertebra: VertebraFinding, number: int, step: int) -> SceneBody:
    points = vertebra.six_points_px
    plates = [] if points is None or isinstance(points, NotMeasured) else [list(p.values()) for p in points.values()]
    marked = wording.is_fractured(vertebra)
    assert vertebra.center_px is not None
    return SceneBody(
        name=vertebra.level,
        note=f"Genant {wording.grade_text(vertebra)}" if marked else "",
        marked=marked,
        code=grids.BODY_CODE + number,
        center=_pixel(vertebra.center_px, step),
        plates=[[_pixel(point, step) for point in plate] for plate in plates],
    )


def _pixel(point: Sequence[float], step: int) -> list[float]:
    """A pixel of the film in the smaller picture, (column, row, 0)."""
    column, row = ((value - (step - 1) / 2) / step for value in point)
    return [column, row, 0.0]


def _structures(codes: npt.NDArray[np.uint8], bodies: Sequence[SceneBody]) -> Iterator[SceneStructure]:
    offered = (
        SceneStructure(name="metal", codes=(grids.METAL_CODE,) * 2, colour=drawing.METAL, style="fill"),
        SceneStructure(name="cement", codes=(grids.CEMENT_CODE, 255), colour=drawing.CEMENT, style="fill"),
        SceneStructure(name="suspected leak", codes=(grids.LEAK_CODE,) * 2, colour=drawing.LEAK, style="hatch"),
    )
    yield from (one for one in offered if np.any((codes >= one.codes[0]) & (codes <= one.codes[1])))
    # Bodies of a film are no voxels: the viewer draws them through their points.
    yield from (
        SceneStructure(name=name, codes=(0, 0), colour=colour, style=style)
        for marked, name, colour, style in (
            (False, "body", drawing.BODY, "line"),
            (True, "body, Genant ≥ 1", drawing.FRACTURED, "strong"),
        )
        if any(body.marked == marked for body in bodies)
    )


def _leaks(film: Film, report: StudyReport, step: int) -> Iterator[tuple[str, list[float]]]:
    for leak in report.leaks:
        seen = leak.evidence
        if (
            seen.point_px is not None
            and seen.series_instance_uid == film.series_instance_uid
            and seen.frame_number in (None, film.radiograph.frame_number)
        ):
            yield f"{leak.level}: {wording.leak_text(leak)}", rounded(_pixel(seen.point_px, step))
