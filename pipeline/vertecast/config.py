"""The options of a run, read from YAML; every key is known, typed and refused with its name when wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vertecast.anatomy import Level
from vertecast.errors import ConfigurationError

Phase: TypeAlias = Literal["auto", "pre", "intra", "post"]
SegmentationType: TypeAlias = Literal["binary", "labelmap"]
Runtime: TypeAlias = Literal["torch", "openvino"]

MAX_PASSES: Final = 2
"""The image, and the image mirrored left to right: other flips show the networks what they were never trained on."""


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class AnalysisOptions(_Options):
    """How a study is read.

    Attributes:
        phase: "auto" takes "post" when cement is seen; the others are the operator's word.
        lowest: Level of the lowest vertebra in view ("L5"), or None to count from the sacrum or the ribs.
        spacing_mm: Size of a pixel in the patient, for radiographs whose file does not give it (PNG, JPEG), or None.
    """

    phase: Phase = "auto"
    lowest: str | None = None
    spacing_mm: float | None = Field(default=None, gt=0.01, le=10.0)

    @field_validator("lowest")
    @classmethod
    def _known_level(cls, name: str | None) -> str | None:
        if name is None:
            return None
        if name.upper() not in Level.__members__:
            raise ValueError(f"{name!r} is no vertebral level; write for example L5 or T12")
        return name.upper()


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
    """

    bundle: str = "ct_spine"
    xray_bundle: str = "xray_spine"
    label_map: str | None = None
    labels: str = "verse"
    passes: int = Field(default=2, ge=1, le=MAX_PASSES)
    runtime: Runtime = "torch"


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


class BatchOptions(_Options):
    """How many studies are analysed at the same time, each in a process of its own."""

    workers: int = Field(default=1, ge=1)


class Config(_Options):
    """All options of a run."""

    analysis: AnalysisOptions = AnalysisOptions()
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
        return _validated(document, source="command line")


def load_config(path: Path | None) -> Config:
    """Read a configuration file; None gives the defaults.

    Raises:
        ConfigurationError: the file cannot be read, is no YAML, or holds an unknown key or a wrong value.
    """
    if path is None:
        return Config()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error
    if document is None:
        return Config()
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: must hold groups of options, like configs/default.yaml")
    return _validated(document, source=str(path))


def _validated(document: dict[str, Any], *, source: str) -> Config:
    """Build the options; every complaint names the source and the key."""
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        complaints = [
            f"{'.'.join(map(str, item['loc']))}: {_complaint(item['type'], item['msg'])}" for item in error.errors()
        ]
        raise ConfigurationError(f"{source}: {'; '.join(complaints)}") from error


def _complaint(kind: str, message: str) -> str:
    """The sentence for one wrong key, in the reader's words."""
    if kind == "extra_forbidden":
        return "unknown key (see configs/default.yaml for the known ones)"
    return message.removeprefix("Value error, ")
