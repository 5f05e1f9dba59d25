"""What computes the CT networks: time and memory, and what it changes in the measurements.

Two CTs of `data_samples`, a treated patient and a sound one, are segmented and measured by torch in float32, by torch
in bfloat16 (autocast), and by OpenVINO in both, each in a process of its own. Times are processor time of segmenting
both, weights loaded: on a machine with other work wall time says nothing. Differences are from torch in float32: of the
heights and the wedge angle of every body, its volume, the volume of the cement, the Genant grade. The networks for
films are computed by torch alone.

Loading takes the networks from the bundle, which has been read; OpenVINO in float32 takes them from the user's cache
where an earlier run has converted them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from benchmarks.figures import Comparison, Difference, RuntimeRow
from benchmarks.passes import the_study
from benchmarks.processes import Run, alone, observe
from benchmarks.samples import STUDIES

if TYPE_CHECKING:
    from torch import Tensor

    from vertecast.core.images import Segmentation, Volume
    from vertecast.segmentation.bundle import NetworkSpec
    from vertecast.segmentation.ct.segmenter import Network

FOLDERS: Final = (STUDIES / "000101_post", STUDIES / "000102_pre")
REFERENCE: Final = "torch f32"

LARGEST_DIFFERENCE_MM: Final = 0.05
LEAST_GAIN: Final = 2.0
"""What a runtime must keep of the heights, and give, to be an option of the program."""

Key: TypeAlias = tuple[str, str, str]
"""Kind of measurement, study, and what in it is measured."""

KINDS: Final = {"height": "mm", "wedge angle": "deg", "body volume": "mL", "cement volume": "mL"}
GRADE: Final = "grade"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one runtime took and measured; ``segmenting`` of both studies, the first time and the later ones."""

    loading: Run
    segmenting: tuple[Run, ...]
    values: Mapping[Key, float]


def measure_runtimes(runs: int) -> list[Comparison]:
    """All runtimes side by side.

    Args:
        runs: Warm ones, after the first.

    Raises:
        RuntimeError: The reference failed. Of another runtime that becomes its row.
    """
    reference = alone(segment_with, REFERENCE, runs)
    rows = [compared(REFERENCE, reference, reference)]
    for name in [name for name in RUNTIMES if name != REFERENCE]:
        try:
            rows.append(compared(name, alone(segment_with, name, runs), reference))
        except Exception as error:  # noqa: BLE001  one that is not installed must not cost the others their rows
            rows.append(RuntimeRow(name=name, failed=str(error)))
    title = f"Runtimes of the CT networks, {len(FOLDERS)} studies (`data_samples`)"
    return [Comparison(title=title, rows=tuple(rows))]


def segment_with(name: str, runs: int) -> Outcome:
    """Load the networks into a runtime, segment all studies, once and then as often as is asked, and measure."""
    from vertecast.core import resources
    from vertecast.core.config import SegmentationOptions
    from vertecast.io.ct.series import choose_ct_series, read_ct
    from vertecast.segmentation.ct.segmenter import CtSegmenter

    options = SegmentationOptions()
    volumes = [read_ct(choose_ct_series(the_study(folder))[0][0]).volume for folder in FOLDERS]
    segmenter = CtSegmenter.load(resources.bundle_directory(options.bundle), passes=options.passes)
    bundle, load = segmenter.bundle, RUNTIMES[name]
    (locator, outliner), loading = observe(lambda: (load(bundle.locator), load(bundle.outliner)))
    segmenter = replace(segmenter, locator=locator, outliner=outliner)
    segmenting = []
    for _ in range(runs + 1):
        segmentations, run = observe(lambda: [segmenter.segment(volume) for volume in volumes])
        segmenting.append(run)
    values: dict[Key, float] = {}
    for folder, volume, segmentation in zip(FOLDERS, volumes, segmentations, strict=True):
        values.update(_values(folder.name, volume, segmentation))
    return Outcome(loading=loading, segmenting=tuple(segmenting), values=values)


def _values(study: str, volume: Volume, segmentation: Segmentation) -> dict[Key, float]:
    """Everything that is compared of one study."""
    from vertecast.core.results import Quantity
    from vertecast.measurement.ct.levels import assign_levels
    from vertecast.measurement.ct.study import measure_study

    measured = measure_study(volume, segmentation, assign_levels(segmentation), series_instance_uid="")
    values: dict[Key, float] = {}
    for vertebra in measured.vertebrae:
        found = {("height", f"{vertebra.level} {place}"): height for place, height in vertebra.heights.items()}
        found["wedge angle", vertebra.level] = vertebra.wedge_angle
        found["body volume", vertebra.level] = vertebra.volume
        values |= {(kind, study, what): one.value for (kind, what), one in found.items() if isinstance(one, Quantity)}
        if isinstance(vertebra.genant_grade, int):
            values[GRADE, study, vertebra.level] = vertebra.genant_grade
    for cement in measured.cement:
        if isinstance(cement.volume, Quantity):
            values["cement volume", study, f"{cement.level} {cement.id}"] = cement.volume.value
    return values


def compared(name: str, found: Outcome, reference: Outcome) -> RuntimeRow:
    """The row of a runtime."""
    differences: dict[str, list[float]] = {}
    for key in sorted(found.values.keys() & reference.values.keys()):
        differences.setdefault(key[0], []).append(abs(found.values[key] - reference.values[key]))
    first, *later = (run.cpu_s for run in found.segmenting)
    return RuntimeRow(
        name=name,
        loading_s=found.loading.cpu_s,
        cold_s=first,
        warm_s=tuple(later),
        peak_gib=max(run.peak_gib for run in (found.loading, *found.segmenting)),
        differences={
            kind: Difference(count=len(all_of), mean=statistics.fmean(all_of), largest=max(all_of))
            for kind, all_of in differences.items()
        },
        grades_changed=sum(change > 0 for change in differences.get(GRADE, [])),
        not_in_both=len(found.values.keys() ^ reference.values.keys()),
    )


def gain(row: RuntimeRow, reference: RuntimeRow) -> float:
    """How many times as fast as the reference a runtime is, warm."""
    return statistics.median(reference.warm_s) / statistics.median(row.warm_s)


def verdict(row: RuntimeRow, rows: Sequence[RuntimeRow]) -> str:
    """An option: no height moves, no grade changes, nothing is missing, and it gains enough; or why it is none."""
    if row.failed:
        return f"failed: {row.failed}"
    if row.name == rows[0].name:
        return "reference"
    kept = (
        "height" in row.differences
        and row.differences["height"].largest < LARGEST_DIFFERENCE_MM
        and not row.grades_changed
        and not row.not_in_both
    )
    if not kept:
        return "changes the measurements"
    return "an option" if gain(row, rows[0]) >= LEAST_GAIN else f"gains less than {LEAST_GAIN:g} times"


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
    from vertecast.segmentation.runtimes.openvino import load_openvino

    return load_openvino(spec)


def _openvino_bfloat16(spec: NetworkSpec) -> Network:
    from vertecast.segmentation.runtimes.openvino import OpenVinoNet, convert

    return OpenVinoNet(convert(spec.load()), arithmetic="bf16")


RUNTIMES: Final[Mapping[str, Callable[[NetworkSpec], Network]]] = {
    REFERENCE: _torch,
    "torch bf16": _torch_bfloat16,
    "openvino f32": _openvino,
    "openvino bf16": _openvino_bfloat16,
}
