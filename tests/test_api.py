"""From Python: what is exported, and what it gives, with segmenters that need no weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vertecast
from fakes import BlockSegmenter, load_blocks, write_dicom, write_spine
from vertecast import api
from vertecast.core.errors import ConfigurationError, InputError, UnreadableError
from vertecast.run.engine import Engine


@pytest.fixture(autouse=True)
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "shipped_engine", lambda _options: Engine(load=load_blocks, weights="blocks"))


def test_the_names_that_are_promised() -> None:
    promised = {"Analysis", "Failure", "analyze", "analyze_all", "compare", "load_bundle", "read_report", "to_frame"}
    assert set(vertecast.__all__) == promised | {"__version__"}
    assert all(getattr(vertecast, name) is getattr(api, name) for name in promised)
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        vertecast.analyse  # noqa: B018


def test_importing_it_is_light() -> None:
    program = "import sys, vertecast; sys.exit(bool({'torch', 'pydicom', 'vertecast.api'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_study_gives_typed_results_and_no_files(tmp_path: Path) -> None:
    write_dicom(tmp_path / "ct")
    before, told = sorted(tmp_path.rglob("*")), []
    found = vertecast.analyze(tmp_path / "ct", progress=told.append)
    assert [vertebra.level for vertebra in found.report.vertebrae] == ["V1", "V2", "V3"]
    assert found.volume is not None
    assert found.labels is not None
    assert found.labels.labels.shape == found.volume.shape
    assert sorted(tmp_path.rglob("*")) == before
    assert told == [f"analysing {found.report.study_instance_uid}"]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_dicom(tmp_path / "ct")
    found = vertecast.analyze(tmp_path / "ct", out=tmp_path / "out", config={"analysis": {"lowest": "L4"}})
    assert [vertebra.level for vertebra in found.report.vertebrae] == ["L2", "L3", "L4"]
    for path in (tmp_path / "out", tmp_path / "out" / "report.json", tmp_path / "out" / "sr.dcm"):
        read = vertecast.read_report(path)
        assert [vertebra.level for vertebra in read.vertebrae] == ["L2", "L3", "L4"]
    assert vertecast.read_report(tmp_path / "out") == found.report
    with pytest.raises(UnreadableError, match="give a folder of results"):
        vertecast.read_report(tmp_path / "ct")


def test_a_table_has_a_row_for_every_vertebra_and_gaps_for_what_is_missing(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    found = vertecast.analyze(write_spine(tmp_path / "a.nii.gz"))
    table = found.to_frame()
    assert list(table["level"]) == ["V1", "V2", "V3"]
    heights = [vertebra.heights["anterior"] for vertebra in found.report.vertebrae]
    expected = [getattr(height, "value", float("nan")) for height in heights]
    assert table["anterior_height_mm"].tolist() == pytest.approx(expected, rel=1e-3, nan_ok=True)
    assert len(vertecast.to_frame(found.report, found.report)) == 6
    assert isinstance(table, pandas.DataFrame)


def test_one_bad_study_never_stops_the_others(tmp_path: Path) -> None:
    write_spine(tmp_path / "a.nii.gz")
    write_spine(tmp_path / "b.nii.gz", blocks=0)
    (tmp_path / "c.nii.gz").write_bytes(b"no image at all")
    kinds = [
        one.source.rpartition("/")[2] if isinstance(one, vertecast.Failure) else one.report.study_instance_uid
        for one in vertecast.analyze_all([tmp_path])
    ]
    assert sorted(kinds) == ["a", "b", "c"]
    failures = [one for one in vertecast.analyze_all([tmp_path]) if isinstance(one, vertecast.Failure)]
    assert all(one.reason for one in failures)
    assert len(failures) == 2


def test_wrong_calls_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no study"):
        vertecast.analyze(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        vertecast.analyze(tmp_path / "nowhere")
    write_spine(tmp_path / "a.nii.gz")
    write_spine(tmp_path / "b.nii.gz", blocks=0)
    with pytest.raises(InputError, match=r"holds 2 studies; use vertecast\.analyze_all"):
        vertecast.analyze(tmp_path)
    with pytest.raises(InputError, match="b: "):
        vertecast.analyze(tmp_path / "b.nii.gz")
    with pytest.raises(ConfigurationError, match="nonsense"):
        vertecast.analyze(tmp_path / "a.nii.gz", config={"analysis": {"nonsense": 1}})
    with pytest.raises(ConfigurationError, match="are for the command"):
        vertecast.analyze(tmp_path / "a.nii.gz", config={"output": {"deidentify": True}})


def test_two_studies_are_compared_in_memory(tmp_path: Path) -> None:
    options = {"analysis": {"lowest": "L4"}}
    first = vertecast.analyze(write_spine(tmp_path / "a.nii.gz"), config=options)
    second = vertecast.analyze(write_spine(tmp_path / "b.nii.gz"), config=options)
    both = vertecast.compare(first, second)
    assert both.report.change is not None
    assert both.report.change.pre_study == "a"
    assert [level.level for level in both.report.change.levels] == ["L2", "L3", "L4"]
    assert second.report.change is None, "what was given stays as it was"


def test_the_network_alone(tmp_path: Path) -> None:
    found = vertecast.analyze(write_spine(tmp_path / "a.nii.gz"))
    network = vertecast.load_bundle()
    assert isinstance(network, BlockSegmenter)
    assert found.volume is not None
    assert network.segment(found.volume).count == 3
