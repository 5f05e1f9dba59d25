"""Hypothesis strategies shared by the tests."""

from __future__ import annotations

from hypothesis import strategies as st

from vertecast.simulation.spine import BodyShape


@st.composite
def body_shapes(draw: st.DrawFn) -> BodyShape:
    """Thoracic to lumbar bodies, sound or fractured."""
    posterior = draw(st.floats(17.0, 28.0))
    anterior = posterior * draw(st.floats(0.55, 1.1))
    middle = min(anterior, posterior) * draw(st.floats(0.75, 0.97))
    depth = draw(st.floats(24.0, 36.0))
    return BodyShape(
        width_mm=depth * draw(st.floats(1.15, 1.4)),
        depth_mm=depth,
        anterior_mm=anterior,
        middle_mm=middle,
        posterior_mm=posterior,
        superior_share=draw(st.floats(0.3, 0.8)),
        bump_exponent=draw(st.floats(2.0, 5.0)),
        waist=draw(st.floats(0.05, 0.15)),
        tilt_coronal=draw(st.floats(-0.06, 0.06)),
    )
