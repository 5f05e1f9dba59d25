"""Bodies found on real films against corners that people marked, where such films are at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from vertecast.core.errors import UnreadableError
from vertecast.lab.evaluation.metrics import match_distances

FloatArray = npt.NDArray[np.float64]

CORNER_KEYS: Final = {
    "corners_xy_AS_PS_PI_AI": (0, 1, 3, 2),
    "corners_xy_TL_TR_BL_BR": (0, 1, 2, 3),
}
"""Keys of the corner files, and the order that makes them superior first, anterior or left first."""

PICTURES: Final = (".png", ".jpg")

CORNERS_OF_SIX: Final = (0, 2, 3, 5)
"""The corners among the six points of a body, in that order."""

REACH_SHARE: Final = 0.5
"""A body is found where its centre lies within this share of the marked body's depth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmFolder:
    """A folder of films of spines without cement.

    ``has_corners``: a file of marked corners lies beside each; ``lowest_is_s1``: the last marked one is no vertebral
    body.
    """

    name: str
    path: str
    view: Literal["lateral", "ap"]
    has_corners: bool = True
    lowest_is_s1: bool = False
    target_corner_share: float | None = None
    target_found: float | None = None
    target_cobb_deg: float | None = None


FOLDERS: Final = (
    FilmFolder(
        name="lumbar_lateral_corners", path="xray/lumbar_lateral_corners", view="lateral", lowest_is_s1=True,
        target_corner_share=0.05, target_found=1.0,
    ),
    FilmFolder(
        name="thoracolumbar_ap_corners", path="xray/thoracolumbar_ap_corners", view="ap",
        target_found=0.9, target_cobb_deg=6.0,
    ),
    FilmFolder(name="lumbar_lateral", path="xray/lumbar_lateral", view="lateral", has_corners=False),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmScore:
    """One film.

    Attributes:
        name: Of the file.
        view: What was seen, None for no spine.
        marked: Bodies that people marked.
        found: Of those, how many were found.
        beyond: Bodies found where none is marked.
        corner_shares: Distance of each corner of the bodies found, in shares of the body's depth.
        cobb_deg: Largest Cobb angle found and marked.
        cement, leaks: How many of each were claimed; there are none.
    """

    name: str
    view: str | None
    marked: int
    found: int
    beyond: int
    corner_shares: tuple[float, ...]
    cobb_deg: tuple[float, float]
    cement: int = 0
    leaks: int = 0


def films_in(folder: Path) -> list[Path]:
    """The pictures in a folder, by name; none where there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.suffix in PICTURES)


def read_corners(path: Path) -> FloatArray:
    """Corners (n, 4, 2) of the marked bodies, column and row; superior first, anterior (AP: left) first.

    Raises:
        UnreadableError: The file is missing or damaged.
    """
    try:
        bodies = json.loads(path.read_text(encoding="utf-8"))["vertebrae"]
        corners = []
        for body in bodies:
            key = next(key for key in CORNER_KEYS if key in body)
            corners.append(np.array(body[key], dtype=np.float64)[list(CORNER_KEYS[key])])
        return np.array(corners).reshape(-1, 4, 2)
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise UnreadableError(f"{path}: is no file of corners ({type(error).__name__}); fetch it again") from error


def score_film(
    name: str,
    view: str | None,
    points_px: FloatArray,
    corners_px: FloatArray | None,
    claims: tuple[int, int] = (0, 0),
) -> FilmScore:
    """Score one film.

    Args:
        name: Of the file.
        view: What was seen.
        points_px: Six points (n, 6, 2) of the bodies found.
        corners_px: Marked corners (m, 4, 2), or None where nobody marked them.
        claims: Cement and leaks claimed.
    """
    cement, leaks = claims
    if corners_px is None:
        return FilmScore(
            name=name, view=view, marked=0, found=0, beyond=0, corner_shares=(), cobb_deg=(0.0, 0.0),
            cement=cement, leaks=leaks,
        )  # fmt: skip
    found = points_px[:, CORNERS_OF_SIX]
    depth = np.linalg.norm(corners_px[:, [1, 3]] - corners_px[:, [0, 2]], axis=2).mean(axis=1)
    between = np.linalg.norm(corners_px.mean(axis=1)[:, None] - found.mean(axis=1)[None], axis=2)
    pairs = match_distances(between / depth[:, None], REACH_SHARE) if len(found) and len(corners_px) else ()
    shares = [
        float(share)
        for truth, own in pairs
        for share in np.linalg.norm(corners_px[truth] - found[own], axis=1) / depth[truth]
    ]
    return FilmScore(
        name=name,
        view=view,
        marked=len(corners_px),
        found=len(shares) // 4,
        beyond=len(found) - len(shares) // 4,
        corner_shares=tuple(shares),
        cobb_deg=(largest_cobb_deg(found), largest_cobb_deg(corners_px)),
        cement=cement,
        leaks=leaks,
    )


def largest_cobb_deg(corners_px: FloatArray) -> float:
    """Largest angle between a superior and an inferior endplate of bodies with the given corners (n, 4, 2)."""
    if not len(corners_px):
        return 0.0
    across = corners_px[:, [1, 3]] - corners_px[:, [0, 2]]
    slope = (np.degrees(np.arctan2(across[..., 1], across[..., 0])) + 90) % 180 - 90  # lines have no direction
    return float(slope.max() - slope.min())


def film_lines(folder: FilmFolder, scores: Sequence[FilmScore]) -> Iterator[str]:
    """A folder in a few lines."""
    totals = summary(folder, scores)
    if folder.has_corners:
        bodies = f"{totals['found']} of {totals['marked']} bodies, {totals['beyond']} beyond"
        yield f"{folder.name}: {len(scores)} films, {bodies}"
        yield f"  corner error, median {100 * totals['corner_share_median']:.1f} % of the body's depth"
        yield f"  views right {totals['views_right']}, largest Cobb MAE {totals['cobb_mae_deg']:.1f} degrees"
    else:
        yield f"{folder.name}: {len(scores)} films, views right {totals['views_right']}"
    yield f"  cement claimed on {totals['cement']} films, leaks on {totals['leaks']} (there are none)"


def untreated_lines(scores: Sequence[FilmScore]) -> Iterator[str]:
    """All films without cement together."""
    cement = sum(score.cement > 0 for score in scores)
    leaks = sum(score.leaks > 0 for score in scores)
    yield f"untreated films: cement claimed on {cement} of {len(scores)}, leaks on {leaks}"


def summary(folder: FilmFolder, scores: Sequence[FilmScore]) -> dict[str, Any]:
    """The same as JSON values."""
    totals: dict[str, Any] = {
        "films": len(scores),
        "views_right": sum(score.view == folder.view for score in scores),
        "cement": sum(score.cement > 0 for score in scores),
        "leaks": sum(score.leaks > 0 for score in scores),
    }
    if not folder.has_corners:
        return totals
    shares = [share for score in scores for share in score.corner_shares]
    cobb = [abs(found - marked) for found, marked in (score.cobb_deg for score in scores)]
    return totals | {
        "marked": sum(score.marked for score in scores),
        "found": sum(score.found for score in scores),
        "beyond": sum(score.beyond for score in scores),
        "corner_share_median": float(np.median(shares)) if shares else 1.0,
        "cobb_mae_deg": float(np.mean(cobb)) if cobb else 0.0,
    }
