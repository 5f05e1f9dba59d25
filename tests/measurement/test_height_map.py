"""The height between the endplates over the footprint."""

from __future__ import annotations

import numpy as np
import pytest

from phantoms.spine import SpinePhantom, normal_shape
from vertecast.core.images import Grid, HeightMap
from vertecast.measurement.ct.body.endplates import BodyGeometry, fit_body
from vertecast.measurement.ct.body.height_map import height_map
from vertecast.measurement.ct.body.heights import fit_bodies
from vertecast.measurement.ct.body.outline import find_bodies
from vertecast.measurement.ct.levels import assign_levels
from vertecast.measurement.ct.study import measure_study

WEDGE = normal_shape(25.0, anterior=0.62, middle=0.78, superior_share=0.8, tilt_coronal=0.12)
"""Lower in front, and higher on the left."""


def made() -> tuple[HeightMap, BodyGeometry]:
    phantom = SpinePhantom(shapes=[WEDGE, normal_shape(25.0)], tilt_deg=(14.0, -11.0), turn_deg=9.0)
    segmentation = phantom.segmentation()
    body = fit_body(phantom.volume(), segmentation, 1)
    assert isinstance(body, BodyGeometry)
    found = height_map(segmentation, body, 1, "L1", find_bodies(segmentation))
    assert found is not None
    return found, body


def test_heights_sides_and_size_are_those_of_the_shape() -> None:
    found, body = made()
    rows, columns = np.nonzero(np.isfinite(found.height_mm))
    x = (columns - found.midline_column) * found.pixel_mm
    y = (rows - rows.mean()) * found.pixel_mm
    well_inside = np.hypot(2 * x / WEDGE.width_mm, 2 * y / WEDGE.depth_mm) < 0.75
    truth = WEDGE.superior_mm(x, y) - WEDGE.inferior_mm(x, y)
    error = (found.height_mm[rows, columns] - truth)[well_inside]
    assert np.abs(error).mean() < 0.6
    for extent, full in ((np.ptp(x), WEDGE.width_mm), (np.ptp(y), body.depth_mm)):
        assert (1 - WEDGE.waist) * full - 1.0 < extent < full + 1.0, "between waist and rim"
    column = round(found.midline_column)
    midline = found.height_mm[:, column][np.isfinite(found.height_mm[:, column])]
    assert midline[4] < midline[-5] - 6.0, "anterior is up"
    middle = found.height_mm[round(rows.mean())]
    left, right = (np.nanmean(middle[round(found.midline_column + side * 28)]) for side in (1, -1))
    assert left > right + 2.0, "the patient's left is at the right"


def test_the_map_agrees_with_the_six_points() -> None:
    found, body = made()
    column = found.height_mm[:, round(found.midline_column)]
    share = np.array([body.heights_mm[place] for place in ("anterior", "middle", "posterior")])
    used = np.flatnonzero(np.isfinite(column))
    depth = used[-1] - used[0]
    read = [column[used[0] + round(at * depth)] for at in (0.1, 0.5, 0.9)]
    assert read == pytest.approx(share, abs=0.8)


def test_only_broken_and_treated_bodies_have_one() -> None:
    phantom = SpinePhantom(shapes=[normal_shape(25.0), WEDGE, normal_shape(25.0)], sacrum=True)
    segmentation = phantom.segmentation()
    grid = Grid(shape=segmentation.structure.shape, lps_from_index=segmentation.lps_from_index)
    assert all(isinstance(body, BodyGeometry) for body in fit_bodies(grid, segmentation))
    measured = measure_study(grid, segmentation, assign_levels(segmentation), series_instance_uid="1.2")
    assert [one.level for one in measured.height_maps] == ["L4"]
