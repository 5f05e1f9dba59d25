"""From integrals to the picture: what a detector, its processing and a collimator make of them."""

from __future__ import annotations

import numpy as np

from vertecast.lab.simulation.projection.film import collimate


def test_behind_a_collimator_nothing_has_edges() -> None:
    stripes = np.tile(np.repeat([0.1, 0.9], 8), (128, 8)).astype(np.float32)
    seen = 0
    for seed in range(60):
        image, open_field = collimate(stripes, np.random.default_rng(seed), rate=1.0)
        assert (image[open_field] == stripes[open_field]).all()
        across = np.diff(image, axis=1)[~open_field[:, 1:] & ~open_field[:, :-1]]
        seen += across.size > 0 and bool(across.any())
        assert np.abs(across).max(initial=0) < 0.01
    assert seen, "scatter shines behind some of them"
