"""The user's rules of selection: what they leave out says which rule it was, and never the text that matched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phantoms.dicom import ct_slices, found, grid, save
from vertecast.core.config import Config, SelectionOptions, load_config
from vertecast.core.errors import ConfigurationError
from vertecast.io.discover import StudyFiles
from vertecast.io.rules import apply_rules
from vertecast.study import analyze_study, preview_study

SHAPE = (8, 6, 20)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    """A CT of 2.5 mm with a kernel, a description and a body part."""
    images = ct_slices(grid(shape=SHAPE, spacing_mm=(6.0, 7.0, 2.5)), SHAPE)
    for image in images:
        image.SeriesDescription, image.BodyPartExamined = "Spine Doe soft", "LSPINE"
        image.ConvolutionKernel, image.SliceThickness = "Br40d", 2.5
    return found(save(images, tmp_path_factory.mktemp("study")))


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"modality": ["ct", "DX"]},
        {"description_include": "^spine"},
        {"description_exclude": "lung|MIP"},
        {"body_part_include": "SPINE"},
        {"kernel_include": "40"},
        {"min_slice_mm": 1.0, "max_slice_mm": 2.5},
    ],
)
def test_what_fits_is_kept(study: StudyFiles, rules: dict[str, Any]) -> None:
    assert apply_rules(study, SelectionOptions(**rules)) is study


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"modality": ["DX"]}, "modality CT is left out by the rule selection.modality"),
        ({"description_include": "thorax"}, "its description does not match the rule selection.description_include"),
        ({"description_exclude": "DOE"}, "its description matches the rule selection.description_exclude"),
        ({"body_part_exclude": "spine"}, "its body part matches the rule selection.body_part_exclude"),
        ({"kernel_exclude": r"^Br\d"}, "its kernel matches the rule selection.kernel_exclude"),
        ({"max_slice_mm": 2.0}, "slices of 2.5 mm are thicker than selection.max_slice_mm (2)"),
        ({"min_slice_mm": 3.0}, "slices of 2.5 mm are thinner than selection.min_slice_mm (3)"),
    ],
)
def test_what_does_not_is_left_out_with_the_rule(study: StudyFiles, rules: dict[str, Any], reason: str) -> None:
    left = apply_rules(study, SelectionOptions(**rules))
    assert left.series == ()
    assert [(one.status, one.reason) for one in left.rejected] == [("skipped", reason)]
    assert "Doe" not in left.rejected[0].reason


def test_a_rule_reaches_the_report_and_the_preview(study: StudyFiles) -> None:
    config = Config(selection=SelectionOptions(modality=["DX"]))
    result = analyze_study(study, config, segmenter=None)  # type: ignore[arg-type]  # it is not needed
    assert result.status == "skipped"
    assert [one.reason for one in result.report.series] == [one.reason for one in preview_study(study, config)]
    (measured,) = preview_study(study, Config())
    assert (measured.measured, measured.reason) == (True, "is the best CT of the study (kernel Br40d, 2.5 mm slices)")


def test_what_is_no_regular_expression_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("selection: {description_include: '('}")
    with pytest.raises(ConfigurationError, match=r"selection.description_include: '\(' is no regular expression"):
        load_config(tmp_path / "own.yaml")
