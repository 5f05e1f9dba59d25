"""Outlines in structured reports: read back with pydicom alone they run along the edge of what they outline."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from dicom_judges import complaints
from strategies import FILM_IMAGES, FILM_SERIES, STUDY
from vertecast.core.anatomy import Compartment
from vertecast.core.images import Piece
from vertecast.core.results import (
    CementFinding,
    Evidence,
    HeightReference,
    ImageReference,
    LeakFinding,
    NotMeasured,
    Quantity,
    SeriesResult,
    StudyReport,
    VertebraFinding,
)
from vertecast.report.dicom.contours import outlines
from vertecast.report.dicom.read_sr import report_of
from vertecast.report.dicom.source import SourceStudy
from vertecast.report.dicom.sr import structured_report

IMAGE = ImageReference(sop_instance_uid=FILM_IMAGES[1], frame_number=4)
MISSING = NotMeasured(reason="no size of a pixel")
HALF_A_PIXEL = 0.5 + 1e-3
"""Coordinates are kept in 32 bits."""


def disc(center: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    rows, columns = np.indices((60, 80))
    return np.hypot((rows - center[0]) / radii[0], (columns - center[1]) / radii[1]) <= 1


BODY = disc((30, 35), (12, 19)) & ~disc((31, 50), (4, 6))
CEMENT = disc((29, 30), (5, 8))
RING = disc((10, 60), (6, 7)) & ~disc((10, 60), (2, 3))
LEAKS = (disc((12, 30), (2, 5)), disc((3, 2), (6, 6)))
"""Two leaks of one kind, one of them at the corner of the picture."""


def edge_px(mask: np.ndarray) -> np.ndarray:
    """Points (n, 2) along the edge of pixels as (column, row), counted from the corner of the upper left pixel."""
    padded = np.pad(mask, 1)
    steps = np.linspace(0, 1, 21)
    points = []
    for row, column in np.argwhere(padded[1:, :] != padded[:-1, :]):
        points.append(np.stack([column - 1 + steps, np.full(21, row)], axis=1))
    for row, column in np.argwhere(padded[:, 1:] != padded[:, :-1]):
        points.append(np.stack([np.full(21, column), row - 1 + steps], axis=1))
    return np.concatenate(points)


def away_px(polygon: np.ndarray, edge: np.ndarray) -> float:
    """Farthest that any place on a polygon lies from an edge."""
    shares = np.linspace(0, 1, 20)[:, None, None]
    places = (polygon[:-1] * (1 - shares) + polygon[1:] * shares).reshape(-1, 2)
    return float(np.linalg.norm(places[:, None] - edge[None], axis=2).min(axis=1).max())


def inside(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre a polygon holds."""
    from matplotlib.path import Path as Polygon

    rows, columns = np.indices(shape)
    centers = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    return Polygon(polygon).contains_points(centers).reshape(shape)


def film_report() -> StudyReport:
    """A vertebra with cement and two leaks of one kind on a frame."""
    vertebra = VertebraFinding(
        series_instance_uid=FILM_SERIES,
        level="L1",
        level_confidence=0.9,
        level_source="sacrum",
        complete=True,
        treated=True,
        center_px=(35.0, 30.0),
        six_points_px=MISSING,
        heights=dict.fromkeys(("anterior", "middle", "posterior"), MISSING),
        ratios=dict.fromkeys(("wedge", "biconcave", "crush"), MISSING),
        height_loss=MISSING,
        reference=HeightReference(method="none"),
        wedge_angle=Quantity(value=3.0, unit="deg"),
        deformity="none",
        genant_grade=0,
        genant_grade_range=(0, 1),
        genant_grade_probability=(0.9, 0.1, 0.0, 0.0),
        volume=MISSING,
        density=MISSING,
        cleft=MISSING,
        canal_compromise=MISSING,
        retropulsion=MISSING,
        confidence=0.9,
        image=IMAGE,
    )
    cement = CementFinding(
        id="c1",
        series_instance_uid=FILM_SERIES,
        level="L1",
        volume=MISSING,
        center_px=(30.0, 29.0),
        volume_inside=MISSING,
        fill_fraction=MISSING,
        pattern=MISSING,
        endplate_contact=MISSING,
        crosses_midline=MISSING,
        confidence=0.9,
        image=IMAGE,
    )
    leaks = [
        LeakFinding(
            cement_id="c1",
            level="L1",
            compartment=Compartment.DISC_SUPERIOR,
            suspected=True,
            yeom_type=MISSING,
            volume=MISSING,
            farthest=MISSING,
            canal_distance=MISSING,
            evidence=Evidence(
                series_instance_uid=FILM_SERIES,
                frame_number=IMAGE.frame_number,
                sop_instance_uid=IMAGE.sop_instance_uid,
                point_px=(float(column), float(row)),
            ),
            confidence=0.8,
        )
        # The second one first: the place tells them apart, not the order.
        for row, column in (np.argwhere(LEAKS[1])[0], np.argwhere(LEAKS[0])[0])
    ]
    series = SeriesResult(series_instance_uid=FILM_SERIES, kind="cine", view="lateral", status="analyzed", reason="")
    return StudyReport(
        study_instance_uid=STUDY,
        phase="post",
        phase_source="cement seen",
        series=(series,),
        vertebrae=(vertebra,),
        cement=(cement,),
        leaks=tuple(leaks),
    )


@pytest.fixture(scope="module")
def outlined(source: SourceStudy) -> SourceStudy:
    pieces = (
        Piece(kind="body", level="L1", index=np.argwhere(BODY)),
        Piece(kind="body", level="L2", index=np.argwhere(RING)),
        Piece(kind="cement", level="L1", index=np.argwhere(CEMENT)),
        *(
            Piece(kind="leak", level="L1", compartment=Compartment.DISC_SUPERIOR, index=np.argwhere(leak))
            for leak in LEAKS
        ),
    )
    return replace(source, pieces={(IMAGE.sop_instance_uid, IMAGE.frame_number): pieces})


@pytest.fixture(scope="module")
def dataset(outlined: SourceStudy) -> Dataset:
    file = io.BytesIO()
    structured_report(film_report(), outlined).save_as(file, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


def polygons(dataset: Dataset, label: str) -> list[list[np.ndarray]]:
    """Of each group of that name its polygons (n, 2), which refer to the frame that was measured."""
    (container,) = [one for one in dataset.ContentSequence if one.get("ValueType") == "CONTAINER"][:1]
    groups = []
    for group in container.ContentSequence:
        if not any(one.get("TextValue") == label for one in group.ContentSequence):
            continue
        found = []
        for one in group.ContentSequence:
            if one.ValueType == "SCOORD" and one.GraphicType == "POLYLINE":
                assert one.ConceptNameCodeSequence[0].CodeValue == "111030"
                reference = one.ContentSequence[0].ReferencedSOPSequence[0]
                assert reference.ReferencedSOPInstanceUID == IMAGE.sop_instance_uid
                assert reference.ReferencedFrameNumber == IMAGE.frame_number
                found.append(np.array(one.GraphicData, dtype=float).reshape(-1, 2))
        groups.append(found)
    return groups


@pytest.mark.parametrize(
    ("label", "masks"),
    [
        ("L1 vertebral body", [BODY]),
        ("Cement c1 of L1", [CEMENT]),
        ("Leak of cement c1, L1", [LEAKS[1], LEAKS[0]]),
    ],
)
def test_a_finding_is_outlined_along_the_edge_of_its_pixels(
    dataset: Dataset, label: str, masks: list[np.ndarray]
) -> None:
    groups = polygons(dataset, label)
    assert len(groups) == len(masks)
    for (polygon,), mask in zip(groups, masks, strict=True):
        assert np.array_equal(polygon[0], polygon[-1])
        assert len(polygon) < len(edge_px(mask)) / 21
        assert away_px(polygon, edge_px(mask)) <= HALF_A_PIXEL
        assert (inside(polygon, mask.shape) != mask).mean() <= 0.01
        assert polygon.min() >= 0


def test_outlines_are_passed_over_on_the_way_back_and_change_the_object(dataset: Dataset, source: SourceStudy) -> None:
    assert report_of(dataset) == film_report()
    bare = structured_report(film_report(), source)
    assert bare.SOPInstanceUID != dataset.SOPInstanceUID
    assert bare.SeriesInstanceUID == dataset.SeriesInstanceUID
    assert not any(polygons(bare, "L1 vertebral body"))


def test_the_validator_finds_no_error(dataset: Dataset, tmp_path: Path) -> None:
    dataset.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    assert complaints(tmp_path / "sr.dcm") == []


def test_every_part_has_an_outline_and_no_hole_has_one() -> None:
    parts = list(outlines(np.argwhere(RING | LEAKS[1])))
    assert len(parts) == 2
    (ring,) = [part for part in parts if part[:, 0].max() > 40]
    assert inside(ring + 0.5, RING.shape).sum() == pytest.approx(disc((10, 60), (6, 7)).sum(), rel=0.05)


@settings(max_examples=30)
@given(pixels=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 12)), min_size=1, max_size=60))
def test_any_outline_stays_within_half_a_pixel_of_the_edge(pixels: set[tuple[int, int]]) -> None:
    mask = np.zeros((10, 13), dtype=bool)
    mask[tuple(np.array(sorted(pixels)).T)] = True
    for polygon in outlines(np.argwhere(mask)):
        assert np.array_equal(polygon[0], polygon[-1])
        assert away_px(polygon + 0.5, edge_px(mask)) <= HALF_A_PIXEL
