"""A synthetic cine: bodies that breathe and shift with the table, a needle, gain that jumps, cement that grows."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import ndimage

from vertecast.core.anatomy import Compartment
from vertecast.core.images import ProjectionSegmentation, ProjectionSpacing, Radiograph
from vertecast.core.results import CineFinding, NotMeasured, Quantity
from vertecast.measurement.cine import analysis, course
from vertecast.measurement.cine.analysis import FIRST_LOOKS, CineAnalyzer, FrameResult

EVERY = 4
"""Frames between looks at 7.5 frames a second."""

SHAPE = (240, 200)
COUNT = 4
DEPTH, HEIGHT, PITCH = 50, 36, 48
FIRST = np.array([60.0, 30.0])
"""Column and row of the upper left corner of the first body."""


@functools.cache
def anatomy() -> np.ndarray:
    """Bodies and texture on a field larger than the picture, so that it can be shifted."""
    rng = np.random.default_rng(3)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, (480, 440)), 2.5) * 60
    field = 40 + texture
    for n in range(COUNT):
        top, left = int(FIRST[1]) + 120 + n * PITCH, int(FIRST[0]) + 120
        field[top : top + HEIGHT, left : left + DEPTH] += 40
    return np.asarray(field, dtype=np.float32)


@dataclass
class Scene:
    """Frames with their truth. ``leak_from``: frame where cement enters the disc above the second body; 0 never."""

    frames: int = 30
    cement_from: int = 10
    leak_from: int = 0
    table_at: int = 0
    table_px: tuple[float, float] = (0.0, 0.0)
    gain_at: int = 0
    breath_px: float = 3.0
    missed: tuple[int, ...] = ()
    flicker: bool = False
    plane: str = "patient"

    def shift(self, k: int) -> np.ndarray:
        """Shift of frame ``k``, from 1, against the field (column, row)."""
        table = np.array(self.table_px if self.table_at and k >= self.table_at else (0.0, 0.0))
        return table + np.array([0.3 * np.sin(k / 3), self.breath_px * np.sin(2 * np.pi * k / 12)])

    def cement(self, k: int) -> list[tuple[float, float, float, float]]:
        """Boxes of cement in the field of the picture: left, top, right, bottom."""
        top, left = FIRST[1] + PITCH, FIRST[0]
        boxes = []
        if self.cement_from and k >= self.cement_from:
            half = min(3.0 + 0.6 * (k - self.cement_from), 12.0)
            middle = (left + 22, top + 18)
            boxes.append((middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half))
        if self.leak_from and k >= self.leak_from:
            boxes.append((left + 18, top - 9, left + 30, top + 10))
        return boxes

    def masks(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Cement and needle (rows, columns) of frame ``k``."""
        column, row = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[0]))
        dx, dy = self.shift(k)
        cement = np.zeros(SHAPE, bool)
        for left, top, right, bottom in self.cement(k):
            cement |= (column - dx >= left) & (column - dx < right) & (row - dy >= top) & (row - dy < bottom)
        tip = 190 - 2.5 * min(k, 30)
        needle = (np.abs(row - dy - (FIRST[1] + PITCH + 30)) < 2) & (column - dx >= tip)
        return cement & ~needle, needle

    def frame(self, k: int) -> Radiograph:
        dx, dy = self.shift(k)
        moved = ndimage.shift(anatomy(), (dy, dx), order=1)[120 : 120 + SHAPE[0], 120 : 120 + SHAPE[1]]
        cement, needle = self.masks(k)
        image = moved + 80 * cement + 200 * needle
        if self.gain_at and k >= self.gain_at:
            image = 1.6 * image + 30
        noise = np.random.default_rng(100 + k).normal(0, 1.5, SHAPE)
        return Radiograph(
            intensity=(image + noise).astype(np.float32), valid=np.ones(SHAPE, bool), frame_number=k,
            spacing=ProjectionSpacing(row_mm=0.7, column_mm=0.7, plane=self.plane),  # type: ignore[arg-type]
        )  # fmt: skip

    def segment(self, radiograph: Radiograph, *, depth_px: float | None = None) -> ProjectionSegmentation:
        """A network with noise in its points, that misses bodies, and takes the needle for a little cement."""
        k = radiograph.frame_number
        rng = np.random.default_rng(k)
        shift = self.shift(k)
        instance = np.zeros(SHAPE, np.uint8)
        points, kept = [], []
        for n in range(COUNT):
            left, top = FIRST + np.array([0, n * PITCH]) + shift
            x = np.array([left, left + DEPTH / 2, left + DEPTH])
            six = np.stack([np.tile(x, 2), np.repeat([top, top + HEIGHT], 3)], axis=1)
            if not 0 <= top <= SHAPE[0] - HEIGHT or (k in self.missed and n == 1):
                continue
            points.append(six + rng.normal(0, 0.7, six.shape))
            kept.append(n)
            rows, columns = (slice(max(round(v), 0), round(v) + s) for v, s in ((top, HEIGHT), (left, DEPTH)))
            instance[rows, columns] = len(kept)
        cement, needle = self.masks(k)
        probability = cement.astype(np.float16)
        if self.flicker and k % 4 == 0:
            probability[100:112, 80:95] = 1
        count = len(kept)
        return ProjectionSegmentation(
            view="lateral", view_confidence=0.9, points_px=np.array(points).reshape(-1, 6, 2),
            points_sd_px=np.full((count, 6), 0.7), confidence=(0.9,) * count, touches_border=(False,) * count,
            rib_score=(0.5,) * count, instance=instance, body_probability=(instance > 0).astype(np.float16),
            sacrum_probability=np.zeros(SHAPE, np.float16), cement_probability=probability,
            metal_probability=needle.astype(np.float16),
            sacral_endplate_px=np.array([[62.0, 224], [104, 228]]) + shift,
        )  # fmt: skip

    def run(self) -> tuple[list[FrameResult], CineFinding, CineAnalyzer]:
        analyzer = CineAnalyzer(self.segment, series_instance_uid="1.2.3", frame_rate=7.5)
        results = [analyzer.push(self.frame(k)) for k in range(1, self.frames + 1)]
        return results, analyzer.finish(), analyzer


@pytest.fixture(scope="module")
def leaking() -> tuple[Scene, list[FrameResult], CineFinding, CineAnalyzer]:
    """Breathing, a table shift before and a gain jump amid the injection, a leak at the end, one body missed twice."""
    scene = Scene(
        frames=44, cement_from=16, leak_from=30, table_at=9, table_px=(12.0, -9.0), gain_at=22, missed=(11, 14, 26)
    )
    return (scene, *scene.run())


def test_motion_is_followed_through_breathing_table_and_gain(leaking) -> None:  # type: ignore[no-untyped-def]
    scene, results, _, _ = leaking
    for k, result in enumerate(results, start=1):
        assert result.unusable is None
        assert np.linalg.norm(np.array(result.shift_px) - (scene.shift(k) - scene.shift(1))) < 1.0


def test_every_body_keeps_its_number(leaking) -> None:  # type: ignore[no-untyped-def]
    scene, results, _, _ = leaking
    look = 1
    for k, result in enumerate(results[4:], start=5):
        look = k if result.looked_at else look
        assert [b.number for b in result.bodies] == [1, 2, 3, 4]
        assert [b.level for b in result.bodies] == ["L2", "L3", "L4", "L5"]
        assert [b.seen for b in result.bodies] == [True, look not in scene.missed, True, True]
        for n, body in enumerate(result.bodies):
            truth = FIRST + np.array([DEPTH / 2, HEIGHT / 2 + n * PITCH]) + scene.shift(k)
            assert np.linalg.norm(np.array(body.center_px) - truth) < 2.0


def test_between_looks_everything_moves_with_the_spine(leaking) -> None:  # type: ignore[no-untyped-def]
    _, results, _, _ = leaking
    look = results[40]
    assert look.looked_at
    assert look.cement is not None
    for result in results[41:43]:
        assert not result.looked_at
        assert result.cement is not None
        step = np.array(result.shift_px) - look.shift_px
        for before, after in zip(look.bodies, result.bodies, strict=True):
            np.testing.assert_allclose(after.points_px - before.points_px, np.broadcast_to(step, (6, 2)))
        moved = np.array(ndimage.center_of_mass(result.cement)) - ndimage.center_of_mass(look.cement)
        np.testing.assert_allclose(moved[::-1], step, atol=0.51)


def test_first_cement_growth_and_first_leak(leaking) -> None:  # type: ignore[no-untyped-def]
    scene, results, finding, analyzer = leaking
    assert scene.cement_from <= finding.first_cement_frame < scene.cement_from + EVERY
    assert scene.leak_from <= finding.first_suspected_leak_frame < scene.leak_from + EVERY
    assert finding.frame_rate == 7.5
    looks = [result.frame_number for result in results if result.looked_at]
    assert looks == [*range(1, FIRST_LOOKS), *range(FIRST_LOOKS, 45, EVERY)]
    assert [p.frame_number for p in finding.growth] == looks
    areas = {p.frame_number: p.area for p in finding.growth}
    for k in (21, 29, 41):
        truth = np.count_nonzero(scene.masks(k)[0]) * 0.49
        assert isinstance(areas[k], Quantity)
        assert areas[k].unit == "mm2"
        assert areas[k].value == pytest.approx(truth, rel=0.12)
    assert [areas[k].value for k in looks if 5 <= k < scene.cement_from] == [0.0] * 3
    (leak,) = analyzer.leaks
    assert (leak.level, leak.compartment, leak.suspected) == ("L3", Compartment.DISC_SUPERIOR, True)
    assert leak.evidence.frame_number == finding.first_suspected_leak_frame
    truth = FIRST + np.array([24, PITCH - 4.5]) + scene.shift(leak.evidence.frame_number)
    assert np.linalg.norm(np.array(leak.evidence.point_px) - truth) < 6
    assert not results[scene.leak_from - 2].leaks
    assert [found.compartment for found in results[-1].leaks] == [Compartment.DISC_SUPERIOR]


def test_needle_flicker_and_gain_are_no_cement() -> None:
    results, finding, analyzer = Scene(cement_from=0, gain_at=12, flicker=True, table_at=20, table_px=(-8, 10)).run()
    assert isinstance(finding.first_cement_frame, NotMeasured)
    assert "30 frames" in finding.first_cement_frame.reason
    assert isinstance(finding.first_suspected_leak_frame, NotMeasured)
    assert analyzer.leaks == ()
    assert not any(r.cement_seen for r in results)


def test_clean_injection_has_no_leak_and_share_without_mm() -> None:
    scene = Scene(plane="detector")
    _, finding, _ = scene.run()
    assert 10 <= finding.first_cement_frame < 10 + EVERY
    assert isinstance(finding.first_suspected_leak_frame, NotMeasured)
    last = finding.growth[-1].area
    assert isinstance(last, Quantity)
    assert last.unit == "1"
    assert last.value == pytest.approx(np.count_nonzero(scene.masks(30)[0]) / (DEPTH * HEIGHT), rel=0.12)


def test_cement_that_was_there_from_the_start_counts_from_the_first_frames() -> None:
    _, finding, _ = Scene(frames=14, cement_from=-30, breath_px=1.0).run()
    assert finding.first_cement_frame == pytest.approx(course.CEMENT_LOOKS - 1, abs=2)


def test_what_is_kept_does_not_grow() -> None:
    scene = Scene(frames=12, cement_from=4)
    analyzer = CineAnalyzer(scene.segment, series_instance_uid="1")

    def held() -> int:
        arrays: list[np.ndarray] = []
        for part in (analyzer._motion, analyzer._baseline, analyzer._tracker):
            for item in vars(part).values():
                slots = [getattr(item, s) for s in getattr(type(item), "__slots__", ())]
                arrays += [a for a in [item, *slots] if isinstance(a, np.ndarray)]
        return sum(a.nbytes for a in arrays)

    sizes = []
    for k in range(1, 25):
        analyzer.push(scene.frame(min(k, 12)))
        sizes.append(held())
    assert sizes[-1] == sizes[1]


def test_blank_saturated_alike_and_foreign_frames_have_reasons() -> None:
    scene = Scene()
    frame = scene.frame(1)
    empty = CineAnalyzer(scene.segment, series_instance_uid="1", frame_rate=0.0)
    assert empty.finish().first_cement_frame == course.NO_FRAME
    assert empty.finish().frame_rate == course.NO_RATE
    blank = replace(frame, intensity=np.zeros(SHAPE, np.float32))
    assert empty.push(blank).unusable == analysis.BLANK
    assert empty.finish().first_cement_frame == analysis.BLANK
    assert empty.push(replace(frame, saturated=np.ones(SHAPE, bool))).unusable == analysis.SATURATED
    assert empty.push(frame).unusable is None
    small = Radiograph(intensity=frame.intensity[1:], valid=frame.valid[1:], frame_number=5)
    assert empty.push(small).unusable == analysis.ANOTHER_SHAPE
    alike = CineAnalyzer(scene.segment, series_instance_uid="1")
    alike.push(frame)
    assert alike.finish().first_cement_frame == course.ONE_FRAME
    for _ in range(4):
        alike.push(frame)
    assert alike.finish().first_suspected_leak_frame == course.ALL_ALIKE


def test_no_spine_in_a_cine() -> None:
    scene = Scene(frames=3)
    analyzer = CineAnalyzer(lambda f, **_: replace(scene.segment(f), view=None), series_instance_uid="1")
    assert all(analyzer.push(scene.frame(k)).unusable == analysis.NO_SPINE_SEEN for k in (1, 2, 3))
    assert analyzer.finish().first_cement_frame == analysis.NO_SPINE_SEEN
