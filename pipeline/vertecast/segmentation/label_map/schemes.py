"""What the numbers of a label map mean: those of VerSe, of TotalSegmentator, of our own maps, or of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from vertecast.core.anatomy import (
    CEMENT_INSIDE_LABEL,
    CEMENT_LEAKED_LABEL,
    CRANIAL_TO_CAUDAL,
    METAL_LABEL,
    POSTERIOR_LABEL_OFFSET,
    UNKNOWN_LEVEL_LABEL_START,
    Level,
)
from vertecast.core.errors import ConfigurationError

MOST_UNKNOWN_LEVELS: Final = 30
"""V1 to V30: a spine has 24 vertebrae above the sacrum, 26 with T13 and L6."""


def _level_name(name: Any) -> Any:
    """Upper case; "V3" is the third vertebra from the top where the level is unknown."""
    if not isinstance(name, str):
        return name
    upper = name.upper()
    if upper == "S1" or not (upper in Level.__members__ or re.fullmatch(r"V[1-9]\d?", upper)):
        raise ValueError(f"{name!r} is no level of a vertebra; write for example L5, T12 or V1")
    return upper


LevelName = Annotated[str, BeforeValidator(_level_name)]


class LabelScheme(BaseModel):
    """The meaning of every number but 0, which is background.

    Attributes:
        name: For the report.
        levels: Level of each vertebra's number; of its body's where ``posterior`` has numbers of its own.
        posterior: Level of each number of posterior elements.
        sacrum: Numbers of the sacrum.
        cement: Numbers of cement inside a body.
        leaked_cement: Numbers of cement outside.
        metal: Numbers of implants.
        ignored: Numbers of what is not used; a number that stands nowhere is refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "own numbers"
    levels: dict[int, LevelName]
    posterior: dict[int, LevelName] = {}
    sacrum: frozenset[int] = frozenset()
    cement: frozenset[int] = frozenset()
    leaked_cement: frozenset[int] = frozenset()
    metal: frozenset[int] = frozenset()
    ignored: frozenset[int] = frozenset()

    @property
    def known(self) -> frozenset[int]:
        """All numbers that have a meaning."""
        groups = (self.sacrum, self.cement, self.leaked_cement, self.metal, self.ignored)
        return frozenset(self.levels) | frozenset(self.posterior) | frozenset().union(*groups)


def _verse() -> LabelScheme:
    """Sekuboyina et al., VerSe 2020, doi 10.1016/j.media.2021.102166; 26 is the sacrum there, 27 the coccyx."""
    levels = {level.value: level.name for level in Level if level is not Level.S1}
    return LabelScheme(name="verse", levels=levels, sacrum=frozenset({26}), ignored=frozenset({27}))


def _totalsegmentator() -> LabelScheme:
    """Task "total" of version 2: 25 sacrum, 26 S1, then from 27, L5, upwards to 50, C1; the rest are other organs."""
    ordinary = [level for level in CRANIAL_TO_CAUDAL if level not in (Level.T13, Level.L6, Level.S1)]
    levels = {27 + n: level.name for n, level in enumerate(reversed(ordinary))}
    sacrum = frozenset({25, 26})
    others = frozenset(range(1, 256)) - set(levels) - sacrum
    return LabelScheme(name="totalsegmentator", levels=levels, sacrum=sacrum, ignored=others)


def _vertecast() -> LabelScheme:
    """The numbers of ``labels_<n>.nii.gz``."""
    bodies = {level.value: level.name for level in Level if level is not Level.S1}
    bodies |= {UNKNOWN_LEVEL_LABEL_START + n: f"V{n}" for n in range(1, MOST_UNKNOWN_LEVELS + 1)}
    return LabelScheme(
        name="vertecast",
        levels=bodies,
        posterior={number + POSTERIOR_LABEL_OFFSET: name for number, name in bodies.items()},
        sacrum=frozenset({Level.S1.value, Level.S1.value + POSTERIOR_LABEL_OFFSET}),
        cement=frozenset({CEMENT_INSIDE_LABEL}),
        leaked_cement=frozenset({CEMENT_LEAKED_LABEL}),
        metal=frozenset({METAL_LABEL}),
    )


def with_names(scheme: LabelScheme, names: Mapping[int, str]) -> LabelScheme:
    """The scheme, its numbers overruled by what the map itself calls them: "L1", "vertebrae_T12", "sacrum".

    A number of another name is no vertebra; what else the scheme says of it holds. Where the map names no level, it is
    the given scheme.

    Raises:
        ConfigurationError: a name holds a level and more, so that it may mean something else.
    """
    levels: dict[int, LevelName] = {}
    sacrum = set()
    for number, name in names.items():
        found = re.fullmatch(r"(?:vertebrae?[\s_-]*)?([ctl]\d{1,2})", name.strip(), re.IGNORECASE)
        if found and found[1].upper() in Level.__members__:
            levels[number] = found[1].upper()
        elif re.fullmatch(r"sacrum|(?:vertebrae?[\s_-]*)?s1", name.strip(), re.IGNORECASE):
            sacrum.add(number)
        elif re.search(r"(?<![a-z0-9])[ctl]\d{1,2}(?!\d)", name, re.IGNORECASE):
            raise ConfigurationError(
                f"the segment {name!r} of the label map is no plain level; call it L1, or give --labels"
            )
    if not levels:
        return scheme
    others = {number for number in names if number not in levels and number not in sacrum}
    meaning = scheme.sacrum | scheme.cement | scheme.leaked_cement | scheme.metal | frozenset(scheme.posterior)
    return scheme.model_copy(
        update={
            "name": f"{scheme.name}, names of the file",
            "levels": {number: name for number, name in scheme.levels.items() if number not in names} | levels,
            "posterior": {number: name for number, name in scheme.posterior.items() if number not in levels},
            "sacrum": frozenset((scheme.sacrum - frozenset(levels)) | sacrum),
            "ignored": scheme.ignored | (others - meaning),
        }
    )


BUILT_IN: Final = {"verse": _verse, "totalsegmentator": _totalsegmentator, "vertecast": _vertecast}


def label_scheme(name: str) -> LabelScheme:
    """The scheme of a name in `BUILT_IN`, or of a YAML file with the keys of `LabelScheme`.

    Raises:
        ConfigurationError: no such name or file, or the file is wrong.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]()
    path = Path(name)
    if not path.is_file():
        raise ConfigurationError(f"--labels {name}: neither {', '.join(BUILT_IN)} nor a file")
    try:
        return LabelScheme.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    except ValidationError as error:
        complaints = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigurationError(f"{path}: {complaints}; see docs/label_maps.md") from error
