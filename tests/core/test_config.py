from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vertecast.core.anatomy import Level
from vertecast.core.config import MAX_PASSES, Config, load_config
from vertecast.core.errors import ConfigurationError
from vertecast.measurement.ct.cement.map import CEMENT_HU


def write(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_lists_every_option_with_its_default(repository: Path) -> None:
    shipped = yaml.safe_load((repository / "configs" / "default.yaml").read_text(encoding="utf-8"))
    assert shipped == Config().model_dump()
    assert load_config(repository / "configs" / "default.yaml") == Config()


def test_the_least_value_of_cement_is_that_of_the_measurement() -> None:
    assert Config().cement.minimum_hu == CEMENT_HU


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "segmentation: {passes: 1}\nanalysis: {lowest: l5}\n"))
    assert config.segmentation.passes == 1
    assert config.analysis.lowest == "L5"
    assert config.segmentation.bundle == Config().segmentation.bundle
    assert config.batch == Config().batch


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "# nothing yet\n")) == Config()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("segmentation: {pases: 2}", "segmentation.pases: unknown key"),
        ("cemment: {}", "cemment: unknown key"),
        ("segmentation: {passes: 0}", "segmentation.passes"),
        (f"segmentation: {{passes: {MAX_PASSES + 1}}}", "segmentation.passes"),
        ("segmentation: {passes: two}", "segmentation.passes"),
        ("batch: {workers: true}", "batch.workers"),
        ("analysis: {phase: later}", "analysis.phase"),
        ("analysis: {lowest: X9}", "analysis.lowest: 'X9' is no vertebral level"),
        ("output: {identify: true, deidentify: true}", "output: identify and deidentify exclude each other"),
        ("output: {key: secret.txt}", "output: a key is used to de-identify alone"),
        ("- a list", "groups of options"),
        ("analysis: [", "is not valid YAML"),
        ("analysis: 3", "analysis"),
    ],
)
def test_wrong_content_is_refused_with_file_and_key(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: cannot be read"):
        load_config(tmp_path / "absent.yaml")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigurationError, match="is not valid YAML"):
        load_config(path)


def test_overrides_win_and_none_leaves_the_file_alone() -> None:
    config = Config().with_overrides({"analysis": {"phase": "post", "lowest": None}, "batch": {"workers": 3}})
    assert (config.analysis.phase, config.analysis.lowest, config.batch.workers) == ("post", None, 3)


def test_a_wrong_override_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"command line: batch\.workers"):
        Config().with_overrides({"batch": {"workers": 0}})


@given(level=st.sampled_from(Level), passes=st.integers(1, MAX_PASSES), workers=st.integers(1, 64))
def test_every_valid_configuration_survives_yaml(
    tmp_path_factory: pytest.TempPathFactory, level: Level, passes: int, workers: int
) -> None:
    config = Config().with_overrides(
        {"analysis": {"lowest": level.name.lower()}, "segmentation": {"passes": passes}, "batch": {"workers": workers}}
    )
    path = write(tmp_path_factory.mktemp("config"), yaml.safe_dump(config.model_dump()))
    assert load_config(path) == config
