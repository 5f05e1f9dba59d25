"""What a worker hands to the network is what it made, within the rounding that `packed` states."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.ct.crops import LARGEST_OFFSET_MM, CropSettings, TrainingCrop, crops
from vertecast.lab.training.examples import as_tensors, packed, unpacked
from vertecast.lab.training.task import Batch

LARGEST_LOSS = {"hu": 0.5, "cement": 2**-11, "offset": 0.04}
"""Of the values that are rounded; all others are kept as they are."""


def assert_kept(example: Batch) -> None:
    sent = packed(example)
    found = unpacked(sent)
    assert found.keys() == example.keys()
    for name, values in example.items():
        assert found[name].dtype == values.dtype, name
        lost = (found[name].double() - values.double()).abs().max()
        assert float(lost) <= LARGEST_LOSS.get(name, 0.0), name
    for name, values in unpacked(example).items():
        assert torch.equal(values, example[name]), "what was not packed stays as it is"
    assert _bytes(sent) < 0.5 * _bytes(example)


def _bytes(example: Batch) -> int:
    return sum(values.nbytes for values in example.values())


def test_a_simulated_crop_is_kept() -> None:
    tiny = CropSettings(
        spacing_mm=4.0, phantom_shape=(48, 48, 48), crop=32, near_spine=1.0, pool=1, uses=1,
        treated_rate=1.0, metal_rate=1.0,
    )  # fmt: skip
    example = as_tensors(next(crops(3, tiny)))
    assert all(float(example[name].abs().max()) > 0 for name in ("cement", "metal", "offset", "offset_weight"))
    assert_kept(example)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), shape=st.tuples(*(st.integers(3, 9) for _ in range(3))))
def test_any_crop_is_kept(seed: int, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    crop = TrainingCrop(
        hu=rng.uniform(-1024, 8000, shape).astype(np.float32),
        structure=rng.integers(0, len(Structure), shape, dtype=np.uint8),
        cement=rng.random(shape, dtype=np.float32),
        metal=rng.integers(0, 2, shape, dtype=np.uint8),
        offset_mm=rng.uniform(-LARGEST_OFFSET_MM, LARGEST_OFFSET_MM, (3, *shape)).astype(np.float32),
        offset_weight=rng.integers(0, 2, shape, dtype=np.uint8),
    )
    assert_kept(as_tensors(crop))
