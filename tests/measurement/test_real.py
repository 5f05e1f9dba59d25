"""A real lumbar CT with its masks: levels, endplates and no invented cement."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.images import Segmentation, Volume
from vertecast.core.results import NotMeasured, Quantity
from vertecast.measurement.ct.levels import assign_levels
from vertecast.measurement.ct.study import measure_study

ROOT = Path(os.environ.get("VERTECAST_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
FOLDER = ROOT / "ct" / "lumbar_3mm"
BODIES, SACRUM = range(19, 25), 26


def study() -> tuple[Volume, Segmentation]:
    import nibabel as nib

    images = [nib.as_closest_canonical(nib.load(FOLDER / f"{name}.nii.gz")) for name in ("ct", "bodies", "vertebrae")]
    lps_from_index = geometry.LPS_FROM_RAS @ images[0].affine
    ct, bodies, vertebrae = (np.asarray(image.dataobj).astype(np.int16) for image in images)
    grid, shape = geometry.aligned_grid(lps_from_index, ct.shape, 1.5)

    def carry(mask: np.ndarray, smooth: float) -> np.ndarray:
        return geometry.resample(ndimage.gaussian_filter(mask.astype(np.float32), smooth), lps_from_index, grid, shape)

    structure, instance = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    probability = np.zeros(shape, np.float32)
    structure[carry(vertebrae == SACRUM, 0.0) >= 0.5] = Structure.SACRUM
    for number, label in enumerate(BODIES, start=1):
        p = carry(bodies == label, 0.5)
        structure[p >= 0.5], instance[p >= 0.5] = Structure.BODY, number
        probability = np.maximum(probability, p)
    empty = np.zeros(shape, np.float16)
    segmentation = Segmentation(
        lps_from_index=grid,
        structure=structure,
        instance=instance,
        body_probability=probability.astype(np.float16),
        cement_probability=empty,
        metal_probability=empty,
        instance_confidence=(1.0,) * len(BODIES),
        touches_border=tuple(label == BODIES[0] for label in BODIES),  # T12
    )
    return Volume(hu=ct, lps_from_index=lps_from_index), segmentation


@pytest.mark.realdata
@pytest.mark.skipif(not FOLDER.is_dir(), reason="real images are not on this machine (VERTECAST_REAL_DATA)")
def test_real_lumbar_spine() -> None:
    volume, segmentation = study()
    levels = assign_levels(segmentation)
    assert [level.name for level in levels] == ["T12", "L1", "L2", "L3", "L4", "L5"]
    result = measure_study(volume, segmentation, levels, series_instance_uid="1.2.3")
    top, *whole = result.vertebrae
    assert top.height_loss == NotMeasured(reason="cut by the edge of the image")
    assert not top.complete
    for finding in whole:
        posterior, angle = finding.heights["posterior"], finding.wedge_angle
        assert isinstance(posterior, Quantity)
        assert isinstance(angle, Quantity)
        assert 20 < posterior.value < 31
        assert finding.genant_grade == 0
        assert isinstance(finding.density, Quantity)
    assert whole[-1].wedge_angle.value < -8  # type: ignore[union-attr]  # L5 is taller in front
    angles = {finding.name: finding.angle for finding in result.angles}
    assert set(angles) == {"lumbar angle L1-L5", "lumbar lordosis L1-S1"}
    for angle in angles.values():
        assert isinstance(angle, Quantity)
        assert -65 < angle.value < -30
    assert (result.cement, result.leaks, result.hardware) == ((), (), ())
