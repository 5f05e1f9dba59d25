"""What the viewer shows is what was measured, where it was measured."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertecast.core import geometry
from vertecast.core.results import Quantity
from vertecast.report.html.viewer import grids
from vertecast.report.html.viewer.greys import CT_GREYS
from vertecast.report.html.viewer.scenes import Scene, render_scenes


@pytest.fixture(scope="module")
def sources(case) -> grids.Sources:
    return grids.Sources(volume=case.volume, labels=case.labels, canal=case.canal, vertebrae=case.report.vertebrae)


@pytest.fixture(scope="module")
def scenes(case, sources) -> dict[str, Scene]:
    return {scene.name: scene for scene in render_scenes(sources, case.report)}


def voxels(scene: Scene, name: str) -> np.ndarray:
    raw = zlib.decompress(base64.b64decode(scene.content[name]))
    return np.frombuffer(raw, np.uint8).reshape(scene.content["shape"], order="F")


@given(st.floats(-1000, 4095))
def test_a_value_comes_back_within_half_a_step(hu: float) -> None:
    found = float(CT_GREYS.decode(CT_GREYS.encode(np.array([hu])))[0])
    step = 50 if hu < -195 else 5 if hu < 295 else 15 if hu < 1485 else 44
    assert abs(found - hu) <= step / 2 + 0.5


def test_the_ends_of_the_grey_table() -> None:
    assert CT_GREYS.encode(np.array([-3000.0, np.nan, 9000.0])).tolist() == [0, 0, 255]


def test_the_six_points_lie_on_their_voxels(case, sources, scenes) -> None:
    """On an oblique CT of unequal sides: points and heights of the grid agree with the patient's millimetres."""
    vertebra = case.report.vertebrae[2]
    scene, grid = scenes["level_L1"], grids.body_grid(sources, vertebra)
    (own,) = (body for body in scene.content["bodies"] if body["name"] == "L1")
    shown = np.array(own["plates"])
    true = np.array([[vertebra.six_points_lps_mm[p][q] for q in ("anterior", "middle", "posterior")]
                     for p in ("superior", "inferior")])  # fmt: skip
    np.testing.assert_allclose(geometry.apply(grid.lps_from_index, shown), true, atol=0.02)
    across = shown[..., 0]
    np.testing.assert_allclose(across, np.rint(across), atol=0.02)
    assert np.ptp(across) < 0.02
    assert (shown[0, :, 2] > shown[1, :, 2]).all()
    assert (np.diff(shown[..., 1]) > 0).all()
    heights = np.linalg.norm(shown[0] - shown[1], axis=1) * scene.content["spacing"][2]
    anterior, posterior = vertebra.heights["anterior"], vertebra.heights["posterior"]
    assert isinstance(anterior, Quantity)
    assert isinstance(posterior, Quantity)
    assert heights[2] - heights[0] == pytest.approx(8.2, abs=0.3)
    codes = voxels(scene, "codes")
    inside = own["codes"]
    for plate, sign in ((shown[0], -2), (shown[1], 2)):
        for place in plate:
            i, j, k = np.rint(place).astype(int)
            assert codes[i, j, k + sign] in inside, "within the body"
            assert codes[i, j, k - 3 * sign] not in inside, "and the endplate's other side is not"


def test_greys_and_codes_lie_where_the_patient_has_them(case, sources, scenes) -> None:
    scene, grid = scenes["level_L1"], grids.body_grid(sources, case.report.vertebrae[2])
    cement, leak = (geometry.apply(case.column.frame(2), at) for at in ([-6.0, -1.0, 0.0], [-28.0, 4.0, -2.0]))
    greys, codes = voxels(scene, "greys"), voxels(scene, "codes")
    at = tuple(np.rint(grid.index(cement)).astype(int))
    assert CT_GREYS.decode(greys[at]) > 1500
    assert codes[at] == grids.CEMENT_CODE + 2
    assert codes[tuple(np.rint(grid.index(leak)).astype(int))] == grids.LEAK_CODE
    assert (codes == grids.CANAL_CODE).any()
    middle = np.array(scene.content["start"])
    assert grid.index(cement)[0] < middle[0], "the patient's right comes first"
    assert grid.index(geometry.apply(case.column.frame(2), [0, 30.0, 0]))[1] > middle[1], "posterior later"


def test_the_spine_follows_its_curve(case, scenes) -> None:
    scene = scenes["spine"]
    for body in scene.content["bodies"]:
        i, j, k = body["center"]
        assert scene.content["curve"]["i"][round(k)] == pytest.approx(i, abs=0.3)
        assert scene.content["curve"]["j"][round(k)] == pytest.approx(j, abs=0.3)
        assert voxels(scene, "codes")[round(i), round(j), round(k)] in body["codes"]


def test_what_there_is_to_see(case, scenes) -> None:
    assert list(scenes) == ["spine", "level_L1"]
    assert list(scenes["level_L1"].places) == [
        "middle", "L1: leak 0.3 mL into the disc above", "L1: leak 0.06 mL into the right paravertebral tissue",
    ]  # fmt: skip
    assert next(iter(scenes["spine"].places)) == "L1"
    named = {structure.name for structure in scenes["level_L1"].structures}
    assert named == {"canal", "cement", "leak", "posterior elements", "body", "body, Genant ≥ 1"}


def test_many_bodies_share_the_room(sources, case) -> None:
    one, many = (grids.body_grid(sources, case.report.vertebrae[2], count) for count in (1, 17))
    assert 17 * many.greys.size < 1.1 * grids.BODY_VOXELS < 17 * one.greys.size


def test_without_a_ct_the_picture_is_black_and_the_marks_stay(case, sources) -> None:
    bare = grids.Sources(volume=None, labels=case.labels, canal=None, vertebrae=())
    (scene,) = render_scenes(bare, case.report)
    assert not voxels(scene, "greys").any()
    assert scene.content["bodies"] == []
    assert scene.content["curve"] is None
