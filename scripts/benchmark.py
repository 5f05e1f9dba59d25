"""Speed and memory of Vertecast, cold and warm, on the machine at hand.

``python scripts/benchmark.py`` measures every subject; name some of them to measure these alone:

- ``ct``: a simulated CT of 512 × 512 × 300 voxels from DICOM to all outputs, and each of its stages;
- ``films``: the same of a radiograph of 2,000 × 2,500 pixels and a cine of 512 × 512;
- ``batch``: studies an hour with one worker and with two, over data_samples;
- ``service``: from a study that has settled to its results in an Orthanc beside it;
- ``runtimes``: torch and OpenVINO, float32 and bfloat16: time, and what moves in the measurements;
- ``training``: seconds a crop or picture of each network's training, with the worker.

``--table docs/performance.md`` writes the table between its two marker comments. ``--from FILE...`` takes stored
figures, the later file before the earlier one, and measures only the subjects that are named. A subject that fails is
told in the table, and the others go on. What each figure means stands at the head of its module in
``scripts/benchmarks``. Exit status: 0 done, 1 some subject failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import table
from benchmarks.batch import measure_batch
from benchmarks.ct import measure_ct
from benchmarks.figures import Found, from_json, to_json
from benchmarks.films import measure_films
from benchmarks.machine import load, machine
from benchmarks.runtimes import measure_runtimes
from benchmarks.service import measure_service
from benchmarks.training import measure_training

SUBJECTS: Final = ("ct", "films", "batch", "service", "runtimes", "training")


def measurements(runs: int, study: Path | None) -> Mapping[str, Callable[[], Sequence[Found]]]:
    """How each subject is measured."""
    return {
        "ct": lambda: measure_ct(runs, study),
        "films": lambda: measure_films(runs),
        "batch": lambda: measure_batch(runs),
        "service": lambda: measure_service(runs),
        "runtimes": lambda: measure_runtimes(runs),
        "training": lambda: measure_training(runs),
    }


def measured(measurement: Callable[[], Sequence[Found]], runs: int) -> dict[str, Any]:
    """One subject, or why it failed, with the load before it."""
    about = {"load_before": load(), "runs": runs}
    try:
        return {**about, "found": to_json(measurement())}
    except Exception as error:  # noqa: BLE001  whatever goes wrong with one subject is told, and the others go on
        traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1].name
        return {**about, "failed": str(error).strip() or f"{type(error).__name__} in {place}"}


def stored(paths: Sequence[Path], about: Mapping[str, Any] | None) -> dict[str, Any]:
    """What earlier runs found, of subjects in several files that of the last.

    Args:
        paths: What ``--out`` wrote.
        about: The machine that is to be the same; None: any one.

    Raises:
        ValueError: A file is something else, or the figures are of different machines or versions.
    """
    subjects: dict[str, Any] = {}
    for path in paths:
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            for one in result["subjects"].values():
                from_json(one.get("found", []))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: is no file that --out of this script wrote ({error})") from error
        about = about or result["machine"]
        if result["machine"] != about:
            other = sorted(
                key for key in about.keys() | result["machine"] if about.get(key) != result["machine"].get(key)
            )
            raise ValueError(f"{path}: measured on another machine or with other versions ({', '.join(other)})")
        subjects |= result["subjects"]
    return {"machine": about, "subjects": subjects}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    asked = options.subjects or ([] if options.stored else SUBJECTS)
    # In this order: what starts fresh processes comes before what makes this one larger.
    names = [name for name in SUBJECTS if name in asked]
    try:
        if options.table is not None:
            table.check(options.table)
        result = stored(options.stored, machine() if names else None)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    found = result["subjects"]
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found[name] = measured(measurements(options.runs, options.study)[name], options.runs)
        # After each: an hour of figures is not lost with the last of them.
        if options.out is not None:
            _write(options.out, result)
    result["subjects"] = {name: found[name] for name in SUBJECTS if name in found}
    if options.out is not None:
        _write(options.out, result)
    text = table.markdown(result)
    print(text)
    if options.table is not None:
        table.write(options.table, text)
    return int(any("failed" in one for one in result["subjects"].values()))


def _write(path: Path, result: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", type=_subject, metavar="SUBJECT", help=f"{', '.join(SUBJECTS)}; all")
    parser.add_argument("--runs", type=_count, default=3, help="of each, and warm ones after a first (3)")
    parser.add_argument("--study", type=Path, metavar="DIR", help="ct: a CT study at hand, instead of a simulated one")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON too")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table into this Markdown file")
    parser.add_argument(
        "--from", type=Path, nargs="+", default=[], dest="stored", metavar="FILE", help="figures of earlier runs"
    )
    return parser


def _subject(text: str) -> str:
    if text not in SUBJECTS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(SUBJECTS)}")
    return text


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least one run is needed")
    return count


if __name__ == "__main__":
    raise SystemExit(main())
