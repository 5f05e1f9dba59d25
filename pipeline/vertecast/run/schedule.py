"""Studies handed to a pool: those of one patient one after the other, those of different patients side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from vertecast.core.config import BatchOptions
from vertecast.report.outputs import remove_half_written
from vertecast.report.summary import StudyRun
from vertecast.run.jobs import Done, Job, Step, StepOutcome
from vertecast.run.memory import needed_bytes
from vertecast.run.workers import Lost, Pool

GB: Final = 10**9

WORKER_DIED: Final = "its process ended twice without a word, most likely for want of memory; use fewer workers"
OUT_OF_TIME: Final = (
    "took longer than {seconds} s and was ended; raise batch.time_limit_s if the machine is slow, else look at the "
    "images"
)
TOO_LARGE: Final = "needs about {needed:.1f} GB of memory, and --memory allows {allowed:g}; allow more"

Chain: TypeAlias = Iterator[Job | StudyRun]
"""The studies of one patient, oldest first; in place of a study that cannot be analysed what became of it."""


def run_patients(patients: Iterable[Chain], pool: Pool[Step, StepOutcome], options: BatchOptions) -> Iterator[StudyRun]:
    """Analyse the studies of many patients.

    The pool is closed at the end, and what its processes had begun to write is removed.

    A study that is lost costs the patient's later ones the comparison with it, and nothing else. Where memory is
    bounded, a study waits until what is under way leaves enough of it.

    Args:
        patients: Taken one by one, when there is room for the next.
        pool: Works through the steps.
        options: The bound of the memory; after what time the pool ends a study.

    Yields:
        What became of each study, as soon as it is known.

    Raises:
        BundleError: the weights cannot be loaded, which no other study would survive either.
    """
    local = options.scheduler is None
    # The workers of a cluster have bounds of their own.
    allowed = None if options.memory_gb is None or not local else int(options.memory_gb * GB)
    under_way: dict[Path, int] = {}
    try:
        yield from _work_through(_Steps(patients), pool, options, allowed, under_way)
    finally:
        pool.close()
        # The workers of a cluster cannot be ended in the middle of a study, and finish it.
        for folder in under_way if local else ():
            remove_half_written(folder)


def _work_through(
    steps: _Steps, pool: Pool[Step, StepOutcome], options: BatchOptions, allowed: int | None, under_way: dict[Path, int]
) -> Iterator[StudyRun]:
    """The studies in turn; ``under_way`` holds the folder of each that has been begun, and the memory it needs."""
    while True:
        while pool.has_room and (step := steps.next()) is not None:
            if isinstance(step, StudyRun):
                yield step
                continue
            needed = needed_bytes(step.job.study)
            if allowed is not None and needed > allowed:
                yield step.job.ended("failed", TOO_LARGE.format(needed=needed / GB, allowed=allowed / GB))
                steps.follow(step, step.done)
            elif allowed is not None and under_way and sum(under_way.values()) + needed > allowed:
                steps.put_back(step)
                break
            else:
                under_way[step.job.folder] = needed
                pool.submit(step)
        if not pool.busy:
            return
        step, outcome = pool.next_finished()
        del under_way[step.job.folder]
        if isinstance(outcome, Lost):
            remove_half_written(step.job.folder)
            yield step.job.ended("failed", _why(outcome, options))
            steps.follow(step, step.done)
        else:
            yield outcome.study
            steps.follow(step, outcome.done(step))


class _Steps:
    """What can be begun next: a later study of a patient whose earlier one is done, else the next patient."""

    def __init__(self, patients: Iterable[Chain]) -> None:
        self._patients = iter(patients)
        self._under_way: dict[str, Chain] = {}
        self._ready: deque[tuple[Chain, tuple[Done, ...]]] = deque()
        self._put_back: Step | None = None

    def next(self) -> Step | StudyRun | None:
        """The next study; None while there is none."""
        if self._put_back is not None:
            step, self._put_back = self._put_back, None
            return step
        while True:
            chain, done = self._ready.popleft() if self._ready else (next(self._patients, None), ())
            if chain is None:
                return None
            job = next(chain, None)
            if isinstance(job, StudyRun):
                self._ready.appendleft((chain, done))
                return job
            if job is not None:
                self._under_way[job.directory] = chain
                return Step(job=job, done=done)

    def put_back(self, step: Step) -> None:
        """Keep a step for later; it is the next one then."""
        self._put_back = step

    def follow(self, step: Step, done: tuple[Done, ...]) -> None:
        """Let the patient's next study come, since this one has ended."""
        self._ready.append((self._under_way.pop(step.job.directory), done))


def _why(lost: Lost, options: BatchOptions) -> str:
    """The reason of a study that gave no result."""
    if lost is Lost.OUT_OF_TIME and options.time_limit_s is not None:
        return OUT_OF_TIME.format(seconds=f"{options.time_limit_s:g}")
    return WORKER_DIED
