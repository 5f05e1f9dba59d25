"""Vertecast as a processing module of mercure: a folder of images in, a folder of DICOM results out.

mercure (https://mercure-imaging.org, "Module Development") starts a container for one series or study, names two
folders in ``MERCURE_IN_DIR`` and ``MERCURE_OUT_DIR``, and waits for it to end. In the first lie ``SERIES#FILE.dcm``,
their tags as JSON, and ``task.json``, whose ``process.settings`` hold what the operator set for the module; here they
are the groups of ``configs/default.yaml``. What is written as ``*.dcm`` to the second goes to the rule's targets,
``result.json`` to mercure's own page of the task. Exit status 0 is success, anything else a failed task.

Run as ``python -m vertecast.service.mercure``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from vertecast import __version__
from vertecast.core.config import Config, parse_options
from vertecast.core.errors import ConfigurationError, OutputError, VertecastError
from vertecast.io.discover import StudyFiles, UnreadablePath, find_studies
from vertecast.report import wording
from vertecast.report.summary import StudyRun
from vertecast.run.engine import Engine, shipped_engine
from vertecast.run.jobs import Job, run_patient

TASK_NAME: Final = "task.json"
RESULT_NAME: Final = "result.json"
FOLDERS: Final = ("MERCURE_IN_DIR", "MERCURE_OUT_DIR")


def process_folder(images: Path, out: Path, engine: Engine | None = None) -> dict[str, Any]:
    """Analyse the images of a task and write its results.

    Args:
        images: Folder of the task's images and ``task.json``.
        out: Folder for ``SERIES#INSTANCE.dcm`` and ``result.json``; must exist.
        engine: Makes the segmenters; None: those of the shipped bundles.

    Returns:
        The content of ``result.json``.

    Raises:
        ConfigurationError: ``task.json`` is missing, or its settings are wrong.
        BundleError: the weights are missing or altered.
        OutputError: a result cannot be written.
    """
    config = read_settings(images / TASK_NAME)
    engine = engine or shipped_engine(config.segmentation)
    studies: list[StudyFiles] = []
    unread: list[UnreadablePath] = []
    for item in find_studies([images]):
        if isinstance(item, UnreadablePath):
            unread.append(item)
        else:
            studies.append(item)
    with tempfile.TemporaryDirectory(prefix="vertecast-") as folder:
        jobs = [Job(study=study, out=Path(folder), config=config, engine=engine) for study in studies]
        runs = [run for job in jobs for run in run_patient([job])]
        sent = {run.study_instance_uid: _hand_over(run, Path(folder), out) for run in runs}
    result = _result(runs, sent, unread)
    _write(out / RESULT_NAME, result)
    return result


def read_settings(task: Path) -> Config:
    """The options of the analysis from a ``task.json``.

    Raises:
        ConfigurationError: it cannot be read, or its settings are no options of ours.
    """
    try:
        document = json.loads(task.read_text(encoding="utf-8"))
        process = document.get("process") or {}
        # A rule with several modules hands each its own step; one in a list is taken too.
        if isinstance(process, list) and len(process) == 1:
            process = process[0]
        settings = process.get("settings") or {}
    except OSError as error:
        raise ConfigurationError(f"{task}: cannot be read ({error.strerror}); mercure puts it there") from error
    except (ValueError, AttributeError) as error:
        raise ConfigurationError(f"{task}: holds no process with its settings") from error
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{task}: process.settings: write groups of options as in configs/default.yaml")
    config = parse_options(settings, Config, source=f"{task}: process.settings", known="configs/default.yaml")
    if config.output.deidentify or config.segmentation.label_map is not None:
        raise ConfigurationError(
            f"{task}: process.settings: output.deidentify and segmentation.label_map are not for results that go back "
            "to the patient's study; leave them out"
        )
    return config


def _hand_over(run: StudyRun, folder: Path, out: Path) -> int:
    """Copy the DICOM objects of a study to where mercure takes them, under names like those of its own files.

    Returns:
        How many there are.

    Raises:
        OutputError: one cannot be written.
    """
    from pydicom import dcmread

    names = [name for name in run.outputs if name.endswith(".dcm")]
    for name in names:
        header = dcmread(folder / name, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "SeriesInstanceUID"])
        target = out / f"{header.SeriesInstanceUID}#{header.SOPInstanceUID}.dcm"
        try:
            shutil.copyfile(folder / name, target)
        except OSError as error:
            raise OutputError(f"{target}: cannot be written ({error.strerror}); free some space") from error
    return len(names)


def _result(runs: Iterable[StudyRun], sent: Mapping[str, int], unread: Iterable[UnreadablePath]) -> dict[str, Any]:
    """What mercure shows of the task, and the text of notifications that its rules may send. It names no patient."""
    studies: list[dict[str, Any]] = [
        {
            "study_instance_uid": run.study_instance_uid,
            "status": run.status,
            "reason": run.reason,
            "dicom_objects": sent[run.study_instance_uid],
            "findings": [] if run.report is None else list(wording.first_sentences(run.report)),
        }
        for run in runs
    ]
    has_finding = any(run.report is not None and wording.headline(run.report) for run in runs)
    lines = [line for study in studies for line in (study["findings"] or [f"{study['status']}: {study['reason']}"])]
    return {
        "software": f"Vertecast {__version__}",
        "studies": studies,
        "unreadable": [{"file": item.path.name, "reason": item.reason} for item in unread],
        "__mercure_notification": {
            "text": " ".join(lines or ["nothing to analyse"]) + " Research use only.",
            "requested": has_finding,
        },
    }


def _write(path: Path, document: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); free some space") from error


def main(environment: Mapping[str, str] = os.environ, engine: Engine | None = None) -> int:
    """Work off one task.

    Returns:
        0 where every study was analysed or holds nothing that is measured, 1 where one failed or none could be read,
        2 where the folders, settings or weights are wrong.
    """
    if missing := [
        name for name in FOLDERS if not Path(environment.get(name, "")).is_dir() or not environment.get(name)
    ]:
        return _complain(f"{', '.join(missing)}: name existing folders in these variables, as mercure does")
    images, out = (Path(environment[name]) for name in FOLDERS)
    try:
        result = process_folder(images, out, engine)
    except VertecastError as error:
        return _complain(str(error))
    for study in result["studies"]:
        _say(f"{study['study_instance_uid']}: {study['status']} {study['reason']}".rstrip())
    for item in result["unreadable"]:
        _say(f"{item['file']}: {item['reason']}")
    statuses = {study["status"] for study in result["studies"]}
    return 1 if "failed" in statuses or not statuses else 0


def _complain(message: str) -> int:
    print(f"vertecast: {message}", file=sys.stderr)  # noqa: T201  mercure keeps what a module prints
    return 2


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
