"""Crops for training: simulated patients kept in a pool, each seen through many different scanners."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.anatomy import Compartment, Level, Structure
from vertecast.lab.simulation.ct.streaks import metal_streaks
from vertecast.lab.simulation.patient.canvas import texture
from vertecast.lab.simulation.patient.population import moved, sample_spine
from vertecast.lab.simulation.patient.tissue import Phantom, draw
from vertecast.lab.simulation.pool import PatientPool
from vertecast.lab.simulation.treatment.cement import (
    Treatment,
    cement_fraction,
    leak_fraction,
    sample_treated,
    treat,
    with_cement,
)
from vertecast.lab.simulation.treatment.hardware import Hardware, cage, metal_fraction, needles, screws_and_rods, stent

COARSE_RATE: Final = 0.18
"""Share of the crops seen with large voxels in every direction."""

CUT_RATE: Final = 0.3
"""Share of the crops that reach beyond the edge of the image."""

CUT_BEHIND_RATE: Final = 0.05
"""Share of the crops of an image that ends near the posterior wall of the bodies, or within them."""

ROUND_FIELD_RATE: Final = 0.06
"""Share of the crops that reach beyond the circle that the scanner has seen."""

NECK_WEIGHT: Final = 0.4
"""How often a patient is drawn round a cervical vertebra, against one of the others."""

LEAST_BODY_VOXELS: Final = 200
"""A body with fewer voxels is too small on this grid to be treated."""

MANY_LEAKS_RATE: Final = 0.5
"""Share of the treated bodies that leak into two to four compartments."""

LARGEST_OFFSET_MM: Final = 80.0
"""Tips of spinous processes lie about this far from their body's centre."""

RIB_REACH_MM: Final = 50.0
"""Ribs farther than this from their vertebra's centre carry no offset: they say nothing about it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CropSettings:
    """What a training crop looks like.

    Attributes:
        spacing_mm: Spacing of the isotropic grid.
        phantom_shape: Voxels drawn for each patient.
        crop: Edges of the crop in voxels (left-right, front-back, down-up), or one for all of them.
        near_spine: Share of the crops that lie on a vertebra; the others lie anywhere.
        jitter: A crop on a vertebra is moved by up to this share of its edges.
        behind_mm: So far behind the vertebra's centre the middle of such a crop lies before it is moved.
        pool: Patients kept in memory.
        uses: Crops taken for each patient drawn.
        treated_rate: Share of the patients with cement.
        metal_rate: Share of the patients with needles, screws, a cage or stents.
    """

    spacing_mm: float = 1.5
    phantom_shape: tuple[int, int, int] = (130, 130, 130)
    crop: int | tuple[int, int, int] = 80
    near_spine: float = 0.85
    jitter: float = 0.3
    behind_mm: float = 0.0
    pool: int = 24
    uses: int = 10
    treated_rate: float = 0.5
    metal_rate: float = 0.12

    @property
    def edges(self) -> npt.NDArray[np.intp]:
        """Of the crop, in voxels."""
        return np.array(np.broadcast_to(self.crop, 3))

    def start(
        self, shape: npt.ArrayLike, centers_index: npt.NDArray[np.floating], rng: np.random.Generator
    ) -> npt.NDArray[np.intp]:
        """First voxel of a crop: round one of the bodies, or anywhere in the image.

        Args:
            shape: Of the image.
            centers_index: (n, 3) centres of the bodies inside it, in voxels.
            rng: Chance.
        """
        most = np.maximum(np.array(shape) - self.edges, 0)
        anywhere = rng.integers(0, most + 1)
        if rng.random() >= self.near_spine or not len(centers_index):
            return np.asarray(anywhere)
        center = centers_index[int(rng.integers(len(centers_index)))] + [0.0, self.behind_mm / self.spacing_mm, 0.0]
        center = center + rng.uniform(-self.jitter, self.jitter, 3) * self.edges
        return np.asarray(np.clip(np.round(center - self.edges / 2), 0, most), dtype=np.intp)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnPatient:
    """One drawn patient: HU as they are, and the truth for each voxel.

    ``centers_index`` (n, 3): centre of each body in voxels of this grid, also of those outside it.
    """

    hu: npt.NDArray[np.float32]
    structure: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.uint8]
    cement: npt.NDArray[np.float32]
    metal: npt.NDArray[np.uint8]
    centers_index: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingCrop:
    """A training example; every array is (i, j, k), the offset (3, i, j, k) in mm."""

    hu: npt.NDArray[np.float32]
    structure: npt.NDArray[np.uint8]
    cement: npt.NDArray[np.float32]
    metal: npt.NDArray[np.uint8]
    offset_mm: npt.NDArray[np.float32]
    offset_weight: npt.NDArray[np.uint8]


def draw_patient(rng: np.random.Generator, settings: CropSettings) -> DrawnPatient:
    """Draw a patient in a random pose, around a random vertebra or the sacrum."""
    lean = rng.normal(0, np.radians(6), 3)
    turn = np.eye(3)
    for axis, angle in zip(np.eye(3), lean, strict=True):
        turn = turn @ geometry.rotation(axis, angle)
    spine = moved(sample_spine(rng), geometry.affine(turn, [0, 0, 0]))
    frames = [v.lps_from_local for v in spine.vertebrae] + [spine.lps_from_sacrum] * 3
    weights = np.array([NECK_WEIGHT if v.level < Level.T1 else 1.0 for v in spine.vertebrae] + [1.0] * 3)
    pick = int(rng.choice(len(frames), p=weights / weights.sum()))
    shape = np.array(settings.phantom_shape)
    extent = settings.spacing_mm * (shape - 1)
    center = frames[pick][:3, 3] + rng.uniform(-0.12, 0.12, 3) * extent
    grid = geometry.scaling_affine([settings.spacing_mm] * 3, center - extent / 2)
    phantom = draw(spine, grid, settings.phantom_shape, rng)
    whole = phantom.whole_bodies(LEAST_BODY_VOXELS)
    treatments = _treatments(phantom, whole, rng) if rng.random() < settings.treated_rate else []
    hu, cement = phantom.hu, np.zeros(phantom.hu.shape, dtype=np.float32)
    if treatments:
        cement = np.maximum(cement_fraction(phantom, treatments), leak_fraction(phantom, treatments))
        hu = with_cement(hu, phantom, treatments, rng).astype(np.float32)
    metal = np.zeros(hu.shape, dtype=np.float32)
    if len(whole) and rng.random() < settings.metal_rate:
        item = _hardware(phantom, whole, treatments, rng)
        metal = metal_fraction(phantom, [item])
        hu = metal_streaks(hu, metal, rng, spacing_mm=settings.spacing_mm, material=item.material)
    centers = geometry.apply(geometry.inverse(grid), [v.lps_from_local[:3, 3] for v in spine.vertebrae])
    return DrawnPatient(
        hu=hu,
        structure=phantom.structure,
        instance=phantom.instance,
        cement=cement.astype(np.float32),
        metal=(metal > 0.3).astype(np.uint8),
        centers_index=centers,
    )


def _treatments(phantom: Phantom, whole: npt.NDArray[np.intp], rng: np.random.Generator) -> list[Treatment]:
    """Cement in up to three of the bodies in view, half of them with more leaks than patients have."""
    if not len(whole):
        return []
    return [
        treat(phantom, n, rng, leaks=_several_compartments(rng) if rng.random() < MANY_LEAKS_RATE else None)
        for n in sample_treated(phantom, whole, rng)
    ]


def _several_compartments(rng: np.random.Generator) -> list[Compartment]:
    return [Compartment(name) for name in rng.choice(list(Compartment), size=int(rng.integers(2, 5)), replace=False)]


def _hardware(
    phantom: Phantom, whole: npt.NDArray[np.intp], treatments: list[Treatment], rng: np.random.Generator
) -> Hardware:
    """Needles where there is cement, else screws and rods, a cage or stents."""
    n = int(rng.choice(whole))
    last = len(phantom.spine.vertebrae) - 1
    draw = rng.random()
    if treatments and draw < 0.35:
        return needles(phantom, treatments[0], rng)
    if draw < 0.8:  # scanners that end at 3071 HU show screws and dense cement at the same value: shape alone tells
        return screws_and_rods(phantom, range(n, min(n + int(rng.integers(2, 4)), last + 1)), rng)
    return cage(phantom, n, rng) if n < last and draw < 0.92 else stent(phantom, n, rng)


def _slab_matrix(count: int, thickness: float, increment: float, phase: float) -> npt.NDArray[np.float32]:
    """(count, count) matrix: means over slabs of ``thickness`` every ``increment`` voxels, then linear in between."""
    position = np.arange(count, dtype=np.float64)
    centers = np.arange(phase - increment, count + increment, increment)
    distance = np.abs(centers[:, None] - position[None, :])
    slab = np.clip(thickness / 2 + 0.5 - distance, 0, 1)
    empty = slab.sum(axis=1) == 0
    slab[empty, np.clip(np.round(centers[empty]), 0, count - 1).astype(int)] = 1
    slab /= slab.sum(axis=1, keepdims=True)
    linear = np.clip(1 - np.abs(position[:, None] - centers[None, :]) / increment, 0, 1)
    linear /= linear.sum(axis=1, keepdims=True)
    return np.asarray(linear @ slab, dtype=np.float32)


def _along(image: npt.NDArray[np.float32], matrix: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Apply a matrix along one axis of a volume."""
    if axis == 0:
        return np.asarray((matrix @ image.reshape(len(image), -1)).reshape(-1, *image.shape[1:]))
    return np.asarray(matrix @ image if axis == 1 else image @ matrix.T)


def _blurred(image: npt.NDArray[np.float32], sigma: float, axes: Sequence[int] = (0, 1, 2)) -> npt.NDArray[np.float32]:
    """A Gaussian filter along axes of a volume, reflected at its ends.

    It is the same as that of scipy, and on edges of some eighty voxels a product of matrices takes half of its time.
    """
    from scipy import ndimage

    for axis in axes:
        unit = np.eye(image.shape[axis], dtype=np.float32)
        image = _along(image, ndimage.gaussian_filter1d(unit, sigma, axis=0), axis)
    return image


def scan(hu: npt.NDArray[np.float32], spacing_mm: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """See a crop through a random scanner, on the same grid: slices, kernel, noise, offset, clipping.

    This is the quick stand-in for `acquisition.acquire`, wide on purpose.
    """
    image = hu.astype(np.float32)
    if rng.random() < 0.5:
        image = np.where(image > -300, image * rng.uniform(0.85, 1.15) + rng.normal(0, 15), image)
    image = _blurred(image, rng.uniform(0.0, 0.9) / spacing_mm, axes=(0, 1))
    thickness = float(rng.choice([0.6, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0], p=[0.12, 0.2, 0.16, 0.16, 0.18, 0.06, 0.12]))
    increment = thickness * (1.0 if thickness > 2.5 else rng.choice([0.5, 0.8, 1.0]))
    axis = 2 if rng.random() < 0.92 else int(rng.integers(0, 2))
    step = max(increment / spacing_mm, 0.5)
    matrix = _slab_matrix(image.shape[axis], thickness / spacing_mm, step, rng.uniform(0, step))
    image = _along(image, matrix, axis)
    if rng.random() < COARSE_RATE:  # data sets are often passed on at 2 to 3 mm in every direction
        voxel = rng.uniform(1.8, 3.3) / spacing_mm
        for other in {0, 1, 2} - {axis}:
            image = _along(image, _slab_matrix(image.shape[other], voxel, voxel, rng.uniform(0, voxel)), other)
    kernel = rng.random()
    if kernel < 0.4:
        image = image + rng.uniform(0.1, 1.3) * (image - _blurred(image, rng.uniform(0.7, 1.4)))
    image += _noise(image.shape, matrix, axis, rng)
    if rng.random() < 0.2:
        image = (
            image
            + rng.uniform(5, 40)
            * texture(rng, (8, 8, 8))
            .repeat(12, 0)
            .repeat(12, 1)
            .repeat(12, 2)[: image.shape[0], : image.shape[1], : image.shape[2]]
        )
    return np.clip(image, -1024, 3071 if rng.random() < 0.7 else 8000)


def _beyond_view(structure: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Where a crop reaches beyond the image, which ends anywhere: on up to three sides, at bodies, round a circle."""
    shape = structure.shape
    beyond = np.zeros(shape, dtype=bool)
    if rng.random() < CUT_BEHIND_RATE:  # a field round the heart often ends in the spine, which then has no arches
        rows = np.flatnonzero((structure == Structure.BODY).any(axis=(0, 2)))
        if len(rows):
            depth = len(rows)
            beyond[:, max(int(rows[-1] + 1 - rng.uniform(-0.2, 0.5) * depth), 1) :] = True
    if rng.random() < CUT_RATE:
        for side in rng.choice(6, size=int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1])), replace=False):
            n = int(rng.integers(4, shape[side // 2] // 2))
            cut = [slice(None)] * 3
            cut[side // 2] = slice(0, n) if side % 2 else slice(-n, None)
            beyond[tuple(cut)] = True
    if rng.random() < ROUND_FIELD_RATE:
        radius = shape[0] * rng.uniform(0.5, 1.2)
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.1) * radius
        i, j = np.ogrid[: shape[0], : shape[1]]
        center = np.array(shape[:2]) / 2 + away * np.array([np.cos(angle), np.sin(angle)])
        beyond[np.hypot(i - center[0], j - center[1]) > radius] = True
    return beyond


def _noise(
    shape: tuple[int, ...], matrix: npt.NDArray[np.float32], axis: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    noise = rng.standard_normal(shape, dtype=np.float32)
    grain = rng.uniform(0.0, 1.2)
    if grain > 0.3:
        noise = _blurred(noise, grain)
    if axis == 2 and rng.random() < 0.5:
        noise = noise @ matrix.T
    level = rng.uniform(3, 30) if rng.random() < 0.75 else rng.uniform(30, 80)
    return np.asarray(noise * (level / max(float(noise.std()), 1e-3)), dtype=np.float32)


def take_crop(patient: DrawnPatient, rng: np.random.Generator, settings: CropSettings) -> TrainingCrop:
    """Cut a crop at a random place, mirror it at random, scan it, and work out the offsets."""
    shape, centers = np.array(patient.hu.shape), patient.centers_index
    start = settings.start(shape, centers[np.all((centers > 0) & (centers < shape), axis=1)], rng)
    box = tuple(slice(int(a), int(b)) for a, b in zip(start, start + settings.edges, strict=True))
    hu = scan(patient.hu[box], settings.spacing_mm, rng)
    beyond = _beyond_view(patient.structure[box], rng)
    hu[beyond] = -1000
    seen = ~beyond
    structure, instance = patient.structure[box] * seen, patient.instance[box] * seen
    offset, own = _offsets(structure, instance, patient.centers_index - start, settings.spacing_mm)
    turn = slice(None)
    if rng.random() < 0.5:  # the left-right mirror image of a patient is a patient
        turn = slice(None, None, -1)
        offset[0] *= -1
    return TrainingCrop(
        hu=np.ascontiguousarray(hu[turn]),
        structure=np.ascontiguousarray(structure[turn]),
        cement=np.ascontiguousarray((patient.cement[box] * seen)[turn]),
        metal=np.ascontiguousarray((patient.metal[box] * seen)[turn]),
        offset_mm=np.ascontiguousarray(offset[:, turn]),
        offset_weight=np.ascontiguousarray(own[turn].astype(np.uint8)),
    )


def _offsets(
    structure: npt.NDArray[np.uint8],
    instance: npt.NDArray[np.uint8],
    centers_index: npt.NDArray[np.float64],
    spacing_mm: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Way of each voxel to the centre of its vertebra in mm (3, i, j, k), and where there is one to be told.

    Args:
        structure: Of the crop.
        instance: Of the crop: 1 for the first centre.
        centers_index: (n, 3), in voxels of the crop.
        spacing_mm: Of the grid.
    """
    own = ((structure == Structure.BODY) | (structure == Structure.POSTERIOR)) & (instance > 0)
    ribs = np.nonzero((structure == Structure.RIB) & (instance > 0))
    ends = centers_index[instance[ribs].astype(np.intp) - 1] - np.transpose(ribs)
    own[ribs] = np.linalg.norm(ends * spacing_mm, axis=1) < RIB_REACH_MM
    voxels = np.nonzero(own)
    ways_mm = (centers_index[instance[voxels].astype(np.intp) - 1] - np.transpose(voxels)) * spacing_mm
    offset = np.zeros((3, *structure.shape), dtype=np.float32)
    offset[:, own] = np.clip(ways_mm, -LARGEST_OFFSET_MM, LARGEST_OFFSET_MM).T
    return offset, own


def crops(seed: int, settings: CropSettings, folder: Path | None = None) -> Iterator[TrainingCrop]:
    """An endless stream of crops; ``folder`` keeps the patients drawn for a later stream."""
    rng = np.random.default_rng(seed)
    pool: PatientPool[DrawnPatient] = PatientPool(settings.pool, folder)
    while True:
        pool.add([draw_patient(rng, settings)])
        for _ in range(pool.uses(settings.uses)):
            yield take_crop(pool.pick(rng), rng, settings)
