"""The options of a run, read from YAML; every key is known, typed and refused with its name when wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vertecast.core.anatomy import Level
from vertecast.core.errors import ConfigurationError

Phase: TypeAlias = Literal["auto", "pre", "intra", "post"]
SegmentationType: TypeAlias = Literal["binary", "labelmap"]
Runtime: TypeAlias = Literal["torch", "openvino"]
Device: TypeAlias = Literal["auto", "cpu", "cuda"]
Options = TypeVar("Options", bound=BaseModel)

MAX_PASSES: Final = 2
"""The image, and the image mirrored left to right: other flips show the networks what they were never trained on."""


RULED_TEXTS: Final = ("description", "body_part", "kernel")
"""Texts of a header that rules of selection look at."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AnalysisOptions(_Options):
    """How a study is read.

    Attributes:
        phase: "auto" takes "post" when cement is seen; the others are the operator's word.
        lowest: Level of the lowest vertebra in view ("L5"), or None to count from what the image shows.
        highest: The same of the highest one; only one of them may be given.
        spacing_mm: Size of a pixel in the patient, for radiographs whose file does not give it (PNG, JPEG), or None.
    """

    phase: Phase = "auto"
    lowest: str | None = None
    highest: str | None = None
    spacing_mm: float | None = Field(default=None, gt=0.01, le=10.0)

    @field_validator("lowest", "highest")
    @classmethod
    def _known_level(cls, name: str | None) -> str | None:
        if name is None:
            return None
        if name.upper() not in Level.__members__:
            raise ValueError(f"{name!r} is no vertebral level; write for example L5 or T12")
        return name.upper()

    @model_validator(mode="after")
    def _one_end(self) -> AnalysisOptions:
        if self.lowest is not None and self.highest is not None:
            raise ValueError("give the lowest or the highest level, not both: one names the whole column")
        return self


class SegmentationOptions(_Options):
    """Which weights find the vertebrae.

    Attributes:
        bundle: Name of a shipped bundle for CT, or a folder that holds one.
        xray_bundle: The same for radiographs and fluoroscopy.
        label_map: Label map of the user's that is measured instead of what the bundle for CT finds, or None.
        labels: What its numbers mean: "verse", "totalsegmentator", "vertecast", or a YAML file (docs/label_maps.md).
        passes: 1, or 2 to run the mirror image too; how well both agree goes into each vertebra's confidence.
        runtime: What computes the networks for CT: "torch", or "openvino" (the extra ``[openvino]``), which takes less
            time on a CPU and finds the same (docs/models.md).
        device: Where torch computes: "auto" takes a GPU where there is one, "cpu", or "cuda".
    """

    bundle: str = "ct_spine"
    xray_bundle: str = "xray_spine"
    label_map: str | None = None
    labels: str = "verse"
    passes: int = Field(default=2, ge=1, le=MAX_PASSES)
    runtime: Runtime = "torch"
    device: Device = "auto"

    @model_validator(mode="after")
    def _runtime_has_device(self) -> SegmentationOptions:
        if self.runtime == "openvino" and self.device == "cuda":
            raise ValueError("runtime openvino computes on the processor; take device auto, or runtime torch")
        return self


class CementOptions(_Options):
    """What counts as cement.

    Attributes:
        minimum_hu: Lowest value of cement; a voxel must also belong to what the network calls cement. Lower it for a
            cement with little contrast agent. PMMA with barium sulphate or zirconia lies at about 1,000 to 3,000 HU.
    """

    minimum_hu: float = Field(default=700.0, ge=200.0, le=3000.0)


class DicomOptions(_Options):
    """What the DICOM objects look like.

    Attributes:
        segmentation: "binary" (Segmentation Storage, read by most programs; structures overlap) or "labelmap"
            (Label Map Segmentation Storage of DICOM 2024c: smaller, each pixel in one structure).
    """

    segmentation: SegmentationType = "binary"


class OutputOptions(_Options):
    """Who the results name. The two exclude each other.

    Attributes:
        identify: Pages and PDF show name, ID and birth date of the patient; without it no one's.
        deidentify: Nothing that is written leads back to the patient without the key (docs/identity.md).
        key: File with the secret of ``deidentify``, made where absent; None: "vertecast.key" beside the
            folder of results.
    """

    identify: bool = False
    deidentify: bool = False
    key: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> OutputOptions:
        if self.identify and self.deidentify:
            raise ValueError("identify and deidentify exclude each other; choose one")
        if self.key is not None and not self.deidentify:
            raise ValueError("a key is used to de-identify alone; add deidentify or leave the key out")
        return self


class SelectionOptions(_Options):
    """Which series may be measured at all; None: any. Texts are compared with the header as regular expressions that
    may match anywhere in it, whatever the case. A header that says nothing matches no ``include``.

    Attributes:
        modality: DICOM modalities, for example CT, DX.
        description_include, description_exclude: Of SeriesDescription.
        body_part_include, body_part_exclude: Of BodyPartExamined.
        kernel_include, kernel_exclude: Of ConvolutionKernel; asked of CT alone.
        min_slice_mm, max_slice_mm: Of SliceThickness; asked of CT alone.
    """

    modality: list[str] | None = None
    description_include: str | None = None
    description_exclude: str | None = None
    body_part_include: str | None = None
    body_part_exclude: str | None = None
    kernel_include: str | None = None
    kernel_exclude: str | None = None
    min_slice_mm: float | None = Field(default=None, gt=0.0)
    max_slice_mm: float | None = Field(default=None, gt=0.0)

    @field_validator("modality")
    @classmethod
    def _in_capitals(cls, names: list[str] | None) -> list[str] | None:
        return None if names is None else [name.upper() for name in names]

    @field_validator(*(f"{name}_{kind}" for name in RULED_TEXTS for kind in ("include", "exclude")))
    @classmethod
    def _regular_expression(cls, text: str | None) -> str | None:
        try:
            re.compile(text or "")
        except re.error as error:
            raise ValueError(f"{text!r} is no regular expression ({error})") from error
        return text


class BatchOptions(_Options):
    """How many studies are analysed at the same time, each in a process of its own.

    Attributes:
        workers: So many at the same time.
        memory_gb: What all workers together may take; fewer are started where it does not suffice for all, large
            studies are analysed alone, and what is larger than all of it is refused. None: no bound.
        scheduler: Address of a dask scheduler whose workers analyse the studies instead (docs/cluster.md), or None.
        time_limit_s: A study that takes longer is ended and counts as failed; None: no limit, and one worker is then
            the process of the command itself.
    """

    workers: int = Field(default=1, ge=1)
    memory_gb: float | None = Field(default=None, gt=0.0)
    scheduler: str | None = None
    time_limit_s: float | None = Field(default=1800.0, gt=0.0)


class Config(_Options):
    """All options of a run."""

    analysis: AnalysisOptions = AnalysisOptions()
    selection: SelectionOptions = SelectionOptions()
    segmentation: SegmentationOptions = SegmentationOptions()
    cement: CementOptions = CementOptions()
    dicom: DicomOptions = DicomOptions()
    output: OutputOptions = OutputOptions()
    batch: BatchOptions = BatchOptions()

    def with_overrides(self, overrides: Mapping[str, Mapping[str, Any]]) -> Config:
        """A copy in which the values that are not None replace those of this object.

        Raises:
            ConfigurationError: a value is not allowed.
        """
        document = self.model_dump()
        for group, values in overrides.items():
            document[group].update({key: value for key, value in values.items() if value is not None})
        return parse_options(document, Config, source="command line", known="configs/default.yaml")


def load_config(path: Path | None) -> Config:
    """Read a configuration file; None gives the defaults.

    Raises:
        ConfigurationError: the file cannot be read, is no YAML, or holds an unknown key or a wrong value.
    """
    return Config() if path is None else read_options(path, Config)


def read_options(path: Path, kind: type[Options], *, known: str = "configs/default.yaml") -> Options:
    """Read a YAML file of options of any kind; an empty one gives the defaults.

    Args:
        path: The file.
        kind: What it holds.
        known: Shipped file that lists every key.

    Raises:
        ConfigurationError: the file cannot be read, is no YAML, or holds an unknown key or a wrong value.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error
    if document is not None and not isinstance(document, dict):
        raise ConfigurationError(f"{path}: must hold groups of options, like {known}")
    return parse_options(document or {}, kind, source=str(path), known=known)


def parse_options(document: dict[str, Any], kind: type[Options], *, source: str, known: str) -> Options:
    """Build options of any kind from a document; every complaint names the source and the key.

    Args:
        document: Keys and values as YAML or JSON gives them.
        kind: What it holds.
        source: Where it comes from, for the complaint.
        known: Shipped file that lists every key.

    Raises:
        ConfigurationError: it holds an unknown key or a wrong value.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        complaints = [
            f"{'.'.join(map(str, item['loc']))}: {_complaint(item['type'], item['msg'], known)}"
            for item in error.errors()
        ]
        raise ConfigurationError(f"{source}: {'; '.join(complaints)}") from error


def _complaint(kind: str, message: str, known: str) -> str:
    """The sentence for one wrong key, in the reader's words."""
    if kind == "extra_forbidden":
        return f"unknown key (see {known} for the known ones)"
    return message.removeprefix("Value error, ")
