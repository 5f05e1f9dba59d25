"""Simulated fluoroscopy: volumes only grow, shifts are what is seen, and our own reader understands the file."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.registration import phase_cross_correlation

from phantoms.films import SMALL_CINE, SMALL_FILM, files_of
from phantoms.simulation import make_phantom
from vertecast.core.anatomy import Compartment
from vertecast.core.images import Fluoroscopy
from vertecast.io.projection.images import read_projection
from vertecast.lab.simulation.cine.fluoroscopy import SimulatedCine, first_frame, make_scene, simulate_cine
from vertecast.lab.simulation.cine.growth import grow, way_from
from vertecast.lab.simulation.cine.look import Collimator, Look, developed
from vertecast.lab.simulation.cine.tracks import sample_tracks
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.projection.film_studies import simulate_films
from vertecast.lab.simulation.projection.rays import camera
from vertecast.lab.simulation.projection.studies import ProjectionStudy, write_projection_study
from vertecast.lab.simulation.treatment.cement import treat


@pytest.fixture(scope="module")
def studies() -> list[ProjectionStudy]:
    return [simulate_cine(seed, SMALL_CINE, content="cement") for seed in (1, 2)]


@pytest.fixture(scope="module")
def folders(studies: list[ProjectionStudy], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("cines")
    return [write_projection_study(study, directory) for study in studies]


def truth_of(study: ProjectionStudy, folder: Path) -> dict[str, Any]:
    path = folder.parents[1] / "truth" / f"{study.study_instance_uid}.json"
    (image,) = json.loads(path.read_text())["images"]
    found: dict[str, Any] = image
    return found


def cine_of(study: ProjectionStudy) -> SimulatedCine:
    (cine,) = study.images
    assert isinstance(cine, SimulatedCine)
    return cine


def test_our_own_reader_understands_the_file(studies: list[ProjectionStudy], folders: list[Path]) -> None:
    for study, folder in zip(studies, folders, strict=True):
        truth, cine = truth_of(study, folder), cine_of(study)
        (file,) = files_of(folder)
        assert file.frames == tuple(range(1, truth["frame_count"] + 1))
        read = read_projection(file)
        assert isinstance(read.image, Fluoroscopy)
        assert read.modality == "XA"
        assert read.view == truth["view"]
        assert read.image.frame_time_ms is not None
        assert np.diff(read.image.frame_time_ms) == pytest.approx(truth["frame_time_ms"], abs=1e-3)
        assert read.spacing is not None
        assert (read.spacing.plane == "patient") == cine.header.tells_distances
        if cine.header.tells_distances:
            assert read.spacing.column_mm == pytest.approx(truth["pixel_mm"], rel=1e-3)
        frame = read.image.read(2)
        stored = cine.frames[1].astype(float) * (1 if cine.bone_is_bright else -1)
        assert np.array_equal(frame.intensity, stored), "bone is bright whatever the polarity of the file"


def test_cement_only_grows_and_its_first_frames_are_right(studies: list[ProjectionStudy], folders: list[Path]) -> None:
    for study, folder in zip(studies, folders, strict=True):
        truth = truth_of(study, folder)
        cement = [frame["cement_ml"] for frame in truth["frames"]]
        leaked = [frame["leaked_ml"] for frame in truth["frames"]]
        assert len(cement) == truth["frame_count"]
        assert (np.diff(cement) >= 0).all()
        assert (np.diff(leaked) >= 0).all()
        (treated,) = truth["cement"]
        assert cement[-1] == pytest.approx(treated["volume_ml"], rel=1e-3)
        assert leaked[-1] == pytest.approx(sum(leak["volume_ml"] for leak in treated["leaks"]), abs=1e-3)
        first = truth["first_cement_frame"]
        assert cement[first - 1] >= 0.05
        assert first == 1 or cement[first - 2] < 0.05
        assert treated["area_px"] > 30
        assert truth["frames"][0]["shift_px"] == [0.0, 0.0]


def test_the_first_frame_counts_from_one() -> None:
    assert first_frame([0.0, 0.04, 0.05, 0.2], 0.05) == 3
    assert first_frame([0.0, 0.0], 0.05) is None


def test_the_shifts_are_those_that_are_seen() -> None:
    spine = sample_spine(np.random.default_rng([6, 20]))
    scene = make_scene(spine, SMALL_CINE, "needle", np.random.default_rng(11))
    first = scene.spine_attenuation(0)
    largest = 0.0
    for frame in range(1, scene.frame_count, 4):
        back, _, _ = phase_cross_correlation(first, scene.spine_attenuation(frame), upsample_factor=50)
        assert -back[::-1] == pytest.approx(scene.shift_px(frame), abs=0.3)
        largest = max(largest, float(np.abs(scene.shift_px(frame)).max()))
    assert largest > 0.5, "a spine that stands still shows nothing"


def test_the_area_grows_from_the_needle_and_the_leak_comes_late() -> None:
    phantom = make_phantom(2.0)
    treatment = treat(
        phantom,
        1,
        np.random.default_rng(4),
        volume_ml=3.0,
        leaks=(Compartment.PREVERTEBRAL,),
        leak_volumes_ml=(0.8,),
    )
    view = camera("lateral", np.array([0.0, 20.0, 0.0]), pixel_mm=1.0, shape=(110, 120))
    growth = grow(phantom, treatment, view)
    total = treatment.volume_inside_ml + treatment.leaks[0].volume_ml
    assert growth.shell_ml.sum() == pytest.approx(total, rel=1e-4)
    assert growth.leaked_ml.sum() == pytest.approx(treatment.leaks[0].volume_ml, rel=1e-4)
    areas = [(growth.cement_mm(share) > 1.2).sum() for share in np.linspace(0, 1, 30)]
    assert areas[0] == 0
    assert (np.diff(areas) >= 0).all()
    volumes = [growth.cement_mm(share).sum() for share in (0.25, 0.5, 1.0)]
    assert volumes[0] / volumes[2] == pytest.approx(0.25, abs=0.03)
    assert volumes[1] / volumes[2] == pytest.approx(0.5, abs=0.03)
    rows, columns = np.nonzero(growth.cement_mm(0.1) > 0.2)
    tips = view.project(treatment.needle_tips_lps_mm)
    distance = np.linalg.norm(np.stack([columns, rows], axis=1)[:, None] - tips, axis=2).min(axis=1)
    assert distance.max() < 12
    assert growth.leaked_ml[:4].sum() == 0
    assert growth.inside_mm + growth.leaks_mm[0] == pytest.approx(growth.cement_mm(1.0), abs=1e-3)


def test_the_way_goes_round_corners_and_islands_count_the_straight_line() -> None:
    hook = [(n, 0, 0) for n in range(6)] + [(5, n, 0) for n in range(1, 6)]
    voxels = np.array([*hook, (0, 9, 0)])
    way = way_from(voxels, np.array([[0.2, 0.0, 0.0]]))
    assert way[0] == 0
    assert way[len(hook) - 1] > 9 > np.hypot(5, 5)
    assert way[-1] == pytest.approx(np.hypot(0.2, 9))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_a_cine_s_course_is_possible(seed: int, has_cement: bool) -> None:
    times = np.arange(60) / 7.5
    tracks = sample_tracks(times, has_cement=has_cement, rng=np.random.default_rng(seed))
    assert (np.diff(tracks.injected) >= 0).all()
    assert tracks.injected[-1] == (1.0 if has_cement else 0.0)
    assert np.abs(tracks.spine_mm).max() < 2.5 + 16
    assert np.abs(tracks.soft_mm).max() < 10 + 16, "more than the margin round the picture would show its end"
    injecting = np.flatnonzero(np.diff(tracks.injected) > 0)
    if len(injecting):
        back = tracks.needle_back_mm[injecting[0] + 1 : injecting[-1] + 1]
        assert (back < 1e-9).all(), "cement comes out of a needle that is in its place"
    assert (tracks.brightness > 0.3).all()


@pytest.mark.parametrize(("content", "has_needle"), [("clean", False), ("needle", True)])
def test_cines_without_cement(content: Any, has_needle: bool) -> None:
    study = simulate_cine(4, SMALL_CINE, content=content)
    truth = cine_of(study).truth(study.spine)
    assert truth["cement"] == []
    assert truth["first_cement_frame"] is None
    assert truth["first_leak_frame"] is None
    assert any(frame["needle"] for frame in truth["frames"]) == has_needle
    assert (truth["metal_px"] > 0) == has_needle


def test_the_collimator_is_the_same_in_all_frames_and_hides_the_patient() -> None:
    square = Collimator(shape="square", edges=(0.1, 0.8, 0.25, 1.0))
    field = square.field((40, 60))
    assert field.sum() == 42 * 30
    assert field[10, 6]
    assert not field[9, 6]
    assert not field[10, 48]
    circle = Collimator(shape="round", edges=(0.1, 0.9, 0.1, 0.9)).field((100, 100))
    assert circle.mean() == pytest.approx(np.pi * 0.16, rel=0.03)
    log = np.linspace(0, 3, 40 * 60, dtype=np.float32).reshape(40, 60)
    look = Look.sample(np.random.default_rng(3))
    frames = list(developed([(log, 1.0)] * 3, field, look, pixel_mm=1.0, rng=np.random.default_rng(0)))
    assert all((frame[~field] == look.outside).all() for frame in frames)
    assert (frames[0][field] != frames[1][field]).any(), "every frame has its own noise"


def test_films_and_cine_of_a_seed_show_one_patient() -> None:
    cine = simulate_cine(1, SMALL_CINE, content="clean")
    (film,) = simulate_films(1, "ap", SMALL_FILM)
    assert film.spine.age_years == cine.spine.age_years
    assert [v.shape for v in film.spine.vertebrae] == [v.shape for v in cine.spine.vertebrae]


def test_the_same_seed_gives_the_same_bytes(folders: list[Path], tmp_path: Path) -> None:
    write_projection_study(simulate_cine(1, SMALL_CINE, content="cement"), tmp_path)
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        assert (tmp_path / path).read_bytes() == (folders[0].parents[1] / path).read_bytes()


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_the_standard_s_own_checker_finds_no_error(folders: list[Path]) -> None:
    for folder in folders:
        (path,) = folder.glob("*.dcm")
        answer = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        assert "Error" not in answer.stdout + answer.stderr
