"""Which parts of the simulation carry to real films: trains a small film network once for each part left out.

``python scripts/ablate.py --data DIR --out runs/ablation --docs docs/simulation.md`` trains with the whole simulation
and without each of its parts, all runs with the same few steps, scores them on the real films in ``DIR`` and on
held-out simulated films of the whole simulation, and writes the table between the two marks in the page. A run that
was stopped goes on; one that is scored is not repeated. No real film trains anything.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ablation_parts import PARTS, Part, left_out
from ablation_scores import Film, scored, table

from vertecast.core.errors import ConfigurationError, VertecastError

if TYPE_CHECKING:
    from vertecast.lab.training import Trainer

SCHEDULE: Final = Path(__file__).parents[1] / "configs" / "train" / "xray_spine.yaml"
SHORT: Final = {
    "steps": 500, "batch": 2, "size": 192, "learning_rate": 1.2e-3, "pool": 160, "uses": 12, "save_every": 50,
    "validation_examples": 1,
}  # fmt: skip
"""What differs from the schedule of the shipped weights."""

FIRST_HELD_OUT: Final = 2_100_000
HELD_OUT_STUDIES: Final = 8
"""Of six patients, two of whom are filmed from both sides before and after treatment."""

PATIENTS: Final = "patients"
MARKS: Final = ("<!-- scripts/ablate.py: begin -->", "<!-- scripts/ablate.py: end -->")


def trained(part: Part, out: Path) -> Trainer:
    """The run without a part, at its end."""
    from vertecast.lab.training import Trainer, load_task

    run, drawn = out / part.name, out / PARTS[0].name / PATIENTS
    if part.keeps_patients and drawn.exists() and not (run / PATIENTS).exists():
        run.mkdir(parents=True, exist_ok=True)
        (run / PATIENTS).symlink_to(drawn.resolve())
    trainer = Trainer(load_task(SCHEDULE, **SHORT), run)
    with left_out(part):
        trainer.run()
    return trainer


def write_between_marks(page: Path, text: str) -> None:
    """Put the table into a page, in place of what stands between `MARKS`."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not end:
        raise ConfigurationError(f"{page}: lacks the lines {MARKS[0]} and {MARKS[1]}; add them where the table goes")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def results_of(options: argparse.Namespace) -> dict[str, list[Film]]:
    """Train and score every part that is asked for and was not before; all that is there."""
    from evaluate import plan_cases, simulate

    held_out = options.out / "held_out"
    for case in plan_cases(HELD_OUT_STUDIES, FIRST_HELD_OUT, held_out, "film"):
        simulate(case)
    results = {}
    for part in PARTS:
        path = options.out / part.name / "films.json"
        if not path.exists() and part.name in (options.parts or [one.name for one in PARTS]):
            films = scored(trained(part, options.out), options.data, held_out)
            path.write_text(json.dumps([asdict(film) for film in films]) + "\n", encoding="utf-8")
            print(f"{part.name}: {len(films)} films scored", flush=True)
        if path.exists():
            results[part.name] = [Film(**values) for values in json.loads(path.read_text(encoding="utf-8"))]
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, score and write the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real images")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--docs", type=Path, help="page that takes the table; else it is printed")
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS], help="these runs alone")
    options = parser.parse_args(arguments)
    # The processes that make the examples must take over what is left out; begun afresh they would have all of it.
    multiprocessing.set_start_method("fork", force=True)
    try:
        text = table(results_of(options))
        if options.docs:
            write_between_marks(options.docs, text)
        else:
            print(text)
    except (VertecastError, OSError) as error:
        print(f"ablate.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
