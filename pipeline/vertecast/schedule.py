"""Studies handed to a pool: those of one patient one after the other, those of different patients side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from vertecast.config import BatchOptions
from vertecast.jobs import Done, Job, Outcome, Step
from vertecast.reports.summary import StudyRun
from vertecast.workers import Lost, Pool

WORKER_DIED: Final = "its process ended twice without a word, most likely for want of memory; use fewer workers"
OUT_OF_TIME: Final = (
    "took longer than {seconds} s and was ended; raise batch.time_limit_s if the machine is slow, else look at the "
    "images"
)

Chain: TypeAlias = Iterator[Job | StudyRun]
"""The studies of one patient, oldest first; in place of a study that cannot be analysed what became of it."""


def run_patients(patients: Iterable[Chain], pool: Pool[Step, Outcome], options: BatchOptions) -> Iterator[StudyRun]:
    """Analyse the studies of many patients.

    A study that is lost costs the patient's later ones the comparison with it, and nothing else.

    Args:
        patients: Taken one by one, when there is room for the next.
        pool: Works through the steps.
        options: Says after what time a study was ended.

    Yields:
        What became of each study, as soon as it is known.

    Raises:
        BundleError: the weights cannot be loaded, which no other study would survive either.
    """
    waiting = iter(patients)
    under_way: dict[str, Chain] = {}
    follow_ups: deque[tuple[Chain, tuple[Done, ...]]] = deque()
    while True:
        while pool.has_room:
            chain, done = follow_ups.popleft() if follow_ups else (next(waiting, None), ())
            if chain is None:
                break
            job = next(chain, None)
            if isinstance(job, StudyRun):
                yield job
                follow_ups.appendleft((chain, done))
            elif job is not None:
                under_way[job.directory] = chain
                pool.submit(Step(job=job, done=done))
        if not pool.busy:
            return
        step, outcome = pool.next_finished()
        if isinstance(outcome, Lost):
            yield step.job.ended("failed", _why(outcome, options))
            done = step.done
        else:
            yield outcome.study
            done = outcome.done(step)
        follow_ups.append((under_way.pop(step.job.directory), done))


def _why(lost: Lost, options: BatchOptions) -> str:
    """The reason of a study that gave no result."""
    if lost is Lost.OUT_OF_TIME and options.time_limit_s is not None:
        return OUT_OF_TIME.format(seconds=f"{options.time_limit_s:g}")
    return WORKER_DIED
