"""Train a network, going on where a run stopped: ``scripts/train.py configs/train/ct_outliner.yaml --out runs/a``."""

from __future__ import annotations

import argparse
from pathlib import Path

from vertecast.training import Trainer, load_task


def main() -> None:
    """Train to the end of the schedule, print the held-out scores and, if asked, write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: last.pt, curves.csv")
    parser.add_argument("--steps", type=int, help="train to this many steps instead of the schedule's")
    parser.add_argument("--start", type=Path, help="bundle whose weights a new run begins with, as models/ct_spine")
    parser.add_argument("--mean-with", type=Path, help="bundle whose weights and the run's are averaged at the end")
    parser.add_argument("--bundle", type=Path, help="bundle that takes the weights at the end, as models/ct_spine")
    parser.add_argument("--export-only", action="store_true", help="no further step: score and write what the run has")
    arguments = parser.parse_args()
    changes = {"steps": arguments.steps} if arguments.steps else {}
    trainer = Trainer(load_task(arguments.config, **changes), arguments.out)
    if arguments.start:
        trainer.start_from(arguments.start)
    if not arguments.export_only:
        trainer.run()
    if arguments.mean_with:
        trainer.average_with(arguments.mean_with)
    scores = trainer.validate()
    print(scores)
    if arguments.bundle:
        trainer.export(arguments.bundle, scores)


if __name__ == "__main__":
    main()
