"""The picture of a film shows what was measured on it, at the film's proportions."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from fakes import BlockFilmSegmenter, BlockSegmenter, write_film
from vertecast.core.config import Config
from vertecast.core.images import Radiograph
from vertecast.core.results import ImageReference
from vertecast.core.study_result import Film, StudyResult
from vertecast.io.discover import StudyFiles, find_studies
from vertecast.report.figures import drawing
from vertecast.report.figures.films import render_films
from vertecast.report.outputs import write_study
from vertecast.study import analyze_study


def test_bodies_are_outlined_where_they_lie_and_the_page_shows_them(tmp_path: Path) -> None:
    [study] = find_studies([write_film(tmp_path / "film.png")])
    assert isinstance(study, StudyFiles)
    result = analyze_study(study, Config(), BlockSegmenter(), BlockFilmSegmenter)
    [(name, picture)] = render_films(result.films, result.report).items()
    assert name == "film_1"
    assert "V1 to V3" in picture.alt
    shown = np.asarray(Image.open(BytesIO(picture.png)).convert("RGB")).astype(int)
    assert abs(shown.shape[0] / shown.shape[1] - 260 / 200) < 0.01
    blue = np.array([int(drawing.BODY[n : n + 2], 16) for n in (1, 3, 5)])
    rows, columns = np.nonzero(np.abs(shown - blue).sum(axis=2) < 60)
    scale = shown.shape[0] / 260
    assert abs(columns.min() / scale - 70) < 3
    assert abs(rows.min() / scale - 40) < 3
    assert abs(rows.max() / scale - 199) < 3
    written = write_study(StudyResult(report=result.report, films=result.films), tmp_path / "out")
    assert "images/film_1.png" in written
    assert "data:image/png" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_each_film_of_a_series_shows_its_own_bodies(tmp_path: Path) -> None:
    [study] = find_studies([write_film(tmp_path / "film.png")])
    assert isinstance(study, StudyFiles)
    result = analyze_study(study, Config(), BlockSegmenter(), BlockFilmSegmenter)
    first, second = (ImageReference(sop_instance_uid=f"1.2.{n}", frame_number=1) for n in (1, 2))
    (film,) = result.films
    lowest = replace(result.report.vertebrae[-1], image=second)
    others = tuple(replace(body, image=first) for body in result.report.vertebrae[:-1])
    report = replace(result.report, vertebrae=(*others, lowest))
    shown = render_films([replace(film, image=first), replace(film, image=second)], report)
    assert "V1 to V2" in shown["film_1"].alt
    assert "V3 to V3" in shown["film_2"].alt


def test_the_labels_of_a_film_are_written_with_its_series_and_frame(case, tmp_path: Path) -> None:
    film_labels = np.zeros((40, 30), dtype=np.uint8)
    film_labels[2:5, 3:9], film_labels[5:7, 3:9], film_labels[20:22, 1] = 200, 201, 210
    blank = Radiograph(
        intensity=np.ones((40, 30), np.float32), valid=np.ones((40, 30), dtype=bool), frame_number=7
    )  # fmt: skip
    films = [
        Film(series_instance_uid="1.2.8", radiograph=blank, labels=np.zeros_like(film_labels)),
        Film(series_instance_uid="1.2.9", radiograph=blank, labels=film_labels),
    ]
    folder = tmp_path / "out"
    assert {"labels_1.png", "labels_2.png"} <= set(write_study(StudyResult(report=case.report, films=films), folder))
    with Image.open(folder / "labels_2.png") as picture:
        assert (picture.mode, picture.text) == ("L", {"SeriesInstanceUID": "1.2.9", "FrameNumber": "7"})
        written = np.asarray(picture)
    np.testing.assert_array_equal(written, np.select([film_labels == n for n in (200, 201, 210)], [1, 2, 3]))
    write_study(StudyResult(report=case.report, films=films[:1]), folder)
    assert not (folder / "labels_2.png").exists()
