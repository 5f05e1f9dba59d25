"""Grey values of projections: polarity, rescale and LUT, overlays, sign, colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from phantoms.xray import TOP, bone_over_tissue, film, item, projection, radiograph, read
from vertecast.core.errors import UnsupportedError
from vertecast.core.images import Radiograph
from vertecast.io.projection.greyscale import picture_score


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
