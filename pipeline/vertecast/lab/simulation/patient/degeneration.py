"""What age and disease do to a column: which levels have new bone, dense bone, spent discs and worn facets.

Networks trained without it took an ossified ligament and sclerotic rims for cement. New bone that bridges a disc or
lies in front of a wall is `Structure.OTHER_BONE`; small spurs of a body's own rim stay body (`skeleton`). Dense bone in
a body is body: no brightness below that of metal means cement by itself. Rates are choices, well above those in life:
more than half of the patients have 0.1 mL of bone above 700 HU in or at a body.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.lab.simulation.patient.bone import BoneLook
from vertecast.lab.simulation.patient.canvas import OUTSIDE_MM, Array, Box, Canvas, bone_hu, texture
from vertecast.lab.simulation.patient.ossification import (
    FRONT_RAD,
    DiscSpace,
    Form,
    NewBone,
    draw_canal_ligament,
    draw_new_bone,
    paint_only,
)
from vertecast.lab.simulation.patient.population import dimensions
from vertecast.lab.simulation.patient.sclerosis import draw_dense_body, draw_islands, draw_rim, draw_schmorl
from vertecast.lab.simulation.patient.spine import Spine, Vertebra

LIGAMENT_RATE: Final = (0.04, 0.22)
"""Share of the patients with an ossified anterior ligament over many levels (DISH), at no and at full degeneration;
after the age of 65 it is some 15 to 25 % in life."""

SYNDESMOPHYTE_RATE: Final = 0.04
CALCIFIED_DISCS_RATE: Final = 0.07
POSTERIOR_LIGAMENT_RATE: Final = 0.03
YELLOW_LIGAMENT_RATE: Final = 0.04
IVORY_RATE: Final = 0.04
"""Shares of the patients with syndesmophytes (spondylitis), calcified discs at many levels, ossified ligaments in the
canal, one ivory body."""

OSTEOBLASTIC_RATE: Final = 0.05
DIFFUSE_SCLEROSIS_RATE: Final = 0.03
"""Shares of the patients with sclerotic patches in a third of the bodies, and with all bodies dense (marble bone,
myelofibrosis)."""

BRIDGE_RATE: Final = 0.08
BEAK_RATE: Final = 0.2
VACUUM_RATE: Final = 0.18
CALCIFIED_DISC_RATE: Final = 0.05
RIM_RATE: Final = 0.1
FACET_RATE: Final = 0.35
KISSING_RATE: Final = 0.2
"""Share of the discs, pairs of facets or lumbar spinous processes at full degeneration; none without degeneration."""

RIM_HU: Final = (400.0, 1300.0)
"""Log-uniform range of the peak of sclerosis under an endplate; real ones were seen up to 1,330 HU."""

SCHMORL_RATES: Final = (0.02, 0.25)
"""Share of the endplates with a node, in most patients and in one of six (Scheuermann's disease)."""

ISLAND_RATE: Final = 0.02
"""Share of the bodies with dense islands, at any age."""

BESIDE_JOINT: Final = (Structure.BACKGROUND, Structure.POSTERIOR, Structure.OTHER_BONE)
"""What worn facets and kissing processes grow over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degeneration:
    """What one patient has. Ranges are of vertebra indices from 0; an empty one means that the patient has it nowhere.

    Attributes:
        amount: `BoneLook.degeneration`, 0 to 1.
        ligament: Levels whose anterior ligament is ossified, down to the disc below.
        ligament_bone: How it looks.
        syndesmophytes, posterior_ligament, yellow_ligament: Levels that have them.
        continuous: The posterior ligament is ossified across discs as well.
        calcified_discs: Share of calcified discs.
        schmorl: Share of the endplates with a node.
        dense_hu: Peak of a sclerotic body for each vertebra; 0 is a body as usual.
        patchy: Sclerotic bodies are so in patches.
    """

    amount: float
    ligament: range
    ligament_bone: NewBone
    syndesmophytes: range
    posterior_ligament: range
    yellow_ligament: range
    continuous: bool
    calcified_discs: float
    schmorl: float
    dense_hu: tuple[float, ...]
    patchy: bool

    @classmethod
    def sample(cls, spine: Spine, look: BoneLook, rng: np.random.Generator) -> Degeneration:
        """Draw what a patient has; no draw depends on the shapes of the bodies, which change over time."""
        count, amount = len(spine.vertebrae), look.degeneration
        share = LIGAMENT_RATE[0] + (LIGAMENT_RATE[1] - LIGAMENT_RATE[0]) * amount
        dense_hu, patchy = _dense_bodies(count, rng)
        return cls(
            amount=amount,
            ligament=_levels(share, count, (4, 13), rng),
            ligament_bone=_ligament(rng),
            syndesmophytes=_levels(SYNDESMOPHYTE_RATE, count, (3, 12), rng),
            posterior_ligament=_levels(POSTERIOR_LIGAMENT_RATE, count, (1, 5), rng),
            yellow_ligament=_levels(YELLOW_LIGAMENT_RATE, count, (1, 5), rng),
            continuous=bool(rng.random() < 0.5),
            calcified_discs=0.6 if rng.random() < CALCIFIED_DISCS_RATE else CALCIFIED_DISC_RATE * amount,
            schmorl=SCHMORL_RATES[int(rng.random() < 1 / 6)],
            dense_hu=dense_hu,
            patchy=patchy,
        )

    def draw_between(self, canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
        """Draw what lies between and in front of the bodies: after discs and canal, before any vertebra."""
        for n, (vertebra, own) in enumerate(zip(spine.vertebrae, rng.spawn(len(spine.vertebrae)), strict=True)):
            disc, front, canal = own.spawn(3)
            self._draw_disc(canvas, spine, n, disc)
            self._draw_front(canvas, spine, n, front)
            if n in self.posterior_ligament:
                draw_canal_ligament(canvas, vertebra, yellow=False, whole=self.continuous, rng=canal)
            if n in self.yellow_ligament:
                draw_canal_ligament(canvas, vertebra, yellow=True, whole=False, rng=canal)

    def draw_within(self, canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
        """Draw dense bone and nodes in the bodies, worn facets and kissing processes: after all vertebrae."""
        for n, (vertebra, own) in enumerate(zip(spine.vertebrae, rng.spawn(len(spine.vertebrae)), strict=True)):
            body, facets, process = own.spawn(3)
            self._draw_in_body(canvas, vertebra, n, body)
            if facets.random() < FACET_RATE * self.amount:
                _draw_facets(canvas, vertebra, n + 1, facets)
            lower = spine.vertebrae[n + 1] if n + 1 < len(spine.vertebrae) else None
            if lower is not None and vertebra.level.is_lumbar and process.random() < KISSING_RATE * self.amount:
                _draw_kissing(canvas, (vertebra, lower), n, process)

    def _draw_disc(self, canvas: Canvas, spine: Spine, n: int, rng: np.random.Generator) -> None:
        vacuum, calcified = rng.random() < VACUUM_RATE * self.amount, rng.random() < self.calcified_discs
        hu, gas_hu, annulus = rng.uniform(200, 900), rng.uniform(-900, -100), rng.random() < 0.4
        space = DiscSpace.below(canvas, spine, n) if vacuum or calcified else None
        if space is None:
            return
        disc = (Structure.DISC,)
        if calcified:
            flecks = space.flecks(rng, annulus=annulus)
            paint_only(canvas, space.region.box, flecks, hu, Structure.DISC, disc)
        if vacuum:
            for _ in range(int(rng.integers(1, 3))):
                paint_only(canvas, space.region.box, space.cleft(rng), gas_hu, Structure.DISC, disc)

    def _draw_front(self, canvas: Canvas, spine: Spine, n: int, rng: np.random.Generator) -> None:
        bridges, beaks = rng.random() < BRIDGE_RATE * self.amount, rng.random() < BEAK_RATE * self.amount
        found = [_spur(Form.BRIDGE, rng)] * bridges + [_spur(Form.BEAKS, rng)] * beaks
        ligament = replace(self.ligament_bone, thick_mm=self.ligament_bone.thick_mm * rng.uniform(0.5, 1.2))
        found += [_syndesmophyte(rng)] * (n in self.syndesmophytes) + [ligament] * (n in self.ligament)
        space = DiscSpace.below(canvas, spine, n, front=n not in self.syndesmophytes) if found else None
        if space is None:
            return
        for bone in found:
            draw_new_bone(canvas, space, bone, rng)

    def _draw_in_body(self, canvas: Canvas, vertebra: Vertebra, n: int, rng: np.random.Generator) -> None:
        dense, islands, *plates = rng.spawn(4)
        if self.dense_hu[n]:
            draw_dense_body(canvas, vertebra, n + 1, self.dense_hu[n], self.patchy, dense)
        if islands.random() < ISLAND_RATE:
            draw_islands(canvas, vertebra, n + 1, islands)
        for superior, plate in zip((True, False), plates, strict=True):
            has_rim, peak_hu = plate.random() < RIM_RATE * self.amount, float(np.exp(plate.uniform(*np.log(RIM_HU))))
            if plate.random() < self.schmorl:
                draw_schmorl(canvas, vertebra, n + 1, superior=superior, rng=plate.spawn(1)[0])
            if has_rim:
                draw_rim(canvas, vertebra, n + 1, superior=superior, peak_hu=peak_hu, rng=plate)


def _levels(share: float, count: int, length: tuple[int, int], rng: np.random.Generator) -> range:
    """A run of neighbouring levels of a length drawn from ``length``, in this share of the patients; else none."""
    has, size = rng.random() < share, min(int(rng.integers(length[0], length[1] + 1)), count)
    start = int(rng.integers(0, count - size + 1))
    return range(start, start + size if has else start)


def _dense_bodies(count: int, rng: np.random.Generator) -> tuple[tuple[float, ...], bool]:
    """Peak HU for each body, 0 for most; and whether sclerosis is patchy."""
    peak = rng.uniform(400, 1100, count)
    kind, chosen, one = rng.random(), rng.random(count) < 1 / 3, int(rng.integers(0, count))
    limits = np.cumsum([IVORY_RATE, OSTEOBLASTIC_RATE, DIFFUSE_SCLEROSIS_RATE])
    if kind < limits[0]:
        peak = np.where(np.arange(count) == one, np.maximum(peak, 700), 0)
    elif kind < limits[1]:
        peak = np.where(chosen, peak, 0)
    elif kind < limits[2]:
        peak = np.full(count, rng.uniform(350, 900))
    else:
        peak = np.zeros(count)
    return tuple(float(hu) for hu in peak), bool(limits[0] <= kind < limits[1])


def _ligament(rng: np.random.Generator) -> NewBone:
    """The ligament of DISH: the right front, since the aorta keeps the left one free; dense or with marrow inside."""
    cortex = rng.uniform(300, 1300)
    return NewBone(
        form=Form.LIGAMENT,
        direction_rad=FRONT_RAD - rng.uniform(-0.2, 0.8),
        half_angle_rad=rng.uniform(0.4, 1.1),
        thick_mm=rng.uniform(2, 8),
        rooted_mm=rng.uniform(0, 4),
        reach_mm=rng.uniform(4, 9),
        tongue_mm=1.0,
        cortex_hu=cortex,
        core_hu=rng.uniform(0.25, 1) * cortex,
    )


def _spur(form: Form, rng: np.random.Generator) -> NewBone:
    cortex = rng.uniform(300, 1300)
    return NewBone(
        form=form,
        direction_rad=rng.normal(FRONT_RAD, 0.8),
        half_angle_rad=rng.uniform(0.25, 0.9),
        thick_mm=rng.uniform(3, 10),
        rooted_mm=rng.uniform(0, 3),
        reach_mm=rng.uniform(2.5, 8),
        tongue_mm=rng.uniform(1, 3.5),
        cortex_hu=cortex,
        core_hu=rng.uniform(0.2, 1) * cortex,
    )


def _syndesmophyte(rng: np.random.Generator) -> NewBone:
    """A thin bridge in the outer annulus, nearly all round."""
    hu = rng.uniform(300, 1000)
    return NewBone(
        form=Form.BRIDGE,
        direction_rad=FRONT_RAD,
        half_angle_rad=rng.uniform(1.2, 2.6),
        thick_mm=rng.uniform(1, 2.5),
        rooted_mm=rng.uniform(0.5, 2),
        reach_mm=rng.uniform(2, 5),
        tongue_mm=1.0,
        cortex_hu=hu,
        core_hu=hu,
    )


def _draw_facets(canvas: Canvas, vertebra: Vertebra, instance: int, rng: np.random.Generator) -> None:
    """Enlarge the joints under a vertebra on one or both sides and make them dense."""
    half, back = vertebra.intact.posterior_mm / 2, vertebra.shape.posterior_wall_y_mm + vertebra.canal_depth_mm
    out = vertebra.canal_width_mm / 2 + vertebra.pedicle_width_mm / 2
    region = canvas.local(
        vertebra.lps_from_local, [-out - 15, back - 12, -half - 20], [out + 15, back + 16, -half + 10]
    )
    if region is None:
        return
    solid, sides = region.nothing(), ((-1, 1), (-1,), (1,))[int(rng.choice(3, p=[0.6, 0.2, 0.2]))]
    for side in sides:
        at = [side * (out + rng.uniform(-2, 2)), back + rng.uniform(0, 3), -half - rng.uniform(2, 6)]
        region.add(solid, at, np.add(at, [0, 0, 3]), rng.uniform([5.5, 5.5, 7], [9, 9, 10]))
    _thicken(canvas, region.box, solid, instance, rng)


def _draw_kissing(canvas: Canvas, pair: tuple[Vertebra, Vertebra], n: int, rng: np.random.Generator) -> None:
    """Let two spinous processes grow until they nearly touch (Baastrup), with dense ends."""
    along, gap, width = rng.uniform(0.45, 0.75), rng.uniform(0, 2), rng.uniform(3.5, 6)
    middles = []
    for vertebra in pair:
        back = vertebra.shape.posterior_wall_y_mm + vertebra.canal_depth_mm + 3
        length = dimensions(vertebra.level).spinous_length - vertebra.canal_depth_mm - 12
        local = [0, back + along * length, -vertebra.intact.posterior_mm / 2 - 0.2 * along * length]
        middles.append(geometry.apply(vertebra.lps_from_local, local))
    meeting = (middles[0] + middles[1]) / 2
    for instance, (vertebra, middle) in enumerate(zip(pair, middles, strict=True), start=n + 1):
        way = meeting - middle
        end = meeting - way / np.linalg.norm(way) * (3.5 + gap / 2)
        ends = geometry.apply(geometry.inverse(vertebra.lps_from_local), np.array([middle, end]))
        reach = np.array([width, 11.0, 4.0])
        region = canvas.local(vertebra.lps_from_local, ends.min(axis=0) - reach - 3, ends.max(axis=0) + reach + 3)
        if region is not None:
            _thicken(canvas, region.box, region.capsule(ends[0], ends[1], reach - [0, 2, 0.5]), instance, rng)


def _thicken(canvas: Canvas, box: Box, solid: Array, instance: int, rng: np.random.Generator) -> None:
    """Add dense bone to an arch: where another one lies already it keeps its instance and becomes no less dense."""
    core = rng.uniform(250, 1000) * (1 + 0.2 * texture(rng, solid.shape))
    hu = bone_hu(solid, core, rng.uniform(600, 1500), rng.uniform(0.6, 2), canvas.spacing_mm)
    structure, owner = canvas.structure[box], canvas.instance[box]
    solid = np.where(np.isin(structure, BESIDE_JOINT), solid, OUTSIDE_MM).astype(np.float32)
    kept = np.where(structure == Structure.POSTERIOR, owner, instance).astype(np.uint8)
    canvas.paint(box, solid, np.maximum(hu, canvas.hu[box]), Structure.POSTERIOR)
    owner[solid > 0] = kept[solid > 0]
