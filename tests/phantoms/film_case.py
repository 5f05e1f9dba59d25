"""A study of films and a cine, measured as the workflow does, for the pages that show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from phantoms.cine import Cine
from phantoms.projection import Body, Film, thirds
from vertecast.core.results import SeriesResult, StudyReport
from vertecast.core.study_result import Film as MeasuredFilm
from vertecast.core.study_result import Filmstrip, StudyResult
from vertecast.measurement.cine.analysis import CineAnalyzer
from vertecast.measurement.projection.study import combine_views, measure_projection
from vertecast.study.filmstrip import FilmstripCollector

UID = "1.2.826.0.1.3680043.8.498.3"
TILTED = (Body(tilt_deg=4), Body(first=22, last=26, tilt_deg=-3), Body(tilt_deg=-6), Body(first=27, last=26))


def make_film_case() -> StudyResult:
    """A study of a lateral film, an AP film without mm, and a cine with a leak, measured as every study is."""
    lateral = Film(bodies=thirds(Body(first=17, middle=21, last=26)))
    ap = Film(bodies=TILTED, view="ap", has_spacing=False)
    cine = Cine()
    beside = np.add(ap.center_mm(1), (20, 0))
    images = [
        lateral.make(cement=[lateral.box(lateral.center_mm(1), (14, 12))]),
        ap.make(cement=[ap.box(ap.center_mm(1), (12, 9)), ap.box(beside, (12, 5))], touches=(3,)),
        cine.make(cine.frames),
    ]
    measured = [
        measure_projection(
            image, found, series_instance_uid=f"{UID}.{n}", lowest="L4",
            modality="fluoroscopy" if n == 3 else "radiograph",
        )
        for n, (image, found) in enumerate(images, start=1)
    ]  # fmt: skip
    analyzer, collector = (
        CineAnalyzer(cine.segment, series_instance_uid=f"{UID}.3", frame_rate=7.5),
        FilmstripCollector(),
    )
    for k in range(1, cine.frames + 1):
        frame = cine.make(k)[0]
        collector.push(frame, analyzer.push(frame), analyzer.marked_frames)
    course = analyzer.finish()
    report = StudyReport(
        study_instance_uid=UID,
        phase="intra",
        phase_source="operator",
        series=tuple(
            SeriesResult(series_instance_uid=f"{UID}.{n}", kind=kind, view=one.view, status="analyzed", reason="")  # type: ignore[arg-type]
            for n, (kind, one) in enumerate(zip(("radiograph", "radiograph", "cine"), measured, strict=True), start=1)
        ),
        vertebrae=tuple(v for one in measured for v in one.vertebrae),
        angles=tuple(a for one in measured for a in one.angles),
        cement=tuple(replace(c, id=f"C{n}") for n, c in enumerate((c for m in measured for c in m.cement), start=1)),
        leaks=tuple(leak for one in measured for leak in one.leaks),
        combined_leaks=combine_views([measured[0]], [measured[1]]),
        cine=course,
        limits=tuple(dict.fromkeys(limit for one in measured for limit in one.limits)),
        warnings=tuple(dict.fromkeys(text for one in measured for text in one.warnings)),
    )
    pairs = zip(images, measured, strict=True)
    films = tuple(
        MeasuredFilm(series_instance_uid=one.series_instance_uid, radiograph=image, labels=one.labels)
        for (image, _), one in pairs
    )
    strip = Filmstrip(cine=course, frames=collector.finish(course))
    return StudyResult(report=report, films=(*films[:-1], replace(films[-1], strip=strip)))
