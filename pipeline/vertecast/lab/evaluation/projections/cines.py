"""Scores of cines: when cement and the first leak are noticed, and alerts without a leak."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vertecast.core.results import NotMeasured
from vertecast.lab.evaluation import agreement
from vertecast.lab.evaluation.projections.scoring import Images, ImageScore, RowsOf
from vertecast.lab.evaluation.score import Rows, Score

NOT_SCORED: Final = (
    "shift of the spine between the frames of a cine: a report does not give it",
    "bodies followed through a cine without an exchange: a report gives the bodies of one frame",
)
"""What is true of a cine and cannot be held against a report."""


def _cement_frame(image: ImageScore) -> int | None:
    """Frame in which cement was first seen."""
    frame = None if image.found.cine is None else image.found.cine.first_cement_frame
    return None if isinstance(frame, NotMeasured) else frame


def _alert_frame(image: ImageScore) -> int | None:
    """Frame in which a leak was first suspected."""
    frame = None if image.found.cine is None else image.found.cine.first_suspected_leak_frame
    return None if isinstance(frame, NotMeasured) else frame


def _is_early(image: ImageScore) -> bool:
    """A leak was suspected while no cement had leaked."""
    frame = _alert_frame(image)
    frames = image.truth.frames
    return frame is not None and frames[min(frame, len(frames)) - 1].leaked_ml <= 0


def _with_cement(images: Images) -> Iterator[ImageScore]:
    return (image for image in images if image.truth.first_cement_frame is not None)


def _with_leak(images: Images) -> Iterator[ImageScore]:
    return (image for image in images if image.truth.first_leak_frame is not None)


def _with_shown_leak(images: Images) -> Iterator[ImageScore]:
    for image in _with_leak(images):
        if any(leak.shows for body in image.treated for leak in body.leaks):
            yield image


def _clean(images: Images) -> Iterator[ImageScore]:
    return (image for image in images if image.truth.frames and image.truth.first_leak_frame is None)


def _delay_s(image: ImageScore, found: int | None, true: int | None) -> Rows:
    """How much later the found frame is than the true one."""
    if found is not None and true is not None and image.truth.frame_time_ms is not None:
        yield ((found - true) * image.truth.frame_time_ms / 1000,)


def _cement_delays(images: Images) -> Rows:
    for image in _with_cement(images):
        yield from _delay_s(image, _cement_frame(image), image.truth.first_cement_frame)


def _leak_delays(images: Images) -> Rows:
    for image in _with_shown_leak(images):
        if not _is_early(image):
            yield from _delay_s(image, _alert_frame(image), image.truth.first_leak_frame)


def _absolute(rows: RowsOf) -> RowsOf:
    return lambda images: ((abs(row[0]),) for row in rows(images))


CINE_SCORES: Final[tuple[Score[Images], ...]] = (
    Score(
        key="cine_cement_found", label="cines with cement where it is seen to come",
        rows=lambda images: ((float(_cement_frame(i) is not None),) for i in _with_cement(images)),
    ),
    Score(
        key="cine_cement_error_s", label="first frame of cement, median absolute error (s)",
        rows=_absolute(_cement_delays), statistic=agreement.median, decimals=2,
    ),
    Score(
        key="cine_cement_delay_s", label="first frame of cement, median delay (s)",
        rows=_cement_delays, statistic=agreement.median, decimals=2,
    ),
    Score(
        key="cine_leaks_found", label="cines with a leak that shows where one is suspected, not before any leaked",
        rows=lambda images: (
            (float(_alert_frame(i) is not None and not _is_early(i)),) for i in _with_shown_leak(images)
        ),
    ),
    Score(
        key="cine_leak_error_s", label="first frame of their leak, median absolute error (s)",
        rows=_absolute(_leak_delays), statistic=agreement.median, decimals=2,
    ),
    Score(
        key="cine_leak_delay_s", label="first frame of their leak, median delay (s)",
        rows=_leak_delays, statistic=agreement.median, decimals=2,
    ),
    Score(
        key="cine_early_alerts", label="leaks suspected before any cement leaked, a cine with a leak",
        rows=lambda images: ((float(_is_early(i)),) for i in _with_leak(images)),
    ),
    Score(
        key="cine_false_alerts", label="false alerts, a cine without a leak",
        rows=lambda images: ((float(_alert_frame(i) is not None),) for i in _clean(images)),
    ),
)  # fmt: skip
