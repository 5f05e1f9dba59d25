"""A run of `run.batch` in a process of its own, to be killed: real workers, and an analysis that only takes time.

``python batch_driver.py IN OUT [TIME_LIMIT_S]``. What a study does is told by its name: ``hang`` never ends, ``full``
finds no room for its report. Each beginning leaves a line with the process in ``IN/../begun/NAME``.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path

from vertecast.core.config import BatchOptions, Config
from vertecast.core.results import SeriesResult, StudyReport
from vertecast.core.study_result import StudyResult
from vertecast.io.discover import StudyFiles, refusal
from vertecast.report import outputs
from vertecast.report.html import printing
from vertecast.run import batch, jobs
from vertecast.run.engine import Engine
from vertecast.run.jobs import Step, StepOutcome, run_step
from vertecast.run.workers import ProcessPool

SECONDS = 0.5


def begin(study: StudyFiles, *_: object) -> StudyResult:
    """Stands for the analysis: notes that it was begun, and takes a while."""
    from fakes import Errand, run_errand

    name = study.study_instance_uid
    run_errand(Errand(name=name, log=Path(study.source).parent.with_name("begun"), seconds=0.0))
    time.sleep(3600 if name == "hang" else SECONDS)
    analyzed: SeriesResult = refusal(study.series[0], "")
    report = StudyReport(
        study_instance_uid=name,
        phase="unknown",
        phase_source="unknown",
        series=(SeriesResult(**{key: getattr(analyzed, key) for key in analyzed.__slots__} | {"status": "analyzed"}),),
    )
    return StudyResult(report=report)


def write(study: StudyResult, directory: Path, **_: object) -> tuple[str, ...]:
    """Stands for the outputs: the report alone, put in place as always."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if directory.name == "full":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        return outputs.write_study(StudyResult(report=study.report), directory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def light_step(step: Step) -> StepOutcome:
    """`run_step` without the work."""
    jobs.analyze_study, jobs.write_study = begin, write  # type: ignore[assignment]
    printing.can_print = lambda: False
    outputs._write_fhir = lambda *_: None
    return run_step(step)


def load_nothing(_options: object) -> None:
    """There is nothing to load."""


def main(inputs: Path, out: Path, time_limit_s: float | None) -> None:
    """Run, and print what became of each study."""
    config = Config(batch=BatchOptions(workers=2, time_limit_s=time_limit_s))
    batch.make_pool = lambda *_: ProcessPool(light_step, 2, time_limit_s=time_limit_s)
    engine = Engine(load=load_nothing, weights="none")  # type: ignore[arg-type]
    result = batch.run_batch([inputs], out, config, engine)
    sys.stdout.write(json.dumps({study.study_instance_uid: [study.status, study.reason] for study in result.studies}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else None)
