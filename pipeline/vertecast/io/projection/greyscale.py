"""Grey values of projection images, and which end of them is bone.

The VOI LUT and window are not applied: they cut off the values outside the window for a viewer, cement and metal among
them. Only the direction of a VOI LUT counts, where one turns the picture over.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut

from vertecast.io.projection.header import FrameHeader

FLUOROSCOPY: Final = ("XA", "RF")

FIRM_OVERRULED: Final = 0.40
"""Score of the picture from which a header that names the polarity is overruled. On 59 real radiographs of the spine
the score was right in all but one (-0.08), and on two real cines in every frame; on 24 simulated lateral films whose
field ends close beside the spine, which then lies off its middle, it was wrong by up to 0.37."""

WEAK_OVERRULED: Final = 0.15
"""The same, for a polarity that is only the custom of the modality."""

WORKING_PX: Final = 256
RIM, SIDE, CENTRE = 0.04, 0.20, 0.20
"""The sides are compared from 4 to 20 % of the width of the field, the centre is its middle 20 %."""

MIDDLE_ROWS: Final = (0.15, 0.85)
"""Rows of the field that are compared: head, shoulders and hips lie beyond."""

SATURATED_SHARE: Final = 1e-4
"""So many pixels at the largest value are the end of the scale, not its highest pixel."""

Plane = npt.NDArray[np.float32]
Valid = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Polarity:
    """Which end of the values is bone.

    Attributes:
        bone_is_high: Bone has higher values than soft tissue.
        is_firm: The header names it; else it is the custom of the modality.
        source: What it rests on.
        notes: Contradictions in the header.
    """

    bone_is_high: bool
    is_firm: bool
    source: str
    notes: tuple[str, ...] = ()


def grey_values(stored: npt.NDArray[Any], header: FrameHeader) -> tuple[Plane, tuple[str, ...]]:
    """Values after the modality LUT or rescale (PS3.3 C.11.1), float32 (rows, columns), and warnings.

    Raises:
        One of `sources.PARSE_ERRORS`: the LUT is damaged.
    """
    if stored.dtype.kind == "f":  # the grey of a colour file has no modality LUT
        return stored.astype(np.float32), ()
    lut = header.value("ModalityLUTSequence")
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    values: npt.NDArray[Any] = stored
    notes: tuple[str, ...] = ()
    if lut:
        holder = Dataset()
        holder.ModalityLUTSequence = lut
        holder.set_original_encoding(*header.dataset.original_encoding)
        values = apply_modality_lut(stored, holder)
    elif slope is not None and slope != 0:
        values = stored * np.float32(slope) + np.float32(intercept or 0.0)
    elif slope == 0:
        notes = ("RescaleSlope of 0 would leave no picture and was ignored",)
    values = values.astype(np.float32)
    if header.text("PresentationIntentType") == "FOR PROCESSING" and header.text("PixelIntensityRelationship") == "LIN":
        # Raw detector values: thick parts differ by their logarithm, as they do in every picture made for viewing.
        values = np.log1p(np.maximum(values - min(0.0, float(values.min())), 0.0))
    return values, notes


def header_polarity(header: FrameHeader, modality: str) -> Polarity:
    """Which end of the values (after the modality LUT) is bone, as far as the header tells.

    PixelIntensityRelationshipSign and PixelIntensityRelationship LIN or LOG speak of the stored values (PS3.3
    C.8.11.3.1.2, C.8.7.1.1.2), PhotometricInterpretation, PresentationLUTShape and VOI LUT of what is shown.
    """
    shown_high_is_bright = _shown_high_is_bright(header)
    # Radiographs are shown with bright bone, fluoroscopy with dark bone.
    custom = shown_high_is_bright if modality not in FLUOROSCOPY else not shown_high_is_bright
    sign, relation = header.number("PixelIntensityRelationshipSign"), header.text("PixelIntensityRelationship")
    rising = _modality_lut_rises(header)
    if sign in (1.0, -1.0):
        physical, source = (sign < 0) == rising, f"PixelIntensityRelationshipSign {sign:+.0f}"
    elif relation in ("LIN", "LOG"):
        physical, source = not rising, f"PixelIntensityRelationship {relation}"
    else:
        firm = modality not in FLUOROSCOPY
        return Polarity(bone_is_high=custom, is_firm=firm, source=f"the way {modality or 'such'} images are shown")
    if modality in FLUOROSCOPY or physical == custom:
        return Polarity(bone_is_high=physical, is_firm=True, source=source)
    # Writers turn radiographs over for viewing and leave the sign as it was: what is shown is the better guess.
    note = f"{source} contradicts PhotometricInterpretation; bone is taken to be bright as shown"
    return Polarity(bone_is_high=custom, is_firm=False, source="PhotometricInterpretation", notes=(note,))


def _shown_high_is_bright(header: FrameHeader) -> bool:
    # MONOCHROME1 and INVERSE say the same thing once (PS3.3 C.8.11.3): they do not cancel.
    inverted = header.text("PhotometricInterpretation") == "MONOCHROME1"
    inverted = inverted or header.text("PresentationLUTShape") == "INVERSE"
    return inverted != _lut_rises(header.value("VOILUTSequence"))


def _modality_lut_rises(header: FrameHeader) -> bool:
    lut = header.value("ModalityLUTSequence")
    return _lut_rises(lut) if lut else (header.number("RescaleSlope") or 1.0) > 0


def _lut_rises(sequence: Any) -> bool:
    """True where a LUT has larger values at its end than at its start, and where there is none."""
    data = sequence[0].get("LUTData") if sequence else None
    if data is None:
        return True
    values = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.atleast_1d(np.asarray(data))
    part = max(1, len(values) // 4)
    return len(values) < 2 or float(values[-part:].mean()) >= float(values[:part].mean())


def picture_score(values: Plane, valid: Valid) -> float:
    """How much the picture itself says that high values are bone: from -1 to 1, 0 where it says nothing.

    The body is thickest, and the spine lies, near the middle of the field; beside the body the beam reaches the
    detector unhindered. So the middle of the field is compared with both of its sides, in ranks of grey values.

    Args:
        values: Grey values (rows, columns) of any polarity.
        valid: The collimated field (rows, columns): shutters are neither tissue nor air.
    """
    step = max(1, -(-max(values.shape) // WORKING_PX))
    values, valid = values[::step, ::step], valid[::step, ::step]
    if valid.sum() < 100:
        return 0.0
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    inside = np.sort(values[valid])
    # Half of those that are equal: a flat picture has no high and no low half.
    ranks = (np.searchsorted(inside, values, "left") + np.searchsorted(inside, values, "right")) / (2 * inside.size)
    ranks = np.where(valid, ranks, np.nan)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = ranks.shape
    band = ranks[int(MIDDLE_ROWS[0] * height) : int(MIDDLE_ROWS[1] * height) + 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns without a valid pixel
        profile = np.nanmedian(band, axis=0)

        def mean(start: float, stop: float) -> float:
            return float(np.nanmean(profile[int(start * width) : max(int(stop * width), int(start * width) + 1)]))

        middle = mean(0.5 - CENTRE / 2, 0.5 + CENTRE / 2)
        score = middle - (mean(RIM, SIDE) + mean(1 - SIDE, 1 - RIM)) / 2
    return score if np.isfinite(score) else 0.0


def decide(claim: Polarity, score: float) -> tuple[bool, tuple[str, ...]]:
    """Whether high values are bone, from the header and the picture's score; and warnings."""
    if (score > 0) == claim.bone_is_high or abs(score) < (FIRM_OVERRULED if claim.is_firm else WEAK_OVERRULED):
        return claim.bone_is_high, claim.notes
    seen = "bright" if score > 0 else "dark"
    note = f"the picture shows bone {seen} in its values although {claim.source} says otherwise"
    return score > 0, (*claim.notes, f"{note}; the picture was followed")


def saturated(intensity: Plane, valid: Valid, ceiling: float | None) -> Valid:
    """Pixels at the bright end (rows, columns): at the largest value the file can hold, or piled up at its maximum.

    Args:
        intensity: Bone is bright.
        valid: The collimated field.
        ceiling: Intensity of the largest value that the file can hold, None where unknown.
    """
    if not valid.any():
        return np.zeros(intensity.shape, bool)
    top = float(intensity[valid].max())
    full = valid & (intensity >= top)
    is_end = (ceiling is not None and top >= ceiling) or full.sum() >= max(20, SATURATED_SHARE * valid.sum())
    return full if is_end else np.zeros(intensity.shape, bool)
