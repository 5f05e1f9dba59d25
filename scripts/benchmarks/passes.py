"""Whole analyses in one process, as a worker does them: from the files to all outputs, with the parts apart."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.processes import Run, observe

if TYPE_CHECKING:
    from vertecast.core.study_result import StudyResult
    from vertecast.io.discover import StudyFiles
    from vertecast.study import ProjectionSegmenter, Segmenter


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One analysis.

    Attributes:
        finding: Discovery of the study among its files.
        analysis: Reading, network and measuring.
        writing: All outputs.
        network_s: Processor time of this process while the network was asked, a part of ``analysis``; of a cine the
            reading of the next frame may fall into it.
    """

    finding: Run
    analysis: Run
    writing: Run
    network_s: float

    @property
    def whole(self) -> Run:
        """All of it."""
        parts = (self.finding, self.analysis, self.writing)
        return Run(
            wall_s=sum(part.wall_s for part in parts),
            cpu_s=sum(part.cpu_s for part in parts),
            peak_gib=max(part.peak_gib for part in parts),
        )


class Timed:
    """A segmenter whose processor time is added up.

    Attributes:
        seconds: So far.
    """

    def __init__(self, segmenter: Any) -> None:
        self.seconds = 0.0
        self._segmenter = segmenter

    def segment(self, image: Any, **given: Any) -> Any:
        """What the segmenter says."""
        started = time.process_time()
        try:
            return self._segmenter.segment(image, **given)
        finally:
            self.seconds += time.process_time() - started


def the_study(folder: Path) -> StudyFiles:
    """The one study in a folder. Raises `RuntimeError` where there is none, or more than one."""
    from vertecast.io.discover import StudyFiles, find_studies

    studies = [one for one in find_studies([folder]) if isinstance(one, StudyFiles)]
    if len(studies) != 1:
        raise RuntimeError(f"{folder}: holds {len(studies)} studies; give the folder of one")
    return studies[0]


def analyse(folder: Path, *, ct: Segmenter | None = None, film: ProjectionSegmenter | None = None) -> Pass:
    """Analyse the one study of a folder and write all its outputs.

    Args:
        folder: Its files.
        ct, film: Find the vertebrae, weights loaded; None where the study has nothing for it.

    Raises:
        RuntimeError: There is no such study, or it could not be analysed.
    """
    from vertecast.core.config import Config
    from vertecast.study import analyze_study

    study, finding = observe(the_study, folder)
    timed_ct: Any = Timed(ct)
    timed_film: Any = Timed(film)
    result, analysis = observe(analyze_study, study, Config(), timed_ct, lambda: timed_film)
    if result.status != "analyzed":
        raise RuntimeError(f"the study was not analysed: {result.reason}")
    _, writing = observe(_write, result)
    network_s = timed_ct.seconds + timed_film.seconds
    return Pass(finding=finding, analysis=analysis, writing=writing, network_s=network_s)


def _write(result: StudyResult) -> None:
    """All outputs, into a folder that goes again."""
    from vertecast.report.outputs import write_study

    with tempfile.TemporaryDirectory() as out:
        write_study(result, Path(out) / "study")
