"""The content of a structured report, a line for every field of the results. A new field is a new line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vertecast.core.results import (
    AngleFinding,
    CementFinding,
    ChangeFinding,
    CineFinding,
    CombinedLeak,
    DeformityIndex,
    Evidence,
    HardwareFinding,
    HeightReference,
    LeakFinding,
    LevelChange,
    ModelUsed,
    NewFracture,
    SeriesResult,
    TimelineLevel,
    TimelineStudy,
    VertebraFinding,
)
from vertecast.report.dicom import codes, items
from vertecast.report.dicom.group_shapes import Groups, Growth, Inline, Sections
from vertecast.report.dicom.point_shapes import (
    EndplatePoints,
    EvidenceImage,
    ImageShape,
    PatientPoint,
    PicturePoint,
)
from vertecast.report.dicom.shapes import (
    ByName,
    ByPlace,
    Choice,
    Many,
    Number,
    Plain,
    Record,
    Several,
    Shape,
    Text,
    ThirdsOrReason,
    Uid,
)

_SERIES_UID: Final = Uid(codes.SERIES_UID)
_SITE: Final = Choice(codes.FINDING_SITE, codes.LEVELS, items.MODIFIER)
_CONFIDENCE: Final = Plain(codes.CONFIDENCE, float)
_IMAGE: Final = ImageShape(codes.SOURCE_IMAGE)
_GRADE: Final = Choice(codes.GRADE, codes.GRADES)

REFERENCE: Final = Record(
    HeightReference,
    {
        "method": Choice(codes.REFERENCE_METHOD, codes.REFERENCES),
        "levels": Many(Choice(codes.REFERENCE_LEVEL, codes.LEVELS)),
    },
)
VERTEBRA: Final = Record(
    VertebraFinding,
    {
        "level": _SITE,
        "deformity": Choice(codes.DEFORMITY, codes.DEFORMITIES),
        "genant_grade": _GRADE,
        "genant_grade_range": Several(
            (Choice(codes.LOWEST_GRADE, codes.GRADES), Choice(codes.HIGHEST_GRADE, codes.GRADES))
        ),
        "genant_grade_probability": Several(tuple(Plain(concept, float) for concept in codes.GRADE_PROBABILITIES)),
        "height_loss": Number(codes.HEIGHT_LOSS),
        "heights": ByPlace(codes.HEIGHT),
        "ratios": ByName(codes.RATIOS),
        "reference": Inline(REFERENCE),
        "wedge_angle": Number(codes.WEDGE_ANGLE),
        "density": Number(codes.DENSITY),
        "volume": Number(codes.VOLUME),
        "cleft": Number(codes.CLEFT),
        "canal_compromise": Number(codes.CANAL_COMPROMISE),
        "retropulsion": Number(codes.RETROPULSION),
        "treated": Choice(codes.TREATED, codes.TRUTH),
        "complete": Choice(codes.COMPLETE, codes.TRUTH),
        "confidence": _CONFIDENCE,
        "level_confidence": Plain(codes.LEVEL_CONFIDENCE, float),
        "level_source": Choice(codes.LEVEL_SOURCE, codes.LEVEL_SOURCES),
        "center_lps_mm": PatientPoint(codes.CENTER),
        "center_px": PicturePoint(codes.CENTER),
        "six_points_lps_mm": EndplatePoints(codes.SIX_POINTS, PatientPoint),
        "six_points_px": EndplatePoints(codes.SIX_POINTS_PX, PicturePoint),
        "image": _IMAGE,
        "series_instance_uid": _SERIES_UID,
    },
)
DEFORMITY_INDEX: Final = Record(
    DeformityIndex,
    {
        "index": Plain(codes.DEFORMITY_INDEX, int),
        "index_range": Several((Plain(codes.LOWEST_INDEX, int), Plain(codes.HIGHEST_INDEX, int))),
        "graded": Plain(codes.GRADED_LEVELS, int),
        "levels": Plain(codes.INDEX_LEVELS, int),
        "series_instance_uid": _SERIES_UID,
    },
)
ANGLE: Final = Record(
    AngleFinding,
    {
        "name": Text(codes.ANGLE_NAME),
        "upper": Text(codes.UPPER_ENDPLATE),
        "lower": Text(codes.LOWER_ENDPLATE),
        "angle": Number(codes.ANGLE),
        "series_instance_uid": _SERIES_UID,
    },
)
CEMENT: Final = Record(
    CementFinding,
    {
        "level": _SITE,
        "id": Text(codes.CEMENT_ID),
        "volume": Number(codes.VOLUME),
        "volume_inside": Number(codes.VOLUME_INSIDE),
        "fill_fraction": Number(codes.FILL),
        "thirds_filled": ThirdsOrReason(codes.THIRD_FILLED),
        "thirds_of_cement": ThirdsOrReason(codes.THIRD_OF_CEMENT),
        "gas_beside": Number(codes.GAS_BESIDE),
        "area": Number(codes.AREA),
        "area_fraction": Number(codes.AREA_SHARE),
        "share_outside": Number(codes.SHARE_OUTSIDE),
        "pattern": Choice(codes.PATTERN, codes.PATTERNS),
        "endplate_contact": Choice(codes.ENDPLATE_CONTACT, codes.CONTACTS),
        "crosses_midline": Choice(codes.CROSSES_MIDLINE, codes.TRUTH),
        "confidence": _CONFIDENCE,
        "center_px": PicturePoint(codes.CENTER),
        "image": _IMAGE,
        "series_instance_uid": _SERIES_UID,
    },
)
EVIDENCE: Final = Record(
    Evidence,
    {
        "slice_number": Plain(codes.SLICE_NUMBER, int),
        "frame_number": Plain(codes.FRAME_NUMBER, int),
        "sop_instance_uid": EvidenceImage(codes.EVIDENCE_IMAGE),
        "point_lps_mm": PatientPoint(codes.EVIDENCE_POINT),
        "point_px": PicturePoint(codes.EVIDENCE_POINT),
        "series_instance_uid": _SERIES_UID,
    },
)
LEAK: Final = Record(
    LeakFinding,
    {
        "level": _SITE,
        "compartment": Choice(codes.COMPARTMENT, codes.COMPARTMENTS),
        "suspected": Choice(codes.SUSPECTED, codes.TRUTH),
        "volume": Number(codes.VOLUME),
        "area": Number(codes.AREA),
        "area_fraction": Number(codes.AREA_SHARE),
        "farthest": Number(codes.REACH),
        "canal_distance": Number(codes.CANAL_DISTANCE),
        "canal_contact": Choice(codes.CANAL_CONTACT, codes.TRUTH),
        "canal_fill": Number(codes.CANAL_FILL),
        "disc_crossed": Number(codes.DISC_CROSSED),
        "neighbour_contact": Choice(codes.NEIGHBOUR_CONTACT, codes.TRUTH),
        "yeom_type": Choice(codes.YEOM_TYPE, codes.YEOM_TYPES),
        "confidence": _CONFIDENCE,
        "cement_id": Text(codes.CEMENT_ID),
        "evidence": Inline(EVIDENCE),
    },
)
HARDWARE: Final = Record(
    HardwareFinding,
    {
        "kind": Text(codes.HARDWARE_KIND),
        "volume": Number(codes.VOLUME),
        "area": Number(codes.AREA),
        "center_lps_mm": PatientPoint(codes.CENTER),
        "center_px": PicturePoint(codes.CENTER),
        "image": _IMAGE,
        "series_instance_uid": _SERIES_UID,
    },
)
COMBINED_LEAK: Final = Record(
    CombinedLeak,
    {
        "level": _SITE,
        "lateral": Many(Choice(codes.LATERAL_COMPARTMENT, codes.COMPARTMENTS)),
        "ap": Many(Choice(codes.AP_COMPARTMENT, codes.COMPARTMENTS)),
        "seen_in_both": Choice(codes.SEEN_IN_BOTH, codes.TRUTH),
    },
)
CINE: Final = Record(
    CineFinding,
    {
        "series_instance_uid": _SERIES_UID,
        "frame_rate": Plain(codes.FRAME_RATE, float, "/s"),
        "first_cement_frame": Plain(codes.FIRST_CEMENT, int),
        "first_suspected_leak_frame": Plain(codes.FIRST_LEAK, int),
        "growth": Growth(),
    },
)
LEVEL_CHANGE: Final = Record(
    LevelChange,
    {
        "level": _SITE,
        "height_gain": ByPlace(codes.HEIGHT_GAIN),
        "height_change": Number(codes.HEIGHT_CHANGE),
        "height_loss_change": Number(codes.LOSS_CHANGE),
        "wedge_change": Number(codes.WEDGE_CHANGE),
        "kyphosis_change": Number(codes.KYPHOSIS_CHANGE),
        "grade_before": Choice(codes.GRADE_BEFORE, codes.GRADES),
        "grade_after": Choice(codes.GRADE_AFTER, codes.GRADES),
        "recollapse": Choice(codes.RECOLLAPSE, codes.TRUTH),
        "cement_change": Number(codes.CEMENT_CHANGE),
        "cement_shift": Number(codes.CEMENT_SHIFT),
        "cement_beyond_earlier": Number(codes.CEMENT_BEYOND),
        "registration_error": Number(codes.REGISTRATION_ERROR),
    },
)
NEW_FRACTURE: Final = Record(
    NewFracture,
    {
        "level": _SITE,
        "grade": _GRADE,
        "height_change": Number(codes.HEIGHT_CHANGE),
        "adjacent": Choice(codes.ADJACENT, codes.TRUTH),
    },
)
CHANGE: Final = Record(
    ChangeFinding,
    {
        "pre_study": Uid(codes.STUDY_UID),
        "days": Plain(codes.DAYS, int, "d"),
        "modality": Choice(codes.COMPARED, codes.MODALITIES),
        "registration_error": Number(codes.REGISTRATION_ERROR),
        "new_fractures": Groups(
            codes.NEW_FRACTURE, NEW_FRACTURE, label=lambda fracture: f"New fracture of {fracture.level}"
        ),
        "levels": Groups(codes.LEVEL_CHANGE, LEVEL_CHANGE, label=lambda level: f"Change of {level.level}"),
    },
)
TIMELINE_LEVEL: Final = Record(
    TimelineLevel,
    {
        "level": _SITE,
        "treated": Choice(codes.TREATED, codes.TRUTH),
        "heights": ByPlace(codes.HEIGHT),
        "wedge_angle": Number(codes.WEDGE_ANGLE),
        "genant_grade": _GRADE,
        "cement_volume": Number(codes.CEMENT_VOLUME),
    },
)
TIMELINE_STUDY: Final = Record(
    TimelineStudy,
    {
        "study_instance_uid": Uid(codes.STUDY_UID),
        "days": Plain(codes.DAYS_SINCE_FIRST, int, "d"),
        "phase": Choice(codes.PHASE, codes.PHASES),
        "modality": Choice(codes.COMPARED, codes.MODALITIES),
        "levels": Groups(codes.TIMELINE_LEVEL, TIMELINE_LEVEL, label=lambda level: f"{level.level} at this time"),
    },
)
SERIES: Final = Record(
    SeriesResult,
    {
        "series_instance_uid": _SERIES_UID,
        "kind": Choice(codes.SERIES_KIND, codes.SERIES_KINDS),
        "view": Choice(codes.SERIES_VIEW, codes.VIEWS),
        "status": Choice(codes.SERIES_STATUS, codes.STATUSES),
        "reason": Text(codes.SERIES_REASON),
    },
)
MODEL: Final = Record(
    ModelUsed,
    {
        "name": Text(codes.ALGORITHM_NAME),
        "version": Text(codes.ALGORITHM_VERSION),
        "sha256": Text(codes.CHECKSUM),
    },
)

# The study itself: its own fields in a group of their own, findings in measurement groups, the rest in sections.
OVERVIEW: Final[Mapping[str, Shape]] = {
    "phase": Choice(codes.PHASE, codes.PHASES),
    "phase_source": Choice(codes.PHASE_SOURCE, codes.PHASE_SOURCES),
}
FINDINGS: Final[Mapping[str, Shape]] = {
    "vertebrae": Groups(
        codes.VERTEBRA, VERTEBRA, label=lambda vertebra: f"{vertebra.level} vertebral body", outline="body"
    ),
    "angles": Groups(codes.ANGLE_OF_SPINE, ANGLE, label=lambda angle: f"{angle.name}, {angle.upper} to {angle.lower}"),
    "deformity_indices": Groups(codes.DEFORMITY_INDEX, DEFORMITY_INDEX, label=lambda _: "Spinal deformity index"),
    "cement": Groups(
        codes.BONE_CEMENT, CEMENT, label=lambda cement: f"Cement {cement.id} of {cement.level}", outline="cement"
    ),
    "leaks": Groups(
        codes.CEMENT_LEAK, LEAK, label=lambda leak: f"Leak of cement {leak.cement_id}, {leak.level}", outline="leak"
    ),
    "hardware": Groups(codes.HARDWARE, HARDWARE, label=lambda hardware: f"Hardware: {hardware.kind}"),
    "combined_leaks": Groups(
        codes.LEAKS_BY_VIEW, COMBINED_LEAK, label=lambda leak: f"Leaks of {leak.level} in two views"
    ),
    "cine": Groups(codes.CINE, CINE, many=False, label=lambda _: "Cine"),
    "further_cines": Groups(codes.FURTHER_CINE, CINE, label=lambda _: "Further cine"),
}
SECTIONS: Final[Mapping[str, Shape]] = {
    "change": Sections(codes.CHANGE, CHANGE, many=False),
    "further_changes": Sections(codes.FURTHER_CHANGE, CHANGE),
    "timeline": Sections(codes.TIMELINE_STUDY, TIMELINE_STUDY),
    "warnings": Many(Text(codes.WARNING)),
    "limits": Many(Text(codes.LIMITATION)),
    "series": Sections(codes.SERIES, SERIES),
    "models": Sections(codes.MODEL, MODEL),
}
