"""The radiographs and cines of a study: read, segment, measure, and put AP and lateral side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from vertecast.core.config import Config
from vertecast.core.errors import InputError
from vertecast.core.images import Fluoroscopy, ProjectionSegmentation, Radiograph
from vertecast.core.results import (
    CementFinding,
    CineFinding,
    ImageReference,
    LeakFinding,
    ModelUsed,
    NotMeasured,
    SeriesResult,
    StudyReport,
)
from vertecast.core.study_result import Film, Filmstrip, StudyResult
from vertecast.io.discover import SeriesFiles, StudyFiles, refusal
from vertecast.io.projection.images import ProjectionImage, choose_projection_series, projection_files, read_projection
from vertecast.io.source_images import projection_source
from vertecast.measurement.cine.analysis import CineAnalyzer
from vertecast.measurement.projection.study import NO_SPINE, ProjectionMeasurement, combine_views, measure_projection
from vertecast.measurement.shared.deformity_index import deformity_indices
from vertecast.study.assemble import numbered_after, phase_of
from vertecast.study.filmstrip import FilmstripCollector
from vertecast.study.segmenters import ProjectionSegmenter

SAMPLED_SHARES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Places in a cine that are looked at for the frame that shows most."""

NEARLY_SHARE: Final = 0.85
"""Share of the best frame's confidence that is as good as it."""

NO_MODEL: Final = "radiographs and fluoroscopy need the model bundle xray_spine, which this installation does not have"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Measured:
    """One image: what was measured, the picture it was measured on, and what found it."""

    measurement: ProjectionMeasurement
    film: Film
    segmentation: ProjectionSegmentation
    warnings: tuple[str, ...]

    @property
    def cine(self) -> CineFinding | None:
        """The course of a cine."""
        return None if self.film.strip is None else self.film.strip.cine


def analyze_projections(
    study: StudyFiles, config: Config, segmenter: Callable[[], ProjectionSegmenter] | None
) -> StudyResult:
    """Measure every projection of a study.

    Args:
        study: Files of one study, its projection series alone.
        config: Phase and lowest level, if the operator gave them.
        segmenter: Makes what finds the vertebrae; None where there is no bundle for it.
    """
    chosen, others = choose_projection_series(study)
    records = list(others)
    measured: list[_Measured] = []
    finder = segmenter() if chosen and segmenter is not None else None
    for series in chosen:
        if finder is None:
            records.append(refusal(series, NO_MODEL))
            continue
        found, reasons = _analyze_series(series, config, finder)
        measured += found
        records.append(_record(series, found, reasons))
    return _result(study.study_instance_uid, tuple(records), measured, config)


def _analyze_series(
    series: SeriesFiles, config: Config, segmenter: ProjectionSegmenter
) -> tuple[list[_Measured], list[str]]:
    """Measure every file of a series; the reasons of those that could not be."""
    measured: list[_Measured] = []
    reasons: list[str] = []
    try:
        files = projection_files(series)
    except InputError as error:
        return [], [str(error)]
    for file in files:
        try:
            image = read_projection(file, spacing_mm=config.analysis.spacing_mm)
            one = _analyze(image, config, segmenter)
        except InputError as error:
            reasons.append(str(error))
            continue
        if one.measurement.view is None:
            reasons.append(NO_SPINE)
        else:
            source = projection_source(file, one.film.radiograph.frame_number)
            measured.append(replace(one, film=replace(one.film, source=source)))
    return measured, reasons


def _analyze(image: ProjectionImage, config: Config, segmenter: ProjectionSegmenter) -> _Measured:
    """Measure one image; of a cine the frame that shows most, and its course if it shows a spine."""
    if isinstance(image.image, Fluoroscopy):
        radiograph, segmentation = _clearest_frame(image.image, segmenter)
    else:
        radiograph, segmentation = image.image, segmenter.segment(image.image)
    measurement = measure_projection(
        radiograph,
        segmentation,
        series_instance_uid=image.series_instance_uid,
        lowest=config.analysis.lowest,
        highest=config.analysis.highest,
        modality="fluoroscopy" if image.modality in ("XA", "RF") else "radiograph",
    )
    strip = None
    if isinstance(image.image, Fluoroscopy) and measurement.view is not None:
        strip, leaks = _follow(image.image, image.series_instance_uid, config, segmenter)
        measurement = replace(measurement, leaks=_with_cement(leaks, measurement) or measurement.leaks)
    reference = _reference(image, radiograph.frame_number)
    if reference is not None:
        measurement = _with_image(measurement, reference)
    film = Film(
        series_instance_uid=image.series_instance_uid,
        radiograph=radiograph,
        labels=measurement.labels,
        image=reference,
        strip=strip,
        pieces=measurement.pieces,
    )
    return _Measured(measurement=measurement, film=film, segmentation=segmentation, warnings=image.warnings)


def _reference(image: ProjectionImage, frame_number: int) -> ImageReference | None:
    """The image that was measured; None for a picture file, which has no UID to name."""
    if not image.sop_instance_uid:
        return None
    return ImageReference(sop_instance_uid=image.sop_instance_uid, frame_number=image.file_frames[frame_number - 1])


def _with_image(measurement: ProjectionMeasurement, reference: ImageReference) -> ProjectionMeasurement:
    """What was found in pixels says in which image: a series may hold several."""
    uid = reference.sop_instance_uid
    return replace(
        measurement,
        vertebrae=tuple(replace(finding, image=reference) for finding in measurement.vertebrae),
        cement=tuple(replace(finding, image=reference) for finding in measurement.cement),
        hardware=tuple(replace(finding, image=reference) for finding in measurement.hardware),
        leaks=tuple(
            replace(finding, evidence=replace(finding.evidence, sop_instance_uid=uid)) for finding in measurement.leaks
        ),
    )


def _clearest_frame(cine: Fluoroscopy, segmenter: ProjectionSegmenter) -> tuple[Radiograph, ProjectionSegmentation]:
    """Of a few frames the latest in which nearly as much of the spine is sure as in the best: cement comes late."""
    numbers = sorted({round(share * (cine.frame_count - 1)) + 1 for share in SAMPLED_SHARES})
    frames = [cine.read(number) for number in numbers]
    found = [segmenter.segment(frame) for frame in frames]
    sure = [sum(one.confidence) for one in found]
    best = max(n for n, value in enumerate(sure) if value >= NEARLY_SHARE * max(sure))
    return frames[best], found[best]


def _follow(
    cine: Fluoroscopy, series_instance_uid: str, config: Config, segmenter: ProjectionSegmenter
) -> tuple[Filmstrip, tuple[LeakFinding, ...]]:
    """The course of a cine, frame after frame, with a few of its frames; and the leaks that stayed."""
    times = cine.frame_time_ms
    rate = None
    if times is not None and len(times) > 1 and times[-1] > times[0]:
        rate = 1000 * (len(times) - 1) / (times[-1] - times[0])
    analyzer = CineAnalyzer(
        segmenter.segment,
        series_instance_uid=series_instance_uid,
        frame_rate=rate,
        lowest=config.analysis.lowest,
        highest=config.analysis.highest,
    )
    collector = FilmstripCollector()
    for frame in _frames(cine):
        collector.push(frame, analyzer.push(frame), analyzer.marked_frames)
    found = analyzer.finish()
    return Filmstrip(cine=found, frames=collector.finish(found)), analyzer.leaks


def _frames(cine: Fluoroscopy) -> Iterator[Radiograph]:
    """Every frame in its order; the next one is read while one is analysed."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(cine.read, 1)
        for number in range(2, cine.frame_count + 1):
            frame, coming = coming.result(), reader.submit(cine.read, number)
            yield frame
        yield coming.result()


def _with_cement(leaks: Sequence[LeakFinding], measurement: ProjectionMeasurement) -> tuple[LeakFinding, ...]:
    """Leaks of a whole cine with the cement of the frame that was measured; without any there, they have no place."""
    cement = {finding.level: finding.id for finding in measurement.cement}
    return tuple(replace(leak, cement_id=cement[leak.level]) for leak in leaks if leak.level in cement)


def _record(series: SeriesFiles, found: Sequence[_Measured], reasons: Sequence[str]) -> SeriesResult:
    """What became of a series: analysed where one of its images was."""
    reason = "; ".join(dict.fromkeys(reasons))
    if found:
        return replace(refusal(series, reason), status="analyzed", view=found[0].measurement.view)
    return refusal(series, reason, failed=any(text != NO_SPINE for text in reasons))


def _result(
    study_instance_uid: str, records: tuple[SeriesResult, ...], measured: Sequence[_Measured], config: Config
) -> StudyResult:
    """One report of all images; what is said of several of them is said once."""
    all_found = [one.measurement for one in measured]
    cement: tuple[CementFinding, ...] = ()
    leaks: tuple[LeakFinding, ...] = ()
    for one in all_found:
        own_cement, own_leaks = numbered_after(one.cement, one.leaks, len(cement))
        cement, leaks = cement + own_cement, leaks + own_leaks
    vertebrae = tuple(finding for one in all_found for finding in one.vertebrae)
    cines = sorted((one.cine for one in measured if one.cine), key=_has_no_cement)
    phase, source = phase_of(config.analysis, cement_seen=bool(cement), cines=cines)
    report = StudyReport(
        study_instance_uid=study_instance_uid,
        phase=phase,
        phase_source=source if measured else "unknown",
        series=records,
        models=tuple(
            dict.fromkeys(
                ModelUsed(name=name, version=version, sha256=sha)
                for one in measured
                for name, version, sha in one.segmentation.models
            )
        ),
        vertebrae=vertebrae,
        angles=tuple(finding for one in all_found for finding in one.angles),
        deformity_indices=deformity_indices(vertebrae),
        cement=cement,
        leaks=leaks,
        hardware=tuple(finding for one in all_found for finding in one.hardware),
        combined_leaks=combine_views(
            [one for one in all_found if one.view == "lateral"], [one for one in all_found if one.view == "ap"]
        ),
        cine=cines[0] if cines else None,
        further_cines=tuple(cines[1:]),
        limits=tuple(dict.fromkeys(limit for one in all_found for limit in one.limits)),
        warnings=tuple(dict.fromkeys(text for one in measured for text in (*one.warnings, *one.measurement.warnings))),
    )
    return StudyResult(report=report, films=tuple(one.film for one in measured))


def _has_no_cement(cine: CineFinding) -> bool:
    return isinstance(cine.first_cement_frame, NotMeasured)
