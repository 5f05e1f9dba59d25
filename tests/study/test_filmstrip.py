"""The frames that stand for a cine: the right ones, few of them, and no more kept than for a short cine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phantoms.cine import Cine
from vertecast.core.images import Radiograph
from vertecast.core.results import CineFinding, GrowthPoint, NotMeasured, Quantity
from vertecast.core.study_result import Filmstrip
from vertecast.measurement.cine.analysis import BLANK, CineAnalyzer, FrameResult
from vertecast.study.filmstrip import KEPT_FRAMES, FilmstripCollector

NONE = NotMeasured(reason="no cement seen")


def follow(cine: Cine) -> Filmstrip:
    analyzer, collector = (
        CineAnalyzer(cine.segment, series_instance_uid="1.2", frame_rate=cine.rate),
        FilmstripCollector(),
    )
    for k in range(1, cine.frames + 1):
        frame = cine.make(k)[0]
        collector.push(frame, analyzer.push(frame), analyzer.marked_frames)
    found = analyzer.finish()
    return Filmstrip(cine=found, frames=collector.finish(found))


@pytest.fixture(scope="module")
def strip() -> Filmstrip:
    return follow(Cine())


def test_every_stage_of_the_cement_has_its_frame(strip: Filmstrip) -> None:
    notes = {note: frame for frame in strip.frames for note in frame.notes}
    assert [frame.frame_number for frame in strip.frames] == sorted({f.frame_number for f in strip.frames})
    assert notes["first frame"].frame_number == 1
    assert notes["first cement"].frame_number == strip.cine.first_cement_frame == 13
    assert notes["first suspected leak"].frame_number == strip.cine.first_suspected_leak_frame == 27
    assert notes["last frame"].frame_number == 40
    areas = {p.frame_number: p.area.value for p in strip.cine.growth if isinstance(p.area, Quantity)}
    grown = {k: area / max(areas.values()) for k, area in areas.items()}
    near = [share for share in (25, 50, 75) if any(abs(area - share / 100) <= 0.1 for area in grown.values())]
    assert len(near) >= 2
    for share in near:
        frame = notes[f"near {share} % of the largest area"]
        assert grown[frame.frame_number] == pytest.approx(share / 100, abs=0.1)
    assert not {18, 19, 33} & {frame.frame_number for frame in strip.frames}, "blank frames are not shown"


def test_small_frames_show_cement_and_leak_where_they_are(strip: Filmstrip) -> None:
    first, last = strip.frames[0], strip.frames[-1]
    assert first.labels.max() == 0
    assert len(last.outlines) == 4
    body = last.outlines[1]
    rows, columns = np.nonzero(last.labels == 200)
    assert body[:, 1].min() < rows.mean() < body[:, 1].max()
    assert body[:, 0].min() < columns.mean() < body[:, 0].max()
    leaked = np.nonzero(last.labels == 201)[0]
    assert last.outlines[0][:, 1].max() - 2 < leaked.mean() < body[:, 1].min() + 2


def test_a_cine_without_cement_is_shown_in_even_steps() -> None:
    strip = follow(Cine(frames=21, cement_from=0, leak_from=0, blank=()))
    assert [frame.frame_number for frame in strip.frames] == [1, 5, 9, 13, 17, 21]
    assert strip.frames[0].notes == ("first frame",)


def test_what_is_kept_does_not_grow_with_the_cine() -> None:
    collector = FilmstripCollector()
    for k in range(1, 2001):
        frame = Radiograph(intensity=np.full((90, 70), k, np.float32), valid=np.ones((90, 70), bool), frame_number=k)
        unusable = BLANK if k % 50 == 0 else None
        # The run that may become the first cement breaks off every 30 frames.
        collector.push(
            frame, FrameResult(frame_number=k, looked_at=True, unusable=unusable), frozenset({k - k % 30 + 1})
        )
        assert len(collector._spread) <= KEPT_FRAMES
        assert len(collector._marked) <= 1
    growth = tuple(GrowthPoint(frame_number=k, area=Quantity(value=k / 4, unit="mm2")) for k in range(1, 2001))
    finding = CineFinding(
        series_instance_uid="1", frame_rate=NONE, first_cement_frame=1981, growth=growth,
        first_suspected_leak_frame=NONE,
    )  # fmt: skip
    frames = collector.finish(finding)
    assert frames[0].frame_number == 1
    assert 1981 in [frame.frame_number for frame in frames]
    assert frames[-1].notes == ("last frame",)
    early = replace(finding, first_cement_frame=1)
    numbers = [frame.frame_number for frame in collector.finish(early)]
    assert numbers == pytest.approx([1, 500, 1000, 1500, 1999], abs=64)


def test_no_usable_frame_gives_no_strip() -> None:
    strip = follow(Cine(frames=3, blank=(1, 2, 3)))
    assert strip.frames == ()
