"""The loss asks for what is known and for nothing else."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.ct.crops import CropSettings, crops, draw_patient, scan, take_crop
from vertecast.lab.training.ct import dice_scores, loss_terms, marginal_loss, members, single_loss, structure_loss
from vertecast.lab.training.examples import as_tensors
from vertecast.lab.training.labelled import ANYTHING

TINY = CropSettings(spacing_mm=4.0, phantom_shape=(48, 48, 48), crop=32, near_spine=1.0, pool=2, uses=4)


def _batch() -> dict[str, torch.Tensor]:
    return {k: v[None] for k, v in as_tensors(next(crops(7, TINY))).items()}


def _perfect(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    may_be, _ = members(batch["allowed"])
    output = torch.zeros(1, 13, *batch["allowed"].shape[1:])
    output[:, :8] = 40 * may_be.float()
    output[:, 8], output[:, 9] = 80 * batch["cement"].round() - 40, 80 * batch["metal"] - 40
    output[:, 10:13] = batch["offset"] / 20
    return output


def test_crops_repeat_themselves_for_a_seed() -> None:
    first, second = next(crops(5, TINY)), next(crops(5, TINY))
    np.testing.assert_array_equal(first.hu, second.hu)
    np.testing.assert_array_equal(first.structure, second.structure)
    assert not np.array_equal(first.hu, next(crops(6, TINY)).hu)


def test_offsets_point_at_one_centre_for_each_body() -> None:
    rng = np.random.default_rng(11)
    patient = draw_patient(rng, TINY)
    crop = take_crop(patient, rng, TINY)
    index = np.indices(crop.structure.shape)
    body = (crop.structure == Structure.BODY) & (crop.offset_weight > 0)
    assert body.sum() > 50
    votes = (index * TINY.spacing_mm + crop.offset_mm)[:, body]
    centers = np.unique(np.round(votes.T, 1), axis=0)
    assert 1 <= len(centers) <= 10, "voxels of one body agree on its centre, in mirror images too"


def test_thick_slices_blur_along_the_slice_axis_only() -> None:
    step = np.zeros((24, 24, 48), dtype=np.float32)
    step[:, :, 24:] = 1000
    spread = []
    for seed in range(12):
        seen = scan(step, 1.0, np.random.default_rng(seed))
        profile = seen[6:18, 6:18].mean(axis=(0, 1))
        spread.append(np.abs(np.diff(profile)).max())
    assert max(spread) > 2 * min(spread), "some scanners are sharp and some have thick slices"


def test_a_perfect_answer_has_no_structure_loss() -> None:
    batch = _batch()
    output = _perfect(batch)
    terms = loss_terms(output, batch)
    assert float(terms["structure"]) < 0.05
    assert float(terms["offset"]) < 1e-4
    overlap, size = dice_scores(output, batch)["dice_body"]
    assert overlap == size > 0


def test_where_all_is_known_the_loss_is_the_cross_entropy() -> None:
    torch.manual_seed(0)
    batch = _batch()
    batch["cement"] = torch.zeros_like(batch["cement"])  # no leak, so that every voxel weighs the same
    output = torch.randn(1, 13, *batch["allowed"].shape[1:])
    structure = torch.log2(batch["allowed"].float()).long()
    truth = torch.nn.functional.one_hot(structure, 8).movedim(-1, 1).float()
    likely = output[:, :8].softmax(1)
    overlap = (likely * truth).sum((0, 2, 3, 4))
    dice = 1 - (2 * overlap + 50) / (likely.sum((0, 2, 3, 4)) + truth.sum((0, 2, 3, 4)) + 50)
    expected = 3 * torch.nn.functional.cross_entropy(output[:, :8], structure) + 0.5 * dice[1:].mean()
    torch.testing.assert_close(loss_terms(output, batch)["structure"], expected)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), *(st.integers(1, 7) for _ in range(3))),
    scale=st.sampled_from([0.0, 0.1, 1.0, 10.0]),
    present=st.sets(st.sampled_from(list(Structure)), min_size=1),
)
def test_of_sets_with_one_member_both_ways_are_the_same(
    seed: int, shape: tuple[int, int, int, int], scale: float, present: set[Structure]
) -> None:
    chance = torch.Generator().manual_seed(seed)
    names = torch.tensor(sorted(present))
    allowed = (1 << names[torch.randint(len(names), shape, generator=chance)]).to(torch.uint8)
    weight = 1 + 9 * torch.randint(2, shape, generator=chance).float()
    drawn = scale * torch.randn(shape[0], len(Structure), *shape[1:], generator=chance)
    values, gradients = [], []
    for loss_of in (single_loss, marginal_loss, structure_loss):
        logits = drawn.clone().requires_grad_()
        loss = loss_of(logits, allowed, weight)
        loss.backward()
        assert logits.grad is not None
        values.append(loss.detach())
        gradients.append(logits.grad)
    torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-5)
    assert torch.equal(values[2], values[0]), "the quicker way is taken"


def test_one_voxel_with_a_larger_set_takes_the_marginal_loss() -> None:
    torch.manual_seed(0)
    batch = _batch()
    batch["allowed"][0, 3, 4, 5] = 1 << Structure.BODY | 1 << Structure.POSTERIOR
    logits, weight = torch.randn(1, 8, 32, 32, 32), torch.ones(1, 32, 32, 32)
    found = structure_loss(logits, batch["allowed"], weight)
    assert torch.equal(found, marginal_loss(logits, batch["allowed"], weight))


def test_a_set_of_structures_asks_for_no_more() -> None:
    torch.manual_seed(0)
    batch = _batch()
    is_rib = torch.zeros(1, 13, 32, 32, 32)
    is_rib[:, Structure.RIB] = 40
    batch["allowed"][:] = 1 << Structure.RIB | 1 << Structure.BACKGROUND
    nothing = torch.zeros_like(is_rib)
    nothing[:, Structure.BACKGROUND] = 40
    body = torch.zeros_like(is_rib)
    body[:, Structure.BODY] = 40
    losses = [float(loss_terms(output, batch)["structure"]) for output in (is_rib, nothing, body)]
    assert max(losses[:2]) < 0.01, "a rib or background: both are right"
    assert losses[2] > 50, "a body is not"
    batch["allowed"][:] = ANYTHING
    logits = torch.randn(1, 13, 32, 32, 32, requires_grad=True)
    loss_terms(logits, batch)["structure"].backward()
    assert torch.isfinite(logits.grad).all()
    assert float(logits.grad[:, :8].abs().max()) < 1e-6, "nothing is known, so nothing is learnt"


def test_unknown_cement_and_metal_are_not_asked_for() -> None:
    batch = {k: torch.cat([v, v]) for k, v in _batch().items()}
    batch["cement"][:] = 1.0
    torch.manual_seed(0)
    output = torch.randn(2, 13, 32, 32, 32)
    both = {name: float(value) for name, value in loss_terms(output, batch).items()}
    batch["cement_known"], batch["metal_known"] = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])
    output.requires_grad_()
    terms = loss_terms(output, batch)
    (terms["cement"] + terms["metal"]).backward()
    assert output.grad[1].abs().max() == 0
    assert output.grad[0, 8].abs().max() > 0
    assert 0.5 * both["cement"] < float(terms["cement"]) < 2 * both["cement"]
    batch["cement_known"] = batch["metal_known"] = torch.zeros(2)
    terms = loss_terms(output, batch)
    assert float(terms["cement"]) == float(terms["metal"]) == 0
    assert dice_scores(output.detach(), batch)["dice_cement"] == (0.0, 0.0)
