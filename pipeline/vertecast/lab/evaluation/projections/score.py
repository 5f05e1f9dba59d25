"""What a score of projection images is, and how many images of how many patients it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from vertecast.lab.evaluation import agreement
from vertecast.lab.evaluation.agreement import Estimate, Statistic, estimate
from vertecast.lab.evaluation.projections.scoring import ImageScore

Images: TypeAlias = Sequence[ImageScore]
"""The images of one study: all of them, or those of one view."""
Rows: TypeAlias = Iterable[tuple[float, ...]]
RowsOf: TypeAlias = Callable[[Images], Rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionScore:
    """One line of the table.

    Attributes:
        key: Its name in the JSON.
        label: What it is, with the unit.
        rows: What the images of one study, or those of one view, add to it.
        statistic: From all rows to the number.
        decimals: Printed.
    """

    key: str
    label: str
    rows: RowsOf
    statistic: Statistic = agreement.mean
    decimals: int = 3

    def of(self, studies: Sequence[Images]) -> Estimate:
        """Compute it from the images of many studies."""
        rows: list[tuple[float, ...]] = []
        patients: list[int] = []
        for images in studies:
            added = list(self.rows(images))
            rows += added
            patients += [images[0].seed] * len(added)
        return estimate(rows, patients, self.statistic)


def once(value: Callable[[ImageScore], float]) -> RowsOf:
    """A row for each image."""
    return lambda images: ((float(value(image)),) for image in images)
