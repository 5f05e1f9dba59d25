"""Metal in and beside the spine, placed by the pose of the vertebrae: needles, screws and rods, cages, stents.

Sizes are usual ones of the devices: bone needles 11 to 13 G, pedicle screws 5 to 7 mm, rods 5.5 mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.geometry import FloatArray
from vertecast.lab.simulation.ct.streaks import Material
from vertecast.lab.simulation.patient.spine import Vertebra
from vertecast.lab.simulation.patient.tissue import Phantom
from vertecast.lab.simulation.treatment.cement import Treatment
from vertecast.lab.simulation.treatment.growth import Deposit, FloatGrid, IndexArray, tube_voxels
from vertecast.lab.simulation.treatment.leak_routes import needle_line

HardwareKind: TypeAlias = Literal["needle", "screws and rods", "cage", "stent"]

NEEDLE_RADIUS_MM: Final = (1.2, 1.5)
SCREW_RADIUS_MM: Final = (2.5, 3.5)
SCREW_DEPTH_SHARE: Final = (0.55, 0.85)
"""Share of the body's depth that a screw's thread reaches from behind."""
ROD_RADIUS_MM: Final = 2.75
HEAD_RADIUS_MM: Final = 5.5
HEAD_BEHIND_WALL_MM: Final = 32.0
CAGE_STRUT_MM: Final = 0.9
STENT_RADIUS_MM: Final = (6.0, 8.5)
STENT_WIRE_MM: Final = 0.4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hardware:
    """One implant or instrument: what it is, of what, and the voxels of the phantom's grid that it covers."""

    kind: HardwareKind
    material: Material
    deposit: Deposit


Polyline: TypeAlias = tuple[npt.NDArray[np.float64], float]
"""Corners (n, 3) in LPS mm and the radius in mm."""


def needles(phantom: Phantom, treatment: Treatment, rng: np.random.Generator) -> Hardware:
    """The steel needles of a treatment, in place through their pedicles."""
    vertebra = phantom.spine.vertebrae[treatment.vertebra_index]
    tips = geometry.apply(geometry.inverse(vertebra.lps_from_local), treatment.needle_tips_lps_mm)
    radius = rng.uniform(*NEEDLE_RADIUS_MM)
    lines = [_posed(vertebra, _beyond(needle_line(vertebra, tip), 35.0), radius) for tip in tips]
    return _hardware(phantom, "needle", "steel", lines)


def screws_and_rods(phantom: Phantom, vertebra_indices: Sequence[int], rng: np.random.Generator) -> Hardware:
    """Pedicle screws on both sides of the given vertebrae (indices from 0), heads, and two rods that join them."""
    radius = rng.uniform(*SCREW_RADIUS_MM)
    lines: list[Polyline] = []
    for side in (1.0, -1.0):
        heads = []
        for index in sorted(vertebra_indices):
            vertebra = phantom.spine.vertebrae[index]
            screw = _screw_line(vertebra, side, rng)
            lines.append(_posed(vertebra, screw, min(radius, 0.5 * vertebra.pedicle_width_mm)))
            lines.append(_posed(vertebra, np.stack([screw[1], screw[1] + [0.0, 8.0, 0.0]]), HEAD_RADIUS_MM))
            heads.append(geometry.apply(vertebra.lps_from_local, screw[1] + [0.0, 5.0, 0.0]))
        rod = np.array(heads)
        overhang = 8.0 * (geometry.unit(rod[0] - rod[-1]) if len(rod) > 1 else np.array([0.0, 0.0, 1.0]))
        lines.append((np.vstack([rod[0] + overhang, rod, rod[-1] - overhang]), ROD_RADIUS_MM))
    return _hardware(phantom, "screws and rods", "titanium", lines)


def cage(phantom: Phantom, upper_index: int, rng: np.random.Generator) -> Hardware:
    """A cage in the disc below the vertebra ``upper_index``: two titanium rings joined by posts.

    Raises:
        IndexError: There is no vertebra below.
    """
    upper, lower = phantom.spine.vertebrae[upper_index], phantom.spine.vertebrae[upper_index + 1]
    zero = np.zeros(1)
    top = np.array([0.0, 0.0, float(upper.shape.inferior_mm(zero, zero)[0])])
    bottom = np.array([0.0, 0.0, float(lower.shape.superior_mm(zero, zero)[0])])
    ends = [geometry.apply(upper.lps_from_local, top), geometry.apply(lower.lps_from_local, bottom)]
    across = upper.lps_from_local[:3, 0] * rng.uniform(0.3, 0.38) * upper.shape.width_mm
    along = upper.lps_from_local[:3, 1] * rng.uniform(0.28, 0.36) * upper.shape.depth_mm
    angle = np.linspace(0, 2 * np.pi, 33)
    ring = np.outer(np.cos(angle), across) + np.outer(np.sin(angle), along)
    lines: list[Polyline] = [(end + ring, CAGE_STRUT_MM) for end in ends]
    lines += [(np.stack([ends[0] + ring[n], ends[1] + ring[n]]), CAGE_STRUT_MM) for n in range(0, 32, 4)]
    return _hardware(phantom, "cage", "titanium", lines)


def stent(phantom: Phantom, vertebra_index: int, rng: np.random.Generator) -> Hardware:
    """Two expanded vertebral-body stents: fine meshes of wire on either side of the midline."""
    vertebra = phantom.spine.vertebrae[vertebra_index]
    shape = vertebra.shape
    room = 0.42 * min(shape.anterior_mm, shape.middle_mm, shape.posterior_mm)
    radius = min(rng.uniform(*STENT_RADIUS_MM), room, 0.2 * shape.width_mm)
    angle = np.linspace(0, 4 * np.pi, 65)
    lines: list[Polyline] = []
    for side in (1.0, -1.0):
        for phase in np.linspace(0, 2 * np.pi, 4, endpoint=False):
            for turn in (1.0, -1.0):
                share = np.linspace(-1, 1, 65)
                width = radius * np.sqrt(np.clip(1 - 0.6 * share**2, 0, 1))
                wire = np.column_stack(
                    [
                        side * 0.22 * shape.width_mm + width * np.cos(turn * angle + phase),
                        share * 0.3 * shape.depth_mm,
                        width * np.sin(turn * angle + phase),
                    ]
                )
                lines.append(_posed(vertebra, wire, STENT_WIRE_MM))
    return _hardware(phantom, "stent", "titanium", lines)


def metal_fraction(phantom: Phantom, hardware: Sequence[Hardware]) -> FloatGrid:
    """Share of each voxel of the phantom's grid that metal covers, float32 from 0 to 1."""
    fraction = np.zeros(phantom.hu.shape, dtype=np.float32)
    for item in hardware:
        at = tuple(item.deposit.voxels.T)
        fraction[at] = np.maximum(fraction[at], item.deposit.fraction)
    return fraction


def _screw_line(vertebra: Vertebra, side: float, rng: np.random.Generator) -> FloatArray:
    """Tip and head (2, 3) of a pedicle screw in the vertebra's frame."""
    shape = vertebra.shape
    back = shape.posterior_wall_y_mm
    pedicle_x = side * (vertebra.canal_width_mm + vertebra.pedicle_width_mm) / 2
    pedicle_z = (shape.posterior_mm - vertebra.pedicle_height_mm) / 2
    tip_y = back - rng.uniform(*SCREW_DEPTH_SHARE) * shape.depth_mm
    pedicle = np.array([pedicle_x, back + 3.0, pedicle_z])
    tip = np.array([0.6 * pedicle_x, tip_y, min(pedicle_z, 0.25 * shape.middle_mm)])
    along = (pedicle - tip) / np.linalg.norm(pedicle - tip)
    return np.stack([tip, pedicle + (HEAD_BEHIND_WALL_MM - 3.0) * along])


def _beyond(line: FloatArray, extra_mm: float) -> FloatArray:
    """Lengthen a polyline at its end."""
    along = geometry.unit(line[-1] - line[-2])
    return np.vstack([line, line[-1] + extra_mm * along])


def _posed(vertebra: Vertebra, local_mm: npt.NDArray[np.float64], radius_mm: float) -> Polyline:
    return geometry.apply(vertebra.lps_from_local, local_mm), radius_mm


def _hardware(phantom: Phantom, kind: HardwareKind, material: Material, lines: Sequence[Polyline]) -> Hardware:
    """Rasterise polylines; thin wires keep their volume as partial coverage."""
    index_from_lps = geometry.inverse(phantom.lps_from_index)
    parts = []
    for points, radius_mm in lines:
        radius = radius_mm / phantom.spacing_mm
        voxels, share = tube_voxels(geometry.apply(index_from_lps, points), max(radius, 0.5), phantom.hu.shape)
        parts.append((voxels, share * np.float32(min((radius / 0.5) ** 2, 1.0))))
    return Hardware(kind=kind, material=material, deposit=_merge(parts, phantom.hu.shape))


def _merge(parts: Sequence[tuple[IndexArray, npt.NDArray[np.float32]]], shape: tuple[int, ...]) -> Deposit:
    """One deposit of several tubes: each voxel once, with its largest coverage."""
    voxels = np.concatenate([part[0] for part in parts])
    share = np.concatenate([part[1] for part in parts])
    flat, place = np.unique(np.ravel_multi_index(tuple(voxels.T), shape), return_inverse=True)
    fraction = np.zeros(len(flat), dtype=np.float32)
    np.maximum.at(fraction, place, share)
    return Deposit(voxels=np.column_stack(np.unravel_index(flat, shape)).astype(np.int32), fraction=fraction)
