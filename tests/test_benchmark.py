"""``scripts/benchmark.py``: its table, its verdicts, what one failed subject costs, and how processes are measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import benchmark
import pytest
import yaml
from benchmarks import batch, runtimes, table, training
from benchmarks.figures import Aim, Comparison, Difference, Figure, RuntimeRow, Section, from_json, to_json
from benchmarks.machine import machine
from benchmarks.processes import Run, alone, measure, observe

from tiny_training import TINY
from vertecast.lab.training import load_task

README = f"# Title\n\nBefore.\n\n{table.BEGIN}\nnot measured yet\n{table.END}\n\nAfter.\n"


def section() -> Section:
    whole = Figure(
        name="from DICOM to all outputs",
        unit="s",
        cold=(20.0, 30.0, 24.0),
        warm=(19.0, 18.0, 20.0),
        memory_gib=(1.5, 4.5, 1.0),
        aims=(Aim(value=25, column="cold"), Aim(value=4, column="memory")),
    )
    rate = Figure(name="frames", unit="/s", warm=(31.0,), aims=(Aim(value=30, column="warm", at_least=True),))
    never = Figure(name="never run", unit="%", aims=(Aim(value=25, column="warm"),))
    return Section(title="CT", figures=(whole, rate, never))


def row(name: str, seconds: float, largest_mm: float = 0.0, **more: Any) -> RuntimeRow:
    differences = {
        "height": Difference(count=21, mean=largest_mm / 2, largest=largest_mm),
        "grade": Difference(count=7, mean=0.0, largest=0.0),
    }
    return RuntimeRow(name=name, loading_s=1.0, cold_s=seconds, warm_s=(seconds,), differences=differences, **more)


def comparison(*rows: RuntimeRow) -> Comparison:
    return Comparison(title="Runtimes", rows=(row(runtimes.REFERENCE, 10.0), *rows))


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    """What a run wrote: a CT, runtimes of which one is not installed, and a service that failed."""
    missing = RuntimeRow(name="openvino f32", failed="OpenVINO is not installed")
    found = {"ct": [section()], "runtimes": [comparison(row("torch bf16", 4.0, 0.11), missing)]}
    subjects: dict[str, Any] = {
        name: {"load_before": 0.25, "runs": 3, "found": to_json(one)} for name, one in found.items()
    }
    subjects["service"] = {"load_before": 1.5, "runs": 3, "failed": "no Orthanc\nin /usr/sbin/Orthanc | anywhere"}
    path = tmp_path / "figures.json"
    path.write_text(json.dumps({"machine": machine(), "subjects": subjects}), encoding="utf-8")
    return path


def test_the_table_is_written_between_the_markers_as_often_as_one_likes(
    figures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(README, encoding="utf-8")
    arguments = ["--from", str(figures), "--table", str(readme)]
    # The subject that failed is told by the status too.
    assert benchmark.main(arguments) == 1
    once = readme.read_text(encoding="utf-8")
    assert benchmark.main(arguments) == 1
    assert readme.read_text(encoding="utf-8") == once
    before, _, rest = once.partition(table.BEGIN)
    written, _, after = rest.partition(table.END)
    assert (before, after) == ("# Title\n\nBefore.\n\n", "\n\nAfter.\n")
    assert "not measured yet" not in once
    assert written.strip() in capsys.readouterr().out
    lines = written.splitlines()
    assert "| from DICOM to all outputs | 24.0 s | 19.0 s | 4.50 GiB | ≤25 s reached; ≤4 GiB missed |" in lines
    assert "| frames |  | 31.0/s |  | ≥30/s reached |" in lines
    assert "| never run |  |  |  | ≤25 % not measured |" in lines
    assert "| **service** | failed: no Orthanc in Orthanc \\| anywhere | | | |" in lines
    assert "Load before: ct 0.25, service 1.5, runtimes 0.25." in " ".join(written.split())
    assert f"{machine()['cores']} cores" in written
    (missing,) = [line for line in lines if line.startswith("| openvino f32 |")]
    assert missing.endswith("| failed: OpenVINO is not installed |")
    assert missing.count("|") == next(line for line in lines if line.startswith("| runtime |")).count("|")


@pytest.mark.parametrize("text", ["no markers", f"{table.END}\n{table.BEGIN}", README + README])
def test_without_its_two_markers_a_file_is_left_alone_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        benchmark.main(["ct", "--table", str(readme)])
    assert ended.value.code == 2
    assert table.BEGIN in capsys.readouterr().err
    assert readme.read_text(encoding="utf-8") == text


def test_the_page_has_a_place_for_the_table(repository: Path) -> None:
    table.check(repository / "docs" / "performance.md")


def test_a_failed_subject_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def measurements(_runs: int, _study: Path | None) -> dict[str, Any]:
        def fail() -> Any:
            raise RuntimeError("vertecast analyze: exit status 1")

        return {"batch": fail, "ct": lambda: done.append("ct") or [section()]}

    monkeypatch.setattr(benchmark, "measurements", measurements)
    out = tmp_path / "new" / "figures.json"
    assert benchmark.main(["batch", "ct", "--out", str(out)]) == 1
    assert done == ["ct"]
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["subjects"]["batch"]["failed"] == "vertecast analyze: exit status 1"
    assert from_json(result["subjects"]["ct"]["found"]) == [section()]
    assert "| **batch** | failed: vertecast analyze: exit status 1 |" in capsys.readouterr().out
    # One subject measured again takes the place of the stored one, and the rest is kept.
    monkeypatch.setattr(benchmark, "measurements", lambda *_: {"batch": lambda: [section()]})
    assert benchmark.main(["batch", "--from", str(out), "--out", str(out)]) == 0
    subjects = json.loads(out.read_text(encoding="utf-8"))["subjects"]
    assert list(subjects) == ["ct", "batch"]
    assert all("failed" not in one for one in subjects.values())


def test_figures_of_two_machines_never_stand_in_one_table(
    figures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = json.loads(figures.read_text(encoding="utf-8"))
    other["machine"]["cores"] += 1
    (tmp_path / "other.json").write_text(json.dumps(other), encoding="utf-8")
    (tmp_path / "foreign.json").write_text('{"subjects": []}', encoding="utf-8")
    for name, reason in (("other", "another machine or with other versions (cores)"), ("foreign", "is no file that")):
        with pytest.raises(SystemExit):
            benchmark.main(["--from", str(figures), str(tmp_path / f"{name}.json")])
        assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (row("other", 4.0, 0.01), "an option"),
        (row("other", 6.0, 0.01), "gains less than 2 times"),
        (row("other", 4.0, 0.06), "changes the measurements"),
        (row("other", 4.0, 0.01, not_in_both=1), "changes the measurements"),
        (row("other", 4.0, 0.01, grades_changed=1), "changes the measurements"),
        (RuntimeRow(name="other", failed="absent"), "failed: absent"),
    ],
)
def test_what_pays_and_keeps_the_measurements_is_an_option(other: RuntimeRow, verdict: str) -> None:
    rows = comparison(other).rows
    assert [runtimes.verdict(one, rows) for one in rows] == ["reference", verdict]


def test_runtimes_are_compared_body_by_body() -> None:
    run = Run(wall_s=1.0, cpu_s=8.0, peak_gib=1.0)
    reference = runtimes.Outcome(
        loading=run,
        segmenting=(run, run),
        values={("height", "a", "L1 anterior"): 20.0, ("height", "b", "L1 anterior"): 25.0, ("grade", "a", "L1"): 1.0},
    )
    other = runtimes.Outcome(
        loading=run,
        segmenting=(run, Run(wall_s=1.0, cpu_s=4.0, peak_gib=2.0)),
        values={("height", "a", "L1 anterior"): 19.7, ("height", "b", "L2 anterior"): 25.0, ("grade", "a", "L1"): 2.0},
    )
    found = runtimes.compared("other", other, reference)
    assert found.differences["height"].largest == pytest.approx(0.3)
    assert (found.differences["height"].count, found.grades_changed, found.not_in_both) == (1, 1, 2)
    assert (found.warm_s, found.peak_gib) == ((4.0,), 2.0)
    assert runtimes.gain(found, runtimes.compared("torch", reference, reference)) == 2.0


def test_the_ratio_of_two_workers_is_that_of_pairs_of_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    # On one core, on all cores, two workers; then again.
    walls = iter([60.0, 45.0, 30.0, 100.0, 80.0, 80.0, 90.0, 75.0, 50.0])
    monkeypatch.setattr(batch, "analysed", lambda *_, **__: Run(wall_s=next(walls), cpu_s=1.0, peak_gib=2.0))
    (found,) = batch.measure_batch(3)
    one_core, one, two, ratio, over_all_cores = found.figures
    assert (one_core.text("cold"), one.text("cold"), two.text("cold")) == ("240/h", "288/h", "432/h")
    assert ratio.cold == pytest.approx((2.0, 1.25, 1.8))
    assert ratio.verdicts() == ["≥1.6× reached"]
    assert over_all_cores.cold == pytest.approx((1.5, 1.0, 1.5))
    assert over_all_cores.verdicts() == []


def test_a_training_is_measured_by_the_rounds_of_a_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = tmp_path / "tiny.yaml"
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in TINY.items()}
    schedule.write_text(yaml.safe_dump({**values, "batch": 2, "uses": 4, "workers": 1}), encoding="utf-8")
    network = training._Network(name="tiny, a crop", schedule=schedule)
    monkeypatch.setattr(training, "NETWORKS", (network,))
    (found,) = training.measure_training(2)
    (figure,) = found.figures
    assert (figure.name, len(figure.cold), len(figure.warm)) == ("tiny, a crop", 1, 2)
    assert min(*figure.cold, *figure.warm) > 0
    assert 0.1 < figure.memory_gib[0] < 8
    assert from_json(to_json([found])) == [found]


def test_a_round_is_what_one_patient_of_a_shipped_schedule_serves_for() -> None:
    rounds = [training.steps_of_a_patient(load_task(network.schedule).settings) for network in training.NETWORKS]
    assert rounds == [5, 16, 16, 32]


def test_each_process_is_measured_alone(repository: Path) -> None:
    # In a process of its own: the memory of the one that starts another counts for both.
    code = """
import json, sys
from benchmarks.processes import measure
large = "import time; x = b'1' * (200 << 20); time.sleep(1.5)"
parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {large!r}], check=True)"
commands = ["x = b'1' * (300 << 20)", "import time; time.sleep(0.2)", parent]
runs = [measure([sys.executable, "-c", command], tree=command == parent) for command in commands]
print(json.dumps([[run.peak_gib, run.wall_s, run.cpu_s] for run in runs]))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=repository / "scripts", capture_output=True, text=True, check=True)
    (large_gib, _, _), (small_gib, wall_s, cpu_s), (tree_gib, _, _) = json.loads(done.stdout)
    assert large_gib > 0.29
    assert small_gib < 0.15
    assert 0.19 < tree_gib < 0.35
    assert wall_s >= 0.2
    assert cpu_s < wall_s


def test_a_failed_command_is_told_with_its_output() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)exit status 3.*because"):
        measure([sys.executable, "-c", "print('because'); raise SystemExit(3)"])


def test_the_memory_of_a_step_forgets_what_was_let_go_before() -> None:
    large, of_large = alone(observe, _fill, 300)
    assert large == 300 << 20
    assert of_large.peak_gib > 0.29
    assert alone(_after_a_large_one) < of_large.peak_gib - 0.2


def test_a_process_that_dies_says_so() -> None:
    with pytest.raises(RuntimeError, match="_die: its process ended"):
        alone(_die)


def _fill(mib: int) -> int:
    return len(b"1" * (mib << 20))


def _after_a_large_one() -> float:
    observe(_fill, 300)
    _, run = observe(_fill, 10)
    return run.peak_gib


def _die() -> None:
    import os

    os._exit(9)
