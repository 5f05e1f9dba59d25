"""The figures of docs/measurement.md: the program's own phantoms and simulated patients, measured by its own code.

``python scripts/make_figures.py --out docs/figures`` draws all of them, with names behind it only those. Numbers in a
figure are what was measured there, with the true ones beside them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from film_figures import cine_growth, film_body, film_cement

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.images import Segmentation, Volume
from vertecast.core.results import NotMeasured, Quantity
from vertecast.lab.simulation.patient.phantoms import TOP_LABEL, SpinePhantom, fractured_shape, normal_shape
from vertecast.measurement.change.registration import align_vertebra
from vertecast.measurement.ct.body import bone
from vertecast.measurement.ct.body.bony_outline import bony_outlines
from vertecast.measurement.ct.body.endplates import BodyGeometry
from vertecast.measurement.ct.body.heights import fit_bodies
from vertecast.measurement.ct.cement.map import find_cement
from vertecast.measurement.ct.levels import assign_levels
from vertecast.measurement.ct.study import Measurements, measure_study
from vertecast.measurement.shared.comparison import GENANT_LIMITS
from vertecast.report.figures.planes import Cut, flat_cut, sample_hu

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXEL_MM: Final = 0.4
WINDOW_HU: Final = (-150.0, 900.0)
CEMENT_WINDOW_HU: Final = (-100.0, 2400.0)
TRUE, FOUND, HELP = "cyan", "gold", "orangered"
FRACTURED: Final = 1

CENTRAL: Final = ((0.0, -1.0, 0.0), 7.0, FRACTURED)
CORNER: Final = ((2.0, -9.5, -4.0), 5.5, FRACTURED)
LEAKS: Final = (
    ((3.0, -21.5, 0.0), 2.6, FRACTURED),
    ((0.0, 18.0, 0.0), 2.6, FRACTURED),
    ((27.0, -2.0, -1.0), 2.8, FRACTURED),
    ((-17.0, 19.0, -9.0), 2.4, FRACTURED),
    ((15.0, 26.0, 5.0), 2.6, FRACTURED),
    ((-2.0, -4.0, -14.3), 2.4, FRACTURED),
)
"""Cement in the compartments: local frame of the fractured body (mm), radius (mm), body."""


@cache
def column() -> SpinePhantom:
    """L2 to L5, the second broken."""
    shapes = (normal_shape(25.5), fractured_shape(), normal_shape(25.0), normal_shape(24.0))
    return SpinePhantom(shapes=shapes, tilt_deg=(12.0, 0.0), sacrum=True, spacing_mm=(0.7, 0.8, 1.0))


@cache
def scanned() -> tuple[Volume, Segmentation, list[BodyGeometry], Measurements]:
    """The column's CT, a faultless outline, the bodies and all measurements."""
    return measured(column())


def measured(phantom: SpinePhantom) -> tuple[Volume, Segmentation, list[BodyGeometry], Measurements]:
    """Scan and measure a phantom of which every body can be measured."""
    volume, segmentation = phantom.volume(), phantom.segmentation()
    bodies = [body for body in fit_bodies(volume, segmentation) if isinstance(body, BodyGeometry)]
    found = measure_study(volume, segmentation, assign_levels(segmentation), series_instance_uid="1.2.3")
    return volume, segmentation, bodies, found


def value(quantity: object) -> float:
    """The number of a quantity that was measured."""
    assert isinstance(quantity, Quantity), quantity
    return quantity.value


def sagittal(body: BodyGeometry, half_mm: float = 32.0, shift_mm: tuple[float, float] = (0.0, 0.0)) -> Cut:
    """The body's mid-sagittal plane, the front on the left; ``shift_mm`` moves the field back and up."""
    y, z = shift_mm
    extent = (y - half_mm, y + half_mm, z - half_mm, z + half_mm)
    return flat_cut(body.center_lps_mm, body.lps_from_local[:3, 1], body.lps_from_local[:3, 2], extent, PIXEL_MM)


def axial(body: BodyGeometry, half_mm: float = 36.0, back_mm: float = 8.0, z_mm: float = 0.0) -> Cut:
    """A plane across the body, the front at the top, its left on the right; the field is moved back."""
    center = geometry.apply(body.lps_from_local, [0.0, 0.0, z_mm])
    extent = (-half_mm, half_mm, -half_mm - back_mm, half_mm - back_mm)
    return flat_cut(center, body.lps_from_local[:3, 0], -body.lps_from_local[:3, 1], extent, PIXEL_MM)


def panels(count: int, *, width: float = 4.2) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, 4.4), dpi=80, layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, count)))


def show(axes: Axes, volume: Volume, cut: Cut, title: str, window: tuple[float, float] = WINDOW_HU) -> None:
    """Draw the CT on a cut."""
    left, right, bottom, top = cut.extent_mm
    axes.imshow(sample_hu(volume, cut), cmap="gray", vmin=window[0], vmax=window[1], extent=cut.extent_mm)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_title(title, fontsize=8)
    axes.set_axis_off()


def contour(
    axes: Axes, values: npt.NDArray[Any], lps_from_index: geometry.FloatArray, cut: Cut, level: float, **style: Any
) -> None:
    """Draw where a field on a grid crosses a level."""
    from scipy import ndimage

    index = np.moveaxis(geometry.apply(geometry.inverse(lps_from_index), cut.points_lps_mm), -1, 0)
    sampled = ndimage.map_coordinates(np.asarray(values, dtype=np.float32), index, order=1, mode="nearest")
    axes.contour(sampled, levels=[level], extent=cut.extent_mm, origin="upper", **style)


def arrows(axes: Axes, directions: dict[str, tuple[int, int]], length_mm: float = 9.0) -> None:
    """Draw axes of the body from its middle."""
    for name, (x, y) in directions.items():
        end = (length_mm * x, length_mm * y)
        axes.annotate("", end, (0, 0), arrowprops={"arrowstyle": "->", "color": "white"})
        axes.text(1.15 * end[0], 1.15 * end[1], name, color="white", ha="center", va="center")


def line(axes: Axes, cut: Cut, points_lps_mm: Sequence[Any], style: str = "-", **more: Any) -> None:
    """Draw a line through points in space."""
    axes.plot(*np.array([cut.project(point) for point in points_lps_mm]).T, style, **more)


def six(body: BodyGeometry) -> dict[str, dict[str, Any]]:
    """The six points, by endplate and place."""
    assert not isinstance(body.six_points_lps_mm, NotMeasured)
    return {plate: {str(p): point for p, point in places.items()} for plate, places in body.six_points_lps_mm.items()}


def body_frame() -> Figure:
    """Axes, endplates, walls and six points of a broken body, and its heights against the true ones."""
    volume, _, bodies, _ = scanned()
    body, shape = bodies[FRACTURED], column().shapes[FRACTURED]
    figure, (axes, beside) = panels(2)
    cut = sagittal(body, 26.0)
    show(axes, volume, cut, "body's own frame, endplates, walls and six points")
    y = np.linspace(body.anterior_wall_y_mm, body.posterior_wall_y_mm, 60)
    for plate in (body.superior, body.inferior):
        axes.plot(y, plate(np.zeros_like(y), y), color=FOUND, linewidth=1.2)
    for wall in (body.anterior_wall_y_mm, body.posterior_wall_y_mm):
        axes.axvline(wall, color=FOUND, linestyle=":", linewidth=0.8)
    arrows(axes, {"y": (1, 0), "z": (0, 1)})
    points = six(body)
    for place, truth in shape.heights_mm().items():
        ends = [points["superior"][place], points["inferior"][place]]
        line(axes, cut, ends, "o-", color=HELP, markersize=4, linewidth=1)
        at = np.mean([cut.project(point) for point in ends], axis=0)
        label = f"H{place[0]}\n{body.heights_mm[place]:.1f}\n({truth:.1f})"
        side = -4.5 if place == "posterior" else 0.6
        axes.text(at[0] + side, at[1] - 5, label, color=HELP, fontsize=7)
    cut = axial(body, 28.0, 2.0)
    show(beside, volume, cut, "axial: x to the left, y to posterior")
    arrows(beside, {"x": (1, 0), "y": (0, -1)})
    beside.axvline(0, color=FOUND, linestyle=":", linewidth=0.8)
    beside.text(1, 22, "mid-sagittal plane", color=FOUND, fontsize=7)
    return figure


def wedge_and_kyphosis() -> Figure:
    """Lines through the outer points of the endplates: of one body, and of the bodies above and below it."""
    volume, _, bodies, found = scanned()
    body = bodies[FRACTURED]
    figure, (axes, wide) = panels(2)
    cut = sagittal(body, 26.0)
    truth = column().shapes[FRACTURED].wedge_angle_deg()
    show(axes, volume, cut, f"wedge angle {body.wedge_angle_deg:.1f}° (true {truth:.1f}°)")
    for places in six(body).values():
        ends = np.array([cut.project(places[place]) for place in ("anterior", "posterior")])
        axes.plot(*ends.T, "o", color=HELP, markersize=4)
        axes.axline(ends[0], ends[1], color=HELP, linewidth=1)
    cut = sagittal(body, 52.0)
    angle = next(a for a in found.angles if a.name.startswith("local kyphosis"))
    show(wide, volume, cut, f"{angle.name}: {value(angle.angle):.1f}°\n{angle.upper} to {angle.lower}")
    for n, plate in ((FRACTURED - 1, "superior"), (FRACTURED + 1, "inferior")):
        ends = np.array([cut.project(six(bodies[n])[plate][place]) for place in ("anterior", "posterior")])
        wide.plot(*ends.T, "o", color=HELP, markersize=4)
        wide.axline(ends[0], ends[1], color=HELP, linewidth=1)
    return figure


def height_loss() -> Figure:
    """Heights of a broken body against its reference, and the grades."""
    _, _, _, found = scanned()
    figure, (axes, beside) = panels(2)
    body = found.vertebrae[FRACTURED]
    places = ("anterior", "middle", "posterior")
    for n, finding in enumerate(found.vertebrae):
        heights = [value(finding.heights[place]) for place in places]  # type: ignore[index]
        axes.plot(range(3), heights, "o-", color=HELP if n == FRACTURED else "gray")
        axes.text(2.08, heights[2], finding.level, fontsize=8, va="center")
    used = ", ".join(body.reference.levels)
    axes.set_xticks(range(3), places)
    axes.set_ylabel("height (mm)")
    axes.set_title(f"{body.level}: loss {value(body.height_loss):.0%} against {used}; {body.deformity}", fontsize=8)
    axes.set_xlim(-0.2, 2.4)
    loss = np.linspace(0, 0.6, 601)
    beside.step(100 * loss, np.searchsorted(GENANT_LIMITS, loss, side="right"), color="black")
    assert isinstance(body.height_loss, Quantity)
    assert body.height_loss.interval95 is not None
    low, high = body.height_loss.interval95
    beside.axvspan(100 * low, 100 * high, color=HELP, alpha=0.3)
    beside.axvline(100 * value(body.height_loss), color=HELP)
    beside.set(xlabel="height loss (%), 95 % interval shaded", ylabel="Genant grade", yticks=range(4))
    beside.set_title(f"grade {body.genant_grade}, range {body.genant_grade_range}", fontsize=8)
    return figure


def density_and_canal() -> Figure:
    """Where density is read, and where the depth of the canal."""
    volume, segmentation, bodies, found = scanned()
    body, finding = bodies[FRACTURED + 1], found.vertebrae[FRACTURED + 1]
    low, high = (body.anterior_wall_y_mm + share * body.depth_mm for share in bone.CORE_DEPTH_RANGE)
    half_width, turn = bone.CORE_WIDTH_SHARE * body.width_mm / 2, np.linspace(0, 2 * np.pi, 100)
    figure, (axes, beside) = panels(2)
    show(axes, volume, sagittal(body, 30.0, (6.0, 0.0)), f"core: {value(finding.density):.0f} HU (phantom: 140)")
    y = np.linspace(low, high, 30)
    top, bottom = body.superior(np.zeros_like(y), y), body.inferior(np.zeros_like(y), y)
    for side in (-1, 1):
        axes.plot(y, (top + bottom) / 2 + side * bone.CORE_HEIGHT_SHARE * (top - bottom) / 2, color=FOUND)
    axes.vlines([low, high], *axes.get_ylim(), color=FOUND, linestyle=":", linewidth=0.8)
    canal = segmentation.structure == Structure.CANAL
    contour(axes, canal, segmentation.lps_from_index, sagittal(body, 30.0, (6.0, 0.0)), 0.5, colors=TRUE, linewidths=1)
    depth = bone.canal_depth_mm(segmentation, body)
    show(beside, volume, axial(body), f"canal: {depth:.1f} mm deep over a strip of {2 * bone.CANAL_STRIP_HALF_MM:g} mm")
    beside.plot(half_width * np.cos(turn), -(low + high) / 2 + (high - low) / 2 * np.sin(turn), color=FOUND)
    contour(beside, canal, segmentation.lps_from_index, axial(body), 0.5, colors=TRUE, linewidths=1)
    for x in (-bone.CANAL_STRIP_HALF_MM, bone.CANAL_STRIP_HALF_MM):
        beside.axvline(x, color=TRUE, linestyle=":", linewidth=0.8)
    return figure


def cement_boundary() -> Figure:
    """A ball of cement: its visible boundary, and the profile that it comes from."""
    phantom = replace(column(), balls=(CENTRAL,), frames=[])
    volume, segmentation, bodies, found = measured(phantom)
    cement = find_cement(volume, segmentation, bodies=bodies).cement
    assert cement is not None
    body, center, radius = bodies[FRACTURED], phantom.frames[FRACTURED], CENTRAL[1]
    figure, (axes, beside) = panels(2)
    truth = 4 / 3 * np.pi * radius**3 / 1000
    cut = sagittal(body, 22.0)
    title = f"volume {value(found.cement[0].volume):.2f} mL (true {truth:.2f} mL)"
    show(axes, volume, cut, title, CEMENT_WINDOW_HU)
    contour(axes, cement.mask, cement.lps_from_index, cut, 0.5, colors=HELP, linewidths=1)
    distance = np.arange(0.0, 14.0, 0.2)
    along = geometry.apply(center, np.array(CENTRAL[0]) + distance[:, None] * np.array([1.0, 0.0, 0.0]))
    hu = bone.sample_hu(volume, along)
    around = float(np.median(hu[distance > radius + 3]))
    beside.plot(distance, hu, color="black")
    for level, name in ((cement.plateau_hu, "plateau"), ((cement.plateau_hu + around) / 2, "half"), (around, "bone")):
        beside.axhline(level, color=HELP, linewidth=0.8)
        beside.text(13.8, level + 25, name, color=HELP, fontsize=7, ha="right")
    beside.axvline(radius, color="darkcyan", linestyle=":")
    beside.text(radius + 0.1, 300, "true surface", color="darkcyan", fontsize=7)
    beside.set(xlabel="mm from the middle of the cement", ylabel="HU")
    return figure


def outline_beside_cement() -> Figure:
    """A filled corner that the network left out: its outline, the one used for leaks and the true one."""
    phantom = replace(column(), balls=(CENTRAL, CORNER), frames=[])
    volume, whole = phantom.volume(), phantom.segmentation()
    points = geometry.apply(whole.lps_from_index, np.moveaxis(np.indices(whole.structure.shape), 0, -1))
    local = phantom.local(FRACTURED, points)
    bitten = np.linalg.norm(local - np.array(CORNER[0]), axis=-1) <= CORNER[1] + 0.5
    structure, instance = np.array(whole.structure), np.array(whole.instance)
    probability = np.array(whole.body_probability)
    structure[bitten], instance[bitten], probability[bitten] = Structure.BACKGROUND, 0, 0.03
    segmentation = replace(whole, structure=structure, instance=instance, body_probability=probability)
    bodies = fit_bodies(volume, segmentation)
    body = bodies[FRACTURED]
    assert isinstance(body, BodyGeometry)
    figure, (axes,) = panels(1, width=4.8)
    cut = sagittal(body, 24.0)
    show(axes, volume, cut, "network's outline (red), outline used (yellow), true (cyan)", CEMENT_WINDOW_HU)
    signed, _ = bony_outlines(segmentation, tuple(slice(0, n) for n in structure.shape), bodies)
    true = phantom.shapes[FRACTURED].signed_distance_mm(*np.moveaxis(local, -1, 0))
    for field, level, colour in ((probability, 0.5, HELP), (signed, 0.0, FOUND), (true, 0.0, TRUE)):
        contour(axes, field, whole.lps_from_index, cut, level, colors=colour, linewidths=1.3)
    return figure


def leaks() -> Figure:
    """Leaks into every compartment, each named by what was found, with its Yeom type."""
    phantom = replace(column(), balls=(CENTRAL, *LEAKS), frames=[])
    volume, _, bodies, found = measured(phantom)
    body = bodies[FRACTURED]
    figure, (axes, beside) = panels(2, width=5.0)
    cuts = axial(body, 46.0, 6.0), sagittal(body, 40.0, (4.0, 0.0))
    titles = {"axial, 48 mm of height (the disc left out)": "disc", "sagittal, 48 mm of width": "paravertebral"}
    for panel, cut, (title, hidden) in zip((axes, beside), cuts, titles.items(), strict=True):
        # The brightest value along the line of sight, so that leaks of all heights and sides are seen.
        stack = [sample_hu(volume, replace(cut, points_lps_mm=cut.points_lps_mm + mm * cut.normal))
                 for mm in range(-24, 25, 3)]  # fmt: skip
        panel.imshow(np.max(stack, axis=0), cmap="gray", vmin=-100, vmax=2600, extent=cut.extent_mm)
        panel.set_title(title, fontsize=8)
        panel.set_axis_off()
        for leak in (one for one in found.leaks if not one.compartment.value.startswith(hidden)):
            at = cut.project(leak.evidence.point_lps_mm)  # type: ignore[arg-type]
            kind = leak.yeom_type if isinstance(leak.yeom_type, str) else "no type"
            text = f"{leak.compartment.value.replace('_', ' ')}\n{kind}, {value(leak.volume):.2f} mL"
            panel.plot(*at, "o", color=HELP, markersize=3)
            panel.text(at[0] + 1, at[1], text, color=FOUND, fontsize=6.5, va="center")
    return figure


def overlay() -> Figure:
    """A body before and after, laid over each other by the posterior elements."""
    before = replace(column(), shapes=(normal_shape(25.5), normal_shape(26.0)), frames=[], sacrum=False)
    after = replace(before, shapes=(normal_shape(25.5), fractured_shape()), tilt_deg=(26.0, 6.0), frames=[])
    number = TOP_LABEL + FRACTURED
    maps = before.label_map(), after.label_map()
    start = after.frames[FRACTURED] @ geometry.inverse(before.frames[FRACTURED])
    motion = align_vertebra(maps[0], maps[1], (number, number), start)
    assert not isinstance(motion, NotMeasured)
    (volume, _, bodies, _), figure_panels = measured(after), panels(1, width=4.8)
    figure, (axes,) = figure_panels
    cut = sagittal(bodies[FRACTURED], 36.0, (12.0, 0.0))
    show(axes, volume, cut, f"later CT; body before (cyan) and now (yellow); error {motion.error_mm:.2f} mm")
    moved = motion.later_from_earlier @ maps[0].lps_from_index
    for labels, affine, colour in ((maps[0].labels, moved, TRUE), (maps[1].labels, maps[1].lps_from_index, FOUND)):
        contour(axes, labels % 100 == number, affine, cut, 0.5, colors=colour, linewidths=1.2)
    return figure


FIGURES: Final[dict[str, Callable[[], Figure]]] = {
    f.__name__: f
    for f in (
        body_frame, wedge_and_kyphosis, height_loss, density_and_canal, cement_boundary, outline_beside_cement, leaks,
        overlay, film_body, film_cement, cine_growth,
    )
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(FIGURES):
        parser.error(f"no figure {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or FIGURES:
        FIGURES[name]().savefig(options.out / f"{name}.png", metadata={"Software": None})
        print(f"{name}.png", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
