"""Numbers of label maps brought to those of ``labels_<n>.nii.gz``: by a scheme, or by the names of structures."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, Protocol

import numpy as np

from vertecast.core.anatomy import (
    CEMENT_INSIDE_LABEL,
    CEMENT_LEAKED_LABEL,
    METAL_LABEL,
    POSTERIOR_LABEL_OFFSET,
    UNKNOWN_LEVEL_LABEL_START,
    Level,
)
from vertecast.core.errors import UnreadableError
from vertecast.core.images import Mask
from vertecast.lab.evaluation.metrics import bounding_box

MOST: Final = 256
_LEVEL: Final = re.compile(r"(?:^|[^a-z0-9])(c[1-7]|t1[0-3]|t[1-9]|l[1-6]|v[1-9]\d?)(?:$|[^a-z0-9])")
_WORDS: Final[Mapping[str, re.Pattern[str]]] = {
    "metal": re.compile("metal|implant|hardware|screw"),
    "leak": re.compile("leak|extravas"),
    "cement": re.compile("cement|pmma"),
    "sacrum": re.compile(r"sacrum|(?:^|[^a-z0-9])s1(?:$|[^a-z0-9])"),
    "posterior": re.compile("posterior|arch|process|lamina|pedicle"),
}


class Scheme(Protocol):
    """What the numbers of a label map mean; `vertecast.segmentation.label_map.schemes.LabelScheme` is one."""

    @property
    def name(self) -> str: ...
    @property
    def levels(self) -> Mapping[int, str]: ...
    @property
    def posterior(self) -> Mapping[int, str]: ...
    @property
    def sacrum(self) -> Collection[int]: ...
    @property
    def cement(self) -> Collection[int]: ...
    @property
    def leaked_cement(self) -> Collection[int]: ...
    @property
    def metal(self) -> Collection[int]: ...
    @property
    def ignored(self) -> Collection[int]: ...


def level_number(name: str) -> int:
    """Number of a body by the name of its level: 20 for "L1", 43 for "V3"."""
    return UNKNOWN_LEVEL_LABEL_START + int(name[1:]) if name.startswith("V") else int(Level[name])


def numbers_of_scheme(scheme: Scheme) -> dict[int, int]:
    """Our number of every number of a scheme; 0 for what it ignores."""
    numbers = dict.fromkeys(scheme.ignored, 0)
    numbers |= {number: level_number(name) for number, name in scheme.levels.items()}
    numbers |= {number: level_number(name) + POSTERIOR_LABEL_OFFSET for number, name in scheme.posterior.items()}
    for group, own in (
        (scheme.sacrum, int(Level.S1)), (scheme.cement, CEMENT_INSIDE_LABEL),
        (scheme.leaked_cement, CEMENT_LEAKED_LABEL), (scheme.metal, METAL_LABEL),
    ):  # fmt: skip
        numbers |= dict.fromkeys(group, own)
    return numbers


def number_of_name(name: str) -> int:
    """Our number of a structure by its name ("vertebrae_L1", "L1 vertebral body", "cement"); 0 for any other."""
    low = name.lower()
    said = {word for word, pattern in _WORDS.items() if pattern.search(low)}
    if "metal" in said:
        return METAL_LABEL
    if "leak" in said:
        return CEMENT_LEAKED_LABEL
    if "cement" in said:
        return CEMENT_INSIDE_LABEL
    level = _LEVEL.search(low.replace("_", " "))
    if level is not None:
        return level_number(level[1].upper()) + (POSTERIOR_LABEL_OFFSET if "posterior" in said else 0)
    return int(Level.S1) if "sacrum" in said else 0


def recoded(mask: Mask, numbers: Mapping[int, int], source: object) -> Mask:
    """The map in our numbers.

    Args:
        mask: A label map.
        numbers: Our number by the map's.
        source: Where it comes from, for the message.

    Raises:
        UnreadableError: A number of the map has no meaning.
    """
    table = np.zeros(MOST, np.uint8)
    for number, own in numbers.items():
        if 0 < number < MOST:
            table[number] = own
    box = bounding_box(mask.labels)
    if box is None:
        return mask
    part = mask.labels[box]
    present = np.zeros(MOST, dtype=bool)
    present[part] = True
    unknown = sorted(set(np.flatnonzero(present).tolist()) - set(numbers) - {0})
    if unknown:
        some = ", ".join(map(str, unknown[:8]))
        raise UnreadableError(
            f"{source}: holds numbers without a meaning ({some}); give --truth-labels or --labels that names them"
        )
    labels = np.zeros(mask.labels.shape, np.uint8)
    labels[box] = table[part]
    return Mask(labels=labels, lps_from_index=mask.lps_from_index)


def whole_vertebrae(mask: Mask) -> Mask:
    """Bodies and posterior elements of one level joined."""
    table = np.arange(MOST)
    table[POSTERIOR_LABEL_OFFSET + 1 : CEMENT_INSIDE_LABEL] -= POSTERIOR_LABEL_OFFSET
    return Mask(labels=table.astype(np.uint8)[mask.labels], lps_from_index=mask.lps_from_index)
