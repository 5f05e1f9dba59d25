"""What ``scripts/evaluate.py --real`` does: the shipped models on real images, where they are at hand."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from vertecast.core.errors import VertecastError

if TYPE_CHECKING:
    from vertecast.core.config import SegmentationOptions
    from vertecast.core.images import Mask, ProjectionSegmentation, Radiograph
    from vertecast.core.results import VertebraFinding
    from vertecast.core.study_result import StudyResult
    from vertecast.lab.evaluation.projections.films import FilmFolder, FilmScore
    from vertecast.lab.evaluation.real.images import RealImage, RealScore
    from vertecast.lab.evaluation.real.variants import Variant
    from vertecast.study import ProjectionSegmenter, Segmenter

EXIT_NOTHING: Final = 3


def score_real_folder(data: Path, out: Path, options: SegmentationOptions) -> int:
    """Compare with real CT images, masks and films, print and draw; returns the exit status."""
    status = score_real_images(data, out, options)
    films = score_films(data, out, options)
    return 0 if status == EXIT_NOTHING and films else status


def score_real_images(data: Path, out: Path, options: SegmentationOptions) -> int:
    """Compare with real CT images, print and draw; returns the exit status."""
    from vertecast.lab.evaluation.real.images import IMAGES
    from vertecast.lab.evaluation.real.report import document, table_lines, text_lines
    from vertecast.run.engine import shipped_engine

    present = [image for image in IMAGES if (data / image.path).exists()]
    if not present:
        print(f"{data}: holds none of the real images; give their folder with --real", file=sys.stderr)
        return EXIT_NOTHING
    segmenter = shipped_engine(options).load(options)
    scores = []
    for image in present:
        score = score_image(image, data, out, segmenter)
        if score is not None:
            scores.append(score)
            print("\n".join(text_lines(score)), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    scored = {"images": document(scores), "masks": score_masks(data)}
    (out / "real.json").write_text(json.dumps(scored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n" + "\n".join(table_lines(present, scores)) + "\n")
    print(f"Scores and pictures: {out.resolve()}")
    return 0 if len(scores) == len(IMAGES) else 1


def score_image(image: RealImage, data: Path, out: Path, segmenter: Segmenter) -> RealScore | None:
    """Analyse, score and draw one real image; None, with a line why, where it cannot be analysed."""
    from vertecast.lab.evaluation.datasets.schemes import numbers_of_scheme
    from vertecast.lab.evaluation.real.images import read_whole_truth
    from vertecast.segmentation.label_map.schemes import label_scheme

    file = data / image.path
    whole = read_whole_truth(image, data, numbers_of_scheme(label_scheme(image.whole_scheme)))
    if image.variant is None or whole is None:
        return score_file(image, data, out, segmenter, Input(file=file, whole=whole))
    with TemporaryDirectory() as folder:
        return score_file(image, data, out, segmenter, write_variant(image.variant, file, whole, Path(folder)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What is analysed, and its whole vertebrae if they are known."""

    file: Path
    whole: Mask | None


def write_variant(variant: Variant, file: Path, whole: Mask, folder: Path) -> Input:
    """Write a variant of an image as NIfTI, since the analysis reads files.

    Raises:
        UnreadableError: The image is no volume, or the variant cannot be made of it.
    """
    import nibabel
    import numpy as np

    from vertecast.core import geometry
    from vertecast.core.errors import UnreadableError
    from vertecast.lab.evaluation.datasets.files import read_image
    from vertecast.lab.evaluation.real.variants import derive

    volume = read_image(file)
    if volume is None:
        raise UnreadableError(f"{file}: is no volume; fetch it again")
    made = derive(variant, volume, whole)
    ras_from_index = geometry.LPS_FROM_RAS @ made.volume.lps_from_index
    written = folder / "ct.nii.gz"
    nibabel.nifti1.Nifti1Image(np.asarray(made.volume.hu, dtype=np.int16), ras_from_index).to_filename(written)
    return Input(file=written, whole=made.whole)


def score_file(image: RealImage, data: Path, out: Path, segmenter: Segmenter, given: Input) -> RealScore | None:
    """Analyse, score and draw what stands for one real image."""
    from vertecast.core.config import Config
    from vertecast.io.discover import StudyFiles, find_studies
    from vertecast.lab.evaluation.pages.figures import write_overlay
    from vertecast.lab.evaluation.real.images import claims_of, read_real_truth, score_real
    from vertecast.segmentation.label_map.bodies import LabelMapSegmenter
    from vertecast.segmentation.label_map.schemes import label_scheme
    from vertecast.study import analyze_study

    studies = [study for study in find_studies([given.file]) if isinstance(study, StudyFiles)]
    result = analyze_study(studies[0], Config(), segmenter) if studies else None
    if result is None or result.volume is None or result.labels is None:
        print(f"{image.name}: not analysed: {result.reason if result else 'no study found'}", file=sys.stderr)
        return None
    report = result.report
    truth = read_real_truth(image, data)
    drawn = given.whole if truth is None else truth
    write_overlay(out / f"{image.name}.png", result.volume, result.labels, truth=drawn, title=image.name)
    on_truth: tuple[VertebraFinding, ...] = ()
    if truth is not None:
        outlines = LabelMapSegmenter(truth, label_scheme("vertecast"), sha256="")
        on_truth = analyze_study(studies[0], Config(), outlines).report.vertebrae
    claims = claims_of(report)
    return score_real(image, claims, result.labels, truth, report.vertebrae, on_truth, whole=given.whole)


def score_masks(data: Path) -> dict[str, dict[str, Any]]:
    """Measure expert masks that come without their images and print how the grades compare."""
    from vertecast.core.config import Config
    from vertecast.io.discover import StudyFiles, find_studies
    from vertecast.io.volumes import read_label_map
    from vertecast.lab.evaluation.maps.grades import MASKS, grade_pairs, read_grades, summary, text_lines
    from vertecast.segmentation.label_map.bodies import LabelMapSegmenter
    from vertecast.segmentation.label_map.schemes import label_scheme
    from vertecast.study.label_map import analyze_label_map

    scored = {}
    for mask in MASKS:
        file = data / mask.labels
        study = (
            next((one for one in find_studies([file]) if isinstance(one, StudyFiles)), None) if file.exists() else None
        )
        if study is None:
            continue
        scheme = label_scheme(mask.scheme)
        try:
            segmenter = LabelMapSegmenter(read_label_map(file), scheme, sha256="")
            expert = read_grades(data / mask.grades, scheme.levels)
        except VertecastError as error:
            print(f"{mask.name}: not scored: {error}", file=sys.stderr)
            continue
        found = analyze_label_map(study, Config(), segmenter).report.vertebrae
        grades = grade_pairs(expert, found)
        print("\n".join(text_lines(mask.name, grades)), flush=True)
        scored[mask.name] = summary(grades)
    return scored


@dataclass(slots=True)
class Recorder:
    """A segmenter that remembers what it said last."""

    segmenter: ProjectionSegmenter
    last: ProjectionSegmentation | None = None

    def segment(self, radiograph: Radiograph, *, depth_px: float | None = None) -> ProjectionSegmentation:
        """Ask the other one."""
        self.last = self.segmenter.segment(radiograph, depth_px=depth_px)
        return self.last


def score_films(data: Path, out: Path, options: SegmentationOptions) -> int:
    """Score real films without cement, print and draw; returns the number of films scored."""
    from vertecast.lab.evaluation.projections.films import FOLDERS, film_lines, films_in, summary, untreated_lines
    from vertecast.run.engine import shipped_engine

    load = shipped_engine(options).load_projection
    present = {folder: films for folder in FOLDERS if (films := films_in(data / folder.path))}
    if load is None or not present:
        return 0
    segmenter = load(options)
    by_folder = {
        folder: [score_one(folder, film, segmenter, out) for film in films] for folder, films in present.items()
    }
    scored = {folder: [score for score in scores if score is not None] for folder, scores in by_folder.items()}
    for folder, scores in scored.items():
        print("\n".join(film_lines(folder, scores)))
    together = [score for scores in scored.values() for score in scores]
    print("\n".join(untreated_lines(together)), flush=True)
    totals = {folder.name: summary(folder, scores) for folder, scores in scored.items()}
    (out / "films.json").write_text(json.dumps(totals, indent=1) + "\n", encoding="utf-8")
    return len(together)


def score_one(folder: FilmFolder, film: Path, segmenter: ProjectionSegmenter, out: Path) -> FilmScore | None:
    """Analyse, draw and score one film; None, with a line why, where it cannot be analysed."""
    from vertecast.lab.evaluation.projections.films import read_corners, score_film

    recorder = Recorder(segmenter)
    result = analyze_film(film, recorder, out / f"{folder.name}_{film.stem}.png")
    found = recorder.last
    if result is None or found is None:
        print(f"{folder.name} {film.stem}: not analysed", file=sys.stderr)
        return None
    corners = read_corners(film.with_suffix(".json")) if folder.has_corners else None
    claims = (len(result.report.cement), len(result.report.leaks))
    return score_film(film.stem, found.view, found.points_px, corners, claims)


def analyze_film(film: Path, segmenter: ProjectionSegmenter, picture: Path) -> StudyResult | None:
    """Analyse one film and draw what was found on it."""
    from vertecast.core.config import Config
    from vertecast.io.discover import StudyFiles, find_studies
    from vertecast.report.figures.films import render_films
    from vertecast.study.projection import analyze_projections

    picture.parent.mkdir(parents=True, exist_ok=True)
    result = None
    for study in find_studies([film]):
        if isinstance(study, StudyFiles):
            result = analyze_projections(study, Config(), lambda: segmenter)
            for one in render_films(result.films, result.report).values():
                picture.write_bytes(one.png)
    return result
