"""Vertecast from Python: ``import vertecast; found = vertecast.analyze("study/")``.

Everything happens in the calling process, and no file is written unless asked for. What is exported here keeps its name
and its meaning from version to version.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from vertecast.core.config import Config, load_config
from vertecast.core.errors import ConfigurationError, InputError, UnreadableError
from vertecast.core.images import Mask, Volume
from vertecast.core.report_json import from_document
from vertecast.core.results import NotMeasured, StudyReport
from vertecast.core.study_result import StudyResult
from vertecast.io.discover import StudyFiles, find_studies
from vertecast.report.outputs import REPORT_NAME, write_study
from vertecast.report.summary import vertebra_csv
from vertecast.run.engine import shipped_engine
from vertecast.study import ProjectionSegmenter, Segmenter, analyze_study
from vertecast.study.change import EarlierStudy, with_changes

if TYPE_CHECKING:
    import pandas

Source: TypeAlias = str | PathLike[str]
Options: TypeAlias = Config | Mapping[str, Mapping[str, Any]] | Source | None
"""A configuration, its sections as a mapping, the path of a YAML file, or None for the defaults."""

Progress: TypeAlias = Callable[[str], None]
"""Told what is being done, in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """A study that was analysed.

    Attributes:
        report: What was measured, as in ``report.json``; what could not be measured is a `NotMeasured` with its reason.
        day: Number of the day on which it was taken (`datetime.date.toordinal`); None where the files do not say.
    """

    report: StudyReport
    day: int | None
    _result: StudyResult
    _config: Config

    @property
    def volume(self) -> Volume | None:
        """The CT; None without one."""
        return self._result.volume

    @property
    def labels(self) -> Mask | None:
        """Its label map, numbers as in ``labels_1.nii.gz``; None without a CT."""
        return self._result.labels

    def to_frame(self) -> pandas.DataFrame:
        """A row for every vertebra, with the columns of ``summary.csv``; what was not measured is missing.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return to_frame(self.report)

    def write(self, out: Source) -> tuple[str, ...]:
        """Write what ``vertecast analyze`` writes of a study into a folder; returns the names of the files.

        Raises:
            OutputError: the folder holds something else than a report, or cannot be written.
        """
        return write_study(self._result, Path(out), dicom=self._config.dicom)


def analyze(
    path: Source | Sequence[Source],
    *,
    out: Source | None = None,
    config: Options = None,
    progress: Progress | None = None,
) -> Analysis:
    """Analyse one study.

    Args:
        path: A folder, a file or several of them; together they hold one study.
        out: Folder that its page, report, label map and DICOM objects are written into; None: nothing is written.
        config: See `Options`; keys as in ``configs/default.yaml``.
        progress: Told of every step.

    Raises:
        InputError: there is no study, more than one (`analyze_all` takes them), or none that can be measured; the text
            names the cause and the remedy.
        BundleError: the weights are missing or altered.
        ConfigurationError: an option is unknown or wrong.
        OutputError: ``out`` cannot be written.
    """
    paths = [path] if isinstance(path, str | PathLike) else list(path)
    chosen = _config(config)
    studies, unreadable = _found(paths)
    if len(studies) != 1:
        listed = ", ".join(str(one) for one in paths)
        if studies:
            raise InputError(f"{listed}: holds {len(studies)} studies; use vertecast.analyze_all")
        raise InputError(
            f"{listed}: holds no study{''.join(f'; {reason}' for reason in unreadable[:3])}; give another path"
        )
    found = _analyzed(studies[0], chosen, _loaded(chosen), progress or _silent)
    if out is not None:
        (progress or _silent)("writing")
        found.write(out)
    return found


def analyze_all(
    paths: Iterable[Source], *, config: Options = None, progress: Progress | None = None
) -> Iterator[Analysis | Failure]:
    """Analyse every study under some paths, one after the other; one that cannot be measured never stops the others.

    Args:
        paths: Folders, files, archives.
        config: See `Options`.
        progress: Told of every step.

    Raises:
        BundleError: the weights are missing or altered.
        ConfigurationError: an option is unknown or wrong.
    """
    chosen = _config(config)
    load = _loaded(chosen)
    for item in find_studies([Path(one) for one in paths]):
        if not isinstance(item, StudyFiles):
            yield Failure(source=str(item.path), reason=item.reason)
            continue
        try:
            yield _analyzed(item, chosen, load, progress or _silent)
        except InputError as error:
            yield Failure(source=item.study_instance_uid, reason=str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A study or a path of which nothing was measured.

    Attributes:
        source: UID of the study, or the path.
        reason: Cause and remedy.
    """

    source: str
    reason: str


def compare(earlier: Analysis, later: Analysis) -> Analysis:
    """The later study with what has changed since the earlier one of the same patient in ``report.change``.

    Whether both are of one patient is the caller's word. ``report.change`` stays None where they share nothing.
    """
    labels = earlier.labels if earlier.labels is not None else NotMeasured(reason="the earlier study has no label map")
    before = EarlierStudy(report=earlier.report, day=earlier.day, labels=lambda: labels)
    result = with_changes(later._result, later.day, [before])
    return replace(later, report=result.report, _result=result)


def read_report(path: Source) -> StudyReport:
    """Read a report back: the folder of a study, its ``report.json``, or its structured report ``sr.dcm``.

    Raises:
        UnreadableError: it cannot be read.
        UnsupportedError: it is no report of this version.
    """
    file = Path(path)
    file = file / REPORT_NAME if file.is_dir() else file
    if file.suffix == ".dcm":
        from vertecast.report.dicom.read_sr import read_document

        return from_document(read_document(file))
    try:
        return from_document(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UnreadableError(f"{file}: cannot be read ({type(error).__name__}); give a folder of results") from error


def load_bundle(config: Options = None) -> Segmenter:
    """The network for CT, loaded and verified: ``load_bundle().segment(volume)`` gives masks and probabilities.

    Raises:
        BundleError: the weights are missing or altered.
    """
    chosen = _config(config)
    return shipped_engine(chosen.segmentation).load(chosen.segmentation)


def to_frame(*reports: StudyReport) -> pandas.DataFrame:
    """A row for every vertebra of some reports, with the columns of ``summary.csv``.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    import pandas

    return pandas.read_csv(io.StringIO(vertebra_csv(reports)))


def _silent(_text: str) -> None:
    """Tell nobody."""


def _config(options: Options) -> Config:
    if isinstance(options, Config):
        chosen = options
    elif isinstance(options, Mapping):
        chosen = Config().with_overrides(options)
    else:
        chosen = load_config(None if options is None else Path(options))
    if chosen.output.deidentify or chosen.output.identify:
        raise ConfigurationError("output.deidentify and output.identify are for the command; use: vertecast analyze")
    return chosen


def _found(paths: Sequence[Source]) -> tuple[list[StudyFiles], list[str]]:
    items = list(find_studies([Path(one) for one in paths]))
    studies = [item for item in items if isinstance(item, StudyFiles)]
    return studies, [f"{item.path.name} {item.reason}" for item in items if not isinstance(item, StudyFiles)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Networks:
    """Both networks, each loaded when it is first asked for."""

    ct: Callable[[], Segmenter]
    projection: Callable[[], ProjectionSegmenter] | None


def _loaded(config: Config) -> _Networks:
    engine = shipped_engine(config.segmentation)
    options, projection = config.segmentation, engine.load_projection
    return _Networks(
        ct=functools.cache(lambda: engine.load(options)),
        projection=None if projection is None else functools.cache(lambda: projection(options)),
    )


def _analyzed(study: StudyFiles, config: Config, networks: _Networks, progress: Progress) -> Analysis:
    """Raises `InputError` where nothing could be measured."""
    progress(f"analysing {study.study_instance_uid}")
    result = analyze_study(study, config, networks.ct(), networks.projection)
    if result.status != "analyzed":
        raise InputError(f"{study.study_instance_uid}: {result.reason}")
    day = None if study.taken is None else study.taken.toordinal()
    return Analysis(report=result.report, day=day, _result=result, _config=config)
