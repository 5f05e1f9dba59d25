"""Heights, angles and frames against analytic bodies on oblique grids of unequal spacing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from phantoms.spine import SpinePhantom, normal_shape
from strategies import body_shapes
from vertecast.core import geometry
from vertecast.core.images import Grid, Segmentation
from vertecast.core.results import NotMeasured
from vertecast.lab.simulation.patient.spine import BodyShape
from vertecast.measurement.ct.body.endplates import BodyGeometry, fit_body
from vertecast.measurement.ct.body.outline import find_bodies

FRACTURED = normal_shape(26.0, anterior=0.68, middle=0.66, superior_share=0.8, bump_exponent=4.0)
SOUND = normal_shape(25.0, tilt_coronal=0.05)


def phantom(**changes: object) -> SpinePhantom:
    settings: dict[str, object] = {"shapes": [FRACTURED, SOUND], "tilt_deg": (27.0, -14.0)}
    return SpinePhantom(**(settings | changes))  # type: ignore[arg-type]


def fitted(made: SpinePhantom, number: int, segmentation: Segmentation | None = None) -> BodyGeometry:
    body = fit_body(made.volume(), segmentation or made.segmentation(), number)
    assert isinstance(body, BodyGeometry)
    return body


def shrunk(segmentation: Segmentation, seed: int = 3) -> Segmentation:
    """A network that draws bodies about half a millimetre too small, with an uneven surface."""
    p = segmentation.body_probability.astype(np.float64)
    uneven = ndimage.gaussian_filter(np.random.default_rng(seed).normal(0, 1, p.shape), 1.5) * 0.8
    p = np.clip(p + (uneven - 0.22) * np.clip(4 * p * (1 - p), 0, 1), 0, 1)
    lost = (segmentation.structure == 1) & (p < 0.5)
    return replace(
        segmentation,
        body_probability=p.astype(np.float16),
        structure=np.where(lost, 0, segmentation.structure).astype(np.uint8),
    )


@pytest.mark.parametrize(
    ("spacing", "blur", "tilt"),
    [((0.7, 0.8, 1.2), 0.5, (27.0, -14.0)), ((0.5, 0.6, 0.8), 0.9, (-30.0, 10.0)), ((0.7, 0.8, 1.5), 0.6, (5.0, 20.0))],
)
def test_heights_and_wedge_match_the_analytic_body(
    spacing: tuple[float, float, float], blur: float, tilt: tuple[float, float]
) -> None:
    made = phantom(spacing_mm=spacing, blur_mm=blur, tilt_deg=tilt)
    volume, segmentation = made.volume(), made.segmentation()
    errors = []
    for n, shape in enumerate(made.shapes):
        body = fit_body(volume, segmentation, n + 1)
        assert isinstance(body, BodyGeometry)
        errors += [body.heights_mm[p] - h for p, h in shape.heights_mm().items()]
        assert body.wedge_angle_deg == pytest.approx(shape.wedge_angle_deg(), abs=1.0)
        assert body.depth_mm == pytest.approx(shape.posterior_wall_y_mm - shape.anterior_wall_y_mm, abs=1.2)
    assert np.mean(np.abs(errors)) <= 0.3
    assert np.max(np.abs(errors)) <= 0.7


def test_ct_edge_corrects_an_outline_that_is_too_small() -> None:
    made = phantom()
    outline = shrunk(made.segmentation())
    body = fitted(made, 1, outline)
    blind = fit_body(replace(made.volume(), hu=np.zeros(made.volume().shape, np.int16)), outline, 1)
    assert isinstance(blind, BodyGeometry)
    truth = FRACTURED.heights_mm()
    with_ct = np.mean([abs(body.heights_mm[p] - truth[p]) for p in truth])
    without = np.mean([abs(blind.heights_mm[p] - truth[p]) for p in truth])
    assert without > 0.6
    assert with_ct < 0.6 * without


def test_points_lie_at_their_places_in_patient_space() -> None:
    made = phantom()
    body = fitted(made, 1)
    assert not isinstance(body.six_points_lps_mm, NotMeasured)
    for plate, places in FRACTURED.six_points_local_mm().items():
        for place, local in places.items():
            expected = geometry.apply(made.frames[0], local)
            assert np.linalg.norm(np.array(body.six_points_lps_mm[plate][place]) - expected) < 1.2


def test_frame_points_left_posterior_and_superior() -> None:
    made = phantom()
    body = fitted(made, 2)
    for axis in range(3):
        assert geometry.angle_deg(body.lps_from_local[:3, axis], made.frames[1][:3, axis]) < 4.0
    assert np.linalg.det(body.lps_from_local[:3, :3]) == pytest.approx(1.0)


def test_interval_holds_the_truth() -> None:
    made = phantom(spacing_mm=(0.7, 0.8, 2.0))
    inside = []
    for n, shape in enumerate(made.shapes):
        body = fitted(made, n + 1)
        inside += [abs(body.heights_mm[p] - h) <= 1.96 * body.height_sd_mm[p] for p, h in shape.heights_mm().items()]
    assert np.mean(inside) >= 0.8


def test_touching_bodies_are_kept_apart() -> None:
    made = phantom(shapes=[normal_shape(25.0), normal_shape(26.0)], disc_mm=2.0)
    body = fitted(made, 2)
    truth = made.shapes[1].heights_mm()
    assert max(abs(body.heights_mm[p] - truth[p]) for p in truth) < 1.0


def test_cut_body_is_not_measured() -> None:
    made = phantom()
    result = fit_body(made.volume(), made.segmentation(touches=[1]), 2)
    assert result == NotMeasured(reason="cut by the edge of the image")


def test_an_endplate_at_the_edge_of_the_image_is_not_measured() -> None:
    made = phantom(tilt_deg=(0.0, 0.0), oblique_deg=0.0)
    volume, segmentation = made.volume(), made.segmentation()
    top = made.frames[0][2, 3] + FRACTURED.heights_mm()["posterior"] / 2 - 3.0
    slices = round((top - volume.lps_from_index[2, 3]) / volume.spacing_mm[2])
    body = fit_body(replace(volume, hu=volume.hu[:, :, :slices]), segmentation, 1)
    assert body == NotMeasured(reason="cut by the edge of the image")


@settings(max_examples=3, deadline=None, derandomize=True)
@given(shape=body_shapes(), tilt=st.tuples(st.floats(-30, 30), st.floats(-15, 15)))
def test_any_body_is_measured(shape: BodyShape, tilt: tuple[float, float]) -> None:
    made = phantom(shapes=[shape], tilt_deg=tilt, spacing_mm=(0.8, 0.9, 1.4))
    body = fitted(made, 1)
    truth = shape.heights_mm()
    assert np.mean([abs(body.heights_mm[p] - truth[p]) for p in truth]) <= 0.5


def test_missing_and_tiny_bodies_carry_a_reason() -> None:
    made = phantom()
    segmentation = made.segmentation()
    gone = replace(segmentation, structure=np.zeros_like(segmentation.structure))
    assert isinstance(fit_body(made.volume(), gone, 1), NotMeasured)
    speck = np.zeros_like(segmentation.structure)
    speck[tuple(np.argwhere(segmentation.instance == 1)[0])] = 1
    assert isinstance(fit_body(made.volume(), replace(segmentation, structure=speck), 1), NotMeasured)


def test_centers_of_bodies_are_near_their_origins() -> None:
    made = phantom()
    centers = find_bodies(made.segmentation()).centers_lps_mm
    assert np.allclose(centers, [f[:3, 3] for f in made.frames], atol=3.0)


@pytest.mark.parametrize(("tilt_deg", "turn_deg"), [((6.0, 24.0), 18.0), ((-5.0, -20.0), -25.0)])
def test_the_mid_sagittal_plane_of_a_turned_and_leaning_column(tilt_deg: tuple[float, float], turn_deg: float) -> None:
    """Scoliosis: bodies lean to the side and turn about their own axis; the plane follows canal and arch."""
    phantom = SpinePhantom(
        shapes=[normal_shape(23.0), normal_shape(25.0), normal_shape(24.0)], tilt_deg=tilt_deg, turn_deg=turn_deg
    )
    segmentation = phantom.segmentation()
    grid = Grid(shape=segmentation.structure.shape, lps_from_index=segmentation.lps_from_index)
    for n, frame in enumerate(phantom.frames):
        body = fit_body(grid, segmentation, n + 1)
        assert isinstance(body, BodyGeometry)
        for axis in (0, 1):
            assert geometry.angle_deg(body.lps_from_local[:3, axis], frame[:3, axis]) < 2.0
