"""A study compared with earlier ones of the same patient: levels matched, vertebrae laid over each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import POSTERIOR_LABEL_OFFSET, Level
from vertecast.core.geometry import FloatArray
from vertecast.core.images import Mask
from vertecast.core.results import ChangeFinding, NotMeasured, Quantity, StudyReport, VertebraFinding
from vertecast.core.study_result import StudyResult
from vertecast.measurement.change.cement import MARGIN_MM, CementMotion, follow_cement
from vertecast.measurement.change.registration import align_vertebra
from vertecast.measurement.change.study import Overlay, Visit, bodies, compare_studies, shared_modality, timeline

LEAST_FOR_TIMELINE: Final = 3

Cuts: TypeAlias = Mapping[int, Mask]
"""The part of a label map round each vertebra, by the number of its body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierStudy:
    """An earlier study of the patient.

    Attributes:
        report: What was measured.
        day: Days since any fixed day, the same for all studies; None where the date is unknown.
        labels: Reads its label map, or tells why it cannot. It is called only when it is needed.
    """

    report: StudyReport
    day: int | None
    labels: Callable[[], Mask | NotMeasured]


def with_changes(result: StudyResult, day: int | None, earlier: Sequence[EarlierStudy]) -> StudyResult:
    """Add to a study what changed since the one before it, since the first after treatment, and since the first.

    Args:
        result: The study.
        day: When it was taken, counted as in ``earlier``.
        earlier: Earlier studies, oldest first; those that share nothing with this one are passed over, and films beside
            CTs (CTs beside films) where there is one of the same kind.
    """
    later = Visit(report=result.report, day=day)
    usable = [one for one in earlier if shared_modality(one.report, result.report) is not None]
    if not usable:
        return result
    like = [one for one in usable if shared_modality(one.report, result.report) != "mixed"]
    own = _cuts(result.labels)
    changes = [_change(one, later, own) for one in _compared(like or usable)]
    visits = [*(Visit(report=one.report, day=one.day) for one in earlier), later]
    modality = changes[0].modality
    course = timeline(visits, modality) if modality != "mixed" else ()
    report = replace(
        result.report,
        change=changes[0],
        further_changes=tuple(changes[1:]),
        timeline=course if len(course) >= LEAST_FOR_TIMELINE else (),
    )
    return replace(result, report=report)


def _compared(earlier: Sequence[EarlierStudy]) -> list[EarlierStudy]:
    """The study before, the first with cement, the first; each once."""
    treated = next((one for one in earlier if one.report.cement), None)
    chosen: list[EarlierStudy] = []
    for one in (earlier[-1], treated, earlier[0]):
        if one is not None and not any(one is other for other in chosen):
            chosen.append(one)
    return chosen


def _change(earlier: EarlierStudy, later: Visit, later_cuts: Cuts) -> ChangeFinding:
    modality = shared_modality(earlier.report, later.report)
    assert modality is not None
    overlays: dict[str, Overlay] = {}
    if modality == "ct" and later_cuts:
        labels = earlier.labels()
        cuts = {} if isinstance(labels, NotMeasured) else _cuts(labels)
        before, after = bodies(earlier.report, modality), bodies(later.report, modality)
        for name in before.keys() & after.keys():
            number = int(Level[name])
            if isinstance(labels, NotMeasured):
                overlays[name] = _no_overlay(labels, before[name].treated, after[name].treated)
            elif number in cuts and number in later_cuts:
                overlays[name] = _overlay((before[name], after[name]), (cuts[number], later_cuts[number]), number)
    return compare_studies(Visit(report=earlier.report, day=earlier.day), later, modality, overlays)


def _overlay(pair: tuple[VertebraFinding, VertebraFinding], cuts: tuple[Mask, Mask], number: int) -> Overlay:
    """Lay one vertebra over itself."""
    frames = [_axes(body) for body in pair]
    was_treated, is_treated = (body.treated for body in pair)
    if frames[0] is None or frames[1] is None:
        missing = NotMeasured(reason="a body that could not be measured in both studies")
        return _no_overlay(missing, was_treated, is_treated)
    start = geometry.affine(frames[1] @ frames[0].T, [0.0, 0.0, 0.0])
    alignment = align_vertebra(*cuts, (number, number), start)
    if isinstance(alignment, NotMeasured):
        return _no_overlay(alignment, was_treated, is_treated)
    cement = CementMotion()
    if is_treated:
        cement = follow_cement(*cuts, (number, number), alignment, was_treated=was_treated)
    return Overlay(registration_error=Quantity(value=alignment.error_mm, unit="mm"), cement=cement)


def _no_overlay(reason: NotMeasured, was_treated: bool, is_treated: bool) -> Overlay:
    """What cannot be said of the cement carries the reason."""
    cement = CementMotion()
    if is_treated:
        cement = CementMotion(shift=reason) if was_treated else CementMotion(beyond_earlier=reason)
    return Overlay(registration_error=reason, cement=cement)


def _axes(body: VertebraFinding) -> FloatArray | None:
    """Columns x to the left, y to posterior, z to superior of a measured body."""
    points = body.six_points_lps_mm
    if points is None or isinstance(points, NotMeasured):
        return None
    top, bottom = points["superior"], points["inferior"]
    back = np.sum([np.subtract(plate["posterior"], plate["anterior"]) for plate in (top, bottom)], axis=0)
    up = np.sum([np.subtract(top[place], bottom[place]) for place in top], axis=0)
    left = geometry.unit(np.cross(back, up))
    up = geometry.unit(up)
    return np.stack([left, np.cross(up, left), up], axis=1)


def _cuts(labels: Mask | None) -> Cuts:
    """Cut a label map into one part for each vertebra, with what lies round it."""
    if labels is None:
        return {}
    boxes = ndimage.find_objects(labels.labels)
    reach = np.ceil(MARGIN_MM / geometry.spacing_mm(labels.lps_from_index)).astype(int)
    cuts: dict[int, Mask] = {}
    for number in Level:
        own = [
            boxes[n - 1]
            for n in (number, number + POSTERIOR_LABEL_OFFSET)
            if n <= len(boxes) and boxes[n - 1] is not None
        ]
        if not own or number > len(boxes) or boxes[number - 1] is None:
            continue
        box = tuple(
            slice(
                max(min(b[axis].start for b in own) - int(reach[axis]), 0),
                min(max(b[axis].stop for b in own) + int(reach[axis]), labels.labels.shape[axis]),
            )
            for axis in range(3)
        )
        lps_from_cut = geometry.shifted(labels.lps_from_index, [s.start for s in box])
        cuts[int(number)] = Mask(labels=labels.labels[box], lps_from_index=lps_from_cut)
    return cuts
