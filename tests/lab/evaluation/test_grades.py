from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from phantoms.spine import vertebra_without_numbers
from vertecast.core.errors import UnreadableError
from vertecast.core.results import NotMeasured, VertebraFinding
from vertecast.lab.evaluation.maps.grades import grade_pairs, read_grades, summary, text_lines

LEVELS = {19: "T12", 20: "L1", 21: "L2", 22: "L3"}


def graded(level: str, grade: int, low: int, high: int) -> VertebraFinding:
    return replace(vertebra_without_numbers(level), genant_grade=grade, genant_grade_range=(low, high))


def test_grades_are_read_by_level(tmp_path: Path) -> None:
    path = tmp_path / "genant.json"
    path.write_text(json.dumps({"19": 2, "21": 0}))
    assert read_grades(path, LEVELS) == {"T12": 2, "L2": 0}


@pytest.mark.parametrize("text", ["", "[1]", '{"99": 1}', '{"19": "two"}', '{"19": null}'])
def test_a_damaged_file_of_grades_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "genant.json"
    path.write_text(text)
    with pytest.raises(UnreadableError, match=r"genant\.json"):
        read_grades(path, LEVELS)


def test_agreement_counts_what_was_graded() -> None:
    unknown = NotMeasured(reason="cut by the edge of the image")
    found = [
        graded("T12", 1, 0, 2),
        graded("L1", 0, 0, 0),
        replace(vertebra_without_numbers("L3"), genant_grade=unknown, genant_grade_range=unknown),
    ]
    pairs = grade_pairs({"T12": 2, "L1": 0, "L2": 3, "L3": 0}, found)
    total = summary(pairs)
    assert (total["vertebrae"], total["graded"], total["exact"]) == (4, 2, 1)
    assert (total["fractured"], total["fractured_found"], total["sound_called_fractured"]) == (2, 1, 0)
    assert total["expert_within_range"] == 2
    # Squared differences: 1 observed; by chance (1 + 4 + 1 + 0) / 2.
    assert total["weighted_kappa"] == pytest.approx(1 - 1 / 3)
    text = "\n".join(text_lines("mask", pairs))
    assert "2 of 4 vertebrae graded, 1 as the readers did" in text
    assert "L2 not found (readers 3)" in text
    assert "L3 cut by the edge of the image (readers 0)" in text


def test_no_grade_has_no_kappa() -> None:
    assert summary(grade_pairs({"L1": 1}, []))["weighted_kappa"] is None
