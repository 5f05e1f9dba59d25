"""The structures of a measured image as segments: where each lies, what it is called, and its codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.sr.coding import Code

from vertecast.core import anatomy
from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, METAL_LABEL, UNKNOWN_LEVEL_LABEL_START, Compartment
from vertecast.core.images import MeasuredImage, Piece
from vertecast.report.dicom import codes
from vertecast.report.dicom.codes import Concept
from vertecast.report.labels import bounds

BODY, CEMENT, LEAK, METAL = "vertebral body", "cement", "cement leak", "metal"

COLOURS: Final = {BODY: "#56B4E9", CEMENT: "#E69F00", LEAK: "#CC79A7", METAL: "#0072B2"}
"""Those of the pictures (Okabe and Ito), told apart by readers with colour vision deficiency."""

Bool = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]

_CRANIAL_FIRST: Final = (
    *map(int, anatomy.CRANIAL_TO_CAUDAL),
    *range(UNKNOWN_LEVEL_LABEL_START + 1, anatomy.POSTERIOR_LABEL_OFFSET),
)
"""Numbers of bodies in the label map."""

_BODY_NUMBERS: Final = np.zeros(256, dtype=np.uint8)
_BODY_NUMBERS[list(_CRANIAL_FIRST)] = _CRANIAL_FIRST


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segment:
    """One structure.

    Attributes:
        kind: `BODY`, `CEMENT`, `LEAK` or `METAL`.
        level: Of the vertebra; "" for metal.
        compartment: Of a leak.
        ordinal: Tells leaks of one vertebra in one compartment apart, from 1.
        first: Index (3,) of ``voxels[0, 0, 0]`` in the image: column, row, slice.
        voxels: The structure in the smallest box round it.
    """

    kind: str
    level: str
    compartment: Compartment | None = None
    ordinal: int = 1
    first: tuple[int, int, int]
    voxels: Bool

    @property
    def label(self) -> str:
        """What viewers show, and what names the segment in its image: "L1 vertebral body"."""
        what = self.kind if self.compartment is None else codes.LEAKS[self.compartment].meaning
        name = f"{self.level} {what[:1].lower()}{what[1:]}".strip()
        return name if self.ordinal == 1 else f"{name} ({self.ordinal})"

    @property
    def category(self) -> Code:
        """Segmented Property Category."""
        return _code(codes.ANATOMICAL_STRUCTURE if self.kind == BODY else codes.PHYSICAL_OBJECT)

    @property
    def property_type(self) -> Code:
        """Segmented Property Type: the vertebra, or what lies there."""
        if self.kind == BODY:
            return _code(vertebra_concept(self.level))
        if self.compartment is not None:
            return _code(codes.LEAKS[self.compartment])
        return _code(codes.BONE_CEMENT if self.kind == CEMENT else codes.METAL)


def vertebra_concept(level: str) -> Concept:
    """SNOMED CT code of a vertebra; of any vertebra where the level is unknown or a variant without a code."""
    named = codes.LEVELS[level]
    return named if named.scheme == codes.ANY_VERTEBRA.scheme else codes.ANY_VERTEBRA


def _code(concept: Concept) -> Code:
    return Code(concept.value, concept.scheme, concept.meaning)


def find_segments(image: MeasuredImage) -> tuple[Segment, ...]:
    """Every structure of an image: bodies from cranial to caudal, cement, leaks, metal."""
    found = (*_labelled(image), *_from_pieces(image.pieces))
    return tuple(sorted(found, key=lambda segment: (BODY, CEMENT, LEAK, METAL).index(segment.kind)))


def _labelled(image: MeasuredImage) -> Iterator[Segment]:
    """Bodies with the cement in them, and metal, of a label map."""
    from scipy import ndimage

    labels = image.labels if image.labels.ndim == 3 else image.labels.T[:, :, None]
    crop = bounds(labels, margin=1)
    if crop is None:
        return
    labels = labels[crop]
    boxes = dict(enumerate(ndimage.find_objects(labels, max_label=METAL_LABEL), start=1))
    bodies = _BODY_NUMBERS[labels]
    _fill_cement(labels, bodies, boxes[CEMENT_INSIDE_LABEL])
    of_bodies = dict(enumerate(ndimage.find_objects(bodies), start=1))
    for number in _CRANIAL_FIRST:
        if of_bodies.get(number) is not None:
            box = of_bodies[number]
            yield _boxed(BODY, anatomy.label_name(number), (crop, box), bodies[box] == number)
    box = boxes[METAL_LABEL]
    if box is not None:
        yield _boxed(METAL, "", (crop, box), labels[box] == METAL_LABEL)


def _fill_cement(labels: Labels, bodies: Labels, box: tuple[slice, ...] | None) -> None:
    """Give the cement inside, in the ``box`` of its label, to the body round it: a body is whole under its cement."""
    from scipy import ndimage

    if box is None:
        return
    # One voxel more on each side holds the bodies that the cement touches.
    wide = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
    pieces, _ = ndimage.label(labels[wide] == CEMENT_INSIDE_LABEL)
    for number, part in enumerate(ndimage.find_objects(pieces), start=1):
        near = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in part)
        around = bodies[wide][near]
        if around.any():
            nearest = ndimage.distance_transform_edt(around == 0, return_distances=False, return_indices=True)
            own = pieces[near] == number
            around[own] = around[tuple(nearest)][own]


def _from_pieces(pieces: Sequence[Piece]) -> Iterator[Segment]:
    """Each piece; a pixel (row, column) of a projection is the voxel (column, row, 0)."""
    counts: Counter[tuple[str, str, Compartment | None]] = Counter()
    for piece in pieces:
        index = piece.index
        if index.shape[1] == 2:
            index = np.stack([index[:, 1], index[:, 0], np.zeros(len(index), dtype=np.intp)], axis=1)
        first = index.min(axis=0)
        voxels = np.zeros(index.max(axis=0) - first + 1, dtype=bool)
        voxels[tuple((index - first).T)] = True
        name = (piece.kind, piece.level, piece.compartment)
        counts[name] += 1
        yield Segment(
            kind={"body": BODY, "cement": CEMENT, "leak": LEAK}[piece.kind],
            level=piece.level,
            compartment=piece.compartment,
            ordinal=counts[name],
            first=(int(first[0]), int(first[1]), int(first[2])),
            voxels=voxels,
        )


def _boxed(kind: str, level: str, boxes: tuple[tuple[slice, ...], tuple[slice, ...]], voxels: Bool) -> Segment:
    """A segment in a box of a box of the image."""
    i, j, k = (outer.start + inner.start for outer, inner in zip(*boxes, strict=True))
    return Segment(kind=kind, level=level, first=(i, j, k), voxels=voxels)
