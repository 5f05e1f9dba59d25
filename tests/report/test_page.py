"""The page, the index and their sentences."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from page_checker import Checker
from vertecast.core.anatomy import Compartment
from vertecast.core.results import DeformityIndex, NotMeasured, Quantity, StudyReport
from vertecast.report import wording
from vertecast.report.figures.pictures import Picture
from vertecast.report.html import film_tables, index, page, tables
from vertecast.report.summary import RunSummary, StudyRun


def headline(report: StudyReport) -> list[str]:
    return [f"{line.level}: {line.text}" for line in wording.headline(report)]


def test_the_headline_says_it_all(case) -> None:
    assert headline(case.report) == [
        "L1: wedge fracture, 34 % anterior loss (31–37), Genant 2; cement 4.1 mL, leak 0.3 mL into the disc above, "
        "leak 0.06 mL into the right paravertebral tissue"
    ]
    assert wording.summary(case.report) == (
        "Genant grade 1 or more in 1 of the 4 graded, out of 5 vertebrae found.",
        "T11 not graded: cut by the edge of the image.",
    )


def test_a_sound_spine_and_one_that_could_not_be_graded(case) -> None:
    sound = tuple(vertebra for vertebra in case.report.vertebrae if vertebra.level != "L1")
    report = replace(case.report, vertebrae=sound, cement=(), leaks=())
    assert headline(report) == []
    assert wording.summary(report)[0] == "No fracture of Genant grade 1 or more measured in 3 of 4 vertebrae."
    near = replace(sound[1], genant_grade_range=(0, 1))
    assert "Borderline: T12 Genant 0 (0–1)." in wording.summary(replace(report, vertebrae=(near,)))
    cut = replace(report, vertebrae=sound[:1])
    assert wording.summary(cut)[0] == "No Genant grade could be given in 1 vertebra."
    assert "No vertebra was measured." in wording.summary(replace(report, vertebrae=()))


def test_treated_but_not_graded_and_cement_without_its_vertebra(case) -> None:
    unsure = replace(
        case.report.vertebrae[2],
        genant_grade=NotMeasured(reason="no neighbour can serve."),
        level_source="unknown",
        level="V3",
    )
    report = replace(case.report, vertebrae=(unsure,))
    lines = headline(report)
    assert lines[0] == "V3: not graded (no neighbour can serve), 34 % height loss (31–37)"
    assert lines[1].startswith("L1: cement 4.1 mL, leak 0.3 mL")
    assert "Levels are unknown" in wording.summary(report)[-1]


def test_cement_at_nerves_leads(case) -> None:
    """It comes before the fracture of its vertebra, and its vertebra before those above."""
    leak = replace(
        case.report.leaks[0],
        compartment=Compartment.CANAL,
        volume=Quantity(value=0.34, unit="mL", interval95=(0.21, 0.47)),
        canal_fill=Quantity(value=0.14, unit="1"),
    )
    above = replace(case.report.vertebrae[1], genant_grade=2, genant_grade_range=(2, 2))
    vertebrae = (case.report.vertebrae[0], above, *case.report.vertebrae[2:])
    report = replace(case.report, vertebrae=vertebrae, leaks=(case.report.leaks[1], leak))
    first, second = headline(report)
    assert first == (
        "L1: leak 0.3 mL (0.2–0.5) into the spinal canal, filling 14 % of its section; wedge fracture, "
        "34 % anterior loss (31–37), Genant 2; cement 4.1 mL, leak 0.06 mL into the right paravertebral tissue"
    )
    assert second.startswith("T12: ")
    specks = replace(leak, compartment=Compartment.DISTANT, canal_fill=None, suspected=True)
    assert headline(replace(report, leaks=(specks,)))[0].startswith("T12: "), "specks in the lungs wait"


def test_a_posterior_wall_far_behind_is_told(case) -> None:
    broken = replace(case.report.vertebrae[2], retropulsion=Quantity(value=4.14, unit="mm", interval95=(2.04, 6.24)))
    (line,) = headline(replace(case.report, vertebrae=(broken,), cement=(), leaks=()))
    assert line.endswith("Genant 2; posterior wall 4.1 mm behind its neighbours' (2.0–6.2)")
    near = replace(broken, retropulsion=Quantity(value=2.9, unit="mm"))
    assert "posterior wall" not in headline(replace(case.report, vertebrae=(near,), cement=(), leaks=()))[0]


def test_the_deformity_index_says_when_it_is_partial(case) -> None:
    part = DeformityIndex(series_instance_uid="1", index=5, index_range=(4, 7), graded=8, levels=13)
    whole = replace(part, index_range=(5, 5), graded=13)
    unknown = NotMeasured(reason="the levels are unknown")
    none = replace(part, index=unknown, index_range=unknown, graded=0)
    for found, said in (
        (part, "Spinal deformity index 5 (4–7) from 8 of the 13 levels T4 to L4: a partial sum."),
        (whole, "Spinal deformity index 5 from all 13 levels T4 to L4."),
        (none, "Spinal deformity index not measured: the levels are unknown."),
    ):
        assert said in wording.summary(replace(case.report, deformity_indices=(found,)))
    both = wording.summary(replace(case.report, deformity_indices=(part, none)))
    assert any(line.startswith("Spinal deformity index, series 0: 5") for line in both)


def test_two_series_are_told_apart(case) -> None:
    other = replace(case.report.vertebrae[2], series_instance_uid=case.report.series[1].series_instance_uid)
    lines = headline(replace(case.report, vertebrae=(*case.report.vertebrae, other)))
    assert lines[0].startswith("L1: series 1: wedge fracture")
    assert lines[1] == "L1: series 2: wedge fracture, 34 % anterior loss (31–37), Genant 2"


@pytest.mark.parametrize(
    ("value", "unit", "percent", "text"),
    [
        (0.3401, "1", True, "34 %"),
        (-7.44, "deg", False, "−7.4°"),
        (-0.01, "deg", False, "0.0°"),
        (0.052, "mL", False, "0.05 mL"),
        (4.06, "mL", False, "4.1 mL"),
        (96.4, "[hnsf'U]", False, "96 HU"),
        (0.955, "1", False, "0.95"),
    ],
)
def test_numbers(value: float, unit: str, percent: bool, text: str) -> None:
    assert wording.quantity(Quantity(value=value, unit=unit), percent=percent) == text


def test_an_interval_below_zero_is_no_dash_between_dashes() -> None:
    angle = Quantity(value=-1.0, unit="deg", interval95=(-2.0, 0.5))
    assert wording.interval_text(angle) == "−2.0 to 0.5"
    assert wording.interval_text(Quantity(value=1.0, unit="mm")) == ""


def test_the_page_is_whole_and_needs_nothing_else(case) -> None:
    shown = {"sagittal": Picture(png=b"1", alt="side"), "level_L1": Picture(png=b"2", alt="planes", level="L1")}
    text = page.write_page(case.report, shown)
    checked = Checker(text)
    assert len(checked.ids) == len(set(checked.ids))
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in checked.links)
    assert {link[1:] for link in checked.links if link.startswith("#")} <= set(checked.ids)
    assert not re.search(r"url\(|@import|<script[^>]*src|https?://", text)
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert [f"script-src 'sha256-{page.script_hash(one)}'" in text for one in script] == [True]
    assert '<html lang="en">' in text
    assert text.index("wedge fracture") < text.index('alt="side"') < text.index('alt="planes"') < text.index("<table")
    for wanted in ("Research use only. Not a medical device.", "localizer, no volume", "cut by the edge", "ct_spine",
                   "docs/measurement.md"):  # fmt: skip
        assert wanted in text


def test_all_pictures_of_a_body_stand_together(case) -> None:
    shown = {
        "level_L1": Picture(png=b"1", alt="planes", level="L1", caption=("three planes",)),
        "level_L3": Picture(png=b"2", alt="other", level="L3"),
        "height_map_L1": Picture(png=b"3", alt="map of L1", level="L1", caption=("from above",)),
    }
    text = page.write_page(case.report, shown)
    Checker(text)
    assert text.count("<h3>L1</h3>") == text.count("<h3>L3</h3>") == 1
    places = [text.index(part) for part in ("<h3>L1<", "three planes", 'alt="map of L1"', "from above", "<h3>L3<")]
    assert places == sorted(places)


def test_what_comes_from_a_file_is_escaped(case) -> None:
    evil = "<script>alert(1)</script>"
    report = replace(case.report, warnings=(evil,), limits=(evil,), study_instance_uid=evil)
    run = RunSummary(
        studies=(StudyRun(study_instance_uid=evil, directory=evil, status="failed", reason=evil),), started=""
    )
    for text in (page.write_page(report, {}), index.write_index(run)):
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text


def test_a_study_in_which_nothing_was_found_gives_its_reasons(case) -> None:
    report = replace(case.report, vertebrae=(), angles=(), cement=(), leaks=(), hardware=(), models=())
    text = page.write_page(report, {})
    Checker(text)
    first = text[: text.index('id="series"')]
    assert "No vertebra was measured." in first
    assert "localizer, no volume" in first


def test_where_cement_lies_and_what_leaks_touch(case) -> None:
    cement = [cell.text for cell in tables.cement_table(case.report).rows[0]]
    assert cement[4:6] == ["31 / 20 / 4 %", "55 / 38 / 7 %"]
    assert cement[9] == "0.0 mL"
    touches = tables.leak_table(case.report).header.index("Touches")
    assert [row[touches].text for row in tables.leak_table(case.report).rows] == ["crosses 60 % of the disc", ""]
    disc, tissue = case.report.leaks
    across = replace(disc, neighbour_contact=True)
    fill = Quantity(value=0.31, unit="1", interval95=(0.25, 0.37))
    canal = replace(tissue, compartment=Compartment.CANAL, canal_fill=fill, canal_contact=True)
    near = replace(tissue, canal_contact=NotMeasured(reason="too near to the canal to tell"))
    unseen = replace(canal, canal_fill=NotMeasured(reason="the canal was not segmented here"))
    shown = tables.leak_table(replace(case.report, leaks=(across, canal, near, unseen)))
    assert [row[touches].text for row in shown.rows] == [
        "crosses 60 % of the disc; next endplate", "canal, fills 31 %", "–", "–",
    ]  # fmt: skip
    assert shown.rows[1][touches].interval == "25–37"
    assert shown.notes[-2:] == ("too near to the canal to tell", "the canal was not segmented here")
    assert wording.leak_text(canal) == "leak 0.06 mL into the spinal canal, filling 31 % of its section"
    assert wording.leak_text(across) == "leak 0.3 mL into the disc above up to the next endplate"


def test_a_piece_in_the_lung_is_only_suspected(case) -> None:
    piece = replace(case.report.leaks[1], compartment=Compartment.DISTANT, suspected=True)
    report = replace(case.report, leaks=(piece,))
    assert wording.leak_text(piece) == "suspected leak 0.06 mL distant from the vertebra"
    assert [row[1].text for row in tables.leak_table(report).rows] == ["suspected distant from the vertebra"]
    assert film_tables.film_leak_table(report).rows == ()


def test_the_index_leads_to_every_report(case) -> None:
    outputs = ("a b#1/report.html", "a b#1/images/sagittal.png")
    good = StudyRun(study_instance_uid="1.2", directory="a b#1", status="analyzed", outputs=outputs, report=case.report)
    bad = StudyRun(study_instance_uid="1.3", directory="1.3", status="failed", reason="truncated file")
    text = index.write_index(RunSummary(studies=(good, bad), started="2020-01-01T00:00:00"))
    checked = Checker(text)
    assert "a%20b%231/report.html" in checked.links
    assert "a%20b%231/images/sagittal.png" in checked.links
    assert "1.3/report.html" not in checked.links
    for wanted in ("1 analyzed", "1 failed", "truncated file", "wedge fracture", "leak_volume_ml"):
        assert wanted in text
