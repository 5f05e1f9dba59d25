"""Figures of films and of a cine, from the simulated patients in data_samples/ with their truth."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from vertecast.core.anatomy import CEMENT_INSIDE_LABEL, CEMENT_LEAKED_LABEL
from vertecast.core.images import ProjectionSegmentation, Radiograph
from vertecast.core.results import Quantity
from vertecast.measurement.projection.bodies import PlaneBody, fit_plane_bodies, plane_of
from vertecast.measurement.projection.cement import body_outlines
from vertecast.measurement.projection.leaks import TOLERANCE_SHARE
from vertecast.measurement.projection.study import ProjectionMeasurement, measure_projection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES: Final = Path(__file__).parents[1] / "data_samples"
FILMS: Final = "004863_post"
CINE: Final = "000753_during"


def _truth(kind: str) -> tuple[dict[str, Any], Path]:
    """The truth of the first study of a kind whose phase is that of the figure."""
    phase = "during" if kind == "cine" else "post"
    for path in sorted((SAMPLES / "truth").glob("*.json")):
        truth = json.loads(path.read_text(encoding="utf-8"))
        if truth.get("kind") == kind and truth["phase"] == phase:
            return truth, path.parent
    raise FileNotFoundError(f"{SAMPLES}: no simulated {kind}; make the samples with scripts/make_samples.py")


@cache
def film(view: str) -> tuple[Radiograph, ProjectionSegmentation, ProjectionMeasurement]:
    """A film with its true points and cement in place of a network's, and what is measured on it."""
    from PIL import Image
    from skimage.draw import polygon

    from vertecast.io.discover import StudyFiles, find_studies
    from vertecast.io.projection.images import choose_projection_series, projection_files, read_projection

    truth, folder = _truth("film")
    image = next(one for one in truth["images"] if one["view"] == view)
    (study,) = [s for s in find_studies([SAMPLES / "studies" / FILMS]) if isinstance(s, StudyFiles)]
    series = next(
        s for s in choose_projection_series(study)[0] if s.series_instance_uid == image["series_instance_uid"]
    )
    radiograph = read_projection(projection_files(series)[0]).image
    assert isinstance(radiograph, Radiograph)
    labels = np.asarray(Image.open(folder / f"{image['sop_instance_uid']}.png"))
    bodies = [body for body in image["bodies"] if body["points_px"]]
    points = np.array([body["points_px"] for body in bodies], dtype=np.float64).reshape(-1, 6, 2)
    instance = np.zeros(radiograph.shape, dtype=np.uint8)
    for n, six in enumerate(points, start=1):
        ring = np.vstack([six[:3], six[:2:-1]])
        instance[polygon(ring[:, 1], ring[:, 0], radiograph.shape)] = n
    nothing = np.zeros(radiograph.shape, dtype=np.float16)
    found = ProjectionSegmentation(
        view=view,  # type: ignore[arg-type]
        view_confidence=1.0,
        points_px=points,
        points_sd_px=np.full((len(points), 6), 0.5),
        confidence=(1.0,) * len(points),
        touches_border=tuple(not body["complete"] for body in bodies),
        rib_score=tuple(float(body["has_ribs"]) for body in bodies),
        instance=instance,
        body_probability=(instance > 0).astype(np.float16),
        sacrum_probability=nothing,
        cement_probability=np.isin(labels, [1, 2]).astype(np.float16),
        metal_probability=nothing,
    )
    measured = measure_projection(
        radiograph, found, series_instance_uid="1.2.3", lowest=bodies[-1]["level"], modality="radiograph"
    )
    return radiograph, found, measured


def _grey(radiograph: Radiograph) -> npt.NDArray[np.float32]:
    low, high = np.percentile(radiograph.intensity, [1, 99.95])
    return np.asarray(np.clip((radiograph.intensity - low) / (high - low), 0, 1), dtype=np.float32)


def film_body() -> Figure:
    """Six points, own axis, heights and wedge of a body on a lateral film; slope of the endplates on an AP film."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.4), dpi=80, layout="constrained")
    for axes, view in zip(figure.subplots(1, 2), ("lateral", "ap"), strict=True):
        radiograph, found, measured = film(view)
        treated = next(n for n, body in enumerate(measured.vertebrae) if body.treated)
        plane = plane_of(radiograph.spacing)
        body = fit_plane_bodies(radiograph, found, plane)[treated]
        assert isinstance(body, PlaneBody)
        six = found.points_px[treated].reshape(2, 3, 2)
        middle, reach = six.mean(axis=(0, 1)), 1.6 * np.linalg.norm(six[0, 2] - six[0, 0])
        axes.imshow(_grey(radiograph), cmap="gray")
        for place in range(3):
            axes.plot(*six[:, place].T, "o-", color="gold", markersize=4, linewidth=1)
        for plate in six:
            axes.axline(plate[0], plate[2], color="orangered", linewidth=1)
        finding = measured.vertebrae[treated]
        title = f"{view}: {finding.level}"
        if isinstance(finding.wedge_angle, Quantity):
            title += f", wedge {finding.wedge_angle.value:.1f}°"
        ratios = [f"{name} {q.value:.2f}" for name, q in finding.ratios.items() if isinstance(q, Quantity)]
        axes.set_title(f"{title}\n{', '.join(ratios)}", fontsize=8)
        axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] + reach, middle[1] - reach))
        axes.set_axis_off()
    return figure


def film_cement() -> Figure:
    """Cement on a lateral film: inside, suspected leak, outline of the body and the margin of a leak."""
    from matplotlib.figure import Figure
    from scipy import ndimage

    radiograph, found, measured = film("lateral")
    treated = next(n for n, body in enumerate(measured.vertebrae) if body.treated)
    plane = plane_of(radiograph.spacing)
    bodies = fit_plane_bodies(radiograph, found, plane)
    outline = body_outlines(bodies, found, plane, radiograph.shape) == treated + 1
    six = found.points_px[treated].reshape(2, 3, 2)
    depth = float(np.linalg.norm(six[:, 2] - six[:, 0], axis=1).mean())
    beyond = ndimage.distance_transform_edt(~outline) / depth
    figure = Figure(figsize=(5.2, 4.6), dpi=80, layout="constrained")
    axes = figure.subplots()
    axes.imshow(_grey(radiograph), cmap="gray")
    for label, colour in ((CEMENT_INSIDE_LABEL, "cyan"), (CEMENT_LEAKED_LABEL, "magenta")):
        if (measured.labels == label).any():
            axes.contour(measured.labels == label, levels=[0.5], colors=colour, linewidths=1)
    axes.contour(outline, levels=[0.5], colors="gold", linewidths=1)
    axes.contour(beyond, levels=[TOLERANCE_SHARE], colors="gold", linewidths=0.8, linestyles=":")
    middle = six.mean(axis=(0, 1))
    axes.set(xlim=(middle[0] - depth, middle[0] + depth), ylim=(middle[1] + depth, middle[1] - depth))
    texts = [f"{leak.compartment.value.replace('_', ' ')}" for leak in measured.leaks]
    axes.set_title(f"outline and {TOLERANCE_SHARE:.0%} margin (yellow), cement inside (cyan),\n"
                   f"suspected leak (magenta): {', '.join(dict.fromkeys(texts)) or 'none'}", fontsize=8)  # fmt: skip
    axes.set_axis_off()
    return figure


def cine_growth() -> Figure:
    """Area of the cement per look in a simulated cine, by the shipped network, and the true first frames."""
    from matplotlib.figure import Figure

    from vertecast.core.config import Config, SegmentationOptions
    from vertecast.io.discover import StudyFiles, find_studies
    from vertecast.run.engine import shipped_engine
    from vertecast.study.projection import analyze_projections

    truth, _ = _truth("cine")
    image, options = truth["images"][0], SegmentationOptions()
    load = shipped_engine(options).load_projection
    assert load is not None
    (study,) = [s for s in find_studies([SAMPLES / "studies" / CINE]) if isinstance(s, StudyFiles)]
    cine = analyze_projections(study, Config(), lambda: load(options)).report.cine
    assert cine is not None
    seen = [(point.frame_number, point.area) for point in cine.growth if isinstance(point.area, Quantity)]
    figure = Figure(figsize=(6.4, 3.6), dpi=80, layout="constrained")
    axes = figure.subplots()
    unit = {"mm2": "mm²", "1": "share of a body"}[seen[0][1].unit]
    axes.plot([n for n, _ in seen], [area.value for _, area in seen], "o-", color="orangered", markersize=4)
    for frame, text in ((image["first_cement_frame"], "first cement"), (image["first_leak_frame"], "first leak")):
        if frame is not None:
            axes.axvline(frame, color="darkcyan", linestyle=":")
            axes.text(frame, axes.get_ylim()[1], f" true {text}", color="darkcyan", fontsize=7, rotation=90, va="top")
    if isinstance(cine.first_cement_frame, int):
        axes.axvline(cine.first_cement_frame, color="orangered")
    axes.set(xlabel="frame", ylabel=f"area of all cement ({unit})")
    axes.set_title(
        f"first cement frame: found {cine.first_cement_frame}, true {image['first_cement_frame']}", fontsize=8
    )
    return figure
