"""Many studies: found, resumed, analysed, summed up. One bad study never stops the others.

A study that was written before from the same files, options and weights is taken over from its folder, so that an
interrupted run goes on where it stopped. Studies of one patient are worked through one after the other, oldest first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from vertecast.core.config import Config
from vertecast.core.errors import ConfigurationError, OutputError
from vertecast.io.discover import Catalogue
from vertecast.report.outputs import write_run
from vertecast.report.summary import RunSummary, StudyRun
from vertecast.run.engine import Engine
from vertecast.run.jobs import Step, StepOutcome, run_step
from vertecast.run.memory import WORKER_BYTES
from vertecast.run.plan import Plan, RunOptions, plan_run
from vertecast.run.schedule import GB, run_patients
from vertecast.run.workers import InProcess, Pool, ProcessPool
from vertecast.segmentation.label_map.schemes import BUILT_IN

NAMES_A_FILE: Final[Any] = {"segmentation": {"label_map", "labels"}, "output": {"key"}}
"""Options that are left out of run.json where they name a file: its name may be a patient's."""

LOCK_NAME: Final = ".run.lock"

UNREAD_PATH: Final = "a path that could not be read"
"""In run.json of a de-identified run, where the name of a file may be a patient's."""

Listener: TypeAlias = Callable[[StudyRun, int, int], None]
"""Told of each study or unreadable path, how many are done, how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What became of a run. A path that could not be read stands among the studies, with no directory."""

    studies: tuple[StudyRun, ...]
    interrupted: bool

    def count(self, status: Literal["analyzed", "failed", "skipped"]) -> int:
        """How many studies and paths ended so."""
        return sum(study.status == status for study in self.studies)

    @property
    def found_work(self) -> bool:
        """True when there was at least one study that held something to analyse."""
        return any(study.directory and study.status != "skipped" for study in self.studies)


def run_batch(
    paths: Sequence[Path],
    out: Path,
    config: Config,
    engine: Engine,
    *,
    force: bool = False,
    compare: bool = False,
    listener: Listener = lambda _study, _done, _total: None,
) -> BatchResult:
    """Analyse every study under the given paths and write the run's summary.

    Ctrl-C ends the run early: what is done is kept and summed up, and the result says so.

    Args:
        paths: Folders, files, archives.
        out: Folder of the run; made if absent.
        config: All options.
        engine: Makes the segmenter in each process.
        force: Analyse again what an earlier run has written.
        compare: All studies are one patient's, given in their order; of several in one path the dates decide.
        listener: Told of the progress.

    Raises:
        ConfigurationError: a label map was given for more than one study, fewer than two are to be compared, or the key
            of a de-identified run cannot be read or made.
        OutputError: the folder cannot be made, another run is writing into it, the summary cannot be written, or there
            is no room for the list of files.
        BundleError: the weights cannot be loaded.
    """
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    if config.batch.scheduler is not None:
        # Workers on other machines do not share the working folder.
        paths, out = [path.absolute() for path in paths], out.absolute()
    done: list[StudyRun] = []
    interrupted = False
    with contextlib.closing(Catalogue()) as catalogue:
        options = RunOptions(out=out, config=config, engine=engine, force=force, compare=compare)
        plan = plan_run(catalogue, paths, options)
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{out}: cannot be made ({error.strerror}); choose another --out") from error
        with _alone(out):
            try:
                with contextlib.closing(_run(plan, config)) as studies:
                    for study in studies:
                        done.append(study)
                        listener(study, len(done), plan.total)
            except KeyboardInterrupt:
                interrupted = True
                done += plan.not_reached(done)
            done = plan.in_order(done)
            kept = map(_without_path, done) if config.output.deidentify else done
            # A study's day would be known if it was analysed on it.
            when = "" if config.output.deidentify else started
            write_run(out, RunSummary(studies=tuple(kept), started=when, config=_without_file_names(config)))
    return BatchResult(studies=tuple(done), interrupted=interrupted)


@contextlib.contextmanager
def _alone(out: Path) -> Generator[None, None, None]:
    """Keep other runs out of a folder. The lock ends with the process, however that ends.

    Raises:
        OutputError: another run holds it, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    path = out / LOCK_NAME
    lock = FileLock(path, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"{out}: another run is writing into it; wait for its end or choose another --out") from error
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _run(plan: Plan, config: Config) -> Generator[StudyRun, None, None]:
    """Work through a plan, what an earlier run has done first."""
    yield from plan.refused
    waiting = []
    for patient in plan.patients:
        if done := plan.written_before(patient):
            yield from done
        else:
            waiting.append(patient)
    pool = make_pool(config, plan.options.engine)
    yield from run_patients((plan.jobs(patient) for patient in waiting), pool, config.batch)


def make_pool(config: Config, engine: Engine) -> Pool[Step, StepOutcome]:
    """Where the studies are analysed. Nothing is started before there is one."""
    options = config.batch
    if options.scheduler is not None:
        return _cluster(config, engine)
    if options.workers == 1 and options.time_limit_s is None:
        return InProcess(run_step)
    if options.memory_gb is None:
        return ProcessPool(run_step, options.workers, time_limit_s=options.time_limit_s)
    workers = max(1, min(options.workers, int(options.memory_gb * GB) // WORKER_BYTES))
    return ProcessPool(run_step, workers, time_limit_s=options.time_limit_s, keep_below_bytes=WORKER_BYTES)


def _cluster(config: Config, engine: Engine) -> Pool[Step, StepOutcome]:
    """The workers of a dask cluster.

    Raises:
        ConfigurationError: dask is not installed, or no scheduler answers.
    """
    try:
        from vertecast.run.cluster import DaskPool, LoadModels
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "--scheduler needs dask; install it with: pip install 'vertecast[distributed]'"
        ) from error
    address = str(config.batch.scheduler)
    plugin = LoadModels(engine, config.segmentation)
    return DaskPool(run_step, address, plugin=plugin, time_limit_s=config.batch.time_limit_s)


def _without_path(study: StudyRun) -> StudyRun:
    """The record of a path that could not be read, without its name."""
    if study.directory:
        return study
    # What stands before the last colon is the name of a file in an archive.
    return replace(study, study_instance_uid=UNREAD_PATH, reason=study.reason.rpartition(": ")[2])


def _without_file_names(config: Config) -> dict[str, Any]:
    """The options as run.json keeps them."""
    options = config.model_dump(exclude=NAMES_A_FILE)
    if config.segmentation.labels in BUILT_IN:
        options["segmentation"]["labels"] = config.segmentation.labels
    return options
