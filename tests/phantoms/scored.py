"""Simulated projection studies by hand: what is true of a film or cine, and what a report says of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vertecast.lab.evaluation.projections import evaluate_projections
from vertecast.lab.evaluation.projections.scores import ProjectionResults

ROWS, COLUMNS = 190, 150
DEPTH, HEIGHT, PITCH = 40.0, 26.0, 38.0
LEVELS = ("T12", "L1", "L2", "L3")
HEIGHTS = {"anterior": 24.0, "middle": 22.0, "posterior": 26.0}
TREATED, LEAK = "L1", "disc_superior"
TRUE_MASK = (slice(56, 66), slice(60, 80))
"""Rows and columns of the true cement: 10 by 20 pixels."""
PLACES = {"lateral": ("anterior", "middle", "posterior"), "ap": ("left", "middle", "right")}


def six(n: int) -> list[list[float]]:
    """The points of body n; its front is at the left."""
    top, lines = 20.0 + PITCH * n, (50.0, 50.0 + DEPTH / 2, 50.0 + DEPTH)
    return [[x, y] for y in (top, top + HEIGHT) for x in lines]


def quantity(value: float, unit: str, half: float) -> dict[str, Any]:
    return {"value": value, "unit": unit, "interval95": [value - half, value + half]}


@dataclass(kw_only=True)
class Film:
    """One image as it is and as it was found; change it. Found is what is true, to begin with."""

    series: str = "1.2.1"
    view: str = "lateral"
    truth: dict[str, Any] = field(default_factory=dict)
    vertebrae: list[dict[str, Any]] = field(default_factory=list)
    leaks: list[dict[str, Any]] = field(default_factory=list)
    cine: dict[str, Any] | None = None
    status: str = "analyzed"
    found_view: str | None = ""
    found_mask: np.ndarray = field(default_factory=lambda: np.zeros((ROWS, COLUMNS), np.uint8))
    frame: int = 1

    def __post_init__(self) -> None:
        self.found_view = self.view
        self.found_mask[TRUE_MASK] = 1
        leak = {"compartment": LEAK, "volume_ml": 0.4, "area_px": 40, "outside_px": 10}
        self.truth = {
            "series_instance_uid": self.series,
            "sop_instance_uid": f"{self.series}.9",
            "view": self.view,
            "rows": ROWS,
            "columns": COLUMNS,
            "frame_count": 1,
            "frame_time_ms": None,
            "bodies": [
                {
                    "level": level,
                    "points_px": six(n),
                    "complete": True,
                    "grade": n,
                    "deformity": "wedge",
                    "heights_mm": dict(HEIGHTS),
                    "wedge_deg": 4.0,
                    "has_ribs": n == 0,
                }
                for n, level in enumerate(LEVELS)
            ],
            "sacrum_visible": False,
            "cement": [{"level": TREATED, "volume_ml": 3.0, "area_px": 200, "leaks": [leak]}],
        }
        self.vertebrae = [self.finding(n, level) for n, level in enumerate(LEVELS)]
        self.leaks = [self.leak(TREATED, LEAK)]

    def finding(self, n: int, level: str) -> dict[str, Any]:
        points, places = six(n), PLACES[self.view]
        return {
            "series_instance_uid": self.series,
            "level": level,
            "treated": level == TREATED,
            "center_px": [70.0, points[0][1] + HEIGHT / 2],
            "six_points_px": {
                "superior": dict(zip(places, points[:3], strict=True)),
                "inferior": dict(zip(places, points[3:], strict=True)),
            },
            "heights": {place: quantity(value, "mm", 1.0) for place, value in HEIGHTS.items()},
            "ratios": {
                "wedge": quantity(24 / 26, "1", 0.02),
                "biconcave": quantity(22 / 26, "1", 0.02),
                "crush": {"not_measured": "none"},
            },
            "wedge_angle": quantity(4.0, "deg", 1.0),
            "genant_grade": n,
        }

    def leak(self, level: str, compartment: str) -> dict[str, Any]:
        evidence = {"series_instance_uid": self.series, "frame": 1, "point_px": [1.0, 1.0]}
        return {"level": level, "compartment": compartment, "evidence": evidence}

    def move(self, n: int, by: tuple[float, float]) -> None:
        """Find body n elsewhere."""
        body = self.vertebrae[n]
        body["center_px"] = (np.array(body["center_px"]) + by).tolist()
        for plate in body["six_points_px"].values():
            for place in plate:
                plate[place] = (np.array(plate[place]) + by).tolist()


def write(folder: Path, *films: Film, kind: str = "film", seed: int = 7, uid: str = "1.2") -> None:
    """One study of some images: its truth, its report, all masks."""
    truth, found = folder / "truth", folder / "analyzed" / uid
    for made in (truth, found):
        made.mkdir(parents=True, exist_ok=True)
    document = {
        "schema": "vertecast-projection-truth-1",
        "simulated": True,
        "kind": kind,
        "seed": seed,
        "phase": "post",
        "study_instance_uid": uid,
        "images": [film.truth for film in films],
    }
    (truth / f"{uid}.json").write_text(json.dumps(document))
    (truth / "1.7.json").write_text('{"truth_version": "1"}')
    series = [
        {
            "series_instance_uid": f.series,
            "kind": "radiograph",
            "view": f.found_view,
            "status": f.status,
            "reason": "why",
        }
        for f in films
    ]
    cines = [film.cine for film in films if film.cine]
    report = {
        "study": {"study_instance_uid": uid},
        "series": series,
        "vertebrae": [body for film in films for body in film.vertebrae],
        "leaks": [leak for film in films for leak in film.leaks],
        **({"cine": cines[0], "further_cines": cines[1:]} if cines else {}),
    }
    (found / "report.json").write_text(json.dumps(report))
    for number, film in enumerate(films, start=1):
        mask = np.zeros((ROWS, COLUMNS), np.uint8)
        if film.truth["cement"]:
            mask[TRUE_MASK] = 1
        mask[:4, :4] = 3
        Image.fromarray(mask).save(truth / f"{film.truth['sop_instance_uid']}.png")
        chunks = PngInfo()
        chunks.add_text("SeriesInstanceUID", film.series)
        chunks.add_text("FrameNumber", str(film.frame))
        if film.status == "analyzed":
            Image.fromarray(film.found_mask).save(found / f"labels_{number}.png", pnginfo=chunks)


def score(folder: Path) -> ProjectionResults:
    return evaluate_projections(folder / "truth", folder / "analyzed", folder / "scores")


def value(results: ProjectionResults, key: str, view: str = "all") -> tuple[float | None, int]:
    """A score and its count."""
    estimate = results.estimates[key][view]
    return (None if estimate.value is None else round(estimate.value, 6)), estimate.count
