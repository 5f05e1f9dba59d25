"""What a CT network says of every voxel, as probabilities and millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core.anatomy import Structure

Array: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Maps:
    """Probabilities of the structures (s, i, j, k), of cement and of metal, and offsets (3, i, j, k) in mm."""

    structure: Array
    cement: Array
    metal: Array
    offset_mm: Array

    @classmethod
    def of(cls, output: Array) -> Maps:
        """From a network's output (c, i, j, k); voxels that no tile covered are background."""
        from vertecast.segmentation.ct.network import CEMENT_CHANNEL, METAL_CHANNEL, OFFSET_CHANNELS, OFFSET_SCALE_MM

        skipped = np.asarray(~output.any(axis=0))
        sigmoid = 1 / (1 + np.exp(-np.clip(output[[CEMENT_CHANNEL, METAL_CHANNEL]], -30, 30)))
        maps = cls(
            structure=softmax(output[: len(Structure)]),
            cement=sigmoid[0],
            metal=sigmoid[1],
            offset_mm=output[OFFSET_CHANNELS] * OFFSET_SCALE_MM,
        )
        maps.clear(skipped)
        return maps

    def clear(self, where: npt.NDArray[np.bool_]) -> None:
        """Make voxels background."""
        self.structure[:, where] = 0
        self.structure[Structure.BACKGROUND, where] = 1
        self.cement[where] = 0
        self.metal[where] = 0


def softmax(logits: Array) -> Array:
    """Logits to probabilities along the first axis."""
    shifted = np.exp(logits - logits.max(axis=0, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=0, keepdims=True), dtype=np.float32)
