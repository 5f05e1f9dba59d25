"""Errors of the measuring on analytic bodies: their table, and that a phantom gives what it says."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vertecast.core import geometry
from vertecast.lab.evaluation.phantoms import (
    HEIGHT_TARGETS_MM,
    TILTS_DEG,
    WEDGE_TARGET_DEG,
    BodyError,
    Pose,
    body_error,
    poses,
    text_lines,
)
from vertecast.lab.simulation.patient.phantoms import TOP_LABEL, SpinePhantom, fractured_shape, normal_shape

POSE = Pose(plane="sagittal", tilt_deg=-10.0, spacing_mm=(1.0, 1.0, 1.0))
THICK = (0.7, 0.7, 3.0)


@pytest.fixture
def evaluate(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_evaluate", repository / "scripts" / "evaluate.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def error(pose: Pose = POSE, *, height_mm: float = 0.1, wedge_deg: float = 0.2) -> BodyError:
    true = {"anterior": 20.0, "middle": 21.0, "posterior": 22.0}
    found = {place: height + height_mm for place, height in true.items()}
    sd = {"anterior": 1.0, "middle": 1.0, "posterior": 0.01}
    return body_error(pose, "shares", found, sd, 5.0 + wedge_deg, (true, 5.0))  # type: ignore[arg-type]


def test_an_error_is_measured_less_true() -> None:
    found = error()
    assert found.heights_mm == pytest.approx((0.1, 0.1, 0.1))
    assert found.wedge_deg == pytest.approx(0.2)
    assert found.held == 2


def test_every_tilt_of_every_plane_and_upright_once() -> None:
    found = poses()
    assert len(found) == len(set(found)) == 2 * (3 * (len(TILTS_DEG) - 1) + 1)
    assert {pose.plane for pose in found if pose.tilt_deg == 30.0} == {"sagittal", "coronal", "axial"}


def test_the_table_has_the_mean_error_the_largest_and_the_bias_by_tilt() -> None:
    text = "\n".join(text_lines([error(), error(height_mm=-0.5, wedge_deg=-1.0)]))
    (row,) = [line.split() for line in text.splitlines() if line.startswith("shares ") and "%" in line]
    assert row[1:] == ["2", "0.30", "0.30", "0.30", "0.30", "0.50", "-0.20", "0.60", "-0.40", "67%"]
    assert "-0.20 |-0.40" in text
    assert "nan" not in text


@pytest.mark.parametrize("spacing", list(HEIGHT_TARGETS_MM))
def test_the_measuring_alone_reaches_its_aims(evaluate: ModuleType, spacing: tuple[float, float, float]) -> None:
    errors = [e for plane in ("sagittal", "axial") for e in evaluate.phantom_errors(replace(POSE, plane=plane,
              tilt_deg=20.0, spacing_mm=spacing)) if e.outline == "shares"]  # fmt: skip
    assert np.abs([e.heights_mm for e in errors]).mean() <= HEIGHT_TARGETS_MM[spacing]
    assert np.abs([e.wedge_deg for e in errors]).mean() <= WEDGE_TARGET_DEG


def test_a_label_map_holds_bodies_and_arches_where_they_are() -> None:
    phantom = SpinePhantom(shapes=(fractured_shape(), normal_shape()), spacing_mm=THICK)
    mask = phantom.label_map()
    assert np.allclose(mask.lps_from_index, phantom.volume().lps_from_index)
    for n, shape in enumerate(phantom.shapes):
        index = np.argwhere(mask.labels == TOP_LABEL + n)
        local = phantom.local(n, geometry.apply(mask.lps_from_index, index))
        assert (shape.signed_distance_mm(*local.T) > 0).all()
        arch = phantom.local(n, geometry.apply(mask.lps_from_index, np.argwhere(mask.labels == TOP_LABEL + n + 100)))
        assert len(arch) > 100
        assert arch[:, 1].mean() > shape.posterior_wall_y_mm + 10


def test_shares_through_thick_slices_keep_the_volume() -> None:
    phantom = SpinePhantom(shapes=(fractured_shape(),), spacing_mm=THICK, grid_mm=1.0)
    shares = phantom.segmentation(through_ct=True).body_probability.astype(np.float64)
    fine = np.arange(-26.0, 26.0, 0.5) + 0.25
    x, y, z = np.meshgrid(fine, fine, fine, indexing="ij")
    true_mm3 = np.count_nonzero(fractured_shape().signed_distance_mm(x, y, z) > 0) * 0.125
    assert shares.sum() == pytest.approx(true_mm3, rel=0.01)
    thin = replace(phantom, spacing_mm=(1.0, 1.0, 1.0), frames=[]).segmentation(through_ct=True).body_probability
    soft = [np.count_nonzero((p > 0.05) & (p < 0.95)) for p in (shares, thin)]
    assert soft[0] > 1.2 * soft[1]
