"""Letters and plates burned into a picture: side markers, "STANDING", a name of the exposure.

They are told from cement, metal and bone by what only drawing gives, all of it at once: one extreme value of the
picture, edges as hard as the pixels, and the shape of print, which is thin strokes of one height side by side on a
line, or a box with straight upright sides and letters left out of it. A blob, a needle, a screw or a rod fails the
shape even where the file has clipped it to that value and its edges are hard. What is in doubt stays in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
Valid = npt.NDArray[np.bool_]
Box = tuple[slice, slice]

WORKING_PIXELS: Final = 1_100_000
"""Pixels of the thinned-out picture on which pieces are looked for."""

TOLERANCE: Final = 0.04
"""Print lies within this share of the grey scale of its end; lossy compression moves it so far."""

LEVELS: Final = (TOLERANCE, 0.25)
"""Pieces end where the picture falls below these shares of the grey scale: print over bright bone is cut out by the
first, fine print whose rims were smoothed when the picture was made smaller by the second."""

EXTREME_SHARE: Final = 0.2
"""Share of a piece that lies within the tolerance."""

LETTER_PX: Final = 7
"""Lowest letter in the thinned-out picture; a lower one cannot be told from noise."""

LETTER_SHARE: Final = 0.06
"""Highest letter, as a share of the picture's longest side: 2.5 cm on a film of 43 cm."""

LETTER_WIDTH: Final = 1.5
"""Widest letter over its height; mirrored film is squeezed, and a W is wide."""

STROKE: Final = 0.36
"""Thickest stroke over the height of its letter. Bold print has 0.25; a screw, a bead or a blob of cement has more."""

BAR: Final = 0.75
"""A piece that fills more of the box along its own axes is a bar and no letter: a clip, a pin, a bit of a needle."""

SAME_HEIGHT: Final = 0.6
"""Height of the lower of two neighbouring letters over that of the higher one: small letters beside capitals."""

ON_A_LINE: Final = 0.15
LETTER_GAP: Final = 0.6
"""Neighbouring letters stand on one line, and apart, within these shares of their height."""

PLATE_SHARES: Final = (0.10, 0.30)
"""Highest and widest plate, as shares of the picture's longest side."""

PLATE_SIDE: Final = 0.85
"""Share of each side of its box that a plate fills: straight and upright, as no implant in a patient is."""

LEFT_OUT: Final = (0.06, 0.60)
"""Share of its box that the letters of a plate leave out."""

EDGE_PX: Final = (3, 8)
EDGE_REFERENCE_PX: Final = 1024
"""Distances over an edge, for pictures up to this longest side; larger ones may have been enlarged, print and all."""

EDGE_SHARE: Final = 0.65
EDGE_STEP: Final = 0.15
HARD_SHARE: Final = 0.75
"""On this share of a hard edge the picture falls within the first distance by the first share of what it falls within
the second, and there by the second share of the grey scale beyond the level of the piece. Bone is blurred."""

FLAT: Final = 0.03
"""A surrounding that spans at most this share of the grey scale (5th to 95th percentile) shows no patient."""

MARGIN: Final = 0.25
"""Room around letters that goes with them, as a share of their height: full stops and blurred rims."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    """A piece that may be a letter; rows and columns of the thinned-out picture."""

    box: Box
    is_bar: bool

    @property
    def height(self) -> int:
        return int(self.box[0].stop - self.box[0].start)


def find_markers(picture: Plane) -> Valid:
    """Where letters and plates are burned into a picture.

    Args:
        picture: Grey values (rows, columns) of any polarity.

    Returns:
        True in the boxes of the markers (rows, columns).
    """
    marked = np.zeros(picture.shape, bool)
    low, high = float(picture.min()), float(picture.max())
    if not np.isfinite([low, high]).all() or not high > low:
        return marked
    step = int(np.ceil(np.sqrt(picture.size / WORKING_PIXELS)))
    for sign, end in ((1.0, high), (-1.0, -low)):
        scaled = _Scaled(picture=picture, sign=sign / (high - low), end=end / (high - low), step=step)
        for box in _boxes(scaled):
            marked[tuple(slice(max(side.start, 0) * step, side.stop * step) for side in box)] = True
    return marked


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scaled:
    """The picture seen from one end of its grey scale, which is 0 there and falls to -1."""

    picture: Plane
    sign: float
    end: float
    step: int

    def thin(self) -> Plane:
        """Every ``step``-th pixel."""
        return self.at((slice(None, None, self.step), slice(None, None, self.step)))

    def at(self, where: Box) -> Plane:
        """Part of the full picture."""
        return np.asarray(self.picture[where] * np.float32(self.sign) - np.float32(self.end), dtype=np.float32)

    def around(self, box: Box, margin: int) -> Plane:
        """The full picture in a box of the thinned-out one, and ``margin`` pixels around it."""
        rows, columns = (slice(max(side.start * self.step - margin, 0), side.stop * self.step + margin) for side in box)
        return self.at((rows, columns))


def _boxes(scaled: _Scaled) -> list[Box]:
    """Boxes of the markers at one end of the grey scale, in the thinned-out picture."""
    from scipy import ndimage

    thin = scaled.thin()
    longest = max(thin.shape)
    found: list[Box] = []
    for level in LEVELS:
        pieces, _ = ndimage.label(thin >= -level, np.ones((3, 3)))
        letters: list[_Letter] = []
        for number, box in enumerate(ndimage.find_objects(pieces), start=1):
            height, width = (side.stop - side.start for side in box)
            if height < LETTER_PX or height > PLATE_SHARES[0] * longest or width > PLATE_SHARES[1] * longest:
                continue
            piece = pieces[box] == number
            if (thin[box][piece] >= -TOLERANCE).mean() < EXTREME_SHARE:
                continue
            is_plate = _is_plate(piece)
            is_small = height <= LETTER_SHARE * longest and width <= LETTER_WIDTH * height
            if not (is_plate or (is_small and _is_stroke(piece))) or not _is_hard(scaled, box, level):
                continue
            if is_plate:
                found.append(box)
            else:
                letters.append(_Letter(box=box, is_bar=_is_bar(piece)))
        found += [_around(line) for line in _lines(letters) if _is_print(line, thin)]
    return found


def _is_plate(piece: Valid) -> bool:
    """True for a box with four straight, upright sides and letters left out of it."""
    height, width = piece.shape
    sides = (piece[0], piece[-1], piece[:, 0], piece[:, -1])
    left_out = 1.0 - float(piece.mean())
    is_framed = min(float(side.mean()) for side in sides) >= PLATE_SIDE
    return is_framed and width >= height / 2 and LEFT_OUT[0] <= left_out <= LEFT_OUT[1]


def _is_stroke(piece: Valid) -> bool:
    """True where a piece is thin against its height."""
    from scipy import ndimage

    depth = int(ndimage.distance_transform_cdt(np.pad(piece, 1), "chessboard").max())
    return bool(2 * depth - 1 <= max(STROKE * piece.shape[0], 2))


def _is_bar(piece: Valid) -> bool:
    """True where a piece fills the box along its own axes."""
    points = np.argwhere(piece).astype(np.float64)
    points -= points.mean(axis=0)
    along = points @ np.linalg.eigh(points.T @ points)[1]
    return bool(len(points) > BAR * np.prod(np.ptp(along, axis=0) + 1))


def _is_hard(scaled: _Scaled, box: Box, level: float) -> bool:
    """True where the picture falls over the edge of a piece within a few pixels, in the full picture."""
    from scipy import ndimage

    near, far = (round(reach * max(max(scaled.picture.shape) / EDGE_REFERENCE_PX, 1)) for reach in EDGE_PX)
    part = scaled.around(box, far)
    top = part >= -level
    edge = top & ~ndimage.binary_erosion(top, border_value=1)
    if not edge.any():
        return False
    fall_near, fall_far = (-ndimage.minimum_filter(part, 2 * reach + 1)[edge] for reach in (near, far))
    is_step = (fall_near >= EDGE_SHARE * fall_far) & (fall_far >= level + EDGE_STEP)
    return float(is_step.mean()) >= HARD_SHARE


def _lines(letters: list[_Letter]) -> list[list[_Letter]]:
    """Letters that stand side by side on a line."""
    lines: list[list[_Letter]] = []
    for letter in sorted(letters, key=lambda one: one.box[1].start):
        before = next((line for line in lines if _are_neighbours(line[-1], letter)), None)
        if before is None:
            lines.append([letter])
        else:
            before.append(letter)
    return lines


def _are_neighbours(left: _Letter, right: _Letter) -> bool:
    height = max(left.height, right.height)
    gap = right.box[1].start - left.box[1].stop
    is_level = abs(left.box[0].stop - right.box[0].stop) <= max(ON_A_LINE * height, 1)
    return is_level and min(left.height, right.height) >= SAME_HEIGHT * height and -height < gap <= LETTER_GAP * height


def _is_print(line: list[_Letter], thin: Plane) -> bool:
    """Two letters and more, or a single one where no patient is; bars alone are none."""
    if all(letter.is_bar for letter in line):
        return False
    return len(line) > 1 or _is_flat_around(line[0], thin)


def _is_flat_around(letter: _Letter, thin: Plane) -> bool:
    """True where a letter stands on an even ground."""
    rows, columns = _around([letter], margin=0.5)
    ground: Any = thin[max(rows.start, 0) : rows.stop, max(columns.start, 0) : columns.stop]
    ground = ground[ground < -2 * TOLERANCE]
    if not ground.size:
        return False
    spread = np.percentile(ground, [25, 5]) @ [1, -1], np.percentile(ground, [75, 25]) @ [1, -1]
    return bool(max(spread) <= FLAT)


def _around(line: list[_Letter], margin: float = MARGIN) -> Box:
    """The box of a line and a margin; it may begin before the picture."""
    rows, columns = zip(*(letter.box for letter in line), strict=True)
    room = max(int(np.ceil(margin * max(letter.height for letter in line))), 1)
    return (
        slice(min(side.start for side in rows) - room, max(side.stop for side in rows) + room),
        slice(min(side.start for side in columns) - room, max(side.stop for side in columns) + room),
    )
