"""Cement is completed by its own brightness, and what stands out of a body is no part of it."""

from __future__ import annotations

import numpy as np
import pytest

from vertecast.core.anatomy import Structure
from vertecast.segmentation.ct.cement import add_same_batch, beyond_outline

SPACING_MM = 1.5


def test_a_piece_as_bright_as_the_cement_is_marked_and_cortex_is_not() -> None:
    shape = (50, 44, 40)
    hu = np.full(shape, 60.0, dtype=np.float32)
    cement, metal = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    body, leak, cortex, needle = (
        np.s_[10:18, 10:18, 10:18],
        np.s_[24:27, 12:15, 12:14],
        np.s_[30:34, 20:24, 5:30],
        np.s_[5:7, 25:40, 20:22],
    )
    for part, value in ((body, 2000), (leak, 1900), (cortex, 1100), (needle, 3000)):
        hu[part] = value
    cement[body], metal[needle] = 0.9, 0.9
    add_same_batch(cement, metal, hu, SPACING_MM)
    assert cement[leak].min() >= 0.5
    assert cement[cortex].max() == 0
    assert cement[needle].max() == 0
    assert cement[body].min() == pytest.approx(0.9)


def test_metal_that_the_network_missed_and_bowel_contrast_are_not_the_same_batch() -> None:
    shape = (60, 60, 50)
    hu = np.full(shape, 60.0, dtype=np.float32)
    cement = np.zeros(shape, dtype=np.float32)
    body, rod, bowel = np.s_[10:18, 10:18, 10:18], np.s_[26:29, 10:14, 4:40], np.s_[10:24, 30:44, 10:24]
    for part, value in ((body, 1600), (rod, 3000), (bowel, 1600)):
        hu[part] = value
    cement[body] = 0.9
    add_same_batch(cement, np.zeros_like(cement), hu, SPACING_MM)
    assert cement[rod].max() == 0, "much brighter than the cement"
    assert cement[bowel].max() == 0, "9 mL without a voxel that the network is sure of"


def test_without_cement_nothing_bright_becomes_cement() -> None:
    hu = np.full((20, 20, 20), 2500.0, dtype=np.float32)
    cement = np.zeros_like(hu)
    add_same_batch(cement, np.zeros_like(hu), hu, SPACING_MM)
    assert not cement.any()


def test_a_leak_into_the_canal_is_taken_off_the_body() -> None:
    structure = np.zeros((50, 48, 36), dtype=np.uint8)
    body, leak = np.s_[10:38, 8:28, 8:24], np.s_[20:28, 28:33, 12:18]
    structure[body] = structure[leak] = Structure.BODY
    cement = np.zeros(structure.shape, dtype=bool)
    cement[16:30, 12:28, 10:22] = cement[leak] = True
    found = beyond_outline(structure, (structure > 0).astype(np.uint8), cement)
    assert found[leak].mean() > 0.6, "all but the voxel next to the wall"
    assert not found[10:38, 8:27, 8:24].any(), "the body itself keeps its cement, up to both endplates"


def test_a_body_full_of_cement_keeps_its_outline() -> None:
    structure = np.zeros((30, 30, 30), dtype=np.uint8)
    structure[5:25, 5:25, 8:20] = Structure.BODY
    found = beyond_outline(structure, (structure > 0).astype(np.uint8), structure > 0)
    assert not found.any()
