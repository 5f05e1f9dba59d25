"""What is deployed and what is written of it: complete, valid, and the same as the program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from services import Client, face, free_port
from vertecast.service.mercure import read_settings
from vertecast.service.options import ArchiveOptions, PacsOptions, PollOptions, load_pacs_options
from vertecast.service.records import State
from vertecast.service.web.metrics import Metrics

IMAGES = ("deploy/Dockerfile", "deploy/compose/orthanc.Dockerfile", "deploy/mercure/Dockerfile")
PATIENCE_S = 60


@pytest.fixture(scope="module")
def deploy() -> Path:
    return Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def guide() -> str:
    return (Path(__file__).parents[2] / "docs" / "pacs.md").read_text(encoding="utf-8")


def table(text: str, heading: str) -> dict[str, list[str]]:
    """Cells by the first one, in back quotes, of every table with this heading."""
    found: dict[str, list[str]] = {}
    for block in re.findall(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE):
        for line in block.splitlines():
            first, *others = (cell.strip() for cell in line.strip("|").split(" | "))
            found[first.strip("`")] = others
    return found


def options_of(kind: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Every option below a class with its default as YAML writes it."""
    found = {}
    for name, field in kind.model_fields.items():
        default = field.default
        if isinstance(default, BaseModel):
            found |= options_of(type(default), f"{name}.")
            continue
        if default is PydanticUndefined:
            text = "required"
        elif isinstance(default, tuple):
            text = f"[{', '.join(default)}]"
        else:
            text = json.dumps(default).strip('"')
        found[prefix + name] = text
    return found


def test_the_guide_explains_every_option(guide: str) -> None:
    wanted = options_of(PacsOptions)
    assert wanted.pop("archives") == "[]"
    wanted |= options_of(ArchiveOptions, "archives.") | options_of(PollOptions, "poll.")
    assert {name: cells[0] for name, cells in table(guide, "option").items()} == wanted


def test_the_examples_of_the_guide_are_valid(guide: str, tmp_path: Path) -> None:
    documents = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)]
    examples = [document for document in documents if "archives" in document or "web" in document]
    assert len(examples) >= 6
    for document in examples:
        (tmp_path / "pacs.yaml").write_text(yaml.safe_dump({"folder": "x"} | document))
        load_pacs_options(tmp_path / "pacs.yaml")


def test_the_guide_tells_states_routes_metrics_and_reasons(guide: str, repository: Path, tmp_path: Path) -> None:
    assert list(table(guide, "state")) == list(map(str, State))
    with face(tmp_path) as served:
        paths = served.client.ask("/api/openapi.json").json["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(table(guide, "request")) == routes | {"GET /", "GET /reports/{uid}/{name}"}
    metrics = {re.sub(r"\{.*\}", "", name) for name in table(guide, "metric")}
    counted = {line.split()[2] for line in Metrics().text().decode().splitlines() if line.startswith("# TYPE")}
    assert metrics == {name for name in counted if not name.endswith("_created")} | {
        "vertecast_studies",
        "vertecast_healthy",
    }
    source = "".join(path.read_text() for path in (repository / "pipeline" / "vertecast" / "service").rglob("*.py"))
    source = re.sub(r'"\s+f?"', "", source)
    missing = [text for heading in ("reason", "message") for text in table(guide, heading) if text not in source]
    assert missing == []


def test_every_file_that_the_guide_names_is_there(guide: str, repository: Path) -> None:
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", guide):
        assert (repository / "docs" / target).resolve().exists(), target
    for name in re.findall(r"(?<![\w/])((?:deploy|scripts|configs|data_samples|pipeline)/[\w./-]+\w)", guide):
        assert (repository / name).exists(), name
    anchors = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", guide, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", guide)) <= anchors


def test_the_unit_is_valid_and_closed(deploy: Path, tmp_path: Path) -> None:
    unit = tmp_path / "vertecast.service"
    unit.write_text((deploy / "vertecast.service").read_text().replace("/opt/vertecast/bin/vertecast", "/bin/true"))
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd on this machine")
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    # A threshold of 20 is an exposure of 2.0 out of 10.
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_built_from_what_is_there(repository: Path, name: str) -> None:
    text = (repository / name).read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    ignored = repository / f"{name}.dockerignore"
    allowed = [line[1:] for line in ignored.read_text().splitlines() if line.startswith("!")] if sources else []
    for source in sources:
        assert (repository / source).exists()
        assert source in allowed
    assert set(allowed) == set(sources)


def test_the_composition_fits_together(deploy: Path) -> None:
    services = yaml.safe_load((deploy / "docker-compose.yaml").read_text())["services"]
    orthanc = json.loads((deploy / "compose" / "orthanc.json").read_text())
    options = load_pacs_options(deploy / "compose" / "pacs.yaml")
    (archive,) = options.archives
    given = set(services["vertecast"]["environment"])
    assert {archive.password_env, options.web.token_env} == given == set(services["orthanc"]["environment"])
    assert archive.url == f"http://orthanc:{orthanc['HttpPort']}"
    assert archive.user in orthanc["RegisteredUsers"]
    assert orthanc["Vertecast"]["Source"] == archive.name
    assert orthanc["Vertecast"]["Url"] == f"http://{options.web.names[0]}:{options.web.port}"
    for service in services.values():
        for volume in service["volumes"]:
            if volume.startswith("./"):
                assert (deploy / volume.split(":")[0]).exists()
        assert (deploy / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_orthanc_starts_with_its_configuration(deploy: Path, repository: Path, tmp_path: Path, monkeypatch) -> None:
    config: dict[str, Any] = json.loads((deploy / "compose" / "orthanc.json").read_text())
    script = repository / "pipeline" / "vertecast" / "service" / "orthanc" / "vertecast_plugin.py"
    port, here = free_port(), str(tmp_path / "db")
    config |= {"StorageDirectory": here, "IndexDirectory": here, "PythonScript": str(script), "HttpPort": port}
    config |= {"DicomPort": free_port(), "HttpBindAddresses": ["127.0.0.1"]}
    (tmp_path / "orthanc.json").write_text(json.dumps(config))
    for name in ("ORTHANC_PASSWORD", "VERTECAST_TOKEN"):
        monkeypatch.setenv(name, "secret of the test")
    path = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen([path, str(tmp_path / "orthanc.json")], stdout=output, stderr=subprocess.STDOUT)
    try:
        client, deadline = Client(port), time.monotonic() + PATIENCE_S
        user = {"Authorization": "Basic dmVydGVjYXN0OnNlY3JldCBvZiB0aGUgdGVzdA=="}
        while True:
            try:
                plugins = client.ask("/plugins", headers=user).json
                break
            except OSError:
                assert time.monotonic() < deadline, log.read_text(errors="replace")
                time.sleep(0.2)
        assert {"python", "dicom-web"} <= set(plugins)
        assert client.ask("/plugins").status == 401
        assert client.ask("/vertecast/studies/1.2.3", headers=user).status == 404
    finally:
        server.terminate()
        assert server.wait(timeout=PATIENCE_S) == 0


def test_the_module_for_mercure_has_settings_that_are_ours(deploy: Path, tmp_path: Path) -> None:
    (module,) = json.loads((deploy / "mercure" / "module.json").read_text()).values()
    (tmp_path / "task.json").write_text(json.dumps({"process": {"settings": module["settings"]}}))
    assert read_settings(tmp_path / "task.json").analysis.phase == "auto"
    assert json.loads(module["docker_arguments"]) == {"mem_limit": "8g"}
    examples = re.findall(r"```json\n(.*?)```", (deploy / "mercure" / "README.md").read_text(), re.DOTALL)
    for example in examples:
        (tmp_path / "task.json").write_text(json.dumps({"process": {"settings": json.loads(example)}}))
        read_settings(tmp_path / "task.json")
