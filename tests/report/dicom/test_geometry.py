"""Points of the structured report lie in the images that they were measured on, as readers of others see both."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom import Dataset, dcmread

from phantoms.dicom import ct_slices, only_series, save, world_hu
from phantoms.seg import GRIDS
from vertecast.core import geometry
from vertecast.core.images import MeasuredImage
from vertecast.core.results import SeriesResult, SixPoints, StudyReport, VertebraFinding
from vertecast.io.ct.series import read_ct
from vertecast.io.source_images import ct_source
from vertecast.report.dicom.source import source_study
from vertecast.report.dicom.sr import structured_report

FROM_THE_MIDDLE = {
    "superior": {"anterior": (-4, -1, -2), "middle": (3, -1, 0), "posterior": (0, 1, 2)},
    "inferior": {"anterior": (-3, 1, -1), "middle": (2, -1, 1), "posterior": (-1, 1, 0)},
}
"""Voxels, counted from the middle one of the volume, in no plane of it: inside the phantom on every grid."""

TOLERANCE_HU = 2.0
"""Of rounded values; half a voxel changes the phantom by 15 HU at least along any axis of it."""


def measured(folder: Path, body: VertebraFinding) -> tuple[dict[str, float], Dataset]:
    """HU of the volume at some voxels, by the name of the point, and the structured report that names the points."""
    series = only_series(folder)
    ct = read_ct(series)
    middle = np.array(ct.volume.shape) // 2
    voxels = {plate: {place: middle + off for place, off in row.items()} for plate, row in FROM_THE_MIDDLE.items()}
    points: SixPoints = {
        plate: {place: tuple(geometry.apply(ct.volume.lps_from_index, voxel).tolist()) for place, voxel in row.items()}
        for plate, row in voxels.items()
    }
    body = replace(
        body,
        series_instance_uid=ct.series_instance_uid,
        six_points_lps_mm=points,
        center_lps_mm=points["superior"]["middle"],
    )
    report = StudyReport(
        study_instance_uid=series.study_instance_uid,
        phase="pre",
        phase_source="no cement seen",
        series=(
            SeriesResult(
                series_instance_uid=ct.series_instance_uid, kind="ct", view=None, status="analyzed", reason=""
            ),
        ),
        vertebrae=(body,),
    )
    source = ct_source(series, ct)
    assert source is not None
    file = io.BytesIO()
    image = MeasuredImage(
        series_instance_uid=ct.series_instance_uid,
        labels=np.zeros(ct.volume.shape, np.uint8),
        pieces=(),
        lps_from_index=ct.volume.lps_from_index,
        source=source,
    )
    structured_report(report, source_study([(image, source.read())])).save_as(file, enforce_file_format=True)
    file.seek(0)
    hu = {
        f"{plate.capitalize()} endplate, {place}": float(ct.volume.hu[tuple(voxel)])
        for plate, row in voxels.items()
        for place, voxel in row.items()
    }
    return hu, dcmread(file)


def patient_points(item: Dataset) -> dict[str, tuple[str, np.ndarray]]:
    """Frame of reference and place of every SCOORD3D point, by its name, with pydicom alone."""
    found = {}
    for child in item.get("ContentSequence", ()):
        if child.ValueType == "SCOORD3D":
            name = child.ConceptNameCodeSequence[0].CodeMeaning
            found[name] = (child.ReferencedFrameOfReferenceUID, np.array(child.GraphicData, float))
        found |= patient_points(child)
    return found


@pytest.mark.parametrize("name", GRIDS)
def test_the_image_has_at_a_point_what_it_had_where_the_point_was_measured(case, name: str, tmp_path: Path) -> None:
    slices = ct_slices(GRIDS[name])
    hu, report = measured(save(slices, tmp_path / "ct"), case.report.vertebrae[2])
    points = patient_points(report)
    assert set(hu) < set(points)
    for place, value in hu.items():
        frame_of_reference, point = points[place]
        assert frame_of_reference == slices[0].FrameOfReferenceUID
        assert world_hu(point) == pytest.approx(value, abs=TOLERANCE_HU), place


@pytest.mark.parametrize("name", [name for name in GRIDS if "tilted" not in name])
def test_another_reader_finds_it_there_too(case, name: str, tmp_path: Path) -> None:
    """SimpleITK reads the images; it knows no tilted gantry."""
    folder = save(ct_slices(GRIDS[name]), tmp_path / "ct")
    hu, report = measured(folder, case.report.vertebrae[2])
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = SimpleITK.Cast(reader.Execute(), SimpleITK.sitkFloat64)
    points = patient_points(report)
    for place, value in hu.items():
        found = image.EvaluateAtPhysicalPoint(points[place][1].tolist(), SimpleITK.sitkLinear)
        assert found == pytest.approx(value, abs=TOLERANCE_HU), place
