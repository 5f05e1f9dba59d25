"""``scripts/compare_peer.py``: the other program's heights, the table, the picture; and the figures of the docs."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from phantoms.spine import SpinePhantom, normal_shape
from vertecast.core.errors import UnreadableError
from vertecast.measurement.ct.body.heights import measure_vertebrae
from vertecast.measurement.ct.levels import assign_levels

LARGEST_FIGURES_BYTES = 1_500_000


@pytest.fixture
def peer(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_compare_peer", repository / "scripts" / "compare_peer.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_heights_are_read_by_level_and_place(peer: ModuleType, tmp_path: Path) -> None:
    values = {
        "vertebrae_L4_height_middle_mm": 24.0,
        "vertebrae_L4_height_anterior_mm": 22.5,
        "vertebrae_L4_volume_ml": 3,
    }
    (tmp_path / "peer.json").write_text(json.dumps({"results": values}))
    assert peer.read_peer(tmp_path / "peer.json") == {"L4": {"middle": 24.0, "anterior": 22.5}}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"results": {"LWS_max": 0.2}}',
        '{"results": 3}',
        '{"results": {"vertebrae_L1_height_middle_mm": "?"}}',
    ],
)
def test_a_file_without_heights_is_refused(peer: ModuleType, tmp_path: Path, text: str) -> None:
    (tmp_path / "peer.json").write_text(text)
    with pytest.raises(UnreadableError, match=r"peer\.json"):
        peer.read_peer(tmp_path / "peer.json")


def test_the_table_gives_the_difference_and_a_dash_for_what_is_missing(peer: ModuleType) -> None:
    theirs = {"L1": {"anterior": 21.0, "middle": 24.0, "posterior": 27.0}}
    lines = peer.text_lines(theirs, {"network": {"L1": {"anterior": 25.7, "posterior": 26.5}}})
    assert [line.split()[:2] for line in lines[1:]] == [["L1", "anterior"], ["L1", "middle"], ["L1", "posterior"]]
    assert [line[14:].split() for line in lines[1:]] == [
        ["21.0", "25.7", "(", "+4.7)"], ["24.0", "-"], ["27.0", "26.5", "(", "-0.5)"]
    ]  # fmt: skip


def test_a_body_is_drawn(peer: ModuleType, tmp_path: Path) -> None:
    phantom = SpinePhantom(shapes=[normal_shape(25.0)], sacrum=True)
    volume, segmentation = phantom.volume(), phantom.segmentation()
    (body,) = measure_vertebrae(volume, segmentation, assign_levels(segmentation), series_instance_uid="1.2")
    assert set(peer.our_heights([body])["L5"]) == {"anterior", "middle", "posterior"}
    peer.draw_body(volume, body, tmp_path / "new" / "L5.png", "L5")
    assert (tmp_path / "new" / "L5.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_of_definitions_shows_every_figure_and_no_other(repository: Path) -> None:
    folder = repository / "docs" / "figures"
    shown = set(re.findall(r"!\[[^\]]+\]\(figures/(\w+\.png)\)", (folder.parent / "measurement.md").read_text("utf-8")))
    drawn = {path.name for path in folder.iterdir()}
    assert shown == drawn
    assert sum(path.stat().st_size for path in folder.iterdir()) < LARGEST_FIGURES_BYTES
