from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vertecast.core.errors import ConfigurationError
from vertecast.service.options import PacsOptions, RetryOptions, analysis_config, load_pacs_options, secret


def write(folder: Path, text: str) -> Path:
    path = folder / "pacs.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_lists_every_option_with_its_default(repository: Path) -> None:
    text = (repository / "configs" / "pacs.yaml").read_text(encoding="utf-8")
    shipped = yaml.safe_load(text)
    assert shipped == PacsOptions(folder=shipped["folder"]).model_dump(mode="json")
    uncommented = text.replace("archives: []", "archives:").replace("\n#  ", "\n  ")
    shown = PacsOptions.model_validate(yaml.safe_load(uncommented))
    assert [archive.kind for archive in shown.archives] == ["dicom", "dicomweb", "orthanc"]


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    options = load_pacs_options(write(tmp_path, "folder: here\nconfig: own.yaml\n"))
    assert (options.results, options.config) == (tmp_path / "here" / "results", str(tmp_path / "own.yaml"))
    (tmp_path / "own.yaml").write_text("segmentation: {passes: 1}")
    assert analysis_config(options).segmentation.passes == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "folder"),
        ("folder: x\nwokers: 2", r"wokers: unknown key \(see configs/pacs.yaml"),
        ("folder: x\nnode: {host: 0.0.0.0}", "node: the node listens on 0.0.0.0 and knows no peers"),
        ("folder: x\nnode: {host: 0.0.0.0, peers: [{ae_title: A, host: pacs}]}", "node.peers.0"),
        ("folder: x\nnode: {ae_title: 'a\\b'}", "node.ae_title"),
        ("folder: x\nnode: {ae_title: ' A'}", "node.ae_title"),
        ("folder: x\nnode: {ae_title: ABCDEFGHIJKLMNOPQ}", "node.ae_title"),
        ("folder: x\nweb: {host: 0.0.0.0}", "web: the status page listens on 0.0.0.0; name a token_env"),
        ("folder: x\nweb: {tls_key: k.pem}", "tls_certificate and tls_key together"),
        ("folder: x\narchives: [{name: a, kind: dicom, host: h}]", "kind dicom needs port, ae_title"),
        ("folder: x\narchives: [{name: a, kind: dicomweb, url: http://h, port: 4}]", "kind dicomweb has no port"),
        ("folder: x\narchives: [{name: a, kind: dicomweb, url: http://u:p@h}]", "archives.0.url"),
        ("folder: x\narchives: [{name: a, kind: orthanc, url: http://h, user: u}]", "user and password_env together"),
        ("folder: x\narchives: [{name: dicom, kind: orthanc, url: http://h}]", "choose another name"),
        ("folder: x\narchives: [{name: ../a, kind: orthanc, url: http://h}]", "archives.0.name"),
        (
            "folder: x\narchives: [{name: a, kind: orthanc, url: http://h}, {name: a, kind: orthanc, url: http://g}]",
            "same name",
        ),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        load_pacs_options(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("output: {deidentify: true}", "deidentify"), ("segmentation: {label_map: m.nii}", "label_map")],
)
def test_what_cannot_go_back_to_the_archive_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=expected):
        analysis_config(load_pacs_options(write(tmp_path, "folder: x\nconfig: own.yaml")))


def test_pauses_grow_and_stay_finite() -> None:
    retry = RetryOptions()
    pauses = [retry.pause_s(failures) for failures in (1, 2, 3, 8, 100_000)]
    assert pauses == [30, 60, 120, 3600, 3600]
    assert sum(retry.pause_s(n) for n in range(1, retry.archive_attempts)) > 3.7 * 86400


def test_a_secret_comes_from_the_environment(monkeypatch: Any) -> None:
    monkeypatch.setenv("PACS_TOKEN", "x1")
    assert (secret("PACS_TOKEN"), secret(None)) == ("x1", None)
    monkeypatch.delenv("PACS_TOKEN")
    with pytest.raises(ConfigurationError, match="PACS_TOKEN"):
        secret("PACS_TOKEN")
