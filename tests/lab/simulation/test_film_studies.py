"""Simulated radiographs: the truth lies on the picture, the files are valid and our own reader understands them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from phantoms.films import SMALL_CINE, SMALL_FILM, files_of
from phantoms.simulation import make_phantom
from vertecast.cli.main import app
from vertecast.core import geometry
from vertecast.core.anatomy import Compartment, Structure
from vertecast.core.errors import OutputError
from vertecast.io.projection.images import read_projection
from vertecast.lab.simulation.cine import fluoroscopy
from vertecast.lab.simulation.cine.fluoroscopy import simulate_cine
from vertecast.lab.simulation.projection import film_studies
from vertecast.lab.simulation.projection.dicom import patient_orientation, positioner_angles_deg
from vertecast.lab.simulation.projection.film_studies import FilmKind, SimulatedFilm, simulate_films
from vertecast.lab.simulation.projection.integrals import coarse_camera, deposit_integrals, resampled
from vertecast.lab.simulation.projection.rays import Camera, attenuation_parts, camera, line_integrals
from vertecast.lab.simulation.projection.silhouette import silhouettes
from vertecast.lab.simulation.projection.studies import ProjectionStudy, aimed_in_front, write_projection_study
from vertecast.lab.simulation.projection.truth import CementShadow, Shown, mask, shown_truth
from vertecast.lab.simulation.treatment.cement import treat

SEEDS: dict[FilmKind, tuple[int, ...]] = {"films": (2,), "lateral": (3, 4, 7)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[ProjectionStudy, Path]]:
    """Studies of every kind with their folders."""
    directory = tmp_path_factory.mktemp("films")
    studies = [s for kind, seeds in SEEDS.items() for seed in seeds for s in simulate_films(seed, kind, SMALL_FILM)]
    return [(study, write_projection_study(study, directory)) for study in studies]


def truth_of(study: ProjectionStudy, folder: Path) -> dict[str, Any]:
    text = (folder.parents[1] / "truth" / f"{study.study_instance_uid}.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def film_of(study: ProjectionStudy, number: int) -> SimulatedFilm:
    film = study.images[number]
    assert isinstance(film, SimulatedFilm)
    return film


def look(turn_deg: float = 0.0, source_mm: float = 1000.0) -> Camera:
    return camera(
        "lateral",
        np.array([2.0, 10.0, 5.0]),
        angles_deg=(turn_deg, 3.0 if turn_deg == 0 else -3.0, 0.0),
        source_mm=source_mm,
        pixel_mm=0.8,
        shape=(200, 150),
    )


def test_both_visits_share_the_anatomy_and_only_the_second_has_cement(written: Any) -> None:
    (before, before_folder), (after, after_folder) = written[:2]
    assert (before_folder.name, after_folder.name) == ("000002_pre", "000002_post")
    pre, post = truth_of(before, before_folder), truth_of(after, after_folder)
    assert [image["view"] for image in pre["images"]] == ["lateral", "ap"] == [i["view"] for i in post["images"]]
    heights = [{b["level"]: b["heights_mm"] for i in t["images"] for b in i["bodies"]} for t in (pre, post)]
    shared = heights[0].keys() & heights[1].keys()
    assert len(shared) > 3
    assert all(heights[0][level] == heights[1][level] for level in shared)
    assert all(image["cement"] == [] for image in pre["images"])
    assert all(image["cement"][0]["area_px"] > 20 for image in post["images"])
    assert pre["study_instance_uid"] != post["study_instance_uid"]


def test_our_own_reader_understands_the_files(written: Any) -> None:
    polarities, planes = set(), set()
    for study, folder in written:
        images = {image["sop_instance_uid"]: image for image in truth_of(study, folder)["images"]}
        films = {film.sop_instance_uid: film for film in study.images}
        files = files_of(folder)
        assert len(files) == len(images)
        for file in files:
            truth, film, read = images[file.sop_instance_uid], films[file.sop_instance_uid], read_projection(file)
            assert read.kind == "radiograph"
            assert read.modality == "DX"
            assert read.view == truth["view"]
            low = read.image.intensity.min()
            assert np.ptp((read.image.intensity - low) - (film.values - film.values.min().astype(float))) == 0
            assert read.spacing is not None
            planes.add(read.spacing.plane)
            polarities.add(film.header.inverted)
            assert (read.spacing.plane == "detector") == (film.header.spacing == "detector")
            if read.spacing.plane == "patient":
                assert read.spacing.column_mm == pytest.approx(truth["pixel_mm"], rel=1e-4)
            else:
                assert read.spacing.column_mm > 1.03 * truth["pixel_mm"]
    assert polarities == {True, False}
    assert planes == {"patient", "detector"}


def test_the_mask_is_the_truth_of_cement(written: Any) -> None:
    for study, folder in written:
        for image in truth_of(study, folder)["images"]:
            found = np.asarray(Image.open(folder.parents[1] / "truth" / f"{image['sop_instance_uid']}.png"))
            assert found.shape == (image["rows"], image["columns"])
            assert (found == 3).sum() == image["metal_px"]
            if image["metal_px"] == 0:
                largest = max((cement["area_px"] for cement in image["cement"]), default=0)
                assert largest <= (found > 0).sum() <= sum(cement["area_px"] for cement in image["cement"])
            leaked = sum(leak["outside_px"] for cement in image["cement"] for leak in cement["leaks"])
            assert (found == 2).sum() <= leaked


def test_some_lateral_films_face_right_and_their_truth_does_too(written: Any) -> None:
    sides = set()
    for study, _ in written:
        for film in study.images:
            truth = film.truth(study.spine)
            if truth["view"] == "ap":
                assert truth["anterior_left"] is None
                continue
            sides.add(truth["anterior_left"])
            for body in truth["bodies"]:
                points = np.array(body["points_px"])
                assert (points[0, 0] < points[2, 0]) == truth["anterior_left"]
                assert points[:3, 1].mean() < points[3:, 1].mean()
    assert sides == {True, False}


def test_seen_from_the_other_side_picture_and_points_are_mirrored() -> None:
    phantom = make_phantom(2.0, wedge_index=1)
    seen = []
    for view in (look(0, 1e6), look(180, 1e6)):
        bone = line_integrals(attenuation_parts(phantom.hu), phantom.lps_from_index, view)[1]
        seen.append((bone, silhouettes(phantom.spine, view)[1].points_px))
    (left, left_points), (right, right_points) = seen
    assert np.corrcoef(left.ravel(), right[:, ::-1].ravel())[0, 1] > 0.999
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] < 0.9
    assert right_points == pytest.approx(np.column_stack([149 - left_points[:, 0], left_points[:, 1]]), abs=0.5)


@pytest.mark.parametrize("turn_deg", [0.0, 180.0])
def test_the_points_lie_on_the_edges_of_the_projected_body(turn_deg: float) -> None:
    phantom = make_phantom(2.0, wedge_index=1)
    view = aimed_in_front(look(turn_deg), 12.0)
    body = ((phantom.structure == Structure.BODY) & (phantom.instance == 2)).astype(np.float32)
    coarse = coarse_camera(view, 1.2)
    shadow = resampled(line_integrals(body[None], phantom.lps_from_index, coarse)[0], coarse, view)
    inside = shadow > 0.3 * np.percentile(shadow[shadow > 0], 90)
    edge = np.where(inside, ndimage.distance_transform_edt(inside) - 0.5, ndimage.distance_transform_edt(~inside) - 0.5)
    points = Shown.of(phantom.spine, view, np.ones(view.shape, bool), [], shadow * 0).bodies[1].points_px
    distances_mm = [edge[round(row), round(column)] * view.pixel_mm for column, row in points]
    assert max(distances_mm) < 2.6, "corners lie within the rounded rim and half a voxel"
    assert np.mean(distances_mm) < 1.6
    middle = ndimage.center_of_mass(inside)
    assert points.mean(axis=0) == pytest.approx(middle[::-1], abs=3)


def test_a_leak_is_told_from_the_cement_in_the_body() -> None:
    phantom = make_phantom(2.0)
    treatment = treat(
        phantom,
        1,
        np.random.default_rng(4),
        volume_ml=3.0,
        leaks=(Compartment.PREVERTEBRAL,),
        leak_volumes_ml=(1.0,),
    )
    view = look()
    deposits = [treatment.inside, *(leak.deposit for leak in treatment.leaks)]
    lengths = deposit_integrals(phantom, deposits, view)
    assert lengths[0].sum() * view.pixel_mm**2 == pytest.approx(treatment.volume_inside_ml * 1000, rel=0.05)
    field = np.ones(view.shape, bool)
    shown = Shown.of(phantom.spine, view, field, [CementShadow.of(treatment, list(lengths))], 0 * lengths[0])
    (cement,) = shown_truth(shown, phantom.spine)["cement"]
    (leak,) = cement["leaks"]
    assert leak["compartment"] == "prevertebral"
    assert 0 < leak["outside_px"] <= leak["area_px"] < cement["area_px"]
    values = mask(shown)
    assert (values == 2).sum() == leak["outside_px"]
    assert (values > 0).sum() == cement["area_px"]
    leaked_column = np.argwhere(values == 2)[:, 1].mean()
    assert leaked_column < np.argwhere(values == 1)[:, 1].mean(), "the front is on the left"


def test_a_body_behind_the_collimator_is_not_complete() -> None:
    phantom = make_phantom(3.0)
    view, field = look(), np.ones((200, 150), bool)
    zero = np.zeros((200, 150), np.float32)
    whole = shown_truth(Shown.of(phantom.spine, view, field, [], zero), phantom.spine)["bodies"]
    assert [body["complete"] for body in whole] == [True, True, True]
    row = round(whole[1]["points_px"][1][1])
    field[: row + 4] = False
    cut = shown_truth(Shown.of(phantom.spine, view, field, [], zero), phantom.spine)["bodies"]
    assert [(body["level"], body["complete"]) for body in cut] == [("L1", False), ("L2", True)]


def test_the_same_seed_gives_the_same_bytes(written: Any, tmp_path: Path) -> None:
    directory = written[0][1].parents[1]
    for study in simulate_films(3, "lateral", SMALL_FILM):
        write_projection_study(study, tmp_path)
    files = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        assert (tmp_path / path).read_bytes() == (directory / path).read_bytes()


def test_the_header_says_where_the_picture_runs() -> None:
    assert patient_orientation(look()) == ["P", "F"]
    assert patient_orientation(look(180)) == ["A", "F"]
    front = camera("ap", np.zeros(3))
    assert patient_orientation(front) == ["L", "F"]
    assert positioner_angles_deg(look())[0] == pytest.approx(-90, abs=0.1)
    assert positioner_angles_deg(look(180))[0] == pytest.approx(90, abs=0.1)
    assert positioner_angles_deg(front) == pytest.approx((0, 0))
    assert abs(positioner_angles_deg(camera("oblique", np.zeros(3)))[0]) == pytest.approx(45)


def test_the_isocentre_stays_in_the_plane_of_the_spine() -> None:
    view = aimed_in_front(look(), 40.0)
    depth = (view.center_lps_mm - look().center_lps_mm) @ view.picture_from_lps[2]
    assert depth == pytest.approx(0, abs=1e-9)
    assert view.center_lps_mm[1] == pytest.approx(look().center_lps_mm[1] - 40, abs=0.2)
    assert geometry.unit(view.picture_from_lps[0]) == pytest.approx([0, 1, 0], abs=0.01)


def test_the_patient_is_invented_and_named_so(written: Any) -> None:
    for study, folder in written:
        for path in folder.glob("*.dcm"):
            image = pydicom.dcmread(path, stop_before_pixels=True)
            assert str(image.PatientName) == f"PhantomX^{study.seed:06d}"
            assert image.BitsStored == 12


@pytest.mark.parametrize(("kind", "count"), [("films", 2), ("ap", 1), ("cine", 1)])
def test_the_command_writes_every_kind(kind: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = simulate_films
    monkeypatch.setattr(film_studies, "simulate_films", lambda seed, wanted: real(seed, wanted, SMALL_FILM))
    monkeypatch.setattr(fluoroscopy, "simulate_cine", lambda seed: simulate_cine(seed, SMALL_CINE))
    result = CliRunner().invoke(app, ["simulate", "--kind", kind, "--out", str(tmp_path), "--seed", "7"])
    assert result.exit_code == 0, result.output
    folders = [Path(line.removeprefix("[1/1] ")) for line in result.stdout.splitlines()]
    assert len(folders) == count
    assert all(list(folder.glob("*.dcm")) for folder in folders)
    assert len(list((tmp_path / "truth").glob("*.json"))) == count


def test_a_directory_that_cannot_be_written_is_named(written: Any, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_projection_study(written[0][0], blocked)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_the_standard_s_own_checker_finds_no_error(written: Any) -> None:
    for _, folder in written:
        for path in folder.glob("*.dcm"):
            answer = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
            assert "Error" not in answer.stdout + answer.stderr
