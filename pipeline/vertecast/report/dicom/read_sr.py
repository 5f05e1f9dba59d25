"""A structured report back as a `StudyReport`: the inverse of `vertecast.report.dicom.sr`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from vertecast.core import report_json
from vertecast.core.errors import UnreadableError, UnsupportedError
from vertecast.core.results import StudyReport
from vertecast.report.dicom import codes, items, records
from vertecast.report.dicom.identity import MANUFACTURER
from vertecast.report.dicom.shapes import Shape


def read_document(path: Path) -> dict[str, Any]:
    """A structured report as the values of ``report.json``, with the version of the software that measured.

    Raises:
        UnreadableError: the file cannot be opened, is no DICOM or is damaged.
        UnsupportedError: it is no structured report of Vertecast, or one of a later version.
    """
    try:
        dataset = dcmread(path)
        report = report_of(dataset)
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except InvalidDicomError as error:
        raise UnreadableError(f"{path}: is no DICOM file; give the sr.dcm of a study") from error
    except UnsupportedError as error:
        raise UnsupportedError(f"{path}: {error}") from error
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise UnreadableError(f"{path}: the structured report is damaged; export it again") from error
    content = report_json.to_document(report)
    content["software"]["version"] = str(dataset.SoftwareVersions)
    return content


def read_header(path: Path) -> Dataset | None:
    """A structured report without its content; None where there is none, or none that can be read."""
    wanted = ["StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "InstanceNumber"]
    try:
        header = dcmread(path, specific_tags=[*wanted, "PredecessorDocumentsSequence"])
    except (OSError, InvalidDicomError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return header if all(keyword in header for keyword in wanted) else None


def report_of(dataset: Dataset) -> StudyReport:
    """The report that a structured report holds. Points come back as the format keeps them, in 32 bits.

    Raises:
        UnsupportedError: it is no structured report of Vertecast, or one of a later version.
    """
    is_ours = dataset.get("Modality") == "SR" and dataset.get("ManufacturerModelName") == MANUFACTURER
    if not is_ours:
        raise UnsupportedError("is no structured report of Vertecast; give the sr.dcm of a study")
    root = items.children_of(dataset)
    [container] = items.named(root, codes.IMAGING_MEASUREMENTS)
    groups = items.children_of(container)
    [overview] = [group for group in groups if items.finding_of(group) == codes.SPINE.key]
    fields = {
        **_decode(records.OVERVIEW, items.children_of(overview)),
        **_decode(records.FINDINGS, groups),
        **_decode(records.SECTIONS, root),
    }
    fields["limits"] = tuple(limit for limit in fields["limits"] if limit != report_json.DISCLAIMER)
    return StudyReport(study_instance_uid=str(dataset.StudyInstanceUID), **fields)


def _decode(rows: Mapping[str, Shape], group: items.Items) -> dict[str, Any]:
    return {name: shape.decode(group) for name, shape in rows.items()}
