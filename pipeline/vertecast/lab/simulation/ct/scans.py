"""A simulated patient: what is planned for each scan, and what each scan gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from vertecast.core import geometry
from vertecast.core.anatomy import Compartment
from vertecast.core.images import Volume
from vertecast.lab.simulation.ct.acquisition import ScannerSettings
from vertecast.lab.simulation.patient.spine import Spine
from vertecast.lab.simulation.patient.tissue import Phantom
from vertecast.lab.simulation.treatment.cement import Pattern, Treatment
from vertecast.lab.simulation.treatment.hardware import Hardware, HardwareKind

CaseKind: TypeAlias = Literal["ct", "patient", "follow-up"]
Phase: TypeAlias = Literal["pre", "post", "follow-up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreatmentPlan:
    """Cement to inject; None leaves a choice to chance."""

    vertebra_index: int
    volume_ml: float | None = None
    pattern: Pattern | None = None
    leaks: tuple[Compartment, ...] | None = None
    leak_volumes_ml: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
    """One scan of a patient: when, how, and what was done before.

    Attributes:
        treatments: Cement to inject; the cement of the scan before is there too, where that has some.
        spine: The spine at that time; None for the one that the patient came with.
    """

    phase: Phase
    settings: ScannerSettings
    treatments: tuple[TreatmentPlan, ...] = ()
    hardware: tuple[HardwareKind, ...] = ()
    spine: Spine | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedScan:
    """One CT study.

    Attributes:
        phase: Before, after or weeks after the treatment.
        phantom: The patient at that time; the same object as in another scan where nothing has changed.
        volume: What the scanner gave.
        labels: Truth on the volume's grid, numbers of ``labels_<n>.nii.gz``.
        settings: The acquisition.
        treatments, hardware: What was put into the patient.
        lps_from_phantom_lps: (4, 4) place of the patient on the table in this scan.
        study_instance_uid, series_instance_uid: Unique, and the same for the same seed.
    """

    phase: Phase
    phantom: Phantom
    volume: Volume
    settings: ScannerSettings
    treatments: tuple[Treatment, ...]
    hardware: tuple[Hardware, ...]
    lps_from_phantom_lps: geometry.FloatArray
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedCase:
    """A patient and the scans of it, oldest first."""

    seed: int
    kind: CaseKind
    scans: tuple[SimulatedScan, ...]
