"""The closer look, with networks that read the truth from the image: what one that saw it perfectly would give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from vertecast.core import geometry
from vertecast.core.anatomy import Structure
from vertecast.core.errors import BundleError
from vertecast.core.images import Segmentation, Volume
from vertecast.segmentation.bundle import CLOSER, LOCATOR, OUTLINER, Bundle, NetworkSpec
from vertecast.segmentation.bundle_writing import write_network
from vertecast.segmentation.ct.closer_look import CloserLook
from vertecast.segmentation.ct.network import OFFSET_CHANNELS, OFFSET_SCALE_MM, OUTPUT_CHANNELS, SpineNet
from vertecast.segmentation.ct.segmenter import CtSegmenter

SPACING_MM = (0.6, 0.7, 0.5)
HEIGHT_MM, GAP_MM = 21.3, 1.2
"""A gap that the outliner's grid cannot show."""
WIDTH_MM, DEPTH_MM = 41.0, 30.0
BODIES = 3
BONE_HU = 300.0
WIDTHS = (4, 8, 8, 8)


def stack(above_mm: float = 20.0) -> tuple[Volume, list[float]]:
    """Blocks on top of each other, leaning to no side, and the place (superior) of each one's lower face in mm."""
    shape = (130, 100, round((above_mm + BODIES * (HEIGHT_MM + GAP_MM) + 20.0) / SPACING_MM[2]))
    affine = geometry.scaling_affine(SPACING_MM, [-40.0, -25.0, 100.0])
    x, y, z = (SPACING_MM[axis] * np.arange(n) + affine[axis, 3] for axis, n in enumerate(shape))
    faces = [120.3 + n * (HEIGHT_MM + GAP_MM) for n in reversed(range(BODIES))]

    def share(at: npt.NDArray[np.float64], low: float, high: float, step: float) -> npt.NDArray[np.float64]:
        return np.clip((np.minimum(at + step / 2, high) - np.maximum(at - step / 2, low)) / step, 0, 1)

    across = share(x, -WIDTH_MM / 2, WIDTH_MM / 2, SPACING_MM[0])[:, None, None]
    across = across * share(y, -DEPTH_MM / 2, DEPTH_MM / 2, SPACING_MM[1])[None, :, None]
    along = np.stack([share(z, face, face + HEIGHT_MM, SPACING_MM[2]) for face in faces]).sum(axis=0)
    hu = (BONE_HU * across * along[None, None, :]).astype(np.float32)
    return Volume(hu=hu, lps_from_index=affine), faces


class Reader:
    """Reads blocks from the image at its own spacing; with ``blind`` it sees no gap between them."""

    def __init__(self, spacing_mm: float, *, blind: bool = False) -> None:
        self.spacing_mm, self.blind = spacing_mm, blind

    def __call__(self, hu: Tensor) -> Tensor:
        bone = hu[0, 0].numpy() / BONE_HU
        pieces, count = ndimage.label(bone > 0.5)
        nearest = ndimage.distance_transform_edt(pieces == 0, return_distances=False, return_indices=True)
        pieces = pieces[tuple(nearest)] if count else pieces
        if self.blind:
            bone = ndimage.grey_closing(bone, size=(1, 1, 5))
        out = np.zeros((1, OUTPUT_CHANNELS, *bone.shape), dtype=np.float32)
        logit = np.log(np.clip(bone, 1e-4, 1 - 1e-4) / np.clip(1 - bone, 1e-4, 1 - 1e-4))
        out[0, : len(Structure)] = -30.0
        out[0, Structure.BACKGROUND] = 0.0
        out[0, Structure.BODY] = logit
        out[0, OFFSET_CHANNELS.start - 2 : OFFSET_CHANNELS.start] = -30.0  # neither cement nor metal
        index = np.indices(bone.shape)
        for n in range(1, count + 1):
            own = pieces == n
            middle = np.array(ndimage.center_of_mass(own & (bone > 0.5)))
            way_mm = (middle[:, None] - index[:, own]) * self.spacing_mm
            out[0, OFFSET_CHANNELS][:, own] = way_mm / OFFSET_SCALE_MM
        return torch.from_numpy(out)


def spec(spacing_mm: float) -> NetworkSpec:
    return NetworkSpec(path=Path("none"), sha256="0", spacing_mm=spacing_mm, widths=WIDTHS)


def segmenter(closer: CloserLook | None) -> CtSegmenter:
    bundle = Bundle(name="blocks", version="1", locator=spec(4.0), outliner=spec(1.5))
    return CtSegmenter(bundle=bundle, locator=Reader(4.0), outliner=Reader(1.5, blind=True), closer=closer, passes=1)


def look() -> CloserLook:
    net = Reader(0.75)
    return CloserLook(network=lambda hu: net(torch.from_numpy(hu)[None, None])[0].numpy())


def ends_mm(found: Segmentation) -> tuple[float, float]:
    """Where the outline crosses one half below the last and above the first body, on the line through their middles."""
    i, j, _ = np.round(np.argwhere(found.instance > 0).mean(axis=0)).astype(int)
    line = found.body_probability[i, j].astype(np.float64)
    inside = np.flatnonzero(line >= 0.5)
    index = [
        last + step * (line[last] - 0.5) / (line[last] - line[last + step])
        for last, step in ((inside[0], -1), (inside[-1], 1))
    ]
    low, high = geometry.apply(found.lps_from_index, [[i, j, end] for end in index])[:, 2]
    return float(low), float(high)


def test_a_gap_thinner_than_a_voxel_parts_two_bodies_and_every_volume_is_right() -> None:
    volume, _ = stack()
    true_ml = WIDTH_MM * DEPTH_MM * HEIGHT_MM / 1000
    found = segmenter(look()).segment(volume)
    assert found.count == BODIES
    near = ndimage.grey_dilation(np.asarray(found.instance), size=(3, 3, 3))
    for n in range(1, BODIES + 1):
        own = (near == n) | (found.instance == n)
        volume_ml = float(found.body_probability[own].astype(np.float64).sum()) * 1.5**3 / 1000
        assert volume_ml == pytest.approx(true_ml, rel=0.03)
    blind = segmenter(None).segment(volume)
    assert blind.body_probability.astype(np.float64).sum() > 1.04 * found.body_probability.astype(np.float64).sum()


def test_faces_lie_where_the_finer_grid_sees_them() -> None:
    volume, faces = stack()
    found = segmenter(look()).segment(volume)
    assert ends_mm(found) == pytest.approx((faces[-1], faces[0] + HEIGHT_MM), abs=0.15)
    for n, face in enumerate(faces, start=1):
        middle = np.argwhere(found.instance == n).mean(axis=0)
        assert geometry.apply(found.lps_from_index, middle)[2] == pytest.approx(face + HEIGHT_MM / 2, abs=0.4)


def test_a_look_reaches_beyond_the_image() -> None:
    volume, _ = stack(above_mm=-8.0)  # the first body is cut
    found = segmenter(look()).segment(volume)
    assert found.count == BODIES
    assert found.touches_border[0]
    assert not any(found.touches_border[1:])


def test_a_bundle_may_hold_a_closer_look(tmp_path: Path) -> None:
    folder = tmp_path / "three"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text('{"name": "three", "version": "1.0.0"}')
    for name, spacing in ((LOCATOR, 4.0), (OUTLINER, 1.5)):
        write_network(folder, name, SpineNet(WIDTHS).state_dict(), {"spacing_mm": spacing, "widths": list(WIDTHS)})
    assert CtSegmenter.load(folder).closer is None
    facts = {"spacing_mm": 0.75, "widths": list(WIDTHS)}
    write_network(folder, CLOSER, SpineNet(WIDTHS).state_dict(), facts)
    closer = CtSegmenter.load(folder).closer
    assert closer is not None
    assert [name for name, _, _ in Bundle.open(folder).models] == ["three/locator", "three/outliner", "three/closer"]
    write_network(folder, CLOSER, SpineNet(WIDTHS).state_dict(), {**facts, "spacing_mm": 0.8})
    with pytest.raises(BundleError, match="half the outliner"):
        Bundle.open(folder)
