"""Real DICOM of several writers, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from phantoms.dicom import found
from vertecast.io.ct.series import choose_ct_series, read_ct
from vertecast.io.discover import StudyFiles, find_studies
from vertecast.io.headers import read_header
from vertecast.io.pixels import read_planes
from vertecast.io.sources import FileRef

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("VERTECAST_REAL_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real images are not at hand; set VERTECAST_REAL_DATA")


def decoded(path: Path) -> np.ndarray:
    header = read_header(FileRef(path))
    assert header is not None
    (plane,) = header.planes
    out = np.empty((1, plane.rows, plane.columns), np.int16)
    read_planes([plane], out)
    return out[0]


@needs_data
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "shape", "step_mm", "k_axis"),
    [
        ("ct/abdomen_dicom", (512, 512, 41), 5.0, 1),
        ("ct/abdomen_flipped_axes", (512, 512, 75), 5.0, -1),
        ("ct/lumbar_3mm/dicom_20_slices", (512, 512, 20), 2.0, 1),
    ],
)
def test_real_series(folder: str, shape: tuple[int, ...], step_mm: float, k_axis: int) -> None:
    chosen, others = choose_ct_series(found(DATA / folder))
    assert others == []
    ct = read_ct(chosen[0])
    assert ct.volume.shape == shape
    assert ct.volume.spacing_mm[2] == pytest.approx(step_mm)
    assert np.sign(ct.volume.lps_from_index[2, 2]) == k_axis
    assert ct.warnings == ()
    assert len(set(ct.slice_sop_instance_uids)) == shape[2]
    # The table lies behind the patient, air in front of the belly: more matter on the posterior half.
    along_y = np.asarray(ct.volume.hu > -300).sum(axis=(0, 2))
    if ct.volume.lps_from_index[1, 1] < 0:
        along_y = along_y[::-1]
    matter = np.flatnonzero(along_y > 0.02 * along_y.max())
    assert np.average(np.arange(shape[1]), weights=along_y) > shape[1] * 0.35
    assert matter[-1] > shape[1] // 2


@needs_data
@pytest.mark.realdata
def test_one_picture_in_every_compression() -> None:
    lossless = [decoded(DATA / "dicom_codecs" / f"XA1_{codec}.dcm") for codec in ("J2KR", "JLSL", "JPLL", "RLE")]
    for other in lossless[1:]:
        np.testing.assert_array_equal(lossless[0], other)
    near = decoded(DATA / "dicom_codecs" / "XA1_JLSN.dcm")
    assert 0 < np.abs(near.astype(int) - lossless[0]).max() <= 20
    extended = decoded(DATA / "dicom_codecs" / "RG2_JPLY.dcm")
    assert extended.shape == (2140, 1760)
    assert 500 < extended.max() < 1024  # 10 bits are stored
    assert extended.std() > 20


def test_files_of_the_wild_end_in_a_study_or_a_reason() -> None:
    """The files that pydicom carries, damaged ones among them."""
    path = get_testdata_file("DICOMDIR")
    assert path is not None
    folder = Path(str(path)).parent.parent
    items = list(find_studies([folder]))
    studies = [item for item in items if isinstance(item, StudyFiles)]
    assert len(studies) > 20
    assert len(items) > len(studies)
    for study in studies:
        chosen, others = choose_ct_series(study)
        assert chosen == []
        assert all(other.reason for other in others)
        assert len(others) == len(study.series)
