"""One projection image measured from end to end, and the leaks of an AP and a lateral view side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL, METAL_LABEL, Compartment
from vertecast.core.images import Piece, ProjectionSegmentation, Radiograph, View
from vertecast.core.results import (
    AngleFinding,
    CementFinding,
    CombinedLeak,
    HardwareFinding,
    LeakFinding,
    LevelAssignment,
    VertebraFinding,
)
from vertecast.measurement.pieces import projection_pieces
from vertecast.measurement.projection.angles import measure_projection_angles
from vertecast.measurement.projection.bodies import (
    METAL_PROBABILITY,
    MeasuredPlane,
    at_least,
    centers_px,
    fit_plane_bodies,
    plane_of,
)
from vertecast.measurement.projection.cement import (
    ProjectedCement,
    area_of,
    assign_cement,
    body_outlines,
    cement_pixels,
    measure_projection_cement,
    without_doubtful,
)
from vertecast.measurement.projection.heights import NO_VOLUME, measure_projection_vertebrae, pixel
from vertecast.measurement.projection.leaks import find_projection_leaks
from vertecast.measurement.projection.levels import assign_projection_levels

Modality: TypeAlias = Literal["radiograph", "fluoroscopy"]

MISSED: Final[dict[Modality, str]] = {
    "fluoroscopy": (
        "No leak seen is not no leak: of the leaks that CT shows, fluoroscopy shows 75 % of those into the disc, "
        "21 % of the epidural, 31 % of the extravertebral and 51 % of the vascular ones "
        "(115 bodies, doi 10.1055/s-0038-1641734)."
    ),
    "radiograph": (
        "No leak seen is not no leak: of the leaks that CT shows, radiographs show 82 % of those into the disc, "
        "42 % of the epidural, 50 % of the extravertebral and 70 % of the vascular ones "
        "(115 bodies, doi 10.1055/s-0038-1641734)."
    ),
}
CANAL_MISSED: Final = (
    "Leaks into the canal: lateral films showed 2 of 28 (Yeom et al., J Bone Joint Surg Br 2003;85:83-89)."
)
SIDES: Final = (
    "AP view: left and right of heights and points are those of the picture; the sides of leaks are the patient's, for "
    "the usual display with the patient's left at the right; a mirrored picture names the wrong side."
)
LEVELS_UNKNOWN: Final = "Neither sacrum nor last rib in view: levels are numbered V1, V2, ... from the top."
NO_SPINE: Final = "no spine in view"

DENSE_SHADOW: Final = (
    "{level}: dense shadow, cement possible: bone that crosses bone looks alike. It is not counted as cement."
)

UNSURE_VIEW: Final = 0.6
"""Below this confidence in the view the reader is told: an oblique view taken for a lateral one shortens bodies."""

MIN_METAL_SHARE: Final = 0.004
"""Smallest metal, as share of a body's area: about 4 mm2; less is noise."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProjectionMeasurement:
    """Everything measured on one image.

    Attributes:
        view: What the picture shows; None where it shows no spine, and then nothing is measured.
        labels: 0, 200 cement inside, 201 cement leaked, 210 metal (rows, columns), uint8: for pictures.
        pieces: Bodies, cement and suspected leaks as pixels.
    """

    series_instance_uid: str
    view: View | None
    vertebrae: tuple[VertebraFinding, ...]
    angles: tuple[AngleFinding, ...]
    cement: tuple[CementFinding, ...]
    leaks: tuple[LeakFinding, ...]
    hardware: tuple[HardwareFinding, ...]
    limits: tuple[str, ...]
    warnings: tuple[str, ...]
    labels: npt.NDArray[np.uint8]
    pieces: tuple[Piece, ...] = ()


def measure_projection(
    radiograph: Radiograph,
    segmentation: ProjectionSegmentation,
    *,
    series_instance_uid: str,
    lowest: str | None = None,
    highest: str | None = None,
    modality: Modality,
) -> ProjectionMeasurement:
    """Measure one projection image.

    Args:
        radiograph: The image.
        segmentation: What the network found in it.
        series_instance_uid: Of the image.
        lowest, highest: Level of the lowest or of the highest body found, given by the operator ("L5").
        modality: Decides which leaks the report says that it misses.

    Raises:
        ConfigurationError: both are given, or a level that is none of a vertebra with a body of its own.
        ValueError: the maps have another shape than the image.
    """
    if segmentation.cement_probability.shape != radiograph.shape:
        raise ValueError(f"maps of {segmentation.cement_probability.shape} for an image of {radiograph.shape}")
    view = segmentation.view
    if view is None:
        return _nothing(radiograph, series_instance_uid, modality)
    plane = plane_of(radiograph.spacing)
    levels = assign_projection_levels(segmentation, plane, lowest=lowest, highest=highest)
    bodies = fit_plane_bodies(radiograph, segmentation, plane)
    outlines = body_outlines(bodies, segmentation, plane, radiograph.shape)
    found = assign_cement(cement_pixels(radiograph, segmentation), outlines, bodies, plane)
    doubtful: tuple[int, ...] = ()
    if modality == "radiograph":
        found, doubtful = without_doubtful(found, radiograph, segmentation)
    vertebrae = measure_projection_vertebrae(
        radiograph, bodies, levels, plane, view=view, series_instance_uid=series_instance_uid,
        centers_px=centers_px(segmentation), confidences=segmentation.confidence, treated=found.treated,
    )  # fmt: skip
    cement = measure_projection_cement(
        found, bodies, levels, plane, view=view, series_instance_uid=series_instance_uid,
        confidences=segmentation.confidence,
    )  # fmt: skip
    leaks = find_projection_leaks(
        found, bodies, levels, cement, plane, view=view, series_instance_uid=series_instance_uid,
        frame_number=radiograph.frame_number, confidences=segmentation.confidence,
    )  # fmt: skip
    hardware = _hardware(segmentation, outlines, plane, series_instance_uid)
    return ProjectionMeasurement(
        series_instance_uid=series_instance_uid,
        view=view,
        vertebrae=vertebrae,
        angles=measure_projection_angles(
            vertebrae, bodies, plane, view=view, sacral_endplate_px=segmentation.sacral_endplate_px
        ),
        cement=cement,
        leaks=leaks,
        hardware=hardware,
        limits=(
            *_limits(view, modality, levels, plane),
            *(DENSE_SHADOW.format(level=levels[n - 1].name) for n in doubtful),
            *segmentation.limits.told(cement_seen=bool(cement)),
        ),
        warnings=tuple(_warnings(radiograph, segmentation, found, hardware)),
        labels=_labels(segmentation, found),
        pieces=tuple(projection_pieces(found, bodies, levels, plane, view)),
    )


def combine_views(
    lateral: Sequence[ProjectionMeasurement], ap: Sequence[ProjectionMeasurement]
) -> tuple[CombinedLeak, ...]:
    """Leaks suspected in the AP and the lateral views of one study, side by side, cranial first.

    Levels that are known in both views are matched by name. Where a view does not know its levels, its treated bodies
    are matched in order, if both views show equally many; else they stay apart.
    """
    sides = [_leaks_by_level(measurements) for measurements in (lateral, ap)]
    names = _matched(*sides)
    result = []
    for lateral_level, ap_level in names:
        first = sides[0].get(lateral_level or "", ())
        second = sides[1].get(ap_level or "", ())
        if first or second:
            discs = {Compartment.DISC_SUPERIOR, Compartment.DISC_INFERIOR}
            result.append(
                CombinedLeak(
                    level=lateral_level or ap_level or "", lateral=first, ap=second,
                    seen_in_both=bool(discs & set(first) & set(second)),
                )
            )  # fmt: skip
    return tuple(result)


def _leaks_by_level(measurements: Sequence[ProjectionMeasurement]) -> dict[str, tuple[Compartment, ...]]:
    """Compartments suspected at every treated level, cranial first."""
    levels: dict[str, tuple[Compartment, ...]] = {}
    for measurement in measurements:
        for cement in measurement.cement:
            names = [leak.compartment for leak in measurement.leaks if leak.level == cement.level]
            levels[cement.level] = tuple(dict.fromkeys([*levels.get(cement.level, ()), *names]))
    return levels


def _matched(
    lateral: dict[str, tuple[Compartment, ...]], ap: dict[str, tuple[Compartment, ...]]
) -> list[tuple[str | None, str | None]]:
    """Pairs of levels (lateral, AP) that are the same vertebra; None where the other view has none."""
    unknown = any(level.startswith("V") for level in (*lateral, *ap))
    if unknown and len(lateral) == len(ap):
        return list(zip(lateral, ap, strict=True))
    shared = [] if unknown else [level for level in lateral if level in ap]
    pairs: list[tuple[str | None, str | None]] = [
        (level, level if level in shared else None) for level in lateral
    ]  # fmt: skip
    return [*pairs, *((None, level) for level in ap if level not in shared)]


def _nothing(radiograph: Radiograph, series_instance_uid: str, modality: Modality) -> ProjectionMeasurement:
    """An image without a spine: nothing is measured."""
    return ProjectionMeasurement(
        series_instance_uid=series_instance_uid, view=None, vertebrae=(), angles=(), cement=(), leaks=(), hardware=(),
        limits=(MISSED[modality], CANAL_MISSED), warnings=(NO_SPINE,),
        labels=np.zeros(radiograph.shape, dtype=np.uint8),
    )  # fmt: skip


def _limits(view: View, modality: Modality, levels: Sequence[LevelAssignment], plane: MeasuredPlane) -> Iterator[str]:
    """What the reader must know before trusting the numbers of this image."""
    yield MISSED[modality]
    yield CANAL_MISSED
    if view == "ap":
        yield SIDES
    if plane.no_mm is not None:
        yield f"Lengths and areas are not given: {plane.no_mm.reason}."
    if any(level.source == "unknown" for level in levels):
        yield LEVELS_UNKNOWN


def _warnings(
    radiograph: Radiograph,
    segmentation: ProjectionSegmentation,
    found: ProjectedCement,
    hardware: Sequence[HardwareFinding],
) -> Iterator[str]:
    """What is odd about this image."""
    if segmentation.view_confidence < UNSURE_VIEW:
        yield f"the view ({segmentation.view}) is not sure: heights and angles of another view would be wrong"
    if radiograph.view is not None and radiograph.view != segmentation.view:
        yield f"the header calls the view {radiograph.view}, the picture shows {segmentation.view}; the picture counts"
    if segmentation.view == "oblique":
        yield "oblique view: bodies are located, heights and angles are not measured, only disc leaks are looked for"
    if found.stray.any():
        yield "dense as cement, but far from every body with cement: not counted"
    if hardware:
        yield "metal in view: it may hide cement and endplates"


def _hardware(
    segmentation: ProjectionSegmentation,
    outlines: npt.NDArray[np.uint8],
    plane: MeasuredPlane,
    series_instance_uid: str,
) -> tuple[HardwareFinding, ...]:
    """Every connected piece of metal, from the top of the picture."""
    metal = at_least(segmentation.metal_probability, METAL_PROBABILITY)
    if not metal.any():
        return ()
    pieces, count = ndimage.label(metal, structure=np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    body_px = np.count_nonzero(outlines) / max(len(np.unique(outlines)) - 1, 1)
    findings = []
    for number in np.flatnonzero(sizes[1:] >= max(MIN_METAL_SHARE * body_px, 1)) + 1:
        mask = pieces == number
        rows, columns = np.nonzero(mask)
        findings.append(
            HardwareFinding(
                series_instance_uid=series_instance_uid, kind="metal", volume=NO_VOLUME, area=area_of(mask, plane),
                center_px=pixel(np.array([columns.mean(), rows.mean()])),
            )
        )  # fmt: skip
    return tuple(findings)


def _labels(segmentation: ProjectionSegmentation, found: ProjectedCement) -> npt.NDArray[np.uint8]:
    """Cement and metal per pixel."""
    labels = np.zeros(found.owner.shape, dtype=np.uint8)
    owned = found.owner > 0
    labels[owned] = CEMENT_INSIDE_LABEL
    labels[owned & (found.outline != found.owner)] = CEMENT_LEAKED_LABEL
    labels[at_least(segmentation.metal_probability, METAL_PROBABILITY) & ~owned] = METAL_LABEL
    return labels
