"""Simulated radiographs and cines: what the X-ray path reports of them against what is true."""

from vertecast.lab.evaluation.projections.report import evaluate_projections, text_table

__all__ = ["evaluate_projections", "text_table"]
