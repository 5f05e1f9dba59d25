"""The picture of a film shows what was measured on it, at the film's proportions."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from fakes import BlockFilmSegmenter, BlockSegmenter, write_film
from vertecast.config import Config
from vertecast.dicom.discover import StudyFiles, find_studies
from vertecast.reports import drawing
from vertecast.reports.films import render_films
from vertecast.reports.outputs import write_study
from vertecast.workflow import analyze_study


def test_bodies_are_outlined_where_they_lie_and_the_page_shows_them(tmp_path: Path) -> None:
    [study] = find_studies([write_film(tmp_path / "film.png")])
    assert isinstance(study, StudyFiles)
    result = analyze_study(study, Config(), BlockSegmenter(), BlockFilmSegmenter)
    films = [(film.series_instance_uid, film.radiograph, film.labels) for film in result.films]
    [(name, picture)] = render_films(films, result.report).items()
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
    written = write_study(result.report, None, None, tmp_path / "out", films=films)
    assert "images/film_1.png" in written
    assert "data:image/png" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
