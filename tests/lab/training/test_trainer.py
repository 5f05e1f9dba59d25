"""A short seeded run lowers the loss and repeats itself; what is kept of it, and what is refused."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny_training import TERMS, are_equal, assert_same, curves, last_state, tiny_task
from vertecast.core.errors import BundleError, ConfigurationError
from vertecast.core.resources import bundle_directory
from vertecast.lab.training import Trainer, load_task
from vertecast.lab.training.loader import batches
from vertecast.lab.training.patients import Patients
from vertecast.segmentation.bundle import Bundle


def test_a_seeded_run_lowers_the_loss_and_repeats_itself(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Trainer(tiny_task(steps=18, validate_every=9, validation_examples=1), tmp_path / name).run()
    rows = curves(tmp_path / "a")
    assert [int(row["step"]) for row in rows] == [6, 12, 18]
    total = [sum(float(row[k]) for k in TERMS) for row in rows]
    assert total[-1] < total[0]
    assert_same(last_state(tmp_path / "a")["net"], last_state(tmp_path / "b")["net"])
    assert curves(tmp_path / "a", "validation") == curves(tmp_path / "b", "validation")
    other = Trainer(tiny_task(steps=18, seed=2), tmp_path / "c")
    assert not are_equal(other.net.state_dict(), Trainer(tiny_task(), tmp_path / "d").net.state_dict())


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_a_step_do_not_depend_on_where_the_run_began(tmp_path: Path, workers: int) -> None:
    task = tiny_task(workers=workers, batch=2, uses=2)
    whole = list(islice(batches(task, 0, tmp_path / "a"), 7))
    rest = list(islice(batches(task, 4, tmp_path / "b"), 3))
    for expected, found in zip(whole[4:], rest, strict=True):
        for name, values in expected.items():
            assert torch.equal(values, found[name]), name
    assert not torch.equal(whole[0]["hu"], whole[1]["hu"])


def test_patients_come_and_go_by_their_number(tmp_path: Path) -> None:
    drawn: list[float] = []

    def draw(rng: np.random.Generator) -> list[float]:
        drawn.append(float(rng.random()))
        return [drawn[-1]]

    def stream(folder: Path) -> Patients[float]:
        return Patients((1, 2), draw, keep=3, uses=4, folder=folder)

    patients = stream(tmp_path / "a")
    numbers = [patients.newest(n) for n in range(40)]
    assert numbers == sorted(numbers)
    assert numbers[0] == 0
    assert numbers.count(5) == 4
    picked = [patients.pick(n, np.random.default_rng(n)) for n in range(40)]
    assert len(set(picked[-8:])) > 1
    assert len(drawn) <= max(numbers) + 1, "none is drawn twice"
    again = stream(tmp_path / "b")
    assert [again.pick(n, np.random.default_rng(n)) for n in range(30, 40)] == picked[30:]
    count = len(drawn)
    resumed = stream(tmp_path / "a")
    assert [resumed.pick(n, np.random.default_rng(n)) for n in range(30, 40)] == picked[30:]
    assert len(drawn) == count, "they were kept"
    assert len(list((tmp_path / "a").iterdir())) <= 3 + 8 + 1


def test_a_run_begins_with_the_weights_of_a_bundle(tmp_path: Path) -> None:
    bundle = bundle_directory("ct_spine")
    locator = Bundle.open(bundle).locator
    trainer = Trainer(tiny_task(widths=locator.widths), tmp_path / "run")
    before = trainer.net.head[0].weight.clone()
    trainer.start_from(bundle)
    assert not torch.equal(before, trainer.net.head[0].weight)
    torch.testing.assert_close(trainer.average.module.head[0].weight, trainer.net.head[0].weight)
    with pytest.raises(BundleError, match="widths"):
        Trainer(tiny_task(), tmp_path / "other").start_from(bundle)


def test_a_run_of_an_earlier_version_is_refused_with_its_file(tmp_path: Path) -> None:
    """Until Muon came in a run had one optimiser."""
    run = Trainer(tiny_task(), tmp_path)
    run.save()
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    state["optimizer"] = state.pop("optimizers")[0]
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(ConfigurationError, match=r"last\.pt is of an earlier version"):
        Trainer(tiny_task(), tmp_path)


def test_the_best_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(tiny_task(steps=9, validate_every=3), tmp_path / "run")
    scores = iter([0.2, 0.7, 0.5])
    monkeypatch.setattr(trainer, "validate", lambda: {"dice_body": next(scores)})
    trainer.run()
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    assert (best["step"], best["scores"]) == (6, {"dice_body": 0.7})
    assert not are_equal(best["weights"], trainer.average.module.state_dict())
    assert [float(row["dice_body"]) for row in curves(tmp_path / "run", "validation")] == [0.2, 0.7, 0.5]


def test_bfloat16_learns_too(tmp_path: Path) -> None:
    trainer = Trainer(tiny_task(steps=18, precision="bf16"), tmp_path / "run")
    trainer.run()
    total = [sum(float(row[k]) for k in TERMS) for row in curves(tmp_path / "run")]
    assert total[-1] < total[0]
    assert all(values.dtype == torch.float32 for values in trainer.net.state_dict().values())
    exact = Trainer(tiny_task(steps=18, precision="f32"), tmp_path / "exact")
    exact.run()
    assert not are_equal(exact.net.state_dict(), trainer.net.state_dict()), "it did compute otherwise"


def test_curves_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Trainer(tiny_task(steps=4, save_every=2, validate_every=4, tensorboard=True), tmp_path / "run").run()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {"curves/structure", "validation/dice_body"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("curves/structure")] == [2, 4]


def test_every_shipped_schedule_is_understood(repository: Path) -> None:
    tasks = {path.stem: load_task(path) for path in (repository / "configs" / "train").glob("*.yaml")}
    assert {"ct_locator", "ct_outliner", "ct_own", "xray_spine"} <= set(tasks)
    assert [source.kind for source in tasks["ct_own"].settings.data] == ["folder", "simulated"]
    for name in ("ct_outliner", "ct_own"):  # so that it can begin with the shipped weights
        shipped = Bundle.open(bundle_directory("ct_spine")).outliner
        assert (tasks[name].settings.widths, tasks[name].settings.spacing_mm) == (shipped.widths, shipped.spacing_mm)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "cannot be read as YAML"),
        ("- 1", "must hold the keys"),
        ("network: locator\nstep: 3", "step: Extra inputs"),
        ("network: outliner\ndata: []", "data: Tuple should have at least 1"),
        ("network: outliner\ndata: [{kind: folder, images: a}]", "labels: Field required"),
        ("network: xray\nbatch: 0", "batch: Input should be greater"),
    ],
)
def test_a_wrong_schedule_is_refused_with_its_key(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "schedule.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=complaint):
        load_task(path)
