"""A dask cluster on the loopback: the same results as without one, and the same end for what hangs or dies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster, WorkerPlugin

from fakes import HERE, Errand, equal_but_for_rounding, load_blocks, run_errand, square_unless_unlucky, write_dicom
from vertecast.run.batch import run_batch
from vertecast.run.cluster import DaskPool
from vertecast.run.engine import Engine
from vertecast.run.workers import Lost

ENGINE = Engine(load=load_blocks, weights="blocks")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two workers, each a process with one thread."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def outputs(folder: Path) -> dict[str, Any]:
    """What was measured; DICOM objects and the PDF carry the time at which they were written."""
    kept = (".json", ".csv", ".gz", ".png", ".ctbl", ".txt")
    paths = (path for path in folder.rglob("*") if path.suffix in kept and path.name != "run.json")
    return {str(path.relative_to(folder)): _content(path) for path in sorted(paths)}


def _content(path: Path) -> Any:
    return json.loads(path.read_text()) if path.suffix == ".json" else path.read_bytes()


def test_a_cluster_gives_the_same(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for study, (patient, date) in enumerate([("P1", "20260301"), ("P1", "20260312"), ("P2", "20260312")], start=1):
        write_dicom(tmp_path / "in" / str(study), study=study, patient=patient, date=date)
    run_batch([tmp_path / "in"], tmp_path / "local", HERE, ENGINE)
    monkeypatch.chdir(tmp_path)  # the workers stay where they are
    config = HERE.with_overrides({"batch": {"scheduler": address}})
    result = run_batch([Path("in")], Path("cluster"), config, ENGINE)
    assert result.count("analyzed") == 3
    local = outputs(tmp_path / "local")
    assert len(local) > 10
    assert equal_but_for_rounding(outputs(tmp_path / "cluster"), local)


def test_what_hangs_or_dies_on_a_worker_is_lost_alone(tmp_path: Path, address: str) -> None:
    hanging = DaskPool(run_errand, address, plugin=WorkerPlugin(), time_limit_s=3.0)
    errands = [Errand(name=name, log=tmp_path, seconds=seconds) for name, seconds in (("a", 3600.0), ("b", 0.1))]
    assert finished(hanging, errands) == {errands[0]: Lost.OUT_OF_TIME, errands[1]: "b"}
    deadly = DaskPool(square_unless_unlucky, address, plugin=WorkerPlugin())
    assert finished(deadly, [2, 13, 4]) == {2: 4, 13: Lost.WORKER_DIED, 4: 16}


def finished(pool: DaskPool, items: list) -> dict:
    """What became of the items."""
    ends = {}
    for item in items:
        while not pool.has_room:
            ends.update([pool.next_finished()])
        pool.submit(item)
    while pool.busy:
        ends.update([pool.next_finished()])
    pool.close()
    return ends
