"""Tiny simulated CTs with label maps as files: what a user with data of their own brings."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nibabel
import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import (
    CEMENT_INSIDE_LABEL,
    POSTERIOR_LABEL_OFFSET,
    UNKNOWN_LEVEL_LABEL_START,
    Level,
    Structure,
)
from vertecast.lab.simulation.ct.crops import CropSettings, DrawnPatient, draw_patient

SPACING_MM = (2.4, 2.6, 2.5)
DRAWN = CropSettings(spacing_mm=2.5, phantom_shape=(60, 60, 64), treated_rate=0.0, metal_rate=0.0)


@cache
def draw(seed: int) -> DrawnPatient:
    """A patient of which the thoracic or lumbar spine is in view."""
    return draw_patient(np.random.default_rng(seed), DRAWN)


def vertecast_labels(patient: DrawnPatient) -> np.ndarray:
    """Numbers of ``labels_<n>.nii.gz``, levels unknown: 41, 42, ... for bodies, 141, ... for their arches."""
    labels = np.zeros(patient.structure.shape, dtype=np.uint8)
    number = patient.instance.astype(int) + UNKNOWN_LEVEL_LABEL_START
    for structure, offset in ((Structure.BODY, 0), (Structure.POSTERIOR, POSTERIOR_LABEL_OFFSET)):
        where = (patient.structure == structure) & (patient.instance > 0)
        labels[where] = number[where] + offset
    labels[patient.structure == Structure.SACRUM] = Level.S1.value
    labels[patient.cement > 0.5] = CEMENT_INSIDE_LABEL
    return labels


def verse_labels(patient: DrawnPatient) -> np.ndarray:
    """Whole vertebrae with the numbers of VerSe, the topmost one T1; no sacrum, no cement."""
    bone = np.isin(patient.structure, (Structure.BODY, Structure.POSTERIOR)) & (patient.instance > 0)
    return np.where(bone, patient.instance + Level.C3.value - 1, 0).astype(np.uint8)


def lps_from_index() -> geometry.FloatArray:
    """Unequal voxels on a slightly turned grid."""
    turn = geometry.rotation([0.3, 1.0, 0.5], np.radians(4.0))
    return geometry.affine(turn * np.array(SPACING_MM), [-60.0, 30.0, 200.0])


def write_nifti(path: Path, values: np.ndarray) -> Path:
    """A volume in the frame of `lps_from_index`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ras_from_index = geometry.LPS_FROM_RAS @ lps_from_index()
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(values, ras_from_index), path)
    return path


def write_cases(folder: Path, seeds: tuple[int, ...], scheme: str = "vertecast") -> None:
    """``ct/<name>.nii.gz`` and ``labels/<name>.nii.gz``, one of each for every seed."""
    for seed in seeds:
        patient = draw(seed)
        labels = vertecast_labels(patient) if scheme == "vertecast" else verse_labels(patient)
        write_nifti(folder / "ct" / f"case{seed}.nii.gz", np.rint(patient.hu).astype(np.int16))
        write_nifti(folder / "labels" / f"case{seed}.nii.gz", labels)
