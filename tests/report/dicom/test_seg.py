"""Segmentations lie where the structures lie, on every kind of grid, and say what they were made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from scipy.spatial import cKDTree

from dicom_judges import complaints, frames_of, label_frames_of, segment_points_lps_mm
from phantoms.dicom import SPACING_MM, ct_slices, enhanced_ct, found, grid, only_series, save
from phantoms.seg import GRIDS, OBLIQUE, covered, painted, segmented
from phantoms.xray import film, projection, save_one
from vertecast.core import geometry
from vertecast.core.anatomy import METAL_LABEL
from vertecast.core.images import MeasuredImage, Piece
from vertecast.io.ct.series import read_ct
from vertecast.io.projection.images import choose_projection_series, projection_files
from vertecast.io.source_images import ct_source, projection_source
from vertecast.report.dicom.seg import build_segmentation
from vertecast.report.dicom.structures import find_segments, vertebra_concept


@pytest.mark.parametrize("name", GRIDS)
def test_every_segment_lies_within_half_a_voxel_of_its_structure(name: str, tmp_path: Path) -> None:
    slices = ct_slices(GRIDS[name])
    path, volume, truth = segmented(save(slices, tmp_path / "ct", name="slice{:03d}.dcm".format))
    segmentation = dcmread(path)
    found_mm = segment_points_lps_mm(segmentation)
    assert set(found_mm) == set(truth)
    for label, points in truth.items():
        assert len(found_mm[label]) == len(points), label
        far_mm = max(cKDTree(found_mm[label]).query(points)[0].max(), cKDTree(points).query(found_mm[label])[0].max())
        assert far_mm < 0.5 * volume.spacing_mm.min() * 0.1, (label, far_mm)
    assert segmentation.FrameOfReferenceUID == slices[0].FrameOfReferenceUID
    assert complaints(path) == []


@pytest.mark.parametrize("name", GRIDS)
def test_every_frame_refers_to_the_slice_it_lies_on(name: str, tmp_path: Path) -> None:
    slices = ct_slices(GRIDS[name])
    path, _, _ = segmented(save(slices, tmp_path / "ct"))
    segmentation = dcmread(path)
    normal = np.cross(*np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3))
    along_mm = {one.SOPInstanceUID: normal @ np.array(one.ImagePositionPatient, float) for one in slices}
    for own in segmentation.PerFrameFunctionalGroupsSequence:
        (source,) = own.DerivationImageSequence[0].SourceImageSequence
        position = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float)
        assert normal @ position == pytest.approx(along_mm[source.ReferencedSOPInstanceUID], abs=0.01)
    (referenced,) = segmentation.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == slices[0].SeriesInstanceUID
    assert {one.ReferencedSOPInstanceUID for one in referenced.ReferencedInstanceSequence} <= set(along_mm)


@pytest.mark.parametrize("name", GRIDS)
def test_a_label_map_has_every_voxel_in_one_segment_at_its_place(name: str, tmp_path: Path) -> None:
    slices = ct_slices(GRIDS[name])
    path, volume, truth = segmented(save(slices, tmp_path / "ct"), "labelmap")
    segmentation = dcmread(path)
    found_mm = segment_points_lps_mm(segmentation)
    expected = covered(truth)
    assert set(found_mm) == set(expected)
    for label, points in expected.items():
        assert len(found_mm[label]) == len(points), label
        far_mm = max(cKDTree(found_mm[label]).query(points)[0].max(), cKDTree(points).query(found_mm[label])[0].max())
        assert far_mm < 0.5 * volume.spacing_mm.min() * 0.1, (label, far_mm)
    assert (segmentation.SegmentationType, segmentation.SegmentsOverlap) == ("LABELMAP", "NO")
    assert segmentation.file_meta.MediaStorageSOPClassUID == segmentation.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    assert segmentation.PixelPaddingValue == segmentation.SegmentSequence[0].SegmentNumber == 0
    positions = [
        own.PlanePositionSequence[0].ImagePositionPatient for own in segmentation.PerFrameFunctionalGroupsSequence
    ]
    assert len({tuple(position) for position in positions}) == len(positions), "one frame for each slice"


def test_another_reader_reads_a_label_map(tmp_path: Path) -> None:
    """highdicom writes such objects itself; here it only reads."""
    from highdicom.seg import segread

    path, _, truth = segmented(save(ct_slices(GRIDS["oblique"]), tmp_path / "ct"), "labelmap")
    read = segread(path)
    assert read.segmentation_type.value == "LABELMAP"
    volume = read.get_volume(combine_segments=True, skip_overlap_checks=True)
    counts = {
        read.get_segment_description(number).segment_label: int((volume.array == number).sum())
        for number in read.segment_numbers
    }
    assert counts == {name: len(points) for name, points in covered(truth).items()}


def test_frames_of_an_enhanced_ct_are_named(tmp_path: Path) -> None:
    order = [4, 0, 8, 2, 6, 1, 7, 3, 5]
    path, _, _ = segmented(save([enhanced_ct(GRIDS["oblique"], order)], tmp_path / "ct"))
    segmentation, normal = dcmread(path), OBLIQUE[:, 2]
    origin = geometry.apply(GRIDS["oblique"], [0, 0, 0]) @ normal
    for own in segmentation.PerFrameFunctionalGroupsSequence:
        (source,) = own.DerivationImageSequence[0].SourceImageSequence
        position = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float)
        k = round(float(position @ normal - origin) / SPACING_MM[2])
        assert order[source.ReferencedFrameNumber - 1] == k


def test_segments_have_codes_and_names_that_stay(tmp_path: Path) -> None:
    folder = save(ct_slices(grid(OBLIQUE)), tmp_path / "ct")
    first, second = (dcmread(segmented(folder)[0]) for _ in range(2))
    items = {item.SegmentLabel: item for item in first.SegmentSequence}
    body, leak = items["L1 vertebral body"], items["L1 cement leak into the spinal canal"]
    assert body.SegmentedPropertyTypeCodeSequence[0].CodeValue == "66794005"
    assert body.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "SCT"
    assert leak.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99VERTECAST"
    assert first.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99VERTECAST"
    assert len({item.TrackingUID for item in first.SegmentSequence}) == len(items)
    assert [i.TrackingUID for i in first.SegmentSequence] == [i.TrackingUID for i in second.SegmentSequence]
    assert (first.SOPInstanceUID, first.SeriesInstanceUID) == (second.SOPInstanceUID, second.SeriesInstanceUID)
    assert first.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    assert first.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "Vertecast"


def test_another_result_of_the_same_image_is_another_object(tmp_path: Path) -> None:
    series = only_series(save(ct_slices(grid()), tmp_path / "ct"))
    ct = read_ct(series)
    labels, pieces = painted(ct.volume)
    source = ct_source(series, ct)
    results = []
    for shown in (labels, np.roll(labels, 1, axis=0)):
        image = MeasuredImage(
            series_instance_uid="1.2", labels=shown, pieces=pieces, lps_from_index=ct.volume.lps_from_index,
            source=source,
        )  # fmt: skip
        results.append(build_segmentation(image, source.read(), 1))
    assert results[0].SeriesInstanceUID == results[1].SeriesInstanceUID
    assert results[0].SOPInstanceUID != results[1].SOPInstanceUID


@pytest.mark.parametrize("modality", ["DX", "CR", "XA"])
def test_a_film_is_segmented_pixel_by_pixel(modality: str, tmp_path: Path) -> None:
    values = film() if modality != "XA" else np.stack([film(shift) for shift in range(5)])
    picture = projection(values, modality, PatientOrientation=["A", "F"], BodyPartExamined="LSPINE")
    save_one(picture, tmp_path / "film")
    (series,), _ = choose_projection_series(found(tmp_path / "film"))
    (file,) = projection_files(series)
    body = np.zeros(values.shape[-2:], bool)
    body[20:41, 33:60] = True
    labels = np.zeros(body.shape, np.uint8)
    labels[100:110, 5:8] = METAL_LABEL
    source = projection_source(file, 4 if modality == "XA" else 1)
    image = MeasuredImage(
        series_instance_uid=series.series_instance_uid,
        labels=labels,
        pieces=(Piece(kind="body", level="V1", index=np.argwhere(body)),),
        lps_from_index=None,
        source=source,
    )
    built = build_segmentation(image, source.read(), 1)
    built.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    read = dcmread(tmp_path / "seg.dcm")
    assert [item.SegmentLabel for item in read.SegmentSequence] == ["V1 vertebral body", "metal"]
    assert np.array_equal(frames_of(read), np.stack([body, labels > 0]))
    (reference,) = read.SharedFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == picture.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == picture.SOPClassUID
    assert reference.get("ReferencedFrameNumber") == (4 if modality == "XA" else None)
    assert list(read.PatientOrientation) == ["A", "F"]
    assert complaints(tmp_path / "seg.dcm") == []
    label_map = build_segmentation(image, source.read(), 1, "labelmap")
    assert np.array_equal(label_frames_of(label_map), np.where(labels > 0, 2, body)[None])
    assert label_map.SOPInstanceUID != read.SOPInstanceUID
    (own,) = label_map.PerFrameFunctionalGroupsSequence
    assert "SegmentIdentificationSequence" not in own


def test_an_empty_image_gives_no_object(tmp_path: Path) -> None:
    series = only_series(save(ct_slices(grid()), tmp_path))
    ct = read_ct(series)
    source = ct_source(series, ct)
    image = MeasuredImage(
        series_instance_uid="1.2", labels=np.zeros(ct.volume.shape, np.uint8), pieces=(),
        lps_from_index=ct.volume.lps_from_index, source=source,
    )  # fmt: skip
    assert find_segments(image) == ()
    assert build_segmentation(image, source.read(), 1) is None


@pytest.mark.parametrize(("level", "code"), [("T12", "23215003"), ("C1", "14806007"), ("V3", "51282000")])
def test_a_level_has_its_code(level: str, code: str) -> None:
    assert vertebra_concept(level).value == code
