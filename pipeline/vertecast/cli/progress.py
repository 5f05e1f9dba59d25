"""What a long run says of itself: lines and a bar for people, one JSON object per study for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertecast.report.summary import StudyRun
    from vertecast.run.batch import Listener


@dataclass(slots=True, kw_only=True)
class Pace:
    """How fast studies are analysed. Those taken over from an earlier run, which take no time, are left out."""

    since: float = field(default_factory=monotonic)
    fresh: int = 0
    failed: int = 0

    def add(self, study: StudyRun, now: float) -> None:
        """Take notice of one more study."""
        self.failed += study.status == "failed"
        if study.timing_s or self.fresh:
            self.fresh += 1
        else:
            self.since = now

    def text(self, left: int, now: float) -> str:
        """Rate, time remaining and failures, as far as they are known."""
        parts = []
        if self.fresh and now > self.since:
            per_hour = 3600 * self.fresh / (now - self.since)
            parts = [f"{per_hour:.0f} an hour", f"{duration(3600 * left / per_hour)} left"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time that is still to go, as people say it: ``40 s``, ``12 min``, ``5 h``, ``3 days``."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


@contextmanager
def shown_progress() -> Iterator[Listener]:
    """What is to be told of each study: it prints to the terminal, or JSON where the output is piped."""
    if sys.stdout.isatty():
        with _bar() as listener:
            yield listener
    else:
        failed = 0

        def listener(study: StudyRun, done: int, total: int) -> None:
            nonlocal failed
            failed += study.status == "failed"
            print(json_line(study, done, total, failed), flush=True)  # noqa: T201  the output asked for

        yield listener


def json_line(study: StudyRun, done: int, total: int, failed: int) -> str:
    """One study as JSON; ``seconds`` is null where nothing had to be done."""
    line = {
        "study_instance_uid": study.study_instance_uid,
        "status": study.status,
        "reason": study.reason,
        "seconds": round(sum(study.timing_s.values()), 3) if study.timing_s else None,
        "done": done,
        "total": total,
        "failed": failed,
    }
    return json.dumps(line, ensure_ascii=False)


def study_line(study: StudyRun, done: int, total: int) -> tuple[str, str]:
    """One study in one line: position, name, what became of it, why to look at it; and the colour it is shown in."""
    from vertecast.report import urgency

    colour = ""
    if study.status != "analyzed":
        state, colour = f"{study.status}: {study.reason}", "red" if study.status == "failed" else ""
    elif study.timing_s:
        state = f"analysed in {sum(study.timing_s.values()):.0f} s"
    else:
        state = "already analysed"
    if study.report is not None:
        reason = urgency.reason_to_look(study)
        state += f": {reason}"
        colour = "red" if urgency.is_urgent(reason) else "yellow" if urgency.is_finding(reason) else ""
    return f"[{done}/{total}] {study.study_instance_uid}: {state}", colour


@contextmanager
def _bar() -> Iterator[Listener]:
    """A bar under the lines of the studies."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    console = Console(highlight=False, soft_wrap=True, markup=False)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("looking for studies", total=None, pace="")
        pace = Pace()

        def listener(study: StudyRun, done: int, total: int) -> None:
            pace.add(study, monotonic())
            told = pace.text(total - done, monotonic())
            bar.update(task, description="analysing", completed=done, total=total, pace=told)
            line, colour = study_line(study, done, total)
            console.print(line, style=colour or None)

        yield listener
