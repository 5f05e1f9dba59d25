"""Corners of bodies on films: our own JSON beside each film, COCO key points, or the reports of ``analyze``.

Points are (column, row); four of a body, superior before inferior, anterior (AP: left) before posterior.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from vertecast.core.errors import UnreadableError
from vertecast.core.geometry import FloatArray
from vertecast.lab.evaluation.datasets.studies import REPORT_NAME
from vertecast.lab.evaluation.projections.films import CORNER_KEYS, read_corners

_PLATES: Final = ("superior", "inferior")
_SIDES: Final = (("anterior", "posterior"), ("left", "right"))
COCO_ORDERS: Final[Mapping[tuple[str, ...], tuple[int, ...]]] = {
    ("anterior_superior", "posterior_superior", "posterior_inferior", "anterior_inferior"): (0, 1, 3, 2),
    ("anterior_superior", "posterior_superior", "anterior_inferior", "posterior_inferior"): (0, 1, 2, 3),
    ("top_left", "top_right", "bottom_left", "bottom_right"): (0, 1, 2, 3),
    ("top_left", "top_right", "bottom_right", "bottom_left"): (0, 1, 3, 2),
}
"""Names of the key points of a COCO category, and the order that makes them ours."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilmCorners:
    """The bodies of one film: corners (n, 4, 2), and the level of each, "" where none is given."""

    film: str
    corners_px: FloatArray
    levels: tuple[str, ...]


def find_corners(directory: Path) -> dict[str, FilmCorners]:
    """The corners of every film of a folder by the film's name without ending; none where the folder holds none.

    Raises:
        UnreadableError: A file of corners is damaged, or two are of one film.
    """
    films: dict[str, FilmCorners] = {}
    for path in sorted(directory.rglob("*.json")):
        for film in _of_file(path):
            if film.film in films:
                raise UnreadableError(f"{path}: holds corners of the film {film.film} a second time; keep one")
            films[film.film] = film
    return films


def _of_file(path: Path) -> Iterator[FilmCorners]:
    document = _document(path)
    bodies = document.get("vertebrae")
    if {"images", "annotations", "categories"} <= set(document):
        yield from _of_coco(path, document)
    elif path.name == REPORT_NAME and isinstance(bodies, list):
        yield from _of_report(path, bodies)
    elif isinstance(bodies, list) and any(key in body for body in bodies for key in CORNER_KEYS):
        levels = tuple(str(body.get("level", body.get("level_assumed", ""))) for body in bodies)
        yield FilmCorners(film=path.stem, corners_px=read_corners(path), levels=levels)


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableError(f"{path}: is not valid JSON ({type(error).__name__}); write it again") from error
    return document if isinstance(document, dict) else {}


def _of_report(path: Path, bodies: Sequence[Mapping[str, Any]]) -> Iterator[FilmCorners]:
    """Bodies of a report on a film; a report on a CT has points in mm and none here."""
    found = [body for body in bodies if body.get("six_points_px")]
    if not found and any("six_points_lps_mm" in body for body in bodies):
        return
    try:
        corners = [[_corner(body["six_points_px"][plate], n) for plate in _PLATES for n in (0, 1)] for body in found]
        levels = tuple(str(body["level"]) for body in found)
    except (KeyError, TypeError, IndexError) as error:
        raise UnreadableError(f"{path}: lacks points of a body ({type(error).__name__}); analyse it again") from error
    yield FilmCorners(
        film=path.parent.name, corners_px=np.array(corners, dtype=np.float64).reshape(-1, 4, 2), levels=levels
    )  # fmt: skip


def _corner(plate: Mapping[str, Any], side: int) -> Any:
    names = next(names for names in _SIDES if names[0] in plate)
    return plate[names[side]]


def _of_coco(path: Path, document: Mapping[str, Any]) -> Iterator[FilmCorners]:
    """One film for each image; a category is a level, or any vertebra where its name is none."""
    try:
        categories = {one["id"]: one for one in document["categories"]}
        bodies: dict[Any, list[tuple[str, FloatArray]]] = {one["id"]: [] for one in document["images"]}
        for one in document["annotations"]:
            category = categories[one["category_id"]]
            corners = _key_points(path, one, category.get("keypoints"))
            bodies[one["image_id"]].append((str(category["name"]), corners))
        for image in document["images"]:
            own = bodies[image["id"]]
            yield FilmCorners(
                film=Path(image["file_name"]).stem,
                corners_px=np.array([corners for _, corners in own], dtype=np.float64).reshape(-1, 4, 2),
                levels=tuple(name for name, _ in own),
            )
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableError(f"{path}: is no COCO file with key points ({type(error).__name__}: {error})") from error


def _key_points(path: Path, annotation: Mapping[str, Any], names: Sequence[str] | None) -> FloatArray:
    order = COCO_ORDERS.get(tuple(str(name).lower().replace(" ", "_") for name in names or ()))
    if order is None or "keypoints" not in annotation:
        raise UnreadableError(
            f"{path}: its key points are not four corners with known names ({', '.join(names or ()) or 'none'}); "
            f"name them {', '.join(next(iter(COCO_ORDERS)))}"
        )
    return np.array(annotation["keypoints"], dtype=np.float64).reshape(-1, 3)[list(order), :2]
