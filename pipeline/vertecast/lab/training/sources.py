"""Where the examples of a CT training come from: simulated patients, folders of labelled CTs, or both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vertecast.core.errors import ConfigurationError
from vertecast.segmentation.label_map.schemes import BUILT_IN

CASE: Final = "{case}"
VOLUME_SUFFIXES: Final = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")

Truth: TypeAlias = Literal["labelled", "absent", "unknown"]


class SimulatedSource(BaseModel):
    """Simulated patients.

    Attributes:
        share: Of the examples, against the shares of the other sources.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["simulated"] = "simulated"
    share: float = Field(default=1.0, gt=0)


class FolderSource(BaseModel):
    """CTs with label maps, one patient each.

    Attributes:
        images: A folder, or a pattern with ``{case}`` for what tells the cases apart, as
            ``rawdata/{case}/{case}_ct.nii.gz``: NIfTI, MetaImage or NRRD, or a folder of DICOM files.
        labels: The same for the label maps.
        scheme: What their numbers mean: verse, totalsegmentator, vertecast or a YAML file (docs/label_maps.md).
        outlines: Whether a vertebra's number covers the whole of it or its body alone; "auto": seen from the arches.
        cement, metal: "labelled" where the maps mark all of it, "absent" where no patient has any, else "unknown":
            then the loss asks nothing about it. None: labelled where the scheme has numbers for it.
        share: Of the examples, against the shares of the other sources.
        rescan: Share of the examples that are seen through another simulated scanner too.
        held_out: Share of the cases that score the run and are never trained on, or their names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["folder"]
    images: str
    labels: str
    scheme: str = "verse"
    outlines: Literal["auto", "whole", "bodies"] = "auto"
    cement: Truth | None = None
    metal: Truth | None = None
    share: float = Field(default=1.0, gt=0)
    rescan: float = Field(default=0.5, ge=0, le=1)
    held_out: Annotated[float, Field(ge=0, lt=1)] | tuple[str, ...] = 0.2

    @property
    def scheme_name(self) -> str:
        """What a bundle may say of the scheme: the path of a file is nobody else's business."""
        return self.scheme if self.scheme in BUILT_IN else "own numbers"


Source: TypeAlias = Annotated[SimulatedSource | FolderSource, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFiles:
    """A CT and its label map."""

    name: str
    image: Path
    labels: Path


def find_cases(source: FolderSource) -> tuple[CaseFiles, ...]:
    """The cases of a folder in the order of their names.

    Raises:
        ConfigurationError: there is none, or a CT has no label map, or a name is there twice.
    """
    images, labels = _matches(source.images), _matches(source.labels)
    if not images:
        raise ConfigurationError(f"images: {source.images}: holds no CT; give a folder or a pattern with {CASE}")
    missing = sorted(set(images) - set(labels))
    if missing:
        some = ", ".join(missing[:5])
        raise ConfigurationError(
            f"labels: {source.labels}: {len(missing)} of {len(images)} CTs have no label map of the same name "
            f"({some}); complete it, or take these CTs out"
        )
    return tuple(CaseFiles(name=name, image=images[name], labels=labels[name]) for name in sorted(images))


def split_cases(
    source: FolderSource, cases: tuple[CaseFiles, ...], seed: int
) -> tuple[tuple[CaseFiles, ...], tuple[CaseFiles, ...]]:
    """Cases to learn from, and cases held out, the same ones for the same seed.

    Raises:
        ConfigurationError: a name that is to be held out is unknown, or nothing is left to learn from.
    """
    if isinstance(source.held_out, tuple):
        names = set(source.held_out)
    else:
        count = max(round(source.held_out * len(cases)), 1) if source.held_out else 0
        order = np.random.default_rng(seed).permutation(len(cases))
        names = {cases[n].name for n in order[:count]}
    unknown = names - {case.name for case in cases}
    if unknown:
        raise ConfigurationError(f"held_out: {', '.join(sorted(unknown))}: no such case in {source.images}")
    learnt = tuple(case for case in cases if case.name not in names)
    if not learnt:
        raise ConfigurationError(f"{source.images}: no case is left to learn from; hold out fewer of {len(cases)}")
    return learnt, tuple(case for case in cases if case.name in names)


def _matches(pattern: str) -> dict[str, Path]:
    """Path of every case by its name. Raises `ConfigurationError` where two paths have the same."""
    if CASE not in pattern:
        return _by_stem(Path(pattern))
    found: dict[str, Path] = {}
    expression = re.compile(_expression(pattern))
    root = Path(pattern[: pattern.index(CASE)])
    root = root if pattern[: pattern.index(CASE)].endswith("/") else root.parent
    for path in sorted(root.rglob("*")):
        match = expression.fullmatch(path.as_posix())
        if match:
            _add(found, match["case"], path)
    return found


def _expression(pattern: str) -> str:
    """Regular expression of a pattern; every ``{case}`` after the first repeats it, ``*`` is any part of a name."""
    first, *others = Path(pattern).as_posix().split(CASE)
    parts = [re.escape(part).replace(r"\*", "[^/]*") for part in (first, *others)]
    return parts[0] + "(?P<case>[^/]+?)" + "(?P=case)".join(parts[1:])


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        suffix = next((end for end in VOLUME_SUFFIXES if path.name.lower().endswith(end)), None)
        if suffix is not None:
            _add(found, path.name[: -len(suffix)], path)
        elif path.is_dir():
            _add(found, path.name, path)
    return found


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    if name in found:
        raise ConfigurationError(f"{found[name]} and {path} are both called {name}; keep one of them")
    found[name] = path
