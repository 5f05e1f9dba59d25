from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fakes import SECRET_NAME, load_blocks, load_interrupted, spine_image, write_dicom, write_spine, write_values
from vertecast.cli.dry_run import preview_paths
from vertecast.cli.main import app
from vertecast.core import resources
from vertecast.core.config import Config, SegmentationOptions
from vertecast.core.errors import BundleError
from vertecast.lab.simulation.ct import studies
from vertecast.lab.simulation.ct.studies import simulate_case
from vertecast.run import batch, cluster, environment
from vertecast.run import engine as engine_module
from vertecast.run.engine import Engine
from vertecast.run.environment import Check
from vertecast.run.jobs import run_step
from vertecast.run.workers import InProcess

MAKE_POOL = batch.make_pool


@pytest.fixture(autouse=True)
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command without weights."""
    use(monkeypatch, lambda _options: Engine(load=load_blocks, weights="blocks"))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies are analysed in this process."""
    monkeypatch.setattr(batch, "make_pool", lambda *_: InProcess(run_step))


def use(monkeypatch: pytest.MonkeyPatch, engine: Callable[[SegmentationOptions], Engine]) -> None:
    monkeypatch.setattr(engine_module, "shipped_engine", engine)


def invoke(*arguments: str | Path) -> Result:
    """Run a command in this process; nothing but an exit may come out of it."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert SECRET_NAME not in result.output
    return result


def reasons(out: Path) -> list[str]:
    return [study["reason"] for study in json.loads((out / "run.json").read_text())["studies"] if study["reason"]]


def test_analyze_prints_an_object_for_each_study_and_beside_them_where_the_report_lies(tmp_path: Path) -> None:
    write_spine(tmp_path / "a.nii.gz")
    result = invoke("analyze", tmp_path / "a.nii.gz", "--out", tmp_path / "out")
    assert result.exit_code == 0
    [study] = [json.loads(line) for line in result.stdout.splitlines()]
    assert (study["study_instance_uid"], study["status"], study["seconds"] > 0) == ("a", "analyzed", True)
    report = f"Report: {tmp_path / 'out' / 'index.html'}"
    assert result.stderr.splitlines() == ["1 analysed, 0 failed, 0 skipped", report]
    again = invoke("analyze", tmp_path / "a.nii.gz", "--out", tmp_path / "out")
    assert json.loads(again.stdout)["seconds"] is None
    assert again.exit_code == 0


def test_a_dry_run_says_what_would_be_measured_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, lambda _options: pytest.fail("a dry run needs no weights"))
    write_dicom(tmp_path / "ct")
    write_dicom(tmp_path / "mr", modality="MR", study=2)
    (tmp_path / "bad.dcm").write_bytes(b"nothing")
    result = invoke("analyze", tmp_path, "--dry-run")
    assert result.exit_code == 0
    bad, ct, mr = [json.loads(line) for line in result.stdout.splitlines()]
    assert (bad["path"], "damaged" in bad["reason"]) == (str(tmp_path / "bad.dcm"), True)
    assert [(one["kind"], one["measured"], one["reason"]) for one in ct["series"]] == [
        ("ct", True, "is the best CT of the study (2.0 mm slices)")
    ]
    assert [(one["measured"], one["reason"].startswith("modality MR")) for one in mr["series"]] == [(False, True)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.dcm", "ct", "mr"]
    (tmp_path / "own.yaml").write_text("selection: {min_slice_mm: 3}")
    ruled = invoke("analyze", tmp_path / "ct", "--dry-run", "--config", tmp_path / "own.yaml")
    assert ruled.exit_code == 3
    assert "thinner than selection.min_slice_mm" in ruled.stdout


def test_a_dry_run_reads_well_on_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dicom(tmp_path / "ct")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        assert preview_paths([tmp_path / "ct", tmp_path / "none"], Config()) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        f"{tmp_path / 'none'}: does not exist; check the path",
        "study 1.2.826.0.2.1",
        "  measure ct 1.2.826.0.3.1: is the best CT of the study (2.0 mm slices)",
    ]


def test_without_a_folder_of_results_only_a_dry_run_is_possible(tmp_path: Path) -> None:
    result = invoke("analyze", tmp_path)
    assert (result.exit_code, "--out" in result.stderr) == (2, True)


def test_a_scheduler_that_does_not_answer_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "make_pool", MAKE_POOL)
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    write_spine(tmp_path / "a.nii.gz")
    options = ["--scheduler", "tcp://127.0.0.1:1", "--out", tmp_path / "out"]
    result = invoke("analyze", tmp_path / "a.nii.gz", *options)
    assert result.exit_code == 2
    assert "no dask scheduler answers" in result.stderr


def test_options_of_the_command_line_win_over_the_file(tmp_path: Path) -> None:
    write_spine(tmp_path / "a.nii.gz")
    (tmp_path / "own.yaml").write_text("analysis: {phase: pre, lowest: L5}")
    options = ["--config", tmp_path / "own.yaml", "--phase", "post"]
    assert invoke("analyze", tmp_path / "a.nii.gz", "--out", tmp_path / "out", *options).exit_code == 0
    report = json.loads((tmp_path / "out" / "a" / "report.json").read_text())
    assert report["study"] == {"study_instance_uid": "a", "phase": "post", "phase_source": "operator"}
    assert [vertebra["level"] for vertebra in report["vertebrae"]] == ["L3", "L4", "L5"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--lowest", "X1"], "'X1' is no vertebral level"),
        (["--workers", "0"], "batch.workers"),
        (["--memory", "0"], "batch.memory_gb"),
        (["--identify", "--deidentify"], "exclude each other"),
        (["--config", "absent.yaml"], "absent.yaml: cannot be read"),
        (["--phase", "later"], "later"),
    ],
)
def test_wrong_use_is_said_in_one_line(tmp_path: Path, options: list[str], complaint: str) -> None:
    result = invoke("analyze", tmp_path, "--out", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert not (tmp_path / "out").exists()


def write_map(path: Path, *numbers: int) -> Path:
    """Boxes of unequal sides one above the other, numbered, the first on top."""
    labels = np.zeros((50, 40, 34 * len(numbers) + 6), dtype=np.int16)
    for n, number in enumerate(reversed(numbers)):
        labels[6:44, 5:34, 34 * n + 6 : 34 * n + 32] = number
    return write_values(path, labels)


def test_a_label_map_is_measured_without_its_ct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the shipped engine: it needs no weights here
    path = write_map(tmp_path / "map.nii.gz", 20, 21)  # blocks of 52 mm: of three of them the sizes would be nobody's
    result = invoke("analyze", "--segmentation", path, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "map" / "report.json").read_text())
    assert [(v["level"], v["level_source"]) for v in report["vertebrae"]] == [(n, "label map") for n in ("L1", "L2")]
    assert [v["heights"]["middle"]["value"] for v in report["vertebrae"]] == pytest.approx(
        [52.0] * 2, abs=0.3
    )  # voxels of 2 mm
    assert "without its CT" in report["vertebrae"][0]["density"]["not_measured"]
    assert report["series"][0]["kind"] == "label map"
    assert "map.nii.gz" not in (tmp_path / "out" / "run.json").read_text()
    assert (tmp_path / "out" / "map" / "report.html").exists()


def test_a_label_map_of_two_studies_is_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path = write_map(tmp_path / "map.nii.gz", 20, 21)
    for name in ("a", "b"):
        write_spine(tmp_path / f"{name}.nii.gz")
    result = invoke("analyze", tmp_path, "--segmentation", path, "--out", tmp_path / "out")
    assert (result.exit_code, "belongs to one study" in result.stderr) == (2, True)
    assert not (tmp_path / "out").exists()
    assert invoke("analyze", "--out", tmp_path / "out").exit_code == 2
    assert invoke("analyze", "--segmentation", tmp_path / "absent", "--out", tmp_path / "out").exit_code == 2
    assert invoke("analyze", "--segmentation", path, "--labels", "x", "--out", tmp_path / "out").exit_code == 2


def test_a_path_that_does_not_exist_is_wrong_use(tmp_path: Path) -> None:
    assert invoke("analyze", tmp_path / "absent", "--out", tmp_path / "out").exit_code == 2


def test_missing_weights_are_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_options: SegmentationOptions) -> Engine:
        raise BundleError("ct_spine: models/model.safetensors is missing; fetch the bundle again")

    use(monkeypatch, missing)
    result = invoke("analyze", tmp_path, "--out", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "model.safetensors is missing" in result.stderr


def test_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, lambda _options: Engine(load=load_interrupted, weights="blocks"))
    for name in ("a", "b"):
        write_spine(tmp_path / f"{name}.nii.gz")
    result = invoke("analyze", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert "1 analysed, 0 failed, 1 skipped" in result.stderr


def empty_folder(folder: Path) -> None:
    folder.mkdir()


def truncated(folder: Path) -> None:
    for path in write_dicom(folder, study=2):
        path.write_bytes(path.read_bytes()[:-2000])


def no_pixel_data(folder: Path) -> None:
    from pydicom import dcmread

    for path in write_dicom(folder, study=3):
        image = dcmread(path)
        del image.PixelData
        image.save_as(path)


def two_patients(folder: Path) -> None:
    from pydicom import dcmread

    for number, path in enumerate(write_dicom(folder, study=4)):
        image = dcmread(path)
        image.PatientID = f"P{number % 2}"
        image.save_as(path)


def one_slice(folder: Path) -> None:
    write_dicom(folder, study=5, slices=1)


def missing_slice(folder: Path) -> None:
    write_dicom(folder, study=6)[30].unlink()


def magnetic_resonance(folder: Path) -> None:
    write_dicom(folder, modality="MR", study=7)


def without_spine(folder: Path) -> None:
    folder.mkdir()
    hu, _ = spine_image(blocks=0)
    hu[20, 20, 20] = 250  # one bright voxel: bone, but no vertebra; the fake's grid blurs it away
    write_values(folder / "image.nii.gz", hu)


def all_zero(folder: Path) -> None:
    folder.mkdir()
    write_values(folder / "image.nii.gz", np.zeros((48, 52, 60), np.int16))


def not_a_number(folder: Path) -> None:
    folder.mkdir()
    hu = spine_image()[0].astype(np.float32)
    hu[3, 4, 5] = np.nan
    write_values(folder / "image.nii.gz", hu)


def garbage(folder: Path) -> None:
    folder.mkdir()
    (folder / "image.dcm").write_bytes(b"this was a DICOM file once")


def broken_zip(folder: Path) -> None:
    folder.mkdir()
    (folder / "study.zip").write_bytes(b"PK\x03\x04 and nothing more")


BAD_INPUT: list[tuple[Callable[[Path], None], int, str]] = [
    (empty_folder, 3, "holds no"),
    (garbage, 3, "damaged"),
    (broken_zip, 3, "zip archive cannot be opened"),
    (magnetic_resonance, 3, "modality MR"),
    (no_pixel_data, 1, "no pixel data"),
    (one_slice, 3, "single slice"),
    (truncated, 1, "truncated"),
    (two_patients, 1, "2 patient IDs"),
    (missing_slice, 1, "missing"),
    (without_spine, 1, "no spine in view"),
    (all_zero, 1, "same value"),
    (not_a_number, 1, "NaN"),
]


@pytest.mark.parametrize(("make", "status", "expected"), BAD_INPUT)
def test_bad_input_gives_a_reason(tmp_path: Path, make: Callable[[Path], None], status: int, expected: str) -> None:
    make(tmp_path / "in")
    result = invoke("analyze", tmp_path / "in", "--out", tmp_path / "out")
    assert all(expected in reason for reason in reasons(tmp_path / "out"))
    assert expected in result.stdout
    assert result.exit_code == status
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.html", "run.json", "summary.csv"]


def test_every_bad_input_together_never_stops_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_spine(tmp_path / "in" / "good.nii.gz")
    for make, _, _ in BAD_INPUT:
        make(tmp_path / "in" / make.__name__)
    result = invoke("analyze", tmp_path / "in", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert '"good", "status": "analyzed"' in result.stdout
    said = " ".join(reasons(tmp_path / "out"))
    for make, _, expected in BAD_INPUT:
        assert make is empty_folder or expected in said
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["good"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_an_unreadable_folder_is_a_reason(tmp_path: Path) -> None:
    write_spine(tmp_path / "good.nii.gz")
    (tmp_path / "locked").mkdir(mode=0)
    result = invoke("analyze", tmp_path, "--out", tmp_path.with_name("out"))
    assert result.exit_code == 1
    assert "locked" in result.stdout
    assert '"good", "status": "analyzed"' in result.stdout


def test_studies_are_compared_by_hand(tmp_path: Path) -> None:
    pre, post = write_spine(tmp_path / "pre.nii.gz"), write_spine(tmp_path / "post.nii.gz")
    assert invoke("compare", pre, "--out", tmp_path / "out").exit_code == 2
    result = invoke("compare", pre, post, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert (tmp_path / "out" / "post" / "report.html").is_file()


def test_a_structured_report_becomes_the_report_again(tmp_path: Path) -> None:
    write_dicom(tmp_path / "in")
    assert invoke("analyze", tmp_path / "in", "--out", tmp_path / "out").exit_code == 0
    [file] = (tmp_path / "out").rglob("sr.dcm")
    back = tmp_path / "back.json"
    assert invoke("read-report", file, "--out", back).exit_code == 0
    expected, found = (json.loads(path.read_text()) for path in (file.with_name("report.json"), back))
    for vertebra, again in zip(expected["vertebrae"], found["vertebrae"], strict=True):
        points = np.array([vertebra.pop("center_lps_mm"), again.pop("center_lps_mm")])
        np.testing.assert_allclose(points[0], points[1], atol=1e-3)
        vertebra.pop("six_points_lps_mm"), again.pop("six_points_lps_mm")
    assert found == expected
    assert json.loads(invoke("read-report", file).stdout)["study"] == expected["study"]


def test_a_file_that_is_no_structured_report_is_refused(tmp_path: Path) -> None:
    [slice_, *_] = write_dicom(tmp_path / "in")
    result = invoke("read-report", slice_)
    assert result.exit_code == 1
    assert "is no structured report of Vertecast" in result.stderr
    sr_of = invoke("read-report", slice_, "--out", tmp_path / "none" / "x.json")
    assert sr_of.exit_code == 1


def test_a_simulated_patient_is_scored_against_its_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "simulate_case", lambda seed, kind: simulate_case(seed, kind, matrix=64))
    made = invoke("simulate", "--out", tmp_path / "sim", "--seed", "11")
    assert made.exit_code == 0
    folder = Path(made.stdout.removeprefix("[1/1] ").strip())
    assert list(folder.glob("*.dcm"))
    analyzed = invoke("analyze", folder, "--out", tmp_path / "out")
    assert analyzed.exit_code == 0, analyzed.output
    options = ["--truth", tmp_path / "sim", "--predictions", tmp_path / "out", "--out", tmp_path / "scores"]
    result = invoke("evaluate", *options)
    assert result.exit_code == 0
    assert result.stdout.startswith("1 studies (simulated)")
    assert (tmp_path / "scores" / "scores.json").is_file()


def test_evaluate_without_truth_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    options = ["--truth", tmp_path / "empty", "--predictions", tmp_path / "empty", "--out", tmp_path / "scores"]
    result = invoke("evaluate", *options)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "holds no truth" in result.stderr


def test_models_list_names_the_bundles() -> None:
    result = invoke("models", "list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(resources.bundle_names())


@pytest.mark.parametrize("command", [["models", "verify"], ["check"]])
def test_one_failed_check_is_told_and_gives_status_1(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    checks = (Check(name="good", found="1.0", passed=True), Check(name="bad", found="altered", passed=False))
    monkeypatch.setattr(environment, "check_bundles", lambda *_: checks)
    result = invoke(*command)
    assert result.exit_code == 1
    assert "ok   good: 1.0\nFAIL bad: altered\n" in result.stdout
    monkeypatch.setattr(environment, "check_bundles", lambda *_: checks[:1])
    assert invoke(*command).exit_code == 0


def test_check_tells_versions_and_codecs() -> None:
    names = {check.name for check in environment.check_environment() if check.passed}
    assert {"vertecast", "torch", "pydicom", *environment.TRANSFER_SYNTAXES} <= names


def test_the_page_of_a_run_or_a_study_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda uri: opened.append(uri) or True)
    (tmp_path / "1.2").mkdir()
    for page in (tmp_path / "index.html", tmp_path / "1.2" / "report.html"):
        page.touch()
        result = invoke("open", str(page.parent))
        assert (result.exit_code, opened[-1]) == (0, page.as_uri())
        assert str(page) in result.output
    (tmp_path / "empty").mkdir()
    result = invoke("open", str(tmp_path / "empty"))
    assert (result.exit_code, len(opened)) == (2, 2)
    assert "holds no results" in result.output


def test_a_browser_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.html").touch()
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    result = invoke("open", str(tmp_path))
    assert result.exit_code == 2
    assert str(tmp_path / "index.html") in result.output


def test_version() -> None:
    from vertecast import __version__

    assert invoke("--version").stdout == f"vertecast {__version__}\n"
