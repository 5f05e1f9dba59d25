"""Train a network, going on where a run stopped: ``scripts/train.py configs/train/ct_outliner.yaml --out runs/a``.

On several GPUs or machines: ``torchrun --nproc_per_node 2 scripts/train.py ...``. docs/training.md tells the way from
labelled CTs to a bundle. Exit status: 0 done, 2 wrong configuration or data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vertecast.core.errors import BundleError, ConfigurationError
from vertecast.lab.training import Trainer, export_bundle, joined, load_task


def main(arguments: Sequence[str] | None = None) -> int:
    """Train to the end of the schedule, print the held-out scores and, if asked, write the bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: last.pt, best.pt, curves.csv")
    parser.add_argument("--steps", type=int, help="train to this many steps instead of the schedule's")
    parser.add_argument("--minutes", type=float, help="end within this time instead of the schedule's")
    parser.add_argument("--start", type=Path, help="bundle whose weights a new run begins with, as models/ct_spine")
    parser.add_argument("--bundle", type=Path, help="bundle that takes the weights at the end; begun if not there")
    parser.add_argument("--base", type=Path, help="bundle a new one begins from; default: --start, or the shipped one")
    parser.add_argument("--take", choices=("last", "best"), default="last", help="which weights the bundle takes")
    parser.add_argument("--export-only", action="store_true", help="no further step: score and write what the run has")
    options = parser.parse_args(arguments)
    changes = {key: value for key in ("steps", "minutes") if (value := getattr(options, key)) is not None}
    try:
        with joined() as place:
            trainer = Trainer(load_task(options.config, **changes), options.out, place)
            if options.start:
                trainer.start_from(options.start)
            if not options.export_only:
                trainer.run()
            if place.is_first and options.bundle:
                base = options.base or options.start
                print(export_bundle(trainer, options.bundle, base=base, take=options.take))
            elif place.is_first:
                print(trainer.validate())
            place.wait()
    except (BundleError, ConfigurationError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
