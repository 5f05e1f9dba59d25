"""Training pictures in projection: simulated patients seen from many sides, each developed in many ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core.geometry import FloatArray
from vertecast.core.images import View
from vertecast.lab.simulation.pool import PatientPool
from vertecast.lab.simulation.projection.film import angiogram, clutter, collimate, develop, expose
from vertecast.lab.simulation.projection.projected import (
    BESIDE,
    BONE_PARTS,
    FieldSettings,
    ProjectedPatient,
    draw_projections,
)
from vertecast.lab.simulation.projection.rays import FloatImage

CEMENT_MM: Final = 1.2
"""Length of ray in cement from which on a pixel shows it."""

METAL_MM: Final = 0.6
INVERTED_RATE: Final = 0.12
"""Share of the pictures with bone dark: a file can say the wrong polarity."""

UPSIDE_DOWN_RATE: Final = 0.08
EMPTY_RATE: Final = 0.14
"""Share of the pictures without a spine: half of them show other bones."""

ANGIOGRAM_RATE: Final = 0.06
ANGIOGRAM_RATE_EMPTY: Final = 0.5
"""Share of the pictures with contrast medium in vessels; of those without a spine, half: coronary cines."""

BODY_DEPTH_PX: Final = (16.0, 64.0)
"""Depth of a body in the training picture, log-uniform; a long film has small bodies."""

SPOT_RATE: Final = 0.12
SPOT_DEPTH_PX: Final = (64.0, 120.0)
"""Share of the pictures that are spot films, which show one or two levels, and the depth of their bodies."""

BONE_SPREAD: Final = {"body": 0.3, "posterior": 0.5, "sacrum": 0.4, "beside": 0.6}
BONE_FACTOR: Final = (0.25, 4.0)
"""Each picture weighs the mineral of every bone by a factor of its own: 1 SD of its logarithm, and its bounds. An
arch or a rib that crosses a body is then now faint, now as bright as cement, and only its form tells them apart.
Ours, and wide: alone the network trained so takes dense bone for cement more often (card of xray_spine 0.4.0)."""

SACRUM_RATE: Final = 0.3
"""Share of the pictures round the sacrum where it is in view: there things look like bodies and are none."""

LARGEST_BORDER: Final = 1.02
"""A picture may be this much wider than the projection."""

STRETCH: Final = 0.16
"""Films scanned or passed on with other proportions, 1 SD of the logarithm for half of the pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSettings:
    """What a training picture looks like.

    Attributes:
        size: Edge of the square picture in pixels.
        pool: Projections kept in memory.
        views: Projections of each patient drawn.
        uses: Pictures taken for each projection.
        field: What is drawn.
    """

    size: int = 320
    pool: int = 240
    views: int = 8
    uses: int = 20
    field: FieldSettings = field(default_factory=FieldSettings)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingPicture:
    """A training example. Maps are (rows, columns); offsets in pixels, column first.

    Attributes:
        image: What the network sees, 0 to 1.
        valid: Where it shows the patient.
        view: None for a picture without spine.
        body, sacrum, cement, metal: Truth, bool.
        instance: Body per pixel from 1, cranial first, uint8.
        ribs: Pixels of bodies that bear ribs, bool.
        offset_px: (12, rows, columns) from a body's pixel to its six points *in the picture's order*: the upper
            endplate first, each from left to right. Which side is the front, and which end the head, are questions to
            the whole picture: a pixel cannot know.
        plate_px: (4, rows, columns) from a pixel of the sacrum to the left and the right end of the endplate of S1.
        is_anterior_left: The front is on the left; None on AP views and without a body.
        is_upright: The head is up; None without a body.
    """

    image: FloatImage
    valid: npt.NDArray[np.bool_]
    view: View | None
    body: npt.NDArray[np.bool_]
    sacrum: npt.NDArray[np.bool_]
    cement: npt.NDArray[np.bool_]
    metal: npt.NDArray[np.bool_]
    instance: npt.NDArray[np.uint8]
    ribs: npt.NDArray[np.bool_]
    offset_px: FloatImage
    plate_px: FloatImage
    is_anterior_left: bool | None
    is_upright: bool | None


def take_picture(patient: ProjectedPatient, rng: np.random.Generator, settings: PictureSettings) -> TrainingPicture:
    """Frame a projection at random, expose and develop it, and draw the truth into the picture."""
    size = settings.size
    source_from_picture = _framing(patient, rng, size)
    empty = rng.random() < EMPTY_RATE

    parts = [patient.soft, patient.cement, patient.metal, patient.sacrum, np.ones_like(patient.soft), *patient.bone]
    soft, cement, metal, sacrum, inside, *minerals = _warped(parts, source_from_picture, size)
    weights = np.clip(np.exp(rng.normal(0, [BONE_SPREAD[name] for name in BONE_PARTS])), *BONE_FACTOR)
    if empty:  # the spine goes, the soft tissue stays
        weights *= np.eye(len(weights))[BESIDE] * float(rng.random() < 0.5)
        cement, metal = cement * 0.0, metal * 0.0
    bone = np.asarray(np.tensordot(weights.astype(np.float32), np.stack(minerals), 1))
    pixel = patient.camera.pixel_mm * float(np.sqrt(abs(np.linalg.det(source_from_picture[:2, :2]))))
    seen = inside > 0.5
    image = develop(expose(soft, bone, cement, metal, pixel_mm=pixel, rng=rng), seen, rng)
    if rng.random() < (ANGIOGRAM_RATE_EMPTY if empty else ANGIOGRAM_RATE):
        image = angiogram(image, rng)
    image = np.where(seen, image, rng.choice([0.0, 1.0])).astype(np.float32)
    if rng.random() < INVERTED_RATE:
        image = 1 - image
    image, valid = collimate(clutter(image, rng), rng)
    visible = valid & seen
    bodies = [] if empty else _bodies(patient, source_from_picture, size)
    instance = np.zeros((size, size), dtype=np.uint8)
    offset = np.zeros((12, size, size), dtype=np.float32)
    rows, columns = np.indices((size, size), dtype=np.float32)
    ribs = np.zeros((size, size), dtype=bool)
    for number, (points, inside, has_ribs) in enumerate(bodies, start=1):
        instance[inside] = number
        ribs[inside] = has_ribs
        placed = in_picture_order(points)
        own = np.stack([placed[:, 0, None] - columns[inside], placed[:, 1, None] - rows[inside]], axis=1)
        offset[:, inside] = own.reshape(12, -1)
    instance *= visible
    shows_sacrum = (sacrum > 0.5) & visible & (not empty)
    plate = _points(patient.sacral_endplate_px, source_from_picture)
    plate = plate[np.argsort(plate[:, 0])]
    plate_px = np.concatenate([np.stack([x - columns, y - rows]) for x, y in plate]) * shows_sacrum
    return TrainingPicture(
        image=image,
        valid=valid | (rng.random() < 0.4),  # often the header says nothing of the collimator
        view=None if empty or not instance.any() else patient.camera.view,
        body=instance > 0,
        sacrum=shows_sacrum,
        cement=(cement >= CEMENT_MM) & visible,
        metal=(metal >= METAL_MM) & visible,
        instance=instance,
        ribs=ribs & visible,
        offset_px=offset * (instance > 0),
        plate_px=plate_px.astype(np.float32),
        is_anterior_left=None if patient.camera.view == "ap" or not bodies else _is_anterior_left(bodies[0][0]),
        is_upright=_is_upright(bodies[0][0]) if bodies else None,
    )


def in_picture_order(points_px: FloatArray) -> FloatArray:
    """Six points (6, 2) with the upper endplate of the picture first, each from left to right."""
    plates = points_px.reshape(2, 3, 2) if _is_upright(points_px) else points_px.reshape(2, 3, 2)[::-1]
    return np.concatenate([plate if plate[0, 0] <= plate[2, 0] else plate[::-1] for plate in plates])


def _is_upright(points_px: FloatArray) -> bool:
    return bool(points_px[:3, 1].mean() <= points_px[3:, 1].mean())


def _is_anterior_left(points_px: FloatArray) -> bool:
    return bool(points_px[[0, 3], 0].mean() <= points_px[[2, 5], 0].mean())


def _framing(patient: ProjectedPatient, rng: np.random.Generator, size: int) -> FloatArray:
    """(3, 3) map from the training picture's (row, column) to the projection's, round a random body or the sacrum."""
    rows, columns = patient.camera.shape
    inside = [body for body in patient.bodies if _is_inside(body.points_px.mean(axis=0), rows, columns)]
    depth = float(np.median([np.linalg.norm(b.points_px[2] - b.points_px[0]) for b in patient.bodies]))
    largest = LARGEST_BORDER * min(rows, columns) / size
    wanted = SPOT_DEPTH_PX if rng.random() < SPOT_RATE else BODY_DEPTH_PX
    scale = min(depth / np.exp(rng.uniform(*np.log(wanted))), largest)
    focus = np.array([rows, columns])[::-1] / 2
    draw = rng.random()
    if draw < SACRUM_RATE and _is_inside(patient.sacral_endplate_px.mean(axis=0), rows, columns):
        focus = patient.sacral_endplate_px.mean(axis=0)
    elif inside:
        focus = inside[int(rng.integers(len(inside)))].points_px.mean(axis=0)
    # A small picture of the whole projection shows all of it; a larger one is placed round the body.
    reach = scale * size / 2
    jitter = rng.uniform(-0.6, 0.6, 2) * reach
    low, high = np.array([columns, rows]) * 0.0 + reach * 0.9, np.array([columns, rows]) - reach * 0.9
    target = np.where(low < high, np.clip(focus + jitter, low, high), np.array([columns, rows]) / 2)
    angle = rng.normal(0, np.radians(7)) if rng.random() < 0.85 else rng.normal(0, np.radians(25))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.exp(rng.normal(0, STRETCH)) if rng.random() < 0.5 else 1.0
    flip = np.array([-1.0 if rng.random() < UPSIDE_DOWN_RATE else 1.0, -1.0 if rng.random() < 0.5 else 1.0])
    linear = scale * turn @ np.diag([stretch, 1 / stretch]) @ np.diag(flip)
    middle = np.full(2, (size - 1) / 2)
    result = np.eye(3)
    result[:2, :2] = linear
    result[:2, 2] = target[::-1] - linear @ middle
    return result


def _is_inside(point: FloatArray, rows: int, columns: int) -> bool:
    return bool(0 <= point[0] < columns and 0 <= point[1] < rows)


def _warped(values: Sequence[npt.NDArray[np.generic]], source_from_picture: FloatArray, size: int) -> FloatImage:
    """Pictures (n, size, size) of projections (rows, columns), linear between their pixels, zero outside them."""
    import torch

    rows, columns = values[0].shape
    at = np.indices((size, size)).reshape(2, -1)
    row, column = source_from_picture[:2, :2] @ at + source_from_picture[:2, 2:]
    grid = np.stack(
        [(2 * column + 1) / columns - 1, (2 * row + 1) / rows - 1], axis=-1
    )  # last axis first, edge to edge
    stack = torch.from_numpy(np.stack(values, dtype=np.float32))[None]
    where = torch.from_numpy(grid.reshape(1, size, size, 2).astype(np.float32))
    return np.asarray(torch.nn.functional.grid_sample(stack, where, align_corners=False)[0].numpy())


def _points(points_px: FloatArray, source_from_picture: FloatArray) -> FloatArray:
    """(n, 2) points (column, row) of the projection as points of the training picture."""
    back = np.linalg.inv(source_from_picture)
    moved = points_px[:, ::-1] @ back[:2, :2].T + back[:2, 2]
    return np.asarray(moved[:, ::-1])


def _bodies(
    patient: ProjectedPatient, source_from_picture: FloatArray, size: int
) -> list[tuple[FloatArray, npt.NDArray[np.bool_], bool]]:
    """Six points, pixels and ribs of every body that shows in the picture."""
    from skimage import draw

    found = []
    for body in patient.bodies:
        outline = _points(body.outline_px, source_from_picture)
        inside = draw.polygon2mask((size, size), outline[:, ::-1])
        if not inside.any():
            continue
        found.append((_points(body.points_px, source_from_picture), inside, body.has_ribs))
    return found


def pictures(seed: int, settings: PictureSettings, folder: Path | None = None) -> Iterator[TrainingPicture]:
    """An endless stream of training pictures; ``folder`` keeps the patients drawn for a later stream."""
    rng = np.random.default_rng(seed)
    pool: PatientPool[ProjectedPatient] = PatientPool(max(settings.pool // settings.views, 1), folder)
    while True:
        pool.add(draw_projections(rng, settings.field, settings.views))
        for _ in range(pool.uses(settings.uses * settings.views)):
            yield take_picture(pool.pick(rng), rng, settings)
