"""Scenes: everything that one viewer of the page needs, ready to be embedded as JSON.

Places in a scene are voxel indices (i, j, k) of its grid, fractions included; in a film (column, row, 0).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core import geometry
from vertecast.core.results import LeakFinding, NotMeasured, Place, Quantity, StudyReport, VertebraFinding
from vertecast.report import wording
from vertecast.report.figures import drawing, planes
from vertecast.report.html.viewer import grids
from vertecast.report.html.viewer.greys import CT_GREYS, CT_WINDOWS, GreyTable, Window

SPINE: Final = "spine"
"""Name of the scene of the whole spine; that of a body is "level_L1", of a film "film_1"."""

_SPINE_REACH_MM: Final = 6.0
"""Points this near to the shown slice of the whole spine are drawn: a curved spine leaves the slice that follows it."""

_COMPRESSION: Final = 6

Content: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneStructure:
    """Something that is drawn over the grey picture and can be switched off.

    Attributes:
        name: For the reader.
        codes: First and last code of it in the grid.
        colour: Of its line and filling.
        style: "line", "strong" (a thick line), "dots", "fill", or "hatch" (dashed line and stripes): colour is never
            the only sign.
    """

    name: str
    codes: tuple[int, int]
    colour: str
    style: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One viewer of the page.

    Attributes:
        name: "spine", "level_L1", "film_1": that of the picture that stands for it on paper.
        title: For the reader.
        planes: Views that it has: sagittal, coronal and axial, or that of a film.
        structures: What can be switched off.
        windows: Presets of the grey scale, the first one shown first.
        places: What can be gone to, and where it lies.
        content: All of it for the script, as JSON values.
    """

    name: str
    title: str
    planes: tuple[str, ...]
    structures: tuple[SceneStructure, ...]
    windows: Sequence[Window]
    places: Mapping[str, Sequence[float]]
    content: Content

    @property
    def structure_values(self) -> list[Content]:
        """`structures` as JSON values."""
        return [asdict(structure) for structure in self.structures]

    @property
    def window_values(self) -> list[Content]:
        """`windows` as JSON values."""
        return [asdict(window) for window in self.windows]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneBody:
    """A vertebra in a scene: its name, what stands below it, its code, its centre, its six points and its heights
    in mm."""

    name: str
    note: str
    marked: bool
    code: int
    center: Sequence[float]
    plates: Sequence[Sequence[Sequence[float]]]
    heights: Sequence[str] = ()

    def document(self) -> Content:
        """As JSON values."""
        return {
            "name": self.name, "note": self.note, "marked": self.marked,
            "codes": [self.code, self.code - grids.BODY_CODE + grids.CEMENT_CODE],
            "center": rounded(self.center), "plates": [[rounded(point) for point in plate] for plate in self.plates],
            "heights": list(self.heights),
        }  # fmt: skip


def render_scenes(sources: grids.Sources, report: StudyReport) -> tuple[Scene, ...]:
    """The whole spine, and every body that is fractured, treated or leaking, cranial to caudal.

    Args:
        sources: CT and label map of the study.
        report: What was found.
    """
    chosen = [v for v in sources.vertebrae if wording.is_of_interest(report, v)]
    levels = (_level_scene(sources, report, vertebra, len(chosen)) for vertebra in chosen)
    return (_spine_scene(sources, report, chosen), *levels)


def _level_scene(sources: grids.Sources, report: StudyReport, vertebra: VertebraFinding, count: int) -> Scene:
    grid = grids.body_grid(sources, vertebra, count)
    places = {"middle": _center(grid, vertebra)}
    places |= dict(_leaks(report, grid, (vertebra,)))
    own = sources.vertebrae.index(vertebra)
    bodies = [_body(grid, one, n, with_heights=n == own) for n, one in enumerate(sources.vertebrae)]
    inside = [body for n, body in enumerate(bodies) if n == own or (grid.codes == grids.BODY_CODE + n).any()]
    return _scene(
        grid, name=f"level_{vertebra.level}", title=vertebra.level, bodies=inside, places=places, own=[bodies[own].code]
    )


def _center(grid: grids.ViewGrid, vertebra: VertebraFinding) -> npt.NDArray[np.float64]:
    """Voxel index of a body's middle."""
    assert vertebra.center_lps_mm is not None, "only bodies of a CT have a scene in space"
    return grid.index(vertebra.center_lps_mm)


def _spine_scene(sources: grids.Sources, report: StudyReport, chosen: Sequence[VertebraFinding]) -> Scene:
    grid = grids.spine_grid(sources)
    # The worst body first, which is shown first; the middle one of a sound spine.
    offered = sorted(chosen, key=_severity, reverse=True) or sources.vertebrae[len(sources.vertebrae) // 2 :][:1]
    places = {v.level: _center(grid, v) for v in offered}
    places |= dict(_leaks(report, grid, sources.vertebrae))
    bodies = [_body(grid, vertebra, n) for n, vertebra in enumerate(sources.vertebrae)]
    return _scene(
        grid, name=SPINE, title="Whole spine", bodies=bodies, places=places, curve=_curve(grid, sources.vertebrae)
    )


def _severity(vertebra: VertebraFinding) -> int:
    return -1 if isinstance(vertebra.genant_grade, NotMeasured) else vertebra.genant_grade


def _scene(
    grid: grids.ViewGrid,
    *,
    name: str,
    title: str,
    bodies: Sequence[SceneBody],
    places: Mapping[str, geometry.FloatArray],
    curve: Content | None = None,
    own: Sequence[int] = (),
) -> Scene:
    structures = tuple(_structures(grid, bodies))
    windows = CT_WINDOWS if grid.greys.any() else CT_WINDOWS[:1]
    where = {text: rounded(at) for text, at in places.items()}
    spacing = geometry.spacing_mm(grid.lps_from_index)
    content = {
        "kind": "ct",
        "shape": list(grid.greys.shape),
        "spacing": rounded(spacing, 4),
        "start": next(iter(where.values()), [(size - 1) / 2 for size in grid.greys.shape]),
        "origin": next(iter(where), "middle"),
        "reach": _SPINE_REACH_MM if curve else float(spacing[0]),
        "curve": curve,
        "own": list(own),
        "bodies": [body.document() for body in bodies],
        **embedded(grid.greys, grid.codes, CT_GREYS),
    }
    return Scene(
        name=name,
        title=title,
        planes=("sagittal", "coronal", "axial"),
        structures=structures,
        windows=windows,
        places=where,
        content=content,
    )


def embedded(greys: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint8], table: GreyTable) -> dict[str, Any]:
    """Voxels and their grey table as JSON values; the first axis changes fastest."""
    return {
        "greys": _packed(greys),
        "codes": _packed(codes),
        "table": {"codes": list(table.codes), "values": list(table.values), "unit": table.unit},
    }


def rounded(point: Sequence[float] | geometry.FloatArray, digits: int = 2) -> list[float]:
    """A place with as many decimals as anybody can see."""
    return [round(float(value), digits) for value in point]


def _packed(voxels: npt.NDArray[np.uint8]) -> str:
    return base64.b64encode(zlib.compress(voxels.tobytes(order="F"), _COMPRESSION)).decode("ascii")


def _structures(grid: grids.ViewGrid, bodies: Sequence[SceneBody]) -> Iterator[SceneStructure]:
    """What is in the grid, in the order in which it is drawn."""
    present = np.bincount(grid.codes.ravel(), minlength=256) > 0
    offered = (
        SceneStructure(name="canal", codes=(grids.CANAL_CODE,) * 2, colour=drawing.CANAL, style="dots"),
        SceneStructure(name="metal", codes=(grids.METAL_CODE,) * 2, colour=drawing.METAL, style="fill"),
        SceneStructure(name="cement", codes=(grids.CEMENT_CODE, 255), colour=drawing.CEMENT, style="fill"),
        SceneStructure(name="leak", codes=(grids.LEAK_CODE,) * 2, colour=drawing.LEAK, style="hatch"),
        SceneStructure(
            name="posterior elements", codes=(grids.POSTERIOR_CODE,) * 2, colour=drawing.POSTERIOR, style="line"
        ),
    )
    yield from (one for one in offered if present[one.codes[0] : one.codes[1] + 1].any())
    outlines = (False, "body", drawing.BODY, "line"), (True, "body, Genant ≥ 1", drawing.FRACTURED, "strong")
    for marked, name, colour, style in outlines:
        if any(body.marked == marked and present[body.code] for body in bodies):
            codes = (grids.BODY_CODE, grids.CEMENT_CODE - 1)
            yield SceneStructure(name=name, codes=codes, colour=colour, style=style)


def _body(grid: grids.ViewGrid, vertebra: VertebraFinding, number: int, *, with_heights: bool = False) -> SceneBody:
    grade, marked = wording.grade_text(vertebra), wording.is_fractured(vertebra)
    points = vertebra.six_points_lps_mm
    plates = [] if points is None or isinstance(points, NotMeasured) else [list(p.values()) for p in points.values()]
    names: tuple[Place, ...] = ("anterior", "middle", "posterior")
    heights = [vertebra.heights.get(name) for name in names]
    return SceneBody(
        name=vertebra.level,
        # Beside the heights of the body that the viewer is about there is no room, and its grade stands above it.
        note="" if with_heights else f"Genant {grade}" if marked else "" if grade else "not graded",
        marked=marked,
        code=grids.BODY_CODE + number,
        center=_center(grid, vertebra).tolist(),
        plates=[grid.index(plate).tolist() for plate in plates],
        heights=[wording.number(h.value, h.unit) for h in heights if isinstance(h, Quantity)] if with_heights else (),
    )


def _leaks(
    report: StudyReport, grid: grids.ViewGrid, vertebrae: Sequence[VertebraFinding]
) -> Iterator[tuple[str, geometry.FloatArray]]:
    """The leaks of some vertebrae that lie in the grid."""
    for leak in report.leaks:
        own = any((v.series_instance_uid, v.level) == _place(leak) for v in vertebrae)
        if own and leak.evidence.point_lps_mm is not None:
            at = grid.index(leak.evidence.point_lps_mm)
            if np.all((at >= 0) & (at <= np.array(grid.greys.shape) - 1)):
                yield f"{leak.level}: {wording.leak_text(leak)}", at


def _place(leak: LeakFinding) -> tuple[str, str]:
    return leak.evidence.series_instance_uid, leak.level


def _curve(grid: grids.ViewGrid, vertebrae: Sequence[VertebraFinding]) -> Content | None:
    """Index of the spine's curve in every axial slice: slices of the whole spine follow it as its pictures do."""
    if len(vertebrae) < 2:
        return None
    centers = np.array([vertebra.center_lps_mm for vertebra in vertebrae])
    count = grid.greys.shape[2]
    heights = geometry.apply(grid.lps_from_index, [[0, 0, k] for k in range(count)])[:, 2]
    curve = np.zeros((count, 3))
    for axis in (0, 1):
        curve[:, axis] = planes.spine_curve(centers, axis, heights)
    index = grid.index(curve)
    return {"i": rounded(index[:, 0]), "j": rounded(index[:, 1])}
