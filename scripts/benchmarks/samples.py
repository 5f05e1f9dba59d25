"""The images that are analysed, all simulated. Functions here run in processes whose memory is not measured."""

from __future__ import annotations

from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
STUDIES: Final = REPOSITORY / "data_samples" / "studies"
"""What comes with the project: three CTs, two pairs of films and a cine of four patients."""

SEED: Final = 2_000_300
SLICES: Final = 300
SLICE_SPACING_MM: Final = 1.0
BODIES_IN_VIEW: Final = 11

RADIOGRAPH_SIZE_MM: Final = (400.0, 320.0)
RADIOGRAPH_PIXEL_MM: Final = 0.16
CINE_S: Final = 12.0


def make_ct(folder: Path) -> Path:
    """Write a treated CT of 512 × 512 × `SLICES` voxels; returns the folder of the study.

    Raises:
        RuntimeError: The scan is shorter.
    """
    import numpy as np

    from vertecast.lab.simulation.ct.acquisition import ScannerSettings
    from vertecast.lab.simulation.ct.studies import ScanPlan, TreatmentPlan, make_case, write_study
    from vertecast.lab.simulation.patient.population import sample_spine

    spine = sample_spine(np.random.default_rng(SEED), fracture_rate=0.3)
    count = len(spine.vertebrae)
    settings = ScannerSettings(
        pixel_mm=0.75, matrix=512, slice_thickness_mm=SLICE_SPACING_MM, slice_spacing_mm=SLICE_SPACING_MM
    )
    plan = ScanPlan(phase="post", settings=settings, treatments=(TreatmentPlan(vertebra_index=count - 4),))
    case = make_case(SEED, "ct", spine, (count - BODIES_IN_VIEW, count), [plan])
    (study,) = write_study(case, folder, labels=False)
    slices = sorted(study.iterdir())
    if len(slices) < SLICES:
        raise RuntimeError(f"the simulated scan has {len(slices)} slices, {SLICES} are needed; raise BODIES_IN_VIEW")
    for cranial in slices[: len(slices) - SLICES]:
        cranial.unlink()
    return study


def make_films(folder: Path) -> dict[str, Path]:
    """Write a radiograph of 2,000 × 2,500 pixels and a cine of 512 × 512; returns the folder of each study."""
    from vertecast.lab.simulation.cine.fluoroscopy import CineSettings, simulate_cine
    from vertecast.lab.simulation.projection.film_studies import FilmSettings, simulate_films
    from vertecast.lab.simulation.projection.studies import write_projection_study

    height, width = RADIOGRAPH_SIZE_MM
    settings = FilmSettings(
        height_mm=(height, height), width_mm=(width, width), pixel_mm=(RADIOGRAPH_PIXEL_MM, RADIOGRAPH_PIXEL_MM)
    )
    (film,) = simulate_films(SEED, "lateral", settings)
    cine = simulate_cine(SEED, CineSettings(seconds=(CINE_S, CINE_S)), content="cement")
    for name, study in (("radiograph", film), ("cine", cine)):
        write_projection_study(study, folder / name)
    return {name: folder / name / "studies" for name in ("radiograph", "cine")}


def copy_study(study: Path, folder: Path, number: int) -> str:
    """Write a study again as that of another patient, so that nothing knows it; returns its StudyInstanceUID.

    Args:
        study: Folder of DICOM files of one series.
        folder: Where the copies go; made.
        number: Of the copy, from 1; goes into its UIDs and the patient's ID.
    """
    from pydicom import dcmread
    from pydicom.uid import UID

    folder.mkdir(parents=True)
    uid = ""
    for path in sorted(study.iterdir()):
        image = dcmread(path)
        uid = f"{image.StudyInstanceUID}.{number}"
        image.StudyInstanceUID = uid
        image.SeriesInstanceUID = f"{image.SeriesInstanceUID}.{number}"
        image.SOPInstanceUID = f"{image.SOPInstanceUID}.{number}"
        image.file_meta.MediaStorageSOPInstanceUID = UID(image.SOPInstanceUID)
        image.PatientID = f"benchmark-{number}"
        image.save_as(folder / path.name)
    return uid
