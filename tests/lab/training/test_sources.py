"""CTs find their label maps by name; what does not fit is refused with its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from vertecast.core.errors import ConfigurationError
from vertecast.lab.training.sources import FolderSource, find_cases, split_cases


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _source(folder: Path, images: str, labels: str, **options: object) -> FolderSource:
    return FolderSource(kind="folder", images=f"{folder}/{images}", labels=f"{folder}/{labels}", **options)


@pytest.mark.parametrize(
    ("images", "labels", "files"),
    [
        ("ct", "seg", ("ct/a.nii.gz", "ct/b.nrrd", "seg/a.nii", "seg/b.mha", "seg/c.mha", "ct/notes.txt")),
        ("ct", "seg", ("ct/a/1.dcm", "ct/b/1.dcm", "seg/a.nii.gz", "seg/b.nii.gz")),
        (
            "raw/{case}/{case}_ct.nii.gz",
            "der/{case}/{case}_seg-vert_msk.nii.gz",
            (
                *("raw/a/a_ct.nii.gz", "raw/b/b_ct.nii.gz", "raw/b/c_ct.nii.gz"),
                *("der/a/a_seg-vert_msk.nii.gz", "der/b/b_seg-vert_msk.nii.gz"),
            ),
        ),
        (
            "imagesTr/{case}_0000.nii.gz",
            "labelsTr/{case}.nii.gz",
            ("imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz", "labelsTr/a.nii.gz", "labelsTr/b.nii.gz"),
        ),
        ("{case}/ct.nii.gz", "{case}/*.nrrd", ("a/ct.nii.gz", "b/ct.nii.gz", "a/x.nrrd", "b/y.nrrd")),
    ],
)
def test_images_and_labels_are_paired(tmp_path: Path, images: str, labels: str, files: tuple[str, ...]) -> None:
    _touch(tmp_path, *files)
    cases = find_cases(_source(tmp_path, images, labels))
    assert [case.name for case in cases] == ["a", "b"]
    assert all(case.image.exists() and case.labels.exists() and case.image != case.labels for case in cases)


def test_a_ct_without_labels_is_named(tmp_path: Path) -> None:
    _touch(tmp_path, "ct/a.nii.gz", "ct/b.nii.gz", "seg/a.nii.gz")
    with pytest.raises(ConfigurationError, match=r"1 of 2 CTs have no label map of the same name \(b\)"):
        find_cases(_source(tmp_path, "ct", "seg"))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no CT"):
        find_cases(_source(tmp_path, "nowhere", "seg"))


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "ct/a.nii.gz", "ct/a.nrrd", "seg/a.nii.gz")
    with pytest.raises(ConfigurationError, match="both called a"):
        find_cases(_source(tmp_path, "ct", "seg"))


def test_cases_are_held_out_by_share_or_by_name(tmp_path: Path) -> None:
    names = [f"case{n:02d}" for n in range(30)]
    _touch(tmp_path, *(f"{kind}/{name}.nii.gz" for kind in ("ct", "seg") for name in names))
    source = _source(tmp_path, "ct", "seg")
    learnt, kept = split_cases(source, find_cases(source), 1)
    assert (len(learnt), len(kept)) == (24, 6)
    assert {case.name for case in (*learnt, *kept)} == set(names)
    assert split_cases(source, find_cases(source), 1) == (learnt, kept)
    named = _source(tmp_path, "ct", "seg", held_out=("case03", "case07"))
    assert [case.name for case in split_cases(named, find_cases(named), 1)[1]] == ["case03", "case07"]
    wrong = _source(tmp_path, "ct", "seg", held_out=("case99",))
    with pytest.raises(ConfigurationError, match="case99"):
        split_cases(wrong, find_cases(wrong), 1)
    everything = _source(tmp_path, "ct", "seg", held_out=tuple(names))
    with pytest.raises(ConfigurationError, match="no case is left"):
        split_cases(everything, find_cases(everything), 1)
