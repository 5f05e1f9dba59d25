"""Score the shipped models.

``python scripts/evaluate.py --simulate 40 --out out/evaluation`` simulates held-out studies, analyses them and prints
the scores; a second run goes on where the first stopped. ``--simulate-films 40`` and ``--simulate-cines 10`` do so with
radiographs and fluoroscopy. ``python scripts/evaluate.py --real DIR --out out/real`` compares with the truth of real
images, where they are at hand, and draws an overlay of each. ``python scripts/evaluate.py --phantoms --out DIR``
measures analytic bodies whose outline is given: the error of the measuring alone. Exit status: 0 done, 1 a study or an
output failed, 3 no real images.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from vertecast.core.errors import VertecastError

if TYPE_CHECKING:
    from vertecast.core.images import Grid, Segmentation, Volume
    from vertecast.lab.evaluation.phantoms import BodyError, Outline, Pose

HELD_OUT_SEED: Final = 2_000_000
"""Training draws its patients from seeds below `vertecast.lab.training.task.VALIDATION_SEED`, one million."""

Modality: TypeAlias = Literal["ct", "film", "cine"]

Kind: TypeAlias = Literal["ct", "patient", "follow-up", "lateral", "ap", "films", "cine"]

KINDS: Final[dict[Modality, tuple[Kind, ...]]] = {
    "ct": ("ct", "ct", "patient", "ct", "ct", "follow-up"),
    "film": ("films", "lateral", "ap"),
    "cine": ("cine",),
}
"""What patients one after another are simulated as."""

STUDIES: Final[dict[Kind, int]] = {"patient": 2, "films": 2, "follow-up": 3}
"""How many studies a patient gives who is scanned, or filmed from both sides, before and after the treatment, and
weeks later; others give one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A patient to simulate."""

    seed: int
    folder: Path
    modality: Modality = "ct"

    @property
    def kind(self) -> Kind:
        """What is simulated of the patient."""
        kinds = KINDS[self.modality]
        return kinds[self.seed % len(kinds)]

    @property
    def studies(self) -> int:
        """How many studies it gives."""
        return STUDIES.get(self.kind, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to simulate and score.

    Attributes:
        modality: CT, radiographs or cines.
        count: At least so many studies.
        seed: Of the first patient.
        out: Folder of everything written; projections have a folder of their own in it.
        workers: Processes at the same time.
        config: Options of the analysis, or None for the defaults.
    """

    modality: Modality
    count: int
    seed: int
    out: Path
    workers: int
    config: Path | None

    @property
    def folder(self) -> Path:
        """Where this modality's studies, reports and scores are."""
        return self.out if self.modality == "ct" else self.out / f"{self.modality}s"


def plan_cases(count: int, first_seed: int, folder: Path, modality: Modality = "ct") -> list[Case]:
    """The patients, by seed, that give at least ``count`` studies."""
    cases: list[Case] = []
    while sum(case.studies for case in cases) < count:
        seed = first_seed + len(cases)
        cases.append(Case(seed=seed, folder=folder / f"case_{seed}", modality=modality))
    return cases


def simulate(case: Case) -> None:
    """Write the studies of one patient, unless an earlier run has."""
    done = case.folder / "done"
    if done.is_file():
        return
    from vertecast.lab.simulation.cine.fluoroscopy import simulate_cine
    from vertecast.lab.simulation.ct.studies import simulate_case, write_study
    from vertecast.lab.simulation.projection.film_studies import simulate_films
    from vertecast.lab.simulation.projection.studies import write_projection_study

    kind = case.kind
    if kind == "ct" or kind == "patient" or kind == "follow-up":
        write_study(simulate_case(case.seed, kind), case.folder)
    else:
        for study in [simulate_cine(case.seed)] if kind == "cine" else simulate_films(case.seed, kind):
            write_projection_study(study, case.folder)
    done.write_text("", encoding="utf-8")


def score_simulated(plan: Plan) -> int:
    """Simulate, analyse, score and print; returns the exit status."""
    from vertecast.core.config import load_config
    from vertecast.run.batch import run_batch
    from vertecast.run.engine import shipped_engine
    from vertecast.run.workers import Lost, run_in_processes

    config = load_config(plan.config).with_overrides({"batch": {"workers": plan.workers}})
    engine = shipped_engine(config.segmentation)
    cases = plan_cases(plan.count, plan.seed, plan.folder / "simulated", plan.modality)
    for done, (case, result) in enumerate(run_in_processes(simulate, cases, plan.workers), start=1):
        if isinstance(result, Lost):
            print(f"case {case.seed}: its process ended without a word; use fewer workers", file=sys.stderr)
            return 1
        print(f"[{done}/{len(cases)}] simulated {case.seed}", flush=True)
    analysed = run_batch(
        [case.folder / "studies" for case in cases],
        plan.folder / "analyzed",
        config,
        engine,
        listener=lambda study, n, total: print(f"[{n}/{total}] {study.status} {study.study_instance_uid}", flush=True),
    )
    table = score_table(plan)
    print(f"\nHeld-out simulated studies, seeds {plan.seed} to {cases[-1].seed}")
    print(table)
    return 1 if analysed.interrupted else 0


def score_table(plan: Plan) -> str:
    """Score what was analysed, write the scores, and return their table."""
    from vertecast.lab.evaluation import projections
    from vertecast.lab.evaluation.studies import report, summary

    folders = (plan.folder / "simulated", plan.folder / "analyzed", plan.folder / "scores")
    if plan.modality == "ct":
        return summary.text_table(report.evaluate_folders(*folders))
    return projections.text_table(projections.evaluate_projections(*folders))


def score_phantoms(out: Path) -> int:
    """Measure analytic bodies in every pose, print and write the errors; returns the exit status."""
    from vertecast.lab.evaluation.phantoms import poses, text_lines

    errors: list[BodyError] = []
    for done, pose in enumerate(todo := poses(), start=1):
        errors += phantom_errors(pose)
        print(f"[{done}/{len(todo)}] {pose.plane} {pose.tilt_deg:g}°", file=sys.stderr, flush=True)
    print("\n".join(text_lines(errors)))
    out.mkdir(parents=True, exist_ok=True)
    (out / "phantoms.json").write_text(json.dumps([asdict(e) for e in errors], indent=1) + "\n", encoding="utf-8")
    return 0


def phantom_errors(pose: Pose) -> list[BodyError]:
    """Errors of a fractured and a sound analytic body in one pose, for each way to give the outline.

    Raises:
        RuntimeError: A body could not be measured.
    """
    from vertecast.core.images import Grid
    from vertecast.lab.evaluation.phantoms import body_error
    from vertecast.lab.simulation.patient.phantoms import SpinePhantom, fractured_shape, normal_shape
    from vertecast.measurement.ct.body.endplates import BodyGeometry
    from vertecast.measurement.ct.body.heights import fit_bodies
    from vertecast.segmentation.label_map.bodies import segment_label_map
    from vertecast.segmentation.label_map.schemes import label_scheme

    turned = {plane: pose.tilt_deg if plane == pose.plane else 0.0 for plane in ("sagittal", "coronal", "axial")}
    phantom = SpinePhantom(
        shapes=(fractured_shape(), normal_shape(tilt_coronal=0.05)),
        tilt_deg=(turned["sagittal"], turned["coronal"]),
        turn_deg=turned["axial"],
        spacing_mm=pose.spacing_mm,
        grid_mm=1.0,
    )
    volume = phantom.volume()
    grid = Grid(lps_from_index=volume.lps_from_index, shape=volume.shape)
    shares = phantom.segmentation(through_ct=True)
    painted = segment_label_map(phantom.label_map(), label_scheme("vertecast"))
    given: dict[Outline, tuple[Volume | Grid, Segmentation]] = {
        "shares": (grid, shares), "shares and CT": (volume, shares), "label map": (grid, painted)
    }  # fmt: skip
    errors = []
    for outline, (image, segmentation) in given.items():
        for shape, body in zip(phantom.shapes, fit_bodies(image, segmentation), strict=True):
            if not isinstance(body, BodyGeometry):
                raise RuntimeError(f"{pose}: {body.reason}")
            errors.append(
                body_error(
                    pose, outline, body.heights_mm, body.height_sd_mm, body.wedge_angle_deg,
                    (shape.heights_mm(), shape.wedge_angle_deg()),
                )
            )  # fmt: skip
    return errors


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--simulate", type=int, metavar="N", help="score on at least N simulated studies of CT")
    what.add_argument("--simulate-films", type=int, metavar="N", help="the same on radiographs")
    what.add_argument("--simulate-cines", type=int, metavar="N", help="the same on cines")
    what.add_argument("--phantoms", action="store_true", help="measure analytic bodies, their outline given")
    what.add_argument("--real", type=Path, metavar="DIR", help="score on the real images in this folder")
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED, help="seed of the first simulated patient")
    parser.add_argument("--workers", type=int, default=1, help="processes at the same time")
    parser.add_argument("--config", type=Path, metavar="FILE", help="options of the analysis (--real: bundles only)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        if options.phantoms:
            return score_phantoms(options.out)
        if options.real is not None:
            from evaluate_real import score_real_folder

            from vertecast.core.config import load_config

            bundles = load_config(options.config).segmentation
            return score_real_folder(options.real, options.out, bundles)
        counts: dict[Modality, int | None] = {
            "ct": options.simulate, "film": options.simulate_films, "cine": options.simulate_cines
        }  # fmt: skip
        modality, count = next((name, count) for name, count in counts.items() if count is not None)
        return score_simulated(
            Plan(
                modality=modality,
                count=count,
                seed=options.seed,
                out=options.out,
                workers=options.workers,
                config=options.config,
            )
        )
    except (VertecastError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
