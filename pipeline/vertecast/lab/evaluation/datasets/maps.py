"""Folders of label maps, told apart by what lies in them.

| layout | how it is known | case |
|---|---|---|
| nnU-Net | ``dataset.json`` with names of labels; maps in ``labelsTr``, or beside it for predictions | file |
| TotalSegmentator | ``vertebrae_<level>.nii.gz`` in a folder of its own, or in its ``segmentations`` | folder |
| BIDS, VerSe | ``..._msk.nii.gz``, ``..._dseg.nii.gz`` or ``..._seg.nii.gz``, ``..._ctd.json`` | entities |
| DICOM SEG | DICOM files of modality SEG, with the CT series beside them | StudyInstanceUID |
| Vertecast | output of ``analyze`` (``labels_1.nii.gz``); truth of ``simulate`` | folder; StudyInstanceUID |
| files | any other NIfTI, MetaImage or NRRD | file |
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from vertecast.core.errors import UnreadableError
from vertecast.lab.evaluation.datasets.files import ENDINGS, stem
from vertecast.lab.evaluation.datasets.schemes import number_of_name
from vertecast.lab.evaluation.datasets.studies import LABELS_NAME, TRUTH_MARK, true_study

Kind: TypeAlias = Literal["file", "folder", "seg"]

VERTEBRA_FILES: Final = "vertebrae_*.nii.gz"
_BIDS: Final = re.compile(r"(?P<case>.+?)(?:_seg-[A-Za-z0-9]+)?_(?:msk|dseg|seg)$")
_IMAGE_SUFFIX: Final = re.compile(r"_(?:ct|0000|CT)$")
_PATIENT: Final = re.compile(r"sub-[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFile:
    """One label map of a data set.

    Attributes:
        case: Name under which truth and prediction meet.
        patient: Cases of one patient share it.
        kind: One file with numbers, a folder with a file for each structure, or a DICOM SEG.
        path: The file or the folder.
        numbers: Our number by the map's, where the data set says itself; None: a scheme must.
        centroids: File of the true centroids.
        image: The CT: a file, or for a SEG the folder of its series.
        groups: Sub-groups that the data set tells: value by name.
        simulated: It is the truth of a simulated image.
    """

    case: str
    patient: str
    kind: Kind
    path: Path
    numbers: Mapping[int, int] | None = None
    centroids: Path | None = None
    image: Path | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    simulated: bool = False


def find_maps(directory: Path) -> tuple[MapFile, ...]:
    """Every label map of a folder, by case.

    Raises:
        UnreadableError: There is none, two have the same name, or what describes them is damaged.
    """
    layouts: tuple[Callable[[Path], Iterator[MapFile]], ...] = (
        _nnunet, _structures, _own, _simulated, _segs, _bids, _plain
    )  # fmt: skip
    found = next((maps for layout in layouts if (maps := list(layout(directory)))), [])
    if not found:
        raise UnreadableError(
            f"{directory}: holds no truth or maps of a layout that is known; docs/evaluation.md lists them"
        )
    cases: dict[str, MapFile] = {}
    for one in found:
        if one.case in cases:
            raise UnreadableError(f"{one.path}: is a second map of the case {one.case}; keep one map of each case")
        cases[one.case] = one
    return tuple(cases[name] for name in sorted(cases))


def case_name(path: Path) -> str:
    """Name of a case by its map or its image: without ending, and without what BIDS and nnU-Net put behind it."""
    name = stem(path)
    matched = _BIDS.fullmatch(name)
    return _IMAGE_SUFFIX.sub("", matched["case"] if matched else name)


def _patient(case: str) -> str:
    matched = _PATIENT.match(case)
    return matched[0] if matched else case


def _volumes(directory: Path, pattern: str = "*") -> Iterator[Path]:
    return (path for path in sorted(directory.rglob(pattern)) if path.is_file() and path.name.endswith(ENDINGS))


def _file(path: Path, **more: Any) -> MapFile:
    case = case_name(path)
    return MapFile(case=case, patient=_patient(case), kind="file", path=path, **more)


def _nnunet(directory: Path) -> Iterator[MapFile]:
    described = directory / "dataset.json"
    if not described.is_file():
        return
    numbers = {n: own for name, n in _nnunet_labels(described) if (own := number_of_name(name)) or n}
    folder = directory / "labelsTr"
    for path in _volumes(folder if folder.is_dir() else directory):
        images = directory.glob(f"imagesTr/{stem(path)}_0000.*")
        yield _file(path, numbers=numbers, image=next(images, None))


def _nnunet_labels(path: Path) -> Iterator[tuple[str, int]]:
    """Name and number of every label; version 1 has names by number, version 2 numbers by name, regions as lists."""
    try:
        for key, value in json.loads(path.read_text(encoding="utf-8"))["labels"].items():
            if isinstance(value, list):
                raise UnreadableError(f"{path}: label {key} is a region of several numbers; export plain labels")
            yield (value, int(key)) if str(key).isdigit() else (key, int(value))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableError(
            f"{path}: is no dataset.json with labels ({type(error).__name__}); see nnU-Net"
        ) from error


def _structures(directory: Path) -> Iterator[MapFile]:
    folders = sorted({path.parent for path in directory.rglob(VERTEBRA_FILES)})
    for folder in folders:
        owner = folder.parent if folder.name == "segmentations" else folder
        image = next((path for path in _volumes(owner, "ct.*") if path.parent == owner), None)
        name = case_name(owner)
        yield MapFile(case=name, patient=_patient(name), kind="folder", path=folder, image=image)


def _own(directory: Path) -> Iterator[MapFile]:
    for path in sorted(directory.rglob(LABELS_NAME)):
        name = case_name(path.parent)
        yield own_map(path, name, _patient(name))


def own_map(path: Path, case: str, patient: str) -> MapFile:
    """A map in the numbers of ``labels_<n>.nii.gz``."""
    return MapFile(case=case, patient=patient, kind="file", path=path, numbers=OWN_NUMBERS)


def _simulated(directory: Path) -> Iterator[MapFile]:
    for path in sorted(directory.rglob("*.json")):
        labels = path.with_name(f"{path.stem}.nii.gz")
        if labels.is_file() and TRUTH_MARK in path.read_text(encoding="utf-8", errors="replace"):
            truth = true_study(path)
            yield MapFile(
                case=truth.study_instance_uid, patient=truth.patient, kind="file", path=labels, numbers=OWN_NUMBERS,
                groups=truth.groups, simulated=truth.simulated,
            )  # fmt: skip


OWN_NUMBERS: Final = {n: n for n in range(256)}


def _segs(directory: Path) -> Iterator[MapFile]:
    from vertecast.lab.evaluation.datasets.dicom_seg import find_segs

    for number, seg in enumerate(find_segs(directory), start=1):
        yield MapFile(
            case=seg.study_instance_uid, patient=seg.patient or f"study {number}", kind="seg", path=seg.path,
            image=seg.image, groups=seg.groups, numbers=seg.numbers,
        )  # fmt: skip


def _bids(directory: Path) -> Iterator[MapFile]:
    for path in _volumes(directory):
        if _BIDS.fullmatch(stem(path)) is None:
            continue
        name = case_name(path)
        images = (one for one in _volumes(directory, f"{name}*") if _IMAGE_SUFFIX.search(stem(one)))
        yield _file(path, centroids=next(path.parent.glob(f"{name}*_ctd.json"), None), image=next(images, None))


def _plain(directory: Path) -> Iterator[MapFile]:
    """Every file but those that are named as the image of another one ("a_ct.nii.gz" beside "a.nii.gz")."""
    paths = list(_volumes(directory))
    maps = [path for path in paths if not _IMAGE_SUFFIX.search(stem(path))] or paths
    images = {case_name(path): path for path in paths if path not in maps}
    return (_file(path, image=images.get(case_name(path))) for path in maps)
