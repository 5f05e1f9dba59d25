"""Heights of another program beside ours, level by level, with a picture of each body.

``python scripts/compare_peer.py CT PEER.json --out DIR`` analyses the CT, reads the heights that the other program
wrote for it (keys ``vertebrae_<level>_height_<place>_mm``, as ``totalseg_spine_report`` writes them), prints both and
draws our six points on every body, in its own mid-sagittal plane. ``--labels FILE`` measures a label map of the bodies
too (numbers of ``labels_<n>.nii.gz``), which tells a difference of outlines from one of measuring. Exit status: 0 done,
1 something failed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from vertecast.core.errors import InputError, OutputError, UnreadableError, VertecastError

if TYPE_CHECKING:
    from vertecast.core.images import Volume
    from vertecast.core.results import VertebraFinding
    from vertecast.core.study_result import StudyResult
    from vertecast.study import Segmenter

PLACES: Final = ("anterior", "middle", "posterior")
HEIGHT_KEY: Final = re.compile(rf"vertebrae_(\w+)_height_({'|'.join(PLACES)})_mm")
REACH_MM: Final = 32.0
PIXEL_MM: Final = 0.5
WINDOW_HU: Final = (-150.0, 500.0)

Heights: TypeAlias = dict[str, dict[str, float]]
"""Heights in mm by level and place."""


def read_peer(path: Path) -> Heights:
    """Heights of the other program.

    Raises:
        UnreadableError: The file cannot be read, is no JSON or holds no heights.
    """
    heights: Heights = {}
    try:
        for key, value in dict(json.loads(path.read_text(encoding="utf-8"))["results"]).items():
            if found := HEIGHT_KEY.fullmatch(key):
                heights.setdefault(found[1], {})[found[2]] = float(value)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableError(f"{path}: no report of heights ({error}); give the JSON of the other program") from error
    if not heights:
        raise UnreadableError(f"{path}: holds no key like vertebrae_L1_height_anterior_mm; give another file")
    return heights


def our_heights(vertebrae: Sequence[VertebraFinding]) -> Heights:
    """Heights of the bodies that could be measured."""
    from vertecast.core.results import Quantity

    found: Heights = {}
    for body in vertebrae:
        values = {place: body.heights[place] for place in PLACES}
        found[body.level] = {place: q.value for place, q in values.items() if isinstance(q, Quantity)}
    return found


def text_lines(peer: Heights, ours: Mapping[str, Heights]) -> list[str]:
    """A line for each level and place: the other program's height, then ours and how much more each is.

    Args:
        peer: Of the other program.
        ours: By how the outline was got.
    """
    lines = [f"{'':14}{'peer':>7}" + "".join(f"{name:>18}" for name in ours)]
    for level, places in peer.items():
        for place in (one for one in PLACES if one in places):
            line = f"{level:4}{place:10}{places[place]:>7.1f}"
            for heights in ours.values():
                value = heights.get(level, {}).get(place)
                line += f"{'-':>18}" if value is None else f"{value:>9.1f} ({value - places[place]:+5.1f})"
            lines.append(line)
    return lines


def draw_body(volume: Volume, body: VertebraFinding, path: Path, caption: str) -> None:
    """Draw a body in its mid-sagittal plane with its six points and three heights; the front is on the left.

    Raises:
        OutputError: The file cannot be written.
    """
    import numpy as np
    from matplotlib.figure import Figure

    from vertecast.core.results import NotMeasured
    from vertecast.report.figures.planes import body_frame, flat_cut, sample_hu

    frame = body_frame(body)
    extent = (-REACH_MM, REACH_MM, -REACH_MM, REACH_MM)
    cut = flat_cut(np.asarray(frame.center_lps_mm), frame.posterior, frame.superior, extent, PIXEL_MM)
    figure = Figure(figsize=(5, 5.3), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.imshow(sample_hu(volume, cut), cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], extent=extent)
    points = body.six_points_lps_mm
    if points is not None and not isinstance(points, NotMeasured):
        for place in PLACES:
            ends = np.array([cut.project(points[plate][place]) for plate in ("superior", "inferior")])
            axes.plot(*ends.T, "o-", color="gold", markersize=4, linewidth=1)
    axes.set_title(caption, fontsize=8)
    axes.set_axis_off()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); check space and permissions") from error


def analyse(ct: Path, segmenter: Segmenter) -> StudyResult:
    """Analyse the CT.

    Raises:
        InputError: There is no CT, or it could not be analysed.
    """
    from vertecast.core.config import Config
    from vertecast.io.discover import StudyFiles, find_studies
    from vertecast.study import analyze_study

    studies = [study for study in find_studies([ct]) if isinstance(study, StudyFiles)]
    if not studies:
        raise InputError(f"{ct}: no CT found; give a NIfTI file or a folder of DICOM files")
    result = analyze_study(studies[0], Config(), segmenter)
    if result.volume is None:
        raise InputError(f"{ct}: not analysed ({result.reason}); see README, «Limits»")
    return result


def compare(ct: Path, peer: Heights, labels: Path | None, out: Path) -> None:
    """Analyse, print and draw. Raises `VertecastError`."""
    from vertecast.core.config import SegmentationOptions
    from vertecast.io.volumes import read_label_map
    from vertecast.run.engine import shipped_engine
    from vertecast.segmentation.label_map.bodies import LabelMapSegmenter
    from vertecast.segmentation.label_map.schemes import label_scheme

    options = SegmentationOptions()
    result = analyse(ct, shipped_engine(options).load(options))
    ours = {"network": our_heights(result.report.vertebrae)}
    if labels is not None:
        given = LabelMapSegmenter(read_label_map(labels), label_scheme("vertecast"), sha256="")
        ours["label map"] = our_heights(analyse(ct, given).report.vertebrae)
    print("\n".join(text_lines(peer, ours)))
    assert result.volume is not None
    for body in result.report.vertebrae:
        if body.level in peer:
            values = [
                f"{name} "
                + " / ".join(f"{height:.1f}" if (height := heights[body.level].get(place)) else "-" for place in PLACES)
                for name, heights in {"peer": peer, **ours}.items()
                if body.level in heights
            ]
            draw_body(
                result.volume, body, out / f"{body.level}.png", f"{body.level}, Ha / Hm / Hp mm\n" + "; ".join(values)
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path, metavar="CT", help="the image that both programs measured")
    parser.add_argument("peer", type=Path, metavar="PEER.json", help="heights of the other program")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="bodies to measure as well")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pictures go")
    options = parser.parse_args(arguments)
    try:
        compare(options.ct, read_peer(options.peer), options.labels, options.out)
    except VertecastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
