"""Robust least squares and the polynomials that endplates are fitted with."""

from __future__ import annotations

from typing import Final

import numpy as np

from vertecast.geometry import FloatArray

HUBER_SD: Final = 1.345
"""Residuals beyond this many SD lose weight: 95 % efficiency for normal errors (Huber, Robust Statistics, 1981)."""

ROUNDS: Final = 6


def powers(degree: int) -> list[tuple[int, int]]:
    """Exponents of x and y of every monomial up to a total degree."""
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]


def monomials(x: FloatArray, y: FloatArray, degree: int) -> FloatArray:
    """Monomials at x, y (any equal shapes), along a new last axis in the order of `powers`."""
    return np.stack([x**i * y**j for i, j in powers(degree)], axis=-1)


def robust_solve(design: FloatArray, values: FloatArray, *, ridge: float) -> tuple[FloatArray, float]:
    """Least squares with Huber weights (iteratively reweighted). Returns coefficients and robust scatter (SD)."""
    weights = np.ones(len(values))
    penalty = np.sqrt(ridge * len(values)) * np.eye(design.shape[1])
    coefficients: FloatArray = np.zeros(design.shape[1])
    scatter = 0.0
    for _ in range(ROUNDS):
        root = np.sqrt(weights)[:, None]
        system = np.concatenate([design * root, penalty]) if ridge else design * root
        target = np.concatenate([values * root[:, 0], np.zeros(len(penalty))]) if ridge else values * root[:, 0]
        coefficients = np.asarray(np.linalg.lstsq(system, target, rcond=None)[0], dtype=np.float64)
        residual = np.abs(values - design @ coefficients)
        scatter = float(1.4826 * np.median(residual))
        weights = np.minimum(1.0, HUBER_SD * max(scatter, 1e-3) / np.maximum(residual, 1e-9))
    return coefficients, scatter
