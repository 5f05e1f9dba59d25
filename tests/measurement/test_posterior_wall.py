"""Retropulsion of a posterior wall, and the canal that it narrows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from phantoms.spine import SpinePhantom, normal_shape
from vertecast.core import geometry
from vertecast.core.images import Grid, Segmentation
from vertecast.core.results import LevelAssignment, Measured, NotMeasured, Quantity
from vertecast.lab.simulation.patient.spine import Array, BodyShape
from vertecast.measurement.ct.body import bone
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.heights import fit_bodies, measure_vertebrae
from vertecast.measurement.ct.body.outline import find_bodies
from vertecast.measurement.ct.body.posterior_wall import retropulsion, trace_posterior_wall

NAMES = ("T12", "L1", "L2")
CANAL_DEPTH_MM = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst(BodyShape):
    """A body with a fragment of its upper posterior corner pushed back by ``bulge_mm``, 18 mm wide and 9 mm high."""

    bulge_mm: float = 0.0

    def signed_distance_mm(self, x: Array, y: Array, z: Array) -> Array:
        back, low = self.posterior_wall_y_mm, self.posterior_mm / 2 - 10.0
        sides = [9.0 - np.abs(x), z - low, low + 9.0 - z, y - back + 4.0, back + self.bulge_mm - y]
        return np.maximum(BodyShape.signed_distance_mm(self, x, y, z), np.minimum.reduce(sides))


def burst(bulge_mm: float) -> Burst:
    whole = normal_shape(25.0, anterior=0.7, middle=0.8, superior_share=0.8, waist=0.05)
    return Burst(**{name: getattr(whole, name) for name in BodyShape.__slots__}, bulge_mm=bulge_mm)


def fitted(bulge_mm: float, **changes: object) -> tuple[SpinePhantom, Segmentation, tuple[BodyGeometry, ...]]:
    """A broken L1 between sound bodies; the grid of the CT is that of the segmentation."""
    shapes = (normal_shape(24.0), burst(bulge_mm), normal_shape(26.0, depth_mm=35.0))
    phantom = SpinePhantom(shapes=shapes, **changes)  # type: ignore[arg-type]
    segmentation = phantom.segmentation()
    grid = Grid(shape=segmentation.structure.shape, lps_from_index=segmentation.lps_from_index)
    bodies = fit_bodies(grid, segmentation)
    assert all(isinstance(body, BodyGeometry) for body in bodies)
    return phantom, segmentation, bodies  # type: ignore[return-value]


def measured(segmentation: Segmentation, bodies: tuple[BodyGeometry, ...], at: int = 1) -> Measured:
    layout = find_bodies(segmentation)
    walls = [trace_posterior_wall(segmentation, body, n + 1, layout) for n, body in enumerate(bodies)]
    return retropulsion(walls, bodies, NAMES, at)


def expected_mm(phantom: SpinePhantom, bulge_mm: float) -> float:
    """By the shapes alone: the fragment's back, or the wall's own corners, behind the line of the neighbours'."""

    def corner(n: int, side: float) -> np.ndarray:
        shape = phantom.shapes[n]
        y = np.array([shape.posterior_wall_y_mm])
        plate = shape.superior_mm if side > 0 else shape.inferior_mm
        point = [0.0, y[0], plate(np.zeros(1), y)[0]]
        return phantom.local(1, geometry.apply(phantom.frames[n], point))[1:]

    below, above = corner(2, 1.0), corner(0, -1.0)
    along = geometry.unit(above - below)
    shape = phantom.shapes[1]
    high = shape.posterior_mm / 2 - 2.5
    ends = [corner(1, 1.0), corner(1, -1.0), np.array([shape.posterior_wall_y_mm + bulge_mm, high])]
    return max(float((end - below) @ [along[1], -along[0]]) for end in (ends[2:] if bulge_mm else ends))


@pytest.mark.parametrize("bulge_mm", [0.0, 3.0, 6.0])
@pytest.mark.parametrize("curve_deg", [-4.0, 6.0])
def test_a_known_bulge(bulge_mm: float, curve_deg: float) -> None:
    phantom, segmentation, bodies = fitted(bulge_mm, curve_deg=curve_deg)
    found = measured(segmentation, bodies)
    assert isinstance(found, Quantity)
    assert found.value == pytest.approx(expected_mm(phantom, bulge_mm), abs=0.8)
    assert found.interval95 is not None
    assert found.interval95[0] < found.value < found.interval95[1]


def test_turned_and_leaning_columns_give_the_same() -> None:
    straight, turned = (
        measured(*fitted(5.0, tilt_deg=tilt, turn_deg=axial)[1:])
        for tilt, axial in (((0.0, 0.0), 0.0), ((12.0, -18.0), 22.0))
    )
    assert isinstance(straight, Quantity)
    assert isinstance(turned, Quantity)
    assert turned.value == pytest.approx(straight.value, abs=0.6)


def test_the_fragment_narrows_the_canal_by_as_much() -> None:
    _, segmentation, bodies = fitted(6.0)
    depths = [bone.canal_depth_mm(segmentation, body) for body in bodies]
    found = bone.canal_compromise(depths, (True, False, True), 1)
    assert isinstance(found, Quantity)
    assert found.value == pytest.approx(6.0 / CANAL_DEPTH_MM, abs=0.08)
    _, whole, bodies = fitted(0.0)
    open_canal = bone.canal_compromise([bone.canal_depth_mm(whole, body) for body in bodies], (True, False, True), 1)
    assert isinstance(open_canal, Quantity)
    assert open_canal.value < 0.06


def test_without_neighbours_there_is_a_reason() -> None:
    _, segmentation, bodies = fitted(3.0)
    assert measured(segmentation, bodies, 0) == NotMeasured(reason="no body above in view")
    assert measured(segmentation, bodies, 2) == NotMeasured(reason="no body below in view")
    layout = find_bodies(segmentation)
    walls = [trace_posterior_wall(segmentation, body, n + 1, layout) for n, body in enumerate(bodies)]
    gap = retropulsion(walls, bodies, ("T12", "L1", "L3"), 1)
    assert gap == NotMeasured(reason="a neighbouring body was not found")
    cut = retropulsion([NotMeasured(reason="cut"), *walls[1:]], bodies, NAMES, 1)
    assert cut == NotMeasured(reason="T12: cut")


@pytest.mark.parametrize(("at", "reason"), [(1, "cement lies at the posterior wall"), (0, "T12: cement lies")])
def test_cement_at_the_wall_hides_it(at: int, reason: str) -> None:
    phantom, segmentation, bodies = fitted(3.0)
    back = phantom.shapes[at].posterior_wall_y_mm
    index = np.moveaxis(np.indices(segmentation.structure.shape), 0, -1)
    x, y, z = np.moveaxis(phantom.local(at, geometry.apply(segmentation.lps_from_index, index)), -1, 0)
    cement = ((np.abs(x) < 6) & (np.abs(y - back + 3) < 3) & (np.abs(z) < 12)).astype(np.float16)
    found = measured(replace(segmentation, cement_probability=cement), bodies)
    assert isinstance(found, NotMeasured)
    assert found.reason.startswith(reason)


def test_the_finding_carries_it() -> None:
    _, segmentation, bodies = fitted(6.0)
    levels = tuple(LevelAssignment(name=name, source="operator", confidence=1.0) for name in NAMES)
    grid = Grid(shape=segmentation.structure.shape, lps_from_index=segmentation.lps_from_index)
    findings = measure_vertebrae(grid, segmentation, levels, series_instance_uid="1.2", geometries=bodies)
    assert findings[1].retropulsion == measured(segmentation, bodies)
    assert findings[0].retropulsion == NotMeasured(reason="no body above in view")
