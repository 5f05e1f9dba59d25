"""``scripts/ablation_parts.py``: each part is really left out, in the workers too, and is there again afterwards."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.tissue import Phantom, draw
from vertecast.lab.simulation.projection import pictures, projected
from vertecast.lab.simulation.projection.pictures import PictureSettings, TrainingPicture
from vertecast.lab.simulation.projection.projected import FieldSettings, ProjectedPatient

SMALL = FieldSettings(spacing_mm=6.0, shape=(44, 42, 64), pixels=80, treated_rate=1.0, metal_rate=1.0)
NAMES = ("looks", "trunk", "fine_field", "disease", "clutter", "other_bones")


@pytest.fixture(scope="module")
def parts(repository: Path) -> ModuleType:
    path = repository / "scripts" / "ablation_parts.py"
    spec = importlib.util.spec_from_file_location("scripts_ablation_parts", path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PATIENTS = (0, 7)
"""The second one is drawn finely."""


def _patients() -> list[ProjectedPatient]:
    return [one for seed in PATIENTS for one in projected.draw_projections(np.random.default_rng(seed), SMALL, 1)]


def _pictures(patients: list[ProjectedPatient]) -> list[TrainingPicture]:
    settings = PictureSettings(size=64, field=SMALL)
    return [pictures.take_picture(one, np.random.default_rng(seed), settings) for one in patients for seed in range(4)]


def _named(parts: ModuleType, name: str) -> Any:
    return next(part for part in parts.PARTS if part.name == name)


@pytest.fixture(scope="module")
def whole() -> list[ProjectedPatient]:
    return _patients()


def test_these_are_all_parts(parts: ModuleType) -> None:
    assert {part.name for part in parts.PARTS} == {"whole", *NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_part_changes_the_pictures_and_comes_back(
    parts: ModuleType, whole: list[ProjectedPatient], name: str
) -> None:
    part = _named(parts, name)
    before = [getattr(owner, held) for owner, held, _ in part.replacements]
    first = _pictures(whole)
    with parts.left_out(part):
        without = whole if part.keeps_patients else _patients()
        images = _pictures(without)
    assert [getattr(owner, held) for owner, held, _ in part.replacements] == before
    assert not all(np.array_equal(a.image, b.image) for a, b in zip(first, images, strict=True))
    if name in ("trunk", "other_bones"):  # but the spine stays the same
        for a, b in zip(whole, without, strict=True):
            assert not np.array_equal(a.soft, b.soft)
            assert np.array_equal(a.sacrum, b.sacrum)
            assert [x.points_px.tolist() for x in a.bodies] == [x.points_px.tolist() for x in b.bodies]


def test_runs_that_change_pictures_alone_share_the_patients(parts: ModuleType) -> None:
    assert {part.name for part in parts.PARTS if part.keeps_patients} == {"looks", "clutter"}


def test_without_disease_there_is_none(parts: ModuleType, whole: list[ProjectedPatient]) -> None:
    assert any(one.cement.any() for one in whole)
    assert any(one.metal.any() for one in whole)
    with parts.left_out(_named(parts, "disease")):
        sound = _patients()
    assert not any(one.cement.any() or one.metal.any() for one in sound)


def test_without_the_other_bones_there_are_none(parts: ModuleType) -> None:
    grid = geometry.scaling_affine([5.0] * 3, [-200.0, -170.0, -80.0])

    def drawn() -> Phantom:
        rng = np.random.default_rng(4)
        return draw(sample_spine(rng), grid, (80, 56, 90), rng)

    def hardest(phantom: Phantom) -> float:
        away = ndimage.distance_transform_edt(phantom.structure != Structure.BODY) > WORN_VOXELS
        return float(phantom.hu[(phantom.structure == Structure.OTHER_BONE) & away].max(initial=-1000))

    whole = drawn()
    with parts.left_out(_named(parts, "other_bones")):
        spine = drawn()
    assert (whole.structure == Structure.RIB).any()
    assert not (spine.structure == Structure.RIB).any()
    assert hardest(spine) < 150 < hardest(whole)
    assert np.array_equal(whole.structure == Structure.BODY, spine.structure == Structure.BODY)


def test_without_the_fine_field_the_others_share_its_patients(parts: ModuleType) -> None:
    with parts.left_out(_named(parts, "fine_field")):
        assert sum(field.rate for field in projected.FIELDS) == pytest.approx(1)
        assert min(field.spacing for field in projected.FIELDS) >= 1


WORN_VOXELS = 8
"""Bone of a worn spine, which is none of the other bones, lies no farther from bodies (40 mm)."""


def _stop() -> None:
    assert projected.FRACTURE_RATE == 0
    raise KeyboardInterrupt


def test_a_part_comes_back_when_a_run_is_stopped(parts: ModuleType) -> None:
    before = projected.FRACTURE_RATE
    with pytest.raises(KeyboardInterrupt), parts.left_out(_named(parts, "disease")):
        _stop()
    assert before == projected.FRACTURE_RATE > 0


FORKED = """
import torch
from ablation_parts import PARTS, left_out
from vertecast.lab.simulation.projection import projected

class Rate(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield projected.FRACTURE_RATE

loader = torch.utils.data.DataLoader(Rate(), num_workers=1, multiprocessing_context="fork")
with left_out(next(part for part in PARTS if part.name == "disease")):
    print([float(rate) for rate in loader])
"""


def test_a_forked_worker_simulates_without_the_part(repository: Path) -> None:
    # In a process of its own: one that holds the threads of other libraries must not fork.
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=repository / "scripts", capture_output=True, text=True, check=True
    )
    assert done.stdout == "[0.0]\n"
