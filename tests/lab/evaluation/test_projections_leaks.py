"""Suspected leaks and the course of cines against what truly leaked, and when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phantoms.scored import LEAK, TREATED, Film, score, value, write


def true_leak(compartment: str = LEAK, **changes: Any) -> dict[str, Any]:
    return {"compartment": compartment, "volume_ml": 0.4, "area_px": 40, "outside_px": 10, **changes}


def with_leaks(film: Film, true: list[dict[str, Any]], suspected: list[str], level: str = TREATED) -> Film:
    film.truth["cement"][0]["leaks"] = true
    film.leaks = [film.leak(level, compartment) for compartment in suspected]
    return film


@pytest.mark.parametrize(
    ("leak", "asked_for"),
    [
        (true_leak(), True),
        (true_leak(outside_px=9), False),
        (true_leak(volume_ml=0.19), False),
        (true_leak(area_px=0, outside_px=0), False),
    ],
)
def test_a_leak_is_asked_for_where_it_is_large_and_shows(tmp_path: Path, leak: dict[str, Any], asked_for: bool) -> None:
    write(tmp_path, with_leaks(Film(), [leak], []))
    results = score(tmp_path)
    assert value(results, "leaks_found") == ((0.0, 1) if asked_for else (None, 0))
    assert value(results, "quiet_without_such_leak") == ((None, 0) if asked_for else (1.0, 1))
    assert value(results, "quiet_without_leak")[1] == int(leak["outside_px"] == 0)


def test_missed_misplaced_and_false_leaks_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, with_leaks(Film(), [true_leak()], []), uid="1.1")
    write(tmp_path, with_leaks(Film(), [true_leak("vein")], ["canal"]), uid="1.2")
    write(tmp_path, with_leaks(Film(), [], ["canal"]), uid="1.3")
    write(tmp_path, with_leaks(Film(), [], [LEAK], level="L3"), uid="1.4")
    results = score(tmp_path)
    assert value(results, "leaks_found") == (0.5, 2)
    assert value(results, "compartments_right") == (0.0, 1)
    assert value(results, "quiet_without_such_leak") == (0.5, 2)
    assert value(results, "stray_leaks") == (0.25, 4)
    document = json.loads((tmp_path / "scores" / "projection_scores.json").read_text())
    assert list(document["compartments"].values()) == [{LEAK: {"missed": 1}, "vein": {"canal": 1}}]


def test_one_suspicion_stands_for_one_leak(tmp_path: Path) -> None:
    pair = [true_leak("prevertebral", outside_px=30), true_leak("canal")]
    write(tmp_path, with_leaks(Film(), pair, ["canal"]))
    assert value(score(tmp_path), "leaks_found") == (0.5, 2)
    assert value(score(tmp_path), "compartments_right") == (1.0, 1)
    halves = [true_leak(volume_ml=0.1), true_leak(volume_ml=0.1)]  # of one compartment: one leak, as in a report
    write(tmp_path, with_leaks(Film(), halves, [LEAK]))
    assert value(score(tmp_path), "leaks_found") == (1.0, 1)


def test_a_leak_counts_once_in_a_study_and_in_each_view_that_shows_it(tmp_path: Path) -> None:
    hidden = true_leak(outside_px=2)
    lateral = with_leaks(Film(), [true_leak()], [])
    frontal = with_leaks(Film(series="1.2.2", view="ap"), [hidden], [LEAK])
    write(tmp_path, lateral, frontal)
    results = score(tmp_path)
    assert value(results, "leaks_found") == (1.0, 1)
    assert value(results, "leaks_found", "lateral") == (0.0, 1)
    assert value(results, "leaks_found", "ap") == (None, 0)


def test_a_leak_at_a_body_with_another_name_is_still_its_own(tmp_path: Path) -> None:
    film = with_leaks(Film(), [true_leak()], [LEAK], level="V2")
    for n, body in enumerate(film.vertebrae):
        body["level"] = f"V{n + 1}"
    write(tmp_path, film)
    assert value(score(tmp_path), "leaks_found") == (1.0, 1)
    assert value(score(tmp_path), "stray_leaks") == (0.0, 1)


def cine(series: str, found: tuple[Any, Any], *, leak_at: int | None = 21, outside_px: int = 10) -> Film:
    """40 frames of 200 ms: cement from frame 11, leaking from ``leak_at`` on, 0.1 mL two frames later."""
    frames = [
        {
            "shift_px": [0.0, 0.5 * n],
            "cement_ml": 0.1 * max(n - 9, 0),
            "leaked_ml": 0.05 * max(n + 2 - leak_at, 0) if leak_at else 0.0,
            "needle": False,
        }
        for n in range(40)
    ]
    film = with_leaks(Film(series=series), [true_leak(outside_px=outside_px)] if leak_at else [], [])
    film.truth |= {
        "frame_count": 40,
        "frame_time_ms": 200.0,
        "frames": frames,
        "first_cement_frame": 11,
        "first_leak_frame": leak_at + 1 if leak_at else None,
    }
    first = [{"not_measured": "none seen"} if frame is None else frame for frame in found]
    film.cine = {
        "series_instance_uid": series, "first_cement_frame": first[0], "first_suspected_leak_frame": first[1]
    }  # fmt: skip
    return film


def test_delays_of_cement_and_leak_are_in_seconds(tmp_path: Path) -> None:
    write(
        tmp_path,
        cine("1.1", (11, 32)),  # leak told 10 frames late
        cine("1.2", (9, None)),  # cement 2 frames early, leak missed
        cine("1.3", (None, 20)),  # cement missed, an alert before any leaked
        cine("1.4", (16, None), outside_px=1),  # the leak does not show
        kind="cine",
    )
    results = score(tmp_path)
    assert value(results, "cine_cement_found") == (0.75, 4)
    assert value(results, "cine_cement_error_s") == (0.4, 3)
    assert value(results, "cine_cement_delay_s") == (0.0, 3)
    assert value(results, "cine_leaks_found") == (round(1 / 3, 6), 3)
    assert value(results, "cine_leak_error_s") == (2.0, 1)
    assert value(results, "cine_early_alerts") == (0.25, 4)
    assert value(results, "cine_false_alerts") == (None, 0)
    assert value(results, "cement_dice") == (None, 0)


def test_alerts_in_cines_without_a_leak_are_false(tmp_path: Path) -> None:
    write(tmp_path, cine("1.1", (11, 30), leak_at=None), cine("1.2", (11, None), leak_at=None), kind="cine")
    results = score(tmp_path)
    assert value(results, "cine_false_alerts") == (0.5, 2)
    assert value(results, "cine_leaks_found") == (None, 0)


def test_bodies_of_a_cine_are_compared_in_the_frame_that_was_measured(tmp_path: Path) -> None:
    film = cine("1.1", (11, None))
    film.frame = 37
    for n in range(4):
        film.move(n, (0.0, 18.0))
    write(tmp_path, film, kind="cine")
    results = score(tmp_path)
    assert value(results, "bodies_found") == (1.0, 4)
    assert value(results, "corner_error_p90") == (0.0, 16)
    film.frame = 1
    write(tmp_path, film, kind="cine")
    assert value(score(tmp_path), "corner_error_median") == (18 / 40, 16)
