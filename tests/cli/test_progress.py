"""What a run says of itself, to people and to programs."""

from __future__ import annotations

import json
import sys

import pytest

from vertecast.cli.progress import Pace, duration, shown_progress
from vertecast.report.summary import StudyRun

FRESH = StudyRun(study_instance_uid="1.2", directory="1.2", status="analyzed", timing_s={"analysis": 2.0, "output": 1})
OLD = StudyRun(study_instance_uid="1.1", directory="1.1", status="analyzed")
BAD = StudyRun(study_instance_uid="1.3", directory="1.3", status="failed", reason="is damaged")


def test_a_program_reads_one_object_for_each_study(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress() as listener:
        for done, study in enumerate((OLD, FRESH, BAD), start=1):
            listener(study, done, 4)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    keys = ("study_instance_uid", "status", "reason", "seconds", "done", "total", "failed")
    assert [tuple(line[key] for key in keys) for line in lines] == [
        ("1.1", "analyzed", "", None, 1, 4, 0),
        ("1.2", "analyzed", "", 3.0, 2, 4, 0),
        ("1.3", "failed", "is damaged", None, 3, 4, 1),
    ]
    assert all(tuple(line) == keys for line in lines)


def test_people_read_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with shown_progress() as listener:
        for done, study in enumerate((OLD, FRESH, BAD), start=1):
            listener(study, done, 3)
    shown = capsys.readouterr().out
    for line in ("[1/3] 1.1: already analysed", "[2/3] 1.2: analysed in 3 s", "[3/3] 1.3: failed: is damaged"):
        assert line in shown


def test_the_pace_is_that_of_the_studies_that_had_to_be_analysed() -> None:
    pace = Pace(since=0.0)
    for _ in range(100):
        pace.add(OLD, now=10.0)
    assert pace.text(left=20, now=11.0) == ""
    pace.add(FRESH, now=40.0)
    pace.add(BAD, now=70.0)
    assert pace.text(left=20, now=70.0) == "120 an hour, 10 min left, 1 failed"


@pytest.mark.parametrize(
    ("seconds", "said"), [(40, "40 s"), (119, "119 s"), (600, "10 min"), (3600 * 5, "5 h"), (86400 * 3, "3 days")]
)
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said
