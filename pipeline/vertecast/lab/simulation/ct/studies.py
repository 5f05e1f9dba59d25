"""Simulated patients as studies: one CT, or one patient before, after and weeks after treatment, with their truth."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import Level
from vertecast.core.errors import OutputError
from vertecast.core.images import Mask
from vertecast.lab.simulation.ct.acquisition import ScannerSettings, acquire, metal_streaks, sample_settings
from vertecast.lab.simulation.ct.scans import CaseKind, Phase, ScanPlan, SimulatedCase, SimulatedScan, TreatmentPlan
from vertecast.lab.simulation.ct.truth import label_map, truth
from vertecast.lab.simulation.dicom_out import deterministic_uid, write_ct_series
from vertecast.lab.simulation.patient.course import after_treatment, weeks_later
from vertecast.lab.simulation.patient.population import sample_spine
from vertecast.lab.simulation.patient.spine import Spine
from vertecast.lab.simulation.patient.tissue import Phantom, draw
from vertecast.lab.simulation.treatment.carried import carried
from vertecast.lab.simulation.treatment.cement import Treatment, treat, with_cement
from vertecast.lab.simulation.treatment.hardware import (
    Hardware,
    HardwareKind,
    cage,
    metal_fraction,
    needles,
    screws_and_rods,
    stent,
)

__all__ = [
    "CaseKind",
    "ScanPlan",
    "SimulatedCase",
    "SimulatedScan",
    "TreatmentPlan",
    "is_plain",
    "make_case",
    "simulate_case",
    "write_study",
]

GRID_MM: Final = 1.5
"""Grid that patients are drawn on; borders are antialiased, so that they lie right below voxel size."""

HALF_EXTENT_MM: Final = (225.0, 180.0)
"""Largest half extent drawn to the left and to the front of the field's centre."""

IN_FRONT_OF_SPINE_MM: Final = {"trunk": 45.0, "spine": 5.0}
"""How far the field's centre lies in front of the column, for a whole section and for a small field."""

SMALL_FIELD_MM: Final = 260.0
BELOW_SACRAL_ENDPLATE_MM: Final = 45.0
ABOVE_TOP_MM: Final = 18.0
TREATED_SHARE: Final = 0.55
HARDWARE_SHARE: Final = 0.12
SACRUM_SHARE: Final = 0.75
LEVELS_OF_NECK: Final = 2
"""So many cervical levels may be in view."""


def simulate_case(seed: int, kind: CaseKind, *, matrix: int = 512) -> SimulatedCase:
    """Simulate a random patient.

    Args:
        seed: Decides everything; the same seed gives the same bytes.
        kind: "ct" for one scan, treated or not; "patient" for one before and one after the treatment, "follow-up" for
            these and a third weeks later. A treated body may regain height, and lose it again.
        matrix: Rows and columns of the images.
    """
    rng = np.random.default_rng([seed, 0])
    spine = sample_spine(rng, fracture_rate=float(rng.choice([0.0, 0.3])) if kind == "ct" else 0.4)
    visible = _sample_window(spine, rng)
    settings = sample_settings(rng, matrix=matrix)
    treatments = tuple(TreatmentPlan(vertebra_index=n) for n in _sample_treated(spine, visible, rng))
    if kind != "ct":
        plans = _plan_course(seed, spine, visible, (treatments, settings), rng)
        return make_case(seed, kind, spine, visible, plans if kind == "follow-up" else plans[:2])
    if rng.random() >= TREATED_SHARE:
        treatments = ()
    hardware: tuple[HardwareKind, ...] = ()
    if rng.random() < HARDWARE_SHARE:
        kinds: tuple[HardwareKind, ...] = ("screws and rods", "cage", "stent", "needle")
        hardware = (kinds[rng.integers(4 if treatments else 3)],)
    phase: Phase = "post" if treatments else "pre"
    plan = ScanPlan(phase=phase, settings=settings, treatments=treatments, hardware=hardware)
    return make_case(seed, kind, spine, visible, [plan])


def make_case(
    seed: int, kind: CaseKind, spine: Spine, visible: tuple[int, int], plans: Sequence[ScanPlan]
) -> SimulatedCase:
    """Draw a patient, treat and scan it as planned.

    Args:
        seed: Of everything that the plans leave open.
        kind: Recorded with the case.
        spine: The patient's spine.
        visible: First and last vertebra (indices from 0) in view; one past the last one stands for the sacrum.
        plans: The scans, in order.
    """
    columns = [plan.spine or spine for plan in plans]
    grid, shape = _drawing_grid(columns, visible, plans)
    changes = any(column is not spine for column in columns)
    scans: list[SimulatedScan] = []
    for plan, column in zip(plans, columns, strict=True):
        phantom = next((scan.phantom for scan in scans if scan.phantom.spine is column), None)
        if phantom is None:
            phantom = draw(column, grid, shape, np.random.default_rng([seed, 1]), steady=changes)
        scans.append(_scan(seed, phantom, visible, plan, scans))
    return SimulatedCase(seed=seed, kind=kind, scans=tuple(scans))


def write_study(case: SimulatedCase, directory: Path, *, labels: bool = True) -> tuple[Path, ...]:
    """Write the scans of a case as DICOM studies with their truth.

    Writes ``studies/<seed>_<phase>/*.dcm``, ``truth/<StudyInstanceUID>.json`` and, when asked,
    ``truth/<StudyInstanceUID>.nii.gz``.

    Returns:
        The folders of the studies.

    Raises:
        OutputError: The directory cannot be written.
    """
    folders = []
    for scan in case.scans:
        folder = directory / "studies" / f"{case.seed:06d}_{scan.phase}"
        truth_stem = directory / "truth" / scan.study_instance_uid
        try:
            folder.mkdir(parents=True, exist_ok=True)
            truth_stem.parent.mkdir(parents=True, exist_ok=True)
            write_ct_series(case, scan, folder)
            text = json.dumps(truth(case, scan), indent=1, allow_nan=False)
            truth_stem.with_name(f"{scan.study_instance_uid}.json").write_text(text + "\n", encoding="utf-8")
            if labels:
                path = truth_stem.with_name(f"{scan.study_instance_uid}.nii.gz")
                path.write_bytes(_nifti_bytes(label_map(scan)))
        except OSError as error:
            reason = error.strerror or "unknown reason"
            raise OutputError(f"{folder} cannot be written ({reason}): check space and permissions") from error
        folders.append(folder)
    return tuple(folders)


def _nifti_bytes(mask: Mask) -> bytes:
    """A gzipped NIfTI label map, the same bytes for the same labels."""
    import nibabel

    ras_from_index = geometry.LPS_FROM_RAS @ mask.lps_from_index
    image = nibabel.Nifti1Image(np.asarray(mask.labels, dtype=np.uint8), ras_from_index)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), mtime=0)


def _plan_course(
    seed: int,
    spine: Spine,
    visible: tuple[int, int],
    first: tuple[tuple[TreatmentPlan, ...], ScannerSettings],
    rng: np.random.Generator,
) -> list[ScanPlan]:
    """Scans before, after and weeks after the treatments, in the same field of view."""
    treatments, before = first
    after, later = (
        replace(sample_settings(rng, matrix=before.matrix), center_offset_mm=before.center_offset_mm) for _ in range(2)
    )
    fate = np.random.default_rng([seed, 3])
    treated = [plan.vertebra_index for plan in treatments]
    restored = after_treatment(spine, treated, fate)
    return [
        ScanPlan(phase="pre", settings=before),
        ScanPlan(phase="post", settings=after, treatments=treatments, spine=restored),
        ScanPlan(phase="follow-up", settings=later, spine=weeks_later(restored, treated, visible, fate)),
    ]


def _sample_window(spine: Spine, rng: np.random.Generator) -> tuple[int, int]:
    """First and last vertebra in view: down to the sacrum in most scans, else some part of the column."""
    count = len(spine.vertebrae)
    if rng.random() < SACRUM_SHARE:
        return count - int(rng.integers(5, 11)), count
    t1 = next(n for n, vertebra in enumerate(spine.vertebrae) if vertebra.level is Level.T1)
    first = int(rng.integers(t1 - LEVELS_OF_NECK, count - 6))
    return first, first + int(rng.integers(5, min(10, count - first)))


def _sample_treated(spine: Spine, visible: tuple[int, int], rng: np.random.Generator) -> list[int]:
    """One to three vertebrae well inside the view, broken ones first."""
    last = min(visible[1], len(spine.vertebrae))
    inside = [n for n in range(visible[0] + 1, last) if spine.vertebrae[n].level >= Level.T1]
    order = sorted(inside, key=lambda n: (spine.vertebrae[n].grade == 0, rng.random()))
    return sorted(order[: int(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1]))])


def _drawing_grid(
    columns: Sequence[Spine], visible: tuple[int, int], plans: Sequence[ScanPlan]
) -> tuple[geometry.FloatArray, tuple[int, int, int]]:
    """The grid that holds every field of view of the plans around the visible part of the column at any time."""
    spine = columns[0]
    first, last = visible
    field = max(plan.settings.pixel_mm * plan.settings.matrix for plan in plans)
    shown = spine.vertebrae[first : last + 1]
    centers = np.array([v.lps_from_local[:3, 3] for v in shown])
    to_sacrum = last >= len(spine.vertebrae)
    low = spine.lps_from_sacrum[2, 3] - BELOW_SACRAL_ENDPLATE_MM if to_sacrum else centers[-1, 2] - ABOVE_TOP_MM
    high = max(column.vertebrae[first].lps_from_local[2, 3] for column in columns) + ABOVE_TOP_MM
    front = IN_FRONT_OF_SPINE_MM["spine" if field < SMALL_FIELD_MM else "trunk"]
    center = np.array([np.median(centers[:, 0]), np.median(centers[:, 1]) - front, (low + high) / 2])
    center[:2] += plans[0].settings.center_offset_mm
    half = np.array([*np.minimum(field / 2 + 5, HALF_EXTENT_MM), (high - low) / 2])
    counts = np.ceil(2 * half / GRID_MM).astype(int)
    origin = center - (counts - 1) * GRID_MM / 2
    return geometry.scaling_affine([GRID_MM] * 3, origin), (int(counts[0]), int(counts[1]), int(counts[2]))


def _scan(
    seed: int, phantom: Phantom, visible: tuple[int, int], plan: ScanPlan, earlier: Sequence[SimulatedScan]
) -> SimulatedScan:
    """Treat and scan; each scan finds the patient at another place on the table."""
    number = len(earlier)
    rng = np.random.default_rng([seed, 2, number])
    made = tuple(
        treat(
            phantom,
            p.vertebra_index,
            rng,
            volume_ml=p.volume_ml,
            pattern=p.pattern,
            leaks=p.leaks,
            leak_volumes_ml=p.leak_volumes_ml,
        )
        for p in plan.treatments
    )
    treatments = (*_cement_of_before(phantom, earlier), *made)
    hu = with_cement(phantom.hu, phantom, treatments, rng)
    hardware = tuple(_implant(kind, phantom, visible, treatments, rng) for kind in plan.hardware)
    for item in hardware:
        metal = metal_fraction(phantom, [item])
        hu = metal_streaks(
            hu,
            metal,
            rng,
            spacing_mm=phantom.spacing_mm,
            material=item.material,
            photons=float(np.exp(rng.uniform(np.log(3e4), np.log(1e6)))),
        )
    move = geometry.affine(np.eye(3), rng.uniform([-10, -10, -400], [10, 10, 400]).round(1))
    settings = replace(plan.settings, center_offset_mm=(0.0, 0.0))
    volume = acquire(hu, move @ phantom.lps_from_index, rng, settings=settings)
    return SimulatedScan(
        phase=plan.phase,
        phantom=phantom,
        volume=replace(volume, frame_of_reference_uid=deterministic_uid(seed, number, "frame")),
        settings=settings,
        treatments=treatments,
        hardware=hardware,
        lps_from_phantom_lps=move,
        study_instance_uid=deterministic_uid(seed, number, "study"),
        series_instance_uid=deterministic_uid(seed, number, "series"),
    )


def _cement_of_before(phantom: Phantom, earlier: Sequence[SimulatedScan]) -> tuple[Treatment, ...]:
    """The cement that the scan before has shown."""
    if not earlier:
        return ()
    last = earlier[-1]
    if last.phantom is phantom:
        return last.treatments
    return tuple(carried(treatment, last.phantom, phantom) for treatment in last.treatments)


def _implant(
    kind: HardwareKind,
    phantom: Phantom,
    visible: tuple[int, int],
    treatments: Sequence[Treatment],
    rng: np.random.Generator,
) -> Hardware:
    """Put metal somewhere into the visible part of the column, away from treated bodies where it can be."""
    last = min(visible[1], len(phantom.spine.vertebrae)) - 1
    treated = {t.vertebra_index for t in treatments}
    free = [n for n in range(visible[0] + 1, last) if n not in treated] or [visible[0] + 1]
    index = int(rng.choice(free))
    if kind == "needle":
        return needles(phantom, treatments[0], rng)
    if kind == "cage":
        return cage(phantom, index, rng)
    if kind == "stent":
        return stent(phantom, index, rng)
    return screws_and_rods(phantom, range(index, min(index + int(rng.integers(2, 4)), last + 1)), rng)


def is_plain(spine: Spine) -> bool:
    """True for twelve thoracic and five lumbar vertebrae."""
    levels = [v.level for v in spine.vertebrae]
    return Level.L5 in levels and Level.T13 not in levels and Level.L6 not in levels
