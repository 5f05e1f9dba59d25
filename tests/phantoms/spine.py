"""Analytic spines for tests, and findings of which nothing is known."""

from __future__ import annotations

from vertecast.core.results import HeightReference, NotMeasured, VertebraFinding
from vertecast.lab.simulation.patient.phantoms import CORTEX_HU, MARROW_HU, SpinePhantom, blurred_ball, normal_shape

__all__ = ["CORTEX_HU", "MARROW_HU", "SpinePhantom", "blurred_ball", "normal_shape", "vertebra_without_numbers"]


def vertebra_without_numbers(level: str) -> VertebraFinding:
    """A vertebra of a CT of which nothing could be measured."""
    missing = NotMeasured(reason="cut by the edge of the image")
    return VertebraFinding(
        series_instance_uid="1.2", level=level, level_confidence=0.0, level_source="unknown", complete=False,
        treated=False, center_lps_mm=(1.0, 2.0, 3.0), six_points_lps_mm=missing,
        heights={"anterior": missing, "middle": missing, "posterior": missing},
        ratios={"wedge": missing, "biconcave": missing, "crush": missing}, height_loss=missing,
        reference=HeightReference(method="none"), wedge_angle=missing, deformity=missing, genant_grade=missing,
        genant_grade_range=missing, genant_grade_probability=missing, volume=missing, density=missing, cleft=missing,
        canal_compromise=missing, retropulsion=missing, confidence=0.5,
    )  # fmt: skip
