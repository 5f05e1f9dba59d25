"""What computes the CT networks: processor time, and what it changes in the measurements.

``python scripts/compare_runtimes.py`` analyses a study of data_samples with torch in float32, with torch in bfloat16,
and with OpenVINO in both, and compares the heights of every body with those of torch in float32. Times are processor
time of segmenting, the weights loaded, the second of two runs; on a machine with other work wall time says nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from benchmark import machine, print_machine

if TYPE_CHECKING:
    from torch import Tensor

    from vertecast.images import Segmentation, Volume
    from vertecast.segmentation.bundle import NetworkSpec
    from vertecast.segmentation.ct import CtSegmenter, Network

STUDY: Final = Path("data_samples/studies/000102_pre")
REFERENCE: Final = "torch f32"
LARGEST_DIFFERENCE_MM: Final = 0.05
LEAST_GAIN: Final = 2.0
"""What a runtime must keep, and give, to be an option of the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One runtime: seconds of processor time to load and to segment, and differences of the heights in mm."""

    name: str
    loading_s: float
    segmenting_s: float
    heights: int
    mean_difference_mm: float
    largest_difference_mm: float
    not_in_both: int


def _torch(spec: NetworkSpec) -> Network:
    return spec.load()


def _torch_bfloat16(spec: NetworkSpec) -> Network:
    import torch

    net = spec.load()

    def computed(hu: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            answer: Tensor = net(hu).float()
        return answer

    return computed


def _openvino(spec: NetworkSpec) -> Network:
    from vertecast.segmentation.openvino import load_openvino

    return load_openvino(spec)


def _openvino_bfloat16(spec: NetworkSpec) -> Network:
    from vertecast.segmentation.openvino import OpenVinoNet, convert

    return OpenVinoNet(convert(spec.load()), arithmetic="bf16")


RUNTIMES: Final[Mapping[str, Callable[[NetworkSpec], Network]]] = {
    REFERENCE: _torch,
    "torch bf16": _torch_bfloat16,
    "openvino f32": _openvino,
    "openvino bf16": _openvino_bfloat16,
}


def compare(volume: Volume, segmenter: CtSegmenter) -> list[Row]:
    """Segment and measure with every runtime.

    Args:
        volume: The CT.
        segmenter: With torch; its networks are replaced in turn.
    """
    rows: list[Row] = []
    reference: dict[tuple[int, str], float] = {}
    for name, load in RUNTIMES.items():
        started = time.process_time()
        bundle = segmenter.bundle
        own = replace(segmenter, locator=load(bundle.locator), outliner=load(bundle.outliner))
        loading = time.process_time() - started
        own.segment(volume)
        started = time.process_time()
        segmentation = own.segment(volume)
        segmenting = time.process_time() - started
        heights = _heights_mm(volume, segmentation)
        reference = reference or heights
        both = heights.keys() & reference.keys()
        differences = np.array([abs(heights[key] - reference[key]) for key in sorted(both)])
        rows.append(
            Row(
                name=name,
                loading_s=loading,
                segmenting_s=segmenting,
                heights=len(heights),
                mean_difference_mm=float(differences.mean()),
                largest_difference_mm=float(differences.max()),
                not_in_both=len(heights.keys() ^ reference.keys()),
            )
        )
    return rows


def _heights_mm(volume: Volume, segmentation: Segmentation) -> dict[tuple[int, str], float]:
    """Measured heights by number of the body, cranial first, and place."""
    from vertecast.measurement.levels import assign_levels
    from vertecast.measurement.study import measure_study
    from vertecast.results import Quantity

    found = measure_study(volume, segmentation, assign_levels(segmentation), series_instance_uid="")
    return {
        (number, place): height.value
        for number, vertebra in enumerate(found.vertebrae)
        for place, height in vertebra.heights.items()
        if isinstance(height, Quantity)
    }


def print_rows(rows: Sequence[Row]) -> None:
    """A table in Markdown, and what it says."""
    print("| runtime | loading | segmenting | heights | mean difference | largest difference |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.name} | {row.loading_s:.1f} s | {row.segmenting_s:.1f} s | {row.heights} "
            f"| {row.mean_difference_mm:.4f} mm | {row.largest_difference_mm:.4f} mm |"
        )
    for row in rows[1:]:
        gain = rows[0].segmenting_s / row.segmenting_s
        same = row.largest_difference_mm < LARGEST_DIFFERENCE_MM and not row.not_in_both
        verdict = "an option" if same and gain >= LEAST_GAIN else "no option"
        print(f"{row.name}: {gain:.1f} times as fast, heights {'kept' if same else 'moved'}: {verdict}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print."""
    from vertecast import resources
    from vertecast.dicom.ct import choose_ct_series, read_ct
    from vertecast.dicom.discover import StudyFiles, find_studies
    from vertecast.segmentation.ct import CtSegmenter

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=STUDY, metavar="DIR", help="a CT study")
    parser.add_argument("--bundle", default="ct_spine", help="a shipped bundle, or a folder")
    parser.add_argument("--passes", type=int, choices=(1, 2), default=2, help="as segmentation.passes")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON too")
    options = parser.parse_args(arguments)
    (study,) = (one for one in find_studies([options.study]) if isinstance(one, StudyFiles))
    volume = read_ct(choose_ct_series(study)[0][0]).volume
    about: dict[str, Any] = machine()
    rows = compare(volume, CtSegmenter.load(resources.bundle_directory(options.bundle), passes=options.passes))
    print_machine(about)
    print_rows(rows)
    if options.out is not None:
        text = json.dumps({"machine": about, "runtimes": [asdict(row) for row in rows]}, indent=1)
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
