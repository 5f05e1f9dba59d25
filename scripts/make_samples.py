"""Make ``data_samples/``, all simulated: a patient on CT before and after vertebroplasty, another on films and in a
cine of the injection, and one sound spine.

Run from the root of the checkout: ``python scripts/make_samples.py [--out DIR]``. The same code and the same versions
of the libraries give the same files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from vertecast.core.anatomy import Compartment, Level
from vertecast.core.errors import OutputError
from vertecast.lab.simulation.cine.fluoroscopy import CineSettings, simulate_cine
from vertecast.lab.simulation.ct.acquisition import ScannerSettings
from vertecast.lab.simulation.ct.studies import (
    ScanPlan,
    TreatmentPlan,
    is_plain,
    make_case,
    write_study,
)
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.spine import Spine
from vertecast.lab.simulation.projection.film_studies import simulate_films
from vertecast.lab.simulation.projection.studies import write_projection_study

PATIENT_SEED = 101
SOUND_SEED = 102
FILM_SEED = 4863
CINE_SEED = 753
"""Patients with one broken lumbar body, and cement that leaks where it can be seen."""

CINE_S = 5.0
LARGEST_SEARCH = 20000
SETTINGS = ScannerSettings(
    pixel_mm=0.75, matrix=256, slice_thickness_mm=2.0, slice_spacing_mm=2.0, kernel="standard", noise_hu=10.0
)
CEMENT_ML = 5.0
LEAK_ML = {Compartment.DISC_SUPERIOR: 0.6, Compartment.CANAL: 0.4}

README = """# Sample studies

Simulated images of invented patients, made by `python scripts/make_samples.py`; no real person is shown.

| folder | what it shows |
|---|---|
| `studies/000101_pre` | an osteoporotic wedge fracture of L1, T11 to the sacrum |
| `studies/000101_post` | the same after vertebroplasty of L1: cement, leaks into the disc above and the canal |
| `studies/000102_pre` | a sound spine, T11 to the sacrum |
| `studies/004863_pre` | lateral and AP radiograph: a crush fracture of L1 |
| `studies/004863_post` | the same after vertebroplasty of L1 and, as prevention, of L4: a leak into the disc above L1 |
| `studies/000753_during` | five seconds of lateral fluoroscopy: cement in a broken L3 leaks into the canal |

Each CT study is a series of JPEG-LS lossless DICOM files. `truth/<StudyInstanceUID>.json` holds what is true of it: the
six points, heights, wedge angle and grade of every vertebra in view, the volume of the cement inside the body, and each
leak with its compartment and volume; `truth/<StudyInstanceUID>.nii.gz` is the label of every voxel of a CT. Lengths are
in millimetres (LPS), angles in degrees, volumes in millilitres. The truth of films and cines is described in
`docs/simulation.md`. What the program says of all this is scored by

```sh
vertecast evaluate --truth data_samples --predictions out/demo --out out/scores
```
"""


def find_spine(seed: int, wanted: Callable[[Spine], bool], fracture_rate: float) -> Spine:
    """The first spine after a seed that fits.

    Raises:
        LookupError: None fits among `LARGEST_SEARCH`.
    """
    for step in range(LARGEST_SEARCH):
        spine = sample_spine(np.random.default_rng([seed, step]), fracture_rate=fracture_rate)
        if wanted(spine):
            return spine
    raise LookupError(f"no spine fits among {LARGEST_SEARCH}: widen the search")


def has_lone_l1_wedge(spine: Spine) -> bool:
    """An old woman whose only fracture is a moderate wedge of L1."""
    broken = [v for v in spine.vertebrae if v.grade > 0]
    return (
        is_plain(spine)
        and spine.sex == "F"
        and spine.age_years > 65
        and [(v.level, v.deformity, v.grade) for v in broken] == [(Level.L1, "wedge", 2)]
    )


def is_sound(spine: Spine) -> bool:
    """No fracture, usual levels, an adult in the middle of life."""
    return is_plain(spine) and 40 < spine.age_years < 60 and all(v.grade == 0 for v in spine.vertebrae)


def main() -> int:
    """Write the samples; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "data_samples")
    arguments = parser.parse_args()
    spine = find_spine(PATIENT_SEED, has_lone_l1_wedge, fracture_rate=0.15)
    l1 = [v.level for v in spine.vertebrae].index(Level.L1)
    t11 = [v.level for v in spine.vertebrae].index(Level.T11)
    treated = TreatmentPlan(
        vertebra_index=l1,
        volume_ml=CEMENT_ML,
        pattern="compact",
        leaks=tuple(LEAK_ML),
        leak_volumes_ml=tuple(LEAK_ML.values()),
    )
    plans = [
        ScanPlan(phase="pre", settings=SETTINGS),
        ScanPlan(phase="post", settings=replace(SETTINGS, noise_hu=12.0), treatments=(treated,)),
    ]
    patient = make_case(PATIENT_SEED, "patient", spine, (t11, len(spine.vertebrae)), plans)
    sound_spine = find_spine(SOUND_SEED, is_sound, fracture_rate=0.0)
    sound_plan = ScanPlan(phase="pre", settings=SETTINGS)
    sound = make_case(SOUND_SEED, "ct", sound_spine, (t11, len(sound_spine.vertebrae)), [sound_plan])
    try:
        for case in (patient, sound):
            for folder in write_study(case, arguments.out, labels=True):
                print(folder)
        cine = simulate_cine(CINE_SEED, CineSettings(seconds=(CINE_S, CINE_S)), content="cement")
        for study in (*simulate_films(FILM_SEED, "films"), cine):
            print(write_projection_study(study, arguments.out))
        (arguments.out / "README.md").write_text(README, encoding="utf-8")
    except (OutputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
