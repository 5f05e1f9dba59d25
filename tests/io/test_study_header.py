"""The header that results carry back into a study."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from phantoms.xray import film, projection, save_one
from vertecast.core.errors import UnreadableError
from vertecast.io.sources import FileRef
from vertecast.io.study_header import NEVER_ABSENT, read_study_header


def test_names_survive_in_unicode_and_no_element_is_absent(tmp_path: Path) -> None:
    image = projection(film(), PatientName="Müller^Jürgen", SpecificCharacterSet="ISO_IR 100")
    header = read_study_header(FileRef(save_one(image, tmp_path)))
    assert all(keyword in header for keyword in NEVER_ABSENT)
    assert "PixelData" not in header
    copy = tmp_path / "copy.dcm"
    header.save_as(copy, enforce_file_format=True)
    assert "Müller^Jürgen".encode() in copy.read_bytes()
    assert dcmread(copy).PatientName == "Müller^Jürgen"


def test_a_header_that_has_gone_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="cannot be read"):
        read_study_header(FileRef(tmp_path / "gone.dcm"))
