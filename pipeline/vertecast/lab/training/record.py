"""The curves of a run: CSV files that any program draws, and TensorBoard where it is asked for."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vertecast.core.errors import ConfigurationError

STEP: Final = "step"


class RunRecord:
    """Writes a run's curves into its folder.

    Args:
        folder: Of the run.
        tensorboard: Write ``tensorboard/`` too.

    Raises:
        ConfigurationError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, *, tensorboard: bool) -> None:
        self._folder = folder
        self._writer = _tensorboard(folder / "tensorboard") if tensorboard else None

    def forget_after(self, step: int) -> None:
        """Drop lines of steps after one: the run was killed before it was saved, and makes them again."""
        for path in self._folder.glob("*.csv"):
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            if any(int(row[STEP]) > step for row in rows):
                kept = [row for row in rows if int(row[STEP]) <= step]
                unfinished = path.with_suffix(".tmp")
                with unfinished.open("w", newline="") as file:
                    _write(file, list(rows[0]), kept, header=True)
                unfinished.replace(path)

    def add(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Add a line to ``<name>.csv``."""
        path = self._folder / f"{name}.csv"
        is_new = not path.exists()
        line = {STEP: step, **{key: round(value, 5) for key, value in values.items()}}
        with path.open("a", newline="") as file:
            _write(file, list(line), [line], header=is_new)
        if self._writer is not None:
            for key, value in values.items():
                self._writer.add_scalar(f"{name}/{key}", value, step)
            self._writer.flush()


def _write(file: Any, columns: list[str], rows: list[dict[str, Any]], *, header: bool) -> None:
    writer = csv.DictWriter(file, fieldnames=columns)
    if header:
        writer.writeheader()
    writer.writerows(rows)


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigurationError("tensorboard: is not installed; install vertecast[train], or leave it out") from error
    return SummaryWriter(str(folder))
