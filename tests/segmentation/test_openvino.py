"""OpenVINO computes what torch does, keeps what it has converted, and calls nobody."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vertecast.core.errors import BundleError, ConfigurationError
from vertecast.core.resources import bundle_directory
from vertecast.segmentation.bundle import Bundle
from vertecast.segmentation.ct.segmenter import CtSegmenter
from vertecast.segmentation.runtimes import openvino as runtime

if importlib.util.find_spec("openvino") is None:  # imported it would call home before it is kept from it
    pytest.skip("needs the extra [openvino]", allow_module_level=True)


def test_a_network_is_converted_once_and_answers_like_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Bundle.open(bundle_directory("ct_spine")).locator
    hu = torch.randn(1, 1, 32, 64, 16, generator=torch.Generator().manual_seed(1)) * 300
    with torch.inference_mode():
        expected = spec.load()(hu)
    first = runtime.load_openvino(spec, cache=tmp_path)(hu)
    torch.testing.assert_close(first, expected, atol=1e-3, rtol=0)
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith(spec.sha256[:32])

    def refuse(_net: object) -> None:
        raise AssertionError("it was kept")

    monkeypatch.setattr(runtime, "convert", refuse)
    assert torch.equal(runtime.load_openvino(spec, cache=tmp_path)(hu), first)
    (folder / runtime.MODEL).write_text("<net")
    with pytest.raises(BundleError, match="damaged; remove this folder"):
        runtime.load_openvino(spec, cache=tmp_path)


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    runtime._keep(object(), blocked / "network")
    assert blocked.is_file()


def test_it_calls_nobody(tmp_path: Path) -> None:
    # Its reporting part leaves a folder "intel" in the home directory as soon as it is used.
    code = (
        "import sys; from vertecast.segmentation.runtimes.openvino import openvino_package; openvino_package();"
        "loaded = [m for m in sys.modules if m.startswith('openvino_telemetry') and sys.modules[m] is not None];"
        "sys.exit(f'{loaded}' if loaded else 0)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CI"} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "intel").exists()


def test_without_openvino_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigurationError, match=r"install vertecast\[openvino\]"):
        runtime.openvino_package()


def test_it_takes_the_place_of_torch_in_a_segmenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = bundle_directory("ct_spine")
    segmenters = [CtSegmenter.load(folder, passes=1, runtime=name) for name in ("torch", "openvino")]
    hu = np.random.default_rng(2).normal(100, 300, (40, 33, 50)).astype(np.float32)
    expected, found = (one._run(one.outliner, hu, None) for one in segmenters)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert len(list((tmp_path / "vertecast" / "openvino").iterdir())) == 3
