from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakes import BlockFilmSegmenter, BlockSegmenter, write_dicom, write_film, write_spine
from phantoms.xray import projection, save_one
from vertecast.core.config import AnalysisOptions, Config
from vertecast.core.errors import GeometryError
from vertecast.core.results import CineFinding, GrowthPoint, ImageReference, NotMeasured, Quantity, SeriesResult
from vertecast.io.ct.series import CtSeries
from vertecast.io.discover import SeriesFiles, StudyFiles, find_studies, refusal
from vertecast.report.dicom.source import source_study
from vertecast.study import analyze_study
from vertecast.study import ct as workflow
from vertecast.study.assemble import phase_of


def study_of(path: Path) -> StudyFiles:
    [study] = find_studies([path])
    assert isinstance(study, StudyFiles)
    return study


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    return study_of(write_spine(tmp_path_factory.mktemp("spine") / "patient.nii.gz"))


def test_a_spine_is_measured_from_file_to_report(spine: StudyFiles) -> None:
    result = analyze_study(spine, Config(), BlockSegmenter())
    assert (result.status, result.reason) == ("analyzed", "")
    report = result.report
    assert report.study_instance_uid == "patient"
    assert [series.status for series in report.series] == ["analyzed"]
    assert [vertebra.level for vertebra in report.vertebrae] == ["V1", "V2", "V3"]
    assert [model.name for model in report.models] == ["blocks"]
    assert (report.phase, report.phase_source) == ("pre", "no cement seen")
    assert any("V1, V2" in limit for limit in report.limits)
    assert result.volume is not None
    assert result.labels is not None
    assert result.labels.labels.shape == result.volume.shape
    assert set(np.unique(result.labels.labels)) == {0, 41, 42, 43}


def test_the_word_of_the_operator_wins(spine: StudyFiles) -> None:
    report = analyze_study(spine, Config(analysis=AnalysisOptions(phase="intra", lowest="L3")), BlockSegmenter()).report
    assert [vertebra.level for vertebra in report.vertebrae] == ["L1", "L2", "L3"]
    assert {vertebra.level_source for vertebra in report.vertebrae} == {"operator"}
    assert (report.phase, report.phase_source) == ("intra", "operator")


def test_no_spine_is_a_reason(tmp_path: Path) -> None:
    write_spine(tmp_path / "empty.nii.gz", blocks=0)
    result = analyze_study(study_of(tmp_path / "empty.nii.gz"), Config(), BlockSegmenter())
    assert result.status == "failed"
    assert result.volume is None
    assert result.report.vertebrae == ()


def test_more_vertebrae_than_a_spine_has_are_a_reason(spine: StudyFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "MOST_UNKNOWN_LEVELS", 2)  # three blocks stand for more than thirty
    result = analyze_study(spine, Config(), BlockSegmenter())
    assert result.status == "failed"
    assert "3 vertebrae were found, more than a spine has" in result.reason


def test_another_kind_of_image_is_skipped(tmp_path: Path) -> None:
    write_dicom(tmp_path, modality="MR", slices=3)
    result = analyze_study(study_of(tmp_path), Config(), BlockSegmenter())
    assert result.status == "skipped"
    assert "MR" in result.reason


def test_a_series_refused_earlier_keeps_its_reason(spine: StudyFiles) -> None:
    refused = SeriesResult(series_instance_uid="1.2", kind="other", view=None, status="failed", reason="two patients")
    study = replace(spine, series=(), rejected=(refused,))
    result = analyze_study(study, Config(), BlockSegmenter())
    assert (result.status, result.reason) == ("failed", "two patients")


def test_an_unreadable_series_gives_way_to_the_next(spine: StudyFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    [good] = spine.series
    damaged = replace(good, series_instance_uid="1.2.3")

    def choose(study: StudyFiles) -> tuple[list[SeriesFiles], list[SeriesResult]]:
        best, *others = sorted(study.series, key=lambda series: series is not damaged)
        return [best], [refusal(other, "another reconstruction") for other in others]

    def read(series: SeriesFiles) -> CtSeries:
        if series is damaged:
            raise GeometryError("2 slices are missing")
        return read_ct(series)

    read_ct = workflow.read_ct
    monkeypatch.setattr(workflow, "choose_ct_series", choose)
    monkeypatch.setattr(workflow, "read_ct", read)
    result = analyze_study(replace(spine, series=(good, damaged)), Config(), BlockSegmenter())
    states = [(series.series_instance_uid, series.status, series.reason) for series in result.report.series]
    assert states == [("patient", "analyzed", ""), ("1.2.3", "failed", "2 slices are missing")]


def test_a_film_is_measured_beside_no_ct(tmp_path: Path) -> None:
    study = study_of(write_film(tmp_path / "film.png"))
    result = analyze_study(study, Config(), BlockSegmenter(), BlockFilmSegmenter)
    assert result.status == "analyzed"
    report = result.report
    assert [(s.kind, s.view, s.status) for s in report.series] == [("radiograph", "lateral", "analyzed")]
    assert [v.level for v in report.vertebrae] == ["V1", "V2", "V3"]
    assert all(isinstance(v.heights["anterior"], NotMeasured) for v in report.vertebrae), "a PNG has no millimetres"
    assert [model.name for model in report.models] == ["boxes"]
    assert any("No leak seen" in limit for limit in report.limits)
    assert result.volume is None
    assert len(result.films) == 1


def test_films_of_one_series_say_which_image_their_points_lie_in(tmp_path: Path) -> None:
    picture = np.full((260, 200), 60, dtype=np.uint16)
    for box in range(3):
        picture[40 + 60 * box : 80 + 60 * box, 70:130] = 220
    first, second = projection(picture), projection(np.roll(picture, 5, axis=1))
    second.StudyInstanceUID, second.SeriesInstanceUID = first.StudyInstanceUID, first.SeriesInstanceUID
    first.InstanceNumber, second.InstanceNumber = 1, 2
    for image in (first, second):
        save_one(image, tmp_path)
    study = study_of(tmp_path)
    result = analyze_study(study, Config(), BlockSegmenter(), BlockFilmSegmenter)
    images = [vertebra.image for vertebra in result.report.vertebrae]
    uids = [first.SOPInstanceUID] * 3 + [second.SOPInstanceUID] * 3
    assert images == [ImageReference(sop_instance_uid=uid, frame_number=1) for uid in uids]
    source = source_study((image, image.source.read()) for image in result.dicom_images)
    assert {image.sop_instance_uid for image in source.images} == set(uids)
    assert source.header.StudyInstanceUID == first.StudyInstanceUID
    assert source.header.AccessionNumber == "", "an absent element of the study module is there, empty"


def test_what_is_no_dicom_has_no_study_to_go_back_to(spine: StudyFiles, tmp_path: Path) -> None:
    result = analyze_study(spine, Config(), BlockSegmenter())
    assert result.dicom_images == ()


def test_the_operator_gives_the_size_of_a_pixel(tmp_path: Path) -> None:
    study = study_of(write_film(tmp_path / "film.png"))
    config = Config(analysis=AnalysisOptions(spacing_mm=0.5))
    report = analyze_study(study, config, BlockSegmenter(), BlockFilmSegmenter).report
    height = report.vertebrae[1].heights["anterior"]
    assert isinstance(height, Quantity)
    assert height.value == pytest.approx(39 * 0.5)


def test_a_film_without_spine_or_without_model_is_a_reason(tmp_path: Path) -> None:
    study = study_of(write_film(tmp_path / "film.png", boxes=1))
    result = analyze_study(study, Config(), BlockSegmenter(), BlockFilmSegmenter)
    assert (result.status, result.reason) == ("skipped", "no spine in view")
    without = analyze_study(study, Config(), BlockSegmenter())
    assert without.status == "skipped"
    assert "xray_spine" in without.reason


@pytest.mark.parametrize(
    ("first", "phase"), [(9, "intra"), (1, "post"), (NotMeasured(reason="no cement"), "post")], ids=str
)
def test_cement_that_appears_in_a_cine_is_being_injected(first: int | NotMeasured, phase: str) -> None:
    growth = tuple(GrowthPoint(frame_number=n, area=Quantity(value=0.0, unit="mm2")) for n in (1, 5, 9))
    cine = CineFinding(
        series_instance_uid="1.2",
        frame_rate=4.0,
        first_cement_frame=first,
        growth=growth,
        first_suspected_leak_frame=NotMeasured(reason="no leak"),
    )
    assert phase_of(AnalysisOptions(), cement_seen=True, cines=[cine]) == (phase, "cement seen")
    assert phase_of(AnalysisOptions(phase="pre"), cement_seen=True, cines=[cine]) == ("pre", "operator")
