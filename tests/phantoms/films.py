"""Small, coarse films and cines of simulated patients, quick enough for tests."""

from __future__ import annotations

from pathlib import Path

from phantoms.dicom import found
from vertecast.io.projection.images import ProjectionFile, choose_projection_series, projection_files
from vertecast.lab.simulation.cine.fluoroscopy import CineSettings
from vertecast.lab.simulation.projection.film_studies import FilmSettings

SMALL_FILM = FilmSettings(
    spacing_mm=3.0,
    trunk_mm=(190.0, 200.0),
    height_mm=(200.0, 220.0),
    width_mm=(150.0, 170.0),
    pixel_mm=(0.8, 1.0),
    coarse_mm=1.6,
)
SMALL_CINE = CineSettings(
    spacing_mm=2.8, trunk_mm=(180.0, 190.0), size=136, field_mm=(140.0, 150.0), seconds=(4.0, 4.1), coarse_mm=1.6
)


def files_of(folder: Path) -> list[ProjectionFile]:
    """What our own reader finds to analyse in a study's folder; nothing may be refused."""
    chosen, others = choose_projection_series(found(folder))
    assert others == []
    return [file for series in chosen for file in projection_files(series)]
