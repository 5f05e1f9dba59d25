"""Which of the series of a study to measure, and why not the others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.errors import GeometryError, UnsupportedError
from vertecast.core.results import SeriesResult
from vertecast.io.checks import MIN_COVERAGE_MM, refusal_reason
from vertecast.io.ct.stack import Stack, plan_stack
from vertecast.io.discover import SeriesFiles, StudyFiles, refusal

SLICE_CLASSES_MM: Final = (1.25, 2.0, 3.0, 5.0)
"""Slices up to 1.25 mm count alike: below that a kernel matters more than the step."""

FULL_COVERAGE: Final = 0.6
"""A series that covers less than this share of the longest one is a detail and comes after the others."""

NEW_COVERAGE_MM: Final = 60.0
"""A further series is read where it adds this much of the patient: two lumbar levels (a lumbar body with its disc is
about 35 mm, Zhou et al., Eur Spine J 2000;9:242)."""

STANDARD, UNKNOWN, BONE, EXTREME = 0, 1, 2, 3
"""Kernels from best to worst: standard ones keep CT numbers; bone kernels raise noise and overshoot at edges; lung
kernels and strong smoothing do both harm."""

KERNEL_CLASSES: Final = (
    (r"LUNG|EDGE|ULTRA|^YC|^L$|FC5[0-9]|FC8[0-9]|ULTRASHARP", EXTREME),
    (r"BONE|^Y[AB]|^[DE]$|FC3[0-9]", BONE),
    (r"STANDARD|STND|SOFT|DETAIL|MEDIUM|^[ABC]$|^UB$|FC0[0-9]|FC1[0-9]", STANDARD),
)
"""Kernel names of GE, Philips and Canon; those of Siemens carry a number, see `SIEMENS_SHARPNESS`."""

SIEMENS_KERNEL: Final = re.compile(r"^[A-Z][A-Z]?(\d\d)[A-Z]*$")
SIEMENS_SHARPNESS: Final = ((20, EXTREME), (51, STANDARD), (71, BONE))
"""Upper limits of the number in a kernel such as B30f, Br40d, I70f; anything sharper is a lung kernel."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Candidate:
    """A series that can be measured, with what decides between several."""

    series: SeriesFiles
    stack: Stack | None

    @property
    def step_mm(self) -> float:
        """What limits detail along the slices: their step or thickness, whichever is larger."""
        if self.stack is None:
            return 0.0
        step = float(geometry.spacing_mm(self.stack.lps_from_index)[2])
        thicknesses = [plane.thickness_mm for plane in self.stack.planes if plane.thickness_mm is not None]
        return max(step, float(np.median(thicknesses)) if thicknesses else 0.0)

    @property
    def reach_mm(self) -> tuple[float, float]:
        """Lowest and highest z in LPS mm."""
        if self.stack is None:
            return 0.0, 0.0
        z = geometry.corner_points_lps_mm(self.stack.lps_from_index, self.stack.shape)[:, 2]
        return float(z.min()), float(z.max())

    @property
    def is_derived(self) -> bool:
        """True for reformats."""
        types = self.stack.planes[0].image_type if self.stack is not None else ()
        return "DERIVED" in types or "REFORMATTED" in types or "MPR" in types

    @property
    def label(self) -> str:
        """Kernel and slice for a reason; never the description, which operators fill with anything."""
        kernel = f"kernel {self.series.kernel}, " if self.series.kernel else ""
        return f"{kernel}{self.step_mm:.1f} mm slices"


def choose_ct_series(study: StudyFiles) -> tuple[list[SeriesFiles], list[SeriesResult]]:
    """Choose the series to measure from headers alone.

    The best has nearly full coverage, thin slices, original images and a standard kernel, in this order. A further
    series is taken where it covers another part of the patient in the same frame of reference.

    Returns:
        The chosen series, best first, and a record with the reason for every other series in ``study.series``
        (``study.rejected`` is not repeated).
    """
    candidates: list[_Candidate] = []
    others: list[SeriesResult] = []
    for series in study.series:
        result = _examine(series)
        if isinstance(result, _Candidate):
            candidates.append(result)
        else:
            others.append(result)
    longest = max((_length(candidate) for candidate in candidates), default=0.0)
    candidates.sort(key=lambda candidate: _rank(candidate, longest))
    chosen: list[_Candidate] = []
    for candidate in candidates:
        rival = next((other for other in chosen if not _adds(candidate, other)), None)
        if rival is None:
            chosen.append(candidate)
        else:
            others.append(refusal(candidate.series, _comparison(candidate, rival)))
    return [candidate.series for candidate in chosen], others


def label_of(series: SeriesFiles) -> str:
    """Kernel and slices of a series that can be measured."""
    candidate = _examine(series)
    return candidate.label if isinstance(candidate, _Candidate) else ""


def kernel_class(kernel: str) -> int:
    """Class of a reconstruction kernel: STANDARD, UNKNOWN, BONE or EXTREME."""
    name = kernel.strip().upper()
    siemens = SIEMENS_KERNEL.match(name)
    if siemens and not name.startswith("FC"):
        number = int(siemens.group(1))
        return next((kind for limit, kind in SIEMENS_SHARPNESS if number < limit), EXTREME)
    return next((kind for pattern, kind in KERNEL_CLASSES if re.search(pattern, name)), UNKNOWN)


def _examine(series: SeriesFiles) -> _Candidate | SeriesResult:
    """A candidate, or the reason why the series is none."""
    reason = refusal_reason(series)
    if reason is not None:
        return refusal(series, reason)
    if series.volume_file is not None:
        return _Candidate(series=series, stack=None)
    if series.files_without_image:
        reason = f"{series.files_without_image} files are damaged and hold no image; send the series again"
        return refusal(series, reason, failed=True)
    try:
        candidate = _Candidate(series=series, stack=plan_stack(series.planes))
    except UnsupportedError as error:
        return refusal(series, str(error))
    except GeometryError as error:
        return refusal(series, str(error), failed=True)
    if _length(candidate) < MIN_COVERAGE_MM:
        return refusal(series, f"covers {_length(candidate):.0f} mm along the patient, less than one vertebra")
    return candidate


def _length(candidate: _Candidate) -> float:
    low, high = candidate.reach_mm
    return high - low


def _rank(candidate: _Candidate, longest_mm: float) -> tuple[bool, int, int, float, float, str]:
    """Sort key, best first."""
    slice_class = sum(candidate.step_mm > limit + 1e-3 for limit in SLICE_CLASSES_MM)
    return (
        _length(candidate) < FULL_COVERAGE * longest_mm,
        slice_class + int(candidate.is_derived),
        kernel_class(candidate.series.kernel),
        round(candidate.step_mm, 2),
        -_length(candidate),
        candidate.series.series_instance_uid,
    )


def _adds(candidate: _Candidate, other: _Candidate) -> bool:
    """True when a series shows a part of the patient that another one does not."""
    if candidate.stack is None or other.stack is None:
        return False
    if candidate.stack.planes[0].frame_of_reference_uid != other.stack.planes[0].frame_of_reference_uid:
        return False
    low, high = candidate.reach_mm
    other_low, other_high = other.reach_mm
    shared = max(0.0, min(high, other_high) - max(low, other_low))
    return high - low - shared >= NEW_COVERAGE_MM


def _comparison(candidate: _Candidate, rival: _Candidate) -> str:
    """Why a rival was chosen instead."""
    same_scan = (
        candidate.stack is not None
        and rival.stack is not None
        and candidate.stack.planes[0].frame_of_reference_uid == rival.stack.planes[0].frame_of_reference_uid
    )
    kind = (
        "a derived copy or reformat"
        if candidate.is_derived
        else "another reconstruction"
        if same_scan
        else "another scan"
    )
    return (
        f"is {kind} of what is measured on series {rival.series.series_instance_uid} "
        f"({candidate.label}; chosen: {rival.label})"
    )
