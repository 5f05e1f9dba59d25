"""From a run to a bundle that ``vertecast analyze`` and `monai.bundle` use, with a card that the run fills in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import torch

from vertecast.core import resources
from vertecast.core.errors import BundleError
from vertecast.core.resources import METADATA
from vertecast.lab.training.trainer import BEST, Trainer
from vertecast.segmentation.bundle import XRAY
from vertecast.segmentation.bundle_writing import start_bundle, write_network

CARD: Final = Path("docs") / "README.md"
TRAIN: Final = Path("configs") / "train.json"
GENERATED: Final = "<!-- Written by the training; write below this line what the run cannot know. -->"


def export_bundle(
    trainer: Trainer, bundle: Path, *, base: Path | None = None, take: Literal["last", "best"] = "last"
) -> dict[str, float]:
    """Put the running average of a run into a bundle, with the schedule, the held-out scores and a card.

    A bundle that is not there yet is begun from ``base``, whose other networks it keeps. A card that was written by
    hand is left alone.

    Args:
        trainer: The run.
        bundle: Folder of the bundle.
        base: Bundle to begin from; None: the shipped one of this kind.
        take: The last weights, or those with the best score on the held-out examples.

    Returns:
        The held-out scores of these weights.

    Raises:
        BundleError: the bundle or its base is damaged, or the run has kept no best weights.
    """
    weights, step, scores = _weights(trainer, take)
    task, s = trainer.task, trainer.settings
    facts = {
        **task.facts(),
        "steps": step,
        "batch": s.batch * trainer.place.world,
        "seed": s.seed,
        "held_out": {name: round(value, 4) for name, value in scores.items()},
    }
    if not (bundle / METADATA).exists():
        name = "xray_spine" if task.name == XRAY else "ct_spine"
        start_bundle(bundle, base or resources.bundle_directory(name), data_source(facts.get("data", ())))
    write_network(bundle, task.name, weights, facts)
    _write_schedule(bundle, task.name, s.model_dump(mode="json"))
    write_card(bundle)
    return scores


def _weights(trainer: Trainer, take: str) -> tuple[Mapping[str, torch.Tensor], int, dict[str, float]]:
    if take == "last":
        return trainer.average.module.state_dict(), trainer.step, trainer.validate()
    path = trainer.folder / BEST
    if not path.exists():
        raise BundleError(f"{path}: is missing; set validate_every in the schedule, or take the last weights")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state["weights"], int(state["step"]), dict(state["scores"])


def data_source(sources: Sequence[Mapping[str, Any]]) -> str:
    """What the weights have seen, in words."""
    words = []
    for source in sources or ({"kind": "simulated"},):
        if source["kind"] == "simulated":
            words.append("simulated patients (vertecast.lab.simulation)")
        else:
            words.append(f"{source['cases']} labelled CTs, numbers as {source['scheme']}")
    return "; ".join(words)


def _write_schedule(bundle: Path, network: str, schedule: Mapping[str, Any]) -> None:
    """``configs/train.json``: the schedule of each network, for the next one who trains; no path of the data."""
    path = bundle / TRAIN
    document = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    private = {"images", "labels", "scheme", "held_out"}
    kept = dict(schedule)
    if "data" in kept:
        kept["data"] = [{k: v for k, v in source.items() if k not in private} for source in kept["data"]]
    document.setdefault("schedules", {})[network] = kept
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def write_card(bundle: Path) -> None:
    """Write ``docs/README.md`` from the metadata; what stands below the line in a generated card is kept."""
    path = bundle / CARD
    own = ""
    if path.exists():
        _, mark, own = path.read_text(encoding="utf-8").partition(GENERATED)
        if not mark:
            return
    document = json.loads((bundle / METADATA).read_text(encoding="utf-8"))
    lines = [
        f"# {document['name']} {document['version']}",
        "",
        f"{document.get('task', 'Vertebrae and bone cement')}. **Research use only. Not a medical device.**",
        "",
        f"Trained on: {document['data_source']}." if "data_source" in document else "",
        "",
        *_network_lines(document["networks"]),
        "Scores of examples that were not learnt from; Dice is over all of a set together, 0 where it shows none. "
        '"own" are the labelled CTs that were held out, the others are simulated. They say how well crops are '
        "labelled, not how well heights are measured: score whole studies with `vertecast evaluate` before you "
        "believe a number.",
        "",
        "The bundle's licence is in `LICENSE`; that of the images it was trained on may forbid to pass the weights on.",
        "",
        GENERATED,
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + (own or "\n"), encoding="utf-8")


def _network_lines(networks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for name, entry in networks.items():
        grid = f"{entry['spacing_mm']} mm" if "spacing_mm" in entry else f"{entry.get('picture_px')} pixels"
        seen = data_source(entry["data"]) if "data" in entry else "as its bundle says"
        lines += [
            f"## {name}",
            "",
            f"- grid {grid}, widths {', '.join(map(str, entry['widths']))}",
            f"- {entry.get('steps', '?')} steps of {entry.get('batch', '?')} examples, seed {entry.get('seed', '?')}",
            f"- learnt from: {seen}",
            "",
        ]
        scores = entry.get("held_out") or {}
        if scores:
            lines += ["| held-out score | value |", "|---|---|"]
            lines += [f"| {key} | {value:.3f} |" for key, value in scores.items()]
            lines.append("")
    return lines
