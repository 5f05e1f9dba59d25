"""Reading of projections: polarity, spacing, shutters, overlays, colour, frames. Every failure has a reason."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_fragmented_frames
from pydicom.uid import JPEGBaseline8Bit

from phantoms_xray import COLUMNS, ROWS, bone_over_tissue, files, film, item, only_file, projection, save_one
from vertecast.dicom.discover import StudyFiles, UnreadablePath, find_studies, series_kind
from vertecast.dicom.greyscale import picture_score
from vertecast.dicom.projection_header import FrameHeader, frame_times_ms, view_of
from vertecast.dicom.projection_spacing import spacing_of
from vertecast.dicom.xray import (
    ProjectionImage,
    choose_projection_series,
    projection_files,
    read_cine,
    read_projection,
    read_radiograph,
)
from vertecast.errors import UnreadableError, UnsupportedError
from vertecast.images import Fluoroscopy, Radiograph

TOP = 1023


def read(image: Dataset, folder: Path, **options: float) -> ProjectionImage:
    return read_projection(only_file(image, folder), **options)


def radiograph(image: Dataset, folder: Path) -> Radiograph:
    result = read(image, folder).image
    assert isinstance(result, Radiograph)
    return result


@pytest.mark.parametrize(
    ("modality", "bone_is_high", "attributes", "is_overruled"),
    [
        ("CR", True, {}, False),
        ("CR", False, {"PhotometricInterpretation": "MONOCHROME1"}, False),
        ("DX", False, {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, False),
        ("DX", False, {"PresentationLUTShape": "INVERSE"}, False),
        ("DX", True, {"PixelIntensityRelationshipSign": -1, "PresentationLUTShape": "IDENTITY"}, False),
        ("DX", False, {"PixelIntensityRelationshipSign": 1, "PhotometricInterpretation": "MONOCHROME1"}, False),
        # The sign was left as it was when the picture was turned over for viewing.
        ("DX", True, {"PixelIntensityRelationshipSign": 1}, False),
        ("XA", False, {"PixelIntensityRelationship": "LOG"}, False),
        ("XA", False, {"PixelIntensityRelationship": "LIN"}, False),
        ("RF", False, {"PixelIntensityRelationship": "DISP"}, False),
        ("RF", True, {"PixelIntensityRelationshipSign": -1}, False),
        ("RF", True, {"RescaleSlope": "-1", "RescaleIntercept": "1023", "PixelIntensityRelationshipSign": -1}, False),
        # Wrong headers.
        ("CR", True, {"PhotometricInterpretation": "MONOCHROME1"}, True),
        ("CR", False, {}, True),
        ("RF", True, {}, True),
        ("XA", True, {"PixelIntensityRelationship": "LOG"}, True),
    ],
)
def test_bone_is_bright_whatever_the_header(
    tmp_path: Path, modality: str, bone_is_high: bool, attributes: dict[str, Any], is_overruled: bool
) -> None:
    values = film() if bone_is_high else TOP - film()
    result = read(projection(values, modality, **attributes), tmp_path)
    assert isinstance(result.image, Radiograph)
    assert result.image.intensity.dtype == np.float32
    assert bone_over_tissue(result.image.intensity) > 200
    assert any("the picture was followed" in note for note in result.warnings) == is_overruled


@given(st.floats(0.2, 5.0), st.floats(-300, 300), st.booleans(), st.integers(0, 40))
def test_score_turns_with_the_picture_alone(slope: float, offset: float, flip: bool, border: int) -> None:
    picture = film()[:, ::-1] if flip else film()
    values = (slope * picture + offset).astype(np.float32)
    valid = np.ones(values.shape, bool)
    valid[: border // 2] = False
    score = picture_score(values, valid)
    assert score > 0.3
    assert picture_score(-values, valid) == pytest.approx(-score, abs=0.02)


def test_flat_picture_has_no_polarity() -> None:
    assert picture_score(np.full((40, 30), 7.0, np.float32), np.ones((40, 30), bool)) == 0


def test_rescale_and_lut_are_applied_and_the_window_is_not(tmp_path: Path) -> None:
    rescaled = projection(film(), RescaleSlope="2", RescaleIntercept="-100", WindowCenter="60", WindowWidth="10")
    np.testing.assert_allclose(radiograph(rescaled, tmp_path / "a").intensity, 2 * film() - 100)
    table = (np.arange(1024) ** 2 // 32).astype("<u2")
    lut = item(LUTDescriptor=[1024, 0, 16], ModalityLUTType="US", LUTData=table.tobytes())
    lut[0]["LUTData"].VR = "OW"
    curved = projection(film(), ModalityLUTSequence=lut)
    np.testing.assert_allclose(radiograph(curved, tmp_path / "b").intensity, table[film().astype(int)])
    zero = read(projection(film(), RescaleSlope="0"), tmp_path / "c")
    assert "RescaleSlope of 0" in zero.warnings[0]


@pytest.mark.parametrize("high_bit", [9, 11, 15])
def test_overlay_in_unused_bits_stays_out(tmp_path: Path, high_bit: int) -> None:
    values = film().astype(int) << (high_bit - 9)
    drawn = values.copy()
    drawn[20:30, 20:30] |= 1 << (15 if high_bit < 15 else 0)
    image = projection(drawn, HighBit=high_bit)
    np.testing.assert_array_equal(radiograph(image, tmp_path).intensity, film())


def test_signed_values_keep_their_sign(tmp_path: Path) -> None:
    values = (film() - 500).astype(int) & 0x3FF
    image = projection(values, PixelRepresentation=1)
    np.testing.assert_array_equal(radiograph(image, tmp_path).intensity, film() - 500)


SPACINGS = [
    ({"PixelSpacing": [0.2, 0.3], "PixelSpacingCalibrationType": "FIDUCIAL"}, (0.2, 0.3), "patient"),
    (
        {"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": "GEOMETRY"},
        0.2,
        "patient",
    ),
    ({"PixelSpacing": [0.12, 0.12], "ImagerPixelSpacing": [0.15, 0.15]}, 0.12, "patient"),
    ({"PixelSpacing": [0.15, 0.15], "ImagerPixelSpacing": [0.15, 0.15]}, 0.15, "detector"),
    ({"ImagerPixelSpacing": [0.15, 0.15]}, 0.15, "detector"),
    ({"ImagerPixelSpacing": [0.3, 0.3], "EstimatedRadiographicMagnificationFactor": "1.5"}, 0.2, "patient"),
    ({"ImagerPixelSpacing": [0.3, 0.3], "EstimatedRadiographicMagnificationFactor": "1"}, 0.3, "detector"),
    (
        {"ImagerPixelSpacing": [0.3, 0.3], "DistanceSourceToDetector": "1200", "DistanceSourceToPatient": "800"},
        0.2,
        "patient",
    ),
    (
        {"ImagerPixelSpacing": [0.3, 0.3], "DistanceSourceToDetector": "800", "DistanceSourceToPatient": "900"},
        0.3,
        "detector",
    ),
    (
        {"ImagerPixelSpacing": [0.3, 0.3], "DistanceSourceToDetector": "0", "DistanceSourceToPatient": "0"},
        0.3,
        "detector",
    ),
    ({"NominalScannedPixelSpacing": [0.17, 0.17]}, 0.17, "detector"),
    ({"PixelSpacing": [0.2, 0.2]}, 0.2, "unknown"),
    ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.2, 0.2]}, 0.2, "detector"),
    ({"PixelAspectRatio": [4, 3]}, (4 / 3, 1.0), "unknown"),
    ({"PixelSpacing": [0, 0]}, None, ""),
    ({"ImagerPixelSpacing": [90, 90]}, None, ""),
    ({}, None, ""),
]


@pytest.mark.parametrize(("attributes", "size", "plane"), SPACINGS)
def test_spacing_and_its_plane(attributes: dict[str, Any], size: Any, plane: str) -> None:
    spacing, notes = spacing_of(FrameHeader(dataset=projection(film(), **attributes)))
    if size is None:
        assert spacing is None
        assert bool(notes) == bool(attributes)
        return
    row_mm, column_mm = size if isinstance(size, tuple) else (size, size)
    assert spacing is not None
    assert (spacing.row_mm, spacing.column_mm) == pytest.approx((row_mm, column_mm))
    assert spacing.plane == plane
    assert spacing.source


@given(
    st.floats(0.05, 0.6), st.floats(0.3, 5.0), st.sampled_from(["", "FIDUCIAL", "GEOMETRY", "nonsense"]), st.booleans()
)
def test_only_what_was_corrected_is_in_the_patient(imager: float, factor: float, kind: str, same: bool) -> None:
    """Never a silent fallback: a size in the patient is smaller than the detector's, or the header says calibrated."""
    attributes: dict[str, Any] = {"ImagerPixelSpacing": [f"{imager:.6f}"] * 2}
    attributes["EstimatedRadiographicMagnificationFactor"] = f"{factor:.4f}"
    if kind or same:
        attributes |= {"PixelSpacing": [f"{imager:.6f}"] * 2, "PixelSpacingCalibrationType": kind}
    spacing, _ = spacing_of(FrameHeader(dataset=projection(film(), **attributes)))
    assert spacing is not None
    if spacing.plane == "patient" and kind not in ("FIDUCIAL", "GEOMETRY"):
        assert spacing.column_mm == pytest.approx(imager / factor, rel=1e-3)
        assert 1.01 <= round(factor, 4) <= 3
    if spacing.plane == "detector":
        assert spacing.column_mm == pytest.approx(imager, abs=1e-6)


def test_operator_gives_the_spacing(tmp_path: Path) -> None:
    file = only_file(projection(film(), PixelAspectRatio=[6, 5]), tmp_path)
    spacing = read_projection(file, spacing_mm=0.2).spacing
    assert spacing is not None
    assert (spacing.row_mm, spacing.column_mm) == pytest.approx((0.24, 0.2))
    assert (spacing.plane, spacing.source) == ("patient", "given by the operator")
    with pytest.raises(UnsupportedError, match="0 mm given by the operator"):
        read_projection(file, spacing_mm=0.0)


@pytest.mark.parametrize("kind", ["Shutter", "Collimator"])
def test_shutters_of_the_header(tmp_path: Path, kind: str) -> None:
    rectangle = {f"{kind}LeftVerticalEdge": 11, f"{kind}RightVerticalEdge": 90}
    rectangle |= {f"{kind}UpperHorizontalEdge": 6, f"{kind}LowerHorizontalEdge": 100}
    valid = radiograph(projection(film(), **{f"{kind}Shape": "RECTANGULAR"}, **rectangle), tmp_path / "a").valid
    expected = np.zeros((ROWS, COLUMNS), bool)
    expected[5:100, 10:90] = True
    np.testing.assert_array_equal(valid, expected)
    circle = {f"CenterOfCircular{kind}": [61, 41], f"RadiusOfCircular{kind}": 30}
    both = projection(film(), **{f"{kind}Shape": ["CIRCULAR", "RECTANGULAR"]}, **circle, **rectangle)
    row, column = np.ogrid[:ROWS, :COLUMNS]
    disc = (row - 60) ** 2 + (column - 40) ** 2 <= 900
    np.testing.assert_array_equal(radiograph(both, tmp_path / "b").valid, expected & disc)
    corners = {f"VerticesOfThePolygonal{kind}": [1, 1, 1, 80, 100, 1]}
    triangle = radiograph(projection(film(), **{f"{kind}Shape": "POLYGONAL"}, **corners), tmp_path / "c").valid
    assert triangle[2, 2]
    assert not triangle[95, 75]
    assert triangle.sum() == pytest.approx(99 * 79 / 2, rel=0.03)
    nowhere = projection(film(), **{f"{kind}Shape": "CIRCULAR"}, **(circle | {f"RadiusOfCircular{kind}": 1}))
    result = read(nowhere, tmp_path / "d")
    assert isinstance(result.image, Radiograph)
    assert result.image.valid.all()
    assert "leaves no picture" in result.warnings[0]


@pytest.mark.parametrize("outside", [0, TOP])
@pytest.mark.parametrize("modality", ["CR", "RF"])
def test_round_field_is_found_in_the_picture(tmp_path: Path, outside: int, modality: str) -> None:
    row, column = np.ogrid[:ROWS, :COLUMNS]
    disc = (row - 58) ** 2 + (column - 47) ** 2 <= 45**2
    values = np.where(disc, film() if modality == "CR" else TOP - film(), outside)
    valid = radiograph(projection(values, modality), tmp_path).valid
    assert not valid[~disc].any()
    assert valid.sum() > 0.9 * disc.sum()


def test_tilted_blades_are_found_and_air_is_not_cut_off(tmp_path: Path) -> None:
    assert radiograph(projection(film()), tmp_path / "open").valid.all()
    row, column = np.mgrid[:ROWS, :COLUMNS]
    shadow = column < 9 + 0.05 * row
    values = np.where(shadow, 700, film())
    valid = radiograph(projection(values), tmp_path / "blade").valid
    assert valid[shadow].mean() < 0.2
    assert valid[~shadow].mean() > 0.93


def test_padding_and_saturation_are_marked(tmp_path: Path) -> None:
    values = film()
    values[:4] = 0
    values[60:66, 46:51] = TOP
    image = radiograph(projection(values, PixelPaddingValue=0), tmp_path)
    assert not image.valid[:4].any()
    assert image.saturated is not None
    assert image.saturated[60:66, 46:51].all()
    assert image.saturated.sum() == 30


def colour_file(label: bool, planar: int, *, coloured: bool = False) -> Dataset:
    grey = (film() / 4).astype(np.uint8)
    picture = np.stack([grey] * 3, axis=-1)
    if label:
        picture[5:10, 5:15] = (255, 255, 0)
    if coloured:
        picture[..., 0] //= 2
    image = projection(film(), "DX", PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=planar)
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.PixelData = (picture.transpose(2, 0, 1) if planar else picture).tobytes()
    return image


@pytest.mark.parametrize("planar", [0, 1])
def test_grey_picture_stored_in_colour_is_converted(tmp_path: Path, planar: int) -> None:
    result = read(colour_file(label=True, planar=planar), tmp_path)
    assert isinstance(result.image, Radiograph)
    assert bone_over_tissue(result.image.intensity) > 50
    assert not result.image.valid[5:10, 5:15].any()
    assert result.image.valid[20:].all()
    assert result.warnings == ("coloured labels on the picture are left out",)
    with pytest.raises(UnsupportedError, match="is a colour picture"):
        read(colour_file(label=False, planar=planar, coloured=True), tmp_path / "x")


def test_grey_palette_is_converted(tmp_path: Path) -> None:
    image = projection(film() // 4, PhotometricInterpretation="PALETTE COLOR")
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.PixelData = (film() // 4).astype(np.uint8).tobytes()
    ramp = (np.arange(256) * 257).astype("<u2").tobytes()
    for name in ("Red", "Green", "Blue"):
        setattr(image, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(image, f"{name}PaletteColorLookupTableData", ramp)
    assert bone_over_tissue(radiograph(image, tmp_path).intensity) > 50 * 257


def cine(count: int = 6, **attributes: Any) -> Dataset:
    return projection(np.stack([TOP - film(shift) for shift in range(count)]), "XA", **attributes)


def as_fluoroscopy(result: ProjectionImage) -> Fluoroscopy:
    assert isinstance(result.image, Fluoroscopy)
    return result.image


def test_cine_is_read_frame_by_frame(tmp_path: Path) -> None:
    result = read_cine(only_file(cine(FrameTime="125"), tmp_path))
    fluoroscopy = as_fluoroscopy(result)
    assert (result.kind, fluoroscopy.frame_count, result.file_frames) == ("cine", 6, (1, 2, 3, 4, 5, 6))
    assert fluoroscopy.frame_time_ms == (0, 125, 250, 375, 500, 625)
    for number in (6, 1, 4):
        frame = fluoroscopy.read(number)
        assert frame.frame_number == number
        assert bone_over_tissue(frame.intensity, number - 1) > 200
    with pytest.raises(UnreadableError, match="frames 1 to 6, not 7"):
        fluoroscopy.read(7)
    with pytest.raises(UnsupportedError, match="is a cine"):
        read_radiograph(only_file(cine(), tmp_path / "b"))
    with pytest.raises(UnsupportedError, match="is no cine"):
        read_cine(only_file(cine(1), tmp_path / "c"))


def test_only_the_frame_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vertecast.dicom import projection_frames

    fluoroscopy = as_fluoroscopy(read(cine(40), tmp_path))
    spans: list[int] = []
    original = projection_frames._read_span

    def counted(file: Any, offset: int, length: int) -> bytes:
        spans.append(length)
        return original(file, offset, length)

    monkeypatch.setattr(projection_frames, "_read_span", counted)
    fluoroscopy.read(17)
    assert spans == [ROWS * COLUMNS * 2]


def test_cine_in_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    path = save_one(cine(), tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "a/cine.dcm")
    (file,) = files(tmp_path / "x.zip")
    fluoroscopy = as_fluoroscopy(read_projection(file))
    (tmp_path / "x.zip").unlink()
    assert bone_over_tissue(fluoroscopy.read(3).intensity, 2) > 200


def compressed(values: np.ndarray, fragments: int, offsets: bool) -> Dataset:
    """A cine in JPEG baseline, each frame in several fragments."""
    import io

    frames = []
    for frame in values:
        buffer = io.BytesIO()
        Image.fromarray((frame / 4).astype(np.uint8)).save(buffer, "JPEG", quality=95)
        frames.append(buffer.getvalue() + b"\0" * (buffer.tell() % 2))
    image = projection(values, "XA")
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    image.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=offsets)
    image["PixelData"].is_undefined_length = True
    image["PixelData"].VR = "OB"
    return image


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("offsets", [True, False])
def test_fragmented_jpeg(tmp_path: Path, fragments: int, offsets: bool) -> None:
    values = np.stack([TOP - film(shift) for shift in range(4)])
    image = compressed(values, fragments, offsets)
    assert len(list(generate_fragmented_frames(image.PixelData, number_of_frames=4))) == 4
    fluoroscopy = as_fluoroscopy(read(image, tmp_path))
    for number in range(1, 5):
        expected = -(values[number - 1] // 4)
        assert np.abs(fluoroscopy.read(number).intensity - expected).mean() < 3


@pytest.mark.parametrize(
    ("attributes", "expected", "words"),
    [
        ({"FrameTimeVector": [0, 100, 200, 150]}, (0, 100, 300, 450), ""),
        ({"FrameTimeVector": [0, 100], "FrameTime": "50"}, (0, 50, 100, 150), "FrameTimeVector has 2 values"),
        ({"CineRate": 8}, (0, 125, 250, 375), "CineRate"),
        ({"RecommendedDisplayFrameRate": 10, "FrameTime": "0"}, (0, 100, 200, 300), "rate of display"),
        ({"FrameTime": "0"}, None, "no time between frames"),
        ({}, None, "no time between frames"),
    ],
)
def test_frame_times(attributes: dict[str, Any], expected: tuple[float, ...] | None, words: str) -> None:
    times, notes = frame_times_ms(cine(4, **attributes), (1, 2, 3, 4))
    assert times == expected
    assert bool(notes) == bool(words)
    assert words in " ".join(notes)


def enhanced(planes: str) -> Dataset:
    """An enhanced XA whose frames belong to the planes named by letters, acquired every 200 ms."""
    image = cine(len(planes))
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.12.1.1"
    properties = item(ImagerPixelSpacing=[0.3, 0.3], PixelIntensityRelationship="LIN", PixelIntensityRelationshipSign=1)
    shared = item(
        FramePixelDataPropertiesSequence=properties,
        XRayGeometrySequence=item(EstimatedRadiographicMagnificationFactor=1.5),
    )
    image.SharedFunctionalGroupsSequence = shared
    groups = []
    for number, plane in enumerate(planes):
        (own,) = item(
            FrameContentSequence=item(FrameAcquisitionDateTime=f"20240101120000.{2 * number}00000"),
            XAXRFFrameCharacteristicsSequence=item(),
            PositionerPositionSequence=item(PositionerPrimaryAngle=2.0 if plane == "A" else 91.0),
        )
        own.add_new(0x00189412, "SQ", item(FrameType=["ORIGINAL", "PRIMARY", f"BIPLANE {plane}"]))
        groups.append(own)
    image.PerFrameFunctionalGroupsSequence = groups
    return image


def test_enhanced_biplane_is_kept_apart(tmp_path: Path) -> None:
    first, second = (read_projection(file) for file in files(save_one(enhanced("ABABA"), tmp_path)))
    assert (first.plane, first.view, first.file_frames) == ("A", "ap", (1, 3, 5))
    assert (second.plane, second.view, second.file_frames) == ("B", "lateral", (2, 4))
    assert as_fluoroscopy(first).frame_time_ms == (0, 400, 800)
    assert as_fluoroscopy(second).frame_time_ms == (0, 400)
    assert first.spacing is not None
    assert (first.spacing.row_mm, first.spacing.plane) == (pytest.approx(0.2), "patient")
    frame = as_fluoroscopy(second).read(2)
    assert frame.frame_number == 2
    assert bone_over_tissue(frame.intensity, 3) > 200


def test_two_views_in_a_series_are_two_images(tmp_path: Path) -> None:
    lateral = projection(film(), ViewPosition="LL", InstanceNumber=2)
    ap = projection(film(), ViewPosition="AP", InstanceNumber=1)
    ap.StudyInstanceUID, ap.SeriesInstanceUID = lateral.StudyInstanceUID, lateral.SeriesInstanceUID
    save_one(lateral, tmp_path)
    save_one(ap, tmp_path)
    assert [read_projection(file).view for file in files(tmp_path)] == ["ap", "lateral"]


@pytest.mark.parametrize(
    ("attributes", "view"),
    [
        ({"ViewPosition": "PA"}, "ap"),
        ({"ViewPosition": "RAO"}, "oblique"),
        ({"ViewCodeSequence": item(CodeMeaning="left lateral"), "ViewPosition": "AP"}, "lateral"),
        ({"ViewCodeSequence": item(CodeMeaning="postero-anterior")}, "ap"),
        ({"PatientOrientation": ["L", "F"]}, "ap"),
        ({"PatientOrientation": ["A", "FR"]}, "oblique"),
        ({"PatientOrientation": ["P", "F"]}, "lateral"),
        ({"PatientOrientation": ["P", "L"]}, None),
        ({"Modality": "XA", "PositionerPrimaryAngle": "-88"}, "lateral"),
        ({"Modality": "XA", "PositionerPrimaryAngle": "178"}, "ap"),
        ({"Modality": "XA", "PositionerPrimaryAngle": "45"}, "oblique"),
        ({"Modality": "DX", "PositionerPrimaryAngle": "0"}, None),
        ({}, None),
    ],
)
def test_view_of_the_header(attributes: dict[str, Any], view: str | None) -> None:
    assert view_of(FrameHeader(dataset=projection(film(), **attributes))) == view


def cut(image: Dataset, keep: int) -> None:
    image.PixelData = image.PixelData[:keep]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda image: cut(image, ROWS * COLUMNS * 2 * 4), "names 6 frames and the pixel data holds 4"),
        (lambda image: setattr(image, "NumberOfFrames", 5), "names 5 frames and the pixel data holds 6"),
        (lambda image: delattr(image, "PixelData"), "no pixel data"),
        (lambda image: setattr(image, "PixelData", b"\1\0" * (ROWS * COLUMNS * 6)), "every pixel has the same value"),
        (lambda image: setattr(image, "BitsAllocated", 64), "64 bits per pixel"),
        (lambda image: setattr(image, "PhotometricInterpretation", "HSV"), "stored as HSV"),
    ],
)
def test_bad_files_have_a_reason_and_name_nobody(tmp_path: Path, edit: Any, words: str) -> None:
    image = cine()
    path = save_one(image, tmp_path)
    (file,) = files(path)
    edit(image)
    image.save_as(path, enforce_file_format=False)
    with pytest.raises((UnreadableError, UnsupportedError), match=words) as caught:
        read_projection(file)
    assert "SECRET" not in str(caught.value).upper()


def test_pixels_that_contradict_their_compression_are_unreadable(tmp_path: Path) -> None:
    path = save_one(cine(), tmp_path)
    (file,) = files(path)
    explicit, rle = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"
    path.write_bytes(path.read_bytes().replace(explicit, rle))
    with pytest.raises(UnreadableError, match="claims to be compressed"):
        read_projection(file)


@given(st.integers(200, 6000))
def test_file_cut_off_anywhere_is_unreadable(tmp_path_factory: pytest.TempPathFactory, keep: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    values = np.stack([TOP - film(shift) for shift in range(3)])
    path = save_one(compressed(values, 2, False), folder)
    (file,) = files(path)
    path.write_bytes(path.read_bytes()[: min(keep, path.stat().st_size - 20)])
    with pytest.raises((UnreadableError, UnsupportedError)):
        read_projection(file)


def test_choice_of_series_and_reasons(tmp_path: Path) -> None:
    study = "1.2.3"
    images = {
        "film": projection(film(), "DX"),
        "raw": projection(film(), "DX", PresentationIntentType="FOR PROCESSING"),
        "cine": cine(),
        "wrapped": projection(film(), "SC"),
        "screen": projection(film() // 4, "SC", bits=8),
        "frame grabber": projection(film() // 4, "SC", bits=8, ConversionType="DV"),
        "mammogram": projection(film(), "DX", Modality="MG"),
    }
    for number, image in enumerate(images.values()):
        image.StudyInstanceUID, image.SeriesInstanceUID = study, f"1.2.3.{number}"
        save_one(image, tmp_path)
    (found,) = find_studies([tmp_path])
    assert isinstance(found, StudyFiles)
    chosen, others = choose_projection_series(found)
    names = {f"1.2.3.{number}": name for number, name in enumerate(images)}
    assert {names[one.series_instance_uid] for one in chosen} == {"film", "cine", "wrapped", "frame grabber"}
    reasons = {names[one.series_instance_uid]: one.reason for one in others}
    assert "raw detector values" in reasons["raw"]
    assert "secondary capture" in reasons["screen"]
    assert "modality MG" in reasons["mammogram"]
    assert {series_kind(one) for one in chosen} == {"radiograph", "cine"}


# Pictures


def save_picture(path: Path, values: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((film() / 4).astype(np.uint8) if values is None else values).save(path)
    return path


def picture_studies(*paths: Path) -> list[str]:
    return [one.study_instance_uid for one in find_studies(list(paths)) if isinstance(one, StudyFiles)]


def test_pictures_are_studies_where_nothing_else_is(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    save_picture(folder / "one.png")
    save_picture(folder / "deep" / "two.JPG")
    (folder / "one.json").write_text("{}")
    assert picture_studies(folder) == ["two", "one"]
    save_one(projection(film()), folder / "dicom")
    assert "one" not in picture_studies(folder)
    assert picture_studies(folder / "one.png") == ["one"]
    assert "one" in picture_studies(folder, folder / "one.png")


def test_own_pictures_are_never_taken(tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "out" / "1.2.3" / "images" / "sagittal.png")
    (tmp_path / "out" / "1.2.3" / "report.json").write_text("{}")
    assert picture_studies(tmp_path / "out") == []
    assert picture_studies(picture.parent) == []
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        archive.write(picture, "1.2.3/images/sagittal.png")
        archive.writestr("1.2.3/report.json", "{}")
    (problem,) = find_studies([tmp_path / "out.zip"])
    assert isinstance(problem, UnreadablePath)


def read_picture_at(path: Path, **options: float) -> ProjectionImage:
    (study,) = find_studies([path])
    assert isinstance(study, StudyFiles)
    chosen, _ = choose_projection_series(study)
    (file,) = projection_files(chosen[0])
    return read_projection(file, **options)


@pytest.mark.parametrize("kind", ["8 bits", "16 bits", "palette", "colour", "inverted"])
def test_pictures_are_read_whatever_their_kind(tmp_path: Path, kind: str) -> None:
    grey = (film() / 4).astype(np.uint8)
    values = {"16 bits": (film() * 60).astype(np.uint16), "colour": np.stack([grey] * 3, -1), "inverted": 255 - grey}
    path = save_picture(tmp_path / "film.png", values.get(kind, grey))
    if kind == "palette":
        Image.open(path).convert("P").save(path)
    result = read_picture_at(path, spacing_mm=0.25)
    assert isinstance(result.image, Radiograph)
    assert bone_over_tissue(result.image.intensity) > 50
    assert result.image.valid.all()
    assert bool(result.warnings) == (kind == "inverted")
    assert result.spacing is not None
    assert (result.spacing.row_mm, result.spacing.plane) == (0.25, "patient")
    assert read_picture_at(path).spacing is None
    assert (result.study_instance_uid, result.sop_instance_uids) == ("film", ())


def test_bad_pictures_have_a_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    save_picture(broken)
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(UnreadableError, match="damaged"):
        read_picture_at(broken)
    with pytest.raises(UnsupportedError, match="same value"):
        read_picture_at(save_picture(tmp_path / "flat.png", np.full((40, 30), 9, np.uint8)))
    colours = np.random.default_rng(1).integers(0, 255, (40, 30, 3), np.uint8)
    with pytest.raises(UnsupportedError, match="colour picture"):
        read_picture_at(save_picture(tmp_path / "photo.png", colours))


# Real images


def real(path: Path) -> ProjectionImage:
    (file,) = files(path)
    return read_projection(file)


@pytest.mark.realdata
def test_one_picture_whatever_the_codec(real_data: Path) -> None:
    pictures = {}
    for codec in ("J2KR", "JLSL", "JPLL", "RLE", "JLSN"):
        image = real(real_data / "dicom_codecs" / f"XA1_{codec}.dcm").image
        assert isinstance(image, Radiograph)
        pictures[codec] = image
    first = pictures["RLE"]
    assert 0.74 < first.valid.mean() < 0.79
    for codec, image in pictures.items():
        if codec != "JLSN":
            np.testing.assert_array_equal(image.intensity, first.intensity)
            np.testing.assert_array_equal(image.valid, first.valid)
    difference = np.abs(pictures["JLSN"].intensity - first.intensity)
    assert 0 < difference.max() <= 20
    assert (pictures["JLSN"].valid != first.valid).mean() < 0.01


@pytest.mark.realdata
def test_twelve_bit_jpeg(real_data: Path) -> None:
    result = real(real_data / "dicom_codecs" / "RG2_JPLY.dcm")
    assert isinstance(result.image, Radiograph)
    assert result.image.shape == (2140, 1760)
    assert result.image.intensity[900, 900] > result.image.intensity[2000, 700] + 200  # thigh and air
    assert result.spacing is not None
    assert result.spacing.plane == "unknown"


@pytest.mark.realdata
def test_lumbar_fluoroscopy(real_data: Path) -> None:
    fluoroscopy = as_fluoroscopy(real(real_data / "fluoro" / "lumbar_ap_bending_rf.dcm"))
    assert fluoroscopy.frame_count == 55
    assert fluoroscopy.frame_time_ms is not None
    assert fluoroscopy.frame_time_ms[-1] == pytest.approx(54 * 133.47)
    for number in range(1, 56):
        frame = fluoroscopy.read(number)
        assert 0.74 < frame.valid.mean() < 0.79
        assert not frame.valid[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    upright = fluoroscopy.read(1)
    # The lower lumbar spine stands between bowel on both sides.
    spine = upright.intensity[150:300, 250:310].mean()
    assert spine > upright.intensity[150:300, 330:380].mean() + 15
    assert spine > upright.intensity[150:300, 150:200].mean() + 15


@pytest.mark.realdata
def test_coronary_cine_of_fragments(real_data: Path) -> None:
    result = real(real_data / "fluoro" / "xa_coronary_96_frames.dcm")
    fluoroscopy = as_fluoroscopy(result)
    assert (fluoroscopy.frame_count, result.view, result.warnings) == (96, "oblique", ())
    last = fluoroscopy.read(96)
    assert 0.7 < last.valid.mean() < 0.8
    assert last.intensity[200:350, 300].mean() > last.intensity[200:350, 120].mean()  # heart and lung


@pytest.mark.realdata
def test_real_films_keep_their_polarity(real_data: Path) -> None:
    paths = sorted((real_data / "xray").glob("*/*.png")) + sorted((real_data / "xray").glob("*/*.jpg"))
    assert len(paths) == 59
    for path in paths:
        result = read_picture_at(path)
        assert isinstance(result.image, Radiograph)
        assert result.warnings == (), path.name
        assert result.image.valid.mean() > 0.9, path.name
