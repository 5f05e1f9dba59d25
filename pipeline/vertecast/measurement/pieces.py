"""Where the cement of each vertebra lies, inside it and leaked, as places in the image: for segmentation objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vertecast.core.images import Piece, Segmentation, View
from vertecast.core.results import LevelAssignment, NotMeasured
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.cement.leakage import leak_pieces
from vertecast.measurement.ct.cement.map import CementMap
from vertecast.measurement.projection.bodies import MeasuredPlane, PlaneBody
from vertecast.measurement.projection.cement import ProjectedCement
from vertecast.measurement.projection.leaks import leak_masks


def ct_pieces(
    found: CementMap,
    segmentation: Segmentation,
    bodies: Sequence[BodyGeometry | NotMeasured],
    levels: Sequence[LevelAssignment],
) -> Iterator[Piece]:
    """Visible cement on the voxels of the native CT: of each treated vertebra what lies inside, then every leak."""
    first = np.array(found.first_index)
    inside = found.mask & (found.piece == 0)
    for instance in sorted(found.treated):
        voxels = np.argwhere(inside & (found.vertebra == instance))
        if len(voxels):
            yield Piece(kind="cement", level=levels[instance - 1].name, index=voxels + first)
    for leak in leak_pieces(found, segmentation, bodies):
        level = levels[leak.instance - 1].name
        yield Piece(kind="leak", level=level, compartment=leak.compartment, index=leak.visible + first)


def projection_pieces(
    found: ProjectedCement,
    bodies: Sequence[PlaneBody | NotMeasured],
    levels: Sequence[LevelAssignment],
    plane: MeasuredPlane,
    view: View,
) -> Iterator[Piece]:
    """Bodies, cement and suspected leaks as pixels. Cement at the rim of its body that is no leak counts as inside."""
    for n, level in enumerate(levels, start=1):
        outline = found.outline == n
        if outline.any():
            yield Piece(kind="body", level=level.name, index=np.argwhere(outline))
    for n in sorted(found.treated):
        level, body = levels[n - 1], bodies[n - 1]
        leaks = [] if isinstance(body, NotMeasured) else leak_masks(found, n, body, plane, view)
        inside = found.owner == n
        for _, mask, _ in leaks:
            inside = inside & ~mask
        if inside.any():
            yield Piece(kind="cement", level=level.name, index=np.argwhere(inside))
        for compartment, mask, _ in leaks:
            yield Piece(kind="leak", level=level.name, compartment=compartment, index=np.argwhere(mask))
