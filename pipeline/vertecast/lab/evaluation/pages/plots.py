"""The plots that people look for, as SVG: limits of agreement, ROC, FROC, reliability, overlap by level."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vertecast.core.anatomy import CRANIAL_TO_CAUDAL
from vertecast.lab.evaluation import statistics
from vertecast.lab.evaluation.maps.questions import MASKS
from vertecast.lab.evaluation.projections.questions import MEASURE_LINES
from vertecast.lab.evaluation.questions import Answer
from vertecast.lab.evaluation.studies.questions import CALIBRATION, MEASURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_IN: Final = 4.2
HEIGHT_IN: Final = 3.2
PLACE: Final = (0.15, 0.16, 0.82, 0.74)
"""Of the axes in the figure: left, bottom, width, height."""
MOST_POINTS: Final = 2000
"""More points are drawn as a picture: an SVG with every one of them would be slow to open."""

SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vertecast",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
INK, LIMIT, POINT = "#16202a", "#b04e00", "#0072b2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot as a page shows it: the section it stands in, an image without outside parts, and what it says."""

    section: str
    source: str
    alt: str
    caption: str


def plots(answers: Sequence[Answer]) -> list[Plot]:
    """Every plot that the answers have the data for."""
    return [plot for one in answers for plot in _plots(one)]


def _plots(one: Answer) -> Iterator[Plot]:
    question = one.question
    if question.section == MEASURES or question.lines is MEASURE_LINES:
        yield _drawn(one, _bland_altman, f"Bland–Altman: {question.label}", _limits_caption(one))
    elif question.key.endswith("_froc") and len(statistics.froc_curve(one.table)):
        yield _drawn(one, _froc, f"FROC: {question.label}", "Sensitivity against false reports an image.")
    elif question.key in ("fracture", "moderate_fracture", "leaking_bodies"):
        if one.estimates["auc"].value is not None:
            yield _drawn(one, _roc, f"ROC: {question.label}", f"AUC {one.estimates['auc'].value:.3f}.")
    elif question.section == CALIBRATION:
        yield _drawn(one, _reliability, f"Reliability: {question.label}", "Share that is right by confidence; the "
                     "line is where they are equal, the size of a dot the count.")  # fmt: skip
    elif question.section == MASKS and question.key in ("body", "vertebra"):
        yield _drawn(one, _by_level, f"Dice by level: {question.label}", "Each vertebra; a miss is 0. Line: median.")


def _drawn(one: Answer, draw: Callable[[Axes, Answer], None], title: str, caption: str) -> Plot:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN))
        axes = figure.add_axes(PLACE)
        draw(axes, one)
        axes.set_title(title, fontsize=9)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    alt = f"{title}. {caption}"
    return Plot(section=one.question.section, source=f"data:image/svg+xml;base64,{data}", alt=alt, caption=caption)


def _limits_caption(one: Answer) -> str:
    values = {key: one.estimates[key].value for key in ("bias", "lower_limit", "upper_limit")}
    if any(value is None for value in values.values()):
        return f"{len(one.items)} values: too few for limits of agreement."
    return (
        f"Bias {values['bias']:+.3g}, 95 % limits of agreement {values['lower_limit']:.3g} to "
        f"{values['upper_limit']:.3g}, {len(one.items)} values."
    )


def _bland_altman(axes: Axes, one: Answer) -> None:
    table = one.table
    difference = table[:, 1] - table[:, 0]
    axes.scatter(
        table[:, :2].mean(axis=1), difference, s=9, color=POINT, alpha=0.6, linewidths=0,
        rasterized=len(table) > MOST_POINTS,
    )  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.6)
    for key, style in (("bias", "-"), ("lower_limit", "--"), ("upper_limit", "--")):
        value = one.estimates[key].value
        if value is not None:
            axes.axhline(value, color=LIMIT, linewidth=1.1, linestyle=style)
    axes.set_xlabel("mean of true and found")
    axes.set_ylabel("found less true")


def _froc(axes: Axes, one: Answer) -> None:
    curve = statistics.froc_curve(one.table)
    end = max(1.0, min(8.0, float(curve[:, 0].max())))
    axes.step([*curve[:, 0], max(end, curve[-1, 0])], [*curve[:, 1], curve[-1, 1]], where="post", color=POINT)
    axes.set_xlim(-0.02 * end, end)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("false reports an image")
    axes.set_ylabel("sensitivity")


def _roc(axes: Axes, one: Answer) -> None:
    curve = statistics.roc_curve(one.table[:, [0, 2]])
    axes.plot(curve[:, 0], curve[:, 1], color=POINT)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=":")
    axes.set_xlabel("1 − specificity")
    axes.set_ylabel("sensitivity")


def _reliability(axes: Axes, one: Answer) -> None:
    bins = statistics.reliability(one.table)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=":")
    axes.scatter(bins[:, 0], bins[:, 1], s=12 + 120 * bins[:, 2] / bins[:, 2].max(), color=POINT, alpha=0.7)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(-0.02, 1.04)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")


def _by_level(axes: Axes, one: Answer) -> None:
    values: dict[str, list[float]] = {}
    for item in one.items:
        values.setdefault(item.groups.get("level", ""), []).append(item.row[0])
    levels = [name for name in _ordered(values) if name]
    rng = np.random.default_rng(0)
    for n, level in enumerate(levels):
        own = np.array(values[level])
        spread = n + rng.uniform(-0.25, 0.25, len(own))
        axes.scatter(spread, own, s=8, color=POINT, alpha=0.6, linewidths=0, rasterized=len(own) > MOST_POINTS)
        axes.plot([n - 0.35, n + 0.35], [float(np.median(own))] * 2, color=LIMIT, linewidth=1.4)
    axes.set_xticks(range(len(levels)), levels, rotation=90)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("Dice")


def _ordered(values: Mapping[str, object]) -> list[str]:
    """Levels from head to foot; those without a known name after them."""
    known = [level.name for level in CRANIAL_TO_CAUDAL if level.name in values]
    return [*known, *sorted(name for name in values if name not in known)]
