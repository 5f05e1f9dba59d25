"""What a run is to do: which studies there are, in which order, which belong together, and which cannot be analysed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

from vertecast.core.config import Config
from vertecast.core.errors import ConfigurationError
from vertecast.io.discover import Catalogue, Entry, StudyFiles, UnreadablePath
from vertecast.io.identity.pseudonyms import KEY_NAME, Pseudonyms, load_pseudonyms
from vertecast.report.summary import StudyRun
from vertecast.run.engine import Engine
from vertecast.run.jobs import Job, directory_of, written_before
from vertecast.study import is_label_map
from vertecast.study.deidentify import Deidentification

NAME_TAKEN: Final = "another study of this run has the same name; analyse it into a folder of its own"
NAMES_NOBODY: Final = (
    "its patient ID is empty or stands for anybody, as in other studies of this run; for studies of one patient use "
    "'vertecast compare'"
)
NO_DATE: Final = "it has no date, so that its place among the patient's studies is unknown; use 'vertecast compare'"
NOT_REACHED: Final = "not reached: the run was interrupted"

Patient: TypeAlias = tuple[Entry, ...]
"""The studies of one patient, oldest first; a study whose patient or date is unknown stands alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What is asked of a run.

    Attributes:
        out: Folder of the run.
        config: All options.
        engine: Makes the segmenters in each process.
        force: Analyse again what an earlier run has written.
        compare: All studies are one patient's, given in their order; of several in one path the dates decide.
    """

    out: Path
    config: Config
    engine: Engine
    force: bool = False
    compare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The studies of a run. The headers of a study are fetched when its turn comes, and not kept.

    Attributes:
        catalogue: Where they come from.
        options: What is asked of the run.
        pseudonyms: What takes the place of UIDs and dates; None: results belong to the patient.
        patients: What is to be analysed.
        refused: What cannot be: unreadable paths, and studies whose name is taken.
        not_compared: By UID, why a study stands alone although others of the run may be of the same patient.
    """

    catalogue: Catalogue
    options: RunOptions
    pseudonyms: Pseudonyms | None
    patients: tuple[Patient, ...]
    refused: tuple[StudyRun, ...]
    not_compared: Mapping[str, str]

    @property
    def total(self) -> int:
        """How many studies and paths there are."""
        return len(self.refused) + sum(map(len, self.patients))

    def jobs(self, patient: Patient) -> Iterator[Job | StudyRun]:
        """The studies of a patient, each with its files; what became of it where they cannot be had."""
        # Moved by the same number of days, all of them.
        key = patient[0].patient_key or patient[0].study_instance_uid
        names = self.pseudonyms
        identity = None if names is None else Deidentification(pseudonyms=names, patient=key)
        for entry in patient:
            study = self.catalogue.study(entry)
            if isinstance(study, StudyFiles):
                yield Job(
                    study=study,
                    out=self.options.out,
                    config=self.options.config,
                    engine=self.options.engine,
                    force=self.options.force,
                    by_hand=self.options.compare,
                    not_compared=self.not_compared.get(entry.study_instance_uid, ""),
                    deidentification=identity,
                )
            else:
                yield _unread(study)

    def written_before(self, patient: Patient) -> list[StudyRun]:
        """The studies of a patient as an earlier run has written them; none unless all are there."""
        jobs = list(self.jobs(patient))
        ready = [job for job in jobs if isinstance(job, Job)]
        return written_before(ready) if len(ready) == len(jobs) else []

    def not_reached(self, studies: Sequence[StudyRun]) -> list[StudyRun]:
        """A record of every study that is not among those that are done."""
        done = {study.directory for study in studies}
        return [_ended(name, "skipped", NOT_REACHED) for name in self._names() if directory_of(name) not in done]

    def in_order(self, studies: Sequence[StudyRun]) -> list[StudyRun]:
        """What became of the studies, in the order of the plan, whichever was done first; paths that could not be read
        come before them."""
        places = {directory_of(name): place for place, name in enumerate(self._names())}
        return sorted(studies, key=lambda study: places.get(study.directory, -1))

    def _names(self) -> Iterator[str]:
        """The UID of every study in what is written."""
        return (_name(entry, self.pseudonyms) for patient in self.patients for entry in patient)


def plan_run(catalogue: Catalogue, paths: Sequence[Path], options: RunOptions) -> Plan:
    """Search paths, and put the studies in order.

    Raises:
        ConfigurationError: a label map was given for more than one study, fewer than two are to be compared, or the key
            of a de-identified run cannot be read or made.
        OutputError: there is no room for the list of files.
    """
    refused = [_unread(problem) for problem in catalogue.search(paths)]
    entries = list(catalogue.entries())
    if options.config.segmentation.label_map is not None:
        entries = _study_of_label_map(catalogue, entries, options.config)
    if options.compare:
        entries.sort(key=lambda entry: (_place(entry, paths), entry.taken or datetime.min))
        if len(entries) < 2:
            unread = "".join(f"; {one.study_instance_uid}: {one.reason}" for one in refused)
            raise ConfigurationError(f"nothing to compare: give at least two studies, the earliest first{unread}")
    pseudonyms = _pseudonyms(options)
    kept = _of_different_names(entries, pseudonyms, refused)
    return Plan(
        catalogue=catalogue,
        options=options,
        pseudonyms=pseudonyms,
        patients=(tuple(kept),) if options.compare else _patients(kept),
        refused=tuple(refused),
        not_compared={} if options.compare else _told_why(kept),
    )


def _pseudonyms(options: RunOptions) -> Pseudonyms | None:
    output = options.config.output
    if not output.deidentify:
        return None
    return load_pseudonyms(options.out.absolute().parent / KEY_NAME if output.key is None else Path(output.key))


def _name(entry: Entry, pseudonyms: Pseudonyms | None) -> str:
    """The study's UID in everything that is written."""
    return entry.study_instance_uid if pseudonyms is None else pseudonyms.uid(entry.study_instance_uid)


def _ended(name: str, status: Literal["failed", "skipped"], reason: str) -> StudyRun:
    return StudyRun(study_instance_uid=name, directory=directory_of(name), status=status, reason=reason)


def _unread(problem: UnreadablePath) -> StudyRun:
    return StudyRun(study_instance_uid=str(problem.path), directory="", status="failed", reason=problem.reason)


def _of_different_names(
    entries: Sequence[Entry], pseudonyms: Pseudonyms | None, refused: list[StudyRun]
) -> list[Entry]:
    """The studies whose results have a folder of their own; the others are added to those refused."""
    kept: list[Entry] = []
    taken: set[str] = set()
    for entry in entries:
        name = _name(entry, pseudonyms)
        if directory_of(name) in taken:
            refused.append(_ended(name, "failed", NAME_TAKEN))
        else:
            kept.append(entry)
        taken.add(directory_of(name))
    return kept


def _study_of_label_map(catalogue: Catalogue, entries: Sequence[Entry], config: Config) -> list[Entry]:
    """The one study that a label map belongs to; the map itself where no other was given.

    Raises:
        ConfigurationError: there are several studies.
    """
    maps: list[Entry] = []
    others: list[Entry] = []
    for entry in entries:
        study = catalogue.study(entry) if entry.file is not None else None
        is_map = isinstance(study, StudyFiles) and is_label_map(study, config)
        (maps if is_map else others).append(entry)
    if len(others) > 1:
        raise ConfigurationError(f"a label map belongs to one study, and {len(others)} were found; give that one alone")
    return others or maps


def _place(entry: Entry, paths: Sequence[Path]) -> int:
    """Which of the given paths a study was found under."""
    source = Path(entry.source)
    return next((n for n, path in enumerate(paths) if path == source or path in source.parents), len(paths))


def _told_why(entries: Sequence[Entry]) -> dict[str, str]:
    """Why studies are not compared although they may share their patient with another, by UID."""
    shared = Counter(entry.patient_key for entry in entries)
    nobody = sum(entry.names_nobody for entry in entries)
    told = {}
    for entry in entries:
        if entry.names_nobody and nobody > 1:
            told[entry.study_instance_uid] = NAMES_NOBODY
        elif entry.taken is None and entry.patient_key and shared[entry.patient_key] > 1:
            told[entry.study_instance_uid] = NO_DATE
    return told


def _patients(entries: Sequence[Entry]) -> tuple[Patient, ...]:
    """Studies by patient, each patient's in the order in which they were taken."""
    together: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        alone = not entry.patient_key or entry.taken is None
        together[f"study {entry.study_instance_uid}" if alone else entry.patient_key].append(entry)
    return tuple(tuple(sorted(own, key=lambda entry: entry.taken or datetime.min)) for own in together.values())
