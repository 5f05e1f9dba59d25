"""Size of a pixel, and the plane where it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantoms.xray import film, only_file, projection
from vertecast.core.errors import UnsupportedError
from vertecast.io.projection.header import FrameHeader
from vertecast.io.projection.images import read_projection
from vertecast.io.projection.spacing import spacing_of

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
    ({"PixelSpacing": [0.3, 0.3], "ImagerPixelSpacing": [0.15, 0.15]}, 0.3, "unknown"),
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
