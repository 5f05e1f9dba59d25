"""Finding studies: every file ends in a study or in a record with a reason, and none in a crash."""

from __future__ import annotations

import os
import pickle
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom.fileset import FileSet
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid

from phantoms.dicom import ct_slices, found, grid, save
from vertecast.core.errors import OutputError
from vertecast.io import discover
from vertecast.io.ct.series import choose_ct_series, read_ct
from vertecast.io.discover import Catalogue, StudyFiles, UnreadablePath, find_studies
from vertecast.io.headers import read_header
from vertecast.io.sources import FileRef

SMALL = (5, 4, 9)


def small_ct(**uids: str) -> list:
    return ct_slices(grid(shape=SMALL, spacing_mm=(6.0, 7.0, 2.5)), SMALL, **uids)


def split(paths: list[Path], **options: Path) -> tuple[list[StudyFiles], list[UnreadablePath]]:
    items = list(find_studies(paths, **options))
    studies = [item for item in items if isinstance(item, StudyFiles)]
    return studies, [item for item in items if isinstance(item, UnreadablePath)]


def save_nifti(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), path)
    return path


def test_one_study_in_several_folders_and_paths_is_one_study(tmp_path: Path) -> None:
    images = small_ct()
    bone = small_ct(study_uid=images[0].StudyInstanceUID)
    save(images[:5], tmp_path / "a" / "deep")
    save(images[5:], tmp_path / "b")
    save(bone, tmp_path / "c")
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    studies, problems = split([tmp_path / "a", tmp_path / "b", tmp_path / "c", tmp_path / "a" / "deep"])
    assert problems == []
    (study,) = studies
    assert sorted(len(series.planes) for series in study.series) == [9, 9]
    assert study.source == str(tmp_path / "a")


def test_files_without_suffix_and_without_preamble_are_found(tmp_path: Path) -> None:
    for index, image in enumerate(small_ct()):
        path = tmp_path / f"IM{index:05d}"
        image.save_as(path, enforce_file_format=True)
        raw = path.read_bytes()
        if index % 2:
            path.write_bytes(raw[132:])
    assert len(found(tmp_path).series[0].planes) == 9


def test_zip_is_read_in_place(tmp_path: Path) -> None:
    folder = save(small_ct(), tmp_path / "study")
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, f"export/{path.name}")
        archive.writestr("export/readme.txt", "nothing")
        archive.writestr("__MACOSX/export/._slice000.dcm", b"junk")
    chosen, _ = choose_ct_series(found(tmp_path / "study.zip"))
    ct = read_ct(chosen[0])
    sent = pickle.loads(pickle.dumps(chosen[0]))  # studies travel to worker processes
    np.testing.assert_array_equal(ct.volume.hu, read_ct(sent).volume.hu)
    np.testing.assert_array_equal(ct.volume.hu, read_ct(choose_ct_series(found(folder))[0][0]).volume.hu)


def test_volume_file_in_a_zip_is_unpacked_to_scratch(tmp_path: Path) -> None:
    path = save_nifti(tmp_path / "spine.nii.gz")
    with zipfile.ZipFile(tmp_path / "volumes.zip", "w") as archive:
        archive.write(path, "x/spine.nii.gz")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    studies, problems = split([tmp_path / "volumes.zip"], scratch=scratch)
    assert problems == []
    unpacked = studies[0].series[0].volume_file
    assert unpacked is not None
    assert scratch in unpacked.parents
    assert unpacked.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing"])
def test_damaged_zip_is_recorded(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.zip").write_bytes(content)
    save(small_ct(), tmp_path / "good")
    studies, problems = split([tmp_path])
    assert len(studies) == 1
    assert [problem.path.name for problem in problems] == ["bad.zip"]
    assert "zip" in problems[0].reason


def test_zip_member_with_damaged_content_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.dcm", b"\0" * 128 + b"DICM" + bytes(range(200)))
    raw = bytearray(path.read_bytes())
    raw[200] ^= 0xFF
    path.write_bytes(bytes(raw))
    studies, problems = split([path])
    assert studies == []
    assert "a.dcm" in problems[0].reason


def test_dicomdir_leads_to_its_files(tmp_path: Path) -> None:
    images = small_ct()
    for image in images:
        image.SeriesNumber, image.StudyID = 1, "1"
        image.StudyDate, image.StudyTime, image.AccessionNumber = "20200101", "120000", ""
    medium = FileSet()
    for image in images:
        medium.add(image)
    medium.write(tmp_path)
    # What lies beside the files of the DICOMDIR is not asked for when the DICOMDIR itself is given.
    save(small_ct(), tmp_path / "other")
    study = found(tmp_path / "DICOMDIR")
    assert study.study_instance_uid == images[0].StudyInstanceUID
    assert len(study.series[0].planes) == 9
    lost = next(
        path for path in tmp_path.rglob("*") if path.is_file() and path.name != "DICOMDIR" and "other" not in str(path)
    )
    renamed = lost.rename(lost.with_name(f"{lost.name.lower()}.DCM"))
    assert len(found(tmp_path / "DICOMDIR").series[0].planes) == 9
    renamed.unlink()
    _, problems = split([tmp_path / "DICOMDIR"])
    assert [problem.reason for problem in problems] == ["is named in the DICOMDIR and missing; copy it again"]


def test_damaged_dicomdir_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(b"nothing of the kind")
    _, problems = split([tmp_path / "DICOMDIR"])
    assert "DICOMDIR cannot be read" in problems[0].reason


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM\x02\x00\x00\x00UL\x04\x00\xc8\x00"]
)
def test_damaged_dicom_file_is_recorded_and_the_rest_is_found(tmp_path: Path, content: bytes) -> None:
    save(small_ct(), tmp_path)
    (tmp_path / "bad.dcm").write_bytes(content)
    studies, problems = split([tmp_path])
    assert len(studies[0].series[0].planes) == 9
    assert [problem.path.name for problem in problems] == ["bad.dcm"]
    assert "damaged" in problems[0].reason


def test_header_cut_off_before_the_image_fails_its_series(tmp_path: Path) -> None:
    images = small_ct()
    for image in images:
        image.PatientComments = "x" * 4000
    save(images, tmp_path)
    path = tmp_path / "slice004.dcm"
    path.write_bytes(path.read_bytes()[:3000])
    studies, problems = split([tmp_path])
    results = [result for study in studies for result in choose_ct_series(study)[1]]
    reasons = [result.reason for result in results] + [problem.reason for problem in problems]
    assert any("damaged" in reason for reason in reasons)
    assert not any(choose_ct_series(study)[0] for study in studies)


@pytest.mark.parametrize("name", ["missing", "empty", "text"])
def test_path_without_images_is_recorded(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("not an image")
    studies, problems = split([tmp_path / name])
    assert studies == []
    assert [problem.path for problem in problems] == [tmp_path / name]
    assert problems[0].reason


def test_folder_without_permission_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(small_ct(), tmp_path / "good")
    locked = tmp_path / "locked"
    locked.mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if os.fspath(path) == os.fspath(locked):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    studies, problems = split([tmp_path])
    assert len(studies) == 1
    assert problems == [UnreadablePath(path=locked, reason="the folder cannot be read (permission denied)")]


def test_link_to_a_parent_folder_does_not_loop(tmp_path: Path) -> None:
    save(small_ct(), tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert len(found(tmp_path).series[0].planes) == 9


def test_two_patients_in_one_folder_are_two_studies(tmp_path: Path) -> None:
    others = small_ct()
    for image in others:
        image.PatientID = "OTHER"
    save(small_ct(), tmp_path / "x")
    save(others, tmp_path / "x", "other{:03d}".format)
    studies, problems = split([tmp_path])
    assert problems == []
    assert len(studies) == 2
    assert studies[0].patient_key != studies[1].patient_key


def test_two_patients_with_one_study_uid_are_refused(tmp_path: Path) -> None:
    images = small_ct()
    images[3].PatientID = "OTHER-SECRET"
    study = found(save(images, tmp_path))
    assert study.series == ()
    assert study.patient_key == ""
    (result,) = study.rejected
    assert (result.status, result.kind) == ("failed", "ct")
    assert result.reason.startswith("2 patient IDs share")
    assert "SECRET" not in repr(study)


def test_patient_key_pairs_studies_and_shows_nobody(tmp_path: Path) -> None:
    save(small_ct(), tmp_path / "pre")
    save(small_ct(), tmp_path / "post")
    anonymous = small_ct()
    for image in anonymous:
        image.PatientID = ""
    save(anonymous, tmp_path / "zz")
    studies, _ = split([tmp_path])
    keys = [study.patient_key for study in studies]
    assert keys[0] == keys[1] != ""
    assert keys[2] == ""
    assert "SECRET" not in repr(studies)
    assert "Secret" not in repr(studies)


def test_emptied_uids_are_replaced_by_the_folder(tmp_path: Path) -> None:
    images = small_ct()
    for image in images:
        image.StudyInstanceUID = image.SeriesInstanceUID = image.SOPInstanceUID = ""
        image.SeriesNumber = 4
    for index, image in enumerate(images):
        image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        (tmp_path / "case7").mkdir(exist_ok=True)
        image.save_as(tmp_path / "case7" / f"{index}.dcm", enforce_file_format=False)
    study = found(tmp_path / "case7")
    assert study.study_instance_uid == "case7"
    assert study.series[0].series_instance_uid == "case7_4"
    assert len(set(read_ct(study.series[0]).slice_sop_instance_uids)) == 9


def test_volume_files_are_named_by_their_stem_and_told_apart(tmp_path: Path) -> None:
    for name in ("a/ct.nii.gz", "b/ct.nii", "b/spine.v2.nii.gz"):
        save_nifti(tmp_path / name)
    studies, problems = split([tmp_path])
    assert problems == []
    assert [study.study_instance_uid for study in studies] == ["a_ct", "b_ct", "spine.v2"]
    assert all(study.series[0].series_instance_uid == study.study_instance_uid for study in studies)


def test_own_label_maps_are_not_taken_for_studies(tmp_path: Path) -> None:
    save_nifti(tmp_path / "1.2.3" / "labels_1.nii.gz")
    (tmp_path / "1.2.3" / "report.json").write_text("{}")
    save_nifti(tmp_path / "mine" / "labels_1.nii.gz")
    studies, _ = split([tmp_path])
    assert [study.source for study in studies] == [str(tmp_path / "mine" / "labels_1.nii.gz")]


def test_the_truth_beside_simulated_studies_is_no_study(tmp_path: Path) -> None:
    for folder in ("simulated/studies", "simulated/truth", "mine/truth"):
        save_nifti(tmp_path / folder / "a.nii.gz")
    studies, problems = split([tmp_path])
    assert problems == []
    assert [study.source for study in studies] == [
        str(tmp_path / place / "a.nii.gz") for place in ("mine/truth", "simulated/studies")
    ]


def test_the_catalogue_keeps_no_header_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = read_header(FileRef(next(save(small_ct(), tmp_path).iterdir())))
    assert header is not None
    files, studies = 50_000, 100
    refs = (FileRef(Path(f"/archive/{n % studies}/{n:06d}.dcm")) for n in range(files))
    monkeypatch.setattr(discover, "list_files", lambda _path: refs)
    monkeypatch.setattr(
        discover, "read_header", lambda ref: replace(header, study_instance_uid=f"1.2.{ref.path.parent.name}")
    )
    before = resident_bytes()
    with closing(Catalogue()) as catalogue:
        assert list(catalogue.search([tmp_path])) == []
        entries = list(catalogue.entries())
        assert [entry.study_instance_uid for entry in entries] == [f"1.2.{n}" for n in range(studies)]
        study = catalogue.study(entries[7])
        assert isinstance(study, StudyFiles)
        assert len(study.series[0].planes) == files // studies
        assert resident_bytes() - before < 60e6  # the headers alone would take three times as much


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_full_disk_while_looking_is_said(tmp_path: Path) -> None:
    save(small_ct(), tmp_path)
    with closing(Catalogue()) as catalogue:
        (pages,) = catalogue._database.execute("PRAGMA page_count").fetchone()
        catalogue._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OutputError, match="SQLITE_TMPDIR"):
            list(catalogue.search([tmp_path]))


def test_the_source_of_a_study_is_that_of_its_first_file(tmp_path: Path) -> None:
    images = small_ct()
    for folder, part in (("z", images[:3]), ("a", images[3:6]), ("m", images[6:])):
        save(part, tmp_path / folder)
    studies, _ = split([tmp_path / "z", tmp_path / "a", tmp_path / "m"])
    assert [study.source for study in studies] == [str(tmp_path / "z")]


def test_a_named_pipe_is_passed_over(tmp_path: Path) -> None:
    save(small_ct(), tmp_path)
    os.mkfifo(tmp_path / "pipe.dcm")
    assert len(found(tmp_path).series[0].planes) == 9


def test_a_deflated_file_that_grows_beyond_bounds_is_not_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n, image in enumerate(small_ct()):
        image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        image.save_as(tmp_path / f"{n}.dcm", enforce_file_format=True)
    assert split([tmp_path])[1] == [], "a deflated image of usual size is read"
    bomb = small_ct()[0]
    bomb.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    bomb.SOPInstanceUID = bomb.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    bomb.PixelData = bytes(4_000_000)
    bomb.save_as(tmp_path / "bomb.dcm", enforce_file_format=True)
    assert (tmp_path / "bomb.dcm").stat().st_size < 20_000
    monkeypatch.setattr("vertecast.io.sources.MAX_INFLATED_BYTES", 2**20)
    studies, refused = split([tmp_path])
    assert [len(series.planes) for study in studies for series in study.series] == [len(small_ct())]
    assert [path.path.name for path in refused] == ["bomb.dcm"]
    assert "is deflated and becomes larger than" in refused[0].reason
