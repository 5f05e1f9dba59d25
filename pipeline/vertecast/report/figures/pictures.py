"""The pictures of a report: the whole spine from the side and from the front, and each body of interest in three
planes.

Sagittal pictures have anterior on the left; coronal and axial ones have the patient's left on the viewer's right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from vertecast.core import anatomy, geometry
from vertecast.core.images import Mask, Volume
from vertecast.core.results import StudyReport, VertebraFinding
from vertecast.report import wording
from vertecast.report.figures import drawing, planes
from vertecast.report.figures.planes import Cut
from vertecast.report.labels import level_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SPINE_PIXEL_MM: Final = 0.45
_LEVEL_PIXEL_MM: Final = 0.25
_SPINE_MARGIN_MM: Final = {"anterior": 66.0, "posterior": 72.0, "side": 72.0, "end": 32.0}
_SAGITTAL_EXTENT_MM: Final = (-38.0, 54.0, -36.0, 36.0)
_CORONAL_EXTENT_MM: Final = (-46.0, 46.0, -36.0, 36.0)
_AXIAL_EXTENT_MM: Final = (-46.0, 46.0, -48.0, 24.0)
_LEAK_REACH_MM: Final = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG and the text that stands for it.

    ``level`` is set for a picture of one vertebra; ``caption`` holds the lines to print below it, if any.
    """

    png: bytes
    alt: str
    level: str | None = None
    caption: tuple[str, ...] = ()


Pictures: TypeAlias = Mapping[str, Picture]
"""By name: "sagittal", "coronal", "level_L1", ..."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scene:
    """What every picture of a study is drawn from."""

    volume: Volume | None
    labels: Mask
    canal: Mask | None
    vertebrae: Sequence[VertebraFinding]
    has_leaks: bool


def render_pictures(volume: Volume | None, labels: Mask, report: StudyReport, *, canal: Mask | None = None) -> Pictures:
    """Draw the pictures of a study.

    Args:
        volume: The CT, or None where only a label map was given: the background is then black.
        labels: Label map of `labels.label_map`, on any grid.
        report: The study; pictures show the vertebrae of its first analysed CT series.
        canal: Non-zero inside the spinal canal, on any grid; drawn where given.
    """
    vertebrae = shown_vertebrae(report)
    scene = _Scene(volume=volume, labels=labels, canal=canal, vertebrae=vertebrae, has_leaks=bool(report.leaks))
    pictures = {"sagittal": _spine(scene, axis=0), "coronal": _spine(scene, axis=1)}
    for vertebra in vertebrae:
        if wording.is_of_interest(report, vertebra):
            pictures[f"level_{vertebra.level}"] = _level(scene, vertebra)
    return pictures


def shown_vertebrae(report: StudyReport) -> tuple[VertebraFinding, ...]:
    """Vertebrae of the first analysed volume: the one that the label map belongs to. None of a projection."""
    analyzed = [s.series_instance_uid for s in report.series if s.is_volume and s.status == "analyzed"]
    ct = (v for v in report.vertebrae if v.center_lps_mm is not None)
    return tuple(v for v in ct if not analyzed or v.series_instance_uid == analyzed[0])


def _spine(scene: _Scene, axis: int) -> Picture:
    """The curved reformation of the whole spine: sagittal (axis 0) or coronal (axis 1)."""
    centers = _centers(scene)
    cut = planes.curved_cut(centers, axis, _spine_extent(scene, centers, axis), _SPINE_PIXEL_MM)
    figure = drawing.new_figure([cut])
    axes = figure.axes[0]
    _draw_anatomy(axes, scene, cut)
    for vertebra in scene.vertebrae:
        if axis == 0:
            drawing.draw_points(axes, cut, vertebra.six_points_lps_mm, size=1.6)
        _name_level(axes, cut, vertebra)
    drawing.draw_frame(axes, cut, ("A", "P") if axis == 0 else ("R", "L"), is_overview=True)
    view = "Mid-sagittal" if axis == 0 else "Mid-coronal"
    names = [vertebra.level for vertebra in scene.vertebrae]
    span = f"{names[0]} to {names[-1]}" if len(names) > 1 else (names[0] if names else "no vertebra found")
    marked = [f"{v.level} Genant {wording.grade_text(v)}" for v in scene.vertebrae if wording.is_fractured(v)]
    fractures = f"; marked as fractured: {', '.join(marked)}" if marked else ""
    alt = f"{view} view that follows the spine, {span}, bodies outlined{fractures}."
    return Picture(png=drawing.png_bytes(figure), alt=alt)


def _level(scene: _Scene, vertebra: VertebraFinding) -> Picture:
    """One body in the sagittal, coronal and axial plane of its own frame."""
    frame = planes.body_frame(vertebra)
    anterior = -frame.posterior
    views = (
        (frame.posterior, frame.superior, _SAGITTAL_EXTENT_MM, ("A", "P")),
        (frame.left, frame.superior, _CORONAL_EXTENT_MM, ("R", "L")),
        (frame.left, anterior, _AXIAL_EXTENT_MM, ("R", "L")),
    )
    cuts = [planes.flat_cut(frame.center_lps_mm, right, up, ext, _LEVEL_PIXEL_MM) for right, up, ext, _ in views]
    figure = drawing.new_figure(cuts)
    for axes, cut, (_, _, _, sides) in zip(figure.axes, cuts, views, strict=True):
        _draw_anatomy(axes, scene, cut, chosen=vertebra)
        drawing.draw_frame(axes, cut, sides, is_overview=False)
    drawing.draw_points(figure.axes[0], cuts[0], vertebra.six_points_lps_mm, size=3.0)
    cement = ", cement coloured" if vertebra.treated else ""
    alt = f"{vertebra.level} in the sagittal, coronal and axial plane of the vertebral axes, body outlined{cement}."
    caption = ("Sagittal, coronal and axial plane of the vertebral axes",)
    return Picture(png=drawing.png_bytes(figure), alt=alt, level=vertebra.level, caption=caption)


def _centers(scene: _Scene) -> geometry.FloatArray:
    """Body centres (n, 3); the middle of the image where no vertebra was found."""
    if scene.vertebrae:
        return np.array([vertebra.center_lps_mm for vertebra in scene.vertebrae])
    corners = geometry.corner_points_lps_mm(scene.labels.lps_from_index, scene.labels.labels.shape)
    return np.asarray(corners.mean(axis=0, keepdims=True))


def _spine_extent(scene: _Scene, centers: geometry.FloatArray, axis: int) -> tuple[float, float, float, float]:
    """Edges of an overview in mm: the spine and a margin, within the image but for the room that the letters need."""
    image = scene.volume or scene.labels
    shape = scene.volume.shape if scene.volume else scene.labels.labels.shape
    corners = geometry.corner_points_lps_mm(image.lps_from_index, shape)
    low, high = corners.min(axis=0), corners.max(axis=0)
    shown, margin = 1 - axis, _SPINE_MARGIN_MM
    before, after = (margin["anterior"], margin["posterior"]) if axis == 0 else (margin["side"], margin["side"])
    left = centers[:, shown].min() - before
    right = min(centers[:, shown].max() + after, high[shown])
    bottom, top = low[2], high[2]
    if scene.vertebrae:
        bottom, top = max(centers[:, 2].min() - margin["end"], bottom), centers[:, 2].max() + margin["end"]
    return float(left), float(right), float(bottom), float(top)


def _draw_anatomy(axes: Axes, scene: _Scene, cut: Cut, chosen: VertebraFinding | None = None) -> None:
    """Grey image, coloured cement, leaks and metal, outlines; a ``chosen`` vertebra stands out from its neighbours."""
    found = planes.sample_labels(scene.labels, cut)
    axes.imshow(drawing.shaded(scene.volume, cut, found), extent=cut.extent_mm, interpolation="nearest", aspect="auto")
    fractured = {level_number(v.level) for v in scene.vertebrae if wording.is_fractured(v)}
    own = None if chosen is None else level_number(chosen.level)
    for label in sorted(found.boxes):
        body = label - anatomy.POSTERIOR_LABEL_OFFSET if label > anatomy.POSTERIOR_LABEL_OFFSET else label
        if label >= anatomy.CEMENT_INSIDE_LABEL:
            continue
        colour = drawing.POSTERIOR if body != label else drawing.FRACTURED if body in fractured else drawing.BODY
        width = 1.6 if body == own or (own is None and body in fractured) else 0.9
        share = found.coverage(label) if body != label else drawing.with_cement(found, label)
        drawing.outline(axes, cut, share, colour, width, opacity=1.0 if own in (None, body) else 0.5)
    if scene.canal is not None:
        canal = planes.sample_labels(scene.canal, cut)
        for label in canal.boxes:
            drawing.outline(axes, cut, canal.coverage(label), drawing.CANAL, 0.9)
    if scene.has_leaks:
        met = planes.project_label(scene.labels, cut, anatomy.CEMENT_LEAKED_LABEL, _LEAK_REACH_MM)
        drawing.outline(axes, cut, met.astype(np.float32), drawing.LEAK, 1.1, style="dashed")


def _name_level(axes: Axes, cut: Cut, vertebra: VertebraFinding) -> None:
    """Level and grade at the height of the body, at the picture's left edge where they hide no leak."""
    grade, fractured = wording.grade_text(vertebra), wording.is_fractured(vertebra)
    second = f"\nGenant {grade}" if fractured else "" if grade else "\nnot graded"
    assert vertebra.center_lps_mm is not None  # `shown_vertebrae` leaves projections out
    height = cut.project(vertebra.center_lps_mm)[1]
    colour = drawing.FRACTURED if fractured else "white"
    edge = cut.extent_mm[0] + 3.0
    drawing.write(axes, edge, height, vertebra.level + second, ha="left", va="center", color=colour, bold=fractured)
