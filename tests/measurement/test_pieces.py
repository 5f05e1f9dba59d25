"""Pieces of cement lie on the voxels of the native CT and on the pixels of the film, in the order of the findings."""

from __future__ import annotations

import numpy as np
import pytest

from phantoms.projection import Film, thirds
from phantoms.spine import SpinePhantom, normal_shape
from vertecast.core import geometry
from vertecast.core.anatomy import Compartment
from vertecast.core.images import Piece
from vertecast.core.results import Quantity
from vertecast.measurement.ct.levels import assign_levels
from vertecast.measurement.ct.study import measure_study
from vertecast.measurement.projection.study import measure_projection

INSIDE, IN_DISC, BESIDE = ((0.0, -3.0, 0.0), 8.5, 0), ((0.0, 0.0, 18.0), 3.5, 0), ((-30.0, 0.0, 0.0), 4.0, 0)
"""Balls: centre in mm in the frame of the body, radius, body."""


def test_pieces_of_a_ct_are_its_findings_voxel_by_voxel() -> None:
    made = SpinePhantom(shapes=[normal_shape(27.0)], balls=(INSIDE, IN_DISC, BESIDE))
    volume, segmentation = made.volume(), made.segmentation()
    result = measure_study(volume, segmentation, assign_levels(segmentation), series_instance_uid="1.2.3")
    cement, *leaks = result.pieces
    assert (cement.kind, cement.level) == ("cement", result.cement[0].level)
    assert [(p.level, p.compartment) for p in leaks] == [(f.level, f.compartment) for f in result.leaks]
    voxel_ml = geometry.voxel_volume_mm3(volume.lps_from_index) / 1000
    for piece, quantity in zip(
        result.pieces, [result.cement[0].volume_inside, *(leak.volume for leak in result.leaks)], strict=True
    ):
        assert isinstance(quantity, Quantity)
        assert len(piece.index) * voxel_ml == pytest.approx(quantity.value, rel=0.3)
    for piece, finding in zip(leaks, result.leaks, strict=True):
        points = geometry.apply(volume.lps_from_index, piece.index)
        assert np.linalg.norm(points - finding.evidence.point_lps_mm, axis=1).min() < 1e-6
    every = np.concatenate([piece.index for piece in result.pieces])
    assert len(np.unique(every, axis=0)) == len(every), "cement is either inside or in one leak"


def pixels(pieces: list[Piece], shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, dtype=int)
    for piece in pieces:
        mask[tuple(piece.index.T)] += 1
    return mask


def test_pieces_of_a_film_are_its_bodies_cement_and_suspected_leaks() -> None:
    film = Film(bodies=thirds())
    center = film.center_mm(1)
    places = [film.box(center + np.array(at), size) for at, size in (((2, 0), (14.0, 12.0)), ((0, -12), (8.0, 12.0)))]
    radiograph, segmentation = film.make(cement=places, metal=[])
    result = measure_projection(radiograph, segmentation, series_instance_uid="1.2.3", modality="radiograph")
    by_kind = {kind: [p for p in result.pieces if p.kind == kind] for kind in ("body", "cement", "leak")}
    assert [piece.level for piece in by_kind["body"]] == [vertebra.level for vertebra in result.vertebrae]
    assert [piece.compartment for piece in by_kind["leak"]] == [Compartment.DISC_SUPERIOR]
    assert [piece.level for piece in by_kind["cement"]] == [result.cement[0].level]
    cement = pixels(by_kind["cement"] + by_kind["leak"], radiograph.shape)
    assert cement.max() == 1
    assert np.array_equal(cement > 0, result.labels > 0)
    assert np.array_equal(pixels(by_kind["body"], radiograph.shape) > 0, segmentation.instance > 0)
