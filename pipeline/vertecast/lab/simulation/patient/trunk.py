"""Drawing what is no bone of the trunk: skin, fat, muscle, organs, lungs, vessels, table; and arms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.patient.bone import BoneLook
from vertecast.lab.simulation.patient.canvas import Array, Box, Canvas, bone_hu, stamp_tube, texture
from vertecast.lab.simulation.patient.devices import draw_devices
from vertecast.lab.simulation.patient.heart import Blood, Chest, draw_chest
from vertecast.lab.simulation.patient.neck import draw_neck
from vertecast.lab.simulation.patient.shoulders import ARM_MM, draw_shoulder_flesh
from vertecast.lab.simulation.patient.thorax import Thorax

NECK_MM: Final = (55.0, 75.0)
"""Half of the width and of the depth of a neck."""
LEAST_TISSUE_HU: Final = -500.0
"""Above the air round a patient and in the lungs."""
ABOVE_NECK_MM: Final = 40.0
"""Where a column reaches into the neck, the neck ends this far above its top, in the head."""
EFFUSION_RATE: Final = 0.1
"""Share of the lungs with fluid behind them."""
BELOW_T12_MM: Final = 40.0
"""The lowest ribs reach about this far below T12 at the sides."""
MOST_OVER_CAGE_MM: Final = 60.0
"""Flesh over the front of the rib cage beside the fat that lies everywhere; on the belly there may be more."""

Blob: TypeAlias = tuple[float, float, float, float, float, float, float]
"""Centre and half axes of an ellipsoid in mm, and its Hounsfield units."""


@dataclass(slots=True, kw_only=True, eq=False)
class Trunk:
    """Everything that is not bone, in coordinates relative to the vertebral column."""

    canvas: Canvas
    thorax: Thorax
    x: Array  # left of the column's centre, mm
    y: Array  # behind the column's centre, mm
    z: Array  # LPS z, mm
    chest_z_mm: float  # height of T12's centre
    top_z_mm: float  # height of T1's centre
    origin_y: Array
    dome_z_mm: float = 0.0
    aorta: tuple[float, float, float, float] = (10.0, -25.0, 10.0, 40.0)
    """x, y and radius of the aorta below the diaphragm, and its HU."""

    @classmethod
    def around(cls, thorax: Thorax, canvas: Canvas) -> Trunk:
        """Follow the column: its centre is a smooth function of z."""
        column = thorax.column_lps_mm
        x, y, z = canvas.axes_lps_mm()
        along = z[0, 0]
        cx = np.interp(along, column[:, 2], column[:, 0]).astype(np.float32)
        cy = np.interp(along, column[:, 2], column[:, 1]).astype(np.float32)
        return cls(
            canvas=canvas,
            thorax=thorax,
            x=x - cx[None, None, :],
            y=y - cy[None, None, :],
            z=z,
            chest_z_mm=thorax.t12_z_mm,
            top_z_mm=thorax.t1_z_mm,
            origin_y=cy,
        )

    def _ellipse(self, cx: float, cy: float, rx: Array | float, ry: Array | float) -> npt.NDArray[np.bool_]:
        return np.asarray(((self.x - cx) / rx) ** 2 + ((self.y - cy) / ry) ** 2 < 1)

    def _ellipsoid(
        self, center: tuple[float, float, float], radii: tuple[float, float, float]
    ) -> npt.NDArray[np.bool_]:
        (cx, cy, cz), (rx, ry, rz) = center, radii
        across = ((self.x - cx) / rx) ** 2 + ((self.y - cy) / ry) ** 2
        return np.asarray(across + ((self.z - cz) / rz) ** 2 < 1)

    def draw(self, rng: np.random.Generator, look: BoneLook) -> None:
        """Skin, fat, muscle, cavity with organs or lungs, vessels, table and arms."""
        hu = self.canvas.hu
        half_width, half_depth = rng.uniform(140, 220), rng.uniform(95, 160)
        back = rng.uniform(62, 95)
        fat = rng.uniform(4, 35)
        center = back - half_depth
        fat_hu, muscle_hu = rng.uniform(-120, -80), rng.uniform(20, 75)
        neck, chest, devices = rng.spawn(3)
        skin = self._flesh((half_width, half_depth, center, fat), (fat_hu, muscle_hu), neck)
        draw_shoulder_flesh(self.canvas, self.thorax, fat_hu, muscle_hu, neck)
        cavity = self._ellipse(0, center - 18, half_width - fat - 16, max(half_depth - fat - 22, 40))
        flank = self.chest_z_mm - BELOW_T12_MM  # the ribs hold what lies above
        cavity &= (self.y < 28) & (self.z < flank)
        cavity |= self._cage(-5.0) & (self.z >= flank)
        cavity &= skin
        hu[cavity] = fat_hu + 15
        self._organs(cavity, rng, half_width)
        self._lungs(cavity, rng)
        self._muscles(fat_hu, muscle_hu, rng)
        self._vessels(rng)
        self._chest((fat_hu, muscle_hu), center - half_depth, (chest, devices))
        hu += rng.uniform(2, 12) * texture(rng, hu.shape) * (hu > -500)
        self._surroundings(skin, back, half_width, look, rng)

    def _cage(self, outside_mm: float) -> npt.NDArray[np.bool_]:
        """Within the rib cage, or a shell outside or inside of it."""
        along = self.z[0, 0]
        width, back, front = (
            part(along) + outside_mm for part in (self.thorax.half_width_mm, self.thorax.back_mm, self.thorax.front_mm)
        )
        return self._ellipse_along(_single((back - front) / 2), _single(width), _single((back + front) / 2))

    def _ellipse_along(self, cy: Array, rx: Array, ry: Array) -> npt.NDArray[np.bool_]:
        """An ellipse that changes with z; empty where its half axes are not positive."""
        rx, ry = np.maximum(rx, 1e-3), np.maximum(ry, 1e-3)
        return np.asarray((self.x / rx) ** 2 + ((self.y - cy) / ry) ** 2 < 1)

    def _flesh(
        self,
        size_mm: tuple[float, float, float, float],
        tissue_hu: tuple[float, float],
        rng: np.random.Generator,
    ) -> npt.NDArray[np.bool_]:
        """Skin, fat and the muscle in it, of trunk and neck; it holds the cage, thin at the shoulders."""
        half_width, half_depth, center, fat = size_mm
        along = self.z[0, 0]
        share = self.thorax.share(along)
        chest = share < 1.35
        most, flank = rng.uniform(2, MOST_OVER_CAGE_MM), rng.uniform(0, 40)
        limit = np.interp(share, [0.0, 0.8, 1.1, 1.35], [0.4, 1.0, 2.0, 4.0])
        cage_front, cage_width = self.thorax.front_mm(along) + 12, self.thorax.half_width_mm(along) + 12
        ends: list[tuple[Array, Array, Array]] = []
        for inset, over, beside in ((0.0, fat + most, fat + flank), (fat, rng.uniform(0, 18), rng.uniform(0, 16))):
            front = np.minimum(half_depth - center - inset, cage_front + over * limit)
            front = np.where(chest, np.maximum(front, cage_front + (fat - inset)), half_depth - center - inset)
            width = np.minimum(half_width - inset, cage_width + beside * limit)
            width = np.where(chest, np.maximum(width, cage_width + (fat - inset)), half_width - inset)
            back = np.maximum(half_depth + center, np.where(chest, self.thorax.back_mm(along) + 18 + fat, 0)) - inset
            ends.append((_single((back - front) / 2), _single(width), _single((back + front) / 2)))
        top = self.top_z_mm + 35 - 0.3 * np.abs(self.x)
        below = self.z < top - 0.35 * np.maximum(-self.y - 30, 0) - 0.4 * np.maximum(self.y - 35, 0)
        neck, deep = rng.uniform(*NECK_MM, 2)
        thin = min(0.3 * fat, 12)
        at = rng.uniform(-8, 6)
        end = float(self.thorax.column_lps_mm[-1, 2])
        throat_z = (self.z > self.top_z_mm - 30) & (self.z < (end + ABOVE_NECK_MM if end > self.top_z_mm else np.inf))
        skin, wall = (
            (self._ellipse_along(*end) & below) | (self._ellipse(0, at, neck - throat, deep - throat) & throat_z)
            for end, throat in zip(ends, (0.0, thin), strict=True)
        )
        self.canvas.hu[skin] = tissue_hu[0]
        self.canvas.hu[wall & skin] = tissue_hu[1]
        return skin

    def _chest(
        self,
        tissue_hu: tuple[float, float],
        skin_y_mm: float,
        streams: tuple[np.random.Generator, np.random.Generator],
    ) -> None:
        """Heart, vessels and airways, the neck, and devices."""
        rng, devices = streams
        x, y, radius, value = self.aorta
        dome = self.dome_z_mm
        front = float(self.thorax.front_mm(dome + 40))
        chest = Chest(
            canvas=self.canvas,
            thorax=self.thorax,
            blood=Blood.sample(value, rng),
            heart_mm=np.array([rng.uniform(8, 24), -0.62 * front, dome + rng.uniform(22, 42)]),
            dome_z_mm=dome,
            aorta_mm=(x, y, radius),
        )
        draw_neck(self.canvas, self.thorax, chest.blood, tissue_hu, rng.spawn(1)[0])
        draw_chest(chest, rng)
        draw_devices(chest, abs(skin_y_mm) + 60, devices)

    def _organs(self, cavity: npt.NDArray[np.bool_], rng: np.random.Generator, half_width: float) -> None:
        """Random ellipsoids: liver, kidneys, spleen and bowel are told apart by nothing but place, size and HU."""
        hu = self.canvas.hu
        enhanced = rng.random() < 0.5
        low, high = float(self.z.min()), float(self.z.max())
        blobs: list[Blob] = [
            (
                -s * rng.uniform(45, 75),
                rng.uniform(-10, 25),
                self.chest_z_mm - rng.uniform(10, 80),
                28,
                26,
                55,
                rng.uniform(100, 240) if enhanced else 32,
            )
            for s in (-1, 1)
        ]  # kidneys
        blobs.append((-rng.uniform(40, 90), rng.uniform(-90, -20), self.chest_z_mm, 85, 85, 85, rng.uniform(40, 140)))
        blobs.append(
            (rng.uniform(70, 110), rng.uniform(-30, 10), self.chest_z_mm + 10, 40, 50, 55, rng.uniform(40, 150))
        )
        for _ in range(int(rng.integers(15, 45))):
            radius = rng.uniform(10, 38, 3)
            kind = rng.random()
            value = rng.uniform(-20, 90)
            if kind < 0.18:
                value = rng.uniform(-990, -300)
            elif kind < 0.26:
                value = rng.uniform(150, 900)
            blobs.append(
                (
                    rng.uniform(-half_width, half_width),
                    rng.uniform(-170, 5),
                    rng.uniform(low, max(low + 1, min(high, self.chest_z_mm))),
                    *radius,
                    value,
                )
            )
        blobs += self._gas(rng.spawn(1)[0], half_width)
        for cx, cy, cz, rx, ry, rz, value in blobs:
            part = self._part((cx, cy, cz), (rx, ry, rz))
            if part is None:
                continue
            x, y, z = self.x[:, :, part[2]], self.y[:, :, part[2]], self.z[:, :, part[2]]
            rho = ((x[part[0]] - cx) / rx) ** 2 + ((y[:, part[1]] - cy) / ry) ** 2 + ((z - cz) / rz) ** 2
            hu[part][(rho < 1) & cavity[part]] = value

    def _gas(self, rng: np.random.Generator, half_width: float) -> list[Blob]:
        """Bowel full of bubbles, as `_organs` takes them: chains of small balls below the diaphragm."""
        bubbles: list[Blob] = []
        for _ in range(int(rng.poisson(1.5))):
            at = rng.uniform([-half_width, -130, self.chest_z_mm - 260], [half_width, -30, self.chest_z_mm - 20])
            for _ in range(int(rng.integers(4, 16))):
                radius = rng.uniform(4, 15)
                x, y, z = at
                bubbles.append((x, y, z, radius, radius, radius * rng.uniform(0.6, 1.2), rng.uniform(-990, -600)))
                at = at + rng.normal(0, radius, 3)
        return bubbles

    def _part(self, center: tuple[float, float, float], radii: tuple[float, float, float]) -> Box | None:
        """The slices that hold an ellipsoid, given relative to the column's centre; None when it lies outside."""
        slices = []
        for coordinate, c, r, axis in zip((self.x, self.y, self.z), center, radii, range(3), strict=True):
            other = tuple(a for a in range(3) if a != axis)
            low, high = coordinate.min(axis=other), coordinate.max(axis=other)
            inside = np.flatnonzero((high >= c - r) & (low <= c + r))
            if not len(inside):
                return None
            slices.append(slice(int(inside[0]), int(inside[-1]) + 1))
        return slices[0], slices[1], slices[2]

    def _lungs(self, cavity: npt.NDArray[np.bool_], rng: np.random.Generator) -> None:
        own = rng.spawn(1)[0]
        dome = self.dome_z_mm = self.chest_z_mm + rng.uniform(-5, 40)
        level = dome - 0.006 * ((np.abs(self.x) - 75) ** 2) + 60 * np.clip(self.y / 60, -0.8, 0.4) * -1
        apex = self.top_z_mm + own.uniform(-10, 15) - 0.006 * ((np.abs(self.x) - 40) ** 2)
        lung = cavity & (self.z > level) & (self.z < apex) & (np.abs(self.x) > self._mediastinum_mm(own))
        lung &= ((np.abs(self.x) - 20) ** 2 + (self.y + 2) ** 2) > rng.uniform(8, 22) ** 2
        middle = self._ellipsoid((own.uniform(0, 12), -50, dome + own.uniform(90, 140)), (own.uniform(22, 36), 30, 85))
        values = rng.uniform(-920, -700) + 35 * texture(rng, self.canvas.hu.shape)
        lung &= ~middle
        self.canvas.hu[lung] = values[lung]
        self.canvas.hu[cavity & middle & (self.z > level)] = own.uniform(-100, 50)
        self._fluid(lung, dome, own)

    def _fluid(self, lung: npt.NDArray[np.bool_], dome: float, rng: np.random.Generator) -> None:
        """Sometimes fluid behind a lung, as it lies in a patient on the back, or lung that has collapsed there."""
        for side in (-1, 1):
            wet, depth, value = rng.random() < EFFUSION_RATE, rng.uniform(5, 60), rng.uniform(-5, 45)
            height, slope = dome + rng.uniform(20, 160), rng.uniform(0.1, 0.4)
            if wet:
                back = self.y > 30 - depth + slope * np.maximum(self.z - height, 0)
                self.canvas.hu[lung & back & (side * self.x > 0)] = value

    def _mediastinum_mm(self, rng: np.random.Generator) -> Array:
        """Half of the width between the lungs: close to the column behind it, bulging in front, narrow at the breast
        bone."""
        along = self.z[0, 0]
        knots = np.arange(along.min() - 40, along.max() + 80, 40)
        half = np.where(self.x > 0, *(np.interp(along, knots, rng.uniform(16, 34, len(knots))) for _ in range(2)))
        return np.asarray(np.where(self.y < -5, half * (1 - 0.8 * np.clip((-self.y - 25) / 80, 0, 1)), 14), np.float32)

    def _muscles(self, fat_hu: float, muscle_hu: float, rng: np.random.Generator) -> None:
        hu = self.canvas.hu
        streaks = fat_hu + (muscle_hu - fat_hu) * np.clip(
            rng.uniform(0.75, 1.1) + 0.18 * texture(rng, hu.shape), 0, 1.1
        )
        below_chest = np.clip((self.chest_z_mm + 10 - self.z) / 60, 0, 1)
        for side in (-1, 1):
            erector = self._ellipse(
                side * rng.uniform(26, 36), rng.uniform(40, 50), rng.uniform(20, 32), rng.uniform(13, 22)
            )
            psoas = self._ellipse(
                side * rng.uniform(34, 44),
                -4,
                (4 + 20 * below_chest).astype(np.float32),
                (4 + 22 * below_chest).astype(np.float32),
            ) & (below_chest > 0)
            for muscle in (erector, psoas):
                muscle &= hu > LEAST_TISSUE_HU
                hu[muscle] = streaks[muscle]

    def _vessels(self, rng: np.random.Generator) -> None:
        """Aorta left, cava right, in front of the column; enhanced in any phase, with plaques in the wall."""
        hu = self.canvas.hu
        low, high = float(self.z.min()), float(self.z.max())
        ends = (self.chest_z_mm + 8, self.dome_z_mm)
        aorta, cava = (rng.uniform(4, 20), rng.uniform(30, 420)), (-rng.uniform(12, 26), rng.uniform(30, 220))
        for (cx, phase), end in zip((aorta, cava), ends, strict=True):
            radius, gap = rng.uniform(8, 14), rng.uniform(22, 30)
            value = phase if rng.random() < 0.6 else rng.uniform(30, 55)
            if cx > 0:
                self.aorta = (cx, -gap, radius, value)
            vessel = self._ellipse(cx, -gap, radius, radius) & (self.z > self.chest_z_mm - 190) & (self.z < end)
            hu[vessel] = value
            for _ in range(int(rng.poisson(3))):
                angle, at = rng.uniform(0, 2 * np.pi), rng.uniform(min(low, end - 1), min(high, end))
                points = np.stack(
                    [
                        radius * np.cos(angle + np.linspace(0, rng.uniform(0.2, 1.2), 8)) + cx,
                        radius * np.sin(angle + np.linspace(0, 0.6, 8)) - gap,
                        np.linspace(0, rng.uniform(0, 20), 8),
                    ],
                    -1,
                )
                column = np.interp(at, self.z[0, 0], self.origin_y)
                tube = stamp_tube(self.canvas, np.add(points, [0, column, at]), (1.6, 1.6, 3.0))
                if tube is not None:
                    box, distance = tube
                    view = hu[box]
                    view += np.clip(distance / self.canvas.spacing_mm + 0.5, 0, 1) * (rng.uniform(200, 1300) - view)

    def _surroundings(
        self, skin: npt.NDArray[np.bool_], back: float, half_width: float, look: BoneLook, rng: np.random.Generator
    ) -> None:
        hu = self.canvas.hu
        if rng.random() < 0.7:
            top = back + rng.uniform(2, 30)
            bow = 0.0012 * self.x**2 * rng.uniform(-1, 0.2)
            for offset, value in (
                (0, rng.uniform(-300, 200)),
                (4, -900),
                (rng.uniform(20, 40), rng.uniform(-300, 300)),
            ):
                sheet = (np.abs(self.y - top - offset - bow) < 2.0) & ~skin & (np.abs(self.x) < 230)
                hu[sheet] = value
        if self.thorax.arms_down:
            z = self.z[0, 0]
            shoulder = self.thorax.lps(self.thorax.shoulder_mm)
            below = float(shoulder[2]) - ARM_MM
            for side in (-1, 1):
                x = side * (half_width + rng.uniform(20, 45))
                column = np.stack(
                    [
                        np.full(60, x),
                        np.full(60, self.origin_y.mean() + rng.uniform(-60, 30)),
                        np.linspace(min(float(z.min()), below - 1), below, 60),
                    ],
                    -1,
                )
                arm, bone = stamp_tube(self.canvas, column, (32, 32, 32)), stamp_tube(self.canvas, column, (10, 10, 10))
                for tube, is_bone in ((arm, False), (bone, True)):
                    if tube is None:
                        continue
                    box, distance = tube
                    if is_bone:
                        hard = bone_hu(distance, look.spongy_hu, look.cortex_hu, 4, self.canvas.spacing_mm)
                        self.canvas.paint(box, distance, hard, Structure.OTHER_BONE)
                    else:
                        self.canvas.paint(box, distance, 40.0, Structure.BACKGROUND)


def _single(values: npt.NDArray[np.floating]) -> Array:
    """In single precision, like the picture."""
    return np.asarray(values, dtype=np.float32)
