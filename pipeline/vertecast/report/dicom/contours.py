"""Outlines of what was found on films and frames, as closed polygons in the measurement groups of the findings.

They are for viewers that show a structured report over its image; `read_sr` passes them over, as the results hold none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from highdicom.sr import ContentItem

from vertecast.core import geometry
from vertecast.core.images import Piece
from vertecast.report.dicom import codes, items
from vertecast.report.dicom.source import SourceStudy

OutlineKind: TypeAlias = Literal["body", "cement", "leak"]

TOLERANCE_PX: Final = 0.25
"""How far corners left out may lie from the outline. It runs between the centres of pixels and cuts their corners by up
to another quarter: together an outline stays within half a pixel of the pixels' edge."""


def outline_items(kind: OutlineKind, finding: Any, source: SourceStudy) -> list[ContentItem]:
    """Polygons (SCOORD POLYLINE, first point = last) round a finding on the frame it was measured on.

    Args:
        kind: What the finding is.
        finding: A vertebra, cement or leak; those of a CT have none.
        source: Images of the study, and the pieces found on each frame.
    """
    place = finding.evidence if kind == "leak" else finding.image
    if place is None or place.sop_instance_uid is None or place.frame_number is None:
        return []
    piece = _piece_of(kind, finding, source.pieces.get((place.sop_instance_uid, place.frame_number), ()))
    image = source.image(place.sop_instance_uid)
    if piece is None or image is None:
        return []
    return [
        items.polygon_item(codes.IMAGE_REGION, outline, image, place.frame_number) for outline in outlines(piece.index)
    ]


def outlines(index: npt.NDArray[np.intp]) -> Iterator[geometry.FloatArray]:
    """Outer outlines of some pixels, holes filled: one for each part.

    Args:
        index: Pixels (n, 2) as (row, column).

    Returns:
        Points (m, 2) as (column, row), where 0 is the centre of the first pixel; the last point is the first one again.
    """
    from scipy import ndimage
    from skimage import measure

    first = index.min(axis=0) - 1
    mask = np.zeros(index.max(axis=0) - first + 2, dtype=bool)
    mask[tuple((index - first).T)] = True
    filled = ndimage.binary_fill_holes(mask).astype(np.float64)
    for line in measure.find_contours(filled, 0.5):
        yield (measure.approximate_polygon(line, TOLERANCE_PX) + first)[:, ::-1]


def _piece_of(kind: OutlineKind, finding: Any, pieces: Sequence[Piece]) -> Piece | None:
    """The piece that a finding was measured on; of several leaks of one kind that which holds its point."""
    name = (kind, finding.level, getattr(finding, "compartment", None))
    own = [piece for piece in pieces if (piece.kind, piece.level, piece.compartment) == name]
    if len(own) < 2 or kind != "leak":
        return own[0] if own else None
    point = np.array(finding.evidence.point_px)[::-1]
    return min(own, key=lambda piece: float(np.linalg.norm(piece.index - point, axis=1).min()))
