"""The ways that cement takes out of a body: one route per compartment, in the vertebra's own frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from vertecast.core.anatomy import Compartment, Structure, YeomType
from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.patient.spine import Vertebra
from vertecast.lab.simulation.treatment.growth import BoolGrid, FloatGrid, Site, smooth_noise, tube

DISC_ROOM_MM: Final = 8.0
CANAL_REACH_MM: Final = 28.0
EXTRAVERTEBRAL_REACH_MM: Final = 16.0
VEIN_RADIUS_MM: Final = (0.9, 2.2)
VEIN_LENGTH_MM: Final = 45.0
TRACT_RADIUS_MM: Final = 1.8
"""A bone needle of 11 G is 3 mm across; its tract is a little wider."""
TRACT_BEHIND_PEDICLE_MM: Final = 42.0
DISTANT_MM: Final = (44.0, 57.0)
"""Distance of distant fragments from the centre of the body, inside the site and beyond the local compartments."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """Where a leak may run: coverage that each voxel can take, resistance, and the patch of cortex where it starts."""

    capacity: FloatGrid
    cost: FloatGrid
    exit_zone: BoolGrid
    yeom_type: YeomType | None


RouteMaker = Callable[[Site, float, np.random.Generator], Route]


def _free(site: Site) -> BoolGrid:
    """Voxels inside the patient that are no bone."""
    return ~site.bone & (site.hu > -950)


def _wobble(site: Site, strength: float, rng: np.random.Generator) -> FloatGrid:
    """Positive random resistance, correlated over about 4 mm."""
    return np.asarray(np.exp(strength * smooth_noise(site.body.shape, 4.0 / site.spacing_mm, rng)), dtype=np.float32)


def _side(rng: np.random.Generator) -> float:
    """+1 left, -1 right."""
    return float(rng.choice([-1.0, 1.0]))


def _disc_route(site: Site, sign: float, rng: np.random.Generator) -> Route:
    shape = site.vertebra.shape
    plate = shape.superior_mm(site.x, site.y) if sign > 0 else -shape.inferior_mm(site.x, site.y)
    above = sign * site.z - plate
    footprint = (2 * site.x / shape.width_mm) ** 2 + (2 * site.y / shape.depth_mm) ** 2 < 0.95
    room = footprint & (above > -site.spacing_mm) & (above < DISC_ROOM_MM) & _free(site)
    disc = room & (site.structure == Structure.DISC)
    capacity = (disc if disc.any() else room).astype(np.float32)
    cost = _wobble(site, 0.5, rng) * (1 + (np.clip(above, 0, None) / 1.5) ** 2)
    central = (2 * site.x / shape.width_mm) ** 2 + (2 * site.y / shape.depth_mm) ** 2 < 0.6
    return Route(
        capacity=capacity, cost=cost.astype(np.float32), exit_zone=capacity * central > 0, yeom_type=YeomType.DISC
    )


def route_disc_superior(site: Site, volume_ml: float, rng: np.random.Generator) -> Route:
    """Through the superior endplate, flat over it."""
    return _disc_route(site, 1.0, rng)


def route_disc_inferior(site: Site, volume_ml: float, rng: np.random.Generator) -> Route:
    """Through the inferior endplate, flat over it."""
    return _disc_route(site, -1.0, rng)


def route_canal(site: Site, volume_ml: float, rng: np.random.Generator) -> Route:
    """Through the basivertebral foramen or, one time in four, a cortical gap; flat along the wall in epidural veins."""
    vertebra = site.vertebra
    behind = site.y - vertebra.shape.posterior_wall_y_mm
    half = vertebra.canal_width_mm / 2
    window = (np.abs(site.x) < 0.9 * half) & (behind > -3.0) & (behind < 0.8 * vertebra.canal_depth_mm)
    window &= np.abs(site.z) < CANAL_REACH_MM
    capacity = window & _free(site) & (site.structure != Structure.DISC)
    to_veins = np.abs(np.abs(site.x) - 0.45 * half) / half
    cost = _wobble(site, 0.4, rng) * (1 + (np.clip(behind, 0, None) / 2.0) ** 2) * (1 + to_veins)
    basivertebral = rng.random() < 0.75
    height = vertebra.shape.posterior_mm
    if basivertebral:
        zone = (np.abs(site.x) < 5.0) & (np.abs(site.z) < max(0.2 * height, 2 * site.spacing_mm))
    else:
        zone = (np.abs(site.x) > 5.0) & (np.abs(site.z) < 0.45 * height)
    yeom_type = YeomType.BASIVERTEBRAL if basivertebral else YeomType.CORTICAL
    return Route(
        capacity=capacity.astype(np.float32), cost=cost.astype(np.float32), exit_zone=zone, yeom_type=yeom_type
    )


def route_foramen(site: Site, volume_ml: float, rng: np.random.Generator) -> Route:
    """Through the posterolateral cortex under one pedicle, between canal and psoas."""
    vertebra = site.vertebra
    side, half = _side(rng), vertebra.canal_width_mm / 2
    behind = site.y - vertebra.shape.posterior_wall_y_mm
    lateral = side * site.x - half
    below = -site.z - vertebra.shape.posterior_mm / 2
    window = (lateral > 0) & (lateral < 12) & (behind > -5.0) & (behind < 11.0) & (below > -12.0) & (below < 10.0)
    capacity = window & _free(site) & (site.structure != Structure.CANAL) & (site.structure != Structure.DISC)
    return Route(
        capacity=capacity.astype(np.float32),
        cost=_wobble(site, 0.4, rng),
        exit_zone=capacity,
        yeom_type=YeomType.CORTICAL,
    )


def _blob_route(site: Site, window: BoolGrid, rng: np.random.Generator) -> Route:
    """A rounded mass against the cortex, through a defect in it."""
    shape = site.vertebra.shape
    height = 0.5 * (shape.anterior_mm + shape.posterior_mm)
    capacity = window & _free(site) & (np.abs(site.z) < 0.5 * height + 4.0)
    capacity &= (site.structure != Structure.DISC) & (site.structure != Structure.CANAL)
    outward = np.clip(-shape.wall_distance_mm(site.x, site.y, site.z), 0, None)
    cost = _wobble(site, 0.35, rng) * (1 + (outward / 8.0) ** 2)
    zone = capacity & (np.abs(site.z) < 0.4 * height)
    return Route(
        capacity=capacity.astype(np.float32),
        cost=cost.astype(np.float32),
        exit_zone=zone,
        yeom_type=YeomType.CORTICAL,
    )


def route_prevertebral(site: Site, volume_ml: float, rng: np.random.Generator) -> Route:
    """In front of the anterior wall, near the midline."""
    shape = site.vertebra.shape
    front = shape.anterior_wall_y_mm
    window = (np.abs(site.x) < 0.3 * shape.width_mm) & (site.y < 0.6 * front)
    return _blob_route(site, window & (site.y > front - EXTRAVERTEBRAL_REACH_MM), rng)


def _paravertebral_route(site: Site, side: float, rng: np.random.Generator) -> Route:
    shape = site.vertebra.shape
    lateral = side * site.x
    window = (lateral > 0.38 * shape.width_mm) & (lateral < 0.5 * shape.width_mm + EXTRAVERTEBRAL_REACH_MM)
    return _blob_route(site, window & (np.abs(site.y + 0.05 * shape.depth_mm) < 0.33 * shape.depth_mm), rng)


def route_paravertebral_left(site: Site, volume_ml: float, rng: np.random.Generator) -> Route:
    """Beside the left wall (+x in LPS)."""
    return _paravertebral_route(site, 1.0, rng)


def route_paravertebral_right(site: Site, volume_ml: float, rng: np.random.Generator) -> Route:
    """Beside the right wall (-x in LPS)."""
    return _paravertebral_route(site, -1.0, rng)


def route_vein(site: Site, volume_ml: float, rng: np.random.Generator) -> Route:
    """Along one segmental vein: round the waist at mid-height from the front towards the foramen, a thin tube."""
    shape, side = site.vertebra.shape, _side(rng)
    radius = float(np.clip(np.sqrt(volume_ml * 1000 / (np.pi * VEIN_LENGTH_MM)), *VEIN_RADIUS_MM))
    length = volume_ml * 1000 / (np.pi * radius**2)
    waist, gap = 1 - shape.waist, radius + 0.5
    a, b = shape.width_mm / 2 * waist + gap, shape.depth_mm / 2 * waist + gap
    turn = length / (0.5 * (a + b))
    middle = rng.uniform(-0.9, 0.1)
    angle = np.linspace(max(middle - turn / 2, -1.5), min(middle + turn / 2, 1.0), 40)
    lift = rng.uniform(-1.5, 1.5) + np.cumsum(rng.normal(0, 0.15, 40))
    ring = np.column_stack([side * a * _superellipse(np.cos(angle)), b * _superellipse(np.sin(angle)), lift])
    missing = max(length - float(np.linalg.norm(np.diff(ring, axis=0), axis=1).sum()), 1.0)
    outward = ring[0] + np.outer(np.linspace(1, 0.05, 10), missing * np.array([0.25 * side, -0.95, 0.15]))
    tubes = tube(site, np.vstack([outward, ring]), radius)
    start = tube(site, np.vstack([ring[20] * [0.75, 0.75, 1.0], ring[20]]), radius)
    capacity = np.where(_free(site), np.maximum(tubes, start), 0.0).astype(np.float32)
    return Route(capacity=capacity, cost=_wobble(site, 0.1, rng), exit_zone=start > 0, yeom_type=YeomType.SEGMENTAL)


def _superellipse(unit: FloatGrid) -> FloatGrid:
    """Push a cosine or sine outwards, so that the vein follows the squarish section of a body."""
    return np.asarray(np.sign(unit) * np.abs(unit) ** 0.85)


def needle_line(vertebra: Vertebra, tip_local_mm: FloatArray) -> FloatArray:
    """Points (3, 3) of a transpedicular needle in the vertebra's frame: tip, pedicle, end in the back muscles.

    The needle passes the pedicle of the tip's own side.
    """
    side = 1.0 if tip_local_mm[0] >= 0 else -1.0
    pedicle = np.array(
        [
            side * (vertebra.canal_width_mm + vertebra.pedicle_width_mm) / 2,
            vertebra.shape.posterior_wall_y_mm + 3.0,
            (vertebra.shape.posterior_mm - vertebra.pedicle_height_mm) / 2,
        ]
    )
    along = (pedicle - tip_local_mm) / np.linalg.norm(pedicle - tip_local_mm)
    return np.stack([tip_local_mm, pedicle, pedicle + TRACT_BEHIND_PEDICLE_MM * along])


def route_needle_tract(site: Site, tips_local_mm: FloatArray, rng: np.random.Generator) -> Route:
    """Back along one of the needles: through the pedicle and out into the muscle."""
    tip = tips_local_mm[rng.integers(len(tips_local_mm))]
    line = tube(site, needle_line(site.vertebra, tip), TRACT_RADIUS_MM)
    foreign = site.bone & (site.instance != site.instance[site.body][0])
    capacity = np.where(foreign, 0.0, line).astype(np.float32)
    return Route(capacity=capacity, cost=_wobble(site, 0.1, rng), exit_zone=line > 0, yeom_type=None)


def distant_fragments(site: Site, volume_ml: float, rng: np.random.Generator) -> FloatGrid:
    """Short tubes far in front of or beside the body: fragments in azygos or caval vein, or in the lung."""
    result = np.zeros(site.body.shape, dtype=np.float32)
    pieces = int(rng.integers(1, 4))
    allowed = _free(site) & ~ndimage.binary_dilation(site.bone, iterations=2)
    for _ in range(pieces):
        radius = rng.uniform(1.2, 2.5)
        length = max(volume_ml * 1000 / pieces / (np.pi * radius**2), 1.0)
        polar, distance = rng.uniform(-np.pi, 0), rng.uniform(*DISTANT_MM)
        start = np.array([distance * np.cos(polar), distance * np.sin(polar), rng.uniform(-15, 15)])
        step = rng.normal(size=3) * [0.4, 0.4, 1.0]
        end = start + step / np.linalg.norm(step) * min(length, 30.0)
        result = np.maximum(result, tube(site, np.stack([start, end]), radius))
    far = np.hypot(site.x, site.y) > DISTANT_MM[0] - 3.0
    return np.where(allowed & far, result, 0.0).astype(np.float32)


ROUTES: Final[Mapping[Compartment, RouteMaker]] = {
    Compartment.DISC_SUPERIOR: route_disc_superior,
    Compartment.DISC_INFERIOR: route_disc_inferior,
    Compartment.CANAL: route_canal,
    Compartment.FORAMEN: route_foramen,
    Compartment.PREVERTEBRAL: route_prevertebral,
    Compartment.PARAVERTEBRAL_LEFT: route_paravertebral_left,
    Compartment.PARAVERTEBRAL_RIGHT: route_paravertebral_right,
    Compartment.VEIN: route_vein,
}
