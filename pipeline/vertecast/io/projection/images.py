"""Projection images: radiographs (CR, DX) and fluoroscopy (XA, RF), single images and cines, and PNG or JPEG files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from vertecast.core.errors import UnreadableError, UnsupportedError
from vertecast.core.images import Fluoroscopy, ProjectionSpacing, Radiograph, View
from vertecast.io.projection.aperture import find_field
from vertecast.io.projection.files import ProjectionFile, projection_files
from vertecast.io.projection.frames import FrameFile
from vertecast.io.projection.greyscale import Polarity, decide, grey_values, header_polarity, picture_score, saturated
from vertecast.io.projection.header import FrameHeader, frame_times_ms, view_of
from vertecast.io.projection.markers import find_markers
from vertecast.io.projection.pictures import read_picture
from vertecast.io.projection.selection import choose_projection_series
from vertecast.io.projection.shutter import header_field
from vertecast.io.projection.spacing import operator_spacing, spacing_of
from vertecast.io.sources import PARSE_ERRORS, cause

__all__ = [
    "ProjectionFile",
    "ProjectionImage",
    "choose_projection_series",
    "projection_files",
    "read_cine",
    "read_projection",
    "read_radiograph",
]

SAMPLED_FRAMES: Final = 7
"""Frames of a cine on which its field and polarity are decided."""

SAME_FIELD: Final = 0.9
"""Fields of the sampled frames that overlap by this share are one; else the blades move."""

KEY_FRAMES: Final = 8
"""Where the blades move, the field is looked for in every so many frames."""

OPEN_FIELD: Final = 0.98
"""A shutter of the header that leaves this share open says nothing, and the picture is asked."""

Plane = npt.NDArray[np.float32]
Valid = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProjectionImage:
    """A projection image that has been read.

    Attributes:
        image: The picture, or the cine whose frames are read one at a time.
        file_frames: Number in the file of each frame, from 1: frame n of a `Fluoroscopy` is ``file_frames[n - 1]``.
        plane: "A" or "B" of a biplane system, else "".
        view: What the header says of the view; a hint.
        spacing: Size of a pixel and its plane, or None.
        warnings: What was mended, ignored or overruled.
    """

    image: Radiograph | Fluoroscopy
    kind: Literal["radiograph", "cine"]
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    file_frames: tuple[int, ...]
    plane: str
    view: View | None
    spacing: ProjectionSpacing | None
    warnings: tuple[str, ...]

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        """The one SOP Instance UID as a tuple, as `CtSeries` has them; () for a picture file."""
        return (self.sop_instance_uid,) if self.sop_instance_uid else ()


def read_projection(file: ProjectionFile, *, spacing_mm: float | None = None) -> ProjectionImage:
    """Read one image or cine.

    Args:
        file: One of `projection_files`.
        spacing_mm: Size of a pixel in the patient, from the operator; it wins over the header.

    Raises:
        UnreadableError: the file is damaged, cut off, in an unknown compression, or contradicts its header.
        UnsupportedError: a colour picture, an empty one, or pixels of a kind that no X-ray image has.
    """
    if spacing_mm is not None and not (np.isfinite(spacing_mm) and spacing_mm > 0):
        raise UnsupportedError(f"a spacing of {spacing_mm:g} mm given by the operator cannot be; give millimetres")
    return _read_picture_file(file, spacing_mm) if file.is_picture else _read_dicom(file, spacing_mm)


def read_radiograph(file: ProjectionFile, *, spacing_mm: float | None = None) -> ProjectionImage:
    """As `read_projection`, for a single image. Raises `UnsupportedError` for a cine."""
    if file.kind != "radiograph":
        raise UnsupportedError(f"image {file.sop_instance_uid} has {len(file.frames)} frames and is a cine")
    return read_projection(file, spacing_mm=spacing_mm)


def read_cine(file: ProjectionFile, *, spacing_mm: float | None = None) -> ProjectionImage:
    """As `read_projection`, for a cine. Raises `UnsupportedError` for a single image."""
    if file.kind != "cine":
        raise UnsupportedError(f"image {file.sop_instance_uid} has one frame and is no cine")
    return read_projection(file, spacing_mm=spacing_mm)


_MovingField: TypeAlias = Callable[[int], Valid | None]
"""From the number of a frame (from 1) to its open field (rows, columns), None without blades."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Reading:
    """How every frame of a file becomes a radiograph; ``moving_field`` is None where the collimated field is one."""

    file: FrameFile
    bone_is_high: bool
    field: Valid | None
    moving_field: _MovingField | None
    spacing: ProjectionSpacing | None
    view: View | None

    def radiograph(self, frame: int, number: int) -> Radiograph:
        """Frame ``frame`` of the file as frame ``number`` of the cine."""
        values, visible, _ = _values(self.file, frame)
        field = self.field
        if self.moving_field is not None:
            found = self.moving_field(number)
            field = found if field is None or found is None else field & found
        valid = visible if field is None else visible & field
        intensity, ceiling = values, _largest(self.file.dataset, values)
        if not self.bone_is_high:
            intensity, ceiling = -values, None
        return Radiograph(
            intensity=intensity,
            valid=valid,
            spacing=self.spacing,
            view=self.view,
            frame_number=number,
            saturated=saturated(intensity, valid, ceiling),
        )


def _read_dicom(file: ProjectionFile, spacing_mm: float | None) -> ProjectionImage:
    frames = FrameFile(file.source)
    header = FrameHeader(dataset=frames.dataset, frame=file.frames[0])
    notes: list[str] = []
    spacing, spacing_notes = spacing_of(header)
    notes += spacing_notes
    if spacing_mm is not None:
        if spacing is not None and spacing.plane == "patient":
            notes.append(f"the operator's spacing replaces {spacing.column_mm:.4g} mm of the header")
        spacing = operator_spacing(spacing_mm, spacing)
    reading, reading_notes = _prepare(frames, file, spacing, view_of(header))
    notes += reading_notes
    image: Radiograph | Fluoroscopy
    if file.kind == "radiograph":
        image = reading.radiograph(file.frames[0], 1)
    else:
        times, time_notes = frame_times_ms(frames.dataset, file.frames)
        notes += time_notes

        def read(number: int) -> Radiograph:
            if not 1 <= number <= len(file.frames):
                raise UnreadableError(f"{frames.name} has frames 1 to {len(file.frames)}, not {number}")
            return reading.radiograph(file.frames[number - 1], number)

        image = Fluoroscopy(frame_count=len(file.frames), frame_time_ms=times, read=read)
    return _result(file, image, reading.view, spacing, notes)


def _prepare(
    frames: FrameFile, file: ProjectionFile, spacing: ProjectionSpacing | None, view: View | None
) -> tuple[_Reading, tuple[str, ...]]:
    """Decide field, burned-in letters and polarity on frames spread over the cine."""
    header = FrameHeader(dataset=frames.dataset, frame=file.frames[0])
    field, notes = header_field(header, frames.shape)
    ask_picture = field is None or float(field.mean()) >= OPEN_FIELD
    chosen = np.unique(np.linspace(0, len(file.frames) - 1, SAMPLED_FRAMES).round().astype(int))
    fields: list[Valid | None] = []
    lettered: list[Valid] = []
    scores: list[float] = []
    blank = 0
    for index in chosen:
        values, visible, value_notes = _values(frames, file.frames[int(index)])
        notes += value_notes
        valid = visible if field is None else visible & field
        inside = values[valid]
        if inside.size == 0 or inside.min() == inside.max():
            blank += 1
            continue
        found = find_field(values) if ask_picture else None
        fields.append(found)
        lettered.append(find_markers(values))
        scores.append(picture_score(values, valid if found is None else valid & found))
    if not scores:
        raise UnsupportedError(f"{frames.name}: every pixel has the same value; the image is empty or saturated")
    if blank:
        notes += (f"{blank} of the {len(chosen)} frames looked at are empty",)
    common, moves = _common_field(fields)
    if common is not None:
        field = common if field is None else field & common
    # Letters stay where they are; what a few frames show in their shape may be a needle on its way.
    letters = np.mean(lettered, axis=0) > 0.5
    if letters.any():
        field = ~letters if field is None else field & ~letters
    if moves:
        notes += ("the collimator moves during the cine; its edge is followed",)
    claim = header_polarity(header, file.modality)
    bone_is_high, polarity_notes = decide(claim, float(np.median(scores)))
    moving = _moving_field(frames, file.frames) if moves else None
    reading = _Reading(
        file=frames, bone_is_high=bone_is_high, field=field, moving_field=moving, spacing=spacing, view=view
    )
    return reading, tuple(dict.fromkeys((*notes, *polarity_notes)))


def _moving_field(frames: FrameFile, numbers: Sequence[int]) -> _MovingField:
    """The field of every frame of a cine: what the key frames before and after it show.

    Blades that come and go, or that are seen in one frame and not in the next, hide nothing that is visible; and what a
    frame shows does not depend on the order in which frames are read.
    """

    @functools.lru_cache(maxsize=4)
    def key_field(index: int) -> Valid | None:
        return find_field(_values(frames, numbers[index])[0])

    def field(number: int) -> Valid | None:
        first = (number - 1) // KEY_FRAMES * KEY_FRAMES
        before, after = key_field(first), key_field(min(first + KEY_FRAMES, len(numbers) - 1))
        return None if before is None or after is None else before | after

    return field


def _common_field(fields: Sequence[Valid | None]) -> tuple[Valid | None, bool]:
    """The field of the sampled frames together, and whether it moves too much to be one."""
    found = [field for field in fields if field is not None]
    if not found or len(found) <= len(fields) // 2:
        return None, bool(found) and len(fields) > 2
    common: Valid = np.logical_and.reduce(found)
    any_of: Valid = np.logical_or.reduce(found)
    if common.sum() < SAME_FIELD * any_of.sum():
        return None, True
    # A blade that comes and goes hides the patient in some frames only: what any frame shows stays valid.
    return any_of, False


def _values(frames: FrameFile, frame: int) -> tuple[Plane, Valid, tuple[str, ...]]:
    """Grey values of a frame, the pixels that hold a measurement, and warnings."""
    stored, coloured = frames.read(frame)
    header = FrameHeader(dataset=frames.dataset, frame=frame)
    try:
        values, notes = grey_values(stored, header)
    except PARSE_ERRORS as error:
        raise UnreadableError(
            f"{frames.name} has a damaged modality LUT ({cause(error)}); export the file again"
        ) from error
    visible = np.ones(values.shape, bool) if coloured is None else ~coloured
    low = header.number("PixelPaddingValue")
    if low is not None and coloured is None:
        high = header.number("PixelPaddingRangeLimit")
        ends = sorted((low, low if high is None else high))
        padded = (stored >= ends[0]) & (stored <= ends[1])
        if not padded.all():
            visible &= ~padded
    if coloured is not None and coloured.any():
        notes += ("coloured labels on the picture are left out",)
    return values, visible, notes


def _largest(dataset: Dataset, values: Plane) -> float | None:
    """The largest value that the file can hold, None where a LUT or rescale changes it."""
    if dataset.get("ModalityLUTSequence") or dataset.get("RescaleSlope") not in (None, 1) or values.dtype.kind != "f":
        return None
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    return float(2 ** (bits - int(dataset.get("PixelRepresentation") or 0)) - 1)


def _read_picture_file(file: ProjectionFile, spacing_mm: float | None) -> ProjectionImage:
    """A PNG or JPEG. Bone is bright as radiographs are shown, unless the picture says otherwise."""
    values, coloured, largest = read_picture(file.source)
    if float(values.min()) == float(values.max()):
        raise UnsupportedError(f"{file.source}: every pixel has the same value; the picture is empty")
    field = find_field(values)
    valid = ~(coloured | find_markers(values))
    valid = valid if field is None else field & valid
    claim = Polarity(bone_is_high=True, is_firm=False, source="the way radiographs are shown")
    bone_is_high, notes = decide(claim, picture_score(values, valid))
    intensity = values if bone_is_high else -values
    spacing = None if spacing_mm is None else operator_spacing(spacing_mm, None)
    image = Radiograph(
        intensity=intensity,
        valid=valid,
        spacing=spacing,
        saturated=saturated(intensity, valid, largest if bone_is_high else None),
    )
    return _result(file, image, None, spacing, list(notes))


def _result(
    file: ProjectionFile, image: Any, view: View | None, spacing: ProjectionSpacing | None, notes: Sequence[str]
) -> ProjectionImage:
    return ProjectionImage(
        image=image,
        kind=file.kind,
        study_instance_uid=file.study_instance_uid,
        series_instance_uid=file.series_instance_uid,
        sop_instance_uid=file.sop_instance_uid,
        sop_class_uid=file.sop_class_uid,
        modality=file.modality,
        file_frames=file.frames,
        plane=file.plane,
        view=view,
        spacing=spacing,
        warnings=tuple(dict.fromkeys(notes)),
    )
