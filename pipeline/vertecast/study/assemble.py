"""One report of the parts of a study: its phase, its cement in one numbering, CT and films together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from vertecast.core.config import AnalysisOptions, Config
from vertecast.core.results import CementFinding, CineFinding, LeakFinding
from vertecast.core.study_result import StudyResult

Phase: TypeAlias = Literal["pre", "intra", "post", "unknown"]
PhaseSource: TypeAlias = Literal["operator", "cement seen", "no cement seen", "unknown"]


def together(ct: StudyResult, films: StudyResult, config: Config) -> StudyResult:
    """One report of both; the CT comes first, since what it measures is more."""
    a, b = ct.report, films.report
    series = (*a.series, *b.series)
    analyzed = any(one.status == "analyzed" for one in series)
    phase, source = (
        phase_of(config.analysis, cement_seen=bool(a.cement or b.cement), cines=b.cines)
        if analyzed
        else (a.phase, "unknown")
    )
    cement, leaks = numbered_after(b.cement, b.leaks, len(a.cement))
    report = replace(
        b,
        phase=phase,
        phase_source=source,
        series=series,
        models=(*a.models, *b.models),
        vertebrae=(*a.vertebrae, *b.vertebrae),
        angles=(*a.angles, *b.angles),
        deformity_indices=(*a.deformity_indices, *b.deformity_indices),
        cement=(*a.cement, *cement),
        leaks=(*a.leaks, *leaks),
        hardware=(*a.hardware, *b.hardware),
        limits=(*a.limits, *b.limits),
        warnings=(*a.warnings, *b.warnings),
    )
    return replace(ct, report=report, films=films.films)


def phase_of(
    options: AnalysisOptions, *, cement_seen: bool, cines: Iterable[CineFinding] = ()
) -> tuple[Phase, PhaseSource]:
    """The operator's word, else what the images show: cement that appears in a cine is being injected."""
    if options.phase != "auto":
        return options.phase, "operator"
    if any(map(_cement_appears, cines)):
        return "intra", "cement seen"
    return ("post", "cement seen") if cement_seen else ("pre", "no cement seen")


def _cement_appears(cine: CineFinding) -> bool:
    """Whether a cine begins without the cement that it ends with; cement in its first frame was there before."""
    first = cine.first_cement_frame
    return isinstance(first, int) and bool(cine.growth) and first > cine.growth[0].frame_number


def numbered_after(
    cement: Sequence[CementFinding], leaks: Sequence[LeakFinding], count: int
) -> tuple[tuple[CementFinding, ...], tuple[LeakFinding, ...]]:
    """Cement and leaks of one image with ids that go on after ``count`` others: C1 becomes C4 after three."""

    def moved(name: str) -> str:
        return f"C{int(name.removeprefix('C')) + count}"

    return (
        tuple(replace(finding, id=moved(finding.id)) for finding in cement),
        tuple(replace(finding, cement_id=moved(finding.cement_id)) for finding in leaks),
    )
