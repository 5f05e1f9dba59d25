"""Robust least squares and the polynomials that endplates are fitted with."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import linalg

from vertecast.core.geometry import FloatArray

HUBER_SD: Final = 1.345
"""Residuals beyond this many SD lose weight: 95 % efficiency for normal errors (Huber, Robust Statistics, 1981)."""

TUKEY_SD: Final = 4.685
"""Residuals beyond this many SD have no weight: 95 % efficiency for normal errors (Beaton and Tukey, 1974)."""

LOWER_SHARE: Final = 0.3
"""Share of the values that is believed to lie no higher than the curve that is sought from below."""

ROUNDS: Final = 6

ROUGHNESS_SAMPLES: Final = 41


def powers(degree: int) -> list[tuple[int, int]]:
    """Exponents of x and y of every monomial up to a total degree."""
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]


def monomials(x: FloatArray, y: FloatArray, degree: int) -> FloatArray:
    """Monomials at x, y (any equal shapes), along a new last axis in the order of `powers`."""
    # Powers by multiplication: raising to an integer power takes ten times as long.
    x_powers, y_powers = ([np.ones_like(side)] for side in (x, y))
    for _ in range(degree):
        x_powers.append(x_powers[-1] * x)
        y_powers.append(y_powers[-1] * y)
    return np.stack([x_powers[i] * y_powers[j] for i, j in powers(degree)], axis=-1)


def roughness(degree: int) -> FloatArray:
    """Matrix R of the mean squared second derivatives of a polynomial over the unit disc: c @ R @ c for coefficients c.

    As a penalty it keeps a surface of high degree calm where few points hold it, as thin-plate splines are
    (Wahba, Spline Models for Observational Data, 1990).
    """
    at = np.linspace(-1, 1, ROUGHNESS_SAMPLES)
    x, y = (side[np.add.outer(at**2, at**2) <= 1] for side in np.meshgrid(at, at, indexing="ij"))
    terms = powers(degree)
    total = np.zeros((len(terms), len(terms)))
    for along_x, along_y, weight in ((2, 0, 1.0), (1, 1, 2.0), (0, 2, 1.0)):
        rows = np.stack([_derivative(x, i, along_x) * _derivative(y, j, along_y) for i, j in terms], axis=-1)
        total += weight * rows.T @ rows / len(x)
    return total


def _derivative(x: FloatArray, power: int, order: int) -> FloatArray:
    """Derivative of x to a power."""
    if order > power:
        return np.zeros_like(x)
    factor = float(np.prod(np.arange(power - order + 1, power + 1)))
    return np.asarray(factor * x ** (power - order))


def robust_solve(design: FloatArray, values: FloatArray, penalty: FloatArray | None = None) -> tuple[FloatArray, float]:
    """Least squares with Huber weights (iteratively reweighted).

    Args:
        design: (n, m).
        values: (n,).
        penalty: (m, m) matrix P; n c @ P @ c is added to the sum of squares of the coefficients c.

    Returns:
        Coefficients (m,) and robust scatter (SD) of the residuals.
    """
    weights = np.ones(len(values))
    added = 0.0 if penalty is None else len(values) * penalty
    coefficients: FloatArray = np.zeros(design.shape[1])
    scatter = 0.0
    for _ in range(ROUNDS):
        weighted = design * weights[:, None]
        coefficients = _solved(design.T @ weighted + added, weighted.T @ values)
        residual = np.abs(values - design @ coefficients)
        scatter = float(1.4826 * np.median(residual))
        weights = np.minimum(1.0, HUBER_SD * max(scatter, 1e-3) / np.maximum(residual, 1e-9))
    return coefficients, scatter


def redescending_solve(design: FloatArray, values: FloatArray) -> tuple[FloatArray, float]:
    """Least squares with Tukey's biweight, from the Huber solution: what lies far off has no say at all.

    Args:
        design: (n, m).
        values: (n,).

    Returns:
        Coefficients (m,) and robust scatter (SD) of the residuals.
    """
    coefficients, scatter = robust_solve(design, values)
    for _ in range(ROUNDS):
        share = np.abs(values - design @ coefficients) / (TUKEY_SD * max(scatter, 1e-3))
        weighted = design * (np.clip(1 - share**2, 0.0, None) ** 2)[:, None]
        coefficients = _solved(design.T @ weighted, weighted.T @ values)
        scatter = float(1.4826 * np.median(np.abs(values - design @ coefficients)))
    return coefficients, scatter


def solve_from_below(design: FloatArray, values: FloatArray, tolerance: float, penalty: FloatArray) -> FloatArray:
    """Least squares through the lower part of the values: what rises above the fit loses its say, however much it is.

    Args:
        design: (n, m); its first column is constant.
        values: (n,).
        tolerance: Rise at which a value has half of its weight.
        penalty: (m, m) matrix P; n c @ P @ c is added to the sum of squares of the coefficients c.

    Returns:
        Coefficients (m,).
    """
    rise = values - np.quantile(values, LOWER_SHARE)
    coefficients: FloatArray = np.zeros(design.shape[1])
    for _ in range(ROUNDS):
        weighted = design / (1 + (np.clip(rise, 0.0, None) / tolerance) ** 4)[:, None]
        coefficients = _solved(design.T @ weighted + len(values) * penalty, weighted.T @ values)
        rise = values - design @ coefficients
    return coefficients


def _solved(normal: FloatArray, target: FloatArray) -> FloatArray:
    """Solve the normal equations: ten times as fast as an orthogonal solution of the tall system, to 1e-9 mm here."""
    try:
        return np.asarray(linalg.cho_solve(linalg.cho_factor(normal, check_finite=False), target, check_finite=False))
    except linalg.LinAlgError:  # fewer independent points than coefficients: the shortest solution
        return np.asarray(linalg.lstsq(normal, target)[0])
