"""Hounsfield units in 8 bits: fine steps where soft tissue and bone differ by little, coarse ones in air and metal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class GreyTable:
    """Which value each of the 256 codes stands for: straight lines between a few knots.

    Attributes:
        codes: Codes of the knots, from 0 to 255, growing.
        values: Values of the knots, growing: HU of a CT, grey levels of a film.
        unit: Of the values, for the reader.
    """

    codes: tuple[int, ...]
    values: tuple[float, ...]
    unit: str

    def encode(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
        """The nearest code of each value, any shape; beyond the ends the end, NaN the lowest."""
        codes = np.interp(np.nan_to_num(values, nan=self.values[0]), self.values, self.codes)
        return np.asarray(np.rint(codes), dtype=np.uint8)

    def decode(self, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """The value of each code, as the viewer reads it."""
        return np.asarray(np.interp(codes, self.codes, self.values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Values between ``center - width / 2`` (black) and ``center + width / 2`` (white)."""

    name: str
    center: float
    width: float


CT_GREYS: Final = GreyTable(codes=(0, 16, 116, 196, 255), values=(-1000.0, -200.0, 300.0, 1500.0, 4095.0), unit="HU")
"""Steps of 50 HU up to fat, 5 HU in soft tissue and marrow, 15 HU in bone, 44 HU in cement and metal."""

CT_WINDOWS: Final[Sequence[Window]] = (
    Window(name="Bone", center=400.0, width=1500.0),
    Window(name="Cement", center=1500.0, width=3000.0),
    Window(name="Soft tissue", center=50.0, width=400.0),
)
"""The usual windows of bone and soft tissue; that of cement keeps bone visible and cement below white."""

FILM_UNIT: Final = "% of the film's range"


def film_greys() -> GreyTable:
    """Codes of a film, whose scale is arbitrary: per cent of its darkest to its brightest pixel."""
    return GreyTable(codes=(0, 255), values=(0.0, 100.0), unit=FILM_UNIT)
