"""All files of a study and of a run; each appears complete or not at all."""

from __future__ import annotations

import glob
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from vertecast.core import report_json
from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL, METAL_LABEL
from vertecast.core.config import DicomOptions
from vertecast.core.errors import OutputError
from vertecast.core.images import MeasuredImage
from vertecast.core.patient import Patient
from vertecast.core.results import StudyReport
from vertecast.core.study_result import Film, StudyResult
from vertecast.report import labels, summary
from vertecast.report.figures import pictures
from vertecast.report.figures.films import render_films
from vertecast.report.figures.filmstrip import render_strips
from vertecast.report.figures.height_maps import render_height_maps
from vertecast.report.html import colour_tables, index, page, printing
from vertecast.report.html.viewer.film_scenes import render_film_scenes
from vertecast.report.html.viewer.grids import Sources
from vertecast.report.html.viewer.scenes import Scene, render_scenes

REPORT_NAME: Final = "report.json"
PAGE_NAME: Final = "report.html"
PDF_NAME: Final = "report.pdf"
FHIR_NAME: Final = "fhir.json"
SR_NAME: Final = "sr.dcm"
LABELS_NAME: Final = "labels_1.nii.gz"
FILM_LABELS_NAME: Final = "labels_{number}.png"
"""Labels of the n-th measured film, numbered like its picture ``film_<n>``."""
FILM_NUMBERS: Final = {CEMENT_INSIDE_LABEL: 1, CEMENT_LEAKED_LABEL: 2, METAL_LABEL: 3}
"""Numbers in the label pictures of films: cement inside a body's outline, cement outside, metal."""
IMAGES_FOLDER: Final = "images"
_AS_USUAL: Final = DicomOptions()
_OWN_PATTERNS: Final = (
    "report.*",
    "report_pdf.dcm",
    SR_NAME,
    "seg_*.dcm",
    "capture_*.dcm",
    FHIR_NAME,
    "labels_*.nii.gz",
    *colour_tables.TABLES,
    "labels_*.png",
    IMAGES_FOLDER,
)


def write_study(
    study: StudyResult, directory: Path, *, dicom: DicomOptions = _AS_USUAL, patient: Patient | None = None
) -> tuple[str, ...]:
    """Write the outputs of one study into a folder that is new, empty, or holds an earlier report.

    Everything is made in a hidden folder beside it, which then takes its place; files of others in an earlier report's
    folder are kept.

    Args:
        study: What was measured, and on what.
        directory: Folder of the study.
        dicom: What its DICOM objects look like.
        patient: Whom page and PDF name; None: nobody.

    Returns:
        Names of the files written, relative to ``directory``.

    Raises:
        OutputError: disk full, no permission, or the folder holds something else than a report.
        UnreadableError: a source image of ``study.dicom_images`` cannot be read again.
    """
    report = study.report
    if not printing.can_print():
        report = replace(report, warnings=(*report.warnings, printing.NO_PDF))
    content = report_json.to_document(report)
    report_json.validate(content)
    shown = _pictures(study, report)
    scenes = _scenes(study, report)
    with _as_output_error(directory), _replacing(directory) as fresh:
        if shown:
            (fresh / IMAGES_FOLDER).mkdir()
        for name, picture in shown.items():
            (fresh / IMAGES_FOLDER / f"{name}.png").write_bytes(picture.png)
        if study.labels is not None:
            labels.write_nifti(study.labels, fresh / LABELS_NAME)
            colour_tables.write_colour_tables(study.labels, report, fresh)
        for number, film in enumerate(study.films, start=1):
            _write_film_labels(film, fresh / FILM_LABELS_NAME.format(number=number))
        (fresh / PAGE_NAME).write_text(page.write_page(report, shown, scenes, patient), encoding="utf-8")
        (fresh / REPORT_NAME).write_text(_json_text(content), encoding="utf-8")
        _write_fhir(report, fresh / FHIR_NAME)
        printed = printing.print_report(report, shown, patient) if printing.can_print() else None
        if printed is not None:
            (fresh / PDF_NAME).write_bytes(printed.pdf)
        if study.dicom_images:
            _write_objects((fresh, directory), report, study.dicom_images, shown, printed, dicom)
        return tuple(sorted(path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file()))


def _pictures(study: StudyResult, report: StudyReport) -> dict[str, pictures.Picture]:
    """Every picture of the study, by name."""
    shown: dict[str, pictures.Picture] = {}
    if study.labels is not None:
        shown.update(pictures.render_pictures(study.volume, study.labels, report, canal=study.canal))
    shown.update(render_height_maps(study.height_maps))
    shown.update(render_films(study.films, report))
    shown.update(render_strips(study.strips, report.cines))
    return shown


def _scenes(study: StudyResult, report: StudyReport) -> tuple[Scene, ...]:
    """What the page lets its reader scroll through."""
    found: tuple[Scene, ...] = ()
    if study.labels is not None:
        vertebrae = pictures.shown_vertebrae(report)
        sources = Sources(volume=study.volume, labels=study.labels, canal=study.canal, vertebrae=vertebrae)
        found = render_scenes(sources, report)
    return (*found, *render_film_scenes(study.films, report))


def _write_objects(
    folders: tuple[Path, Path],
    report: StudyReport,
    images: Sequence[MeasuredImage],
    shown: pictures.Pictures,
    printed: printing.PrintedReport | None,
    options: DicomOptions,
) -> None:
    """Write the DICOM objects into the first folder; the second may hold those of an earlier run."""
    # highdicom takes a second to load, and only writing needs it.
    from vertecast.report.dicom.objects import build_objects
    from vertecast.report.dicom.read_sr import read_header

    folder, earlier = folders
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote the patient's name where it has an unusual form
        previous = read_header(earlier / SR_NAME)
        for name, item in build_objects(report, images, shown, printed, options, previous):
            item.save_as(folder / name, enforce_file_format=True)


def _write_fhir(report: StudyReport, path: Path) -> None:
    # As above: the table of content items that it shares with the structured report loads highdicom.
    from vertecast.report.fhir.bundle import study_bundle

    path.write_text(json.dumps(study_bundle(report), ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _write_film_labels(film: Film, path: Path) -> None:
    """Write the labels of a film (rows, columns) as 8-bit grey PNG; its text chunks say of which series and frame."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    series_instance_uid, radiograph, film_labels = film.series_instance_uid, film.radiograph, film.labels
    numbers = np.zeros(256, dtype=np.uint8)
    for label, number in FILM_NUMBERS.items():
        numbers[label] = number
    source = PngInfo()
    source.add_text("SeriesInstanceUID", series_instance_uid)
    source.add_text("FrameNumber", str(radiograph.frame_number))
    Image.fromarray(numbers[film_labels]).save(path, pnginfo=source)


def remove_half_written(directory: Path) -> None:
    """Remove what a process that was killed had begun to write beside a study's folder.

    Where it was killed between the two renames of `_replacing` the earlier report comes back, or gives the new one the
    files of others that it held.
    """
    name = glob.escape(directory.name)
    for path in directory.parent.glob(f".{name}.*.partial"):
        shutil.rmtree(path, ignore_errors=True)
    for path in directory.parent.glob(f".{name}.*.old"):
        with suppress(OSError):
            if not directory.exists():
                os.rename(path, directory)
                continue
            _keep_foreign(path, directory)
            shutil.rmtree(path)


def write_run(directory: Path, run: summary.RunSummary) -> None:
    """Write ``run.json``, ``summary.csv`` and ``index.html``; each replaces its earlier self in one step.

    Raises:
        OutputError: disk full or no permission.
    """
    texts = {
        "summary.csv": summary.summary_csv(run),
        "index.html": index.write_index(run),
        "run.json": _json_text(summary.run_document(run)),
    }
    with _as_output_error(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            _replace_file(directory / name, text)


def _json_text(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _replace_file(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        fresh.write_text(text, encoding="utf-8")
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def _as_output_error(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise OutputError(
            f"cannot write to {directory}: {cause}; free some space or choose a writable folder with --out"
        ) from error


@contextmanager
def _replacing(directory: Path) -> Iterator[Path]:
    """A new folder beside ``directory`` that takes its place at the end, or vanishes when something fails."""
    _refuse_foreign(directory)
    tag = uuid.uuid4().hex[:8]
    fresh = directory.with_name(f".{directory.name}.{tag}.partial")
    old = directory.with_name(f".{directory.name}.{tag}.old")
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if directory.exists():
            os.rename(directory, old)
            try:
                os.rename(fresh, directory)
            except OSError:
                os.rename(old, directory)
                raise
            _keep_foreign(old, directory)
            shutil.rmtree(old)
        else:
            os.rename(fresh, directory)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _refuse_foreign(directory: Path) -> None:
    """Never replace a folder that is not ours, such as the input itself."""
    if not directory.exists():
        return
    if not directory.is_dir() or (any(directory.iterdir()) and not (directory / REPORT_NAME).is_file()):
        raise OutputError(
            f"{directory} exists and holds no report of Vertecast; move it or choose another folder with --out"
        )


def _keep_foreign(old: Path, new: Path) -> None:
    for entry in old.iterdir():
        if not any(entry.match(pattern) for pattern in _OWN_PATTERNS):
            os.rename(entry, new / entry.name)
