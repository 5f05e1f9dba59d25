"""Patients drawn once serve a whole run, and the next one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vertecast.lab.simulation.pool import PatientPool


def _picked(pool: PatientPool[int], count: int = 200) -> set[int]:
    rng = np.random.default_rng(1)
    return {pool.pick(rng) for _ in range(count)}


def test_the_newest_batches_are_kept() -> None:
    pool: PatientPool[int] = PatientPool(2)
    for batch in ([1, 2, 3], [4], [5, 6]):
        pool.add(batch)
    assert len(pool) == 3
    assert _picked(pool) == {4, 5, 6}


def test_items_of_batches_of_unequal_size_are_equally_likely() -> None:
    pool: PatientPool[int] = PatientPool(2)
    pool.add([0] * 9)
    pool.add([1])
    rng = np.random.default_rng(2)
    assert np.mean([pool.pick(rng) for _ in range(2000)]) == pytest.approx(0.1, abs=0.03)


def test_a_later_run_goes_on_with_the_same_patients(tmp_path: Path) -> None:
    first: PatientPool[int] = PatientPool(2, tmp_path / "0")
    for batch in ([1], [2], [3]):
        first.add(batch)
    second: PatientPool[int] = PatientPool(2, tmp_path / "0")
    assert _picked(second) == {2, 3}
    second.add([4])
    assert _picked(PatientPool(2, tmp_path / "0")) == {3, 4}
    assert len(list((tmp_path / "0").iterdir())) == 2
    smaller: PatientPool[int] = PatientPool(1, tmp_path / "0")
    assert _picked(smaller) == {4}


def test_few_patients_are_not_seen_over_and_over() -> None:
    pool: PatientPool[int] = PatientPool(20)
    counts = []
    for n in range(10):
        pool.add([n])
        counts.append(pool.uses(80))
    assert counts == [10, 20, 30, 40, 50, 60, 70, 80, 80, 80]
    alone: PatientPool[int] = PatientPool(1)
    alone.add([1])
    assert alone.uses(3) == 3


def test_an_empty_pool_has_nothing_to_pick() -> None:
    with pytest.raises(ValueError, match="high"):
        PatientPool[int](3).pick(np.random.default_rng(1))
