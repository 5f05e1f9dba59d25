"""Figures of the shipped weights stand in one file a bundle, ``docs/scores.json``; what people read is written from it.

``python scripts/figures.py`` writes the marked tables of the cards, of docs/accuracy.md and of README, and the limits
that reports print, again; ``--check`` changes nothing and ends with 1 where one of them differs. ``--take
models/ct_spine --simulated OUT/scores.json --real OUT/real.json`` takes new figures of `evaluate.py`; those of an older
version of the weights stay beside them, for comparison.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[1]
METADATA: Final = "configs/metadata.json"
SCORES: Final = "docs/scores.json"
CARD: Final = "docs/README.md"

Figures: TypeAlias = Mapping[str, Any]
"""``version``, ``studies``, ``simulated`` (scores by key) and ``real`` (images or folders of films by name)."""

SHORT: Final = {
    "ct_spine": (
        "bodies_found", "body_dice", "all_levels_right", "anterior_height_mae_fine_mm", "middle_height_mae_fine_mm",
        "posterior_height_mae_fine_mm", "wedge_angle_mae_deg", "grade_kappa", "cement_dice", "cement_volume_error",
        "leaks_found", "compartments_right", "false_leaks_reported",
    ),
    "xray_spine": (
        "bodies_found", "bodies_invented", "levels_right", "corner_error_median", "wedge_angle_mae_deg", "grade_kappa",
        "cement_dice_pooled", "treated_found", "leaks_found", "quiet_without_such_leak",
    ),
}  # fmt: skip
"""The scores that docs/accuracy.md shows beside the real images; the card has them all."""

SHORTEST: Final = {
    "ct_spine": (
        "body_dice", "anterior_height_mae_fine_mm", "wedge_angle_mae_deg", "cement_volume_error", "leaks_found",
        "false_leaks_reported",
    ),
    "xray_spine": ("bodies_found", "corner_error_median", "treated_found", "leaks_found"),
}  # fmt: skip
"""The scores that README shows."""

KINDS: Final = {"ct_spine": "CT", "xray_spine": "film"}

REAL: Final = {
    "scored_dice": "body Dice",
    "whole_dice": "whole vertebrae, Dice",
    "whole_dice_minimum": "worst of them",
    "levels_right": "levels right",
    "missed": "missed",
    "beyond_truth": "invented",
    "bodies_complete": "complete bodies",
    "graded_2_or_more": "graded ≥2",
    "undecided": "undecided",
    "films": "films",
    "views_right": "views right",
    "marked": "bodies marked",
    "found": "found",
    "beyond": "beyond the marks",
    "corner_share_median": "corner error, share of the depth",
    "cobb_mae_deg": "largest Cobb angle, MAE (°)",
    "cement": "with cement claimed",
    "leaks": "with leaks claimed",
}
"""What is kept of a real image or of a folder of films, and its name; of lists the length."""

FEW: Final = 10
"""With fewer broken bodies the share that is missed is not told."""

NOT_GRADED: Final = 4
"""Column of the confusion of grades behind those found, 0 to 3."""


def estimate(score: Figures) -> Figures:
    """A score of all views where there are several."""
    return {"label": score["label"], **score["all"]} if "all" in score else score


def simulated_scores(document: Figures) -> dict[str, Figures]:
    """What is kept of a file of scores: label, value, interval, count and aim of what was scored."""
    kept = ("label", "value", "interval95", "count", "target", "reached")
    found = {key: estimate(score) for key, score in document["scores"].items()}
    scored = {key: one for key, one in found.items() if one["value"] is not None}
    return {key: {name: one[name] for name in kept if name in one} for key, one in scored.items()}


def real_scores(document: Figures) -> dict[str, Figures]:
    """What is kept of a file of real images: the numbers of each image or folder, without its lists of bodies."""
    found: dict[str, Figures] = {}
    for name, image in document.get("images", document).items():
        whole = image.get("whole_vertebrae") or {}
        numbers = {
            key: len(value) if isinstance(value, list | dict) else value
            for key, value in (image | {f"whole_{key}": value for key, value in whole.items()}).items()
        }
        found[name] = {key: numbers[key] for key in REAL if numbers.get(key) is not None}
    return found


def take(bundle: Path, simulated: Path | None, real: Path | None) -> None:
    """Keep new figures of the bundle's weights; those of another version become the earlier ones."""
    version = json.loads((bundle / METADATA).read_text(encoding="utf-8"))["version"]
    path = bundle / SCORES
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"now": None, "before": None}
    if kept["now"] is not None and kept["now"]["version"] != version:
        kept = {"now": None, "before": kept["now"]}
    now = dict(kept["now"] or {"version": version, "studies": 0, "simulated": {}, "real": {}})
    if simulated is not None:
        document = json.loads(simulated.read_text(encoding="utf-8"))
        now |= {
            "studies": document["studies"],
            "simulated": simulated_scores(document),
            "genant_confusion": document["genant_confusion"]["counts"],
        }
    if real is not None:
        now["real"] = real_scores(json.loads(real.read_text(encoding="utf-8")))
    kept["now"] = now
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def shown(value: float | None) -> str:
    """Three digits that mean something; whole numbers as they are."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def cell(score: Figures | None, *, interval: bool = True) -> str:
    """ "0.917 (0.89 to 0.938), n 48"."""
    if score is None:
        return "–"
    bounds = score.get("interval95")
    middle = f" ({shown(bounds[0])} to {shown(bounds[1])})" if bounds and interval else ""
    return f"{shown(score['value'])}{middle}, n {score['count']}"


def aim(score: Figures) -> str:
    """ "≥0.95, missed"."""
    if not score.get("target"):
        return ""
    return f"{score['target']}, {'reached' if score.get('reached') else 'missed'}"


def simulated_table(kept: Figures) -> Iterator[str]:
    """Every score of the card."""
    now, before = kept["now"], kept["before"]
    older = {} if before is None else before["simulated"]
    yield f"| {now['studies']} simulated studies | {now['version']} | {before['version'] if before else '–'} | aim |"
    yield "|---|---|---|---|"
    for key, score in now["simulated"].items():
        label = score["label"].removesuffix(" (simulated)")
        yield f"| {label} | {cell(score)} | {cell(older.get(key), interval=False)} | {aim(score)} |"


def real_table(kept: Figures) -> Iterator[str]:
    """The numbers of every real image or folder of films, those of the older version in brackets where they differ."""
    now, before = kept["now"], kept["before"]
    older = {} if before is None else before["real"]
    keys = [key for key in REAL if any(key in numbers for numbers in now["real"].values())]
    versions = now["version"] if before is None else f"{now['version']} ({before['version']})"
    yield f"| {versions} | {' | '.join(REAL[key] for key in keys)} |"
    yield "|---" * (len(keys) + 1) + "|"
    for name, numbers in now["real"].items():
        cells = []
        for key in keys:
            one, earlier = (
                shown(values.get(key)) if key in values else "" for values in (numbers, older.get(name, {}))
            )
            cells.append(one if one == earlier or not earlier else f"{one} ({earlier})")
        yield f"| `{name}` | {' | '.join(cells)} |"


def short_table(name: str, kept: Figures) -> Iterator[str]:
    """What docs/accuracy.md shows of simulated images."""
    now = kept["now"]
    yield f"| {name} {now['version']}, {now['studies']} simulated studies | |"
    yield "|---|---|"
    for key in SHORT[name]:
        score = now["simulated"].get(key)
        if score is not None:
            yield f"| {score['label'].removesuffix(' (simulated)')} | {cell(score)} |"


def shortest_table(bundles: Mapping[str, Figures]) -> Iterator[str]:
    """What README shows of all bundles."""
    yield "| simulated studies | | aim |"
    yield "|---|---|---|"
    for name, kept in bundles.items():
        for key in SHORTEST[name]:
            score = kept["now"]["simulated"].get(key)
            if score is not None:
                label = score["label"].removesuffix(" (simulated)")
                yield f"| {KINDS[name]}: {label} | {cell(score, interval=False)} | {score.get('target') or ''} |"


def limits(name: str, kept: Figures) -> list[str]:
    """What every report prints of the weights: fractures that they take for sound bodies."""
    now = kept["now"]
    broken = np.array(now["genant_confusion"])[2:]
    if broken.sum() < FEW:
        return [
            f"The weights {name} {now['version']} were scored on too few broken bodies ({broken.sum()} of Genant grade "
            "2 or 3, simulated) to tell how many they miss: no fracture in a report excludes none."
        ]
    overlooked, undecided = broken[:, :2].sum(), broken[:, NOT_GRADED].sum()
    return [
        f"Of {broken.sum()} simulated bodies of Genant grade 2 or 3 the weights {name} {now['version']} gave "
        f"{overlooked} the grade 0 or 1 and left {undecided} undecided: no fracture in a report excludes none."
    ]


def cement_limits(name: str, kept: Figures) -> list[str]:
    """What every report with cement prints of them: how many leaks they miss and invent."""
    now = kept["now"]
    scores, weights = now["simulated"], f"{name} {now['version']}"
    leaks = scores.get("leaks_found")
    if leaks is None:
        return []
    found = f"{round(leaks['value'] * leaks['count'])} of {leaks['count']}"
    if name == "ct_spine":
        false = scores["false_leaks_reported"]["value"]
        return [
            f"On {now['studies']} simulated CTs the weights {weights} found {found} leaks of 0.1 mL or more, and "
            f"invented {shown(false)} of that size a treated body: no leak in a report excludes none."
        ]
    quiet = scores["quiet_without_such_leak"]
    invented = quiet["count"] - round(quiet["value"] * quiet["count"])
    cement = sum(folder.get("cement", 0) for folder in now["real"].values())
    films = sum(folder.get("films", 0) for folder in now["real"].values())
    return [
        f"On simulated films the weights {weights} suspected {found} leaks that the view could show, and one at "
        f"{invented} of {quiet['count']} treated bodies without any that shows; cement was claimed on {cement} of "
        f"{films} real films that show none. No suspected leak excludes none."
    ]


def written(text: str, mark: str, lines: Sequence[str]) -> str:
    """A page with what stands between two marks replaced; unchanged where it has no such marks."""
    begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->"
    if begin not in text:
        return text
    head, rest = text.split(begin, 1)
    return head + begin + "\n".join(lines) + "\n" + end + rest.split(end, 1)[1]


def pages(root: Path) -> Iterator[tuple[Path, Callable[[str], str]]]:
    """Every file that holds figures, and how its text becomes what it should be."""
    bundles = {bundle.name: bundle for bundle in sorted((root / "models").iterdir()) if (bundle / SCORES).is_file()}
    figures = {name: json.loads((bundle / SCORES).read_text(encoding="utf-8")) for name, bundle in bundles.items()}
    for name, bundle in bundles.items():
        kept = figures[name]

        def card(text: str, kept: Figures = kept) -> str:
            return written(written(text, "simulated", [*simulated_table(kept)]), "real", [*real_table(kept)])

        def accuracy(text: str, kept: Figures = kept, name: str = name) -> str:
            return written(text, name, [*short_table(name, kept), "", *real_table(kept)])

        def metadata(text: str, kept: Figures = kept, name: str = name) -> str:
            own = {"limits": limits(name, kept), "cement_limits": cement_limits(name, kept)}
            return json.dumps(json.loads(text) | own, indent=2) + "\n"

        yield bundle / CARD, card
        yield root / "docs" / "accuracy.md", accuracy
        yield bundle / METADATA, metadata
    yield root / "README.md", lambda text: written(text, "short", [*shortest_table(figures)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    parser.add_argument("--check", action="store_true", help="change nothing; 1 where a page differs from its figures")
    parser.add_argument("--take", type=Path, metavar="BUNDLE", help="keep new figures of this bundle first")
    parser.add_argument("--simulated", type=Path, metavar="FILE", help="scores.json or projection_scores.json")
    parser.add_argument("--real", type=Path, metavar="FILE", help="real.json or films.json")
    options = parser.parse_args(arguments)
    if options.take is not None:
        take(options.take, options.simulated, options.real)
    status = 0
    for path, made in pages(options.root):
        text = path.read_text(encoding="utf-8")
        fresh = made(text)
        if fresh == text:
            continue
        if options.check:
            print(f"{path.relative_to(options.root)}: is not as its figures; run scripts/figures.py", file=sys.stderr)
            status = 1
        else:
            path.write_text(fresh, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
