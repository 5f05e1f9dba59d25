"""Data sets of label maps scored: any labelled data set against any model's maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, POSTERIOR_LABEL_OFFSET
from vertecast.core.errors import ConfigurationError, InputError
from vertecast.core.images import Mask
from vertecast.lab.evaluation.cases import Case, map_groups
from vertecast.lab.evaluation.datasets.files import stem
from vertecast.lab.evaluation.datasets.maps import MapFile, find_maps
from vertecast.lab.evaluation.datasets.reading import read_map
from vertecast.lab.evaluation.datasets.schemes import (
    Scheme,
    number_of_name,
    numbers_of_scheme,
    whole_vertebrae,
)
from vertecast.lab.evaluation.maps.masks import Things, score_maps
from vertecast.lab.evaluation.maps.surfaces import TOLERANCE_MM
from vertecast.run.workers import Lost, run_in_processes

Compared: TypeAlias = Literal["bodies", "vertebrae"]

BodyCutter: TypeAlias = Callable[[Mask], Mask | None]
"""Cuts the bodies out of the whole vertebrae of a map in our numbers; None where it holds bodies alone."""

NOT_PREDICTED: Final = "no map of this case"
CUT_NOTE: Final = (
    "Bodies of the {side} were cut out of whole-vertebra masks by geometry (docs/label_maps.md) in {count} of {all} "
    "cases; they are no outlines that anybody drew."
)
JOINED_NOTE: Final = (
    "The {side} tell bodies from posterior elements and the other maps do not: both were joined to whole vertebrae. "
    "If the other maps hold bodies alone, score with --compare bodies."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """How label maps are read and compared.

    Attributes:
        truth_numbers: Our number by a true map's, for data sets that do not say themselves.
        found_numbers: The same of the maps to be judged.
        compared: Bodies or whole vertebrae; None: bodies where both kinds of map tell them apart.
        cut_bodies: Needed for bodies where a map has whole vertebrae.
        tolerance_mm: Of the normalized surface Dice.
        workers: Processes at the same time.
    """

    truth_numbers: Mapping[int, int]
    found_numbers: Mapping[int, int]
    compared: Compared | None = None
    cut_bodies: BodyCutter | None = None
    tolerance_mm: float = TOLERANCE_MM
    workers: int = 1

    @classmethod
    def of_schemes(cls, truth: Scheme, found: Scheme, *, compared: str | None = None, **more: Any) -> MapOptions:
        """Options for maps whose numbers mean what two schemes say; the other ones as of the class.

        Raises:
            ConfigurationError: ``compared`` is no kind of structure.
        """
        if compared not in (None, "bodies", "vertebrae"):
            raise ConfigurationError(f"--compare {compared}: is neither bodies nor vertebrae")
        kind: Any = compared
        return cls(
            truth_numbers=numbers_of_scheme(truth), found_numbers=numbers_of_scheme(found), compared=kind, **more
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One case to be scored; ``join``: parts are joined to whole vertebrae first."""

    truth: MapFile
    found: MapFile | None
    options: MapOptions
    things: Things
    join: bool
    scored: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    case: Case
    cut_truth: bool
    cut_found: bool


def score_map_folders(
    truth: Path, found: Path, options: MapOptions, *, listener: Callable[[str, int, int], None] = lambda *_: None
) -> tuple[list[Case], list[str]]:
    """Score every true map of a folder.

    Returns:
        The cases by name, and what a reader must know of them.

    Raises:
        UnreadableError: A folder holds no maps, or a map is damaged.
        InputError: Not one case of the truth has a prediction.
    """
    truths, founds = find_maps(truth), {one.case: one for one in find_maps(found)}
    _check_names(truths, founds, found)
    jobs, notes = _plan(truths, founds, options)
    scored: dict[str, _Scored] = {}
    for job, result in _run(jobs, options.workers):
        if isinstance(result, Lost):
            raise InputError(f"{job.truth.path}: its process ended without a word; score with fewer --workers")
        scored[job.truth.case] = result
        listener(job.truth.case, len(scored), len(jobs))
    done = [scored[job.truth.case] for job in jobs]
    for side, count in (("truth", sum(d.cut_truth for d in done)), ("predictions", sum(d.cut_found for d in done))):
        if count:
            notes.append(CUT_NOTE.format(side=side, count=count, all=len(done)))
    cases = [one.case for one in done]
    unmarked = _unmarked(cases)
    if unmarked:
        notes.append(f"Not judged, since no true map holds it: {', '.join(unmarked)}.")
    return [_without(case, unmarked) for case in cases], notes


NEED_TRUTH: Final = ("posterior elements", "sacrum", "metal")
"""Structures that many data sets leave unmarked: where no true map holds one, a found one is no error."""


def _unmarked(cases: Sequence[Case]) -> list[str]:
    """Structures of `NEED_TRUTH` that were found and that no true map holds."""
    every = [one for case in cases if case.masks is not None for one in case.masks.structures]
    marked = {one.structure for one in every if one.verdict != "false"}
    return [name for name in NEED_TRUTH if name not in marked and any(one.structure == name for one in every)]


def _without(case: Case, names: Sequence[str]) -> Case:
    if not names or case.masks is None:
        return case
    kept = tuple(one for one in case.masks.structures if one.structure not in names)
    return replace(case, masks=replace(case.masks, structures=kept))


def _check_names(truths: Sequence[MapFile], founds: Mapping[str, MapFile], folder: Path) -> None:
    if not any(one.case in founds for one in truths):
        raise InputError(
            f"{folder}: holds no case of the truth; the truth has {truths[0].case} and others, "
            f"the predictions {next(iter(founds))} and others; give the maps the same names"
        )


def _plan(
    truths: Sequence[MapFile], founds: Mapping[str, MapFile], options: MapOptions
) -> tuple[list[_Job], list[str]]:
    """What is compared with what, decided for the whole data set: one kind of structure, one list of numbers."""
    holds = [
        _can_hold(truths, options.truth_numbers), _can_hold(founds.values(), options.found_numbers)
    ]  # fmt: skip
    parted = [any(POSTERIOR_LABEL_OFFSET < n < CEMENT_INSIDE_LABEL for n in numbers) for numbers in holds]
    compared = options.compared or ("bodies" if all(parted) else "vertebrae")
    join = compared == "vertebrae" and any(parted)
    notes = []
    if options.compared is None and join:
        notes.append(JOINED_NOTE.format(side="true maps" if parted[0] else "predictions"))
    if compared == "bodies" and not all(parted) and options.cut_bodies is None:
        raise InputError("bodies can be compared only where both maps tell them from arches, or can be cut out")
    absent = sorted(set(founds) - {one.case for one in truths})
    if absent:
        notes.append(f"{len(absent)} predictions have no truth and were not scored.")
    jobs = [
        _Job(
            truth=one, found=founds.get(one.case), options=options, join=join, scored=holds[0] & holds[1],
            things="body" if compared == "bodies" else "vertebra",
        )
        for one in truths
    ]  # fmt: skip
    return jobs, notes


def _can_hold(maps: Iterable[MapFile], numbers: Mapping[int, int]) -> frozenset[int]:
    """Our numbers that the maps of a data set can hold."""
    held: set[int] = set()
    for one in maps:
        if one.kind == "folder":
            held |= {number_of_name(stem(path)) for path in one.path.iterdir()}
        else:
            held |= set((numbers if one.numbers is None else one.numbers).values())
    return frozenset(held - {0})


def _run(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[_Job, _Scored | Lost]]:
    if workers > 1:
        yield from run_in_processes(_score, jobs, workers)
    else:
        yield from ((job, _score(job)) for job in jobs)


def _score(job: _Job) -> _Scored:
    truth, cut_truth = _prepared(read_map(job.truth, job.options.truth_numbers), job)
    found, cut_found = None, False
    if job.found is not None:
        found, cut_found = _prepared(read_map(job.found, job.options.found_numbers), job)
    masks = score_maps(
        truth, found, things=job.things, scored=job.scored, tolerance_mm=job.options.tolerance_mm
    )  # fmt: skip
    case = Case(
        name=job.truth.case,
        patient=job.truth.patient,
        simulated=job.truth.simulated,
        masks=masks,
        reason="" if job.found else NOT_PREDICTED,
        groups={**map_groups(masks), **job.truth.groups},
        truth=_with_numbers(job.truth, job.options.truth_numbers),
        found=None if job.found is None else _with_numbers(job.found, job.options.found_numbers),
    )
    return _Scored(case=case, cut_truth=cut_truth, cut_found=cut_found)


def _with_numbers(one: MapFile, numbers: Mapping[int, int]) -> MapFile:
    """The map with what its numbers mean, so that it can be read again for a picture."""
    return one if one.numbers is not None else replace(one, numbers=numbers)


def _prepared(mask: Mask, job: _Job) -> tuple[Mask, bool]:
    """The map as it is compared, and whether its bodies were cut out of whole vertebrae."""
    if job.join:
        return whole_vertebrae(mask), False
    labels = np.asarray(mask.labels, dtype=np.uint8)
    parted = bool(((labels > POSTERIOR_LABEL_OFFSET) & (labels < CEMENT_INSIDE_LABEL)).any())
    if job.things == "vertebra" or parted or job.options.cut_bodies is None or not labels.any():
        return mask, False
    bodies = job.options.cut_bodies(mask)
    return (mask, False) if bodies is None else (bodies, True)
