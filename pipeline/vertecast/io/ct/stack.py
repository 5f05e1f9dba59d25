"""From image planes in any order to one stack on a known grid, by geometry alone (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.errors import GeometryError, UnsupportedError
from vertecast.io.headers import ImagePlane

SAME_DIRECTION: Final = 1e-3
"""Direction cosines of one stack agree within this; scanners write them with four to six digits."""

SAME_SPACING: Final = 1e-3
"""Relative difference of pixel spacings that are one and the same."""

SAME_POSITION_MM: Final = 0.01
"""Planes nearer than this lie at the same place; positions are written with two digits or more."""

HOLE_RATIO: Final = 1.5
"""A step of more than so many usual steps means that a slice is missing."""

REGULAR_FRACTION: Final = 0.05
REGULAR_MM: Final = 0.1
"""Steps are regular where no slice lies further than this (the larger of the two) from its place on the grid:
positions are often rounded to 0.1 mm."""

SHIFT_PIXELS: Final = 1.0
"""A slice further than this from the common line of origins was reconstructed at another centre."""

MINORITY: Final = 1 / 3
"""Planes of another geometry (a localizer, a reformat) are left out only where they are at most this share."""

LEAST_RUN: Final = 3
"""So many large steps of one size in a row are no holes: the scan was reconstructed with another step there."""

SAME_STEP: Final = 0.1
"""Steps, and what the header says of them, that differ by a greater share contradict each other."""

SAME_COVERAGE: Final = 0.9
"""Repeated scans of one place are told apart only where one of them covers at least this share of the series."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """Planes in order, and the grid on which they lie.

    Attributes:
        planes: Sorted along the normal, which is the cross product of the rows' and the columns' direction.
        duplicates: Pairs (kept, other) that claim the same place; the reader compares their pixels.
        lps_from_index: (4, 4) affine of the regular grid; sheared where the gantry was tilted.
        at_index: Place of each plane in units of the regular grid, (n,); 0, 1, 2 ... where the steps are regular.
        depth: Number of slices of the regular grid.
        tilt_deg: Angle between the normal and the line of the slice origins.
        warnings: What was left out or mended.
    """

    planes: tuple[ImagePlane, ...]
    duplicates: tuple[tuple[ImagePlane, ImagePlane], ...]
    lps_from_index: geometry.FloatArray
    at_index: geometry.FloatArray
    depth: int
    tilt_deg: float
    warnings: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxel counts (columns, rows, slices) of the regular grid."""
        return self.planes[0].columns, self.planes[0].rows, self.depth

    @property
    def is_regular(self) -> bool:
        """True when no slice has to be interpolated."""
        return len(self.planes) == self.depth and bool(np.all(self.at_index == np.arange(self.depth)))


def plan_stack(planes: Sequence[ImagePlane]) -> Stack:
    """Order the planes of one series and find their grid; no pixel is read.

    Raises:
        UnsupportedError: fewer than two slices, or slices without a size in mm.
        GeometryError: the planes do not form one volume; the text says why.
    """
    warnings: list[str] = []
    kept = _without_localizers(planes, warnings)
    kept = _one_geometry(kept, warnings)
    kept, duplicates = _one_per_place(kept, warnings)
    if len(kept) < 2:
        raise UnsupportedError("a single slice is no volume; give the whole series")
    positions = np.array([plane.position_mm for plane in kept])
    normal, along_mm = _along_normal(kept[0], positions)
    order = np.argsort(along_mm, kind="stable")
    kept = [kept[index] for index in order]
    positions, along_mm = positions[order], along_mm[order]
    _refuse_holes(kept, positions, along_mm)
    _check_steps(kept, positions, along_mm, warnings)
    lps_from_index, at_index = _grid(kept[0], positions, normal, along_mm, warnings)
    tilt_deg = geometry.angle_deg(normal, lps_from_index[:3, 2])
    return Stack(
        planes=tuple(kept),
        duplicates=tuple(duplicates),
        lps_from_index=lps_from_index,
        at_index=at_index,
        depth=int(np.floor(at_index[-1] + 1e-6)) + 1,
        tilt_deg=tilt_deg,
        warnings=tuple(warnings),
    )


def _without_localizers(planes: Sequence[ImagePlane], warnings: list[str]) -> list[ImagePlane]:
    kept = [plane for plane in planes if "LOCALIZER" not in plane.image_type]
    if kept and len(kept) < len(planes):
        warnings.append(f"{len(planes) - len(kept)} localizer images inside the series were left out")
    return kept


def _one_geometry(planes: Sequence[ImagePlane], warnings: list[str]) -> list[ImagePlane]:
    """The planes that share size, pixel spacing, orientation and frame of reference; a minority is left out."""
    groups: list[list[ImagePlane]] = []
    for plane in planes:
        _require_place(plane)
        group = next((group for group in groups if _is_same_geometry(group[0], plane)), None)
        if group is None:
            groups.append([plane])
        else:
            group.append(plane)
    if not groups:
        raise UnsupportedError("no slice with an image; only localizers or objects without pixels")
    groups.sort(key=len, reverse=True)
    others = len(planes) - len(groups[0])
    if others > MINORITY * len(planes):
        raise GeometryError(
            f"images of {len(groups)} different sizes, orientations or frames of reference are mixed "
            f"({', '.join(str(len(group)) for group in groups[:5])} images); export them as separate series"
        )
    if others:
        warnings.append(f"{others} of {len(planes)} images of another size or orientation were left out")
    return groups[0]


def _require_place(plane: ImagePlane) -> None:
    """Refuse a plane whose header does not say where it lies and how large it is."""
    name = f"image {plane.sop_instance_uid}"
    if plane.position_mm is None or plane.orientation is None:
        raise GeometryError(f"{name} has no position or orientation in the patient; export the original images")
    if plane.pixel_spacing_mm is None or min(plane.pixel_spacing_mm) <= 0:
        raise UnsupportedError(f"{name} has no pixel spacing, so nothing can be measured in mm")
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(row @ column) > geometry.ORTHOGONALITY_TOLERANCE:
        raise GeometryError(f"{name} has a damaged ImageOrientationPatient; export the original images")


def _is_same_geometry(first: ImagePlane, other: ImagePlane) -> bool:
    return (
        (first.rows, first.columns, first.frame_of_reference_uid)
        == (other.rows, other.columns, other.frame_of_reference_uid)
        and np.allclose(first.orientation or (), other.orientation or (), rtol=0, atol=SAME_DIRECTION)
        and np.allclose(first.pixel_spacing_mm or (), other.pixel_spacing_mm or (), rtol=SAME_SPACING, atol=0)
    )


def _along_normal(plane: ImagePlane, positions: geometry.FloatArray) -> tuple[geometry.FloatArray, geometry.FloatArray]:
    """The normal (3,) of the planes and the distance (n,) of each in mm along it."""
    orientation = np.array(plane.orientation)
    normal = geometry.unit(np.cross(orientation[:3], orientation[3:]))
    return normal, np.asarray(positions @ normal)


def _one_per_place(
    planes: Sequence[ImagePlane], warnings: list[str]
) -> tuple[list[ImagePlane], list[tuple[ImagePlane, ImagePlane]]]:
    """One plane for each place: the latest of repeated scans, or one of two that the reader must find equal."""
    planes, copies = _split_duplicates(planes, lambda plane: f"{plane.sop_instance_uid or plane.source} {plane.frame}")
    kept, duplicates = _split_duplicates(planes, lambda plane: "")
    if duplicates or not has_even_steps(kept) or _are_interleaved(planes):
        scan = _latest_scan(planes)
        if scan is not None:
            warnings.append(
                f"the series holds repeated scans of the same place: the latest that covers it was read, "
                f"{len(planes) - len(scan)} of {len(planes)} images belong to others"
            )
            kept, duplicates = scan, []
            copies = [pair for pair in copies if pair[0] in scan]
    if copies or duplicates:
        warnings.append(f"{len(copies) + len(duplicates)} images occur twice and were read once")
    return kept, copies + duplicates


def _split_duplicates(
    planes: Sequence[ImagePlane], key: Callable[[ImagePlane], str]
) -> tuple[list[ImagePlane], list[tuple[ImagePlane, ImagePlane]]]:
    """Keep the first plane of each key and place; the others come back as pairs (kept, other)."""
    positions = np.array([plane.position_mm for plane in planes])
    _, along_mm = _along_normal(planes[0], positions)
    kept: list[ImagePlane] = []
    pairs: list[tuple[ImagePlane, ImagePlane]] = []
    last: dict[str, tuple[float, ImagePlane]] = {}
    for index in np.argsort(along_mm, kind="stable"):
        plane = planes[index]
        before = last.get(key(plane))
        if before is not None and along_mm[index] - before[0] < SAME_POSITION_MM:
            pairs.append((before[1], plane))
        else:
            kept.append(plane)
            last[key(plane)] = (float(along_mm[index]), plane)
    return kept, pairs


def _are_interleaved(planes: Sequence[ImagePlane]) -> bool:
    """Whether scans that each cover the whole place lie between each other, so that together their steps are even.

    The slices of each are thick enough for its own steps; where detector rows have numbers they are too thin.
    """
    extent_mm = _extent_mm(planes)
    for field in ("acquisition", "temporal"):
        scans: dict[str, list[ImagePlane]] = defaultdict(list)
        for plane in planes:
            scans[getattr(plane, field)].append(plane)
        if len(scans) > 1 and all(
            _extent_mm(scan) >= SAME_COVERAGE * extent_mm
            and has_even_steps(scan)
            and _fills(scan[0], float(np.median(np.diff(_sorted_mm(scan)))))
            for scan in scans.values()
        ):
            return True
    return False


def _latest_scan(planes: Sequence[ImagePlane]) -> list[ImagePlane] | None:
    """The latest of repeated scans, told apart by acquisition, temporal position, time or image type; None if not."""
    extent_mm = _extent_mm(planes)
    keys: tuple[Callable[[ImagePlane], tuple[float, str]], ...] = (
        lambda plane: _number_first(plane.acquisition),
        lambda plane: _number_first(plane.temporal),
        lambda plane: _number_first(plane.acquired),
        lambda plane: (0.0, "\\".join(plane.image_type)),
    )
    for key in keys:
        scans: dict[tuple[float, str], list[ImagePlane]] = defaultdict(list)
        for plane in planes:
            scans[key(plane)].append(plane)
        complete = [
            (name, scan)
            for name, scan in scans.items()
            if _extent_mm(scan) >= SAME_COVERAGE * extent_mm
            and not _split_duplicates(scan, lambda plane: "")[1]
            and has_even_steps(scan)
        ]
        if len(scans) > 1 and complete:
            return max(complete, key=lambda item: item[0])[1]
    return None


def _sorted_mm(planes: Sequence[ImagePlane]) -> geometry.FloatArray:
    """Distances (n,) in mm along the normal, ascending."""
    return np.sort(_along_normal(planes[0], np.array([plane.position_mm for plane in planes]))[1])


def _extent_mm(planes: Sequence[ImagePlane]) -> float:
    return float(np.ptp(_sorted_mm(planes)))


def has_even_steps(planes: Sequence[ImagePlane]) -> bool:
    """True when no step is much larger or smaller than the usual one."""
    steps = np.diff(_sorted_mm(planes))
    if not steps.size:
        return True
    usual = float(np.median(steps))
    return bool(steps.max() <= HOLE_RATIO * usual and steps.min() >= usual / HOLE_RATIO)


def _number_first(text: str) -> tuple[float, str]:
    """Sort key: numbers by value, other text after them by itself."""
    try:
        return float(text), ""
    except ValueError:
        return float("inf"), text


def _refuse_holes(planes: Sequence[ImagePlane], positions: geometry.FloatArray, along_mm: geometry.FloatArray) -> None:
    """Raise `GeometryError` where slices are missing: a hole is never bridged, it would change a height."""
    steps = np.diff(along_mm)
    usual = float(np.median(steps))
    wide = [int(n) for n in np.flatnonzero(steps > HOLE_RATIO * usual)]
    holes = np.array([n for n in wide if not (_in_run(steps, n) and _fills(planes[n], steps[n]))], dtype=int)
    runs = [n for n in holes if _in_run(steps, n)]
    if runs:
        raise GeometryError(
            f"the slices lie {usual:.2f} mm apart in one part of the series and {steps[runs[0]]:.2f} mm in another, "
            "which their thickness does not fill: slices are missing there; send the whole series again"
        )
    if not holes.size:
        return
    missing = sum(max(1, round(float(steps[index]) / usual) - 1) for index in holes)
    places = "; ".join(
        f"between {_place(positions[index])} and {_place(positions[index + 1])}" for index in holes[:3].tolist()
    )
    more = f" and {holes.size - 3} more places" if holes.size > 3 else ""
    raise GeometryError(
        f"{missing} of {len(positions) + missing} slices are missing, {places}{more} "
        f"(usual step {usual:.2f} mm); send the whole series again"
    )


def _in_run(steps: geometry.FloatArray, at: int) -> bool:
    """Whether a step is one of a row of equal ones."""
    low = high = at
    while low > 0 and abs(steps[low - 1] - steps[at]) <= SAME_STEP * steps[at]:
        low -= 1
    while high + 1 < len(steps) and abs(steps[high + 1] - steps[at]) <= SAME_STEP * steps[at]:
        high += 1
    return high - low + 1 >= LEAST_RUN


def _fills(plane: ImagePlane, step_mm: float) -> bool:
    """Whether a slice was reconstructed for such a step."""
    stated = max(plane.thickness_mm or 0.0, plane.between_mm or 0.0)
    return step_mm <= (1 + SAME_STEP) * stated + REGULAR_MM


def _check_steps(
    planes: Sequence[ImagePlane], positions: geometry.FloatArray, along_mm: geometry.FloatArray, warnings: list[str]
) -> None:
    """Compare the steps with what the headers say of them.

    Raises:
        GeometryError: SpacingBetweenSlices of most slices contradicts the positions: slices are missing, or one is
            wrong. In a reformat, which may keep what its source said, it is a warning.
    """
    steps_mm = np.diff(along_mm)
    # With a tilted gantry the table's step is longer than the distance of the planes; either may be stated.
    ways_mm = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    off = [
        all(
            abs(between - step) > max(SAME_STEP * step, REGULAR_MM)
            for steps in (steps_mm, ways_mm)
            for step in steps[max(n - 1, 0) : n + 1]
        )
        for n, between in enumerate(plane.between_mm for plane in planes)
        if between is not None
    ]
    step_mm = float(np.median(steps_mm))
    if off and np.mean(off) > 0.5:
        stated = float(np.median([plane.between_mm for plane in planes if plane.between_mm is not None]))
        text = f"the positions of the slices lie {step_mm:.2f} mm apart, but SpacingBetweenSlices says {stated:.2f} mm"
        if "DERIVED" not in planes[0].image_type:
            raise GeometryError(f"{text}: slices are missing or one of them is wrong; send the original series")
        warnings.append(f"{text}; the positions were taken")
    thicknesses = [plane.thickness_mm for plane in planes if plane.thickness_mm is not None]
    if thicknesses and step_mm > (1 + SAME_STEP) * float(np.median(thicknesses)) + REGULAR_MM:
        warnings.append(
            f"slices of {np.median(thicknesses):.2f} mm lie {step_mm:.2f} mm apart: what lies between them was not "
            "imaged, or slices are missing; heights may be wrong"
        )


def _place(position: geometry.FloatArray) -> str:
    """A position in LPS mm for a message."""
    return "({:.1f}, {:.1f}, {:.1f}) mm".format(*position.tolist())


def _grid(
    plane: ImagePlane,
    positions: geometry.FloatArray,
    normal: geometry.FloatArray,
    along_mm: geometry.FloatArray,
    warnings: list[str],
) -> tuple[geometry.FloatArray, geometry.FloatArray]:
    """The regular grid of sorted planes, and the place of each plane on it.

    Origins lie on the line ``o + d (n + b)``: d the distance along the normal n, b the shear of a tilted gantry.
    """
    count = len(along_mm)
    mean_mm, mean = float(along_mm.mean()), positions.mean(axis=0)
    centred = along_mm - mean_mm
    direction = centred @ (positions - mean) / (centred @ centred)
    assert plane.pixel_spacing_mm is not None  # `_require_place` has seen to it
    shifts = np.linalg.norm(positions - mean - np.outer(centred, direction), axis=1)
    if shifts.max() > SHIFT_PIXELS * max(plane.pixel_spacing_mm):
        raise GeometryError(
            f"slices are shifted sideways against each other by up to {shifts.max():.1f} mm; "
            "reconstruct the series with one centre"
        )
    line = np.polynomial.Polynomial.fit(np.arange(count), along_mm, 1).convert()
    start_mm, step_mm = float(line(0)), float(line.coef[1])
    at_index = np.arange(count, dtype=np.float64)
    if np.abs(along_mm - line(at_index)).max() > max(REGULAR_MM, REGULAR_FRACTION * step_mm):
        steps = np.diff(along_mm)
        start_mm, step_mm = float(along_mm[0]), float(np.median(steps))
        at_index = (along_mm - start_mm) / step_mm
        warnings.append(
            f"slice steps vary from {steps.min():.2f} to {steps.max():.2f} mm; "
            f"interpolated to a regular step of {step_mm:.2f} mm"
        )
    row_mm, column_mm = plane.pixel_spacing_mm
    orientation = np.array(plane.orientation)
    columns = np.stack([orientation[:3] * column_mm, orientation[3:] * row_mm, direction * step_mm], axis=1)
    return geometry.affine(columns, mean + (start_mm - mean_mm) * direction), at_index
