"""The result of a study without identity, made before anything is written: no writer knows of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, cast

import numpy as np
from pydicom import Dataset

from vertecast.core.images import DicomSource
from vertecast.core.study_result import Film, StudyResult
from vertecast.io.discover import StudyFiles
from vertecast.io.identity.deidentify import clean_header
from vertecast.io.identity.pseudonyms import Pseudonyms

UID_FIELDS: Final = ("_uid", "pre_study")
"""Fields whose names end so hold a UID, or the name of a file in its place."""

A_FILE: Final = "a file of the study"
"""In place of a path in a reason: paths and names of files are often those of patients."""

_DOTTED: Final = re.compile(r"\d+(?:\.\d+)+")

PIXELS_LEFT_OUT: Final = (
    "Pictures show outlines on black: the header of a film does not say that no text is burned into its pixels "
    "(BurnedInAnnotation NO), so they were left out."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deidentification:
    """How one study is de-identified.

    Attributes:
        pseudonyms: What takes the place of UIDs, ID and dates.
        patient: Stands for the patient: the same for all studies of one.
    """

    pseudonyms: Pseudonyms
    patient: str

    def text(self, text: str, study: StudyFiles) -> str:
        """A reason or a warning without the UIDs and the paths of a study."""
        return self._texts(study)(text)

    def result(self, result: StudyResult, study: StudyFiles) -> StudyResult:
        """A result with other UIDs, headers without identity, and no pixels of films that may carry text.

        Args:
            result: The study, not yet compared with earlier ones: those carry their new UIDs already.
            study: Its files, whose names and UIDs may stand in reasons.
        """
        films = [_without_unsafe_pixels(film) for film in result.films]
        if any(new is not old for new, old in zip(films, result.films, strict=True)):
            report = replace(result.report, warnings=(*result.report.warnings, PIXELS_LEFT_OUT))
            result = replace(result, report=report, films=tuple(films))
        walk = _Walk(uid=self.pseudonyms.uid, text=self._texts(study), headers=self._headers)
        return cast(StudyResult, walk.moved(result))

    def _texts(self, study: StudyFiles) -> Callable[[str], str]:
        # A reason begins with the file that it is about; elsewhere a short name may be a word of the text.
        names = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(set(_file_names(study)), reverse=True)))}):")
        uids = _uids(study)

        def clean(text: str) -> str:
            text = names.sub(f"{A_FILE}:", text) if ":" in text else text
            return _DOTTED.sub(lambda found: self.pseudonyms.uid(found[0]) if found[0] in uids else found[0], text)

        return clean

    def _headers(self, read: Callable[[], tuple[Any, ...]]) -> tuple[Dataset, ...]:
        return tuple(clean_header(header, self.pseudonyms, self.patient) for header in read())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """Goes through everything that a result holds. What was one object stays one: a filmstrip names its cine so."""

    uid: Callable[[str], str]
    text: Callable[[str], str]
    headers: Callable[[Callable[[], tuple[Any, ...]]], tuple[Dataset, ...]]
    seen: dict[int, Any] = field(default_factory=dict)

    def moved(self, value: Any, name: str = "") -> Any:
        """The same value with other UIDs."""
        if type(value) is str:  # not an enumeration
            return (self.uid if name.endswith(UID_FIELDS) else self.text)(value) if value else value
        if isinstance(value, tuple):
            return tuple(self.moved(one, name) for one in value)
        if isinstance(value, Mapping):
            return {key: self.moved(one, name) for key, one in value.items()}
        if isinstance(value, DicomSource):
            return replace(value, read=partial(self.headers, value.read))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            if id(value) not in self.seen:
                self.seen[id(value)] = self._moved_object(value)
            return self.seen[id(value)]
        return value

    def _moved_object(self, value: Any) -> Any:
        old = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        new = {name: self.moved(one, name) for name, one in old.items()}
        changed = {name: one for name, one in new.items() if one is not old[name]}
        return replace(value, **changed) if changed else value


def _without_unsafe_pixels(film: Film) -> Film:
    """A film on black unless its header says that nothing is burned into it; a picture file has none to say so."""
    headers = () if film.source is None else film.source.read()
    if headers and all(header.get("BurnedInAnnotation") == "NO" for header in headers):
        return film
    black = replace(film.radiograph, intensity=np.zeros_like(film.radiograph.intensity))
    strip = film.strip
    if strip is not None:
        strip = replace(strip, frames=tuple(replace(one, grey=np.zeros_like(one.grey)) for one in strip.frames))
    return replace(film, radiograph=black, strip=strip)


def _uids(study: StudyFiles) -> set[str]:
    """Every UID of a study that a reason may name."""
    planes = [plane for series in study.series for plane in series.planes]
    return {
        study.study_instance_uid,
        *(series.series_instance_uid for series in study.series),
        *(refused.series_instance_uid for refused in study.rejected),
        *(plane.sop_instance_uid for plane in planes),
        *(plane.frame_of_reference_uid for plane in planes),
    } - {""}


def _file_names(study: StudyFiles) -> Iterator[str]:
    """Every path of a study, and every name of a file: they stand in reasons as a whole."""
    yield study.source
    for series in study.series:
        files = [plane.source for plane in series.planes]
        if series.picture_file is not None:
            files.append(series.picture_file)
        for file in files:
            yield from (str(file), str(file.path), file.name)
            if file.member:
                yield file.member
        if series.volume_file is not None:
            yield from (str(series.volume_file), series.volume_file.name)
