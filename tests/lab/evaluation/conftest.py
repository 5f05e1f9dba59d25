"""A small patient drawn by hand: four lumbar bodies and a sacrum, cement and two leaks, on an oblique grid."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vertecast.core import geometry

SHAPE, SPACING_MM = (24, 30, 66), (1.5, 1.2, 1.4)
AFFINE = geometry.affine(geometry.rotation([1, 0.3, 0.2], 0.2) * np.array(SPACING_MM), [-12.0, 31.0, -400.0])
LEVELS = {"L2": 56, "L3": 44, "L4": 32, "L5": 20}
"""Upper end of each body along the last axis; each is 9 voxels high."""
NUMBERS = {"L2": 21, "L3": 22, "L4": 23, "L5": 24}
HEIGHTS = {"anterior": 24.0, "middle": 22.0, "posterior": 26.0}
TREATED = "L3"
DISC, CANAL = (slice(8, 14), slice(8, 14), slice(44, 46)), (slice(10, 14), slice(22, 25), slice(38, 41))
"""Two leaks of L3: 72 and 36 voxels."""
VOXEL_ML = float(np.prod(SPACING_MM)) / 1000


def box(level: str) -> tuple[slice, slice, slice]:
    top = LEVELS[level]
    return slice(4, 18), slice(5, 20), slice(top - 9, top)


def draw() -> np.ndarray:
    """True labels; the body of L3 is filled in part, the sacrum has the number of S1."""
    labels = np.zeros(SHAPE, np.uint8)
    for level, number in NUMBERS.items():
        labels[box(level)] = number
    labels[2:22, 2:27, 0:8] = 26
    labels[8:14, 8:14, 36:42] = 200
    labels[DISC] = labels[CANAL] = 201
    return labels


def point(part: tuple[slice, ...]) -> list[float]:
    """Middle of a box in LPS mm."""
    return geometry.apply(AFFINE, [(s.start + s.stop - 1) / 2 for s in part]).tolist()


def quantity(value: float, unit: str, half: float = 1.0) -> dict[str, Any]:
    return {"value": value, "unit": unit, "interval95": [value - half, value + half]}


@dataclass(kw_only=True)
class Study:
    """One study as it is and as it was found; change it, then `write` it. Found is what is true, to begin with."""

    uid: str = "1.2.3.1"
    true_labels: np.ndarray = field(default_factory=draw)
    found_labels: np.ndarray = field(default_factory=draw)
    found_affine: np.ndarray = field(default_factory=lambda: AFFINE.copy())
    truth: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.truth = {"truth_version": "1", "simulated": True, "seed": 7, "study_instance_uid": self.uid, **_truth()}
        self.report = {"study": {"study_instance_uid": self.uid}, **_report()}

    def body(self, level: str) -> dict[str, Any]:
        """The finding of one body."""
        return next(body for body in self.report["vertebrae"] if body["level"] == level)

    def remove(self, level: str) -> None:
        """Miss a body."""
        self.report["vertebrae"].remove(self.body(level))
        self.found_labels[self.found_labels == NUMBERS[level]] = 0

    def rename(self, level: str, name: str, number: int) -> None:
        """Give a body another name."""
        self.body(level)["level"] = name
        self.found_labels[self.found_labels == NUMBERS[level]] = number

    def write_truth(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.uid}.json").write_text(json.dumps(self.truth))
        write_labels(folder / f"{self.uid}.nii.gz", self.true_labels, AFFINE)
        return folder

    def write_found(self, folder: Path) -> Path:
        (folder / self.uid).mkdir(parents=True, exist_ok=True)
        (folder / self.uid / "report.json").write_text(json.dumps(self.report))
        write_labels(folder / self.uid / "labels_1.nii.gz", self.found_labels, self.found_affine)
        return folder


def write_labels(path: Path, labels: np.ndarray, lps_from_index: np.ndarray) -> None:
    import nibabel

    nibabel.Nifti1Image(labels, geometry.LPS_FROM_RAS @ lps_from_index).to_filename(path)


def _truth() -> dict[str, Any]:
    leaks = [("disc_superior", DISC, "D"), ("canal", CANAL, "B")]
    return {
        "vertebrae": [
            {
                "level": level,
                "complete": True,
                "treated": level == TREATED,
                "heights": dict(HEIGHTS),
                "height_loss": 0.1,
                "wedge_angle": 4.0,
                "genant_grade": n % 3,
            }
            for n, level in enumerate(LEVELS)
        ],
        "cement": [{"level": TREATED, "volume_ml": 4.0}],
        "leaks": [
            {
                "level": TREATED,
                "compartment": name,
                "yeom_type": yeom_type,
                "volume_ml": size(part),
                "center_lps_mm": point(part),
            }
            for name, part, yeom_type in leaks
        ],
    }


def size(part: tuple[slice, ...]) -> float:
    """Volume of a box in mL."""
    return VOXEL_ML * float(np.prod([s.stop - s.start for s in part]))


def _report() -> dict[str, Any]:
    truth = copy.deepcopy(_truth())
    for body in truth["vertebrae"]:
        body["heights"] = {place: quantity(value, "mm") for place, value in body["heights"].items()}
        body["height_loss"] = quantity(body["height_loss"], "1", 0.05)
        body["wedge_angle"] = quantity(body["wedge_angle"], "deg")
    return {
        "vertebrae": truth["vertebrae"],
        "cement": [{"level": TREATED, "volume": quantity(4.0, "mL")}],
        "leaks": [
            {
                "level": leak["level"],
                "compartment": leak["compartment"],
                "yeom_type": leak["yeom_type"],
                "volume": quantity(leak["volume_ml"], "mL"),
                "evidence": {"point": leak["center_lps_mm"]},
            }
            for leak in truth["leaks"]
        ],
    }


@pytest.fixture
def study() -> Study:
    return Study()


@pytest.fixture(scope="session")
def make() -> Callable[..., Study]:
    return Study
