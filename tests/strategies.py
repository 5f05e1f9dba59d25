"""Hypothesis strategies shared by the tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from vertecast.core.anatomy import CRANIAL_TO_CAUDAL, Compartment, YeomType
from vertecast.core.results import (
    AngleFinding,
    CementFinding,
    ChangeFinding,
    CineFinding,
    CombinedLeak,
    DeformityIndex,
    Evidence,
    GrowthPoint,
    HardwareFinding,
    HeightReference,
    ImageReference,
    LeakFinding,
    LevelChange,
    ModelUsed,
    NewFracture,
    NotMeasured,
    Quantity,
    SeriesResult,
    StudyReport,
    TimelineLevel,
    TimelineStudy,
    VertebraFinding,
)
from vertecast.lab.simulation.patient.spine import BodyShape

STUDY = "1.2.826.0.1.3680043.8.498.1"
CT_SERIES, FILM_SERIES = f"{STUDY}.1", f"{STUDY}.2"
CT_IMAGES = tuple(f"{CT_SERIES}.{n}" for n in (1, 2, 3))
FILM_IMAGES = tuple(f"{FILM_SERIES}.{n}" for n in (1, 2))
"""Images that findings of `study_reports` lie in."""


@st.composite
def body_shapes(draw: st.DrawFn) -> BodyShape:
    """Thoracic to lumbar bodies, sound or fractured."""
    posterior = draw(st.floats(17.0, 28.0))
    anterior = posterior * draw(st.floats(0.55, 1.1))
    middle = min(anterior, posterior) * draw(st.floats(0.75, 0.97))
    depth = draw(st.floats(24.0, 36.0))
    return BodyShape(
        width_mm=depth * draw(st.floats(1.15, 1.4)),
        depth_mm=depth,
        anterior_mm=anterior,
        middle_mm=middle,
        posterior_mm=posterior,
        superior_share=draw(st.floats(0.3, 0.8)),
        bump_exponent=draw(st.floats(2.0, 5.0)),
        waist=draw(st.floats(0.05, 0.15)),
        tilt_coronal=draw(st.floats(-0.06, 0.06)),
    )


numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9)
shares = st.floats(0, 1)
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zs")), min_size=1, max_size=12)
reasons = st.builds(NotMeasured, reason=texts)
quantities = st.builds(
    Quantity,
    value=numbers,
    unit=st.sampled_from(["mm", "deg", "mL", "mm2", "[hnsf'U]", "1"]),
    interval95=st.none() | st.tuples(numbers, numbers),
)
measured = reasons | quantities
levels = st.sampled_from([level.name for level in CRANIAL_TO_CAUDAL]) | st.integers(1, 30).map("V{}".format)
grades = st.integers(0, 3)
truths = st.booleans()
millimetres = st.floats(-2000, 2000, width=32)
pixels = st.floats(-10, 4000, width=32)
patient_points = st.tuples(millimetres, millimetres, millimetres)
picture_points = st.tuples(pixels, pixels)
film_images = st.builds(ImageReference, sop_instance_uid=st.sampled_from(FILM_IMAGES), frame_number=st.integers(1, 9))
phases = st.sampled_from(["pre", "intra", "post", "unknown"])
compartments = st.sampled_from(list(Compartment))
LATERAL, AP = ("anterior", "middle", "posterior"), ("left", "middle", "right")


def some(strategy: st.SearchStrategy[Any], most: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    """Up to a few of something."""
    return st.lists(strategy, max_size=most).map(tuple)


def by_place(places: tuple[str, ...], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A value at each place."""
    return st.fixed_dictionaries(dict.fromkeys(places, values))


def six(places: tuple[str, ...], points: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Six points, or why there are none."""
    return reasons | by_place(("superior", "inferior"), by_place(places, points))


def _vertebrae(places: tuple[str, ...], **where: st.SearchStrategy[Any]) -> st.SearchStrategy[VertebraFinding]:
    return st.builds(
        VertebraFinding,
        level=levels,
        level_confidence=shares,
        level_source=st.sampled_from(["sacrum", "ribs", "sacrum+ribs", "operator", "label map", "unknown"]),
        heights=by_place(places, measured),
        ratios=by_place(("wedge", "biconcave", "crush"), measured),
        height_loss=measured,
        reference=st.builds(HeightReference, levels=some(levels)),
        wedge_angle=measured,
        deformity=reasons | st.sampled_from(["none", "wedge", "biconcave", "crush"]),
        genant_grade=reasons | grades,
        genant_grade_range=reasons | st.tuples(grades, grades),
        genant_grade_probability=reasons | st.tuples(shares, shares, shares, shares),
        volume=measured,
        density=measured,
        cleft=measured,
        canal_compromise=measured,
        retropulsion=measured,
        confidence=shares,
        **where,
    )


vertebrae = _vertebrae(
    LATERAL,
    series_instance_uid=st.just(CT_SERIES),
    center_lps_mm=patient_points,
    six_points_lps_mm=six(LATERAL, patient_points),
) | st.sampled_from([LATERAL, AP]).flatmap(
    lambda places: _vertebrae(
        places,
        series_instance_uid=st.just(FILM_SERIES),
        center_px=picture_points,
        six_points_px=six(places, picture_points),
        image=film_images,
    )
)
thirds = st.none() | reasons | by_place(LATERAL, measured)
deformity_indices = st.builds(
    DeformityIndex,
    series_instance_uid=st.sampled_from([CT_SERIES, FILM_SERIES]),
    index=reasons | st.integers(0, 39),
    index_range=reasons | st.tuples(st.integers(0, 39), st.integers(0, 39)),
    graded=st.integers(0, 13),
    levels=st.just(13),
)
cement = st.builds(
    CementFinding,
    id=texts,
    series_instance_uid=st.sampled_from([CT_SERIES, FILM_SERIES]),
    level=levels,
    volume=measured,
    area=st.none() | measured,
    area_fraction=st.none() | measured,
    share_outside=st.none() | measured,
    center_px=picture_points,
    volume_inside=measured,
    fill_fraction=measured,
    pattern=reasons | st.sampled_from(["compact", "interdigitated"]),
    endplate_contact=reasons | st.sampled_from(["none", "superior", "inferior", "both"]),
    crosses_midline=reasons | truths,
    thirds_filled=thirds,
    thirds_of_cement=thirds,
    gas_beside=st.none() | measured,
    confidence=shares,
    image=film_images,
)
evidence = st.builds(
    Evidence,
    series_instance_uid=st.just(CT_SERIES),
    slice_number=st.integers(1, 999),
    sop_instance_uid=st.none() | st.sampled_from(CT_IMAGES),
    point_lps_mm=patient_points,
) | st.builds(
    Evidence,
    series_instance_uid=st.just(FILM_SERIES),
    frame_number=st.integers(1, 999),
    sop_instance_uid=st.sampled_from(FILM_IMAGES),
    point_px=picture_points,
)
leaks = st.builds(
    LeakFinding,
    cement_id=texts,
    level=levels,
    compartment=compartments,
    suspected=st.none() | st.just(True),
    yeom_type=reasons | st.sampled_from(list(YeomType)),
    volume=measured,
    area=st.none() | measured,
    area_fraction=st.none() | measured,
    farthest=measured,
    canal_distance=measured,
    canal_contact=st.none() | reasons | truths,
    canal_fill=st.none() | measured,
    disc_crossed=st.none() | measured,
    neighbour_contact=st.none() | reasons | truths,
    evidence=evidence,
    confidence=shares,
)
hardware = st.builds(
    HardwareFinding,
    series_instance_uid=st.just(CT_SERIES),
    kind=texts,
    volume=measured,
    center_lps_mm=patient_points,
) | st.builds(
    HardwareFinding,
    series_instance_uid=st.just(FILM_SERIES),
    kind=texts,
    volume=measured,
    area=measured,
    center_px=picture_points,
    image=film_images,
)
cines = st.builds(
    CineFinding,
    series_instance_uid=st.just(FILM_SERIES),
    frame_rate=reasons | st.floats(0.1, 60),
    first_cement_frame=reasons | st.integers(1, 2000),
    growth=some(st.builds(GrowthPoint, frame_number=st.integers(1, 2000), area=measured)),
    first_suspected_leak_frame=reasons | st.integers(1, 2000),
)
changes = st.builds(
    ChangeFinding,
    pre_study=st.just(f"{STUDY}.7") | st.just("earlier_study"),
    days=reasons | st.integers(0, 9000),
    registration_error=measured,
    levels=some(
        st.builds(
            LevelChange,
            level=levels,
            registration_error=measured,
            height_gain=by_place(LATERAL, measured),
            height_change=measured,
            height_loss_change=measured,
            wedge_change=measured,
            kyphosis_change=measured,
            grade_before=reasons | grades,
            grade_after=reasons | grades,
            recollapse=st.none() | reasons | truths,
            cement_change=st.none() | measured,
            cement_shift=st.none() | measured,
            cement_beyond_earlier=st.none() | measured,
        )
    ),
    new_fractures=some(st.builds(NewFracture, level=levels, grade=grades, height_change=quantities)),
)
timelines = st.builds(
    TimelineStudy,
    study_instance_uid=st.just(f"{STUDY}.7"),
    days=reasons | st.integers(0, 9000),
    levels=some(
        st.builds(
            TimelineLevel,
            level=levels,
            heights=by_place(LATERAL, measured),
            wedge_angle=measured,
            genant_grade=reasons | grades,
            cement_volume=st.none() | measured,
        )
    ),
)
study_reports = st.builds(
    StudyReport,
    study_instance_uid=st.just(STUDY),
    series=some(
        st.builds(
            SeriesResult,
            series_instance_uid=st.sampled_from([CT_SERIES, "named_after_file"]),
            reason=st.just("") | texts,
        )
    ),
    models=some(st.builds(ModelUsed, name=texts, version=texts, sha256=texts)),
    vertebrae=some(vertebrae),
    angles=some(
        st.builds(
            AngleFinding, series_instance_uid=st.just(CT_SERIES), name=texts, upper=texts, lower=texts, angle=measured
        )
    ),
    deformity_indices=some(deformity_indices, 1),
    cement=some(cement, 1),
    leaks=some(leaks, 1),
    hardware=some(hardware, 1),
    combined_leaks=some(st.builds(CombinedLeak, level=levels, lateral=some(compartments), ap=some(compartments)), 1),
    cine=st.none() | cines,
    further_cines=some(cines, 1),
    change=st.none() | changes,
    further_changes=some(changes, 1),
    timeline=some(timelines, 1),
    limits=some(texts),
    warnings=some(texts),
)
"""Reports with every field filled, on a CT and a film; see `CT_IMAGES` and `FILM_IMAGES`."""
