"""The endplate of S1 and the lumbar lordosis that ends at it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phantoms.spine import SpinePhantom, normal_shape
from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.images import Grid, Segmentation
from vertecast.core.results import AngleFinding, LevelAssignment, NotMeasured, Quantity
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.tissue import draw
from vertecast.measurement.ct.angles import LORDOSIS
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.heights import fit_bodies
from vertecast.measurement.ct.sacrum import SacralEndplate, fit_sacral_endplate
from vertecast.measurement.ct.study import measure_study

LUMBAR = ("L1", "L2", "L3", "L4", "L5")


def sacrum_frame(phantom: SpinePhantom, tilt_deg: float) -> geometry.FloatArray:
    """Frame of the endplate of S1, a disc below the lowest body and leaning forward against it."""
    half = phantom.shapes[-1].middle_mm / 2 + phantom.disc_mm
    turn = geometry.affine(geometry.rotation([1, 0, 0], np.radians(tilt_deg)), [0.0, 2.0, -half - 3.0])
    return phantom.frames[-1] @ turn


def with_sacrum(phantom: SpinePhantom, tilt_deg: float) -> Segmentation:
    """A body of S1 with a rounded promontory, alae that rise above its endplate, and facets behind it."""
    segmentation = phantom.segmentation()
    frame = sacrum_frame(phantom, tilt_deg)
    index = np.moveaxis(np.indices(segmentation.structure.shape), 0, -1)
    local = geometry.apply(geometry.inverse(frame) @ segmentation.lps_from_index, index)
    x, y, z = np.moveaxis(local, -1, 0)
    promontory = np.where(y < -13, -0.25 * (y + 13) ** 2, 0.0)
    body = (np.abs(x) < 25) & (np.abs(y) < 17) & (z < promontory) & (z > -26)
    ala = (np.abs(x) > 18) & (np.abs(x) < 40) & (np.abs(y) < 12) & (z < 4) & (z > -20)
    facet = (np.abs(np.abs(x) - 17) < 5) & (y > 16) & (y < 24) & (z < 10) & (z > -10)
    structure, instance = segmentation.structure.copy(), segmentation.instance.copy()
    free = structure != Structure.BODY
    structure[free & (body | ala | facet)] = Structure.SACRUM
    instance[structure == Structure.SACRUM] = 0
    return replace(segmentation, structure=structure, instance=instance)


def grid_of(segmentation: Segmentation) -> Grid:
    return Grid(shape=segmentation.structure.shape, lps_from_index=segmentation.lps_from_index)


def lowest_of(segmentation: Segmentation) -> BodyGeometry | NotMeasured:
    return fit_bodies(grid_of(segmentation), segmentation)[-1]


def column(count: int = 2, **changes: float) -> SpinePhantom:
    shapes = [normal_shape(24.0 + n, anterior=1.0 + 0.03 * n) for n in range(count)]
    return SpinePhantom(shapes=shapes, margin_mm=34.0, **changes)  # type: ignore[arg-type]


def tilt_error_deg(endplate: SacralEndplate, lps_from_sacrum: geometry.FloatArray) -> tuple[float, float]:
    """Error of the plane in the sagittal and in the coronal plane of the sacrum."""
    x, y, z = lps_from_sacrum[:3, :3].T @ endplate.normal_lps
    return float(np.degrees(np.arctan2(y, z))), float(np.degrees(np.arctan2(x, z)))


@pytest.mark.parametrize("tilt_deg", [4.0, 16.0, 26.0])
def test_the_plane_keeps_off_alae_facets_and_promontory(tilt_deg: float) -> None:
    phantom = column(turn_deg=12.0)
    segmentation = with_sacrum(phantom, tilt_deg)
    found = fit_sacral_endplate(grid_of(segmentation), segmentation, lowest_of(segmentation))
    assert isinstance(found, SacralEndplate)
    truth = sacrum_frame(phantom, tilt_deg)
    assert np.abs(tilt_error_deg(found, truth)).max() < 1.5
    assert (geometry.inverse(truth) @ [*found.center_lps_mm, 1.0])[:3] == pytest.approx([0, 1.5, 0], abs=3.0)


def lordosis(segmentation: Segmentation, names: tuple[str, ...]) -> list[AngleFinding]:
    levels = tuple(LevelAssignment(name=name, source="operator", confidence=1.0) for name in names)
    found = measure_study(grid_of(segmentation), segmentation, levels, series_instance_uid="1.2")
    return [angle for angle in found.angles if angle.name == LORDOSIS]


def test_lordosis_is_negative_and_that_of_the_frames() -> None:
    phantom = column(5, curve_deg=6.0, tilt_deg=(-14.0, 7.0))
    (found,) = lordosis(with_sacrum(phantom, 18.0), LUMBAR)
    top = phantom.shapes[0].six_points_local_mm()["superior"]
    slope = np.degrees(np.arctan2(top["posterior"][2] - top["anterior"][2], top["posterior"][1] - top["anterior"][1]))
    assert isinstance(found.angle, Quantity)
    assert found.angle.value == pytest.approx(-(4 * 6.0 + 18.0) + slope, abs=2.5)
    assert found.angle.interval95 is not None
    assert found.angle.interval95[0] < found.angle.value < found.angle.interval95[1]
    assert (found.upper, found.lower) == ("L1 superior", "S1 superior")


def test_reasons() -> None:
    phantom = column()
    bare = phantom.segmentation()
    (unseen,) = lordosis(bare, ("L1", "L2"))
    assert unseen.angle == NotMeasured(reason="the sacrum is not in view")
    assert lordosis(bare, ("L2", "L3")) == []
    segmentation = with_sacrum(phantom, 10.0)
    cut = NotMeasured(reason="cut by the edge of the image")
    assert fit_sacral_endplate(grid_of(segmentation), segmentation, cut) == NotMeasured(
        reason="the body above the sacrum: cut by the edge of the image"
    )
    (missed,) = lordosis(without_lowest(with_sacrum(column(3), 10.0)), ("L1", "L2"))
    assert missed.angle == NotMeasured(reason="the endplate of S1 was not found below the lowest body")


def without_lowest(segmentation: Segmentation) -> Segmentation:
    """The body above the sacrum was missed."""
    gone = segmentation.instance == segmentation.count
    return replace(
        segmentation, structure=np.where(gone, 0, segmentation.structure).astype(np.uint8),
        instance=np.where(gone, 0, segmentation.instance).astype(np.uint8),
        body_probability=np.where(gone, 0, segmentation.body_probability).astype(np.float16),
        instance_confidence=segmentation.instance_confidence[:-1], touches_border=segmentation.touches_border[:-1],
    )  # fmt: skip


@pytest.mark.parametrize("seed", [3, 8])
def test_the_sacrum_of_a_simulated_patient(seed: int) -> None:
    """Drawn with alae, facets, foramina and remnants of discs; the frame of its endplate is known."""
    spine = sample_spine(np.random.default_rng(seed), fracture_rate=0.0)
    at = spine.lps_from_sacrum[:3, 3]
    lps_from_index = geometry.scaling_affine([1.5] * 3, at - [75.0, 75.0, 50.0])
    phantom = draw(spine, lps_from_index, (100, 110, 100), np.random.default_rng(seed))
    above = len(spine.vertebrae) - 2
    own = (phantom.instance > above) & (phantom.structure <= Structure.POSTERIOR)
    body = own & (phantom.structure == Structure.BODY)
    empty = np.zeros(body.shape, np.float16)
    other = np.isin(phantom.structure, (Structure.SACRUM, Structure.CANAL))
    segmentation = Segmentation(
        lps_from_index=lps_from_index,
        structure=np.where(own | other, phantom.structure, 0).astype(np.uint8),
        instance=np.where(own, phantom.instance - above, 0).astype(np.uint8),
        body_probability=body.astype(np.float16), cement_probability=empty, metal_probability=empty,
        instance_confidence=(1.0, 1.0), touches_border=(False, False),
    )  # fmt: skip
    found = fit_sacral_endplate(grid_of(segmentation), segmentation, lowest_of(segmentation))
    assert isinstance(found, SacralEndplate)
    assert np.abs(tilt_error_deg(found, spine.lps_from_sacrum)).max() < 2.5
