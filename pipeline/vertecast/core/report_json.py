"""``report.json``: one study as plain JSON, its schema, and the way back to a `StudyReport`.

A quantity is ``{"value", "unit", "interval95"}``; what could not be measured is ``{"not_measured": reason}``. Every
point is ``[x, y, z]`` in LPS mm or, under a key with ``_px``, ``[column, row]``. The schema is shipped beside this
module; a key that is added raises its version.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from importlib import resources
from typing import Any, Final

from vertecast import __version__
from vertecast.core.errors import OutputError, UnsupportedError
from vertecast.core.results import NotMeasured, StudyReport

SCHEMA_VERSION: Final = "1.5"
DISCLAIMER: Final = "Research use only. Not a medical device."
"""First of the limits of every report."""

_JSON_NAMES: Final = {"slice_number": "slice", "frame_number": "frame", "point_lps_mm": "point"}
"""Fields of the results whose key in the document is another."""
_FIELD_NAMES: Final = {key: name for name, key in _JSON_NAMES.items()}
_LISTED: Final = ("series", "models", "vertebrae", "angles", "cement", "leaks", "hardware", "warnings")
_OPTIONAL: Final = (
    "deformity_indices", "combined_leaks", "cine", "further_cines", "change", "further_changes", "timeline",
)  # fmt: skip
"""Parts that not every study has, such as what only projections or earlier studies give; left out where empty."""
_KEPT_AS_NULL: Final = ("interval95", "view", "sop_instance_uid")
"""Fields whose None is written as null. Any other None belongs to another kind of image and is left out."""
_PROBLEMS_SHOWN: Final = 3


def to_document(report: StudyReport) -> dict[str, Any]:
    """The report as JSON values, keys as in ``schema/report-1.5.json``; the disclaimer stands first in ``limits``."""
    limits = [DISCLAIMER, *(limit for limit in report.limits if limit != DISCLAIMER)]
    return {
        "schema_version": SCHEMA_VERSION,
        "software": {"name": "vertecast", "version": __version__},
        "study": {
            "study_instance_uid": report.study_instance_uid,
            "phase": report.phase,
            "phase_source": report.phase_source,
        },
        **{name: _to_json(getattr(report, name)) for name in _LISTED},
        **{name: _to_json(getattr(report, name)) for name in _OPTIONAL if getattr(report, name)},
        "limits": limits,
    }


def from_document(document: Mapping[str, Any]) -> StudyReport:
    """Read a report back; the inverse of `to_document` (the disclaimer is the document's, not the report's).

    Raises:
        UnsupportedError: the document does not fit the schema of this version.
    """
    problems = _problems(document)
    if problems:
        raise UnsupportedError(f"not a report of schema {SCHEMA_VERSION}: {problems}; analyse the study again")
    present = (*_LISTED, *(name for name in _OPTIONAL if name in document))
    fields = {**document["study"], **{name: document[name] for name in present}}
    fields["limits"] = [limit for limit in document["limits"] if limit != DISCLAIMER]
    report: StudyReport = _reader().validate_python(_to_fields(fields))
    return report


def validate(document: Mapping[str, Any]) -> None:
    """Check a document against the shipped JSON Schema; infinite and NaN numbers are refused too.

    Raises:
        OutputError: the document does not fit; the message names the first places that do not.
    """
    problems = _problems(document)
    if problems:
        raise OutputError(f"report.json would not fit schema {SCHEMA_VERSION}: {problems}; please report this defect")


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``report.json``."""
    text = resources.files(__package__).joinpath("schema", f"report-{SCHEMA_VERSION}.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema())


@functools.cache
def _reader() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(StudyReport)


def _problems(document: Mapping[str, Any]) -> str:
    """The first places where a document breaks the schema, or "" where it holds."""
    try:
        json.dumps(document, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"no JSON value ({error})"
    found = sorted(_validator().iter_errors(document), key=lambda error: list(map(str, error.absolute_path)))
    # The place and the broken rule, never the value: a value may come from a header.
    return "; ".join(f"{error.json_path} breaks '{error.validator}'" for error in found[:_PROBLEMS_SHOWN])


def _to_json(value: Any) -> Any:
    if isinstance(value, NotMeasured):
        return {"not_measured": value.reason}
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        items = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {
            _JSON_NAMES.get(name, name): _to_json(item)
            for name, item in items
            if item is not None or name in _KEPT_AS_NULL
        }
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_to_json(item) for item in value]
    # A NumPy number is a number of its own type; JSON knows only Python's.
    return value.item() if hasattr(value, "item") else value


def _to_fields(value: Any) -> Any:
    """Undo the shapes that the document gives to results; pydantic then builds the typed objects."""
    if isinstance(value, Mapping):
        if value.keys() == {"not_measured"}:
            return NotMeasured(reason=value["not_measured"])
        return {_FIELD_NAMES.get(key, key): _to_fields(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_to_fields(item) for item in value)
    return value
