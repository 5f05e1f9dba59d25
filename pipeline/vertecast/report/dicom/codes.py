"""Every coded concept of the DICOM and FHIR outputs, in one table: standard codes, and one private scheme for the rest.

Sources: the context groups and definitions of PS3.16 (schemes ``DCM``, ``SCT`` = SNOMED CT, ``LN`` = LOINC, ``UCUM``
for units). What they do not name (height loss, Genant grade, bone cement, leaks, ...) is in the private scheme
``99VERTECAST``; its values never change their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from vertecast.core.anatomy import CRANIAL_TO_CAUDAL, Compartment, Level, YeomType

PRIVATE_SCHEME: Final = "99VERTECAST"
PRIVATE_SCHEME_NAME: Final = "Vertecast codes"
PRIVATE_SCHEME_UID: Final = "2.25.138554459481234639571353337401891589934"
"""Names the scheme where a designator is not enough: in the objects' headers, and as ``urn:oid:`` in FHIR."""


class Concept(NamedTuple):
    """A code: value (at most 16 characters), designator of its scheme, meaning (at most 64 characters)."""

    value: str
    scheme: str
    meaning: str

    @property
    def key(self) -> tuple[str, str]:
        """What a code is recognised by; meanings may be worded differently."""
        return self.value, self.scheme


def _sct(value: str, meaning: str) -> Concept:
    return Concept(value, "SCT", meaning)


def _dcm(value: str, meaning: str) -> Concept:
    return Concept(value, "DCM", meaning)


def _loinc(value: str, meaning: str) -> Concept:
    return Concept(value, "LN", meaning)


def _own(value: str, meaning: str) -> Concept:
    assert len(value) <= 16, value
    return Concept(value, PRIVATE_SCHEME, meaning)


# Containers, findings and what describes them
MEASUREMENT_GROUP: Final = _dcm("125007", "Measurement Group")
IMAGING_MEASUREMENTS: Final = _dcm("126010", "Imaging Measurements")
FINDING: Final = _dcm("121071", "Finding")
FINDING_SITE: Final = _sct("363698007", "Finding Site")
TOPOGRAPHICAL_MODIFIER: Final = _sct("106233006", "Topographical modifier")
TRACKING_IDENTIFIER: Final = _dcm("112039", "Tracking Identifier")
SUMMARY: Final = _dcm("121111", "Summary")
COMMENT: Final = _dcm("121106", "Comment")
SERIES_UID: Final = _dcm("112002", "Series Instance UID")
STUDY_UID: Final = _dcm("110180", "Study Instance UID")
IMAGE_REGION: Final = _dcm("111030", "Image Region")
SOURCE_IMAGE: Final = _dcm("121112", "Source of Measurement")
EVIDENCE_IMAGE: Final = _dcm("121080", "Best illustration of finding")
ALGORITHM_NAME: Final = _dcm("111001", "Algorithm Name")
ALGORITHM_VERSION: Final = _dcm("111003", "Algorithm Version")
ALGORITHM_PARAMETERS: Final = _dcm("111002", "Algorithm Parameters")
LOWER_LIMIT: Final = _own("Lower95", "Lower limit of the 95 % interval")
UPPER_LIMIT: Final = _own("Upper95", "Upper limit of the 95 % interval")
REASON: Final = _own("Reason", "Reason")
NOT_MEASURED: Final = _sct("373121007", "Not Evaluated")
"""Value of a qualitative evaluation in place of a measurement; the reason stands below it."""

IMAGING_REPORT: Final = _loinc("18748-4", "Diagnostic imaging study")
SOFTWARE: Final = _sct("706687001", "Software")

SPINE: Final = _sct("421060004", "Spine")
VERTEBRA: Final = _own("Vertebra", "Vertebral body")
ANY_VERTEBRA: Final = _sct("51282000", "Vertebra")
ANGLE_OF_SPINE: Final = _own("SpineAngle", "Angle between endplates")
BONE_CEMENT: Final = _own("Cement", "Bone cement")
CEMENT_LEAK: Final = _own("CementLeak", "Leak of bone cement")
HARDWARE: Final = _own("Hardware", "Hardware")
METAL: Final = _own("METAL", "Metal")
PHYSICAL_OBJECT: Final = _sct("260787004", "Physical object")
"""Category of cement and metal (PS3.16 CID 7150); bodies are anatomical structures."""
ANATOMICAL_STRUCTURE: Final = _sct("91723000", "Anatomical Structure")
LEAKS_BY_VIEW: Final = _own("LeaksByView", "Leaks suspected in two views")
CINE: Final = _own("Cine", "Cine with most to see")
FURTHER_CINE: Final = _own("FurtherCine", "Further cine")
CHANGE: Final = _own("Change", "Change since the study before")
FURTHER_CHANGE: Final = _own("FurtherChange", "Change since a still earlier study")
LEVEL_CHANGE: Final = _own("LevelChange", "Change of a vertebra")
NEW_FRACTURE: Final = _own("NewFracture", "New fracture")
TIMELINE_STUDY: Final = _own("TimelineStudy", "Study of the patient in time")
TIMELINE_LEVEL: Final = _own("TimelineLevel", "Vertebra at that time")
SERIES: Final = _own("Series", "Series of the study")
MODEL: Final = _own("Model", "Model that took part")

# The study
PHASE: Final = _own("Phase", "Phase of treatment")
PHASE_SOURCE: Final = _own("PhaseSource", "Phase known from")
SERIES_KIND: Final = _own("SeriesKind", "Kind of series")
SERIES_VIEW: Final = _own("View", "View")
SERIES_STATUS: Final = _own("SeriesStatus", "Status of analysis")
SERIES_REASON: Final = _own("StatusReason", "Reason of the status")
CHECKSUM: Final = _own("SHA256", "SHA-256 checksum of the weights")
LIMITATION: Final = _own("Limitation", "Limitation")
WARNING: Final = _own("Warning", "Warning")

# Vertebrae
CENTER: Final = _dcm("111010", "Center")
LEVEL_CONFIDENCE: Final = _own("LevelConfidence", "Confidence of the level")
LEVEL_SOURCE: Final = _own("LevelSource", "Level counted from")
COMPLETE: Final = _own("Complete", "Body completely in view")
TREATED: Final = _own("Treated", "Treated with cement")
HEIGHT: Final = _dcm("121207", "Height")
SIX_POINTS: Final = _own("SixPoints", "Six points of the endplates")
SIX_POINTS_PX: Final = _own("SixPointsPx", "Six points of the endplates in the picture")
WEDGE_RATIO: Final = _own("WedgeRatio", "Wedge ratio, anterior to posterior height")
BICONCAVE_RATIO: Final = _own("BiconcaveRatio", "Biconcave ratio, middle to posterior height")
CRUSH_RATIO: Final = _own("CrushRatio", "Crush ratio, posterior height to reference")
HEIGHT_LOSS: Final = _own("HeightLoss", "Height loss, share of the reference")
REFERENCE_METHOD: Final = _own("HeightReference", "Reference of height loss")
REFERENCE_LEVEL: Final = _own("ReferenceLevel", "Reference level")
WEDGE_ANGLE: Final = _own("WedgeAngle", "Wedge angle")
DEFORMITY: Final = _own("Deformity", "Shape of deformity")
GRADE: Final = _own("GenantGrade", "Genant grade")
LOWEST_GRADE: Final = _own("LowestGrade", "Genant grade, lowest that is plausible")
HIGHEST_GRADE: Final = _own("HighestGrade", "Genant grade, highest that is plausible")
GRADE_PROBABILITIES: Final = tuple(_own(f"Grade{n}Chance", f"Probability of Genant grade {n}") for n in range(4))
VOLUME: Final = _sct("118565006", "Volume")
DENSITY: Final = _dcm("112181", "Mean Attenuation Coefficient")
CLEFT: Final = _own("Cleft", "Intravertebral cleft")
CANAL_COMPROMISE: Final = _own("CanalCompromise", "Canal compromise, share of its depth")
RETROPULSION: Final = _own("Retropulsion", "Retropulsion of the posterior wall")
CONFIDENCE: Final = _own("Confidence", "Confidence")

# Spinal deformity index
DEFORMITY_INDEX: Final = _own("DeformityIndex", "Spinal deformity index, sum of the Genant grades")
LOWEST_INDEX: Final = _own("LowestIndex", "Spinal deformity index, lowest that is plausible")
HIGHEST_INDEX: Final = _own("HighestIndex", "Spinal deformity index, highest that is plausible")
GRADED_LEVELS: Final = _own("GradedLevels", "Levels that were graded")
INDEX_LEVELS: Final = _own("IndexLevels", "Levels of the index")

# Angles
ANGLE_NAME: Final = _own("AngleName", "Name of the angle")
UPPER_ENDPLATE: Final = _own("UpperEndplate", "Upper endplate")
LOWER_ENDPLATE: Final = _own("LowerEndplate", "Lower endplate")
ANGLE: Final = _dcm("110859", "Angle")

# Cement, leaks, hardware
CEMENT_ID: Final = _own("CementID", "Identifier of the cement")
AREA: Final = _sct("42798000", "Area")
AREA_SHARE: Final = _own("AreaShare", "Area, share of the area of the body")
SHARE_OUTSIDE: Final = _own("ShareOutside", "Share of the area outside the body")
VOLUME_INSIDE: Final = _own("VolumeInside", "Volume inside the body")
FILL: Final = _own("Fill", "Share of the body that is filled")
THIRD_FILLED: Final = _own("ThirdFilled", "Share of a third of the body that is filled")
THIRD_OF_CEMENT: Final = _own("ThirdOfCement", "Share of the cement inside that lies in a third of the body")
GAS_BESIDE: Final = _own("GasBeside", "Gas beside the cement")
PATTERN: Final = _own("Pattern", "Pattern of the cement")
ENDPLATE_CONTACT: Final = _own("EndplateContact", "Contact with the endplates")
CROSSES_MIDLINE: Final = _own("CrossesMidline", "Crosses the midline")
COMPARTMENT: Final = _own("Compartment", "Compartment of the leak")
SUSPECTED: Final = _own("Suspected", "Suspected only")
YEOM_TYPE: Final = _own("YeomType", "Type of leak after Yeom")
REACH: Final = _own("Reach", "Farthest distance from the body")
CANAL_DISTANCE: Final = _own("CanalDistance", "Distance from the spinal canal")
CANAL_CONTACT: Final = _own("CanalContact", "Touches the spinal canal")
CANAL_FILL: Final = _own("CanalFill", "Share of the cross-section of the canal that is filled")
DISC_CROSSED: Final = _own("DiscCrossed", "Share of the height of the disc that is crossed")
NEIGHBOUR_CONTACT: Final = _own("NeighbourContact", "Touches the next endplate")
SLICE_NUMBER: Final = _own("SliceNumber", "Slice number")
FRAME_NUMBER: Final = _own("FrameNumber", "Frame number")
EVIDENCE_POINT: Final = _own("EvidencePoint", "Place of the evidence")
HARDWARE_KIND: Final = _own("HardwareKind", "Kind of hardware")
LATERAL_COMPARTMENT: Final = _own("LateralLeak", "Compartment suspected in the lateral view")
AP_COMPARTMENT: Final = _own("APLeak", "Compartment suspected in the AP view")
SEEN_IN_BOTH: Final = _own("SeenInBoth", "Seen in both views")

# Cines
FRAME_RATE: Final = _own("FrameRate", "Frame rate")
FIRST_CEMENT: Final = _own("FirstCement", "First frame with cement that stays")
FIRST_LEAK: Final = _own("FirstLeak", "First frame with a suspected leak")
GROWTH: Final = _own("Growth", "Cement in a frame")

# Change
DAYS: Final = _own("Days", "Days between the studies")
DAYS_SINCE_FIRST: Final = _own("DaysSinceFirst", "Days since the first study")
COMPARED: Final = _own("Compared", "What is compared")
REGISTRATION_ERROR: Final = _own("OverlayError", "Error of the overlay")
HEIGHT_GAIN: Final = _own("HeightGain", "Height gained")
HEIGHT_CHANGE: Final = _own("HeightChange", "Change of height, share of the earlier one")
LOSS_CHANGE: Final = _own("LossChange", "Change of height loss")
WEDGE_CHANGE: Final = _own("WedgeChange", "Change of the wedge angle")
KYPHOSIS_CHANGE: Final = _own("KyphosisChange", "Change of the local kyphosis")
GRADE_BEFORE: Final = _own("GradeBefore", "Genant grade before")
GRADE_AFTER: Final = _own("GradeAfter", "Genant grade after")
RECOLLAPSE: Final = _own("Recollapse", "Recollapse")
CEMENT_CHANGE: Final = _own("CementChange", "Change of the volume of cement")
CEMENT_SHIFT: Final = _own("CementShift", "Distance that the cement moved")
CEMENT_BEYOND: Final = _own("CementBeyond", "Cement outside the earlier outline")
ADJACENT: Final = _own("Adjacent", "Beside a treated vertebra")
CEMENT_VOLUME: Final = _own("CementVolume", "Volume of cement")

# Values
YES: Final = _sct("373066001", "Yes")
NO: Final = _sct("373067005", "No")
NONE: Final = _sct("260413007", "None")
UNKNOWN: Final = _sct("261665006", "Unknown")
SUPERIOR: Final = _sct("264217000", "Superior")
INFERIOR: Final = _sct("261089000", "Inferior")
BY_OPERATOR: Final = _own("Operator", "Operator")
BY_LABEL_MAP: Final = _own("LabelMap", "Label map")
CT: Final = _sct("77477000", "Computed tomography")
RADIOGRAPHY: Final = _sct("363680008", "Radiography")
FLUOROSCOPY: Final = _sct("44491008", "Fluoroscopy")

TRUTH: Final[Mapping[bool, Concept]] = {True: YES, False: NO}
PLACES: Final[Mapping[str, Concept]] = {
    "anterior": _sct("255549009", "Anterior"),
    "left": _sct("7771000", "Left"),
    "middle": _sct("26216008", "Central"),
    "posterior": _sct("255551008", "Posterior"),
    "right": _sct("24028007", "Right"),
}
"""In an order that runs along an endplate both on a lateral and on an AP view."""
PHASES: Final[Mapping[str, Concept]] = {
    "pre": _sct("262068006", "Preoperative"),
    "intra": _sct("277671009", "Intraoperative"),
    "post": _sct("262061000", "Postoperative"),
    "unknown": UNKNOWN,
}
PHASE_SOURCES: Final[Mapping[str, Concept]] = {
    "operator": BY_OPERATOR,
    "cement seen": _own("CementSeen", "Cement seen"),
    "no cement seen": _own("NoCementSeen", "No cement seen"),
    "unknown": UNKNOWN,
}
SERIES_KINDS: Final[Mapping[str, Concept]] = {
    "ct": CT,
    "label map": BY_LABEL_MAP,
    "radiograph": RADIOGRAPHY,
    "cine": FLUOROSCOPY,
    "other": _own("OtherSeries", "Other"),
}
VIEWS: Final[Mapping[str, Concept]] = {
    "lateral": _sct("399067008", "lateral"),
    "ap": _sct("399348003", "antero-posterior"),
    "oblique": _sct("399182000", "oblique"),
}
STATUSES: Final[Mapping[str, Concept]] = {
    "analyzed": _own("Analyzed", "Analysed"),
    "skipped": _own("Skipped", "Skipped"),
    "failed": _own("Failed", "Failed"),
}
LEVEL_SOURCES: Final[Mapping[str, Concept]] = {
    "sacrum": _own("FromSacrum", "Sacrum"),
    "ribs": _own("FromRibs", "Last rib"),
    "sacrum+ribs": _own("FromSacrumRibs", "Sacrum and last rib"),
    "operator": BY_OPERATOR,
    "label map": BY_LABEL_MAP,
    "unknown": UNKNOWN,
}
REFERENCES: Final[Mapping[str, Concept]] = {
    "intact vertebrae": _own("IntactVertebrae", "Intact vertebrae of the same column"),
    "own posterior height": _own("OwnPosterior", "Own posterior height"),
    "none": NONE,
}
DEFORMITIES: Final[Mapping[str, Concept]] = {
    "none": NONE,
    "wedge": _sct("20446002", "Wedge-shaped"),
    "biconcave": _own("Biconcave", "Biconcave"),
    "crush": _own("Crush", "Crush"),
}
GRADES: Final[Mapping[int, Concept]] = {
    0: _sct("17621005", "Normal"),
    1: _sct("255604002", "Mild"),
    2: _sct("6736007", "Moderate"),
    3: _sct("24484000", "Severe"),
}
"""Genant et al., J Bone Miner Res 1993;8:1137-1148: grade 0 normal, 1 mild, 2 moderate, 3 severe."""
PATTERNS: Final[Mapping[str, Concept]] = {
    "compact": _own("Compact", "Compact"),
    "interdigitated": _own("Interdigitated", "Interdigitated"),
}
CONTACTS: Final[Mapping[str, Concept]] = {
    "none": NONE,
    "superior": SUPERIOR,
    "inferior": INFERIOR,
    "both": _own("BothEndplates", "Both"),
}
COMPARTMENTS: Final[Mapping[Compartment, Concept]] = {
    Compartment.DISC_SUPERIOR: _own("DiscAbove", "Disc above"),
    Compartment.DISC_INFERIOR: _own("DiscBelow", "Disc below"),
    Compartment.CANAL: _sct("61853006", "Spinal canal"),
    Compartment.FORAMEN: _own("Foramen", "Intervertebral foramen"),
    Compartment.PREVERTEBRAL: _own("Prevertebral", "Prevertebral tissue"),
    Compartment.PARAVERTEBRAL_LEFT: _own("ParaLeft", "Left paravertebral tissue"),
    Compartment.PARAVERTEBRAL_RIGHT: _own("ParaRight", "Right paravertebral tissue"),
    Compartment.VEIN: _sct("29092000", "Vein"),
    Compartment.NEEDLE_TRACT: _own("NeedleTract", "Needle tract"),
    Compartment.DISTANT: _own("Distant", "Far from the vertebra"),
}
LEAKS: Final[Mapping[Compartment, Concept]] = {
    Compartment.DISC_SUPERIOR: _own("LEAK-DISC-SUP", "Cement leak into the disc above"),
    Compartment.DISC_INFERIOR: _own("LEAK-DISC-INF", "Cement leak into the disc below"),
    Compartment.CANAL: _own("LEAK-CANAL", "Cement leak into the spinal canal"),
    Compartment.FORAMEN: _own("LEAK-FORAMEN", "Cement leak into the foramen"),
    Compartment.PREVERTEBRAL: _own("LEAK-PREVERT", "Cement leak, prevertebral"),
    Compartment.PARAVERTEBRAL_LEFT: _own("LEAK-PARA-LEFT", "Cement leak, left paravertebral"),
    Compartment.PARAVERTEBRAL_RIGHT: _own("LEAK-PARA-RIGHT", "Cement leak, right paravertebral"),
    Compartment.VEIN: _own("LEAK-VEIN", "Cement leak into a vein"),
    Compartment.NEEDLE_TRACT: _own("LEAK-TRACT", "Cement leak into the needle tract"),
    Compartment.DISTANT: _own("LEAK-DISTANT", "Cement, distant"),
}
"""Leaks as segments, whose type has one code for what and where."""
YEOM_TYPES: Final[Mapping[YeomType, Concept]] = {
    YeomType.BASIVERTEBRAL: _own("YeomB", "B, through the basivertebral vein"),
    YeomType.SEGMENTAL: _own("YeomS", "S, through a segmental vein"),
    YeomType.CORTICAL: _own("YeomC", "C, through a cortical defect"),
    YeomType.DISC: _own("YeomD", "D, into the disc"),
}
MODALITIES: Final[Mapping[str, Concept]] = {
    "ct": CT,
    "radiograph": RADIOGRAPHY,
    "mixed": _own("MixedModality", "A film and a CT"),
}
RATIOS: Final[Mapping[str, Concept]] = {"wedge": WEDGE_RATIO, "biconcave": BICONCAVE_RATIO, "crush": CRUSH_RATIO}
ENDPLATE_POINTS: Final[Mapping[tuple[str, str], Concept]] = {
    (plate, place): _own(f"{plate[:3].title()}{place.title()}", f"{plate.title()} endplate, {place}")
    for plate in ("superior", "inferior")
    for place in PLACES
}

_SCT_LEVELS: Final = {
    Level.C1: "14806007", Level.C2: "39976000", Level.C3: "113205007", Level.C4: "5329002", Level.C5: "36978003",
    Level.C6: "36054005", Level.C7: "87391001",
    Level.T1: "64864005", Level.T2: "53733008", Level.T3: "1626008", Level.T4: "73071006", Level.T5: "56401006",
    Level.T6: "45296009", Level.T7: "62487009", Level.T8: "11068009", Level.T9: "82687006", Level.T10: "7610001",
    Level.T11: "12989004", Level.T12: "23215003",
    Level.L1: "66794005", Level.L2: "14293000", Level.L3: "36470004", Level.L4: "11994002", Level.L5: "49668003",
}  # fmt: skip
_COUNTED_LEVELS: Final = 99
LEVELS: Final[Mapping[str, Concept]] = {
    **{
        level.name: _sct(_SCT_LEVELS[level], f"{level.name} vertebra")
        if level in _SCT_LEVELS
        else _own(level.name, f"{level.name} vertebra")
        for level in CRANIAL_TO_CAUDAL
    },
    **{
        f"V{n}": _own(f"V{n}", f"V{n}: vertebra {n} from the top, level unknown") for n in range(1, _COUNTED_LEVELS + 1)
    },
}
"""Levels as reports name them; variants (T13, L6), S1 and counted ones (V1, V2, ...) have private codes."""

UNITS: Final[Mapping[str, Concept]] = {
    unit: Concept(unit, "UCUM", meaning)
    for unit, meaning in {
        "mm": "millimeter",
        "mm2": "square millimeter",
        "mL": "milliliter",
        "deg": "degree",
        "[hnsf'U]": "Hounsfield unit",
        "1": "no units",
        "d": "day",
        "/s": "per second",
    }.items()
}
